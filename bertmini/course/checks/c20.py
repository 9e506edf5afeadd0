"""Chapter 20, shipping a model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from bertmini.course.exercises import Wrong, exercise, run

WORDS = "bert.embeddings.word_embeddings.weight"
FAULTS = ("vocabulary", "layers", "labels")


@exercise("20.1")
def find_faults(attempt: Callable[..., Any]) -> None:
    """`find_faults(config, shapes, pieces)`: what of a directory does not fit together."""
    whole = directory()
    cases: list[tuple[str, tuple[dict, dict, int], list[str]]] = [
        ("a directory in which all fits", whole, []),
        ("a config.json with 7 pieces and a table of 8 rows", directory(vocab_size=7), ["vocabulary"]),
        ("a table of 8 rows and a vocab.txt of 9 pieces", (*whole[:2], 9), ["vocabulary"]),
        ("a table of 8 rows and a vocab.txt of 6 pieces, two rows spare", (*whole[:2], 6), []),
        ("weights of 2 layers where config.json says 3", directory(num_hidden_layers=3), ["layers"]),
        ("weights of 11 layers where config.json says 2", directory(layers=11), ["layers"]),
        ("2 labels and a classifier with 3 rows", directory(rows=3), ["labels"]),
        ("2 labels and no classifier among the weights", directory(rows=None), ["labels"]),
        ("weights of 1 layer for 2, and no classifier", directory(layers=1, rows=None), ["layers", "labels"]),
    ]
    for given, parts, expected in cases:
        answer = run(attempt, *copy.deepcopy(parts))
        try:
            found = list(answer)
        except TypeError:
            raise Wrong(f"find_faults returns a list of words; yours returned {answer!r}") from None
        if unknown := [word for word in found if word not in FAULTS]:
            raise Wrong(f"for {given} your list has {unknown[0]!r}; its words are {', '.join(FAULTS)}")
        if found != expected:
            raise Wrong(f"for {given} you gave {found}, expected {expected}")


def directory(layers: int = 2, rows: int | None = 2, **fields: int) -> tuple[dict, dict, int]:
    """The configuration, shapes and pieces of a small classifier."""
    config = {"vocab_size": 8, "num_hidden_layers": 2, "id2label": {"0": "calm", "1": "storm"}} | fields
    shapes = {WORDS: [8, 4]}
    for i in range(layers):
        shapes[f"bert.encoder.layer.{i}.intermediate.dense.weight"] = [16, 4]
        shapes[f"bert.encoder.layer.{i}.output.dense.weight"] = [4, 16]
    if rows is not None:
        shapes |= {"classifier.weight": [rows, 4], "classifier.bias": [rows]}
    return config, shapes, 8


@exercise("20.2")
def agree(attempt: Callable[..., Any]) -> None:
    """`agree(ours, theirs, tolerance)`: whether all numbers are close, relative to the largest."""
    missing = float("nan")
    cases: list[tuple[str, Any, Any, float, bool]] = [
        ("equal numbers", [[1.0, 2.0]], [[1.0, 2.0]], 1e-4, True),
        ("a difference of 0.5", [[1.0, 2.0]], [[1.0, 2.5]], 1e-4, False),
        ("a difference of -0.5", [[1.0, 2.0]], [[1.0, 1.5]], 1e-4, False),
        ("a difference of 0.5 and a tolerance of 0.5", [[1.0]], [[1.5]], 0.5, True),
        ("a difference of 0.5 where the largest is 1000", [[1000.0, 2.0]], [[1000.0, 2.5]], 1e-3, True),
        ("a difference of 0.5 where the largest is -1000", [[-1000.0, 2.0]], [[-1000.0, 2.5]], 1e-3, True),
        ("numbers far below 1", [[0.001, 0.002]], [[0.001, 0.00201]], 1e-4, True),
        ("one row against two", [[1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]], 1e-4, False),
        ("a NaN in theirs", [[1.0, 2.0]], [[1.0, missing]], 1e-4, False),
        ("a NaN in ours", [[missing, 2.0]], [[1.0, 2.0]], 1e-4, False),
        ("a NaN that comes first in theirs", [[1.0, 2.0]], [[missing, 2.0]], 1e-4, False),
    ]
    for given, ours, theirs, tolerance, expected in cases:
        answer = run(attempt, np.array(ours), np.array(theirs), tolerance)
        if not isinstance(answer, bool | np.bool_):
            raise Wrong(f"agree returns True or False; for {given} yours returned {answer!r}")
        if bool(answer) != expected:
            numbers = f"ours {ours}, theirs {theirs}, tolerance {tolerance:g}"
            raise Wrong(f"for {given} you gave {bool(answer)}, expected {expected}: {numbers}")


@exercise("20.3")
def may_wait(attempt: Callable[..., Any]) -> None:
    """`may_wait(patience, work, size)`: texts that may wait and are still answered in time."""
    for patience, work, size in (
        (20, 10, 8),
        (10, 10, 8),
        (5, 10, 8),
        (29, 10, 8),
        (30, 10, 8),
        (30, 10, 1),
        (1000, 7, 32),
    ):
        batches = max(0, patience // work - 1)
        expected = batches * size
        answer = run(attempt, patience, work, size)
        given = f"a patience of {patience} ms, {work} ms a batch and batches of {size}"
        if isinstance(answer, bool) or not isinstance(answer, int | float):
            raise Wrong(f"for {given} your answer is {type(answer).__name__}, a number was expected")
        if answer != expected:
            why = ""
            if answer == patience // work * size:
                why = ": a batch has just begun, and those who wait come after it"
            elif answer == batches:
                why = ": those are batches, and texts were asked for"
            elif answer < 0:
                why = ": nobody can wait, but no fewer than that"
            elif answer == (patience / work - 1) * size:
                why = ": a batch that is half done has no answers yet"
            raise Wrong(f"for {given} you gave {answer:g}, expected {expected}{why}")
