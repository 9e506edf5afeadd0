"""What the Gazette's tasks give to those who only count words, and to one who knows all that can be written.

A baseline learns from training examples which words go with which answer, and never looks at their order
(that for tags and that for translations look at one word at a time). The best answers are those of the
generator, from exact sums. Between the two is what a model can gain by reading.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from bertmini.data.choices import Choice
from bertmini.data.parallel import Parallel
from bertmini.data.questions import Question
from bertmini.data.tagged import Tagged
from bertmini.data.task_files import Example
from bertmini.gazette.gazette import Gazette
from bertmini.gazette.sentences import topic_posterior
from bertmini.gazette.tasks import emotion_posterior
from bertmini.gazette.world import words_of

PAGES = re.compile(r"On page (one|two): (.*?)(?= On page (?:one|two): |$)")


# --- by counting --------------------------------------------------------------------------------------


def features(example: Example) -> dict[str, int]:
    """Words and pairs of words; of two texts also those that they share and those that one has alone."""
    one, other = words_of(example.text), words_of(example.pair or "")
    found = dict.fromkeys([*(f"1 {w}" for w in one), *(f"2 {w}" for w in other)], 1)
    if example.pair is None:
        return found | dict.fromkeys((f"1 {a} {b}" for a, b in pairwise(one)), 1)
    shared, alone = set(one) & set(other), set(one) ^ set(other)
    counts = {"shared": len(shared), "new": len(set(other) - set(one))}
    return found | {f"= {w}": 1 for w in shared} | {f"- {w}": 1 for w in alone} | counts


def bag_of_words(train: Sequence[Example]) -> Any:
    """A logistic regression on `features`, which has learned the labels of training examples."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(DictVectorizer(), LogisticRegression(C=0.3, max_iter=200, tol=1e-2))
    return model.fit([features(each) for each in train], [each.label for each in train])


def classified(train: Sequence[Example], test: Sequence[Example]) -> list[str]:
    """The labels that a bag of words gives."""
    return bag_of_words(train).predict([features(each) for each in test]).tolist()


