"""More examples from few: copies with a few words changed (Wei & Zou 2019, arXiv 1901.11196)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.tokenizer.normalize import is_cjk, is_punctuation


@dataclass(frozen=True)
class Gap:
    """A place for a word, and the word that stood there ("" where none did)."""

    was: str = ""


Words = list[str | Gap]
# Texts with [MASK] in their gaps to the words that may stand there, each with how likely it is: a list a gap.
Fill = Callable[[Sequence[str]], Iterable[list[dict[str, float]]]]


def words_of(text: str) -> list[str]:
    """The words of a text, and its punctuation marks and Chinese characters, each as a word."""
    alone = (f" {c} " if is_cjk(c) or is_punctuation(c) else c for c in text)
    return "".join(alone).split()


def swap_words(words: list[str], share: float, chance: random.Random) -> Words:
    """So many times, two words change places."""
    swapped, places = list(words), word_places(words)
    if len(places) > 1:
        for _ in range(number_of(places, share)):
            one, other = chance.sample(places, 2)
            swapped[one], swapped[other] = swapped[other], swapped[one]
    return list(swapped)


def delete_words(words: list[str], share: float, chance: random.Random) -> Words:
    """Each word is left out with this probability; one stays in any case."""
    places = word_places(words)
    left_out = {place for place in places if chance.random() < share}
    if len(left_out) == len(places):
        left_out.discard(chance.choice(places))
    return [word for place, word in enumerate(words) if place not in left_out]


def replace_words(words: list[str], share: float, chance: random.Random) -> Words:
    """So many words become gaps, which others fill."""
    places = word_places(words)
    chosen = set(chance.sample(places, number_of(places, share)))
    return [Gap(word) if place in chosen else word for place, word in enumerate(words)]


def insert_words(words: list[str], share: float, chance: random.Random) -> Words:
    """So many gaps are put between words."""
    longer: Words = list(words)
    for _ in range(number_of(word_places(words), share)):
        longer.insert(chance.randrange(len(longer) + 1), Gap())
    return longer


OPERATIONS = {"replace": replace_words, "insert": insert_words, "swap": swap_words, "delete": delete_words}
WITH_GAPS = ("replace", "insert")


def word_places(words: Sequence[str]) -> list[int]:
    """Where words stand that are no punctuation marks."""
    return [place for place, word in enumerate(words) if word[0].isalnum()]


def number_of(places: Sequence[int], share: float) -> int:
    """How many words are changed: the share, one at least."""
    return max(1, int(share * len(places)))


def augmented(
    examples: Sequence[Example],
    copies: int,
    fill: Fill | None = None,
    operations: Sequence[str] = tuple(OPERATIONS),
    share: float = 0.1,
    seed: int = 0,
) -> list[Example]:
    """The examples, and after them so many copies of each with a few words changed and the same label.

    Args:
        examples: texts; of a pair, one of the two is changed. Texts without a word are not copied.
        copies: of each example; each is made by one of the operations, drawn at random.
        fill: fills the gaps of "replace" and "insert", as `bertmini.tasks.fill.proposals` does. Wei & Zou
            take synonyms from WordNet; a masked model needs no such list (Kobayashi 2018, arXiv 1805.06201).
        operations: some of `OPERATIONS`.
        share: of the words that are changed, one word at least; α in the paper.
        seed: the same seed gives the same copies.

    Raises:
        InputError: an unknown operation, or one that needs `fill` without it.
    """
    for name in operations:
        if name not in OPERATIONS:
            raise InputError(f"operation {name!r}; expected some of {', '.join(OPERATIONS)}")
        if name in WITH_GAPS and fill is None:
            raise InputError(f"operation {name!r} needs a masked model to fill gaps; take swap and delete")
    chance, changed = random.Random(seed), []
    for _ in range(copies):
        for example in examples:
            part = chance.choice(("text", "pair")) if example.pair else "text"
            words = words_of(getattr(example, part))
            if word_places(words):
                operation = OPERATIONS[chance.choice(list(operations))]
                changed.append((example, part, operation(words, share, chance)))
    texts = filled([words for *_, words in changed], fill, chance)
    made = [replace(example, **{part: text}) for (example, part, _), text in zip(changed, texts, strict=True)]
    return [*examples, *made]


def filled(texts: Sequence[Words], fill: Fill | None, chance: random.Random) -> list[str]:
    """Texts without gaps: each has one of the words that may stand there, or what stood there before."""
    open_texts = [words for words in texts if any(isinstance(word, Gap) for word in words)]
    asked = [" ".join("[MASK]" if isinstance(word, Gap) else word for word in words) for words in open_texts]
    proposals = iter(fill(asked) if fill and asked else ())
    done = []
    for words in texts:
        candidates = iter(next(proposals) if any(isinstance(word, Gap) for word in words) else ())
        written = [
            fitting(word, next(candidates, {}), chance) if isinstance(word, Gap) else word for word in words
        ]
        done.append(" ".join(filter(None, written)))
    return done


def fitting(gap: Gap, candidates: dict[str, float], chance: random.Random) -> str:
    """A word for a gap, drawn by how likely the candidates are; never the one that stood there."""
    others = {word: p for word, p in candidates.items() if p and word.lower() != gap.was.lower()}
    if not others:
        return gap.was
    return chance.choices(list(others), list(others.values()))[0]


def oversampled(examples: Sequence[Example], seed: int = 0) -> list[Example]:
    """The examples, those of rarer labels again and again, until each label has as many as the commonest.

    Args:
        examples: with labels.
        seed: chooses which ones come once more than the others.
    """
    of_label: dict[str, list[Example]] = {}
    for example in examples:
        of_label.setdefault(str(example.label), []).append(example)
    most, chance = max(map(len, of_label.values())), random.Random(seed)
    again = [
        each
        for some in of_label.values()
        for each in some * (most // len(some) - 1) + chance.sample(some, most % len(some))
    ]
    return [*examples, *again]
