"""Tasks of the Gazette as files, in the formats that people have."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bertmini.errors import InputError
from bertmini.gazette.gazette import SPLITS, Gazette
from bertmini.gazette.tasks import SIZES, task

Files = dict[str, str]                                # what follows the split in a file's name -> its content


def lines(rows: Sequence[str]) -> str:
    return "".join(row + "\n" for row in rows)


def text_label(examples: Sequence[Any]) -> Files:
    """`text;label`, as the emotion set has it."""
    return {".txt": lines([f"{example.text};{example.label}" for example in examples])}


def scored_pairs(examples: Sequence[Any]) -> Files:
    """GLUE's columns of STS-B."""
    rows = [f"{e.text}\t{e.pair}\t{e.label:.1f}" for e in examples]
    return {".tsv": lines(["sentence1\tsentence2\tscore", *rows])}


def columns(examples: Sequence[Any]) -> Files:
    """CoNLL's: a word and its tag a line, a blank line between examples."""
    blocks = ["".join(f"{word}\t{tag}\n" for word, tag in zip(example.words, example.tags, strict=True))
              for example in examples]
    return {".conll": "\n".join(blocks)}


def squad(questions: Sequence[Any]) -> Files:
    """The JSON of SQuAD 2.0: passages with their questions; impossible ones have no answer."""
    paragraphs: dict[str, list[dict[str, Any]]] = {}
    for question in questions:
        answers = [{"text": answer.text, "answer_start": answer.start} for answer in question.answers]
        asked = {"id": question.id, "question": question.question, "answers": answers}
        paragraphs.setdefault(question.context, []).append(asked | {"is_impossible": not answers})
    title = "The Port Quill Gazette"
    data = [{"title": title, "paragraphs": [{"context": c, "qas": qas} for c, qas in paragraphs.items()]}]
    return {".json": json.dumps({"version": "v2.0", "data": data}, ensure_ascii=False, indent=1) + "\n"}


def parallel(examples: Sequence[Any]) -> Files:
    """Two files, of which line i of one is the translation of line i of the other."""
    return {".en": lines([e.source for e in examples]), ".qu": lines([e.target for e in examples])}


def labelled_pairs(header: str) -> Callable[[Sequence[Any]], Files]:
    """GLUE's columns of two sentences and a label."""
    return lambda examples: {".tsv": lines([header, *(f"{e.text}\t{e.pair}\t{e.label}" for e in examples)])}


def labelled_sentences(examples: Sequence[Any]) -> Files:
    """GLUE's columns of SST-2, which tools take for CoLA too."""
    return {".tsv": lines(["sentence\tlabel", *(f"{e.text}\t{e.label}" for e in examples)])}


def swag(choices: Sequence[Any]) -> Files:
    """The CSV of SWAG; sent2, with which each ending would begin, is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    endings = [f"ending{place}" for place in range(4)]
    before = ["", "video-id", "fold-ind", "startphrase", "sent1", "sent2", "gold-source"]
    writer.writerow([*before, *endings, "label"])
    for i, choice in enumerate(choices):
        row = [i, "gazette", i, choice.text, choice.text, "", "gold"]
        writer.writerow([*row, *choice.options, choice.label])
    return {".csv": file.getvalue()}


def corpus(documents: Sequence[Any]) -> Files:
    """A sentence a line, a blank line between documents."""
    return {".txt": "\n".join(lines(document.sentences) for document in documents)}


FORMATS: dict[str, Callable[[Sequence[Any]], Files]] = {
    "emotion": text_label, "similarity": scored_pairs, "entities": columns, "questions": squad,
    "quillish": parallel, "continuation": swag, "topic": text_label, "acceptability": labelled_sentences,
    "paraphrase": labelled_pairs("sentence1\tsentence2\tlabel"),
    "inference": labelled_pairs("premise\thypothesis\tlabel"), "corpus": corpus,
}  # fmt: skip


def export(gazette: Gazette, name: str, directory: Path, n: int | None) -> list[Path]:
    """As `Gazette.export`."""
    if name not in FORMATS:
        raise InputError(f"gazette: found task {name!r}; expected one of {', '.join(FORMATS)}")
    if n is not None and n < 1:
        raise InputError(f"gazette: found {n} rows for the train part; expected 1 or more")
    contents: dict[Path, str] = {}
    for split in SPLITS:
        rows = n if split == "train" else None
        if name == "corpus":
            examples: Sequence[Any] = gazette.documents(5 * SIZES[split] if rows is None else rows, split)
        else:
            examples = task(gazette, name, split, rows)
        files = FORMATS[name](examples)
        contents |= {directory / f"{split}{ending}": content for ending, content in files.items()}
    for path in contents:
        if path.exists():
            raise InputError(f"gazette: {path} exists already; name an empty directory")
    directory.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        path.write_text(content, encoding="utf-8", newline="\n")
    return list(contents)
