"""Byte-level BPE beside the tokenizers library and transformers' RobertaTokenizer."""

from __future__ import annotations

import json
import random
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, trainers
from transformers import AddedToken, AutoTokenizer, RobertaTokenizer

from bertmini import ByteLevelBPETokenizer, InputError, WordPieceTokenizer, load_tokenizer
from bertmini.tokenizer.bpe import LETTERS, merge, split_words, to_bytes, to_letters, train_byte_level_bpe
from bertmini.tokenizer.byte_level import TRAINED_FIRST

TEXTS = [
    *["The harbour is open. The harbours were open, and opening hours aren't longer."] * 3,
    *["low lower lowest, 1234 and 12.5"] * 5,
    "Café—crème  à la carte\n\n\tÜber 港口 😀👍🏽 x² ½ 'tis they'll\u00a0go\r\n",
]
TRAINED = ByteLevelBPETokenizer.train(TEXTS, 340)
BACKENDS = ["python", "fast"]

parts = ["the", "harbour", " low", "er", "  ", "\n", "\t ", "'s", "'ll", "12", "é", "港口", "😀"]
# Python's table of characters knows these; the library's is newer.
known = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=4)
common = st.sampled_from([*parts, *TRAINED.SPECIAL_TOKENS])
texts = st.lists(st.one_of(common, known), max_size=12).map("".join)


def is_assigned(text: str) -> bool:
    return all(unicodedata.category(character) not in ("Cn", "Cs") for character in text)


def of_backend(backend: str, **options) -> ByteLevelBPETokenizer:
    return ByteLevelBPETokenizer(TRAINED.pieces, TRAINED.merges, backend=backend, **options)


@pytest.fixture(scope="module", params=BACKENDS)
def tokenizer(request) -> ByteLevelBPETokenizer:
    return of_backend(request.param)


@pytest.fixture(scope="module")
def reference() -> RobertaTokenizer:
    return roberta(TRAINED)


def roberta(tokenizer: ByteLevelBPETokenizer, **options) -> RobertaTokenizer:
    mask = AddedToken("<mask>", lstrip=True, special=True)
    return RobertaTokenizer(vocab=tokenizer.vocab, merges=tokenizer.merges, mask_token=mask, **options)


def refusal(action) -> str:
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_byte_has_the_letter_of_the_library():
    library = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for code in range(0x800):
        assert to_letters(chr(code)) == library.pre_tokenize_str(chr(code))[0][0]
    assert sorted(LETTERS) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert to_bytes(to_letters("Ünïcode 港")).decode() == "Ünïcode 港"


def test_every_character_is_of_the_kind_that_the_library_takes_it_for():
    library = pre_tokenizers.ByteLevel(add_prefix_space=False)
    known = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and is_assigned(chr(c))]
    for start in range(0, len(known), 5000):
        # Each character between letters, digits, marks and spaces.
        text = "".join(f"a{c}a1{c}1!{c}! {c} {c}{c}" for c in known[start : start + 5000])
        expected = [text[start:end] for _, (start, end) in library.pre_tokenize_str(text)]
        assert split_words(text) == expected


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_ids_places_and_words_equal_transformers(reference, text):
    expected = reference(text, return_offsets_mapping=True, add_special_tokens=False)
    for backend in BACKENDS:
        encoded = of_backend_once(backend).encode_places([text])[0]
        assert encoded.ids == expected["input_ids"] == of_backend_once(backend).encode_ids([text])[0]
        assert encoded.offsets == expected["offset_mapping"]
        assert encoded.words == expected.word_ids()


def of_backend_once(backend: str, made={}) -> ByteLevelBPETokenizer:  # noqa: B006
    if backend not in made:
        made[backend] = of_backend(backend)
    return made[backend]


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_decoding_gives_back_every_text(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode_ids([text.replace("<", "")])[0]) == text.replace("<", "")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), text=texts)
def test_merges_in_any_order_are_applied_as_the_library_applies_them(seed, text):
    merges = random.Random(seed).sample(TRAINED.merges, len(TRAINED.merges))
    expected, ids = (
        ByteLevelBPETokenizer(TRAINED.pieces, merges, backend=backend).encode_ids([text])
        for backend in ("fast", "python")
    )
    assert ids == expected


def test_the_pair_that_was_joined_first_is_joined_first():
    ranks = {("a", "b"): 1, ("b", "c"): 0, ("a", "bc"): 2}
    assert merge("abc", ranks) == ["abc"]
    assert merge("abab", ranks) == ["ab", "ab"]
    assert merge("aaa", {("a", "a"): 0}) == ["aa", "a"]


def test_the_mask_takes_the_space_before_it_and_its_place_is_its_own(tokenizer):
    text = "the  <mask> is<mask>"
    row = tokenizer(text, return_offsets=True)
    assert row["input_ids"].count(tokenizer.mask_token_id) == 2
    assert tokenizer.tokenize(text)[-1] == "<mask>"
    mask = tokenizer.tokenize(text).index("<mask>") + 1
    assert "Ġ" not in tokenizer.tokenize(text)
    start, end = row["offset_mapping"][mask]
    assert text[start:end] == "<mask>"


