"""The nine tasks of GLUE by name: their files, labels and metrics (Wang et al. 2018, arXiv 1804.07461).

A model for one of them is a classifier or a regression like any other. What GLUE fixes is how it is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bertmini.data.batches import TaskData
from bertmini.data.task_files import SPLITS, Example, files_of_parts, read_task
from bertmini.data.text import read_files
from bertmini.errors import InputError
from bertmini.model.bert import BertForSequenceClassification
from bertmini.tasks import classify, regress, sequence

Labels = tuple[str, ...]
MISMATCHED = {"dev_mismatched": ("dev_mismatched", "validation_mismatched")}
YES_NO: tuple[Labels, ...] = (("not_entailment", "entailment"),)


@dataclass(frozen=True)
class Glue:
    """One of GLUE's tasks, as a `bertmini.tasks.Task`.

    Args:
        name: as in `bertmini finetune glue NAME`.
        metrics: names as in scikit-learn; the first one on the dev part chooses among weights.
        labels: what labels are called in GLUE's files, and on the hub; of two the second is the positive one.
            None where they are scores.
        has_pairs: whether an example has two texts.
        is_matched: whether there is a dev part of another kind of texts besides.
        numbered: the columns of text and label, where GLUE's file has no header.
    """

    name: str
    metrics: tuple[str, ...]
    labels: tuple[Labels, ...] | None
    has_pairs: bool = True
    is_matched: bool = False
    numbered: tuple[str, str] | None = None

    MODEL = BertForSequenceClassification

    @property
    def NAME(self) -> str:
        return self.name

    @property
    def METRIC(self) -> str:
        return self.metrics[0]

    @property
    def kind(self) -> Any:
        """The task that it is one of."""
        return regress if self.labels is None else classify

    def read(self, data: str, **reading: Any) -> dict[str, list[Example]]:
        """The examples of train and dev; those of test have no labels, and lie with GLUE.

        Rows of another width, which QQP has, are left out with a warning that counts them, or refused where
        `strict` is set.

        Args:
            data: a folder with GLUE's files, or hf:NAME:CONFIGURATION.
            reading: as for `bertmini.data.task_files.read_task`.

        Raises:
            InputError: as `read_task`; or the labels are those of another task.
        """
        parts = {part: SPLITS[part] for part in ("train", "dev")} | (MISMATCHED if self.is_matched else {})
        if self.numbered and not reading.get("text_columns"):
            text, label = self.numbered
            if lacks_header(data, label, reading.get("encoding")):
                reading |= {"text_columns": (text,), "label_column": label}
        skip_ragged = not reading.get("strict")
        splits = read_task(data, self.kind.NAME, parts=parts, skip_ragged=skip_ragged, **reading)
        for part, examples in splits.items():
            self.check(f"{data}, {part}", examples)
        return splits

    def check(self, where: str, examples: Sequence[Example]) -> None:
        if (examples[0].pair is not None) != self.has_pairs:
            wanted, found = ("pairs", "single texts")[:: 1 if self.has_pairs else -1]
            raise InputError(f"{where}: {found}; {self.name} has {wanted}")
        if self.labels is None:
            return
        there = {str(example.label) for example in examples}
        if not any(there <= set(names) for names in self.labels):
            wanted = " or ".join(", ".join(names) for names in self.labels)
            raise InputError(f"{where}: labels are {', '.join(sorted(there))[:80]}; {self.name} has {wanted}")

    def head(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The fields of the configuration, those of classification or regression."""
        return self.kind.head(examples)

    def start(self, examples: Sequence[Example]) -> float:
        """The bias of a new head."""
        return self.kind.start(examples)

    def data(self, *args: Any, **options: Any) -> TaskData:
        """Batches; as `bertmini.tasks.sequence.data`."""
        return sequence.data(*args, **options)

    def evaluate(self, model: BertForSequenceClassification, data: TaskData) -> dict[str, Any]:
        """`measure` on labelled examples; as `bertmini.tasks.sequence.evaluate`."""
        return sequence.evaluate(self.measure, model, data)

    def measure(self, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
        """The task's metrics.

        Args:
            logits: float [examples, labels], or [examples, 1] for scores.
            targets: [examples], int classes or float scores.
            labels: the classes by index.
        """
        if self.labels is None:
            measured = regress.measure(logits, targets, labels)
            return {name: measured[name] for name in self.metrics}
        positives = [labels.index(names[-1]) for names in self.labels if names[-1] in labels]
        positive = next(iter(positives), -1)  # only MNLI's may be missing, and its metric asks for none
        answers = logits.argmax(axis=1)
        return {name: METRICS[name](targets, answers, positive) for name in self.metrics}

    def predict(self, model: Any, *args: Any, **options: Any) -> Iterator[dict[str, Any]]:
        """Answers; as those of classification or regression."""
        return self.kind.predict(model, *args, **options)


def accuracy(targets: np.ndarray, answers: np.ndarray, positive: int) -> float:
    return float((targets == answers).mean())


def f1(targets: np.ndarray, answers: np.ndarray, positive: int) -> float:
    """The F1 of the positive label alone; 0 where it neither occurs nor is answered."""
    right = int(((targets == positive) & (answers == positive)).sum())
    total = int((targets == positive).sum() + (answers == positive).sum())
    return 2 * right / total if total else 0.0


def matthews_corrcoef(targets: np.ndarray, answers: np.ndarray, positive: int) -> float:
    """Pearson's correlation of two columns of yes and no; 0 where one of them never changes."""
    return regress.correlation(targets.astype(np.float64), answers.astype(np.float64))


METRICS = {"accuracy": accuracy, "f1": f1, "matthews_corrcoef": matthews_corrcoef}

GLUE: dict[str, Glue] = {
    task.name: task
    for task in (
        Glue(
            "cola", ("matthews_corrcoef",), (("0", "1"), ("unacceptable", "acceptable")),
            has_pairs=False, numbered=("4", "2"),
        ),
        Glue("sst2", ("accuracy",), (("0", "1"), ("negative", "positive")), has_pairs=False),
        Glue("mrpc", ("f1", "accuracy"), (("0", "1"), ("not_equivalent", "equivalent"))),
        Glue("qqp", ("f1", "accuracy"), (("0", "1"), ("not_duplicate", "duplicate"))),
        Glue("stsb", ("spearman", "pearson"), None),
        Glue("mnli", ("accuracy",), (("entailment", "neutral", "contradiction"),), is_matched=True),
        Glue("qnli", ("accuracy",), YES_NO),
        Glue("rte", ("accuracy",), YES_NO),
        Glue("wnli", ("accuracy",), (("0", "1"), ("not_entailment", "entailment"))),
    )
}  # fmt: skip


def lacks_header(data: str, label_column: str, encoding: str | None = None) -> bool:
    """Whether the first line of the first file is an example: whether its label is a number."""
    if data.startswith("hf:"):
        return False
    file = next(iter(files_of_parts(Path(data)).values()))
    ((_, text),) = read_files([file], encoding=encoding)
    cells, label = text.split("\n", 1)[0].split("\t"), int(label_column)
    return len(cells) >= label and cells[label - 1].strip().isdecimal()
