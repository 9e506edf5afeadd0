"""Commands that fine-tune a model, one for each task, and that find a learning rate for it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Fixed, Positional, arg

from bertmini.commands.options import (
    Count,
    Directory,
    FinetuneTraining,
    GlueTask,
    GlueTraining,
    MaybeCount,
    MaybeDirectory,
    Number,
    QaTraining,
    Seq2SeqTraining,
    TagFeatures,
    TagTraining,
    TaskFiles,
    TaskReading,
    unset,
)
from bertmini.commands.runs import (
    Resumable,
    is_main,
    refuse_existing,
    refuse_without_train,
    report,
    run_directory,
)
from bertmini.errors import InputError
from bertmini.files import new_directory, write_json
from bertmini.hub import shipped

if TYPE_CHECKING:
    from bertmini.training import Options


@dataclass(kw_only=True)
class Finetune(Resumable):
    """What fine-tuning for every task has."""

    data: TaskFiles
    """Labelled examples."""
    model: MaybeDirectory = None
    """The pretrained model to begin with, a directory or a hub id. Without it: the one bertmini ships."""
    out: Directory
    """The run directory; made new."""
    from_scratch: bool = False
    """Take the model's shape and tokenizer, and random weights."""
    rows: MaybeCount = None
    """Training examples to use, drawn by the seed. Without it: all."""
    resume: bool = False
    """Continue the interrupted run in --out, with the options that it began with."""
    training: FinetuneTraining = field(default_factory=FinetuneTraining)
    reading: TaskReading = field(default_factory=TaskReading)

    def head_settings(self) -> dict[str, Any]:
        """The fields of the model's configuration that a task's own options fix."""
        return {}

    def training_examples(self, examples: list[Any]) -> list[Any]:
        """The examples to train on, as a task's own options make them of those that were read."""
        return examples

    def training_loss(self, model: Any, tokenizer: Any, examples: list[Any]) -> Callable | None:
        """What a task's own options have training minimise, in place of the task's loss."""
        return None

    def settle_model(self, model: Any, tokenizer: Any, examples: list[Any]) -> Any:
        """Change the model before training as a task's own options want it; returns its tokenizer."""
        return tokenizer

    def find_task(self, name: str) -> Any:
        """The task of a name."""
        from bertmini.tasks import TASKS

        return TASKS[name]

    def run_task(self, name: str) -> None:
        from bertmini.inference import refuse_larger
        from bertmini.tasks import load_for_task, task_options
        from bertmini.tokenizer import load_tokenizer

        if not self.resume:
            refuse_existing(self.out)
        task = self.find_task(name)
        splits = self.reading.read(self.data, task)
        refuse_without_train(self.data, splits)
        if self.training.patience and "dev" not in splits:
            raise InputError(f"--patience watches a dev part, and {self.data} has none; leave it out")
        seed, examples, origin = self.training.seed, splits["train"], self.model or shipped()
        head = task.head(examples)  # with the labels of all examples, whichever are drawn
        if self.rows and self.rows < len(examples):
            chosen = random.Random(seed).sample(range(len(examples)), self.rows)
            splits["train"] = [examples[i] for i in sorted(chosen)]
        splits["train"] = self.training_examples(splits["train"])
        tokenizer = load_tokenizer(origin)
        begin = {"from_scratch": self.from_scratch, "seed": seed, **head, **self.head_settings()}
        model = load_for_task(task, splits["train"], origin, **begin)
        try:
            refuse_larger(tokenizer, model.config)
        except InputError as error:
            raise InputError(f"{origin}: {error}") from None
        tokenizer = self.settle_model(model, tokenizer, splits["train"])
        max_length = min(self.training.max_length, model.config.max_length)
        tokenizer.model_max_length = max_length
        settings = asdict(self.training)
        del settings["max_length"]
        if hasattr(task, "rows"):
            settings["rows"] = task.rows(splits["train"], tokenizer, max_length)
        options = task_options(task, splits, **settings)
        self.learn(task, splits, model, tokenizer, options, max_length)

    def learn(
        self, task: Any, splits: Any, model: Any, tokenizer: Any, options: Options, max_length: int
    ) -> None:
        """What is done with a model that is ready for its task."""
        from bertmini.tasks import finetune

        with run_directory(self, options, splits.items()) as run:
            loss = self.training_loss(model, tokenizer, splits["train"])
            how: dict[str, Any] = {"max_length": max_length, "run": run, "loss": loss}
            _, metrics = finetune(task, splits, model, tokenizer, options, **how)
            run.finish(metrics, model, tokenizer)
        report(self.out, metrics)


