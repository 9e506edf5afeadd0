"""How long `import bertmini` takes beside `import torch`, in processes of their own, in turn.

python benchmarks/import_time.py [--rounds 20]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from machine import save

MODULES = ("torch", "bertmini")


def seconds(module: str) -> float:
    """From the start of Python to its end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="imports of each that are timed")
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {module: [] for module in MODULES}
    for i in range(rounds + 1):  # the first ones read the files from the disk, and do not count
        for module in MODULES:
            measured = seconds(module)
            times[module] += [measured] if i else []
    pairs = zip(times["bertmini"], times["torch"], strict=True)
    result = {
        "rounds": rounds,
        "seconds": {module: statistics.median(values) for module, values in times.items()},
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
    }
    save("import_time", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
