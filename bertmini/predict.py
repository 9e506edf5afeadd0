"""Answers from a model directory: a label, a score, or what may stand behind a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from bertmini.config import BertConfig
from bertmini.data.batches import pad_inputs
from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.hub import locate
from bertmini.machine import best_device
from bertmini.model.bert import BertForMaskedLM, BertForPreTraining, BertForSequenceClassification
from bertmini.tasks import classes_of, classify, regress
from bertmini.tokenizer import WordPieceTokenizer

MODELS: dict[str, Any] = {
    "BertForSequenceClassification": BertForSequenceClassification,
    "BertForMaskedLM": BertForMaskedLM,
    "BertForPreTraining": BertForPreTraining,
}
WINDOW = 16  # batches that are read ahead and sorted by length

Features = dict[str, list[int]]
Text = str | tuple[str, str] | dict[str, str] | Example


class Predictor:
    """Answers for one text, a list, or a generator; the task is what the model's directory says.

    Args:
        model: a model with a head for classification or regression, or with the masked-language head.
        tokenizer: the model's.
        batch_size: texts a batch.
        top: candidates a mask (masked-language models only).

    Raises:
        InputError: the tokenizer is not the model's, or the model gives several answers at once.
    """

    def __init__(self, model: Any, tokenizer: WordPieceTokenizer, batch_size: int = 32, top: int = 5) -> None:
        refuse_larger(tokenizer, model.config)
        self.model, self.tokenizer, self.batch_size = model.eval(), tokenizer, batch_size
        self.fills = isinstance(model, BertForMaskedLM)
        self.task: Any = None if self.fills else regress if model.is_regression else classify
        self.classes = None if self.fills else classes_of(model)
        self.top = min(top, model.config.vocab_size)
        self.max_length = min(tokenizer.model_max_length, model.config.max_position_embeddings)

    @classmethod
    def from_pretrained(cls, directory: str | Path, **options: Any) -> Predictor:
        """The predictor of a directory or a hub id, on a GPU where there is one.

        Args:
            directory: holds a model with a task's head and its tokenizer.
            options: batch_size and top, as for the class.

        Raises:
            InputError: where the directory's model has no head that is known here, or another tokenizer.
        """
        directory = locate(directory)
        names = BertConfig.load(directory / "config.json").extra.get("architectures") or ["none"]
        if names[0] not in MODELS:
            raise InputError(
                f"{directory}/config.json: architectures is {names[0]}, which answers nothing; expected one "
                f"of {', '.join(MODELS)}; fine-tune it first"
            )
        model = MODELS[names[0]].from_pretrained(directory)
        if model.fresh:
            raise InputError(f"{directory}: model.safetensors lacks {model.fresh[0]}, a part of {names[0]}")
        tokenizer = WordPieceTokenizer.from_pretrained(directory)
        try:
            return cls(model.to(best_device()), tokenizer, **options)
        except InputError as error:
            raise InputError(f"{directory}: {error}") from None

    def __call__(self, inputs: Text | Iterable[Text]) -> Any:
        """Answer.

        Args:
            inputs: a text; a pair, as a tuple or {"text": …, "pair": …}; or a list or a generator of such.

        Returns:
            A dict for one text, a list for a list, a generator for a generator, always in order.
            Classification: {"label", "score", "scores"}; regression: {"score"}; masks: {"text", "masks"}, for
            each mask the likeliest pieces as [{"token", "score"}].

        Raises:
            InputError: a text without a mask, or longer than those of training (masked-language models).
        """
        if isinstance(inputs, str | tuple | dict | Example):
            return next(self.stream(iter([inputs])))
        if isinstance(inputs, list):
            return list(self.stream(iter(inputs)))
        return self.stream(iter(inputs))

    def stream(self, inputs: Iterator[Text]) -> Iterator[dict[str, Any]]:
        """Answers in order, holding a window of texts at a time."""
        examples = map(as_example, inputs)
        for example, answer in by_length(examples, self.features, self.answer_batch, self.batch_size):
            yield {"text": example.text, **answer} if self.fills else answer

    def features(self, example: Example) -> Features:
        # A cut text may have lost its mask, so that only other tasks cut.
        cut = {} if self.fills else {"truncation": True, "max_length": self.max_length}
        features = self.tokenizer(example.text, example.pair, **cut)
        ids = features["input_ids"]
        if self.fills and self.tokenizer.mask_token_id not in ids:
            raise InputError(
                f"no {self.tokenizer.mask_token} in {example.text[:60]!r}: put one where a word is missing"
            )
        if self.fills and len(ids) > self.max_length:  # the positions beyond may be as random as they began
            raise InputError(
                f"{example.text[:60]!r} has {len(ids)} tokens, and the model was trained on "
                f"{self.max_length}; shorten the text"
            )
        return features

    @torch.inference_mode()
    def answer_batch(self, rows: list[Features]) -> Iterator[dict[str, Any]]:
        batch = padded(rows, self.tokenizer.pad_token_id, next(self.model.parameters()).device)
        output = self.model(**batch)
        if self.fills:
            for ids, logits in zip(batch["input_ids"], output.prediction_logits, strict=True):
                yield {"masks": self.candidates(logits[ids == self.tokenizer.mask_token_id])}
            return
        for logits in output.logits.float().cpu().numpy():
            yield self.task.answer(logits, self.classes or [])

    def candidates(self, logits: torch.Tensor) -> list[list[dict[str, Any]]]:
        """For each mask, logits [masks, vocabulary], the likeliest pieces."""
        scores, ids = logits.float().softmax(-1).topk(self.top)  # [masks, top]
        return [
            [
                {"token": token, "score": round(score, 6)}
                for token, score in zip(self.tokenizer.convert_ids_to_tokens(row), of_row, strict=True)
            ]
            for row, of_row in zip(ids.tolist(), scores.tolist(), strict=True)
        ]


def refuse_larger(tokenizer: WordPieceTokenizer, config: BertConfig) -> None:
    if len(tokenizer) > config.vocab_size:  # an id too large stops a GPU without saying why
        raise InputError(
            f"the tokenizer has {len(tokenizer)} pieces and the model knows {config.vocab_size}: "
            "take the tokenizer that the model was trained with"
        )


def by_length(
    inputs: Iterator[Example],
    features: Callable[[Example], Features],
    answer_batch: Callable[[list[Features]], Iterable[Any]],
    batch_size: int,
) -> Iterator[tuple[Example, Any]]:
    """Each input with its answer, in order; batches are of like length within a window that is read ahead.

    Args:
        inputs: of any number, read as far as is needed.
        features: gives the rows of ids for an input.
        answer_batch: gives an answer for each of some rows.
    """
    while window := list(islice(inputs, WINDOW * batch_size)):
        rows = [features(example) for example in window]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]["input_ids"]))
        answers: list[Any] = [None] * len(rows)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            for i, answer in zip(chosen, answer_batch([rows[i] for i in chosen]), strict=True):
                answers[i] = answer
        yield from zip(window, answers, strict=True)


def padded(rows: list[Features], pad_token_id: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Rows as a batch, int64 [batch, length] each."""
    ids, types = ([row[name] for row in rows] for name in ("input_ids", "token_type_ids"))
    return {name: tensor.to(device) for name, tensor in pad_inputs(ids, types, pad_token_id).items()}


def as_example(text: Text) -> Example:
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
