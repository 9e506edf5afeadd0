"""Questions about a passage of six facts, some of them nearly alike; a third have no answer (SQuAD 2.0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from bertmini.data.questions import Answer, Question
from bertmini.gazette.gazette import Dice, Gazette
from bertmini.gazette.world import Sentence, Slot, Template, World, read_tables

QUESTIONS_A_PASSAGE, FACTS_OF_A_KIND = 4, 3
NAMING = ("", "at", "short", "last")                  # the facets that say which one it is
Plan = dict[str, int]


@dataclass(frozen=True)
class Fact:
    """A sentence of a role, the plan behind it, and where in the passage it begins."""

    role: str
    plan: Plan
    sentence: Sentence
    start: int = 0

    def gap(self, of: str) -> tuple[str, int] | None:
        """What names a variable or is drawn from a list, and where in the sentence it begins."""
        for slot, string, start in self.sentence.slots():
            if of == slot.source and (slot.facet in NAMING or not slot.variable):
                return string, start
        return None

    def said(self, slot: Slot) -> tuple[str, ...]:
        """What may stand in a gap of a question about this fact; nothing where the sentence does not tell."""
        for own, string, _ in self.sentence.slots():
            if own.source == slot.source:
                return slot.choices[self.plan[slot.variable]].strings if slot.variable else (string,)
        return ()

    def may_be_meant(self, asked: Sentence) -> bool:
        """Whether nothing that a question says is otherwise in this fact."""
        return all(string in (self.said(slot) or (string,)) for slot, string, _ in asked.slots())


@cache
def asked_about() -> dict[str, list[tuple[Template, str]]]:
    """For each role of a fact its questions, and the variable or list that answers each."""
    world = World.of_tasks()
    table = {role: [row.split(" -> ") for row in rows]
             for role, rows in read_tables("tasks.toml")["questions"].items()}
    return {role: [(world.template(text), answer) for text, answer in rows] for role, rows in table.items()}


def questions(gazette: Gazette, split: str, n: int) -> list[Question]:
    """The first n questions of a split; so many in turn are about one passage."""
    town = Gazette(gazette.seed, World.of_tasks())
    found: list[Question] = []
    for i in range(-(-n // QUESTIONS_A_PASSAGE)):
        dice = town.dice(f"questions/{split}/{i}")
        facts = passage(town, dice)
        context = " ".join(fact.sentence.text for fact in facts)
        about: dict[str, Question] = {}
        while len(about) < QUESTIONS_A_PASSAGE:
            question = ask(town, dice, facts, context, f"{split}-{i}-{len(about)}")
            about.setdefault(question.question, question)
        found += about.values()
    return found[:n]


def passage(town: Gazette, dice: Dice) -> list[Fact]:
    """Facts of two roles in any order; those of one role share some of what they tell."""
    roles = dice.shuffled(list(asked_about()))[:2]
    facts: list[Fact] = []
    for role in roles:
        first = town.plan(dice, "harbour")
        for plan in (first, *(like(town, dice, first) for _ in range(FACTS_OF_A_KIND - 1))):
            facts.append(Fact(role, plan, town.write(dice, role, plan)))
    start, placed = 0, []
    for fact in dice.shuffled(facts):
        placed.append(Fact(fact.role, fact.plan, fact.sentence, start))
        start += len(fact.sentence.text) + 1
    return placed


def like(town: Gazette, dice: Dice, plan: Plan) -> Plan:
    """Another plan with half of the values of this one; the two people, or teams, may have changed sides."""
    while True:
        new = town.plan(dice, "harbour")
        other = {name: value if dice.roll(2) else plan[name] for name, value in new.items()}
        if dice.roll(3) == 0:
            other |= {"hero": plan["friend"], "friend": plan["hero"]}
            other |= {"team": plan["rival"], "rival": plan["team"]}
        if other["hero"] != other["friend"] and other["team"] != other["rival"]:
            return other


def ask(town: Gazette, dice: Dice, facts: Sequence[Fact], context: str, name: str) -> Question:
    """A question that one fact answers, or, one time in three, nearly answers."""
    has_answer = dice.roll(3) > 0
    while True:
        fact = facts[dice.roll(len(facts))]
        templates = asked_about()[fact.role]
        template, answer = templates[dice.roll(len(templates))]
        if fact.gap(answer) is None or not all(fact.said(p) for p in template.pieces if isinstance(p, Slot)):
            continue
        alike = [other for other in facts if other.role == fact.role]
        if has_answer:
            asked = fill(dice, template, fact, fact)
        else:                                         # what another one says, or one that is not there
            plan = town.plan(dice, "harbour")
            others = [*alike, Fact(fact.role, plan, town.write(dice, fact.role, plan))]
            asked = fill(dice, template, fact, others[dice.roll(len(others))])
        strings = [string for _, string, _ in asked.slots()]
        if len(set(strings)) < len(strings):          # nobody sells to himself
            continue
        meant = [other for other in alike if other.may_be_meant(asked)]
        if has_answer and meant == [fact]:
            return Question(asked.text, context, (locate(town, fact, answer),), name)
        if not has_answer and not meant:
            return Question(asked.text, context, (), name)


def fill(dice: Dice, template: Template, fact: Fact, other: Fact) -> Sentence:
    """A question about a fact, but for one thing, which is as in another fact."""
    slots = [piece for piece in template.pieces if isinstance(piece, Slot)]
    changed = slots[dice.roll(len(slots))]
    strings = []
    for piece in template.pieces:
        if isinstance(piece, Slot):
            said = (other.said(piece) if piece.source == changed.source else ()) or fact.said(piece)
            strings.append(said[dice.roll(len(said))])
        else:
            strings.append(piece)
    return Sentence(template, tuple(strings))


def locate(town: Gazette, fact: Fact, answer: str) -> Answer:
    """The answer in the passage: the name alone where a gap holds "at the Fish Market"."""
    string, start = fact.gap(answer) or ("", 0)
    variable = town.world.variables.get(answer)
    name = variable.values[fact.plan[answer]] if variable else string
    if name in string:
        start, string = start + string.index(name), name
    return Answer(fact.sentence.text[start:start + len(string)], fact.start + start)
