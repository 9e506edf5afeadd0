"""The command line: `bertmini COMMAND …`. Each command is a dataclass; its fields are the options."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import json
import logging
import math
import os
import random
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
import tyro
from tyro.conf import Positional, arg

from bertmini.errors import InputError
from bertmini.files import new_directory, write_json
from bertmini.hub import shipped
from bertmini.machine import keep_freed_memory

if TYPE_CHECKING:
    from bertmini.tasks.pretrain import Documents
    from bertmini.training import Options, Run


def unset(metavar: str) -> Any:
    """An option whose help says itself what happens without it."""
    return arg(metavar=metavar, help_behavior_hint="")


LEARNING_RATES = {"tiny": 1e-3, "mini": 1e-3, "small": 5e-4, "medium": 5e-4, "base": 1e-4, "large": 1e-4}
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
    """How files are encoded. Without it: UTF-8, or Latin-1 with a warning where a file is not UTF-8."""
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
    """How files are encoded. Without it: UTF-8, or Latin-1 with a warning where a file is not UTF-8."""
    strict: bool = False
    """Refuse files that are not UTF-8."""

    def read(self, data: str, task: str) -> dict[str, list[Any]]:
        from bertmini.tasks import TASKS

        return TASKS[task].read(data, **asdict(self))


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
    epochs: Count = 3
    """Times through the training examples, after heads or units went or while weights go; 0: none."""


@dataclass(kw_only=True)
class TrainTokenizer:
    """Train a vocabulary on running text: word pieces, byte-level BPE or a unigram model."""

    corpus: Positional[Corpus] = ("gazette",)
    """Text files and folders; or gazette; or a data set of the hub with a column named text."""
    out: Directory
    """The tokenizer's directory; made new."""
    vocab_size: Count = 8000
    """Pieces in the vocabulary."""
    kind: Literal["wordpiece", "bpe", "unigram"] = "wordpiece"
    """wordpiece: BERT's. bpe: RoBERTa's, of bytes. unigram: ALBERT's, by the tokenizers library."""
    cased: bool = False
    """Keep capitals and accents, as bpe always does."""
    min_frequency: Count = 1
    """Count below which two pieces are not joined; a unigram model joins none."""
    reading: TextReading = field(default_factory=TextReading)

    def run(self) -> None:
        refuse_existing(self.out)
        if self.kind == "unigram" and self.min_frequency > 1:
            raise InputError(f"--min-frequency {self.min_frequency}: a unigram model has none; leave it out")
        with new_directory(self.out) as directory:
            refuse_prepared(self.corpus)
            documents: Any = self.reading.read(self.corpus, held_out=0)[0]
            texts = (sentence for document in documents for sentence in document)
            tokenizer = self.train(texts)
            tokenizer.save_pretrained(directory)
        print(f"{self.out}: {len(tokenizer)} pieces")

    def train(self, texts: Iterable[str]) -> Any:
        from bertmini.tokenizer import ByteLevelBPETokenizer, UnigramTokenizer, WordPieceTokenizer

        size, frequency = self.vocab_size, self.min_frequency
        if self.kind == "bpe":
            return ByteLevelBPETokenizer.train(texts, size, min_frequency=frequency)
        if self.kind == "unigram":
            return UnigramTokenizer.train(texts, size, lowercase=not self.cased, keep_accents=self.cased)
        return WordPieceTokenizer.train(texts, size, lowercase=not self.cased, min_frequency=frequency)


@dataclass(kw_only=True)
class Prepare:
    """Tokenise running text of any size once, into files that pretraining reads piece by piece."""

    corpus: Positional[Corpus] = ("gazette",)
    """Text files and folders; or gazette; or a data set of the hub with a column named text."""
    tokenizer: Directory
    """The tokenizer, which is saved with the text."""
    out: Directory
    """The directory; made new. After an interruption the same command goes on with what was written."""
    held_out: Count = 20
    """One document in N is held out, to measure on; 0: none."""
    processes: MaybeCount = None
    """Processes that tokenise. Without it: as many as there are cores."""
    seed: int = 0
    """Seed of the order in which the files of a data set of the hub are read."""
    reading: TextReading = field(default_factory=TextReading)

    def run(self) -> None:
        from bertmini.data.prepare import prepare
        from bertmini.tasks.pretrain import stream_corpus
        from bertmini.tokenizer import load_tokenizer

        refuse_existing(self.out)
        refuse_prepared(self.corpus)
        tokenizer = load_tokenizer(self.tokenizer)
        texts, source = stream_corpus(
            self.corpus, held_out=self.held_out, seed=self.seed, **asdict(self.reading)
        )
        processes = self.processes or os.cpu_count() or 1
        record = prepare(texts, tokenizer, self.out, source, held_out=self.held_out, processes=processes)
        for part, found in record["parts"].items():
            counts = (f"{found[name]:,} {name}" for name in ("documents", "sentences", "tokens"))
            print(f"{part:5}  {', '.join(counts)}")
        print(self.out)


