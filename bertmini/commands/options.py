"""The options: how they are shown and grouped, and what their numbers may be."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from bertmini.errors import InputError

if TYPE_CHECKING:
    from bertmini.tasks.pretrain import Documents


def unset(metavar: str) -> Any:
    """An option whose help says itself what happens without it."""
    return arg(metavar=metavar, help_behavior_hint="")


Corpus = Annotated[tuple[str, ...], arg(metavar="gazette|PATH…|hf:NAME")]
TaskFiles = Annotated[str, arg(metavar="gazette/NAME|DIR|hf:NAME")]
Directory = Annotated[str, arg(metavar="DIR")]
MaybeDirectory = Annotated[str | None, unset("DIR")]
Count = Annotated[int, arg(metavar="N")]
MaybeCount = Annotated[int | None, unset("N")]
Number = Annotated[float, arg(metavar="X")]
MaybeNumber = Annotated[float | None, unset("X")]
MaybeName = Annotated[str | None, unset("NAME")]
GlueTask = Literal["cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"]
Texts = Annotated[tuple[str, ...], unset("TEXT")]
Precision = Literal["auto", "bf16", "fp16", "float32"]
ScheduleName = Literal["linear", "cosine", "one-cycle", "step", "exponential", "constant"]
TagFeatures = Literal[
    "embeddings", "second-to-last", "last", "sum-last-four", "concat-last-four", "sum-all"
]


@dataclass(kw_only=True)
class TextReading:
    """How running text is read."""

    documents: MaybeCount = None
    """Documents to use at most. Without it: all of them, and 20000 of the Gazette."""
    separator: Annotated[str | None, unset("LINE")] = None
    """A line that stands between two documents. Without it: a file, a heading or blank lines end one."""
    encoding: MaybeName = None
    """How files are encoded. Without it: UTF-8, or, with a warning, Windows-1252 or Latin-1."""
    strict: bool = False
    """Refuse files that are not UTF-8."""

    def read(self, data: tuple[str, ...], held_out: int) -> tuple[Documents, Documents]:
        from bertmini.tasks.pretrain import read_corpus

        return read_corpus(data, held_out=held_out, **asdict(self))


@dataclass(kw_only=True)
class TaskReading:
    """How labelled examples are read."""

    text_columns: Annotated[tuple[str, ...] | None, unset("NAME")] = None
    """The column of the text, or of both texts of a pair; in a file without header their numbers from 1."""
    label_column: MaybeName = None
    """The column of the label."""
    encoding: MaybeName = None
    """How files are encoded. Without it: UTF-8, or, with a warning, Windows-1252 or Latin-1."""
    strict: bool = False
    """Refuse files that are not UTF-8."""

    def read(self, data: str, task: Any) -> dict[str, list[Any]]:
        """The examples of a task by part, as the task reads them."""
        if data == "gazette" and not Path(data).exists():
            raise InputError(
                "--data gazette is running text, and this needs labelled examples; name a task of the "
                "Gazette, gazette/emotion say, or a folder"
            )
        return task.read(data, **asdict(self))


@dataclass(kw_only=True)
class Training:
    """How the model is trained."""

    batch_size: Count = 32
    """Examples in a batch."""
    accumulation: Count = 1
    """Batches in an update."""
    ramp_share: Number = 0.0
    """Share of the steps in which an update's batches rise from 1 to --accumulation."""
    learning_rate: Number = 5e-4
    """The highest learning rate, reached at the end of the warm-up."""
    warmup_share: Number = 0.1
    """Share of the steps in which the learning rate rises; one-cycle usually takes 0.3."""
    schedule: ScheduleName = "linear"
    """How the learning rate changes after its rise."""
    weight_decay: Number = 0.01
    """Weight decay of matrices."""
    ema: Number = 0.0
    """Decay of a moving average of the weights, 0.999 say, measured and saved in their place; 0: none."""
    precision: Precision = "auto"
    """Number format of the matrix products; auto is the fastest that is safe here."""
    checkpointing: bool = False
    """Compute layers again in the backward pass rather than keep what they hold: less memory, more time."""
    compile: bool = False
    """Let torch.compile fuse the model's operations; it needs a C++ compiler, and minutes at the start."""
    log_every: Count = 10
    """Steps between lines of log.jsonl."""
    tensorboard: bool = False
    """Write the log for TensorBoard too: tensorboard --logdir DIR."""
    seed: int = 0
    """Seed of weights, batches, masks and dropout."""


@dataclass(kw_only=True)
class PretrainingTraining(Training):
    learning_rate: Annotated[float | None, unset("X")] = None  # type: ignore[assignment]
    """The highest learning rate. Without it: 0.001 for tiny and mini, 0.0005 for small and medium, 0.0001 for
    larger ones and with --init."""
    steps: MaybeCount = None
    """Updates of the weights. Without it, and without --minutes: 1000."""
    minutes: Annotated[float | None, unset("M")] = None
    """Training time in minutes, turned into steps by timing the first ones."""
    max_length: MaybeCount = None
    """Tokens of an example, [CLS] and [SEP] included. Without it: 128, and 256 for the Gazette."""
    evaluate_every: Count = 500
    """Steps between measurements on the held-out documents."""
    checkpoint_every: Count = 500
    """Steps between checkpoints."""
    held_out: Count = 20
    """One document in N is held out and measured on; 0: none."""


