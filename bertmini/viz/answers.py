"""An answer in its passage: how likely it begins and ends at each piece, drawn in the text."""

from __future__ import annotations

from collections.abc import Sequence

from bertmini.viz.picture import Picture
from bertmini.viz.style import COLOURS, FAINT, INK

COLUMNS = 76  # characters of a line
PITCH = 3.4  # from one line to the next, where a bar of probability 1 has height 1
HALF = 0.55  # of a line of letters


def answer_places(
    text: str,
    offsets: Sequence[tuple[int, int]],
    start: Sequence[float],
    end: Sequence[float],
    answer: tuple[int, int] | None = None,
    title: str = "",
) -> Picture:
    """Draw a passage with bars at its pieces: above a line, how likely the answer begins there; below it and
    hatched, how likely it ends there.

    Args:
        text: the passage.
        offsets: for each piece its first character and the one after its last.
        start, end: for each piece the two probabilities.
        answer: the first character of an answer and the one after its last; it gets a frame.
        title: above the picture.
    """
    lines = break_lines(text)
    picture = Picture(7.4, 0.52 * len(lines) + 0.6)
    axis = picture.axis
    for number, (first, last) in enumerate(lines):
        middle = -PITCH * number
        axis.hlines([middle + HALF, middle - HALF], 0, last - first, color=FAINT, linewidth=0.8)
        letter = {"family": "monospace", "size": 9.5, "color": INK, "ha": "center", "va": "center"}
        for column, character in enumerate(text[first:last]):
            axis.text(column + 0.5, middle, character, **letter)
        for (begin, stop), starts, ends in zip(offsets, start, end, strict=True):
            if first <= begin < last:
                bar = {"x": begin - first, "width": stop - begin, "align": "edge"}
                axis.bar(height=starts, bottom=middle + HALF, color=COLOURS[0], **bar)
                hatched = {"color": "none", "edgecolor": COLOURS[1], "hatch": "//////", "linewidth": 0}
                axis.bar(height=-ends, bottom=middle - HALF, **hatched, **bar)
        if answer and first < answer[1] and answer[0] < last:
            left, right = max(answer[0], first) - first, min(answer[1], last) - first
            corners = [middle + HALF * sign for sign in (-1, 1, 1, -1, -1)]
            axis.plot([left, left, right, right, left], corners, "-", color=INK, linewidth=1.6)
    axis.set(
        xlim=(-0.5, COLUMNS + 0.5), ylim=(-PITCH * (len(lines) - 1) - HALF - 1.05, HALF + 1.05), title=title
    )
    axis.set_axis_off()
    picture.alt = f"{title}: {described(text, offsets, start, end, answer)}".removeprefix(": ")
    return picture


def break_lines(text: str, columns: int = COLUMNS) -> list[tuple[int, int]]:
    """Where each line begins and ends, in characters; a line breaks at a space where it has one."""
    lines, first = [], 0
    while len(text) - first > columns:
        last = text.rfind(" ", first, first + columns + 1) + 1 or first + columns
        lines.append((first, last))
        first = last
    return [*lines, (first, len(text))]


def described(
    text: str,
    offsets: Sequence[tuple[int, int]],
    start: Sequence[float],
    end: Sequence[float],
    answer: tuple[int, int] | None,
) -> str:
    """The picture in words: the likeliest places, and the frame."""
    told = []
    for what, chances in (("begins", start), ("ends", end)):
        likeliest = sorted(range(len(offsets)), key=lambda i: -chances[i])[:2]
        places = " or ".join(f"at {text[slice(*offsets[i])]!r} ({chances[i]:.0%})" for i in likeliest)
        told.append(f"it {what} {places}")
    framed = f"; framed: {text[slice(*answer)]!r}" if answer else ""
    return f"a passage of {len(text)} characters; the answer: {', '.join(told)}{framed}."
