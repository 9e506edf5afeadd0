"""Making models smaller: distillation, pruning, quantisation."""

from __future__ import annotations

from bertmini.compress.distill import distillation_loss, student_from_teacher
from bertmini.compress.prune import HEADS, UNITS, Sparsifier, importance, prune, prune_weights
from bertmini.compress.quantize import quantize

__all__ = [
    "HEADS",
    "UNITS",
    "Sparsifier",
    "distillation_loss",
    "importance",
    "prune",
    "prune_weights",
    "quantize",
    "student_from_teacher",
]
