"""Questions about a passage, and where in it the answers stand."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertmini.data import hub
from bertmini.data.task_files import SPLITS, of_gazette
from bertmini.data.text import read_files
from bertmini.errors import InputError

# train, dev and test, or as SQuAD calls them: train-v1.1, dev-v2.0
_STEM = re.compile(r"(\w+?)(?:-v\d[\d.]*)?")
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
Part = list["Question"]


@dataclass(frozen=True)
class Answer:
    """A stretch of a passage: its characters, and the place of the first one."""

    text: str
    start: int

    def stands_in(self, context: str) -> bool:
        """Whether the passage has these characters in this place."""
        return self.start >= 0 and context.startswith(self.text, self.start)


@dataclass(frozen=True)
class Question:
    """A question and its passage; answers is None where they are unknown, and () where there is none."""

    question: str
    context: str
    answers: tuple[Answer, ...] | None = None
    id: str = ""


def read_questions(
    data: str | Path, *, encoding: str | None = None, strict: bool = False
) -> dict[str, list[Question]]:
    """Read questions with passages and answers, by split: train, dev and test, as far as they are there.

    Answers that do not stand where the file says are counted in a warning. They are of no use in training;
    measuring compares with their text, as the official script does.

    Args:
        data: a folder with train, dev (val, validation) and test as .json (SQuAD 1.1 or 2.0, also under
            SQuAD's own names, train-v2.0.json) or .jsonl (objects with question, context, answers, and an id
            where there are such); one such file; gazette/NAME; or hf:NAME (hf:NAME:CONFIGURATION).
        encoding: as in `read_files`.
        strict: refuse answers that do not stand where they should, and files that are not UTF-8.

    Raises:
        InputError: with the file, and the line or the question's id: an empty question or passage, an id that
            occurs twice, a question without answer where the format knows none (SQuAD 1.1).
    """
    name = str(data)
    if name.startswith("gazette/"):
        return of_gazette(name, Question)
    if name.startswith("hf:"):
        rows = {split: _hub_rows(name, split, part) for split, part in _hub_parts(name).items()}
    else:
        paths = _paths(Path(data))
        texts = read_files(paths.values(), encoding=encoding, strict=strict)
        rows = {
            split: _squad_rows(path, text) if path.suffix == ".json" else _jsonl_rows(path, text)
            for split, (path, text) in zip(paths, texts, strict=True)
        }
    splits: dict[str, Part] = {}
    for split, part in rows.items():
        found = list(_checked(part))
        if not found:
            raise InputError(f"{name}: its part {split} has no question; expected one or more")
        if unknown := [where for where, question in found if question.answers is None]:
            if split != "test" or len(rows) == 1:
                raise InputError(f"{unknown[0]}: no answers; expected them, [] where the passage has none")
            warnings.warn(f"{unknown[0]}: no answers; the test part is left out", stacklevel=2)
            continue
        _tell_misplaced(found, strict)
        splits[split] = [question for _, question in found]
    return splits


Rows = Iterable[tuple[str, Question]]  # where each stands


def _paths(path: Path) -> dict[str, Path]:
    """The file of each split, train first; a single file is train unless its name says otherwise."""
    if path.is_file():
        return {_split_of(path) or "train": path}
    files = [file for suffix in (".json", ".jsonl") for file in sorted(path.glob(f"*{suffix}"))]
    found: dict[str, Path] = {}
    for split in SPLITS:
        for file in (file for file in files if _split_of(file) == split):
            if split in found:
                raise InputError(
                    f"{path} holds {found[split].name} and {file.name}; expected one file for {split}: "
                    "name a folder with one of them"
                )
            found[split] = file
    if not found:
        problem = "holds no such file" if path.exists() else "does not exist"
        raise InputError(f"{path} {problem}; expected train, dev and test as .json (SQuAD) or .jsonl")
    return found


def _split_of(path: Path) -> str | None:
    named = _STEM.fullmatch(path.stem)
    return _SPLIT_OF.get(named[1]) if named else None


def _squad_rows(path: Path, text: str) -> Iterator[tuple[str, Question]]:
    """The questions of a file in SQuAD's format (Rajpurkar et al. 2016, 2018)."""
    try:
        content = json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise InputError(f"{path}:{line}: not JSON ({error}); was it written to the end?") from None
    articles = content.get("data") if isinstance(content, dict) else None
    if not isinstance(articles, list):
        raise InputError(f"{path}: no list of articles named data; expected SQuAD's format, or .jsonl")
    is_first_version = str(content.get("version", "")).lstrip("v").startswith("1")
    for i, article in enumerate(articles):
        for j, paragraph in enumerate(_list_in(article, "paragraphs", f"{path}: data[{i}]")):
            place = f"{path}: data[{i}].paragraphs[{j}]"
            for entry in _list_in(paragraph, "qas", place):
                where = f"{place}, question {str(entry.get('id', '?')) if isinstance(entry, dict) else entry}"
                row = entry | {"context": paragraph.get("context")} if isinstance(entry, dict) else entry
                question = _question(where, row)
                if is_first_version and question.answers == ():
                    raise InputError(
                        f"{where}: no answer, and in SQuAD {content['version']} each question has one; "
                        'add it, or say "version": "v2.0"'
                    )
                yield where, question


