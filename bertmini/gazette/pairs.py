"""Pairs of sentences: do they tell the same, and does one follow from the other?"""

from __future__ import annotations

from collections.abc import Mapping

from bertmini.data.task_files import Example
from bertmini.gazette.continuation import changed, possible
from bertmini.gazette.gazette import Dice, Gazette
from bertmini.gazette.world import Sentence, Slot, World

Plan = dict[str, int]
SIDES = {"deal": ("hero", "friend"), "match": ("team", "rival")}
PREMISES = ("told_deal", "arrival", "theft")
LABELS = ("entailment", "neutral", "contradiction")
DENIAL = {"entailment": "contradiction", "contradiction": "entailment", "neutral": "neutral"}


def paraphrase(gazette: Gazette, split: str, n: int) -> list[Example]:
    """Two sentences about one deal or match, and whether they tell the same ("1") or not ("0")."""
    town = Gazette(gazette.seed, World.of_tasks())
    return [same_or_not(town, town.dice(f"paraphrase/{split}/{i}")) for i in range(n)]


def same_or_not(town: Gazette, dice: Dice) -> Example:
    role = list(SIDES)[dice.roll(len(SIDES))]
    plan = town.plan(dice, "harbour")
    one = town.write(dice, role, plan)
    is_same = dice.roll(2) == 1
    if is_same:
        other = retell(town, dice, one, role, plan)
        while other.template is one.template:
            other = retell(town, dice, one, role, plan)
    elif dice.roll(3):                                # mostly the two have changed sides
        first, second = SIDES[role]
        other = retell(town, dice, one, role, plan | {first: plan[second], second: plan[first]})
    else:
        other = one
        while not contradicts(one, other):
            other = vary(town, dice, one, role, plan)
    return Example(one.text, other.text, str(int(is_same)))


def inference(gazette: Gazette, split: str, n: int) -> list[Example]:
    """A fact, and a claim about the same event that follows from it, may be, or cannot be (as in SNLI)."""
    town = Gazette(gazette.seed, World.of_tasks())
    return [fact_and_claim(town, town.dice(f"inference/{split}/{i}")) for i in range(n)]


def fact_and_claim(town: Gazette, dice: Dice) -> Example:
    wanted, is_denied = LABELS[dice.roll(len(LABELS))], dice.roll(3) == 0
    role = PREMISES[dice.roll(len(PREMISES))]
    plan = town.plan(dice, "harbour")
    fact = town.write(dice, role, plan)
    while True:
        if dice.roll(2):
            claim = retell(town, dice, fact, f"claim_{role}", plan)
        else:
            claim = vary(town, dice, fact, f"claim_{role}", plan)
        told = "entailment" if tells(fact, claim) else "neutral"
        label = "contradiction" if contradicts(fact, claim) else told
        if (DENIAL[label] if is_denied else label) == wanted:
            break
    said = "".join(claim.strings)
    return Example(fact.text, f"It is not true that {said}" if is_denied else claim.text, wanted)


def drawn(sentence: Sentence) -> dict[str, str]:
    """The numbers, days and hours of a sentence, by their list."""
    return {slot.facet: string for slot, string, _ in sentence.slots() if slot.facet and not slot.variable}


def with_drawn(sentence: Sentence, strings: Mapping[str, str]) -> Sentence:
    """The sentence with these numbers, days and hours."""
    filled = [strings.get(piece.facet, string) if isinstance(piece, Slot) and not piece.variable else string
              for piece, string in zip(sentence.template.pieces, sentence.strings, strict=True)]
    return Sentence(sentence.template, tuple(filled))


def retell(town: Gazette, dice: Dice, one: Sentence, role: str, plan: Plan) -> Sentence:
    """A sentence of a role with the numbers, days and hours of the first."""
    return with_drawn(town.write(dice, role, plan), drawn(one))


def vary(town: Gazette, dice: Dice, one: Sentence, role: str, plan: Plan) -> Sentence:
    """The same with one thing otherwise that the first tells."""
    sources = list(dict.fromkeys(slot.source for slot, _, _ in one.slots() if slot.source))
    source = sources[dice.roll(len(sources))]
    if source in plan:
        return retell(town, dice, one, role, changed(town, dice, plan, source))
    kept = {name: string for name, string in drawn(one).items() if name != source}
    return with_drawn(town.write(dice, role, plan), kept)


def contradicts(one: Sentence, other: Sentence) -> bool:
    """Whether both tell of something, and differ in it."""
    before, now = drawn(one), drawn(other)
    if any(before[name] != now[name] for name in before.keys() & now.keys()):
        return True
    for name in dict.fromkeys(slot.variable for slot, _, _ in other.slots() if slot.variable):
        told, claimed = possible([one], name), possible([other], name)
        if told is not None and claimed is not None and not (told & claimed).any():
            return True
    return False


def tells(one: Sentence, other: Sentence) -> bool:
    """Whether the first speaks of all that the second speaks of."""
    sources = {slot.source for slot, _, _ in one.slots()}
    return all(slot.source in sources for slot, _, _ in other.slots())
