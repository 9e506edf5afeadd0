"""Chapter 19, pruning and quantisation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bertmini.course.exercises import Wrong, exercise, expect_tensor, run
from bertmini.course.replace import samples
from bertmini.model.quantized import to_int8

ROWS = (
    [[1.27, -0.5, 0.034]],
    [[-2.54, 1.0, 0.0]],
    [[1.27, 0.5], [0.0127, -0.004]],
    [[[0.3, -0.1], [4.0, 0.02]]],
    [[0.0, 0.0]],
)


@exercise("19.1")
def my_to_int8(attempt: Callable[..., Any]) -> None:
    """`my_to_int8(rows)`: each row as integers from -127 to 127, and its scale."""
    for values in ROWS:
        rows, given = torch.tensor(values), f"rows {values}"
        integers, scales = to_int8(rows)
        answer = run(attempt, rows.clone())
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise Wrong(f"for {given} two tensors were expected; yours returned {type(answer).__name__}")
        found, found_scales = answer
        explain(found, found_scales, rows, given)
        expect_tensor(found_scales, scales, f"{given}, the scales", tolerance=1e-7)
        if not isinstance(found, Tensor) or found.dtype != torch.int8:
            kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise Wrong(f"for {given} the integers are {kind}; torch.int8 was expected")
        expect_tensor(found, integers, f"{given}, the integers")


def explain(found: Any, scales: Any, rows: Tensor, given: str) -> None:
    """Name a common slip where the answer is what it gives."""
    if not (isinstance(found, Tensor) and isinstance(scales, Tensor)):
        return
    if bool(torch.isnan(scales).any() | torch.isnan(found.float()).any()):
        raise Wrong(f"for {given} there is nan: a row of zeros was divided by a scale of 0")
    if bool((scales == 0).any()):
        raise Wrong(f"for {given} a scale is 0, and nothing can be divided by it; make none less than 1e-20")
    right, right_scales = to_int8(rows)
    most = rows.abs().amax(dim=-1, keepdim=True)
    whole = rows.abs().max().expand_as(right_scales) / 127
    wrong = {
        "there is one scale for all rows; each needs its own": whole,
        "the scale is of the largest number, not of the largest size": rows.amax(-1, keepdim=True) / 127,
        "127 is divided by the size; a scale is the size divided by 127": 127 / most.clamp(min=1e-20),
        "the size is divided by 128, and 128 does not fit": most / 128,
    }
    if scales.shape == right_scales.shape:
        for words, value in wrong.items():
            if close(scales, value) and not close(value, right_scales):
                short = ", ".join(f"{scale:.4g}" for scale in scales.flatten().tolist())
                raise Wrong(f"for {given} {words}: your scales are {short}")
    if found.shape == right.shape and close(scales, right_scales):
        cut = (rows / right_scales).to(torch.int8)
        if torch.equal(found, cut) and not torch.equal(cut, right):
            raise Wrong(f"for {given} digits were cut off; round to the nearest: you gave {found.tolist()}")


def close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), rtol=1e-5, atol=0)


@exercise("19.2")
def choose_heads(attempt: Callable[..., Any]) -> None:
    """`choose_heads(scores, number)`: the heads that stay in each layer."""
    cases = (
        ([[3.0, 1.0, 2.0]], 1),
        ([[1.0, 2.0], [3.0, 4.0]], 1),
        ([[1.0, 2.0], [3.0, 4.0]], 0),
        ([[0.1, 0.2], [3.0, 4.0]], 2),
        ([[5.0], [1.0, 2.0, 3.0]], 2),
        ([[0.4, 0.1, 0.3], [0.2, 0.5, 0.6], [0.9, 0.8, 0.7]], 5),
    )
    for scores, number in cases:
        given = f"scores {scores} and {number} to go"
        expected = left_after(scores, number, most_in_layer=False)
        answer = run(attempt, copy.deepcopy(scores), number)
        try:
            found = [[int(head) for head in layer] for layer in answer]
        except (TypeError, ValueError):
            raise Wrong(
                f"for {given} a list for each layer was expected; yours returned {answer!r:.80}"
            ) from None
        if found == expected:
            continue
        why = ""
        if not all(found):
            why = ": a layer has lost all of its heads"
        elif [sorted(layer) for layer in found] == expected:
            why = ": the numbers are not ascending"
        elif found == left_after(scores, number, most_in_layer=True):
            why = ": those are the ones of least importance"
        elif [sorted(set(range(len(s))) - set(layer)) for s, layer in zip(scores, found, strict=False)] == (
            expected
        ):
            why = ": those are the heads that go"
        raise Wrong(f"for {given} you gave {found}, expected {expected}{why}")


def left_after(scores: list[list[float]], number: int, most_in_layer: bool) -> list[list[int]]:
    """What stays when heads go by rising scores, or by falling ones."""
    left = [set(range(len(layer))) for layer in scores]
    order = [(score, i, j) for i, layer in enumerate(scores) for j, score in enumerate(layer)]
    for _, i, j in sorted(order, reverse=most_in_layer):
        if number and len(left[i]) > 1:
            left[i].remove(j)
            number -= 1
    return [sorted(layer) for layer in left]


@exercise("19.3")
def sparse_bytes(attempt: Callable[..., Any]) -> None:
    """`sparse_bytes(number, zeros, size)`: a bit for each weight, and the weights that are not 0."""
    for number, zeros, size in ((8, 0, 4), (8, 8, 4), (8, 2, 4), (9, 4, 4), (16, 4, 1), (1000, 900, 2)):
        expected = math.ceil(number / 8) + size * (number - zeros)
        answer = run(attempt, number, zeros, size)
        given = f"{number} weights, {zeros} of them 0, of {size} bytes"
        if isinstance(answer, bool) or not isinstance(answer, int | float):
            raise Wrong(f"for {given} your answer is {type(answer).__name__}, a number was expected")
        if answer != expected:
            why = {
                number + size * (number - zeros): "a bit is an eighth of a byte",
                size * (number - zeros): "the bits are missing",
                math.ceil(number / 8) + size * zeros: "the weights that are 0 need not be kept",
                number // 8 + size * (number - zeros): "the last bits need a whole byte, too",
                number / 8 + size * (number - zeros): "the last bits need a whole byte, too",
            }
            told = f": {why[answer]}" if answer in why else ""
            raise Wrong(f"for {given} you gave {answer:g}, expected {expected}{told}")


@samples("to_int8")
def to_int8_samples() -> list[tuple[tuple, dict]]:
    return [((rows,), {}) for rows in (torch.randn(6, 33), 100 * torch.randn(2, 3, 16), torch.zeros(1, 4))]