@dataclass(kw_only=True)
class FinetuneTraining(Training):
    learning_rate: Number = 5e-5
    """The highest learning rate, reached at the end of the warm-up."""
    epochs: Count = 3
    """Times through the training examples."""
    max_length: Count = 128
    """Tokens of an example; what is longer is cut."""
    patience: MaybeCount = None
    """Epochs without a better result on the dev part after which training stops. Without it: never."""


@dataclass(kw_only=True)
class Seq2SeqTraining(FinetuneTraining):
    learning_rate: Number = 5e-4
    """The highest learning rate, reached at the end of the warm-up."""
    epochs: Count = 10
    """Times through the training examples."""


@dataclass(kw_only=True)
class GlueTraining(FinetuneTraining):
    learning_rate: Annotated[float | None, unset("X")] = None  # type: ignore[assignment]
    """The highest learning rate. Without it: that of 0.00005, 0.00004, 0.00003 and 0.00002 which does best on
    the dev part."""


@dataclass(kw_only=True)
class TagTraining(FinetuneTraining):
    learning_rate: Annotated[float | None, unset("X")] = None  # type: ignore[assignment]
    """The highest learning rate. Without it: 0.00005, and 0.001 with --features."""
    max_length: Count = 128
    """Tokens of a row; a longer text has several, which overlap."""


@dataclass(kw_only=True)
class QaTraining(FinetuneTraining):
    max_length: Annotated[int | None, unset("N")] = None  # type: ignore[assignment]
    """Tokens of a window; a longer passage is read in several, each a third further on. Without it: 384, or
    as many as the model has read before, where they are fewer."""


@dataclass(kw_only=True)
class DistillTraining(PretrainingTraining):
    learning_rate: Annotated[float | None, unset("X")] = None  # type: ignore[assignment]
    """The highest learning rate. Without it: 0.0005, and 0.00005 from a fine-tuned teacher."""
    max_length: MaybeCount = None
    """Tokens of an example. Without it: the teacher's."""


@dataclass(kw_only=True)
class CompressTraining(FinetuneTraining):
    max_length: MaybeCount = None  # type: ignore[assignment]
    """Tokens of an example; what is longer is cut. Without it: as many as the model was fine-tuned on."""
    epochs: Count = 3
    """Times through the training examples, after heads or units went or while weights go; 0: none."""


# The least that an option may be. An open interval where it has to be more than that.
LEAST = {"restarts": 1, "seed": 0, "held_out": 0, "weight_decay": 0, "length_penalty": 0, "num_beams": 1}
LEAST |= dict.fromkeys(("documents", "rows", "vocab_size", "min_frequency", "batch_size", "accumulation"), 1)
LEAST |= dict.fromkeys(("steps", "epochs", "patience", "max_length", "top", "length", "gpus", "processes"), 1)
LEAST |= dict.fromkeys(("log_every", "evaluate_every", "checkpoint_every", "batch_tokens", "micro_tokens"), 1)
LEAST |= {"rates": 10, "mask_smoothing": 0, "static_masks": 1, "augment": 0, "auxiliary": 0, "layer_loss": 1}
LEAST |= {"new_layers": 0}
ABOVE_0 = ("learning_rate", "lowest", "highest", "minutes", "temperature", "tokens", "link")
SHARES = ("prune_heads", "prune_units", "sparsity", "mask_rate")
BELOW_1 = ("ema", "dropout", "warmup_share", "short_share", "ramp_share")


def check_numbers(command: Any) -> None:
    """Refuse numbers out of range in one place, with the option's name.

    Raises:
        InputError: for the first one.
    """
    smallest = LEAST | getattr(command, "LEAST", {})
    for name, value in flat(asdict(command)).items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        expected = "" if abs(value) < 2**63 else "a number" if math.isnan(value) else "a smaller number"
        if value < smallest.get(name, value):
            expected = f"{smallest[name]} or more"
        if name in ABOVE_0 and value <= 0:
            expected = "more than 0"
        if name in BELOW_1 and not 0 <= value < 1:
            expected = "0 or more, and less than 1"
        if name in SHARES and not 0 < value < 1:
            expected = "a share, more than 0 and less than 1"
        if expected:
            raise InputError(f"--{name.replace('_', '-')} {value}: expected {expected}")


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Options by name, those of the groups among them."""
    groups = [value for value in settings.values() if isinstance(value, dict)]
    own = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    return own | {name: value for group in groups for name, value in group.items()}


def fill_in(command: Any, settings: dict[str, Any]) -> None:
    """Set a command's fields, and those of its groups, from what run.json holds."""
    for each in fields(command):
        value = settings.get(each.name, getattr(command, each.name))
        if isinstance(value, dict):
            fill_in(getattr(command, each.name), value)
        else:
            setattr(command, each.name, tuple(value) if isinstance(value, list) else value)
