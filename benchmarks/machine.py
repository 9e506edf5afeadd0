"""Where measurements go: a JSON each, the machine and the versions beside the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bertmini.machine import machine, versions

RESULTS = Path(__file__).parent / "results"


def save(name: str, measured: dict[str, Any]) -> Path:
    """Write `results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    content = {"machine": machine(), "versions": versions("transformers"), **measured}
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return file
