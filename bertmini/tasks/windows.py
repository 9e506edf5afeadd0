"""Passages of any length, read in overlapping windows, each behind its question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from bertmini.data.batches import Batch, ByLength
from bertmini.data.questions import Question
from bertmini.errors import InputError
from bertmini.inference import Rows
from bertmini.model.heads import IGNORED

PIECE = 2**16  # characters of a passage that are encoded at once: it may be of any length
SHORTEST = 12  # tokens of a window: a question, three special tokens, and something to read

Piece = tuple[np.ndarray, np.ndarray]  # ids [tokens]; where each stands in the passage [tokens, 2]


@dataclass(frozen=True, eq=False, slots=True)
class Window:
    """A stretch of a passage with its question: [CLS] question [SEP] stretch [SEP].

    RoBERTa's have two separators between question and stretch.
    """

    question: np.ndarray  # int64 [tokens]
    ids: np.ndarray  # int64 [tokens], of the stretch
    offsets: np.ndarray  # int64 [tokens, 2], their characters in the passage
    own: tuple[int, int]  # from where to where no other window shows more around a token
    separators: int = 1  # between question and stretch
    edges: tuple[bool, bool] = (True, True)  # whether the passage begins here, and ends here

    @property
    def first(self) -> int:
        """The place of the stretch in the row."""
        return 1 + len(self.question) + self.separators

    def __len__(self) -> int:
        return self.first + len(self.ids) + 1


def stride_of(length: int) -> int:
    """By how many tokens a window of so many moves on: a third, which is BERT's 128 of 384."""
    return length // 3