def _list_in(parent: Any, name: str, where: str) -> list[Any]:
    found = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(found, list):
        raise InputError(f"{where}: no list named {name}; expected SQuAD's format")
    return found


def _jsonl_rows(path: Path, text: str) -> Iterator[tuple[str, Question]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except ValueError:
                raise InputError(f"{where}: not a JSON object; expected one a line") from None
            yield where, _question(where, row)


def _hub_parts(name: str) -> dict[str, Any]:
    loaded = hub.load(name)
    parts = {_SPLIT_OF[part]: rows for part, rows in loaded.items() if part in _SPLIT_OF}
    if not parts:
        raise InputError(f"{name} has {', '.join(loaded)}; expected train, validation or test")
    return {split: parts[split] for split in SPLITS if split in parts}


def _hub_rows(name: str, split: str, part: Iterable[Any]) -> Iterator[tuple[str, Question]]:
    for number, row in enumerate(part, start=1):
        where = f"{name} {split}:{number}"
        yield where, _question(where, row)


def _question(where: str, row: Any) -> Question:
    """One question from an object with question, context and, where they are known, answers and id."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: {str(row)[:40]!r}; expected an object with question, context and answers")
    for name, what in (("question", "question"), ("context", "passage")):
        if not isinstance(row.get(name), str) or not row[name].strip():
            found = "is empty" if isinstance(row.get(name), str) else "is missing"
            raise InputError(f"{where}: the {what} {found}; expected text under {name!r}")
    answers = _answers(where, row["answers"]) if row.get("answers") is not None else None
    if answers is not None and isinstance(said := row.get("is_impossible"), bool) and said == bool(answers):
        count = f"{len(answers)} answers" if answers else "no answer"
        raise InputError(f"{where}: is_impossible is {str(said).lower()}, and it has {count}; correct one")
    number = row.get("id")
    return Question(row["question"], row["context"], answers, "" if number is None else str(number))


def _answers(where: str, given: Any) -> tuple[Answer, ...]:
    """Answers as a list of objects, as in SQuAD's files, or as an object of lists, as on the hub."""
    if isinstance(given, dict):
        texts, starts = given.get("text"), given.get("answer_start")
        if isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts):
            given = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    answers = []
    for each in given if isinstance(given, list) else [given]:
        entry = each if isinstance(each, dict) else {}
        text, start = entry.get("text"), entry.get("answer_start", entry.get("start"))
        if not isinstance(text, str) or not text.strip() or not isinstance(start, int):
            raise InputError(
                f'{where}: the answer {str(each)[:60]} is none; expected {{"text": …, "answer_start": …}}'
            )
        answers.append(Answer(text, start))
    return tuple(answers)


def _checked(rows: Rows) -> Rows:
    """The rows as they are; an id that occurs twice is refused."""
    places: dict[str, str] = {}
    for where, question in rows:
        if question.id in places:
            first = places[question.id]
            raise InputError(f"{where}: the id {question.id!r} was that of {first}, too; each needs its own")
        if question.id:
            places[question.id] = where
        yield where, question


def _tell_misplaced(rows: Rows, strict: bool) -> None:
    """Warn of answers that do not stand where they should, with their number and the first case."""
    misplaced = [
        (where, answer, question.context)
        for where, question in rows
        for answer in question.answers or ()
        if not answer.stands_in(question.context)
    ]
    if misplaced:
        where, answer, context = misplaced[0]
        stands = context[max(0, answer.start) :][: len(answer.text)]
        told = (
            f"{where}: the answer {answer.text[:60]!r} does not stand at {answer.start}, "
            f"where the passage has {stands[:60]!r}"
        )
        if strict:
            raise InputError(f"{told}; correct its place")
        more = f" ({len(misplaced)} such answers in this part)" if len(misplaced) > 1 else ""
        warnings.warn(f"{told}; left out of training{more}", stacklevel=3)
