"""Tasks of the Gazette: labels that come from the plan, with no annotation.

emotion     Which of six emotions moves the writer? Four sentences of a letter. Each of three of them names
            one feeling, the writer's own (six times in ten) or another that the sentence then takes back
            ("and you were mistaken"); what the writer did and what happened are weak cues.
similarity  How many of five things do two sentences about a deal share: the deal, who gave, who took, the
            goods, the place? They are worded freely: active or passive, from either side (sold to, bought
            from), and people who differ have mostly changed sides.

The others have files of their own: entities, questions, quillish, continuation, pairs (paraphrase, inference)
and sentences (acceptability, topic).

What a bag of words reaches, and what can be reached (tests/test_gazette_*.py measure it):

emotion        68 % accuracy, logistic regression                        97 %, exact
similarity     0.69 Pearson, cosine; 0.80, ridge on shared words         1.00
entities       0.61 F1, the most frequent tag of a word                  1.00, by construction
questions      49 % of all (73 % of those with an answer), shared words  100 %, by construction
quillish       BLEU below 1, word by word                                100, by construction
continuation   41 %, most shared words (a guess: 25 %)                   100 %, by construction
paraphrase     66 %, logistic regression on shared words (a guess: 50 %) 100 %, by construction
inference      59 %, the same; 48 % from the claim alone (a guess: 33 %) 100 %, by construction
acceptability  66 %, logistic regression on words and pairs (50 %)       not known
topic          41 %, the same (a guess: 7 %)                             89 %, exact, on 200 examples
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.gazette.continuation import continuation
from bertmini.gazette.entities import entities
from bertmini.gazette.exact import Reading, merge
from bertmini.gazette.gazette import SPLITS, Dice, Document, Gazette
from bertmini.gazette.pairs import inference, paraphrase
from bertmini.gazette.questions import questions
from bertmini.gazette.quillish import quillish
from bertmini.gazette.sentences import acceptability, topic
from bertmini.gazette.world import words_of

SIZES = {"train": 4000, "dev": 1000, "test": 1000}
MORE = {"quillish": {"train": 10_000}}                # who has to learn every word of a language
EMOTION_ROLES = ("letter_contrast", "letter_deed", "letter_kin", "letter_denial")
DEAL_PARTS = ("deal", "hero", "friend", "goods", "place")


def emotion_text(document: Document) -> str:
    """The sentences of a letter that the task shows, in the letter's order."""
    return " ".join(sentence for role, sentence in zip(document.roles, document.sentences, strict=True)
                    if role in EMOTION_ROLES)


def emotion(gazette: Gazette, split: str, n: int) -> list[Example]:
    return [Example(emotion_text(letter), label=letter.emotion)
            for letter in gazette.documents(n, split, kind="letter")]


def emotion_posterior(gazette: Gazette, document: Document) -> dict[str, float]:
    """P(emotion | the sentences that the task shows): its likeliest value is the best possible answer."""
    story = next(story for story in gazette.world.stories if story.name == document.topic)
    readings = [Reading()]
    for role, sentence in zip(document.roles, document.sentences, strict=True):
        if role in EMOTION_ROLES:
            fitting = gazette.exact.readings(role, words_of(sentence))
            readings = merge([one.together(other) for one in readings for other in fitting])
    values = gazette.world.variables["emotion"].values
    scores = [sum(reading.number * gazette.exact.evidence(story, reading.times("emotion", fixed).vectors)
                  for reading in readings) for fixed in np.eye(len(values))]
    return {value: float(score / sum(scores)) for value, score in zip(values, scores, strict=True)}


def similarity(gazette: Gazette, split: str, n: int) -> list[Example]:
    examples = []
    for i in range(n):
        dice = gazette.dice(f"similarity/{split}/{i}")
        one = gazette.plan(dice, "market")
        other = dict(one)
        score, parts = dice.roll(len(DEAL_PARTS) + 1), list(DEAL_PARTS)
        if score <= 3 and dice.roll(5):                        # mostly the two people have changed sides
            other["hero"], other["friend"] = one["friend"], one["hero"]
            parts = [part for part in parts if part not in ("hero", "friend")]
        while sum(one[part] == other[part] for part in DEAL_PARTS) > score:
            change(gazette, dice, other, parts.pop(dice.roll(len(parts))))
        texts = [gazette.sentence(dice, "deal", plan) for plan in (one, other)]
        examples.append(Example(texts[0], texts[1], float(score)))
    return examples


def change(gazette: Gazette, dice: Dice, plan: dict[str, int], part: str) -> None:
    """Another value, never the one there is; giver and taker stay two people."""
    taken = {plan[part]} | ({plan["hero"], plan["friend"]} if part in ("hero", "friend") else set())
    free = [value for value in range(len(gazette.world.variables[part].values)) if value not in taken]
    plan[part] = free[dice.roll(len(free))]


# Each gives the first n examples of a split; example i is the same whatever n is.
TASKS: dict[str, Callable[[Gazette, str, int], list[Any]]] = {
    "emotion": emotion, "similarity": similarity, "entities": entities, "questions": questions,
    "quillish": quillish, "continuation": continuation, "paraphrase": paraphrase, "inference": inference,
    "acceptability": acceptability, "topic": topic,
}  # fmt: skip


def task(gazette: Gazette, name: str, split: str, n: int | None) -> list[Any]:
    if name not in TASKS:
        raise InputError(f"gazette: found task {name!r}; expected one of {', '.join(TASKS)}")
    if split not in SPLITS:
        raise InputError(f"gazette: found split {split!r}; expected one of {', '.join(SPLITS)}")
    return TASKS[name](gazette, split, MORE.get(name, SIZES).get(split, SIZES[split]) if n is None else n)
