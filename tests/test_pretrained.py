"""The model that the package ships: it is good enough to be learned from."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from bertmini import BertForPreTraining, Gazette, Predictor, WordPieceTokenizer
from bertmini.cli import main
from bertmini.hub import SHIPPED
from bertmini.tasks.pretrain import held_out_metrics, read_part


@pytest.fixture(scope="module")
def metrics() -> dict[str, float]:
    """On documents of the test split, which no training and no choice has seen."""
    tokenizer = WordPieceTokenizer.from_pretrained(SHIPPED)
    documents = read_part("gazette", "test")[:40]
    measure = held_out_metrics(documents, tokenizer, 16, 256, "mlm+nsp", gazette=True)
    return measure(BertForPreTraining.from_pretrained(SHIPPED))


def test_it_fills_masks_far_better_than_the_most_frequent_piece(metrics) -> None:
    assert metrics["mlm_accuracy"] > 8 * metrics["mlm_baseline_accuracy"]


def test_it_knows_which_sentences_follow(metrics) -> None:
    assert metrics["nsp_accuracy"] > metrics["nsp_baseline_accuracy"] + 0.1


def test_it_comes_near_the_limit_and_never_passes_it(metrics) -> None:
    assert 0 < metrics["word_loss"] - metrics["limit_loss"] < 0.3
    assert metrics["word_accuracy"] > 0.85 * metrics["limit_accuracy"]


def test_its_metrics_are_those_it_was_shipped_with(metrics) -> None:
    shipped = json.loads((SHIPPED / "metrics.json").read_text())["dev"]
    assert abs(shipped["mlm_accuracy"] - metrics["mlm_accuracy"]) < 0.05


def test_it_is_small_and_loads_in_transformers() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 9_000_000
    model = transformers.BertForPreTraining.from_pretrained(SHIPPED, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(SHIPPED)
    inputs = tokenizer(Gazette(seed=0).documents(2, "test")[0].sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = model(**inputs).prediction_logits
        ours = BertForPreTraining.from_pretrained(SHIPPED)(**inputs).prediction_logits
    assert torch.equal(ours, theirs)


def test_it_is_what_a_command_takes_without_a_name(capsys) -> None:
    text = "The harbour [MASK] has elected her."
    assert main(["fill", text]) == 0
    assert json.loads(capsys.readouterr().out) == Predictor.from_pretrained(SHIPPED)(text)