@dataclass(kw_only=True)
class Pretrain:
    """Pretrain a BERT on running text: masked pieces, and whether one sentence follows another."""

    data: Corpus = ("gazette",)
    """The embedded corpus; or text files and folders; or what bertmini prepare made of them; or a data set of
    the hub with a column named text; or task:gazette/NAME, task:DIR, the train texts of a task, no labels."""
    out: Directory
    """The run directory; made new."""
    preset: Literal["tiny", "mini", "small", "medium", "base", "large"] = "mini"
    """The model's size, layers x width: 2x128, 4x256, 4x512, 8x512, 12x768, 24x1024; not used with --init."""
    family: Annotated[Literal["bert", "roberta", "albert", "distilbert"] | None, unset("FAMILY")] = None
    """Whose architecture. Without it: that of --init, or bert."""
    objective: Annotated[
        Literal["mlm+nsp", "mlm", "mlm+sop", "ltr", "rtl"] | None, unset("OBJECTIVE")
    ] = None
    """Masked pieces; with nsp, whether a passage is next; with sop, the order of two; ltr and rtl: the next
    piece to the right, to the left. Without it: what the family was published with."""
    inputs: Annotated[
        Literal["segment-pairs", "sentence-pairs", "full-sentences", "doc-sentences", "stretches"] | None,
        unset("INPUTS"),
    ] = None
    """What a row holds. Without it: segment-pairs with nsp, their like with sop, otherwise stretches of one
    document, cut anywhere."""
    masking: Literal["token", "whole-word", "ngram", "span", "entity"] = "token"
    """What is masked together: nothing, the pieces of a word, one to three words, one to ten words, the words
    of a name."""
    mask_rate: Number = 0.15
    """Share of the pieces that is masked."""
    mask_smoothing: Number = 0.0
    """Mask rare pieces more often, with weights of count^-X; DistilBERT's code has 0.7. 0: all alike."""
    static_masks: MaybeCount = None
    """Draw masks and pairs so many times and repeat them; BERT's own data did with 10. Without it: anew in
    each epoch."""
    names: Annotated[str | None, unset("FILE")] = None
    """Names for --masking entity, one a line. Without it: those of the Gazette."""
    tokenizer: MaybeDirectory = None
    """The tokenizer. Without it: that of --init, or a new one, trained on the corpus."""
    vocab_size: MaybeCount = None
    """Pieces of a new tokenizer. Without it: 8000, and 1000 for the Gazette."""
    init: MaybeDirectory = None
    """A model to go on from, to adapt it to a domain, say. Without it: random weights of --preset."""
    dropout: Number = 0.1
    """Share of features and attention weights dropped in training; text that is never repeated needs none."""
    short_share: Annotated[float | None, unset("X")] = None
    """Share of the steps on rows of 32 tokens, where neighbours are learned sooner. Without it: 0.4, and 0
    with --init."""
    resume: bool = False
    """Continue the interrupted run in --out, with the options that it began with."""
    training: PretrainingTraining = field(default_factory=PretrainingTraining)
    reading: TextReading = field(default_factory=TextReading)

    def run(self) -> None:
        from bertmini.tasks import pretrain

        if not self.resume:
            refuse_existing(self.out)
        if self.vocab_size and (self.tokenizer or self.init):
            other = "--tokenizer" if self.tokenizer else "--init"
            raise InputError(f"--vocab-size {self.vocab_size} is for a new tokenizer; drop it or {other}")
        rate = 1e-4 if self.init else LEARNING_RATES[self.preset]
        options = pretraining_options(self.training, learning_rate=rate)
        documents, held_out = self.reading.read(self.data, self.training.held_out)
        tokenizer = self.get_tokenizer(documents)
        tokenizer.model_max_length = self.training.max_length or (256 if self.is_gazette else 128)
        objective = self.get_objective()
        settings = (tokenizer, self.training.batch_size, tokenizer.model_max_length, objective)
        units = pretrain.masking_units(self.masking, tokenizer, self.names)
        masking: dict[str, Any] = {"units": units, "rate": self.mask_rate, "inputs": self.inputs}
        masking |= {"static_masks": self.static_masks, "smoothing": self.mask_smoothing}
        batches = pretrain.training_data(documents, *settings, seed=self.training.seed, **masking)
        evaluate = held_out and pretrain.held_out_metrics(held_out, *settings, gazette=self.is_gazette)
        model = self.get_model(tokenizer, objective)
        with run_directory(self, options, [documents, held_out], tokenizer) as run:
            short = self.short_share if self.short_share is not None else 0.0 if self.init else 0.4
            how: dict[str, Any] = {"short_share": short, "is_new": not self.init}
            metrics = pretrain.pretrain(model, options, batches, evaluate or None, run, **how)
            run.finish(metrics, model, tokenizer)
        report(self.out, metrics)

    @property
    def is_gazette(self) -> bool:
        return self.data == ("gazette",)

    def get_tokenizer(self, documents: Documents) -> Any:
        from bertmini.data.prepare import Prepared
        from bertmini.tokenizer import WordPieceTokenizer, load_tokenizer

        if self.resume:
            return load_tokenizer(self.out)
        if directory := self.tokenizer or self.init:
            return load_tokenizer(directory)
        if isinstance(documents, Prepared):
            if self.vocab_size:
                raise InputError(
                    f"--vocab-size {self.vocab_size} is for a new tokenizer; that of the data is theirs"
                )
            return load_tokenizer(documents.directory)
        size = self.vocab_size or (1000 if self.is_gazette else 8000)
        return WordPieceTokenizer.train((s for document in documents for s in document), size)

    def get_objective(self) -> str:
        from bertmini.config import BertConfig
        from bertmini.hub import locate
        from bertmini.tasks.pretrain import FAMILY_OBJECTIVES

        family: str = self.family or "bert"
        if self.init:
            family = BertConfig.load(locate(self.init) / "config.json").model_type
            if self.family not in (None, family):
                raise InputError(f"--family {self.family}: {self.init} is a {family}; leave --family out")
        return self.objective or FAMILY_OBJECTIVES[family]

    def get_model(self, tokenizer: Any, objective: str) -> Any:
        from bertmini.tasks import pretrain

        settings = (objective, tokenizer, self.training.seed, self.dropout)
        if self.init:
            return pretrain.load_model(self.init, *settings)
        return pretrain.new_model(self.preset, *settings, self.family or "bert")


@dataclass(kw_only=True)
class Finetune:
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
        splits = task.read(self.data, **asdict(self.reading))
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
class Seq2SeqTraining(FinetuneTraining):
    learning_rate: Number = 5e-4
    """The highest learning rate, reached at the end of the warm-up."""
    epochs: Count = 10
    """Times through the training examples."""


