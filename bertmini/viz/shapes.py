"""Shapes as boxes: a tensor is a rectangle with its name in it and its sizes on its sides."""

from __future__ import annotations

from collections.abc import Sequence

from bertmini.viz.picture import Picture
from bertmini.viz.style import COLOURS, INK, optional

Size = str | int
Step = str | tuple[str, Size, Size]

LETTER, GAP = 0.115, 0.28  # a letter's width and the air around an operator, in units of the drawing


def boxes(steps: Sequence[Step], title: str | None = None) -> Picture:
    """Draw a formula of tensors, left to right.

    Args:
        steps: a tensor is (name, rows, columns), the sizes as words or numbers; a string is what stands
            between two tensors: "@", "=", "→ softmax". Equal size words get equal lengths.
        title: above the picture.
    Returns:
        The picture.
    """
    rectangle = optional("matplotlib.patches").Rectangle
    tensors = [step for step in steps if not isinstance(step, str)]
    lengths = _lengths([size for _, *sizes in tensors for size in sizes])
    tallest = max(lengths[rows] for _, rows, _ in tensors)
    width = sum(
        LETTER * len(step) + 2 * GAP if isinstance(step, str) else lengths[step[2]] + 0.45 for step in steps
    )
    picture = Picture(min(9.0, max(3.0, 0.8 * width)), max(1.5, 0.8 * (tallest + 1.1)))
    axis = picture.axis
    style = {"ha": "center", "color": INK}
    x = 0.0
    for step in steps:
        if isinstance(step, str):
            size = LETTER * len(step) + 2 * GAP
            axis.text(x + size / 2, 0, step, va="center", fontsize=11, **style)
            x += size
            continue
        name, rows, columns = step
        height, wide = lengths[rows], lengths[columns]
        edge = COLOURS[tensors.index(step) % len(COLOURS)]
        axis.add_patch(
            rectangle((x + 0.3, -height / 2), wide, height, fc="none", ec=edge, linewidth=1.6)
        )
        fits = min(11, 11 * wide / (LETTER * len(name) + 0.3))  # points, so that the name stays in its box
        axis.text(x + 0.3 + wide / 2, 0, name, va="center", weight="bold", fontsize=fits, **style)
        axis.text(x + 0.18, 0, rows, va="center", rotation=90, fontsize=8.5, **style)
        axis.text(x + 0.3 + wide / 2, height / 2 + 0.08, columns, va="bottom", fontsize=8.5, **style)
        x += wide + 0.45
    axis.set_xlim(0, x)
    axis.set_ylim(-tallest / 2 - 0.15, tallest / 2 + 0.4)
    axis.set_aspect("equal")
    axis.axis("off")
    if title:
        axis.set_title(title)
    words = [step if isinstance(step, str) else f"{step[0]} [{step[1]}, {step[2]}]" for step in steps]
    picture.alt = f"{title or 'Shapes'}: {' '.join(words)}."
    return picture


def _lengths(names: Sequence[Size]) -> dict[Size, float]:
    """A side's length in the drawing: numbers by their root, within limits; words in order of appearance."""
    lengths: dict[Size, float] = {}
    palette = [1.35, 1.0, 1.7, 0.75, 2.0]
    words = 0
    for name in names:
        if name in lengths:
            continue
        if isinstance(name, int):
            lengths[name] = min(2.2, max(0.5, 0.42 * name**0.5))
        else:
            lengths[name] = palette[words % len(palette)]
            words += 1
    return lengths
