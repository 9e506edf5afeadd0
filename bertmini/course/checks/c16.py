"""Chapter 16, RoBERTa."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bertmini.course.exercises import Wrong, exercise, run
from bertmini.tokenizer.bpe import merge


@exercise("16.1")
def never_asked(attempt: Callable[..., Any]) -> None:
    """`never_asked(rate, readings, draws)`: the share that no mask ever hid."""
    for rate, readings, draws in (
        (0.5, 1, 1),
        (0.5, 2, 1),
        (0.5, 2, None),
        (0.5, 2, 10),
        (0.15, 40, 10),
        (0.15, 3, None),
    ):
        answer = run(attempt, rate, readings, draws)
        try:
            share = float(answer)
        except (TypeError, ValueError):
            raise Wrong(f"never_asked returns a number; yours returned {answer!r:.60}") from None
        different = readings if draws is None else min(draws, readings)
        expected = (1 - rate) ** different
        if not abs(share - expected) <= 1e-9:  # nan is far from everything
            why = ""
            if abs(share - (1 - expected)) < 1e-9:
                why = ": that is the share that was asked about"
            elif abs(share - (1 - rate) ** readings) < 1e-9:
                why = ": a draw that comes again asks about the same pieces again"
            elif draws and abs(share - (1 - rate) ** draws) < 1e-9:
                why = ": the text was read less often than there are draws"
            given = f"rate {rate}, {readings} readings and draws {draws}"
            raise Wrong(f"for {given} you gave {share:.6g}, expected {expected:.6g}{why}")


@exercise("16.2")
def my_merge(attempt: Callable[..., Any]) -> None:
    """`my_merge(word, merges)`: the pieces, joined in the order of training."""
    cases: list[tuple[str, list[tuple[str, str]]]] = [
        ("a", []),
        ("ab", [("a", "b")]),
        ("abc", [("b", "c"), ("a", "b")]),
        ("abab", [("a", "b")]),
        ("aaa", [("a", "a")]),
        ("abcd", [("c", "d"), ("a", "b"), ("ab", "cd")]),
        ("lamps", [("l", "a"), ("m", "p"), ("la", "mp")]),
        ("banana", [("a", "n"), ("an", "a"), ("b", "ana")]),
    ]
    for word, merges in cases:
        answer = run(attempt, word, list(merges))
        if not isinstance(answer, list | tuple) or not all(isinstance(piece, str) for piece in answer):
            raise Wrong(f"my_merge returns a list of pieces; yours returned {answer!r:.80}")
        expected = merge(word, {pair: rank for rank, pair in enumerate(merges)})
        if list(answer) != expected:
            why = ""
            if "".join(answer) != word:
                why = ": together they are not the word"
            elif len(answer) > len(expected):
                why = ": there is still a pair to join"
            raise Wrong(
                f"for {word!r} and merges {merges} you gave {list(answer)}, expected {expected}{why}"
            )


@exercise("16.3")
def full_rows(attempt: Callable[..., Any]) -> None:
    """`full_rows(lengths, room)`: the numbers of the sentences in each row."""
    for lengths, room in (
        ([3], 8),
        ([4, 4], 8),
        ([4, 5], 8),
        ([9], 8),
        ([3, 9, 3], 8),
        ([4, 3, 5, 2, 2], 8),
        ([], 8),
        ([2, 2, 2, 2, 2], 4),
    ):
        answer = run(attempt, list(lengths), room)
        try:
            rows = [[int(number) for number in row] for row in answer]
        except (TypeError, ValueError):
            raise Wrong(f"full_rows returns lists of numbers; yours returned {answer!r:.80}") from None
        expected: list[list[int]] = []
        for number, length in enumerate(lengths):
            filled = sum(lengths[i] for i in expected[-1]) if expected else room
            if filled + length <= room:
                expected[-1].append(number)
            else:
                expected.append([number])
        if rows != expected:
            why = ""
            if any(not row for row in rows):
                why = ": a row is empty"
            elif [number for row in rows for number in row] != list(range(len(lengths))):
                why = ": each sentence stands in one row, in its order"
            raise Wrong(f"for lengths {lengths} and room {room} you gave {rows}, expected {expected}{why}")
