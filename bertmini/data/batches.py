"""Batches, each a pure function of (seed, step): a run that was interrupted goes on with the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bertmini.data.corpus import Corpus
from bertmini.data.masking import RATE, Units, mask_tokens
from bertmini.data.pairs import (
    Pairs,
    order_examples,
    pair_examples,
    sentence_examples,
    sentence_pair_examples,
    stretch_examples,
)
from bertmini.data.task_files import Example
from bertmini.errors import InputError

if TYPE_CHECKING:
    from bertmini.data.prepare import Prepared

Batch = dict[str, torch.Tensor]
WHOLE = (0, 1)  # the part of a process that is alone
# What is said about a pair of passages: the name of the loss, and of the label in a batch.
PAIR_LABELS = {"nsp": "next_sentence_label", "sop": "sentence_order_label"}
# What a model reads at once; Liu et al. 2019, section 4.2, compare the first four.
INPUTS: dict[str, Callable[[Corpus, int, int, int], Pairs]] = {
    "segment-pairs": pair_examples,
    "sentence-pairs": sentence_pair_examples,
    "full-sentences": partial(sentence_examples, across=True),
    "doc-sentences": sentence_examples,
    "stretches": stretch_examples,
    "ordered-pairs": order_examples,
}


@dataclass(frozen=True)
class Objective:
    """What a model is trained to say, and what it reads for that.

    Args:
        inputs: names in `INPUTS`; the first one is taken where nobody asks for another.
        pair_label: what a batch calls the answer about a pair of passages; None: nothing is asked about them.
        direction: as in `BertConfig`.
    """

    inputs: tuple[str, ...]
    pair_label: str | None = None
    direction: str | None = None


WITHOUT_ANSWER = ("stretches", "doc-sentences", "full-sentences", "segment-pairs", "sentence-pairs")
OBJECTIVES = {
    "mlm+nsp": Objective(("segment-pairs", "sentence-pairs"), PAIR_LABELS["nsp"]),
    "mlm+sop": Objective(("ordered-pairs",), PAIR_LABELS["sop"]),
    "mlm": Objective(WITHOUT_ANSWER),
    "ltr": Objective(WITHOUT_ANSWER, direction="left-to-right"),
    "rtl": Objective(WITHOUT_ANSWER, direction="right-to-left"),
}


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> torch.Tensor:
    """Fill rows up to the longest: int64 [batch, length]."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[pad_id] * (length - len(row))] for row in rows])


def pad_inputs(
    input_ids: Sequence[Sequence[int]], token_type_ids: Sequence[Sequence[int]], pad_id: int
) -> Batch:
    """What a model reads: input_ids, token_type_ids, attention_mask, each int64 [batch, length]."""
    return {
        "input_ids": pad(input_ids, pad_id),
        "token_type_ids": pad(token_type_ids, 0),
        "attention_mask": pad([[1] * len(row) for row in input_ids], 0),
    }


def lay_out(token_ids: np.ndarray, pairs: Pairs, rows: np.ndarray, tokenizer: Any) -> Batch:
    """Examples as a model reads them, [CLS] A [SEP] B [SEP], or [CLS] A [SEP] where B is empty.

    RoBERTa's have two separators between A and B.

    Args:
        token_ids: of the corpus, [tokens].
        rows: which of the pairs, [batch].

    Returns:
        input_ids, token_type_ids, attention_mask, each int64 [batch, length].
    """
    a_start, b_start = pairs.a_start[rows, None], pairs.b_start[rows, None]  # [batch, 1]
    a_length, b_length = pairs.a_end[rows, None] - a_start, pairs.b_end[rows, None] - b_start
    first_sep, separators = 1 + a_length, tokenizer.separators
    last_sep = first_sep + np.where(b_length > 0, b_length + separators, 0)
    place = np.arange(last_sep.max() + 1)[None]  # [1, length]

    source = np.where(place < first_sep, a_start + place - 1, b_start + place - first_sep - separators)
    input_ids = token_ids[source.clip(0, len(token_ids) - 1)].astype(np.int64)  # [batch, length]
    input_ids[:, 0] = tokenizer.cls_token_id
    is_between = (first_sep <= place) & (place < first_sep + separators)
    input_ids[is_between | (place == last_sep)] = tokenizer.sep_token_id
    input_ids[place > last_sep] = tokenizer.pad_token_id
    return {
        "input_ids": torch.from_numpy(input_ids),
        "token_type_ids": torch.from_numpy((place >= first_sep + separators) & (place <= last_sep)).long(),
        "attention_mask": torch.from_numpy(place <= last_sep).long(),
    }


