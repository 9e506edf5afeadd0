"""Byte-level BPE: a text as bytes, and the pairs that training joined are joined again, in its order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from unicodedata import category

from bertmini.errors import InputError
from bertmini.tokenizer.base import Encoded
from bertmini.tokenizer.train import join_most_frequent

Merge = tuple[str, str]

SPACES = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's white space
# Where a text can be cut so that each part has the pieces that it has in the whole: in front of a space that
# a word follows.
CHUNK = re.compile(r"(?= \S)")


def byte_letters() -> list[str]:
    """A letter for each of the 256 bytes, so that pieces of bytes can be written down and read.

    Bytes that are printed as a character of their own stand for themselves; the others, the space, control
    characters and the rest, get the letters from U+0100 on. The space is Ġ, the end of a line Ċ.

    Source: openai/gpt-2, encoder.py.
    """
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printed)
    letters = {byte: chr(0x100 + number) for number, byte in enumerate(others)}
    return [letters.get(byte, chr(byte)) for byte in range(256)]


LETTERS = byte_letters()
BYTE_OF = {letter: byte for byte, letter in enumerate(LETTERS)}
TO_LETTERS = dict(enumerate(LETTERS))  # as str.translate takes it


def to_letters(text: str) -> str:
    """The bytes of a text, a letter for each."""
    return text.encode().decode("latin-1").translate(TO_LETTERS)


def to_bytes(letters: str) -> bytes:
    """The way back; what is not written in byte letters stands for itself."""
    known = all(letter in BYTE_OF for letter in letters)
    return bytes(BYTE_OF[letter] for letter in letters) if known else letters.encode()


class Shape(dict[int, str]):
    """The shape of a character: itself for Latin letters, the space and ', else X, 0, # or a line's end."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if re.match(f"[{SPACES}]", character):
            shape = "\n"
        else:
            shape = {"L": "X", "N": "0"}.get(category(character)[0], "#")
        self[code] = shape
        return shape


