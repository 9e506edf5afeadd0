"""Pretraining on real books, and what it is worth on real labels: collects finished runs into one JSON.

It trains nothing. Make the runs with the commands that a user has (DATA as in BERTMINI_DATA, REAL a
pretrained model in transformers' format; a run directory may have any name):

    bertmini train-tokenizer DATA/gutenberg --out tokenizer
    bertmini pretrain --data DATA/gutenberg --tokenizer tokenizer --preset mini --minutes 20 --out books
    bertmini finetune classify --data DATA/emotion --model books --from-scratch --out scratch
    bertmini finetune classify --data DATA/emotion --model books --out own
    bertmini finetune classify --data DATA/emotion --model REAL --out real

and then name them; several runs of one kind, of different seeds, go side by side:

    python benchmarks/gutenberg.py --pretrained books --scratch scratch --own own --real real0 real1 real2

What is not named stays as an earlier call left it. The file is results/gutenberg.json, which the book's
results page and chapter 10 read: run `make notebooks` afterwards.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from machine import RESULTS
from safetensors import safe_open

CURVE = 60  # points of the training loss that are kept
STARTS = ("scratch", "own", "real")
OPTIONS = ("steps", "batch_size", "learning_rate", "precision", "seed")


def collect(directory: Path) -> dict[str, Any]:
    """What a finished run says of itself: options, metrics, size, machine and versions."""
    record = json.loads((directory / "run.json").read_text("utf-8"))
    return {
        "options": {name: record["training"][name] for name in OPTIONS},
        "preset": record["settings"].get("preset"),
        "minutes": record["settings"]["training"].get("minutes"),
        "epochs": record["settings"]["training"].get("epochs"),
        "max_length": record["settings"]["training"].get("max_length"),
        "parameters": parameters(directory / "model.safetensors"),
        "metrics": json.loads((directory / "metrics.json").read_text("utf-8")),
        "machine": record["machine"],
        "versions": record["versions"],
        "git_commit": record["git_commit"],
    }


def parameters(file: Path) -> int:
    with safe_open(file, framework="numpy") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118
    total = 0
    for shape in shapes:
        size = 1
        for side in shape:
            size *= side
        total += size
    return total


def curve(directory: Path) -> list[dict[str, float]]:
    """The losses by name along the training, at about CURVE points, each a mean over its lines."""
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text("utf-8").splitlines()]
    lines = [line for line in lines if "loss" in line]
    width = max(1, len(lines) // CURVE)
    groups = [lines[start : start + width] for start in range(0, len(lines), width)]
    return [
        {
            "step": group[-1]["step"],
            **{
                name: round(sum(line[name] for line in group) / len(group), 4)
                for name in ("mlm", "nsp")
                if name in group[0]
            },
        }
        for group in groups
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pretrained", type=Path, metavar="RUN", help="the run that pretrained on the books")
    for name in STARTS:
        parser.add_argument(f"--{name}", type=Path, nargs="+", metavar="RUN", help="fine-tuned on emotion")
    parser.add_argument("--out", type=Path, default=RESULTS / "gutenberg.json")
    options = parser.parse_args()
    measured = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    if options.pretrained:
        measured["pretraining"] = collect(options.pretrained) | {"curve": curve(options.pretrained)}
    found = measured.get("finetuning", {})
    found |= {
        name: [collect(run) for run in getattr(options, name)] for name in STARTS if getattr(options, name)
    }
    measured["finetuning"] = {name: found[name] for name in STARTS if name in found}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
