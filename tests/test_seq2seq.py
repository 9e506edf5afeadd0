"""Sequence to sequence: the mask, the readers, beam search, and writing with a masked model."""

from __future__ import annotations

import itertools
import json
import math
import sys
from types import SimpleNamespace

import pytest
import torch

from bertmini import BertConfig, BertForMaskedLM, InputError, Predictor, WordPieceTokenizer
from bertmini.data.parallel import Parallel, read_parallel
from bertmini.model.attention import sequence_to_sequence_mask
from bertmini.model.seq2seq import BertForSequenceToSequence, change_vocabulary, positions_in_each
from bertmini.tasks import TASKS, finetune, load_for_task, seq2seq, task_options
from bertmini.tasks.decoding import Decoding, beam_search
from bertmini.training import train

WORDS = "the a cat dog bird sees hears small old red".split()
END, FORBIDDEN = 3, [0, 1, 2, 4]


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])


def new_model(vocab_size: int, seed: int = 0, std: float = 0.3) -> BertForSequenceToSequence:
    """A tiny model whose random weights are large enough to have opinions."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=std,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceToSequence(config).eval()


def sources(seed: int = 0, vocab_size: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Three sources of different lengths, padded."""
    torch.manual_seed(seed)
    ids = torch.randint(5, vocab_size, (3, 6))
    mask = torch.ones_like(ids)
    for row, length in enumerate((6, 3, 4)):
        ids[row, 0], ids[row, length - 1] = 2, 3
        ids[row, length:], mask[row, length:] = 0, 0
    return ids, mask


def next_log_probs(model: BertForSequenceToSequence, source: list[int], written: list[int]) -> torch.Tensor:
    """Of the next piece, by the whole model and without a cache."""
    ids = torch.tensor([source + written])
    types = torch.tensor([[0] * len(source) + [1] * len(written)])
    logits = model(ids, types).prediction_logits[0, -1]
    logits[FORBIDDEN] = float("-inf")
    return logits.log_softmax(-1)


# --- the mask


def test_the_mask_lets_the_source_see_itself_and_the_target_all_before_it():
    types = torch.tensor([[0, 0, 1, 1, 0]])
    real = torch.tensor([[1, 1, 1, 1, 0]])
    expected = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]
    assert sequence_to_sequence_mask(types, real)[0].int().tolist() == expected


def test_no_position_learns_of_what_is_written_after_it():
    model, types = new_model(12), torch.tensor([[0, 0, 0, 1, 1, 1]])
    ids = torch.tensor([[2, 6, 3, 7, 8, 9]])
    before = model(ids, types).prediction_logits
    for changed in (3, 4, 5):
        other = ids.clone()
        other[0, changed] = 11
        after = model(other, types).prediction_logits
        assert torch.equal(before[:, :changed], after[:, :changed])
        assert not torch.allclose(before[:, changed], after[:, changed])


def test_every_position_of_the_target_learns_of_every_word_of_the_source():
    model, types = new_model(12), torch.tensor([[0, 0, 0, 0, 1, 1]])
    ids = torch.tensor([[2, 6, 7, 3, 8, 9]])
    before = model(ids, types).prediction_logits
    for changed in (1, 2):
        other = ids.clone()
        other[0, changed] = 11
        assert not torch.isclose(before, model(other, types).prediction_logits).all(-1).any()


