"""Tagging: entity F1 beside transformers' Trainer, and the ways of chapter 11 side by side.

fine-tuning  A pretrained 6-layer model on WNUT 2017: bertmini and Trainer with the same recipe (batch, rate,
             epochs, warm-up, first-piece labels, bf16), in turn, seed by seed; seqeval counts the answers of
             both. Seconds are of training and of answering the test part.
features     Fine-tuned, with a conditional random field, and a BiLSTM on six kinds of features of the frozen
             model (Table 7 of Devlin et al. 2018): on the Gazette from the model that bertmini ships, and on
             WNUT 2017 from the 6-layer one.

What an earlier call measured with the same settings stays and is not measured again.

    python benchmarks/tagging.py --data DATA --model MODEL [--part PART] [--rows N] [--seeds 3]
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from machine import earlier, save

from bertmini import WordPieceTokenizer
from bertmini.data.tagged import Tagged, labels_of, read_tagged
from bertmini.hub import shipped
from bertmini.machine import keep_freed_memory
from bertmini.model.tagging import FEATURES
from bertmini.tasks import finetune, load_for_task, tag, task_options

LEARNING_RATE, EPOCHS, BATCH = 2e-4, 3, 16
FEATURE_RATE, FEATURE_EPOCHS = 2e-3, 8  # a BiLSTM begins at random
GAZETTE_RATE = 5e-4  # the smaller model bears more
Tags = list[list[str]]


def bertmini(train: list[Tagged], test: list[Tagged], directory: Path, seed: int) -> Tags:
    """What `bertmini finetune tag` does, without a look at the dev part, since Trainer takes none."""
    tokenizer = WordPieceTokenizer.from_pretrained(directory)
    tokenizer.model_max_length = 128
    model = load_for_task(tag, train, directory, seed=seed)
    settings = {"learning_rate": LEARNING_RATE, "batch_size": BATCH, "seed": seed}
    options = task_options(tag, {"train": train}, EPOCHS, **settings)
    finetune(tag, {"train": train}, model, tokenizer, options)
    return [answer["tags"] for answer in tag.predict(model, tokenizer, test)]


def trainer(train: list[Tagged], test: list[Tagged], directory: Path, seed: int) -> Tags:
    """What transformers' example for tokens does: the label at the first piece, batches as they come."""
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
    )

    labels = labels_of(train)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    torch.manual_seed(seed)
    model = AutoModelForTokenClassification.from_pretrained(directory, num_labels=len(labels))

    def first_pieces(encoded: Any, row: int) -> list[int | None]:
        words = encoded.word_ids(row)
        return [word if word != before else None for before, word in zip([None, *words], words, strict=False)]

    def encode(examples: list[Tagged]) -> Any:
        words = [list(example.words) for example in examples]
        return tokenizer(words, is_split_into_words=True, truncation=True, max_length=128)

    encoded = encode(train)
    rows = [
        {
            "input_ids": encoded["input_ids"][i],
            "labels": [
                -100 if word is None else labels.index((example.tags or ())[word])
                for word in first_pieces(encoded, i)
            ],
        }
        for i, example in enumerate(train)
    ]
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, num_train_epochs=EPOCHS, seed=seed, learning_rate=LEARNING_RATE, warmup_steps=0.1,
            per_device_train_batch_size=BATCH, weight_decay=0.01, use_cpu=not torch.cuda.is_available(),
            bf16=True, report_to="none", save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        collator = DataCollatorForTokenClassification(tokenizer)
        Trainer(model, arguments, train_dataset=rows, data_collator=collator).train()
    model.eval()
    found: Tags = [["O"] * len(example.words) for example in test]
    with torch.inference_mode():
        for start in range(0, len(test), 64):
            batch = encode(test[start : start + 64])
            inputs = tokenizer.pad(dict(batch), return_tensors="pt").to(model.device)
            best = model(**inputs).logits.argmax(-1).tolist()
            for i, answer in enumerate(best):
                for place, word in enumerate(first_pieces(batch, i)):
                    if word is not None:
                        found[start + i][word] = labels[answer[place]]
    return found


