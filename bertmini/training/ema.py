"""A moving average of the weights, to be measured and kept in place of the last ones."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def move_average(average: nn.Module, model: nn.Module, decay: float, updates: int) -> None:
    """Move the average towards the weights, after an update of them.

        a ← a + (1 - d) / (1 - d^t) · (w - a)

    This is a ← d · a + (1 - d) · w, begun at 0, with Adam's correction for that beginning: after the first
    update the average is the weights, and it is never mixed with those that the model began with.

    Args:
        average: a copy of the model; changed in place. Buffers are copied.
        model: with the new weights w.
        decay: d in [0, 1); the average goes back over about 1 / (1 - d) updates.
        updates: t, of the weights so far, from 1.

    Source: Polyak & Juditsky 1992 for averaging; Kingma & Ba 2014 (arXiv 1412.6980), sections 3 and 7.2.
    """
    share = (1 - decay) / (1 - decay**updates)
    for mean, weight in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(weight, share)
    for kept, now in zip(average.buffers(), model.buffers(), strict=True):
        kept.copy_(now)
