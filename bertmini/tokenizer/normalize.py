"""Normalisation: raw text becomes plain words, and every character remembers where it came from."""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby
from unicodedata import category

CJK = (  # Chinese characters; kana and Hangul are not among them
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


def is_cjk(character: str) -> bool:
    return character >= "\u3400" and any(first <= ord(character) <= last for first, last in CJK)


def is_space(character: str) -> bool:
    return character in "\t\n\r" or category(character) in ("Zs", "Zl", "Zp")


def is_punctuation(character: str) -> bool:
    # Unicode has nine ASCII signs among its symbols; BERT splits at them all the same.
    return character in "$+<=>^`|~" or category(character).startswith("P")


@cache
def clean(character: str, split_cjk: bool = True) -> str:
    """A character without control characters, with plain spaces, and with spaces around Chinese."""
    if is_space(character):
        return " "
    if character == "\ufffd" or category(character) in ("Cc", "Cf", "Co"):
        return ""
    return f" {character} " if split_cjk and is_cjk(character) else character


@cache
def fold(character: str, lowercase: bool = True, strip_accents: bool = True) -> str:
    """A character in lower case, without accents, and with spaces around punctuation."""
    if strip_accents and category(character) == "Mn":
        return ""
    character = character.lower() if lowercase else character
    return f" {character} " if is_punctuation(character) else character


def decompose(text: str) -> str:
    """Accented letters as a letter and its marks."""
    return unicodedata.normalize("NFD", text)


def end_of_letter(text: str, end: int) -> int:
    """The end of a stretch, behind the accents of its last letter, which the tokenizer may leave out."""
    while end < len(text) and category(text[end]) == "Mn":
        end += 1
    return end


class Normalizer:
    """BERT's rules for making words of a text.

    Args:
        lowercase: fold to lower case.
        strip_accents: drop combining marks; None does as `lowercase` says.
        split_cjk: make each Chinese character a word.

    Source: google-research/bert, tokenization.py; private-use characters are dropped, as transformers does.
    """

    def __init__(self, lowercase: bool = True, strip_accents: bool | None = None, split_cjk: bool = True):
        self.lowercase, self.split_cjk = lowercase, split_cjk
        self.strip_accents = lowercase if strip_accents is None else strip_accents

    def words(self, text: str) -> list[tuple[str, list[int]]]:
        """The normalised words of a text, each with the place in `text` of each of its characters."""
        letters = [
            (c, place) for place, character in enumerate(text) for c in clean(character, self.split_cjk)
        ]
        if self.strip_accents and not text.isascii():
            places = [place for c, place in letters for _ in decompose(c)]
            # All at once, because several marks on one letter are also put in their standard order.
            letters = list(zip(decompose("".join(c for c, _ in letters)), places, strict=True))
        rules = self.lowercase, self.strip_accents
        letters = [(c, place) for character, place in letters for c in fold(character, *rules)]
        runs = [list(run) for is_gap, run in groupby(letters, lambda letter: letter[0] == " ") if not is_gap]
        return [("".join(c for c, _ in run), [place for _, place in run]) for run in runs]
