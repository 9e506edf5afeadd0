"""The model that the package ships, from the two runs of `make model`: weights in half precision, one log."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch

from bertmini import BertForPreTraining
from bertmini.hub import SHIPPED


def ship(short: Path, full: Path) -> None:
    """Write the shipped model.

    Args:
        short: the run on short sequences.
        full: the run that went on from it, on sequences as long as a document.
    """
    shutil.rmtree(SHIPPED, ignore_errors=True)
    model = BertForPreTraining.from_pretrained(full)
    model.save_pretrained(SHIPPED, dtype=torch.float16)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "metrics.json"):
        shutil.copy(full / name, SHIPPED)
    runs = [json.loads((run / "run.json").read_text(encoding="utf-8")) for run in (short, full)]
    text = json.dumps({"short": runs[0], "full": runs[1]}, indent=2)
    (SHIPPED / "run.json").write_text(text + "\n", encoding="utf-8")
    lines, more = ([json.loads(line) for line in (run / "log.jsonl").open()] for run in (short, full))
    lines += [line | {"step": runs[0]["training"]["steps"] + line["step"]} for line in more]
    (SHIPPED / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    ship(Path(sys.argv[1]), Path(sys.argv[2]))
