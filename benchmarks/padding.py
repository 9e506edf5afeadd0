"""What padding costs on a CPU: tokens a second of training, padded, in batches by length, and packed.

    python benchmarks/padding.py [--preset mini] [--rounds 3]

Rows have lengths 128 u^k with u uniform between 0 and 1: the larger k is, the more short rows there are, and
the more of a random batch is padding. All three forms train the same model in bf16 on the same rows, 32 in a
batch, and take turns. Padding does not count as tokens.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from machine import save

from bertmini import BertConfig, BertForPreTraining
from bertmini.data.batches import pad_inputs
from bertmini.data.packing import pack
from bertmini.machine import keep_freed_memory
from bertmini.training import Options
from bertmini.training.loop import update
from bertmini.training.optimizer import adamw

LONGEST, ROWS, SIZE, VOCABULARY = 128, 256, 32, 8000
EXPONENTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
Batch = dict[str, torch.Tensor]


def batches_of(lengths: list[int], seed: int) -> list[Batch]:
    """Padded batches in the order given, of random ids, one token in seven masked."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for start in range(0, len(lengths), SIZE):
        rows = [
            torch.randint(5, VOCABULARY, (length,), generator=generator).tolist()
            for length in lengths[start : start + SIZE]
        ]
        batch = pad_inputs(rows, [[0] * len(row) for row in rows], 0)
        ids, real = batch["input_ids"], batch["attention_mask"].bool()
        hidden = (torch.rand(ids.shape, generator=generator) < 0.15) & real
        batch |= {"input_ids": ids.masked_fill(hidden, 4), "labels": ids.masked_fill(~hidden, -100)}
        batches.append(batch | {"next_sentence_label": torch.arange(len(rows)) % 2})
    return batches


def padding(batches: list[Batch]) -> float:
    """The share of the positions that is padding."""
    masks = [batch["attention_mask"] for batch in batches]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count, after one that warms up")
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig.preset(options.preset, vocab_size=VOCABULARY)).train()
    training = Options(steps=1, precision="bf16")
    optimizer = adamw(model, training.learning_rate, training.weight_decay)
    scaler = torch.amp.GradScaler("cpu", enabled=False)

    results = []
    for exponent in EXPONENTS:
        lengths = (LONGEST * torch.rand(ROWS) ** exponent).ceil().clamp(3).int().tolist()
        random, by_length = batches_of(lengths, 0), batches_of(sorted(lengths), 0)
        forms = {"padded": random, "by length": by_length, "packed": [pack(batch) for batch in random]}
        seconds: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(options.rounds + 1):
            for name, batches in forms.items():
                started = time.perf_counter()
                for batch in batches:
                    update(lambda batch: model(**batch), [batch], optimizer, scaler, training)
                seconds[name].append(time.perf_counter() - started)
        line = {"tokens": sum(lengths), "share of padding": round(padding(random), 3)}
        line["share of padding by length"] = round(padding(by_length), 3)
        speed = {name: sum(lengths) / statistics.median(took[1:]) for name, took in seconds.items()}
        results.append(line | {name: round(value) for name, value in speed.items()})
        print(results[-1], flush=True)
    what = __doc__.splitlines()[0]
    save(
        "padding", {"what": what, "preset": options.preset, "precision": "bf16", "tokens_per_second": results}
    )


if __name__ == "__main__":
    main()
