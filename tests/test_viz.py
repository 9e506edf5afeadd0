from __future__ import annotations

import io
import json
import re

import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from bertmini import viz
from bertmini.errors import InputError
from bertmini.viz import picture as picture_module
from bertmini.viz import style
from bertmini.viz.attention import select_weights
from bertmini.viz.picture import Picture
from bertmini.viz.style import INK

pytest.importorskip("matplotlib")

TOKENS = ["the", "harbour", "opens"]
WEIGHTS = torch.tensor([[3.0, 1, 0], [1, 2, 1], [0, 0, 4]]).softmax(-1)
ATTENTIONS = tuple(torch.rand(2, 2, 5, 5, generator=torch.Generator().manual_seed(i)) for i in range(3))
PADDED = ["[CLS]", "open", "[SEP]", "[PAD]", "[PAD]"]
LOG = [{"step": step, "loss/mlm": 5 / (1 + step), "loss/nsp": 0.7, "lr": 1.0} for step in range(20)]


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_ink_is_readable_on_white_and_on_black():
    assert contrast(style.INK, "#ffffff") >= 4.5
    assert contrast(style.INK, "#000000") >= 4.5


@pytest.mark.parametrize("colour", style.COLOURS)
def test_lines_are_visible_on_white_and_on_black(colour):
    assert contrast(colour, "#ffffff") >= 3
    assert contrast(colour, "#000000") >= 3


def test_every_colour_has_its_own_dash():
    assert len(set(style.DASHES)) == len(style.COLOURS)


def pictures():
    return {
        "heatmap": viz.attention_heatmap(ATTENTIONS, PADDED, layer=1, head=1),
        "arcs": viz.attention_arcs(WEIGHTS, TOKENS, query=1),
        "mask": viz.mask_grid(torch.ones(3, 3).tril().bool(), TOKENS),
        "boxes": viz.boxes([("Q", "n", "d"), "@", ("Kᵀ", "d", "n"), "=", ("scores", "n", "n")]),
        "curve": viz.loss_curve(LOG, limit=0.1, baseline=6.0),
    }


@pytest.mark.parametrize("name", list(pictures()))
def test_picture_is_a_clear_png_with_alternative_text(name):
    picture = pictures()[name]
    data, metadata = picture._repr_mimebundle_()
    assert picture.png().startswith(b"\x89PNG")
    assert data["text/plain"] == metadata["image/png"]["alt"] == picture.alt
    assert len(picture.alt) > 20
    assert picture.alt.endswith(".")
    assert len(picture.png()) < 60_000


def test_texts_of_pictures_are_in_ink_not_black():
    for name, picture in pictures().items():
        outside = [text for text in picture.axis.texts if name != "heatmap"]
        assert all(text.get_color() == style.INK for text in outside if text.get_text()), name


def test_pictures_do_not_reach_pyplot():
    plt = pytest.importorskip("matplotlib.pyplot")
    pictures()
    assert plt.get_fignums() == []


def test_same_picture_gives_same_bytes():
    first, second = (viz.attention_heatmap(WEIGHTS, TOKENS).png() for _ in range(2))
    assert first == second


def test_weights_are_cut_at_padding():
    weights = select_weights(ATTENTIONS, PADDED, 2, 0)
    assert torch.equal(weights, ATTENTIONS[2][0, 0, :3, :3])


@pytest.mark.parametrize("place", [{"layer": 3}, {"head": 2}])
def test_missing_layer_or_head_is_one_line(place):
    with pytest.raises(InputError, match="counted from 0"):
        viz.attention_heatmap(ATTENTIONS, PADDED, **place)


def test_more_tokens_than_weights_is_one_line():
    with pytest.raises(InputError, match="4 tokens"):
        viz.attention_heatmap(WEIGHTS, [*TOKENS, "again"])


def test_curve_tells_the_distance_to_the_limit():
    alt = viz.loss_curve(LOG, names=["loss/mlm"], limit=0.1).alt
    assert "the limit is 0.10, 0.15 away" in alt


