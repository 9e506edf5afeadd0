"""What all tasks share: a model with a new head, trained on examples and measured on others (section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bertmini.config import BertConfig
from bertmini.data.batches import TaskData
from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.hub import locate
from bertmini.model.bert import BertForSequenceClassification
from bertmini.training import History, Options, Run, train
from bertmini.training.loop import to_device
from bertmini.training.processes import processes

Splits = Mapping[str, Sequence[Example]]


class Task(Protocol):
    """What the file of a task holds."""

    NAME: str
    METRIC: str

    def head(self, examples: Sequence[Example]) -> dict[str, Any]: ...
    def start(self, examples: Sequence[Example]) -> float: ...
    def measure(self, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> dict[str, Any]: ...
    def answers(self, logits: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]: ...


def load_for_task(
    task: Task,
    examples: Sequence[Example],
    directory: str | Path,
    *,
    from_scratch: bool = False,
    seed: int = 0,
) -> BertForSequenceClassification:
    """A model for a task: the encoder of a directory under a new head.

    Args:
        task: a member of `bertmini.tasks.TASKS`.
        examples: the training examples, whose labels the head gets.
        directory: a pretrained model, or a fine-tuned one, whose head stays where it has the same labels.
        from_scratch: take only the shape of the model, and begin with random weights.
        seed: of the random weights.

    Raises:
        InputError: for a directory without a BERT, or examples without two labels.
    """
    torch.manual_seed(seed)
    directory = locate(directory)
    before = BertConfig.load(directory / "config.json")
    fields = task.head(examples)
    if from_scratch:
        model = BertForSequenceClassification(before.replace(**fields))
    else:
        model = BertForSequenceClassification.from_pretrained(directory, **fields)
        if before.id2label == fields["id2label"] and not model.fresh:
            return model
    # A head of as many labels loads, and means others; it begins anew.
    nn.init.normal_(model.classifier.weight, std=before.initializer_range)
    nn.init.constant_(model.classifier.bias, task.start(examples))
    return model


def task_options(task: Task, splits: Splits, epochs: int, **settings: Any) -> Options:
    """The options for so many epochs, keeping the weights that do best on the dev part.

    Args:
        task: a member of `bertmini.tasks.TASKS`.
        splits: examples by part.
        epochs: times through the training examples.
        settings: fields of `Options`.
    """
    batch_size, accumulation = settings.get("batch_size", 32), settings.get("accumulation", 1)
    steps = math.ceil(len(splits["train"]) / (batch_size * accumulation))
    if "dev" not in splits:
        settings["patience"] = None
    on_dev = {"metric": task.METRIC, "evaluate_every": steps} if "dev" in splits else {}
    return Options(
        **{"steps": epochs * steps, "checkpoint_every": steps, "learning_rate": 5e-5} | on_dev | settings
    )


def finetune(
    task: Task,
    splits: Splits,
    model: BertForSequenceClassification,
    tokenizer: Any,
    options: Options,
    *,
    max_length: int = 128,
    run: Run | None = None,
    loss: Callable | None = None,
    progress: bool = True,
) -> tuple[History, dict[str, Any]]:
    """Train a model on a task's train part, and measure it on its dev and test part.

    Args:
        task: a member of `bertmini.tasks.TASKS`.
        splits: examples by part: train, and dev and test where there are such.
        model: from `load_for_task`; trained in place.
        tokenizer: the model's.
        options: how to train, from `task_options`.
        max_length: tokens of an example; what is longer is cut.
        run: where to log and keep checkpoints; its options count.
        loss: what to minimise in place of the task's own loss, as in `bertmini.training.train`.
        progress: whether to show a bar.

    Returns:
        The history, and the metrics: {"train": …, "dev": …, "test": …, "seconds": …, "tokens_per_second": …}.
    """
    settings = (tokenizer, classes_of(model), options.batch_size, max_length, options.seed)
    data = {part: TaskData(examples, *settings) for part, examples in splits.items()}
    data["train"].part = processes().part  # all measure on all

    def evaluate_dev(model: Any) -> dict[str, float]:
        measured = evaluate(task, model, data["dev"].batches_for_evaluation())
        return {name: value for name, value in measured.items() if isinstance(value, float)}

    history = train(
        model,
        data["train"].batch,
        options,
        evaluate=evaluate_dev if "dev" in data else None,
        run=run,
        loss=loss,
        progress=progress,
    )
    metrics: dict[str, Any] = {"train": {"loss": history.curve("loss")[1][-1]}}
    for part in ("dev", "test"):
        if part in data:
            metrics[part] = evaluate(task, model, data[part].batches_for_evaluation())
    metrics |= {"seconds": history.progress.seconds, "tokens_per_second": history.tokens_per_second}
    return history, metrics


@torch.no_grad()
def evaluate(
    task: Task, model: BertForSequenceClassification, batches: Iterable[dict[str, Tensor]]
) -> dict[str, Any]:
    """Measure a model on labelled examples.

    Args:
        task: a member of `bertmini.tasks.TASKS`.
        model: in evaluation mode.
        batches: each a dict of tensors with `labels`.

    Returns:
        The task's metrics.
    """
    device = next(model.parameters()).device
    logits, targets = [], []
    for batch in batches:
        inputs = to_device(batch, device)
        targets.append(inputs.pop("labels"))
        logits.append(model(**inputs).logits.float())
    classes = classes_of(model) or []
    return task.measure(torch.cat(logits).cpu().numpy(), torch.cat(targets).cpu().numpy(), classes)


def classes_of(model: BertForSequenceClassification) -> list[str] | None:
    """The labels of a model by index; None where it gives a score.

    Raises:
        InputError: the model gives several labels at once, or several scores.
    """
    config = model.config
    if config.problem_type == "multi_label_classification" or (model.is_regression and config.num_labels > 1):
        raise InputError(
            f"problem_type is {config.problem_type!r} with {config.num_labels} labels; expected "
            "single_label_classification, or regression with one: bertmini gives one label, or one number"
        )
    if model.is_regression:
        return None
    # transformers leaves its own names for two labels out of config.json.
    return list((config.id2label or {0: "LABEL_0", 1: "LABEL_1"}).values())
