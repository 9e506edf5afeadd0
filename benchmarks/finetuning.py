"""Fine-tuning time: bertmini against transformers' Trainer, by its defaults and tuned, on real labels.

The start is a pretrained 6-layer model, the data five sets (so many training rows of each at most, drawn by
the seed), three epochs. Trainer's defaults are batches of 8 as they come, float32, 5e-5; tuned it has
bertmini's batch and rate, bf16, and groups rows by length. Times are of tokenising and training, from a list
of texts to a trained model; quality is that on the dev part after it (trec has only a test part), so that
nobody is fast by stopping short. All take turns. What an earlier call measured with the same settings stays
and is not measured again.

Quality wants many rows and seeds, and the tuned Trainer beside ours; the defaults take several times as long,
by a ratio that fewer rows show as well. So there are two files of results (--name):

    python benchmarks/finetuning.py --data DATA --model MODEL --peers trainer_tuned
    python benchmarks/finetuning.py --data DATA --model MODEL --name finetuning_defaults --rows 1600 --seeds 1
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import earlier, save

from bertmini.data.task_files import Example, read_task
from bertmini.machine import keep_freed_memory

LEARNING_RATE, EPOCHS, BATCH, MAX_LENGTH = 2e-4, 3, 16, 128
SETS = {"emotion": "classify", "sst2": "classify", "trec": "classify", "rte": "classify", "stsb": "regress"}
MEASURES = {"classify": "accuracy", "regress": "pearson"}
Answers = list[str] | list[float]
Predict = Callable[[list[Example]], Answers]


def bertmini(kind: str, examples: list[Example], directory: Path, seed: int) -> Predict:
    """What `bertmini finetune` does, without a look at the dev part, since the others take none."""
    from bertmini import Predictor, WordPieceTokenizer
    from bertmini.tasks import TASKS, finetune, load_for_task, task_options

    task, train = TASKS[kind], {"train": examples}
    tokenizer = WordPieceTokenizer.from_pretrained(directory)
    tokenizer.model_max_length = MAX_LENGTH
    model = load_for_task(task, examples, directory, seed=seed)
    options = task_options(task, train, EPOCHS, learning_rate=LEARNING_RATE, batch_size=BATCH, seed=seed)
    finetune(task, train, model, tokenizer, options)
    predictor = Predictor(model, tokenizer)
    return lambda unseen: [answer["label" if kind == "classify" else "score"] for answer in predictor(unseen)]


def trainer(kind: str, examples: list[Example], directory: Path, seed: int, **settings: Any) -> Predict:
    """What transformers' documentation has its users write."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    labels = sorted({str(example.label) for example in examples}) if kind == "classify" else [""]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=len(labels))

    def encode(some: list[Example], **how: Any) -> Any:
        pairs = None if some[0].pair is None else [example.pair for example in some]
        texts = [example.text for example in some]
        return tokenizer(texts, pairs, truncation=True, max_length=MAX_LENGTH, **how)

    encoded = encode(examples)
    targets = [labels.index(str(e.label)) if kind == "classify" else float(e.label or 0) for e in examples]
    rows = [{**{name: encoded[name][i] for name in encoded}, "labels": t} for i, t in enumerate(targets)]
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, num_train_epochs=EPOCHS, seed=seed, use_cpu=not torch.cuda.is_available(), report_to="none",
            save_strategy="no", disable_tqdm=True, **settings,
        )  # fmt: skip
        collator = DataCollatorWithPadding(tokenizer)
        Trainer(model, arguments, train_dataset=rows, data_collator=collator).train()  # type: ignore[arg-type]
    model.eval()

    @torch.inference_mode()
    def predict(unseen: list[Example]) -> Answers:
        found: list[Any] = []
        for start in range(0, len(unseen), 64):
            batch = encode(unseen[start : start + 64], padding=True, return_tensors="pt").to(model.device)
            logits = model(**batch).logits
            found += (
                [labels[i] for i in logits.argmax(-1).tolist()]
                if kind == "classify"
                else logits[:, 0].tolist()
            )
        return found

    return predict


TUNED = {
    "per_device_train_batch_size": BATCH, "learning_rate": LEARNING_RATE, "warmup_steps": 0.1, "bf16": True,
    "train_sampling_strategy": "group_by_length",
}  # fmt: skip
CONTESTANTS: dict[str, Callable[..., Predict]] = {
    "bertmini": bertmini,
    "trainer": trainer,
    "trainer_tuned": lambda *given: trainer(*given, **TUNED),
}


def quality(kind: str, answers: Answers, examples: list[Example]) -> float:
    if kind == "regress":
        return statistics.correlation(answers, [float(example.label or 0) for example in examples])  # type: ignore[arg-type]
    return statistics.mean(a == str(e.label) for a, e in zip(answers, examples, strict=True))


def compared(measure: str, runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """How much longer the others take, and how far ours is above them, with the standard error of that.

    Seed by seed: both learn from the same examples, in one hour, and with as many threads where times count.
    """
    ours = {run["seed"]: run for run in runs["bertmini"]}
    found: dict[str, Any] = {"time_ratios": {}, "above": {}, "standard_error": {}}
    for who in runs.keys() - {"bertmini"}:
        pairs = [(ours[run["seed"]], run) for run in runs[who]]
        if not pairs:
            continue
        alike = [(own["seconds"], run["seconds"]) for own, run in pairs if own["threads"] == run["threads"]]
        if alike:
            found["time_ratios"][who] = statistics.median(theirs / own for own, theirs in alike)
        above = [own[measure] - run[measure] for own, run in pairs]
        found["above"][who] = statistics.mean(above)
        if len(above) > 1:
            found["standard_error"][who] = statistics.stdev(above) / len(above) ** 0.5
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory with a folder for each set")
    parser.add_argument("--model", type=Path, required=True, help="directory of the pretrained 6-layer model")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rows", type=int, default=8000, help="training rows of each set at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=["trainer", "trainer_tuned"], default=["trainer"])
    parser.add_argument("--name", default="finetuning", help="of the file of results")
    options = parser.parse_args()
    keep_freed_memory()
    settings = {"rows": options.rows, "epochs": EPOCHS, "batch_size": BATCH, "learning_rate": LEARNING_RATE}
    earlier(options.name, settings)
    begun: set[str] = set()
    for name in options.sets:
        kind, measure = SETS[name], MEASURES[SETS[name]]
        splits = read_task(options.data / name, kind)
        unseen = splits.get("dev", splits.get("test", []))
        rows = min(options.rows, len(splits["train"]))
        runs = earlier(options.name, settings).get(name, {}).get("runs", {})
        for seed in range(options.seeds):
            chosen = random.Random(seed).sample(splits["train"], rows)
            for who in ("bertmini", *options.peers):
                if any(run["seed"] == seed for run in runs.setdefault(who, [])):
                    continue
                if who not in begun:  # what is done once in a process is not the training's
                    CONTESTANTS[who](kind, chosen[: 4 * BATCH], options.model, seed)
                    begun.add(who)
                started = time.perf_counter()
                predict = CONTESTANTS[who](kind, chosen, options.model, seed)
                seconds = time.perf_counter() - started
                run = {"seed": seed, "threads": torch.get_num_threads(), "seconds": seconds}
                runs[who].append(run | {measure: quality(kind, predict(unseen), unseen)})
                print(name, who, runs[who][-1], flush=True)
                found = {"rows": rows, "measure": measure, "runs": runs, **compared(measure, runs)}
                save(options.name, settings | earlier(options.name, settings) | {name: found})
    print(json.dumps(earlier(options.name), indent=2))


if __name__ == "__main__":
    main()
