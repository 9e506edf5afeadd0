"""The learning-rate range test: which rates teach a model something, found in a minute."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bertmini.errors import InputError
from bertmini.machine import best_device
from bertmini.training.loop import Batch, best_precision, call, feed, prepare, update
from bertmini.training.optimizer import adamw
from bertmini.training.options import Options
from bertmini.training.processes import ALONE, processes

BLOWN_UP = 4.0  # times the lowest loss so far, as in fastai (Howard & Gugger 2020, arXiv 2002.04688)


@dataclass(frozen=True)
class RangeTest:
    """The losses of a range test, one for each rate.

    Args:
        rates: rising by the same factor.
        losses: of the batch that was learned from at that rate, before its update.
    """

    rates: list[float]
    losses: list[float]

    @property
    def smoothed(self) -> np.ndarray:
        """Each loss as a mean of those around it, near ones counting more, by a bell curve: float [rates].

        A mean that looks back alone, as a moving average, would move the whole curve to larger rates.
        """
        places = np.arange(len(self.losses))
        bell = np.exp(-(((places[:, None] - places) / max(1, len(places) / 20)) ** 2) / 2)  # [rates, rates]
        return bell @ np.array(self.losses) / bell.sum(axis=1)

    @property
    def lowest(self) -> float:
        """The rate with the lowest loss: already too large."""
        return self.rates[int(self.smoothed.argmin())]

    @property
    def steepest(self) -> float:
        """The rate at which the loss falls fastest."""
        end = int(self.smoothed.argmin()) + 1
        slopes = np.diff(self.smoothed[:end])
        return self.rates[int(slopes.argmin())] if len(slopes) else self.rates[0]

    @property
    def tenth(self) -> float:
        """A tenth of the rate with the lowest loss."""
        return self.lowest / 10

    @property
    def fell(self) -> bool:
        """Whether the loss fell by more than it goes up and down while nothing is learned."""
        smoothed, quiet = self.smoothed, max(2, len(self.rates) // 4)
        noise = float(np.std(self.losses[:quiet]))
        return float(smoothed.min()) < float(smoothed[:quiet].mean()) - noise

    @property
    def suggestions(self) -> dict[str, float]:
        """Rates to begin with, by the rule that gave them."""
        return {"steepest": self.steepest, "tenth_of_lowest": self.tenth}


def find_learning_rate(
    model: nn.Module,
    batch_at: Callable[[int], Batch],
    options: Options,
    *,
    lowest: float = 1e-7,
    highest: float = 1.0,
    loss: Callable[[nn.Module, Batch], Any] | None = None,
) -> RangeTest:
    """Train a copy of a model while the rate rises by the same factor each time, until the loss blows up.

    The updates are those of `bertmini.training.train`, with its optimiser, clipping and precision.

    Args:
        model: left as it is.
        batch_at: gives batch number n as a dict of tensors.
        options: how to train; `steps` is the number of rates, and learning_rate and schedule are not used.
        lowest, highest: the first rate and the last one.
        loss: as for `train`.

    Returns:
        RangeTest, up to where the loss had blown up.

    Raises:
        InputError: there are fewer than 10 rates, they do not rise, or several processes were started; the
            loss is no number from the beginning.

    Source: Smith 2015, arXiv 1506.01186, section 3.3, with a rate that rises in a line; here as in fastai.
    """
    steps, loss = options.steps or 0, loss or call
    if steps < 10:
        raise InputError(f"learning-rate range test: steps is {steps}; it needs 10 or more")
    if not 0 < lowest < highest:
        raise InputError(
            f"learning-rate range test: from {lowest:g} to {highest:g}; expected a rise from above 0"
        )
    if processes() is not ALONE:
        raise InputError("the learning-rate range test runs in one process; start it without a launcher")
    device = best_device()
    if options.precision == "auto":
        options = replace(options, precision=best_precision(device))
    rates = [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(steps)]
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        trained = prepare(copy.deepcopy(model).to(device), options, ALONE)
        batch_at = feed(batch_at, trained)
        optimizer = adamw(trained, lowest, options.weight_decay)
        scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
        losses: list[float] = []
        for step, rate in enumerate(rates):
            for group in optimizer.param_groups:
                group["lr"] = rate
            batches = [batch_at(step * options.accumulation + i) for i in range(options.accumulation)]
            found, _ = update(lambda batch: loss(trained, batch), batches, optimizer, scaler, options)
            if not math.isfinite(found["loss"]):
                break
            losses.append(found["loss"])
            if has_blown_up(losses):
                break
    if not losses:
        raise InputError(
            f"learning-rate range test: the loss is no number at the first rate, {rates[0]:g}; look at the "
            "data and at the model's weights"
        )
    return RangeTest(rates[: len(losses)], losses)


def has_blown_up(losses: list[float], width: int = 5) -> bool:
    """Whether the mean of the last losses is far above the lowest such mean."""
    means = [sum(losses[end - width : end]) / width for end in range(width, len(losses) + 1)]
    return bool(means) and means[-1] > BLOWN_UP * min(means)
