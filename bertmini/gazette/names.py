"""The names in a sentence, known from the gaps that they fill."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bertmini.gazette.world import WORD, Sentence, Slot

KINDS = ("person", "place", "organisation", "ship", "event", "work", "animal")
# What fills a gap is a name of this kind, whatever its words are elsewhere.
KIND_OF_SLOT = {
    **{(variable, facet): "person" for variable in ("hero", "friend") for facet in ("", "first", "last")},
    ("official", ""): "person", ("official", "last"): "person", ("ship", "captain"): "person",
    **{(variable, facet): "place" for variable in ("place", "elsewhere") for facet in ("", "at", "to")},
    ("ship", "from"): "place", ("ship", ""): "ship",
    **{(variable, facet): "organisation" for variable in ("org", "team", "rival") for facet in ("", "short")},
    ("festival", ""): "event", ("festival", "short"): "event",
    ("play", ""): "work", ("animal", "answer"): "animal",
}  # fmt: skip
# Names in the words between the gaps, and inside what fills other gaps. Each means one thing in Port Quill.
KIND_OF_WORDS = {
    "Port Quill": "place", "Spice Islands": "place", "Tarn": "place",
    "Harbour Board": "organisation", "Board": "organisation", "Gazette": "organisation",
}  # fmt: skip
FIXED = re.compile("|".join(KIND_OF_WORDS))
BEFORE_NAME = re.compile(r"(?:[a-z]+ )*")             # "down to", "the": no part of a name (CoNLL-2003)
TITLE = re.compile(r"(?:Mrs|Mr|Miss|Captain|Doctor|Constable|Reverend) ")


@dataclass(frozen=True)
class Name:
    """A name of one of the `KINDS`, and the characters of its sentence that it fills."""

    kind: str
    start: int
    end: int


def names(sentence: Sentence) -> list[Name]:
    """The names of a sentence in order. Articles and titles are no part of them."""
    found, marked = [], set()
    for first, end, kind in sentence.template.names:
        found += trimmed(sentence, first, end, kind)
        marked |= set(range(first, end))
    for place, piece in enumerate(sentence.template.pieces):
        if place in marked:
            continue
        if isinstance(piece, Slot) and (slot_kind := KIND_OF_SLOT.get((piece.variable or "", piece.facet))):
            found += trimmed(sentence, place, place + 1, slot_kind)
        else:
            start = sentence.ends[place]
            found += [Name(KIND_OF_WORDS[match[0]], start + match.start(), start + match.end())
                      for match in FIXED.finditer(sentence.strings[place])]
    return joined(sorted(found, key=lambda name: name.start))


def joined(found: Sequence[Name]) -> list[Name]:
    """Names with first name and last name as one: nothing but a space is between them."""
    whole: list[Name] = []
    for name in found:
        if whole and whole[-1].kind == name.kind == "person" and whole[-1].end + 1 == name.start:
            name = Name("person", whole.pop().start, name.end)
        whole.append(name)
    return whole


def trimmed(sentence: Sentence, first: int, end: int, kind: str) -> list[Name]:
    """The name that fills some pieces; none where they hold no word with a capital ("the lanterns")."""
    text = "".join(sentence.strings[first:end])
    skipped = BEFORE_NAME.match(text).end()           # type: ignore[union-attr]
    if kind == "person" and (title := TITLE.match(text, skipped)):
        skipped = title.end()
    if not text[skipped:skipped + 1].isupper():
        return []
    return [Name(kind, sentence.ends[first] + skipped, sentence.ends[end])]


def tagged(text: str, found: Sequence[Name]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words and punctuation marks of a text, split as `words_of` does, and a BIO tag for each."""
    tag_at: dict[int, str] = {}
    for name in found:
        tag_at |= dict.fromkeys(range(name.start, name.end), f"I-{name.kind}")
        tag_at[name.start] = f"B-{name.kind}"
    matches = list(WORD.finditer(text))
    return tuple(m[0] for m in matches), tuple(tag_at.get(m.start(), "O") for m in matches)
