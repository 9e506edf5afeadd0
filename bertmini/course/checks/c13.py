"""Chapter 13, multiple choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bertmini.course.exercises import Wrong, exercise, expect_tensor, run
from bertmini.course.replace import samples
from bertmini.model.choice import by_question

COUNTS = [[1], [2], [2, 2], [2, 3], [3, 2], [2, 4, 3]]


def cases() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Scores and counts, the smallest first; scores below zero, so that a 0 in an empty place shows."""
    return [(-torch.arange(1.0, sum(counts) + 1), torch.tensor(counts)) for counts in COUNTS]


@exercise("13.1")
def table(attempt: Callable[..., Any]) -> None:
    """`my_by_question(scores, option_counts)`: a row a question, -inf where it has no such option."""
    for scores, counts in cases():
        given = f"scores {scores.tolist()} and option_counts {counts.tolist()}"
        answer, expected = run(attempt, scores, counts), by_question(scores, counts)
        if torch.is_tensor(answer) and answer.shape == expected.shape:
            missing = ~expected.isfinite()
            wrong = answer[missing][answer[missing] != -torch.inf]
            if len(wrong):
                raise Wrong(f"for {given}: a missing option has {wrong[0].item():g}, expected -inf")
            answer, expected = answer.masked_fill(missing, 0.0), expected.masked_fill(missing, 0.0)
        expect_tensor(answer, expected, given)


@exercise("13.2")
def guessing(attempt: Callable[..., Any]) -> None:
    """`guessing(option_counts)`: the mean of one through the number of options."""
    for counts in ([4], [2, 2], [2, 4], [2, 10, 10], [3, 4, 5, 2]):
        answer = run(attempt, torch.tensor(counts))
        try:
            number = float(answer)
        except (TypeError, ValueError):
            raise Wrong(f"guessing returns a number; yours returned {type(answer).__name__}") from None
        expected = sum(1 / count for count in counts) / len(counts)
        if not abs(number - expected) <= 1e-5:  # nan is far from everything
            why = "the mean over the questions of what guessing reaches at each"
            if abs(number - len(counts) / sum(counts)) < 1e-5:
                why = "yours is for the mean number of options; a question with few of them is easier by more"
            raise Wrong(f"for option_counts {counts} you gave {number:.4f}, expected {expected:.4f}: {why}")


@exercise("13.3")
def loss(attempt: Callable[..., Any]) -> None:
    """`choice_loss(table, labels)`: the mean negative logarithm of what the right option got."""
    for scores, counts in cases():
        scores_by_question, labels = by_question(scores, counts), counts - 1
        answer = run(attempt, scores_by_question, labels)
        expected = torch.nn.functional.cross_entropy(scores_by_question, labels)
        given = f"the table {scores_by_question.tolist()} and labels {labels.tolist()}"
        expect_tensor(torch.as_tensor(answer), expected, given)


@samples("by_question")
def table_samples() -> list[tuple[tuple, dict]]:
    return [((scores, counts), {}) for scores, counts in cases()]