@dataclass(kw_only=True)
class FinetuneClassify(Finetune):
    """Fine-tune a model to give a text or a pair one of several labels."""

    data: TaskFiles = "gazette/emotion"
    """A task of the Gazette; or a folder with train, dev and test: TSV, CSV, JSONL, or TXT (text;label)."""
    balance: Annotated[Literal["weights", "resample"] | None, unset("weights|resample")] = None
    """Let rare labels count as much as common ones, by weights in the loss or by taking their examples again,
    and keep the weights of the best macro F1. Without it: each example counts the same."""
    augment: Annotated[int, unset("N")] = 0
    """Copies of each training example with a few words changed. Without it: none."""
    augment_by: tuple[Literal["replace", "insert", "swap", "delete"], ...] = (
        "replace", "insert", "swap", "delete",
    )  # fmt: skip
    """What changes in a copy, one of these for each; the model fills in the words of replace and insert."""
    auxiliary: Annotated[float, unset("X")] = 0.0
    """Weight of pretraining's losses on the training texts, beside the task's loss. Without it: 0."""
    layer_loss: Annotated[int, unset("N")] = 1
    """Last layers that have to give the label, each by the same head. Without it: only the last one."""
    new_layers: Annotated[int | None, unset("N")] = None
    """Last layers to begin at random, with the pooler; 0: the pooler alone. Without it: only the head."""
    teacher: MaybeDirectory = None
    """A model fine-tuned for the same labels, whose answers are learned from beside the labels."""

    def run(self) -> None:
        self.run_task("classify")

    def training_examples(self, examples: list[Any]) -> list[Any]:
        from bertmini.data.augment import WITH_GAPS, augmented, oversampled

        if self.augment and not self.augment_by:
            raise InputError("--augment-by names no change; name one or more, or leave it out")
        if not self.augment and self.augment_by != type(self).augment_by:
            raise InputError("--augment-by says what changes in copies; ask for some with --augment N")
        if self.balance == "resample":
            examples = oversampled(examples, self.training.seed)
        if not self.augment:
            return examples
        fill = self.fill_masks() if set(WITH_GAPS) & set(self.augment_by) else None
        return augmented(examples, self.augment, fill, self.augment_by, seed=self.training.seed)

    def settle_model(self, model: Any, tokenizer: Any, examples: list[Any]) -> Any:
        from bertmini.tasks.finetune import begin_anew

        if self.new_layers is not None:
            begin_anew(model, self.new_layers)
        return tokenizer

    def fill_masks(self) -> Any:
        """What fills the gaps of copies: the model that fine-tuning begins with."""
        from bertmini.predict import Predictor
        from bertmini.tasks import fill

        origin = self.model or shipped()
        predictor = Predictor.from_pretrained(origin)
        if not predictor.fills or predictor.model.config.direction:
            raise InputError(f"{origin} fills no masks; copies can be made with --augment-by swap delete")
        return partial(fill.proposals, predictor.model, predictor.tokenizer)

    def training_loss(self, model: Any, tokenizer: Any, examples: list[Any]) -> Callable | None:
        from bertmini.tasks import classes_of, losses

        asked = {
            "--balance weights": self.balance == "weights", "--auxiliary": self.auxiliary > 0,
            "--layer-loss": self.layer_loss > 1, "--teacher": self.teacher is not None,
        }  # fmt: skip
        if len(chosen := [option for option, is_asked in asked.items() if is_asked]) > 1:
            raise InputError(f"{' and '.join(chosen)} are losses, of which training takes one; choose")
        labels = classes_of(model) or []
        if self.balance == "weights":
            return losses.weighted_loss(losses.balanced_weights(examples, labels))
        if self.auxiliary:
            how = (self.training.batch_size, tokenizer.model_max_length, self.training.seed)
            return losses.PretrainingLoss(
                model, self.model or shipped(), examples, tokenizer, self.auxiliary, *how
            )
        if self.layer_loss > 1:
            return losses.layer_loss(self.layer_loss)
        return self.teacher_loss(tokenizer, labels) if self.teacher else None

    def teacher_loss(self, tokenizer: Any, labels: list[str]) -> Callable:
        """Distillation from a model of the same labels (Furlanello et al. 2018, arXiv 1805.04770)."""
        from bertmini.compress.distill import distillation_loss
        from bertmini.model.bert import BertForSequenceClassification
        from bertmini.tasks import classes_of
        from bertmini.tokenizer import load_tokenizer

        teacher = BertForSequenceClassification.from_pretrained(self.teacher or "")
        if classes_of(teacher) != labels:
            theirs = ", ".join(classes_of(teacher) or ["a score"])
            raise InputError(f"--teacher {self.teacher} gives {theirs}; expected {', '.join(labels)}")
        if load_tokenizer(self.teacher or "").rules != tokenizer.rules:
            raise InputError(
                f"--teacher {self.teacher} has another tokenizer than the model; take one with the same "
                "pieces and rules"
            )
        return distillation_loss(teacher, weights=(1.0, 1.0, 0.0))

    def learn(
        self, task: Any, splits: Any, model: Any, tokenizer: Any, options: Options, max_length: int
    ) -> None:
        if self.balance and options.metric:
            options = replace(options, metric="f1_macro")
        super().learn(task, splits, model, tokenizer, options, max_length)


