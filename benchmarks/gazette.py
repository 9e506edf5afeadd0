"""The Gazette's ten tasks: what counting words gives, what is possible, and where models land between.

For each task, on its test part: a baseline that counts words, the best answers that there are, and the
presets tiny and mini, from random weights and pretrained, fine-tuned as `bertmini finetune` does (the dev
part chooses the epoch; translations are written greedily). The pretrained mini is the model that bertmini
ships; tiny is pretrained here by the same recipe, and kept in --cache. Rows and epochs are few, so that a run
takes a minute or two on one core.

What was measured with the same settings stays, and each run is saved as soon as it is done, so that an
interrupted measurement goes on where it was.

    python benchmarks/gazette.py --cache DIR [--tasks topic emotion] [--presets mini] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import earlier, save

from bertmini import WordPieceTokenizer
from bertmini.cli import main as command
from bertmini.data.tagged import entities_of
from bertmini.gazette import GAZETTE_VERSION, Gazette, collisions
from bertmini.gazette.baselines import BASELINES, BEST
from bertmini.hub import shipped
from bertmini.machine import keep_freed_memory
from bertmini.tasks import TASKS, finetune, load_for_task, regress, seq2seq, squad, tag, task_options
from bertmini.tasks.decoding import Decoding

LEARNING_RATES = {"tiny": 1e-3, "mini": 5e-4}  # the smaller model bears more
STARTS = ("pretrained", "random weights")
BATCH, LENGTH, DEV, DOCUMENTS = 16, 256, 200, 20_000
EXACT = 300  # test examples for sums over all that could have been written, which take a while
Measured = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A task of the command, what is measured, and how much is learned from and measured on."""

    task: str
    measure: str
    rows: int
    epochs: int
    test: int = 1000


SETTINGS = {
    "topic": Setting("classify", "accuracy", 2500, 2),
    "emotion": Setting("classify", "accuracy", 2000, 2),
    "acceptability": Setting("classify", "accuracy", 4000, 3),
    "similarity": Setting("regress", "pearson", 3500, 2),
    "paraphrase": Setting("classify", "accuracy", 3000, 2),
    "inference": Setting("classify", "accuracy", 3500, 2),
    "entities": Setting("tag", "f1", 2500, 2),
    "questions": Setting("qa", "f1", 1000, 2, 500),
    "continuation": Setting("choice", "accuracy", 500, 2, 400),
    "quillish": Setting("seq2seq", "bleu", 4000, 2, 200),
}  # about as many tokens each


def as_measured(setting: Setting, truth: Sequence[Any], answers: Sequence[Any]) -> float:
    """Answers that come from no model, by the measure that a model's are measured with."""
    match setting.task:
        case "tag":
            return tag.measure([example.tags for example in truth], answers)["f1"]
        case "qa":
            return squad.measure(truth, answers)["f1"]
        case "seq2seq":
            tokenizer = WordPieceTokenizer.from_pretrained(shipped())
            return seq2seq.bleu(answers, [pair.target for pair in truth], tokenizer)
        case "regress":
            scores = np.array([example.label for example in truth])
            return regress.measure(np.array(answers)[:, None], scores, [])["pearson"]
    return sum(a == example.label for a, example in zip(answers, truth, strict=True)) / len(truth)


def labels(examples: Sequence[Any], setting: Setting) -> dict[str, int]:
    """How often each label occurs: of what there is one for each text, or one for each name in it."""
    kinds: dict[str, Callable[[Any], Sequence[str]]] = {
        "tag": lambda example: [entity.label for entity in entities_of(example.tags)],
        "qa": lambda question: ["with an answer" if question.answers else "without"],
        "choice": lambda choice: [f"option {choice.label + 1}"],
        "seq2seq": lambda pair: ["question" if pair.source.endswith("?") else "statement"],
    }
    of_one = kinds.get(setting.task, lambda example: [f"{example.label}"])
    counts = Counter(label for example in examples for label in of_one(example))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def of_the_task(gazette: Gazette, name: str, setting: Setting) -> Measured:
    """What belongs to a task and to no model."""
    train, test = gazette.task(name, "train", setting.rows), gazette.task(name, "test", setting.test)
    known = set(map(without_label, train))
    found = {
        "labels": labels(train, setting),
        "collisions": sum(without_label(example) in known for example in test),
        "baseline": as_measured(setting, test, BASELINES[name](train, test)),
    }
    if name not in BEST:
        return found | {"ceiling": 100.0 if setting.measure == "bleu" else 1.0, "known": "by construction"}
    ceiling = as_measured(setting, test[:EXACT], BEST[name](gazette, "test", EXACT))
    return found | {"ceiling": ceiling, "known": "at least" if name == "acceptability" else "exactly"}