@dataclass(kw_only=True)
class FinetuneSeq2Seq(Finetune):
    """Fine-tune a model to turn a text into another, a translation say."""

    data: TaskFiles = "gazette/quillish"
    """A task of the embedded corpus; or a folder with train, dev and test: parallel files (train.de and
    train.en), whose endings --text-columns and --label-column name; or TSV, CSV, JSONL with such columns."""
    vocab_size: MaybeCount = None
    """Pieces of a new vocabulary, trained on both sides; those that the model knows keep their vectors.
    Without it: the model's own vocabulary, and 1000 pieces for the Gazette."""
    cased: bool = False
    """Keep capitals and accents in a new vocabulary."""
    num_beams: Count = 4
    """Beginnings that are kept while a text is written; 1 takes the likeliest piece each time."""
    length_penalty: Number = 1.0
    """What a text's length counts; more of it gives longer texts."""
    training: Seq2SeqTraining = field(default_factory=Seq2SeqTraining)

    def settle_model(self, model: Any, tokenizer: Any, examples: list[Any]) -> Any:
        from bertmini.tasks import seq2seq

        how = seq2seq.Decoding(self.num_beams, self.length_penalty)
        model.config = seq2seq.with_decoding(model.config, how)
        vocab_size = self.vocab_size or (1000 if self.data.startswith("gazette/") else None)
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

    def training_loss(self, *_: Any) -> Callable | None:
        from bertmini.tasks.vectors import loss_of

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
class GlueTraining(FinetuneTraining):
    learning_rate: Annotated[float | None, unset("X")] = None  # type: ignore[assignment]
    """The highest learning rate. Without it: that of 0.00005, 0.00004, 0.00003 and 0.00002 which does best on
    the dev part."""


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

    def run(self) -> None:
        self.run_task(self.task)


@dataclass(kw_only=True)
class FindLearningRate:
    """Find a learning rate for a task: a minute of training while it rises, and a picture of the losses.

    Takes what bertmini finetune takes for the task. Options of a whole training (--epochs, --patience,
    --learning-rate, --warmup-share, --schedule, --ramp-share, --ema) play no part.
    """

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


@dataclass(kw_only=True)
class Distill:
    """Teach a shallower model what a larger one knows, by its soft answers and hidden states."""

    teacher: MaybeDirectory = None
    """The model to learn from: a pretrained one, or a fine-tuned one. Needed, except with --resume."""
    data: Annotated[tuple[str, ...], arg(metavar="gazette[/NAME]|PATH…|hf:NAME")] = ("gazette",)
    """Running text for a pretrained teacher, labelled examples for a fine-tuned one."""
    out: Directory
    """The run directory; made new."""
    layers: Annotated[tuple[int, ...] | None, unset("N")] = None
    """The teacher's layers, from 0, that the student begins with. Without it: every second one."""
    temperature: Number = 2.0
    """Softness of the teacher's answers; 1 leaves them as they are."""
    intermediate: Annotated[Literal["patient", "tinybert"] | None, unset("patient|tinybert")] = None
    """What the student's layers imitate beside the last one: directions of hidden states, or hidden states
    with the embeddings and attention scores. Without it: nothing."""
    family: Annotated[Literal["distilbert"] | None, unset("distilbert")] = None
    """The student's architecture: without token types and pooler. Without it: the teacher's."""
    mask_smoothing: Number = 0.0
    """Mask rare pieces of running text more often, with weights of count^-X; DistilBERT's code has 0.7. 0:
    all alike."""
    resume: bool = False
    """Continue the interrupted run in --out, with the options that it began with."""
    training: DistillTraining = field(default_factory=DistillTraining)
    reading: TextReading = field(default_factory=TextReading)

    def run(self) -> None:
        from bertmini.compress.distill import distillation_loss, student_from_teacher
        from bertmini.compress.imitate import INTERMEDIATE
        from bertmini.predict import Predictor

        if not self.resume:
            refuse_existing(self.out)
        if self.teacher is None:
            raise InputError(
                "--teacher DIR is missing: name the model to learn from (bertmini distill --help)"
            )
        teacher = Predictor.from_pretrained(self.teacher)
        if teacher.task.NAME not in ("fill", "classify", "regress"):
            raise InputError(
                f"{self.teacher} is a model for the task {teacher.task.NAME}; expected a pretrained one, or "
                "one fine-tuned by classify or regress"
            )
        length = self.training.max_length or teacher.max_length
        if length > teacher.max_length:
            raise InputError(
                f"--max-length {length}: {self.teacher} knows texts of up to {teacher.max_length} tokens; "
                "ask for so many at most"
            )
        teacher.tokenizer.model_max_length = length
        options = pretraining_options(self.training, learning_rate=5e-4 if teacher.fills else 5e-5)
        prepare = self.from_text if teacher.fills else self.from_examples
        student = student_from_teacher(teacher.model, self.layers, self.family)
        kind = self.intermediate
        imitations = INTERMEDIATE[kind](student, teacher.model) if kind else []
        options, data, learn = prepare(teacher, student, options)
        loss = distillation_loss(teacher.model, self.temperature, imitations=imitations)
        with run_directory(self, options, data) as run:
            metrics = learn(student, options, loss=loss, run=run)
            run.finish(metrics, student, teacher.tokenizer)
        report(self.out, metrics)

    def from_text(self, teacher: Any, student: Any, options: Options) -> tuple[Options, Any, Any]:
        """How and from what to learn with a pretrained teacher."""
        from bertmini.tasks import pretrain

        documents, held_out = self.reading.read(self.data, self.training.held_out)
        objective = pretrain.objective_of(student)
        settings = (teacher.tokenizer, options.batch_size, teacher.tokenizer.model_max_length, objective)
        batches = pretrain.training_data(
            documents, *settings, seed=options.seed, smoothing=self.mask_smoothing
        )
        is_gazette = self.data == ("gazette",)
        evaluate = pretrain.held_out_metrics(held_out, *settings, gazette=is_gazette) if held_out else None
        return options, [documents, held_out], partial(pretrain.pretrain, data=batches, evaluate=evaluate)

    def from_examples(self, teacher: Any, student: Any, options: Options) -> tuple[Options, Any, Any]:
        """How and from what to learn with a fine-tuned teacher."""
        from bertmini.tasks import finetune

        if self.reading.documents or self.reading.separator or self.mask_smoothing:
            raise InputError(
                "--documents, --separator and --mask-smoothing are for running text; leave them out for "
                "labelled data"
            )

        reading = TaskReading(encoding=self.reading.encoding, strict=self.reading.strict)
        splits = reading.read(" ".join(self.data), teacher.task.NAME)
        refuse_without_train(" ".join(self.data), splits)
        if "dev" in splits:
            options = replace(options, metric=teacher.task.METRIC)
        length = teacher.tokenizer.model_max_length

        def learn(student: Any, options: Options, **others: Any) -> dict[str, Any]:
            data = (teacher.task, splits, student, teacher.tokenizer, options)
            return finetune(*data, max_length=length, **others)[1]

        return options, splits.items(), learn


