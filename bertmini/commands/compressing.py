"""The command that makes a trained model smaller."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from bertmini.commands.options import (
    CompressTraining,
    Directory,
    MaybeDirectory,
    MaybeNumber,
    TaskReading,
    unset,
)
from bertmini.commands.runs import Resumable, is_main, refuse_existing, refuse_without_train, run_directory
from bertmini.errors import InputError
from bertmini.hub import shipped

if TYPE_CHECKING:
    from bertmini.training import Options


@dataclass(kw_only=True)
class Compress(Resumable):
    """Make a trained model smaller: fewer heads and units, zeros among its weights, or 8-bit numbers.

    Heads and units, zeros, and 8 bits are three commands, one after the other where several are wanted.
    """

    LEAST: ClassVar[dict[str, int]] = {"epochs": 0}

    model: MaybeDirectory = None
    """The model, a fine-tuned one except for --sparsity and --int8. Without it: the one bertmini ships."""
    out: Directory
    """The run directory; made new."""
    data: Annotated[str | None, unset("gazette/NAME|DIR|hf:NAME")] = None
    """Labelled examples for the model's task: importance is measured on 512 of them, and all are learned from
    again. Without it: --sparsity and --int8 take the model as it is."""
    prune_heads: MaybeNumber = None
    """Share of the attention heads to take out, the least important first. Each layer keeps one."""
    prune_units: MaybeNumber = None
    """Share of the feed-forward networks' units to take out, the same way."""
    sparsity: MaybeNumber = None
    """Share of the encoder's weights to set to 0, in each matrix; the smallest, while the model learns."""
    movement: bool = False
    """With --sparsity: the weights that learning does not move away from 0, in place of the smallest."""
    int8: bool = False
    """Keep and multiply the encoder's matrices as 8-bit numbers; the model no longer learns."""
    static: bool = False
    """With --int8: fix the ranges of what the matrices multiply, as they are on 512 examples of --data."""
    resume: bool = False
    """Continue the interrupted run in --out, with the options that it began with."""
    training: CompressTraining = field(default_factory=CompressTraining)
    reading: TaskReading = field(default_factory=TaskReading)

    def run(self) -> None:
        from bertmini.compress.prune import size_of
        from bertmini.predict import Predictor

        if not self.resume:
            refuse_existing(self.out)
        self.refuse_unclear()
        origin = self.model or shipped()
        predictor = Predictor.from_pretrained(origin)
        splits = self.examples(predictor)
        options = self.options(predictor, splits)
        with run_directory(self, options, splits.items()) as run:
            before, was = self.measure(predictor, splits), size_of(predictor.model)
            try:
                model, sparsifier = self.smaller(predictor, splits, options)
            except InputError as error:
                raise InputError(f"{origin}: {error}") from None
            metrics: dict[str, Any] = {"seconds": 0.0, "tokens_per_second": 0.0}
            if self.learns:
                from bertmini.tasks import finetune

                how: dict[str, Any] = {"max_length": self.max_length(predictor), "run": run}
                data = (predictor.task, splits, model, predictor.tokenizer, options)
                _, metrics = finetune(*data, before_update=sparsifier, **how)
                if sparsifier:
                    sparsifier.end(model)
            else:
                predictor.model = model
                metrics |= self.measure(predictor, splits)
            metrics |= {"before": before, "size": size_of(model), "size_before": was}
            run.finish(metrics, model, predictor.tokenizer)
        self.tell(metrics)

    @property
    def learns(self) -> bool:
        return bool(self.data and self.training.epochs and not self.int8)

    def refuse_unclear(self) -> None:
        """Refuse options that ask for nothing, or for what does not go together."""
        asked = {
            "--prune-heads or --prune-units": self.prune_heads or self.prune_units,
            "--sparsity": self.sparsity,
            "--int8": self.int8,
        }
        chosen = [name for name, value in asked.items() if value]
        if not chosen:
            raise InputError(
                "nothing is asked for: give --prune-heads F, --prune-units F, --sparsity F or --int8"
            )
        if len(chosen) > 1:
            raise InputError(f"{' and '.join(chosen)} are done one after the other; give one of them")
        if self.movement and not self.sparsity:
            raise InputError("--movement says what --sparsity takes out; give --sparsity F too")
        if self.static and not self.int8:
            raise InputError("--static says how --int8 is done; give --int8 too")
        if self.sparsity and self.training.patience:
            raise InputError("--patience would stop before --sparsity is reached; leave it out")
        if self.movement and not (self.data and self.training.epochs):
            raise InputError("--movement needs examples to learn from; name them with --data")
        needs = {
            "--prune-heads and --prune-units measure importance": self.prune_heads or self.prune_units,
            "--static measures ranges": self.static,
        }
        for what, is_asked in needs.items():
            if is_asked and not self.data:
                raise InputError(f"{what} on examples, and there are none; name them with --data")
        if self.training.patience and not self.data:
            raise InputError("--patience watches the dev part of examples; name them with --data")

    def examples(self, predictor: Any) -> dict[str, Any]:
        """The examples by part; {} without --data."""
        if self.data is None:
            return {}
        if predictor.fills:
            raise InputError(
                f"{self.model or shipped()} is a pretrained model, and {self.data} are examples for a task; "
                "fine-tune it first"
            )
        splits = self.reading.read(self.data, predictor.task)
        refuse_without_train(self.data, splits)
        if predictor.task.NAME == "vectors" and self.learns:
            predictor.task.refuse_all_alike(splits["train"])
        if self.training.patience and "dev" not in splits:
            raise InputError(f"--patience watches a dev part, and {self.data} has none; leave it out")
        return splits

    def options(self, predictor: Any, splits: dict[str, Any]) -> Options:
        """How to learn after or during pruning."""
        from bertmini.tasks import task_options
        from bertmini.training import Options

        if not self.learns:
            return Options(seed=self.training.seed)
        task, settings = predictor.task, asdict(self.training)
        del settings["max_length"]
        if hasattr(task, "rows"):
            settings["rows"] = task.rows(splits["train"], predictor.tokenizer, self.max_length(predictor))
        options = task_options(task, splits, **settings)
        # The best weights on the dev part would be those of the beginning, when most of them were there.
        return replace(options, metric=None, evaluate_every=None) if self.sparsity else options

    def max_length(self, predictor: Any) -> int:
        return min(self.training.max_length or predictor.max_length, predictor.max_length)

    def batches(self, predictor: Any, examples: list[Any]) -> list[Any]:
        """Some of the training examples, to measure on."""
        task, size = predictor.task, self.training.batch_size
        settings = (size, self.max_length(predictor), self.training.seed)
        data = task.data(examples, predictor.tokenizer, predictor.model.config, *settings)
        return [data.batch(step) for step in range(min(len(data), max(1, 512 // size)))]

    def smaller(self, predictor: Any, splits: dict[str, Any], options: Options) -> tuple[Any, Any]:
        """The model after what needs no learning, and what takes weights out while it learns."""
        from bertmini.compress import prune
        from bertmini.compress.quantize import quantize

        model, loss = predictor.model, getattr(predictor.task, "loss", None)
        if self.int8:
            ranges = self.batches(predictor, splits["train"]) if self.static else None
            return quantize(model, ranges), None
        if self.sparsity:
            if not self.learns:
                return prune.prune_weights(model, self.sparsity), None
            return model, prune.Sparsifier(model, self.sparsity, options.steps or 0, self.movement)
        batches = self.batches(predictor, splits["train"])
        for part, fraction in ((prune.HEADS, self.prune_heads), (prune.UNITS, self.prune_units)):
            if fraction:
                model = prune.prune_parts(model, batches, part, fraction, loss)
        return model, None

    def measure(self, predictor: Any, splits: dict[str, Any]) -> dict[str, Any]:
        """How well the model does on each part but that of training."""
        task, model = predictor.task, predictor.model
        settings = (predictor.tokenizer, model.config, self.training.batch_size, self.max_length(predictor))
        return {
            part: task.evaluate(model, task.data(examples, *settings))
            for part, examples in splits.items()
            if part != "train"
        }

    def tell(self, metrics: dict[str, Any]) -> None:
        """What it was and what it is, in a few lines."""
        if not is_main():
            return
        for part, measured in metrics["before"].items():
            numbers = [(name, was) for name, was in measured.items() if isinstance(was, float)]
            print(f"{part:5}  " + "  ".join(f"{n} {was:.4g} → {metrics[part][n]:.4g}" for n, was in numbers))
        was, now = metrics["size_before"], metrics["size"]
        print("  ".join(f"{name} {was[name]:,} → {now[name]:,}" for name in was))
        print(self.out)
