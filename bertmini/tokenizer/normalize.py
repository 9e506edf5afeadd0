"""Normalisation: raw text becomes plain words, and every character remembers where it came from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

CJK = (  # ideographs, each of which is a word; kana and Hangul are not among them
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


def is_cjk(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in CJK)


def is_space(character: str) -> bool:
    return character in "\t\n\r" or unicodedata.category(character) in ("Zs", "Zl", "Zp")


def is_punctuation(character: str) -> bool:
    # Unicode calls $, +, <, =, >, ^, `, | and ~ symbols; BERT splits off every ASCII sign that is no letter or digit.
    return character in "$+<=>^`|~" or unicodedata.category(character).startswith("P")


class Rewriting(dict):
    """A table from a character's code to its replacement, filled by a rule when a character is first seen."""

    def __init__(self, rule: Callable[[str], str]):
        super().__init__()
        self.rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = self.rule(chr(code))
        return self[code]


class Normalizer:
    """BERT's normalisation: clean, decompose, fold, split.

    Args:
        lowercase: fold to lower case.
        strip_accents: drop combining marks; None does as `lowercase` says.
        split_cjk: make each Chinese character a word of its own.

    Source: google-research/bert, tokenization.py (BasicTokenizer).
    """

    def __init__(self, lowercase: bool = True, strip_accents: bool | None = None, split_cjk: bool = True):
        self.lowercase, self.split_cjk = lowercase, split_cjk
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self.cleaning, self.folding = Rewriting(self.clean), Rewriting(self.fold)

    def clean(self, character: str) -> str:
        if is_space(character):
            return " "
        if character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co"):
            return ""
        return f" {character} " if self.split_cjk and is_cjk(character) else character

    def fold(self, character: str) -> str:
        if self.strip_accents and unicodedata.category(character) == "Mn":
            return ""
        character = character.lower() if self.lowercase else character
        return f" {character} " if is_punctuation(character) else character

    def words(self, text: str) -> list[tuple[str, list[int]]]:
        """Split a text into its normalised words.

        Args:
            text: any text.

        Returns:
            Each word with, for each of its characters, the place in `text` of the character it was made from.
        """
        places = list(range(len(text)))
        text, places = rewrite(text, places, self.cleaning)
        if self.strip_accents and not text.isascii():
            places = [place for place, c in zip(places, text, strict=True) for _ in decompose(c)]
            text = decompose(text)  # "é" becomes "e" and a mark; the whole text, since marks are also put in order
        text, places = rewrite(text, places, self.folding)
        return [(found.group(), places[found.start() : found.end()]) for found in re.finditer(r"\S+", text)]


def decompose(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def rewrite(text: str, places: list[int], table: Rewriting) -> tuple[str, list[int]]:
    rewritten = text.translate(table)
    return rewritten, [place for place, c in zip(places, text, strict=True) for _ in table[ord(c)]]
