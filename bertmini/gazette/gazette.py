"""The Port Quill Gazette: documents from a seed, with exact probabilities."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bertmini.errors import InputError
from bertmini.gazette.exact import Exact, Words
from bertmini.gazette.names import Name, names
from bertmini.gazette.world import Choice, Sentence, Slot, Story, World, words_of

GAZETTE_VERSION = "1"                                 # part of every seed: a new version is a new corpus
SPLITS = ("train", "dev", "test")
T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """One text and the plan behind it.

    `kind` is article, letter or notice; `topic` names the story; `emotion` is the writer's, in letters;
    `plan` holds the value of each hidden variable that the story speaks of, `roles` what each sentence does,
    `written` each sentence piece by piece.
    """

    kind: str
    topic: str
    sentences: list[str]
    plan: dict[str, str]
    roles: tuple[str, ...]
    written: tuple[Sentence, ...] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        return " ".join(self.sentences)

    @property
    def names(self) -> list[list[Name]]:
        """The names in each sentence: of people, places, ships and so on (`bertmini.gazette.names`)."""
        return [names(sentence) for sentence in self.written]

    @property
    def emotion(self) -> str | None:
        return self.plan.get("emotion")


def collisions(documents: Iterable[Document], others: Iterable[Document]) -> int:
    """How many of these texts stand among the others: splits are independent, nothing is rejected."""
    known = {other.text for other in others}
    return sum(document.text in known for document in documents)


class Dice:
    """Whole numbers from a key: SHAKE-256 read 8 bytes at a time, the same on every machine for ever."""

    def __init__(self, key: str):
        self.key, self.page = key, 0
        self.numbers: Iterator[int] = iter(())

    def roll(self, sides: int) -> int:
        for number in self.numbers:
            return number * sides >> 64               # the bias is below sides / 2**64
        page = hashlib.shake_256(f"{self.key}/{self.page}".encode()).digest(1024)
        self.page += 1
        self.numbers = iter(np.frombuffer(page, dtype="<u8").tolist())
        return self.roll(sides)

    def pick(self, bounds: Sequence[int]) -> int:
        """An index, with the probabilities that the running sums say."""
        return bisect_right(bounds, self.roll(bounds[-1]))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in another order (Fisher and Yates 1938)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            chosen = self.roll(last + 1)
            order[last], order[chosen] = order[chosen], order[last]
        return order


class Gazette:
    """A generator of texts that knows how probable each of its texts is.

    Probabilities are those of the lower-cased words and punctuation marks, split as BERT's pre-tokenizer
    splits them; capitals and spaces are typography.

    Args:
        seed: documents of different seeds are independent.
        world: what can be said; by default Port Quill. `World(tables)` makes another.
    """

    def __init__(self, seed: int = 0, world: World | None = None):
        self.seed = seed
        self.world = world or World.port_quill()
        self.exact = Exact(self.world)
        self._bounds = {
            story.name: {name: np.cumsum(story.priors.get(name, variable.weights), axis=1).tolist()
                         for name, variable in self.world.variables.items()}
            for story in self.world.stories}

    # --- writing --------------------------------------------------------------------------------------

    def documents(self, n: int, split: str = "train", kind: str | None = None) -> list[Document]:
        """The first n documents of a split; document i is the same whatever n is.

        Args:
            n: how many.
            split: train, dev or test: three independent streams.
            kind: only articles, letters or notices; again a stream of its own.

        Raises:
            InputError: an unknown split or kind.
        """
        if split not in SPLITS:
            raise InputError(f"gazette: found split {split!r}; expected one of {', '.join(SPLITS)}")
        stories = [story for story in self.world.stories if kind in (None, story.kind)]
        if not stories:
            raise InputError(f"gazette: found kind {kind!r}; expected one of "
                             + ", ".join(sorted({story.kind for story in self.world.stories})))
        bounds = np.cumsum([story.weight for story in stories]).tolist()
        return [self._write(self.dice(f"{kind or 'all'}/{split}/{i}"), stories, bounds) for i in range(n)]

    def dice(self, stream: str) -> Dice:
        return Dice(f"port quill gazette {GAZETTE_VERSION}/{self.seed}/{stream}")

    def _write(self, dice: Dice, stories: Sequence[Story], bounds: Sequence[int]) -> Document:
        story = stories[dice.pick(bounds)]
        shape = story.shapes[dice.pick(story.bounds)]
        plan = self.plan(dice, story.name)
        written = tuple(self.write(dice, role, plan) for role in shape)
        said = {name: self.world.variables[name].values[plan[name]]
                for name in self.world.variables if name in story.variables}
        return Document(story.kind, story.name, [s.text for s in written], said, shape, written)

    def plan(self, dice: Dice, story: str) -> dict[str, int]:
        """Draws every hidden variable of a story, each given its parent: name -> index of its value."""
        plan: dict[str, int] = {}
        for name, variable in self.world.variables.items():
            row = plan[variable.parent] if variable.parent else 0
            plan[name] = dice.pick(self._bounds[story][name][row])
        return plan

    def sentence(self, dice: Dice, role_name: str, plan: Mapping[str, int]) -> str:
        """The text of one sentence of a role, given the plan and independent of all other sentences."""
        return self.write(dice, role_name, plan).text

    def write(self, dice: Dice, role_name: str, plan: Mapping[str, int]) -> Sentence:
        """One sentence of a role, as `sentence`, with the template and what fills its gaps."""
        role = self.world.roles[role_name]
        row = plan[role.variable] if role.variable else 0
        template = role.templates[row][dice.pick(role.bounds[row])]
        strings = []
        for piece in template.pieces:
            if isinstance(piece, Slot):
                choice: Choice = piece.choices[plan[piece.variable] if piece.variable else 0]
                strings.append(choice.strings[dice.pick(choice.bounds)])
            else:
                strings.append(piece)
        return Sentence(template, tuple(strings))

    # --- what it knows --------------------------------------------------------------------------------

    def read(self, text: str | Sequence[str]) -> list[Words]:
        """Sentences as tuples of words; a text is cut after each full stop, question or exclamation mark."""
        sentences = re.findall(r'[^.?!]*[.?!]"?|[^.?!]+$', text.strip()) if isinstance(text, str) else text
        return [words_of(sentence) for sentence in sentences]

    def log_prob(self, text: str | Sequence[str]) -> float:
        """Natural logarithm of the probability that a document is this text; -inf if none is.

        Args:
            text: the text, or its sentences.
        """
        probability = self.exact.probability(self.read(text))
        return float(np.log(probability)) if probability > 0 else float("-inf")

    def masked_word(self, sentences: Sequence[str], sentence_index: int, word_index: int) -> dict[str, float]:
        """The exact distribution of one word, given all other words and where sentences end.

        Args:
            sentences: the document.
            sentence_index: which sentence, from 0.
            word_index: which of its words and punctuation marks (`words_of`), from 0.

        Returns:
            lower-cased word -> probability, the likeliest first; empty if no text fits the others.

        Raises:
            InputError: there is no such word.
        """
        read = self.read(list(sentences))
        if not (0 <= sentence_index < len(read) and 0 <= word_index < len(read[sentence_index])):
            raise InputError(f"gazette: no word {word_index} in sentence {sentence_index} of a document of "
                             f"{len(read)} sentences; count both from 0")
        words = read[sentence_index]
        read[sentence_index] = (*words[:word_index], None, *words[word_index + 1:])
        return self.exact.masked_word(read)

    # --- tasks ----------------------------------------------------------------------------------------

    def task(self, name: str, split: str = "train", n: int | None = None) -> list[Any]:
        """Labelled examples; the labels come from the plans (see bertmini.gazette.tasks).

        Args:
            name: topic, emotion, acceptability, similarity, paraphrase, inference, entities, questions,
                continuation or quillish.
            split: train, dev or test.
            n: how many; by default 4,000 for train (10,000 of quillish) and 1,000 for the others.
        """
        from bertmini.gazette.tasks import task
        return task(self, name, split, n)

    def export(self, name: str, directory: str | Path, n: int | None = None) -> list[Path]:
        """Writes a task, or `corpus`, in the formats that people have; returns the files' paths.

        Args:
            name: that of a task, or corpus.
            directory: where; it must not have such files yet.
            n: how many examples or documents in the train part; by default the task's own number.
        """
        from bertmini.gazette.export import export
        return export(self, name, Path(directory), n)
