"""What several tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """Real texts and labelled sets, where the environment variable BERTMINI_DATA says they are."""
    if "BERTMINI_DATA" not in os.environ:
        pytest.skip("BERTMINI_DATA names no directory of real data")
    return Path(os.environ["BERTMINI_DATA"])


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    """A text file of eighty documents, four blank lines between them."""
    from bertmini.gazette import Gazette

    file = tmp_path_factory.mktemp("corpus") / "gazette.txt"
    file.write_text("\n\n\n\n".join(document.text for document in Gazette().documents(80)), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory, small_corpus) -> Path:
    """A run directory of `bertmini pretrain`, a few steps long: useless, and complete."""
    from bertmini.cli import main

    out = tmp_path_factory.mktemp("models") / "pretrained"
    command = f"pretrain --data {small_corpus} --out {out} --preset tiny --steps 4"
    assert main([*command.split(), "--vocab-size", "600", "--batch-size", "8"]) == 0
    return out


@pytest.fixture(scope="session")
def save_start(tmp_path_factory) -> Callable[..., Path]:
    """Makes a directory to fine-tune from: a model of random weights with both heads, and its tokenizer.

    `save_start(tokenizer, **fields)`, the fields of the configuration in place of a small one's.
    """
    import torch

    from bertmini import BertConfig, BertForPreTraining

    def save(tokenizer: Any, **fields: Any) -> Path:
        small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        directory = tmp_path_factory.mktemp("start")
        torch.manual_seed(0)
        size = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, **small}
        config = BertConfig(**size | fields)
        BertForPreTraining(config).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return directory

    return save


@pytest.fixture(scope="session")
def mood_files(tmp_path_factory) -> Path:
    """A folder with train, dev and test, three labels that a word gives away."""
    words = {"joy": "happy", "fear": "afraid", "anger": "angry"}
    folder = tmp_path_factory.mktemp("mood")
    for part, rows in (("train", 48), ("dev", 12), ("test", 12)):
        lines = [
            f"the captain was {word} on day {i};{label}\n"
            for i in range(rows // 3)
            for label, word in words.items()
        ]
        (folder / f"{part}.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="session")
def classifier(tmp_path_factory, pretrained, mood_files) -> Path:
    """A run directory of `bertmini finetune classify`, trained until it answers by the word."""
    from bertmini.cli import main

    out = tmp_path_factory.mktemp("models") / "classifier"
    command = f"finetune classify --data {mood_files} --model {pretrained} --out {out} --epochs 20"
    assert main([*command.split(), "--batch-size", "8", "--learning-rate", "1e-3"]) == 0
    return out
