"""Where measurements go: a JSON each, the machine and the versions beside the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from bertmini.machine import machine, matrix_peak, versions

RESULTS = Path(__file__).parent / "results"


def save(name: str, measured: dict[str, Any]) -> Path:
    """Write `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    content = {"machine": machine(), "gflops": gflops(), "versions": versions("transformers"), **measured}
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file


def gflops() -> dict[str, float]:
    """Billions of operations a second in products of matrices, now.

    A shared machine has slow hours, and how far bf16 is ahead of float32 decides many of the ratios.
    """
    dtypes = {"float32": torch.float32, "bf16": torch.bfloat16}
    return {name: round(matrix_peak(dtype) / 1e9, 1) for name, dtype in dtypes.items()}
