"""Preparation of a corpus: how fast, and whether time for a token and memory stay as they are when it grows.

Speed: `bertmini prepare` with two processes against the library datasets, whose `map` runs transformers' fast
tokenizer in batches and two processes and writes nothing but ids. Its rows are paragraphs, in Arrow before
its clock starts; ours runs from the text file to documents of sentences on the disk. In turn, medians.

Growth: the same at 1 MB, 100 MB and 2 GB of text (paragraphs of the books, repeated and shuffled, in one
file), and of readers that make batches of it, in one process and in turn: what is compared then meets the
same slow moments of the machine. Memory is that of all processes together, shared pages once; each reader is
alone when its memory is watched.

Step: what share of a training step making its batch takes, with reading, pairing and masking.

    python benchmarks/preparation.py --data DATA
    python benchmarks/preparation.py --data DATA --parts growth     # the others stay as they were measured
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from machine import earlier, save

PROCESSES = 2
PARTS = ("speed", "step", "growth")
BATCHES = 1000  # timed beside a step
ROUNDS, PER_ROUND = 9, 500  # batches of a reader; some blocks of a corpus are made in each round


def paragraphs(data: Path) -> list[str]:
    """Of all the books."""
    texts = [file.read_bytes().decode("latin-1") for file in sorted((data / "gutenberg").glob("*.txt"))]
    return [
        each for text in texts for each in re.split(r"\n\s*\n", text.replace("\r\n", "\n")) if each.strip()
    ]


def write_text(books: list[str], megabytes: int, file: Path) -> None:
    """So many paragraphs, each time through the books in another order."""
    rng, left = random.Random(0), megabytes * 10**6
    with open(file, "wb") as out:
        while left > 0:
            rng.shuffle(books)
            for each in books:
                left -= out.write(each.encode() + b"\n\n")
                if left <= 0:
                    break


# --- what a process of its own does and times ------------------------------------------------------


def ours(text: str, tokenizer: str, out: str) -> dict[str, float]:
    from bertmini import WordPieceTokenizer
    from bertmini.data.prepare import prepare
    from bertmini.tasks.pretrain import stream_corpus

    pieces = WordPieceTokenizer.from_pretrained(tokenizer)
    started = time.perf_counter()
    texts, source = stream_corpus([text])
    record = prepare(texts, pieces, out, source, processes=PROCESSES)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": sum(part["tokens"] for part in record["parts"].values())}


def theirs(text: str, tokenizer: str, out: str) -> dict[str, float]:
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    pieces = AutoTokenizer.from_pretrained(tokenizer, model_max_length=10**9)
    found = datasets.load_dataset(
        "text", data_files=text, sample_by="paragraph", split="train", cache_dir=f"{out}/cache"
    )

    def encode(rows: dict[str, list[str]]) -> Any:
        return pieces(
            rows["text"], add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False
        )

    started = time.perf_counter()
    done = found.map(
        encode, batched=True, num_proc=PROCESSES, remove_columns=["text"], load_from_cache_file=False
    )
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": sum(map(len, done.with_format("numpy")["input_ids"]))}


def reader(*directories: str) -> dict[str, Any]:
    """Batches as training takes them, from each of the corpora in turn.

    Returns:
        for each corpus the seconds until its first batch is there, and of each round its tokens and seconds.
    """
    from bertmini import WordPieceTokenizer
    from bertmini.data.prepare import Prepared
    from bertmini.tasks.pretrain import training_data

    pieces = WordPieceTokenizer.from_pretrained(directories[0])
    corpora, opened = [], []
    for directory in directories:
        started = time.perf_counter()
        corpora.append(training_data(Prepared(directory), pieces, 32, 128, "mlm+nsp", seed=0))
        corpora[-1].batch(0)
        opened.append(time.perf_counter() - started)
    tokens: list[list[int]] = [[] for _ in corpora]
    seconds: list[list[float]] = [[] for _ in corpora]
    for first in range(1, 1 + ROUNDS * PER_ROUND, PER_ROUND):
        for number, data in enumerate(corpora):
            started = time.perf_counter()
            masks = [data.batch(step)["attention_mask"] for step in range(first, first + PER_ROUND)]
            seconds[number].append(time.perf_counter() - started)
            tokens[number].append(sum(int(mask.sum()) for mask in masks))
    return {"opened": opened, "tokens": tokens, "seconds": seconds}


def step(directory: str, preset: str, length: str) -> dict[str, float]:
    """A training step of a model on full rows, and making its batch."""
    from bertmini import WordPieceTokenizer
    from bertmini.data.prepare import Prepared
    from bertmini.tasks.pretrain import new_model, pretrain, training_data
    from bertmini.training import Options

    pieces = WordPieceTokenizer.from_pretrained(directory)
    data = training_data(Prepared(directory), pieces, 32, int(length), "mlm+nsp", seed=0)
    started = time.perf_counter()
    for number in range(BATCHES):
        data.batch(number)
    batch = (time.perf_counter() - started) / BATCHES
    model = new_model(preset, "mlm+nsp", pieces, seed=0, dropout=0.1)
    taken = []
    for _ in range(2):  # the first one warms up
        taken.append(pretrain(model, Options(steps=12), data)["seconds"] / 12)
    whole = taken[-1]
    return {"batch_ms": 1e3 * batch, "step_ms": 1e3 * whole, "share": batch / whole}


MEASURED = {"ours": ours, "theirs": theirs, "reader": reader, "step": step}


# --- the process that compares them ----------------------------------------------------------------


def measure(name: str, *arguments: Any) -> dict[str, Any]:
    """Run one of them in a process of its own, and watch its memory and its children's."""
    command = [sys.executable, __file__, "--measure", name, *map(str, arguments)]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(memory, tree(process.pid))))
            time.sleep(0.25)
        assert process.stdout is not None
        answer = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} has failed")
    return {**json.loads(answer.splitlines()[-1]), "peak_mb": peak / 1e6}


