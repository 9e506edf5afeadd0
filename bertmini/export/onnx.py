"""ONNX: a model as a graph that runs without PyTorch, checked against it, and the same with int8 weights."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bertmini.config import BertConfig
from bertmini.data.batches import Batch
from bertmini.errors import InputError
from bertmini.export.directory import input_names, load_exportable, save_tokenizer
from bertmini.files import read_json, write_json
from bertmini.hub import locate
from bertmini.machine import versions
from bertmini.model.bert import Bert, BertForMaskedLM, BertForPreTraining
from bertmini.model.choice import BertForMultipleChoice
from bertmini.model.questions import BertForQuestionAnswering

OPSET = 20  # the first with Gelu as one operator
TOLERANCE = 1e-4  # of an output, or of the largest one where that is above 1
CHECKED_TOKENS = 1024  # of a batch that is compared: the logits of a vocabulary take memory
MOST_BYTES = 2**31  # bytes of a file in ONNX's format (protobuf)

# The outputs of a head: transformers' name, and our field.
LOGITS = {"logits": "logits"}
OUTPUTS: dict[type, dict[str, str]] = {
    BertForPreTraining: {
        "prediction_logits": "prediction_logits",
        "seq_relationship_logits": "seq_relationship_logits",
    },
    BertForMaskedLM: {"logits": "prediction_logits"},
    BertForQuestionAnswering: {"start_logits": "start_logits", "end_logits": "end_logits"},
}


class Graph(nn.Module):
    """A model as a graph has it: named tensors in, a tuple out, and nothing decided by what they hold.

    Args:
        model: any that transformers can hold; it is copied to the CPU, in float32.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().float()
        encoder: Any = self.model if isinstance(self.model, Bert) else self.model.bert
        encoder.check_inputs = lambda *_: None  # it compares ids with the vocabulary, and a graph cannot
        self.inputs = input_names(model)
        self.outputs = OUTPUTS.get(type(model), LOGITS)
        if isinstance(self.model, Bert):
            self.outputs = {"last_hidden_state": "last_hidden_state"}
        self.eval()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """The head's outputs; takes [batch, length] each, or [batch, options, length] for multiple choice."""
        shape = input_ids.shape
        rows: list[Any] = [
            each if each is None else each.flatten(0, -2)
            for each in (input_ids, attention_mask, token_type_ids)
        ]
        input_ids, attention_mask, token_type_ids = rows
        # As [batch, 1, length] the mask is taken as it is; as [batch, length] it is first looked through.
        batch = {"attention_mask": attention_mask[:, None], "token_type_ids": token_type_ids}
        if isinstance(self.model, BertForMultipleChoice):
            pooled = self.model.bert(input_ids, **batch).pooler_output
            return (self.model.classifier(pooled).view(shape[:-1]),)
        output = self.model(input_ids, **batch)
        return tuple(getattr(output, ours) for ours in self.outputs.values())


def export_onnx(origin: str | Path, directory: str | Path) -> dict[str, Any]:
    """Write a model as ONNX graphs, with all that a service needs beside them.

    `model.onnx` takes `input_ids`, `attention_mask` and, where the family knows segments, `token_type_ids`,
    int64 [batch, length] of any size within the model's (of multiple choice [batch, options, length]). What
    it gives has transformers' names. The same with int8 weights is `model_int8.onnx`. Beside them are
    config.json (the labels are its id2label), the tokenizer, and export.json: file sizes, and how far each
    graph's outputs are from those of PyTorch on random rows of all lengths. It needs neither to run:

        import numpy, onnxruntime, tokenizers

        row = tokenizers.Tokenizer.from_file("onnx/tokenizer.json").encode("the harbour is open")
        session = onnxruntime.InferenceSession("onnx/model.onnx")
        values = {"input_ids": row.ids, "attention_mask": row.attention_mask, "token_type_ids": row.type_ids}
        inputs = {each.name: numpy.array([values[each.name]]) for each in session.get_inputs()}
        (logits,) = session.run(["logits"], inputs)

    Args:
        origin: the directory of a model, or its hub id.
        directory: made if it does not exist.

    Returns:
        What export.json holds.

    Raises:
        InputError: a package of the extra `onnx` is missing, the model cannot be exported or is too large for
            one file, or the graph's outputs are not PyTorch's.
    """
    require_packages()
    predictor, directory = load_exportable(origin), Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    graph = Graph(predictor.model)
    refuse_large(graph, origin)
    file, small = directory / "model.onnx", directory / "model_int8.onnx"
    with quiet():
        write_graph(graph, predictor.model.config, file)
        write_int8(file, small)
    save_tokenizer(predictor, directory)
    write_json(directory / "config.json", read_json(locate(origin) / "config.json"))
    rows = list(random_rows(graph, predictor.model.config))
    files = {
        each.name: {"bytes": each.stat().st_size, **compared(graph, each, rows)} for each in (file, small)
    }
    refuse_different(files[file.name], origin)
    record = {
        "opset": OPSET,
        "inputs": graph.inputs,
        "outputs": list(graph.outputs),
        "max_length": predictor.max_length,
        "checked_batches": [list(batch["input_ids"].shape) for batch in rows],
        "files": files,
        "versions": versions("onnx", "onnxruntime", "onnxscript"),
    }
    write_json(directory / "export.json", record)
    return record


