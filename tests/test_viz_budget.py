"""Pictures of cost: what they say in words, and that parts, limits and curves are drawn."""

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
