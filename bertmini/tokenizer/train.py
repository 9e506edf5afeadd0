"""WordPiece training: the two pieces that stand side by side most often become one, again and again."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from bertmini.errors import InputError

Pair = tuple[int, int]


def train_wordpiece(
    word_counts: Mapping[str, int],
    vocab_size: int,
    *,
    min_frequency: int = 1,
    special_tokens: Sequence[str] = (),
    limit_alphabet: int | None = None,
) -> list[str]:
    """Learn a vocabulary of word pieces from counted words.

    Args:
        word_counts: normalised words, and how often each occurs.
        vocab_size: number of pieces to reach.
        min_frequency: a pair that occurs less often is not joined.
        special_tokens: the first pieces, in this order.
        limit_alphabet: keep only so many characters, the most frequent.

    Returns:
        The pieces in the order of their ids, first special tokens, then characters, `##` characters, joined
        pieces.

    Raises:
        InputError: the characters alone are more than `vocab_size`, or the words support fewer pieces.

    Source: Sennrich et al. 2016 (arXiv 1508.07909), section 3.2; ties as in the tokenizers library.
    """
    character_counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            character_counts[character] += count
    by_count = sorted(character_counts, key=lambda character: (-character_counts[character], character))
    alphabet = set(by_count[:limit_alphabet])
    inner = {"##" + character for word in word_counts for character in word[1:] if character in alphabet}
    pieces = list(dict.fromkeys([*special_tokens, *sorted(alphabet), *sorted(inner)]))
    if len(pieces) > vocab_size:
        raise InputError(
            f"vocab_size={vocab_size} is too small: the characters alone make {len(pieces)} pieces"
        )
    ids = {piece: i for i, piece in enumerate(pieces)}

    words = [[ids["##" + c if i else c] for i, c in enumerate(word) if c in alphabet] for word in word_counts]
    counts = list(word_counts.values())
    join_most_frequent(pieces, words, counts, vocab_size, min_frequency, continuing="##")
    return pieces


def join_most_frequent(
    pieces: list[str],
    words: Sequence[list[int]],
    counts: Sequence[int],
    vocab_size: int,
    min_frequency: int = 1,
    continuing: str = "",
) -> list[Pair]:
    """Join the most frequent pair of neighbours until there are `vocab_size` pieces.

    Args:
        pieces: in the order of their ids; what is joined is added.
        words: the ids of each word's pieces; joined in place.
        counts: how often each word occurs.
        vocab_size, min_frequency: as for `train_wordpiece`.
        continuing: the mark in front of a piece that goes on with a word; inside a piece it has no place.

    Returns:
        The pairs that were joined, in their order.

    Raises:
        InputError: the words support fewer pieces.
    """
    ids = {piece: i for i, piece in enumerate(pieces)}
    joins = []
    pair_counts: Counter[Pair] = Counter()
    words_with: defaultdict[Pair, set[int]] = defaultdict(set)
    for number, ids_of_word in enumerate(words):
        for pair in pairwise(ids_of_word):
            pair_counts[pair] += counts[number]
            words_with[pair].add(number)

    # The most frequent pair comes first; of equals, the one with the smaller ids.
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    while len(pieces) < vocab_size and heap:
        count, pair = -heap[0][0], heap[0][1]
        if count != pair_counts[pair]:  # it has lost occurrences to a join since it was put here
            heapq.heapreplace(heap, (-pair_counts[pair], pair))
            continue
        if count < max(min_frequency, 1):
            break
        heapq.heappop(heap)
        joins.append(pair)
        joined = pieces[pair[0]] + pieces[pair[1]].removeprefix(continuing)
        if joined not in ids:  # "a" + "##bc" may spell what "ab" + "##c" spelled before
            ids[joined] = len(pieces)
            pieces.append(joined)
        gained = set()
        for number in words_with.pop(pair, ()):
            for neighbours, change in join(words[number], pair, ids[joined]):
                pair_counts[neighbours] += change * counts[number]
                if change > 0:
                    words_with[neighbours].add(number)
                    gained.add(neighbours)
        for neighbours in gained:
            heapq.heappush(heap, (-pair_counts[neighbours], neighbours))

    if len(pieces) < vocab_size:
        raise InputError(f"vocab_size={vocab_size} is too large: this text supports {len(pieces)} pieces")
    return joins


def join(word: list[int], pair: Pair, joined: int) -> list[tuple[Pair, int]]:
    """Join a pair wherever it stands in a word, and return the neighbours lost (-1) and gained (+1)."""
    changes = []
    i = 0
    while i < len(word) - 1:
        if (word[i], word[i + 1]) == pair:
            if i > 0:
                changes += [((word[i - 1], pair[0]), -1), ((word[i - 1], joined), 1)]
            if i + 2 < len(word):
                changes += [((pair[1], word[i + 2]), -1), ((joined, word[i + 2]), 1)]
            word[i : i + 2] = [joined]
        i += 1
    return changes