@dataclass(kw_only=True)
class Compress:
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

    def examples(self, predictor: Any) -> dict[str, Any]:
        """The examples by part; {} without --data."""
        if self.data is None:
            return {}
        if predictor.fills:
            raise InputError(
                f"{self.model or shipped()} is a pretrained model, and {self.data} are examples for a task; "
                "fine-tune it first"
            )
        splits = self.reading.read(self.data, predictor.task.NAME)
        refuse_without_train(self.data, splits)
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
        return min(self.training.max_length, predictor.max_length)

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


@dataclass(kw_only=True)
class Evaluate:
    """Measure a fine-tuned model on labelled examples, or a pretrained one on running text; print JSON."""

    data: Annotated[str, arg(metavar="gazette[/NAME]|DIR|FILE|hf:NAME")]
    """What it is measured on; of a folder with parts, the one that --split names."""
    model: MaybeDirectory = None
    """The model. Without it: the pretrained one that bertmini ships."""
    split: Literal["train", "dev", "test"] = "test"
    """The part of a task, or of the Gazette."""
    glue: Annotated[GlueTask | None, unset("NAME")] = None
    """The task of GLUE whose files these are, and by whose metrics the model is measured."""
    batch_size: Count = 32
    """Examples in a batch."""
    reading: TaskReading = field(default_factory=TaskReading)

    def run(self) -> None:
        from bertmini.predict import Predictor

        predictor = Predictor.from_pretrained(self.model or shipped())
        metrics = self.on_text(predictor) if predictor.fills else self.on_examples(predictor)
        print(json.dumps({self.split: metrics}, indent=2))

    def on_text(self, predictor: Any) -> dict[str, Any]:
        from bertmini.tasks import pretrain

        if self.glue or self.reading.text_columns or self.reading.label_column:
            raise InputError(
                f"{self.model or shipped()} is a pretrained model, which is measured on running text; leave "
                "--glue and columns out, or name a fine-tuned model with --model"
            )
        reading = {"encoding": self.reading.encoding, "strict": self.reading.strict}
        documents = pretrain.read_part(self.data, self.split, **reading)
        measure = pretrain.held_out_metrics(
            documents,
            predictor.tokenizer,
            self.batch_size,
            predictor.max_length,
            pretrain.objective_of(predictor.model),
            gazette=self.data == "gazette",
        )
        return measure(predictor.model)

    def on_examples(self, predictor: Any) -> dict[str, Any]:
        from bertmini.tasks.glue import GLUE

        if self.glue and GLUE[self.glue].kind is not predictor.task:
            raise InputError(
                f"{self.model} is a model for the task {predictor.task.NAME}; --glue {self.glue} is measured "
                f"on one for {GLUE[self.glue].kind.NAME}"
            )
        task, model = GLUE[self.glue] if self.glue else predictor.task, predictor.model
        splits = task.read(self.data, **asdict(self.reading))
        if len(splits) == 1 and Path(self.data).is_file():
            (examples,) = splits.values()
        elif self.split in splits:
            examples = splits[self.split]
        else:
            raise InputError(
                f"{self.data}: no part {self.split}; it has {', '.join(splits)}: choose with --split"
            )
        try:
            data = task.data(
                examples, predictor.tokenizer, model.config, self.batch_size, predictor.max_length
            )
        except InputError as error:
            raise InputError(f"{self.data}, {self.split}: {error}") from None
        return task.evaluate(model, data)


@dataclass(kw_only=True)
class OnTexts:
    """What commands that read texts have."""

    text: Positional[Texts] = ()
    """The texts. Without them: the lines of standard input. A pair has a tab in between, or is written
    {"text": …, "pair": …}."""
    input: Annotated[tuple[str, ...], unset("FILE")] = ()
    """Files to read in place of standard input, a text on each line, of any size."""
    batch_tokens: MaybeCount = None
    """Tokens of a batch, padding included. Without it: 2048, and 32768 on a GPU."""

    def texts(self) -> Iterator[Any]:
        """All texts and pairs, read as they are needed."""
        if self.text and self.input:
            raise InputError(f"{len(self.text)} texts and --input {self.input[0]}: give one of them")
        if self.text:
            return map(text_or_pair, self.text)
        if missing := [name for name in self.input if not Path(name).exists() or Path(name).is_dir()]:
            raise InputError(f"--input {missing[0]}: no such file")
        if not self.input and (sys.stdin is None or sys.stdin.isatty()):
            raise InputError(
                "no text was given: add texts to the command, name files with --input, "
                "or send lines to its standard input"
            )
        return map(text_or_pair, lines_of_files(self.input))

    def counted(self, answers: Iterable[Any]) -> Iterator[Any]:
        """The answers; where they come from lines, with a bar on a terminal, and at the end their speed."""
        from tqdm import tqdm

        if self.text:
            yield from answers
            return
        started, number = time.perf_counter(), 0
        quiet = sys.stdout.isatty() or not sys.stderr.isatty()  # a bar among the answers would be in the way
        for number, answer in enumerate(tqdm(answers, unit="row", disable=quiet), start=1):  # noqa: B007
            yield answer
        speed = number / (time.perf_counter() - started)
        print(f"{number} rows, {speed:.0f} rows a second", file=sys.stderr)


