"""Pretraining steps of bertmini beside those of transformers: tokens a second, share of the peak, memory.

    python benchmarks/pretraining_step.py --data DIR [--cases tiny mini/bf16/full …] [--rounds 8]

DIR holds text files (books); a vocabulary of 8,000 pieces is learned from them. Both sides train a BERT of
one shape with both heads and dropout 0.1 on the same rows: full rows of 128 tokens, and single sentences.

- bertmini: its batches (by length where lengths differ) and the update of its training loop, with the
  allocator's setting that its command line has (`keep_freed_memory`);
- transformers: its collator (random batches padded to their longest row), BertForPreTraining and the loop
  that its users write: autocast, clipping at 1, torch.optim.AdamW as it comes.
- transformers, tuned: the same with bertmini's setting of the allocator.

Each works in a process of its own, and they take turns. A round is one step on full rows, and all steps over
256 sentences (--sentences). Medians are compared; padding does not count as tokens. Where there is a GPU,
base is measured there instead: packed here; there padded, with the fused attention that transformers
chooses; both compiled. A case that is not named stays in the results as an earlier call left it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from machine import earlier, save

from bertmini import BertConfig, WordPieceTokenizer
from bertmini.cost import flops
from bertmini.machine import best_device, keep_freed_memory, matrix_peak

VOCABULARY, LENGTH, WARM_UP = 8000, 128, 2
DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}
SIDES = ("bertmini", "transformers", "transformers, tuned")
CASES = [  # preset, precision, rows
    *itertools.product(("tiny", "mini", "small", "base"), ("bf16",), ("full", "sentences")),
    ("mini", "float32", "full"),
]
Batch = dict[str, torch.Tensor]
Step = Callable[[list[list[int]]], float]


def shape_of(preset: str) -> BertConfig:
    """The preset; base with its published vocabulary, of which the text then uses a part."""
    return BertConfig.preset(preset, vocab_size=30_522 if preset == "base" else VOCABULARY)


def prepare(data: Path, out: Path, length: int, number: int) -> None:
    """Learn a vocabulary, and write rows of ids: full ones, and single sentences of 3 to `length` tokens."""
    from bertmini.data.text import read_documents

    sentences = [sentence for document in read_documents(data) for sentence in document]
    tokenizer = WordPieceTokenizer.train(sentences, VOCABULARY)
    tokenizer.save_pretrained(out)
    random.Random(0).shuffle(sentences)
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    ids = tokenizer.encode_ids(sentences[:40_000])
    stream = list(itertools.chain.from_iterable(ids))
    full = [[cls, *stream[i : i + length - 2], sep] for i in range(0, len(stream) - length, length - 2)]
    single = [[cls, *row[: length - 2], sep] for row in ids if row][:number]
    (out / "rows.json").write_text(json.dumps({"full": full, "sentences": single}))


def rounds_of(rows: list[list[int]], kind: str, size: int, ours: bool) -> Iterator[list[list[list[int]]]]:
    """The batches of each round: one of full rows; or of all sentences, ours by length, theirs at random."""
    for number in itertools.count():
        if kind == "full":
            start = number * size % (len(rows) - size)
            yield [rows[start : start + size]]
            continue
        order = random.Random(number).sample(rows, len(rows))
        if ours:
            order.sort(key=len)
        yield [order[i : i + size] for i in range(0, len(order), size)]


def bertmini_step(tokenizer: Path, preset: str, precision: Any) -> Step:
    """A step as `bertmini.training.train` does it."""
    from bertmini import BertForPreTraining
    from bertmini.data.batches import pad_inputs
    from bertmini.data.masking import mask_tokens
    from bertmini.data.packing import pack
    from bertmini.training import Options
    from bertmini.training.loop import update
    from bertmini.training.optimizer import adamw

    own, device = WordPieceTokenizer.from_pretrained(tokenizer), best_device()
    special = torch.tensor(sorted(own.all_special_ids))
    options = Options(steps=1, precision=precision)
    model = BertForPreTraining(shape_of(preset)).to(device).train()
    optimizer = adamw(model, options.learning_rate, options.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=False)

    def batch_of(rows: list[list[int]]) -> Batch:
        batch = pad_inputs(rows, [[0] * len(row) for row in rows], own.pad_token_id)
        batch["input_ids"], batch["labels"] = mask_tokens(
            batch["input_ids"],
            ~torch.isin(batch["input_ids"], special),
            mask_token_id=own.mask_token_id,
            vocab_size=len(own),
            special_ids=special.tolist(),
        )
        return batch | {"next_sentence_label": torch.arange(len(rows)) % 2}

    if device.type == "cuda":
        model.compile(dynamic=True)

    def step(rows: list[list[int]]) -> float:
        batch = pack(batch_of(rows)) if device.type == "cuda" else batch_of(rows)
        return update(lambda batch: model(**batch), [batch], optimizer, scaler, options)[0]["loss"]

    return step


def transformers_step(tokenizer: Path, preset: str, precision: str) -> Step:
    """A step as users of transformers write it."""
    import transformers

    own, device = transformers.BertTokenizerFast(str(tokenizer / "vocab.txt")), best_device()
    collate = transformers.DataCollatorForLanguageModeling(own)
    config = shape_of(preset)
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    fields = {name: getattr(config, name) for name in names}
    model = transformers.BertForPreTraining(transformers.BertConfig(**fields)).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    if device.type == "cuda":
        model.compile()

    def step(rows: list[list[int]]) -> float:
        batch = collate(
            [
                {"input_ids": row, "attention_mask": [1] * len(row), "next_sentence_label": i % 2}
                for i, row in enumerate(rows)
            ]
        )
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def peak_memory() -> float:
    """This process's, in MB. (Linux's ru_maxrss would begin with that of the process that started it.)"""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def work(side: str, prepared: Path, preset: str, precision: str, kind: str, size: int) -> None:
    """A side's process: for each line on its standard input one round, told in seconds and memory."""
    torch.manual_seed(0)
    if side != "transformers":
        keep_freed_memory()
    ours = side == "bertmini"
    step = (bertmini_step if ours else transformers_step)(prepared, preset, precision)
    rows = json.loads((prepared / "rows.json").read_text())[kind]
    for _, batches in zip(sys.stdin, rounds_of(rows, kind, size, ours), strict=False):
        started = time.perf_counter()
        for batch in batches:
            step(batch)
        print(time.perf_counter() - started, peak_memory(), flush=True)


