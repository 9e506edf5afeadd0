"""Running text: files to documents, documents to sentences."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bertmini.errors import InputError

Document = list[str]  # its sentences, in order

# An end mark and closing quotes, white space, and then what can begin a sentence. Only the first mark of
# a row may begin a match: from each of them the row would be read again.
_SENTENCE_END = re.compile(
    r"""(?<![.!?…])([.!?…]+["'”’)\]]*)\s+(?=["'“‘`(\[—-]*[^\W_a-zß-öø-ÿ])"""  # noqa: RUF001
    r"|[。！？]+[”’」』）]*\s*"  # noqa: RUF001  (Chinese needs no space)
)
# A full stop after these ends no sentence: titles, initials (but "So did I." is a sentence), e.g., U.S.
_ABBREVIATION = re.compile(
    r"(?<![\w.])(?:Mrs?|Ms|Messrs|Mme|Mlle|Dr|Prof|Ste?|Rev|Hon|Capt|Col|Gen|Lieut|Lt|Maj|Sgt|Gov|Sen|Rep"
    r"|Jr|Sr|Esq|Mt|Ft|Co|Inc|Ltd|Bros|Nos?|Vol|Chap|Fig|Ed|pp?|vs|viz|cf|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
    r"|[A-HJ-Z]|(?:[A-Za-z]\.)+[A-Za-z])$"
)
_ROMAN = r"(?=[IVXLC])C{0,3}(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
_HEADING = re.compile(
    r"= [^=].* =$"  # opens an article in WikiText, where `= = Section = =` does not
    r"|\[?(?:CHAPTER|VOLUME|BOOK|PART|LETTER|CANTO|ACT|SCENE)\b.{0,70}$"
    r"|(?:Chapter|Volume|Book|Part|Letter|Canto|Act|Scene|Actus|Sco?ena) (?:\d|[A-Z]).{0,50}$"
    rf"|{_ROMAN}(?:\.(?: .{{1,70}})?)?$"
)
_SECTION = re.compile(r"= = .* = =$")
_CAPITALS = re.compile(r"(?!.*[a-z]).*[A-Z]{2}")


def read_files(
    paths: Iterable[str | Path], *, encoding: str | None = None, strict: bool = False
) -> Iterator[tuple[Path, str]]:
    """Read text files, and of a folder every file that is not hidden, by name.

    Args:
        encoding: of the bytes; None is UTF-8, or Latin-1 where that fails, with one warning for all of them.
        strict: refuse a file that is not UTF-8.

    Yields:
        (path, text), with "\\n" as the end of a line.

    Raises:
        InputError: a path is missing; a file is empty, binary or in another encoding.
    """
    in_latin_1: list[Path] = []
    for path in _walk(paths):
        data = path.read_bytes()
        if encoding is None and b"\0" in data:
            raise InputError(f"{path} is binary (byte {data.index(0)} is zero); expected text in UTF-8")
        try:
            text = data.decode(encoding or "utf-8-sig")
        except LookupError:
            raise InputError(f"encoding {encoding!r} is unknown; expected one like utf-8, latin-1") from None
        except UnicodeDecodeError as error:
            if strict or encoding:
                where = f"{path}:{data.count(10, 0, error.start) + 1}"
                raise InputError(f"{where} is not {encoding or 'UTF-8'}; give its encoding") from None
            text = data.decode("latin-1")
            in_latin_1.append(path)
        if not text.strip():
            raise InputError(f"{path} is empty; expected text")
        yield path, text.replace("\r\n", "\n")
    if in_latin_1:
        count = f"{len(in_latin_1)} file{'s' * (len(in_latin_1) > 1)}"
        names = ", ".join(map(str, in_latin_1[:3])) + ", …" * (len(in_latin_1) > 3)
        warnings.warn(f"{count} not in UTF-8, read as Latin-1: {names}", stacklevel=2)


def _walk(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        files = [file for file in inside if file.is_file() and not _is_hidden(file.relative_to(path))]
        if not files:
            found = "is a folder without files" if path.exists() else "does not exist"
            raise InputError(f"{path} {found}; expected a text file, or a folder of them")
        yield from files


def _is_hidden(file: Path) -> bool:
    return any(part.startswith(".") for part in file.parts)


def read_documents(
    paths: str | Path | Iterable[str | Path],
    *,
    encoding: str | None = None,
    strict: bool = False,
    separator: str | None = None,
) -> list[Document]:
    """Read running text as documents of sentences.

    A document ends with its file, before a heading (`= Title =`, CHAPTER IV, Book II, VII. A Title), before
    a title in capitals after two blank lines, and at three blank lines. A lone sentence (a title page) joins
    its neighbour. Headings are left out.

    Args:
        separator: a line that stands between documents, instead of all these rules; "" is a blank line.
        encoding, strict: as in `read_files`, whose InputError it raises, too.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    texts = [text for _, text in read_files(paths, encoding=encoding, strict=strict)]
    documents = [document for text in texts for document in _split_documents(text, separator)]
    if not documents:
        raise InputError(f"{', '.join(map(str, paths))}: no sentence in it; expected running text")
    return documents


def _split_documents(text: str, separator: str | None) -> list[Document]:
    if separator is not None:
        parts = re.split(rf"^[ \t]*{re.escape(separator)}[ \t]*$", text, flags=re.MULTILINE)
        return [document for part in parts if (document := split_sentences(part))]
    documents: list[Document] = [[]]
    blank_lines = 0
    for block in re.split(r"\n((?:[ \t]*\n)+)", text):
        line = block.strip()
        if not line:
            blank_lines = block.count("\n")
            continue
        is_title = _HEADING.match(line) or (blank_lines >= 2 and _CAPITALS.match(line))
        is_heading = is_title and "\n" not in line
        if (is_heading or blank_lines >= 3) and len(documents[-1]) > 1:
            documents.append([])
        if not is_heading and not _SECTION.match(line):
            documents[-1] += split_sentences(block)
    if len(documents) > 1 and len(documents[-1]) < 2:
        lone_sentence = documents.pop()
        documents[-1] += lone_sentence
    return [document for document in documents if document]


def split_sentences(text: str) -> list[str]:
    """Split text into sentences. Lines broken by hand are joined; a blank line ends a sentence, too."""
    sentences = []
    for block in re.split(r"\n[ \t]*\n", text):
        line, start = " ".join(block.split()), 0
        for end in _SENTENCE_END.finditer(line):
            # An abbreviation is one word: to search the whole sentence at each full stop takes too long.
            word = max(start, line.rfind(" ", start, end.start()) + 1)
            if end[1] != "." or not _ABBREVIATION.search(line, word, end.start()):
                sentences.append(line[start : end.end()].rstrip())
                start = end.end()
        sentences += [line[start:]] if start < len(line) else []
    return sentences


def hold_out(documents: Sequence[Document], one_in: int = 20) -> tuple[list[Document], list[Document]]:
    """Set aside every `one_in`-th document, or the last one where there are fewer.

    Returns:
        (the documents to train on, those held out).
    """
    if len(documents) < 2:
        raise InputError("one document cannot be split in training and held-out ones; expected two or more")
    held_out = documents[min(one_in, len(documents)) - 1 :: one_in]
    rest = [document for i, document in enumerate(documents, start=1) if i % min(one_in, len(documents))]
    return rest, list(held_out)
