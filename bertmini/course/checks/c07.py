"""Chapter 07, looking inside."""

from __future__ import annotations

import torch
from torch import Tensor

from bertmini.course.exercises import Wrong, exercise, expect_tensor, run, same


@exercise("07.1")
def mean_distance(attempt) -> None:
    """`mean_distance(weights)`: how far each head looks, [heads, query, key] to [heads]."""
    cases = [
        [[[1.0]]],
        [[[1.0, 0.0], [0.0, 1.0]]],
        [[[0.0, 1.0], [0.0, 1.0]]],
        [[[0.0, 1.0], [1.0, 0.0]]],
        [[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.5]]],
        [[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [1.0, 0.0]]],
    ]
    for rows in cases:
        weights = torch.tensor(rows)
        answer = run(attempt, weights)
        expected, signed = _distance(weights), _distance(weights, signed=True)
        without_sign = same(answer, expected)
        if not without_sign and (same(answer, signed) or same(answer, -signed)):
            raise Wrong(
                f"for weights {rows} looks back and looks ahead cancel out: a distance has no sign, "
                f"expected {expected.tolist()}"
            )
        if not without_sign and same(answer, expected * weights.size(1)):
            raise Wrong(f"for weights {rows} you gave the sum of the rows, expected their mean")
        expect_tensor(answer, expected, f"weights {rows}")


@exercise("07.2")
def max_pool(attempt) -> None:
    """`max_pool(hidden_states, attention_mask)`: the largest over the real tokens, number by number."""
    cases = [
        ([[[1.0]]], [[1]]),
        ([[[1.0], [3.0]]], [[1, 1]]),
        ([[[1.0, 6.0], [3.0, 2.0]]], [[1, 1]]),
        ([[[1.0], [8.0]]], [[1, 0]]),
        ([[[-1.0], [8.0]]], [[1, 0]]),
        ([[[1.0], [3.0], [8.0]], [[-2.0], [8.0], [8.0]]], [[1, 1, 0], [1, 0, 0]]),
    ]
    for rows, masks in cases:
        states, mask = torch.tensor(rows), torch.tensor(masks)
        answer = run(attempt, states, mask)
        expected = _largest(states, mask)
        given = f"hidden_states {rows} and attention_mask {masks}"
        if isinstance(answer, tuple):
            raise Wrong(f"for {given} you gave values and places, as max does: give the values only")
        for slip, words in (
            (states.amax(dim=1), "padding wins"),
            ((states * mask[..., None]).amax(dim=1), "a 0 in place of padding wins over negative numbers"),
        ):
            if same(answer, slip) and not same(slip, expected):
                raise Wrong(f"for {given} {words}: expected {expected.tolist()}")
        expect_tensor(answer, expected, given)


@exercise("07.3")
def centroid_probe(attempt) -> None:
    """`centroid_probe(vectors, labels, new)`: the class whose mean is nearest."""
    cases = [
        ([[0.0], [4.0]], [0, 1], [[1.0]]),
        ([[0.0], [4.0]], [0, 1], [[1.0], [3.0], [9.0]]),
        ([[0.0], [4.0]], [1, 0], [[1.0], [3.0]]),
        # The nearest single vector is of the other class than the nearest mean.
        ([[0.0], [10.0], [4.0]], [0, 0, 1], [[0.0]]),
        ([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 5.0]], [0, 0, 1, 1], [[0.0, 1.0], [2.0, 4.0]]),
        ([[0.0], [5.0], [9.0]], [2, 0, 1], [[4.0], [8.0], [1.0]]),
    ]
    for vectors, labels, new in cases:
        known, classes, asked = torch.tensor(vectors), torch.tensor(labels), torch.tensor(new)
        answer = run(attempt, known, classes, asked)
        means = torch.stack([known[classes == c].mean(dim=0) for c in range(int(classes.max()) + 1)])
        expected = torch.cdist(asked, means).argmin(dim=1)
        given = f"vectors {vectors}, labels {labels} and new {new}"
        if isinstance(answer, Tensor) and answer.is_floating_point() and answer.shape != expected.shape:
            raise Wrong(f"for {given} the numbers of the classes are expected, {expected.tolist()}")
        expect_tensor(answer, expected, given)


def _distance(weights: Tensor, signed: bool = False) -> Tensor:
    place = torch.arange(weights.size(-1))
    apart = (place[:, None] - place[None, :]).float()
    return (weights * (apart if signed else apart.abs())).sum(-1).mean(-1)


def _largest(states: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([row[real.bool()].amax(dim=0) for row, real in zip(states, mask, strict=True)])

