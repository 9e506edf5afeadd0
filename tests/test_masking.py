"""What is masked together: words, n-grams and names."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter

import numpy as np
import pytest
import torch

from bertmini import InputError
from bertmini.data.batches import PretrainingData
from bertmini.data.corpus import Corpus, piece_counts
from bertmini.data.masking import Entities, NGrams, Spans, WholeWords, mask_tokens, rarity_weights
from bertmini.tasks.pretrain import masking_units, training_data
from bertmini.tokenizer import WordPieceTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "##a", "##b", "##c"]
TOKENIZER = WordPieceTokenizer(PIECES)
SPECIAL = sorted(TOKENIZER.all_special_ids)


def row(text):
    """The ids of pieces with spaces between them, [1, length]."""
    return torch.tensor([TOKENIZER.convert_tokens_to_ids(text.split())])


def is_text(ids):
    return ~torch.isin(ids, torch.tensor(SPECIAL))


def units_of(units, text, seed=0):
    """The pieces of a row, those of a unit together."""
    ids = row(text)
    begins = units(ids, is_text(ids), torch.Generator().manual_seed(seed))[0].tolist()
    parts = []
    for piece, begin in zip(text.split(), begins, strict=True):
        parts.append(piece) if begin else parts.append(f"{parts.pop()} {piece}")
    return parts


def masked(ids, units=None, seed=0, **options):
    return mask_tokens(
        ids, is_text(ids), mask_token_id=4, vocab_size=len(PIECES), special_ids=SPECIAL,
        generator=torch.Generator().manual_seed(seed), units=units, **options,
    )  # fmt: skip


def each_token(input_ids, maskable, generator):
    return torch.ones_like(maskable)


def words_slowly(text):
    """The rule in Google's create_pretraining_data.py: ## joins a piece to those before it."""
    words = []
    for piece in text.split():
        if piece.startswith("##") and words and words[-1][-1] not in ("[CLS]", "[SEP]"):
            words[-1].append(piece)
        else:
            words.append([piece])
    return [" ".join(word) for word in words]


@pytest.mark.parametrize("text", [
    "[CLS] a ##b ##c d [SEP] e ##a [SEP] [PAD]",
    "[CLS] ##a ##b c [SEP] ##c a ##b [SEP]",  # a passage may begin within a word
    "a ##b", "a", "[CLS] [SEP]",
])  # fmt: skip
def test_the_pieces_of_a_word_are_a_unit(text):
    assert units_of(WholeWords(TOKENIZER), text) == words_slowly(text)


def test_units_of_one_token_are_the_masks_without_units():
    ids = torch.randint(2, len(PIECES), (50, 40), generator=torch.Generator().manual_seed(1))
    for mine, theirs in zip(masked(ids, each_token), masked(ids), strict=True):
        assert torch.equal(mine, theirs)


def test_the_number_of_masks_is_rounded_as_python_rounds():
    for length in (1, 10, 30, 190, 350, 390):  # 0.15 of the last three is a half, in float64
        ids = torch.randint(5, len(PIECES), (1, length), generator=torch.Generator().manual_seed(length))
        _, labels = masked(ids)
        assert (labels != -100).sum() == max(1, round(0.15 * length)), length


@pytest.mark.parametrize("units", [WholeWords(TOKENIZER), NGrams(TOKENIZER), Entities(TOKENIZER, ["a b c"])])
def test_a_unit_is_chosen_whole_or_not_at_all(units):
    ids = row("[CLS] " + "a ##b ##c d ##a a b c e f ##b g " * 6 + "[SEP]").repeat(400, 1)
    begins = units(ids, is_text(ids), torch.Generator().manual_seed(3))

    def same(input_ids, maskable, generator):
        return begins

    _, labels = masked(ids, same)
    unit = begins.cumsum(1)
    chosen = (labels != -100) & is_text(ids)
    for u, c in zip(unit, chosen, strict=True):
        for number in u.unique():
            assert len(set(c[u == number].tolist())) == 1


@pytest.mark.parametrize(
    "kind", [WholeWords, NGrams, lambda tokenizer: Entities(tokenizer, ["a a b", "c d"])]
)
def test_the_expected_number_of_chosen_tokens_is_the_rate(kind):
    """With whole words left out where they do not fit, long words would be masked less than short ones."""
    text = "[CLS] " + "a ##b ##c a ##a ##b ##c ##a c d a a b e " * 3 + "[SEP]"
    ids = row(text).repeat(6000, 1)
    for rate in (0.15, 0.4):
        _, labels = masked(ids, kind(TOKENIZER), rate=rate)
        wanted = round(rate * int(is_text(ids)[0].sum()))
        number = (labels != -100).sum(1).float()
        assert abs(number.mean() - wanted) < 4 * number.std() / 6000**0.5


