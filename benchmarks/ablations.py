"""The papers' ablations in miniature: what each part of a recipe is worth, a table at a time, on the Gazette.

directions    BERT, without NSP, left to right, the same with a BiLSTM, and beside a right-to-left model
              (Devlin et al. 2018, table 5)
sizes         layers, width and heads (Devlin et al. 2018, table 6)
masks         static or dynamic masks, of few documents that are read many times (Liu et al. 2019, table 1)
inputs        what a row holds (Liu et al. 2019, table 2)
batches       large or small ones, at equal tokens (Liu et al. 2019, table 3)
embeddings    factorised or not, with shared layers and without (Lan et al. 2019, table 3)
sharing       which parts of the layers are one (Lan et al. 2019, table 4)
pairs         nothing, next sentence or order (Lan et al. 2019, table 5)
distillation  without each of the losses, and from random weights (Sanh et al. 2019, table 4)

A row is a pretraining of some hundred steps, measured on held-out text, and models fine-tuned from it for
the table's tasks; each of --seeds has its own pretraining. Steps are counted and not timed, in float32, so
that results do not depend on how fast a machine is. --plan says what is left to run, and how long it would
take here.

Each run is saved as soon as it is done, under a key made of all that it is: an interrupted measurement goes
on where it was, and what several rows or tables share runs once. The pretrained models stay in --cache.

    python benchmarks/ablations.py --cache DIR [--tables directions sizes] [--seeds 5] [--plan]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from machine import earlier, save

from bertmini import BertConfig
from bertmini.compress.distill import distillation_loss, student_from_teacher
from bertmini.cost import flops
from bertmini.data.batches import OBJECTIVES
from bertmini.files import new_directory, write_json
from bertmini.gazette import GAZETTE_VERSION, Gazette
from bertmini.hub import shipped
from bertmini.machine import keep_freed_memory
from bertmini.model.bert import Bert, BertForMaskedLM
from bertmini.model.one_way import read_by_lstm, read_side_by_side
from bertmini.tasks import TASKS, finetune, load_for_task, pretrain, task_options
from bertmini.tokenizer import load_tokenizer
from bertmini.training import Options
from bertmini.training.loop import count_tokens

LENGTH, SHORT_SHARE, DROPOUT, PRECISION = 256, 0.4, 0.0, "float32"
SPREAD = 0.02 * 768**0.5  # of the first weights, times the root of the width: BERT base has 0.02
HELD_OUT = 300  # documents
FULL = 0.75  # of the places in a batch's rows are tokens, on average: batches were chosen so
BATCH, LEARNING_RATE = 16, 1e-3  # of fine-tuning
COMMON = {"length": LENGTH, "short_share": SHORT_SHARE, "dropout": DROPOUT, "precision": PRECISION,
          "spread": SPREAD, "held_out": HELD_OUT, "gazette_version": GAZETTE_VERSION}  # fmt: skip
Measured = dict[str, Any]


class Recipe(Protocol):
    """How a pretrained model comes to be."""

    @property
    def config(self) -> BertConfig: ...
    def learn(self, seed: int, cache: Path) -> tuple[BertForMaskedLM, Measured]: ...
    def work(self) -> float: ...


@dataclass(frozen=True)
class Pretraining:
    """Options of `bertmini pretrain`, and of the configuration; a row says what it has other than these."""

    objective: str = "mlm+nsp"
    inputs: str | None = None
    static_masks: int | None = None
    documents: int = 10_000
    steps: int = 1000
    batch_size: int = 8
    learning_rate: float = 2e-3
    layers: int = 2
    width: int = 128
    heads: int = 2
    embedding_size: int | None = None
    groups: int | None = None
    shared_part: str | None = None

    @property
    def shape(self) -> Measured:
        """Fields of the configuration."""
        return {
            "initializer_range": SPREAD / self.width**0.5,
            "num_hidden_layers": self.layers,
            "hidden_size": self.width,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.width,
            "embedding_size": self.embedding_size,
            "num_hidden_groups": self.groups,
            "shared_part": self.shared_part,
        }

    @property
    def config(self) -> BertConfig:
        return BertConfig(vocab_size=len(tokenizer()), **self.shape)

    def new_model(self, seed: int) -> BertForMaskedLM:
        """As `bertmini pretrain` begins, with this shape in place of a preset's."""
        begun = pretrain.new_model("tiny", self.objective, tokenizer(), seed, DROPOUT)
        torch.manual_seed(seed)
        return type(begun)(begun.config.replace(**self.shape))

    def options(self, seed: int) -> Options:
        settings = {"steps": self.steps, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        return Options(**settings, seed=seed, precision=PRECISION)

    def data(self, seed: int) -> Any:
        masking = {"inputs": self.inputs, "static_masks": self.static_masks}
        settings = (tokenizer(), self.batch_size, LENGTH, self.objective, seed)
        return pretrain.training_data(corpus(self.documents), *settings, **masking)

    def learn(self, seed: int, cache: Path) -> tuple[BertForMaskedLM, Measured]:
        model = self.new_model(seed)
        how: Measured = {"evaluate": on_held_out_text(self.objective), "short_share": SHORT_SHARE}
        return model, pretrain.pretrain(model, self.options(seed), self.data(seed), **how)

    def work(self) -> float:
        """FLOPs, about."""
        tokens = FULL * self.steps * self.batch_size * LENGTH
        return 3 * tokens * sum(flops(self.config, LENGTH).values())


@dataclass(frozen=True)
class Distillation:
    """Options of `bertmini distill`: the teacher, the losses' weights (soft, hard, cosine), how it begins."""

    teacher: Pretraining
    weights: tuple[float, float, float] = (5.0, 2.0, 1.0)
    layers: tuple[int, ...] = (0, 2)
    from_teacher: bool = True
    steps: int = 500
    learning_rate: float = 1e-3

    @property
    def config(self) -> BertConfig:
        return self.teacher.config.replace(num_hidden_layers=len(self.layers))

    def learn(self, seed: int, cache: Path) -> tuple[BertForMaskedLM, Measured]:
        kind = pretrain.model_class(self.teacher.objective)
        teacher = kind.from_pretrained(made(self.teacher, seed, cache))
        student = student_from_teacher(teacher, self.layers)
        if not self.from_teacher:
            torch.manual_seed(seed)
            student = kind(student.config)
        how = replace(self.teacher, steps=self.steps, learning_rate=self.learning_rate)
        loss = distillation_loss(teacher, weights=self.weights)
        evaluate = on_held_out_text(self.teacher.objective)
        return student, pretrain.pretrain(student, how.options(seed), how.data(seed), evaluate, loss=loss)

    def work(self) -> float:
        """FLOPs, about; both models speak at all positions."""
        student, teacher = (
            sum(flops(each.config, LENGTH, masked=1.0).values()) for each in (self, self.teacher)
        )
        return FULL * self.steps * self.teacher.batch_size * LENGTH * (3 * student + teacher)


@dataclass(frozen=True)
class Row:
    """A row of a table: how a model was pretrained, and what its tasks' heads read.

    Args:
        beside: the pretraining of a second model, whose states stand beside those of the first.
        lstm: whether a BiLSTM stands between the model and the head.
    """

    name: str
    recipe: Recipe
    beside: Recipe | None = None
    lstm: bool = False

    def prepare(self, model: Any, seed: int, cache: Path) -> None:
        """Let the head of a task's model read what it is to read."""
        if self.beside:
            read_side_by_side(model, Bert.from_pretrained(made(self.beside, seed, cache)))
        if self.lstm:
            read_by_lstm(model)


@dataclass(frozen=True)
class Table:
    """Rows that are compared, and the tasks of the Gazette that they are compared by."""

    paper: str
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Setting:
    """A task: how much is learned from and measured on."""

    task: str
    measure: str
    rows: int
    epochs: int
    dev: int = 200
    test: int = 1000


SETTINGS = {
    "entities": Setting("tag", "f1", 2000, 2),
    "inference": Setting("classify", "accuracy", 3500, 2),
    "questions": Setting("qa", "f1", 1000, 2, 100, 500),
}

BERT = Pretraining()
WITHOUT_NSP = replace(BERT, objective="mlm", inputs="segment-pairs")
LEFT_TO_RIGHT = replace(BERT, objective="ltr", inputs="segment-pairs")
RIGHT_TO_LEFT = replace(BERT, objective="rtl", inputs="segment-pairs")
DEEPER = replace(BERT, layers=4)
FEW_DOCUMENTS = replace(BERT, documents=500)  # which are read many times
ROBERTA = replace(BERT, objective="mlm", inputs="full-sentences", steps=850)  # its rows are fuller
ALBERT = replace(BERT, objective="mlm+sop", layers=3, embedding_size=32, groups=1)

TABLES = {
    "directions": Table(
        "Devlin et al. 2018, table 5",
        ("inference", "entities", "questions"),
        (
            Row("BERT", BERT),
            Row("without NSP", WITHOUT_NSP),
            Row("left to right, without NSP", LEFT_TO_RIGHT),
            Row("left to right, without NSP, + BiLSTM", LEFT_TO_RIGHT, lstm=True),
            Row("left to right beside right to left", LEFT_TO_RIGHT, beside=RIGHT_TO_LEFT),
        ),
    ),
    "sizes": Table(
        "Devlin et al. 2018, table 6",
        ("inference", "entities"),
        tuple(
            Row(f"layers {layers}, width {width}, heads {heads}",
                replace(BERT, layers=layers, width=width, heads=heads))
            for layers, width, heads in (
                (1, 128, 2), (2, 64, 2), (2, 128, 1), (2, 128, 2), (4, 128, 2), (2, 192, 3)
            )
        ),
    ),
    "masks": Table(
        "Liu et al. 2019, table 1",
        ("inference", "questions"),
        (
            Row("static", replace(FEW_DOCUMENTS, static_masks=1)),
            Row("static, drawn four times", replace(FEW_DOCUMENTS, static_masks=4)),
            Row("dynamic", FEW_DOCUMENTS),
        ),
    ),
    "inputs": Table(
        "Liu et al. 2019, table 2",
        ("inference", "questions"),
        (
            Row("segment pairs, NSP", BERT),
            # As many tokens, whose rows are shorter, in as many steps.
            Row("sentence pairs, NSP", replace(BERT, inputs="sentence-pairs", batch_size=12)),
            Row("full sentences", ROBERTA),
            Row("sentences of one document",
                replace(BERT, objective="mlm", inputs="doc-sentences", batch_size=10)),
        ),
    ),
    "batches": Table(
        "Liu et al. 2019, table 3",
        ("inference", "entities"),
        tuple(
            Row(f"{size} rows, {steps} steps",
                replace(ROBERTA, batch_size=size, steps=steps, learning_rate=rate))
            for size, steps, rate in ((4, 1700, 1.4e-3), (8, 850, 2e-3), (34, 200, 4e-3))
        ),
    ),
    "embeddings": Table(
        "Lan et al. 2019, table 3",
        ("inference", "entities"),
        tuple(
            Row(f"{'shared' if groups else 'different'} layers, embeddings of {size or ALBERT.width}",
                replace(ALBERT, groups=groups, embedding_size=size))
            for groups in (None, 1) for size in (8, 32, None)
        ),
    ),
    "sharing": Table(
        "Lan et al. 2019, table 4",
        ("inference", "entities"),
        (
            Row("all", ALBERT),
            Row("attention", replace(ALBERT, groups=None, shared_part="attention")),
            Row("the feed-forward network", replace(ALBERT, groups=None, shared_part="feed-forward")),
            Row("nothing", replace(ALBERT, groups=None)),
        ),
    ),
    "pairs": Table(
        "Lan et al. 2019, table 5",
        ("inference", "questions"),
        (
            Row("nothing", replace(ALBERT, objective="mlm", inputs="segment-pairs")),
            Row("next sentence", replace(ALBERT, objective="mlm+nsp")),
            Row("order", ALBERT),
        ),
    ),
    "distillation": Table(
        "Sanh et al. 2019, table 4",
        ("inference", "entities"),
        (
            Row("the teacher", DEEPER),
            Row("all losses", Distillation(DEEPER)),
            Row("without the soft answers", Distillation(DEEPER, (0.0, 2.0, 1.0))),
            Row("without the hidden states", Distillation(DEEPER, (5.0, 2.0, 0.0))),
            Row("without the true answers", Distillation(DEEPER, (5.0, 0.0, 1.0))),
            Row("from random weights", Distillation(DEEPER, from_teacher=False)),
        ),
    ),
}  # fmt: skip


@lru_cache
def tokenizer() -> Any:
    """The shipped model's, for rows of our length."""
    found = load_tokenizer(shipped())
    found.model_max_length = LENGTH
    return found


@lru_cache
def corpus(documents: int, split: str = "train") -> list[Any]:
    return [document.sentences for document in Gazette().documents(documents, split)]


@lru_cache
def examples(name: str) -> dict[str, list[Any]]:
    """A task's examples by part."""
    setting = SETTINGS[name]
    sizes = {"train": setting.rows, "dev": setting.dev, "test": setting.test}
    return {part: Gazette().task(name, part, number) for part, number in sizes.items()}


@lru_cache
def on_held_out_text(objective: str) -> Callable[[Any], dict[str, float]]:
    """What measures as `bertmini pretrain` does, always on the same masks; a model that speaks about pairs is
    asked both kinds of question."""
    documents, asked = corpus(HELD_OUT, "dev"), bool(OBJECTIVES[objective].pair_label)
    others = {"mlm+nsp", "mlm+sop"} - {objective} if asked else set()
    settings = (tokenizer(), 32, LENGTH)
    own = pretrain.held_out_metrics(documents, *settings, objective, gazette=True)
    further = [pretrain.held_out_metrics(documents, *settings, other) for other in others]

    def measure(model: Any) -> dict[str, float]:
        answers = {name: value for each in further for name, value in each(model).items()}
        return answers | own(model)  # of pieces behind masks, what stands in its own rows

    return measure


@dataclass(frozen=True)
class Pretrained:
    """The run that pretrains by a recipe."""

    recipe: Recipe
    seed: int

    @property
    def options(self) -> Measured:
        """All that the result depends on."""
        return told(self.recipe) | {"seed": self.seed} | COMMON

    def run(self, cache: Path) -> Measured:
        return json.loads((made(self.recipe, self.seed, cache) / "metrics.json").read_text("utf-8"))

    def work(self) -> float:
        """FLOPs, about."""
        return self.recipe.work()


@dataclass(frozen=True)
class Finetuned:
    """The run that fine-tunes the model of a row for a task of the Gazette."""

    row: Row
    name: str
    seed: int

    @property
    def options(self) -> Measured:
        """All that the result depends on."""
        how = {"task": asdict(SETTINGS[self.name]), "batch_size": BATCH, "learning_rate": LEARNING_RATE}
        beside = self.row.beside and told(self.row.beside)
        above = {"name": self.name, "beside": beside, "lstm": self.row.lstm}
        return how | above | {"pretraining": Pretrained(self.row.recipe, self.seed).options}

    def run(self, cache: Path) -> Measured:
        started, setting, splits = time.perf_counter(), SETTINGS[self.name], examples(self.name)
        task, directory = TASKS[setting.task], made(self.row.recipe, self.seed, cache)
        model = load_for_task(task, splits["train"], directory, seed=self.seed)
        self.row.prepare(model, self.seed, cache)
        how: Measured = {"learning_rate": LEARNING_RATE, "batch_size": BATCH, "seed": self.seed}
        if rows := getattr(task, "rows", None):
            how["rows"] = rows(splits["train"], tokenizer(), LENGTH)
        options = task_options(task, splits, setting.epochs, precision=PRECISION, **how)
        _, metrics = finetune(task, splits, model, tokenizer(), options, max_length=LENGTH, progress=False)
        return {
            setting.measure: metrics["test"][setting.measure],
            "dev": metrics["dev"][setting.measure],
            "training_seconds": metrics["seconds"],
            "seconds": time.perf_counter() - started,
        }

    def work(self) -> float:
        """FLOPs, about."""
        setting, below = SETTINGS[self.name], filter(None, (self.row.recipe, self.row.beside))
        token = sum(sum(flops(each.config, LENGTH, masked=0.0).values()) for each in below)
        read = setting.epochs * (3 * setting.rows + setting.dev) + setting.dev + setting.test
        return read * tokens_of_example(self.name) * token


Run = Pretrained | Finetuned


def told(recipe: Any) -> Measured:
    """A recipe's options."""
    return {"by": type(recipe).__name__.lower(), **asdict(recipe)}


def key(run: Run) -> str:
    """A name for a run, and for no other one."""
    return hashlib.sha256(json.dumps(run.options, sort_keys=True).encode()).hexdigest()[:12]


def made(recipe: Recipe, seed: int, cache: Path) -> Path:
    """The directory of a pretrained model, which is made where it is not there."""
    directory = cache / key(Pretrained(recipe, seed))
    if not directory.exists():
        started = time.perf_counter()
        model, metrics = recipe.learn(seed, cache)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        tokens = round(metrics["tokens_per_second"] * metrics["seconds"])
        kept = {"parameters": parameters, "steps": metrics["steps"], "tokens": tokens, "dev": metrics["dev"]}
        kept |= {"training_seconds": metrics["seconds"], "seconds": time.perf_counter() - started}
        with new_directory(directory) as scratch:
            model.save_pretrained(scratch)
            tokenizer().save_pretrained(scratch)
            write_json(scratch / "metrics.json", kept)
    return directory


def runs_of(row: Row, tasks: Iterable[str], seed: int) -> dict[str, Run]:
    """A row's runs, its pretraining and a fine-tuning for each task."""
    pretrained = {"pretraining": row.recipe} | ({"pretraining beside": row.beside} if row.beside else {})
    runs: dict[str, Run] = {name: Pretrained(recipe, seed) for name, recipe in pretrained.items()}
    return runs | {name: Finetuned(row, name, seed) for name in tasks}


def planned(tables: Iterable[str], seeds: int) -> Iterator[tuple[str, Run]]:
    """All runs of some tables with where they stand, seed by seed: after each there is something to see."""
    for seed in range(seeds):
        for title in tables:
            for row in TABLES[title].rows:
                for name, run in runs_of(row, TABLES[title].tasks, seed).items():
                    yield f"{title}, {row.name}, {name}, seed {seed}", run


def result_of(runs: Measured) -> Measured:
    """What is saved: the runs that belong to a table by their keys, and each row's keys by seed."""
    seeds = range(1 + max(run["seed"] for run in runs.values()))
    tables: dict[str, Measured] = {}
    for title, table in TABLES.items():
        measures = {name: SETTINGS[name].measure for name in table.tasks}
        tables[title] = {"paper": table.paper, "measures": measures, "rows": []}
        for row in table.rows:
            by_seed = [{name: key(run) for name, run in runs_of(row, table.tasks, s).items()} for s in seeds]
            found = {name: [keys[name] for keys in by_seed if keys[name] in runs] for name in by_seed[0]}
            tables[title]["rows"].append({"name": row.name, "options": told(row.recipe), "runs": found})
    used = {
        each
        for table in tables.values()
        for row in table["rows"]
        for keys in row["runs"].values()
        for each in keys
    }
    return {"common": COMMON, "tables": tables, "runs": {each: runs[each] for each in runs if each in used}}


@lru_cache
def tokens_of_example(name: str) -> float:
    """How many tokens an example of a task has, on average."""
    task, some = TASKS[SETTINGS[name].task], examples(name)["train"][:64]
    config = BERT.config.replace(id2label=task.head(some)["id2label"])
    data: Any = task.data(some, tokenizer(), config, 1000, LENGTH)
    return count_tokens(data.batch(0)) / len(some)


def speed(steps: int = 30) -> float:
    """FLOPs a second in BERT's updates, from timing some here."""
    few = replace(BERT, documents=200, steps=steps)
    metrics = pretrain.pretrain(few.new_model(0), few.options(0), few.data(0), short_share=SHORT_SHARE)
    return metrics["tokens_per_second"] * 3 * sum(flops(few.config, LENGTH).values())


def show_plan(tables: list[str], seeds: int, runs: Measured) -> None:
    """What is left to run, by table, and how long it would take here."""
    known, rate = set(runs), speed()
    left: dict[str, list[float]] = {title: [] for title in tables}
    for where, run in planned(tables, seeds):
        if key(run) not in known:
            known.add(key(run))
            left[where.split(",")[0]].append(run.work() / rate)
    left["together"] = [seconds for of_table in left.values() for seconds in of_table]
    for title, seconds in left.items():
        longest = f", the longest {max(seconds):.0f} s" if seconds else ""
        print(f"{title:13} {len(seconds):4} runs, {sum(seconds) / 3600:.2f} hours{longest}")


def main(arguments: list[str] | None = None) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--cache", type=Path, required=True, help="directory for the pretrained models")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plan", action="store_true", help="say what is left to run, and run nothing")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    runs: Measured = earlier("ablations").get("runs", {})
    if options.plan:
        show_plan(options.tables, options.seeds, runs)
        return
    for where, run in planned(options.tables, options.seeds):
        if key(run) not in runs:
            runs[key(run)] = {"seed": run.seed, **run.run(options.cache)}
            print(where, runs[key(run)], flush=True)
            save("ablations", result_of(runs))


if __name__ == "__main__":
    main()