@dataclass(kw_only=True)
class FinetuneRegress(Finetune):
    """Fine-tune a model to give a text or a pair a number."""

    data: TaskFiles = "gazette/similarity"
    """A task of the embedded corpus; or a folder with train, dev and test as TSV, CSV or JSONL."""

    def run(self) -> None:
        self.run_task("regress")


@dataclass(kw_only=True)
class FinetuneSeq2Seq(Finetune):
    """Fine-tune a model to turn a text into another, a translation say."""

    data: TaskFiles = "gazette/quillish"
    """A task of the embedded corpus; or a folder with train, dev and test: parallel files (train.de and
    train.en), whose endings --text-columns and --label-column name; or TSV, CSV, JSONL with such columns."""
    vocab_size: MaybeCount = None
    """Pieces of a new vocabulary, trained on both sides; those that the model knows keep their vectors.
    Without it: the model's own vocabulary, and 1000 pieces for the Gazette where that is of word pieces."""
    cased: bool = False
    """Keep capitals and accents in a new vocabulary."""
    num_beams: Count = 4
    """Beginnings that are kept while a text is written; 1 takes the likeliest piece each time."""
    length_penalty: Number = 1.0
    """What a text's length counts; more of it gives longer texts."""
    training: Seq2SeqTraining = field(default_factory=Seq2SeqTraining)

    def settle_model(self, model: Any, tokenizer: Any, examples: list[Any]) -> Any:
        from bertmini.tasks import seq2seq
        from bertmini.tokenizer import WordPieceTokenizer

        how = seq2seq.Decoding(self.num_beams, self.length_penalty)
        model.config = seq2seq.with_decoding(model.config, how)
        takes_new = self.data.startswith("gazette/") and isinstance(tokenizer, WordPieceTokenizer)
        vocab_size = self.vocab_size or (1000 if takes_new else None)
        if vocab_size:
            return seq2seq.learn_vocabulary(model, tokenizer, examples, vocab_size, self.cased)
        if self.cased:
            raise InputError("--cased is for a new vocabulary; give its size with --vocab-size")
        return tokenizer

    def run(self) -> None:
        self.run_task("seq2seq")