def without_label(example: Any) -> tuple[Any, ...]:
    """What a model sees of an example."""
    seen = ("text", "pair", "words", "question", "context", "options", "source")
    return tuple(value for name, value in vars(example).items() if name in seen)


def pretrained(preset: str, options: argparse.Namespace) -> Path:
    """The pretrained model of a preset: the shipped one, or one that is made once, by the same recipe."""
    if preset == "mini":
        return Path(shipped())
    directory = options.cache / f"{preset}-{options.steps}"
    if not (directory / "metrics.json").exists():
        arguments = ["pretrain", "--preset", preset, "--documents", "60000", "--dropout", "0",
                     "--tokenizer", str(shipped()), "--batch-size", "16", "--steps", str(options.steps),
                     "--evaluate-every", "1000", "--out", str(directory)]  # fmt: skip
        if command(arguments + (["--resume"] if directory.exists() else [])):
            raise SystemExit(f"pretraining {preset} failed")
    return directory


def learn(gazette: Gazette, name: str, setting: Setting, preset: str, start: str, seed: int,
          directory: Path) -> Measured:  # fmt: skip
    """A model fine-tuned on a task, and how it does on the test part."""
    started = time.perf_counter()
    task = TASKS[setting.task]
    sizes = {"train": setting.rows, "dev": DEV, "test": setting.test}
    splits = {part: gazette.task(name, part, n) for part, n in sizes.items()}
    tokenizer = WordPieceTokenizer.from_pretrained(directory)
    model = load_for_task(task, splits["train"], directory, from_scratch=start == "random weights", seed=seed)
    how: Measured = {"learning_rate": LEARNING_RATES[preset], "batch_size": BATCH, "seed": seed}
    if task is seq2seq:
        model.config = seq2seq.with_decoding(model.config, Decoding(1))
        tokenizer = seq2seq.learn_vocabulary(model, tokenizer, splits["train"], 1000)
    if rows := getattr(task, "rows", None):
        how["rows"] = rows(splits["train"], tokenizer, LENGTH)
    options = task_options(task, splits, setting.epochs, **how)
    history, metrics = finetune(task, splits, model, tokenizer, options, max_length=LENGTH, progress=False)
    return {
        "seed": seed,
        setting.measure: metrics["test"][setting.measure],
        "dev": metrics["dev"][setting.measure],
        "steps": history.progress.step,
        "training seconds": metrics["seconds"],
        "seconds": time.perf_counter() - started,
    }


def corpus(gazette: Gazette) -> Measured:
    """How long the default corpus takes to write, and how many texts of other splits stand in it."""
    started = time.process_time()
    train = gazette.documents(DOCUMENTS)
    seconds = time.process_time() - started
    found = {split: collisions(gazette.documents(1000, split), train) for split in ("dev", "test")}
    return {"documents": DOCUMENTS, "seconds": seconds, "collisions": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="directory for the pretrained tiny")
    parser.add_argument("--tasks", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--presets", nargs="+", choices=LEARNING_RATES, default=["mini", "tiny"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5000, help="of tiny's pretraining")
    options = parser.parse_args()
    keep_freed_memory()
    gazette = Gazette()
    settings = {"gazette_version": GAZETTE_VERSION}
    result = earlier("gazette", settings) or settings | {"corpus": corpus(gazette), "tasks": {}}
    for name in options.tasks:
        settings = asdict(SETTINGS[name]) | {"batch_size": BATCH, "learning_rates": LEARNING_RATES}
        if result["tasks"].get(name, {}).get("settings") != settings:
            known = {"settings": settings, "runs": {}}
            result["tasks"][name] = known | of_the_task(gazette, name, SETTINGS[name])
            print(name, {k: v for k, v in result["tasks"][name].items() if k not in known}, flush=True)
            save("gazette", result)
    for preset in options.presets:
        directory = pretrained(preset, options)
        metrics = json.loads((directory / "metrics.json").read_text("utf-8"))
        if result.setdefault("pretraining", {}).get(preset, metrics) != metrics:  # it is another model now
            for of_task in result["tasks"].values():
                of_task["runs"].pop(f"{preset}, pretrained", None)
        result["pretraining"][preset] = metrics
        for start in STARTS:
            for name in options.tasks:
                runs = result["tasks"][name]["runs"].setdefault(f"{preset}, {start}", [])
                for seed in range(len(runs), options.seeds):
                    runs.append(learn(gazette, name, SETTINGS[name], preset, start, seed, directory))
                    print(name, preset, start, runs[-1], flush=True)
                    save("gazette", result)


if __name__ == "__main__":
    main()
