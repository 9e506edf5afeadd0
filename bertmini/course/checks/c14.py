"""Chapter 14, writing and translating with a mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bertmini.course.exercises import Wrong, exercise, expect_tensor, run
from bertmini.course.replace import samples
from bertmini.model.attention import sequence_to_sequence_mask
from bertmini.tasks.decoding import best_continuations

# Token types and attention masks, the smallest first; None where there is no padding.
ROWS: list[tuple[list[list[int]], list[list[int]] | None]] = [
    ([[0]], None),
    ([[0, 1]], None),
    ([[0, 0, 1]], None),
    ([[0, 1, 1]], None),
    ([[0, 1, 1], [0, 0, 1]], None),
    ([[0, 1, 0]], [[1, 1, 0]]),
    ([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
]

# Written and right texts, what is new in each, the smallest first.
TEXTS = [
    (["a b c d"], ["a b c d"], "all of it agrees"),
    (["a b c d"], ["e f g h"], "no quadruple agrees"),
    (["a b c d"], ["a b c d e"], "it is shorter than the right text, and lowered for it"),
    (["a b c d e"], ["a b c d"], "it is longer than the right text, and the factor is at most 1"),
    (["a b c d a"], ["a b c d e"], "the second a does not count, for the right text has one"),
    (["a b c d", "a b"], ["a b c d", "a c"], "counts are added over the texts before they are divided"),
    (["a b c d", "a b c d e f"], ["a b c d e f", "a b c d"], "the factor is for the sum of all lengths"),
]


@exercise("14.1")
def mask(attempt: Callable[..., Any]) -> None:
    """`my_sequence_to_sequence_mask(token_type_ids, attention_mask)`: who may look where."""
    for types, real in ROWS:
        arguments = [torch.tensor(each) for each in (types, real) if each is not None]
        given = f"token_type_ids {types} and attention_mask {real}"
        expect_tensor(run(attempt, *arguments), sequence_to_sequence_mask(*arguments), given)


@samples("sequence_to_sequence_mask")
def mask_samples() -> list[tuple[tuple, dict]]:
    return [(tuple(torch.tensor(each) for each in row if each is not None), {}) for row in ROWS]


@exercise("14.2")
def bleu(attempt: Callable[..., Any]) -> None:
    """`my_bleu(written, right)`: BLEU of a corpus, beside sacrebleu's."""
    from sacrebleu.metrics import BLEU

    reference = BLEU(smooth_method="none")
    for written, right, why in TEXTS:
        answer = run(attempt, written, right)
        try:
            number = float(answer)
        except (TypeError, ValueError):
            raise Wrong(f"my_bleu returns a number; yours returned {type(answer).__name__}") from None
        expected = reference.corpus_score(written, [right]).score
        if not abs(number - expected) < 1e-3:
            given = f"for written {written} and right {right} you gave {number:.4g}, expected {expected:.4g}"
            if abs(100 * number - expected) < 1e-3:
                why = "BLEU goes from 0 to 100"
            raise Wrong(f"{given}: {why}")


@exercise("14.3")
def continue_beams(attempt: Callable[..., Any]) -> None:
    """`continue_beams(totals, log_probs, number)`: the best beginnings with one piece more."""
    cases = [
        ([1.0], [[0.4, 0.6]], 1),
        ([1.0], [[0.2, 0.5, 0.3]], 2),
        ([0.9, 0.1], [[0.45, 0.55], [0.1, 0.9]], 1),  # the likeliest piece follows the worse beginning
        ([0.6, 0.4], [[0.45, 0.55], [0.1, 0.9]], 1),  # the best continuation is of the worse beginning
        ([0.5, 0.4], [[0.28, 0.32, 0.4], [0.01, 0.09, 0.9]], 2),
    ]
    for totals, chances, number in cases:
        log_totals, log_probs = torch.tensor(totals).log(), torch.tensor(chances).log()
        answer = run(attempt, log_totals, log_probs, number)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise Wrong("continue_beams returns two tensors: beginnings, and pieces")
        _, parents, pieces = best_continuations(log_totals[None], log_probs[None], number)
        given = f"the logarithms of totals {totals} and of chances {chances}, and number {number}"
        expect_tensor(answer[0], parents[0], f"{given}, the beginnings:")
        expect_tensor(answer[1], pieces[0], f"{given}, the pieces:")