def coming_next(input_ids: torch.Tensor, is_text: torch.Tensor, direction: str) -> torch.Tensor:
    """The labels of a model that reads one way: at each token the next one, where that is text.

    Args:
        input_ids: int64 [batch, length].
        is_text: bool [batch, length], False at special tokens.
        direction: a name in `bertmini.config.DIRECTIONS`.

    Returns:
        int64 [batch, length]; -100 where nothing is asked for.
    """
    labels = torch.where(is_text, input_ids, -100).roll(-1 if direction == "left-to-right" else 1, dims=1)
    labels[:, -1 if direction == "left-to-right" else 0] = -100  # what went around the end
    return labels


def own_rows(number: int, part: tuple[int, int]) -> slice:
    """The rows of a batch that one of several processes reads; the first one where none is left for it."""
    rank, processes = part
    return slice(rank, None, processes) if rank < number else slice(0, 1)


def without_a_say(batch: Batch, number: int, part: tuple[int, int]) -> Batch:
    """A batch without targets where the batch of all processes has no row left for this one.

    Processes wait for each other in every step, so that none may leave one out.
    """
    if part[0] < number:
        return batch
    targets = batch.keys() & {"labels", *PAIR_LABELS.values(), "start_positions", "end_positions"}
    return batch | {name: torch.full_like(batch[name], -100) for name in targets}


