"""The learning rate over time."""

from __future__ import annotations


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
