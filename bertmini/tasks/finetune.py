"""What all tasks share: a model with a new head, trained on examples and measured on others (section 4.1)."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from bertmini.config import BertConfig
from bertmini.data.batches import Batch
from bertmini.errors import InputError
from bertmini.hub import locate
from bertmini.inference import Precision
from bertmini.training import History, Options, Run, train
from bertmini.training.processes import processes

Splits = Mapping[str, Sequence[Any]]  # a task's examples by part


class TaskBatches(Protocol):
    """The examples of a task as batches, each a function of (seed, step)."""

    part: tuple[int, int]  # (rank, processes); each process gets its own rows of a batch

    def __len__(self) -> int: ...
    def batch(self, step: int) -> Batch: ...


class Task(Protocol):
    """What the file of a task holds; `bertmini.tasks.classify` is the simplest.

    Beside these a task may have `watch(model, data)`, what is measured on the dev part while training, where
    `evaluate` takes long; `settle(model, data)`, which chooses on the dev part, after training, what
    training cannot (a threshold, say); `rows(examples, tokenizer, max_length)`, how many rows in training the
    examples make, where it is not one each; `VARIANTS`, further classes of its models; and
    `loss(model, batch)`, as in `bertmini.training.train`, where the model gives itself none.
    """

    NAME: str
    METRIC: str  # on the dev part; the weights with the best one are kept
    MODEL: Any  # the class of its models, with `HEAD`, the name of the layer that a new task begins anew

    def read(self, data: str, **reading: Any) -> dict[str, list[Any]]: ...
    def head(self, examples: Sequence[Any]) -> dict[str, Any]: ...
    def start(self, examples: Sequence[Any]) -> float: ...
    def data(
        self,
        examples: Sequence[Any],
        tokenizer: Any,
        config: BertConfig,
        batch_size: int = 32,
        max_length: int = 128,
        seed: int = 0,
    ) -> TaskBatches: ...
    def evaluate(self, model: Any, data: Any) -> dict[str, Any]: ...
    def predict(
        self,
        model: Any,
        tokenizer: Any,
        inputs: Iterable[Any],
        batch_tokens: int | None = None,
        precision: Precision = "float32",
    ) -> Iterator[dict[str, Any]]: ...


def load_for_task(
    task: Task,
    examples: Sequence[Any],
    directory: str | Path,
    *,
    kind: Any = None,
    from_scratch: bool = False,
    seed: int = 0,
    **settings: Any,
) -> Any:
    """A model for a task: the encoder of a directory under a new head.

    Args:
        task: a member of `bertmini.tasks.TASKS`.
        examples: the training examples, whose labels the head gets.
        directory: a pretrained model, or a fine-tuned one, whose head stays where it has the same labels.
        kind: the class of the model, where the task has several (its VARIANTS). None: its MODEL.
        from_scratch: take only the shape of the model, and begin with random weights.
        seed: of the random weights.
        settings: further fields of the configuration, in place of the task's own.

    Raises:
        InputError: for a directory without a BERT, or examples that fix no head.
    """
    torch.manual_seed(seed)
    directory = locate(directory)
    before = BertConfig.load(directory / "config.json")
    before.refuse_quantized()
    fields = task.head(examples) | settings
    if "extra" in fields:
        fields["extra"] = joined(before.extra, fields["extra"])
    kind = kind or task.MODEL
    if from_scratch:
        model = kind(before.replace(**fields))
    else:
        model = kind.from_pretrained(directory, **fields)
        if before.id2label == fields.get("id2label") and not model.fresh:
            return model
    model.begin_head(task.start(examples))
    return model


def joined(extra: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Further fields of a config.json with a task's own; an entry of another task stays beside it."""
    both = {name: (extra.get(name), value) for name, value in own.items()}
    return extra | {
        name: theirs | ours if isinstance(theirs, dict) and isinstance(ours, dict) else ours
        for name, (theirs, ours) in both.items()
    }