def require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"ONNX needs the package {error.name}: pip install 'bertmini[onnx]'") from None


def refuse_large(graph: nn.Module, origin: str | Path) -> None:
    size = sum(parameter.numel() * parameter.element_size() for parameter in graph.parameters())
    if size >= MOST_BYTES:
        raise InputError(f"{origin}: {size / 2**30:.1f} GiB of weights; an ONNX file holds less than 2 GiB")


def refuse_different(found: dict[str, float], origin: str | Path) -> None:
    if not found["largest_difference"] <= TOLERANCE * max(1.0, found["largest_output"]):
        raise InputError(
            f"{origin}: the graph's outputs are up to {found['largest_difference']:.2g} from PyTorch's, of "
            f"{found['largest_output']:.2g}; expected {TOLERANCE:g} at most: are the weights finite?"
        )


def write_graph(graph: Graph, config: BertConfig, file: Path) -> None:
    """Trace a model and write it, with batch and length left open."""
    from torch.export import Dim

    shape, axes = (2, 4), {0: Dim("batch"), 1: Dim("length", max=config.max_length)}
    if isinstance(graph.model, BertForMultipleChoice):
        shape, axes = (2, 3, 4), {0: Dim("batch"), 1: Dim("options"), 2: axes[1]}  # type: ignore[assignment]
    torch.onnx.export(
        graph,
        tuple(torch.ones(shape, dtype=torch.long) for _ in graph.inputs),
        file,
        input_names=graph.inputs,  # in the order of Graph.forward
        output_names=list(graph.outputs),
        opset_version=OPSET,
        dynamic_shapes=dict.fromkeys(graph.inputs, axes),
        external_data=False,
        dynamo=True,
        verbose=False,
    )


def write_int8(file: Path, small: Path) -> None:
    """The same graph with int8 weights; what goes into their products is rounded while it runs.

    Weights have a scale each column and 7 bits: with 8, sums overflow on processors without VNNI.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(file, small, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


def random_rows(graph: Graph, config: BertConfig, number: int = 12) -> Iterator[Batch]:
    """Batches of random ids and lengths, the shortest and the longest among them, padded."""
    generator = torch.Generator().manual_seed(0)

    def draw(low: int, high: int, shape: tuple[int, ...] = ()) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    for batch_number in range(number):
        length = {0: 1, 1: config.max_length}.get(batch_number) or int(draw(1, config.max_length))
        shape: tuple[int, ...] = (int(draw(1, max(1, min(8, CHECKED_TOKENS // length)))),)
        if isinstance(graph.model, BertForMultipleChoice):
            shape = (*shape, int(draw(1, 4)))
        lengths = draw(1, length, shape)
        lengths.view(-1)[0] = length
        mask = (torch.arange(length) < lengths[..., None]).long()
        ids = draw(0, config.vocab_size - 1, (*shape, length))
        ids[mask == 0] = config.pad_token_id
        drawn = {"input_ids": ids, "attention_mask": mask}
        drawn["token_type_ids"] = draw(0, max(1, config.type_vocab_size) - 1, (*shape, length))
        yield {name: drawn[name] for name in graph.inputs}


@torch.no_grad()
def compared(graph: Graph, file: Path, rows: list[Batch]) -> dict[str, float]:
    """How far the outputs of a file are from those of PyTorch, at most, and the largest that there are."""
    from onnxruntime import InferenceSession

    session = InferenceSession(file, providers=["CPUExecutionProvider"])
    difference = largest = 0.0
    for batch in rows:
        expected = graph(**batch)
        found = session.run(list(graph.outputs), {name: ids.numpy() for name, ids in batch.items()})
        for ours, theirs in zip(expected, found, strict=True):
            # np.maximum keeps a NaN, which max() would lose
            difference = float(np.maximum(difference, np.abs(ours.numpy() - theirs).max()))
            largest = float(np.maximum(largest, float(ours.abs().max())))
    return {"largest_difference": difference, "largest_output": largest}


@contextmanager
def quiet() -> Iterator[None]:
    """Within it libraries tell errors alone: exporters report each step, and warn of names they made."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
