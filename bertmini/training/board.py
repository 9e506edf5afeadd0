"""The log for TensorBoard: the same numbers as log.jsonl, as curves in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertmini.errors import InputError


class Board:
    """Writes curves to a run's directory tensorboard/.

    Args:
        directory: of the run.
        step: the last one before this; what was written for later ones, before an interruption, is hidden.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, directory: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError("--tensorboard needs TensorBoard: pip install 'bertmini[tensorboard]'") from None
        self.writer = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)

    def log(self, line: dict[str, Any]) -> None:
        """A line of log.jsonl: each number a point of the curve train/NAME, or dev/NAME."""
        curves = {f"dev/{name}": value for name, value in line.get("dev", {}).items()}
        curves |= {f"train/{name}": value for name, value in line.items() if name not in ("step", "dev")}
        for name, value in curves.items():
            self.writer.add_scalar(name, value, line["step"])
        self.writer.flush()
