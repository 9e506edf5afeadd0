"""WordPiece training: the two pieces that most often stand side by side become one, again and again."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from bertmini.errors import InputError


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
        vocab_size: number of pieces to reach, special tokens included.
        min_frequency: a pair that occurs less often is not joined.
        special_tokens: the first pieces, in this order.
        limit_alphabet: keep only this many characters, the most frequent.

    Returns:
        The pieces in the order of their ids: special tokens, alphabet, `##` alphabet, joined pieces.

    Raises:
        InputError: the characters alone are more than `vocab_size`, or the text supports fewer pieces.

    Source: Sennrich et al. 2016 (arXiv 1508.07909), section 3.2; in the order of the tokenizers library.
    """
    character_counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            character_counts[character] += count
    by_frequency = sorted(character_counts, key=lambda character: (-character_counts[character], character))
    alphabet = set(by_frequency[:limit_alphabet])
    inner = {"##" + character for word in word_counts for character in word[1:] if character in alphabet}
    pieces = list(dict.fromkeys([*special_tokens, *sorted(alphabet), *sorted(inner)]))
    if len(pieces) > vocab_size:
        raise InputError(
            f"vocab_size={vocab_size} is too small: special tokens and characters alone are {len(pieces)} pieces; "
            f"ask for at least {len(pieces)}, or limit the alphabet"
        )
    ids = {piece: i for i, piece in enumerate(pieces)}

    counts = list(word_counts.values())
    words = [
        [ids["##" + c if i else c] for i, c in enumerate(word) if c in alphabet] for word in word_counts
    ]
    pair_counts: Counter[tuple[int, int]] = Counter()
    words_with: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for number, (word, count) in enumerate(zip(words, counts, strict=True)):
        for pair in pairwise(word):
            pair_counts[pair] += count
            words_with[pair].add(number)

    # Most frequent first; of equals, the smaller ids. A count that has changed since is put right when it comes up.
    heap = [(-count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    while len(pieces) < vocab_size and heap:
        negative_count, pair = heapq.heappop(heap)
        if -negative_count != pair_counts[pair]:
            heapq.heappush(heap, (-pair_counts[pair], pair))
            continue
        if -negative_count < max(min_frequency, 1):
            break
        joined = pieces[pair[0]] + pieces[pair[1]].removeprefix("##")
        if joined not in ids:  # "a" + "##bc" may spell what "ab" + "##c" has spelled before
            ids[joined] = len(pieces)
            pieces.append(joined)
        changed = set()
        for number in words_with.pop(pair, ()):
            for new_pair, change in join(words[number], pair, ids[joined]):
                pair_counts[new_pair] += change * counts[number]
                if change > 0:
                    words_with[new_pair].add(number)
                    changed.add(new_pair)
        for new_pair in changed:
            if pair_counts[new_pair] > 0:
                heapq.heappush(heap, (-pair_counts[new_pair], new_pair))

    if len(pieces) < vocab_size:
        raise InputError(
            f"vocab_size={vocab_size} is too large: this text supports {len(pieces)} pieces"
            f"{f' at min_frequency={min_frequency}' if min_frequency > 1 else ''}; ask for at most that many"
        )
    return pieces


def join(word: list[int], pair: tuple[int, int], joined: int) -> list[tuple[tuple[int, int], int]]:
    """Join a pair wherever it stands in a word, in place, and return the neighbouring pairs gained (+1) and lost (-1)."""
    left, right = pair
    changes = []
    i = 0
    while i < len(word) - 1:
        if word[i] == left and word[i + 1] == right:
            if i > 0:
                changes += [((word[i - 1], left), -1), ((word[i - 1], joined), 1)]
            if i + 2 < len(word):
                changes += [((right, word[i + 2]), -1), ((joined, word[i + 2]), 1)]
            word[i : i + 2] = [joined]
        i += 1
    return changes
