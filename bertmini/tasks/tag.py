"""Tagging: each word gets a label, and words in a row an entity (Devlin et al. 2018, section 5.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bertmini.config import BertConfig
from bertmini.data.batches import WHOLE, Batch, ByLength
from bertmini.data.tagged import Entity, Tagged, entities_of, labels_of, read_tagged
from bertmini.errors import InputError
from bertmini.inference import Precision, Rows, in_order, longest_row, refuse_nan
from bertmini.model.heads import IGNORED
from bertmini.model.tagging import (
    BertCrfForTokenClassification,
    BertFeaturesForTokenClassification,
    BertForTokenClassification,
    words_in_rows,
)
from bertmini.tokenizer.normalize import end_of_letter
from bertmini.training.loop import to_device

NAME = "tag"
METRIC = "f1"  # on the dev part; the weights with the best one are kept
MODEL = BertForTokenClassification
VARIANTS = (BertCrfForTokenClassification, BertFeaturesForTokenClassification)


def read(data: str, **reading: Any) -> dict[str, list[Tagged]]:
    """The examples by part; as `bertmini.data.tagged.read_tagged`."""
    return read_tagged(data, **reading)


def head(examples: Sequence[Tagged]) -> dict[str, Any]:
    """The fields of the configuration that the training examples fix.

    Raises:
        InputError: no word has a tag other than O.
    """
    labels = labels_of(examples)
    if len(labels) < 2:
        raise InputError("training examples: every tag is O; expected some that begin an entity, B-place say")
    return {"id2label": dict(enumerate(labels))}


def start(examples: Sequence[Tagged]) -> float:
    """The bias of a new head: no label is likelier than another."""
    return 0.0


def rows(examples: Sequence[Tagged], tokenizer: Any, max_length: int) -> int:
    """How many rows the examples make in training: a long one makes several."""
    return len(WordRows.of_words([example.words for example in examples], tokenizer, max_length).lengths)


@dataclass
class WordRows(Rows):
    """Rows of words in pieces, a long text in several that overlap; `owners` says whose row it is.

    Each word is tagged in one row alone, that in which the nearer end is farthest from it.
    """

    starts: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  # [tokens], where a word begins

    @classmethod
    def of_words(cls, texts: Sequence[Sequence[str]], tokenizer: Any, max_length: int) -> WordRows:
        """Encode the words of each text, in rows of at most `max_length` tokens.

        Raises:
            InputError: a row of that length has no room for a piece between [CLS] and [SEP].
        """
        if max_length < 3:
            raise InputError(f"max_length={max_length} has no room for a word; ask for at least 3")
        words = list(dict.fromkeys(chain.from_iterable(texts)))
        # A word of nothing that the tokenizer keeps, an invisible character say, is still to be tagged.
        unknown = [tokenizer.unk_token_id]
        encoded = tokenizer.encode_words(words)
        pieces = {word: ids or unknown for word, ids in zip(words, encoded, strict=True)}
        rows: list[np.ndarray] = []
        starts: list[np.ndarray] = []
        owners: list[int] = []
        for owner, text in enumerate(texts):
            ids = np.fromiter(chain.from_iterable(pieces[word] for word in text), np.int64)
            lengths = np.array([len(pieces[word]) for word in text], dtype=np.int64)
            for begin, end, of_row in windows(lengths.cumsum() - lengths, len(ids), max_length - 2):
                rows.append(np.array([tokenizer.cls_token_id, *ids[begin:end], tokenizer.sep_token_id]))
                starts.append(np.zeros(len(rows[-1]), bool))
                starts[-1][1 + of_row - begin] = True
                owners.append(owner)
        ids, lengths = np.concatenate(rows), np.array([len(row) for row in rows])
        return cls(
            ids,
            np.zeros_like(ids),
            lengths,
            tokenizer.pad_token_id,
            np.array(owners),
            np.concatenate(starts),
        )

    @property
    def words(self) -> np.ndarray:
        """How many words are tagged in each row: int64 [rows]."""
        return np.add.reduceat(self.starts, self.lengths.cumsum() - self.lengths, dtype=np.int64)

    def batch(self, chosen: np.ndarray) -> Batch:
        """Some rows as a tagger reads them: what a model reads, and bool word_starts [batch, length]."""
        batch, ends = super().batch(chosen), self.lengths.cumsum()
        of_rows = [self.starts[ends[row] - self.lengths[row] : ends[row]] for row in chosen]
        starts = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        starts[batch["attention_mask"].bool()] = torch.from_numpy(np.concatenate(of_rows))
        return batch | {"word_starts": starts}


def windows(first: np.ndarray, length: int, room: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut a text into windows that overlap by half or more, and give each word to one of them.

    Args:
        first: the place of each word's first piece, int64 [words].
        length: pieces of the text.
        room: pieces of a window.

    Returns:
        (begin, end, the places of the words that are its own) of each window.
    """
    number = 1 + -(-max(0, length - room) // max(1, room // 2))
    begins = np.linspace(0, max(0, length - room), number).round().astype(np.int64)
    # In windows of one length, the nearest middle is the one that leaves most context on the shorter side.
    middles = begins + (room - 1) / 2
    nearest = np.searchsorted((middles[1:] + middles[:-1]) / 2, first)  # of two that are as near the earlier
    for window, begin in enumerate(begins.tolist()):
        yield begin, min(begin + room, length), first[nearest == window]


@dataclass(repr=False)
class TagData(ByLength):
    """Batches of tagged words: what a tagger reads, and labels, int64 [batch, length], -100 but at words.

    Args:
        labels: the tags in the order of their numbers.
        max_length: tokens of a row; longer sentences have several.
        seed: every batch is a function of (seed, step).
        part: (rank, processes); each process gets its own rows of a batch.

    Raises:
        InputError: there is no example, one has no tags, or a tag that is not among `labels`.
    """

    examples: Sequence[Tagged]
    tokenizer: Any
    labels: Sequence[str]
    batch_size: int
    max_length: int
    seed: int
    part: tuple[int, int] = WHOLE

    def __post_init__(self) -> None:
        if not self.examples:
            raise InputError("there is no example in the data; expected one or more")
        self.rows = WordRows.of_words(
            [example.words for example in self.examples], self.tokenizer, self.max_length
        )
        self.targets = np.split(self._targets(), self.rows.words.cumsum()[:-1])  # of each row, [its words]
        super().__init__(self.rows.lengths.tolist(), self.batch_size, self.seed, self.part)

    def _targets(self) -> np.ndarray:
        """The tags of all words as numbers, int64 [words]."""
        number = {tag: i for i, tag in enumerate(self.labels)}
        for i, example in enumerate(self.examples, start=1):
            if example.tags is None or len(example.tags) != len(example.words):
                found = "no tags" if example.tags is None else f"{len(example.tags)} tags"
                raise InputError(f"example {i} has {found} for {len(example.words)} words; expected one each")
            if unknown := set(example.tags) - number.keys():
                known = ", ".join(self.labels)
                raise InputError(f"example {i} has the tag {min(unknown)!r}; expected one of {known}")
        return np.array([number[tag] for example in self.examples for tag in example.tags or ()], np.int64)

    def make(self, rows: np.ndarray) -> Batch:
        batch = self.rows.batch(rows)
        labels = torch.full_like(batch["input_ids"], IGNORED)
        labels[batch["word_starts"]] = torch.from_numpy(np.concatenate([self.targets[row] for row in rows]))
        return batch | {"labels": labels}


def data(
    examples: Sequence[Tagged],
    tokenizer: Any,
    config: BertConfig,
    batch_size: int = 32,
    max_length: int = 128,
    seed: int = 0,
) -> TagData:
    """Batches of tagged sentences, a row each, or several where one is longer than `max_length`.

    Args:
        config: says what the labels are.
        tokenizer, batch_size, max_length, seed: as for `TagData`.

    Raises:
        InputError: there is no example, or one has a tag that the model does not know.
    """
    return TagData(examples, tokenizer, tags_of(config), batch_size, max_length, seed)


def tags_of(config: BertConfig) -> list[str]:
    """The tags of a model by index."""
    # transformers leaves its own names for two labels out of config.json.
    return list((config.id2label or {0: "LABEL_0", 1: "LABEL_1"}).values())


def measure(truth: Sequence[Sequence[str]], answers: Sequence[Sequence[str]]) -> dict[str, Any]:
    """How good the answers are, by the rules of the CoNLL evaluation: an entity is right as a whole.

    Args:
        truth: the tags of each sentence.
        answers: a model's tags of each sentence.

    Returns:
        precision, recall and f1 of entities, whose words and kind must be right; accuracy of words; entities,
        a table of precision, recall, f1 and support by kind.
    """
    pairs = list(zip(truth, answers, strict=True))
    true, found = ({(i, *entity) for i, tags in enumerate(side) for entity in entities_of(tags)}
                   for side in (truth, answers))  # fmt: skip
    kinds = sorted({label for *_, label in true | found})
    of_kind = {
        kind: scores(*({entity for entity in side if entity[-1] == kind} for side in (true, found)))
        for kind in kinds
    }
    right = sum(a == b for tags, answer in pairs for a, b in zip(tags, answer, strict=True))
    words = sum(map(len, truth))
    overall = scores(true, found)
    del overall["support"]
    return overall | {"accuracy": right / max(1, words), "entities": of_kind}


def scores(true: set[Any], found: set[Any]) -> dict[str, Any]:
    """Precision, recall, F1 and support; a share of nothing is 0."""
    right = len(true & found)
    return {
        "precision": right / max(1, len(found)),
        "recall": right / max(1, len(true)),
        "f1": 2 * right / max(1, len(found) + len(true)),
        "support": len(true),
    }


@torch.no_grad()
def evaluate(model: BertForTokenClassification, data: TagData) -> dict[str, Any]:
    """`measure` on tagged sentences.

    Args:
        model: in evaluation mode.
        data: the sentences.
    """
    device, tags = next(model.parameters()).device, tags_of(model.config)
    of_rows: list[Any] = [None] * data.number
    for chosen in data.rows_for_evaluation():
        inputs = to_device(data.rows.batch(chosen), device)
        lengths = words_in_rows(inputs["word_starts"])
        for row, of_row in zip(chosen, decoded(model, model(**inputs).logits, lengths), strict=True):
            of_rows[row] = of_row
    answers = data.rows.by_owner(of_rows, len(data.examples))
    return measure(
        [example.tags or () for example in data.examples],
        [[tags[label] for label in whole(model, rows).labels] for rows in answers],
    )


class Decoded(NamedTuple):
    """The labels of a stretch of words, how sure each is, and what both were read from."""

    labels: list[int]
    sure: list[float]
    logits: Tensor  # float32 [words, labels]


def decoded(model: BertForTokenClassification, logits: Tensor, lengths: Tensor) -> Iterator[Decoded]:
    """The best labels of each of several rows, of the logits [words, labels] of all.

    Raises:
        InputError: the logits are no numbers.
    """
    logits = refuse_nan(logits.float())
    best = model.best(logits, lengths)
    chances = model.probabilities(logits, lengths).gather(1, best[:, None]).squeeze(1)
    parts = (part.split(lengths.tolist()) for part in (best, chances, logits))
    for labels, sure, of_row in zip(*parts, strict=True):
        yield Decoded(labels.tolist(), sure.tolist(), of_row)


def whole(model: BertForTokenClassification, rows: Sequence[Decoded]) -> Decoded:
    """What a text's rows say together: where labels depend on each other, also across the border of two."""
    if len(rows) == 1:
        return rows[0]
    logits = torch.cat([row.logits for row in rows])
    with torch.no_grad():
        return next(decoded(model, logits, torch.tensor([len(logits)], device=logits.device)))


@dataclass(frozen=True)
class Sentence:
    """A text with the (start, end) of each word in it."""

    text: str
    spans: Sequence[tuple[int, int]]

    @property
    def words(self) -> list[str]:
        return [self.text[start:end] for start, end in self.spans]


def as_sentence(given: Any, tokenizer: Any) -> Sentence:
    """Words, in any of the forms that people have them in; a text is split as BERT splits it.

    Raises:
        InputError: it holds no words.
    """
    if isinstance(given, dict) and len(given) == 1:
        given = given.get("text", given.get("words"))
    if isinstance(given, str):
        places = [place for _, place in tokenizer.normalizer.words(given)]
        return Sentence(given, [(place[0], end_of_letter(given, place[-1] + 1)) for place in places])
    words = given.words if isinstance(given, Tagged) else given
    if isinstance(words, list | tuple) and all(isinstance(word, str) for word in words):
        ends = np.cumsum([len(word) + 1 for word in words]).tolist()
        return Sentence(" ".join(words), [(a, b - 1) for a, b in pairwise([0, *ends])])
    raise InputError(f'{str(given)[:60]!r} is no text; expected a string, {{"text": …}} or {{"words": […]}}')


def predict(
    model: BertForTokenClassification,
    tokenizer: Any,
    inputs: Iterable[Any],
    batch_tokens: int | None = None,
    precision: Precision = "float32",
) -> Iterator[dict[str, Any]]:
    """Tags and entities for each text, in order.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        inputs: texts, {"text": …} or {"words": […]}, as many as you like, read as they are needed.
        batch_tokens, precision: as for `bertmini.Predictor`.

    Returns:
        {"words", "tags", "entities"}: an entity is {"text", "label", "start", "end", "score"}, its place in
        characters of the text, or of the words with a space between, and its score the mean of its words'.

    Raises:
        InputError: an input that holds no words.
    """
    tags, longest = tags_of(model.config), longest_row(tokenizer, model.config)

    def rows(sentences: Sequence[Sentence]) -> Rows:
        return WordRows.of_words([sentence.words for sentence in sentences], tokenizer, longest)

    def answer(batch: Batch) -> Iterator[Decoded]:
        return decoded(model, model(**batch).logits, words_in_rows(batch["word_starts"]))

    sentences = (as_sentence(given, tokenizer) for given in inputs)
    for sentence, of_rows in in_order(sentences, rows, answer, model, batch_tokens, precision):
        labels, sure, _ = whole(model, of_rows)
        of_words = [tags[label] for label in labels]
        yield {
            "words": sentence.words,
            "tags": of_words,
            "entities": [told(entity, sentence, sure) for entity in entities_of(of_words)],
        }


def told(entity: Entity, sentence: Sentence, sure: Sequence[float]) -> dict[str, Any]:
    """An entity with its place in the text, and the mean probability of its words."""
    start, end = sentence.spans[entity.start][0], sentence.spans[entity.end - 1][1]
    score = float(np.mean(sure[entity.start : entity.end]))
    place = {"start": start, "end": end, "score": round(score, 6)}
    return {"text": sentence.text[start:end], "label": entity.label, **place}
