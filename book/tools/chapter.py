"""Read a chapter's source and lower it to plain cells that Colab, Jupyter and the book all show alike."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

import jupytext.myst
from markdown_it import MarkdownIt
from pybtex.database import Entry, parse_file

from book.tools.package_source import definition
from book.tools.project import BOOK, CHAPTERS, NOTEBOOKS, ROOT, glossary_anchors, page_address, repository

TAGS = {"setup", "package", "exercise", "solution", "machine", "widget", "hide-input", "raises-exception"}
NOT_COMPARED = {"machine", "widget"}

SETUP = """\
from __future__ import annotations

try:
    import bertmini
except ImportError:  # a fresh Colab
    %pip install -q "bertmini[{extras}] @ git+{repository}"

from bertmini import course

course.setup()"""

ROLE = re.compile(r"(?<!`)\{([a-z][a-z:+_-]*)\}`([^`]+)`")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+\.md)(#[^)\s]*)?\)")
IMAGE = re.compile(r"!\[[^\]]*\]\((?!https?://)")
OPTION = re.compile(r"- \[([ x])\] (.+)")
_markdown = MarkdownIt("commonmark")


@dataclass
class Cell:
    kind: str  # "markdown" or "code"
    source: str
    line: int  # of the chapter's source, counted from 1
    tags: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of a `package` cell: the definitions it shows


class Chapter:
    """A chapter: its cells as they are `written`, its `cells` lowered, `problems` and `notes` on the way.

    A problem stops the notebook from being made. A note (a term or a page that is not there yet) does not,
    so that chapters can be written side by side; the tests count both.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = path.name[:2]
        self.notebook = NOTEBOOKS / f"{path.stem}.ipynb"
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.written = self._read()
        self._check_order()
        self.cells = [self._lower(cell) for cell in self.written]

    def place(self, line: int) -> str:
        path = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{path}:{line}"

    def problem(self, line: int, words: str) -> None:
        self.problems.append(f"{self.place(line)}: {words}")

    def note(self, line: int, words: str) -> None:
        self.notes.append(f"{self.place(line)}: {words}")

    def _read(self) -> list[Cell]:
        text = self.path.read_text("utf-8")
        notebook = jupytext.myst.myst_to_notebook(text, add_source_map=True)
        lines = text.splitlines()
        cells = []
        for cell, start in zip(notebook.cells, notebook.metadata["source_map"], strict=True):
            source = cell.source.strip("\n")
            first = source.split("\n")[0]
            # The map points at what precedes the cell: a blank line, or the options of a code cell.
            line = next((at for at in range(start, len(lines)) if source and lines[at] == first), start) + 1
            tags = list(cell.metadata.get("tags", []))
            cells.append(Cell(cell.cell_type, source, line, tags))
        return cells

    def _check_order(self) -> None:
        """Tags are known, solutions follow exercises, and a claim stands where it is compared."""
        for position, cell in enumerate(self.written):
            for tag in sorted(set(cell.tags) - TAGS):
                self.problem(cell.line, f"unknown tag {tag!r}; known: {', '.join(sorted(TAGS))}")
            follower = self.written[position + 1] if position + 1 < len(self.written) else None
            if "exercise" in cell.tags:
                if "course.check(" not in cell.source:
                    self.problem(cell.line, "an exercise cell ends with course.check(id, function)")
                if follower is None or "solution" not in follower.tags:
                    self.problem(cell.line, "an exercise is directly followed by its solution cell")
            if "solution" in cell.tags and (
                position == 0 or "exercise" not in self.written[position - 1].tags
            ):
                self.problem(cell.line, "a solution directly follows its exercise")
            if NOT_COMPARED & set(cell.tags) and re.search(r"course\.(claim|found)\(", cell.source):
                self.problem(cell.line, "a claim stands in an ordinary cell, where its words are compared")
            if "machine" in cell.tags and not self._claimed_after(position):
                self.problem(
                    cell.line, "a machine cell is followed by a course.claim(...) in the same section"
                )
        if not any("setup" in cell.tags for cell in self.written):
            self.problem(1, "no set-up cell (tag `setup`)")

    def _claimed_after(self, position: int) -> bool:
        for cell in self.written[position + 1 :]:
            if cell.kind == "code" and "course.claim(" in cell.source and not NOT_COMPARED & set(cell.tags):
                return True
            if cell.kind == "markdown" and re.search(r"^## ", cell.source, re.MULTILINE):
                return False
        return False

    def _lower(self, cell: Cell) -> Cell:
        if cell.kind == "markdown":
            return Cell("markdown", self._lower_markdown(cell), cell.line)
        if "solution" in cell.tags:
            source = f"<details>\n<summary>Solution</summary>\n\n```python\n{cell.source}\n```\n\n</details>"
            return Cell("markdown", source, cell.line, ["solution"])
        source, tags = cell.source, list(cell.tags)
        names: list[str] = []
        if "setup" in tags:
            extras = ",".join(["course", *cell.source.split()])
            source = SETUP.format(extras=extras, repository=repository())
        if "package" in tags:
            source, names = self._package_source(cell)
        if NOT_COMPARED & set(tags):
            tags.append("nbval-ignore-output")
        if not source:
            self.problem(cell.line, "an empty code cell")
        if "%" not in source and "!" not in source:
            self._parse(cell, source)
        return Cell("code", source, cell.line, tags, names)

    def _parse(self, cell: Cell, source: str) -> None:
        try:
            ast.parse(source)
        except SyntaxError as error:
            self.problem(cell.line + (error.lineno or 1) - 1, f"{error.msg}: {(error.text or '').strip()}")

    def _package_source(self, cell: Cell) -> tuple[str, list[str]]:
        names = [
            line.split("#")[0].strip() for line in cell.source.splitlines() if line.split("#")[0].strip()
        ]
        pieces, shown = [], ""
        for offset, name in enumerate(names):
            try:
                path, source = definition(name)
            except LookupError as error:
                self.problem(cell.line + offset, error.args[0])
                continue
            where = path.relative_to(ROOT).as_posix()
            pieces.append(source if where == shown else f"# {where}\n{source}")
            shown = where
        return "\n\n\n".join(pieces), names

    def _lower_markdown(self, cell: Cell) -> str:
        """Roles, quizzes and links become plain Markdown, but in fenced code; other MyST is refused."""
        lowered, lines, fence, position = [], cell.source.split("\n"), "", 0
        while position < len(lines):
            text, line = lines[position], cell.line + position
            opening = re.match(r"\s*(`{3,}|~{3,}|:{3,})(.*)", text)
            if fence:
                fence = "" if opening and opening[1].startswith(fence) and not opening[2].strip() else fence
                lowered.append(text)
            elif opening and opening[2].startswith("{quiz}"):
                end = next(
                    (at for at in range(position + 1, len(lines)) if lines[at].strip() == opening[1]), None
                )
                if end is None:
                    self.problem(line, f"a quiz that is never closed with {opening[1]}")
                    end = len(lines)
                question = opening[2].removeprefix("{quiz}").strip()
                lowered.append(self._quiz(question, lines[position + 1 : end], line))
                position = end
            elif opening:
                if opening[2].startswith("{") or opening[1][0] == ":":
                    self.problem(line, f"a directive that chapters do not have: {text.strip()}")
                fence = opening[1]
                lowered.append(text)
            else:
                if IMAGE.search(text):
                    self.problem(line, "a picture from a file; Colab has no such file, so draw it in a cell")
                lowered.append(self._inline(text, line))
            position += 1
        return "\n".join(lowered)

    def _inline(self, text: str, line: int) -> str:
        text = ROLE.sub(lambda match: self._role(match[1], match[2], line), text)
        return LINK.sub(lambda match: self._link(match, line), text)

    def _role(self, role: str, body: str, line: int) -> str:
        if role in ("cite", "cite:t"):
            citations = "; ".join(self._citation(key.strip(), line) for key in body.split(","))
            return f"({citations})" if role == "cite" else citations
        if role == "term":
            named = re.fullmatch(r"(.+?)\s*<(.+)>", body, re.DOTALL)
            words, term = (named[1], named[2]) if named else (body, body)
            anchor = glossary_anchors().get(term.lower())
            if anchor is None:
                self.note(line, f"no term {term!r} in book/glossary.md")
                return words
            return f"[{words}]({page_address(BOOK / 'glossary.md')}#{anchor})"
        self.problem(
            line, f"a role that chapters do not have: {{{role}}}`{body}`; they have cite, cite:t and term"
        )
        return body

    def _citation(self, key: str, line: int) -> str:
        entry = bibliography().get(key)
        if entry is None:
            self.problem(line, f"no entry {key!r} in book/references.bib")
            return key
        return f"[{label(entry)}]({address(entry)})"

    def _link(self, match: re.Match[str], line: int) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = (CHAPTERS / target).resolve()
        if not path.is_relative_to(BOOK):
            self.problem(line, f"a link that leaves book/: {target}")
            return words
        if not path.exists():
            self.note(line, f"a link to a page that is not there: {target}")
        return f"[{words}]({page_address(path)}{anchor})"

    def _quiz(self, question: str, lines: list[str], line: int) -> str:
        options: list[str] = []
        for text in lines:
            if text.startswith("- "):
                options.append(text)
            elif text.strip() and options:
                options[-1] += " " + text.strip()
            elif text.strip():
                question += " " + text.strip()
        pieces = [f"**{self._inline(question, line)}**"]
        right = 0
        for option in options:
            match = OPTION.fullmatch(option)
            # The last bar, so that an option may hold one.
            words, _, why = (match[2] if match else "").rpartition(" | ")
            if match is None or not words or "$" in words:
                self.problem(
                    line, f"a quiz option reads `- [ ] option | why`, no mathematics in the option: {option}"
                )
                continue
            right += match[1] == "x"
            verdict = "✓ Yes." if match[1] == "x" else "✗ No."
            summary = _markdown.renderInline(words.strip())
            pieces.append(
                f"<details>\n<summary>{summary}</summary>\n\n"
                f"{verdict} {self._inline(why.strip(), line)}\n\n</details>"
            )
        if not right or not question:
            self.problem(line, "a quiz has a question and at least one right option")
        return "\n\n".join(pieces)


def bibliography() -> dict[str, Entry]:
    """The entries of `book/references.bib` by key."""
    if not _entries:
        _entries.update(parse_file(str(BOOK / "references.bib"), "bibtex").entries)
    return _entries


_entries: dict[str, Entry] = {}


def label(entry: Entry) -> str:
    """How a source is named in a sentence: `Devlin et al. 2019`."""
    surnames = [" ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]]
    surnames = [name.replace("{", "").replace("}", "") for name in surnames]
    who = " and ".join(surnames) if len(surnames) <= 2 else f"{surnames[0]} et al."
    return f"{who} {entry.fields['year']}"


def address(entry: Entry) -> str:
    """Where a source can be read: its arXiv page, its DOI or its own address."""
    fields = entry.fields
    if "eprint" in fields:
        return f"https://arxiv.org/abs/{fields['eprint']}"
    if "doi" in fields:
        return f"https://doi.org/{fields['doi']}"
    return fields["url"]
