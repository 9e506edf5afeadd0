"""Entities drawn in their text: boxes around the words, each with its kind."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import adler32

from bertmini.data.tagged import Entity, entities_of
from bertmini.errors import InputError
from bertmini.viz.picture import escape
from bertmini.viz.style import COLOURS
from bertmini.viz.tokens import SMALL, TokenBoxes

# In a widget, HTML is black of itself; the book's page has a name for its ink, Jupyter and Colab have not.
STYLE = "line-height:2.1;margin:0 0 10px 0;color:var(--pst-color-text-base,inherit)"
BOX = "padding:2px 5px;border-radius:4px;-webkit-box-decoration-break:clone;box-decoration-break:clone"
LINES = ("solid", "dashed", "dotted", "double")


def entity_spans(words: Sequence[str], **tags: Sequence[str]) -> TokenBoxes:
    """Draw the entities of a text in it, once for each row of tags.

    Args:
        words: of the text.
        tags: rows of a tag for each word, by name: `entity_spans(words, truth=…, answer=…)`.

    Returns:
        The text in boxes. Each box says its kind, and kinds have colours and lines that stay theirs.

    Raises:
        InputError: a row has not as many tags as there are words.
    """
    for name, row in tags.items():
        if len(row) != len(words):
            raise InputError(f"{name} has {len(row)} tags for {len(words)} words; expected one each")
    rows = {name: entities_of(row) for name, row in tags.items()}
    html, said = "", []
    for name, entities in rows.items():
        parts = [_part(words, entity) for entity in _all_words(entities, len(words))]
        title = (
            f'<span style="{SMALL};margin-right:8px"><b>{escape(name)}</b></span>' if len(rows) > 1 else ""
        )
        html += f'<div style="{STYLE}">{title}{" ".join(part for part, _ in parts)}</div>'
        said.append((f"{name}: " if len(rows) > 1 else "") + " ".join(alt for _, alt in parts))
    return TokenBoxes(html, "\n".join(said))


def _all_words(entities: Sequence[Entity], length: int) -> list[Entity]:
    """The entities, and between them each word that is in none, with no label."""
    inside = {place for entity in entities for place in range(entity.start, entity.end)}
    outside = [Entity(place, place + 1, "") for place in range(length) if place not in inside]
    return sorted([*entities, *outside])


def _part(words: Sequence[str], entity: Entity) -> tuple[str, str]:
    """HTML and plain text of an entity, or of a word outside."""
    text = " ".join(words[entity.start : entity.end])
    if not entity.label:
        return escape(text), text
    number = adler32(entity.label.encode())
    colour, line = COLOURS[number % len(COLOURS)], LINES[number // len(COLOURS) % len(LINES)]
    style = f"{BOX};border:1.5px {line} {colour};background:{colour}26"
    label = f'<span style="{SMALL}">{escape(entity.label)}</span>'
    return f'<span style="{style}"><b>{escape(text)}</b> {label}</span>', f"[{text} | {entity.label}]"
