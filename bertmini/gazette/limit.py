"""The limit: how well one masked word can be predicted from all others, by anyone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bertmini.errors import InputError
from bertmini.gazette.gazette import Document, Gazette
from bertmini.gazette.world import words_of


@dataclass(frozen=True)
class Limit:
    """Means over the sampled positions: loss in nats, accuracy as a share, and how many positions."""

    loss: float
    accuracy: float
    positions: int


def limit(gazette: Gazette, documents: Sequence[Document], positions: int = 2000, seed: int = 0,
          keep: Callable[[str], bool] | None = None) -> Limit:
    """The best possible masked-word loss and accuracy, which no model can beat on average.

    It conditions on every other word and punctuation mark of the whole document, on where each sentence
    ends, and on the masked place holding exactly one word. A model that sees less (a window that cuts the
    document, several masks at once) is further from it; one that is scored on word pieces must be scored
    on words that are one piece, renormalised over those (`keep`), to be compared. Over all words and marks of
    Port Quill it is about 0.19 nats and 93 % (tests/test_gazette_town.py).

    Args:
        gazette: whose world the documents come from.
        documents: as `gazette.documents` returns them.
        positions: how many masked places to draw, uniformly over all words of the documents.
        seed: of the draw.
        keep: which lower-cased words count: places that hold another are skipped, and the distribution is
            renormalised over those kept. By default all words and marks.

    Raises:
        InputError: no word of the documents counts.
    """
    read = [[words_of(sentence) for sentence in document.sentences] for document in documents]
    places = [(d, s, w) for d, sentences in enumerate(read) for s, words in enumerate(sentences)
              for w, word in enumerate(words) if keep is None or keep(word)]
    if not places:
        raise InputError(f"{len(documents)} documents have no word that counts; give others, or another keep")
    dice = gazette.dice(f"limit/{seed}")
    loss, right = 0.0, 0
    for _ in range(positions):
        d, s, w = places[dice.roll(len(places))]
        chances = gazette.masked_word(documents[d].sentences, s, w)
        if keep is not None:
            chances = {word: chance for word, chance in chances.items() if keep(word)}
        truth = read[d][s][w]
        loss -= math.log(chances[truth] / math.fsum(chances.values()))
        right += next(iter(chances)) == truth
    return Limit(loss / positions, right / positions, positions)