def test_a_mask_that_takes_no_space_is_read_so_from_the_files_of_transformers(tmp_path):
    theirs = RobertaTokenizer(vocab=TRAINED.vocab, merges=TRAINED.merges)  # its own default since version 5
    theirs.save_pretrained(tmp_path)
    for backend in BACKENDS:
        ours = ByteLevelBPETokenizer.from_pretrained(tmp_path, backend=backend)
        assert not ours.mask_takes_space
        assert ours("the <mask> is")["input_ids"] == theirs("the <mask> is")["input_ids"]
        assert "Ġ" in ours.tokenize("the <mask> is")


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4),
    max_length=st.integers(5, 14),
    padding=st.sampled_from([False, True, "max_length"]),
    paired=st.booleans(),
)
def test_truncation_and_padding_equal_transformers(reference, rows, max_length, padding, paired):
    firsts = ["a " * first for first, _ in rows]
    pairs = ["b " * second for _, second in rows] if paired else None
    options = {
        "truncation": True,
        "max_length": max_length,
        "padding": padding,
        "return_special_tokens_mask": True,
    }
    expected = reference(firsts, pairs, return_offsets_mapping=True, return_token_type_ids=True, **options)
    for backend in BACKENDS:
        batch = of_backend_once(backend)(firsts, pairs, return_offsets=True, **options)
        assert batch == dict(expected)


def test_rows_have_two_separators_between_texts_and_one_segment(tokenizer):
    row = tokenizer("low", "lower", return_tensors="pt")
    tokens = tokenizer.convert_ids_to_tokens(row["input_ids"][0].tolist())
    assert [token for token in tokens if token.startswith("<") or token == "</s>"] == ["<s>", *["</s>"] * 3]
    assert not row["token_type_ids"].any()
    assert "max_length=3" in refusal(lambda: tokenizer("a", "b", truncation=True, max_length=3))


@pytest.mark.parametrize("skip", [True, False])
def test_decoding_equals_transformers(tokenizer, reference, skip):
    for text in ["the harbour, is open! don't <mask> cafe?", "", "港口 <s> x", "a  b \n"]:
        ids = reference(text)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=skip) == reference.decode(
            ids, skip_special_tokens=skip
        )
    parts = tokenizer.encode_ids(["😀"])[0][:1]  # a part of a character
    assert tokenizer.decode(torch.tensor(parts)) == reference.decode(parts) == "\ufffd"


@pytest.mark.parametrize("options", [{}, {"add_prefix_space": True}, {"mask_takes_space": False}])
@pytest.mark.parametrize("kept", [("vocab.json", "merges.txt"), ("tokenizer.json",), ()])
def test_a_saved_tokenizer_loads_here_and_in_transformers(tmp_path, tokenizer, options, kept):
    ours = of_backend(tokenizer.backend, model_max_length=128, **options)
    ours.save_pretrained(tmp_path / "ours")
    for file in (tmp_path / "ours").iterdir():
        if kept and file.name not in (*kept, "tokenizer_config.json"):
            file.unlink()
    again = load_tokenizer(tmp_path / "ours", backend=tokenizer.backend)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    back = load_tokenizer(tmp_path / "theirs", backend=tokenizer.backend)
    assert again.model_max_length == theirs.model_max_length == back.model_max_length == 128
    for text in ("The CAFÉ é 港口 <mask> lower", " low", "low  <mask></s> it's", "", "\nlow"):
        expected = dict(theirs(text, return_token_type_ids=True, return_offsets_mapping=True))
        if text.startswith(" ") and "add_prefix_space" in options:
            del expected["offset_mapping"]  # theirs then counts the first space to the word
        for each in (ours, again, back):
            assert expected.items() <= each(text, return_offsets=True).items()
    assert again.rules == ours.rules == back.rules


