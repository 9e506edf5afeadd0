"""The training loop: one for pretraining, fine-tuning and distillation."""

from __future__ import annotations

import copy
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bertmini.cost import MASKED, flops
from bertmini.data.batches import PAIR_LABELS
from bertmini.data.packing import pack
from bertmini.errors import InputError
from bertmini.machine import best_device, matrix_peak, matrix_peaks, memory_mb
from bertmini.model.encoder import Encoder
from bertmini.training.board import Board
from bertmini.training.ema import move_average
from bertmini.training.optimizer import adamw
from bertmini.training.options import History, Options, Progress
from bertmini.training.processes import ALONE, Processes, processes, whole_tensor
from bertmini.training.run import Run, load_tensors, tensors_of
from bertmini.training.schedule import SCHEDULES

Batch = dict[str, Tensor]
TARGETS = {**PAIR_LABELS, "span": "start_positions"}  # of losses whose targets are no labels
RUNNING_TEXT = ("mlm", "ltr", "rtl", *PAIR_LABELS)  # losses on it, which may stand beside a task's
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
    before_update: Callable[[nn.Module, int], None] | None = None,
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
        before_update: called with the model as it is trained and the number of each update before it, to
            change the model by hand.
        progress: bool, show a bar where stderr is a terminal.

    Returns:
        History, the lines of the log.

    Raises:
        InputError: the loss is no longer a number, a metric is unknown, a checkpoint cannot be written.
    """
    together, loss = processes(), loss or call
    torch.manual_seed(options.seed + 1_000_003 * together.rank)  # each process drops other features
    options = settle(model, batch_at, options, run=run, loss=loss)
    device, steps = next(model.parameters()).device, options.steps or 0
    average = together.share(copy.deepcopy(model)).eval() if options.ema else None
    trained, batch_at = prepare(model, options, together), feed(batch_at, model)
    measured = trained if average is None else average
    optimizer = adamw(trained, options.learning_rate, options.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    at, best = run.restore(trained, optimizer, scaler, average) if run else (Progress(), None)
    step = together.step(trained, loss)
    peak = matrix_peak(DTYPES[options.precision], device) if run else None
    history = History(run.lines() if run else [], at)
    board = Board(run.directory, at.step) if run and options.tensorboard and together.is_main else None

    def record(line: dict[str, Any]) -> None:
        history.lines.append(line)
        if together.is_main:
            logger.info("%s", line)
        if run:
            run.log(line)
        if board:
            board.log(line)

    quiet = not (progress and together.is_main and sys.stderr.isatty())
    with tqdm(total=steps, initial=at.step, unit="step", disable=quiet) as bar:
        number = options.batches_before(at.step)
        while at.step < steps and not (options.patience and at.stale >= options.patience):
            started = time.perf_counter()
            if before_update:
                before_update(trained, at.step)
            learning_rate = set_learning_rate(optimizer, options, at.step)
            batches = [batch_at(number + i) for i in range(options.batches_at(at.step))]
            number += len(batches)
            losses, norm = update(step, batches, optimizer, scaler, options, together)
            if not math.isfinite(losses["loss"] + (0.0 if scaler.is_enabled() else norm)):
                raise InputError(lost(at.step, losses, norm, run))
            at.step += 1
            if average is not None:
                move_average(average, trained, options.ema, at.step)
            tokens, flops = together.sum(work_of(batches, trained))
            at.add(losses, int(tokens), flops / together.number, time.perf_counter() - started)
            last = at.step == steps

            metrics = None
            if evaluate and (last or (options.evaluate_every and at.step % options.evaluate_every == 0)):
                measured.eval()
                with torch.no_grad(), autocast(device, options), together.whole(measured):
                    metrics = together.agree(evaluate(measured))
                trained.train()
                if options.metric and at.improved(options.metric, metrics):
                    best = {name: tensor.clone() for name, tensor in tensors_of(measured).items()}
                last = last or at.stale == options.patience
            if last or at.step % options.log_every == 0:
                line = at.take(peak) | {"learning_rate": learning_rate, "gradient_norm": norm}
                line["memory_mb"] = memory_mb(device)
                bar.set_postfix_str(told(line))
                record(line)
            if metrics:
                record({"step": at.step, "dev": metrics})
            if run and (last or at.step % options.checkpoint_every == 0):
                run.save(trained, optimizer, scaler, at, best, options.keep, average)
            bar.update()
    if best or measured is not model:
        load_tensors(model, best or tensors_of(measured), "the trained weights")
    model.eval()
    return history


def call(model: nn.Module, batch: Batch) -> Any:
    """The loss that a model gives itself."""
    return model(**batch)


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
    together, device = processes(), best_device()
    model.to(device).train()
    options = together.agree(run.options if run and run.is_settled else options)
    if options.precision == "auto":
        options = replace(options, precision=together.agree(best_precision(device)))
    if together.sharded and options.precision == "fp16":
        raise InputError("precision fp16 has no loss scaling over a sharded model; use bf16 or float32")
    if options.steps is None:
        options = replace(options, steps=steps_in_time(model, batch_at, options, loss or call))
    if run:
        run.options = options
        together.wait()
    return options


def prepare(model: nn.Module, options: Options, together: Processes) -> nn.Module:
    """The model as the options want it: parted among processes, compiled, its layers computed twice."""
    for module in model.modules():
        if isinstance(module, Encoder):
            module.checkpointing = options.checkpointing
    trained = together.share(model).train()
    if options.compile:
        trained.compile(dynamic=True)
    return trained


def feed(batch_at: Callable[[int], Batch], model: nn.Module) -> Callable[[int], Batch]:
    """How batches reach the loop: as they are on a CPU; packed, and made ahead in a thread, for a GPU."""
    if next(model.parameters()).device.type != "cuda":
        return batch_at
    reads_one_way = getattr(getattr(model, "config", None), "direction", None)
    return Ahead(batch_at if reads_one_way else lambda number: pack(batch_at(number)))


class Ahead:
    """Makes the next batch in a thread, while a GPU works on this one."""

    def __init__(self, batch_at: Callable[[int], Batch]) -> None:
        self.batch_at, self.thread = batch_at, ThreadPoolExecutor(max_workers=1)
        self.waiting: dict[int, Future[Batch]] = {}

    def __call__(self, number: int) -> Batch:
        batch = self.waiting.pop(number, None) or self.thread.submit(self.batch_at, number)
        self.waiting = {number + 1: self.thread.submit(self.batch_at, number + 1)}
        return batch.result()


def update(
    step: Callable[[Batch], Any],
    batches: list[Batch],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    options: Options,
    together: Processes = ALONE,
) -> tuple[dict[str, float], float]:
    """One update of the weights from one batch, or from several as if they were one.

    A loss is a mean over its targets, and batches differ in their number of targets. Each named loss of a
    batch therefore counts by its share of the targets; the plain mean of the batches' losses is another loss.

    Args:
        step: gives the output for a batch, with the losses by name.
        batches: this process's rows of each, on the CPU.
        optimizer, scaler, options: as `train` makes them.
        together: the processes whose batches count as one.

    Returns:
        The losses by name with their sum as "loss", and the length of the gradient before clipping.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shares: dict[str, list[float]] = {}  # of each batch in all targets of a loss
    sums: dict[str, Tensor] = {}
    for number, batch in enumerate(batches, start=1):
        with together.without_averaging(step) if number < len(batches) else nullcontext():
            with autocast(parameters[0].device, options):
                output = step(to_device(batch, parameters[0].device))
            shares = shares or shares_of(output.losses, batches, together)
            weights = getattr(output, "weights", {})  # a loss of several parts may weigh them
            parts = {name: shares[name][number - 1] * value for name, value in output.losses.items()}
            parts["loss"] = sum((weights.get(name, 1.0) * part for name, part in parts.items()), start=0.0)
            # Processes average their gradients, which have to be summed.
            scaler.scale(together.number * parts["loss"]).backward()
            for name, part in parts.items():
                sums[name] = sums.get(name, 0.0) + part.detach()
    scaler.unscale_(optimizer)
    norm = float(whole_tensor(nn.utils.clip_grad_norm_(parameters, options.max_grad_norm)))
    if math.isfinite(norm) or scaler.is_enabled():  # a lost step must not reach the weights
        scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    values = together.sum(torch.stack(list(sums.values())).tolist())  # read once: reading makes a GPU wait
    losses = dict(zip(sums, values, strict=True))
    return {"loss": losses.pop("loss"), **losses}, norm


