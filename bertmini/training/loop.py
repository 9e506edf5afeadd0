"""The training loop: one for pretraining, fine-tuning and distillation."""

from __future__ import annotations

import copy
import logging
import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bertmini.errors import InputError
from bertmini.machine import best_device
from bertmini.training.optimizer import adamw
from bertmini.training.options import History, Options, Progress
from bertmini.training.run import Run, load_tensors, tensors_of
from bertmini.training.schedule import linear_schedule

Batch = dict[str, Tensor]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
logger = logging.getLogger("bertmini")


def train(
    model: nn.Module,
    batch_at: Callable[[int], Batch],
    options: Options,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    run: Run | None = None,
    loss: Callable[[nn.Module, Batch], Any] | None = None,
    before_update: Callable[[int], None] | None = None,
    progress: bool = True,
) -> History:
    """Trains a model in place, and leaves it in evaluation mode.

    Args:
        model: called with a batch, returns an output with `losses`, a dict of named scalars.
        batch_at: gives batch number n as a dict of tensors. It must depend on n alone: that is what lets
            an interrupted run continue exactly.
        options: Options. When a run continues from a checkpoint, those in its run.json count instead.
        evaluate: gives metrics by name; called without gradients, the model in evaluation mode.
        run: Run to log to, to write checkpoints to, and to continue from.
        loss: called with model and batch in place of the model, returns what the model would.
        before_update: called with the number of each update before it, to change the model by hand.
        progress: bool, show a bar where stderr is a terminal.

    Returns:
        History, the lines of the log.

    Raises:
        InputError: the loss is no longer a number, a metric is unknown, a checkpoint cannot be written.
    """
    loss = loss or (lambda model, batch: model(**batch))
    torch.manual_seed(options.seed)
    options = settle(model, batch_at, options, run=run, loss=loss)
    device, steps = next(model.parameters()).device, options.steps or 0
    model.train()
    optimizer = adamw(model, options.learning_rate, options.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    at, best = run.restore(model, optimizer, scaler) if run else (Progress(), None)
    history = History(run.lines() if run else [], at)

    def record(line: dict[str, Any]) -> None:
        history.lines.append(line)
        logger.info("%s", line)
        if run:
            run.log(line)

    quiet = not (progress and sys.stderr.isatty())
    with tqdm(total=steps, initial=at.step, unit="step", disable=quiet) as bar:
        while at.step < steps and not (options.patience and at.stale >= options.patience):
            started = time.perf_counter()
            if before_update:
                before_update(at.step)
            learning_rate = set_learning_rate(optimizer, options, at.step)
            first = at.step * options.accumulation
            batches = [to_device(batch_at(first + i), device) for i in range(options.accumulation)]
            losses, norm = update(model, batches, loss, optimizer, scaler, options)
            if not math.isfinite(losses["loss"] + (0.0 if scaler.is_enabled() else norm)):
                raise InputError(lost(at.step, losses, norm, run))
            at.step += 1
            at.add(losses, sum(map(count_tokens, batches)), time.perf_counter() - started)
            last = at.step == steps

            metrics = None
            if evaluate and (last or (options.evaluate_every and at.step % options.evaluate_every == 0)):
                model.eval()
                with torch.no_grad(), autocast(device, options):
                    metrics = evaluate(model)
                model.train()
                if options.metric and at.improved(options.metric, metrics):
                    best = {name: tensor.clone() for name, tensor in tensors_of(model).items()}
                last = last or at.stale == options.patience
            if last or at.step % options.log_every == 0:
                line = at.take() | {"learning_rate": learning_rate, "gradient_norm": norm}
                bar.set_postfix(loss=f"{line['loss']:.3f}")
                record(line)
            if metrics:
                record({"step": at.step, "dev": metrics})
            if run and (last or at.step % options.checkpoint_every == 0):
                run.save(model, optimizer, scaler, at, best, options.keep)
            bar.update()
    if best:
        load_tensors(model, best, "the best weights")
    model.eval()
    return history


def settle(
    model: nn.Module,
    batch_at: Callable[[int], Batch],
    options: Options,
    *,
    run: Run | None = None,
    loss: Callable[[nn.Module, Batch], Any] | None = None,
) -> Options:
    """Decides what the options leave open, precision and steps, and moves the model to where it trains.

    Takes what `train` takes, which begins with it. What a run decided holds when it continues elsewhere.
    """
    device = best_device()
    model.to(device).train()
    options = run.options if run and run.is_settled else options
    if options.precision == "auto":
        options = replace(options, precision=best_precision(device))
    if options.steps is None:
        loss = loss or (lambda model, batch: model(**batch))
        options = replace(options, steps=steps_in_time(model, batch_at, options, loss))
    if run:
        run.options = options
    return options


def update(
    model: nn.Module,
    batches: list[Batch],
    loss: Callable[[nn.Module, Batch], Any],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    options: Options,
) -> tuple[dict[str, float], float]:
    """One update of the weights from one batch, or from several as if they were one.

    A loss is a mean over its targets, and batches differ in their number of targets. Each named loss of a
    batch therefore counts by its share of the targets; the plain mean of the batches' losses is another loss.

    Returns:
        The losses by name with their sum as "loss", and the length of the gradient before clipping.
    """
    losses: dict[str, float] = {"loss": 0.0}
    targets = cache(lambda name: [count_targets(name, batch) for batch in batches])
    for number, batch in enumerate(batches):
        with autocast(batch["input_ids"].device, options):
            output = loss(model, batch)
        weights = getattr(output, "weights", {})  # a loss of several parts may weigh them
        total = torch.zeros((), device=batch["input_ids"].device)
        for name, value in output.losses.items():
            share = targets(name)[number] / max(1, sum(targets(name)))
            total = total + weights.get(name, 1.0) * share * value
            losses[name] = losses.get(name, 0.0) + share * value.item()
        scaler.scale(total).backward()
        losses["loss"] += total.item()
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm).item()
    if math.isfinite(norm) or scaler.is_enabled():  # a lost step must not reach the weights
        scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return losses, norm


