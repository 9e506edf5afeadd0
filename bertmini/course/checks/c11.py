"""Chapter 11, tagging."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import torch

from bertmini.course.exercises import Wrong, exercise, expect_tensor, run
from bertmini.course.replace import samples
from bertmini.data.tagged import entities_of

ROWS = [
    ([], "no tag at all"),
    (["O", "O"], "nothing is named"),
    (["B-ship"], "an entity may end with the text"),
    (["B-ship", "I-ship", "O"], "an I of the same kind goes on"),
    (["B-ship", "B-ship"], "each B begins another one"),
    (["B-ship", "I-place"], "an I of another kind begins a new one"),
    (["O", "I-place", "I-place"], "an I that nothing goes before begins one, too"),
    (["B-person", "I-person", "O", "I-ship", "B-ship", "I-place", "I-place"], "a longer row"),
]


@exercise("11.1")
def entities(attempt: Callable[..., Any]) -> None:
    """`my_entities_of(tags)`: the entities of BIO tags."""
    for tags, why in ROWS:
        expected = [tuple(entity) for entity in entities_of(tags)]
        answer = run(attempt, tags)
        try:
            given = [tuple(entity) for entity in answer]
        except TypeError:
            raise Wrong(
                f"my_entities_of returns a list of entities; yours returned {type(answer).__name__}"
            ) from None
        if given != expected:
            raise Wrong(f"for tags {tags} you gave {given}, expected {expected}: {why}")
        if not all(hasattr(entity, "label") for entity in answer):
            raise Wrong(
                f"for tags {tags} the numbers are right; make each of them an Entity(start, end, label)"
            )


@samples("entities_of")
def entities_samples() -> list[tuple[tuple, dict]]:
    return [((tags,), {}) for tags, _ in ROWS]


@exercise("11.2")
def aligned(attempt: Callable[..., Any]) -> None:
    """`align(pieces, labels)`: a label for each token, -100 where there is none."""
    for pieces, labels in [
        ([[7]], [1]),
        ([[7, 8]], [1]),
        ([[7], [8]], [1, 2]),
        ([[7, 8, 9], [5], [4, 4]], [3, 0, 2]),
    ]:
        expected = [-100]
        for word, label in zip(pieces, labels, strict=True):
            expected += [label, *[-100] * (len(word) - 1)]
        expected.append(-100)
        answer = run(attempt, pieces, labels)
        if list(answer) != expected:
            raise Wrong(
                f"for pieces {pieces} and labels {labels} you gave {list(answer)}, expected {expected}"
            )


@exercise("11.3")
def viterbi(attempt: Callable[..., Any]) -> None:
    """`best_path(emissions, transitions)`: the labels of the path with the highest score."""
    cases = [
        (torch.tensor([[1.0, 2.0]]), torch.zeros(2, 2), "one word: its best label"),
        (torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.zeros(2, 2), "transitions of 0 change nothing"),
        (torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 0.0], [-9.0, 0.0]]),
         "the best first label may not be followed by the best second one"),
        (torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.5, 0.0]]), torch.tensor([[0.0, -9.0], [-9.0, 0.0]]),
         "the last word's label depends on all the others"),
    ]  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    for words, labels in ((3, 2), (4, 3), (5, 3)):
        draw = [torch.randn(rows, labels, generator=generator) for rows in (words, labels)]
        cases.append((draw[0], 2 * draw[1], "random scores, compared with all sequences"))
    for emissions, transitions, why in cases:
        words, labels = emissions.shape

        def score(path: tuple[int, ...], e: Any = emissions, t: Any = transitions) -> float:
            return float(sum(e[i, label] for i, label in enumerate(path))
                         + sum(t[a, b] for a, b in pairwise(path)))  # fmt: skip

        expected = max(product(range(labels), repeat=words), key=score)
        answer = run(attempt, emissions, transitions)
        given = f"emissions {emissions.tolist()} and transitions {transitions.tolist()} ({why})"
        expect_tensor(answer, torch.tensor(expected), given)