@dataclass(kw_only=True)
class Predict(OnTexts):
    """Answer for texts with a fine-tuned model: a line of JSON for each text, in order."""

    model: Directory
    """The fine-tuned model."""
    precision: Precision = "auto"
    """Number format of the matrix products; auto is the fastest that is safe here, often bf16, which gives
    near ties another label; float32 gives the numbers that transformers gives."""

    def run(self) -> None:
        from bertmini.predict import Predictor

        texts = self.texts()
        predictor = Predictor.from_pretrained(
            self.model, batch_tokens=self.batch_tokens, precision=self.precision
        )
        if predictor.fills:
            raise InputError(
                f"{self.model} holds a masked-language model: use bertmini fill, or fine-tune it first"
            )
        for answer in self.counted(predictor(texts)):
            print(json.dumps(answer, ensure_ascii=False))


@dataclass(kw_only=True)
class Fill(OnTexts):
    """Find what may stand behind [MASK]: a line of JSON for each text, or a list on a terminal.

    RoBERTa's mask is written <mask>.
    """

    text: Positional[Texts] = ()
    """Texts with one [MASK] or more. Without them: the lines of standard input."""
    model: MaybeDirectory = None
    """The pretrained model. Without it: the one that bertmini ships."""
    top: Count = 5
    """Candidates for each mask."""

    def run(self) -> None:
        from bertmini.predict import Predictor

        model, texts = self.model or shipped(), self.texts()
        predictor = Predictor.from_pretrained(model, batch_tokens=self.batch_tokens, top=self.top)
        if not predictor.fills:
            raise InputError(
                f"{model} holds a fine-tuned model, which has no masked-language head: use predict"
            )
        for answer in self.counted(predictor(texts)):
            if not sys.stdout.isatty():
                print(json.dumps(answer, ensure_ascii=False))
                continue
            print(answer["text"])
            for candidates in answer["masks"]:
                for candidate in candidates:
                    print(f"  {candidate['score']:6.1%}  {candidate['token']}")
                print()


@dataclass(kw_only=True)
class Embed(OnTexts):
    """Turn texts into vectors, a row for each text, in order: bertmini embed < texts.txt > vectors.npy"""

    model: MaybeDirectory = None
    """The model. Without it: the one that bertmini ships."""
    format: Literal["npy", "parquet"] = "npy"
    """npy: a NumPy array [texts, hidden] of float32. parquet: a table with text, pair and embedding."""
    precision: Precision = "float32"
    """Number format of the matrix products; auto is the fastest that is safe here, often bf16: twice as fast,
    and vectors are then equal to two or three digits, and differ from machine to machine."""

    def run(self) -> None:
        from bertmini.embed import Embedder, write_npy, write_parquet

        if sys.stdout.isatty():
            raise InputError(f"vectors are not for a terminal: send them to a file, > vectors.{self.format}")
        texts, model = self.texts(), self.model or shipped()
        embedder = Embedder.from_pretrained(model, batch_tokens=self.batch_tokens, precision=self.precision)
        width, rows = embedder.model.config.hidden_size, self.counted(embedder.stream(texts))
        if self.format == "npy":
            number = write_npy((vector for _, vector in rows), width, sys.stdout.buffer)
        else:
            number = write_parquet(rows, width, sys.stdout.buffer)
        print(f"{number} texts, {width} numbers each", file=sys.stderr)


@dataclass(kw_only=True)
class Search(OnTexts):
    """Find the lines of a file that are closest to each text by their vectors: a line of JSON, or a list."""

    model: Directory
    """A model that was trained for vectors, by bertmini finetune vectors, say."""
    corpus: Annotated[str, arg(metavar="FILE")]
    """Where to search, a text on each line; all of them are read and turned into vectors first."""
    top: Count = 5
    """Lines to find for each text."""

    def run(self) -> None:
        import numpy as np

        from bertmini.data.task_files import Example
        from bertmini.embed import Embedder, search

        questions = self.texts()
        lines = list(lines_of_files((self.corpus,)))
        numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
        if not numbers:
            raise InputError(f"--corpus {self.corpus}: no line holds a text")
        embedder = Embedder.from_pretrained(self.model, batch_tokens=self.batch_tokens)
        corpus = embedder([Example(lines[number - 1]) for number in numbers])

        def answers() -> Iterator[tuple[Any, list[dict[str, Any]]]]:
            asked = embedder.stream(questions)
            while some := list(islice(asked, 64)):  # the corpus is gone through once for all of them
                scores, places = search(np.stack([vector for _, vector in some]), corpus, self.top)
                for (question, _), *found in zip(some, scores.tolist(), places.tolist(), strict=True):
                    yield question, [
                        {"score": round(score, 6), "line": numbers[place], "text": lines[numbers[place] - 1]}
                        for score, place in zip(*found, strict=True)
                    ]

        for question, found in self.counted(answers()):
            if not sys.stdout.isatty():
                print(json.dumps({"text": question.text, "found": found}, ensure_ascii=False))
                continue
            print(question.text)
            for each in found:
                print(f"  {each['score']:6.3f}  line {each['line']}: {each['text']}")
            print()


