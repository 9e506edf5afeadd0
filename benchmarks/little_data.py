"""Few labels: what pretraining, a task's own texts, copies, other losses and balance are worth.

curves   The Gazette's emotions after so many labels: a bag of words, the shipped model's shape from scratch,
         the shipped model, and that after it read the task's 4,000 training texts, without their labels.
options  At one number of labels each option of `bertmini finetune classify` beside none of them.
rare     One emotion of six is left a twentieth of its labels: nothing done, weights, resampling.
domain   A model of much general text (--model), the same after it read the Gazette, and after that the task's
         texts too.
chinese  Reviews with the Chinese vocabulary (--data and --vocabulary): a mini model from scratch, the same
         after pretraining on the training texts, and a logistic regression on n-grams of characters.

What is measured is saved in results/little_data.json seed by seed, and a later call goes on with the seeds
that are left; the parts may be measured one at a time.

    python benchmarks/little_data.py curves options rare --seeds 3
    python benchmarks/little_data.py domain --model MODEL
    python benchmarks/little_data.py chinese --data DATA/chnsenticorp --vocabulary VOCAB.txt --minutes 10
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from machine import earlier, save
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score
from sklearn.pipeline import make_pipeline

from bertmini import BertForSequenceClassification, WordPieceTokenizer
from bertmini.cli import main as command
from bertmini.compress.distill import distillation_loss
from bertmini.data.augment import OPERATIONS, augmented, oversampled
from bertmini.data.task_files import Example, label_names, read_task
from bertmini.gazette import Gazette
from bertmini.hub import shipped
from bertmini.machine import keep_freed_memory
from bertmini.predict import Predictor
from bertmini.tasks import classify, fill, finetune, load_for_task, losses, task_options
from bertmini.tasks.finetune import begin_anew

EPOCHS = {
    50: 24,
    200: 16,
    400: 12,
    800: 8,
    1600: 6,
    3200: 4,
}  # few labels want more rounds, and still cost less
LEARNING_RATE, BATCH, TEST = 5e-4, 8, 1000
Measured = dict[str, Any]
Runs = dict[str, Any]  # what an earlier call measured, by the way and by the number of labels, added to


def learn(
    train: Sequence[Example], test: Sequence[Example], start: str, seed: int, epochs: int, **how: Any
) -> tuple[BertForSequenceClassification, Measured]:
    """A model after its labels, and its metrics on the test part."""
    tokenizer = WordPieceTokenizer.from_pretrained(start)
    from_scratch, loss, new = (how.pop(name, None) for name in ("from_scratch", "loss", "new_layers"))
    model = load_for_task(classify, train, start, from_scratch=bool(from_scratch), seed=seed)
    if new is not None:
        begin_anew(model, new)
    splits = {"train": list(train), "test": list(test)}
    settings = {"learning_rate": LEARNING_RATE, "batch_size": BATCH, "seed": seed} | how
    options = task_options(classify, splits, epochs, **settings)
    loss = loss(model, tokenizer, train) if loss else None
    _, metrics = finetune(classify, splits, model, tokenizer, options, loss=loss)
    tested = metrics["test"]
    recalls = {label: row["recall"] for label, row in tested["classes"].items()}
    measured = {"accuracy": tested["accuracy"], "f1_macro": tested["f1_macro"], "recalls": recalls}
    return model, measured | {"seconds": metrics["seconds"]}


def bag_of_words(
    train: Sequence[Example], test: Sequence[Example], vectors: Any = None, **how: Any
) -> Measured:
    """A logistic regression on counts of words, or on other vectors of a text."""
    model = make_pipeline(vectors or CountVectorizer(), LogisticRegression(max_iter=2000, **how))
    model.fit([each.text for each in train], [each.label for each in train])
    answers, truth = model.predict([each.text for each in test]), [each.label for each in test]
    names = label_names(train)
    recalls = recall_score(truth, answers, labels=names, average=None, zero_division=0)
    return {
        "accuracy": sum(a == t for a, t in zip(answers, truth, strict=True)) / len(truth),
        "f1_macro": float(f1_score(truth, answers, average="macro", zero_division=0)),
        "recalls": dict(zip(names, recalls.tolist(), strict=True)),
    }


def adapted(start: str, data: str, out: Path, steps: int, **options: Any) -> str:
    """A model that read on, by the command that a user has."""
    arguments = ["pretrain", "--init", start, "--data", data, "--out", str(out), "--steps", str(steps)]
    arguments += ["--max-length", "128", "--held-out", "0"]
    arguments += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    if command(arguments):
        raise SystemExit(f"pretraining on {data} failed")
    return str(out)


def emotions(number: int, seed: int) -> tuple[list[Example], list[Example]]:
    """So many labelled letters, others for each seed, and the test part."""
    gazette = Gazette()
    train = gazette.task("emotion", "train", 4000)
    return random.Random(seed).sample(train, number), gazette.task("emotion", "test", TEST)


def left(runs: dict[str, list[Measured]], seeds: int) -> range:
    """The seeds that an earlier call did not come to."""
    return range(min((len(of_way) for of_way in runs.values()), default=0), seeds)


def curves(options: argparse.Namespace, scratch: Path, runs: Runs) -> Iterator[Measured]:
    start = str(shipped())
    # The shipped model drops nothing, and what is compared must not differ in that.
    own = adapted(start, "task:gazette/emotion", scratch / "own", options.adapt_steps, dropout=0)
    starts: dict[str, Any] = {
        "from scratch": (start, {"from_scratch": True}),
        "pretrained": (start, {}),
        "pretrained, new pooler": (start, {"new_layers": 0}),
        "pretrained, task's texts, new pooler": (own, {"new_layers": 0}),
    }
    for number in options.labels:
        done = {name: of_number.get(str(number), []) for name, of_number in runs.items()}
        for seed in left(done, options.seeds):
            train, test = emotions(number, seed)
            found = {"bag of words": bag_of_words(train, test, C=0.1)}
            for name, (directory, how) in starts.items():
                found[name] = learn(train, test, directory, seed, EPOCHS[number], **how)[1]
            for name, measured in found.items():
                runs.setdefault(name, {}).setdefault(str(number), []).append(measured)
                print(number, seed, name, f"{measured['accuracy']:.3f}", flush=True)
            yield {"runs": runs, "adapt_steps": options.adapt_steps}


def born_again(teacher: BertForSequenceClassification, *_: Any) -> Any:
    return distillation_loss(teacher, weights=(1.0, 1.0, 0.0))


def each_option(options: argparse.Namespace, scratch: Path, runs: Runs) -> Iterator[Measured]:
    start, number = str(shipped()), options.option_labels
    masked = Predictor.from_pretrained(start)
    propose = partial(fill.proposals, masked.model, masked.tokenizer)

    def pretrainings_losses(seed: int, model: Any, tokenizer: Any, train: Sequence[Example]) -> Any:
        return losses.PretrainingLoss(model, start, train, tokenizer, 0.5, BATCH, seed=seed)

    for seed in left(runs, options.seeds):
        train, test = emotions(number, seed)
        epochs = EPOCHS[number]
        teacher, plain = learn(train, test, start, seed, epochs)
        found = {"nothing": plain}
        for operation in OPERATIONS:  # as many updates: half the epochs of twice the examples
            copies = augmented(train, 1, propose, [operation], seed=seed)
            found[f"copies: {operation}"] = learn(copies, test, start, seed, epochs // 2)[1]
        ways: dict[str, dict[str, Any]] = {
            "auxiliary losses": {"loss": partial(pretrainings_losses, seed)},
            "loss on all layers": {"loss": lambda *_: losses.layer_loss(4)},
            "its own teacher": {"loss": partial(born_again, teacher)},
            "average of weights": {"ema": 0.99},
            "new pooler": {"new_layers": 0},
            "new pooler and last layer": {"new_layers": 1},
        }
        for name, how in ways.items():
            found[name] = learn(train, test, start, seed, epochs, **how)[1]
        for name, measured in found.items():
            runs.setdefault(name, []).append(measured)
            print(seed, name, f"{measured['accuracy']:.3f}", flush=True)
        yield {"labels": number, "runs": runs}


def rare(options: argparse.Namespace, scratch: Path, runs: Runs) -> Iterator[Measured]:
    start, number = str(shipped()), options.option_labels
    for seed in left(runs, options.seeds):
        train, test = emotions(2 * number, seed)
        few = [each for each in train if each.label == "surprise"]
        kept = [each for each in train if each.label != "surprise"] + few[: max(4, len(few) // 20)]
        weights = losses.balanced_weights(kept, label_names(kept))
        updates = EPOCHS[number] // 2 * -(-len(kept) // BATCH)  # for all, however many rows there are
        ways: dict[str, Any] = {
            "nothing": (kept, {}),
            "weights": (kept, {"loss": lambda *_, weights=weights: losses.weighted_loss(weights)}),
            "resampling": (oversampled(kept, seed), {}),
        }
        for name, (examples, how) in ways.items():
            _, measured = learn(examples, test, start, seed, EPOCHS[number] // 2, steps=updates, **how)
            runs.setdefault(name, []).append(measured)
            print(seed, name, measured, flush=True)
        yield {"label": "surprise", "runs": runs}


def domain(options: argparse.Namespace, scratch: Path, runs: Runs) -> Iterator[Measured]:
    how: dict[str, Any] = {"objective": "mlm", "learning-rate": 2e-4}
    read = adapted(options.model, "gazette", scratch / "domain", options.domain_steps, documents=4000, **how)
    own = adapted(read, "task:gazette/emotion", scratch / "task", options.adapt_steps, **how)
    starts = {"general text": options.model, "then the domain's": read, "then the task's": own}
    steps = {"domain_steps": options.domain_steps, "adapt_steps": options.adapt_steps}
    for seed in left(runs, options.seeds):
        train, test = emotions(options.option_labels, seed)
        for name, directory in starts.items():
            epochs = EPOCHS[options.option_labels] // 2
            # What reads on without pairs has no pooler any more, so that all begin with a new one.
            _, measured = learn(train, test, directory, seed, epochs, learning_rate=1e-4, new_layers=0)
            runs.setdefault(name, []).append(measured)
            print(seed, name, f"{measured['accuracy']:.3f}", flush=True)
        yield {"labels": options.option_labels, "runs": runs, **steps}


def chinese(options: argparse.Namespace, scratch: Path, runs: Runs) -> Iterator[Measured]:
    splits = read_task(options.data)
    tokenizer = scratch / "tokenizer"
    WordPieceTokenizer(options.vocabulary.read_text("utf-8").split("\n")[:-1]).save_pretrained(tokenizer)
    out = scratch / "chinese"
    arguments = [
        "pretrain",
        "--data",
        f"task:{options.data}",
        "--tokenizer",
        str(tokenizer),
        "--out",
        str(out),
    ]
    if command([*arguments, "--preset", "mini", "--minutes", str(options.minutes)]):
        raise SystemExit("pretraining failed")
    pretrained = json.loads((out / "metrics.json").read_text("utf-8"))
    characters = partial(TfidfVectorizer, analyzer="char", ngram_range=(1, 3), min_df=2)
    for seed in left(runs, options.seeds):
        train = random.Random(seed).sample(splits["train"], min(options.rows, len(splits["train"])))
        found = {"n-grams of characters": bag_of_words(train, splits["test"], characters(), C=10)}
        for name, how in {"from scratch": {"from_scratch": True}, "after its own texts": {}}.items():
            settings = how | {"batch_size": 32, "learning_rate": 2e-4}
            found[name] = learn(train, splits["test"], str(out), seed, options.epochs, **settings)[1]
        for name, measured in found.items():
            runs.setdefault(name, []).append(measured)
            print(seed, name, f"{measured['accuracy']:.3f}", flush=True)
        yield {"rows": options.rows, "minutes": options.minutes, "pretraining": pretrained, "runs": runs}


PARTS = {"curves": curves, "options": each_option, "rare": rare, "domain": domain, "chinese": chinese}
SETTINGS = {  # what an earlier call must have had for this one to go on
    "curves": ("adapt_steps",), "options": ("option_labels",), "rare": ("option_labels",),
    "domain": ("option_labels", "domain_steps", "adapt_steps"), "chinese": ("rows", "minutes", "epochs"),
}  # fmt: skip


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, nargs="+", default=[200, 800, 3200], choices=EPOCHS)
    parser.add_argument("--option-labels", type=int, default=800, choices=EPOCHS, help="of all but curves")
    parser.add_argument("--adapt-steps", type=int, default=500, help="of pretraining on the task's texts")
    parser.add_argument("--domain-steps", type=int, default=500, help="of pretraining on the domain's")
    parser.add_argument("--model", help="directory of a model of general text, for domain")
    parser.add_argument("--data", type=Path, help="directory of the Chinese reviews")
    parser.add_argument("--vocabulary", type=Path, help="vocab.txt for them")
    parser.add_argument("--minutes", type=float, default=10.0, help="of pretraining on them")
    parser.add_argument("--rows", type=int, default=9600, help="labelled Chinese reviews")
    parser.add_argument("--epochs", type=int, default=3, help="through them")
    options = parser.parse_args()
    for part, needed in {"domain": ("model",), "chinese": ("data", "vocabulary")}.items():
        if part in options.parts and (missing := [name for name in needed if not getattr(options, name)]):
            parser.error(f"{part} needs --{' and --'.join(missing)}")
    keep_freed_memory()
    for part in options.parts:
        settings = {name: getattr(options, name) for name in SETTINGS[part]}
        before = earlier("little_data").get(part, {"settings": settings, "runs": {}})
        if before["settings"] != settings:
            raise SystemExit(f"{part}: measured with {before['settings']}, and now it is {settings}")
        with tempfile.TemporaryDirectory() as scratch:
            for measured in PARTS[part](options, Path(scratch), before["runs"]):
                save("little_data", earlier("little_data") | {part: {"settings": settings, **measured}})


if __name__ == "__main__":
    main()
