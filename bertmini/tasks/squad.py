"""How good answers to questions are: exact match and F1 as SQuAD's official script has them.

Source: the evaluation script of SQuAD 2.0 (Rajpurkar et al. 2018). That of 1.1 gives the same, but where an
answer in the data is nothing but articles and punctuation.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from bertmini.data.questions import Question
from bertmini.errors import InputError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """A text as the official script compares it: in lower case, without punctuation, articles and extra
    white space.

    >>> normalize("The  captain's boat.")
    'captains boat'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(answer: str, truth: str) -> float:
    """1 where both are the same text once normalised, else 0."""
    return float(normalize(answer) == normalize(truth))


def f1(answer: str, truth: str) -> float:
    """The harmonic mean of precision and recall over the words of two normalised texts."""
    found, wanted = normalize(answer).split(), normalize(truth).split()
    if not found or not wanted:  # no answer
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def score(compare: Callable[[str, str], float], answer: str, question: Question) -> float:
    """The best that an answer has with one of the true ones; an empty answer says that there is none."""
    truths = [each.text for each in question.answers or () if normalize(each.text)] or [""]
    return max(compare(answer, truth) for truth in truths)


def measure(questions: Sequence[Question], answers: Sequence[str]) -> dict[str, Any]:
    """How good answers are, as shares from 0 to 1; the official script has them in percent.

    Args:
        questions: with their true answers.
        answers: as many; an empty one says that the passage has none.

    Returns:
        exact and f1, the means; where some questions have answers and others have none, also
        has_answer_exact, has_answer_f1, no_answer_exact, no_answer_f1; and questions, their number.

    Raises:
        InputError: the answers of a question are not known.
    """
    if unknown := [question.question for question in questions if question.answers is None]:
        raise InputError(f"{unknown[0][:60]!r}: its answers are not known; expected them, [] for none")
    scores = {
        name: [score(compare, *pair) for pair in zip(answers, questions, strict=True)]
        for name, compare in (("exact", exact), ("f1", f1))
    }
    metrics: dict[str, Any] = {name: sum(of) / len(questions) for name, of in scores.items()}
    with_answer = [bool(question.answers) for question in questions]
    if len(set(with_answer)) > 1:
        for kind, wanted in (("has_answer", True), ("no_answer", False)):
            for name, of in scores.items():
                chosen = [value for value, has in zip(of, with_answer, strict=True) if has == wanted]
                metrics[f"{kind}_{name}"] = sum(chosen) / len(chosen)
    return metrics | {"questions": len(questions)}


def best_threshold(questions: Sequence[Question], answers: Sequence[str], doubts: Sequence[float]) -> float:
    """The doubt above which "no answer" is said, so that the mean F1 is the highest.

    Args:
        questions: with their true answers.
        answers: the best one for each, never empty.
        doubts: for each, how much more likely no answer is.

    Returns:
        One of the doubts, or less than all of them where it is best never to answer.
    """
    number = sum(not question.answers for question in questions)  # right, where nothing is answered
    best, threshold = float(number), min(doubts) - 1
    total = best
    order = sorted(range(len(doubts)), key=doubts.__getitem__)
    for place, i in enumerate(order):
        total += score(f1, answers[i], questions[i]) if questions[i].answers else -1
        is_last_of_equals = place + 1 == len(order) or doubts[order[place + 1]] > doubts[i]
        if total > best and is_last_of_equals:
            best, threshold = total, doubts[i]
    return threshold
