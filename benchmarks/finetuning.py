"""Fine-tuning time: bertmini against transformers' Trainer, by its defaults and tuned, on real labels.

The start is a pretrained 6-layer model, the data the emotion set and SST-2 (so many training rows of each,
drawn by the seed), three epochs. Trainer's defaults are batches of 8 as they come, float32, 5e-5; tuned it
has bertmini's batch and rate, bf16, and groups rows by length. Times are of tokenising and training, from a
list of texts to a trained model; accuracy is that on the dev part after it, so that nobody is fast by
stopping short. The three take turns.

    python benchmarks/finetuning.py --data DATA --model MODEL [--rows 4000] [--seeds 1]
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
from machine import save

from bertmini.data.task_files import Example, read_task
from bertmini.machine import keep_freed_memory

LEARNING_RATE, EPOCHS, BATCH = 2e-4, 3, 16
Splits = dict[str, list[Example]]
Predict = Callable[[list[str]], list[str]]


def bertmini(splits: Splits, directory: Path, seed: int) -> Predict:
    """What `bertmini finetune classify` does, without a look at the dev part, since the others take none."""
    from bertmini import Predictor, WordPieceTokenizer
    from bertmini.tasks import TASKS, finetune, load_for_task, task_options

    task, train = TASKS["classify"], {"train": splits["train"]}
    tokenizer = WordPieceTokenizer.from_pretrained(directory)
    model = load_for_task(task, train["train"], directory, seed=seed)
    options = task_options(task, train, EPOCHS, learning_rate=LEARNING_RATE, batch_size=BATCH, seed=seed)
    finetune(task, train, model, tokenizer, options)
    predictor = Predictor(model, tokenizer)
    return lambda texts: [answer["label"] for answer in predictor(texts)]


def trainer(splits: Splits, directory: Path, seed: int, **settings: Any) -> Predict:
    """What transformers' documentation has its users write."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    examples = splits["train"]
    labels = sorted({str(example.label) for example in examples})
    tokenizer = AutoTokenizer.from_pretrained(directory)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=len(labels))
    encoded = tokenizer([example.text for example in examples], truncation=True, max_length=128)
    rows = [
        {**{name: encoded[name][i] for name in encoded}, "labels": labels.index(str(example.label))}
        for i, example in enumerate(examples)
    ]
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, num_train_epochs=EPOCHS, seed=seed, use_cpu=not torch.cuda.is_available(), report_to="none",
            save_strategy="no", disable_tqdm=True, **settings,
        )  # fmt: skip
        collator = DataCollatorWithPadding(tokenizer)
        Trainer(model, arguments, train_dataset=rows, data_collator=collator).train()
    model.eval()

    @torch.inference_mode()
    def predict(texts: list[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(texts), 64):
            batch = tokenizer(
                texts[start : start + 64], truncation=True, max_length=128, padding=True, return_tensors="pt"
            )
            found += [labels[i] for i in model(**batch.to(model.device)).logits.argmax(-1).tolist()]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory with emotion/ and sst2/")
    parser.add_argument("--model", type=Path, required=True, help="directory of the pretrained 6-layer model")
    parser.add_argument("--rows", type=int, default=4000, help="training rows of each set")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    keep_freed_memory()
    result: dict[str, Any] = {"rows": options.rows, "epochs": EPOCHS, "batch_size": BATCH}
    for name in ("emotion", "sst2"):
        splits = read_task(options.data / name)
        runs: dict[str, list[dict[str, float]]] = {contestant: [] for contestant in CONTESTANTS}
        for seed in range(options.seeds):
            chosen = random.Random(seed).sample(splits["train"], options.rows)
            for contestant, train in CONTESTANTS.items():
                started = time.perf_counter()
                predict = train({"train": chosen}, options.model, seed)
                seconds = time.perf_counter() - started
                answers = predict([example.text for example in splits["dev"]])
                right = [a == str(e.label) for a, e in zip(answers, splits["dev"], strict=True)]
                runs[contestant].append({"seconds": seconds, "accuracy": statistics.mean(right)})
                print(name, contestant, runs[contestant][-1], flush=True)
        medians = {who: statistics.median(run["seconds"] for run in of) for who, of in runs.items()}
        ratios = {who: medians[who] / medians["bertmini"] for who in ("trainer", "trainer_tuned")}
        result[name] = {"runs": runs, "time_ratios": ratios}
        save("finetuning", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
