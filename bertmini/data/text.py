"""Running text: files to documents, documents to sentences."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bertmini.errors import InputError

Document = list[str]  # its sentences, in order

ABBREVIATIONS = frozenset(
    ["Mr", "Mrs", "Ms", "Messrs", "Mme", "Mlle", "M", "Dr", "Prof", "St", "Ste", "Rev", "Hon", "Sir", "Capt", "Col", "Gen", "Lieut", "Lt", "Maj", "Sgt", "Gov", "Sen", "Rep", "Jr", "Sr", "Esq", "Mt", "Ft", "Co", "Inc", "Ltd", "Bros", "No", "Nos", "Vol", "Chap", "Fig", "Ed", "pp", "p", "vs", "viz", "etc", "cf", "al", "i.e", "e.g", "a.m", "p.m", "Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sept", "Sep", "Oct", "Nov", "Dec"]
)
# An end mark, closing quotes, white space, and then something that can begin a sentence. Chinese needs no space.
_SENTENCE_END = re.compile(r"""([.!?…]+["'”’)\]]*)\s+(?=["'“‘`(\[—-]*[^\W_a-zß-öø-ÿ])|([。！？]+[”’」』）]*)\s*""")
_LAST_WORD = re.compile(r"[^\W_](?:[^\W_]|\.(?=\w))*$")

_ROMAN = r"(?=[IVXLC])C{0,3}(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_HEADING = re.compile(
    r"= [^=].* =$"  # WikiText opens an article so; `= = Section = =` stays inside it
    r"|\[?(?:CHAPTER|VOLUME|BOOK|PART|LETTER|CANTO|ACT|SCENE)\b.{0,70}$"
    r"|(?:Chapter|Volume|Book|Part|Letter|Canto|Act|Scene|Actus|Sco?ena) (?:\d|[A-Z]).{0,50}$"
    rf"|{_ROMAN}(?:\.(?: .{{1,70}})?)?$"
)
_CAPITALS = re.compile(r"[^a-z]*[A-Z]{2}[^a-z]*$")
_SECTION = re.compile(r"= = .* = =$")


def read_files(
    paths: Iterable[str | Path], *, encoding: str | None = None, strict: bool = False
) -> Iterator[tuple[Path, str]]:
    """Read text files, and every file of a folder in the order of their names.

    Args:
        paths: files and folders; hidden files of a folder are left out.
        encoding: how the bytes are to be read. None: UTF-8, and Latin-1 where a file is not UTF-8, with one
            warning that counts such files.
        strict: refuse what is not UTF-8 (or not in `encoding`).

    Yields:
        (path, text), line ends as "\\n".

    Raises:
        InputError: a path is missing, a file is empty or binary, or cannot be decoded.
    """
    not_utf8: list[Path] = []
    for path in _walk(paths):
        data = path.read_bytes()
        if not data.strip():
            raise InputError(f"{path} is empty; expected text")
        if encoding is None and b"\0" in data:
            raise InputError(f"{path} is not text: byte {data.index(0)} is zero; expected UTF-8 (or give an encoding)")
        try:
            text = data.decode(encoding or "utf-8-sig")
        except LookupError:
            raise InputError(f"unknown encoding {encoding!r}; Python knows utf-8, latin-1, cp1252, …") from None
        except UnicodeDecodeError as error:
            if strict or encoding is not None:
                line = data.count(b"\n", 0, error.start) + 1
                name = encoding or "UTF-8"
                raise InputError(f"{path}:{line} is not {name} (byte {error.start}); give its encoding") from None
            text = data.decode("latin-1")
            not_utf8.append(path)
        yield path, text.replace("\r\n", "\n")
    if not_utf8:
        names = ", ".join(map(str, not_utf8[:3])) + (", …" if len(not_utf8) > 3 else "")
        warnings.warn(f"not UTF-8, read as Latin-1: {len(not_utf8)} of the files ({names})", stacklevel=2)


def _walk(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        if not path.exists():
            raise InputError(f"{path} does not exist; expected a text file or a folder of them")
        if path.is_file():
            yield path
            continue
        files = [p for p in sorted(path.rglob("*")) if p.is_file() and not p.name.startswith(".")]
        if not files:
            raise InputError(f"{path} is a folder without files; expected text files")
        yield from files


def read_documents(
    paths: Iterable[str | Path] | str | Path,
    *,
    encoding: str | None = None,
    strict: bool = False,
    separator: str | None = None,
) -> list[Document]:
    """Read running text as documents of sentences.

    A document ends with its file, and before a heading (`= Title =`, CHAPTER IV, Book II, VII. A Title), before a
    title in capitals after two blank lines, and at three blank lines. What is only one sentence long (a title
    page) joins its neighbour. Headings are not part of the text.

    Args:
        paths: files and folders.
        encoding, strict: as in `read_files`.
        separator: a line that stands between two documents, and replaces the rules above; "" is the blank line.

    Raises:
        InputError: see `read_files`; or no file holds a sentence.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    documents: list[Document] = []
    for _, text in read_files(paths, encoding=encoding, strict=strict):
        documents += _split_documents(text, separator)
    if not documents:
        raise InputError(f"{', '.join(map(str, paths))}: no sentence found; expected running text")
    return documents


def _split_documents(text: str, separator: str | None) -> list[Document]:
    if separator is not None:
        parts = re.split(rf"^[ \t]*{re.escape(separator)}[ \t]*$", text, flags=re.MULTILINE)
        return [document for part in parts if (document := split_sentences(part))]

    documents: list[Document] = [[]]
    blank_lines = 0
    for block in re.split(r"\n((?:[ \t]*\n)+)", text):
        if not block.strip():
            blank_lines = block.count("\n")
            continue
        line = block.strip()
        is_heading = "\n" not in line and bool(
            _HEADING.match(line) or (blank_lines >= 2 and _CAPITALS.match(line))
        )
        if (is_heading or blank_lines >= 3) and len(documents[-1]) > 1:
            documents.append([])
        if not is_heading and not _SECTION.match(line):
            documents[-1] += split_sentences(block)
    if len(documents) > 1 and len(documents[-1]) < 2:
        documents[-2] += documents.pop()
    return [document for document in documents if document]


def split_sentences(text: str) -> list[str]:
    """Split text into sentences; lines broken by hand are joined.

    Args:
        text: any length, one paragraph or several (a blank line ends a sentence).

    Returns:
        The sentences, white space inside each reduced to single spaces.
    """
    return [s for block in re.split(r"\n[ \t]*\n", text) for s in _split_block(" ".join(block.split()))]


def _split_block(block: str) -> Iterator[str]:
    start = 0
    for end in _SENTENCE_END.finditer(block):
        if not _is_abbreviation(block[start : end.start()], end[1]):
            yield block[start : end.end()].rstrip()
            start = end.end()
    if start < len(block):
        yield block[start:]


def _is_abbreviation(before: str, end_mark: str | None) -> bool:
    """Mr. and the J. of J. Smith do not end a sentence; "So did I." does."""
    word = _LAST_WORD.search(before) if end_mark == "." else None
    return bool(word) and (word[0] in ABBREVIATIONS or (len(word[0]) == 1 and word[0].isupper() and word[0] != "I"))


def hold_out(documents: Sequence[Document], one_in: int = 20) -> tuple[list[Document], list[Document]]:
    """Set every `one_in`-th document aside, the last one where there are fewer.

    Returns:
        (the documents to train on, those held out).

    Raises:
        InputError: there are fewer than two documents.
    """
    if len(documents) < 2:
        raise InputError("one document cannot be split into training and held-out documents; expected two or more")
    first = min(one_in, len(documents)) - 1
    held_out = set(range(first, len(documents), one_in))
    return [d for i, d in enumerate(documents) if i not in held_out], [documents[i] for i in sorted(held_out)]
