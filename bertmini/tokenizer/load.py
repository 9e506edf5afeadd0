"""The tokenizer of a directory, whichever family it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertmini.errors import InputError
from bertmini.files import read_json
from bertmini.hub import locate
from bertmini.tokenizer.base import Backend, Tokenizer
from bertmini.tokenizer.byte_level import ByteLevelBPETokenizer
from bertmini.tokenizer.tokenizer import WordPieceTokenizer
from bertmini.tokenizer.unigram import UnigramTokenizer, missing_unigram

# What a tokenizer.json calls the model of each.
KINDS: dict[str, Any] = {
    "WordPiece": WordPieceTokenizer,
    "BPE": ByteLevelBPETokenizer,
    "Unigram": UnigramTokenizer,
}
BY_FAMILY = {"roberta": "BPE", "albert": "Unigram"}


def load_tokenizer(directory: str | Path, backend: Backend = "fast") -> Tokenizer:
    """Load a tokenizer that bertmini or transformers saved, from a directory or by a model's hub id.

    Args:
        directory: or hub id; which kind it holds, its files say.
        backend: "fast", or "python" where there is such code: WordPiece and byte-level BPE.

    Raises:
        InputError: there is no tokenizer that is known here, or its files are not what they should be.
    """
    directory = locate(directory)
    return KINDS[kind_of(directory)].from_pretrained(directory, backend=backend)


def kind_of(directory: Path) -> str:
    own = {"WordPiece": ("vocab.txt",), "BPE": ("vocab.json", "merges.txt")}
    found = [kind for kind, files in own.items() if all((directory / name).exists() for name in files)]
    if len(found) > 1:  # of which one was left behind by another model
        config = read_json(directory / "config.json") if (directory / "config.json").exists() else {}
        return BY_FAMILY.get(config.get("model_type") or "bert", "WordPiece")
    if found:
        return found[0]
    file = directory / "tokenizer.json"
    if file.exists():
        model: Any = read_json(file).get("model")
        kind = model.get("type", "WordPiece") if isinstance(model, dict) else "WordPiece"
        if kind not in KINDS:
            raise InputError(f"{file}: its model is {kind!r:.60}; bertmini reads {', '.join(KINDS)}")
        return kind
    if any(directory.glob("*.model")):
        raise InputError(missing_unigram(directory))
    raise InputError(f"{directory}: no vocab.txt and no tokenizer.json; give a tokenizer's directory")
