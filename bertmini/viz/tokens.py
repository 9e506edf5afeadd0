"""Text cut into pieces: numbered boxes, a word's boxes side by side, in lines that break where the page ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bertmini.viz.picture import escape
from bertmini.viz.style import COLOURS

BOX = (
    "display:inline-block;border:1.5px {line} {colour};border-radius:4px;background:{colour}26;"
    "padding:1px 5px;margin-right:2px;text-align:center;line-height:1.35"
)
WORD = "display:inline-block;vertical-align:top;margin:0 9px 9px 0;text-align:center;white-space:nowrap"
SMALL = "font-size:72%"


class TokenBoxes:
    """Pieces as boxes. In a notebook it is HTML that takes the page's colours; its plain text is compared."""

    def __init__(self, html: str, alt: str) -> None:
        self.alt = alt
        self._html = html

    def html(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict:
        return {"text/html": self._html, "text/plain": self.alt}


def token_boxes(
    tokens: Sequence[str], words: Sequence[int | None] | None = None, **numbers: Sequence[Any]
) -> TokenBoxes:
    """Draw pieces as boxes, a word's boxes side by side with the word's number below them.

    Args:
        tokens: the pieces.
        words: the number of each piece's word; None for a special token, whose box is dashed.
        numbers: rows of small print inside each box, as `id=batch["input_ids"]`.
    Returns:
        The boxes, as HTML that breaks lines between words.
    """
    if words is None:
        words = range(len(tokens))
        below = False
    else:
        below = True
    groups: list[tuple[int | None, list[int]]] = []
    for place, word in enumerate(words):
        if word is None or not groups or groups[-1][0] != word:
            groups.append((word, []))
        groups[-1][1].append(place)
    html, lines = [], []
    for order, (word, places) in enumerate(groups):
        colour, line = (COLOURS[order % 2], "solid") if word is not None else ("#757575", "dashed")
        boxes = []
        for place in places:
            small = "".join(
                f'<br><span style="{SMALL}">{escape(_short(values[place]))}</span>'
                for values in numbers.values()
            )
            boxes.append(
                f'<span style="{BOX.format(line=line, colour=colour)}"><b>{escape(tokens[place])}</b>{small}</span>'
            )
            said = [f"{name} {_short(values[place])}" for name, values in numbers.items()]
            lines.append(
                " ".join([tokens[place], *said, *([f"word {word}"] if below and word is not None else [])])
            )
        number = f'<br><span style="{SMALL}">{"word " + str(word) if word is not None else "&nbsp;"}</span>'
        html.append(f'<span style="{WORD}">{"".join(boxes)}{number if below else ""}</span>')
    style = "font-family:ui-monospace,Menlo,Consolas,monospace;white-space:normal"
    return TokenBoxes(f'<div style="{style}">{"".join(html)}</div>', " | ".join(lines))


def _short(value: Any) -> str:
    """A pair of places as start:end, everything else as it prints."""
    return f"{value[0]}:{value[1]}" if isinstance(value, tuple) else str(value)
