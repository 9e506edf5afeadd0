"""Chapter 08, what matters in pretraining."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bertmini.course.exercises import Wrong, exercise, run
from bertmini.viz.rows import mean_interval

NORMAL = 1.959964  # what a t quantile becomes when there are many runs


@exercise("08.1")
def interval(attempt: Callable[..., Any]) -> None:
    """`interval(scores)`: both ends of the 95 % t-interval of the mean."""
    cases = [[1.0, 2.0], [80.0, 82.0, 84.0], [0.5, 0.5, 0.5], [80.0, 82.0, 81.0, 85.0, 82.0], [-1.0, 3.0]]
    for scores in cases:
        low, high = two_numbers("interval", run(attempt, list(scores)))
        count, mean, spread = len(scores), statistics.fmean(scores), statistics.stdev(scores)
        half = mean_interval(scores)[1]
        wrong = {
            "the quantile of the normal distribution makes it too narrow for so few runs":
                NORMAL * spread / count**0.5,
            "the deviations' squares are divided by one less than their number":
                half * ((count - 1) / count) ** 0.5,
            "that is the interval of single runs; that of their mean is narrower by the root of their number":
                half * count**0.5,
            "t has one degree of freedom less than there are runs":
                half * quantile(count) / quantile(count - 1),
        }  # fmt: skip
        compare(f"scores {scores}", (low, high), (mean - half, mean + half), {
            **{why: (mean - each, mean + each) for why, each in wrong.items()},
            "both ends are asked for, not the mean and half of the width": (mean, half),
        })  # fmt: skip


@exercise("08.2")
def paired(attempt: Callable[..., Any]) -> None:
    """`paired(ours, theirs)`: both ends of the interval of the mean difference by seed."""
    cases = [
        ([1.0, 2.0], [0.0, 0.0]),
        ([5.0, 7.0, 9.0], [4.0, 6.0, 8.0]),
        ([81.0, 83.0, 83.0, 86.0, 83.0], [80.0, 82.0, 81.0, 85.0, 82.0]),
        ([3.0, 1.0, 2.0], [2.0, 3.0, 1.0]),
    ]
    for ours, theirs in cases:
        low, high = two_numbers("paired", run(attempt, list(ours), list(theirs)))
        mean, half = mean_interval([a - b for a, b in zip(ours, theirs, strict=True)])
        apart = (mean_interval(ours)[1] ** 2 + mean_interval(theirs)[1] ** 2) ** 0.5
        compare(f"ours {ours} and theirs {theirs}", (low, high), (mean - half, mean + half), {
            "that is theirs less ours": (-mean - half, -mean + half),
            "both spreads are still in it; take the differences first": (mean - apart, mean + apart),
        })  # fmt: skip


@exercise("08.3")
def seeds_needed(attempt: Callable[..., Any]) -> None:
    """`seeds_needed(spread, difference)`: the fewest whose interval is narrower than the difference."""
    for spread, difference in ((1.0, 10.0), (1.0, 1.0), (1.0, 2.0), (2.0, 1.0), (0.5, 0.2)):
        answer = run(attempt, spread, difference)
        try:
            number = int(answer)
        except (TypeError, ValueError):
            raise Wrong(f"seeds_needed returns a whole number; yours returned {answer!r:.60}") from None
        expected = 2
        while quantile(expected - 1) * spread / expected**0.5 >= difference:
            expected += 1
        if number != expected:
            why = ""
            if number < 2:
                why = ": one run has no spread"
            elif number < expected and NORMAL * spread / number**0.5 < difference:
                why = ": with few runs the quantile of t is larger than that of the normal distribution"
            given = f"a spread of {spread:g} and a difference of {difference:g}"
            raise Wrong(f"for {given} you gave {answer}, expected {expected}{why}")


@exercise("08.4")
def count_both_sides(attempt: Callable[..., Any]) -> None:
    """`count_both_sides(masks)`: how many states of how many layers know something of both sides."""
    all_of = [torch.ones(n, n, dtype=torch.bool) for n in range(6)]
    right = [each.tril() for each in all_of]  # from left to right
    left = [each.triu() for each in all_of]
    near = all_of[5].tril(1).triu(-1)
    itself = torch.eye(3, dtype=torch.bool)
    cases = {
        "one layer of both ways over 1 token": [all_of[1]],
        "one layer of both ways over 3 tokens": [all_of[3]],
        "two layers of both ways over 4 tokens": [all_of[4]] * 2,
        "three layers from left to right over 5 tokens": [right[5]] * 3,
        "a layer that looks nowhere over 3 tokens": [itself & False],
        "a layer from left to right below one from right to left over 3 tokens": [right[3], left[3]],
        "two such pairs over 5 tokens": [right[5], left[5]] * 2,
        "two layers that look one token far over 5 tokens": [near] * 2,
        "a layer that looks one token back below one that looks one ahead over 3 tokens":
            [itself.roll(1, 0).tril(), itself.roll(-1, 0).triu()],
    }  # fmt: skip
    for given, masks in cases.items():
        answer = run(attempt, [mask.clone() for mask in masks])
        try:
            number = int(answer)
        except (TypeError, ValueError, RuntimeError):
            raise Wrong(f"count_both_sides returns a whole number; yours returned {answer!r:.60}") from None
        by_layer = [states_of_both_sides(known) for known in known_after(masks)]
        if number != sum(by_layer):
            why = ""
            if number == by_layer[-1]:
                why = ": count the states of all layers, not those of the last"
            elif number == sum(map(states_of_both_sides, masks)):
                why = ": a state knows all that the states know which it looks at"
            elif number == len(masks) * len(masks[0]):
                why = ": the first token has nothing on its left, the last nothing on its right"
            raise Wrong(f"for {given} you gave {number}, expected {sum(by_layer)}{why}")


def known_after(masks: Sequence[Tensor]) -> list[Tensor]:
    """Of each layer, which inputs a state depends on: bool [state, input]."""
    known, layers = torch.eye(len(masks[0])), []
    for mask in masks:
        known = ((mask.float() @ known + known) > 0).float()  # what it looks at, and what it was itself
        layers.append(known.bool())
    return layers


def states_of_both_sides(known: Tensor) -> int:
    """How many states know an input on their left and one on their right; known is bool [state, input]."""
    return int((known.tril(-1).any(dim=1) & known.triu(1).any(dim=1)).sum())


def quantile(degrees: int) -> float:
    """The t value of 95 % intervals."""
    from scipy.stats import t

    return float(t.ppf(0.975, max(1, degrees)))


def two_numbers(name: str, answer: Any) -> tuple[float, float]:
    """An answer's two ends."""
    try:
        low, high = (float(each) for each in answer)
    except (TypeError, ValueError):
        raise Wrong(f"{name} returns two numbers, low and high; yours returned {answer!r:.60}") from None
    return low, high


def compare(
    given: str,
    answer: tuple[float, float],
    expected: tuple[float, float],
    wrong: dict[str, tuple[float, float]],
) -> None:
    """Compare both ends, and say which mistake it is where it is one of these."""

    def same(other: tuple[float, float]) -> bool:
        return all(abs(a - b) < 1e-4 for a, b in zip(answer, other, strict=True))

    if not same(expected):
        why = next((f": {words}" for words, ends in wrong.items() if same(ends)), "")
        told, right = (f"{low:.4g} to {high:.4g}" for low, high in (answer, expected))
        raise Wrong(f"for {given} you gave {told}, expected {right}{why}")
