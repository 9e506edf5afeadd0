"""A corpus as three flat arrays: its tokens, where sentences start, where documents start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertmini.errors import InputError


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
        """Tokenise documents: lists of sentences, or objects that have `sentences` as the Gazette's do."""
        texts = [getattr(document, "sentences", document) for document in documents]
        rows = tokenizer.encode_ids([sentence for sentences in texts for sentence in sentences])
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        document_of = np.repeat(np.arange(len(texts)), [len(sentences) for sentences in texts])
        if not lengths.any():
            raise InputError(f"{len(texts)} documents hold no token; expected text")

        # A sentence may come to nothing (control characters only), and with it a document.
        lengths, document_of = lengths[lengths > 0], document_of[lengths > 0]
        document_starts = np.flatnonzero(np.diff(document_of, prepend=-1))
        return cls(
            token_ids=np.concatenate([np.array(row, dtype=np.int32) for row in rows]),
            sentence_starts=np.cumsum([0, *lengths]).astype(np.int32),
            document_starts=np.append(document_starts, len(lengths)).astype(np.int32),
        )

    @property
    def num_documents(self) -> int:
        return len(self.document_starts) - 1

    def __len__(self) -> int:
        return len(self.token_ids)
