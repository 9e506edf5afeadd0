"""Questions with several answers to choose from, from the files people have, the Gazette and the hub."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertmini.data import hub
from bertmini.data.batches import Batch, ByLength, pad_inputs
from bertmini.data.task_files import SPLITS, files_of_parts, of_gazette, read_table
from bertmini.data.text import read_files
from bertmini.errors import InputError

FORMATS = (".csv", ".tsv", ".jsonl")
NO_LABEL = (None, "", -1, "-1")  # what stands in a test part whose answers are kept secret


@dataclass(frozen=True)
class Choice:
    """A text, the ways in which it may go on, and the number of the right one from 0, or None."""

    text: str
    options: tuple[str, ...]
    label: int | None = None


class Unanswerable(InputError):
    """A row whose right answer is not among its options; it can be left out."""


Row = tuple[str, dict[str, Any]]  # where it stands ("file:line"), and its values by column


def read_choices(
    data: str | Path, encoding: str | None = None, strict: bool = False
) -> dict[str, list[Choice]]:
    """Read questions with options, by split: train, dev and test, as far as they are there.

    Args:
        data: a folder with train, dev (val, validation) and test, or one such file, in a form of `FORMATS`:
            CSV or TSV with SWAG's columns (sent1, sent2, ending0, ending1, …, label), or without a header, as
            ARC's (question, options, letter); JSON lines {"text", "options", "label"}, the label from 0.
            Or gazette/NAME; or hf:NAME (hf:NAME:CONFIGURATION). An empty cell is an option less.
        encoding: as in `read_files`.
        strict: refuse what is otherwise left out with a warning that counts it, rows without two options or
            without the right one, and files that are not UTF-8.

    Raises:
        InputError: with file and line, for a row that is none of these.
    """
    name = str(data)
    if name.startswith("gazette/"):
        return of_gazette(name, Choice)
    splits: dict[str, list[Choice]] = {}
    is_hub = name.startswith("hf:")
    for split, rows in _hub_rows(name) if is_hub else _file_rows(Path(data), encoding, strict):
        where, first = rows[0]
        form = form_of(where, first)
        if split == "test" and splits and first.get(form.label) in NO_LABEL:
            warnings.warn(f"{where}: no right answers; the test part is left out", stacklevel=2)
            continue
        splits[split] = _choices(rows, form, strict)
    return splits


@dataclass(frozen=True)
class Form:
    """How a file writes a question.

    Args:
        text: the column before all options.
        options: the columns of the options; one column where it holds them all, as a list.
        label: the column that says which one is right.
        begin: the column of the words with which each option begins, where there is one.
        base: the number of the first option where the label is a number.
    """

    text: str
    options: tuple[str, ...]
    label: str
    begin: str | None = None
    base: int = 0


def form_of(where: str, row: Mapping[str, Any]) -> Form:
    """The form of a file, by its first row."""
    endings = tuple(
        sorted((name for name in row if re.fullmatch(r"ending\d+", name)), key=lambda n: int(n[6:]))
    )
    if endings and {"sent1", "sent2"} <= row.keys():
        return Form("sent1", endings, "label", begin="sent2")
    if endings and "startphrase" in row:
        return Form("startphrase", endings, "label")
    if {"text", "options"} <= row.keys():
        return Form("text", ("options",), "label")
    if {"question", "choices"} <= row.keys():  # ARC on the hub
        return Form("question", ("choices",), "answerKey", base=1)
    columns = list(row)
    if all(name.isdecimal() for name in columns) and len(columns) >= 4:
        return Form(columns[0], tuple(columns[1:-1]), columns[-1], base=1)
    raise InputError(
        f"{where}: columns are {', '.join(columns)}; expected those of SWAG (sent1, sent2, ending0, ending1, "
        "…, label); text, options, label; or no header, a question, its options and a letter"
    )


def _choices(rows: Sequence[Row], form: Form, strict: bool) -> list[Choice]:
    """The questions of a part; those that cannot be answered are counted and left out."""
    choices, left_out = [], []
    for where, row in rows:
        try:
            choices.append(_choice(where, row, form))
        except Unanswerable as problem:
            if strict:
                raise
            left_out.append(problem)
    if not choices:
        raise left_out[0]
    if left_out:
        count = f"{len(left_out)} of {len(rows)} questions"
        warnings.warn(f"{count} cannot be answered and are left out; the first: {left_out[0]}", stacklevel=3)
    return choices


def _choice(where: str, row: Mapping[str, Any], form: Form) -> Choice:
    needed = [form.text, form.label, *form.options, *([form.begin] if form.begin else [])]
    if missing := [name for name in needed if name not in row]:
        raise InputError(f"{where}: no {', '.join(missing)}; found {', '.join(row)}")
    if not isinstance(text := row[form.text], str) or not text.strip():
        raise InputError(f"{where}: {form.text} is {text!r:.60}; expected a text")
    all_options = [row[name] for name in form.options]
    if len(form.options) == 1 and isinstance(all_options[0], list):
        (all_options,) = all_options
    if wrong := [option for option in all_options if not isinstance(option, str)]:
        raise InputError(f"{where}: an option is {wrong[0]!r:.60}; expected a list of texts")
    there = [number for number, option in enumerate(all_options) if option.strip()]
    if len(there) < 2:
        raise Unanswerable(f"{where}: {len(there)} options; expected two or more")
    right = _number(where, row[form.label], form)
    if right not in there:
        raise Unanswerable(f"{where}: {row[form.label]!r} is right, and there is no such option")
    begin = f"{row[form.begin].strip()} ".lstrip() if form.begin else ""
    return Choice(text.strip(), tuple(begin + all_options[i].strip() for i in there), there.index(right))


def _number(where: str, label: Any, form: Form) -> int:
    """The number of the right option among all columns, from 0: of a letter, or of a number."""
    label = str(label).strip()
    if re.fullmatch("[A-Z]", label):
        return ord(label) - ord("A")
    if label.isascii() and label.isdecimal():
        return int(label) - form.base
    raise InputError(
        f"{where}: the right option is {label!r}; expected its letter, or its number from {form.base}"
    )


def _file_rows(path: Path, encoding: str | None, strict: bool) -> Iterator[tuple[str, list[Row]]]:
    paths = files_of_parts(path, FORMATS)
    texts = read_files(paths.values(), encoding=encoding, strict=strict)
    for split, (file, text) in zip(paths, texts, strict=True):
        if file.suffix not in FORMATS:
            raise InputError(f"{file}: unknown kind of file; expected {', '.join(FORMATS)}")
        yield split, list(_json_rows(file, text) if file.suffix == ".jsonl" else _cell_rows(file, text))


def _json_rows(file: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{file}:{number}: not JSON ({error}); expected one object a line") from None
        if not isinstance(row, dict):
            raise InputError(f"{file}:{number}: {line[:60]!r}; expected an object a line")
        yield f"{file}:{number}", row


def _cell_rows(file: Path, text: str) -> Iterator[Row]:
    """The rows of a table; without a header, as ARC's, columns are numbered."""
    first_line = text.split("\n", 1)[0]
    has_header = "ending0" in first_line or not re.search(r'[,\t]"?([A-Z]|\d+)"?\s*$', first_line)
    yield from read_table(file, text, has_header)


