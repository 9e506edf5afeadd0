"""Chapter 00, start here."""

from __future__ import annotations

import re

import torch

from bertmini.course.exercises import Wrong, exercise, run


@exercise("00.1")
def hide(attempt) -> None:
    """`hide(text, word)`: the first whole word of that spelling becomes [MASK]."""
    cases = [
        ("the fog", "fog", "that word becomes [MASK]"),
        ("the fog and the tide", "the", "only the first one is hidden"),
        ("other the", "the", "only whole words count"),
        ("The fog came in.", "in", "the full stop stays"),
        ("he said (twice) no", "said", "nothing else changes"),
    ]
    for text, word, hint in cases:
        answer = run(attempt, text, word)
        expected = re.sub(rf"\b{word}\b", "[MASK]", text, count=1)
        if answer != expected:
            raise Wrong(f"for {text!r} and {word!r} you gave {answer!r}, expected {expected!r}: {hint}")


@exercise("00.2")
def rank(attempt) -> None:
    """`rank(probabilities, truth)`: 1 where no piece is likelier than the truth."""
    cases = [
        ([1.0], 0, "nothing is likelier than the only piece"),
        ([0.6, 0.4], 0, "the likeliest piece has rank 1"),
        ([0.6, 0.4], 1, "one piece is likelier"),
        ([0.1, 0.2, 0.4, 0.3], 0, "count the likelier pieces, wherever they stand"),
        ([0.5, 0.25, 0.25], 2, "an equally likely piece is not likelier"),
    ]
    for probabilities, truth, hint in cases:
        answer = run(attempt, torch.tensor(probabilities), truth)
        expected = sum(p > probabilities[truth] for p in probabilities) + 1
        if isinstance(answer, torch.Tensor):
            answer = answer.item() if answer.numel() == 1 else answer.tolist()
        if isinstance(answer, bool) or answer != expected:
            raise Wrong(
                f"for probabilities {probabilities} and truth {truth} you gave {answer}, expected "
                f"{expected}: {hint}"
            )
