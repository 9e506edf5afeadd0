"""Regression: a text or a pair gets a number, a similarity from 0 to 5, say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bertmini.data.batches import TaskData
from bertmini.data.task_files import Example, read_task
from bertmini.errors import InputError
from bertmini.model.bert import BertForSequenceClassification
from bertmini.tasks import sequence
from bertmini.tasks.sequence import data as data

NAME = "regress"
METRIC = "pearson"  # on the dev part; the weights with the best one are kept
MODEL = BertForSequenceClassification


def read(data: str, **reading: Any) -> dict[str, list[Example]]:
    """The examples by part; as `bertmini.data.task_files.read_task`.

    Raises:
        InputError: also where the dev part has one score, so that it cannot tell which weights are best.
    """
    splits = read_task(data, NAME, **reading)
    refuse_one_score(splits.get("dev", ()), f"{data}, dev")
    return splits


def refuse_one_score(examples: Sequence[Example], where: str) -> None:
    """Refuse scores with which nothing can correlate.

    Raises:
        InputError: all are the same.
    """
    if len(scores := {example.label for example in examples}) == 1:
        raise InputError(
            f"{where}: all examples have the score {scores.pop():g}, with which nothing can correlate; add "
            "some that are further apart, or leave the part out"
        )


def head(examples: Sequence[Example]) -> dict[str, Any]:
    """The fields of the configuration: one output, a number."""
    return {"id2label": {0: "score"}, "problem_type": "regression"}


def start(examples: Sequence[Example]) -> float:
    """The bias of a new head: the mean score, which small steps would take long to reach."""
    return float(np.mean([float(example.label or 0) for example in examples]))


def measure(logits: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """How good the numbers are.

    Args:
        logits: float [examples, 1].
        targets: float [examples].
        labels: not used; the signature is that of all tasks.

    Returns:
        pearson, spearman (of ranks, ties sharing their mean rank) and mse. A correlation with something
        constant is 0.
    """
    from scipy.stats import rankdata

    answers = logits[:, 0].astype(np.float64)
    targets = targets.astype(np.float64)
    return {
        "pearson": correlation(answers, targets),
        "spearman": correlation(rankdata(answers), rankdata(targets)),
        "mse": float(np.mean((answers - targets) ** 2)),
    }


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else 0.0


def evaluate(model: BertForSequenceClassification, data: TaskData) -> dict[str, Any]:
    """`measure` on labelled examples; as `bertmini.tasks.sequence.evaluate`."""
    return sequence.evaluate(measure, model, data)


def predict(model: BertForSequenceClassification, *args: Any, **options: Any) -> Iterator[dict[str, Any]]:
    """`answers` for texts and pairs; as `bertmini.tasks.sequence.predict`."""
    return sequence.predict(answers, model, *args, **options)


def answers(logits: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """For each row the number.

    Args:
        logits: float [rows, 1].
        labels: not used; the signature is that of all tasks.
    """
    return [{"score": score} for score in np.round(logits[:, 0].astype(np.float64), 6).tolist()]
