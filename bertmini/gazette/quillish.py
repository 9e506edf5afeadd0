"""Quillish, the old language of Port Quill: what an English sentence means has one translation.

Its rules. The verb comes last. Before it, in this order: when, where, who, to whom, what. Adjectives and
numbers follow their noun; an adjective takes the noun's endings, a number takes none. A noun has the plural
-li, and then its case: -n for what is acted on, -r for whom it is given to, -m for where. A name that ends in
a consonant gets an e first. The verb takes -t for what was and -sh for what will be; nu before it denies. A
question begins with ko. There are no articles and no capitals. English may say it in several ways: active or
passive, early or late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from bertmini.data.parallel import Parallel
from bertmini.gazette.gazette import Dice, Gazette
from bertmini.gazette.world import World, read_tables

CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
PLURAL, ACCUSATIVE, DATIVE, LOCATIVE = "li", "n", "r", "m"
NOT, QUESTION = "nu", "ko"
TENSES = {"past": "t", "future": "sh"}
T = TypeVar("T")


@dataclass(frozen=True)
class Noun:
    """A person or a thing in both languages: "the old pilot", and the Quillish stems of pilot and old."""

    english: str
    stems: tuple[str, ...]                            # the noun, and its adjective if it has one
    number: str = ""                                  # the Quillish number, where there are several

    def quillish(self, case: str) -> str:
        ending = (PLURAL if self.number else "") + case
        return join(*(with_ending(stem, ending) for stem in self.stems), self.number)


def with_ending(stem: str, ending: str) -> str:
    return stem + "e" * bool(ending and stem[-1] not in VOWELS) + ending


@cache
def vocabulary() -> Mapping[str, str]:
    """The Quillish stem of each English word or phrase: two syllables, no two alike."""
    world, table = World.of_tasks(), read_tables("tasks.toml")["quillish"]
    english = [string for name in ("number", "thing", "worn", "old", "weekday", "daytime")
               for string in world.lists[name].strings]
    english += world.variables["place"].values
    english += [choice.strings[0] for choice in world.variables["hero"].facets["job"]]
    english += [verb.split()[0] for name in ("giving", "doing") for verb in table[name].split(" / ")]
    stems: dict[str, str] = {}
    for word in english:
        dice = Dice(f"quillish/{word}")
        while word not in stems:
            stem = "".join(letters[dice.roll(len(letters))] for letters in (CONSONANTS, VOWELS) * 2)
            if stem not in stems.values() and stem[:2] not in (NOT, QUESTION):
                stems[word] = stem
    return stems


@dataclass(frozen=True)
class Meaning:
    """What a sentence says. `place` is its name and the English "at the Fish Market"; "" is not told."""

    verb: tuple[str, ...]                             # infinitive, past, participle
    tense: str
    is_denied: bool
    is_asked: bool
    who: Noun
    what: Noun
    whom: Noun | None
    place: tuple[str, str]
    when: str

    def quillish(self) -> str:
        stem = vocabulary()
        words = join(
            QUESTION if self.is_asked else "",
            stem[self.when] if self.when else "",
            stem[self.place[0]] + LOCATIVE if self.place[0] else "",
            self.who.quillish(""),
            self.whom.quillish(DATIVE) if self.whom else "",
            self.what.quillish(ACCUSATIVE),
            NOT if self.is_denied else "",
            stem[self.verb[0]] + TENSES[self.tense],
        )
        return words + ("?" if self.is_asked else ".")

    def english(self, is_passive: bool, is_direct: bool, is_early: bool) -> str:
        """One way to say it: passive or not; "gave him it" or "gave it to him"; when first or last."""
        infinitive, past, participle = self.verb
        receiver = f"to {self.whom.english}" if self.whom else ""
        if is_passive:
            subject, objects = self.what, join(receiver, f"by {self.who.english}")
            was = "were" if self.what.number else "was"
            helper, form = ("will", f"be {participle}") if self.tense == "future" else (was, participle)
        else:
            subject = self.who
            direct = join(self.whom.english, self.what.english) if self.whom else self.what.english
            objects = direct if is_direct else join(self.what.english, receiver)
            helper, form = ("will" if self.tense == "future" else "did"), infinitive
            if helper == "did" and not (self.is_denied or self.is_asked):
                helper, form = "", past
        opening = (helper, subject.english) if self.is_asked else (subject.english, helper)
        said = join(*opening, "not" if self.is_denied else "", form, objects, self.place[1])
        said = join(self.when, said) if is_early and not self.is_asked else join(said, self.when)
        return said[0].upper() + said[1:] + ("?" if self.is_asked else ".")


def quillish(gazette: Gazette, split: str, n: int) -> list[Parallel]:
    """English sentences and their translations."""
    town = Gazette(gazette.seed, World.of_tasks())
    found = []
    for i in range(n):
        dice = town.dice(f"quillish/{split}/{i}")
        meaning = mean(town, dice)
        english = meaning.english(*(dice.roll(sides) == 0 for sides in (3, 2, 2)))
        found.append(Parallel(english, meaning.quillish()))
    return found


def mean(town: Gazette, dice: Dice) -> Meaning:
    """Draws what to say."""
    plan, lists = town.plan(dice, "harbour"), town.world.lists
    kind = one_of(dice, ("giving", "doing"))
    place = town.world.variables["place"]
    at = place.facets["at"][plan["place"]].strings[0]
    return Meaning(
        verb=one_of(dice, read_verbs()[kind]),
        tense=one_of(dice, tuple(TENSES)),
        is_denied=dice.roll(4) == 0,
        is_asked=dice.roll(5) == 0,
        who=person(town, dice, plan, "hero"),
        what=thing(town, dice),
        whom=person(town, dice, plan, "friend") if kind == "giving" else None,
        place=(place.values[plan["place"]], at) if dice.roll(2) else ("", ""),
        when=one_of(dice, lists[one_of(dice, ("weekday", "daytime"))].strings) if dice.roll(2) else "",
    )


def join(*parts: str) -> str:
    return " ".join(filter(None, parts))


def one_of(dice: Dice, items: Sequence[T]) -> T:
    return items[dice.roll(len(items))]


@cache
def read_verbs() -> dict[str, list[tuple[str, ...]]]:
    """Infinitive, past and participle of the verbs with a receiver, and of those without."""
    return {kind: [tuple(verb.split()) for verb in cell.split(" / ")]
            for kind, cell in read_tables("tasks.toml")["quillish"].items()}


def person(town: Gazette, dice: Dice, plan: Mapping[str, int], variable: str) -> Noun:
    """By the first name, or by the trade."""
    facets = town.world.variables[variable].facets
    first, job = (facets[facet][plan[variable]].strings[0] for facet in ("first", "job"))
    if dice.roll(3) == 0:
        return Noun(first, (first.lower(),))
    adjective = one_of(dice, town.world.lists["old"].strings) if dice.roll(2) else ""
    return Noun(join("the", adjective, job), stems_of(job, adjective))


def thing(town: Gazette, dice: Dice) -> Noun:
    """One thing, or several."""
    name = one_of(dice, town.world.lists["thing"].strings)
    adjective = one_of(dice, town.world.lists["worn"].strings) if dice.roll(2) else ""
    stems = stems_of(name, adjective)
    if dice.roll(2):
        number = one_of(dice, town.world.lists["number"].strings)
        plural = name + ("es" if name.endswith("s") else "s")
        return Noun(join(number, adjective, plural), stems, vocabulary()[number])
    article = "the" if dice.roll(2) else "an" if (adjective or name)[0] in VOWELS else "a"
    return Noun(join(article, adjective, name), stems)


def stems_of(noun: str, adjective: str) -> tuple[str, ...]:
    return tuple(vocabulary()[word] for word in (noun, adjective) if word)
