"""Training: the loop, its options, learning rates, run directories."""

from __future__ import annotations

from bertmini.training.evaluate import evaluate_pretraining
from bertmini.training.loop import settle, train
from bertmini.training.optimizer import adamw, parameter_groups
from bertmini.training.options import History, Options, Progress
from bertmini.training.run import Run
from bertmini.training.schedule import SCHEDULES, linear_schedule

__all__ = [
    "SCHEDULES", "History", "Options", "Progress", "Run", "adamw", "evaluate_pretraining", "linear_schedule",
    "parameter_groups", "settle", "train",
]  # fmt: skip
