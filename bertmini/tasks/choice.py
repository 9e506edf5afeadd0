"""Multiple choice: which of several options fits a text best (Devlin et al. 2018, section 4.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from bertmini.config import BertConfig
from bertmini.data.batches import Batch
from bertmini.data.choices import Choice, ChoiceData, read_choices
from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.inference import Precision, Rows, in_order, longest_row, refuse_nan
from bertmini.model.choice import BertForMultipleChoice
from bertmini.tasks.sequence import row_logits
from bertmini.training.loop import to_device

NAME = "choice"
METRIC = "accuracy"  # on the dev part; the weights with the best one are kept
MODEL = BertForMultipleChoice


def read(data: str, **reading: Any) -> dict[str, list[Choice]]:
    """The questions by part; as `bertmini.data.choices.read_choices`.

    Raises:
        InputError: columns are named, and those of these files have fixed names.
    """
    for option in ("text_columns", "label_column"):
        if reading.pop(option, None):
            name = f"--{option.replace('_', '-')}"
            raise InputError(
                f"{name} is not for multiple choice: name a file's columns as SWAG does, or write JSON lines"
            )
    return read_choices(data, **reading)


def head(examples: Sequence[Choice]) -> dict[str, Any]:
    """The fields of the configuration: none, since a score needs no names."""
    return {"id2label": None, "problem_type": None}


def start(examples: Sequence[Choice]) -> float:
    """The bias of a new head. It adds to all options alike, so that it never counts."""
    return 0.0


def data(
    examples: Sequence[Choice],
    tokenizer: Any,
    config: BertConfig,
    batch_size: int = 32,
    max_length: int = 128,
    seed: int = 0,
) -> ChoiceData:
    """Batches of questions, a row for each option; as `ChoiceData`."""
    return ChoiceData(examples, tokenizer, batch_size, max_length, seed)


def measure(answers: np.ndarray, targets: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """How good the answers are.

    Args:
        answers: int [questions], the number of the chosen option.
        targets: int [questions], that of the right one.
        counts: int [questions], how many options there were.

    Returns:
        accuracy, and chance_accuracy, what guessing would give on average.
    """
    return {"accuracy": float((answers == targets).mean()), "chance_accuracy": float((1 / counts).mean())}


@torch.no_grad()
def evaluate(model: BertForMultipleChoice, data: ChoiceData) -> dict[str, Any]:
    """`measure` on questions whose answers are known.

    Args:
        model: in evaluation mode.
        data: the questions.
    """
    device = next(model.parameters()).device
    answers, targets, counts = [], [], []
    for batch in data.batches_for_evaluation():
        inputs = to_device(batch, device)
        targets.append(inputs.pop("labels"))
        counts.append(inputs["option_counts"])
        answers.append(refuse_nan(model(**inputs).logits).argmax(dim=1))
    return measure(*(torch.cat(parts).cpu().numpy() for parts in (answers, targets, counts)))


def predict(
    model: BertForMultipleChoice,
    tokenizer: Any,
    inputs: Iterable[Choice | dict[str, Any]],
    batch_tokens: int | None = None,
    precision: Precision = "float32",
) -> Iterator[dict[str, Any]]:
    """The best option for each question, in order.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        inputs: as many as you like, {"text": …, "options": […]} each, read as they are needed.
        batch_tokens, precision: as for `bertmini.Predictor`.

    Returns:
        {"choice", "text", "scores"}: the number of the best option from 0, that option, and the probability
        of each.

    Raises:
        InputError: an input is no question with two options or more.
    """
    longest = longest_row(tokenizer, model.config)

    def rows(questions: Sequence[Choice]) -> Rows:
        pairs = [Example(each.text, option) for each in questions for option in each.options]
        encoded = Rows.of(pairs, tokenizer, longest)
        encoded.owners = np.repeat(np.arange(len(questions)), [len(each.options) for each in questions])
        return encoded

    def scores(batch: Batch) -> list[float]:
        return refuse_nan(row_logits(model, batch)).flatten().tolist()

    for question, of_options in in_order(
        map(as_choice, inputs), rows, scores, model, batch_tokens, precision
    ):
        yield answer(question, np.array(of_options))


def answer(question: Choice, scores: np.ndarray) -> dict[str, Any]:
    """What is answered by the scores of a question's options, float [options]."""
    powers = np.exp(scores - scores.max())
    best = int(scores.argmax())
    return {
        "choice": best,
        "text": question.options[best],
        "scores": np.round(powers / powers.sum(), 6).tolist(),
    }


def as_choice(question: Choice | dict[str, Any]) -> Choice:
    """A question, in either of the forms that people have it in.

    Raises:
        InputError: it is none.
    """
    if isinstance(question, Choice):
        question = {"text": question.text, "options": list(question.options)}
    if isinstance(question, dict) and set(question) <= {"text", "options", "label"}:
        text, options = question.get("text"), question.get("options")
        if isinstance(text, str) and isinstance(options, list) and are_options(options):
            return Choice(text, tuple(options))
    raise InputError(f'{str(question)[:60]!r} is no question; expected {{"text": …, "options": […, …]}}')


def are_options(options: list[Any]) -> bool:
    return len(options) >= 2 and all(isinstance(option, str) for option in options)