def test_curve_draws_each_objective_by_name_and_nothing_else():
    alt = viz.loss_curve(LOG).alt
    assert "loss/mlm" in alt
    assert "loss/nsp" in alt
    assert "lr" not in alt


def test_curve_reads_a_run_directory(tmp_path):
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(row) for row in LOG))
    assert viz.loss_curve(tmp_path).alt == viz.loss_curve(LOG).alt


def test_curve_without_a_loss_names_what_the_log_holds():
    with pytest.raises(InputError, match=r"\['lr', 'step'\]"):
        viz.loss_curve([{"step": 1, "lr": 0.1}])


def test_head_view_is_small_light_and_without_padding():
    pytest.importorskip("bertviz")
    view = viz.head_view(ATTENTIONS, PADDED)
    assert "[PAD]" not in view.html
    assert "background:#fff" in view.html
    # Three digits a number: 3 layers of 2 heads over 3 tokens.
    assert not re.search(r"0\.\d{4}", view.html.split("PYTHON_PARAMS")[0].split("const params")[1][:900])


def test_model_view_is_light():
    pytest.importorskip("bertviz")
    assert '"display_mode": "light"' in viz.model_view(ATTENTIONS, PADDED).html


def test_views_have_repeatable_names_that_differ_on_a_page():
    pytest.importorskip("bertviz")
    names = [
        set(re.findall(r"bertviz-[0-9a-f]{32}", viz.head_view(ATTENTIONS, list("abcde")).html))
        for _ in range(2)
    ]
    assert all(len(name) == 1 for name in names)
    first, second = (next(iter(name)) for name in names)
    assert first[:-8] == second[:-8]
    assert first != second


def test_views_too_large_for_a_page_are_refused():
    pytest.importorskip("bertviz")
    large = tuple(torch.rand(1, 12, 64, 64) for _ in range(12))
    with pytest.raises(InputError, match="megabytes"):
        viz.model_view(large, ["a"] * 64)


def test_explorer_links_its_sliders_in_the_browser(monkeypatch):
    widgets = pytest.importorskip("ipywidgets")
    links = []
    monkeypatch.setattr(widgets, "jslink", lambda source, target: links.append((source[1], target[1])))
    explorer = viz.head_explorer(ATTENTIONS, PADDED)
    # One stack for the layers, and one for the heads of each of three layers.
    assert links == [("index", "selected_index")] * 4
    assert len(explorer.pictures) == 6
    assert explorer.still.alt.startswith("Heat map")
    assert explorer._repr_mimebundle_()["text/plain"] == explorer.alt


def test_mask_explorer_leaves_no_weight_on_padding():
    pytest.importorskip("ipywidgets")
    explorer = viz.mask_explorer(torch.randn(3, 3), TOKENS)
    assert len(explorer.pictures) == 6
    shown = explorer.pictures["everyone", "2"].axis.images[0].get_array()
    assert (shown[:, 2] == 0).all()


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bertviz", None)
    with pytest.raises(InputError, match=r"bertmini\[course\]"):
        viz.head_view(ATTENTIONS, PADDED)


def test_a_place_or_a_layer_that_is_not_there_is_refused():
    for query in (-1, len(TOKENS)):
        with pytest.raises(InputError, match=f"query is {query}; expected a position from 0"):
            viz.attention_arcs(WEIGHTS, TOKENS, query=query)
    with pytest.raises(InputError, match="layer is 7; expected one from 0 to"):
        viz.head_view(ATTENTIONS, PADDED, layer=7)
    with pytest.raises(InputError, match="wanted is False everywhere"):
        viz.head_shares([torch.ones(1, 1, 3, 3) / 3], torch.zeros(1, 3, 3, dtype=torch.bool))


