"""Chapter 17, ALBERT."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bertmini.course.exercises import Wrong, exercise, run


@exercise("17.1")
def largest_width(attempt: Callable[..., Any]) -> None:
    """`largest_width(vocab, hidden)`: the widest that, with its projection, still saves."""
    for vocab, hidden in ((2, 2), (3, 2), (4, 4), (6, 3), (8, 6), (100, 768), (1000, 256), (30522, 768)):
        answer = run(attempt, vocab, hidden)
        try:
            width = int(answer)
        except (TypeError, ValueError):
            raise Wrong(f"largest_width returns a whole number; yours returned {answer!r}") from None
        sizes = [vocab * width + width * hidden + hidden for width in range(hidden + 1)]
        expected = max([0, *(width for width, size in enumerate(sizes) if width and size < vocab * hidden)])
        if width != answer or width != expected:
            why = ""
            if expected < width <= hidden:
                size = f"{sizes[width]:,} of {vocab * hidden:,} numbers"
                without_bias = sizes[width] - hidden < vocab * hidden
                why = f": there it has {size}" + (", with the bias" if without_bias else "")
            given = f"{vocab} pieces and a hidden size of {hidden}"
            raise Wrong(f"for {given} you gave {answer}, expected {expected}{why}")


@exercise("17.2")
def order_pairs(attempt: Callable[..., Any]) -> None:
    """`order_pairs(sentences, swap)`: pairs of neighbours, and 1 where they were swapped."""
    cases = [
        ("ab", [False]),
        ("ab", [True]),
        ("abc", [True]),
        ("abcd", [False, True]),
        ("a", []),
        ("abcdef", [True, True, False]),
    ]
    for letters, swap in cases:
        sentences = list(letters)
        pairs = zip(sentences[::2], sentences[1::2], strict=False)
        expected = [
            (b, a, 1) if swapped else (a, b, 0) for (a, b), swapped in zip(pairs, swap, strict=True)
        ]
        answer = run(attempt, sentences, swap)
        try:
            found = [(a, b, int(label)) for a, b, label in answer]
        except (TypeError, ValueError):
            raise Wrong(f"order_pairs returns triples (a, b, label); yours returned {answer!r:.80}") from None
        if found != expected:
            why = ""
            if found == [(a, b, 1 - label) for a, b, label in expected]:
                why = ": your labels are the wrong way round"
            elif len(found) > len(expected):
                why = ": each sentence stands in one pair"
            raise Wrong(f"for {sentences} and swap {swap} you gave {found}, expected {expected}{why}")


@exercise("17.3")
def best_cut(attempt: Callable[..., Any]) -> None:
    """`best_cut(word, log_prob)`: the pieces whose probabilities have the largest product."""
    cases: list[tuple[str, dict[str, float]]] = [
        ("a", {"a": 0.5}),
        ("ab", {"a": 0.1, "b": 0.1, "ab": 0.2}),
        ("ab", {"a": 0.6, "b": 0.6, "ab": 0.2}),
        ("ab", {"a": 0.6}),
        ("abc", {"ab": 0.5, "c": 0.01, "a": 0.1, "bc": 0.4}),  # the longest first piece is not the best
        ("▁harbour", {"▁har": 0.02, "bour": 0.01, "▁harb": 0.001, "our": 0.04, "▁": 0.1, "harbour": 0.0001}),
        ("aaaa", {"a": 0.3, "aa": 0.1, "aaa": 0.02}),
    ]
    for word, chances in cases:
        log_prob = {piece: math.log(chance) for piece, chance in chances.items()}
        answer = run(attempt, word, dict(log_prob))
        if not isinstance(answer, list | tuple) or not all(isinstance(piece, str) for piece in answer):
            raise Wrong(f"best_cut returns a list of pieces; yours returned {answer!r:.80}")
        expected = by_trying_all(word, log_prob)
        given = f"{word!r} and probabilities {chances}"
        if list(answer) == expected:
            continue
        if expected and "".join(answer) != word:
            raise Wrong(f"for {given} you gave {list(answer)}, which is not the word; expected {expected}")
        why = ""
        if answer and expected and all(piece in chances for piece in answer):
            yours, best = (math.prod(chances[piece] for piece in pieces) for pieces in (answer, expected))
            why = f": {yours:.2g} against {best:.2g}"
        raise Wrong(f"for {given} you gave {list(answer)}, expected {expected}{why}")


def by_trying_all(word: str, log_prob: dict[str, float]) -> list[str]:
    """The best of all cuts; [] where there is none."""
    best: list[str] = []
    best_score = -math.inf
    for piece, score in log_prob.items():
        if not word.startswith(piece):
            continue
        rest = word[len(piece) :]
        after = by_trying_all(rest, log_prob) if rest else []
        if rest and not after:
            continue
        if (total := score + sum(log_prob[each] for each in after)) > best_score:
            best, best_score = [piece, *after], total
    return best