def begin_anew(model: Any, layers: int = 0) -> None:
    """Draw the pooler and the last layers at random again: what they learned before may be in the way.

    The pooler was made for one question, whether a sentence follows, and with few labels it is slow to turn
    to another.

    Args:
        model: with a pooler; changed in place.
        layers: how many of the last layers, beside the pooler.

    Raises:
        InputError: the model has no pooler, or fewer layers, or those below share weights with the new ones.

    Source: Zhang et al. 2021, arXiv 2006.05987, section 5.
    """
    bert, std = model.bert, model.config.initializer_range
    depth = model.config.num_hidden_layers
    if bert.pooler is None or not 0 <= layers <= depth:
        raise InputError(f"{layers} new layers and a new pooler: expected 0 to {depth}, and a pooler")
    kept, new = bert.encoder.layers[: depth - layers], bert.encoder.layers[depth - layers :]
    if {*kept.parameters()} & {*new.parameters()}:
        raise InputError(f"{layers} new layers: the layers below share their weights; expected 0 or {depth}")
    for part in [bert.pooler, *new]:
        for module in part.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=std)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()


def task_options(
    task: Task, splits: Splits, epochs: int, rows: int | None = None, **settings: Any
) -> Options:
    """The options for so many epochs, keeping the weights that do best on the dev part.

    Args:
        task: a member of `bertmini.tasks.TASKS`.
        splits: examples by part.
        epochs: times through the training examples.
        rows: of the train part, where an example makes several; None: one each.
        settings: fields of `Options`.
    """
    batch_size, accumulation = settings.get("batch_size", 32), settings.get("accumulation", 1)
    steps = math.ceil((rows or len(splits["train"])) / (batch_size * accumulation))
    ramp = {"accumulation": accumulation, "ramp_share": settings.get("ramp_share", 0.0)}
    batches = epochs * steps * accumulation
    # A ramp's updates have fewer batches, so that it takes more of them.
    total = bisect_left(
        range(batches), batches, epochs * steps, key=lambda n: Options(steps=n, **ramp).batches_before(n)
    )
    if "dev" not in splits:
        settings["patience"] = None
    on_dev = {"metric": task.METRIC, "evaluate_every": steps} if "dev" in splits else {}
    return Options(
        **{"steps": total, "checkpoint_every": steps, "learning_rate": 5e-5} | on_dev | settings
    )


def finetune(
    task: Task,
    splits: Splits,
    model: Any,
    tokenizer: Any,
    options: Options,
    *,
    max_length: int = 128,
    run: Run | None = None,
    loss: Callable | None = None,
    before_update: Callable | None = None,
    progress: bool = True,
) -> tuple[History, dict[str, Any]]:
    """Train a model on a task's train part, and measure it on its other parts.

    Args:
        task: a member of `bertmini.tasks.TASKS`.
        splits: examples by part: train, and dev and test where there are such.
        model: from `load_for_task`; trained in place.
        tokenizer: the model's.
        options: how to train, from `task_options`.
        max_length: tokens of an example; what is longer is cut.
        run: where to log and keep checkpoints; its options count.
        loss: what to minimise in place of the task's own loss, as in `bertmini.training.train`. One that
            needs tensors of its own has `batch(step)`, which gives them, and `end(model)`, called at the end.
        before_update: as in `bertmini.training.train`.
        progress: whether to show a bar.

    Returns:
        The history, and the metrics: {"train": …, "dev": …, "test": …, "seconds": …, "tokens_per_second": …}.
    """
    settings = (tokenizer, model.config, options.batch_size, max_length, options.seed)
    data = {part: task.data(examples, *settings) for part, examples in splits.items()}
    data["train"].part = processes().part  # all measure on all

    def evaluate_dev(model: Any) -> dict[str, float]:
        measured = getattr(task, "watch", task.evaluate)(model, data["dev"])
        return {name: value for name, value in measured.items() if isinstance(value, float)}

    history = train(
        model,
        with_tensors_of(loss, data["train"].batch),
        options,
        evaluate=evaluate_dev if "dev" in data else None,
        run=run,
        loss=loss or getattr(task, "loss", None),
        before_update=before_update,
        progress=progress,
    )
    if end := getattr(loss, "end", None):
        end(model)
    if "dev" in data and hasattr(task, "settle"):
        task.settle(model, data["dev"])
    metrics: dict[str, Any] = {"train": {"loss": history.curve("loss")[1][-1]}}
    for part in [name for name in data if name != "train"]:
        metrics[part] = task.evaluate(model, data[part])
    metrics |= {"seconds": history.progress.seconds, "tokens_per_second": history.tokens_per_second}
    return history, metrics


def with_tensors_of(loss: Any, batch_at: Callable[[int], Batch]) -> Callable[[int], Batch]:
    """Batches with what a loss needs besides, where it has `batch(step)`."""
    further = getattr(loss, "batch", None)
    return (lambda step: batch_at(step) | further(step)) if further else batch_at
