"""Named entities: the words of short news items, tagged with the kinds of names in them."""

from __future__ import annotations

from bertmini.data.tagged import Tagged
from bertmini.gazette.gazette import Dice, Document, Gazette
from bertmini.gazette.names import names, tagged
from bertmini.gazette.world import Sentence, Story, World


def entities(gazette: Gazette, split: str, n: int) -> list[Tagged]:
    """Three sentences of one plan: one of a story, and two in which names are not what they seem."""
    town = Gazette(gazette.seed, World.of_tasks())
    return [item(town, town.dice(f"entities/{split}/{i}")) for i in range(n)]


def item(town: Gazette, dice: Dice) -> Tagged:
    story = town.world.stories[dice.roll(len(town.world.stories))]
    role = story.shapes[0][dice.roll(len(story.shapes[0]))]
    plan = two_families(town, dice, story)
    sentences = [town.write(dice, role, plan), town.write(dice, "naming", plan)]
    while (other := town.write(dice, "naming", plan)).template is sentences[1].template:
        pass
    return tags(*sentences, other)


def two_families(town: Gazette, dice: Dice, story: Story) -> dict[str, int]:
    """A plan whose two people have different last names, so that a last name means one of them."""
    last = town.world.variables["hero"].facets["last"]
    while last[(plan := town.plan(dice, story.name))["hero"]] == last[plan["friend"]]:
        pass
    return plan


def tags(*sentences: Sentence) -> Tagged:
    """The words of all sentences, and a BIO tag for each."""
    parts = [tagged(sentence.text, names(sentence)) for sentence in sentences]
    return Tagged(tuple(word for words, _ in parts for word in words),
                  tuple(tag for _, of_words in parts for tag in of_words))


def document_tags(document: Document) -> Tagged:
    """The words of a document of the corpus, and a BIO tag for each: which words belong to names."""
    return tags(*document.written)