def shares_of(losses: Iterable[str], batches: list[Batch], together: Processes) -> dict[str, list[float]]:
    """For each loss, what share of all its targets each batch of this process has."""
    counts = {name: [count_targets(name, batch) for batch in batches] for name in losses}
    totals = together.sum([sum(of_batches) for of_batches in counts.values()])
    return {
        name: [count / max(1, total) for count in of_batches]
        for (name, of_batches), total in zip(counts.items(), totals, strict=True)
    }


def count_targets(name: str, batch: Batch) -> int:
    """The number of targets that the mean loss `name` is over."""
    target = TARGETS.get(name, "labels")
    # Running text beside a task has labels of its own.
    labels = batch.get(f"text_{target}" if name in RUNNING_TEXT else target, batch.get(target))
    if labels is not None and name == "contrastive_loss":  # sentence vectors: pairs that belong together
        return int((labels == 1).sum())
    targets = len(batch["input_ids"]) if labels is None else int((labels != -100).sum())
    if name in COUNTS:
        return COUNTS[name](batch) if targets else 0
    return targets


def count_tokens(batch: Batch) -> int:
    """The tokens of a batch without padding."""
    mask = batch.get("attention_mask")
    if mask is None:
        return batch["input_ids"].numel()
    # Of a mask [batch, query, key] a token is what anybody may look at.
    return int((mask.any(dim=1) if mask.dim() == 3 else mask).sum())


