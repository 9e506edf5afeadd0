"""Fine-tuning several times: the learning rate that does best on dev, and random restarts.

A restart is the same pretrained model with another head and the examples in another order. On small sets some
of them fail, above all with large models, so that BERT's authors took the best of several by the dev part
(Devlin et al. 2018, section 4.1).
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bertmini.files import read_json
from bertmini.tasks.finetune import Splits, Task, finetune, load_for_task
from bertmini.training import Options, Run
from bertmini.training.options import sign_of
from bertmini.training.processes import processes

LEARNING_RATES = (5e-5, 4e-5, 3e-5, 2e-5)


def finetune_best(
    task: Task,
    splits: Splits,
    origin: str | Path,
    tokenizer: Any,
    options: Options,
    directory: Path,
    *,
    rates: Sequence[float] = LEARNING_RATES,
    restarts: int = 1,
    max_length: int = 128,
    **begin: Any,
) -> tuple[Any, dict[str, Any]]:
    """Train with each learning rate, then with the best one from further seeds; keep the best on dev of all.

    Each attempt is a run directory. What is finished is not done again, and what was interrupted goes on.

    Args:
        task: a member of `bertmini.tasks.TASKS` or of `GLUE`.
        splits: examples by part, a dev part among them.
        origin: the pretrained model.
        tokenizer: the model's.
        options: how to train, from `task_options`; its seed is the first one.
        directory: where the attempts lie.
        rates: the learning rates.
        restarts: seeds with the best rate, the first one included.
        max_length: tokens of an example.
        begin: as for `load_for_task`.

    Returns:
        The best model, and its metrics; in addition "seconds" of all attempts, and "search": {"metric",
        "learning_rate", "seed", "mean" and "std" of the metric over the restarts (std None for a single one),
        "runs", a list of each attempt's {"learning_rate", "seed", "dev", "seconds"}}.
    """
    done: list[dict[str, Any]] = []

    def attempt(rate: float, seed: int) -> None:
        where = directory / f"rate-{rate:g}-seed-{seed}"
        if not processes().agree((where / "metrics.json").exists()):
            own = replace(options, learning_rate=rate, seed=seed)
            is_begun = processes().agree((where / "run.json").exists())
            run = Run.resume(where) if is_begun else Run.create(where, own)
            model = load_for_task(task, splits["train"], origin, seed=seed, **begin)
            metrics = finetune(task, splits, model, tokenizer, own, max_length=max_length, run=run)[1]
            run.finish(metrics, model)
        processes().wait()
        done.append({"rate": rate, "seed": seed, "where": where, **read_json(where / "metrics.json")})
        tidy(done, best(done, task.METRIC))

    for rate in dict.fromkeys(rates):
        attempt(rate, options.seed)
    chosen_rate = best(done, task.METRIC)["rate"]
    for seed in range(options.seed + 1, options.seed + restarts):
        attempt(chosen_rate, seed)

    found = best(done, task.METRIC)
    again = [each["dev"][task.METRIC] for each in done if each["rate"] == chosen_rate]
    runs = [
        {"learning_rate": each["rate"], **{name: each[name] for name in ("seed", "dev", "seconds")}}
        for each in done
    ]
    metrics = {name: value for name, value in found.items() if name not in ("rate", "seed", "where")}
    metrics["seconds"] = sum(each["seconds"] for each in done)
    metrics["search"] = {
        "metric": task.METRIC, "learning_rate": chosen_rate, "seed": found["seed"],
        "mean": statistics.mean(again), "std": statistics.stdev(again) if len(again) > 1 else None,
        "runs": runs,
    }  # fmt: skip
    return (begin.get("kind") or task.MODEL).from_pretrained(found["where"]), metrics


def best(done: Sequence[dict[str, Any]], metric: str) -> dict[str, Any]:
    """The attempt with the best metric on dev, of several the first."""
    return max(done, key=lambda each: sign_of(metric) * each["dev"][metric])


def tidy(done: Sequence[dict[str, Any]], keep: dict[str, Any]) -> None:
    """Remove the weights of all attempts but one; what they reached stays."""
    if not processes().is_main:
        return
    for each in done:
        shutil.rmtree(each["where"] / "checkpoints", ignore_errors=True)
        if each is not keep:
            (each["where"] / "model.safetensors").unlink(missing_ok=True)
