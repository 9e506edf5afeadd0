"""Sliders that choose between pictures drawn beforehand, so they work on a published page too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bertmini.errors import InputError
from bertmini.viz.attention import attention_heatmap, real_tokens
from bertmini.viz.picture import Picture
from bertmini.viz.style import optional

MOST = 64


class Explorer:
    """Sliders over a grid of pictures (`.pictures`); `.still` is the one that stands for all."""

    def __init__(
        self, names: Sequence[str], choices: Sequence[Sequence[str]], pictures: dict, alt: str
    ) -> None:
        if len(pictures) > MOST:
            raise InputError(f"{len(pictures)} pictures are too many for one page: at most {MOST}")
        self.alt = alt
        self.pictures = pictures
        self.still: Picture = next(iter(pictures.values()))
        self.widget = _sliders(names, choices, pictures)

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict:
        # Without the picture's own text the widget's would hold every image in it.
        bundle = self.widget._repr_mimebundle_()
        return {**bundle, "text/plain": self.alt}


def _sliders(names: Sequence[str], choices: Sequence[Sequence[str]], pictures: dict) -> Any:
    """One slider a name; a Stack of Stacks whose shown child is linked to the sliders in the browser."""
    widgets = optional("ipywidgets")
    sliders = [
        widgets.SelectionSlider(
            options=list(options), description=name, style={"description_width": "initial"}
        )
        for name, options in zip(names, choices, strict=True)
    ]

    def stack(chosen: tuple[str, ...]) -> Any:
        depth = len(chosen)
        if depth == len(names):
            return widgets.HTML(pictures[chosen].html())
        shown = widgets.Stack([stack((*chosen, option)) for option in choices[depth]], selected_index=0)
        widgets.jslink((sliders[depth], "index"), (shown, "selected_index"))
        return shown

    return widgets.VBox([*sliders, stack(())])


def head_explorer(attentions: Sequence[Tensor], tokens: Sequence[str]) -> Explorer:
    """Choose a layer and a head, and see its heat map.

    Args:
        attentions: a model's `.attentions`, a tuple of [batch, heads, query, key]; row 0 is shown.
        tokens: the pieces; `[PAD]` at the end is cut.
    Returns:
        The explorer; `.still` is the picture of layer 0, head 0.
    Raises:
        InputError: when tokens and weights do not match, or there are more than 64 heads.
    """
    layers, heads = len(attentions), attentions[0].size(-3)
    if layers * heads > MOST:
        raise InputError(
            f"{layers} layers of {heads} heads are too many for one page: at most {MOST} together"
        )
    choices = [[str(layer) for layer in range(layers)], [str(head) for head in range(heads)]]
    pictures = {
        (layer, head): attention_heatmap(attentions, tokens, int(layer), int(head))
        for layer in choices[0]
        for head in choices[1]
    }
    alt = f"Sliders for {layers} layers and {heads} heads over: {' '.join(real_tokens(tokens))}"
    return Explorer(["layer", "head"], choices, pictures, alt)


def mask_explorer(scores: Tensor, tokens: Sequence[str]) -> Explorer:
    """Choose a mask and how many tokens are real, and see the weights that the softmax leaves.

    Args:
        scores: [query, key], before the softmax.
        tokens: as many pieces as the scores have rows.
    Returns:
        The explorer; `.still` is the picture without a mask.
    """
    count = len(tokens)
    if 2 * count > MOST:
        raise InputError(f"{count} tokens under 2 masks are too many for one page: at most {MOST // 2}")
    looks = {
        "everyone": torch.ones(count, count, dtype=torch.bool),
        "left to right": torch.ones(count, count, dtype=torch.bool).tril(),
    }
    lengths = [str(length) for length in range(count, 0, -1)]
    pictures = {}
    for look, allowed in looks.items():
        for length in lengths:
            real = torch.arange(count) < int(length)
            weights = scores.masked_fill(~(allowed & real), float("-inf")).softmax(dim=-1)
            shown = [token if is_real else "(pad)" for token, is_real in zip(tokens, real, strict=True)]
            title = f"{look}, {length} real"
            pictures[look, length] = attention_heatmap(weights, shown, title=title)
    alt = f"Sliders for the mask and the number of real tokens over: {' '.join(tokens)}"
    return Explorer(["may look at", "real tokens"], [list(looks), lengths], pictures, alt)
