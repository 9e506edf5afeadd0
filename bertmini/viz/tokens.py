"""Text cut into pieces: numbered boxes, a word's boxes side by side, in lines that break like text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from bertmini.errors import InputError
from bertmini.viz.picture import escape
from bertmini.viz.style import COLOURS, INK

# In a widget, HTML is black of itself; the book's page has a name for its ink, Jupyter and Colab have not.
STYLE = (
    "font:90% ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:normal;"
    "color:var(--pst-color-text-base,inherit)"
)
WORD = "display:inline-block;vertical-align:top;text-align:center;line-height:1.5;margin:0 8px 10px 0"
BOX = "display:inline-block;line-height:1.35;padding:1px 5px;margin-right:2px;border-radius:4px"
SMALL = "font-size:75%"


class TokenBoxes:
    """Boxes that show themselves as HTML in the page's own ink; their plain text (`.alt`) is compared."""

    def __init__(self, html: str, alt: str) -> None:
        self._html, self.alt = html, alt

    def html(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict:
        return {"text/html": self._html, "text/plain": self.alt}


def token_boxes(
    tokens: Sequence[str], words: Sequence[int | None] | None = None, **numbers: Sequence[Any]
) -> TokenBoxes:
    """Draw pieces as boxes, a word's boxes side by side over the number of the word.

    Args:
        tokens: the pieces.
        words: the number of each piece's word; None for a special token, whose box is dashed.
        numbers: rows of small print inside the boxes, as `id=batch["input_ids"]`.
    Returns:
        The boxes; lines break between words.
    """
    for name, row in {"words": tokens if words is None else words, **numbers}.items():
        if len(row) != len(tokens):
            raise InputError(f"{name} has {len(row)} values for {len(tokens)} tokens; expected one each")
    html, said = [], []
    word_of = list(range(len(tokens))) if words is None else words
    # A special token is never in one group with its neighbour.
    group_of = [-1 - place if word is None else word for place, word in enumerate(word_of)]
    for order, (word, places) in enumerate(groupby(range(len(tokens)), group_of.__getitem__)):
        border = f"1.5px dashed {INK}" if word < 0 else f"1.5px solid {COLOURS[order % 2]}"
        ground = "none" if word < 0 else f"{COLOURS[order % 2]}26"
        boxes = ""
        for place in places:
            prints = {name: _short(values[place]) for name, values in numbers.items()}
            lines = "".join(f'<br><span style="{SMALL}">{escape(line)}</span>' for line in prints.values())
            style = f"{BOX};border:{border};background:{ground}"
            boxes += f'<span style="{style}"><b>{escape(tokens[place])}</b>{lines}</span>'
            parts = [tokens[place], *(f"{name} {line}" for name, line in prints.items())]
            said.append(" ".join(parts if words is None or word < 0 else [*parts, f"word {word}"]))
        if words is not None:
            boxes += f'<br><span style="{SMALL}">{"&nbsp;" if word < 0 else f"word {word}"}</span>'
        html.append(f'<span style="{WORD}">{boxes}</span>')
    return TokenBoxes(f'<div style="{STYLE}">{"".join(html)}</div>', " | ".join(said))


def _short(value: Any) -> str:
    """A place as start:end, everything else as it prints."""
    return f"{value[0]}:{value[1]}" if isinstance(value, tuple) else str(value)
