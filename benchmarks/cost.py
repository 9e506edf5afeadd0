"""The cost model's prediction of a pretraining step beside the measured one: seconds and peak memory.

    python benchmarks/cost.py [--rounds 3] [--threads N]

For each size and precision a process measures the processor's three rates and predicts, then another one does
five steps as `bertmini.training` does them and reads its clock and its memory. The rounds alternate; medians.
Fewer threads than cores keep the numbers steady where something else runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from machine import save

from bertmini import BertConfig, BertForPreTraining
from bertmini.cost import Plan, measured, parameters
from bertmini.machine import keep_freed_memory
from bertmini.training import Options
from bertmini.training.loop import update
from bertmini.training.optimizer import adamw

LENGTH, STEPS = 128, 5
ROWS = {"tiny": 32, "mini": 32, "small": 16, "base": 8}
NOTHING = BertConfig(
    vocab_size=100, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=64
)


def batch_at(step: int, rows: int, vocabulary: int) -> dict[str, torch.Tensor]:
    """A batch of random ids, 15 % of the tokens masked."""
    generator = torch.Generator().manual_seed(step)
    input_ids = torch.randint(5, vocabulary, (rows, LENGTH), generator=generator)
    masked = torch.rand(rows, LENGTH, generator=generator) < 0.15
    return {
        "input_ids": input_ids.masked_fill(masked, 4),
        "attention_mask": torch.ones_like(input_ids),
        "token_type_ids": (torch.arange(LENGTH) >= LENGTH // 2).long().repeat(rows, 1),
        "labels": input_ids.masked_fill(~masked, -100),
        "next_sentence_label": torch.randint(0, 2, (rows,), generator=generator),
    }


def predict(preset: str, precision: str) -> dict[str, float]:
    """What the cost model says, from rates measured here and now."""
    keep_freed_memory()
    config, tokens = BertConfig.preset(preset), ROWS[preset] * LENGTH
    processor = measured(config, tokens, LENGTH, precision)
    plan = Plan(config, tokens, processor, tokens, tokens, LENGTH, precision=precision)
    return {
        "seconds": plan.step_seconds,
        "products": plan.product_seconds,
        "moving": plan.moving_seconds,
        "update": plan.update_seconds,
        "memory_mb": sum(plan.memory.values()) / 2**20,
        "products_gflops": processor.products / 1e9,
        "peak_gflops": processor.peak / 1e9,
        "bandwidth_gb": processor.bandwidth / 1e9,
        "update_ns": processor.update * 1e9,
    }


def resident_mb(field: str) -> float:
    """This process's memory from /proc, in MB: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure(preset: str, precision: str) -> dict[str, float]:
    """The median of some steps, and how far memory grew over what the process took before it had a model."""
    train_steps(NOTHING, 1, precision, 1)  # brings in the libraries, which are no part of a model
    before = resident_mb("VmRSS")
    train_steps(BertConfig.preset(preset), ROWS[preset], precision, 2)
    memory = resident_mb("VmHWM") - before
    keep_freed_memory()  # as the command does: faster, and with some gaps between blocks
    seconds = train_steps(BertConfig.preset(preset), ROWS[preset], precision, STEPS + 1)
    gaps = resident_mb("VmHWM") - before - memory
    return {"seconds": statistics.median(seconds[1:]), "memory_mb": memory, "gaps_mb": gaps}


def train_steps(config: BertConfig, rows: int, precision: str, steps: int) -> list[float]:
    """The seconds of each of some updates."""
    options = Options(steps=1, precision=precision)  # type: ignore[arg-type]
    model = BertForPreTraining(config).train()
    optimizer = adamw(model, options.learning_rate, options.weight_decay)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    seconds = []
    for step in range(steps):
        batches = [batch_at(step, rows, config.vocab_size)]
        started = time.perf_counter()
        update(lambda batch: model(**batch), batches, optimizer, scaler, options)
        seconds.append(time.perf_counter() - started)
    return seconds


def in_own_process(*case: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--threads", str(torch.get_num_threads()), "--case", *case]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(preset: str, precision: str, rounds: int) -> dict[str, Any]:
    """Both, as medians of the rounds, and their ratios."""
    both: dict[str, list[dict[str, float]]] = {"predicted": [], "measured": []}
    for _ in range(rounds):
        for kind in both:
            both[kind].append(in_own_process(kind, preset, precision))
    result: dict[str, Any] = {
        kind: {name: float(f"{statistics.median(each[name] for each in all_):.4g}") for name in all_[0]}
        for kind, all_ in both.items()
    }
    for what, name in (("seconds", "seconds"), ("memory", "memory_mb")):
        result[f"{what}_ratio"] = round(result["predicted"][name] / result["measured"][name], 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of predicting and measuring")
    parser.add_argument("--presets", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--threads", type=int, help="default: what torch chooses")
    parser.add_argument("--case", nargs=3, help="only this: predicted or measured, preset, precision")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.case:
        kind, preset, precision = arguments.case
        print(json.dumps((predict if kind == "predicted" else measure)(preset, precision)))
        return
    cases = {}
    for preset in arguments.presets:
        for precision in ("float32", "bf16"):
            case = compare(preset, precision, arguments.rounds)
            shape = {"tokens": ROWS[preset] * LENGTH, "rounds": arguments.rounds}
            cases[f"{preset} {precision}"] = {**shape, **case}
            print(preset, precision, json.dumps(case), flush=True)
    worst = max(abs(case["seconds_ratio"] - 1) for case in cases.values())
    print(f"seconds at most {worst:.0%} off")
    if arguments.presets == list(ROWS):
        counts = {name: sum(parameters(BertConfig.preset(name)).values()) for name in ROWS}
        print(save("cost", {"what": __doc__.splitlines()[0], "parameters": counts, "cases": cases}))


if __name__ == "__main__":
    main()
