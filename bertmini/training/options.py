"""What can be set about training, and what it gives back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from bertmini.errors import InputError
from bertmini.training.schedule import SCHEDULES

Precision = Literal["auto", "bf16", "fp16", "float32"]
MEASURED = ("seconds", "tokens_per_second", "utilisation", "memory_mb")  # in a line of the log, by the clock


@dataclass(frozen=True)
class Options:
    """How long and how to train."""

    steps: int | None = None  # updates of the weights; None: as many as fit into `minutes`
    minutes: float | None = None  # training time in minutes, turned into steps by timing the first ones
    batch_size: int = 32  # examples in a batch
    accumulation: int = 1  # batches in an update
    ramp_share: float = 0.0  # share of the steps in which an update's batches rise from 1 to `accumulation`
    learning_rate: float = 1e-4  # the highest one, at the end of the warm-up
    warmup_share: float = 0.1  # share of the steps in which the learning rate rises
    schedule: str = "linear"  # how it changes, one of SCHEDULES
    weight_decay: float = 0.01  # of matrices; LayerNorm and biases have none
    max_grad_norm: float = 1.0  # longer gradients are cut to this length
    ema: float = 0.0  # decay of the moving average of weights that is measured and kept; 0: the last weights
    precision: Precision = "auto"  # of the matrix products
    checkpointing: bool = False  # compute layers again in the backward pass rather than keep what they hold
    compile: bool = False  # let torch.compile fuse the model's operations
    seed: int = 0  # of dropout
    tensorboard: bool = False  # write what is logged for TensorBoard too
    log_every: int = 10  # steps between lines of the log
    evaluate_every: int | None = None  # steps between evaluations; None: only after the last step
    metric: str | None = None  # metric whose best weights are kept; lower is better for a loss or perplexity
    patience: int | None = None  # evaluations without a better metric after which training stops
    checkpoint_every: int = 500  # steps between checkpoints
    keep: int = 2  # checkpoints that are kept

    def __post_init__(self) -> None:
        for name in ("steps", "minutes", "batch_size", "accumulation", "learning_rate", "max_grad_norm",
                     "log_every", "evaluate_every", "patience", "checkpoint_every", "keep"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"training: {name} is {value}; it must be greater than 0")
        for name in ("warmup_share", "ramp_share", "ema"):
            if not 0 <= (share := getattr(self, name)) < 1:
                raise InputError(f"training: {name} is {share}; it must be in [0, 1)")
        for name in ("weight_decay", "seed"):
            if not (value := getattr(self, name)) >= 0:
                raise InputError(f"training: {name} is {value}; it must be 0 or more")
        if self.precision not in (known := get_args(Precision)):
            raise InputError(f"training: precision is {self.precision!r}; expected one of {', '.join(known)}")
        if self.schedule not in SCHEDULES:
            raise InputError(
                f"training: schedule is {self.schedule!r}; expected one of {', '.join(SCHEDULES)}"
            )
        if self.patience and not self.metric:
            raise InputError("training: patience needs the name of a metric to watch; give metric")

    def batches_at(self, step: int) -> int:
        """The batches of an update: a small update costs less, and early on it teaches as much.

        Source: Geiping & Goldstein 2022, arXiv 2212.14034, section 4.4.
        """
        rise = round(self.ramp_share * (self.steps or 0))
        return self.accumulation if step >= rise else 1 + (self.accumulation - 1) * step // rise

    def batches_before(self, step: int) -> int:
        """The batches of all updates before one."""
        rise = min(step, round(self.ramp_share * (self.steps or 0)))
        return sum(map(self.batches_at, range(rise))) + (step - rise) * self.accumulation


@dataclass
class Progress:
    """Where training is: what a checkpoint holds beside tensors."""

    step: int = 0  # updates done
    best: float | None = None  # the metric's best value
    best_step: int = 0
    stale: int = 0  # evaluations since the best one
    logged: int = 0  # the last logged step
    sums: dict[str, float] = field(default_factory=dict)  # of losses, tokens, FLOPs and seconds since then
    tokens: int = 0  # seen so far, without padding
    seconds: float = 0.0  # spent in updates so far

    def add(self, losses: dict[str, float], tokens: int, flops: float, seconds: float) -> None:
        """Counts one update."""
        self.tokens += tokens
        self.seconds += seconds
        for name, value in (losses | {"tokens": tokens, "flops": flops, "seconds": seconds}).items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self, peak: float | None) -> dict[str, Any]:
        """The line for the updates since the last one: mean losses and speed.

        Args:
            peak: FLOPs a second that the machine can do, None where they were not measured.
        """
        tokens, flops, seconds = (self.sums.pop(name) for name in ("tokens", "flops", "seconds"))
        means = {name: value / (self.step - self.logged) for name, value in self.sums.items()}
        self.sums, self.logged = {}, self.step
        speed = {"tokens_per_second": tokens / seconds, "seconds": self.seconds}
        return {"step": self.step, **means, **speed} | (
            {"utilisation": flops / seconds / peak} if peak else {}
        )

    def improved(self, metric: str, metrics: dict[str, float]) -> bool:
        """Whether this evaluation is the best so far, and counts it.

        Raises:
            InputError: the evaluation has no such metric.
        """
        if metric not in metrics:
            raise InputError(f"training: no metric {metric!r}; the evaluation has {', '.join(metrics)}")
        sign, value = sign_of(metric), metrics[metric]
        better = not math.isnan(value) and (self.best is None or sign * value > sign * self.best)
        if better:
            self.best, self.best_step, self.stale = value, self.step, 0
        else:
            self.stale += 1
        return better


@dataclass
class History:
    """What happened: the lines of log.jsonl.

    A line of training is {"step", "loss", one entry a named loss, "learning_rate", "gradient_norm",
    "tokens_per_second", "seconds", "memory_mb"}, and in a run "utilisation", the share of the processor's
    measured peak; a line of evaluation is {"step", "dev": {name: value}}.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)

    def curve(self, name: str, part: str | None = None) -> tuple[list[int], list[float]]:
        """Steps and values of one number: `curve("mlm")`, or `curve("mlm_loss", "dev")`."""
        lines = [(line["step"], line if part is None else line.get(part, {})) for line in self.lines]
        found = [(step, line[name]) for step, line in lines if name in line]
        return [step for step, _ in found], [value for _, value in found]

    @property
    def tokens_per_second(self) -> float:
        """Tokens (without padding) a second of training."""
        return self.progress.tokens / max(self.progress.seconds, 1e-9)


def sign_of(metric: str) -> int:
    """1 where more of a metric is better, and -1 where less is."""
    return -1 if metric.endswith(("loss", "perplexity", "mse")) else 1
