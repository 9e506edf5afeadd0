"""bertviz's head view and model view, made fit for a page: small, light, without padding, the same each time.

Vig 2019, arXiv 1906.05714.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bertmini.errors import InputError
from bertmini.viz.attention import real_tokens
from bertmini.viz.picture import escape
from bertmini.viz.style import optional

MOST_WEIGHTS = 200_000  # weights in a view: about 1 MB of page
_shown: Counter[str] = Counter()


class View:
    """An interactive view as HTML (`.html`), with words that stand for it (`.alt`)."""

    def __init__(self, html: str, alt: str) -> None:
        self.alt = alt
        # bertviz draws black on nothing, which is blank on a dark page.
        self.html = (
            f'<div role="group" aria-label="{escape(alt)}" style="background:#fff;color:#000;overflow-x:auto;'
            f'padding:8px;border-radius:6px">{html}</div>'
        )

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict:
        return {"text/html": self.html, "text/plain": self.alt}


def head_view(
    attentions: Sequence[Tensor], tokens: Sequence[str], pair_start: int | None = None, layer: int = 0
) -> View:
    """bertviz's head view: lines from each token to those it looks at, a colour a head.

    Args:
        attentions: a model's `.attentions`, a tuple of [batch, heads, query, key]; row 0 is shown.
        tokens: the pieces of row 0; `[PAD]` at the end is cut.
        pair_start: where the second text begins, to filter by text.
        layer: the layer shown first, counted from 0.
    Returns:
        The view.
    Raises:
        InputError: when tokens and weights do not match or would not fit on a page; there is no such layer.
    """
    if not 0 <= layer < len(attentions):
        raise InputError(f"head_view: layer is {layer}; expected one from 0 to {len(attentions) - 1}")
    return _view("head_view", attentions, tokens, pair_start, layer=layer)


def model_view(attentions: Sequence[Tensor], tokens: Sequence[str], pair_start: int | None = None) -> View:
    """bertviz's model view: every head of every layer as a small picture.

    Args:
        attentions: a model's `.attentions`, a tuple of [batch, heads, query, key]; row 0 is shown.
        tokens: the pieces of row 0; `[PAD]` at the end is cut.
        pair_start: where the second text begins, to filter by text.
    Returns:
        The view.
    Raises:
        InputError: when tokens and weights do not match or would not fit on a page.
    """
    return _view("model_view", attentions, tokens, pair_start, display_mode="light")


def _view(
    name: str, attentions: Sequence[Tensor], tokens: Sequence[str], pair_start: int | None, **how: Any
) -> View:
    attentions, tokens = _prepare(attentions, tokens)
    html = getattr(optional("bertviz"), name)(
        attentions, tokens, pair_start, html_action="return", **how
    ).data
    layers, heads = len(attentions), attentions[0].size(1)
    counts = f"{layers} layer{'s' * (layers > 1)} and {heads} head{'s' * (heads > 1)}"
    alt = f"{name.replace('_', ' ').capitalize()} of {counts} over: {' '.join(tokens)}"
    return View(_fixed(html), alt)


def _prepare(attentions: Sequence[Tensor], tokens: Sequence[str]) -> tuple[list[Tensor], list[str]]:
    if isinstance(attentions, Tensor) or not len(attentions):
        raise InputError(
            "attentions: expected a tuple with a tensor a layer, as return_attentions=True gives"
        )
    if len(tokens) > attentions[0].size(-1):
        raise InputError(f"{len(tokens)} tokens, but attention weights of shape {list(attentions[0].shape)}")
    kept = real_tokens(tokens)
    # In double precision a rounded weight is written with three digits, not seventeen.
    cut = [
        layer[:1, :, : len(kept), : len(kept)].detach().cpu().double().round(decimals=3)
        for layer in attentions
    ]
    if sum(layer.numel() for layer in cut) > MOST_WEIGHTS:
        raise InputError(
            f"{len(cut)} layers of {cut[0].size(1)} heads over {len(kept)} tokens make a page of megabytes: "
            f"show a shorter text or fewer layers"
        )
    return cut, kept


def _fixed(html: str) -> str:
    """bertviz's random name of a view, replaced by one that depends on what is shown and how often."""
    name = re.search(r"bertviz-[0-9a-f]{32}", html)
    if not name:
        return html
    digest = hashlib.sha256(html.replace(name[0], "").encode()).hexdigest()[:24]
    _shown[digest] += 1
    return html.replace(name[0], f"bertviz-{digest}{_shown[digest]:08d}")
