"""What a model is pretrained for, and on which rows: pairs, orders, whole sentences, one direction."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_pretraining import NumberTokenizer, document_of, numbered_corpus, shapes
from torch import nn

from bertmini import BertConfig, InputError
from bertmini.cli import main
from bertmini.data.batches import INPUTS, OBJECTIVES, PretrainingData, coming_next
from bertmini.data.masking import Spans
from bertmini.data.pairs import order_examples, sentence_examples, sentence_pair_examples
from bertmini.model.bert import (
    Bert,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
)
from bertmini.model.seq2seq import BertForSequenceToSequence
from bertmini.tasks import fill, pretrain
from bertmini.tasks.pretrain import new_model, objective_of
from bertmini.tokenizer import load_tokenizer
from bertmini.training import evaluate_pretraining

SEP = NumberTokenizer.sep_token_id


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(5, 40), st.integers(0, 9))
def test_passages_to_put_in_order_stand_together_in_one_document(shape, max_length, epoch):
    corpus = numbered_corpus([[2], *shape])
    pairs = order_examples(corpus, max_length, seed=1, epoch=epoch)
    assert (pairs.a_end > pairs.a_start).all()
    assert (pairs.b_end > pairs.b_start).all()
    assert pairs.lengths.max() <= max_length - 3
    for i in range(len(pairs)):
        first, second = (pairs.a_start[i], pairs.a_end[i]), (pairs.b_start[i], pairs.b_end[i])
        if pairs.is_not_next[i]:
            first, second = second, first
        assert first[1] <= second[0]
        assert document_of(corpus, first[0]) == document_of(corpus, second[1] - 1)


def test_half_of_the_passages_are_swapped_and_nothing_is_left_out():
    corpus = numbered_corpus([[8, 5, 7] * 30] * 40)
    pairs = order_examples(corpus, 1000, seed=0, epoch=0, short_share=0)
    assert pairs.lengths.sum() == len(corpus)
    pairs = order_examples(corpus, 64, seed=0, epoch=0)
    assert abs(pairs.is_not_next.mean() - 0.5) < 0.07
    again = [order_examples(corpus, 64, *key).a_start.tobytes() for key in [(0, 0), (0, 0), (0, 1), (1, 0)]]
    assert again[0] == again[1]
    assert len(set(again)) == 3


def test_a_corpus_of_single_tokens_has_no_order():
    with pytest.raises(InputError, match="no document of the corpus has two tokens"):
        order_examples(numbered_corpus([[1], [1]]), 16, 0, 0)


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(0, 9))
def test_sentence_pairs_are_two_sentences(shape, epoch):
    corpus = numbered_corpus(shape)
    pairs = sentence_pair_examples(corpus, 1000, seed=0, epoch=epoch)
    ends = dict(zip(corpus.sentence_starts.tolist(), corpus.sentence_starts[1:].tolist(), strict=False))
    for i in range(len(pairs)):
        assert ends[pairs.a_start[i]] == pairs.a_end[i]
        assert ends[pairs.b_start[i]] == pairs.b_end[i]
        same = document_of(corpus, pairs.a_start[i]) == document_of(corpus, pairs.b_start[i])
        assert same != pairs.is_not_next[i]
        assert not same or pairs.b_start[i] == pairs.a_end[i]


def test_a_separated_corpus_ends_each_document_with_a_separator():
    corpus = numbered_corpus([[2, 1], [1], [3]]).separated(SEP)
    assert corpus.token_ids.tolist() == [5, 6, 7, SEP, 8, SEP, 9, 10, 11, SEP]
    assert corpus.sentence_starts.tolist() == [0, 2, 4, 6, 10]
    assert corpus.document_starts.tolist() == [0, 2, 3, 4]


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(3, 45), st.integers(0, 9), st.booleans())
def test_rows_of_whole_sentences_cover_the_text_and_cut_only_what_no_row_holds(
    shape, max_length, epoch, across
):
    corpus = numbered_corpus(shape)
    text = corpus.token_ids.tolist()
    corpus = corpus.separated(SEP) if across else corpus
    rows = sentence_examples(corpus, max_length, seed=0, epoch=epoch, across=across)
    parts = [
        corpus.token_ids[start:end].tolist() for start, end in zip(rows.a_start, rows.a_end, strict=True)
    ]
    assert [token for part in parts for token in part if token != SEP] == text
    assert max(map(len, parts)) <= max_length - 2
    assert all(SEP not in (part[0], part[-1]) for part in parts)
    borders = {*corpus.sentence_starts.tolist(), *(corpus.sentence_starts[1:] - 1).tolist()}
    room = max_length - 2
    for start, end in zip(rows.a_start, rows.a_end, strict=True):
        if end not in borders:
            sentence = np.searchsorted(corpus.sentence_starts, end - 1, side="right") - 1
            first, last = corpus.sentence_starts[sentence : sentence + 2]
            assert last - first > room - 1, "a sentence is cut that a row could hold"
        if not across:
            assert document_of(corpus, start) == document_of(corpus, end - 1)


def test_rows_of_full_sentences_go_on_in_the_next_document():
    corpus = numbered_corpus([[4, 4]] * 50)
    data = PretrainingData(corpus, NumberTokenizer(), 8, 64, 0, "mlm", inputs="full-sentences")
    ids = torch.cat([data.batch(step)["input_ids"].flatten() for step in range(len(data))])
    assert (ids == SEP).sum() > 2 * len(data) * 8 * 0.8, "separators, and the end of each row"
    asked = [
        data.batch(step)["input_ids"][data.batch(step)["labels"] != -100] for step in range(len(data))
    ]
    assert not (torch.cat(asked) == SEP).any()


def test_inputs_are_what_their_names_say():
    corpus = numbered_corpus([[7] * 40] * 6)
    made = {name: INPUTS[name](corpus, 34, 0, 0) for name in set(INPUTS) - {"full-sentences"}}
    starts = set(corpus.sentence_starts.tolist())
    assert set(made["doc-sentences"].a_start.tolist()) <= starts
    assert not set(made["stretches"].a_start.tolist()) <= starts
    assert set(made["sentence-pairs"].lengths.tolist()) == {14}
    for name in ("segment-pairs", "ordered-pairs"):
        assert max(made[name].lengths) > 14
        documents = [document_of(corpus, places) for places in (made[name].a_start, made[name].b_start)]
        assert (documents[0] == documents[1]).all() == (name == "ordered-pairs")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_has_its_labels(objective):
    corpus = numbered_corpus([[5, 9, 4, 7] * 5] * 9)
    for inputs in (None, *OBJECTIVES[objective].inputs):
        data = PretrainingData(corpus, NumberTokenizer(), 4, 32, 0, objective, inputs=inputs)
        batch = data.batch(0)
        told = {name for name in batch if name.endswith("_label")}
        assert told == {OBJECTIVES[objective].pair_label} - {None}
        assert torch.equal(data.batch(0)["labels"], batch["labels"])
        for name in told:
            assert set(torch.cat([data.batch(step)[name] for step in range(len(data))]).tolist()) == {0, 1}


def test_what_comes_next_is_the_neighbour_in_the_direction_of_reading():
    ids = torch.tensor([[2, 7, 8, 9, 3, 0], [2, 6, 3, 5, 3, 0]])
    is_text = ids > 4
    assert coming_next(ids, is_text, "left-to-right").tolist() == [
        [7, 8, 9, -100, -100, -100],
        [6, -100, 5, -100, -100, -100],
    ]
    assert coming_next(ids, is_text, "right-to-left").tolist() == [
        [-100, -100, 7, 8, 9, -100],
        [-100, -100, 6, -100, 5, -100],
    ]


def test_another_rate_masks_so_many():
    corpus = numbered_corpus([[20] * 30] * 9)
    for rate in (0.15, 0.4):
        data = PretrainingData(corpus, NumberTokenizer(), 8, 64, 0, "mlm", rate=rate)
        labels = torch.cat([data.batch(step)["labels"].flatten() for step in range(len(data))])
        ids = torch.cat([data.batch(step)["attention_mask"].flatten() for step in range(len(data))])
        assert (labels != -100).sum() / ids.sum() == pytest.approx(rate, abs=0.02)


def test_spans_have_the_published_mean():
    mean = (Spans.chances * torch.arange(1, 11)).sum()
    assert Spans.chances.sum() == pytest.approx(1)
    assert mean == pytest.approx(3.8, abs=0.01)  # Joshi et al. 2019, section 3.1


def tiny(direction=None, **fields):
    torch.manual_seed(0)
    size = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    return BertConfig(vocab_size=40, max_position_embeddings=16, direction=direction, **size, **fields)


def randomized(model):
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def padded():
    torch.manual_seed(1)
    ids, mask = torch.randint(5, 40, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[1, 6:] = mask[2, 2:] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def test_a_left_to_right_model_gives_the_numbers_of_transformers():
    model, batch = randomized(BertForMaskedLM(tiny("left-to-right"))), padded()
    twin = BertForMaskedLM(tiny())
    twin.load_state_dict(model.state_dict())
    theirs = transformers.BertConfig(**tiny().to_dict() | {"is_decoder": True})
    other = transformers.BertLMHeadModel(theirs).eval()
    from bertmini.model.checkpoint import names_of

    missing = other.load_state_dict(
        {names_of(twin)[name]: value for name, value in twin.state_dict().items()}, strict=False
    )
    assert not missing.unexpected_keys
    other.tie_weights()
    with torch.no_grad():
        real = batch["attention_mask"].bool()
        mine = model(**batch).prediction_logits[real]
        assert torch.allclose(mine, other(**batch).logits[real], atol=1e-5)
        labels = coming_next(batch["input_ids"], real, "left-to-right")
        asked = torch.where(real, batch["input_ids"], -100)
        loss = model(**batch, labels=labels).losses["ltr"]
        assert loss == pytest.approx(other(**batch, labels=asked).loss.item(), rel=1e-5)


@pytest.mark.parametrize("direction", ["left-to-right", "right-to-left"])
def test_a_model_that_reads_one_way_never_looks_the_other(direction):
    model, ids = randomized(Bert(tiny(direction))), torch.arange(5, 14)[None]
    changed = ids.clone()
    changed[0, 4] = 20
    with torch.no_grad():
        same = (model(ids).last_hidden_state == model(changed).last_hidden_state).all(-1)[0]
    before = slice(0, 4) if direction == "left-to-right" else slice(5, None)
    behind = slice(4, None) if direction == "left-to-right" else slice(0, 5)
    assert same[before].all()
    assert not same[behind].any()


@pytest.mark.parametrize("direction", ["left-to-right", "right-to-left"])
def test_padding_has_finite_gradients(direction):
    model, batch = randomized(BertForMaskedLM(tiny(direction))), padded()
    labels = coming_next(batch["input_ids"], batch["attention_mask"].bool(), direction)
    model.train()  # by the formula, with dropout
    model(**batch, labels=labels).loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_text_is_summed_up_by_the_token_that_has_read_it():
    for direction in ("left-to-right", "right-to-left", None):
        model, batch = randomized(BertForSequenceClassification(tiny(direction))), padded()
        with torch.no_grad():
            logits = model(**batch).logits
            for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
                alone = model(batch["input_ids"][row : row + 1, :length]).logits
                assert torch.allclose(alone[0], logits[row], atol=1e-5)
                for place in range(length):
                    changed = batch["input_ids"][row : row + 1, :length].clone()
                    changed[0, place] = 39 if changed[0, place] != 39 else 38
                    assert not torch.equal(model(changed).logits, alone), "every token counts"


def test_the_loss_of_an_order_is_that_of_transformers():
    torch.manual_seed(0)
    model = randomized(BertForPreTraining(BertConfig.preset("tiny", "albert", vocab_size=40)))
    from bertmini.model.checkpoint import names_of

    other = transformers.AlbertForPreTraining(transformers.AlbertConfig(**model.config.to_dict())).eval()
    other.load_state_dict(
        {names_of(model)[name]: value for name, value in model.state_dict().items()}, strict=False
    )
    other.tie_weights()
    batch = padded()
    batch |= {"labels": torch.where(batch["input_ids"] % 3 == 0, batch["input_ids"], -100)}
    batch |= {"sentence_order_label": torch.tensor([0, 1, 1])}
    with torch.no_grad():
        mine, theirs = model(**batch), other(**batch)
    assert set(mine.losses) == {"mlm", "sop"}
    assert mine.loss == pytest.approx(theirs.loss.item(), rel=1e-5)
    metrics = evaluate_pretraining(model, [batch])
    assert metrics["sop_loss"] == pytest.approx(mine.losses["sop"].item(), rel=1e-5)
    assert metrics["sop_baseline_accuracy"] == pytest.approx(2 / 3)


def test_what_reads_one_way_refuses_what_it_cannot_do():
    model = BertForMaskedLM(tiny("left-to-right"))
    with pytest.raises(InputError, match="a left-to-right model does not take packed sequences"):
        model(torch.arange(5, 9)[None], cu_seqlens=torch.tensor([0, 2, 4]))
    with pytest.raises(InputError, match="reads left-to-right and knows no masks"):
        next(fill.predict(model, None, ["a [MASK]"]))
    with pytest.raises(InputError, match="a model that translates reads its source both ways"):
        BertForSequenceToSequence(tiny("right-to-left"))
    with pytest.raises(InputError, match="direction is 'up'; expected one of left-to-right, right-to-left"):
        tiny("up")


def test_what_an_objective_does_not_allow_is_refused():
    corpus = numbered_corpus([[5, 9]] * 9)
    with pytest.raises(InputError, match=r"'full-sentences'; the objective mlm\+nsp expects one of"):
        PretrainingData(corpus, NumberTokenizer(), 4, 32, 0, inputs="full-sentences")
    with pytest.raises(InputError, match=r"the masking rate is 1\.5; it must be between 0 and 1"):
        PretrainingData(corpus, NumberTokenizer(), 4, 32, 0, rate=1.5)


class TestCommand:
    SMALL = ("--preset", "tiny", "--documents", "60", "--steps", "3", "--max-length", "48", "--held-out", "6")

    @pytest.mark.parametrize(
        ("options", "losses"),
        [
            (("--family", "albert"), {"mlm", "sop"}),
            (("--family", "roberta", "--inputs", "full-sentences", "--mask-rate", "0.4"), {"mlm"}),
            (("--family", "distilbert", "--masking", "span", "--static-masks", "2"), {"mlm"}),
            (("--objective", "ltr"), {"ltr"}),
            (("--objective", "rtl", "--inputs", "doc-sentences"), {"rtl"}),
        ],
    )
    def test_families_and_objectives(self, options, losses, tmp_path, capsys, monkeypatch):
        read_part = pretrain.read_part
        monkeypatch.setattr(pretrain, "read_part", lambda *part, **how: read_part(*part, **how)[:100])
        out = tmp_path / "run"
        assert main(["pretrain", "--out", str(out), *self.SMALL, *options]) == 0
        metrics = json.loads((out / "metrics.json").read_text())
        assert losses <= metrics["train"].keys()
        assert {f"{name}_loss" for name in losses} <= metrics["dev"].keys()
        capsys.readouterr()
        assert main(["evaluate", "--data", "gazette", "--model", str(out)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert {f"{name}_accuracy" for name in losses} <= told["dev" if "dev" in told else "test"].keys()
        family = json.loads((out / "config.json").read_text())
        assert options[1] in (family.get("family"), family["model_type"], family["objective"])
        kind = pretrain.FAMILY_TOKENIZERS[options[1] if options[0] == "--family" else "bert"]
        assert type(load_tokenizer(out)) is kind

    def test_a_family_beside_another_start_is_refused(self, tmp_path, capsys):
        command = ["pretrain", "--out", str(tmp_path / "run"), *self.SMALL, "--family", "albert"]
        from bertmini.hub import shipped

        assert main([*command[:-2], "--init", str(shipped()), "--family", "albert"]) == 2
        assert "is a bert; leave --family out" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_a_model_knows_its_objective():
    class Pieces:
        pad_token_id, model_max_length = 0, 32

        def __len__(self):
            return 50

    for objective in OBJECTIVES:
        assert objective_of(new_model("tiny", objective, Pieces(), 0, 0.1)) == objective
    published = BertForPreTraining(BertConfig.preset("tiny", "albert", vocab_size=40))
    assert objective_of(published) == "mlm+sop"
