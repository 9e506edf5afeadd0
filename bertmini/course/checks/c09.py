"""Chapter 09, training craft."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bertmini.course.exercises import Wrong, exercise, run


@exercise("09.1")
def waiting_schedule(attempt: Callable[..., Any]) -> None:
    """`waiting_schedule(step, steps, warmup)`: up, level, and down in the last fifth."""
    for steps, warmup in ((5, 0), (5, 1), (10, 0), (10, 2), (20, 4), (23, 5)):
        fall = steps // 5
        for step in range(steps):
            expected = (step + 1) / warmup if step < warmup else min(1.0, (steps - step) / fall)
            factor = number_of(run(attempt, step, steps, warmup), "a number, the factor")
            if not abs(factor - expected) <= 1e-6:  # nan is far from everything
                raise Wrong(
                    f"at step {step} of {steps} with a warm-up of {warmup} you gave {factor:.4g}, "
                    f"expected {expected:.4g}"
                )


@exercise("09.2")
def moving_averages(attempt: Callable[..., Any]) -> None:
    """`moving_averages(values, decay)`: the corrected exponential moving average after each value."""
    cases = [
        ([2.0], 0.9), ([2.0, 4.0], 0.9), ([2.0, 4.0, 3.0], 0.9), ([1.0, -1.0, 5.0, 0.0], 0.5),
        ([3.0, 7.0], 0.0),
    ]  # fmt: skip
    for values, decay in cases:
        answer = run(attempt, list(values), decay)
        weights = [[decay ** (t - i) for i in range(t + 1)] for t in range(len(values))]
        expected = [
            sum(w * v for w, v in zip(row, values, strict=False)) / sum(row) if decay else values[t]
            for t, row in enumerate(weights)
        ]
        if not isinstance(answer, Sequence) or len(answer) != len(values):
            raise Wrong(f"for values {values} return a list of {len(values)} numbers, one after each value")
        for t, (found, right) in enumerate(zip(answer, expected, strict=True), start=1):
            number = number_of(found, "a list of numbers")
            if not abs(number - right) <= 1e-6:  # nan is far from everything
                plain = (1 - decay) * sum(w * v for w, v in zip(weights[t - 1], values, strict=False))
                why = "; yours lacks the division by 1 - decay**t" if abs(number - plain) < 1e-6 else ""
                raise Wrong(
                    f"for values {values} and decay {decay} average {t} is {number:.4g}, "
                    f"expected {right:.4g}{why}"
                )


@exercise("09.3")
def stop_at(attempt: Callable[..., Any]) -> None:
    """`stop_at(scores, patience)`: the indices of the last measurement and of the best one."""
    cases = [
        ([0.5], 1, (0, 0), "there is one measurement"),
        ([0.5, 0.6], 1, (1, 1), "each is better than the one before"),
        ([0.5, 0.4, 0.9], 1, (1, 0), "one without a better one is enough; what comes later is never seen"),
        ([0.5, 0.5, 0.9], 1, (1, 0), "equal is not better"),
        ([0.5, 0.4, 0.6, 0.3, 0.2], 2, (4, 2), "a better one begins the count again"),
        ([0.1, 0.5, 0.3, 0.4, 0.9], 2, (3, 1), "0.4 is better than 0.3, not than the best"),
        ([0.5, 0.4, 0.3], 5, (2, 0), "the patience never ends"),
    ]
    for scores, patience, expected, why in cases:
        answer = run(attempt, list(scores), patience)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise Wrong("stop_at returns two indices: of the last measurement, and of the best one")
        if tuple(int(number_of(part, "two indices")) for part in answer) != expected:
            raise Wrong(
                f"for scores {scores} and patience {patience} you gave {answer}, expected {expected}: {why}"
            )


def number_of(answer: Any, expected: str) -> float:
    """What the reader's code returned as a number."""
    try:
        return float(answer)
    except (TypeError, ValueError):
        raise Wrong(f"return {expected}; yours returned {type(answer).__name__}") from None
