"""Chapter 10, classification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.course.exercises import Wrong, exercise, expect_tensor, run
from bertmini.course.replace import samples
from bertmini.model.heads import Pooler


@exercise("10.1")
def macro_f1(attempt: Callable[..., Any]) -> None:
    """`macro_f1(confusion)`: the mean of F1 over the labels."""
    cases = [
        ([[1]], 1.0, "one label, always right"),
        ([[1, 0], [0, 1]], 1.0, "everything is right"),
        ([[1, 0], [1, 0]], 1 / 3, "the first label has F1 2/3; the second is never answered, its F1 is 0"),
        ([[9, 0], [1, 0]], 9 / 19, "both labels count the same, though one has nine times the examples"),
        ([[1, 0], [0, 0]], 0.5, "a label that never occurs and is never answered has F1 0"),
        ([[3, 1, 0], [0, 2, 2], [1, 0, 1]], (6 / 8 + 4 / 7 + 2 / 5) / 3, "three labels"),
    ]
    for rows, expected, why in cases:
        confusion = torch.tensor(rows)
        answer = run(attempt, confusion)
        try:
            number = float(answer)
        except (TypeError, ValueError):
            raise Wrong(f"macro_f1 returns a number; yours returned {type(answer).__name__}") from None
        if not abs(number - expected) < 1e-5:
            # On small tables other wrong answers come out as the accuracy, too.
            largest = torch.tensor(cases[-1][0])
            accuracy = (largest.trace() / largest.sum()).item()
            if abs(float(run(attempt, largest)) - accuracy) < 1e-5:
                why = "yours is the accuracy; F1 of each label first, then their mean"
            raise Wrong(f"for confusion {rows} you gave {number:.4f}, expected {expected:.4f}: {why}")


@exercise("10.2")
def pooler(attempt: Callable[..., Any]) -> None:
    """`MyPooler(config)`: a linear layer, then tanh."""
    for rows in ([[0.0, 0.0]], [[1.0, 0.0]], [[1.0, -2.0], [0.5, 3.0]]):
        mine = attempt(BertConfig(hidden_size=2, num_attention_heads=1))
        if not isinstance(getattr(mine, "dense", None), nn.Linear):
            raise Wrong("the pooler needs its linear layer under the name dense: the checkpoint has it so")
        mine.dense.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        mine.dense.bias.zero_()
        states = torch.tensor(rows)
        expected = torch.tanh(states * torch.tensor([1.0, 2.0]))
        given = f"a dense layer that doubles the second number, and cls_states {rows}"
        expect_tensor(run(mine, states), expected, given)
    states = torch.randn(3, 8)
    config = BertConfig(hidden_size=8, num_attention_heads=1)
    theirs, mine = Pooler(config), attempt(config)
    mine.load_state_dict(theirs.state_dict())
    expect_tensor(run(mine, states), theirs(states), "random weights and cls_states")


@exercise("10.3")
def ranks(attempt: Callable[..., Any]) -> None:
    """`ranks(values)`: 1 for the smallest; equals share the mean of their places."""
    cases = [
        ([7.0], [1.0]),
        ([1.0, 2.0], [1.0, 2.0]),
        ([2.0, 1.0], [2.0, 1.0]),
        ([5.0, 5.0], [1.5, 1.5]),
        ([5.0, 2.0, 5.0], [2.5, 1.0, 2.5]),
        ([3.0, 1.0, 2.0, 0.0], [4.0, 2.0, 3.0, 1.0]),
        ([0.0, 4.0, 4.0, 4.0, -1.0], [2.0, 4.0, 4.0, 4.0, 1.0]),
    ]
    for values, expected in cases:
        answer = run(attempt, torch.tensor(values))
        expect_tensor(answer, torch.tensor(expected), f"values {values}")


@exercise("10.4")
def find_partners(attempt: Callable[..., Any]) -> None:
    """`find_partners(first, second, temperature)`: cross-entropy of each partner among all of the batch."""
    right, up, left = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]
    cases = [
        ([right], [right], 1.0, "a pair alone has no wrong answer: its loss is 0"),
        ([right, up], [right, up], 1.0, "the partners are on the diagonal"),
        ([right, up], [right, up], 0.1, "cosines are divided by the temperature"),
        (
            [right, right],
            [up, left],
            1.0,
            "each row of cosines is of one first vector; softmax is over seconds",
        ),
        ([right, up, left], [up, up, right], 0.5, "the mean over the pairs"),
    ]
    for first, second, temperature, why in cases:
        vectors = torch.tensor(first), torch.tensor(second)
        expected = F.cross_entropy(vectors[0] @ vectors[1].T / temperature, torch.arange(len(first)))
        answer = run(attempt, *vectors, temperature)
        given = f"first {first}, second {second} and temperature {temperature} ({why})"
        expect_tensor(answer, expected, given)


@samples("Pooler")
def pooler_samples() -> list[tuple[tuple, dict]]:
    config = BertConfig(hidden_size=16, num_attention_heads=2)
    return [((config,), {}), ((torch.randn(3, 16),), {})]
