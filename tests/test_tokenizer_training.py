"""WordPiece training: properties, and the vocabulary of the tokenizers library in order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from bertmini.errors import InputError
from bertmini.tokenizer import Normalizer, WordPieceTokenizer, train_wordpiece
from bertmini.tokenizer.tokenizer import SPECIAL_TOKENS

TEXTS = ["The harbour is open. The harbours were open, and opening hours are longer."] * 3 + [
    "low lower lowest"
] * 5


def count_words(texts: list[str]) -> Counter[str]:
    chunks = Counter(chunk for text in texts for chunk in text.split())
    normalizer = Normalizer()
    words: Counter[str] = Counter()
    for chunk, count in chunks.items():
        for word, _ in normalizer.words(chunk):
            words[word] += count
    return words


def library_vocabulary(texts: list[str], size: int, special_tokens: list[str]) -> list[str]:
    library = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer()
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special_tokens, show_progress=False)
    library.train_from_iterator(texts, trainer)
    ids = library.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def assert_equal_in_order(texts: list[str], size: int, words: Counter[str] | None = None) -> None:
    words = words or count_words(texts)
    # The library numbers ## characters as its hash map has them; as special tokens they have an order.
    special = [*SPECIAL_TOKENS, *sorted({"##" + c for word in words for c in word[1:]})]
    ours = train_wordpiece(words, size, special_tokens=special)
    assert ours == library_vocabulary(texts, size, special)


@pytest.mark.parametrize("size", [50, 60, 70])
def test_a_small_vocabulary_equals_the_librarys_in_order(size):
    assert_equal_in_order(TEXTS, size)


def test_repeated_characters_are_counted_as_the_library_counts():
    assert_equal_in_order(["aaaa aaa aaaaaaa baaab aaaaaaaaa", "abab ababab babab"] * 2, 16)


@pytest.fixture(scope="module")
def books(data_directory: Path) -> tuple[list[str], Counter[str]]:
    texts = []
    for file in sorted((data_directory / "gutenberg").glob("*.txt")):
        texts += file.read_bytes().decode("latin-1").splitlines()
    return texts, count_words(texts)


def test_the_vocabulary_of_real_books_equals_the_librarys_in_order(books):
    """A smaller vocabulary is the beginning of this one."""
    texts, words = books
    assert_equal_in_order(texts, 20_000, words)
    assert train_wordpiece(words, 1_000) == train_wordpiece(words, 2_000)[:1_000]


def test_pieces_are_special_tokens_then_characters_then_joined_pairs():
    vocab = train_wordpiece({"ab": 5, "abc": 3, "cb": 1}, 9, special_tokens=["[PAD]"])
    assert vocab == ["[PAD]", "a", "b", "c", "##b", "##c", "ab", "abc", "cb"]


def test_training_does_not_depend_on_the_order_of_texts():
    assert WordPieceTokenizer.train(TEXTS, 60).pieces == WordPieceTokenizer.train(TEXTS[::-1], 60).pieces


def test_a_trained_tokenizer_reads_what_it_was_trained_on():
    tokenizer = WordPieceTokenizer.train(TEXTS, 60)
    assert tokenizer.vocab_size == 60
    assert tokenizer.all_special_ids == [0, 1, 2, 3, 4]
    assert tokenizer.decode(tokenizer.encode_ids(["the lowest harbours"])[0]) == "the lowest harbours"
    assert "T" in WordPieceTokenizer.train(TEXTS, 60, lowercase=False).vocab


def test_the_options_of_training_reach_the_rules_and_the_joins():
    train = WordPieceTokenizer.train
    with pytest.raises(InputError, match="supports 12 pieces"):
        train(["ab ab cd"], 13, min_frequency=2)
    assert train(["ab ab cd"], 13).pieces[5:] == ["a", "b", "c", "d", "##b", "##d", "ab", "cd"]
    assert train(["ab ab abz"], 9, limit_alphabet=2).pieces[5:] == ["a", "b", "##b", "ab"]
    assert train(["é"], 6, strip_accents=False).pieces[5:] == ["é"]
    assert train(["é"], 6).pieces[5:] == ["e"]
    assert train(["港口"], 9, split_cjk=False).pieces[5:] == ["口", "港", "##口", "港口"]
    assert train(["港口"], 7).pieces[5:] == ["口", "港"]


def test_rare_pairs_are_not_joined():
    words = {"ab": 5, "cd": 1}
    with pytest.raises(InputError, match="supports 7 pieces"):
        train_wordpiece(words, 8, min_frequency=2)


def test_a_limited_alphabet_keeps_the_most_frequent_characters():
    vocab = train_wordpiece({"ab": 5, "abz": 1}, 4, limit_alphabet=2)
    assert vocab == ["a", "b", "##b", "ab"]


def test_too_large_a_vocabulary_is_refused_with_the_number_of_pieces_supported():
    with pytest.raises(
        InputError, match=r"vocab_size=8000 is too large: this text supports \d+ pieces"
    ) as caught:
        WordPieceTokenizer.train(TEXTS)
    supported = int(str(caught.value).split("supports ")[1].split()[0])
    assert WordPieceTokenizer.train(TEXTS, supported).vocab_size == supported


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(InputError, match="vocab_size=10 is too small"):
        WordPieceTokenizer.train(TEXTS, 10)


def test_texts_that_are_no_strings_are_refused():
    with pytest.raises(InputError, match="type bytes"):
        WordPieceTokenizer.train([b"the harbour"], 10)
