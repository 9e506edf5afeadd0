"""How a document goes on: four sentences of one role, of which three contradict what was said before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bertmini.data.choices import Choice
from bertmini.gazette.exact import literal_words
from bertmini.gazette.gazette import Dice, Gazette
from bertmini.gazette.world import Sentence

BEFORE = 3                                            # sentences that the choice follows
CANDIDATES, OPTIONS = 5, 4
TWINS = {"hero": "friend", "friend": "hero", "team": "rival", "rival": "team", "place": "elsewhere",
         "elsewhere": "place", "emotion": "decoy", "decoy": "emotion"}  # fmt: skip


def continuation(gazette: Gazette, split: str, n: int) -> list[Choice]:
    """Three sentences of a document, and four that may come next."""
    return [choice(gazette, gazette.dice(f"continuation/{split}/{i}")) for i in range(n)]


def choice(gazette: Gazette, dice: Dice) -> Choice:
    bounds = np.cumsum([story.weight for story in gazette.world.stories]).tolist()
    while True:
        story = gazette.world.stories[dice.pick(bounds)]
        shape = story.shapes[dice.pick(story.bounds)]
        plan = gazette.plan(dice, story.name)
        end = BEFORE + dice.roll(len(shape) - BEFORE)
        before = [gazette.write(dice, role, plan) for role in shape[end - BEFORE:end]]
        right = gazette.write(dice, shape[end], plan)
        wrong = contradictions(gazette, dice, before, shape[end], plan)
        if len(wrong) >= OPTIONS - 1:
            break
    text = " ".join(sentence.text for sentence in before)
    known = set(literal_words(text))
    # Those that share most words with the text, so that shared words do not tell the right one.
    wrong = sorted(wrong, key=lambda option: -len(known & set(literal_words(option))))[:OPTIONS - 1]
    options = dice.shuffled([right.text, *wrong])
    return Choice(text, tuple(options), options.index(right.text))


def contradictions(gazette: Gazette, dice: Dice, before: Sequence[Sentence], role: str,
                   plan: dict[str, int]) -> list[str]:
    """Sentences of the same role with one thing changed that the text has told, all different."""
    told = [name for name in gazette.world.variables if possible(before, name) is not None]
    found: dict[str, None] = {}
    for _ in range(4 * CANDIDATES if told else 0):
        name = told[dice.roll(len(told))]
        other = gazette.write(dice, role, changed(gazette, dice, plan, name))
        both, now = possible(before, name), possible([other], name)
        if both is not None and now is not None and not (both & now).any():
            found.setdefault(other.text)
        if len(found) == CANDIDATES:
            break
    return list(found)


def changed(gazette: Gazette, dice: Dice, plan: dict[str, int], name: str) -> dict[str, int]:
    """A plan with another value of a variable; every second time it has changed places with its twin."""
    twin = TWINS.get(name)
    if twin and dice.roll(2):
        return plan | {name: plan[twin], twin: plan[name]}
    taken = {plan[name], plan[twin]} if twin else {plan[name]}
    free = [value for value in range(len(gazette.world.variables[name].values)) if value not in taken]
    return plan | {name: free[dice.roll(len(free))]}


def possible(sentences: Sequence[Sentence], name: str) -> np.ndarray | None:
    """Which values of a variable agree with some sentences, bool [values]; None if they never tell it."""
    agreeing = [slot.likelihood[literal_words(string)] > 0
                for sentence in sentences for slot, string, _ in sentence.slots() if slot.variable == name]
    return np.logical_and.reduce(agreeing) if agreeing else None
