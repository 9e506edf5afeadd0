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
}

ROBERTA_NAMES = BERT_NAMES | {
    "mlm_head": "lm_head",
    "mlm_head.transform": "lm_head.dense",
    "mlm_head.norm": "lm_head.layer_norm",
}
ALBERT_LAYER = "encoder.albert_layer_groups.{i}.albert_layers.0"  # of a group, whose layers are one
ALBERT_NAMES = BERT_NAMES | {
    "embeddings.projection": "encoder.embedding_hidden_mapping_in",
    "encoder.layers.{i}.attention.query": f"{ALBERT_LAYER}.attention.query",
    "encoder.layers.{i}.attention.key": f"{ALBERT_LAYER}.attention.key",
    "encoder.layers.{i}.attention.value": f"{ALBERT_LAYER}.attention.value",
    "encoder.layers.{i}.attention.output": f"{ALBERT_LAYER}.attention.dense",
    "encoder.layers.{i}.attention_norm": f"{ALBERT_LAYER}.attention.LayerNorm",
    "encoder.layers.{i}.feed_forward.up": f"{ALBERT_LAYER}.ffn",
    "encoder.layers.{i}.feed_forward.down": f"{ALBERT_LAYER}.ffn_output",
    "encoder.layers.{i}.feed_forward_norm": f"{ALBERT_LAYER}.full_layer_layer_norm",
    "pooler.dense": "pooler",
    "mlm_head": "predictions",
    "mlm_head.transform": "predictions.dense",
    "mlm_head.norm": "predictions.LayerNorm",
    "nsp_head": "sop_classifier.classifier",
}
DISTILBERT_NAMES = BERT_NAMES | {
    "encoder.layers.{i}.attention.query": "transformer.layer.{i}.attention.q_lin",
    "encoder.layers.{i}.attention.key": "transformer.layer.{i}.attention.k_lin",
    "encoder.layers.{i}.attention.value": "transformer.layer.{i}.attention.v_lin",
    "encoder.layers.{i}.attention.output": "transformer.layer.{i}.attention.out_lin",
    "encoder.layers.{i}.attention_norm": "transformer.layer.{i}.sa_layer_norm",
    "encoder.layers.{i}.feed_forward.up": "transformer.layer.{i}.ffn.lin1",
    "encoder.layers.{i}.feed_forward.down": "transformer.layer.{i}.ffn.lin2",
    "encoder.layers.{i}.feed_forward_norm": "transformer.layer.{i}.output_layer_norm",
    "mlm_head": "vocab_projector",
    "mlm_head.transform": "vocab_transform",
    "mlm_head.norm": "vocab_layer_norm",
}
NAMES = {
    "bert": BERT_NAMES,
    "roberta": ROBERTA_NAMES,
    "albert": ALBERT_NAMES,
    "distilbert": DISTILBERT_NAMES,
}
# There, the pooler of these models is a part of their heads, outside of the encoder, with its own name.
POOLERS = {
    ("roberta", "BertForSequenceClassification"): {
        "bert.pooler.dense": "classifier.dense",
        "classifier": "classifier.out_proj",
    },
    ("distilbert", "BertForSequenceClassification"): {"bert.pooler.dense": "pre_classifier"},
    ("distilbert", "BertForMultipleChoice"): {"bert.pooler.dense": "pre_classifier"},
}
DECODERS = {
    "bert": "cls.predictions.decoder.weight",
    "roberta": "lm_head.decoder.weight",
    "albert": "predictions.decoder.weight",
    "distilbert": "vocab_projector.weight",
}
CLASSES = {"bert": "Bert", "roberta": "Roberta", "albert": "Albert", "distilbert": "DistilBert"}

# A file has all parts of these that the model has, and no others.
ENCODER = ("embeddings.", "encoder.", "transformer.")
HEADS = ("classifier.", "crf.", "lstm.", "sum.")  # they are new where another task had them
PICKLED = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}


def transformers_name(name: str, names: dict[str, str] = BERT_NAMES, encoder: str = "bert") -> str:
    """The name that transformers gives to a parameter of ours.

    Args:
        name: ours.
        names: ours and transformers', of modules.
        encoder: what transformers calls the encoder in a model with a head.

    >>> transformers_name("bert.encoder.layers.3.feed_forward.up.weight")
    'bert.encoder.layer.3.intermediate.dense.weight'
    """
    module, _, kind = name.rpartition(".")
    number = re.search(r"\.(\d+)\.", module)
    if number:
        module = module.replace(number[0], ".{i}.", 1)
    prefix = ""
    if module not in names and module.startswith("bert."):
        module, prefix = module.removeprefix("bert."), f"{encoder}."
    theirs = names.get(module, module)  # what is the same there, or is not there at all, needs no row
    return f"{prefix}{theirs}.{kind}".replace("{i}", number[1] if number else "")


