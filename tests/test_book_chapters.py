"""The notebooks are what sources, package and fingerprints say, and hold what a chapter promises."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import re
import textwrap
from pathlib import Path

import nbformat
import pytest
import yaml

pytest.importorskip("jupytext", reason="the book's tools are not installed")

from book.tools.chapter import NOT_COMPARED, Chapter
from book.tools.notebooks import differences
from book.tools.project import NOTEBOOKS, ROOT, chapter_sources, published, repository

CHAPTERS = [pytest.param(Chapter(path), id=path.stem) for path in chapter_sources()]
EXERCISES = [
    pytest.param(chapter, position, id=f"{chapter.path.stem}:{cell.line}")
    for chapter in (parameter.values[0] for parameter in CHAPTERS)
    for position, cell in enumerate(chapter.written)
    if "exercise" in cell.tags
]


def notebook_of(chapter: Chapter) -> nbformat.NotebookNode:
    return nbformat.read(chapter.notebook, as_version=4)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_notebook_is_what_its_source_gives(chapter):
    assert chapter.problems + chapter.notes == []
    assert differences(chapter) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_directive_or_role_is_left(chapter):
    for cell in notebook_of(chapter).cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"^(```|~~~).*?^\1", "", cell.source, flags=re.MULTILINE | re.DOTALL)
            assert not re.search(r"^\s*(:::|`{3,}\{)", prose, re.MULTILINE), cell.source
            assert not re.search(r"\{[a-z][\w:+-]*\}`", prose), cell.source


def bare(source: str) -> str:
    """Source without docstrings, comments and layout."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.dump(tree)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_package_cells_are_the_package_as_python_finds_it(chapter):
    for cell in notebook_of(chapter).cells:
        names = cell.metadata.get("bertmini", {}).get("definitions", [])
        if not names:
            continue
        sources = []
        for name in names:
            module, _, inner = name.rpartition(".")
            while True:
                try:
                    found = importlib.import_module(module)
                    break
                except ModuleNotFoundError:
                    module, _, outer = module.rpartition(".")
                    inner = f"{outer}.{inner}"
            for part in inner.split("."):
                found = getattr(found, part)
            if not (inspect.isclass(found) or inspect.isroutine(inspect.unwrap(found))):
                break  # a constant, for which Python finds no source; the other cells are compared
            sources.append(textwrap.dedent(inspect.getsource(found)))
        else:
            assert bare(cell.source) == bare("\n\n".join(sources)), names


@pytest.mark.parametrize(("chapter", "position"), EXERCISES)
def test_the_stub_says_not_attempted_and_the_solution_passes(chapter, position):
    """Runs the chapter's cells up to the exercise that it needs, then the stub, then the solution."""
    stub, solution = chapter.written[position : position + 2]
    names = {node.name for node in ast.walk(ast.parse(stub.source)) if isinstance(node, DEFINITIONS)}
    assert names & {
        node.name for node in ast.walk(ast.parse(solution.source)) if isinstance(node, DEFINITIONS)
    }
    space = needed(chapter, position)
    assert "not attempted" in said(stub.source, space)
    check = next(line for line in stub.source.splitlines() if line.startswith("course.check("))
    answer = said(
        solution.source if "course.check(" in solution.source else f"{solution.source}\n{check}", space
    )
    assert "not attempted" not in answer
    assert "✓" in answer, answer


DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def said(source: str, space: dict) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "<cell>", "exec", flags=annotations_flag(), dont_inherit=True), space)
    return out.getvalue()


def annotations_flag() -> int:
    import __future__

    return __future__.annotations.compiler_flag


def needed(chapter: Chapter, position: int) -> dict:
    """A name space with the chapter's imports, definitions and constants before the exercise, and no more."""
    space: dict = {"__name__": "__main__"}
    said("from bertmini import course", space)
    for cell in chapter.cells[:position]:
        if cell.kind != "code" or {"setup", "exercise"} & set(cell.tags):
            continue
        kept = [
            node
            for node in ast.parse(cell.source).body
            if isinstance(node, (*DEFINITIONS, ast.Import, ast.ImportFrom)) or constant(node)
        ]
        said("\n".join(ast.unparse(node) for node in kept), space)
    return space


def constant(node: ast.stmt) -> bool:
    """An assignment to a name in capitals, such as SPECIAL or LENGTH."""
    return isinstance(node, ast.Assign) and all(
        isinstance(target, ast.Name) and target.id.isupper() for target in node.targets
    )


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_claim_is_printed_and_compared(chapter):
    claims = 0
    for cell in notebook_of(chapter).cells:
        if cell.cell_type != "code" or "course.claim(" not in cell.source:
            continue
        tags = set(cell.metadata.get("tags", []))
        assert not tags & (NOT_COMPARED | {"nbval-ignore-output", "nbval-skip"})
        assert cell.execution_count is not None
        printed = "".join(output.get("text", "") for output in cell.outputs)
        assert printed.count("✓") >= 1, cell.source
        claims += 1
    assert claims


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_outputs_hold_no_error_output_and_stay_small(chapter):
    notebook = notebook_of(chapter)
    assert chapter.notebook.stat().st_size < 1_500_000
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr"
            assert output.output_type != "error" or "raises-exception" in cell.metadata.tags


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_ends_with_what_was_found(chapter):
    code = [cell.source for cell in chapter.cells if cell.kind == "code"]
    found = next(position for position, source in enumerate(code) if "course.found()" in source)
    assert not any("course.claim(" in source for source in code[found + 1 :])
    assert any("quiz" in cell.source for cell in chapter.written if cell.kind == "markdown")
    assert any("exercise" in cell.tags for cell in chapter.written)


def test_every_chapter_and_no_other_notebook_is_in_the_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    listed = {entry["file"] for part in toc["parts"] for entry in part["chapters"]}
    made = {f"notebooks/{parameter.values[0].path.stem}" for parameter in CHAPTERS}
    assert {name for name in listed if name.startswith("notebooks/")} == made
    assert {f"notebooks/{path.stem}" for path in NOTEBOOKS.glob("*.ipynb")} == made


def test_the_readme_lists_every_chapter_by_its_title():
    readme = (ROOT / "README.md").read_text("utf-8")
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    chapters = [entry for part in toc["parts"] for entry in part["chapters"] if "title" in entry]
    named = [entry for entry in chapters if f"[{entry['title']}](" in readme and entry["file"] in readme]
    assert len(chapters) > len(CHAPTERS)  # and the page to read at the end
    assert named == chapters


def test_the_address_stands_once():
    """Everything else follows from `_config.yml`."""
    assert published().startswith("https://")
    for path in [
        *ROOT.glob("book/tools/*.py"),
        *ROOT.glob("bertmini/**/*.py"),
        *ROOT.glob("book/chapters/*.md"),
    ]:
        assert repository().removeprefix("https://") not in path.read_text("utf-8"), Path(path).name
