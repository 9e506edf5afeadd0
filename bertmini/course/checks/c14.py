"""Chapter 14, writing and translating with a mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bertmini.course.exercises import Wrong, exercise, expect_tensor, run
from bertmini.model.attention import sequence_to_sequence_mask
from bertmini.tasks.decoding import best_continuations


@exercise("14.1")
def writing_mask(attempt: Callable[..., Any]) -> None:
    """`writing_mask(types)`: who may look where, source first and target behind it."""
    for types in ([0], [0, 1], [0, 0, 1], [0, 1, 1], [0, 0, 0, 1, 1, 1]):
        answer = run(attempt, torch.tensor(types))
        expect_tensor(answer, sequence_to_sequence_mask(torch.tensor([types]))[0], f"types {types}")


@exercise("14.2")
def agreement(attempt: Callable[..., Any]) -> None:
    """`agreement(written, right)`: the share of written words that the right text has too."""
    cases = [
        ("", "a", 0.0, "nothing is written, and nothing agrees"),
        ("a", "a", 1.0, "the word agrees"),
        ("a", "b", 0.0, "the word is another one"),
        ("a b", "a", 0.5, "one of the two written words agrees"),
        ("a", "a b", 1.0, "all that is written agrees; what is missing is no matter here"),
        ("a a", "a b", 0.5, "a stands once in the right text, and counts once"),
        ("b a", "a b", 1.0, "single words have no order"),
        ("the cat the cat", "the cat sat here", 0.5, "the and cat count once each"),
        ("a a a b", "a b a b", 0.75, "two of three a, and the b"),
    ]
    for written, right, expected, why in cases:
        answer = run(attempt, written.split(), right.split())
        try:
            number = float(answer)
        except (TypeError, ValueError):
            raise Wrong(f"agreement returns a number; yours returned {type(answer).__name__}") from None
        if not abs(number - expected) < 1e-6:
            words = f"for written {written.split()} and right {right.split()}"
            raise Wrong(f"{words} you gave {number:.4g}, expected {expected:.4g}: {why}")


@exercise("14.3")
def continue_beams(attempt: Callable[..., Any]) -> None:
    """`continue_beams(totals, log_probs, number)`: the best beginnings with one piece more."""
    cases = [
        ([1.0], [[0.4, 0.6]], 1),
        ([1.0], [[0.2, 0.5, 0.3]], 2),
        ([0.6, 0.4], [[0.5, 0.5], [0.1, 0.9]], 1),
        ([0.5, 0.4], [[0.3, 0.3, 0.4], [0.01, 0.09, 0.9]], 2),
    ]
    for totals, chances, number in cases:
        log_totals, log_probs = torch.tensor(totals).log(), torch.tensor(chances).log()
        answer = run(attempt, log_totals, log_probs, number)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise Wrong("continue_beams returns two tensors: beginnings, and pieces")
        _, parents, pieces = best_continuations(log_totals[None], log_probs[None], number)
        given = f"the logarithms of totals {totals} and of chances {chances}, and number {number}, "
        expect_tensor(answer[0], parents[0], f"{given}the beginnings:")
        expect_tensor(answer[1], pieces[0], f"{given}the pieces:")
