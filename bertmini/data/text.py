"""Running text: files to documents, documents to sentences."""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from bertmini.errors import InputError

Document = list[str]  # its sentences, in order

AT_ONCE = 2**20  # characters of a file that are read at once: it may be larger than memory
LONGEST_PARAGRAPH, LONGEST_DOCUMENT = 250_000, 1_000_000  # characters; what goes on for longer is cut

OTHERS = {"cp1252": "Windows-1252", "latin-1": "Latin-1"}  # what is read where it is not UTF-8
MARKS, UNDEFINED = re.compile(rb"[\x80-\x9f]"), re.compile(rb"[\x81\x8d\x8f\x90\x9d]")

_BLANK_LINES = re.compile(r"\n((?:[ \t]*\n)+)")
# An end mark and closing quotes, white space, and then what can begin a sentence. Only the first mark of
# a row may begin a match: from each of them the row would be read again. What closes a quote in English opens
# one elsewhere („Ja.“, »Ja.«, «Sí.»), and Spanish questions begin with a mark.
_SENTENCE_END = re.compile(
    r"""(?<![.!?…])([.!?…]+["'”’“‘»«›‹)\]]*)\s+(?=["'“‘„‚«»‹›¿¡`(\[—-]*[^\W_a-zß-öø-ÿ])"""  # noqa: RUF001
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
        encoding: of the bytes; None is UTF-8, or where that fails Windows-1252 or Latin-1, with one warning
            for all such files.
        strict: refuse a file that is not UTF-8.

    Yields:
        (path, text), with "\\n" as the end of a line.

    Raises:
        InputError: a path is missing; a file is empty, binary or in another encoding.
    """
    for path, found in find_encodings(paths, encoding=encoding, strict=strict):
        yield path, "".join(read_pieces(path, found))


def read_pieces(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file of any size, piece by piece, with "\\n" as the end of a line."""
    with open(path, encoding=encoding, newline="") as file:
        while piece := file.read(AT_ONCE):
            while piece.endswith("\r") and (more := file.read(1)):  # "\r\n" stays together
                piece += more
            yield piece.replace("\r\n", "\n").replace("\r", "\n")


def find_encodings(
    paths: Iterable[str | Path], *, encoding: str | None = None, strict: bool = False
) -> list[tuple[Path, str]]:
    """The files that `read_files` reads, all checked before the first one is used, and their encodings."""
    try:
        "".encode(encoding or "utf-8")
    except (LookupError, UnicodeError):
        raise InputError(f"encoding {encoding!r} is unknown; expected one like utf-8, latin-1") from None
    found = [(path, _find_encoding(path, encoding, strict)) for path in walk(paths)]
    for name, told in OTHERS.items():
        if in_it := [path for path, used in found if used == name and not encoding]:
            count = f"{len(in_it)} file{'s' * (len(in_it) > 1)}"
            names = ", ".join(map(str, in_it[:3])) + ", …" * (len(in_it) > 3)
            warnings.warn(f"{count} not in UTF-8, read as {told}: {names}", stacklevel=2)
    return found


def one_byte_encoding(has_marks: bool, has_undefined: bool) -> str:
    """What text is in that is not UTF-8: its quotes and dashes are where Latin-1 has control characters, or
    it has none.

    Args:
        has_marks: whether a byte is from 80 to 9F.
        has_undefined: whether one stands for nothing in Windows-1252.
    """
    return "cp1252" if has_marks and not has_undefined else "latin-1"


def _find_encoding(path: Path, encoding: str | None, strict: bool) -> str:
    wanted = "utf-8-sig" if codecs.lookup(encoding or "utf-8").name == "utf-8" else str(encoding)
    decoder = codecs.getincrementaldecoder(wanted)()
    is_empty, fault, size, line, had_utf8, has_marks, has_undefined = True, 0, 0, 1, False, False, False
    with open(path, "rb") as file:
        while not fault or not encoding:
            data = file.read(AT_ONCE)
            if encoding is None and b"\0" in data:
                if not size and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise InputError(f"{path} is UTF-16; give that as its encoding")
                zero = size + data.index(0)
                raise InputError(f"{path} is binary (byte {zero} is zero); expected text in UTF-8")
            has_marks = has_marks or bool(MARKS.search(data))
            has_undefined = has_undefined or bool(UNDEFINED.search(data))
            try:
                text = data.decode("latin-1") if fault else decoder.decode(data, final=not data)
                had_utf8 = had_utf8 or not (fault or text.isascii())
            except UnicodeError as error:
                before = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
                text, fault = data.decode("latin-1"), line + before.count(10)
                had_utf8 = had_utf8 or not before.isascii()
            is_empty = is_empty and not text.strip()
            if not data:
                break
            size, line = size + len(data), line + data.count(10)
    if is_empty:
        raise InputError(f"{path} is empty; expected text")
    if fault and (strict or encoding):
        raise InputError(f"{path}:{fault} is not {encoding or 'UTF-8'}; give its encoding")
    if fault and had_utf8:  # one bad byte must not turn all others into something else
        raise InputError(
            f"{path}:{fault} is not UTF-8, and what stands before it is; correct it, or give the encoding"
        )
    return one_byte_encoding(has_marks, has_undefined) if fault else wanted


def walk(paths: Iterable[str | Path]) -> Iterator[Path]:
    """The files that are named, and of a folder every one that is not hidden, by name."""
    for path in map(Path, paths):
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for each in inside if path.is_dir() else []:
            if each.is_symlink() and each.is_dir() and not _is_hidden(each.relative_to(path)):
                raise InputError(f"{each} is a link to a folder; name that folder, too, or remove the link")
        files = [file for file in inside if file.is_file() and not _is_hidden(file.relative_to(path))]
        if not files:
            found = "is a folder without files" if path.is_dir() else "is no file that can be read twice"
            found = found if path.exists() else "does not exist"
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
    its neighbour. Headings are left out. After a million characters a document ends with its paragraph.

    Args:
        separator: a line that stands between documents, instead of all these rules; "" is a blank line.
        encoding, strict: as in `read_files`, whose InputError it raises, too.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    texts = stream_documents(paths, encoding=encoding, strict=strict, separator=separator)
    documents = [split_sentences(text) for text in texts]
    if not documents:
        raise InputError(f"{', '.join(map(str, paths))}: no sentence in it; expected running text")
    return documents


def stream_documents(
    paths: Iterable[str | Path],
    *,
    encoding: str | None = None,
    strict: bool = False,
    separator: str | None = None,
) -> Iterator[str]:
    """The documents of `read_documents` one by one, each as its text, however large the files are."""
    for path, found in find_encodings(paths, encoding=encoding, strict=strict):
        yield from cut_documents(read_pieces(path, found), separator)


def cut_documents(pieces: Iterable[str], separator: str | None = None) -> Iterator[str]:
    """The documents of one file, from its text in pieces of any size, by the rules of `read_documents`."""
    if separator is not None:
        yield from _parts(pieces, re.compile(rf"^[ \t]*{re.escape(separator)}[ \t]*\n", re.MULTILINE))
        return
    before, length = "", 0  # a document waits, since a lone sentence after it may join it
    paragraphs: list[str] = []
    for blank_lines, paragraph in _paragraphs(pieces):
        line = paragraph.strip()
        is_heading = "\n" not in line and (
            _HEADING.match(line) or (blank_lines >= 2 and _CAPITALS.match(line))
        )
        is_end = is_heading or blank_lines >= 3
        if (is_end and _has_two_sentences(paragraphs)) or length > LONGEST_DOCUMENT:
            yield from filter(None, [before])
            before, paragraphs, length = "\n\n".join(paragraphs), [], 0
        if not is_heading and not _SECTION.match(line):
            paragraphs.append(paragraph)
            length += len(paragraph)
    if not _has_two_sentences(paragraphs):
        before, paragraphs = "\n\n".join([before, *paragraphs]).strip(), []
    yield from filter(None, [before, "\n\n".join(paragraphs)])


def _has_two_sentences(paragraphs: list[str]) -> bool:
    return len(paragraphs) > 1 or any(len(split_sentences(paragraph)) > 1 for paragraph in paragraphs)


def _paragraphs(pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
    """The paragraphs of a text, each with the number of blank lines before it."""
    rest, blank_lines = "", 0
    for piece in chain(pieces, [""]):
        blocks = _BLANK_LINES.split(rest + piece)  # a paragraph, blank lines, a paragraph, …
        rest = ""
        if piece:  # what comes last may go on in the next piece
            rest = blocks.pop()
            if not rest.strip() and blocks:
                rest = "\n" + blocks.pop() + rest
            else:
                *cut, rest = _cut(rest, LONGEST_PARAGRAPH, goes_on=True)
                blocks += cut
        for block in blocks:
            if not block.strip():
                blank_lines = block.count("\n")
                continue
            for part in _cut(block, LONGEST_PARAGRAPH):
                if part.strip():
                    yield blank_lines, part
                blank_lines = 0


def _parts(pieces: Iterable[str], separator: re.Pattern[str]) -> Iterator[str]:
    """What stands between the separators of a text."""
    waiting = [""]
    for piece in chain(pieces, ["\n", ""]):
        waiting.append(piece)
        if piece and "\n" not in piece:  # to look at the line again for each of its pieces takes too long
            continue
        lines, end, unfinished = "".join(waiting).rpartition("\n")
        parts = separator.split(lines + end)
        if piece:
            *cut, rest = _cut(parts.pop(), LONGEST_DOCUMENT, goes_on=True)
            waiting = [rest, unfinished]
            parts += cut
        for part in parts:
            yield from (each for each in _cut(part, LONGEST_DOCUMENT) if each.strip())


def _cut(text: str, longest: int, goes_on: bool = False) -> list[str]:
    """A text in parts of at least `longest` characters (but the last), cut after a line, or else a word.

    A cut depends on the next two times `longest` characters alone: where the text goes on, the rest waits
    until it has them.
    """
    parts, start = [], 0
    wait_for = 2 * longest + len(text) - len(text.rstrip()) if goes_on else longest
    while len(text) - start > wait_for:
        ends = (text.find(mark, start + longest, start + 2 * longest) + 1 for mark in ("\n", " "))
        end = next(filter(None, ends), start + 2 * longest)
        parts.append(text[start:end])
        start = end
    return [*parts, text[start:]]


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