def count_targets(name: str, batch: Batch) -> int:
    """The number of targets that the mean loss `name` is over."""
    if name in ("soft", "cosine"):  # distillation: every token that is not padding
        return count_tokens(batch)
    labels = batch.get("next_sentence_label" if name == "nsp" else "labels")
    return len(batch["input_ids"]) if labels is None else int((labels != -100).sum())


def count_tokens(batch: Batch) -> int:
    """The tokens of a batch without padding."""
    mask = batch.get("attention_mask")
    return batch["input_ids"].numel() if mask is None else int(mask.sum())


def set_learning_rate(optimizer: torch.optim.Optimizer, options: Options, step: int) -> float:
    """Sets and returns the learning rate of an update; `step` counts from 0."""
    steps = options.steps or 1
    learning_rate = options.learning_rate * linear_schedule(step, steps, round(options.warmup_share * steps))
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    return learning_rate


def autocast(device: torch.device, options: Options) -> AbstractContextManager:
    """Matrix products in the chosen precision; sums, softmax and losses stay in float32."""
    return torch.autocast(device.type, DTYPES[options.precision], enabled=options.precision != "float32")


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on the device."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def best_precision(device: torch.device) -> Literal["bf16", "fp16", "float32"]:
    """The fastest safe precision: bf16 where the processor gains by it, fp16 on older GPUs."""
    if device.type == "cuda":  # a T4 (7.5) says it has bf16 and emulates it
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
    return "bf16" if bf16_pays() else "float32"


@cache
def bf16_pays() -> bool:
    """Whether this processor multiplies matrices faster in bf16.

    It is timed, once, in a few hundredths of a second: some processors have the instructions and are slower
    with them.
    """
    supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return supported and matmul_seconds(torch.bfloat16) < 0.8 * matmul_seconds(torch.float32)


def matmul_seconds(dtype: torch.dtype) -> float:
    """The shortest time of seven products of two matrices of 1024 x 512 and 512 x 1024."""
    matrix, times = torch.ones(1024, 512, dtype=dtype), []
    for _ in range(7):
        started = time.perf_counter()
        matrix @ matrix.T
        times.append(time.perf_counter() - started)
    return min(times)


def steps_in_time(
    model: nn.Module,
    batch_at: Callable[[int], Batch],
    options: Options,
    loss: Callable[[nn.Module, Batch], Any],
) -> int:
    """The number of updates that fit into `options.minutes`, from timing a few on a copy of the model."""
    if options.minutes is None:
        raise InputError("training: neither steps nor minutes are given; give one of them")
    model, begin, budget = copy.deepcopy(model), time.perf_counter(), 60 * options.minutes
    device = next(model.parameters()).device
    optimizer = adamw(model, options.learning_rate, options.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    times: list[float] = []
    with torch.random.fork_rng():
        while len(times) < 3 or (len(times) < 30 and time.perf_counter() - begin < 0.05 * budget):
            started = time.perf_counter()
            batches = [to_device(batch_at(len(times) + i), device) for i in range(options.accumulation)]
            update(model, batches, loss, optimizer, scaler, options)
            times.append(time.perf_counter() - started)
    left = budget - (time.perf_counter() - begin)
    return max(1, int(left * len(times[1:]) / sum(times[1:])))  # the first one also warms up


def lost(step: int, losses: dict[str, float], norm: float, run: Run | None) -> str:
    """What to say when the loss is no longer a number."""
    values = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
    kept = f"{run.checkpoints} is kept as it was; " if run else ""
    return (f"step {step + 1}: the loss is no longer a number ({values}, gradient norm {norm:.3g}); {kept}"
            "use a lower learning rate, a longer warm-up, or precision float32")  # fmt: skip