def side_by_side(options: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Both contestants on WNUT 2017, seed by seed; what is known after each run."""
    from seqeval.metrics import f1_score, precision_score, recall_score

    splits = read_tagged(options.data / "wnut17")
    contestants: dict[str, Callable[..., Tags]] = {"bertmini": bertmini, "trainer": trainer}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contestants} | before.get("runs", {})
    truth = [list(example.tags or ()) for example in splits["test"]]
    for seed in range(options.seeds):
        train = drawn(splits["train"], options.rows, seed)
        for name, contestant in contestants.items():
            if seed < len(runs[name]):
                continue
            started = time.perf_counter()
            answers = contestant(train, splits["test"], options.model, seed)
            measures = {"f1": f1_score, "precision": precision_score, "recall": recall_score}
            run = {which: float(measure(truth, answers)) for which, measure in measures.items()}
            seconds = time.perf_counter() - started
            runs[name].append(run | {"threads": torch.get_num_threads(), "seconds": seconds})
            print(name, runs[name][-1], flush=True)
            yield {"rows": len(train), "runs": runs}


def ways(options: argparse.Namespace, before: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The test F1 of every way on both sets; what is known after each run."""
    crf, by_features = tag.VARIANTS
    kinds: dict[str, dict[str, Any]] = {"fine-tuned": {}, "fine-tuned, CRF": {"kind": crf}}
    kinds |= {name: {"kind": by_features, "features": name} for name in FEATURES}
    sets = {
        "the Gazette": ("gazette/entities", Path(shipped()), GAZETTE_RATE),
        "WNUT 2017": (options.data / "wnut17", options.model, LEARNING_RATE),
    }
    found: dict[str, Any] = {name: {way: [] for way in kinds} for name in sets} | before
    for name, (data, directory, rate) in sets.items():
        splits = read_tagged(data)
        for seed in range(options.seeds):
            parts = {"train": drawn(splits["train"], options.rows, seed), "test": splits["test"]}
            for way, kind in kinds.items():
                if seed < len(found[name][way]):
                    continue
                started = time.perf_counter()
                tokenizer = WordPieceTokenizer.from_pretrained(directory)
                model = load_for_task(tag, parts["train"], directory, seed=seed, **kind)
                is_frozen = "features" in kind
                settings = {"learning_rate": FEATURE_RATE if is_frozen else rate}
                settings |= {"batch_size": BATCH, "seed": seed}
                epochs = FEATURE_EPOCHS if is_frozen else EPOCHS
                how = task_options(tag, parts, epochs, **settings)
                _, metrics = finetune(tag, parts, model, tokenizer, how)
                run = {which: metrics["test"][which] for which in ("f1", "precision", "recall", "accuracy")}
                found[name][way].append(run | {"seconds": time.perf_counter() - started})
                print(name, way, found[name][way][-1], flush=True)
                yield found


def drawn(examples: list[Tagged], rows: int | None, seed: int) -> list[Tagged]:
    """So many of the examples, in which every tag occurs: what training never saw cannot be measured."""
    if rows is None or rows >= len(examples):
        return examples
    for attempt in range(1000):
        chosen = random.Random(f"{seed}/{attempt}").sample(examples, rows)
        if labels_of(chosen) == labels_of(examples):
            return chosen
    raise SystemExit(f"--rows {rows}: too few for every kind of entity to be among them")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory with wnut17/")
    parser.add_argument("--model", type=Path, required=True, help="directory of the pretrained 6-layer model")
    parser.add_argument("--part", choices=("fine-tuning", "features"), help="without it: both")
    parser.add_argument("--rows", type=int, help="training rows of each set; without it: all")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    parts = {"fine-tuning": side_by_side, "features": ways}
    settings = {"rows_at_most": options.rows, "epochs": EPOCHS, "batch_size": BATCH,
                "learning_rates": {"WNUT 2017": LEARNING_RATE, "the Gazette": GAZETTE_RATE},
                "of_features": {"learning_rate": FEATURE_RATE, "epochs": FEATURE_EPOCHS}}  # fmt: skip
    for name in [options.part] if options.part else parts:
        before = earlier("tagging", settings)
        for measured in parts[name](options, before.get(name, {})):
            save("tagging", settings | earlier("tagging", settings) | {name: measured})


if __name__ == "__main__":
    main()
