"""The tool that lowers chapters: what it makes of what an author may write, and how it refuses the rest."""

from __future__ import annotations

import contextlib
import os

import pytest

pytest.importorskip("jupytext", reason="the book's tools are not installed")

from book.tools.chapter import Chapter
from book.tools.execution import CellFailure, execute, run_cells
from book.tools.notebooks import cells_digest, lowered
from book.tools.package_source import definition
from book.tools.project import ROOT

HEAD = "---\nkernelspec:\n  name: python3\n  display_name: Python 3\n---\n\n# A chapter\n\n"
SETUP = "```{code-cell} python\n:tags: [setup]\n```\n\n"


@pytest.fixture
def chapter(tmp_path):
    def make(body: str) -> Chapter:
        path = tmp_path / "42_try.md"
        path.write_text(HEAD + SETUP + body, "utf-8")
        return Chapter(path)

    return make


def cell(source: str, *tags: str) -> str:
    options = f":tags: [{', '.join(tags)}]\n" if tags else ""
    return f"```{{code-cell}} python\n{options}{source}\n```\n\n"


def test_citations_and_terms_become_links(chapter):
    made = chapter("See {cite:t}`devlin2019bert` on {term}`tokens <token>` {cite}`devlin2019bert`.")
    text = made.cells[-1].source
    assert "See [Devlin et al. 2019](https://arxiv.org/abs/1810.04805) on" in text
    assert "([Devlin et al. 2019](https://arxiv.org/abs/1810.04805))." in text
    assert "/book/glossary.html#term-token)" in text
    assert made.problems + made.notes == []


def test_a_quiz_becomes_details_with_reasons(chapter):
    made = chapter(":::{quiz} Which?\n- [ ] `a` | because\n  of $x$\n- [x] b | yes\n:::")
    text = made.cells[-1].source
    assert "<summary><code>a</code></summary>\n\n✗ No. because of $x$" in text
    assert "<summary>b</summary>\n\n✓ Yes. yes" in text


def test_a_solution_is_folded_and_not_executed(chapter):
    made = chapter(
        cell('def f(): ...\ncourse.check("42.1", f)', "exercise") + cell("def f(): pass", "solution")
    )
    assert made.problems == []
    assert [one.kind for one in made.cells][-2:] == ["code", "markdown"]
    assert "<details>" in made.cells[-1].source


def test_a_package_cell_shows_the_source_with_one_line_of_docstring(chapter):
    made = chapter(cell("bertmini.errors.InputError", "package"))
    assert made.cells[-1].source.startswith("# bertmini/errors.py\nclass InputError(ValueError):")
    _, source = definition("bertmini.model.attention.attend")
    assert "Args:" not in source
    assert source.count('"""') == 2
    with pytest.raises(LookupError, match=r"no nothing in bertmini/errors\.py"):
        definition("bertmini.errors.nothing")


def test_what_lies_beside_the_package_is_shown_alike():
    for name, file, begin in (
        ("hubconf.predictor", "hubconf.py", "def predictor("),
        ("examples.serve.Batcher", "examples/serve.py", "class Batcher:"),
        ("examples.serve.read_body", "examples/serve.py", "async def read_body("),
    ):
        path, source = definition(name)
        assert path.relative_to(ROOT).as_posix() == file
        assert source.startswith(begin)
    _, batcher = definition("examples.serve.Batcher")
    assert "async def answers" in batcher
    assert "Raises:" not in batcher
    for name in ("tests.conftest.classifier", "bertmini.attend", "hubconf"):
        with pytest.raises(LookupError, match="a package cell names definitions like"):
            definition(name)


