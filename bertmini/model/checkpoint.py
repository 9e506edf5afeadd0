"""Checkpoints: transformers' files, read and written through a table of names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from bertmini.errors import InputError
from bertmini.files import read_json, write

if TYPE_CHECKING:
    from bertmini.model.bert import PretrainedModel

# Ours on the left, transformers' on the right; {i} is a layer's number.
BERT_NAMES = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.token_type": "embeddings.token_type_embeddings",
    "embeddings.norm": "embeddings.LayerNorm",
    "encoder.layers.{i}.attention.query": "encoder.layer.{i}.attention.self.query",
    "encoder.layers.{i}.attention.key": "encoder.layer.{i}.attention.self.key",
    "encoder.layers.{i}.attention.value": "encoder.layer.{i}.attention.self.value",
    "encoder.layers.{i}.attention.output": "encoder.layer.{i}.attention.output.dense",
    "encoder.layers.{i}.attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
    "encoder.layers.{i}.feed_forward.up": "encoder.layer.{i}.intermediate.dense",
    "encoder.layers.{i}.feed_forward.down": "encoder.layer.{i}.output.dense",
    "encoder.layers.{i}.feed_forward_norm": "encoder.layer.{i}.output.LayerNorm",
    "pooler.dense": "pooler.dense",
    "mlm_head": "cls.predictions",
    "mlm_head.transform": "cls.predictions.transform.dense",
    "mlm_head.norm": "cls.predictions.transform.LayerNorm",
    "nsp_head": "cls.seq_relationship",
    "classifier": "classifier",
    "crf": "crf",
    "lstm": "lstm",
    "sum": "sum",
    "qa_outputs": "qa_outputs",
}

ENCODER = ("embeddings.", "encoder.")  # a file has all parts of these that the model has, and no others
HEADS = ("classifier.", "crf.", "lstm.", "sum.")  # they are new where another task had them
PICKLED = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}


def transformers_name(name: str) -> str:
    """The name that transformers gives to a parameter of ours.

    >>> transformers_name("bert.encoder.layers.3.feed_forward.up.weight")
    'bert.encoder.layer.3.intermediate.dense.weight'
    """
    prefix = "bert." if name.startswith("bert.") else ""
    module, _, kind = name.removeprefix("bert.").rpartition(".")
    number = re.search(r"\.(\d+)\.", module)
    if number:
        module = module.replace(number[0], ".{i}.", 1)
    return f"{prefix}{BERT_NAMES[module]}.{kind}".replace("{i}", number[1] if number else "")


def read_weights(directory: Path) -> dict[str, Tensor]:
    """All tensors of a directory's safetensors file, or files where it was saved in several."""
    files = [directory / "model.safetensors"]
    if (index := directory / "model.safetensors.index.json").exists():
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict):
            raise InputError(f"{index}: no weight_map, which names each tensor's file; save the model again")
        files = sorted({directory / str(name) for name in places.values()})
    weights: dict[str, Tensor] = {}
    for file in files:
        if not file.exists():
            pickled = sorted(p.name for p in directory.iterdir() if p.suffix in PICKLED)
            if pickled:
                raise InputError(
                    f"{directory} holds {pickled[0]}, a pickle, and loading one can run any code: "
                    "convert it to model.safetensors with transformers' save_pretrained"
                )
            raise InputError(f"{file} does not exist: a model directory holds it beside config.json")
        try:
            with safe_open(file, framework="pt") as stored:
                weights.update({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file} cannot be read ({error}): was it written to the end?") from None
    return weights


def load_weights(model: PretrainedModel, directory: Path) -> tuple[str, ...]:
    """Fill a model from a directory; return the names of the parameters that were not there.

    Raises:
        InputError: where a shape differs, or the encoders do not have the same parts.
    """
    # A bare encoder's file has no "bert." in front of its names, a model with heads has: here nobody has.
    stored = {name.removeprefix("bert."): tensor for name, tensor in read_weights(directory).items()}
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):  # of LayerNorm, in the first checkpoints
        stored = {name.replace(old, new): tensor for name, tensor in stored.items()}
    refuse_untied(stored, directory)
    fresh, state = [], {}
    for name, parameter in model.state_dict().items():
        theirs = transformers_name(name).removeprefix("bert.")
        tensor = stored.pop(theirs, None)
        if tensor is None and theirs.startswith(ENCODER):
            raise InputError(f"{directory} lacks {theirs}, which its config.json asks for")
        if tensor is None or (theirs.startswith(HEADS) and tensor.shape != parameter.shape):
            fresh.append(name)  # a head that the file does not have, or has for another task
        elif tensor.shape != parameter.shape:
            raise InputError(
                f"{directory}: {theirs} has shape {list(tensor.shape)}, but config.json asks for "
                f"{list(parameter.shape)}; the two files belong to different models"
            )
        else:
            state[name] = tensor.to(parameter.dtype)
    for name in stored:
        if name.startswith(ENCODER) and not name.endswith("_ids"):  # old files hold position_ids: 0, 1, 2, …
            raise InputError(
                f"{directory} holds {name}, and its config.json asks for no such part; "
                "the two files belong to different models"
            )
    model.load_state_dict(state, strict=False)
    return tuple(fresh)


def refuse_untied(stored: dict[str, Tensor], directory: Path) -> None:
    decoder = stored.get("cls.predictions.decoder.weight")
    words = stored.get("embeddings.word_embeddings.weight")
    if decoder is not None and words is not None and not torch.equal(decoder, words):
        raise InputError(f"{directory}: its decoder is not its word embedding, and BERT's are one matrix")


def save(model: PretrainedModel, directory: Path, dtype: torch.dtype | None = None) -> None:
    """Write `config.json` and `model.safetensors`."""
    weights = {
        transformers_name(name): tensor.detach().to("cpu", dtype or tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    architecture = model.ARCHITECTURE or type(model).__name__
    config = {**model.config.to_dict(), "model_type": model.MODEL_TYPE, "architectures": [architecture]}
    write(directory / "model.safetensors", serialize(weights, metadata={"format": "pt"}))
    write(directory / "config.json", (json.dumps(config, indent=2) + "\n").encode())
