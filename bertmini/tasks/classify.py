"""Classification: a text or a pair gets one of several labels (Devlin et al. 2018, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bertmini.data.batches import TaskData
from bertmini.data.task_files import Example, label_names, read_task
from bertmini.errors import InputError
from bertmini.model.bert import BertForSequenceClassification
from bertmini.tasks import sequence
from bertmini.tasks.sequence import data as data

NAME = "classify"
METRIC = "accuracy"  # on the dev part; the weights with the best one are kept
MODEL = BertForSequenceClassification


def read(data: str, **reading: Any) -> dict[str, list[Example]]:
    """The examples by part; as `bertmini.data.task_files.read_task`."""
    return read_task(data, NAME, **reading)


def head(examples: Sequence[Example]) -> dict[str, Any]:
    """The fields of the configuration that the training examples fix.

    Raises:
        InputError: there are fewer than two labels.
    """
    labels = label_names(examples)
    if len(labels) < 2:
        found = f"all have the label {labels[0]!r}" if labels else "there are none"
        raise InputError(f"training examples: {found}; expected two labels or more")
    return {"id2label": dict(enumerate(labels)), "problem_type": "single_label_classification"}


def start(examples: Sequence[Example]) -> float:
    """The bias of a new head: no label is likelier than another."""
    return 0.0


def measure(logits: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """How good the answers are, by scikit-learn's names.

    Args:
        logits: float [examples, labels].
        targets: int [examples], the true class.
        labels: the classes by index.

    Returns:
        accuracy; f1_macro over the labels that occur; classes, a table of precision, recall, f1 and support
        by label; confusion_matrix, a row a true label and a column an answer, in the order of the table.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

    answers = logits.argmax(axis=1)
    numbers = list(range(len(labels)))
    table = precision_recall_fscore_support(targets, answers, labels=numbers, zero_division=0)
    rows = zip(labels, *(column.tolist() for column in table), strict=True)
    return {
        "accuracy": float(accuracy_score(targets, answers)),
        "f1_macro": float(f1_score(targets, answers, average="macro", zero_division=0)),
        "classes": {
            label: {"precision": p, "recall": r, "f1": f, "support": n} for label, p, r, f, n in rows
        },
        "confusion_matrix": confusion_matrix(targets, answers, labels=numbers).tolist(),
    }


def evaluate(model: BertForSequenceClassification, data: TaskData) -> dict[str, Any]:
    """`measure` on labelled examples; as `bertmini.tasks.sequence.evaluate`."""
    return sequence.evaluate(measure, model, data)


def predict(model: BertForSequenceClassification, *args: Any, **options: Any) -> Iterator[dict[str, Any]]:
    """`answers` for texts and pairs; as `bertmini.tasks.sequence.predict`."""
    return sequence.predict(answers, model, *args, **options)


def answers(logits: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """For each row the likeliest label, its probability, and all of them.

    Args:
        logits: float [rows, labels].
        labels: the classes by index.
    """
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    rounded = np.round(probabilities.astype(np.float64), 6).tolist()
    best = logits.argmax(axis=1).tolist()  # before rounding, which makes ties
    return [
        {"label": labels[i], "score": scores[i], "scores": dict(zip(labels, scores, strict=True))}
        for i, scores in zip(best, rounded, strict=True)
    ]
