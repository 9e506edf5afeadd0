"""A corpus as three flat arrays: its tokens, where sentences start, where documents start."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from bertmini.errors import InputError

CHUNK = 4096  # sentences tokenised at once: their rows are lists, which take thirty times what stays
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

        Raises:
            InputError: there is no token, or there are more than int32 can count.
        """
        texts = [getattr(document, "sentences", document) for document in documents]
        token_ids, lengths = encode((sentence for sentences in texts for sentence in sentences), tokenizer)
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

    @property
    def num_documents(self) -> int:
        return len(self.document_starts) - 1

    def __len__(self) -> int:
        return len(self.token_ids)


def encode(sentences: Iterable[str], tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of sentences end to end, int32 [tokens], and how many each has, int32 [sentences]."""
    token_ids, lengths = array("i"), array("i")
    sentences = iter(sentences)
    while chunk := list(islice(sentences, CHUNK)):
        for row in tokenizer.encode_ids(chunk):
            token_ids.extend(row)
            lengths.append(len(row))
        if len(token_ids) > MOST_TOKENS:
            raise InputError(f"the corpus has more than {MOST_TOKENS:,} tokens; use fewer documents")
    return np.frombuffer(token_ids, dtype=np.int32), np.frombuffer(lengths, dtype=np.int32)
