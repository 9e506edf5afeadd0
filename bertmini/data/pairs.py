"""Which tokens stand together in one training example: sentence pairs, or stretches of one document."""

from __future__ import annotations

import random
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from bertmini.data.corpus import Corpus
from bertmini.errors import InputError


@dataclass(frozen=True)
class Pairs:
    """Examples as places in Corpus.token_ids, all int32 [examples]: A is a_start:a_end, B is b_start:b_end."""

    a_start: np.ndarray
    a_end: np.ndarray
    b_start: np.ndarray
    b_end: np.ndarray
    is_not_next: np.ndarray  # 0: B follows A in the text. 1: B comes from another document.

    def __len__(self) -> int:
        return len(self.a_start)

    @property
    def lengths(self) -> np.ndarray:
        return self.a_end - self.a_start + self.b_end - self.b_start


def pair_examples(corpus: Corpus, max_length: int, seed: int, epoch: int, short_share: float = 0.1) -> Pairs:
    """Cut a corpus into pairs for next sentence prediction, anew each epoch (Devlin et al. 2018, section 3.1, A.2).

    Sentences are gathered until they fill an example and are cut in two at a random place: A and B. In half of the
    examples B is thrown back and replaced by sentences of another document.

    Args:
        max_length: tokens of an example, with [CLS] and two [SEP].
        seed, epoch: the same two numbers give the same pairs.
        short_share: share of examples that aim at a random shorter length, as texts in use are often short.

    Raises:
        InputError: the corpus has one document only, or max_length leaves no room for two tokens.
    """
    if corpus.num_documents < 2:
        raise InputError("the corpus has one document; expected two or more, since a NotNext pair takes its second "
                         "half from another document (give more files, a separator, or the objective mlm)")
    room = max_length - 3  # for [CLS] and two [SEP]
    if room < 2:
        raise InputError(f"max_length is {max_length}; expected at least 5: [CLS] a [SEP] b [SEP]")
    rng = random.Random(f"pairs {seed} {epoch}")
    starts = corpus.sentence_starts.tolist()
    documents = corpus.document_starts.tolist()
    examples = []
    for document in range(corpus.num_documents):
        first, end = documents[document], documents[document + 1]
        while first < end:
            target = rng.randint(2, room) if rng.random() < short_share else room
            last = min(bisect_left(starts, starts[first] + target), end)  # sentences first … last - 1 fill the target
            middle = rng.randrange(first + 1, last) if last - first > 1 else last
            a_start, a_end = starts[first], starts[middle]
            is_not_next = last - first == 1 or rng.random() < 0.5
            if is_not_next:
                other = rng.randrange(corpus.num_documents - 1)
                other += other >= document  # every document but this one
                b_first = rng.randrange(documents[other], documents[other + 1])
                b_last = bisect_left(starts, starts[b_first] + max(target - (a_end - a_start), 1))
                b_start, b_end = starts[b_first], starts[min(b_last, documents[other + 1])]
                first = middle  # the sentences meant for B are not wasted: the next example begins with them
            else:
                b_start, b_end = a_end, starts[last]
                first = last
            examples.append((*_truncate(rng, a_start, a_end, b_start, b_end, room), is_not_next))
    return Pairs(*np.array(examples, dtype=np.int32).T)


def _truncate(rng: random.Random, a_start: int, a_end: int, b_start: int, b_end: int, room: int) -> tuple[int, ...]:
    """Take tokens from the longer of A and B until both fit, each from its front or its back by the toss of a coin."""
    a_length, b_length = a_end - a_start, b_end - b_start
    a_kept = min(a_length, max(room - b_length, (room + 1) // 2))
    b_kept = min(b_length, room - a_kept)
    a_front = rng.getrandbits(a_length - a_kept).bit_count()  # one coin a token: heads, from the front
    b_front = rng.getrandbits(b_length - b_kept).bit_count()
    return a_start + a_front, a_start + a_front + a_kept, b_start + b_front, b_start + b_front + b_kept


def stretch_examples(corpus: Corpus, max_length: int, seed: int, epoch: int) -> Pairs:
    """Cut each document into stretches that fill max_length, without a second half (Liu et al. 2019, section 4.2).

    The first stretch of a document has a random length, so that the cuts fall elsewhere in each epoch.
    """
    room = max_length - 2  # for [CLS] and [SEP]
    if room < 1:
        raise InputError(f"max_length is {max_length}; expected at least 3: [CLS] a [SEP]")
    rng = np.random.default_rng([seed, epoch])
    borders = corpus.sentence_starts[corpus.document_starts].tolist()
    starts = [
        np.append(begin, np.arange(begin + rng.integers(1, room + 1), end, room))
        for begin, end in zip(borders, borders[1:], strict=False)
    ]
    a_start = np.concatenate(starts).astype(np.int32)
    a_end = np.append(a_start[1:], len(corpus)).astype(np.int32)
    return Pairs(a_start, a_end, a_end, a_end, np.zeros_like(a_start))
