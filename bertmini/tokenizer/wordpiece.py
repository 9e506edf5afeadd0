"""WordPiece encoding: a word is cut from left to right, always at the longest piece in the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence

from bertmini.tokenizer.base import Encoded
from bertmini.tokenizer.normalize import Normalizer

# A run of text without white space. str.split would also split at control characters, which BERT drops.
CHUNK = re.compile("[^\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


def split_word(word: str, vocab: Container[str], max_characters: int = 100) -> list[tuple[str, int, int]]:
    """Cut a word into pieces, greedily, the longest first.

    Args:
        word: a normalised word.
        vocab: the pieces, with `##` in front of those that continue a word.
        max_characters: a longer word is unknown.

    Returns:
        (piece, start, end) of each piece, in characters; one [UNK] for a word that cannot be cut.

    Source: google-research/bert, tokenization.py, with transformers' limit of 100 characters.
    """
    unknown = [("[UNK]", 0, len(word))]
    if len(word) > max_characters:
        return unknown
    pieces: list[tuple[str, int, int]] = []
    start = 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocab:
                break
        else:
            return unknown
        pieces.append((piece, start, end))
        start = end
    return pieces


class WordPieceEncoder:
    """Texts to ids in Python, with a memory for the chunks of text it has met.

    Args:
        vocab: piece to id.
        normalizer: makes words of a text.
        special_tokens: strings that keep their own id where a text spells them out.
    """

    def __init__(self, vocab: Mapping[str, int], normalizer: Normalizer, special_tokens: Sequence[str]):
        self.vocab, self.normalizer, self.special_tokens = vocab, normalizer, set(special_tokens)
        self.special = re.compile("(" + "|".join(map(re.escape, special_tokens)) + ")")
        self.memory: dict[str, Encoded] = {}

    def encode_chunk(self, chunk: str) -> Encoded:
        encoded = Encoded([], [], [])
        for number, (word, places) in enumerate(self.normalizer.words(chunk)):
            for piece, start, end in split_word(word, self.vocab):
                encoded.ids.append(self.vocab[piece])
                encoded.offsets.append((places[start], places[end - 1] + 1))
                encoded.words.append(number)
        if len(self.memory) >= 100_000:
            self.memory.clear()
        self.memory[chunk] = encoded
        return encoded

    def chunks(self, text: str) -> Iterator[tuple[int, Encoded]]:
        """The chunks of a text with their starts; a special token is a chunk."""
        start = 0
        for part in self.special.split(text) if "[" in text else [text]:
            if part in self.special_tokens:
                yield start, Encoded([self.vocab[part]], [(0, len(part))], [0])
            else:
                for found in CHUNK.finditer(part):
                    chunk = found.group()
                    yield start + found.start(), self.memory.get(chunk) or self.encode_chunk(chunk)
            start += len(part)

    def ids(self, text: str) -> list[int]:
        """The ids alone, which is faster."""
        return [i for _, chunk in self.chunks(text) for i in chunk.ids]

    def encode(self, text: str) -> Encoded:
        """The ids with their places and words."""
        encoded = Encoded([], [], [])
        words = 0
        for place, chunk in self.chunks(text):
            encoded.ids.extend(chunk.ids)
            encoded.offsets.extend((place + start, place + end) for start, end in chunk.offsets)
            encoded.words.extend(words + word for word in chunk.words)
            words = encoded.words[-1] + 1 if encoded.words else 0
        return encoded
