"""Commands that train on running text: a new model, and one that learns from a larger one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import arg

from bertmini.commands.options import (
    Corpus,
    Directory,
    DistillTraining,
    MaybeCount,
    MaybeDirectory,
    Number,
    PretrainingTraining,
    TaskReading,
    TextReading,
    unset,
)
from bertmini.commands.runs import (
    Resumable,
    refuse_existing,
    refuse_without_train,
    report,
    run_directory,
)
from bertmini.errors import InputError

if TYPE_CHECKING:
    from bertmini.tasks.pretrain import Documents
    from bertmini.training import Options

RATE_OF_PRESET = {"tiny": 1e-3, "mini": 1e-3, "small": 5e-4, "medium": 5e-4, "base": 1e-4, "large": 1e-4}


@dataclass(kw_only=True)
class Pretrain(Resumable):
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
    """The tokenizer. Without it: that of --init, or a new one of the family's kind, trained on the corpus."""
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
        rate = 1e-4 if self.init else RATE_OF_PRESET[self.preset]
        options = pretraining_options(self.training, learning_rate=rate)
        objective = self.get_objective()
        documents, held_out = self.reading.read(self.data, self.training.held_out)
        tokenizer = self.get_tokenizer(documents)
        tokenizer.model_max_length = self.training.max_length or (256 if self.is_gazette else 128)
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
        from bertmini.tasks.pretrain import FAMILY_TOKENIZERS
        from bertmini.tokenizer import load_tokenizer

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
        kind = FAMILY_TOKENIZERS[self.family or "bert"]
        return kind.train((s for document in documents for s in document), size)

    def get_objective(self) -> str:
        from bertmini.config import BertConfig
        from bertmini.hub import locate
        from bertmini.tasks.pretrain import FAMILY_OBJECTIVES

        family: str = self.family or "bert"
        if self.init:
            family = BertConfig.load(locate(self.init) / "config.json").model_type
            if self.family not in (None, family):
                raise InputError(f"--family {self.family}: {self.init} is a {family}; leave --family out")
        objective = self.objective or FAMILY_OBJECTIVES[family]
        for option in ("masking", "mask_rate"):
            value = getattr(self, option)
            if objective in ("ltr", "rtl") and value != getattr(type(self), option):
                name = option.replace("_", "-")
                raise InputError(f"--{name} {value}: {objective} masks nothing; leave it out")
        return objective

    def get_model(self, tokenizer: Any, objective: str) -> Any:
        from bertmini.tasks import pretrain

        settings = (objective, tokenizer, self.training.seed, self.dropout)
        if self.init:
            return pretrain.load_model(self.init, *settings)
        return pretrain.new_model(self.preset, *settings, self.family or "bert")


@dataclass(kw_only=True)
class Distill(Resumable):
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
        splits = reading.read(" ".join(self.data), teacher.task)
        refuse_without_train(" ".join(self.data), splits)
        if "dev" in splits:
            options = replace(options, metric=teacher.task.METRIC)
        length = teacher.tokenizer.model_max_length

        def learn(student: Any, options: Options, **others: Any) -> dict[str, Any]:
            data = (teacher.task, splits, student, teacher.tokenizer, options)
            return finetune(*data, max_length=length, **others)[1]

        return options, splits.items(), learn


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
