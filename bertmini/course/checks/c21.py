"""Chapter 21, scale."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from bertmini.course.exercises import Wrong, exercise, run


@exercise("21.1")
def fair_shares(attempt: Callable[..., Any]) -> None:
    """`fair_shares(counts)`: the weight of each micro-batch of each process."""
    for counts in ([[4]], [[1, 3]], [[1], [3]], [[2, 2], [0, 4]], [[0, 0]], [[5, 1, 2], [0, 0, 8]]):
        total = max(1, sum(map(sum, counts)))
        expected = [[count / total for count in row] for row in counts]
        answer = table(run(attempt, copy.deepcopy(counts)), len(counts), f"counts {counts}")
        if not close(answer, expected):
            number, parts = len(counts), len(counts[0])
            alike = [[1 / (number * parts)] * parts for _ in counts]
            own = [[count / max(1, sum(row)) for count in row] for row in counts]
            why = {
                "micro-batches weigh alike": alike,
                "each process divides by its own masked words; divide by those of all": own,
            }
            told = next((f": {words}" for words, value in why.items() if close(answer, value)), "")
            raise Wrong(f"for counts {counts} you gave {short(answer)}, expected {short(expected)}{told}")


@exercise("21.2")
def first_round(attempt: Callable[..., Any]) -> None:
    """`first_round(pieces)`: the pieces of all GPUs after the sums are made around the ring."""
    cases = (
        [[1.0]],
        [[1.0, 2.0], [10.0, 20.0]],
        [[10.0 ** (3 * i) * (j + 1) for j in range(3)] for i in range(3)],
    )
    for pieces in cases:
        given, number = copy.deepcopy(pieces), len(pieces)
        expected = [list(row) for row in pieces]
        for step in range(number - 1):
            sent = [expected[i][(i - step) % number] for i in range(number)]
            for i in range(number):
                expected[(i + 1) % number][(i - step) % number] += sent[i]
        answer = table(run(attempt, given), number, f"pieces {pieces}")
        if given != pieces:
            raise Wrong(f"for pieces {pieces} your code changed the lists that it got; copy them first")
        if not close(answer, expected):
            why = ""
            if close(answer, [[sum(column) for column in zip(*pieces, strict=True)]] * number):
                why = ": that is the state after both rounds; in the first each GPU completes one piece"
            raise Wrong(f"for pieces {pieces} you gave {short(answer)}, expected {short(expected)}{why}")


@exercise("21.3")
def bytes_on_each(attempt: Callable[..., Any]) -> None:
    """`bytes_on_each(parameters, gpus, stage)`: the state on each GPU by ZeRO's stages."""
    for parameters, gpus, stage in (
        (1, 1, 0),
        (1, 2, 0),
        (1, 2, 1),
        (1, 2, 2),
        (1, 2, 3),
        (1000, 8, 1),
        (1000, 8, 3),
    ):
        kept = [8 if stage < 1 else 8 / gpus, 4 if stage < 2 else 4 / gpus, 4 if stage < 3 else 4 / gpus]
        expected = parameters * sum(kept)
        answer = run(attempt, parameters, gpus, stage)
        given = f"{parameters} parameters on {gpus} GPUs in stage {stage}"
        if not isinstance(answer, int | float):
            raise Wrong(f"for {given} your answer is {type(answer).__name__}, a number was expected")
        if not abs(answer - expected) <= 1e-6 * expected:  # nan is far from everything
            raise Wrong(f"for {given} you gave {answer:g}, expected {expected:g} bytes")


def table(answer: Any, rows: int, given: str) -> list[list[float]]:
    """The answer as rows of numbers."""
    try:
        found = [[float(value) for value in row] for row in answer]
    except (TypeError, ValueError):
        raise Wrong(f"for {given} a list of lists of numbers was expected; yours is {answer!r:.80}") from None
    if len(found) != rows:
        raise Wrong(f"for {given} you gave {len(found)} rows, expected {rows}")
    return found


def close(answer: list[list[float]], expected: list[list[float]]) -> bool:
    return [len(row) for row in answer] == [len(row) for row in expected] and all(
        abs(a - e) <= 1e-6 * max(1.0, abs(e))
        for ours, theirs in zip(answer, expected, strict=True)
        for a, e in zip(ours, theirs, strict=True)
    )


def short(rows: list[list[float]]) -> str:
    return str([[round(value, 4) for value in row] for row in rows])
