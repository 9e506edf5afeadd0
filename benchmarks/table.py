"""One table of what the benchmarks measured: ours, theirs, their ratio and its goal, the share of the peak.

    python benchmarks/table.py

It reads `results/*.json`, which the other scripts write; `make bench` runs them all and then this.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from typing import Any

from machine import RESULTS

Row = tuple[str, str, str, str, str]  # what, ours, theirs, ratio and goal, share of the peak
HEADER: Row = ("measured", "bertmini", "against", "ratio", "share of peak")
STEP_GOALS = {"tiny": 1.8, "mini": 1.8, "small": 1.4, "base": 1.3}
PEAK_GOALS = {"small": 0.30, "base": 0.30}


def versus(ratio: float, goal: float, less: bool = False) -> str:
    """A ratio beside its goal, and a mark where it is not reached."""
    reached = ratio <= goal if less else ratio >= goal
    return f"{ratio:.2f} ({'at most' if less else 'at least'} {goal:g}){'' if reached else ' NOT REACHED'}"


def within(ratio: float, low: float, high: float) -> str:
    """A ratio beside the range where it should be, and a mark where it is not."""
    return f"{ratio:.2f} ({low:g} to {high:g}){'' if low <= ratio <= high else ' NOT REACHED'}"


def pretraining_step(found: dict[str, Any]) -> Iterator[Row]:
    for case in found["cases"]:
        name = f"pretraining, {case['preset']}, {case['precision']}, {case['rows']} rows, tokens/s"
        goal = 1.3 if case["precision"] == "float32" else STEP_GOALS[case["preset"]]
        goal *= 2 if case["rows"] == "sentences" else 1
        share = f"{case['share_of_peak']:.0%}"
        if case["rows"] == "full" and case["preset"] in PEAK_GOALS and case["precision"] == "bf16":
            share += f" (at least {PEAK_GOALS[case['preset']]:.0%})"
        for peer in ("transformers", "transformers, tuned"):
            ours, theirs = case["bertmini"], case[peer]
            ratio = versus(case[f"speed over {peer}"], goal)
            speeds = f"{ours['tokens_per_second']:,}", f"{theirs['tokens_per_second']:,} {peer}"
            yield name, *speeds, ratio, share
        if (case["preset"], case["precision"], case["rows"]) == ("mini", "bf16", "full"):
            for peer in ("transformers", "transformers, tuned"):
                memory = f"{case[peer]['peak_memory_mb']:,} {peer}"
                ratio = versus(case[f"memory over {peer}"], 0.7, less=True)
                yield "peak memory of it, MB", f"{ours['peak_memory_mb']:,}", memory, ratio, ""


def finetuning(found: dict[str, Any]) -> Iterator[Row]:
    peers = {"trainer": "Trainer, defaults", "trainer_tuned": "Trainer, bf16, by length"}
    for data in (name for name in ("emotion", "sst2", "trec", "rte", "stsb") if name in found):
        runs, measure = found[data]["runs"], found[data].get("measure", "accuracy")
        told = {
            who: f"{statistics.median(run['seconds'] for run in of):.0f} s "
            f"({statistics.mean(run[measure] for run in of):.1%})"
            for who, of in runs.items()
        }
        goals = {"trainer": 3 if data in ("emotion", "sst2") else 2.5, "trainer_tuned": 1.1}
        for who, ratio in found[data]["time_ratios"].items():
            name = f"fine-tuning, {data}, {found[data]['rows']:,} rows, time ({measure})"
            yield name, told["bertmini"], f"{told[who]} {peers[who]}", versus(ratio, goals[who]), ""
        for who, error in found[data]["standard_error"].items():
            ratio = versus(found[data]["above"][who] / error, -2)
            yield f"fine-tuning, {data}, quality above {peers[who]}, in standard errors", "", "", ratio, ""


def inference(found: dict[str, Any]) -> Iterator[Row]:
    speed = found["rows_per_second"]
    name, ours = f"inference, {found['rows']:,} rows, rows/s", f"{speed['bertmini']:,.0f}"
    yield name, ours, f"{speed['pipeline']:,.0f} pipeline", versus(found["ratio_to_pipeline"], 6), ""
    yield name, ours, f"{speed['loop']:,.0f} best loop", versus(found["ratio_to_loop"], 1), ""


def preparation(found: dict[str, Any]) -> Iterator[Row]:
    speed = found["speed"]["megabytes_per_second"]
    theirs = f"{speed['theirs']:.1f} datasets.map"
    yield "preparation, MB/s", f"{speed['ours']:.1f}", theirs, versus(found["speed"]["ratio"], 1.2), ""
    for name, ratios in found["growth"].items():
        if " to " in name:
            for what, ratio in ratios.items():
                yield f"growth, {name}: {what}", "", "", within(ratio, 0.9, 1.1), ""
    for name, step in found["step"].items():
        yield f"making a batch, {name}, of a step", f"{step['share']:.1%}", "", "(at most 3 %)", ""


def import_time(found: dict[str, Any]) -> Iterator[Row]:
    seconds = found["seconds"]
    theirs = f"{seconds['torch']:.2f} s import torch"
    yield (
        "import bertmini",
        f"{seconds['bertmini']:.2f} s",
        theirs,
        versus(found["ratio"], 1.1, less=True),
        "",
    )


def cost(found: dict[str, Any]) -> Iterator[Row]:
    for name, case in found["cases"].items():
        for what in ("seconds", "memory"):
            if f"{what}_ratio" in case:
                yield f"cost model, {name}: {what}", "", "", within(case[f"{what}_ratio"], 0.8, 1.2), ""


def export(found: dict[str, Any]) -> Iterator[Row]:
    for case in found["cases"]:
        took = {name: f"{value:.2f} ms" for name, value in case["milliseconds"].items()}
        for name, told in (("onnx", "ONNX Runtime"), ("onnx_int8", "ONNX Runtime, int8")):
            goal = versus(case["speedups"][name], 1.5) if name == "onnx" else f"{case['speedups'][name]:.2f}"
            row = f"one row of {case['length']} tokens, {told}"
            yield row, took[name], f"{took['pytorch']} PyTorch, eager", goal, ""


TABLES = {
    "pretraining_step": pretraining_step, "finetuning": finetuning,
    "finetuning_defaults": finetuning, "inference": inference,
    "preparation": preparation, "import_time": import_time, "cost": cost, "export": export,
}  # fmt: skip


def main() -> None:
    rows = [HEADER]
    for name, table in TABLES.items():
        file = RESULTS / f"{name}.json"
        if file.exists():
            rows += table(json.loads(file.read_text(encoding="utf-8")))
        else:
            rows.append((f"{name}: not measured yet", "", "", "", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
