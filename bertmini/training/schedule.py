"""The learning rate over time, as a factor of the highest one."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int, int], float]  # of step, steps and warmup, as `linear_schedule`


def linear_schedule(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: a linear rise, then a linear fall to zero.

    As in the paper. Google's code lets the fall begin at step 0 and the warm-up override it, so that its
    factor drops from 1 to `1 - warmup / steps` when the warm-up ends; here it falls from 1. There and in
    transformers the first update has factor 0 and is lost; here no update has factor 0.

    Args:
        step: int, updates done so far, from 0.
        steps: int, updates in all.
        warmup: int, updates in which the factor rises.

    Returns:
        float in (0, 1].

    Source: Devlin et al. 2018 (arXiv 1810.04805), appendix A.2.
    """
    if step < warmup:
        return (step + 1) / warmup
    return (steps - step) / max(1, steps - warmup)


def one_cycle_schedule(step: int, steps: int, warmup: int) -> float:
    """Factor of the learning rate: half a cosine from 1/25 up to 1, and half a cosine down to almost nothing.

    As PyTorch's OneCycleLR, without its second half: there Adam's first beta falls while the rate rises.
    The rise usually takes 0.3 of the steps.

    Args:
        step, steps, warmup: as for `linear_schedule`.

    Returns:
        float in (0, 1].

    Source: Smith & Topin 2017, arXiv 1708.07120, where both ways are straight lines.
    """
    first, last, top = 1 / 25, 1 / 250_000, max(0, warmup - 1)
    if step < top:
        return first + (1 - first) * (1 - cosine_fall(step / top))
    return last + (1 - last) * cosine_fall((step - top) / max(1, steps - 1 - top))


def cosine_fall(way: float) -> float:
    """Half a cosine from 1 to 0; `way` is the share of the way, from 0 to 1 (Loshchilov & Hutter 2016)."""
    return (1 + math.cos(math.pi * way)) / 2


def step_fall(way: float) -> float:
    """A tenth from half of the way on, a hundredth from three quarters (He et al. 2015, section 4.2)."""
    return 0.1 ** ((way >= 0.5) + (way >= 0.75))


def exponential_fall(way: float) -> float:
    """The same factor with each step, to a hundredth at the end."""
    return 0.01**way


def after_warmup(fall: Callable[[float], float]) -> Schedule:
    """The linear rise of `linear_schedule`, then what `fall` gives for the share of the way to the end."""

    def schedule(step: int, steps: int, warmup: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return fall((step - warmup) / max(1, steps - warmup))

    return schedule


SCHEDULES: dict[str, Schedule] = {
    "linear": linear_schedule,
    "cosine": after_warmup(cosine_fall),
    "one-cycle": one_cycle_schedule,
    "step": after_warmup(step_fall),
    "exponential": after_warmup(exponential_fall),
    "constant": after_warmup(lambda way: 1.0),
}