def test_head_shares_average_over_those_who_have_something_to_look_at():
    weights = torch.tensor([[0.6, 0.2, 0.2], [0.8, 0.1, 0.1], [0.1, 0.7, 0.2]])[None, None]
    before = torch.eye(3).bool().roll(-1, dims=1).tril()[None]
    assert torch.allclose(viz.head_shares((weights, weights), before), torch.full((2, 1), 0.75))


def test_a_learning_curve_tells_means_and_the_limit():
    alt = viz.learning_curve({"BERT": {100: [0.2, 0.4], 400: [0.5]}}, limit=0.9, title="Curve").alt
    assert alt == "Curve: BERT 30% at 100, 50% at 400; the best possible is 90%."
    with pytest.raises(InputError, match="without results"):
        viz.learning_curve({"BERT": {100: []}})


def test_words_with_two_dollars_are_no_formulas_and_logarithmic_numbers_are():
    words = r"$\wrong or $6?"
    for picture in (
        viz.confusion_matrix([[1, 0], [0, 1]], ["tea", words]),
        viz.interval_rows({"F1": {words: [1.0, 2.0, 3.0]}}, title=words),
    ):
        assert picture.png()
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context():
        viz.apply_style()
        picture = viz.range_curve([1e-6, 1e-4, 1e-2], [3.0, 2.0, 4.0], [3.0, 2.0, 4.0], {})
        assert picture.png()
        numbers = [text for text in picture.axis.get_xticklabels() if r"\mathdefault" in text.get_text()]
    assert numbers
    assert all(text.get_parse_math() for text in numbers)


def test_a_mask_for_other_tokens_and_a_start_without_results_are_refused():
    with pytest.raises(InputError, match=r"2 tokens, but a mask of shape \[3, 3\]"):
        viz.mask_grid(torch.ones(3, 3), ["a", "b"])
    with pytest.raises(InputError, match="without results"):
        viz.learning_curve({"BERT": {}}, limit=0.9)


def test_a_picture_of_any_size_can_be_drawn(monkeypatch):
    assert picture_module.SIDE**2 < Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(picture_module, "SIDE", 2000)
    for size in ((130.0, 90.0), (90.0, 130.0)):
        assert max(Image.open(io.BytesIO(Picture(*size).png())).size) <= 2000


def test_texts_on_bars_dots_and_in_legends_are_in_ink():
    """Black is not to be read on a dark page."""
    rates = [10.0**-power for power in range(6, 0, -1)]
    losses = [2.0, 1.9, 1.5, 1.2, 1.4, 3.0]
    pictures = [
        viz.stacked_bars({"tiny": {"a": 1.0, "b": 2.0}}, "seconds"),
        viz.trade_off({"whole": (1.0, 0.9, 5.0), "half": (0.5, 0.8, 2.0)}, ["half"], "seconds", "right"),
        viz.learning_curve({"one": {10: [0.5, 0.6], 100: [0.7]}}),
        viz.range_curve(rates, losses, losses, {"steepest": rates[2]}),
    ]
    for picture in pictures:
        legends = [*picture.figure.legends, picture.axis.get_legend()]
        texts = [text for legend in legends if legend for text in legend.get_texts()]
        assert texts
        assert {to_hex(text.get_color()) for text in [*texts, *picture.axis.texts]} == {to_hex(INK)}


def test_rows_of_other_lengths_are_refused():
    for numbers in ({"words": [0]}, {"id": [1]}, {"id": [1, 2, 3]}):
        with pytest.raises(InputError, match="values for 2 tokens; expected one each"):
            viz.token_boxes(["a", "b"], **numbers)


def test_what_is_said_of_many_rows_is_said_of_the_first():
    picture = viz.attention_heatmap(torch.eye(13), list("abcdefghijklm"))
    assert "the first 12 of 13 rows" in picture.alt


def test_masks_of_too_many_tokens_are_refused_before_they_are_drawn(monkeypatch):
    monkeypatch.setattr("bertmini.viz.explore.attention_heatmap", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(InputError, match="33 tokens under 2 masks are too many"):
        viz.mask_explorer(torch.zeros(33, 33), ["a"] * 33)
