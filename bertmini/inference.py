"""Many rows through a model: batches by length, answers in order, one batch a core."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import Any, TypeVar

import numpy as np
import torch

from bertmini.config import BertConfig
from bertmini.data.batches import Batch
from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.tokenizer import Tokenizer
from bertmini.training.loop import DTYPES, best_precision
from bertmini.training.options import Precision

WINDOW = 4096  # texts that are read ahead and sorted by length
BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}  # what a CPU's cache holds, and what a GPU is busy with

Input = TypeVar("Input")


def refuse_larger(tokenizer: Tokenizer, config: BertConfig) -> None:
    """Refuse a tokenizer that cannot be the model's.

    Raises:
        InputError: it has more pieces than the model; or another padding, where positions are told by it.
    """
    if len(tokenizer) > config.vocab_size:  # an id too large stops a GPU without saying why
        raise InputError(
            f"the tokenizer has {len(tokenizer)} pieces and the model knows {config.vocab_size}: "
            "take the tokenizer that the model was trained with"
        )
    if config.first_position and tokenizer.pad_token_id != config.pad_token_id:
        raise InputError(
            f"the tokenizer's padding is {tokenizer.pad_token_id} and the model's {config.pad_token_id}: "
            "take the tokenizer that the model was trained with"
        )


def refuse_nan(scores: torch.Tensor) -> torch.Tensor:
    """A model's scores as they are.

    Raises:
        InputError: some are no numbers.
    """
    if scores.isnan().any():
        raise InputError(
            "the model's scores are no numbers (nan): it is damaged, its training diverged, or they are too "
            "large for 16 bits; try --precision float32"
        )
    return scores


def longest_row(tokenizer: Tokenizer, config: BertConfig) -> int:
    """Tokens of a row at most: positions beyond may be as random as they began."""
    return min(tokenizer.model_max_length, config.max_length)


@dataclass
class Rows:
    """The ids of many texts, end to end, so that a batch of any of them is made at once."""

    ids: np.ndarray  # int64 [tokens]
    types: np.ndarray  # int64 [tokens], their segments
    lengths: np.ndarray  # int64 [rows]
    pad_token_id: int
    owners: np.ndarray | None = None  # int64 [rows], ascending: whose row it is; None: each input has one

    @classmethod
    def of(cls, examples: Sequence[Example], tokenizer: Tokenizer, max_length: int | None) -> Rows:
        """Encode texts and pairs, cut to `max_length` tokens where it is given."""
        encoded: list[Any] = [None] * len(examples)
        for paired in (False, True):  # the tokenizer takes texts with their pairs, or without
            chosen = [i for i, example in enumerate(examples) if (example.pair is not None) == paired]
            texts, pairs = ([getattr(examples[i], part) for i in chosen] for part in ("text", "pair"))
            features = tokenizer(
                texts, pairs if paired else None, truncation=max_length is not None, max_length=max_length
            )
            for i, *row in zip(chosen, features["input_ids"], features["token_type_ids"], strict=True):
                encoded[i] = row
        ids, types = (np.fromiter(chain.from_iterable(row[n] for row in encoded), np.int64) for n in (0, 1))
        lengths = np.array([len(row[0]) for row in encoded])
        return cls(ids, types, lengths, tokenizer.pad_token_id)

    def split(self) -> list[np.ndarray]:
        """The ids of each row."""
        return np.split(self.ids, self.lengths.cumsum()[:-1])

    def by_owner(self, of_rows: list[Any], inputs: int) -> list[Any]:
        """What belongs to each of so many inputs: that of its row, or a list for all of its rows."""
        if self.owners is None:
            return of_rows
        ends = np.searchsorted(self.owners, np.arange(inputs + 1)).tolist()
        return [of_rows[start:end] for start, end in pairwise(ends)]

    def batches(self, tokens: int) -> Iterator[np.ndarray]:
        """Rows of like length, the longest first, as many as are within so many tokens; their numbers."""
        order, start = np.argsort(-self.lengths, kind="stable"), 0
        while start < len(order):
            number = max(1, tokens // self.lengths[order[start]])
            yield order[start : start + number]
            start += number

    def batch(self, chosen: np.ndarray) -> Batch:
        """Some rows as a model reads them: ids, segments and mask, int64 [batch, length] each."""
        lengths, starts = self.lengths[chosen], (self.lengths.cumsum() - self.lengths)[chosen]
        columns = np.arange(lengths.max())
        real = columns < lengths[:, None]  # [batch, length]
        places = (starts[:, None] + columns)[real]
        ids, types = np.full(real.shape, self.pad_token_id), np.zeros(real.shape, np.int64)
        ids[real], types[real] = self.ids[places], self.types[places]
        arrays = {"input_ids": ids, "token_type_ids": types, "attention_mask": real.astype(np.int64)}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def in_order(
    inputs: Iterator[Input],
    encode: Callable[[Sequence[Input]], Rows],
    answer: Callable[[Batch], Iterable[Any]],
    model: torch.nn.Module,
    batch_tokens: int | None = None,
    precision: Precision = "float32",
) -> Iterator[tuple[Input, Any]]:
    """Each input with its answer, in order; batches are of like length within a window that is read ahead.

    Args:
        inputs: of any number, read as far as is needed.
        encode: gives the rows of a window of inputs.
        answer: gives an answer for each row of a batch.
        model: says by its weights where batches go.
        batch_tokens, precision: as for `Predictor`.

    Returns:
        Each input and its answer; a list with the answer for each of its rows where rows have owners.
    """
    device = next(model.parameters()).device
    tokens = batch_tokens or BATCH_TOKENS.get(device.type, BATCH_TOKENS["cpu"])
    precision = best_precision(device) if precision == "auto" else precision
    if precision not in DTYPES:
        raise InputError(f"precision is {precision!r}; expected auto, {' or '.join(DTYPES)}")
    while window := list(islice(inputs, WINDOW)):
        rows = encode(window)
        batches, answers = list(rows.batches(tokens)), [None] * len(rows.lengths)

        def work(waiting: Iterator[np.ndarray], rows: Rows = rows, answers: list[Any] = answers) -> None:
            # Autocast keeps the weights that it has cast until it ends, though not in inference mode.
            with torch.no_grad(), torch.autocast(device.type, DTYPES[precision], precision != "float32"):
                for chosen in waiting:
                    batch = {name: tensor.to(device) for name, tensor in rows.batch(chosen).items()}
                    for i, of_row in zip(chosen.tolist(), answer(batch), strict=True):
                        answers[i] = of_row

        threads = torch.get_num_threads() if device.type == "cpu" else 1
        if threads > 1 and len(batches) >= 2 * threads:
            on_every_core(work, iter(batches), threads)
        else:
            work(iter(batches))
        yield from zip(window, rows.by_owner(answers, len(window)), strict=True)


def on_every_core(work: Callable[[Iterator[Any]], None], waiting: Iterator[Any], threads: int) -> None:
    """Work in so many threads, of one core each: a core is faster at its own batch than all are at one.

    Args:
        work: goes through what is waiting; all threads share it.
        waiting: of a list, so that each takes the next one.
        threads: how many.
    """
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                working = [pool.submit(work, waiting) for _ in range(threads)]
                for ended in wait(working, return_when=FIRST_EXCEPTION).done:
                    ended.result()
            except BaseException:  # of one of them, or an interruption: nobody begins another batch
                deque(waiting, maxlen=0)
                raise
    finally:
        torch.set_num_threads(threads)  # else threads that are begun later would have one core, too