SHAPE = Shape({ord(c): c for c in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ '"})
# GPT-2's words: an English ending; letters, digits or marks with the space before them; white space up to the
# space that goes with the next word; white space.
WORD = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d"
    r"| ?[A-Za-z]+| ?0+| ?[#']+"
    r"|[ \n]+(?![^ \n])|[ \n]+"
)  # fmt: skip


def split_words(text: str) -> list[str]:
    """Cut a text into words that BPE looks at one by one; together they are the text.

    The pattern is matched with the text's shape, since Python's `re` has no names for Unicode's letters and
    digits.

    Source: Radford et al. 2019 (GPT-2), openai/gpt-2, encoder.py.
    """
    return [text[found.start() : found.end()] for found in WORD.finditer(text.translate(SHAPE))]


def merge(word: str, ranks: Mapping[Merge, int]) -> list[str]:
    """Join the pieces of a word: always the pair that training joined first, of equals the leftmost.

    Args:
        word: in byte letters.
        ranks: the pairs that training joined, and when.

    Source: Sennrich et al. 2016, arXiv 1508.07909, section 3.2.
    """
    pieces = list(word)
    while len(pieces) > 1:
        rank, i = min((ranks.get(pair, len(ranks)), i) for i, pair in enumerate(pairwise(pieces)))
        if rank == len(ranks):
            break
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    return pieces


ADDED = -1  # the place of a space that is not in the text


class ByteLevelEncoder:
    """Texts to ids in Python, with a memory for the words that it has met.

    Args:
        vocab: piece to id, all 256 byte letters among them.
        merges: the pairs that training joined, in their order.
        special_tokens: strings that keep their own id where a text spells them out.
        taking_space: those of them that take the white space before them.
        add_prefix_space: put a space before a text that begins with none.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        merges: Sequence[Merge],
        special_tokens: Sequence[str],
        taking_space: Sequence[str] = (),
        add_prefix_space: bool = False,
    ) -> None:
        self.vocab, self.special_tokens = vocab, set(special_tokens)
        self.sizes = {i: len(piece) for piece, i in vocab.items()}
        self.ranks: dict[Merge, int] = {}
        for pair in merges:
            self.ranks.setdefault(pair, len(self.ranks))
        space_before = {token: f"[{SPACES}]*" if token in taking_space else "" for token in special_tokens}
        patterns = (space + re.escape(token) for token, space in space_before.items())
        self.special = re.compile(f"({'|'.join(patterns)})")
        self.add_prefix_space = add_prefix_space
        self.memory: dict[str, list[int]] = {}

    def encode_word(self, word: str) -> list[int]:
        ids = [self.vocab[piece] for piece in merge(to_letters(word), self.ranks)]
        if len(self.memory) >= 100_000:
            self.memory.clear()
        self.memory[word] = ids
        return ids

    def words(self, text: str) -> Iterator[tuple[str, list[int], list[int]]]:
        """The words of a text, each with the places of its characters and its ids; a special token is one."""
        start = 0
        for part in self.special.split(text):
            if (token := part.lstrip()) in self.special_tokens:
                first = start + len(part) - len(token)
                yield token, list(range(first, first + len(token))), [self.vocab[token]]
            elif part:
                lead = " " if self.add_prefix_space and not part.startswith(" ") else ""
                places = [ADDED] * len(lead) + list(range(start, start + len(part)))
                first = 0
                for word in split_words(lead + part):
                    ids = self.memory.get(word) or self.encode_word(word)
                    yield word, places[first : first + len(word)], ids
                    first += len(word)
            start += len(part)

    def ids(self, text: str) -> list[int]:
        """The ids alone, which is faster."""
        return list(chain.from_iterable(ids for *_, ids in self.words(text)))

    def encode(self, text: str) -> Encoded:
        """The ids with their places and words; a part of a character has the place of the whole one."""
        encoded, end = Encoded([], [], []), 0
        for number, (word, places, ids) in enumerate(self.words(text)):
            of_bytes = [place for c, place in zip(word, places, strict=True) for _ in c.encode()]
            sizes = [len(word)] if word in self.special_tokens else [self.sizes[i] for i in ids]
            first = 0
            for i, size in zip(ids, sizes, strict=True):
                covered = [place for place in of_bytes[first : first + size] if place != ADDED]
                start, end = (covered[0], covered[-1] + 1) if covered else (end, end)
                encoded.ids.append(i)
                encoded.offsets.append(without_spaces(text, start, end))
                encoded.words.append(number)
                first += size
        return encoded


def without_spaces(text: str, start: int, end: int) -> tuple[int, int]:
    """The place of a piece in a text without the spaces that belong to the piece."""
    while start < end and text[start] == " ":
        start += 1
    while start < end and text[end - 1] == " ":
        end -= 1
    return start, end


def train_byte_level_bpe(
    word_counts: Mapping[str, int],
    vocab_size: int,
    *,
    min_frequency: int = 1,
    special_tokens: Sequence[str] = (),
) -> tuple[list[str], list[Merge]]:
    """Learn a vocabulary of byte pieces from counted words.

    Args:
        word_counts: words as `split_words` makes them, and how often each occurs.
        vocab_size: number of pieces to reach.
        min_frequency: a pair that occurs less often is not joined.
        special_tokens: the first pieces, in this order.

    Returns:
        The pieces in the order of their ids, first special tokens, then the 256 bytes, joined pieces; and the
        pairs that were joined, in their order.

    Raises:
        InputError: `vocab_size` has no room for the bytes, or the words support fewer pieces.

    Source: Sennrich et al. 2016, arXiv 1508.07909, section 3.2; ties as in the tokenizers library.
    """
    pieces = [*special_tokens, *sorted(LETTERS)]
    if len(pieces) > vocab_size:
        raise InputError(
            f"vocab_size={vocab_size} is too small: bytes and special tokens make {len(pieces)} pieces"
        )
    ids = {piece: i for i, piece in enumerate(pieces)}
    words = [[ids[letter] for letter in to_letters(word)] for word in word_counts]
    joins = join_most_frequent(pieces, words, list(word_counts.values()), vocab_size, min_frequency)
    return pieces, [(pieces[left], pieces[right]) for left, right in joins]