def _hub_rows(name: str) -> Iterator[tuple[str, list[Row]]]:
    loaded = hub.load(name)
    found = False
    for split, names in SPLITS.items():
        for part in [loaded[each] for each in names if each in loaded][:1]:
            found = True
            rows = [(f"{name} {split}:{i}", _from_hub(row)) for i, row in enumerate(part, start=1)]
            if not rows:
                raise InputError(f"{name}: its part {split} has no row; expected examples")
            yield split, rows
    if not found:
        raise InputError(f"{name} has {', '.join(loaded)}; expected train, validation or test")


def _from_hub(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the hub as a file has it: the options of ARC lie there beside their letters."""
    if not isinstance(choices := row.get("choices"), Mapping):
        return dict(row)
    letters, right = list(choices["label"]), row.get("answerKey")
    number = letters.index(right) + 1 if right in letters else right
    return {**row, "choices": list(choices["text"]), "answerKey": number}


class ChoiceData(ByLength):
    """Batches of questions, a row for each option: input_ids, token_type_ids, attention_mask, int64
    [rows, length], the options of a question one after the other; option_counts and labels, int64 [batch].

    A batch holds `batch_size` questions. They come with others whose longest option is about as long.

    Args:
        max_length: tokens of a row, text and option and the special ones; longer ones are truncated.
        seed: every batch is a function of (seed, step).

    Raises:
        InputError: there is no question, or one has no right answer.
    """

    def __init__(
        self, choices: Sequence[Choice], tokenizer: Any, batch_size: int, max_length: int, seed: int
    ) -> None:
        if not choices:
            raise InputError("there is no question in the data; expected one or more")
        for number, choice in enumerate(choices, start=1):
            if choice.label is None or not 0 <= choice.label < len(choice.options):
                last = len(choice.options) - 1
                raise InputError(f"question {number}: its label is {choice.label}; expected 0 to {last}")
        texts = [choice.text for choice in choices for _ in choice.options]
        options = [option for choice in choices for option in choice.options]
        encoded = tokenizer(texts, options, truncation=True, max_length=max_length)
        self.input_ids, self.token_type_ids = encoded["input_ids"], encoded["token_type_ids"]
        self.pad_token_id = tokenizer.pad_token_id
        self.labels = torch.tensor([choice.label for choice in choices])
        self.counts = np.array([len(choice.options) for choice in choices])
        self.starts = self.counts.cumsum() - self.counts  # the first row of each question
        lengths = np.array([len(row) for row in self.input_ids])
        super().__init__(np.maximum.reduceat(lengths, self.starts).tolist(), batch_size, seed)

    def make(self, rows: np.ndarray) -> Batch:
        chosen = [self.starts[row] + option for row in rows for option in range(self.counts[row])]
        ids, types = ([of[row] for row in chosen] for of in (self.input_ids, self.token_type_ids))
        batch = pad_inputs(ids, types, self.pad_token_id)
        return batch | {
            "option_counts": torch.from_numpy(self.counts[rows]),
            "labels": self.labels[torch.from_numpy(rows)],
        }
