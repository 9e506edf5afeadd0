"""Answers for 20,000 real rows in order: bertmini beside transformers' pipeline and the best loop around it.

    python benchmarks/inference.py --data DIR --model DIR [--rows 20000] [--rounds 5]

DIR of --data holds emotion/train.txt and sst2/train.tsv; --model is an encoder of six layers (MiniLM), which
gets a head of six labels and random weights. Each round has its own rows, and on them follow one another:

- bertmini: `Predictor` as the command line has it, precision auto; and in float32;
- pipeline: `transformers.pipeline("text-classification", batch_size=32)` with its defaults otherwise;
- loop: what an expert writes with transformers: all rows tokenised at once by the fast tokenizer, sorted by
  length, padded in batches of the best size of four, bf16 autocast, inference_mode, answers put in order.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import save

LABELS = ("sadness", "joy", "love", "anger", "fear", "surprise")
BATCHES = (32, 64, 128, 256)
Answers = list[tuple[str, float]]
System = Callable[[list[str]], Answers]


def read_rows(data: Path, number: int) -> list[str]:
    """Rows of both sets, shuffled."""
    lines = (data / "emotion/train.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.rpartition(";")[0] for line in lines]
    with open(data / "sst2/train.tsv", encoding="utf-8", newline="") as file:
        texts += [row["sentence"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return random.Random(0).sample(texts, number)


def with_head(model: Path, out: Path) -> None:
    """The encoder under a head of random weights, saved."""
    from bertmini import BertForSequenceClassification, WordPieceTokenizer

    torch.manual_seed(0)
    fields = {"id2label": dict(enumerate(LABELS)), "problem_type": "single_label_classification"}
    BertForSequenceClassification.from_pretrained(model, **fields).save_pretrained(out)
    WordPieceTokenizer.from_pretrained(model).save_pretrained(out)


def ours(directory: Path, precision: str) -> System:
    from bertmini import Predictor

    predictor = Predictor.from_pretrained(directory, precision=precision)
    return lambda texts: [(answer["label"], answer["score"]) for answer in predictor(iter(texts))]


def pipeline(directory: Path) -> System:
    import transformers

    answer = transformers.pipeline("text-classification", model=str(directory), batch_size=32)
    return lambda texts: [(found["label"], found["score"]) for found in answer(texts)]


def loop(directory: Path, sample: list[str]) -> tuple[System, int]:
    """The loop, and the batch size that is fastest on a sample."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory).eval()

    def answer(texts: list[str], batch_size: int) -> Answers:
        encoded = tokenizer(texts, truncation=True, max_length=512)
        order = sorted(range(len(texts)), key=lambda i: -len(encoded["input_ids"][i]))
        answers: list[Any] = [None] * len(texts)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                rows = {name: [column[i] for i in chosen] for name, column in encoded.items()}
                scores = model(**tokenizer.pad(rows, return_tensors="pt")).logits.float().softmax(-1)
                best, label = scores.max(-1)
                for i, number, score in zip(chosen, label.tolist(), best.tolist(), strict=True):
                    answers[i] = (model.config.id2label[number], score)
        return answers

    def seconds(batch_size: int) -> float:
        started = time.perf_counter()
        answer(sample, batch_size)
        return time.perf_counter() - started

    seconds(BATCHES[0])
    best = min(BATCHES, key=lambda batch_size: min(seconds(batch_size) for _ in range(2)))
    return lambda texts: answer(texts, best), best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="holds emotion/train.txt and sst2/train.tsv")
    parser.add_argument("--model", type=Path, required=True, help="directory of the pretrained 6-layer model")
    parser.add_argument("--rows", type=int, default=20_000, help="rows, all rounds together")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    from bertmini.machine import best_device
    from bertmini.training.loop import best_precision

    texts = read_rows(options.data, options.rows)
    rounds = [texts[i :: options.rounds] for i in range(options.rounds)]
    with tempfile.TemporaryDirectory() as directory:
        with_head(options.model, Path(directory))
        by_hand, batch_size = loop(Path(directory), texts[:1000])
        systems = {
            "bertmini": ours(Path(directory), "auto"),
            "bertmini_float32": ours(Path(directory), "float32"),
            "pipeline": pipeline(Path(directory)),
            "loop": by_hand,
        }
        for system in systems.values():
            system(texts[:200])
        speeds: dict[str, list[float]] = {name: [] for name in systems}
        answers: dict[str, Answers] = {name: [] for name in systems}
        for rows in rounds:
            for name, system in systems.items():
                started = time.perf_counter()
                answers[name] += system(rows)
                speeds[name].append(len(rows) / (time.perf_counter() - started))
            print({name: round(speed[-1]) for name, speed in speeds.items()}, flush=True)

    def share(one: str, other: str) -> float:
        pairs = zip(answers[one], answers[other], strict=True)
        return statistics.mean(a[0] == b[0] for a, b in pairs)

    def ratio(other: str, name: str = "bertmini") -> float:
        return statistics.median(a / b for a, b in zip(speeds[name], speeds[other], strict=True))

    gap = max(abs(a[1] - b[1]) for a, b in zip(answers["bertmini_float32"], answers["pipeline"], strict=True))
    result = {
        "rows": len(texts),
        "rounds": options.rounds,
        "precision": best_precision(best_device()),
        "loop_batch_size": batch_size,
        "rows_per_second": {name: statistics.median(speed) for name, speed in speeds.items()},
        "every_round": speeds,
        "ratio_to_pipeline": ratio("pipeline"),
        "ratio_to_loop": ratio("loop"),
        "ratio_to_pipeline_in_float32": ratio("pipeline", "bertmini_float32"),
        "same_labels_as_pipeline": share("bertmini", "pipeline"),
        "same_labels_as_pipeline_in_float32": share("bertmini_float32", "pipeline"),
        "largest_gap_of_a_score_in_float32": gap,
    }
    save("inference", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
