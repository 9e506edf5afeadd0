"""Sentence vectors: two texts get a vector each, and their cosine says how close they are.

Such a bi-encoder reads each text once, and comparing two is a dot product; regression on pairs
(`bertmini.tasks.regress`, a cross-encoder) reads every pair (Reimers & Gurevych 2019, arXiv 1908.10084).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bertmini.config import BertConfig
from bertmini.data.batches import Batch, ByLength, pad_inputs
from bertmini.data.task_files import Example, read_task
from bertmini.errors import InputError
from bertmini.inference import Precision, Rows, in_order, longest_row, refuse_nan
from bertmini.model.vectors import BiEncoder, contrastive_loss, cosine_loss, mean_vectors
from bertmini.tasks import regress
from bertmini.tasks.sequence import Text, as_example
from bertmini.training.loop import to_device

NAME = "vectors"
METRIC = "spearman"  # on the dev part; the weights with the best one are kept
MODEL = BiEncoder
LOSSES = {"cosine": cosine_loss, "contrastive": contrastive_loss}


def read(data: str, **reading: Any) -> dict[str, list[Example]]:
    """The pairs by part, with a score each; as `bertmini.data.task_files.read_task`.

    Raises:
        InputError: also where all pairs of dev or test have one score, so that nothing correlates with it.
    """
    splits = {
        part: [
            scored_pair(example, f"{data}, {part}: example {number}")
            for number, example in enumerate(examples, 1)
        ]
        for part, examples in read_task(data, regress.NAME, **reading).items()
    }
    for part, examples in splits.items():
        if part != "train":
            regress.refuse_one_score(examples, f"{data}, {part}")
    return splits


def scored_pair(example: Example, where: str) -> Example:
    """A pair with its score as a number; the Gazette has labels 0 and 1 as words.

    Raises:
        InputError: it is a single text, or its score is no number from 0 on.
    """
    if example.pair is None:
        raise InputError(
            f"{where} is one text; expected two and their score; name columns with --text-columns"
        )
    try:
        score = float(example.label)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score < math.inf:
        raise InputError(f"{where} has the score {example.label!r}; expected a number, 0 or more")
    return replace(example, label=score)


def head(examples: Sequence[Example]) -> dict[str, Any]:
    """The fields of the configuration: those of an encoder without a head."""
    return {"id2label": None, "problem_type": None}


def start(examples: Sequence[Example]) -> float:
    """There is no new head that begins anywhere."""
    return 0.0


class PairData(ByLength):
    """Batches of pairs: both texts of each as rows of one batch, a text that comes twice as one row.

    A batch holds input_ids, token_type_ids, attention_mask, int64 [texts, length]; first and second, int64
    [pairs], the rows of each pair's texts; and labels, float32 [pairs], the scores as shares of the highest.

    Args:
        examples: pairs with their scores.
        tokenizer: the model's.
        batch_size: pairs of a batch.
        max_length: tokens of a text; what is longer is cut.
        seed: every batch is a function of (seed, step).

    Raises:
        InputError: there is no example, one has no pair or no score, or a score is below 0.
    """

    def __init__(
        self, examples: Sequence[Example], tokenizer: Any, batch_size: int, max_length: int, seed: int
    ) -> None:
        if not examples:
            raise InputError("there is no example in the data; expected one or more")
        scored = [scored_pair(example, f"example {number}") for number, example in enumerate(examples, 1)]
        scores = torch.tensor([example.label for example in scored], dtype=torch.float32)
        self.labels = scores / (scores.max() if scores.max() > 0 else 1.0)
        number_of: dict[str, int] = {}
        self.pairs = np.array(
            [[number_of.setdefault(text, len(number_of)) for text in (e.text, str(e.pair))] for e in examples]
        )  # [pairs, 2], numbers of texts
        self.pad_token_id = tokenizer.pad_token_id
        encoded = tokenizer(list(number_of), truncation=True, max_length=max_length)
        self.input_ids, self.token_type_ids = encoded["input_ids"], encoded["token_type_ids"]
        tokens = np.array([len(ids) for ids in self.input_ids])
        super().__init__(tokens[self.pairs].max(axis=1).tolist(), batch_size, seed)

    def make(self, rows: np.ndarray) -> Batch:
        texts, row_of = np.unique(self.pairs[rows], return_inverse=True)
        first, second = torch.from_numpy(row_of.reshape(-1, 2).T.copy())  # [pairs] each
        ids, types = (
            [of_texts[text] for text in texts] for of_texts in (self.input_ids, self.token_type_ids)
        )
        batch = pad_inputs(ids, types, self.pad_token_id)
        return batch | {"first": first, "second": second, "labels": self.labels[torch.from_numpy(rows)]}


def data(
    examples: Sequence[Example],
    tokenizer: Any,
    config: BertConfig,
    batch_size: int = 32,
    max_length: int = 128,
    seed: int = 0,
) -> PairData:
    """Batches of pairs; as `PairData`.

    Args:
        config: not used; the signature is that of all tasks.
    """
    return PairData(examples, tokenizer, batch_size, max_length, seed)


def vectors_of(model: Any, batch: Batch) -> Tensor:
    """The vectors of a batch's texts, float32 [texts, hidden]."""
    output = model(**{name: batch[name] for name in batch.keys() - {"first", "second", "labels"}})
    return mean_vectors(output.last_hidden_state, batch.get("attention_mask"), batch.get("cu_seqlens"))


