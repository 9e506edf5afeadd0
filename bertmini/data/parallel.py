"""Texts and what they become: a translation, say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Parallel:
    """A text and what it is to become, or None where that is unknown."""

    source: str
    target: str | None = None
