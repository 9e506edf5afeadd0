"""One pretraining step of bertmini beside one of transformers: tokens a second and peak memory.

    python benchmarks/pretraining_step.py [--rounds 20] [--threads N]

Both train a BERT of the same shape (4 layers of 256, vocabulary 8,000) on the same batches of 32 x 128 full
rows, 15 % of the tokens masked, in bf16 with dropout 0.1: bertmini by the update of its training loop,
transformers' BertForPreTraining by the loop that its users write (torch.optim.AdamW as it comes, autocast,
clipping at 1). Their steps alternate in one process; medians are compared.
Memory is measured in a process each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

VOCABULARY, BATCH, LENGTH = 8000, 32, 128
SHAPE = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
Step = Callable[[dict[str, torch.Tensor]], float]


def batch_at(step: int) -> dict[str, torch.Tensor]:
    """A batch of random ids, one token in seven masked."""
    generator = torch.Generator().manual_seed(step)
    input_ids = torch.randint(5, VOCABULARY, (BATCH, LENGTH), generator=generator)
    masked = torch.rand(BATCH, LENGTH, generator=generator) < 0.15
    return {
        "input_ids": input_ids.masked_fill(masked, 4),
        "attention_mask": torch.ones_like(input_ids),
        "token_type_ids": (torch.arange(LENGTH) >= LENGTH // 2).long().repeat(BATCH, 1),
        "labels": input_ids.masked_fill(~masked, -100),
        "next_sentence_label": torch.randint(0, 2, (BATCH,), generator=generator),
    }


def bertmini_step() -> Step:
    """A step as `bertmini.training.train` does it."""
    from bertmini import BertConfig, BertForPreTraining
    from bertmini.training import Options
    from bertmini.training.loop import update
    from bertmini.training.optimizer import adamw

    options = Options(steps=1, precision="bf16")
    model = BertForPreTraining(BertConfig(vocab_size=VOCABULARY, **SHAPE)).train()
    optimizer = adamw(model, options.learning_rate, options.weight_decay)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return lambda batch: update(
        model, [batch], lambda model, batch: model(**batch), optimizer, scaler, options
    )[0]["loss"]  # fmt: skip


def transformers_step() -> Step:
    """A step as users of transformers write it."""
    from transformers import BertConfig, BertForPreTraining

    model = BertForPreTraining(BertConfig(vocab_size=VOCABULARY, **SHAPE)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)

    def step(batch: dict[str, torch.Tensor]) -> float:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


STEPS = {"bertmini": bertmini_step, "transformers": transformers_step}


def speed(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of each step, alternating, after three that warm up."""
    steps = {name: make() for name, make in STEPS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds + 3):
        batch = batch_at(i)
        for name, step in steps.items():
            started = time.perf_counter()
            step(batch)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values[3:]) for name, values in seconds.items()}
    return {
        name: {"seconds": round(median, 4), "tokens_per_second": round(BATCH * LENGTH / median)}
        for name, median in medians.items()
    }


def peak_memory() -> float:
    """This process's, in MB. (Linux's ru_maxrss would begin with that of the process that started it.)"""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def memory(name: str) -> float:
    """Peak memory of a process of its own that does five steps, in MB."""
    command = [sys.executable, __file__, "--memory", name, "--threads", str(torch.get_num_threads())]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="steps of each that are timed")
    parser.add_argument("--threads", type=int, help="default: what torch chooses")
    parser.add_argument("--memory", choices=STEPS, help="only print this one's peak memory in MB")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "pretraining_step.json"
    )
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.memory:
        step = STEPS[arguments.memory]()
        for i in range(5):
            step(batch_at(i))
        print(peak_memory())
        return

    from bertmini.machine import machine, versions

    result: dict = {
        "what": __doc__.splitlines()[0],
        "batch": [BATCH, LENGTH],
        "vocabulary": VOCABULARY,
        **speed(arguments.rounds),
    }
    for name in STEPS:
        result[name]["peak_memory_mb"] = round(memory(name))
    result["speed_ratio"] = round(result["transformers"]["seconds"] / result["bertmini"]["seconds"], 2)
    result |= {"versions": versions("transformers"), "machine": machine()}
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
