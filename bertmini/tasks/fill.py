"""Filling masks: what may stand behind [MASK], by the head of pretraining."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any
from unicodedata import category

from torch import Tensor

from bertmini.data.batches import Batch
from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.inference import Precision, Rows, in_order, longest_row, refuse_nan
from bertmini.model.bert import BertForMaskedLM
from bertmini.tasks.sequence import Text, as_example

NAME = "fill"


def predict(
    model: BertForMaskedLM,
    tokenizer: Any,
    inputs: Iterable[Text],
    batch_tokens: int | None = None,
    precision: Precision = "float32",
    top: int = 5,
) -> Iterator[dict[str, Any]]:
    """The likeliest pieces for each mask of each text, in order.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        inputs: as many texts or pairs as you like, read as they are needed.
        batch_tokens, precision: as for `bertmini.Predictor`.
        top: candidates a mask.

    Returns:
        {"text", "masks"}: for each mask a list of {"token", "score"}.

    Raises:
        InputError: a text without a mask, or longer than those of training.
    """

    if model.config.direction:
        raise InputError(
            f"the model reads {model.config.direction} and knows no masks; fill them with one trained on mlm"
        )

    def rows(examples: Sequence[Example]) -> Rows:
        # A cut text may have lost its mask, so that this task never cuts.
        rows = Rows.of(examples, tokenizer, None)
        refuse_unfit(examples, rows, tokenizer, longest_row(tokenizer, model.config))
        return rows

    examples, answer = map(as_example, inputs), partial(fill_masks, model, tokenizer, top)
    for example, of_row in in_order(examples, rows, answer, model, batch_tokens, precision):
        yield {"text": example.text, "masks": of_row}


def proposals(
    model: BertForMaskedLM, tokenizer: Any, texts: Iterable[str], top: int = 10
) -> Iterator[list[dict[str, float]]]:
    """Whole words for the masks of texts, as `bertmini.data.augment.augmented` takes them.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        texts: with [MASK] in their gaps, whatever the model's own mask is called; what is longer than the
            model's rows is cut, and masks there get no word.
        top: pieces a mask, of which those count that are words.

    Returns:
        For each text a list with the words and their scores for each of its masks, in order.
    """
    longest = longest_row(tokenizer, model.config)

    def rows(examples: Sequence[Example]) -> Rows:
        return Rows.of(examples, tokenizer, longest)

    answer = partial(fill_masks, model, tokenizer, top)
    examples = (Example(text.replace("[MASK]", tokenizer.mask_token)) for text in texts)
    before = " " if tokenizer.keeps_spaces else ""  # a word, where pieces tell of the space before it
    for _, masks in in_order(examples, rows, answer, model):
        yield [
            {
                each["token"].removeprefix(before): each["score"]
                for each in mask
                if each["token"].startswith(before) and is_word(each["token"].removeprefix(before))
            }
            for mask in masks
        ]


def is_word(piece: str) -> bool:
    """Whether a piece is letters and their marks alone: in many scripts vowels are marks."""
    kinds = {category(character)[0] for character in piece}
    return "L" in kinds and kinds <= {"L", "M"}


def fill_masks(
    model: BertForMaskedLM, tokenizer: Any, top: int, batch: Batch
) -> Iterator[list[list[dict[str, Any]]]]:
    """The candidates for each mask of each row of a batch."""
    states = model.bert(**batch).last_hidden_state
    is_mask = batch["input_ids"] == tokenizer.mask_token_id  # [batch, length]
    # The head works where a word is missing: everywhere its logits would fill the memory.
    logits = model.mlm_head(states[is_mask], model.bert.embeddings.word.weight)
    for of_row in logits.split(is_mask.sum(1).tolist()):
        yield candidates(of_row, tokenizer, top)


def refuse_unfit(examples: Sequence[Example], rows: Rows, tokenizer: Any, longest: int) -> None:
    for example, row in zip(examples, rows.split(), strict=True):
        if tokenizer.mask_token_id not in row:
            raise InputError(
                f"no {tokenizer.mask_token} in {example.text[:60]!r}: put one where a word is missing"
            )
        if len(row) > longest:  # the positions beyond may be as random as they began
            raise InputError(
                f"{example.text[:60]!r} has {len(row)} tokens, and the model was trained on "
                f"{longest}; shorten the text"
            )


def candidates(logits: Tensor, tokenizer: Any, top: int) -> list[list[dict[str, Any]]]:
    """For each mask, logits [masks, vocabulary], the likeliest pieces, with the space that begins them."""
    known = refuse_nan(logits.float()).softmax(-1)[:, : len(tokenizer)]  # a model may have rows to spare
    scores, ids = known.topk(min(top, len(tokenizer)))  # [masks, top]
    return [
        [
            {"token": tokenizer.piece_text(i), "score": round(score, 6)}
            for i, score in zip(row, of_row, strict=True)
        ]
        for row, of_row in zip(ids.tolist(), scores.tolist(), strict=True)
    ]
