"""Question answering: the stretch of a passage that answers, or none (Devlin et al. 2018, §4.2 and 4.3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.data.batches import Batch
from bertmini.data.questions import Question, read_questions
from bertmini.errors import InputError
from bertmini.inference import Precision, in_order, longest_row, refuse_nan
from bertmini.model.questions import BertForQuestionAnswering
from bertmini.tasks.finetune import joined
from bertmini.tasks.squad import best_threshold, measure
from bertmini.tasks.windows import QuestionData, Window, WindowRows, windows
from bertmini.tokenizer.normalize import end_of_letter
from bertmini.training.loop import to_device

NAME = "qa"
METRIC = "f1"  # on the dev part; the weights with the best one are kept
MODEL = BertForQuestionAnswering
WINDOW = 384  # tokens, where a model reads as many; as in run_squad.py
LONGEST_ANSWER = 30  # tokens, as there
ANSWERS = 5  # that a prediction lists
SETTINGS = "task_specific_params", "question-answering"  # their place in config.json


def read(
    data: str,
    text_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    **reading: Any,
) -> dict[str, list[Question]]:
    """The questions by part; as `bertmini.data.questions.read_questions`."""
    if text_columns or label_column:
        raise InputError("--text-columns and --label-column are for tables; leave them out for questions")
    return read_questions(data, **reading)


def head(examples: Sequence[Question]) -> dict[str, Any]:
    """The fields of the configuration that the examples fix: whether a passage may have no answer."""
    threshold = 0.0 if any(not question.answers for question in examples) else None
    return {"id2label": None, "problem_type": None, "extra": settings(threshold)}


def settings(threshold: float | None) -> dict[str, Any]:
    """What config.json holds: by how much "no answer" must beat the best one; None: it is never said."""
    outer, inner = SETTINGS
    return {outer: {inner: {"threshold": threshold}}}


def threshold_of(config: BertConfig) -> float | None:
    """The threshold of a model, as `settings` has it."""
    outer, inner = SETTINGS
    return ((config.extra.get(outer) or {}).get(inner) or {}).get("threshold")


def start(examples: Sequence[Question]) -> float:
    """The bias of a new head: no place is likelier than another."""
    return 0.0


def data(
    examples: Sequence[Question],
    tokenizer: Any,
    config: BertConfig,
    batch_size: int = 32,
    max_length: int = WINDOW,
    seed: int = 0,
) -> QuestionData:
    """Batches of windows; as `bertmini.tasks.windows.QuestionData`, whose InputError it raises."""
    return QuestionData(examples, tokenizer, batch_size, max_length, seed)


def rows(examples: Sequence[Question], tokenizer: Any, max_length: int) -> int:
    """How many windows the questions make, each a row in training."""
    return sum(1 for _ in windows(examples, tokenizer, max_length))


class Spans(NamedTuple):
    """The best answers in one window, and what they are compared with."""

    scores: list[float]  # of each, its start's logit and its end's; the best first
    places: list[tuple[int, int]]  # first and last token in the row
    total: float  # logarithm of the sum of exp(score) over all possible answers
    null: float  # the score of no answer, the start and the end at [CLS]


def best_spans(
    start_logits: Tensor, end_logits: Tensor, may_start: Tensor, may_end: Tensor, number: int = 1
) -> list[Spans]:
    """The best answers of each row of which no two overlap.

    An answer begins where it may, ends where it may, not before it begins, and has LONGEST_ANSWER tokens at
    most. Its score is the sum of two logits.

    Args:
        start_logits, end_logits: float [batch, length].
        may_start, may_end: bool [batch, length].
        number: of answers, at most.

    Raises:
        InputError: the logits are no numbers.
    """
    never, longest, length = float("-inf"), LONGEST_ANSWER, start_logits.size(1)
    starts = start_logits.float().masked_fill(~may_start, never)
    ends = end_logits.float().masked_fill(~may_end, never)
    ends = F.pad(ends, (0, longest - 1), value=never).unfold(1, longest, 1)  # [batch, start, tokens further]
    scores = starts[:, :, None] + ends
    totals = scores.flatten(1).logsumexp(1)  # [batch]
    if totals.isnan().any():
        raise InputError("the model's scores are no numbers (nan): it is damaged, or its training diverged")
    nulls = (start_logits[:, 0] + end_logits[:, 0]).float()
    first = torch.arange(length, device=scores.device)[:, None]  # [start, 1]
    last = first + torch.arange(longest, device=scores.device)  # [start, tokens further]
    found = []
    for _ in range(number):
        best, place = scores.flatten(1).max(1)  # [batch]
        start, end = place // longest, place // longest + place % longest
        found.append(torch.stack([best.double(), start.double(), end.double()]))
        overlaps = (first <= end[:, None, None]) & (start[:, None, None] <= last)
        scores = scores.masked_fill(overlaps, never)
    answers = torch.stack(found).permute(2, 0, 1).tolist()  # [batch][number][score, start, end]
    return [
        Spans(
            [score for score, *_ in row if score > never],
            [(int(start), int(end)) for score, start, end in row if score > never],
            total,
            null,
        )
        for row, total, null in zip(answers, totals.tolist(), nulls.tolist(), strict=True)
    ]


@dataclass
class Reading:
    """What has been found in a passage so far, window by window."""

    question: Question
    found: list[tuple[float, int, int]] = field(default_factory=list)  # score and characters, of all windows
    total: float = -math.inf
    null: float = math.inf  # the lowest of the windows: each without the answer says that there is none

    def add(self, window: Window, spans: Spans) -> None:
        """Take in the answers of a window."""
        for score, (first, last) in zip(spans.scores, spans.places, strict=True):
            start, end = window.offsets[first - window.first, 0], window.offsets[last - window.first, 1]
            self.found.append((score, int(start), end_of_letter(self.question.context, int(end))))
        self.total = float(np.logaddexp(self.total, spans.total))
        self.null = min(self.null, spans.null)

    @property
    def best(self) -> list[tuple[float, int, int]]:
        """The best answers of which no two overlap, the best first.

        They are chosen when all windows are read: an answer that gives way to a better one counts again where
        that one gives way, too.
        """
        kept: list[tuple[float, int, int]] = []
        for score, start, end in sorted(self.found, key=lambda each: -each[0]):
            if len(kept) < ANSWERS and all(end <= s or e <= start for _, s, e in kept):
                kept.append((score, start, end))
        return kept

    @property
    def text(self) -> str:
        """The best answer, exactly as the passage has it."""
        _, start, end = max(self.found, key=lambda each: each[0])
        return self.question.context[start:end]

    @property
    def doubt(self) -> float:
        """By how much the score of no answer is higher than that of the best one."""
        return self.null - max(score for score, *_ in self.found)

    def is_answered(self, threshold: float | None) -> bool:
        """Whether the best answer is given; without a threshold it always is."""
        return threshold is None or self.doubt <= threshold

    def told(self, threshold: float | None) -> dict[str, Any]:
        """What `predict` gives; scores are probabilities among all possible answers and, with a threshold,
        none."""
        total = self.total if threshold is None else float(np.logaddexp(self.total, self.null))
        best = [
            {
                "answer": self.question.context[start:end],
                "score": round(math.exp(score - total), 6),
                "start": start,
                "end": end,
            }
            for score, start, end in self.best
        ]
        none = {"answer": "", "score": round(math.exp(self.null - total), 6), "start": None, "end": None}
        answer = best[0] if self.is_answered(threshold) else none
        return answer | {"null_score": round(self.doubt, 6), "best": best}


@torch.no_grad()
def readings(model: BertForQuestionAnswering, data: QuestionData) -> list[Reading]:
    """What a model finds for each question.

    Args:
        model: in evaluation mode.
        data: the questions.
    """
    device = next(model.parameters()).device
    of_window: dict[int, Spans] = {}
    for chosen in data.rows_for_evaluation():
        batch = to_device(data.rows(chosen).batch(np.arange(len(chosen))), device)
        of_window |= zip(chosen.tolist(), answer_batch(model, batch), strict=True)
    found = [Reading(question) for question in data.questions]
    for i, (owner, window) in enumerate(zip(data.owners, data.windows, strict=True)):
        found[owner].add(window, of_window[i])
    return found


def answer_batch(model: BertForQuestionAnswering, batch: Batch, number: int = 1) -> list[Spans]:
    """`best_spans` of a batch of `WindowRows`."""
    inputs = {name: tensor for name, tensor in batch.items() if not name.startswith("may_")}
    output: Any = model(**inputs)
    for logits in (output.start_logits, output.end_logits):
        refuse_nan(logits.float() * 0)  # infinity times 0 is no number either
    return best_spans(output.start_logits, output.end_logits, batch["may_start"], batch["may_end"], number)


def evaluate(model: BertForQuestionAnswering, data: QuestionData) -> dict[str, Any]:
    """Measure a model on questions; as `bertmini.tasks.squad.measure`.

    Raises:
        InputError: the answers of a question are not known.
    """
    return measure(data.questions, given(readings(model, data), threshold_of(model.config)))


def given(found: Sequence[Reading], threshold: float | None) -> list[str]:
    """The answers under a threshold; an empty one says that there is none."""
    return [reading.text if reading.is_answered(threshold) else "" for reading in found]


def settle(model: BertForQuestionAnswering, data: QuestionData) -> None:
    """Choose the threshold that gives the best F1 on the dev part, where passages may have no answer."""
    if threshold_of(model.config) is None:
        return
    found = readings(model, data)
    threshold = best_threshold(
        data.questions, [reading.text for reading in found], [reading.doubt for reading in found]
    )
    model.config = model.config.replace(extra=joined(model.config.extra, settings(threshold)))


def predict(
    model: BertForQuestionAnswering,
    tokenizer: Any,
    inputs: Iterable[Question | tuple[str, str] | dict[str, Any]],
    batch_tokens: int | None = None,
    precision: Precision = "float32",
) -> Iterator[dict[str, Any]]:
    """An answer for each question and its passage, in order.

    A passage may have any length: it is read window by window, and only the best answers of each are kept.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        inputs: as many as you like, read as they are needed: {"question": …, "context": …}, or a pair.
        batch_tokens, precision: as for `bertmini.Predictor`.

    Returns:
        {"answer", "score", "start", "end"}, its characters and their place in the passage, "" and None where
        the model says that there is no answer; "null_score", by how much "no answer" scores higher, which the
        model compares with its threshold; "best", the best answers of which no two overlap.

    Raises:
        InputError: an input is no question with a passage.
    """
    longest, threshold = longest_row(tokenizer, model.config), threshold_of(model.config)

    def stream() -> Iterator[tuple[int, Question, Window]]:
        for number, question in enumerate(map(as_question, inputs)):
            for _, window in windows([question], tokenizer, longest):
                yield number, question, window

    def encode(waiting: Sequence[tuple[int, Question, Window]]) -> WindowRows:
        return WindowRows([window for *_, window in waiting], tokenizer)

    def answer(batch: Batch) -> list[Spans]:
        return answer_batch(model, batch, ANSWERS)

    answered = in_order(stream(), encode, answer, model, batch_tokens, precision)
    for _, of_question in groupby(answered, key=lambda each: each[0][0]):
        reading = None
        for (_, question, window), spans in of_question:
            reading = reading or Reading(question)
            reading.add(window, spans)
        assert reading is not None
        yield reading.told(threshold)


def as_question(given: Question | tuple[str, str] | dict[str, Any]) -> Question:
    """A question with its passage, in any of the forms that people have it in.

    Raises:
        InputError: it is none, or a part is empty.
    """
    if isinstance(given, dict):
        given = (given.get("question", ""), given.get("context", ""))
    if isinstance(given, tuple) and len(given) == 2:
        given = Question(*given)
    parts = (given.question, given.context) if isinstance(given, Question) else ("",)
    if all(isinstance(part, str) and part.strip() for part in parts):
        return given  # type: ignore[return-value]
    raise InputError(
        f'{str(given)[:60]!r} is no question with its passage; expected {{"question": …, "context": …}}'
    )