def test_positions_begin_again_in_the_target():
    types = torch.tensor([[0, 0, 0, 1, 1, 0], [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    assert positions_in_each(types).tolist()[:2] == [[0, 1, 2, 0, 1, 5], [0, 0, 1, 2, 3, 4]]
    assert positions_in_each(types)[2].tolist() == [0, 1, 2, 3, 4, 5]


# --- batches


def test_each_position_is_to_predict_the_next_piece_of_the_target(tokenizer):
    data = seq2seq.data([Parallel("the cat", "a dog")], tokenizer, None)
    batch = data.batch(0)
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist()) == (
        "[CLS] the cat [SEP] a dog".split()
    )
    assert batch["labels"][0].tolist() == [
        -100,
        -100,
        -100,
        *tokenizer.convert_tokens_to_ids(["a", "dog", "[SEP]"]),
    ]
    assert batch["attention_mask"].shape == (1, 6, 6)


def test_the_loss_is_the_log_probability_of_the_targets(tokenizer):
    model = new_model(len(tokenizer))
    pairs = [Parallel("the cat sees", "a dog"), Parallel("a dog", "the small cat hears")]
    (batch,) = seq2seq.data(pairs, tokenizer, model.config).batches_for_evaluation()
    total = pieces = 0.0
    for pair in pairs:
        row = tokenizer(pair.source)["input_ids"]
        target = tokenizer.encode_ids([pair.target])[0] + [tokenizer.sep_token_id]
        for i, piece in enumerate(target):
            ids, types = torch.tensor([row + target[:i]]), torch.tensor([[0] * len(row) + [1] * i])
            total -= model(ids, types).prediction_logits[0, -1].log_softmax(-1)[piece].item()
        pieces += len(target)
    assert model(**batch).loss.item() == pytest.approx(total / pieces, rel=1e-5)
    watched = seq2seq.watch(model, seq2seq.data(pairs, tokenizer, model.config, batch_size=1))
    assert watched["loss"] == pytest.approx(total / pieces, rel=1e-5)
    assert watched["perplexity"] == pytest.approx(math.exp(total / pieces), rel=1e-4)


def test_pairs_that_are_too_long_are_cut_and_counted(tokenizer):
    pairs = [Parallel("the cat sees the dog", "a dog"), Parallel("a", "a")]
    with pytest.warns(UserWarning, match="1 of 2 pairs are longer than 8 tokens"):
        data = seq2seq.data(pairs, tokenizer, None, max_length=8)
    assert max(map(len, data.input_ids)) == 8


# --- writing


def test_reading_on_gives_what_reading_all_at_once_gives():
    model, (ids, mask) = new_model(9), sources()
    types = torch.zeros_like(ids)
    states, past = model.read_on(ids, types, torch.arange(6)[None], mask)
    for position, piece in enumerate((5, 7, 8)):
        new = torch.full((3, 1), piece)
        mask = torch.cat([mask, torch.ones_like(new)], 1)
        states, past = model.read_on(new, torch.ones_like(new), torch.full_like(new, position), mask, past)
    for row, length in enumerate((6, 3, 4)):
        whole = torch.cat([ids[row, :length], torch.tensor([5, 7, 8])])[None]
        row_types = torch.tensor([[0] * length + [1] * 3])
        expected = model(whole, row_types).prediction_logits[0, -1]
        assert torch.allclose(model.predict(states[row, 0]), expected, atol=1e-4)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_beam_as_wide_as_all_texts_finds_the_best_of_all_texts(length_penalty):
    model, (ids, mask) = new_model(8), sources(vocab_size=8)
    how = Decoding(num_beams=3**4, length_penalty=length_penalty)
    found = beam_search(model, ids, mask, [4] * 3, END, FORBIDDEN, how)
    for row, text in enumerate(found):
        source = ids[row][mask[row].bool()].tolist()
        best = max(
            (log_prob_of(model, source, [*words, END]) / (n + 1) ** length_penalty, [*words, END])
            for n in range(4)
            for words in itertools.product((5, 6, 7), repeat=n)
        )
        assert text.ids == best[1]
        assert text.log_prob / len(text.ids) ** length_penalty == pytest.approx(best[0], abs=1e-4)


def log_prob_of(model: BertForSequenceToSequence, source: list[int], written: list[int]) -> float:
    return sum(next_log_probs(model, source, written[:i])[piece].item() for i, piece in enumerate(written))


def plain_beam_search(model, source, beams, length_penalty, limit):
    """The definition, one source and one beginning at a time, without a cache."""
    beginnings, ended = [(0.0, [])], []
    for step in range(1, limit + 1):
        following = []
        for total, written in beginnings:
            scores = next_log_probs(model, source, written).tolist()
            following += [(total + s, [*written, piece]) for piece, s in enumerate(scores) if s > -math.inf]
        following.sort(key=lambda each: -each[0])
        ended += [each for each in following[:beams] if each[1][-1] == END]
        beginnings = [each for each in following if each[1][-1] != END][:beams]
        if len(ended) >= beams or step == limit:
            break
    return max(ended or beginnings[:1], key=lambda each: each[0] / len(each[1]) ** length_penalty)


@pytest.mark.parametrize("beams", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_of_beams_finds_what_the_definition_finds(beams, seed):
    model, (ids, mask) = new_model(12, seed, std=0.5), sources(seed, vocab_size=12)
    limits = [7, 4, 6]
    found = beam_search(model, ids, mask, limits, END, FORBIDDEN, Decoding(beams, 0.7))
    for row, text in enumerate(found):
        source = ids[row][mask[row].bool()].tolist()
        total, written = plain_beam_search(model, source, beams, 0.7, limits[row])
        assert (text.ids, text.log_prob) == (written, pytest.approx(total, abs=1e-4))


def test_one_beam_takes_the_likeliest_piece_each_time():
    model, (ids, mask) = new_model(12, 5), sources(5, vocab_size=12)
    for row, text in enumerate(beam_search(model, ids, mask, [8] * 3, END, FORBIDDEN, Decoding(1))):
        source, written = ids[row][mask[row].bool()].tolist(), []
        while len(written) < 8 and (not written or written[-1] != END):
            written.append(int(next_log_probs(model, source, written).argmax()))
        assert text.ids == written
