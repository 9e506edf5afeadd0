"""Labelled examples from the files people have, from the Gazette and from the hub."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bertmini.data import hub
from bertmini.data.text import read_files
from bertmini.errors import InputError


@dataclass(frozen=True)
class Example:
    """A text or a pair of texts, and its label: a class (str), a score (float), or None where unknown."""

    text: str
    pair: str | None = None
    label: str | float | int | None = None


Kind = TypeVar("Kind")
Row = tuple[str, dict[str, Any]]  # where it stands ("file:line"), and its values by column, as `plain`

FORMATS = (".tsv", ".csv", ".jsonl", ".txt")
SPLITS = {
    "train": ("train",),
    "dev": ("dev", "val", "valid", "validation", "dev_matched", "validation_matched"),
    "test": ("test",),
}
# What columns are called, in GLUE and elsewhere; the first that a file has are taken.
TEXT_COLUMNS = [
    ("sentence1", "sentence2"), ("question1", "question2"), ("premise", "hypothesis"),
    ("question", "sentence"), ("#1 String", "#2 String"), ("text_a", "text_b"), ("text", "pair"),
    ("sentence",), ("text",), ("text_a",),
]  # fmt: skip
LABEL_COLUMNS = [("gold_label",), ("label",), ("score",), ("is_duplicate",), ("Quality",)]
_TREC = re.compile(r"([A-Z]+):(\w+) (.+)")
_NUMBER = re.compile(r"-?\d+")


def read_task(
    data: str | Path,
    task: str = "classify",
    text_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    encoding: str | None = None,
    strict: bool = False,
    parts: Mapping[str, Sequence[str]] = SPLITS,
    skip_ragged: bool = False,
) -> dict[str, list[Example]]:
    """Read the examples of a task, by split: train, dev and test, as far as they are there.

    Args:
        data: a folder with train, dev (val, validation) and test as .tsv, .csv, .jsonl or .txt (`text;label`,
            or TREC's `COARSE:fine text`); one such file; gazette/NAME; or hf:NAME (hf:NAME:CONFIGURATION).
        task: "classify", labels are str; "regress", labels are float; "texts", labels do not count.
        text_columns, label_column: one or two, and one. Numbers (from 1) where a file has no header.
        encoding, strict: as in `read_files`.
        parts: the names that a part has as a file or on the hub.
        skip_ragged: leave out rows of another width, with a warning that counts them.

    Returns:
        The examples of each part. Rows of the hub that have no label are left out, and a warning counts them.

    Raises:
        InputError: with file and line, where a column is missing, a row has another width, a score is no
            number, or dev or test has a label that training never saw.
    """
    if text_columns and len(text_columns) > 2:
        raise InputError(f"--text-columns names {len(text_columns)} columns; expected one or two")
    name = str(data)
    if name.startswith("gazette/"):
        found = of_gazette(name, Example)
        if task == "regress":
            return {
                split: [replace(each, label=_score(name, each.label)) for each in examples]
                for split, examples in found.items()
            }
        return found
    if name.startswith("hf:"):
        tables = _hub_tables(name, parts)
    else:
        paths = files_of_parts(Path(data), parts=parts)
        texts = read_files(paths.values(), encoding=encoding, strict=strict)
        has_header = not (text_columns and all(column.isdecimal() for column in text_columns))
        tables = {
            split: list(read_table(path, text, has_header, skip_ragged))
            for split, (path, text) in zip(paths, texts, strict=True)
        }

    text_choices = [tuple(text_columns)] if text_columns else TEXT_COLUMNS
    label_choices = [(label_column,)] if label_column else LABEL_COLUMNS
    splits: dict[str, list[Example]] = {}
    for split, rows in tables.items():
        where, _ = rows[0]
        known = dict.fromkeys(column for _, row in rows for column in row)  # a row may lack what others have
        is_labelled = any(set(names) <= known.keys() for names in label_choices)
        if split == "test" and not is_labelled and len(tables) > 1:
            warnings.warn(f"{where}: no column of labels; the test part is left out", stacklevel=2)
            continue
        columns = _choose(where, known, text_choices, "--text-columns")
        (label_column,) = _choose(where, known, label_choices, "--label-column")
        if name.startswith("hf:") and (bare := [where for where, row in rows if label_column not in row]):
            # On the hub what annotators did not agree about stays in its set (SNLI's class -1).
            count = f"{len(bare)} such row{'s' * (len(bare) > 1)}"
            warnings.warn(f"{bare[0]}: no {label_column}; {count} left out", stacklevel=2)
            rows = [(where, row) for where, row in rows if label_column in row]
        splits[split] = [_example(where, row, columns, label_column, task) for where, row in rows]
        if task == "classify" and "train" in splits:
            seen = {example.label for example in splits["train"]}
            for (where, _), example in zip(rows, splits[split], strict=True):
                if example.label not in seen:
                    raise InputError(f"{where}: {example.label!r} is a label that training never saw")
    return splits


def of_gazette(name: str, kind: type[Kind]) -> dict[str, list[Kind]]:
    """A task of the Gazette by split.

    Raises:
        InputError: there is no such task, or its examples are of another kind.
    """
    from bertmini.gazette import Gazette

    gazette = Gazette()
    splits = {split: list(gazette.task(name.removeprefix("gazette/"), split)) for split in SPLITS}
    if not isinstance(first := splits["train"][0], kind):
        raise InputError(
            f"{name} is for another command: its examples are of the kind {type(first).__name__}; expected "
            f"{kind.__name__}"
        )
    return splits


def label_names(examples: Sequence[Example]) -> list[str]:
    """List the classes in a fixed order: numbers by value, then words by the alphabet."""
    names = {str(example.label) for example in examples}
    return sorted(names, key=lambda name: (0, int(name), name) if _NUMBER.fullmatch(name) else (1, 0, name))


def files_of_parts(
    path: Path, formats: Sequence[str] = FORMATS, parts: Mapping[str, Sequence[str]] = SPLITS
) -> dict[str, Path]:
    """The file of each split, train first; a single file is train unless its name says otherwise.

    Where a split has several, the first of these formats (endings) is taken, with a warning.

    Raises:
        InputError: there is no file of these formats.
    """
    if path.is_file():
        return {next((split for split, names in parts.items() if path.stem in names), "train"): path}
    found: dict[str, Path] = {}
    for split, names in parts.items():
        files = [path / (name + suffix) for name in names for suffix in formats]
        if there := [file for file in files if file.exists()]:
            found[split] = there[0]
        if len(there) > 1:
            told = " and ".join(file.name for file in there)
            warnings.warn(f"{path} holds {told}; {there[0].name} is read", stacklevel=2)
    if not found:
        problem = "holds no such file" if path.exists() else "does not exist"
        *names, last = parts
        wanted = f"{', '.join(names)} and {last} as {', '.join(formats)}"
        raise InputError(f"{path} {problem}; expected {wanted}")
    return found


def read_table(path: Path, text: str, has_header: bool, skip_ragged: bool = False) -> Iterator[Row]:
    """The rows of a file, each with where it stands; without a header, columns are numbered from 1.

    Args:
        path: says by its ending how the file is written.
        text: what it holds.
        has_header: whether the first row of a TSV or CSV file names the columns.
        skip_ragged: leave out rows of another width, with a warning that counts them.

    Raises:
        InputError: with file and line, for a row that is none, or has another number of columns.
    """
    lines = [(f"{path}:{i}", line) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if path.suffix == ".txt":
        yield from _text_table(lines)
    elif path.suffix == ".jsonl":
        for where, line in lines:
            try:
                values = json.loads(line).items()
            except (ValueError, AttributeError):
                raise InputError(f"{where}: not a JSON object; expected one a line") from None
            yield where, {column: plain(value) for column, value in values if value is not None}
    elif path.suffix in (".tsv", ".csv"):
        # A quote in a TSV file is a quote. In a CSV file it holds commas and line breaks together.
        form: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix == ".tsv" else {}
        first = text.lstrip().split("\n", 1)[0]
        if not form and has_header and ";" in first and "," not in first:
            form = {"delimiter": ";"}  # as spreadsheets write it where numbers have a comma
        csv.field_size_limit(2**31 - 1)  # without it, a text beyond 131,072 characters is an error
        reader = csv.reader(io.StringIO(text), strict=True, **form)
        try:
            cells = [(f"{path}:{reader.line_num}", row) for row in reader if row]
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: not {path.suffix[1:].upper()} ({error})") from None
        header = cells.pop(0)[1] if has_header else [str(i + 1) for i in range(len(cells[0][1]))]
        if double := [name for name in header if name and header.count(name) > 1]:
            raise InputError(f"{path}:1: the column {double[0]} stands there twice; give each its own name")
        if not cells:
            raise InputError(f"{path}:1: a header without rows; expected examples below it")
        ragged = []
        for where, values in cells:
            if len(values) != len(header):
                found = f"{len(values)} column{'s' * (len(values) > 1)}"
                ragged.append(f"{where}: {found}; expected {len(header)}: {', '.join(header)}")
                if not skip_ragged:
                    raise InputError(ragged[0])
                continue
            yield where, dict(zip(header, values, strict=True))
        if len(ragged) == len(cells):
            raise InputError(f"{ragged[0]}; no row has as many as the header")
        if ragged:
            told = f"{len(ragged)} of {len(cells)} rows are left out; the first: {ragged[0]}"
            warnings.warn(told, stacklevel=2)
    else:
        raise InputError(f"{path}: unknown kind of file; expected {', '.join(FORMATS)}")


def plain(value: Any) -> Any:
    """A value as text. What holds several stays as it is, so that no text and no label is made of it."""
    return value if isinstance(value, list | dict) else str(value)


def _text_table(lines: list[tuple[str, str]]) -> Iterator[Row]:
    is_trec = _TREC.fullmatch(lines[0][1])
    for where, line in lines:
        if is_trec and (found := _TREC.fullmatch(line)):
            yield where, {"text": found[3], "label": found[1], "fine": f"{found[1]}:{found[2]}"}
        elif not is_trec and ";" in line:
            text, label = line.rsplit(";", 1)
            yield where, {"text": text, "label": label.strip()}
        else:
            raise InputError(f"{where}: expected {'COARSE:fine text' if is_trec else 'text;label'}")


def _hub_tables(name: str, parts: Mapping[str, Sequence[str]]) -> dict[str, list[Row]]:
    loaded = hub.load(name)
    tables = {}
    for split, names in parts.items():
        for part in [loaded[each] for each in names if each in loaded][:1]:
            rows, features = list(part), part.features
            name_of = {column: getattr(features[column], "int2str", plain) for column in features}
            # No class is -1, and in GLUE's test parts no score is known.
            unknown = {
                column
                for column in features
                if hasattr(features[column], "int2str")
                or (split == "test" and all(row[column] == -1 for row in rows))
            }
            tables[split] = [
                (
                    f"{name} {split}:{i}",
                    {
                        column: name_of[column](value)
                        for column, value in row.items()
                        if value is not None and not (column in unknown and value == -1)
                    },
                )
                for i, row in enumerate(rows, start=1)
            ]
            if not tables[split]:
                raise InputError(f"{name}: its part {split} has no row; expected examples")
    if not tables:
        raise InputError(f"{name} has {', '.join(loaded)}; expected train, validation or test")
    return tables


def _choose(
    where: str, row: Mapping[str, Any], choices: Sequence[tuple[str, ...]], option: str
) -> tuple[str, ...]:
    for columns in choices:
        if set(columns) <= row.keys():
            return columns
    wanted = ", ".join("+".join(columns) for columns in choices)
    found = f"{where}: columns are {', '.join(row)}"
    raise InputError(f"{found}; expected {wanted}; name yours with {option} (or number them: 1, 2, …)")


def _example(
    where: str, row: dict[str, Any], columns: tuple[str, ...], label_column: str, task: str
) -> Example:
    if missing := {*columns, label_column} - row.keys():
        raise InputError(f"{where}: no {', '.join(sorted(missing))}; found {', '.join(row)}")
    for column, what in [*((column, "text") for column in columns), (label_column, "label")]:
        if not isinstance(row[column], str) and (what == "text" or task != "texts"):
            raise InputError(f"{where}: {column} is {str(row[column])[:60]}; expected one {what}")
    text, pair = (*(row[column] for column in columns), None)[:2]
    label = row[label_column]
    if task == "classify" and not label.strip():
        raise InputError(f"{where}: the label is empty; expected one, or leave the row out")
    return Example(str(text), pair, _score(where, label) if task == "regress" else label)


def _score(where: str, label: Any) -> float:
    try:
        score = float(label)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise InputError(f"{where}: the score is {label!r}; expected a number")
    return score