@dataclass
class Losses:
    """What training asks of an output."""

    losses: dict[str, Tensor]

    @property
    def loss(self) -> Tensor:
        """The sum of the losses."""
        return torch.stack(list(self.losses.values())).sum()


def refuse_all_alike(pairs: Iterable[Example]) -> None:
    """Refuse pairs that "cosine" would only pull together.

    Raises:
        InputError: all have the same score.
    """
    if len(scores := {float(pair.label or 0) for pair in pairs}) == 1:
        raise InputError(
            f"all pairs have the score {scores.pop():g}, and the loss cosine would make all texts alike; "
            "give pairs of several scores, or take --loss contrastive"
        )


def loss_of(name: str) -> Callable[[Any, Batch], Losses]:
    """What training minimises, as `bertmini.training.train` takes it.

    Args:
        name: a member of LOSSES. "cosine" wants scores, from unlike to like; "contrastive" wants pairs that
            belong together, and takes those with the highest score of the data for it.
    """

    def loss(model: Any, batch: Batch) -> Losses:
        vectors = vectors_of(model, batch)
        with torch.autocast(vectors.device.type, enabled=False):  # bf16 has two digits of a cosine
            value = LOSSES[name](vectors, batch["first"], batch["second"], batch["labels"])
        return Losses({f"{name}_loss": value})

    return loss


loss = loss_of("cosine")  # without another one


@torch.no_grad()
def evaluate(model: BiEncoder, data: PairData) -> dict[str, Any]:
    """How well the cosines go with the scores: pearson, and spearman (of ranks); as `regress.measure`.

    Args:
        model: in evaluation mode.
        data: the pairs.
    """
    device = next(model.parameters()).device
    cosines, labels = [], []
    for batch in data.batches_for_evaluation():
        vectors = refuse_nan(vectors_of(model, to_device(batch, device))).cpu()
        cosines.append((vectors[batch["first"]] * vectors[batch["second"]]).sum(dim=-1))
        labels.append(batch["labels"])
    measured = regress.measure(torch.cat(cosines)[:, None].numpy(), torch.cat(labels).numpy(), ())
    return {name: measured[name] for name in ("pearson", "spearman")}


def predict(
    model: BiEncoder,
    tokenizer: Any,
    inputs: Iterable[Text],
    batch_tokens: int | None = None,
    precision: Precision = "float32",
) -> Iterator[dict[str, Any]]:
    """For each pair {"score"}, the cosine of its two vectors, in order.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        inputs: pairs, as many as you like, read as they are needed.
        batch_tokens, precision: as for `bertmini.Predictor`.

    Raises:
        InputError: an input is not a pair.
    """
    longest = longest_row(tokenizer, model.config)

    def rows(pairs: Sequence[Example]) -> Rows:
        texts = [Example(text) for pair in pairs for text in (pair.text, str(pair.pair))]
        encoded = Rows.of(texts, tokenizer, longest)
        encoded.owners = np.repeat(np.arange(len(pairs)), 2)
        return encoded

    def vectors(batch: Batch) -> np.ndarray:
        return vectors_of(model, batch).cpu().numpy()

    for _, (first, second) in in_order(map(as_pair, inputs), rows, vectors, model, batch_tokens, precision):
        yield {"score": round(float(first @ second), 6)}


def as_pair(text: Text) -> Example:
    """A pair, in any of the forms that people have it in.

    Raises:
        InputError: it is one text, or none.
    """
    example = as_example(text)
    if example.pair is None:
        raise InputError(
            f"{example.text[:60]!r} is one text, and this model compares two; give a pair, or turn texts "
            "into vectors with bertmini embed"
        )
    return example
