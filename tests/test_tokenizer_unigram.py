"""The unigram tokenizer beside transformers' AlbertTokenizer."""

from __future__ import annotations

import base64
import json

import pytest
from transformers import AlbertTokenizer, AutoTokenizer

from bertmini import Gazette, InputError, UnigramTokenizer, load_tokenizer

TEXTS = [document.text for document in Gazette(seed=5).documents(120)]
TRAINED = UnigramTokenizer.train(TEXTS, 300)
SOME = ["The CAFÉ is open, Abel said.", "  ``quoted''  text [MASK] x", "", "ﬁsh ½ 港口", "a[MASK]b"]
SOME += TEXTS[:5]


def refusal(action) -> str:
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("options", [{}, {"lowercase": False}, {"keep_accents": True}])
def test_rows_equal_those_of_transformers(options):
    ours = UnigramTokenizer(TRAINED.scores, **options)
    names = {"lowercase": "do_lower_case"}
    theirs = AlbertTokenizer(vocab=ours.scores, **{names.get(k, k): v for k, v in options.items()})
    padded = {"padding": True, "truncation": True, "max_length": 24}
    for pairs in (None, SOME[::-1]):
        expected = theirs(SOME, pairs, return_offsets_mapping=True, return_token_type_ids=True, **padded)
        assert ours(SOME, pairs, return_offsets=True, **padded) == dict(expected)
    for text in SOME:
        ids = theirs(text)["input_ids"]
        for skip in (True, False):
            assert ours.decode(ids, skip) == theirs.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("options", [{}, {"lowercase": False, "keep_accents": True}])
def test_a_saved_tokenizer_loads_here_and_in_transformers(tmp_path, options):
    ours = UnigramTokenizer(TRAINED.scores, model_max_length=99, **options)
    ours.save_pretrained(tmp_path / "ours")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    again, back = load_tokenizer(tmp_path / "ours"), load_tokenizer(tmp_path / "theirs")
    assert again.rules == ours.rules == back.rules
    assert again.model_max_length == theirs.model_max_length == back.model_max_length == 99
    for text in SOME:
        expected = dict(theirs(text, return_token_type_ids=True))
        assert ours(text) == again(text) == back(text) == expected


def test_a_trained_vocabulary_has_its_size_and_reads_the_text_without_unknown_pieces():
    assert len(TRAINED) == 300
    assert TRAINED.pieces[:5] == list(TRAINED.SPECIAL_TOKENS)
    ids = [i for row in TRAINED.encode_ids(TEXTS) for i in row]
    assert TRAINED.unk_token_id not in ids
    goes_on, ends = TRAINED.word_edges()
    joined, before = [], False
    for i in TRAINED.encode_ids(["the harbour, open."])[0]:
        if joined and goes_on[i] and not before:
            joined[-1] += TRAINED.piece_text(i)
        elif TRAINED.piece_text(i) != " ":
            joined.append(TRAINED.piece_text(i))
        before = ends[i]
    assert joined[0] == " the"
    assert "".join(joined).replace(" ", "") == "theharbour,open."


def test_bad_files_and_sizes_are_refused_in_a_line(tmp_path):
    assert "vocab_size=100000 is too large" in refusal(lambda: UnigramTokenizer.train(TEXTS, 100_000))
    assert "vocab_size=9" in refusal(lambda: UnigramTokenizer.train(TEXTS, 9))
    assert "vocab_size=50" in refusal(lambda: UnigramTokenizer.train([" "], 50))
    assert "text 0 is of type int" in refusal(lambda: UnigramTokenizer.train(["a", 3], 50))
    (tmp_path / "spiece.model").write_bytes(b"\x0a")
    for load in (load_tokenizer, UnigramTokenizer.from_pretrained):
        assert "spiece.model is SentencePiece's" in refusal(lambda load=load: load(tmp_path))
    TRAINED.save_pretrained(tmp_path)
    assert "backend='python'" in refusal(lambda: load_tokenizer(tmp_path, backend="python"))
    file = tmp_path / "tokenizer.json"
    good = json.loads(file.read_text())
    for vocab in ([["a", "b", "c"]], [["a", None]], [5]):
        file.write_text(json.dumps(good | {"model": good["model"] | {"vocab": vocab}}))
        assert f"{file}: " in refusal(lambda: load_tokenizer(tmp_path))
    file.write_text(json.dumps(good | {"model": {"type": "Unigram"}}))
    assert "holds no unigram model" in refusal(lambda: load_tokenizer(tmp_path))
    swapped = [good["model"]["vocab"][1], good["model"]["vocab"][0], *good["model"]["vocab"][2:]]
    file.write_text(json.dumps(good | {"model": good["model"] | {"vocab": swapped}}))
    assert "<unk> has the id 0; expected 1" in refusal(lambda: load_tokenizer(tmp_path))


def test_compiled_rules_of_sentencepiece_are_kept(tmp_path):
    """A charsmap that changes nothing: a table of one empty unit, and no replacements."""
    charsmap = (4).to_bytes(4, "little") + bytes(4)
    TRAINED.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    rule = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    content["normalizer"]["normalizers"].append(rule)
    file.write_text(json.dumps(content))
    loaded = load_tokenizer(tmp_path)
    assert loaded.charsmap == charsmap
    loaded.save_pretrained(tmp_path / "again")
    assert load_tokenizer(tmp_path / "again").charsmap == charsmap
