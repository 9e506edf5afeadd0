"""Exact probabilities: every way to read a sentence, and the sum over all plans.

A reading of a sentence is one template and one way to fill it. Its probability is a number times, for
each hidden variable it speaks of, a vector over that variable's values: P(sentence, reading | plan) =
number * product of vector[value]. A document's readings multiply, and since the variables form a tree
(each is drawn given one parent), the sum over all plans is one pass from the leaves to the roots.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np

from bertmini.gazette.world import Slot, Story, Template, World, words_of

Words = tuple[str | None, ...]                        # None marks the masked word
ONE = np.ones(1)
literal_words = cache(words_of)                       # the literal parts of templates, split once
Match = tuple[int, str | None, str | None, np.ndarray]   # length, masked word, variable, P(words | value)


@dataclass(frozen=True)
class Reading:
    """number * product over variables of vector[value]; `masked` is the word at the masked place."""

    number: float = 1.0
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    masked: str | None = None

    def times(self, variable: str | None, vector: np.ndarray) -> Reading:
        """This reading and P(some words | value of variable): [values], or [1] without a variable."""
        if variable is None:
            return Reading(self.number * float(vector[0]), self.vectors, self.masked)
        product = self.vectors[variable] * vector if variable in self.vectors else vector
        return Reading(self.number, {**self.vectors, variable: product}, self.masked)

    def together(self, other: Reading) -> Reading:
        vectors = dict(self.vectors)
        for variable, vector in other.vectors.items():
            vectors[variable] = vectors[variable] * vector if variable in vectors else vector
        return Reading(self.number * other.number, vectors, self.masked or other.masked)

    def possible(self) -> bool:
        return self.number > 0 and all(vector.any() for vector in self.vectors.values())


def agrees(words: Words, pattern: Sequence[str]) -> bool:
    return len(words) == len(pattern) and all(
        word is None or word == other for word, other in zip(words, pattern, strict=True))


def merge(readings: Sequence[Reading]) -> list[Reading]:
    """Adds up readings that differ in nothing but their number."""
    if len(readings) < 2:
        return [reading for reading in readings if reading.possible()]
    groups: dict[tuple, Reading] = {}
    for reading in filter(Reading.possible, readings):
        key = (reading.masked, *sorted((name, vector.tobytes()) for name, vector in reading.vectors.items()))
        number = reading.number + (groups[key].number if key in groups else 0.0)
        groups[key] = Reading(number, reading.vectors, reading.masked)
    return list(groups.values())


class Exact:
    """The sums of one world."""

    def __init__(self, world: World):
        self.world = world
        self._readings: dict[tuple[str, Words], list[Reading]] = {}

    # --- readings -------------------------------------------------------------------------------------

    def fill(self, template: Template, words: Words) -> Iterator[Reading]:
        """All ways in which a template gives these words."""
        stack = [(0, 0, Reading())]                   # next piece, next word, what was read so far
        while stack:
            place, start, reading = stack.pop()
            if place == len(template.pieces):
                if start == len(words):
                    yield reading
                continue
            for length, masked, variable, vector in self._matches(template.pieces[place], words, start):
                following = reading.times(variable, vector)
                if masked is not None:
                    following = Reading(following.number, following.vectors, masked)
                stack.append((place + 1, start + length, following))

    def _matches(self, piece: str | Slot, words: Words, start: int) -> Iterator[Match]:
        if isinstance(piece, str):
            pattern = literal_words(piece)
            here = words[start:start + len(pattern)]
            if agrees(here, pattern):
                masked = pattern[here.index(None)] if None in here else None
                yield len(pattern), masked, None, ONE
            return
        for length in piece.lengths:
            here = words[start:start + length]
            if len(here) < length:
                return
            if None not in here:
                vector = piece.likelihood.get(here)           # type: ignore[arg-type]
                if vector is not None:
                    yield length, None, piece.variable, vector
                continue
            gap = here.index(None)
            for pattern, vector in piece.likelihood.items():
                if agrees(here, pattern):
                    yield length, pattern[gap], piece.variable, vector

    def readings(self, role_name: str, words: Words) -> list[Reading]:
        """All readings of a sentence in a role, the choice of the template included."""
        role = self.world.roles[role_name]
        found = []
        for value, (templates, bounds) in enumerate(zip(role.templates, role.bounds, strict=True)):
            switch = np.zeros(len(role.templates))
            switch[value] = 1.0
            for template, weight in zip(templates, np.diff(bounds, prepend=0), strict=True):
                found += [reading.times(None, ONE * weight / bounds[-1]).times(role.variable, switch)
                          for reading in self.fill(template, words)]
        return merge(found)

    def _cached(self, role: str, words: Words) -> list[Reading]:
        if None in words:
            return self.readings(role, words)
        key = (role, words)
        if key not in self._readings:
            if len(self._readings) > 100_000:
                self._readings.clear()
            self._readings[key] = self.readings(role, words)
        return self._readings[key]

    # --- sums over plans ------------------------------------------------------------------------------

    def prior(self, story: Story, variable: str) -> np.ndarray:
        weights = story.priors.get(variable, self.world.variables[variable].weights)
        return weights / weights.sum(axis=1, keepdims=True)

    @cached_property
    def _priors(self) -> dict[str, dict[str, np.ndarray]]:
        return {story.name: {name: self.prior(story, name) for name in self.world.variables}
                for story in self.world.stories}

    def evidence(self, story: Story, vectors: dict[str, np.ndarray]) -> float:
        """Sum over all plans of P(plan | story) * product of vector[value], from leaves to roots."""
        vectors = dict(vectors)
        total = 1.0
        for name in reversed(self.world.variables):   # children stand after their parents
            if name in vectors:
                message = self._priors[story.name][name] @ vectors[name]     # [parent's values or 1]
                parent = self.world.variables[name].parent
                if parent is None:
                    total *= float(message[0])
                else:
                    vectors[parent] = vectors[parent] * message if parent in vectors else message
        return total

    def documents(self, sentences: Sequence[Words]) -> Iterator[tuple[float, Story, list[Reading]]]:
        """For each story and shape that can give these sentences: its probability and readings."""
        stories = self.world.stories
        for story in stories:
            share = story.weight / sum(other.weight for other in stories)
            for shape, weight in zip(story.shapes, np.diff(story.bounds, prepend=0), strict=True):
                if len(shape) != len(sentences):
                    continue
                readings = [Reading()]
                for role, words in zip(shape, sentences, strict=True):
                    fitting = self._cached(role, words)
                    readings = merge([one.together(other) for one in readings for other in fitting])
                    if not readings:
                        break
                else:
                    yield share * weight / story.bounds[-1], story, readings

    def probability(self, sentences: Sequence[Words]) -> float:
        return math.fsum(share * reading.number * self.evidence(story, reading.vectors)
                         for share, story, readings in self.documents(sentences) for reading in readings)

    def masked_word(self, sentences: Sequence[Words]) -> dict[str, float]:
        """P(the word at None | all others), the likeliest first; empty where no text fits."""
        scores: dict[str, float] = defaultdict(float)
        for share, story, readings in self.documents(sentences):
            for reading in readings:
                if reading.masked is not None:
                    scores[reading.masked] += share * reading.number * self.evidence(story, reading.vectors)
        total = math.fsum(scores.values())
        ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        return {word: float(score / total) for word, score in ranked if score > 0}

    def posterior(self, sentences: Sequence[Words], variable: str) -> dict[str, float]:
        """P(a hidden variable | all words)."""
        values = self.world.variables[variable].values
        scores = np.zeros(len(values))
        for share, story, readings in self.documents(sentences):
            for reading in readings:
                for value in range(len(values)):
                    fixed = reading.times(variable, np.eye(len(values))[value])
                    scores[value] += share * reading.number * self.evidence(story, fixed.vectors)
        if not scores.any():
            return {}
        return dict(zip(values, (scores / scores.sum()).tolist(), strict=True))

