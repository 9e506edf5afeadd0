"""What results depend on besides the code: the versions and the machine, for run.json and benchmarks."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bertmini.version import __version__

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def versions(*more: str) -> dict[str, str]:
    """The versions of Python, of the packages that results depend on, and of those named."""
    packages = ("torch", "numpy", "safetensors", "tokenizers", *more)
    own = {"python": platform.python_version(), "bertmini": __version__}
    return own | {package: version(package) for package in packages}


def machine() -> dict[str, Any]:
    """The machine, as far as it matters for speed."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")]
    return {
        "system": platform.platform(),
        "processor": (models or [platform.processor()])[0],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def best_device() -> torch.device:
    """Where a model runs fastest: on a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def matrix_peak(dtype: torch.dtype, device: torch.device | None = None) -> float:
    """The most FLOPs a second that this processor reaches in a product of large square matrices.

    Args:
        dtype: of the matrices.
        device: where; None: the CPU.
    """
    return matrix_peaks((dtype,), device or torch.device("cpu"))[0]


def matrix_peaks(dtypes: Sequence[torch.dtype], device: torch.device) -> list[float]:
    """The peaks of several formats, taking turns, so that a busy moment slows them all."""
    size = 8192 if device.type == "cuda" else 1024
    own = torch.Generator(device).manual_seed(0)  # that of training must not move
    matrix = torch.randn(size, size, device=device, generator=own)
    matrices = [matrix.to(dtype) for dtype in dtypes]
    seconds: list[list[float]] = [[] for _ in dtypes]
    for _ in range(8):
        for left, times in zip(matrices, seconds, strict=True):
            started = time.perf_counter()
            left @ left
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
    return [2 * size**3 / min(times) for times in seconds]


def memory_mb(device: torch.device) -> float:
    """The most memory that this process has taken so far, in MB: of the GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if resource is None:
        return math.nan
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024  # macOS counts bytes, Linux kB


def git_commit() -> str | None:
    """The commit of the working directory, or None outside a repository."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def keep_freed_memory() -> None:
    """Let the allocator of a Linux program keep large blocks for the next step, where they are needed again.

    Otherwise it returns each to the system, which hands out and clears new pages a moment later: a tenth of
    the time of a step of a 6-layer model with 30,000 pieces.
    """
    if platform.system() != "Linux":
        return
    allocator = ctypes.CDLL(None)
    if hasattr(allocator, "mallopt"):  # glibc has it, musl has not
        allocator.mallopt(-4, 0)  # M_MMAP_MAX: no block is a mapping of its own
        allocator.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: 2 GiB at the end of the heap stay
