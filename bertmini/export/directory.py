"""What transformers loads: configuration, weights and tokenizer, with a card, and nothing of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertmini.errors import InputError
from bertmini.export.card import model_card
from bertmini.files import read_json, write, write_json
from bertmini.model.bert import BertForPreTraining
from bertmini.model.seq2seq import BertForSequenceToSequence
from bertmini.model.tagging import BertCrfForTokenClassification, BertFeaturesForTokenClassification
from bertmini.predict import Predictor

# Why transformers cannot hold a model.
REASONS: dict[type, str] = {
    BertForPreTraining: "its family has no next-sentence head",
    BertCrfForTokenClassification: "a conditional random field chooses its tags",
    BertFeaturesForTokenClassification: "its tags come from a BiLSTM on hidden states",
    BertForSequenceToSequence: "it writes under a sequence-to-sequence mask",
}
OTHER_REASON = (
    "its layers are those of no published family: shared, factorised, normalised or pruned otherwise"
)


def load_exportable(origin: str | Path) -> Predictor:
    """The predictor of a directory or hub id whose model other programs can hold.

    Raises:
        InputError: transformers has no such model; or `Predictor.from_pretrained` refuses the directory.
    """
    predictor = Predictor.from_pretrained(origin)
    if not predictor.model.fits_transformers:
        raise InputError(
            f"{origin}: model_type is bertmini, since {reason_of(predictor.model)}; other programs cannot "
            "hold that, so that it is not exported: load it with bertmini.Predictor"
        )
    return predictor


def reason_of(model: Any) -> str:
    """Why transformers has no such model."""
    config = model.config
    if config.quantization:
        return "its matrices are 8-bit numbers"
    if config.direction:
        return f"it reads one way, {config.direction}"
    return REASONS.get(type(model), OTHER_REASON) if config.fits_transformers else OTHER_REASON


def export_directory(origin: str | Path, directory: str | Path, name: str) -> None:
    """Write what transformers loads, with a card.

    Args:
        origin: the directory of a model, or its hub id.
        directory: made if it does not exist.
        name: of the model, for its card.

    Raises:
        InputError: transformers has no such model.
    """
    predictor, directory = load_exportable(origin), Path(directory)
    predictor.model.save_pretrained(directory)
    save_tokenizer(predictor, directory)
    write(directory / "README.md", model_card(predictor, origin, name).encode())


def save_tokenizer(predictor: Predictor, directory: Path) -> None:
    """Write the tokenizer; its settings say what the family takes, which not always has segments."""
    predictor.tokenizer.save_pretrained(directory)
    file = directory / "tokenizer_config.json"
    write_json(file, read_json(file) | {"model_input_names": input_names(predictor.model)})


def input_names(model: Any) -> list[str]:
    """What a model reads, by transformers' names."""
    has_segments = model.config.type_vocab_size > 1
    return ["input_ids", "attention_mask", *(["token_type_ids"] if has_segments else [])]
