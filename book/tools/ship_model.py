"""The model that the package ships, from the run of `make model`: weights in half precision, with the log."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

from bertmini import BertForPreTraining
from bertmini.hub import SHIPPED

BESIDE = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "metrics.json", "run.json", "log.jsonl")


def ship(run: Path) -> None:
    """Write the shipped model from a run directory."""
    model = BertForPreTraining.from_pretrained(run)
    beside = {name: (run / name).read_bytes() for name in BESIDE}
    shutil.rmtree(SHIPPED, ignore_errors=True)
    model.save_pretrained(SHIPPED, dtype=torch.float16)
    for name, content in beside.items():
        (SHIPPED / name).write_bytes(content)


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
