"""Which tokens stand together in a training example: a pair of passages, or one stretch of text."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bertmini.data.corpus import Corpus
from bertmini.errors import InputError


@dataclass(frozen=True)
class Pairs:
    """Examples as places in Corpus.token_ids: passage A is a_start:a_end, B is b_start:b_end.

    Args:
        a_start, a_end, b_start, b_end: int32 [examples].
        is_not_next: int32 [examples], 0 where B follows A, 1 where B comes from another document (or, where
            the order is asked for, from before A).
    """

    a_start: np.ndarray
    a_end: np.ndarray
    b_start: np.ndarray
    b_end: np.ndarray
    is_not_next: np.ndarray

    def __len__(self) -> int:
        return len(self.a_start)

    @property
    def lengths(self) -> np.ndarray:
        return self.a_end - self.a_start + self.b_end - self.b_start


def pair_examples(corpus: Corpus, max_length: int, seed: int, epoch: int, short_share: float = 0.1) -> Pairs:
    """Cut a corpus into pairs for next sentence prediction (Devlin et al. 2018, sections 3.1 and A.2).

    Sentences are gathered until they fill an example, and parted at random into A and B. In half of the
    examples B is then replaced by sentences of another document.

    Args:
        max_length: tokens of an example, with [CLS] and two [SEP].
        seed, epoch: the same two numbers give the same pairs; each epoch has its own.
        short_share: share of the examples that aim at a shorter length, since texts in use are often short.

    Raises:
        InputError: the corpus has a single document, or max_length has no room for two tokens.
    """
    room = room_for_pair(max_length)
    refuse_single(corpus)
    rng = random.Random(f"pairs {seed} {epoch}")
    token_at = corpus.sentence_starts.tolist()  # sentence number -> place of its first token
    examples = []
    for document, (sentence, document_end) in enumerate(pairwise(corpus.document_starts.tolist())):
        while sentence < document_end:
            target = rng.randint(2, room) if rng.random() < short_share else room
            end = min(bisect_left(token_at, token_at[sentence] + target), document_end)
            is_single = end - sentence == 1
            middle = end if is_single else rng.randrange(sentence + 1, end)
            a = token_at[sentence], token_at[middle]
            if is_not_next := is_single or rng.random() < 0.5:
                b = _from_another_document(corpus, token_at, rng, document, target - (a[1] - a[0]))
                sentence = middle  # not wasted: the next example begins with the sentences meant for B
            else:
                b = token_at[middle], token_at[end]
                sentence = end
            examples.append((*_truncate(rng, a, b, room), is_not_next))
    return Pairs(*np.array(examples, dtype=np.int32).T)


def _from_another_document(
    corpus: Corpus, token_at: list[int], rng: random.Random, document: int, target: int
) -> tuple[int, int]:
    """Take about `target` tokens from a random sentence onwards, in any document but `document`."""
    other = rng.randrange(corpus.num_documents - 1)
    other += other >= document
    first, document_end = corpus.document_starts[other : other + 2].tolist()
    sentence = rng.randrange(first, document_end)
    end = bisect_left(token_at, token_at[sentence] + max(target, 1))
    return token_at[sentence], token_at[min(end, document_end)]


def _truncate(rng: random.Random, a: tuple[int, int], b: tuple[int, int], room: int) -> tuple[int, ...]:
    """Drop tokens of the longer passage until both fit, each from its front or its back as a coin falls."""
    a_length, b_length = a[1] - a[0], b[1] - b[0]
    a_kept = min(a_length, max(room - b_length, (room + 1) // 2))
    b_kept = min(b_length, room - a_kept)
    a_start = a[0] + rng.getrandbits(a_length - a_kept).bit_count()  # a coin for each dropped token
    b_start = b[0] + rng.getrandbits(b_length - b_kept).bit_count()
    return a_start, a_start + a_kept, b_start, b_start + b_kept


def sentence_pair_examples(corpus: Corpus, max_length: int, seed: int, epoch: int) -> Pairs:
    """Pairs of single sentences: one and the next, or in half of the examples one of another document.

    Source: Liu et al. 2019, arXiv 1907.11692, section 4.2, "sentence-pair+NSP".

    Raises:
        InputError: as `pair_examples`.
    """
    room = room_for_pair(max_length)
    refuse_single(corpus)
    rng = random.Random(f"sentence pairs {seed} {epoch}")
    token_at = corpus.sentence_starts.tolist()
    examples = []
    for document, (sentence, document_end) in enumerate(pairwise(corpus.document_starts.tolist())):
        while sentence < document_end:
            a, following = token_at[sentence : sentence + 2], sentence + 1
            if is_not_next := following == document_end or rng.random() < 0.5:
                b = _from_another_document(corpus, token_at, rng, document, target=1)
            else:
                b = token_at[following], token_at[following + 1]
                following += 1
            examples.append((*_truncate(rng, (a[0], a[1]), b, room), is_not_next))
            sentence = following
    return Pairs(*np.array(examples, dtype=np.int32).T)


def order_examples(
    corpus: Corpus, max_length: int, seed: int, epoch: int, short_share: float = 0.1
) -> Pairs:
    """Pairs for sentence-order prediction: two passages that follow each other, half of the times swapped.

    Both come from one place of one document, so that their topic says nothing about the answer. A sentence
    that stands alone is parted within itself.

    Args:
        short_share: as in `pair_examples`, which gathers sentences in the same way.

    Source: Lan et al. 2019, arXiv 1909.11942, section 3.1.

    Raises:
        InputError: max_length has no room for two tokens, or no document has two.
    """
    room = room_for_pair(max_length)
    rng = random.Random(f"order {seed} {epoch}")
    token_at = corpus.sentence_starts.tolist()
    examples = []
    for sentence, document_end in pairwise(corpus.document_starts.tolist()):
        while sentence < document_end:
            target = rng.randint(2, room) if rng.random() < short_share else room
            end = min(bisect_left(token_at, token_at[sentence] + target), document_end)
            first, last = token_at[sentence], token_at[end]
            is_single = end - sentence == 1
            middle = (first + last) // 2 if is_single else token_at[rng.randrange(sentence + 1, end)]
            a, b, is_swapped = (first, middle), (middle, last), rng.random() < 0.5
            if first < middle:
                a, b = (b, a) if is_swapped else (a, b)
                examples.append((*_truncate(rng, a, b, room), is_swapped))
            sentence = end
    if not examples:
        raise InputError("no document of the corpus has two tokens; expected two passages to put in order")
    return Pairs(*np.array(examples, dtype=np.int32).T)


def sentence_examples(
    corpus: Corpus, max_length: int, seed: int, epoch: int, across: bool = False
) -> Pairs:
    """Cut a corpus into rows of whole sentences, with no B (Liu et al. 2019, section 4.2).

    A row takes sentences as long as they fit; only one that no row could hold is cut. The first row is cut
    short at random, so that rows begin elsewhere in each epoch.

    Args:
        across: rows go on in the next document ("full-sentences"); the corpus is then one that
            `Corpus.separated` gave, with a [SEP] between documents. Otherwise they end with their document
            ("doc-sentences").

    Raises:
        InputError: max_length has no room for a token.
    """
    room = room_for_one(max_length)
    rng = random.Random(f"sentences {seed} {epoch}")
    token_at, borders = corpus.sentence_starts.tolist(), corpus.document_starts.tolist()
    if across:
        borders = [borders[0], borders[-1]]
    rows = []
    for first, last in pairwise(borders):
        place, end_of_all, target = token_at[first], token_at[last], rng.randint(1, room)
        while place < end_of_all:
            end = token_at[bisect_right(token_at, place + target, hi=last + 1) - 1]
            if end <= place:  # the sentence is longer than what is left for it
                end = min(place + room, token_at[bisect_right(token_at, place, hi=last)])
            rows.append((place, end))
            place, target = end, room
    starts, ends = np.array(rows, dtype=np.int32).T
    if across:  # a row has its own [SEP] at the end, and needs none at its beginning
        is_separator = corpus.token_ids == corpus.token_ids[-1]
        starts, ends = starts + is_separator[starts], ends - is_separator[ends - 1]
        starts, ends = starts[starts < ends], ends[starts < ends]
    return Pairs(starts, ends, ends, ends, np.zeros_like(starts))


def refuse_single(corpus: Corpus) -> None:
    if corpus.num_documents < 2:
        raise InputError("the corpus has one document; expected more, since NotNext takes B from another one")


def room_for_pair(max_length: int) -> int:
    """The tokens of text in an example [CLS] a [SEP] b [SEP]."""
    if max_length < 5:
        raise InputError(f"max_length is {max_length}; expected at least 5, for [CLS] a [SEP] b [SEP]")
    return max_length - 3


def room_for_one(max_length: int) -> int:
    """The tokens of text in an example [CLS] a [SEP]."""
    if max_length < 3:
        raise InputError(f"max_length is {max_length}; expected at least 3, for [CLS] a [SEP]")
    return max_length - 2


def stretch_examples(corpus: Corpus, max_length: int, seed: int, epoch: int) -> Pairs:
    """Cut each document into stretches that fill max_length, with no B (Liu et al. 2019, section 4.2).

    The first stretch of a document is cut short at random, so that the cuts fall elsewhere in each epoch.
    """
    room = room_for_one(max_length)
    rng = np.random.default_rng([seed, epoch])
    borders = corpus.sentence_starts[corpus.document_starts].tolist()
    starts = [[a, *range(a + rng.integers(1, room + 1), b, room)] for a, b in pairwise(borders)]
    a_start = np.concatenate(starts).astype(np.int32)
    a_end = np.append(a_start[1:], len(corpus)).astype(np.int32)
    return Pairs(a_start, a_end, a_end, a_end, np.zeros_like(a_start))