def scored(train: Sequence[Example], test: Sequence[Example]) -> list[float]:
    """The scores of pairs by a ridge regression on the words that they share and that one has alone."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import Ridge

    bag = CountVectorizer(binary=True).fit([text for e in train for text in (e.text, e.pair)])

    def words(examples: Sequence[Example]) -> Any:
        one, other = (bag.transform([getattr(e, side) for e in examples]) for side in ("text", "pair"))
        return hstack([one.multiply(other), abs(one - other)]).tocsr()

    model = Ridge(3.0).fit(words(train), [example.label for example in train])
    return model.predict(words(test)).tolist()


def tagged(train: Sequence[Tagged], test: Sequence[Tagged], window: int = 0) -> list[list[str]]:
    """The most frequent tag of each word within so many neighbours; where those are new, of fewer."""
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)

    def keys(words: Sequence[str], place: int) -> list[tuple[str, ...]]:
        padded = ("",) * window + tuple(words) + ("",) * window
        middle = place + window
        return [padded[middle - width:middle + width + 1] for width in range(window, -1, -1)]

    for example in train:
        for place, tag in enumerate(example.tags or ()):
            for key in keys(example.words, place):
                counts[key][tag] += 1

    def best(words: Sequence[str], place: int) -> str:
        seen = next((counts[key] for key in keys(words, place) if key in counts), Counter("O"))
        return min(seen, key=lambda tag: (-seen[tag], tag))

    return [[best(example.words, place) for place in range(len(example.words))] for example in test]


def answered(train: Sequence[Question], test: Sequence[Question]) -> list[str]:
    """In the sentence that shares most words with the question, the first answer known for such questions."""
    known: dict[str, dict[str, None]] = defaultdict(dict)

    def kind(question: Question) -> str:
        return " ".join(question.question.split()[:2])

    for question in train:
        for answer in question.answers or ():
            known[kind(question)].setdefault(answer.text.lower())
    answers = []
    for question in test:
        asked = set(words_of(question.question))
        sentences = re.findall(r"[^.]+\.", question.context)
        best = max(sentences, key=lambda sentence: len(asked & set(words_of(sentence)))).lower()
        places = {answer: best.find(answer) for answer in known[kind(question)]
                  if answer in best and not set(words_of(answer)) - {"the"} <= asked}
        answers.append(min(places, key=lambda answer: (places[answer], -len(answer)), default=""))
    return answers


def chosen(train: Sequence[Choice], test: Sequence[Choice]) -> list[int]:
    """The option that a bag of words, which sees one option with the text at a time, holds likeliest."""
    pairs = [Example(choice.text, option, str(int(place == choice.label)))
             for choice in train for place, option in enumerate(choice.options)]
    model = bag_of_words(pairs)
    return [int(model.decision_function([features(Example(choice.text, option)) for option in choice.options])
                .argmax()) for choice in test]


def translated(train: Sequence[Parallel], test: Sequence[Parallel]) -> list[str]:
    """Word by word: each word's most faithful companion (the Dice coefficient), in the source's order."""
    together: Counter[tuple[str, str]] = Counter()
    english: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    for pair in train:
        source, target = set(split(pair.source)), set(split(pair.target or ""))
        english.update(source)
        foreign.update(target)
        together.update((s, t) for s in source for t in target)
    best: dict[str, tuple[float, str]] = {}
    for (s, t), count in sorted(together.items()):
        best[s] = max(best.get(s, (0.0, "")), (2 * count / (english[s] + foreign[t]), t))
    return [" ".join(best[word][1] for word in split(pair.source) if best.get(word, (0.0,))[0] > 0.2) + "."
            for pair in test]


def split(text: str) -> list[str]:
    return text.lower().strip(".?").split()


BASELINES: dict[str, Callable[[Sequence[Any], Sequence[Any]], list[Any]]] = {
    "topic": classified, "emotion": classified, "acceptability": classified, "similarity": scored,
    "paraphrase": classified, "inference": classified, "entities": tagged, "questions": answered,
    "continuation": chosen, "quillish": translated,
}  # fmt: skip


# --- by knowing ---------------------------------------------------------------------------------------


def best_topics(gazette: Gazette, split: str, n: int) -> list[str]:
    """The likeliest story of page one, given both sentences; the two pages tell of different stories."""
    answers = []
    for example in gazette.task("topic", split, n):
        pages = dict(PAGES.findall(example.text))
        one, two = (topic_posterior(gazette, pages[page]) for page in ("one", "two"))
        answers.append(max(one, key=lambda story: one[story] * (1 - two[story])))
    return answers


def best_emotions(gazette: Gazette, split: str, n: int) -> list[str]:
    """The likeliest emotion, given the sentences that the task shows."""
    posteriors = (emotion_posterior(gazette, letter) for letter in gazette.documents(n, split, "letter"))
    return [max(chances, key=lambda emotion: chances[emotion]) for chances in posteriors]


def best_acceptability(gazette: Gazette, split: str, n: int) -> list[str]:
    """Sound is what the town can write. Who also weighs how likely a fault is can only do better."""
    examples = gazette.task("acceptability", split, n)
    return ["1" if is_possible(gazette, example.text) else "0" for example in examples]


def is_possible(gazette: Gazette, sentence: str) -> bool:
    """Whether some story has a sentence of these words."""
    words = words_of(sentence)
    return any(reading.possible() for role in gazette.world.roles
               for reading in gazette.exact.readings(role, words))


# Where words and labels are drawn together. In the other tasks the text decides the label.
BEST: dict[str, Callable[[Gazette, str, int], list[str]]] = {
    "topic": best_topics, "emotion": best_emotions, "acceptability": best_acceptability,
}  # fmt: skip
