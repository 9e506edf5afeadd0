"""Questions about a passage, and where in it the answers stand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """A stretch of a passage: its characters, and the place of the first one."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question and its passage; answers is None where they are unknown, and () where there is none."""

    question: str
    context: str
    answers: tuple[Answer, ...] | None = None
    id: str = ""
