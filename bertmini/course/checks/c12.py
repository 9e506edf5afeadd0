"""Chapter 12, question answering."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bertmini.course.exercises import Wrong, exercise, run
from bertmini.tasks import squad


@exercise("12.1")
def f1(attempt: Callable[..., Any]) -> None:
    """`f1(answer, truth)`: of the words of two texts that are normalised already."""
    cases = [
        ("tea", "tea", "the same"),
        ("tea", "sugar", "nothing in common"),
        ("tea", "green tea", "half of the truth's words were found, and nothing else was said: 2/3"),
        ("green tea", "tea", "half of what was said is right"),
        ("tea tea", "tea", "the truth has the word once, so that only one of the two counts"),
        ("tea green", "green tea", "the order of the words does not matter"),
        ("", "", "the passage has no answer, and none was given"),
        ("tea", "", "the passage has no answer, and one was given"),
        ("", "tea", "there is an answer, and none was given"),
        ("six jars of tea", "jars of green tea", "three of four words, both ways"),
    ]
    for answer, truth, why in cases:
        expected = squad.f1(answer, truth)
        number = run(attempt, answer, truth)
        if not isinstance(number, int | float):
            raise Wrong(f"f1 returns a number; yours returned {type(number).__name__}")
        if not abs(number - expected) <= 1e-6:  # nan is far from everything
            given = f"the answer {answer!r} to the truth {truth!r}"
            raise Wrong(f"for {given} you gave {number:.4f}, expected {expected:.4f}: {why}")


@exercise("12.2")
def token_span(attempt: Callable[..., Any]) -> None:
    """`token_span(offsets, start, end)`: the first and the last token that an answer touches."""
    cases = [
        ([(0, 3)], 0, 3, "one token, which is the answer"),
        ([(0, 3), (4, 7)], 4, 7, "the second of two"),
        ([(0, 3), (4, 7), (8, 9)], 0, 7, "two tokens with a space between them"),
        (
            [(0, 3), (3, 5), (6, 9)],
            3,
            5,
            "a piece inside a word; the one before ends where the answer begins",
        ),
        ([(0, 3), (3, 5), (6, 9)], 1, 5, "an answer that begins inside a piece has all of it"),
        ([(2, 5), (6, 9)], 5, 9, "an answer that begins with a space"),
    ]
    for offsets, start, end, why in cases:
        touched = [i for i, (first, last) in enumerate(offsets) if first < end and start < last]
        answer = run(attempt, offsets, start, end)
        expected = (touched[0], touched[-1])
        if not isinstance(answer, tuple) or tuple(map(int, answer)) != expected:
            given = f"offsets {offsets} and an answer from {start} to {end}"
            raise Wrong(f"for {given} you gave {answer!r}, expected {expected}: {why}")


@exercise("12.3")
def best_span(attempt: Callable[..., Any]) -> None:
    """`best_span(start_logits, end_logits, longest)`: the best first and last token."""
    cases = [
        ([1.0], [1.0], 30, "there is one token"),
        ([0.0, 2.0], [0.0, 2.0], 30, "both scores are highest at the second token"),
        ([0.0, 3.0, 2.0], [4.0, 0.0, 1.5], 30, "the best start stands behind the best end"),
        ([5.0, 0.0, 1.0], [0.0, 0.0, 5.0], 2, "0 to 2 has the highest sum, and three tokens; two may be"),
        ([5.0, 0.0, 1.0], [0.0, 0.0, 5.0], 3, "three tokens are allowed"),
    ]
    generator = torch.Generator().manual_seed(0)
    for length in (4, 9, 40):
        start, end = torch.randn(2, length, generator=generator).tolist()
        cases.append((start, end, 3, "random scores"))
    for start, end, longest, why in cases:
        spans = [(i, j) for i in range(len(start)) for j in range(i, min(i + longest, len(start)))]
        expected = max(spans, key=lambda span: start[span[0]] + end[span[1]])
        answer = run(attempt, torch.tensor(start), torch.tensor(end), longest)
        if not isinstance(answer, tuple) or tuple(map(int, answer)) != expected:
            shown = "random scores" if len(start) > 3 else f"starts {start} and ends {end}"
            raise Wrong(
                f"for {shown} and {longest} tokens at most you gave {answer!r}, expected {expected}: {why}"
            )
