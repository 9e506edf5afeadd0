"""Python's rules against transformers' tokenizer, over the whole of Unicode."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers
from transformers import BertTokenizer

from bertmini.tokenizer import Normalizer, WordPieceTokenizer

# Where the tokenizers library departs from BERT's rules, in hexadecimal, by cause.
# Its range of CJK extension E begins at 2B920 where Unicode's begins at 2B820: these are not split off.
MISTYPED_RANGE = "2B820-2B91F"
# Its tables of categories are older than Unicode 14: it does not know these as marks, punctuation or format.
OLDER_TABLES = """
61D 7FD 890-891 898-89F 8CA-8E2 9FD-9FE A76 AFA-AFF B55 C04 C3C C77 C84 D00 D3B-D3C D81 EBA 166D
1734 180F 1885-1886 1ABF-1ACE 1B7D-1B7E 1DF6-1DFB 2E43-2E4F 2E52-2E5D A82C A8C5 A8FF A9BD
10D24-10D27 10EAB-10EAD 10F46-10F50 10F55-10F59 10F82-10F89 11070 11073-11074 110C2 110CD 111C9
111CF 1123E 1133B 11438-1143F 11442-11444 11446 1144B-1144F 1145A-1145B 1145D-1145E 11660-1166C
116B9 1182F-11837 11839-1183B 11938 1193B-1193C 1193E 11943-11946 119D4-119D7 119DA-119DB 119E0
119E2 11A01-11A0A 11A33-11A38 11A3B-11A47 11A51-11A56 11A59-11A5B 11A8A-11A96 11A98-11A9C
11A9E-11AA2 11C30-11C36 11C38-11C3D 11C3F 11C41-11C45 11C70-11C71 11C92-11CA7 11CAA-11CB0
11CB2-11CB3 11CB5-11CB6 11D31-11D36 11D3A 11D3C-11D3D 11D3F-11D45 11D47 11D90-11D91 11D95 11D97
11EF3-11EF4 11EF7-11EF8 11FFF 12FF1-12FF2 13430-13438 16E97-16E9A 16F4F 16FE2 16FE4 1CF00-1CF2D
1CF30-1CF46 1E000-1E006 1E008-1E018 1E01B-1E021 1E023-1E024 1E026-1E02A 1E130-1E136 1E2AE
1E2EC-1E2EF 1E944-1E94A 1E95E-1E95F
"""
# Its table of lower case is newer than Python's: capitals that Unicode 14 and 15 have not assigned.
NEWER_CAPITALS = "1C89 A7CB-A7CC A7CE A7D2 A7D4 A7DA A7DC 10D50-10D65 16EA0-16EB8"
NEW_IN_UNICODE_15 = """
ECE 10EFD-10EFF 11241 11B00-11B09 11F00-11F01 11F36-11F3A 11F40 11F42-11F4F 13439-13440 13447-13455
1E08F 1E4EC-1E4EF
"""


def code_points(ranges: str) -> set[int]:
    ends = [part.partition("-") for part in ranges.split()]
    return {code for first, _, last in ends for code in range(int(first, 16), int(last or first, 16) + 1)}


KNOWN = {"14.0.0": code_points(MISTYPED_RANGE) | code_points(OLDER_TABLES) | code_points(NEWER_CAPITALS)}
KNOWN["15.0.0"] = KNOWN["15.1.0"] = KNOWN["14.0.0"] | code_points(NEW_IN_UNICODE_15)
# Every code point but the surrogates and the planes 4 to 13, which are empty.
SCALARS = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0x110000))]
known = pytest.mark.skipif(
    unicodedata.unidata_version not in KNOWN,
    reason=f"the differences at Unicode {unicodedata.unidata_version} are not listed",
)


def rust_words(text: str, lowercase: bool) -> list[str]:
    normalized = normalizers.BertNormalizer(lowercase=lowercase).normalize_str(text)
    return [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normalized)]


def differences(characters: list[str], lowercase: bool) -> set[int]:
    """The codes where the two disagree, each between two letters; equal blocks are passed over at once."""
    normalizer = Normalizer(lowercase)

    def differs(block: list[str]) -> bool:
        text = " ".join(f"x{character}x" for character in block)
        return [word for word, _ in normalizer.words(text)] != rust_words(text, lowercase)

    blocks = [characters[start : start + 256] for start in range(0, len(characters), 256)]
    return {ord(c) for block in blocks if differs(block) for c in block if differs([c])}


@known
def test_uncased_differences_from_the_tokenizers_library_are_those_listed_by_code_point():
    assert differences(SCALARS, lowercase=True) == KNOWN[unicodedata.unidata_version]


@known
def test_cased_differences_are_among_those_listed():
    cased = differences([c for c in SCALARS if unicodedata.category(c) not in ("Cn", "Co")], lowercase=False)
    assert cased < KNOWN[unicodedata.unidata_version]
    assert not cased & code_points(NEWER_CAPITALS)


def test_private_use_and_final_sigma_are_as_in_transformers():
    assert [word for word, _ in Normalizer().words("ΟΔΟΣ a\ue000b")] == ["οδοσ", "ab"]


@pytest.fixture(scope="module")
def pairs_of_tokenizers() -> list[tuple[WordPieceTokenizer, WordPieceTokenizer, BertTokenizer]]:
    """Python, fast and transformers' tokenizer, uncased and cased, on a vocabulary of all characters."""
    letters = [c for c in SCALARS[:0x3000] if not c.isspace()] + list("漢字中한글힣ﬁ①𝒜😀")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters)]
    vocab += ["the", "##ing", "un", "##aff", "##able", "##\u03bf", "ab", "##ab", "##e\u0301"]
    vocab = list(dict.fromkeys(vocab))
    ids = {piece: i for i, piece in enumerate(vocab)}
    return [
        (
            WordPieceTokenizer(vocab, lowercase=lowercase, backend="python"),
            WordPieceTokenizer(vocab, lowercase=lowercase),
            BertTokenizer(vocab=ids, do_lower_case=lowercase),
        )
        for lowercase in (True, False)
    ]


agreed = st.characters(
    exclude_categories=["Cs"],
    exclude_characters=[chr(c) for c in sorted(KNOWN.get(unicodedata.unidata_version, ()))],
)
tricky = st.sampled_from(
    [
        *" \t\n\x0b\x1c\x85\u200d\u2028.,'",
        "É",
        "e\u0301",
        "Σ",
        "İ",
        "ẛ̣",
        "漢",
        "한",
        "[MASK]",
        "[SEP",
        "##ing",
    ]
)
texts = st.lists(st.one_of(agreed, tricky, st.text("abÀ̈", max_size=3)), max_size=40).map("".join)


@known
@settings(max_examples=300, deadline=None)
@given(text=texts, pair=st.one_of(st.none(), texts))
def test_ids_offsets_and_words_equal_transformers_on_random_unicode(pairs_of_tokenizers, text, pair):
    for python, fast, reference in pairs_of_tokenizers:
        pairs = None if pair is None else [pair]
        expected = reference([text], pairs, return_offsets_mapping=True, return_special_tokens_mask=True)
        for ours in (python, fast):
            batch = ours(
                [text], pairs, return_offsets=True, return_word_ids=True, return_special_tokens_mask=True
            )
            assert batch.pop("word_ids") == [expected.word_ids()]
            assert batch == dict(expected)
