"""Corpus, sentence pairs, masks and batches for pretraining."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bertmini.data.corpus
from bertmini import InputError
from bertmini.data.batches import INPUTS, PretrainingData, length_batches, pad, pad_inputs
from bertmini.data.corpus import Corpus, Encoder
from bertmini.data.masking import mask_tokens
from bertmini.data.pairs import pair_examples, stretch_examples
from bertmini.tokenizer import Tokenizer, WordPieceTokenizer


class NumberTokenizer(Tokenizer):
    """Words are numbers, and ids are those numbers."""

    pad_token_id, unk_token_id, cls_token_id, sep_token_id, mask_token_id = range(5)
    all_special_ids = (0, 1, 2, 3, 4)

    def __init__(self, size=100_000):
        self.size = size

    def __len__(self):
        return self.size

    def encode_ids(self, texts):
        return [[int(word) for word in text.split()] for text in texts]


def numbered_corpus(shape):
    """Every token another number, in documents with sentences of the lengths given."""
    number = iter(range(5, 100_000))
    documents = [[" ".join(str(next(number)) for _ in range(n)) for n in document] for document in shape]
    return Corpus.from_documents(documents, NumberTokenizer())


shapes = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=2, max_size=6)


def document_of(corpus, place):
    sentence = np.searchsorted(corpus.sentence_starts, place, side="right") - 1
    return np.searchsorted(corpus.document_starts, sentence, side="right") - 1


def test_corpus_knows_its_sentences_and_documents():
    corpus = Corpus.from_documents(
        [["7 8", "", "9"], [""], SimpleNamespace(sentences=["10", "11 12"])], NumberTokenizer()
    )
    assert corpus.token_ids.tolist() == [7, 8, 9, 10, 11, 12]
    assert corpus.sentence_starts.tolist() == [0, 2, 3, 4, 6]
    assert corpus.document_starts.tolist() == [0, 2, 4]
    assert (len(corpus), corpus.num_documents, corpus.token_ids.dtype) == (6, 2, np.int32)


def test_a_corpus_without_tokens_is_refused():
    with pytest.raises(InputError, match="2 documents hold no token"):
        Corpus.from_documents([[""], []], NumberTokenizer())


def test_a_corpus_is_tokenised_in_chunks_and_each_word_once(monkeypatch):
    """All words at once, as strings, take many times the memory of the corpus."""

    class Counting(NumberTokenizer):
        def encode_ids(self, texts):
            asked.append(list(texts))
            return super().encode_ids(texts)

    asked = []
    documents = [[f"{9 + i}", "", f"{9 + i} 7"] for i in range(9)]
    whole = Corpus.from_documents(documents, Counting())
    assert asked == [["9", "", "7", *map(str, range(10, 18))]]
    monkeypatch.setattr(bertmini.data.corpus, "CHUNK", 4)
    parts = Corpus.from_documents(documents, Counting())
    assert max(map(len, asked[1:])) == 4
    assert all(np.array_equal(array, vars(whole)[name]) for name, array in vars(parts).items())


texts = st.text(alphabet="ab é\u0301Σσ\t\n\xa0\x0b\x85\u2028\u3000[MASK]中.'-", max_size=60)


@settings(max_examples=200, deadline=None)
@given(st.lists(texts, min_size=1, max_size=5), st.sampled_from([1, 3, 1000]))
def test_remembered_words_have_the_tokens_of_their_sentence(sentences, most):
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abe[]msk中.'-σ",
        *("##" + c for c in "abeσmsk"),
    ]
    tokenizer = WordPieceTokenizer(pieces)
    encoder = Encoder(tokenizer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bertmini.data.corpus, "MOST_WORDS", most)
        for some in (sentences, sentences[::-1], sentences[:1]):
            ids, lengths = encoder.encode(some)
            rows = np.split(ids, lengths.cumsum()[:-1])
            assert [row.tolist() for row in rows] == tokenizer.encode_ids(some)
            assert len(encoder.number) <= most + sum(len(sentence) + 1 for sentence in sentences)


def test_a_sentence_that_is_no_string_is_refused():
    with pytest.raises(InputError, match="a sentence is of type int; expected a string"):
        Corpus.from_documents([[7]], NumberTokenizer())


def test_a_corpus_beyond_int32_is_refused(monkeypatch):
    monkeypatch.setattr(bertmini.data.corpus, "MOST_TOKENS", 1000)
    assert len(Corpus.from_documents([["7"] * 1000], NumberTokenizer())) == 1000
    with pytest.raises(InputError, match="more than 1,000 tokens; prepare it first"):
        Corpus.from_documents([["7"] * 1001], NumberTokenizer())


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(5, 40), st.integers(0, 9))
def test_pairs_are_what_they_say(shape, max_length, epoch):
    corpus = numbered_corpus(shape)
    pairs = pair_examples(corpus, max_length, seed=1, epoch=epoch)
    assert (pairs.a_end > pairs.a_start).all()
    assert (pairs.b_end > pairs.b_start).all()
    assert pairs.lengths.max() <= max_length - 3
    for i in range(len(pairs)):
        a, b = document_of(corpus, pairs.a_start[i]), document_of(corpus, pairs.b_start[i])
        assert document_of(corpus, pairs.a_end[i] - 1) == a
        assert document_of(corpus, pairs.b_end[i] - 1) == b
        assert (a != b) == pairs.is_not_next[i]
        if not pairs.is_not_next[i]:
            assert pairs.b_start[i] >= pairs.a_end[i]


@settings(max_examples=30, deadline=None)
@given(shapes)
def test_every_token_is_in_an_example_when_nothing_must_be_truncated(shape):
    corpus = numbered_corpus(shape)
    pairs = pair_examples(corpus, 1000, seed=0, epoch=0)
    used = {t for a, b in zip(pairs.a_start, pairs.a_end, strict=True) for t in range(a, b)}
    used |= {
        t
        for a, b, other in zip(pairs.b_start, pairs.b_end, pairs.is_not_next, strict=True)
        for t in range(a, b)
        if not other
    }
    assert used == set(range(len(corpus)))


def test_half_of_the_pairs_are_not_next_and_a_tenth_is_short():
    corpus = numbered_corpus([[8] * 100] * 60)
    pairs = pair_examples(corpus, 67, seed=0, epoch=0)
    assert abs(pairs.is_not_next.mean() - 0.5) < 0.07
    assert (pairs.lengths == 64).mean() > 0.8
    assert 0.04 < (pairs.lengths <= 56).mean() < 0.16
    others = Counter(document_of(corpus, b) for b in pairs.b_start[pairs.is_not_next == 1])
    assert len(others) > 50, "B comes from all over the corpus"


def test_truncation_takes_tokens_from_the_longer_passage_at_both_ends():
    corpus = numbered_corpus([[50, 50]] * 400)
    pairs = pair_examples(corpus, 43, seed=0, epoch=0, short_share=0)
    assert set(pairs.a_end - pairs.a_start) == {20}
    assert set(pairs.b_end - pairs.b_start) == {20}
    from_front = pairs.a_start % 50
    assert abs(from_front.mean() - 15) < 1
    assert 2 < from_front.std() < 3.5, "30 coins have a standard deviation of 2.7"


def pairs_step_by_step(documents, room, rng):
    """The published procedure as a person would do it by hand: (tokens of A, tokens of B, is it NotNext)."""
    for number, document in enumerate(documents):
        waiting = list(document)
        while waiting:
            target = rng.randint(2, room) if rng.random() < 0.1 else room
            gathered = []
            while waiting and sum(gathered) < target:
                gathered.append(waiting.pop(0))
            cut = rng.randint(1, len(gathered) - 1) if len(gathered) > 1 else 1
            a, b = sum(gathered[:cut]), sum(gathered[cut:])
            if not_next := len(gathered) == 1 or rng.random() < 0.5:
                waiting = gathered[cut:] + waiting
                other = rng.choice([d for i, d in enumerate(documents) if i != number])
                b = 0
                for sentence in other[rng.randrange(len(other)) :]:
                    b += sentence
                    if b >= target - a:
                        break
            while a + b > room:
                a, b = (a - 1, b) if a > b else (a, b - 1)
            yield a, b, not_next


def test_pairs_have_the_statistics_of_the_published_procedure():
    rng = random.Random(0)
    shape = [[1 + int(rng.expovariate(0.05)) for _ in range(rng.randint(2, 120))] for _ in range(60)]
    expected = np.concatenate([list(pairs_step_by_step(shape, 61, random.Random(seed))) for seed in range(4)])
    corpus = numbered_corpus(shape)
    several = [pair_examples(corpus, 64, 0, epoch) for epoch in range(4)]
    found = np.concatenate(
        [[p.a_end - p.a_start, p.b_end - p.b_start, p.is_not_next] for p in several], axis=1
    ).T
    error = expected.std(axis=0) * (2 / len(expected)) ** 0.5
    assert abs(len(found) / len(expected) - 1) < 0.02
    assert (abs(found.mean(axis=0) - expected.mean(axis=0)) < 4 * error).all()
    assert (abs(found.std(axis=0) / expected.std(axis=0) - 1) < 0.04).all()


@pytest.mark.parametrize("inputs", INPUTS)
def test_pairs_depend_on_seed_and_epoch_only(inputs):
    corpus = numbered_corpus([[5, 9, 4, 7] * 5] * 9).separated(NumberTokenizer.sep_token_id)

    def made(*key):
        return np.stack(list(vars(INPUTS[inputs](corpus, 32, *key)).values())).tobytes()

    assert made(0, 0) == made(0, 0)
    if inputs != "full-sentences":
        assert len({made(0, 0), made(0, 1), made(1, 0)}) == 3
    # A corpus in rows of whole sentences can be cut in a few ways alone: two may well be the same.
    assert len({made(0, epoch) for epoch in range(6)}) > 1
    assert len({made(seed, 0) for seed in range(6)}) > 1


def test_one_document_or_no_room_is_refused():
    corpus = numbered_corpus([[5, 5]])
    with pytest.raises(InputError, match="one document"):
        pair_examples(corpus, 32, 0, 0)
    with pytest.raises(InputError, match="max_length is 4; expected at least 5"):
        pair_examples(numbered_corpus([[5], [5]]), 4, 0, 0)
    with pytest.raises(InputError, match="max_length is 2; expected at least 3"):
        stretch_examples(corpus, 2, 0, 0)
    with pytest.raises(InputError, match="objective is 'nsp'"):
        PretrainingData(corpus, NumberTokenizer(), 2, 16, 0, objective="nsp")


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(3, 40), st.integers(0, 9))
def test_stretches_cover_each_document_once(shape, max_length, epoch):
    corpus = numbered_corpus(shape)
    stretches = stretch_examples(corpus, max_length, seed=0, epoch=epoch)
    places = np.concatenate(
        [np.arange(*ends) for ends in zip(stretches.a_start, stretches.a_end, strict=True)]
    )
    assert places.tolist() == list(range(len(corpus)))
    assert 1 <= stretches.lengths.min() <= stretches.lengths.max() <= max_length - 2
    assert all(
        document_of(corpus, a) == document_of(corpus, b - 1)
        for a, b in zip(stretches.a_start, stretches.a_end, strict=True)
    )


def masked(ids, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    options = {
        "mask_token_id": 4,
        "vocab_size": 50,
        "special_ids": range(5),
        "generator": generator,
    } | options
    return mask_tokens(ids, ids > 4, **options)


def test_mask_rates_are_15_80_10_10():
    ids = torch.randint(5, 50, (400, 128), generator=torch.Generator().manual_seed(1))
    masked_ids, labels = masked(ids)
    chosen = labels != -100
    assert (chosen.sum(dim=1) == round(0.15 * 128)).all()
    is_mask, is_kept = (masked_ids == 4)[chosen], (masked_ids == ids)[chosen]
    # One random token in 45 is the token itself.
    for share, expected in [(is_mask, 0.8), (is_kept, 0.1 + 0.1 / 45), (~is_mask & ~is_kept, 0.1 * 44 / 45)]:
        spread = (expected * (1 - expected) / len(share)) ** 0.5
        assert abs(share.double().mean() - expected) < 4 * spread
    assert torch.equal(masked_ids[~chosen], ids[~chosen])


def test_each_chosen_token_meets_its_fate_in_exact_shares(monkeypatch):
    """Every value of chance once: 80 % of all chosen are [MASK], 10 % random, 10 % kept."""
    ids = torch.full((1, 1000), 7)
    scores_and_fates = iter([torch.arange(1000.0).view(1, -1) / 1000] * 2)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: next(scores_and_fates))
    monkeypatch.setattr(
        torch, "randint", lambda *_, **__: torch.full((1, 1000), 6)
    )  # shifted to 11 by specials
    masked_ids, labels = masked(ids, rate=1.0)
    assert (labels == 7).all()
    assert Counter(masked_ids[0].tolist()) == {4: 800, 11: 100, 7: 100}


def test_random_tokens_are_uniform_and_never_special():
    ids = torch.full((500, 100), 20)
    random_ids, _ = mask_tokens(
        ids, ids > 0, mask_token_id=4, vocab_size=30, special_ids=[0, 4, 17, 29], mask_share=0.0,
        random_share=1.0, rate=1.0, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    counts = Counter(random_ids.flatten().tolist())
    assert set(counts) == set(range(30)) - {0, 4, 17, 29}
    expected = 50_000 / 26
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 52.6  # chi-squared, 25, p = 0.001


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 49), min_size=9, max_size=9), min_size=1, max_size=6), st.integers(0, 99)
)
def test_every_row_is_masked_and_special_tokens_never(rows, seed):
    ids = torch.tensor(rows)
    masked_ids, labels = masked(ids, seed)
    chosen = labels != -100
    assert not chosen[ids <= 4].any()
    assert torch.equal(chosen.any(dim=1), (ids > 4).any(dim=1))
    assert torch.equal(labels[chosen], ids[chosen])
    assert torch.equal(masked_ids[~chosen], ids[~chosen])
    again = masked(ids, seed)
    assert torch.equal(masked_ids, again[0])
    assert torch.equal(labels, again[1])


def test_padding_is_to_the_longest_row():
    assert pad([[1, 2], [3] * 9], 0).tolist() == [[1, 2, 0, 0, 0, 0, 0, 0, 0], [3] * 9]
    inputs = pad_inputs([[2, 7, 3], [2, 3]], [[0, 0, 1], [0, 0]], 9)
    assert {name: tensor.tolist() for name, tensor in inputs.items()} == {
        "input_ids": [[2, 7, 3], [2, 3, 9]],
        "token_type_ids": [[0, 0, 1], [0, 0, 0]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
    }


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 99), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 5))
def test_length_batches_hold_every_example_once(lengths, batch_size, epoch):
    batches = length_batches(np.array(lengths), batch_size, 0, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert max(map(len, batches)) <= batch_size
    assert len(batches) == -(-len(lengths) // batch_size)
    again = length_batches(np.array(lengths), batch_size, 0, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_length_batches_waste_little_on_padding():
    lengths = np.random.default_rng(0).integers(5, 60, 5000)
    batches = length_batches(lengths, 32, 0, 0)
    padded = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert lengths.sum() / padded > 0.95
    means = np.array([lengths[rows].mean() for rows in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.25, "short and long batches follow in any order"


def test_the_examples_of_a_small_set_meet_others_in_each_epoch():
    lengths = np.random.default_rng(0).integers(5, 60, 800)

    def meetings(epoch):
        batches = length_batches(lengths, 16, 0, epoch)
        return {pair for rows in batches for pair in combinations(sorted(rows.tolist()), 2)}

    first, second = meetings(0), meetings(1)
    assert len(first & second) / len(first) < 0.15


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("objective", ["mlm+nsp", "mlm"])
@pytest.mark.parametrize("static_masks", [None, 2])
def test_a_batch_is_a_pure_function_of_seed_and_step(objective, static_masks):
    corpus = numbered_corpus([[5, 9, 4, 7] * 5] * 9)

    def make(seed):
        return PretrainingData(corpus, NumberTokenizer(), 4, 32, seed, objective, static_masks)

    there, back = make(3), make(3)
    steps = range(4 * len(there))
    batches = [there.batch(step) for step in steps]
    assert all(equal(back.batch(step), batches[step]) for step in reversed(steps))
    assert not equal(make(4).batch(0), batches[0])
    repeats = equal(batches[0], batches[2 * len(there)])
    assert repeats == (static_masks == 2), "static masks come again, dynamic ones do not"
    assert not equal(batches[0], batches[len(there)])


@pytest.mark.parametrize("objective", ["mlm+nsp", "mlm"])
@pytest.mark.parametrize("processes", [2, 5])
def test_the_parts_of_several_processes_are_the_batch_of_one(objective, processes):
    corpus = numbered_corpus([[5, 9, 4, 7] * 5] * 9)
    settings = {"seed": 3, "objective": objective}
    whole = PretrainingData(corpus, NumberTokenizer(), 4, 32, **settings)
    parts = [
        PretrainingData(corpus, NumberTokenizer(), 4, 32, **settings, part=(rank, processes))
        for rank in range(processes)
    ]
    ragged = 0
    for step in range(2 * len(whole)):
        batch, found = whole.batch(step), [part.batch(step) for part in parts]
        rows = len(batch["input_ids"])
        ragged += rows < processes
        for name, tensor in batch.items():
            together = torch.empty_like(tensor)
            for rank in range(min(rows, processes)):
                together[rank::processes] = found[rank][name]
            assert torch.equal(together, tensor)
        for idle in found[rows:]:
            assert idle.keys() == batch.keys()
            assert len(idle["input_ids"]) == 1, "a process without a row takes part in the step"
            assert (idle["labels"] == -100).all(), "and says nothing"
            assert (idle.get("next_sentence_label", torch.tensor(-100)) == -100).all()
    assert ragged or processes == 2, "batches of four rows leave one of five processes without"


def test_a_batch_is_laid_out_as_bert_reads_it():
    corpus = numbered_corpus([[5, 9, 4, 7] * 5] * 9)
    data = PretrainingData(corpus, NumberTokenizer(), 4, 32, seed=0)
    for step in range(len(data)):
        batch = data.batch(step)
        assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
        assert batch["attention_mask"].sum(1).max() == batch["input_ids"].shape[1] <= 32
        ids = torch.where(batch["labels"] == -100, batch["input_ids"], batch["labels"])
        for row, types, mask, not_next in zip(
            ids, batch["token_type_ids"], batch["attention_mask"], batch["next_sentence_label"], strict=True
        ):
            row, padding = row[mask == 1].tolist(), row[mask == 0]
            assert (padding == 0).all()
            separators = [i for i, token in enumerate(row) if token == 3]
            assert row[0] == 2
            assert separators[1] == len(row) - 1
            assert types[mask == 1].tolist() == [0] * (separators[0] + 1) + [1] * (
                len(row) - separators[0] - 1
            )
            a, b = row[1 : separators[0]], row[separators[0] + 1 : -1]
            for passage in (a, b):
                assert passage == list(range(passage[0], passage[0] + len(passage)))
            assert not_next == (document_of(corpus, a[0] - 5) != document_of(corpus, b[0] - 5))


@pytest.mark.parametrize("objective", ["mlm+nsp", "mlm+sop", "mlm"])
def test_rows_fill_their_length_and_no_more_where_two_separators_part_the_passages(objective):
    tokenizer = NumberTokenizer()
    tokenizer.separators = 2
    data = PretrainingData(numbered_corpus([[5, 9, 4, 7] * 5] * 9), tokenizer, 4, 32, 0, objective)
    batches = [data.batch(step) for step in range(len(data))]
    assert max(batch["input_ids"].size(1) for batch in batches) == 32
    for batch in batches:
        for row, types in zip(batch["input_ids"], batch["token_type_ids"], strict=True):
            places = (row == tokenizer.sep_token_id).nonzero().flatten().tolist()
            if objective == "mlm":
                assert len(places) == 1
            else:
                first, second, _ = places
                assert second == first + 1
                assert types.nonzero()[0] == second + 1


def test_what_stands_in_the_place_of_a_token_is_any_piece_that_is_not_special():
    tokenizer, pieces = NumberTokenizer(size=30), [str(n) for n in range(5, 30)]
    corpus = Corpus.from_documents([[" ".join(pieces)] * 8] * 12, tokenizer)
    data, found = PretrainingData(corpus, tokenizer, 8, 64, seed=0, rate=0.9), Counter()
    for batch in map(data.batch, range(len(data))):
        is_other = (batch["labels"] != -100) & (batch["input_ids"] != batch["labels"])
        found.update(batch["input_ids"][is_other].tolist())
    masks = found.pop(tokenizer.mask_token_id)
    assert set(found) == set(range(5, 30))
    assert masks > 5 * found.total()


def test_special_tokens_in_the_text_are_not_predicted():
    corpus = Corpus.from_documents([["1 1 1 9"] * 4, ["1 8 1 1"] * 4], NumberTokenizer())
    data = PretrainingData(corpus, NumberTokenizer(), 4, 16, seed=0)
    for step in range(len(data)):
        assert {-100, 8, 9} >= set(data.batch(step)["labels"].flatten().tolist())
