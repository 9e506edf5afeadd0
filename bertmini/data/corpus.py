"""A corpus as three flat arrays: tokens, where sentences start, where documents start."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertmini.errors import InputError


@dataclass(frozen=True)
class Corpus:
    """Tokenised documents. Sentence s is token_ids[sentence_starts[s] : sentence_starts[s + 1]].

    Args:
        token_ids: int32 [tokens], without special tokens.
        sentence_starts: int32 [sentences + 1], places in token_ids; the last one is the number of tokens.
        document_starts: int32 [documents + 1], places in sentence_starts; the last one is the number of sentences.
    """

    token_ids: np.ndarray
    sentence_starts: np.ndarray
    document_starts: np.ndarray

    @classmethod
    def from_documents(cls, documents: Iterable[Any], tokenizer: Any) -> Corpus:
        """Tokenise documents: lists of sentences, or objects with `sentences` (the Gazette's).

        Raises:
            InputError: there is no token in them.
        """
        sentences_of: list[Sequence[str]] = [getattr(document, "sentences", document) for document in documents]
        rows = tokenizer.encode_ids([sentence for sentences in sentences_of for sentence in sentences])
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        document_of = np.repeat(np.arange(len(sentences_of)), [len(sentences) for sentences in sentences_of])
        if not lengths.any():
            raise InputError(f"{len(sentences_of)} documents hold no token; expected text")

        # A sentence may come to nothing (control characters only), and a document with it.
        document_of, lengths = document_of[lengths > 0], lengths[lengths > 0]
        token_ids = np.fromiter((i for row in rows for i in row), dtype=np.int32, count=int(lengths.sum()))
        starts_document = np.flatnonzero(np.diff(document_of, prepend=-1))
        return cls(
            token_ids=token_ids,
            sentence_starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
            document_starts=np.append(starts_document, len(lengths)).astype(np.int32),
        )

    @property
    def num_documents(self) -> int:
        return len(self.document_starts) - 1

    def __len__(self) -> int:
        return len(self.token_ids)