@dataclass(kw_only=True)
class Export:
    """Write a model for other programs: ONNX Runtime, transformers, or the hub."""

    model: Directory
    """The model: a directory or a hub id."""
    to: Literal["onnx", "transformers", "hub"]
    """onnx: a graph that runs without PyTorch, in float32 and with int8 weights, checked against it.
    transformers: configuration, weights, tokenizer and a card. hub: the same, uploaded."""
    out: Annotated[str, arg(metavar="DIR|OWNER/NAME")]
    """The directory, made new; or the repository's name on the hub."""
    private: bool = False
    """Let nobody else see the repository."""
    update: bool = False
    """Add a version to a repository that is on the hub already."""

    def run(self) -> None:
        from bertmini import export

        if self.to == "hub":
            print(export.push_to_hub(self.model, self.out, private=self.private, update=self.update))
            return
        if self.private or self.update:
            option = "--private" if self.private else "--update"
            raise InputError(f"{option} is for --to hub; leave it out with --to {self.to}")
        refuse_existing(self.out)
        with new_directory(self.out) as directory:
            if self.to == "transformers":
                export.export_directory(self.model, directory, Path(self.out).resolve().name)
                files: dict[str, Any] = {"model.safetensors": {}}
            else:
                files = export.export_onnx(self.model, directory)["files"]
            sizes = {name: (directory / name).stat().st_size for name in files}
        for name, found in files.items():
            line = f"{self.out}/{name}: {sizes[name] / 1e6:.1f} MB"
            if found:
                line += f", outputs within {found['largest_difference']:.1e} of PyTorch's"
                line += f" (the largest is {found['largest_output']:.3g})"
            print(line)


@dataclass(kw_only=True)
class GazetteExport:
    """Write a task of the embedded corpus, or the corpus itself, as the files that people have."""

    task: Positional[Annotated[str, arg(metavar="TASK")]]
    """The task: topic, emotion, acceptability, similarity, paraphrase, inference, entities, questions,
    continuation or quillish; or corpus, its running text."""
    out: Directory
    """The directory; made new."""
    rows: MaybeCount = None
    """Examples in the train part. Without it: the task's own number."""
    seed: int = 0
    """Which Gazette: each seed writes another."""

    def run(self) -> None:
        from bertmini.gazette import Gazette

        refuse_existing(self.out)
        with new_directory(self.out) as directory:
            files = Gazette(self.seed).export(self.task, directory, self.rows)
        print(f"{self.out}: {', '.join(file.name for file in files)}")


@dataclass(kw_only=True)
class Cost:
    """Say what pretraining would cost: parameters, operations, memory and time."""

    preset: Literal["tiny", "mini", "small", "medium", "base", "large"] = "base"
    """The model's size, layers x width: 2x128, 4x256, 4x512, 8x512, 12x768, 24x1024."""
    vocab_size: Count = 30522
    """Pieces in the vocabulary."""
    tokens: Number = 1e9
    """Tokens to train on, repetitions included."""
    length: Count = 128
    """Tokens of a row."""
    batch_tokens: Count = 131072
    """Tokens of an update, all GPUs together."""
    micro_tokens: Count = 16384
    """Tokens that a GPU works on at once."""
    gpus: Count = 1
    """How many processors train together."""
    processor: Literal["here", "v100", "a100", "h100"] = "a100"
    """What they are: a GPU by its data sheet, or what this machine has, measured in a few seconds."""
    link: MaybeNumber = None
    """What one sends while it receives as much, in GB/s. Without it: the data sheet's; here 10, and 1 to
    another machine."""
    precision: Literal["bf16", "fp16", "float32"] = "bf16"
    """Number format of the matrix products."""
    checkpointing: bool = False
    """Compute the layers a second time rather than keep what they hold."""
    sharded: bool = False
    """Each keeps a part of the model (FSDP), rather than the whole."""

    def run(self) -> None:
        from bertmini.config import BertConfig
        from bertmini.cost import PROCESSORS, Plan, describe, measured

        settings = asdict(self)
        config = BertConfig.preset(settings.pop("preset"), vocab_size=settings.pop("vocab_size"))
        if self.processor == "here":
            processor = measured(config, self.micro_tokens, self.length, self.precision)
        elif self.precision == "float32":
            raise InputError(
                "--precision float32: the data sheets are of 16-bit products; use bf16, or --processor here"
            )
        else:
            processor = PROCESSORS[self.processor]
        if (link := settings.pop("link")) is not None:
            processor = replace(processor, link=link * 1e9, network=link * 1e9)
        print("\n".join(describe(Plan(config, **settings | {"processor": processor}))))


COMMANDS: dict[str, Any] = {
    "train-tokenizer": TrainTokenizer,
    "prepare": Prepare,
    "pretrain": Pretrain,
    "finetune classify": FinetuneClassify,
    "finetune regress": FinetuneRegress,
    "finetune tag": FinetuneTag,
    "finetune qa": FinetuneQa,
    "finetune seq2seq": FinetuneSeq2Seq,
    "finetune vectors": FinetuneVectors,
    "finetune choice": FinetuneChoice,
    "finetune glue": FinetuneGlue,
    "evaluate": Evaluate,
    "predict": Predict,
    "fill": Fill,
    "embed": Embed,
    "search": Search,
    "distill": Distill,
    "compress": Compress,
    "export": Export,
    "gazette export": GazetteExport,
    "cost": Cost,
}
COMMANDS |= {
    name.replace("finetune", "lr-find"): finder(command)
    for name, command in COMMANDS.items()
    if name.startswith("finetune ")
}


def lines_of_files(names: tuple[str, ...]) -> Iterator[str]:
    """The lines of files, one after the other; of standard input where none is named."""
    if not names:
        yield from lines_of(sys.stdin.buffer)
    for name in names:
        with open(name, "rb") as file:
            yield from lines_of(file, name)


