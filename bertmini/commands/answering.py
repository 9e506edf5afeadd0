"""Commands that ask a trained model: how good it is, for answers, filled masks and vectors, for a search."""

from __future__ import annotations

import json
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from bertmini.commands.options import (
    Count,
    Directory,
    GlueTask,
    MaybeCount,
    MaybeDirectory,
    Precision,
    TaskReading,
    Texts,
    unset,
)
from bertmini.commands.runs import NOTHING_WRITTEN
from bertmini.errors import InputError
from bertmini.hub import shipped


@dataclass(kw_only=True)
class Evaluate:
    """Measure a fine-tuned model on labelled examples, or a pretrained one on running text; print JSON."""

    data: Annotated[str, arg(metavar="gazette[/NAME]|DIR|FILE|hf:NAME")]
    """What it is measured on; of a folder with parts, the one that --split names."""
    model: MaybeDirectory = None
    """The model. Without it: the pretrained one that bertmini ships."""
    split: Literal["train", "dev", "test"] = "test"
    """The part of a task, or of the Gazette; dev and test of a prepared corpus are what was held out."""
    glue: Annotated[GlueTask | None, unset("NAME")] = None
    """The task of GLUE whose files these are, and by whose metrics the model is measured."""
    batch_size: Count = 32
    """Examples in a batch."""
    reading: TaskReading = field(default_factory=TaskReading)

    def run(self) -> None:
        from bertmini.predict import Predictor

        predictor = Predictor.from_pretrained(self.model or shipped())
        part, metrics = self.on_text(predictor) if predictor.fills else self.on_examples(predictor)
        print(json.dumps({part: metrics}, indent=2))

    def on_text(self, predictor: Any) -> tuple[str, dict[str, Any]]:
        """The part that was measured, and how well the model does on it."""
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
        # Of a prepared corpus it is what was held out; other text is whatever the user calls it.
        return getattr(documents, "part", self.split), measure(predictor.model)

    def on_examples(self, predictor: Any) -> tuple[str, dict[str, Any]]:
        """As `on_text`."""
        from bertmini.tasks.glue import GLUE

        if self.glue and GLUE[self.glue].kind is not predictor.task:
            raise InputError(
                f"{self.model} is a model for the task {predictor.task.NAME}; --glue {self.glue} is measured "
                f"on one for {GLUE[self.glue].kind.NAME}"
            )
        task, model = GLUE[self.glue] if self.glue else predictor.task, predictor.model
        splits = self.reading.read(self.data, task)
        part: str = self.split
        if len(splits) == 1 and Path(self.data).is_file():
            ((name, examples),) = splits.items()
            part = name if name != "train" else part  # which a file is called whose name says nothing
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
            raise InputError(f"{self.data}, {part}: {error}") from None
        return part, task.evaluate(model, data)


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
            return (text_or_pair(text) for text in self.text)
        if missing := [name for name in self.input if not Path(name).exists() or Path(name).is_dir()]:
            raise InputError(f"--input {missing[0]}: no such file")
        if not self.input and (sys.stdin is None or sys.stdin.isatty()):
            raise InputError(
                "no text was given: add texts to the command, name files with --input, "
                "or send lines to its standard input"
            )
        return (text_or_pair(line, f"{where}: ") for where, line in lines_of_files(self.input))

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

    def interrupted(self) -> str:
        """What an interruption leaves."""
        return "the answers before it are written"


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
        if predictor.task.NAME in ("tag", "seq2seq"):  # which know no pairs: a tab is a space like others
            texts = ("\t".join(text) if isinstance(text, tuple) else text for text in texts)
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

    def interrupted(self) -> str:
        return NOTHING_WRITTEN if self.format == "npy" else super().interrupted()


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
        lines = [line for _, line in lines_of_files((self.corpus,))]
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


def lines_of_files(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The lines of files, one after the other, each after where it stands; of standard input where none is
    named."""
    if not names:
        yield from lines_of(sys.stdin.buffer)
    for name in names:
        with open(name, "rb") as file:
            yield from lines_of(file, name)


def lines_of(stream: Iterable[bytes], name: str = "standard input") -> Iterator[tuple[str, str]]:
    """Where each line stands, and its text, UTF-8 or else Windows-1252 or Latin-1, with a warning that
    counts the latter.

    Raises:
        InputError: where a line is binary.
    """
    from bertmini.data.text import MARKS, OTHERS, UNDEFINED, one_byte_encoding

    not_utf8: Counter[str] = Counter()
    for number, line in enumerate(stream, start=1):
        where = f"{name}, line {number}"
        if b"\0" in line:
            raise InputError(f"{where}: a zero byte; expected a text on each line")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            used = one_byte_encoding(bool(MARKS.search(line)), bool(UNDEFINED.search(line)))
            text = line.decode(used)
            not_utf8[OTHERS[used]] += 1
        yield where, text.rstrip("\r\n")
    for used, number in not_utf8.items():
        warnings.warn(f"not UTF-8, read as {used}: {number} lines of {name}", stacklevel=2)


def text_or_pair(line: str, where: str = "") -> Any:
    """A text; a pair with a tab between its halves; or an object with text and pair."""
    if re.match(r'\{\s*"', line):
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f'{where}{line[:60]!r} begins like JSON and is none ({error}); expected {{"text": …}}'
            ) from None
    halves = tuple(line.split("\t"))
    return halves if len(halves) == 2 else line
