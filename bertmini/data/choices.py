"""Questions with several answers to choose from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """A text, the ways in which it may go on, and the number of the right one from 0, or None."""

    text: str
    options: tuple[str, ...]
    label: int | None = None
