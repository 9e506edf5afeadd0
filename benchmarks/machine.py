"""Where measurements go: a JSON each, the machine and the versions beside the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from bertmini.files import write_json
from bertmini.machine import machine, matrix_peak, versions

RESULTS = Path(__file__).parent / "results"


def save(name: str, measured: dict[str, Any]) -> Path:
    """Write `results/<name>.json`."""
    file = RESULTS / f"{name}.json"
    here = {"machine": machine(), "gflops": gflops(), "versions": versions("transformers")}
    write_json(file, here | measured | here)
    return file


def earlier(name: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `results/<name>.json` holds from an earlier call, to go on from.

    Raises:
        SystemExit: that had other settings, and its results are not to be lost or mixed with these.
    """
    file = RESULTS / f"{name}.json"
    found = json.loads(file.read_text("utf-8")) if file.exists() else {}
    other = [key for key, value in (settings or {}).items() if found.get(key) != value]
    if found and other:
        key = other[0]
        raise SystemExit(
            f"{file}: measured with {key} {found.get(key)}, and now it is {(settings or {})[key]}; give the "
            "same, or remove the file to begin anew"
        )
    return found


def gflops() -> dict[str, float]:
    """Billions of operations a second in products of matrices, when the process first saved something.

    A shared machine has slow hours, and how far bf16 is ahead of float32 decides many of the ratios.
    """
    dtypes = {"float32": torch.float32, "bf16": torch.bfloat16}
    return {name: round(matrix_peak(dtype) / 1e9, 1) for name, dtype in dtypes.items()}
