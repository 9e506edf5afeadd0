"""Words with tags, from the files people have, and the entities that tags stand for."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bertmini.data import hub
from bertmini.data.task_files import SPLITS, files_of_parts, of_gazette
from bertmini.data.text import read_files
from bertmini.errors import InputError


@dataclass(frozen=True)
class Tagged:
    """The words of a sentence or a document, and a tag for each (BIO: B-place, I-place, O), or None."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None


class Entity(NamedTuple):
    """The words from `start` to before `end`, and what they name."""

    start: int
    end: int
    label: str


Row = tuple[list[str], list[str], list[str]]  # a sentence: where each word stands ("file:line"), words, tags

FORMATS = (".conll", ".txt", ".tsv", ".bio", ".iob", ".jsonl")
WORDS, TAGS = ("tokens", "words"), ("tags", "ner_tags", "labels")  # what columns are called
DOCUMENT = "-DOCSTART-"
TAG = re.compile(r"([BIESLU])-(.+)")


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence, by the rules of the CoNLL evaluation script (Tjong Kim Sang 2002).

    One goes on as long as tags are I (or E) of its kind, so that IOB1, BIO and IOBES are read alike: an I
    that nothing goes before begins an entity, and so does one of another kind than the tag before it.

    Args:
        tags: of all words, in order. One without a prefix, a part of speech say, counts as I.
    """
    found: list[Entity] = []
    start, label, is_closed = None, "", False
    for place, tag in enumerate([*tags, "O"]):
        parts = TAG.fullmatch(tag)
        prefix, kind = parts.groups() if parts else ("O", "") if tag == "O" else ("I", tag)
        if start is not None and (is_closed or prefix in "OBSU" or kind != label):
            found.append(Entity(start, place, label))
            start = None
        if start is None and prefix != "O":
            start, label = place, kind
        is_closed = prefix in "ESLU"
    return found


def bio(entities: Iterable[Entity], length: int) -> list[str]:
    """The BIO tags of so many words: B where an entity begins, I where it goes on, O outside."""
    tags = ["O"] * length
    for start, end, label in entities:
        tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return tags


def labels_of(examples: Iterable[Tagged]) -> list[str]:
    """The tags that sentences may have: O, then B and I of each kind of entity, by the alphabet."""
    kinds = {tag[2:] for example in examples for tag in set(example.tags or ()) - {"O"}}
    return ["O", *(f"{prefix}-{kind}" for kind in sorted(kinds) for prefix in "BI")]


def read_tagged(
    data: str | Path,
    text_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    encoding: str | None = None,
    strict: bool = False,
) -> dict[str, list[Tagged]]:
    """Read tagged sentences by split: train, dev and test, as far as they are there; tags become BIO.

    Args:
        data: a folder with train, dev (val, valid, validation) and test as .conll, .txt, .tsv, .bio or .iob
            (a word a line, a blank line between sentences; columns by tabs or spaces), or .jsonl with
            {"tokens": […], "tags": […]}; one such file; gazette/NAME; or hf:NAME (hf:NAME:CONFIGURATION).
        text_columns, label_column: the word's and the tag's; by default the first and the last, or what
            they are mostly called. Numbers (from 1) in files of columns.
        encoding: as in `read_files`.
        strict: refuse a line with more or fewer columns than the others, and files that are not UTF-8.
            Otherwise such a line is left out, and a warning counts them.

    Raises:
        InputError: with file and line, where a column is missing, a tag is none, words and tags differ in
            number, or dev or test has a tag that training never saw.
    """
    if text_columns and len(text_columns) > 1:
        raise InputError(f"--text-columns names {len(text_columns)} columns; expected one, that of the words")
    columns = text_columns[0] if text_columns else None, label_column
    name = str(data)
    if name.startswith("gazette/"):
        return of_gazette(name, Tagged)
    if name.startswith("hf:"):
        rows = _hub_rows(name, columns)
    else:
        paths = files_of_parts(Path(data), FORMATS)
        texts = read_files(paths.values(), encoding=encoding, strict=strict)
        rows = {
            split: list(_rows(path, text, columns, strict))
            for split, (path, text) in zip(paths, texts, strict=True)
        }
    splits = {split: [_in_bio(row) for row in of_split] for split, of_split in rows.items()}
    if "train" in splits:
        known = set(labels_of(splits["train"]))
        for split, examples in splits.items():
            for (places, *_), example in zip(rows[split], examples, strict=True):
                for place, tag in zip(places, example.tags or (), strict=True):
                    if tag not in known:
                        raise InputError(f"{place}: {tag!r} is a tag that training never saw")
    return splits


def _in_bio(row: Row) -> Tagged:
    places, words, tags = row
    for place, tag in zip(places, tags, strict=True):
        if tag != "O" and not TAG.fullmatch(tag):
            raise InputError(
                f"{place}: {tag!r} is no tag; expected O, B-place, I-place, …; "
                "if tags stand in another column, name it with --label-column"
            )
    return Tagged(tuple(words), tuple(bio(entities_of(tags), len(tags))))


def _rows(path: Path, text: str, columns: tuple[str | None, str | None], strict: bool) -> Iterator[Row]:
    lines = [(f"{path}:{i}", line) for i, line in enumerate(text.split("\n"), start=1)]
    read = _json_rows(lines, columns) if path.suffix == ".jsonl" else _column_rows(lines, columns, strict)
    sentences = list(read)
    if not sentences:
        raise InputError(f"{path} holds no sentence; expected a word and its tag on each line")
    yield from sentences


def _column_rows(
    lines: list[tuple[str, str]], columns: tuple[str | None, str | None], strict: bool
) -> Iterator[Row]:
    cells = [(where, _cells(line)) for where, line in lines]
    filled = [(where, row) for where, row in cells if row]
    widths = Counter(len(row) for _, row in filled)
    width = max(widths, key=lambda each: (widths[each], each), default=2)
    if width == 1:
        where, _ = filled[0]
        raise InputError(f"{where}: one column; expected a word and its tag, with a tab or spaces between")
    word, tag = (_number(column, width, default) for column, default in zip(columns, (1, width), strict=True))
    if odd := [(where, row) for where, row in filled if len(row) != width]:
        where, row = odd[0]
        found = f"{where}: {len(row)} column{'s' * (len(row) > 1)}; expected {width}"
        if strict:
            raise InputError(found)
        warnings.warn(f"{found}; {len(odd)} such line{'s' * (len(odd) > 1)} left out", stacklevel=5)
    sentence: Row = [], [], []
    for where, row in [*cells, ("", [])]:
        if len(row) == width:
            for part, value in zip(sentence, (where, row[word], row[tag]), strict=True):
                part.append(value)
        elif sentence[0] and not row:
            yield sentence
            sentence = [], [], []


def _cells(line: str) -> list[str]:
    """The columns of a line, by tabs where it has one, else by spaces; none where a sentence ends."""
    if not line.strip() or line.startswith(DOCUMENT):
        return []
    if "\t" in line:
        return [cell.strip() for cell in line.split("\t")]
    return [cell for cell in line.split(" ") if cell]


def _number(column: str | None, width: int, default: int) -> int:
    if column is None:
        return default - 1
    if not (column.isdecimal() and 1 <= int(column) <= width):
        raise InputError(f"column {column!r}: expected a number from 1 to {width}, as the lines have columns")
    return int(column) - 1


def _json_rows(lines: list[tuple[str, str]], columns: tuple[str | None, str | None]) -> Iterator[Row]:
    for where, line in lines:
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise InputError(f"{where}: not a JSON object; expected one a line")
            yield _row(where, row, columns)


def _hub_rows(name: str, columns: tuple[str | None, str | None]) -> dict[str, list[Row]]:
    loaded = hub.load(name)
    rows = {}
    for split, names in SPLITS.items():
        for part in [loaded[each] for each in names if each in loaded][:1]:
            tags = _choose(f"{name} {split}", part.features, columns[1], TAGS, "--label-column")
            tag_of = getattr(getattr(part.features[tags], "feature", None), "int2str", str)
            rows[split] = [
                _row(f"{name} {split}:{i}", row | {tags: [tag_of(tag) for tag in row[tags] or ()]}, columns)
                for i, row in enumerate(part, start=1)
            ]
    if not rows:
        raise InputError(f"{name} has {', '.join(loaded)}; expected train, validation or test")
    return rows


def _row(where: str, row: dict[str, Any], columns: tuple[str | None, str | None]) -> Row:
    words = row[_choose(where, row, columns[0], WORDS, "--text-columns")]
    tags = row[_choose(where, row, columns[1], TAGS, "--label-column")]
    for part in (words, tags):
        if not isinstance(part, list) or not all(isinstance(each, str) for each in part):
            raise InputError(f"{where}: found {str(part)[:60]!r}; expected a list of strings")
    if len(words) != len(tags):
        raise InputError(f"{where}: {len(words)} words and {len(tags)} tags; expected a tag for each word")
    return [where] * len(words), words, tags


def _choose(where: str, row: Any, column: str | None, names: Sequence[str], option: str) -> str:
    choices = [column] if column else names
    for name in choices:
        if name in row:
            return name
    found = f"{where}: columns are {', '.join(row)}"
    raise InputError(f"{found}; expected {' or '.join(choices)}; name yours with {option}")