def windows(questions: Sequence[Question], tokenizer: Any, length: int) -> Iterator[tuple[int, Window]]:
    """The windows of questions, each with the number of its question.

    They are made one after the other, so that of a long passage only a few are there at a time. A question
    has a third of a window at most, and is cut where it is longer.

    Args:
        questions: with their passages.
        tokenizer: the model's.
        length: tokens of a window at most, special ones included.

    Raises:
        InputError: the tokenizer reads no character of a passage, or a window has no room for one.
    """
    if length < SHORTEST:
        raise InputError(f"a window of {length} tokens has no room for a passage; give {SHORTEST} or more")
    # Several questions about one passage come one after the other.
    encoded = lru_cache(maxsize=1)(lambda context: list(encode(context, tokenizer)))
    asked = tokenizer.encode_ids([question.question for question in questions])
    for number, (question, ids) in enumerate(zip(questions, asked, strict=True)):
        is_short = len(question.context) <= PIECE
        pieces = encoded(question.context) if is_short else encode(question.context, tokenizer)
        for window in slide(
            np.array(ids[: length // 3], dtype=np.int64), pieces, length, tokenizer.separators
        ):
            if not len(window.ids):
                raise InputError(f"the passage {question.context[:60]!r} holds nothing that can be read")
            yield number, window


def encode(context: str, tokenizer: Any) -> Iterator[Piece]:
    """The tokens of a passage, piece by piece; a piece ends at white space, where there is some.

    White space goes with what stands before it, or with the next word where that word's pieces tell of it.
    """
    start = 0
    while start < len(context):
        end = start + PIECE
        if end < len(context):
            space = max(context.rfind(each, start + 1, end) for each in " \n")
            end = end if space < 0 else space if tokenizer.keeps_spaces else space + 1
        row = tokenizer.encode_places([context[start:end]])[0]
        yield np.array(row.ids, dtype=np.int64), np.array(row.offsets, dtype=np.int64).reshape(-1, 2) + start
        start = end


def slide(
    question: np.ndarray, pieces: Iterable[Piece], length: int, separators: int = 1
) -> Iterator[Window]:
    """Move a window over the tokens of a passage.

    A token stands in several windows, and is judged in the one that shows most around it, counted on its
    shorter side. Of two windows that follow each other the earlier one has the tokens up to the middle of
    what both show.

    Args:
        question: its ids.
        pieces: of the passage.
        length: tokens of a window.
        separators: between question and stretch.

    Source: google-research/bert, run_squad.py.
    """
    room, stride, first = length - len(question) - 2 - separators, stride_of(length), 0
    middle = (room + stride + 1) // 2  # of what a window and the next one show
    ids, offsets, begins = np.empty(0, np.int64), np.empty((0, 2), np.int64), True
    for piece_ids, piece_offsets in pieces:
        ids, offsets = np.concatenate([ids, piece_ids]), np.concatenate([offsets, piece_offsets])
        while len(ids) > room:
            yield Window(question, ids[:room], offsets[:room], (first, middle), separators, (begins, False))
            ids, offsets, first, begins = ids[stride:], offsets[stride:], middle - stride, False
    yield Window(question, ids, offsets, (first, len(ids)), separators, (begins, True))


class WindowRows(Rows):
    """Windows as a model reads them, and the places at which an answer may begin or end."""

    def __init__(self, windows: Sequence[Window], tokenizer: Any) -> None:
        cls, sep = [tokenizer.cls_token_id], [tokenizer.sep_token_id]
        parts = [
            part for each in windows for part in (cls, each.question, sep * each.separators, each.ids, sep)
        ]
        self.firsts = np.array([each.first for each in windows])
        self.blank = [np.flatnonzero(each.offsets[:, 0] == each.offsets[:, 1]) for each in windows]
        self.own = np.array([each.own for each in windows]) + self.firsts[:, None]  # [rows, 2], in the row
        lengths = np.array([len(each) for each in windows])
        places = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
        types = (places >= np.repeat(self.firsts, lengths)).astype(np.int64)
        super().__init__(np.concatenate(parts).astype(np.int64), types, lengths, tokenizer.pad_token_id)

    def batch(self, chosen: np.ndarray) -> Batch:
        """As `Rows.batch`, with may_start and may_end, bool [batch, length]."""
        batch = super().batch(chosen)
        places = np.arange(batch["input_ids"].size(1))
        own, first, length = self.own[chosen], self.firsts[chosen, None], self.lengths[chosen, None]
        may_start = (own[:, :1] <= places) & (places < own[:, 1:])
        may_end = (first <= places) & (places < length - 1)
        for row, number in enumerate(chosen):  # spaces alone are no answer
            blank = self.firsts[number] + self.blank[number]
            may_start[row, blank] = may_end[row, blank] = False
        return batch | {"may_start": torch.from_numpy(may_start), "may_end": torch.from_numpy(may_end)}


class QuestionData(ByLength):
    """Batches of windows: input_ids, token_type_ids, attention_mask, int64 [batch, length], and
    start_positions and end_positions, int64 [batch], of the answer where the window holds all of it, else 0.

    Args:
        questions: with their answers, the first of which is learned.
        tokenizer: the model's.
        batch_size: windows in a batch.
        length: tokens of a window at most, special ones included.
        seed: every batch is a function of (seed, step).

    Raises:
        InputError: there is no question.
    """

    def __init__(
        self, questions: Sequence[Question], tokenizer: Any, batch_size: int, length: int, seed: int
    ) -> None:
        if not questions:
            raise InputError("there is no question in the data; expected one or more")
        self.questions, self.tokenizer = questions, tokenizer
        self.owners, self.windows = zip(*windows(questions, tokenizer, length), strict=True)
        spans = [target(questions[i], window) for i, window in zip(self.owners, self.windows, strict=True)]
        self.targets = torch.tensor(spans)  # [windows, 2]
        super().__init__([len(window) for window in self.windows], batch_size, seed)

    def rows(self, chosen: Iterable[int]) -> WindowRows:
        """Some of the windows."""
        return WindowRows([self.windows[i] for i in chosen], self.tokenizer)

    def make(self, rows: np.ndarray) -> Batch:
        batch = self.rows(rows).batch(np.arange(len(rows)))
        start_positions, end_positions = self.targets[torch.from_numpy(rows)].T
        inputs = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}
        return inputs | {"start_positions": start_positions, "end_positions": end_positions}


def target(question: Question, window: Window) -> tuple[int, int]:
    """The first and the last token of the answer in the window's row.

    They are 0, its [CLS], where the window does not hold all of it; and IGNORED where the question has
    answers and none stands where it should.
    """
    answers = [answer for answer in question.answers or () if answer.stands_in(question.context)]
    if not answers:
        return (IGNORED, IGNORED) if question.answers else (0, 0)
    answer = answers[0]
    start, end = answer.start, answer.start + len(answer.text)
    inside = np.flatnonzero((window.offsets[:, 0] < end) & (start < window.offsets[:, 1]))
    # What stands before the first token of a passage, or behind the last, is nothing that could be read.
    begins, ends = window.edges
    is_whole = (
        len(inside)
        and (begins or window.offsets[0, 0] <= start)
        and (ends or end <= window.offsets[-1, 1])
    )
    return (window.first + int(inside[0]), window.first + int(inside[-1])) if is_whole else (0, 0)
