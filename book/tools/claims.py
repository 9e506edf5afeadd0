"""Hold the chapters' claims on other machines than the one that wrote them.

python -m book.tools.claims [NN ...]

Runs every notebook under five seeds with one and with two threads, and once with AVX2 only, as on a
processor without AVX-512. Outputs are not compared, since training differs; a claim that fails stops its
notebook.
"""

from __future__ import annotations

import os
import sys
import time

import nbformat

from book.tools.chapter import Chapter
from book.tools.execution import CellFailure, run_cells
from book.tools.notebooks import lowered
from book.tools.project import chapter_sources

CASES = [(seed, threads, "") for seed in range(5) for threads in (1, 2)] + [(0, 2, "avx2")]


def main() -> int:
    failures = []
    for path in chapter_sources(sys.argv[1:]):
        chapter = Chapter(path)
        for seed, threads, capability in CASES:
            os.environ["OMP_NUM_THREADS"] = str(threads)
            os.environ["ATEN_CPU_CAPABILITY"] = capability
            if not capability:
                del os.environ["ATEN_CPU_CAPABILITY"]
            notebook = lowered(chapter)
            for cell in notebook.cells:
                cell.source = cell.source.replace("course.setup()", f"course.setup(seed={seed})")
            name = f"{path.stem} seed {seed}, {threads} thread{'s' * (threads > 1)} {capability}".rstrip()
            start = time.perf_counter()
            try:
                run_cells(chapter, notebook)
            except CellFailure as failure:
                failures.append(name)
                print(f"{name}: FAILED\n{failure}", flush=True)
            else:
                claims = sum("✓" in line for line in _printed(notebook).splitlines())
                print(f"{name}: {claims} claims hold, {time.perf_counter() - start:.0f} s", flush=True)
    print(f"{len(failures)} failed" + "".join(f"\n  {name}" for name in failures))
    return int(bool(failures))


def _printed(notebook: nbformat.NotebookNode) -> str:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


if __name__ == "__main__":
    sys.exit(main())
