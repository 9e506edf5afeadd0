"""Make the notebooks from the chapters' sources.

    python -m book.tools.notebooks [NN ...] [--check] [--force]

Each `book/chapters/NN_name.md` becomes `notebooks/NN_name.ipynb`, executed, with a fingerprint of everything
that its outputs rest on. A notebook whose fingerprint still holds is not executed again: when only prose or
the repository's address changed, its text is written anew around the outputs that it has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from book.tools.chapter import Chapter
from book.tools.execution import CellFailure, execute
from book.tools.project import PACKAGE, ROOT, chapter_sources, repository

Fingerprint = dict[str, Any]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def cells_digest(chapter: Chapter) -> str:
    """A digest of what is executed; prose and the repository's address are not part of it."""
    code = [
        [cell.source.replace(repository(), "REPOSITORY"), cell.tags]
        for cell in chapter.cells
        if cell.kind == "code"
    ]
    return digest(json.dumps(code).encode())


def model_digest() -> str | None:
    """A digest of the model that the package ships."""
    files = sorted(
        path
        for path in (PACKAGE / "pretrained").rglob("*")
        if path.suffix in {".safetensors", ".json", ".txt"}
    )
    return digest(b"".join(path.read_bytes() for path in files)) if files else None


def gazette_version() -> Any:
    """The version of the embedded corpus, read from the package without importing it."""
    for path in sorted((PACKAGE / "gazette").glob("*.py")):
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("GAZETTE_VERSION") and "=" in line:
                return line.split("=", 1)[1].split("#")[0].strip().strip("\"'")
    return None


def measurements(chapter: Chapter) -> list[Path]:
    """The files of measurements that the chapter's cells read."""
    code = "".join(cell.source for cell in chapter.cells if cell.kind == "code")
    return [ROOT / name for name in sorted(set(re.findall(r"benchmarks/results/\w+\.json", code)))]


def fingerprint(chapter: Chapter, files: list[Path]) -> Fingerprint:
    """What outputs rest on: the cells, the files they import or read, the Gazette, the shipped model."""
    return {
        "cells": cells_digest(chapter),
        "sources": {
            path.relative_to(ROOT).as_posix(): digest(path.read_bytes()) if path.exists() else None
            for path in files
        },
        "gazette": gazette_version(),
        "model": model_digest(),
    }


def stale(chapter: Chapter, notebook: NotebookNode) -> list[str]:
    """Why a notebook's outputs are no longer those of its source and package; empty when they are."""
    recorded = notebook.metadata.get("bertmini", {}).get("fingerprint")
    if recorded is None:
        return ["it was never executed"]
    files = [ROOT / name for name in recorded["sources"]]
    now = fingerprint(chapter, files)
    reasons = [f"{part} changed" for part in ("cells", "gazette", "model") if recorded[part] != now[part]]
    reasons += [
        f"{name} changed" for name, value in now["sources"].items() if recorded["sources"][name] != value
    ]
    return reasons


def lowered(chapter: Chapter) -> NotebookNode:
    """The chapter's notebook with no outputs."""
    cells = []
    for position, cell in enumerate(chapter.cells):
        make = nbformat.v4.new_code_cell if cell.kind == "code" else nbformat.v4.new_markdown_cell
        node = make(cell.source, id=f"c{chapter.number}-{position:03d}")
        if cell.tags:
            node.metadata["tags"] = cell.tags
        if cell.names:
            node.metadata["bertmini"] = {"definitions": cell.names}
        if "hide-input" in cell.tags:
            node.metadata["jupyter"] = {"source_hidden": True}
            node.metadata["cellView"] = "form"
        cells.append(node)
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "bertmini": {"source": f"book/chapters/{chapter.path.name}"},
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def read_notebook(chapter: Chapter) -> NotebookNode | None:
    return nbformat.read(chapter.notebook, as_version=4) if chapter.notebook.exists() else None


def with_outputs_of(notebook: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """The notebook with the outputs, fingerprint and widgets of an executed one that has the same code."""
    done = [cell for cell in executed.cells if cell.cell_type == "code"]
    for cell, was in zip((cell for cell in notebook.cells if cell.cell_type == "code"), done, strict=True):
        cell.outputs, cell.execution_count = was.outputs, was.execution_count
    notebook.metadata["bertmini"]["fingerprint"] = executed.metadata["bertmini"]["fingerprint"]
    if "widgets" in executed.metadata:
        notebook.metadata["widgets"] = executed.metadata["widgets"]
    return notebook


def differences(chapter: Chapter) -> list[str]:
    """Where the committed notebook is not what its source, the package and its fingerprint say."""
    committed = read_notebook(chapter)
    if committed is None:
        return [f"{chapter.place(1)}: no notebook {chapter.notebook.name}"]
    expected = lowered(chapter)
    if len(committed.cells) != len(expected.cells):
        return [f"{chapter.place(1)}: {len(expected.cells)} cells, the notebook has {len(committed.cells)}"]
    found = []
    for cell, ours, theirs in zip(chapter.cells, expected.cells, committed.cells, strict=True):
        if any(ours[part] != theirs.get(part) for part in ("cell_type", "source", "id", "metadata")):
            found.append(f"{chapter.place(cell.line)}: the notebook's cell {theirs.get('id')} is another")
    found += [
        f"{chapter.place(1)}: {reason} since the notebook was executed"
        for reason in stale(chapter, committed)
    ]
    return found


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    nbformat.validate(notebook)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".ipynb.partial")
    partial.write_text(nbformat.writes(notebook, version=4) + "\n", "utf-8")
    os.replace(partial, path)


def make(chapter: Chapter, force: bool) -> str:
    """Make one chapter's notebook; returns what was done, in words."""
    notebook, committed = lowered(chapter), read_notebook(chapter)
    if committed is not None and not force and not stale(chapter, committed):
        notebook = with_outputs_of(notebook, committed)
        if notebook == committed:
            return "is current"
        write(notebook, chapter.notebook)
        return "has new text; its outputs still hold"
    start = time.perf_counter()
    files = execute(chapter, notebook)
    notebook.metadata["bertmini"]["fingerprint"] = fingerprint(chapter, files + measurements(chapter))
    write(notebook, chapter.notebook)
    return f"executed in {time.perf_counter() - start:.1f} s"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.notebooks", description="Make the notebooks.")
    parser.add_argument("chapters", nargs="*", metavar="NN", help="numbers of chapters (default: all)")
    parser.add_argument(
        "--check", action="store_true", help="execute nothing; say what is not current, exit 1"
    )
    parser.add_argument("--force", action="store_true", help="execute even what is current")
    options = parser.parse_args()
    failed = False
    for path in chapter_sources(options.chapters):
        chapter = Chapter(path)
        for words in chapter.notes + chapter.problems:
            print(words, file=sys.stderr)
        if options.check:
            found = chapter.problems or differences(chapter)
            for words in found:
                print(words, file=sys.stderr)
            failed = failed or bool(found or chapter.notes)
            print(f"{chapter.notebook.name} {'is not current' if found else 'is current'}")
        elif chapter.problems:
            failed = True
        else:
            try:
                print(f"{chapter.notebook.name} {make(chapter, options.force)}", flush=True)
            except CellFailure as failure:
                print(failure, file=sys.stderr)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