def test_long_words_are_masked_as_much_as_short_ones():
    ids = row("[CLS] " + "a ##b ##c ##a ##b c d e f g " * 10 + "[SEP]").repeat(3000, 1)
    _, labels = masked(ids, WholeWords(TOKENIZER))
    chosen = (labels != -100).float().mean(0)
    is_long = torch.tensor(
        [piece in ["a", "##a", "##b", "##c"] for piece in TOKENIZER.convert_ids_to_tokens(ids[0])]
    )
    short, long = chosen[is_text(ids)[0] & ~is_long].mean(), chosen[is_long].mean()
    assert abs(short - long) < 0.015


def test_each_piece_of_a_chosen_word_has_its_own_fate():
    """As in Google's code: the word is chosen, and a card is drawn for each of its pieces."""
    ids = row("[CLS] " + "a ##b ##c " * 20 + "[SEP]").repeat(500, 1)
    masked_ids, labels = masked(ids, WholeWords(TOKENIZER))
    hidden = masked_ids[labels != -100].view(-1, 3) == 4  # [words, pieces]
    assert abs(hidden.float().mean() - 0.8) < 0.02
    assert abs(hidden.all(1).float().mean() - 0.8**3) < 0.03


def test_ngrams_have_the_lengths_of_albert():
    lengths = Counter()
    for seed in range(30):
        units = units_of(NGrams(TOKENIZER), "[CLS] " + "a b ##a c " * 60 + "[SEP]", seed)
        words = [len([piece for piece in unit.split() if "##" not in piece]) for unit in units[1:-2]]
        lengths.update(words)
    total = lengths.total()
    assert set(lengths) == {1, 2, 3}
    for n, share in {1: 6 / 11, 2: 3 / 11, 3: 2 / 11}.items():
        assert abs(lengths[n] / total - share) < 0.03


def test_no_ngram_goes_across_a_separator():
    for seed in range(20):
        parts = units_of(NGrams(TOKENIZER), "[CLS] a b [SEP] c d [SEP]", seed)
        assert [part for part in parts if "[" in part] == ["[CLS]", "[SEP]", "[SEP]"]


@pytest.mark.parametrize(("names", "text", "units"), [
    (["a b"], "a b c a", ["a b", "c", "a"]),
    (["a b", "a"], "a b a c", ["a b", "a", "c"]),
    (["a b c", "a b"], "a b d a b c", ["a b", "d", "a b c"]),  # the longest one counts
    (["ab"], "a ##b a ##b ##c a", ["a ##b", "a ##b ##c", "a"]),  # a name ends with its word
    (["ab c"], "d a ##b c c", ["d", "a ##b c", "c"]),
    (["a b", "b c"], "a b c d", ["a b c", "d"]),  # those that overlap are one
    (["a b"], "[CLS] a [SEP] b [SEP]", ["[CLS]", "a", "[SEP]", "b", "[SEP]"]),
    (["a b", "b c", "d e"], "a b d e", ["a b", "d e"]),
])  # fmt: skip
def test_the_words_of_a_name_are_a_unit(names, text, units):
    assert units_of(Entities(TOKENIZER, names), text) == units


def test_names_that_cannot_be_spelled_are_counted_and_no_names_are_refused():
    with pytest.warns(UserWarning, match="1 names with unknown characters"):
        Entities(TOKENIZER, ["a b", "x y"])
    with warnings.catch_warnings(), pytest.raises(InputError, match="0 names"):
        Entities(TOKENIZER, [])


def test_masks_of_units_depend_on_seed_and_step_alone_and_are_shared_among_processes():
    documents = [["a b c d e f g h ab abc b c"] * 3 for _ in range(12)]
    corpus = Corpus.from_documents(documents, TOKENIZER)
    settings = {"batch_size": 4, "max_length": 16, "seed": 5, "objective": "mlm", "units": NGrams(TOKENIZER)}
    one, other = (
        PretrainingData(corpus, TOKENIZER, **settings),
        PretrainingData(corpus, TOKENIZER, **settings),
    )
    other.batch(0)
    whole = one.batch(7)
    assert torch.equal(whole["input_ids"], other.batch(7)["input_ids"])
    parts = [PretrainingData(corpus, TOKENIZER, part=(rank, 2), **settings).batch(7) for rank in (0, 1)]
    for rank, part in enumerate(parts):
        assert torch.equal(part["labels"], whole["labels"][rank::2])


