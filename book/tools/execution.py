"""Run a notebook's cells in the interpreter that runs this, and leave nothing volatile in what they print."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from book.tools.chapter import Chapter
from book.tools.project import NOTEBOOKS, ROOT

MOST_BYTES = 1_000_000  # bytes of outputs in a notebook
VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
IMPORTED = """\
import sys
for name, module in sorted(sys.modules.items()):
    if name.split(".")[0] == "bertmini" and getattr(module, "__file__", None):
        print(module.__file__)"""
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class CellFailure(Exception):
    """A cell that must not go into the book, with the place in the source where it stands."""


def execute(chapter: Chapter, notebook: NotebookNode) -> list[Path]:
    """Execute the notebook in place, and leave nothing volatile in its outputs.

    Returns:
        The files of bertmini that its cells imported, directly or indirectly.

    Raises:
        CellFailure: for an exception, something on stderr, an address in memory, a path of this machine, or
            outputs that are too large; in words that name the line of the chapter's source.
    """
    os.environ.pop("MODEL", None)  # the committed outputs are those of the model that the package ships
    notebook.cells.append(nbformat.v4.new_code_cell(IMPORTED))
    run_cells(chapter, notebook)
    imported = "".join(output.text for output in notebook.cells.pop().outputs)
    _settle(chapter, notebook)
    _refuse(chapter, notebook)
    return sorted(Path(line) for line in imported.splitlines() if Path(line).is_relative_to(ROOT))


def run_cells(chapter: Chapter, notebook: NotebookNode, timeout: int = 600) -> None:
    """Run the cells in the interpreter that runs this.

    Raises:
        CellFailure: for an exception or after `timeout` seconds in a cell.
    """
    # An empty list of kernel folders leaves the native kernel: the interpreter that runs this.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=timeout,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(NOTEBOOKS)}},
    )
    NOTEBOOKS.mkdir(exist_ok=True)
    with client.setup_kernel(cleanup_kc=True):  # a manager that is given keeps its kernel alive otherwise
        for position, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, position)
            except CellExecutionError as error:
                raise CellFailure(_explain(chapter, position, cell, error)) from None
            except (CellTimeoutError, DeadKernelError) as error:
                line = chapter.cells[position].line if position < len(chapter.cells) else 1
                raise CellFailure(f"{chapter.place(line)}: {str(error).splitlines()[0]}") from None
        client.set_widgets_metadata()


def _explain(chapter: Chapter, position: int, cell: NotebookNode, error: CellExecutionError) -> str:
    trace = COLOUR.sub("", error.traceback)
    trace = trace[max(0, trace.find("Traceback (most recent")) :]  # a syntax error of IPython's has no header
    inside = re.findall(r"Cell In\[\d+\], line (\d+)", trace)
    line = chapter.cells[position].line
    if inside and not {"setup", "package"} & set(chapter.cells[position].tags):
        line += int(inside[-1]) - 1
    return f"{chapter.place(line)}: {error.ename}: {error.evalue}\n{trace.rstrip()}"


def _settle(chapter: Chapter, notebook: NotebookNode) -> None:
    """Give random identifiers names that the next run gives again, and join what was printed in pieces."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        joined: list[NotebookNode] = []
        for output in cell.outputs:
            if output.output_type == "stream" and joined and joined[-1].get("name") == output.name:
                joined[-1].text += output.text
            else:
                joined.append(output)
        cell.outputs = joined
    views = any(VIEW in output.get("data", {}) for output in _outputs(notebook))
    if not views:
        notebook.metadata.pop("widgets", None)
    text = json.dumps(notebook)
    random_names = re.findall(r"bertviz-([0-9a-f]{32})", text)
    if views:
        random_names += list(notebook.metadata.widgets[STATE]["state"])
    for order, name in enumerate(dict.fromkeys(random_names)):
        text = text.replace(name, hashlib.sha256(f"{chapter.path.stem} {order}".encode()).hexdigest()[:32])
    settled = nbformat.from_dict(json.loads(text))
    notebook.cells, notebook.metadata = settled.cells, settled.metadata


def _outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def _refuse(chapter: Chapter, notebook: NotebookNode) -> None:
    places = {str(ROOT), str(Path.home()), tempfile.gettempdir() + os.sep}
    size = len(json.dumps(notebook.metadata.get("widgets", {})))
    for lowered, cell in zip(chapter.cells, notebook.cells, strict=True):
        if cell.cell_type != "code":
            continue
        place = chapter.place(lowered.line)
        cell_size = len(json.dumps(cell.outputs))
        size += cell_size
        if size > MOST_BYTES:
            raise CellFailure(
                f"{place}: with this cell's {cell_size:,} bytes the outputs and widgets are larger than "
                f"{MOST_BYTES:,}; draw at a lower resolution, or show fewer layers, heads or tokens"
            )
        for output in cell.outputs:
            data = output.get("data", {})
            text = output.get("text", "") + data.get("text/plain", "")
            if output.get("name") == "stderr":
                raise CellFailure(f"{place}: the cell writes to stderr, which nbval compares:\n{output.text}")
            if VIEW in data and "widget" not in lowered.tags:
                raise CellFailure(f"{place}: a cell that shows an ipywidget is tagged `widget`")
            if "nbval-ignore-output" not in lowered.tags and re.search(r"\b0x[0-9a-f]{7,}", text):
                raise CellFailure(f"{place}: the output holds an address in memory: {text.strip()[:200]}")
            if any(path in text for path in places):
                raise CellFailure(f"{place}: the output holds a path of this machine: {text.strip()[:200]}")