def lines_of(stream: Iterable[bytes], name: str = "standard input") -> Iterator[str]:
    """Lines as text, UTF-8 or else Latin-1, with one warning that counts the latter.

    Raises:
        InputError: where a line is binary.
    """
    not_utf8 = 0
    for number, line in enumerate(stream, start=1):
        if b"\0" in line:
            raise InputError(f"{name}, line {number}: a zero byte; expected a text on each line")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            text, not_utf8 = line.decode("latin-1"), not_utf8 + 1
        yield text.rstrip("\r\n")
    if not_utf8:
        warnings.warn(f"not UTF-8, read as Latin-1: {not_utf8} lines of {name}", stacklevel=2)


def text_or_pair(line: str) -> Any:
    """A text; a pair with a tab between its halves; or an object with text and pair."""
    if line.startswith('{"'):
        try:
            return json.loads(line)
        except ValueError as error:
            raise InputError(
                f'{line[:60]!r} begins like JSON and is none ({error}); expected {{"text": …}}'
            ) from None
    halves = tuple(line.split("\t"))
    return halves if len(halves) == 2 else line


def refuse_existing(out: str) -> None:
    path = Path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{out}: exists already; name a new directory, or remove it first")


@contextlib.contextmanager
def run_directory(
    command: Pretrain | Finetune | Distill | Compress, options: Options, data: Iterable[Any], *parts: Any
) -> Iterator[Run]:
    """A new run directory, or the interrupted one. A new one goes when it fails before it has logged a step.

    Args:
        data: what is learned from; the interrupted run must have begun with the same.
        parts: what a new run saves at once.
    """
    from bertmini.training import Run

    digest = hashlib.sha256()
    for part in data:
        digest.update(repr(part).encode())
    if command.resume:
        run = Run.resume(command.out)
        if run.record()["settings"].get("data_sha256") != digest.hexdigest():
            raise InputError(
                f"{command.out}: its data are not what they were; put them back, or start a new run"
            )
    else:
        settings = {"command": type(command).__name__, **asdict(command), "data_sha256": digest.hexdigest()}
        run = Run.create(command.out, options, settings, *parts)
    with run.alone():
        try:
            yield run
        except Exception:
            if run.processes.is_main and not command.resume and not run.lines() and not run.saved():
                shutil.rmtree(run.directory, ignore_errors=True)
            raise


def refuse_prepared(data: tuple[str, ...]) -> None:
    from bertmini.data.prepare import is_prepared

    if prepared := [name for name in data if is_prepared(name)]:
        raise InputError(f"{prepared[0]} is prepared already; name the running text that it was made of")


def refuse_without_train(data: str, splits: dict[str, Any]) -> None:
    if "train" not in splits:
        raise InputError(f"{data}: it has {', '.join(splits)} and no train part to learn from")


def pretraining_options(training: PretrainingTraining, **defaults: Any) -> Options:
    """The training loop's share of the options; defaults are for those that are None."""
    from bertmini.training import Options

    names = {each.name for each in fields(Options)}
    settings = {name: value for name, value in asdict(training).items() if name in names}
    settings |= {name: value for name, value in defaults.items() if settings[name] is None}
    if training.steps is None and training.minutes is None:
        settings["steps"] = 1000
    if training.steps and training.minutes:
        raise InputError(f"--steps {training.steps} and --minutes {training.minutes:g}: give one of them")
    return Options(**settings)


def report(out: str, metrics: dict[str, Any]) -> None:
    """The result in a few lines."""
    if not is_main():
        return
    for part in ("train", "dev", "test"):
        numbers = {name: v for name, v in metrics.get(part, {}).items() if isinstance(v, float)}
        if numbers:
            print(f"{part:5}  " + "  ".join(f"{name} {value:.4g}" for name, value in numbers.items()))
    print(
        f"{out}: {metrics['seconds']:.0f} s of training, {metrics['tokens_per_second']:.0f} tokens a second"
    )


def parse(arguments: list[str]) -> Any:
    """The command that the arguments name, with its options.

    Raises:
        InputError: for what the command does not know or cannot read.
        SystemExit: after --help.
    """
    name = next((n for n in (" ".join(arguments[:2]), *arguments[:1]) if n in COMMANDS), None)
    if name is None:
        return parse_without_command(arguments)
    rest = arguments[len(name.split()) :]
    command = tyro_parse(name, rest)
    if getattr(command, "resume", False):
        command = resumed(name, rest, command)
    check_numbers(command)
    return command


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
        expected = "" if math.isfinite(value) and abs(value) < 2**63 else "a smaller number"
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


def parse_without_command(arguments: list[str]) -> None:
    if arguments and arguments[0] == "--version":
        from bertmini.version import __version__

        print(f"bertmini {__version__}")
        raise SystemExit(0)
    words = [word for word in arguments if not word.startswith("-")]
    known = [name for name in COMMANDS if not words or name.startswith(f"{words[0]} ")]
    if {"-h", "--help"} & set(arguments) and known:
        print("usage: bertmini COMMAND …\n")
        for name in known:
            print(f"  {name:18} {COMMANDS[name].__doc__.splitlines()[0]}")
        print("\nbertmini COMMAND --help tells a command's options.")
        raise SystemExit(0)
    wanted = f"{' '.join(words[:2])!r} is no command" if words else "no command was given"
    raise InputError(f"{wanted}; expected one of {', '.join(known or COMMANDS)} (bertmini --help)")


