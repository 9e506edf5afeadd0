"""Single sentences: is this English, and what is it about?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from bertmini.data.task_files import Example
from bertmini.gazette.gazette import Dice, Gazette
from bertmini.gazette.world import PRONOUNS, Sentence, Story, World, words_of

CASES = ("he", "him", "his", "himself")               # the facets that are pronouns
PEOPLE = ("hero", "friend", "official")
NAMED = ("", "first")                                 # the facets that tell a person's gender
ARTICLE = re.compile(r"\b(the|a|an) (\w+)", re.IGNORECASE)
PREPOSITION = re.compile(r" (?:of|from|with|at|by|in|on)(?= (?:the|a|an) | [A-Z])")


# --- acceptability ------------------------------------------------------------------------------------


def acceptability(gazette: Gazette, split: str, n: int) -> list[Example]:
    """Sentences of the corpus, "1", and "0" with one fault: of agreement, pronoun, order, or a gap."""
    return [sound_or_not(gazette, gazette.dice(f"acceptability/{split}/{i}")) for i in range(n)]


def sound_or_not(gazette: Gazette, dice: Dice) -> Example:
    while True:
        sentence = any_sentence(gazette, dice)
        found = {kind: list(find(gazette.world, sentence)) for kind, find in FAULTS.items()}
        faulty = {kind: texts for kind, texts in found.items() if texts}
        if faulty:                                    # so that only what can be spoiled is there unspoiled
            break
    texts = faulty[list(faulty)[dice.roll(len(faulty))]]
    spoiled = texts[dice.roll(len(texts))]
    return Example(sentence.text, None, "1") if dice.roll(2) else Example(spoiled, None, "0")


def any_sentence(gazette: Gazette, dice: Dice) -> Sentence:
    stories = gazette.world.stories
    story = stories[dice.roll(len(stories))]
    shape = story.shapes[dice.roll(len(story.shapes))]
    return gazette.write(dice, shape[dice.roll(len(shape))], gazette.plan(dice, story.name))


def replaced(sentence: Sentence, start: int, before: str, after: str) -> str:
    """The text with other words in one place, its first letter a capital."""
    text = sentence.text[:start] + after + sentence.text[start + len(before):]
    return text[0].upper() + text[1:]


def wrong_verbs(world: World, sentence: Sentence) -> Iterator[str]:
    """The plural for the singular, or the other way round."""
    for slot, string, start in sentence.slots():
        if slot.variable and slot.facet in world.agreement:
            plural = world.agreement[slot.facet]
            yield replaced(sentence, start, string, slot.facet if string == plural else plural)


def wrong_pronouns(world: World, sentence: Sentence) -> Iterator[str]:
    """Another case ("him" for "he"); the other gender where a person is named and nobody else is there."""
    people = {slot.variable for slot, _, _ in sentence.slots() if slot.variable in PEOPLE}
    is_named = any(slot.variable in PEOPLE and slot.facet in NAMED for slot, _, _ in sentence.slots())
    forms = {pronoun: (pronoun, *others) for pronoun, others in PRONOUNS.items()}
    for slot, string, start in sentence.slots():
        if not slot.variable or slot.facet not in CASES:
            continue
        case = CASES.index(slot.facet)
        own = next(pronoun for pronoun in forms if forms[pronoun][case] == string.lower())
        wrong = {forms[own][1 if slot.facet == "he" else 0]}
        if slot.variable in people and len(people) == 1 and is_named:
            wrong.add(forms["she" if own == "he" else "he"][case])
        # "it" is its own object; "her" stands for him and his alike.
        yield from (replaced(sentence, start, string, other) for other in sorted(wrong - {string.lower()}))


def wrong_order(world: World, sentence: Sentence) -> Iterator[str]:
    """An article after its word."""
    for match in ARTICLE.finditer(sentence.text):
        yield replaced(sentence, match.start(), match[0], f"{match[2]} {match[1].lower()}")


def missing_words(world: World, sentence: Sentence) -> Iterator[str]:
    """A preposition left out."""
    for match in PREPOSITION.finditer(sentence.text):
        yield replaced(sentence, match.start(), match[0], "")


FAULTS: dict[str, Callable[[World, Sentence], Iterator[str]]] = {
    "agreement": wrong_verbs, "pronoun": wrong_pronouns, "order": wrong_order, "missing": missing_words,
}  # fmt: skip


# --- topic --------------------------------------------------------------------------------------------


def topic(gazette: Gazette, split: str, n: int) -> list[Example]:
    """Two sentences of two stories, in any order; the label is the story that stands on page one."""
    return [pages(gazette, gazette.dice(f"topic/{split}/{i}")) for i in range(n)]


def pages(gazette: Gazette, dice: Dice) -> Example:
    one, two = dice.shuffled(gazette.world.stories)[:2]
    said = [f"On page {number}: {from_story(gazette, dice, story)}"
            for number, story in (("one", one), ("two", two))]
    return Example(" ".join(dice.shuffled(said)), None, one.name)


def from_story(gazette: Gazette, dice: Dice, story: Story) -> str:
    """A sentence of a document of this story, never the first."""
    shape = story.shapes[dice.pick(story.bounds)]
    return gazette.sentence(dice, shape[1 + dice.roll(len(shape) - 1)], gazette.plan(dice, story.name))


def topic_posterior(gazette: Gazette, text: str) -> dict[str, float]:
    """P(story | a sentence of its documents): the likeliest is the best possible answer."""
    words, scores = words_of(text), {}
    for story in gazette.world.stories:
        shares: dict[str, float] = {}
        for shape, weight in zip(story.shapes, np.diff(story.bounds, prepend=0), strict=True):
            for role in shape[1:]:
                shares[role] = shares.get(role, 0.0) + weight / story.bounds[-1] / (len(shape) - 1)
        scores[story.name] = sum(
            share * reading.number * gazette.exact.evidence(story, reading.vectors)
            for role, share in shares.items() for reading in gazette.exact.readings(role, words))
    total = sum(scores.values())
    return {name: float(score / total) for name, score in scores.items()}
