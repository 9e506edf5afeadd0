"""Texts and what they become, a translation say: parallel files, tables, the Gazette and the hub."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertmini.data import hub
from bertmini.data.task_files import SPLITS, Row, files_of_parts, of_gazette, read_table
from bertmini.data.text import read_files
from bertmini.errors import InputError

COLUMNS = [("source", "target"), ("src", "tgt")]
TABLES = (".tsv", ".csv", ".jsonl")
OPTIONS = "--text-columns SOURCE --label-column TARGET"


@dataclass(frozen=True)
class Parallel:
    """A text and what it is to become, or None where that is unknown."""

    source: str
    target: str | None = None


def read_parallel(
    data: str | Path,
    text_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    encoding: str | None = None,
    strict: bool = False,
) -> dict[str, list[Parallel]]:
    """Read texts with their translations, by split: train, dev and test, as far as they are there.

    Args:
        data: a folder with parallel files, a text on each line (train.de and train.en, say); a folder or a
            file as `read_task` reads it, with two columns; gazette/quillish; or hf:NAME.
        text_columns, label_column: the source and the target: endings of parallel files, or columns. None:
            source and target, or src and tgt.
        encoding, strict: as in `read_files`.

    Raises:
        InputError: parallel files have different numbers of lines; a side is missing or not named.
    """
    if bool(text_columns) != bool(label_column) or len(text_columns or "x") > 1:
        raise InputError(f"the direction takes two names, a source and a target; give {OPTIONS}")
    name = str(data)
    if name.startswith("gazette/"):
        return of_gazette(name, Parallel)
    choices = [(text_columns[0], label_column)] if text_columns and label_column else COLUMNS
    if name.startswith("hf:"):
        tables = _hub_tables(name)
    else:
        tables = _tables(Path(data), text_columns, encoding, strict)

    splits: dict[str, list[Parallel]] = {}
    for split, rows in tables.items():
        where, known = rows[0][0], dict.fromkeys(column for _, row in rows for column in row)
        if split == "test" and len(tables) > 1 and not any(target in known for _, target in choices):
            warnings.warn(f"{where}: no target; the test part is left out", stacklevel=2)
            continue
        source, target = _sides(where, known, choices)
        pairs = [(where, Parallel(row.get(source, ""), row.get(target, ""))) for where, row in rows]
        splits[split] = _without_blanks(pairs)
    return splits


def _sides(where: str, row: Mapping[str, Any], choices: Sequence[tuple[str, str]]) -> tuple[str, str]:
    for sides in choices:
        if set(sides) <= row.keys():
            return sides
    expected = " or ".join(" and ".join(sides) for sides in choices)
    raise InputError(f"{where}: found {', '.join(row)}; expected {expected}; say which is which: {OPTIONS}")


def _without_blanks(pairs: list[tuple[str, Parallel]]) -> list[Parallel]:
    """The pairs that have both sides; a warning counts the others.

    Raises:
        InputError: none is left.
    """
    whole = [pair for _, pair in pairs if pair.source.strip() and (pair.target or "").strip()]
    if not whole:
        raise InputError(f"{pairs[0][0]}: no row has both a source and a target; expected one or more")
    if left_out := len(pairs) - len(whole):
        kept = set(whole)
        first = next(where for where, pair in pairs if pair not in kept)
        warnings.warn(f"{left_out} rows lack a side and are left out, {first} first", stacklevel=3)
    return whole


def _tables(
    path: Path, columns: Sequence[str] | None, encoding: str | None, strict: bool
) -> dict[str, list[Row]]:
    """The rows of each split, from parallel files where a folder has them, else from tables."""
    if parallel := _parallel_files(path):
        files = [file for sides in parallel.values() for file in sides.values()]
        lines = {
            file: text.removesuffix("\n").split("\n")
            for file, text in read_files(files, encoding=encoding, strict=strict)
        }
        return {split: _side_by_side(sides, lines) for split, sides in parallel.items()}
    paths = files_of_parts(path, TABLES)
    texts = read_files(paths.values(), encoding=encoding, strict=strict)
    has_header = not (columns and all(column.isdecimal() for column in columns))
    return {
        split: [(where, _texts(row)) for where, row in read_table(path, text, has_header)]
        for split, (path, text) in zip(paths, texts, strict=True)
    }


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """What of a row is text."""
    return {column: value for column, value in row.items() if isinstance(value, str)}


def _parallel_files(folder: Path) -> dict[str, dict[str, Path]]:
    """For each split its files by their ending, where there are such: {"train": {"de": train.de, …}, …}."""
    found: dict[str, dict[str, Path]] = {}
    for split, names in SPLITS.items():
        for file in [file for name in names for file in sorted(folder.glob(f"{name}.*"))]:
            if file.suffix not in (*TABLES, ".txt") and file.is_file():
                found.setdefault(split, {}).setdefault(file.suffix.removeprefix("."), file)
    return found


def _side_by_side(sides: dict[str, Path], lines: dict[Path, list[str]]) -> list[Row]:
    """Rows of the lines with the same number.

    Raises:
        InputError: the files have different numbers of lines.
    """
    counts = {file: len(lines[file]) for file in sides.values()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{file} has {count} lines" for file, count in counts.items())
        raise InputError(f"{found}; expected as many in each, a text and its translation in the same line")
    first, number = next(iter(counts.items()))
    return [
        (f"{first}:{i + 1}", {ending: lines[file][i] for ending, file in sides.items()})
        for i in range(number)
    ]


def _hub_tables(name: str) -> dict[str, list[Row]]:
    loaded = hub.load(name)
    tables: dict[str, list[Row]] = {}
    for split, names in SPLITS.items():
        for part in [loaded[each] for each in names if each in loaded][:1]:
            # Sets of translations have one column, which holds a text for each language.
            rows = ((row | (row.get("translation") or {})) for row in part)
            tables[split] = [(f"{name} {split}:{i}", _texts(row)) for i, row in enumerate(rows, start=1)]
            if not tables[split]:
                raise InputError(f"{name}: its part {split} has no row; expected examples")
    if not tables:
        raise InputError(f"{name} has {', '.join(loaded)}; expected train, validation or test")
    return tables