def compare(
    prepared: Path, preset: str, precision: str, kind: str, rounds: int, size: int, tokens: float
) -> dict[str, Any]:
    """Medians of rounds in which the sides take turns, after some that warm up."""
    case = [str(prepared), preset, precision, kind, str(size)]
    processes = {
        side: subprocess.Popen(
            [sys.executable, __file__, "--work", side, *case, "--threads", str(torch.get_num_threads())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        for side in SIDES
    }  # fmt: skip
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    memory = {}
    for _ in range(rounds + WARM_UP):
        for side, process in processes.items():
            assert process.stdin
            assert process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            took, memory[side] = map(float, process.stdout.readline().split())
            seconds[side].append(took)
    for process in processes.values():
        assert process.stdin
        process.stdin.close()
        process.wait()
    medians = {side: statistics.median(took[-rounds:]) for side, took in seconds.items()}
    result: dict[str, Any] = {"preset": preset, "precision": precision, "rows": kind, "batch": size}
    for side in SIDES:
        result[side] = {
            "seconds": round(medians[side], 4),
            "tokens_per_second": round(tokens / medians[side]),
            "peak_memory_mb": round(memory[side]),
        }
    for side in SIDES[1:]:
        result[f"speed over {side}"] = round(medians[side] / medians["bertmini"], 2)
        result[f"memory over {side}"] = round(memory["bertmini"] / memory[side], 2)
    return result


def measure(
    prepared: Path, case: tuple[str, str, str], rounds: int, size: int, length: int
) -> dict[str, Any]:
    """A case, and the share of the peak that bertmini reaches, peaks being measured before and after."""
    preset, precision, kind = case
    rows = json.loads((prepared / "rows.json").read_text())[kind]
    tokens = size * length if kind == "full" else sum(map(len, rows))
    mean_length = length if kind == "full" else tokens / len(rows)
    peaks = [matrix_peak.__wrapped__(DTYPES[precision], best_device())]
    result = compare(prepared, preset, precision, kind, rounds, size, tokens)
    peaks.append(matrix_peak.__wrapped__(DTYPES[precision], best_device()))
    operations = 3 * tokens * sum(flops(shape_of(preset), mean_length).values())
    result["rounds"], result["rows_a_round"] = rounds, size if kind == "full" else len(rows)
    result["length"] = {"mean": round(mean_length, 1), "longest": max(map(len, rows))}
    result["peak_flops"] = max(peaks)
    result["share_of_peak"] = round(operations / result["bertmini"]["seconds"] / max(peaks), 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a directory of text files")
    parser.add_argument("--cases", nargs="+", default=["all"], help="preset, or preset/precision/rows")
    parser.add_argument("--rounds", type=int, default=8, help="rounds that count")
    parser.add_argument("--sentences", type=int, default=256, help="rows of a round on single sentences")
    parser.add_argument("--threads", type=int, help="default: what torch chooses")
    parser.add_argument("--work", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.work:
        side, prepared, preset, precision, kind, size = options.work
        work(side, Path(prepared), preset, precision, kind, int(size))
        return
    if options.data is None:
        parser.error("--data is missing: a directory of text files")

    chosen = [
        case
        for case in CASES
        if "all" in options.cases or {case[0], "/".join(case)}.intersection(options.cases)
    ]
    sizes = [(LENGTH, 16 if case[0] == "base" else 32, case) for case in chosen]
    if torch.cuda.is_available():
        sizes = [(128, 256, ("base", "bf16", "full")), (128, 256, ("base", "bf16", "sentences"))]
        sizes += [(512, 64, ("base", "bf16", "full"))]
    with tempfile.TemporaryDirectory() as directory:
        for length in dict.fromkeys(length for length, _, _ in sizes):
            prepared = Path(directory) / str(length)
            prepare(options.data, prepared, length, options.sentences)
            for _, size, case in (row for row in sizes if row[0] == length):
                result = measure(prepared, case, options.rounds, size, length)
                print(json.dumps(result), flush=True)
                keep(result)


def keep(result: dict[str, Any]) -> None:
    """Put a case among the results, in place of an earlier one."""

    def name(case: dict[str, Any]) -> list[Any]:
        return [case[field] for field in ("preset", "precision", "rows", "batch")]

    cases = [case for case in earlier("pretraining_step").get("cases", []) if name(case) != name(result)]
    save("pretraining_step", {"what": __doc__.splitlines()[0], "cases": [*cases, result]})


if __name__ == "__main__":
    main()
