"""Multiple choice on ARC's easy questions: the 6-layer model beside words that questions and options share.

The start is a pretrained 6-layer model; `bertmini finetune choice` does the same with a folder of train.csv
and dev.csv. Training ends after so many epochs and takes no look at the dev part, so that what is measured
on it was chosen by nobody. Beside it stand guessing; the option whose words, weighted by TF-IDF, are closest
to the question's; a logistic regression on the words of an option; and, with --trainer, transformers' Trainer
with the same recipe. A few rows of SWAG are trained on for their form alone.

    python benchmarks/choice.py --data DATA --model MODEL [--rows N] [--seeds 3] [--trainer]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import earlier, save

from bertmini.data.choices import Choice, read_choices
from bertmini.machine import keep_freed_memory

LEARNING_RATE, EPOCHS, BATCH, LENGTH = 1e-4, 3, 16, 128
Answer = Callable[[list[Choice]], list[int]]


def tfidf(train: list[Choice]) -> Answer:
    """The option that shares the most words with the question, the rarer the heavier."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(sublinear_tf=True)
    weights.fit([text for choice in train for text in (choice.text, *choice.options)])

    def answer(choices: list[Choice]) -> list[int]:
        found = []
        for choice in choices:
            closeness = weights.transform(choice.options) @ weights.transform([choice.text]).T
            found.append(int(closeness.toarray().argmax()))
        return found

    return answer


def option_words(train: list[Choice]) -> Answer:
    """Which option sounds right, whatever the question: a logistic regression on its words."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    counter = CountVectorizer(min_df=2)
    counts = counter.fit_transform([option for choice in train for option in choice.options])
    is_right = [i == choice.label for choice in train for i in range(len(choice.options))]
    model = LogisticRegression(C=0.1, max_iter=1000).fit(counts, is_right)

    def answer(choices: list[Choice]) -> list[int]:
        return [
            int(model.decision_function(counter.transform(choice.options)).argmax()) for choice in choices
        ]

    return answer


def bertmini(train: list[Choice], directory: Path, seed: int) -> Answer:
    """What `bertmini finetune choice` does, without a look at the dev part."""
    from bertmini import Predictor, WordPieceTokenizer
    from bertmini.tasks import TASKS, finetune, load_for_task, task_options

    task, splits = TASKS["choice"], {"train": train}
    tokenizer = WordPieceTokenizer.from_pretrained(directory)
    model = load_for_task(task, train, directory, seed=seed)
    options = task_options(task, splits, EPOCHS, learning_rate=LEARNING_RATE, batch_size=BATCH, seed=seed)
    finetune(task, splits, model, tokenizer, options, max_length=LENGTH)
    tokenizer.model_max_length = LENGTH
    predictor = Predictor(model, tokenizer)
    return lambda choices: [answer["choice"] for answer in predictor(choices)]


def trainer(train: list[Choice], directory: Path, seed: int) -> Answer:
    """transformers' model and Trainer with the same batch, rate and epochs.

    It needs as many options everywhere, so that a missing one becomes an empty text.
    """
    from transformers import AutoTokenizer, BertForMultipleChoice, Trainer, TrainingArguments

    most = max(len(choice.options) for choice in train)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    torch.manual_seed(seed)
    model = BertForMultipleChoice.from_pretrained(directory)

    def collate(choices: list[Choice]) -> dict[str, Any]:
        options = [[*choice.options, *[""] * (most - len(choice.options))] for choice in choices]
        flat = tokenizer(
            [choice.text for choice in choices for _ in range(most)],
            [option for of_one in options for option in of_one],
            truncation=True, max_length=LENGTH, padding=True, return_tensors="pt",
        )  # fmt: skip
        batch = {name: value.view(len(choices), most, -1) for name, value in flat.items()}
        return batch | {"labels": torch.tensor([choice.label for choice in choices])}

    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, learning_rate=LEARNING_RATE,
            warmup_steps=0.1, seed=seed, use_cpu=not torch.cuda.is_available(), report_to="none",
            save_strategy="no", disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=train, data_collator=collate).train()  # type: ignore[arg-type]
    model.eval()

    @torch.inference_mode()
    def answer(choices: list[Choice]) -> list[int]:
        found: list[int] = []
        for start in range(0, len(choices), 32):
            some = choices[start : start + 32]
            batch = {name: value.to(model.device) for name, value in collate(some).items()}
            del batch["labels"]
            for choice, scores in zip(some, model(**batch).logits, strict=True):
                found.append(int(scores[: len(choice.options)].argmax()))
        return found

    return answer


def accuracy(answer: Answer, choices: list[Choice]) -> float:
    return float(np.mean([a == choice.label for a, choice in zip(answer(choices), choices, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory with arc/ and swag/")
    parser.add_argument("--model", type=Path, required=True, help="directory of the pretrained 6-layer model")
    parser.add_argument("--rows", type=int, help="training questions; without it all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trainer", action="store_true", help="train transformers' Trainer beside it")
    options = parser.parse_args()
    keep_freed_memory()
    (train,) = read_choices(options.data / "arc" / "easy-train.csv").values()
    (dev,) = read_choices(options.data / "arc" / "easy-dev.csv").values()
    rows = min(options.rows or len(train), len(train))
    contestants: dict[str, Any] = {"bertmini": bertmini} | ({"trainer": trainer} if options.trainer else {})
    settings = {
        "rows": rows, "questions": len(dev), "epochs": EPOCHS, "batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
    }  # fmt: skip
    result: dict[str, Any] = settings | {
        "chance": float(np.mean([1 / len(choice.options) for choice in dev])),
        "baselines": {name.__name__: accuracy(name(train), dev) for name in (tfidf, option_words)},
        "runs": {name: [] for name in contestants} | earlier("choice", settings).get("runs", {}),
    }
    print(result, flush=True)
    for seed in range(options.seeds):
        chosen = random.Random(seed).sample(train, rows)
        for name, learn in contestants.items():
            if seed < len(result["runs"][name]):
                continue
            started = time.perf_counter()
            answer = learn(chosen, options.model, seed)
            seconds = time.perf_counter() - started
            result["runs"][name].append({"seconds": seconds, "accuracy": accuracy(answer, dev)})
            print(name, result["runs"][name][-1], flush=True)
            save("choice", result)
    swag = read_choices(options.data / "swag")
    answer = bertmini(swag["dev"], options.model, 0)
    result["swag"] = {"trained on": len(swag["dev"]), "questions": len(swag["test"])}
    assert len(answer(swag["test"])) == len(swag["test"])
    save("choice", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
