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
    here = {"machine": machine(), "gflops": gflops(), "versions": versions("transformers")}
    file.write_text(json.dumps(here | measured | here, indent=2) + "\n", encoding="utf-8")
    return file


def earlier(name: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `results/<name>.json` holds from an earlier call; nothing if that had other settings."""
    file = RESULTS / f"{name}.json"
    found = json.loads(file.read_text("utf-8")) if file.exists() else {}
    is_same = all(found.get(key) == value for key, value in (settings or {}).items())
    return found if is_same else {}


def gflops() -> dict[str, float]:
    """Billions of operations a second in products of matrices, now.

    A shared machine has slow hours, and how far bf16 is ahead of float32 decides many of the ratios.
    """
    dtypes = {"float32": torch.float32, "bf16": torch.bfloat16}
    return {name: round(matrix_peak(dtype) / 1e9, 1) for name, dtype in dtypes.items()}
