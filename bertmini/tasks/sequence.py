"""What classification and regression share: a text or a pair in, one answer out (section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bertmini.config import BertConfig
from bertmini.data.batches import Batch, TaskData
from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.inference import Precision, Rows, in_order, longest_row, refuse_nan
from bertmini.model.attention import attend
from bertmini.model.bert import Bert, BertForSequenceClassification, attention_mask_for, positions
from bertmini.training.loop import to_device

Text = str | tuple[str, str] | dict[str, str] | Example
Measure = Callable[[np.ndarray, np.ndarray, Sequence[str]], dict[str, Any]]
Answers = Callable[[np.ndarray, Sequence[str]], list[dict[str, Any]]]


def data(
    examples: Sequence[Example],
    tokenizer: Any,
    config: BertConfig,
    batch_size: int = 32,
    max_length: int = 128,
    seed: int = 0,
) -> TaskData:
    """Batches of labelled examples, a row each.

    Args:
        config: says what the labels are.
        tokenizer, batch_size, max_length, seed: as for `TaskData`.

    Raises:
        InputError: there is no example, or one has a label that the model does not know.
    """
    return TaskData(examples, tokenizer, labels_of(config), batch_size, max_length, seed)


@torch.no_grad()
def evaluate(measure: Measure, model: BertForSequenceClassification, data: TaskData) -> dict[str, Any]:
    """Measure a model on labelled examples.

    Args:
        measure: the task's, of logits, targets and the classes.
        model: in evaluation mode.
        data: the examples.

    Returns:
        What `measure` gives.
    """
    device = next(model.parameters()).device
    logits, targets = [], []
    for batch in data.batches_for_evaluation():
        inputs = to_device(batch, device)
        if "labels" not in inputs:
            raise InputError("the examples have no labels, so that nothing can be measured; give them some")
        targets.append(inputs.pop("labels"))
        logits.append(model(**inputs).logits)
    classes = classes_of(model) or []
    return measure(as_numbers(torch.cat(logits)), torch.cat(targets).cpu().numpy(), classes)


def predict(
    answers: Answers,
    model: BertForSequenceClassification,
    tokenizer: Any,
    inputs: Iterable[Text],
    batch_tokens: int | None = None,
    precision: Precision = "float32",
) -> Iterator[dict[str, Any]]:
    """An answer for each text or pair, in order.

    Args:
        answers: the task's, of logits and the classes.
        model: in evaluation mode.
        tokenizer: the model's.
        inputs: as many as you like, read as they are needed.
        batch_tokens, precision: as for `bertmini.Predictor`.

    Raises:
        InputError: an input is neither a text nor a pair.
    """
    classes, longest = classes_of(model) or [], longest_row(tokenizer, model.config)

    def rows(examples: Sequence[Example]) -> Rows:
        return Rows.of(examples, tokenizer, longest)

    def answer(batch: Batch) -> Iterable[dict[str, Any]]:
        return answers(as_numbers(row_logits(model, batch)), classes)

    for _, of_row in in_order(map(as_example, inputs), rows, answer, model, batch_tokens, precision):
        yield of_row


def as_numbers(logits: Tensor) -> np.ndarray:
    """Logits in float32 on the CPU.

    Raises:
        InputError: they are no numbers.
    """
    numbers = logits.float()
    refuse_nan(numbers * 0)  # infinity times 0 is no number either
    return numbers.cpu().numpy()


def row_logits(model: Any, batch: Batch) -> Tensor:
    """The logits of each row, of a model with a classifier on the pooled [CLS]."""
    # A model may have a reader's own attention (course.use), of which only the outside is known.
    is_own = all(type(part).__module__.startswith(("bertmini.", "torch.")) for part in model.modules())
    # A model that reads one way sums a text up elsewhere, and what stands in a BERT's place has other layers.
    reads_first = type(model.bert) is Bert and not model.config.direction
    return logits_of_first(model, **batch) if is_own and reads_first else model(**batch).logits


def logits_of_first(
    model: Any, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor
) -> Tensor:
    """What `model(…).logits` gives, sooner: of the last layer only [CLS] is read, and only that is computed.

    Args:
        model: in evaluation mode; it reads both ways.
        input_ids, token_type_ids, attention_mask: [batch, length].

    Returns:
        Logits [batch, labels].
    """
    bert: Any = model.bert
    mask = attention_mask_for(attention_mask)
    if model.config.type_vocab_size < 2:
        token_type_ids = torch.zeros_like(input_ids)
    bert.check_inputs(input_ids, token_type_ids, input_ids.size(1))
    hidden_states = bert.embeddings(input_ids, token_type_ids, positions(input_ids, model.config))
    *layers, last = bert.encoder.layers
    for layer in layers:
        hidden_states, _ = layer(hidden_states, mask)
    attention, first = last.attention, hidden_states[:, :1]  # [batch, 1, hidden]
    q = attention.split_heads(attention.query(first))
    k, v = (attention.split_heads(part(hidden_states)) for part in (attention.key, attention.value))
    context, _ = attend(q, k, v, mask)
    first = last.attention_norm(attention.output(context.transpose(1, 2).flatten(2)) + first)
    first = last.feed_forward_norm(last.feed_forward(first) + first)
    return model.classifier(bert.pooler(first[:, 0]))


def labels_of(config: BertConfig) -> list[str] | None:
    """The labels of a model by index; None where it gives a score.

    Raises:
        InputError: the model gives several labels at once, or several scores.
    """
    is_regression = config.problem_type == "regression" or config.num_labels == 1
    if config.problem_type == "multi_label_classification" or (is_regression and config.num_labels > 1):
        raise InputError(
            f"problem_type is {config.problem_type!r} with {config.num_labels} labels; expected "
            "single_label_classification, or regression with one: bertmini gives one label, or one number"
        )
    if is_regression:
        return None
    # transformers leaves its own names for two labels out of config.json.
    return list((config.id2label or {0: "LABEL_0", 1: "LABEL_1"}).values())


def classes_of(model: BertForSequenceClassification) -> list[str] | None:
    """The labels of a model by index, as `labels_of` its configuration."""
    return labels_of(model.config)


def as_example(text: Text) -> Example:
    """A text or a pair, in any of the forms that people have it in.

    Raises:
        InputError: it is neither.
    """
    if isinstance(text, Example):
        return text
    if isinstance(text, str):
        return Example(text)
    if isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text):
        return Example(*text)
    if isinstance(text, dict) and set(text) <= {"text", "pair"}:
        first, second = text.get("text"), text.get("pair")
        if isinstance(first, str) and isinstance(second, str | None):
            return Example(first, second)
    raise InputError(f'{str(text)[:60]!r} is no text; expected a string, two, or {{"text": …, "pair": …}}')
