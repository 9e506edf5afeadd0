"""Lines of every real text, encoded as transformers encodes them."""

from __future__ import annotations

import gc
import json
import os
import random
from pathlib import Path

import pytest
from transformers import AddedToken, BertTokenizer, GPT2Tokenizer, RobertaTokenizer

from bertmini.tokenizer import ByteLevelBPETokenizer, WordPieceTokenizer
from bertmini.tokenizer.byte_level import read_merges


@pytest.fixture(scope="module")
def lines(data_directory: Path) -> list[str]:
    """Every thirty-second of the different lines of all files; a file that is not UTF-8 is Latin-1.

    All of them take minutes: BERTMINI_STRIDE=1.
    """
    found: set[str] = set()
    for file in sorted(path for path in data_directory.rglob("*") if path.is_file()):
        content = file.read_bytes()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        found.update(text.split("\n"))
    return sorted(found)[:: int(os.environ.get("BERTMINI_STRIDE", "32"))]


@pytest.mark.parametrize(("name", "lowercase"), [("uncased", True), ("chinese", False)])
def test_every_line_has_the_ids_of_transformers(data_directory, lines, name, lowercase):
    vocab = (
        (data_directory / "vocab" / f"bert-base-{name}-vocab.txt")
        .read_text(encoding="utf-8")
        .split("\n")[:-1]
    )
    reference = BertTokenizer(vocab={piece: i for i, piece in enumerate(vocab)}, do_lower_case=lowercase)
    python = WordPieceTokenizer(vocab, lowercase=lowercase, backend="python")
    fast = WordPieceTokenizer(vocab, lowercase=lowercase)
    gc.disable()  # millions of ids are born here and none of them in a cycle
    ids_only = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    for start in range(0, len(lines), 20_000):  # in parts, since all ids at once would fill the memory
        part = lines[start : start + 20_000]
        rows = zip(part, python.encode_ids(part), reference(part, **ids_only)["input_ids"], strict=True)
        assert [line for line, ids, expected in rows if ids != expected] == []
    gc.enable()

    sample = random.Random(0).sample(lines, 3000)
    expected = reference(sample, add_special_tokens=False, return_offsets_mapping=True)
    for encoder in (python, fast):
        encoded = encoder.encode_places(sample)
        assert [row.ids for row in encoded] == expected["input_ids"]
        assert [row.offsets for row in encoded] == expected["offset_mapping"]
        assert [row.words for row in encoded] == [expected.word_ids(i) for i in range(len(sample))]


def test_texts_have_the_ids_of_gpt_2_and_roberta(data_directory, lines):
    """A sample of all lines, and of stretches of lines; all of them take minutes."""
    ids = json.loads((data_directory / "vocab" / "encoder.json").read_text(encoding="utf-8"))
    merges = read_merges(data_directory / "vocab" / "vocab.bpe")
    vocab = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ids, key=ids.__getitem__), "<mask>"]
    python = ByteLevelBPETokenizer(vocab, merges, backend="python")
    fast = ByteLevelBPETokenizer(vocab, merges)
    mask = AddedToken("<mask>", lstrip=True, special=True)
    roberta = RobertaTokenizer(vocab=fast.vocab, merges=merges, mask_token=mask)
    gpt_2 = GPT2Tokenizer(vocab=ids, merges=merges)

    chance = random.Random(0)
    sample = chance.sample(lines, min(8_000, len(lines)))
    sample += ["\r\n".join(sample[start : start + 20]) for start in range(0, 2000, 20)]
    expected = roberta(sample, add_special_tokens=False, return_offsets_mapping=True)
    assert python.encode_ids(sample) == fast.encode_ids(sample) == expected["input_ids"]
    for text, row, theirs in zip(sample, gpt_2(sample)["input_ids"], expected["input_ids"], strict=True):
        if not any(token in text for token in fast.SPECIAL_TOKENS):  # they are plain text to GPT-2
            assert [i + 4 for i in row] == theirs
    for encoder in (python, fast):
        encoded = encoder.encode_places(sample[-1000:])
        assert [row.offsets for row in encoded] == expected["offset_mapping"][-1000:]
        assert encoder.batch_decode(row.ids for row in encoded) == sample[-1000:]