def count_rows(batch: Batch) -> int:
    """The texts or pairs of texts of a batch."""
    return len(batch["cu_seqlens"]) - 1 if "cu_seqlens" in batch else len(batch["input_ids"])


def count_pairs(batch: Batch) -> int:
    """The pairs of tokens of one row, of all rows of a batch, without padding."""
    real = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
    lengths = batch["cu_seqlens"].diff() if "cu_seqlens" in batch else real.sum(dim=1)
    return int((lengths**2).sum())


# What losses of distillation are means over, of rows that count: the student answers the teacher, not labels.
COUNTS: dict[str, Callable[[Batch], int]] = {
    **dict.fromkeys(("soft", "cosine", "states", "patient"), count_tokens),
    "attention": count_pairs,
    **dict.fromkeys(("patient_cls", "soft_labels"), count_rows),
}


def set_learning_rate(optimizer: torch.optim.Optimizer, options: Options, step: int) -> float:
    """Sets and returns the learning rate of an update; `step` counts from 0."""
    steps = options.steps or 1
    factor = SCHEDULES[options.schedule](step, steps, round(options.warmup_share * steps))
    learning_rate = options.learning_rate * factor
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

    It is timed, once, in a few tenths of a second: some processors have the instructions and are slower with
    them.
    """
    supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if not supported:
        return False
    in_bf16, in_float32 = matrix_peaks((torch.bfloat16, torch.float32), torch.device("cpu"))
    return in_bf16 > 1.25 * in_float32


def steps_in_time(
    model: nn.Module,
    batch_at: Callable[[int], Batch],
    options: Options,
    loss: Callable[[nn.Module, Batch], Any],
) -> int:
    """The number of updates that fit into `options.minutes`, from timing a few on a copy of the model."""
    if options.minutes is None:
        raise InputError("training: neither steps nor minutes are given; give one of them")
    together, begin, budget = processes(), time.perf_counter(), 60 * options.minutes
    device = next(model.parameters()).device
    trained, batch_at = prepare(copy.deepcopy(model), options, together), feed(batch_at, model)
    step = together.step(trained, loss)
    optimizer = adamw(trained, options.learning_rate, options.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    times: list[float] = []

    def is_enough() -> bool:
        return len(times) >= 3 and (len(times) >= 30 or time.perf_counter() - begin > 0.05 * budget)

    with torch.random.fork_rng():
        while not together.agree(is_enough()):
            started = time.perf_counter()
            batches = [batch_at(len(times) + i) for i in range(options.accumulation)]
            update(step, batches, optimizer, scaler, options, together)
            times.append(time.perf_counter() - started)
    left = budget - (time.perf_counter() - begin)
    updates = left * len(times[1:]) / sum(times[1:])  # the first one also warms up
    smaller = 0.5 if options.accumulation > 1 else 1.0  # of the ramp: its updates have 1 to accumulation - 1
    return max(1, together.agree(int(updates / (1 - options.ramp_share * (1 - smaller)))))


def work_of(batches: list[Batch], model: Any) -> tuple[float, float]:
    """The tokens of batches without padding, and the FLOPs of training on them (0 where they are unknown)."""
    tokens = sum(map(count_tokens, batches))
    if not tokens or not hasattr(model, "config"):
        return tokens, 0.0
    rows = sum(map(count_rows, batches))
    predicted = 1.0 if getattr(model.config, "direction", None) else MASKED  # one way, every token is
    masked = predicted if hasattr(model, "mlm_head") else 0.0
    forward = flops(model.config, tokens / rows, nsp=hasattr(model, "nsp_head"), masked=masked)  # type: ignore[arg-type]
    return tokens, 3 * tokens * sum(forward.values())  # the backward pass takes twice as many


def told(line: dict[str, Any]) -> str:
    """The numbers of a logged step for the progress bar."""
    names = {"learning_rate": "lr", "gradient_norm": "norm", "tokens_per_second": "tokens/s"}
    left_out = ("step", "seconds", "memory_mb", "utilisation")
    numbers = [f"{names.get(name, name)} {value:.3g}" for name, value in line.items() if name not in left_out]
    share = [f"{line['utilisation']:.0%} of peak"] if "utilisation" in line else []
    return ", ".join([*numbers, *share, f"{line['memory_mb'] / 1000:.1f} GB"])


def lost(step: int, losses: dict[str, float], norm: float, run: Run | None) -> str:
    """What to say when the loss is no longer a number."""
    values = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
    kept = f"{saved[-1]} is kept; " if run and (saved := run.saved()) else ""
    return (f"step {step + 1}: the loss is no longer a number ({values}, gradient norm {norm:.3g}); {kept}"
            "use a lower learning rate, a longer warm-up, or precision float32")  # fmt: skip