@dataclass(kw_only=True)
class FinetuneTag(Finetune):
    """Fine-tune a model to find the entities of a text: a tag for each word."""

    data: TaskFiles = "gazette/entities"
    """A task of the embedded corpus; or a folder with train, dev and test: a word and its tag on each line
    (CoNLL; IOB1, BIO or IOBES), or JSON lines with tokens and tags."""
    crf: bool = False
    """Choose the tags of a sentence together, by a conditional random field."""
    features: Annotated[TagFeatures | None, unset("STATES")] = None
    """Leave the pretrained model as it is, and train a two-layer BiLSTM on hidden states of it: embeddings,
    second-to-last, last, sum-last-four, concat-last-four or sum-all."""
    training: TagTraining = field(default_factory=TagTraining)

    def head_settings(self) -> dict[str, Any]:
        from bertmini.model import tagging

        if self.features:
            return {"kind": tagging.BertFeaturesForTokenClassification, "features": self.features}
        return {"kind": tagging.BertCrfForTokenClassification} if self.crf else {}

    def run(self) -> None:
        if self.crf and self.features:
            raise InputError(f"--crf and --features {self.features}: give one of them")
        if self.training.learning_rate is None:
            self.training.learning_rate = 1e-3 if self.features else 5e-5
        self.run_task("tag")


@dataclass(kw_only=True)
class FinetuneQa(Finetune):
    """Fine-tune a model to answer questions from a passage, or to say that it has no answer."""

    data: TaskFiles = "gazette/questions"
    """A task of the embedded corpus; or a folder with train, dev and test: JSON as SQuAD's, or JSON lines
    with question, context and answers."""
    training: QaTraining = field(default_factory=QaTraining)

    def run(self) -> None:
        from bertmini.tasks.qa import WINDOW
        from bertmini.tokenizer import load_tokenizer

        if self.training.max_length is None:
            read = load_tokenizer(self.model or shipped()).model_max_length
            self.training.max_length = min(WINDOW, read)
        self.run_task("qa")


@dataclass(kw_only=True)
class FinetuneVectors(Finetune):
    """Fine-tune a model to give texts vectors whose cosine says how close they are, for bertmini search."""

    data: TaskFiles = "gazette/similarity"
    """A task of the embedded corpus; or a folder with train, dev and test as TSV, CSV or JSONL: pairs, each
    with a score, or with 1 where the two belong together."""
    loss: Literal["cosine", "contrastive"] = "cosine"
    """cosine: the cosine of a pair becomes its score, as a share of the highest. contrastive: a pair with the
    highest score finds itself among all of a batch; larger batches teach more."""

    def training_loss(self, model: Any, tokenizer: Any, examples: list[Any]) -> Callable | None:
        from bertmini.tasks.vectors import loss_of, refuse_all_alike

        if self.loss == "cosine":
            refuse_all_alike(examples)
        return loss_of(self.loss)

    def run(self) -> None:
        self.run_task("vectors")


@dataclass(kw_only=True)
class FinetuneChoice(Finetune):
    """Fine-tune a model to choose one of several options, of any number, for each text."""

    data: TaskFiles = "gazette/continuation"
    """A task of the embedded corpus; or a folder with train, dev and test: CSV as SWAG's or ARC's, or JSON
    lines with text, options and label."""

    def run(self) -> None:
        self.run_task("choice")


