"""The tokenizer's batches, files and refusals, beside transformers' on a small vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertTokenizer

from bertmini.errors import InputError
from bertmini.tokenizer import WordPieceTokenizer, split_word
from bertmini.tokenizer.tokenizer import SPECIAL_TOKENS

WORDS = ["the", "harbour", "is", "open", "un", "##aff", "##able", "##e", "cafe", *"abcdest.,!?'港口"]
VOCAB = [*SPECIAL_TOKENS, *WORDS]
BACKENDS = ["python", "fast"]


@pytest.fixture(params=BACKENDS)
def tokenizer(request) -> WordPieceTokenizer:
    return WordPieceTokenizer(VOCAB, backend=request.param)


@pytest.fixture(scope="module")
def reference() -> BertTokenizer:
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(VOCAB)})


def test_greedy_split_takes_the_longest_piece_first():
    vocab = {"un", "una", "##aff", "##ff", "##able"}
    assert split_word("unaffable", vocab) == [("una", 0, 3), ("##ff", 3, 5), ("##able", 5, 9)]


def test_a_word_with_one_unknown_part_is_unknown_as_a_whole():
    assert split_word("unable", {"un"}) == [("[UNK]", 0, 6)]


def test_a_word_of_more_than_100_characters_is_unknown(tokenizer):
    assert tokenizer.tokenize("e" * 100) == ["e"] + ["##e"] * 99
    assert tokenizer.tokenize("e" * 101) == ["[UNK]"]


def test_offsets_point_into_the_original_text(tokenizer):
    text = "  The Café—unAFFable\x00港口"
    batch = tokenizer(text, return_offsets=True)
    spans = [text[start:end] for start, end in batch["offset_mapping"]]
    assert spans == ["", "The", "Café", "—", "un", "AFF", "able", "港", "口", ""]


def test_a_special_token_spelled_out_in_a_text_keeps_its_id(tokenizer):
    assert tokenizer.tokenize("the [MASK] is[MASK]open [mask]")[:5] == [
        "the",
        "[MASK]",
        "is",
        "[MASK]",
        "open",
    ]
    assert tokenizer.mask_token_id in tokenizer("the [MASK]")["input_ids"]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4),
    max_length=st.integers(4, 14),
    padding=st.sampled_from([False, True, "max_length"]),
    paired=st.booleans(),
)
def test_truncation_and_padding_equal_transformers(reference, rows, max_length, padding, paired):
    texts = ["a " * first for first, _ in rows]
    pairs = ["b " * second for _, second in rows] if paired else None
    options = {
        "truncation": True,
        "max_length": max_length,
        "padding": padding,
        "return_special_tokens_mask": True,
    }
    expected = reference(texts, pairs, return_offsets_mapping=True, **options)
    for backend in BACKENDS:
        batch = WordPieceTokenizer(VOCAB, backend=backend)(texts, pairs, return_offsets=True, **options)
        assert batch == dict(expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_length_rows_are_cut_and_filled_to_the_models_own(backend):
    tokenizer = WordPieceTokenizer(VOCAB, model_max_length=7, backend=backend)
    assert list(map(len, tokenizer(["a " * 9, "a"], truncation=True)["input_ids"])) == [7, 3]
    assert list(map(len, tokenizer(["a"], ["b " * 9], truncation=True)["input_ids"])) == [7]
    assert list(map(len, tokenizer(["a"], padding="max_length")["input_ids"])) == [7]
    assert list(map(len, tokenizer(["a " * 9])["input_ids"])) == [11]  # nothing is cut that was not asked for


def test_tensors_are_of_the_kind_asked_for(tokenizer):
    texts = ["the harbour is open", "un"]
    lists = tokenizer(texts, padding=True)
    numpy = tokenizer(texts, padding=True, return_tensors="np", return_word_ids=True, return_offsets=True)
    tensors = tokenizer(texts, padding=True, return_tensors="pt")
    assert isinstance(numpy["input_ids"], np.ndarray)
    assert tensors["input_ids"].dtype == torch.int64
    assert tensors["input_ids"].tolist() == numpy["input_ids"].tolist() == lists["input_ids"]
    assert numpy["offset_mapping"].shape == (2, 6, 2)
    assert numpy["word_ids"] == [[None, 0, 1, 2, 3, None], [None, 0, None, None, None, None]]
    assert tokenizer("un", return_tensors="pt")["input_ids"].shape == (1, 3)
    assert tokenizer([]) == {"input_ids": [], "token_type_ids": [], "attention_mask": []}


@pytest.mark.parametrize("skip", [True, False])
def test_decoding_equals_transformers(tokenizer, reference, skip):
    for text in ["the harbour, is open! don't un [MASK] cafe?", "", "##e un 港口", "unaffable . . ."]:
        ids = reference(text)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=skip) == reference.decode(
            ids, skip_special_tokens=skip
        )
    assert tokenizer.decode(torch.tensor([5, 6])) == "the harbour"
    ids = tokenizer.convert_tokens_to_ids(["un", "##aff", "##able"])
    assert tokenizer.batch_decode([[5, 6], ids]) == ["the harbour", "unaffable"]


@pytest.mark.parametrize(
    "options", [{}, {"lowercase": False}, {"strip_accents": False}, {"split_cjk": False}]
)
def test_a_saved_tokenizer_loads_here_and_in_transformers(tmp_path, tokenizer, options):
    ours = WordPieceTokenizer(VOCAB, model_max_length=128, backend=tokenizer.backend, **options)
    ours.save_pretrained(tmp_path / "ours")
    again = WordPieceTokenizer.from_pretrained(tmp_path / "ours", backend=tokenizer.backend)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")  # which writes no vocab.txt
    back = WordPieceTokenizer.from_pretrained(tmp_path / "theirs", backend=tokenizer.backend)
    text = "The CAFÉ é 港口 [MASK] unaffable"
    assert again.model_max_length == theirs.model_max_length == back.model_max_length == 128
    assert again(text) == ours(text) == dict(theirs(text)) == back(text)
    assert again.vocab == ours.vocab == back.vocab


def test_unknown_tokens_have_the_unknown_id(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["the", "quay"]) == [5, 1]
    assert tokenizer.convert_ids_to_tokens([5, 1]) == ["the", "[UNK]"]
    assert len(tokenizer) == tokenizer.vocab_size == len(VOCAB)
    assert tokenizer.all_special_ids == [0, 1, 2, 3, 4]


def refusal(action) -> str:
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("bad", [None, 3, b"bytes"])
def test_a_text_that_is_no_string_is_refused_by_number(tokenizer, bad):
    assert "text 1 is of type" in refusal(lambda: tokenizer(["fine", bad]))
    assert "text 1 is of type" in refusal(lambda: tokenizer.encode_ids(["fine", bad]))


def test_half_of_a_surrogate_pair_is_refused(tokenizer):
    assert "surrogate" in refusal(lambda: tokenizer("a\ud800"))


def test_texts_without_their_pairs_are_refused(tokenizer):
    assert "2 texts with 1 pairs" in refusal(lambda: tokenizer(["a", "b"], ["c"]))


def test_ragged_rows_do_not_become_a_tensor(tokenizer):
    assert "padding=True" in refusal(lambda: tokenizer(["a", "a b"], return_tensors="pt"))


def test_a_length_without_room_for_special_tokens_is_refused(tokenizer):
    assert "max_length=2" in refusal(lambda: tokenizer("a", "b", truncation=True, max_length=2))


def test_a_vocabulary_must_be_a_table(tmp_path):
    assert "no [MASK]" in refusal(lambda: WordPieceTokenizer([*SPECIAL_TOKENS[:4], "a"]))
    assert "lines 6 and 7" in refusal(lambda: WordPieceTokenizer([*SPECIAL_TOKENS, "a", "a"]))
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join([*SPECIAL_TOKENS, "a", "a"]))
    assert refusal(lambda: WordPieceTokenizer.from_pretrained(tmp_path)).startswith(f"{file}: ")
    file.write_bytes(b"[PAD]\n\xff\n")
    assert "not UTF-8" in refusal(lambda: WordPieceTokenizer.from_pretrained(tmp_path))
    file.write_text("\n".join(SPECIAL_TOKENS))
    (tmp_path / "tokenizer_config.json").write_text("{")
    assert "not JSON" in refusal(lambda: WordPieceTokenizer.from_pretrained(tmp_path))


def test_a_directory_without_a_vocabulary_is_refused(tmp_path: Path):
    assert "vocab.txt" in refusal(lambda: WordPieceTokenizer.from_pretrained(tmp_path))
    assert "no/such/place" in refusal(lambda: WordPieceTokenizer.from_pretrained("no/such/place"))


def test_saved_settings_are_readable_json(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["do_lower_case"] is True
    assert config["mask_token"] == "[MASK]"


def test_a_full_disk_leaves_the_old_vocabulary(tmp_path, monkeypatch):
    WordPieceTokenizer(VOCAB).save_pretrained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bertmini.files.os.fsync", full)
    told = refusal(lambda: WordPieceTokenizer([*VOCAB, "new"]).save_pretrained(tmp_path))
    assert told == (
        f"{tmp_path / 'vocab.txt'}: cannot be written (No space left on device); "
        "make room, or name another place"
    )
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    told = refusal(lambda: WordPieceTokenizer(VOCAB).save_pretrained(tmp_path / "file"))
    assert str(tmp_path / "file") in told


@pytest.mark.parametrize(
    ("saved", "loaded"), [(128, 128), (1024, 1024), (1e30, 512), (int(1e30), 512), (None, 512), ("128", 512)]
)
def test_the_length_of_a_model_is_what_its_tokenizer_says(saved, loaded, tmp_path):
    WordPieceTokenizer(VOCAB).save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": saved}))
    assert WordPieceTokenizer.from_pretrained(tmp_path).model_max_length == loaded


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "no WordPiece vocabulary"),
        ([], "expected a JSON object"),
        ({"model": {"type": "Unigram", "vocab": [["a", -1.0]]}}, "no WordPiece vocabulary"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}}}, "no WordPiece vocabulary"),
        ({"model": {"vocab": {piece: 2 * i for i, piece in enumerate(VOCAB)}}}, "leave out numbers"),
        ({"model": {"vocab": dict.fromkeys(VOCAB, 0)}}, "leave out numbers"),
    ],
    ids=["empty", "list", "Unigram", "BPE", "gaps", "one id"],
)
def test_a_tokenizer_json_that_holds_no_table_of_pieces_is_refused(content, words, tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content))
    told = refusal(lambda: WordPieceTokenizer.from_pretrained(tmp_path))
    assert told.startswith(f"{file}: ")
    assert words in told


@pytest.mark.parametrize("content", [[], {"do_lower_case": "no"}, {"tokenize_chinese_chars": None}])
def test_a_tokenizer_config_that_is_none_is_refused(content, tmp_path):
    WordPieceTokenizer(VOCAB).save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(content))
    told = refusal(lambda: WordPieceTokenizer.from_pretrained(tmp_path))
    assert told.startswith(f"{file}: ")
    assert "expected" in told


@pytest.mark.parametrize("has_vocab", [True, False])
def test_an_added_token_is_refused(tmp_path, has_vocab):
    WordPieceTokenizer(VOCAB).save_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    theirs.add_tokens(["[E1]"])
    theirs.save_pretrained(tmp_path)
    if has_vocab:
        (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    else:
        (tmp_path / "vocab.txt").unlink(missing_ok=True)
    assert "'[E1]' is an added token" in refusal(lambda: WordPieceTokenizer.from_pretrained(tmp_path))


def test_a_single_text_needs_room_for_two_special_tokens():
    tokenizer = WordPieceTokenizer(VOCAB)
    assert "at least 2" in refusal(lambda: tokenizer("a", truncation=True, max_length=1))


def test_an_id_that_no_piece_has_is_named():
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    for wrong in (-100, len(tokenizer)):
        with pytest.raises(InputError, match=rf"id {wrong} is no piece's; expected 0 to 5"):
            tokenizer.decode([5, wrong])


def test_a_file_that_transformers_takes_as_it_is_has_its_own_rules(tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Berlin", "is", "big", ".", "berlin"]
    WordPieceTokenizer(pieces, lowercase=False).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    settings = {"tokenizer_class": "TokenizersBackend"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = WordPieceTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("Berlin is big.") == ["Berlin", "is", "big", "."]
    theirs = AutoTokenizer.from_pretrained(tmp_path)("Berlin is big.", add_special_tokens=False)
    assert tokenizer.encode_ids(["Berlin is big."])[0] == theirs["input_ids"]
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | {"normalizer": {"type": "NFC"}}))
    with pytest.raises(InputError, match="its rules are NFC and BertPreTokenizer"):
        WordPieceTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(("name", "content"), [
    ("added_tokens.json", {"[E1]": 6}),
    ("tokenizer_config.json", {"added_tokens_decoder": {"6": {"content": "[E1]"}}}),
])  # fmt: skip
def test_an_added_token_is_refused_in_whichever_file_it_stands(name, content, tmp_path):
    WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]).save_pretrained(tmp_path)
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"'\[E1\]' is an added token"):
        WordPieceTokenizer.from_pretrained(tmp_path)


def test_what_to_do_about_a_piece_that_stands_twice_keeps_the_ids():
    with pytest.raises(InputError, match=r"stands in lines 6 and 7; rename the first \(to \[unused-6\]"):
        WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "a"])