def length_batches(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, number: int | None = None
) -> list[np.ndarray]:
    """Group examples of like length, so that little of a batch is padding.

    They are shuffled, sorted by length within pools, and cut; then the batches are shuffled. A pool is 128
    batches, and a sixth of a small set: sorted as a whole, its examples would meet the same ones in each
    epoch.

    Args:
        number: of batches, where they are to be so many and their sizes may differ a little from batch_size.

    Returns:
        A batch as example numbers, int64 [batch]; every example is in one.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    pool_size = batch_size * max(2, min(128, len(order) // batch_size // 6))
    pool = np.arange(len(order)) // pool_size
    order = order[np.lexsort((lengths[order], pool))]
    batches = np.split(order, range(batch_size, len(order), batch_size))
    if number and number != len(batches):
        batches = np.array_split(order, min(number, len(order)))
    return [batches[i] for i in rng.permutation(len(batches))]


@dataclass(repr=False)
class PretrainingData:
    """Batches for pretraining; `len` is the number of steps in an epoch, and steps never end.

    An epoch takes the blocks of a corpus one after another, in an order of its own. How many batches each of
    them gives is planned, so that a step needs no history: epochs differ a little in their examples.

    Args:
        corpus: one, or a sequence of such blocks with their `sizes`, as `Prepared` is.
        tokenizer: gives the special ids and the size of the vocabulary.
        max_length: tokens of an example, special ones included.
        seed: every batch is a function of (seed, step).
        objective: a name in `OBJECTIVES`: pieces are masked ("mlm"), and a pair of passages is asked about
            (next sentence, "nsp", or their order, "sop"); or the next piece in one direction is asked for.
        inputs: a name in `INPUTS` that the objective allows; None: its first.
        rate: share of the tokens that is masked.
        weights: of each piece, [vocab], by which single tokens are chosen, as `rarity_weights` gives them;
            None: all alike.
        static_masks: None draws pairs and masks anew for each epoch; n draws them n times, then repeats
            them, as BERT's own data did with n = 10.
        part: (rank, processes); each process gets its own rows of a batch, masked as one process masks them.
        units: which tokens are masked together, a value of `bertmini.data.masking.MASKING`; None: none.
    """

    corpus: Corpus | Prepared
    tokenizer: Any
    batch_size: int
    max_length: int
    seed: int
    objective: str = "mlm+nsp"
    static_masks: int | None = None
    part: tuple[int, int] = WHOLE
    units: Units | None = None
    inputs: str | None = None
    rate: float = RATE
    weights: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(f"objective is {self.objective!r}; expected one of {', '.join(OBJECTIVES)}")
        if not 0 < self.rate < 1:
            raise InputError(f"the masking rate is {self.rate}; it must be between 0 and 1")
        self.asked = OBJECTIVES[self.objective]
        if self.weights is not None and (self.units or self.asked.direction):
            raise InputError(
                "weights choose single pieces to mask; leave them out where units of several are masked, or "
                f"none (the objective is {self.objective})"
            )
        self.inputs = self.inputs or self.asked.inputs[0]
        if self.inputs not in self.asked.inputs:
            raise InputError(
                f"inputs is {self.inputs!r}; the objective {self.objective} expects one of "
                f"{', '.join(self.asked.inputs)}"
            )
        self.special_ids = sorted(self.tokenizer.all_special_ids)
        self._block = lru_cache(maxsize=1)(self._make_block)
        self._order = lru_cache(maxsize=1)(self._make_order)
        self._planned = self._plan()  # int64 [blocks], batches

    def __len__(self) -> int:
        return int(self._planned.sum())

    @property
    def _blocks(self) -> Sequence[Corpus]:
        return self.corpus if isinstance(self.corpus, Sequence) else [self.corpus]

    def _plan(self) -> np.ndarray:
        """The batches of each block: a count for the first one, an estimate by it for the others."""
        *_, first = self._block(0, 0)
        if not isinstance(self.corpus, Sequence):
            return np.array([len(first)])
        documents, tokens = self.corpus.sizes.T
        examples = tokens / self.max_length + documents / 2  # the last example of a document is not full
        return (len(first) * examples / examples[0]).round().clip(1).astype(np.int64)

    def _make_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The blocks in an epoch's order, and the number of batches before the end of each."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self._planned))
        return order, self._planned[order].cumsum()

    def _make_block(self, epoch: int, block: int) -> tuple[Corpus, Pairs, list[np.ndarray]]:
        draw = epoch * len(self._blocks) + block  # each has its own
        corpus, number = self._blocks[block], None
        if self.inputs == "full-sentences":
            corpus = corpus.separated(self.tokenizer.sep_token_id)
        length = self.max_length
        if self.inputs and self.inputs.endswith("pairs"):
            more = self.tokenizer.separators - 1  # than the one that examples are made for
            if more and length < 5 + more:
                row = f"<s> a {'</s>' * (1 + more)} b </s>"
                raise InputError(f"max_length is {length}; expected at least {5 + more}, for {row}")
            length -= more
        pairs = INPUTS[str(self.inputs)](corpus, length, self.seed, draw)
        if epoch or block:
            number = int(self._planned[block])
        return corpus, pairs, length_batches(pairs.lengths, self.batch_size, self.seed, draw, number)

    def _find(self, step: int) -> tuple[int, int, int]:
        """The epoch of a step, its block, and the number of its batch in that block."""
        epoch, index = divmod(step, len(self))
        if self.static_masks:
            epoch %= self.static_masks
        order, ends = self._order(epoch)
        place = int(np.searchsorted(ends, index, side="right"))
        block = int(order[place])
        return epoch, block, index - int(ends[place] - self._planned[block])

    def batch(self, step: int) -> Batch:
        """Make the batch of a step.

        Returns:
            input_ids, token_type_ids, attention_mask, labels: int64 [batch, length];
            next_sentence_label: int64 [batch], 0 = IsNext, 1 = NotNext (with mlm+nsp);
            sentence_order_label: int64 [batch], 0 = in order, 1 = swapped (with mlm+sop).
        """
        epoch, block, index = self._find(step)
        corpus, pairs, batches = self._block(epoch, block)
        rows = batches[index % len(batches)]
        batch = lay_out(corpus.token_ids, pairs, rows, self.tokenizer)
        input_ids = batch["input_ids"]  # [batch, length]

        own = own_rows(len(rows), self.part)
        maskable = ~torch.isin(input_ids, torch.tensor(self.special_ids))
        if self.asked.direction:
            batch = {name: tensor[own] for name, tensor in batch.items()}
            batch["labels"] = coming_next(input_ids[own], maskable[own], self.asked.direction)
            return without_a_say(batch, len(rows), self.part)
        # Another function may stand in the place of mask_tokens, and know nothing of what few ask for.
        asked: dict[str, Any] = {} if self.part == WHOLE else {"rows": own}
        asked |= {"units": self.units} if self.units else {}
        asked |= {"rate": self.rate} if self.rate != RATE else {}
        asked |= {"weights": self.weights} if self.weights is not None else {}
        draw = epoch * len(self._blocks) + block
        chance = np.random.SeedSequence([self.seed, draw, index]).generate_state(1, np.uint64)
        masked_ids, labels = mask_tokens(
            input_ids,
            maskable,
            mask_token_id=self.tokenizer.mask_token_id,
            vocab_size=len(self.tokenizer),
            special_ids=self.special_ids,
            generator=torch.Generator().manual_seed(int(chance[0])),
            **asked,
        )
        batch = {name: tensor[own] for name, tensor in batch.items()}
        batch |= {"input_ids": masked_ids, "labels": labels}
        if self.asked.pair_label:
            batch[self.asked.pair_label] = torch.from_numpy(pairs.is_not_next[rows[own]]).long()
        return without_a_say(batch, len(rows), self.part)


class ByLength:
    """Batches of like length; `len` is the number of steps in an epoch, and steps never end.

    Args:
        lengths: of each row, int [rows]; what is cheap to compute together comes together.
        batch_size: rows of a batch.
        seed: every batch is a function of (seed, step).
        part: (rank, processes); each process gets its own rows of a batch.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int, part: tuple[int, int] = WHOLE
    ) -> None:
        self.number, self.batch_size, self.part = len(lengths), batch_size, part
        self._lengths = np.array(lengths)
        self._epoch = lru_cache(maxsize=1)(partial(length_batches, self._lengths, batch_size, seed))

    def make(self, rows: np.ndarray) -> Batch:
        """The batch of some rows, by their numbers."""
        raise NotImplementedError

    def __len__(self) -> int:
        return -(-self.number // self.batch_size)

    def batch(self, step: int) -> Batch:
        """Make the batch of a step: what `make` gives for this process's rows of it."""
        epoch, index = divmod(step, len(self))
        rows = self._epoch(epoch)[index]
        batch = self.make(rows[own_rows(len(rows), self.part)])
        return without_a_say(batch, len(rows), self.part)

    def rows_for_evaluation(self) -> Iterator[np.ndarray]:
        """The numbers of the rows of each batch for evaluation: every row once, the short ones first."""
        order = np.argsort(self._lengths, kind="stable")
        yield from np.split(order, range(self.batch_size, self.number, self.batch_size))

    def batches_for_evaluation(self) -> Iterator[Batch]:
        """Go through all rows once, in batches by length."""
        yield from map(self.make, self.rows_for_evaluation())


@dataclass(repr=False)
class TaskData(ByLength):
    """Batches of labelled examples, one row each: input_ids, token_type_ids, attention_mask, int64
    [batch, length], and labels [batch], int64 classes or float32 scores.

    Args:
        labels: the classes in the order of their numbers; None where labels are scores.
        max_length: tokens of an example, special ones included; longer ones are truncated.
        seed: every batch is a function of (seed, step).
        part: (rank, processes); each process gets its own rows of a batch.

    Raises:
        InputError: there is no example, some are pairs and others are not, or the label of one is not among
            `labels`.
    """

    examples: Sequence[Example]
    tokenizer: Any
    labels: Sequence[str] | None
    batch_size: int
    max_length: int
    seed: int
    part: tuple[int, int] = WHOLE

    def __post_init__(self) -> None:
        if not self.examples:
            raise InputError("there is no example in the data; expected one or more")
        texts = [example.text for example in self.examples]
        if len({example.pair is None for example in self.examples}) > 1:
            raise InputError("some examples are pairs of texts, others single ones; expected one kind")
        pairs = None if self.examples[0].pair is None else [example.pair for example in self.examples]
        encoded = self.tokenizer(texts, pairs, truncation=True, max_length=self.max_length)
        self.input_ids, self.token_type_ids = encoded["input_ids"], encoded["token_type_ids"]
        self.targets = self._targets()
        super().__init__([len(row) for row in self.input_ids], self.batch_size, self.seed, self.part)

    def _targets(self) -> torch.Tensor | None:
        """The labels as numbers [examples], or None where none is known."""
        labels: list[Any] = [example.label for example in self.examples]
        if all(label is None for label in labels):
            return None
        if None in labels:
            raise InputError(f"example {labels.index(None) + 1} has no label, and others have one")
        if self.labels is None:
            return torch.tensor(labels, dtype=torch.float32)
        number = {name: i for i, name in enumerate(self.labels)}
        for i, label in enumerate(labels, start=1):
            if str(label) not in number:
                known = ", ".join(self.labels)
                raise InputError(f"example {i} has the label {str(label)!r}; expected one of {known}")
        return torch.tensor([number[str(label)] for label in labels])

    def make(self, rows: np.ndarray) -> Batch:
        ids = [self.input_ids[row] for row in rows]
        types = [self.token_type_ids[row] for row in rows]
        batch = pad_inputs(ids, types, self.tokenizer.pad_token_id)
        return batch if self.targets is None else batch | {"labels": self.targets[torch.from_numpy(rows)]}
