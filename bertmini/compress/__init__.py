"""Making models smaller: distillation, pruning, quantisation."""

from __future__ import annotations

from bertmini.compress.distill import distillation_loss, student_from_teacher

__all__ = ["distillation_loss", "student_from_teacher"]