def tree(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from tree(int(child))
    except OSError:
        pass


def memory(pid: int) -> int:
    """Bytes in use, of pages that are shared its share."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def speed(books: list[str], tokenizer: Path, folder: Path, repeats: int) -> dict[str, Any]:
    text = folder / "text.txt"
    write_text(books, 30, text)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(repeats):
        for name, seconds in times.items():
            seconds.append(measure(name, text, tokenizer, folder / f"{name}-{number}")["seconds"])
    megabytes = {name: text.stat().st_size / 1e6 / median(seconds) for name, seconds in times.items()}
    ratio = megabytes["ours"] / megabytes["theirs"]
    return {"megabytes_per_second": megabytes, "ratio": ratio, "seconds": times}


def steps(books: list[str], tokenizer: Path, folder: Path) -> dict[str, Any]:
    write_text(books, 30, folder / "text.txt")
    measure("ours", folder / "text.txt", tokenizer, folder / "corpus")
    return {
        f"{preset}, length {length}": measure("step", folder / "corpus", preset, length)
        for preset in ("tiny", "mini")
        for length in (128, 256)
    }


def growth(books: list[str], tokenizer: Path, folder: Path, sizes: list[int], repeats: int) -> dict[str, Any]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for size in sizes:
        write_text(books, size, folder / "text.txt")
        runs = [
            measure("ours", folder / "text.txt", tokenizer, folder / f"{size}-{number}")
            for number in range(repeats if size < 1000 else 1)
        ]
        found[f"{size} MB"] = {
            "prepare": {
                "tokens": runs[0]["tokens"],
                "nanoseconds_per_token": median(1e9 * run["seconds"] / run["tokens"] for run in runs),
                "peak_mb": median(run["peak_mb"] for run in runs),
            }
        }
    directories = [folder / f"{size}-0" for size in sizes]
    read = measure("reader", *directories)
    for number, directory in enumerate(directories):
        rounds = list(zip(read["tokens"][number], read["seconds"][number], strict=True))
        found[f"{sizes[number]} MB"]["read"] = {
            "tokens": sum(tokens for tokens, _ in rounds),
            "nanoseconds_per_token": median(1e9 * seconds / tokens for tokens, seconds in rounds),
            "opened_seconds": read["opened"][number],
            "peak_mb": measure("reader", directory)["peak_mb"],
        }
    last = found[f"{sizes[-1]} MB"]
    ratios = {
        f"{sizes[-1]} MB to {size} MB": {
            f"{name} {key}": last[name][key] / found[f"{size} MB"][name][key]
            for name in last
            for key in ("nanoseconds_per_token", "peak_mb")
        }
        for size in sizes[:-1]
    }
    return found | ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("BERTMINI_DATA"), help="BERTMINI_DATA")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 100, 2000], help="megabytes of text")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="all of them")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, *arguments = options.measure
        print(json.dumps(MEASURED[name](*arguments)))
        return
    from bertmini import WordPieceTokenizer

    vocab = (options.data / "vocab/bert-base-uncased-vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    books = paragraphs(options.data)
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer = (folder := Path(temporary)) / "tokenizer"
        WordPieceTokenizer(vocab).save_pretrained(tokenizer)
        parts = {
            "speed": lambda: speed(books, tokenizer, folder, options.repeats),
            "step": lambda: steps(books, tokenizer, folder),
            "growth": lambda: growth(books, tokenizer, folder, options.sizes, options.repeats),
        }
        measured = {name: parts[name]() for name in options.parts}
    settings = {"corpus": "gutenberg", "processes": PROCESSES}
    print(save("preparation", settings | earlier("preparation", settings) | measured).read_text())


if __name__ == "__main__":
    main()
