"""One text at a time: a graph in ONNX Runtime beside PyTorch, in time and in size.

    python benchmarks/export.py --model DIR [--rounds 5]

--model is an encoder of six layers (MiniLM), which gets a head of six labels. It is exported by
`bertmini export --to onnx`, and rows of 16, 32 and 128 tokens go one by one through

- pytorch: the model as `model(**batch)` runs it, in float32; and in bf16 by autocast;
- onnx: model.onnx in ONNX Runtime, and model_int8.onnx.

All have the same number of threads. In each round they take turns, and each gives the median of its calls.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference import with_head
from machine import save

LENGTHS = (16, 32, 128)
Call = Callable[[], Any]


def milliseconds(call: Call, seconds: float) -> float:
    """The median time of calls that follow one another for so long."""
    call()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return 1000 * statistics.median(times)


def systems(directory: Path, exported: Path, length: int) -> dict[str, Call]:
    """What is measured, each as a call for the same row."""
    import onnxruntime

    from bertmini import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(directory)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, model.config.vocab_size, (1, length), generator=generator)
    batch = {
        "input_ids": ids,
        "token_type_ids": torch.zeros_like(ids),
        "attention_mask": torch.ones_like(ids),
    }
    arrays = {name: tensor.numpy() for name, tensor in batch.items()}

    def pytorch(is_bf16: bool) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            return model(**batch).logits.float().numpy()

    def in_onnx(file: str) -> Call:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(exported / file, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(["logits"], arrays)[0]

    return {
        "pytorch": lambda: pytorch(False),
        "pytorch_bf16": lambda: pytorch(True),
        "onnx": in_onnx("model.onnx"),
        "onnx_int8": in_onnx("model_int8.onnx"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="directory of the pretrained 6-layer model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="for a system, a length and a round")
    options = parser.parse_args()

    from bertmini.export import export_onnx
    from bertmini.machine import versions

    with tempfile.TemporaryDirectory() as place:
        directory, exported = Path(place) / "model", Path(place) / "onnx"
        with_head(options.model, directory)
        record = export_onnx(directory, exported)
        weights = (directory / "model.safetensors").stat().st_size
        cases = []
        for length in LENGTHS:
            calls = systems(directory, exported, length)
            gaps = {name: float(np.abs(call() - calls["pytorch"]()).max()) for name, call in calls.items()}
            rounds = [
                {name: milliseconds(call, options.seconds) for name, call in calls.items()}
                for _ in range(options.rounds)
            ]
            middle = {name: statistics.median(found[name] for found in rounds) for name in calls}
            speedups = {
                name: statistics.median(found["pytorch"] / found[name] for found in rounds) for name in calls
            }
            case = {"length": length, "milliseconds": middle, "speedups": speedups, "gaps": gaps}
            cases.append(case | {"every_round": rounds})
            print(case, flush=True)
    result = {
        "bytes": {"model.safetensors": weights} | {n: f["bytes"] for n, f in record["files"].items()},
        "differences": record["files"],
        "export_versions": versions("onnx", "onnxruntime", "onnxscript"),
        "rounds": options.rounds,
        "cases": cases,
    }
    save("export", result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
