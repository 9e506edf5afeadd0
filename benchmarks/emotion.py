"""Fine-tuning on real labels: bertmini against a plain transformers loop, in one run.

The set is the six-class emotion set (16,000 training messages), the start a pretrained 6-layer model. The
peer is the loop that guides show: AutoModelForSequenceClassification, shuffled batches of 32 padded to their
longest row, AdamW, linear warm-up and decay, float32, three epochs. bertmini runs its command with the same
start, batch size, epochs and learning rate, as a user would. Both are scored on dev and test by scikit-learn.

    python benchmarks/emotion.py --data DATA/emotion --model MODEL --seeds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import save
from sklearn.metrics import accuracy_score, f1_score

LEARNING_RATE, EPOCHS, BATCH = 1e-4, 3, 32


def read(file: Path) -> tuple[list[str], list[str]]:
    rows = [line.rsplit(";", 1) for line in file.read_text(encoding="utf-8").splitlines() if line]
    return [text for text, _ in rows], [label for _, label in rows]


def plain_transformers(data: Path, model_directory: Path, seed: int) -> dict[str, Any]:
    """The peer: what a guide would have you write."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        get_linear_schedule_with_warmup,
    )

    started = time.perf_counter()
    torch.manual_seed(seed)
    parts = {name: read(data / f"{name}.txt") for name in ("train", "val", "test")}
    labels = sorted(set(parts["train"][1]))
    tokenizer = AutoTokenizer.from_pretrained(model_directory)
    model = AutoModelForSequenceClassification.from_pretrained(model_directory, num_labels=len(labels))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    texts, truth = parts["train"]
    steps = EPOCHS * -(-len(texts) // BATCH)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(texts)).tolist()
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            inputs = tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt")
            targets = torch.tensor([labels.index(truth[i]) for i in rows])
            model(**inputs, labels=targets).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    seconds = time.perf_counter() - started
    model.eval()
    result: dict[str, Any] = {"seed": seed, "seconds": seconds}
    for part, name in (("val", "dev"), ("test", "test")):
        texts, truth = parts[part]
        found: list[str] = []
        for start in range(0, len(texts), 64):
            inputs = tokenizer(texts[start : start + 64], padding=True, truncation=True, return_tensors="pt")
            with torch.no_grad():
                found += [labels[i] for i in model(**inputs).logits.argmax(-1).tolist()]
        result[name] = {
            "accuracy": accuracy_score(truth, found),
            "f1_macro": f1_score(truth, found, average="macro"),
        }
    return result


def bertmini(data: Path, model_directory: Path, seed: int, out: Path) -> dict[str, Any]:
    """Ours, through the command line; its time is the whole process, evaluation included."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "bertmini.cli", "finetune", "classify", "--data", str(data)]
    command += ["--model", str(model_directory), "--out", str(out), "--seed", str(seed)]
    command += ["--learning-rate", str(LEARNING_RATE), "--epochs", str(EPOCHS), "--batch-size", str(BATCH)]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - started
    metrics = json.loads((out / "metrics.json").read_text())
    return {"seed": seed, "seconds": seconds, "dev": metrics["dev"], "test": metrics["test"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="directory with train.txt, val.txt, test.txt"
    )
    parser.add_argument("--model", type=Path, required=True, help="directory of the pretrained 6-layer model")
    parser.add_argument("--seeds", type=int, default=3, help="runs of bertmini")
    parser.add_argument("--peer-seeds", type=int, default=None, help="runs of the peer; default: as many")
    options = parser.parse_args()
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    peer_seeds = options.seeds if options.peer_seeds is None else options.peer_seeds
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(options.seeds):  # in turn, so that a slow hour of the machine hits both
            ours.append(bertmini(options.data, options.model, seed, Path(directory) / str(seed)))
            if seed < peer_seeds:
                theirs.append(plain_transformers(options.data, options.model, seed))
            mean = {
                name: {
                    part: statistics.mean(run[part]["accuracy"] for run in runs) for part in ("dev", "test")
                }
                for name, runs in (("bertmini", ours), ("transformers", theirs))
                if runs
            }
            times = [statistics.median(run["seconds"] for run in runs) for runs in (ours, theirs) if runs]
            ratio = times[0] / times[1] if theirs else None
            save("emotion", {"bertmini": ours, "transformers": theirs, "mean": mean, "time_ratio": ratio})
            print(json.dumps({"mean": mean, "time_ratio": ratio}), flush=True)


if __name__ == "__main__":
    main()