def library_training(lines: list[str], size: int, min_frequency: int) -> tuple[list[str], list]:
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=min_frequency, show_progress=False,
        special_tokens=list(TRAINED_FIRST), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    library.train_from_iterator(lines, trainer)
    model = json.loads(library.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [tuple(pair) for pair in model["merges"]]


@pytest.mark.parametrize("size", [261, 262, 300, 340])
def test_training_gives_the_vocabulary_and_the_merges_of_the_library(size):
    ours = ByteLevelBPETokenizer.train(TEXTS, size)
    assert (ours.pieces, ours.merges) == library_training(TEXTS, size, 1)


@pytest.mark.parametrize(("size", "min_frequency"), [(500, 1), (1500, 1), (1200, 3)])
def test_training_on_the_gazette_equals_the_library(size, min_frequency):
    from bertmini import Gazette

    documents = [document.text for document in Gazette(seed=3).documents(600)]
    ours = ByteLevelBPETokenizer.train(documents, size, min_frequency=min_frequency)
    assert (ours.pieces, ours.merges) == library_training(documents, size, min_frequency)


@settings(max_examples=100, deadline=None)
@given(
    counts=st.dictionaries(st.text("ab c'1é", min_size=1, max_size=6), st.integers(1, 9), min_size=1),
    more=st.integers(0, 12),
)
def test_training_on_any_words_equals_the_library(counts, more):
    lines = [word for word, count in counts.items() for _ in range(count)]
    expected = library_training(lines, 261 + more, 1)
    found = Counter(word for line in lines for word in split_words(line))
    size = len(expected[0])
    assert train_byte_level_bpe(found, size, special_tokens=TRAINED_FIRST) == expected


def test_the_options_of_training_reach_the_words_and_the_joins():
    train = ByteLevelBPETokenizer.train
    with pytest.raises(InputError, match="supports 262 pieces"):  # the pairs of "cd" and of " c" occur once
        train(["ab ab cd"], 263, min_frequency=2)
    assert train(["ab", "ab"], 263, add_prefix_space=True).pieces[-1] == "Ġab"
    with pytest.raises(InputError, match="supports 262 pieces"):
        train(["ab", "ab"], 263)


def test_sizes_that_a_text_does_not_support_are_refused():
    assert "vocab_size=200 is too small" in refusal(lambda: ByteLevelBPETokenizer.train(TEXTS, 200))
    assert "vocab_size=9000 is too large" in refusal(lambda: ByteLevelBPETokenizer.train(TEXTS, 9000))
    assert "text 0 is of type int" in refusal(lambda: ByteLevelBPETokenizer.train([3], 300))


@settings(max_examples=200, deadline=None)
@given(sentences=st.lists(texts.map(lambda text: text.replace("<mask>", "")), max_size=4))
def test_parts_of_sentences_have_the_ids_of_the_whole(sentences):
    chunks, numbers = TRAINED.in_chunks(sentences)
    rows = iter(TRAINED.encode_ids(chunks))
    for sentence, number in zip(sentences, numbers, strict=True):
        expected = TRAINED.encode_ids([sentence])[0]
        assert [i for _ in range(number) for i in next(rows)] == expected


def test_pieces_say_which_words_they_go_on_with():
    goes_on, ends = TRAINED.word_edges()
    text = "The harbours (open) 12x low, lower."
    words, before = [""], False
    for i in TRAINED.encode_ids([text])[0]:
        if not goes_on[i] or before:
            words.append("")
        words[-1] += TRAINED.piece_text(i)
        before = ends[i]
    found = [word.strip() for word in words if word.strip()]
    assert found == ["The", "harbours", "(", "open", ")", "12x", "low", ",", "lower", "."]


def test_bad_files_are_refused_in_a_line(tmp_path: Path):
    TRAINED.save_pretrained(tmp_path)
    vocab, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    good_vocab, good_merges = vocab.read_text(), merges.read_text()

    merges.write_text(good_merges + "alone\n")
    assert f"{merges}:" in refusal(lambda: load_tokenizer(tmp_path))
    merges.write_text(good_merges + "qqq zzz\n")
    assert "belong to different tokenizers" in refusal(lambda: load_tokenizer(tmp_path))
    merges.write_text(good_merges)
    vocab.write_text(good_vocab.replace("<mask>", "<musk>"))
    assert "no <mask> among 340 pieces" in refusal(lambda: load_tokenizer(tmp_path))
    vocab.write_text(good_vocab.replace('"!": ', '"!!!": '))
    assert "1 of the 256 bytes" in refusal(lambda: load_tokenizer(tmp_path))
    vocab.write_text(json.dumps(TRAINED.vocab | {"more": 999}))
    assert "leave out numbers" in refusal(lambda: load_tokenizer(tmp_path))
    vocab.write_text("{")
    assert "not JSON" in refusal(lambda: load_tokenizer(tmp_path))
    vocab.unlink()
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    added = [*content["added_tokens"], {"content": "<more>", "id": 340}]
    file.write_text(json.dumps(content | {"added_tokens": added}))
    assert "'<more>' is an added token" in refusal(lambda: load_tokenizer(tmp_path))
    file.write_text(json.dumps(content | {"pre_tokenizer": {"type": "Whitespace"}}))
    assert "holds no byte-level BPE" in refusal(lambda: load_tokenizer(tmp_path))
    file.write_text(json.dumps({"model": {"type": "WordLevel", "vocab": {}}}))
    assert "'WordLevel'; bertmini reads WordPiece, BPE, Unigram" in refusal(lambda: load_tokenizer(tmp_path))
    file.unlink()
    assert "no vocab.txt and no tokenizer.json" in refusal(lambda: load_tokenizer(tmp_path))
    assert "no vocab.json" in refusal(lambda: ByteLevelBPETokenizer.from_pretrained(tmp_path))


def test_of_two_tokenizers_in_a_directory_the_model_s_own_is_taken(tmp_path):
    TRAINED.save_pretrained(tmp_path)
    word_pieces = WordPieceTokenizer([*WordPieceTokenizer.SPECIAL_TOKENS, "a"])
    word_pieces.save_pretrained(tmp_path)
    for family, kind in (("roberta", ByteLevelBPETokenizer), ("bert", WordPieceTokenizer)):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
        assert isinstance(load_tokenizer(tmp_path), kind)
