"""WordPiece encoding: each word is cut into the longest pieces that the vocabulary has, from left to right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bertmini.tokenizer.normalize import Normalizer

# Runs of text between white space, as BERT sees white space (str.split also splits at control characters).
CHUNK = re.compile("[^\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


class Encoded(NamedTuple):
    """A text as pieces, three lists of one length: ids, (start, end) in the text, number of the word."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    words: list[int]


def split_word(
    word: str, vocab: Mapping[str, int], unknown: str = "[UNK]", max_characters: int = 100
) -> list[tuple[str, int, int]]:
    """Cut one word into pieces, greedily, the longest piece first.

    Args:
        word: a normalised word.
        vocab: the pieces; one that does not start a word is written with `##` in front.
        unknown: the piece that stands for a word that cannot be cut.
        max_characters: a longer word is unknown.

    Returns:
        (piece, start, end) for each piece, in characters of `word`.

    Source: Wu et al. 2016 (arXiv 1609.08144), section 4.1; google-research/bert, tokenization.py.
    """
    pieces: list[tuple[str, int, int]] = []
    start = 0
    while start < len(word) <= max_characters:
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocab:
                break
        else:
            return [(unknown, 0, len(word))]
        pieces.append((piece, start, end))
        start = end
    return pieces or [(unknown, 0, len(word))]


class WordPieceEncoder:
    """The Python backend: texts to ids, with a memory for the chunks it has met.

    Args:
        vocab: piece to id.
        normalizer: the rules that make words of a text.
        special_tokens: strings that are found in raw text and keep their own id.
    """

    def __init__(self, vocab: Mapping[str, int], normalizer: Normalizer, special_tokens: Sequence[str]):
        self.vocab, self.normalizer = vocab, normalizer
        self.special = re.compile("(" + "|".join(map(re.escape, special_tokens)) + ")")
        self.memory: dict[str, Encoded] = {}

    def encode_chunk(self, chunk: str) -> Encoded:
        """Encode text without white space; offsets and word numbers count from its beginning."""
        encoded = self.memory.get(chunk)
        if encoded is None:
            encoded = Encoded([], [], [])
            for number, (word, places) in enumerate(self.normalizer.words(chunk)):
                for piece, start, end in split_word(word, self.vocab):
                    encoded.ids.append(self.vocab[piece])
                    encoded.offsets.append((places[start], places[end - 1] + 1))
                    encoded.words.append(number)
            if len(self.memory) >= 100_000:  # a bound on the memory; emptying it costs less than keeping order
                self.memory.clear()
            self.memory[chunk] = encoded
        return encoded

    def chunks(self, text: str) -> Iterable[tuple[int, Encoded]]:
        """Each chunk and each special token of a text, encoded, with its start."""
        start = 0
        for part in self.special.split(text):
            if part in self.vocab and self.special.fullmatch(part):
                yield start, Encoded([self.vocab[part]], [(0, len(part))], [0])
            else:
                for found in CHUNK.finditer(part):
                    yield start + found.start(), self.encode_chunk(found.group())
            start += len(part)

    def ids(self, text: str) -> list[int]:
        return [i for _, chunk in self.chunks(text) for i in chunk.ids]

    def encode(self, text: str) -> Encoded:
        encoded, next_word = Encoded([], [], []), 0
        for place, chunk in self.chunks(text):
            encoded.ids.extend(chunk.ids)
            encoded.offsets.extend((place + start, place + end) for start, end in chunk.offsets)
            encoded.words.extend(next_word + word for word in chunk.words)
            next_word += chunk.words[-1] + 1 if chunk.words else 0
        return encoded