def test_maskings_by_name(tmp_path):
    assert masking_units("token", TOKENIZER) is None
    for name, kind in {"whole-word": WholeWords, "ngram": NGrams, "span": Spans}.items():
        assert type(masking_units(name, TOKENIZER)) is kind
    (tmp_path / "names.txt").write_text("a b\n\n c d \n")
    units = masking_units("entity", TOKENIZER, str(tmp_path / "names.txt"))
    assert units_of(units, "a b c d") == ["a b", "c d"]
    with pytest.raises(InputError, match=r"names .* are for the masking entity; it is ngram"):
        masking_units("ngram", TOKENIZER, "names.txt")
    with pytest.raises(InputError, match="masking is 'word'; expected one of token, whole-word"):
        masking_units("word", TOKENIZER)


# Rare pieces


def test_weights_are_counts_to_a_negative_power():
    counts = np.array([0, 1, 4, 10_000])
    expected = np.maximum(counts, 1) ** -0.7  # as in DistilBERT's train.py
    assert np.allclose(rarity_weights(counts, 0.7), expected, rtol=1e-6)
    assert rarity_weights(counts, 0.0).tolist() == [1.0] * 4


def test_pieces_are_counted_over_all_blocks():
    blocks = [Corpus.from_documents([[text]], TOKENIZER) for text in ("a b a", "c ab", "a")]
    counts = dict(zip(PIECES, piece_counts(blocks, len(PIECES)).tolist(), strict=True))
    assert {piece: count for piece, count in counts.items() if count} == {"a": 4, "b": 1, "c": 1, "##b": 1}
    assert piece_counts(blocks[0], len(PIECES)).sum() == 3


def chances_of_two(weights):
    """How likely each is among two that are drawn one after the other by their weights."""
    total, found = sum(weights), []
    for weight in weights:
        others = list(weights)
        others.remove(weight)
        second = sum(other / total * weight / (total - other) for other in others)
        found.append(weight / total + second)
    return found


def test_pieces_are_masked_by_their_weights():
    ids, rows = row("[CLS] a b c d e [SEP] [PAD]"), 20_000
    weights = torch.ones(len(PIECES))
    weights[ids[0, 1:6]] = torch.tensor([1.0, 0.5, 0.25, 0.1, 0.02])
    _, labels = masked(ids.repeat(rows, 1), rate=0.4, weights=weights)
    chosen = labels != -100
    assert (chosen.sum(dim=1) == 2).all()  # the rate stays what was asked for
    shares = chosen.double().mean(dim=0)
    assert shares[[0, 6, 7]].sum() == 0
    for share, expected in zip(shares[1:6], chances_of_two([1.0, 0.5, 0.25, 0.1, 0.02]), strict=True):
        assert abs(share - expected) < 4 * (expected * (1 - expected) / rows) ** 0.5


def test_pieces_of_one_weight_are_masked_as_without_weights():
    ids = torch.randint(2, len(PIECES), (50, 40), generator=torch.Generator().manual_seed(1))
    for mine, theirs in zip(masked(ids, weights=torch.ones(len(PIECES))), masked(ids), strict=True):
        assert torch.equal(mine, theirs)


def test_weighted_masks_depend_on_seed_and_step_alone_and_are_shared_among_processes():
    documents = [["a b c d e f g h ab abc b c a a a a"] * 3 for _ in range(12)]
    settings = (TOKENIZER, 4, 16, "mlm", 5)
    one, other = (training_data(documents, *settings, smoothing=0.7) for _ in range(2))
    other.batch(0)
    whole = one.batch(7)
    assert torch.equal(whole["labels"], other.batch(7)["labels"])
    assert not torch.equal(whole["labels"], training_data(documents, *settings).batch(7)["labels"])
    for rank in (0, 1):
        part = dataclasses.replace(one, part=(rank, 2)).batch(7)
        assert torch.equal(part["labels"], whole["labels"][rank::2])


def test_weights_where_no_single_piece_is_chosen_are_refused():
    documents = [["a b c d e f g h"]] * 4
    for objective, units in (("mlm", WholeWords(TOKENIZER)), ("ltr", None)):
        with pytest.raises(InputError, match="weights choose single pieces"):
            training_data(documents, TOKENIZER, 4, 16, objective, 0, smoothing=0.5, units=units)
    with pytest.raises(InputError, match=r"smoothing of mask weights is -1; expected 0 or more"):
        rarity_weights([1, 2], -1)
