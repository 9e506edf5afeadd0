"""What pruning and 8-bit numbers save and cost: quality, size and time of a model made smaller in many ways.

gazette  The shipped model, fine-tuned for the Gazette's emotions.
real     A pretrained model of six layers (--model), fine-tuned for real ones (--data, a folder of
         text;label).

A model is fine-tuned on --rows examples, and then compressed and fine-tuned again by the command that a user
has. Beside them stand the model fine-tuned as long without being compressed, and one that lost as many heads
at random. Each has a directory in --work, and one that is there is not made again, so that an interrupted
measurement goes on. Then all take turns at 32 rows of 64 tokens and at one row of 32, with PyTorch's own
8-bit layers and torchao's (--compile: torchao's compiled too) beside ours.

    python benchmarks/compress.py gazette --work DIR
    python benchmarks/compress.py real --work DIR --data DATA/emotion --model MODEL
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
import statistics
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from machine import earlier, save
from torch import nn

from bertmini import BertForSequenceClassification, WordPieceTokenizer
from bertmini.cli import main as command
from bertmini.compress.prune import HEADS, keep, size_of
from bertmini.data.task_files import Example, read_task
from bertmini.gazette import Gazette
from bertmini.hub import shipped
from bertmini.machine import keep_freed_memory
from bertmini.tasks import classify

SHAPES = {"32 rows of 64 tokens": (32, 64), "1 row of 32 tokens": (1, 32)}
RATES = {"gazette": 3e-4, "real": 1e-4}
LEARNED = {
    "heads 25 %": "--prune-heads 0.25",
    "heads 50 %": "--prune-heads 0.5",
    "heads 75 %": "--prune-heads 0.75",
    "units 50 %": "--prune-units 0.5",
    "heads 50 %, units 50 %": "--prune-heads 0.5 --prune-units 0.5",
    "zeros 50 %": "--sparsity 0.5",
    "zeros 80 %": "--sparsity 0.8",
    "zeros 90 %": "--sparsity 0.9",
    "zeros 90 %, movement": "--sparsity 0.9 --movement",
}
QUANTIZED = {  # from which model, and how
    "int8 dynamic": ("whole", ""),
    "int8 static": ("whole", "--static"),
    "heads 50 %, units 50 %, int8": ("heads 50 %, units 50 %", ""),
}
Measured = dict[str, Any]


def examples(name: str, options: argparse.Namespace) -> dict[str, list[Example]]:
    """So many to learn from, and a test part."""
    numbers = {"train": options.rows, "test": options.test_rows}
    if name == "gazette":
        gazette = Gazette()
        return {part: gazette.task("emotion", part, number) for part, number in numbers.items()}
    splits = read_task(str(options.data), "classify")
    rng = random.Random(0)
    return {
        part: rng.sample(splits[part], min(number, len(splits[part]))) for part, number in numbers.items()
    }


def run(arguments: str, out: Path) -> None:
    is_done = (out / "metrics.json").exists()
    again = ["--resume"] if (out / "run.json").exists() else []
    if not is_done and command([*arguments.split(), "--out", str(out), *again]):
        raise SystemExit(f"bertmini {arguments} failed")
    print(out, flush=True)


def with_random_heads(whole: Path, out: Path) -> None:
    """Half of the heads, of each layer as many."""
    model = BertForSequenceClassification.from_pretrained(whole)
    rng, heads = random.Random(0), model.config.num_attention_heads
    kept = [sorted(rng.sample(range(heads), heads // 2)) for _ in range(model.config.num_hidden_layers)]
    keep(model, HEADS, kept).save_pretrained(out)
    WordPieceTokenizer.from_pretrained(whole).save_pretrained(out)


def make(name: str, options: argparse.Namespace) -> dict[str, Path]:
    """The directories of all models, those that are not there made."""
    work = options.work / f"{name}-{options.rows}-{options.test_rows}-{options.epochs}-{options.again}"
    data, start = work / "data", shipped() if name == "gazette" else options.model
    if not data.exists():
        data.mkdir(parents=True)
        for part, rows in examples(name, options).items():
            lines = [json.dumps({"text": row.text, "label": row.label}) + "\n" for row in rows]
            (data / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")
    learning = f"--data {data} --learning-rate {RATES[name]} --batch-size 16"
    again = f"{learning} --epochs {options.again}"
    found = {"whole": work / "whole"}
    run(f"finetune classify --model {start} --epochs {options.epochs} {learning}", found["whole"])
    found["whole, as long"] = work / "longer"
    run(f"finetune classify --model {found['whole']} {again}", found["whole, as long"])
    if not (work / "random").exists():
        with_random_heads(found["whole"], work / "random")
    found["heads 50 %, at random"] = work / "random-learned"
    run(f"finetune classify --model {work / 'random'} {again}", found["heads 50 %, at random"])
    for variant in options.pruned:
        how = LEARNED[variant]
        found[variant] = work / "-".join(re.findall(r"\w+", variant))
        run(f"compress --model {found['whole']} {again} {how}", found[variant])
    for variant, (origin, how) in QUANTIZED.items():
        if origin not in found:
            continue
        found[variant] = work / "-".join(re.findall(r"\w+", variant))
        run(f"compress --model {found[origin]} --data {data} --int8 {how}", found[variant])
    return found


def size_and_quality(directory: Path) -> Measured:
    metrics = json.loads((directory / "metrics.json").read_text("utf-8"))
    content = (directory / "model.safetensors").read_bytes()
    model = BertForSequenceClassification.from_pretrained(directory)
    return {
        "accuracy": metrics["test"]["accuracy"],
        "f1_macro": metrics["test"]["f1_macro"],
        **size_of(model),
        "zipped_bytes": len(zlib.compress(content, 6)),
        "heads": model.config.heads_by_layer,
        "units": model.config.intermediate_by_layer,
    }


def peers(whole: Any, compile_too: bool) -> Iterator[tuple[str, Any]]:
    """The whole model by PyTorch's deprecated quantisation of linear layers, and by torchao's."""
    from torch.ao.quantization import quantize_dynamic
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    encoder_of = copy.deepcopy(whole)
    encoder_of.bert.encoder = quantize_dynamic(encoder_of.bert.encoder, {nn.Linear}, dtype=torch.qint8)
    yield "int8 of torch.ao", encoder_of
    encoder_of = copy.deepcopy(whole)
    quantize_(encoder_of.bert.encoder, Int8DynamicActivationInt8WeightConfig())
    yield "int8 of torchao", encoder_of
    if compile_too:
        yield "int8 of torchao, compiled", torch.compile(copy.deepcopy(encoder_of), dynamic=False)
        yield "float32, compiled", torch.compile(copy.deepcopy(whole), dynamic=False)


@contextmanager
def in_precision(name: str) -> Iterator[None]:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
        yield


def times(models: dict[str, Any], vocabulary: int, rounds: int) -> dict[str, Measured]:
    """Seconds of a forward pass, median and least, all models in turn so that a busy moment meets all."""
    generator = torch.Generator().manual_seed(0)
    inputs = {
        shape: torch.randint(5, vocabulary, size, generator=generator) for shape, size in SHAPES.items()
    }
    seconds: dict[str, dict[str, list[float]]] = {name: {shape: [] for shape in SHAPES} for name in models}
    for number in range(rounds + 1):
        for name, model in models.items():
            for shape, ids in inputs.items():
                with in_precision(name):
                    model(ids)  # autocast turns the weights into 16 bits once
                    for _ in range(1 if ids.size(0) > 1 else 5):
                        started = time.perf_counter()
                        model(ids)
                        seconds[name][shape].append(time.perf_counter() - started)
        print(f"round {number} of {rounds}", flush=True)
    return {
        name: {
            shape: {"median": statistics.median(values), "least": min(values)}
            for shape, values in of_shape.items()
        }
        for name, of_shape in seconds.items()
    }


def quality(model: Any, directory: Path, precision: str = "float32") -> Measured:
    """Of a model that no command made, on the test part."""
    tokenizer = WordPieceTokenizer.from_pretrained(directory)
    rows = read_task(str(directory.parent / "data"), "classify")["test"]
    with in_precision(precision):
        metrics = classify.evaluate(model, classify.data(rows, tokenizer, model.config))
    return {"accuracy": metrics["accuracy"], "f1_macro": metrics["f1_macro"]}


def front(found: dict[str, Measured], cost: Callable[[Measured], float]) -> list[str]:
    """The models that no other is both better and cheaper than (the Pareto front), the cheapest first."""
    order = sorted(found, key=lambda name: (cost(found[name]), -found[name]["accuracy"]))
    best, chosen = -1.0, []
    for name in order:
        if found[name]["accuracy"] > best:
            best = found[name]["accuracy"]
            chosen.append(name)
    return chosen


def measure(name: str, options: argparse.Namespace) -> Measured:
    directories = make(name, options)
    found = {variant: size_and_quality(directory) for variant, directory in directories.items()}
    load = BertForSequenceClassification.from_pretrained
    models = {variant: load(directory) for variant, directory in directories.items()}
    whole = models["whole"]
    models["bf16"] = whole
    found["bf16"] = quality(whole, directories["whole"], "bf16")
    found["bf16"]["bytes"] = size_of(whole)["bytes"] // 2  # of a file; autocast keeps float32 in memory
    for peer, model in peers(whole, options.compile):
        models[peer] = model.eval()
        found[peer] = quality(model, directories["whole"]) if "compiled" not in peer else {}
    for variant, seconds in times(models, whole.config.vocab_size, options.rounds).items():
        found[variant]["seconds"] = seconds
    complete = {variant: each for variant, each in found.items() if "accuracy" in each}
    fronts = {
        shape: front(complete, lambda each, shape=shape: each["seconds"][shape]["median"]) for shape in SHAPES
    }
    sized = {variant: each for variant, each in complete.items() if "bytes" in each}
    fronts["bytes"] = front(sized, lambda each: each["bytes"])
    settings = {each: getattr(options, each) for each in ("rows", "test_rows", "epochs", "again", "rounds")}
    return {"models": found, "fronts": fronts, **settings}


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("sets", nargs="+", choices=RATES)
    parser.add_argument("--work", type=Path, required=True, help="where models are kept")
    parser.add_argument("--data", type=Path, help="folder with train and test, for real")
    parser.add_argument("--model", type=Path, help="directory of a pretrained model, for real")
    parser.add_argument("--rows", type=int, default=1600, help="to learn from")
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5, help="of the whole model")
    parser.add_argument("--again", type=int, default=3, help="epochs after or during pruning")
    every = {"nargs": "+", "choices": LEARNED, "default": list(LEARNED)}
    parser.add_argument("--pruned", **every, metavar="NAME", help="how to prune; without it: every way")
    parser.add_argument("--rounds", type=int, default=9, help="of timing")
    parser.add_argument("--compile", action="store_true", help="time torchao's compiled too")
    options = parser.parse_args()
    if "real" in options.sets and not (options.data and options.model):
        parser.error("real needs --data and --model")
    keep_freed_memory()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in options.sets:
        save("compress", earlier("compress") | {name: measure(name, options)})


if __name__ == "__main__":
    main()
