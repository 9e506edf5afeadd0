"""Chapter 01, the tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

from bertmini.course.exercises import Wrong, exercise, run
from bertmini.course.replace import samples
from bertmini.tokenizer.wordpiece import split_word

TOY = ["[UNK]", "b", "h", "s", "u", "hug", "##g", "##s", "##u", "##ug", "##ugs"]
VOCAB = {piece: i for i, piece in enumerate(TOY)}


@samples("split_word")
def split_word_samples() -> list[tuple[tuple, dict]]:
    words = ["hug", "hugs", "bugs", "shug", "mug", "hugx", "u", "hug" * 34]
    return [((word, VOCAB), {}) for word in words]


@exercise("01.1")
def check_split_word(attempt: Callable[..., Any]) -> None:
    cases = [  # from the smallest; what each is there to catch
        ("", "b", "the empty word has no pieces"),
        ("m", "b", "no piece fits, so the word is unknown"),
        ("bu", "b u ##u", "a piece that does not start the word carries ##"),
        ("hu", "h hu ##u", "the whole word is a piece: begin with the longest"),
        ("bug", "b ##g ##u ##ug", "begin with the longest: ##ug comes before ##u"),
        ("bugs", "b ##s ##ug", "cut again from where the last piece ended"),
        ("hum", "hu", "one place without a piece makes the whole word unknown, not only its rest"),
        ("hub", "b hu", "b is a piece, ##b is not, so the whole word is unknown"),
        ("h" * 101, "h ##h", "a word of more than 100 characters is unknown"),
    ]
    for word, pieces, hint in cases:
        vocab = {piece: number for number, piece in enumerate(["[UNK]", *pieces.split()])}
        answer = run(attempt, word, vocab)
        expected = split_word(word, vocab)
        if not isinstance(answer, list):
            raise Wrong(f"for {_name(word)} your answer is {type(answer).__name__}, a list was expected")
        if answer != expected:
            raise Wrong(
                f"for {_name(word)} and the pieces {pieces}, you gave {_short(answer)}, "
                f"expected {_short(expected)}: {hint}"
            )


@exercise("01.2")
def check_pair_scores(attempt: Callable[..., Any]) -> None:
    cases: list[tuple[dict[tuple[str, ...], int], str]] = [
        ({("a", "##b"): 1}, "1 / (1 × 1)"),
        ({("a", "##b"): 2}, "a word that occurs twice counts twice, in the pair and in both pieces"),
        ({("a", "##b"): 1, ("a",): 1}, "a piece counts wherever it stands, in words without the pair too"),
        ({("a", "##b", "##b"): 1}, "a piece that stands twice in a word counts twice"),
        (
            {("h", "##u", "##g"): 10, ("p", "##u", "##n"): 12, ("h", "##u", "##g", "##s"): 5},
            "the toy's words",
        ),
    ]
    for words, hint in cases:
        answer = run(attempt, words)
        expected = pair_scores(words)
        if not isinstance(answer, dict):
            raise Wrong(f"your answer for {words} is {type(answer).__name__}, a dictionary was expected")
        for pair, score in expected.items():
            if pair not in answer:
                raise Wrong(f"for {words} your answer has no score for {pair}, expected {score}")
            if not abs(float(answer[pair]) - float(score)) <= 1e-9:  # nan is far from everything
                raise Wrong(f"for {words} you gave {pair} the score {answer[pair]}, expected {score}: {hint}")
        if extra := sorted(set(answer) - set(expected)):
            raise Wrong(f"for {words} your answer has a score for {extra[0]}, which never stand side by side")


def pair_scores(words: dict[tuple[str, ...], int]) -> dict[tuple[str, str], Fraction]:
    pairs: Counter[tuple[str, str]] = Counter()
    singles: Counter[str] = Counter()
    for pieces, count in words.items():
        for piece in pieces:
            singles[piece] += count
        for pair in pairwise(pieces):
            pairs[pair] += count
    return {pair: Fraction(count, singles[pair[0]] * singles[pair[1]]) for pair, count in pairs.items()}


@exercise("01.3")
def check_first_pieces(attempt: Callable[..., Any]) -> None:
    cases: list[tuple[list[int | None], list[int], str]] = [
        ([0], [0], "the only piece is a first piece"),
        ([None, 0, None], [1], "special tokens belong to no word"),
        ([0, 0], [0], "the second piece continues word 0"),
        ([0, 0, 1], [0, 2], "a new number begins a new word"),
        (
            [None, 0, None, 0, None],
            [1, 3],
            "the second text counts its words from 0 again: both are first pieces",
        ),
        ([None, None], [], "no words, no first pieces"),
    ]
    for words, expected, hint in cases:
        answer = run(attempt, words)
        if not isinstance(answer, list):
            raise Wrong(f"your answer for {words} is {type(answer).__name__}, a list was expected")
        if answer != expected:
            raise Wrong(f"for {words} you gave {answer}, expected {expected}: {hint}")


def _name(word: str) -> str:
    return repr(word) if len(word) < 20 else f"{word[0]!r} × {len(word)}"


def _short(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) <= 120 else f"{text[:117]}..."