def tyro_parse(name: str, arguments: list[str], default: Any = None) -> Any:
    """A command from its arguments, tyro's boxed errors folded to one line."""
    told = io.StringIO()
    # A flag that a run began with would else be there only as its opposite, --no-….
    single_flags = () if default else (tyro.conf.FlagCreatePairsOff,)
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                COMMANDS[name], args=arguments, default=default, prog=f"bertmini {name}",
                config=(*single_flags, tyro.conf.OmitArgPrefixes),
            )  # fmt: skip
    except SystemExit as exit:
        if not exit.code:
            raise
        raise InputError(f"{fold(told.getvalue())} (bertmini {name} --help)") from None


def fold(box: str) -> str:
    """What a box of tyro's says, in one line: its title and its advice left out."""
    lines = [line.strip("│╭╰╮╯─ ") for line in box.strip().splitlines()][1:]
    sections = " ".join(line if line.strip("-") else "\n" for line in lines).split("\n")
    advice = ("For full", "Argument helptext", "Got errors")
    told = [
        section.strip() for section in sections if section.strip() and not section.strip().startswith(advice)
    ]
    return "; ".join(told).replace(" (required)", "").replace(".;", ";")


def resumed(name: str, arguments: list[str], command: Any) -> Any:
    """The command as its run began.

    Raises:
        InputError: where an option is given that was another then.
    """
    from bertmini.training import Run

    out, begun = command.out, copy.deepcopy(command)
    settings = Run(out).record()["settings"]
    if settings.get("command") != COMMANDS[name].__name__:
        raise InputError(
            f"{out}: was not begun with bertmini {name}; run.json names the command that began it"
        )
    fill_in(begun, settings)
    again = tyro_parse(name, arguments, default=begun)
    before, now = flat(asdict(begun)), flat(asdict(again))
    for option in before.keys() - {"resume", "out"}:
        if before[option] != now[option]:
            raise InputError(
                f"--{option.replace('_', '-')} {now[option]}: the run in {out} began with {before[option]}; "
                "leave the option out"
            )
    return again


def fill_in(command: Any, settings: dict[str, Any]) -> None:
    """Set a command's fields, and those of its groups, from what run.json holds."""
    for each in fields(command):
        value = settings.get(each.name, getattr(command, each.name))
        if isinstance(value, dict):
            fill_in(getattr(command, each.name), value)
        else:
            setattr(command, each.name, tuple(value) if isinstance(value, list) else value)


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Options by name, those of the groups among them."""
    groups = [value for value in settings.values() if isinstance(value, dict)]
    own = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    return own | {name: value for group in groups for name, value in group.items()}


def is_main() -> bool:
    """Whether this process speaks, where a launcher has started several."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Within it a scheduler's or a launcher's way to say stop is as good as Ctrl-C, the first time: what is
    said and written after that is not to be cut off when the launcher says it again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@stopped_by_sigterm()
def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code: 0, 1 when another process has died, 2 for bad input, 130 when
    interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = None
    if not sys.stdout.isatty() and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # files and pipes, on Windows too
    try:
        with warnings.catch_warnings(), told_on_stderr():
            command = parse(arguments)
            keep_freed_memory()
            command.run()
            sys.stdout.flush()
        return 0
    except SystemExit as exit:
        return int(exit.code or 0)
    except InputError as error:
        if is_main():  # all processes have found the same
            print(f"bertmini: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if is_main():
            print(f"bertmini: interrupted; {kept(command)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our lines has gone: head, say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, torch.OutOfMemoryError) as error:
        return out_of_memory(error, command)
    except RuntimeError as error:
        if "allocate memory" in str(error):  # as torch says it on a CPU
            return out_of_memory(error, command)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and is_lost_connection(error):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's comes soon, and would cut this off
            print(f"bertmini: error: another process of this run has died; {kept(command)}", file=sys.stderr)
            return 1
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"bertmini: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether a process waited for another one in vain, as gloo and NCCL say it."""
    said = ("closed by peer", "Connection reset", "Timed out", "gloo", "NCCL")
    return any(words in str(error) for words in said)


def out_of_memory(error: BaseException, command: Any) -> int:
    told = " ".join(str(error).split())[:200]
    options = {"batch_tokens": "--batch-tokens", "training": "--batch-size, and more --accumulation",
               "batch_size": "--batch-size"}  # fmt: skip
    advice = next((f"; take a smaller {options[name]}" for name in options if hasattr(command, name)), "")
    print(f"bertmini: error: the memory is full ({told}){advice}", file=sys.stderr)
    return 2


def kept(command: Any) -> str:
    """What an interrupted command leaves."""
    if isinstance(command, Prepare):
        return "give the same command again to go on"
    if isinstance(command, OnTexts) and not isinstance(command, Embed):
        return "the answers before it are written"
    if not hasattr(command, "resume") or not (Path(command.out) / "run.json").exists():
        return "nothing was written"
    from bertmini.training import Run

    last = next(reversed(Run(command.out).saved()), None)
    return (
        f"{last or command.out} {'is kept' if last else 'has no checkpoint yet'}: continue it with --resume"
    )


@contextlib.contextmanager
def told_on_stderr() -> Iterator[None]:
    """Warnings of this package, and measurements while training, each in one line."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module="bertmini")
    warnings.showwarning = lambda message, *_: print(f"bertmini: warning: {message}", file=sys.stderr)  # type: ignore[assignment]
    handler = Measurements()
    logger = logging.getLogger("bertmini")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class Measurements(logging.Handler):
    """Prints what the training loop logs about held-out data, and its warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        if isinstance(record.args, dict) and "dev" in record.args:
            numbers = "  ".join(f"{name} {value:.4g}" for name, value in record.args["dev"].items())
            tqdm.write(f"step {record.args['step']}  {numbers}", file=sys.stderr)
        elif record.levelno >= logging.WARNING:
            tqdm.write(f"bertmini: warning: {record.getMessage()}", file=sys.stderr)


if __name__ == "__main__":
    from bertmini.cli import main as command  # as a module of the package, whose warnings are shown

    sys.exit(command())
