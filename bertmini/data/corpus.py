"""A corpus as three flat arrays: its tokens, where sentences start, where documents start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np

from bertmini.errors import InputError

CHUNK = 4096  # sentences tokenised at once: as strings, words take many times what stays of them
MOST_WORDS, MOST_PIECES = 2**18, 2**21  # that are remembered
MOST_TOKENS = 2**31 - 1  # places are int32


@dataclass(frozen=True)
class Corpus:
    """Tokenised documents. Sentence i is token_ids[sentence_starts[i] : sentence_starts[i + 1]].

    Args:
        token_ids: int32 [tokens], no special ones.
        sentence_starts: int32 [sentences + 1], places in token_ids; the last is their number.
        document_starts: int32 [documents + 1], places in sentence_starts; the last is their number.
    """

    token_ids: np.ndarray
    sentence_starts: np.ndarray
    document_starts: np.ndarray

    @classmethod
    def from_documents(cls, documents: Iterable[Any], tokenizer: Any) -> Corpus:
        """Tokenise documents: lists of sentences, or objects that have `sentences` as the Gazette's do.

        Args:
            tokenizer: or an Encoder, which remembers the words of an earlier corpus.

        Raises:
            InputError: a document is a text, there is no token, or there are more than int32 can count.
        """
        encoder = tokenizer if isinstance(tokenizer, Encoder) else Encoder(tokenizer)
        texts = [getattr(document, "sentences", document) for document in documents]
        if any(isinstance(sentences, str) for sentences in texts):
            raise InputError("a document is a string; expected its sentences, as split_sentences gives them")
        token_ids, lengths = encoder.encode(
            sentence for sentences in texts for sentence in running(sentences, encoder.tokenizer)
        )
        document_of = np.repeat(np.arange(len(texts)), [len(sentences) for sentences in texts])
        if not lengths.any():
            raise InputError(f"{len(texts)} documents hold no token; expected text")

        # A sentence may come to nothing (control characters only), and with it a document.
        lengths, document_of = lengths[lengths > 0], document_of[lengths > 0]
        document_starts = np.flatnonzero(np.diff(document_of, prepend=-1))
        return cls(
            token_ids=token_ids,
            sentence_starts=np.cumsum([0, *lengths]).astype(np.int32),
            document_starts=np.append(document_starts, len(lengths)).astype(np.int32),
        )

    def separated(self, separator: int) -> Corpus:
        """The corpus with a token at the end of each document, as part of its last sentence."""
        ends = self.sentence_starts[self.document_starts[1:]]  # [documents], places of tokens
        ended = np.searchsorted(self.document_starts[1:], np.arange(len(self.sentence_starts)), side="right")
        return Corpus(
            token_ids=np.insert(self.token_ids, ends, separator),
            sentence_starts=(self.sentence_starts + ended).astype(np.int32),
            document_starts=self.document_starts,
        )

    @property
    def num_documents(self) -> int:
        return len(self.document_starts) - 1

    def __len__(self) -> int:
        return len(self.token_ids)


def piece_counts(corpus: Corpus | Sequence[Corpus], vocab_size: int) -> np.ndarray:
    """How often each piece stands in a corpus, or in all blocks of one: int64 [vocab]."""
    blocks = corpus if isinstance(corpus, Sequence) else [corpus]
    counts = np.zeros(vocab_size, np.int64)
    for block in blocks:
        counts += np.bincount(block.token_ids, minlength=vocab_size)
    return counts


def running(sentences: Iterable[str], tokenizer: Any) -> Iterable[str]:
    """The sentences of a document as they stand in it, a space before each but the first where it counts."""
    if not tokenizer.keeps_spaces:
        return sentences
    return (f" {sentence}" if number else sentence for number, sentence in enumerate(sentences))


class Encoder:
    """Tokenises sentences by their words, and remembers those: a text says the same few again and again.

    Args:
        tokenizer: its `in_chunks` says what is read in the same way everywhere.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.forget()

    def forget(self) -> None:
        self.number = Numbers()  # of each word, in the order in which they were met
        self.starts = self.lengths = np.empty(0, np.int64)  # [words], of their pieces in ids
        self.ids = np.empty(0, np.int32)

    def encode(self, sentences: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of sentences end to end, int32 [tokens], and how many each has, int32 [sentences].

        Raises:
            InputError: a sentence is no string, or there are more tokens than int32 can count.
        """
        sentences = iter(sentences)
        tokens, lengths, number = [np.empty(0, np.int32)], [np.empty(0, np.int32)], 0
        while chunk := list(islice(sentences, CHUNK)):
            ids, lengths_of_chunk = self.encode_chunk(chunk)
            tokens.append(ids)
            lengths.append(lengths_of_chunk)
            number += len(ids)
            if number > MOST_TOKENS:
                raise InputError(
                    f"the corpus has more than {MOST_TOKENS:,} tokens; prepare it first (bertmini prepare)"
                )
        return np.concatenate(tokens), np.concatenate(lengths)

    def encode_chunk(self, sentences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        for sentence in sentences:
            if not isinstance(sentence, str):
                raise InputError(f"a sentence is of type {type(sentence).__name__}; expected a string")
        if len(self.number) > MOST_WORDS or len(self.ids) > MOST_PIECES:
            self.forget()
        words, counts = self.tokenizer.in_chunks(sentences)
        numbers = np.fromiter(map(self.number.__getitem__, words), np.int64, len(words))  # [words]
        self.learn()

        lengths = self.lengths[numbers]
        ends = lengths.cumsum()
        # Token t of the chunk is the piece that is as far from its word's first one, t - (end - length).
        offsets = np.repeat(self.starts[numbers] - ends + lengths, lengths)
        ends = np.concatenate([[0], ends])  # ends[n]: the tokens in the first n words
        words_before = np.cumsum([0, *counts])
        return self.ids[offsets + np.arange(len(offsets))], np.diff(ends[words_before]).astype(np.int32)

    def learn(self) -> None:
        """Tokenises the words that have a number and no pieces yet."""
        new = list(islice(reversed(self.number), len(self.number) - len(self.starts)))[::-1]
        rows = self.tokenizer.encode_ids(new) if new else []
        lengths = np.array([len(row) for row in rows], np.int64)
        self.starts = np.append(self.starts, len(self.ids) + lengths.cumsum() - lengths)
        self.lengths = np.append(self.lengths, lengths)
        self.ids = np.append(self.ids, np.fromiter(chain.from_iterable(rows), np.int32))


class Numbers(dict[str, int]):
    """Numbers words as they are asked for."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number
