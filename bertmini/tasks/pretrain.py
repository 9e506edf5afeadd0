"""Pretraining: from running text to a model with the masked-language and next-sentence heads (section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from bertmini.config import BertConfig
from bertmini.data.batches import PretrainingData
from bertmini.data.corpus import Corpus
from bertmini.data.text import Document, hold_out, read_documents, split_sentences
from bertmini.errors import InputError
from bertmini.model.bert import BertForMaskedLM, BertForPreTraining
from bertmini.training import History, evaluate_pretraining

HELD_OUT_BATCHES = 50  # measured at each evaluation: the same ones, or numbers could not be compared
MODELS = {"mlm+nsp": BertForPreTraining, "mlm": BertForMaskedLM}


def read_corpus(
    data: Sequence[str], documents: int | None = None, held_out: int = 20, **reading: Any
) -> tuple[list[Document], list[Document]]:
    """The documents to train on, and those held out.

    Args:
        data: ["gazette"], ["hf:NAME"] or ["hf:NAME:CONFIGURATION"], or files and folders.
        documents: how many are used at most; None: all, and 20,000 of the Gazette.
        held_out: one document in so many; 0 holds none out.
        reading: encoding, strict and separator of `read_documents`.
    """
    if list(data) == ["gazette"]:
        from bertmini.gazette import Gazette

        gazette, number = Gazette(), documents or 20_000
        dev = gazette.documents(max(2, number // held_out), "dev") if held_out else []
        return [d.sentences for d in gazette.documents(number)], [d.sentences for d in dev]
    if data[0].startswith("hf:"):
        found = hub_documents(data[0], documents)
    else:
        found = read_documents(data, **reading)[:documents]
    if not held_out:
        return found, []
    # Two held-out documents at least where there are enough, since a NotNext pair takes its halves from two.
    return hold_out(found, max(2, min(held_out, len(found) // 2)))


def read_part(data: str, split: str, **reading: Any) -> list[Document]:
    """The documents to measure on: a split of the Gazette (1,000), or all of a corpus."""
    if data == "gazette":
        from bertmini.gazette import Gazette

        return [document.sentences for document in Gazette().documents(1000, split)]
    return read_corpus([data], held_out=0, **reading)[0]


def hub_documents(name: str, documents: int | None) -> list[Document]:
    """The column `text` of a data set's train split, a document a row."""
    from datasets import load_dataset

    rows = load_dataset(*name.removeprefix("hf:").split(":"), split="train", streaming=True)
    found = []
    for row in rows:
        if "text" not in row:
            raise InputError(f"{name}: columns are {', '.join(row)}; expected one named text")
        found += [sentences] if (sentences := split_sentences(row["text"])) else []
        if len(found) == documents:
            break
    if not found:
        raise InputError(f"{name}: no sentence found; expected running text")
    return found


def new_model(preset: str, objective: str, tokenizer: Any, seed: int) -> BertForMaskedLM:
    """A model with random weights for a tokenizer's vocabulary."""
    torch.manual_seed(seed)
    config = BertConfig.preset(preset, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    return MODELS[objective](config)


def held_out_metrics(
    documents: Sequence[Document], tokenizer: Any, batch_size: int, max_length: int, objective: str
) -> Callable[[nn.Module], dict[str, float]]:
    """The function that measures a model on held-out documents, always on the same masks and pairs."""
    corpus = Corpus.from_documents(documents, tokenizer)
    if corpus.num_documents < 2:
        objective = "mlm"
    data = PretrainingData(corpus, tokenizer, batch_size, max_length, seed=0, objective=objective)
    batches = [data.batch(step) for step in range(min(len(data), HELD_OUT_BATCHES))]
    return lambda model: evaluate_pretraining(model, batches)


def summary(history: History, evaluate: Callable | None) -> dict[str, Any]:
    """The metrics of a run: the last logged losses, the last measurement on held-out documents, and the speed."""
    logged = [line for line in history.lines if "loss" in line][-1]
    told = ("step", "learning_rate", "gradient_norm", "tokens_per_second", "seconds")
    measured = [line["dev"] for line in history.lines if "dev" in line]
    return {
        "train": {name: value for name, value in logged.items() if name not in told},
        **({"dev": measured[-1]} if evaluate else {}),
        "steps": history.progress.step,
        "seconds": history.progress.seconds,
        "tokens_per_second": history.tokens_per_second,
    }
