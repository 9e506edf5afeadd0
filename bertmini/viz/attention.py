"""Attention as a picture: a heat map, arcs between tokens, and the grid of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from bertmini.errors import InputError
from bertmini.viz.picture import Picture
from bertmini.viz.style import COLOURS, INK, optional

PADDING = ("[PAD]", "<pad>")  # as BERT's tokenizer and as the others call it
CELL = 0.52  # inches a token in a grid


def select_weights(
    attentions: Sequence[Tensor] | Tensor, tokens: Sequence[str], layer: int, head: int
) -> Tensor:
    """One head's weights as [query, key], cut to the tokens that are there.

    Args:
        attentions: a model's `.attentions`, a tuple of [batch, heads, query, key] of which row 0 is taken; or
            one such tensor, or [heads, query, key], or [query, key].
        tokens: the pieces; trailing `[PAD]` are cut.
        layer: counted from 0.
        head: counted from 0.
    Raises:
        InputError: when there is no such layer or head, or tokens and weights do not match.
    """
    layers = [attentions] if isinstance(attentions, Tensor) else list(attentions)
    if not -len(layers) <= layer < len(layers):
        raise InputError(f"layer {layer}: attentions hold {len(layers)} layers, counted from 0")
    weights = layers[layer].detach().float().cpu()
    if weights.dim() == 4:
        weights = weights[0]
    if weights.dim() == 2:
        weights = weights[None]
    if weights.dim() != 3 or weights.size(1) != weights.size(2):
        raise InputError(f"attention weights of shape {list(weights.shape)}: expected [heads, query, key]")
    if not -len(weights) <= head < len(weights):
        raise InputError(f"head {head}: layer {layer} has {len(weights)} heads, counted from 0")
    kept = len(real_tokens(tokens))
    if len(tokens) > weights.size(-1):
        raise InputError(f"{len(tokens)} tokens, but attention weights of shape {list(weights.shape)}")
    return weights[head, :kept, :kept]


def real_tokens(tokens: Sequence[str]) -> list[str]:
    """The tokens without the padding at their end."""
    kept = list(tokens)
    while kept and kept[-1] in PADDING:
        kept.pop()
    return kept


def attention_heatmap(
    attentions: Sequence[Tensor] | Tensor,
    tokens: Sequence[str],
    layer: int = 0,
    head: int = 0,
    title: str | None = None,
) -> Picture:
    """One head as a grid: a row for each token that looks, a column for each token that is looked at.

    Args:
        attentions: a model's `.attentions`, or one tensor [heads, query, key] or [query, key].
        tokens: the pieces; `[PAD]` at the end is cut.
        layer: counted from 0.
        head: counted from 0.
        title: above the picture; by default the layer and the head.
    Returns:
        The picture. Up to 12 tokens each cell holds its number as well.
    Raises:
        InputError: when there is no such layer or head, or tokens and weights do not match.
    """
    weights = select_weights(attentions, tokens, layer, head)
    tokens = real_tokens(tokens)
    count = len(tokens)
    size = max(2.2, CELL * count) if count <= 12 else max(6.2, 0.24 * count)
    picture = Picture(size + 1.1, size + 0.7)
    axis = picture.axis
    axis.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="equal")
    if count <= 12:
        for query, key in product(range(count), repeat=2):
            weight = weights[query, key].item()
            # From here on the blue is dark enough for white figures to stand out more than black ones.
            ink = "white" if weight > 0.7 else "black"
            axis.text(key, query, f"{weight:.2f}", ha="center", va="center", color=ink, fontsize=8)
    _name_axes(axis, tokens)
    axis.set_title(title or f"layer {layer}, head {head}")
    strongest = [f"{token} → {tokens[int(row.argmax())]}" for token, row in zip(tokens, weights, strict=True)]
    name = title or f"attention in layer {layer}, head {head}"
    which = "each row" if len(tokens) <= 12 else f"the first 12 of {len(tokens)} rows"
    picture.alt = f"Heat map of {name}; strongest weight of {which}: {', '.join(strongest[:12])}."
    return picture


def attention_arcs(
    weights: Tensor, tokens: Sequence[str], query: int, title: str | None = None, threshold: float = 0.01
) -> Picture:
    """What one token gathers: an arc to each token that it looks at, as thick as the weight.

    Args:
        weights: [query, key], each row sums to 1.
        tokens: the pieces.
        query: the position that looks, counted from 0.
        title: above the picture.
        threshold: smaller weights get no arc.

    Returns:
        The picture; each arc's weight stands below its token.

    Raises:
        InputError: there is no such position, or tokens and weights do not match.
    """
    tokens = real_tokens(tokens)
    if not 0 <= query < len(tokens):
        raise InputError(f"attention_arcs: query is {query}; expected a position from 0 to {len(tokens) - 1}")
    row = select_weights(weights, tokens, 0, 0)[query]
    picture = Picture(min(8.8, max(3.5, 0.95 * len(tokens))), 2.3)
    axis = picture.axis
    steps = torch.linspace(0, torch.pi, 60)
    for key, weight in enumerate(row.tolist()):
        if weight < threshold:
            continue
        middle, radius = (query + key) / 2, abs(query - key) / 2
        if key == query:
            x, y = query + 0.12 * torch.sin(2 * steps), 0.16 + 0.14 * (1 - torch.cos(2 * steps))
        else:
            x, y = middle + radius * torch.cos(steps), 0.16 + 0.75 * radius**0.7 * torch.sin(steps)
        axis.plot(
            x.numpy(),
            y.numpy(),
            color=COLOURS[0],
            linewidth=0.6 + 8 * weight,
            linestyle="-",
            solid_capstyle="butt",
        )
    for position, token in enumerate(tokens):
        style = {"ha": "center", "va": "center", "color": INK}
        weight = "bold" if position == query else "normal"
        axis.text(position, 0, token, fontsize=10 if len(tokens) > 9 else 11, weight=weight, **style)
        axis.text(position, -0.22, f"{row[position]:.2f}", fontsize=9, **style)
    axis.set_xlim(-0.6, len(tokens) - 0.4)
    axis.set_ylim(-0.35, None)
    axis.axis("off")
    axis.set_title(title or f"what {tokens[query]!r} gathers")
    shares = ", ".join(f"{token} {weight:.2f}" for token, weight in zip(tokens, row.tolist(), strict=True))
    picture.alt = f"Arcs from {tokens[query]!r} to what it looks at: {shares}."
    return picture


def mask_grid(mask: Tensor, tokens: Sequence[str], title: str = "mask") -> Picture:
    """A mask as a grid: a filled cell with a dot where the row's token may look at the column's.

    Args:
        mask: bool [query, key] or broadcast to it; leading dimensions of 1 are dropped.
        tokens: the pieces, `[PAD]` included.
        title: above the picture.
    Returns:
        The picture.
    Raises:
        InputError: the mask is for another number of tokens.
    """
    count = len(tokens)
    while mask.dim() > 2:
        mask = mask[0]
    if any(size not in (1, count) for size in mask.shape):
        raise InputError(f"{count} tokens, but a mask of shape {list(mask.shape)}")
    allowed = mask.expand(count, count).cpu()
    size = CELL * 0.8 * count
    picture = Picture(max(2.6, size + 1.1), max(2.2, size + 0.7))
    axis = picture.axis
    blue_or_pale = optional("matplotlib.colors").ListedColormap(["#F2F2F2", COLOURS[0]])
    axis.imshow(allowed.numpy(), cmap=blue_or_pale, vmin=0, vmax=1, aspect="equal")
    queries, keys = allowed.nonzero(as_tuple=True)
    axis.scatter(keys.numpy(), queries.numpy(), s=14, color="white")
    _name_axes(axis, tokens)
    axis.set_title(title)
    sees = [f"{token} sees {int(row.sum())} of {count}" for token, row in zip(tokens, allowed, strict=True)]
    picture.alt = f"Grid of the {title}: {'; '.join(sees)}."
    return picture


def _name_axes(axis: Any, tokens: Sequence[str]) -> None:
    slanted = len(tokens) <= 12
    turn: dict[str, Any] = (
        {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if slanted else {"rotation": 90}
    )
    axis.set_xticks(range(len(tokens)), tokens, **turn)
    axis.set_yticks(range(len(tokens)), tokens)
    axis.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axis.set_xlabel("looked at (key)")
    axis.set_ylabel("looks (query)")
    # Lines between the cells keep neighbours apart where both are pale.
    axis.set_xticks([edge - 0.5 for edge in range(1, len(tokens))], minor=True)
    axis.set_yticks([edge - 0.5 for edge in range(1, len(tokens))], minor=True)
    axis.set_axisbelow(False)
    axis.grid(which="minor", color=INK, linewidth=0.5)
    axis.tick_params(which="minor", length=0)
    axis.spines[:].set_visible(False)
