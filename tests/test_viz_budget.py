"""Pictures of cost: what they say in words, and that parts, limits, curves and fronts are drawn."""

import pytest

pytest.importorskip("matplotlib", reason="the course's extra is not installed")

from bertmini import viz
from bertmini.errors import InputError


def test_stacked_bars_end_where_their_parts_add_up():
    bars = {"whole": {"weights": 1.0, "moments": 2.0}, "half": {"weights": 0.5, "activations": 4.0}}
    picture = viz.stacked_bars(bars, "GiB", {"a small GPU": 10.0}, title="memory")
    boxes = picture.axis.patches
    assert sum(box.get_width() for box in boxes) == pytest.approx(7.5)
    for place, total in enumerate((3.0, 4.5)):
        own = [box for box in boxes if abs(box.get_y() + box.get_height() / 2 - place) < 0.1]
        assert max(box.get_x() + box.get_width() for box in own) == pytest.approx(total)
    assert "whole 3 (weights 1, moments 2)" in picture.alt
    assert "a small GPU at 10" in picture.alt
    with pytest.raises(InputError, match="no bar"):
        viz.stacked_bars({}, "GiB")


def test_the_roofline_bends_where_peak_and_bandwidth_meet():
    picture = viz.roofline(100e9, 10e9, {"sum": (0.1, 1e9), "product": (100.0, 90e9)})
    line = picture.axis.lines[0]
    assert list(line.get_xdata())[1] == pytest.approx(10)
    assert list(line.get_ydata())[1:] == pytest.approx([100, 100])
    assert "product: 1e+02 a byte, 90 billion a second" in picture.alt


def test_scaling_draws_each_curve_beside_a_perfect_one():
    picture = viz.scaling([8, 16], {"base": [10.0, 6.0]})
    real, perfect = picture.axis.lines
    assert list(real.get_ydata()) == [10.0, 6.0]
    assert list(perfect.get_ydata()) == [10.0, 5.0]
    assert "base from 10 hours on 8 to 6 on 16" in picture.alt


def test_a_dot_is_as_large_as_its_model_and_the_line_goes_through_the_front():
    points = {"slow": (40.0, 0.7, 12.0), "fast": (10.0, 0.6, 3.0), "beaten": (20.0, 0.5, 6.0)}
    picture = viz.trade_off(points, ["fast", "slow"], "ms", "accuracy", title="three models")
    (line,) = picture.axis.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([10, 40], [0.6, 0.7])
    dots = {dot.get_label(): dot for dot in picture.axis.collections}
    assert list(dots) == ["1 fast", "2 beaten", "3 slow"]
    areas = {name: float(dot.get_sizes()[0]) for name, dot in dots.items()}
    assert areas["3 slow"] == pytest.approx(4 * areas["1 fast"])
    assert areas["2 beaten"] == pytest.approx(2 * areas["1 fast"])
    assert [tuple(dot.get_offsets()[0]) for dot in dots.values()] == [(10, 0.6), (20, 0.5), (40, 0.7)]
    assert "fast 60.0% at 10; beaten 50.0% at 20; slow 70.0% at 40. No other beats fast, slow." in picture.alt
    with pytest.raises(InputError, match=r"the front is \['none'\]"):
        viz.trade_off(points, ["none"], "ms", "accuracy")
    with pytest.raises(InputError, match="trade-off"):
        viz.trade_off({}, [], "ms", "accuracy")
