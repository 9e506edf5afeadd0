"""The tokenizer against transformers' and the tokenizers library, side by side in one run.

Three questions: how many words a second does the Python encoder read; is the fast path at least as fast as
transformers' own tokenizer for the same outputs; how long does training take beside the library's. Each time
is the best of several, the two sides taking turns.

    python benchmarks/tokenizer.py --data DATA
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import save
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer

from bertmini.tokenizer import WordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def best(repeats: int, **contestants: Callable[[], Any]) -> dict[str, float]:
    """Seconds of the fastest of several runs of each, taken in turn."""
    seconds = dict.fromkeys(contestants, float("inf"))
    for _ in range(repeats):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def encoding(lines: list[str], vocab: list[str], repeats: int) -> dict[str, Any]:
    words = sum(len(line.split()) for line in lines)
    ours = WordPieceTokenizer(vocab)
    theirs = BertTokenizer(vocab={piece: i for i, piece in enumerate(vocab)})
    batches = [lines[start : start + 1000] for start in range(0, len(lines), 1000)]
    kinds: dict[str, dict[str, Any]] = {
        "lists": {},
        "padded lists": {"padding": True, "truncation": True, "max_length": 128},
        "tensors": {"padding": True, "truncation": True, "max_length": 128, "return_tensors": "pt"},
    }
    measured: dict[str, Any] = {"words": words}
    fresh = best(repeats, python=lambda: WordPieceTokenizer(vocab, backend="python").encode_ids(lines))
    measured["python words per second"] = round(words / fresh["python"])
    for kind, options in kinds.items():
        seconds = best(
            repeats,
            bertmini=lambda options=options: [ours(batch, **options) for batch in batches],
            transformers=lambda options=options: [theirs(batch, **options) for batch in batches],
        )
        measured[kind] = {name: round(words / second) for name, second in seconds.items()}
        measured[kind]["ratio"] = round(seconds["transformers"] / seconds["bertmini"], 2)
    seconds = best(
        repeats,
        bertmini=lambda: [ours(batch, return_offsets=True, return_word_ids=True) for batch in batches],
        transformers=lambda: [with_places(theirs, batch) for batch in batches],
    )
    measured["offsets and words"] = {name: round(words / second) for name, second in seconds.items()}
    measured["offsets and words"]["ratio"] = round(seconds["transformers"] / seconds["bertmini"], 2)
    return measured


def with_places(tokenizer: Any, batch: list[str]) -> Any:
    encoded = tokenizer(batch, return_offsets_mapping=True)
    return encoded, [encoded.word_ids(i) for i in range(len(batch))]


def library(lines: list[str], size: int) -> None:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)


def training(lines: list[str], size: int, repeats: int) -> dict[str, float]:
    seconds = best(
        repeats,
        bertmini=lambda: WordPieceTokenizer.train(lines, size),
        tokenizers=lambda: library(lines, size),
    )
    times = {name: round(second, 2) for name, second in seconds.items()}
    return times | {"ratio": round(seconds["bertmini"] / seconds["tokenizers"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("BERTMINI_DATA"), help="BERTMINI_DATA")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    lines: list[str] = []
    for file in sorted((options.data / "gutenberg").glob("*.txt")):
        lines += file.read_bytes().decode("latin-1").splitlines()
    vocab = (options.data / "vocab/bert-base-uncased-vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    measured = {
        "corpus": "gutenberg",
        "words per second": encoding(lines, vocab, options.repeats),
        "training seconds": {size: training(lines, size, options.repeats) for size in (1_000, 8_000, 20_000)},
    }
    print(save("tokenizer", measured).read_text())


if __name__ == "__main__":
    main()