def names_of(model: PretrainedModel) -> dict[str, str]:
    """The names of a model's parameters, and those of transformers; what layers share has one name there."""
    config, family = model.config, model.config.model_type
    names = NAMES[family] | POOLERS.get((family, type(model).__name__), {})

    def owner(layer: re.Match[str]) -> str:
        return "0" if layer[2] in config.parts_in_common else str(config.group_of(int(layer[1])))

    def of_owner(name: str) -> str:
        return re.sub(r"(?<=\.layers\.)(\d+)(?=\.(\w+))", owner, name)

    return {name: transformers_name(of_owner(name), names, family) for name in model.state_dict()}


def our_class(architecture: str) -> str:
    """The class that stands for one of transformers'.

    >>> our_class("RobertaForMaskedLM")
    'BertForMaskedLM'
    """
    for theirs in CLASSES.values():
        if architecture.startswith(theirs):
            return f"Bert{architecture.removeprefix(theirs)}"
    return architecture


def read_weights(directory: Path) -> dict[str, Tensor]:
    """All tensors of a directory's safetensors file, or files where it was saved in several."""
    files = [directory / "model.safetensors"]
    # As transformers: where the whole lies beside an index, that is of an earlier save.
    if not files[0].exists() and (index := directory / "model.safetensors.index.json").exists():
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
            raise InputError(
                f"{file} does not exist: a model directory holds it beside config.json; where a model comes "
                "as pytorch_model.bin alone, convert it with transformers' save_pretrained"
            )
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
    family = model.config.model_type
    prefix = f"{family}."
    weights = read_weights(directory)
    refuse_other_family(weights, family, directory)
    stored = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):  # of LayerNorm, in the first checkpoints
        stored = {name.replace(old, new): tensor for name, tensor in stored.items()}
    if hasattr(model, "mlm_head"):
        refuse_untied(stored, DECODERS[family], directory)
    fresh, state, names = [], {}, names_of(model)
    for name, parameter in model.state_dict().items():
        theirs = names[name].removeprefix(prefix)
        tensor = stored.get(theirs)
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
    for name in stored.keys() - {theirs.removeprefix(prefix) for theirs in names.values()}:
        if name.startswith(ENCODER) and not name.endswith("_ids"):  # old files hold position_ids: 0, 1, 2, …
            raise InputError(
                f"{directory} holds {name}, and its config.json asks for no such part; "
                "the two files belong to different models"
            )
    model.load_state_dict(state, strict=False)
    return tuple(fresh)


def refuse_other_family(weights: dict[str, Tensor], family: str, directory: Path) -> None:
    encoders = {name.split(".")[0] for name in weights} & NAMES.keys() - {family}
    if encoders:
        raise InputError(
            f"{directory} holds the weights of another family: they are named {encoders.pop()}.…, and "
            f"its config.json has model_type {family!r}"
        )


def refuse_untied(stored: dict[str, Tensor], decoder_name: str, directory: Path) -> None:
    decoder = stored.get(decoder_name)
    words = stored.get("embeddings.word_embeddings.weight")
    if decoder is not None and words is not None and not torch.equal(decoder, words):
        raise InputError(f"{directory}: its decoder is not its word embedding, and BERT's are one matrix")


def kept_type(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype and tensor.is_floating_point() else tensor.dtype  # 8-bit numbers stay so


def save(model: PretrainedModel, directory: Path, dtype: torch.dtype | None = None) -> None:
    """Write `config.json` and `model.safetensors`."""
    names = names_of(model)
    weights = {
        names[name]: tensor.detach().to("cpu", kept_type(tensor, dtype)).contiguous()
        for name, tensor in model.state_dict().items()
    }
    architecture = model.ARCHITECTURE or type(model).__name__
    family = model.config.model_type
    if model.fits_transformers:
        kind = {"model_type": family}
        architecture = architecture.replace("Bert", CLASSES[family], 1)
    else:
        kind = {"model_type": "bertmini", "family": family}
    config = {**model.config.to_dict(), **kind, "architectures": [architecture]}
    for name in ("dtype", "torch_dtype"):  # of the file that it began from; the weights say their own
        config.pop(name, None)
    write(directory / "model.safetensors", serialize(weights, metadata={"format": "pt"}))
    write(directory / "config.json", (json.dumps(config, indent=2) + "\n").encode())