@dataclass(kw_only=True)
class FinetuneGlue(Finetune):
    """Fine-tune a model for a task of GLUE, by the paper's recipe, and measure it as GLUE does."""

    task: Positional[Annotated[GlueTask, arg(metavar="NAME")]]
    """Which one: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte or wnli."""
    data: Annotated[str, arg(metavar="DIR|hf:NAME")]
    """A folder with the task's files as GLUE gives them, train and dev; or hf:nyu-mll/glue:NAME."""
    restarts: Count = 1
    """Trainings with the best learning rate, each with another head and another order of the examples; the
    one that does best on the dev part is kept, and the spread is in metrics.json."""
    training: GlueTraining = field(default_factory=GlueTraining)

    def find_task(self, name: str) -> Any:
        from bertmini.tasks.glue import GLUE

        return GLUE[name]

    def learn(
        self, task: Any, splits: Any, model: Any, tokenizer: Any, options: Options, max_length: int
    ) -> None:
        from bertmini.tasks.restarts import LEARNING_RATES, finetune_best

        if "dev" not in splits:
            raise InputError(f"{self.data}: no dev part; expected one, which chooses rate and weights")
        given = self.training.learning_rate
        model.to("meta")  # each attempt loads its own, and this one would only fill the memory
        with run_directory(self, options, splits.items(), tokenizer) as run:
            best, metrics = finetune_best(
                task, splits, self.model or shipped(), tokenizer, options, run.directory / "attempts",
                rates=(given,) if given else LEARNING_RATES, restarts=self.restarts, max_length=max_length,
                from_scratch=self.from_scratch, id2label=model.config.id2label,
            )  # fmt: skip
            run.finish(metrics, best, tokenizer)
        found = metrics["search"]
        for each in found["runs"] if is_main() else []:
            numbers = "  ".join(f"{name} {value:.4g}" for name, value in each["dev"].items())
            print(f"rate {each['learning_rate']:g}, seed {each['seed']}: dev  {numbers}")
        report(self.out, metrics)

    def interrupted(self) -> str:
        done = len(list((Path(self.out) / "attempts").glob("*/metrics.json")))
        if not done:
            return super().interrupted()
        return f"{self.out} has {done} finished attempt{'s' * (done > 1)}: continue it with --resume"

    def run(self) -> None:
        self.run_task(self.task)


@dataclass(kw_only=True)
class FindLearningRate:
    """Find a learning rate for a task: a minute of training while it rises, and a picture of the losses.

    Takes what bertmini finetune takes for the task. Options of a whole training (--epochs, --patience,
    --learning-rate, --warmup-share, --schedule, --ramp-share, --ema, --log-every, --tensorboard, and the
    --restarts of GLUE) play no part.
    """

    resume: Fixed[bool] = False
    rates: Count = 100
    """Learning rates to try, an update with each."""
    lowest: Number = 1e-7
    """The first of them."""
    highest: Number = 1.0
    """The last of them; the test ends before where the loss blows up."""

    def learn(
        self: Any, task: Any, splits: Any, model: Any, tokenizer: Any, options: Options, max_length: int
    ) -> None:
        from bertmini.tasks.finetune import with_tensors_of
        from bertmini.training.lr_find import find_learning_rate
        from bertmini.viz import range_curve
        from bertmini.viz.style import optional

        optional("matplotlib")  # said before a minute of training, not after it
        settings = (tokenizer, model.config, options.batch_size, max_length, options.seed)
        batch_at = task.data(splits["train"], *settings).batch
        options = replace(options, steps=self.rates)
        limits = {"lowest": self.lowest, "highest": self.highest}
        loss = self.training_loss(model, tokenizer, splits["train"])
        found = find_learning_rate(model, with_tensors_of(loss, batch_at), options, **limits, loss=loss)
        if not found.fell:
            warnings.warn(
                f"{self.data}: the loss fell clearly at no rate up to {found.rates[-1]:.1e}; do not trust "
                "what is suggested, take more --rates or a larger --batch-size",
                stacklevel=2,
            )
        curves = (found.rates, found.losses, found.smoothed.tolist())
        picture = range_curve(*curves, found.suggestions, title=f"{task.NAME}: {self.data}")
        with new_directory(self.out) as directory:
            record = {"suggestions": found.suggestions, "rates": found.rates, "losses": found.losses}
            write_json(directory / "lr_find.json", record)
            (directory / "lr_find.png").write_bytes(picture.png())
        for name, rate in found.suggestions.items():
            print(f"{name:16} {rate:.1e}")
        print(self.out)


def finder(command: Any) -> Any:
    """The search for a learning rate with the options of a command that fine-tunes."""
    names = {"__doc__": FindLearningRate.__doc__}
    return dataclass(kw_only=True)(type(f"Find{command.__name__}", (FindLearningRate, command), names))