def test_a_set_up_cell_installs_the_extras_that_it_names(tmp_path):
    def install(extras: str) -> str:
        path = tmp_path / "42_try.md"
        path.write_text(HEAD + cell(extras, "setup"), "utf-8")
        made = Chapter(path)
        assert made.problems == []
        return made.cells[-1].source

    assert "bertmini[course] @ git+" in install("")
    assert "bertmini[course,onnx,serve] @ git+" in install("onnx\nserve")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{ref}`x`", "a role that chapters do not have"),
        ("```{note}\nx\n```", "a directive that chapters do not have"),
        ("{cite}`nobody1900`", "no entry 'nobody1900'"),
        ("![x](picture.png)", "a picture from a file"),
        (":::{quiz} Which?\n- [ ] a | no\n:::", "at least one right option"),
        (cell("x = (", "machine"), "was never closed"),
        (cell("x = 1", "machine"), "followed by a course.claim"),
        (cell('course.claim("x", True)', "machine"), "stands in an ordinary cell"),
        (cell("x = 1", "typo"), "unknown tag 'typo'"),
        (cell("def f(): ...", "exercise"), "directly followed by its solution"),
        (cell("bertmini.nowhere.attend", "package"), "nowhere"),
    ],
)
def test_what_a_chapter_must_not_hold_is_named_with_its_line(chapter, body, words):
    problems = chapter("Some words.\n\n" + body).problems
    found = [problem for problem in problems if words in problem]
    assert found, problems
    line = int(found[0].rsplit("42_try.md:", 1)[1].split(":")[0])
    assert 13 < line < 22


def test_prose_and_address_are_no_reason_to_execute(chapter, monkeypatch):
    before = cells_digest(chapter("One text.\n\n" + cell("x = 1")))
    assert cells_digest(chapter("Another text.\n\n" + cell("x = 1"))) == before
    assert cells_digest(chapter("One text.\n\n" + cell("x = 2"))) != before
    monkeypatch.setattr("book.tools.chapter.repository", lambda: "https://github.com/some/fork")
    monkeypatch.setattr("book.tools.notebooks.repository", lambda: "https://github.com/some/fork")
    forked = chapter("One text.\n\n" + cell("x = 1"))
    assert "some/fork" in lowered(forked).cells[1].source
    assert cells_digest(forked) == before


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys\nprint('x', file=sys.stderr)", "writes to stderr"),
        ("object()", "an address in memory"),
        ("y = 1\n1 / 0", "ZeroDivisionError"),
        ("import pathlib\nprint(pathlib.Path.home())", "a path of this machine"),
    ],
)
def test_execution_refuses_what_would_not_come_again(tmp_path, source, words):
    path = tmp_path / "42_try.md"
    path.write_text(HEAD + cell(source), "utf-8")
    made = Chapter(path)
    with pytest.raises(CellFailure, match=words) as failure:
        execute(made, lowered(made))
    assert "42_try.md:1" in str(failure.value)


@pytest.mark.parametrize("ending", ["", "\n1 / 0"])
def test_a_notebook_leaves_no_kernel_behind(tmp_path, ending):
    path = tmp_path / "42_try.md"
    kernel = tmp_path / "kernel"
    path.write_text(
        HEAD + cell(f"import os, pathlib\npathlib.Path({str(kernel)!r}).write_text(str(os.getpid())){ending}")
    )
    made = Chapter(path)
    with pytest.raises(CellFailure) if ending else contextlib.nullcontext():
        run_cells(made, lowered(made))
    with pytest.raises(ProcessLookupError):
        os.kill(int(kernel.read_text()), 0)


def test_the_report_counts_what_failed_and_what_did_not_run(tmp_path, monkeypatch, capsys):
    from book.tools import report

    case = '<testcase classname="c" name="n{}" time="1">{}</testcase>'
    for stem, start in (("1-unit", "10:00:00"), ("2-notebooks", "10:01:00")):
        cases = case.format(1, "") + case.format(2, '<failure message="no"/>')
        attributes = 'tests="2" failures="1" errors="0" skipped="0" time="600"'
        suite = f'<testsuite {attributes} timestamp="2026-01-01T{start}">{cases}</testsuite>'
        (tmp_path / f"{stem}.xml").write_text(f"<testsuites>{suite}</testsuites>")
    monkeypatch.setattr("sys.argv", ["report", str(tmp_path)])
    assert report.main() == 1
    told = capsys.readouterr().out
    assert told.count("FAILED c::n2") == 2
    assert "did not run" in told
    assert told.endswith("==== 2 failed, 2 passed, 0 skipped in 660.00s ====\n")
