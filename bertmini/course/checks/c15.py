"""Chapter 15, little data."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

from bertmini.course.exercises import Wrong, exercise, expect_tensor, run


@exercise("15.1")
def balanced(attempt: Callable[..., Any]) -> None:
    """`balanced(counts)`: a weight for each label, so that all weigh the same together."""
    cases = [
        ([1, 1], [1.0, 1.0], "equal counts need no weights"),
        ([3, 1], [2 / 3, 2.0], "3 · 2/3 = 1 · 2, and the four examples weigh 4 together"),
        ([18, 2], [20 / 36, 5.0], "the two rows of the example by hand"),
        ([6, 3, 1], [10 / 18, 10 / 9, 10 / 3], "three labels"),
    ]
    for counts, expected, why in cases:
        answer = run(attempt, torch.tensor(counts))
        expect_tensor(answer, torch.tensor(expected), f"counts {counts} ({why})")


@exercise("15.2")
def begins(attempt: Callable[..., Any]) -> None:
    """`begins(goes_on, is_text)`: where the pieces of a new word, or a special token, begin."""
    cases = [
        ([0], [1], [1], "a single piece begins a word"),
        ([0, 1], [1, 1], [1, 0], "## goes on with the word"),
        ([1, 0], [1, 1], [1, 1], "nothing stands before the first piece"),
        ([0, 0, 1, 1, 0], [0, 1, 1, 1, 0], [1, 1, 0, 0, 1], "[CLS], a word of three pieces, [SEP]"),
        ([0, 1, 1], [0, 1, 1], [1, 1, 0], "a passage may begin within a word: [CLS] is no part of it"),
    ]
    for goes_on, is_text, expected, why in cases:
        inputs = (torch.tensor([goes_on]).bool(), torch.tensor([is_text]).bool())
        answer = run(attempt, *inputs)
        if isinstance(answer, torch.Tensor) and answer.dtype != torch.bool:
            answer = answer.bool()
        given = f"goes_on {goes_on} and is_text {is_text} ({why})"
        expect_tensor(answer, torch.tensor([expected]).bool(), given)


@exercise("15.3")
def delete(attempt: Callable[..., Any]) -> None:
    """`delete(words, share, chance)`: leave out each word with a probability, but never all of them."""
    words = [str(number) for number in range(200)]
    answer = run(attempt, words, 0.0, random.Random(0))
    if list(answer) != words:
        raise Wrong(f"with share 0 nothing is left out; you returned {len(answer)} of 200 words")
    answer = run(attempt, ["fog"], 1.0, random.Random(0))
    if list(answer) != ["fog"]:
        raise Wrong(
            f"with share 1 one word of ['fog'] stays, or there is no text left; you returned {answer}"
        )
    answer = list(run(attempt, list(words), 1.0, random.Random(0)))
    if len(answer) != 1:
        raise Wrong(f"with share 1 one word of 200 stays, or there is no text left; you kept {len(answer)}")
    lengths = []
    for seed in range(40):
        answer = list(run(attempt, list(words), 0.3, random.Random(seed)))
        if answer != [word for word in words if word in set(answer)]:
            raise Wrong("the words that stay keep their order, and none comes twice")
        lengths.append(len(answer))
    mean = sum(lengths) / len(lengths)
    if not 135 <= mean <= 145:
        raise Wrong(f"of 200 words with share 0.3 about 140 stay; yours were {mean:.0f} on average")
    if len(set(lengths)) == 1:
        raise Wrong("draw for each word by itself: the number of words that stay differs from text to text")
    if list(run(attempt, words, 0.3, random.Random(1))) != list(run(attempt, words, 0.3, random.Random(1))):
        raise Wrong("the same state of chance gave two different texts: draw with chance.random()")
