"""Words with tags, from the files people have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tagged:
    """The words of a sentence or a document, and a tag for each (BIO: B-place, I-place, O), or None."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
