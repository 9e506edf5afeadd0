"""Batches, each a pure function of (seed, step), so that an interrupted run can go on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from bertmini.data.corpus import Corpus
from bertmini.data.masking import mask_tokens
from bertmini.data.pairs import Pairs, pair_examples, stretch_examples
from bertmini.errors import InputError

Batch = dict[str, torch.Tensor]


def pad(rows: Sequence[Sequence[int]], pad_id: int, max_length: int | None = None) -> torch.Tensor:
    """Make rows one length: that of the longest, rounded up to a multiple of 8 (matrix units like it).

    Returns:
        int64 [batch, length], length at most max_length.
    """
    length = -(-max(map(len, rows)) // 8) * 8
    length = min(length, max_length or length)
    return torch.tensor([[*row, *[pad_id] * (length - len(row))] for row in rows])


def length_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Group examples of like length, so that little of a batch is padding.

    The examples are shuffled, sorted by length within pools of 32 batches, cut into batches, and the batches
    shuffled: all of it fixed by (seed, epoch).

    Returns:
        Each batch as example numbers, int64 [batch]; every example once.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    pool = np.arange(len(lengths)) // (32 * batch_size)
    order = order[np.lexsort((np.asarray(lengths)[order], pool))]
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


class PretrainingData:
    """Batches for pretraining, endlessly: `batch(step)` for any step.

    Args:
        corpus: the tokenised text.
        tokenizer: for the special ids and the size of the vocabulary.
        batch_size: examples a batch.
        max_length: tokens of an example, special tokens included.
        seed: batches are a pure function of (seed, step).
        objective: "mlm+nsp" (sentence pairs) or "mlm" (stretches of one document).
        static_masks: None draws pairs and masks anew in each epoch; n draws them n times and then repeats them,
            as BERT's own data did with n = 10.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Any,
        batch_size: int,
        max_length: int,
        seed: int,
        objective: str = "mlm+nsp",
        static_masks: int | None = None,
    ):
        if objective not in ("mlm+nsp", "mlm"):
            raise InputError(f"unknown objective {objective!r}; expected mlm+nsp or mlm")
        self.corpus, self.tokenizer, self.objective = corpus, tokenizer, objective
        self.batch_size, self.max_length, self.seed, self.static_masks = batch_size, max_length, seed, static_masks
        self.special_ids = torch.tensor(sorted(tokenizer.all_special_ids))
        self._epoch = lru_cache(maxsize=1)(self._make_epoch)
        # Epochs differ a little in length; all count as long as the first, so that a step needs no history.
        self.steps_per_epoch = len(self._epoch(0)[1])

    def _make_epoch(self, epoch: int) -> tuple[Pairs, list[np.ndarray]]:
        make = pair_examples if self.objective == "mlm+nsp" else stretch_examples
        pairs = make(self.corpus, self.max_length, self.seed, epoch)
        return pairs, length_batches(pairs.lengths, self.batch_size, self.seed, epoch)

    def __len__(self) -> int:
        return self.steps_per_epoch

    def batch(self, step: int) -> Batch:
        """Make the batch of a step.

        Returns:
            input_ids, token_type_ids, attention_mask, labels: int64 [batch, length], length a multiple of 8;
            next_sentence_label: int64 [batch], 0 = IsNext, 1 = NotNext (objective mlm+nsp only).
        """
        epoch, index = divmod(step, self.steps_per_epoch)
        epoch = epoch % self.static_masks if self.static_masks else epoch
        pairs, batches = self._epoch(epoch)
        rows = batches[index % len(batches)]

        cls, sep = [self.tokenizer.cls_token_id], [self.tokenizer.sep_token_id]
        ids, types = [], []
        for row in rows:
            a = self.corpus.token_ids[pairs.a_start[row] : pairs.a_end[row]].tolist()
            b = self.corpus.token_ids[pairs.b_start[row] : pairs.b_end[row]].tolist()
            ids.append(cls + a + sep + (b + sep if b else []))
            types.append([0] * (len(a) + 2) + [1] * (len(b) + 1 if b else 0))
        input_ids = pad(ids, self.tokenizer.pad_token_id, self.max_length)  # [batch, length]
        attention_mask = pad([[1] * len(row) for row in ids], 0, self.max_length)
        chance = np.random.SeedSequence([self.seed, epoch, index]).generate_state(1, np.uint64)
        masked_ids, labels = mask_tokens(
            input_ids,
            attention_mask.bool() & ~torch.isin(input_ids, self.special_ids),
            mask_token_id=self.tokenizer.mask_token_id,
            vocab_size=len(self.tokenizer),
            special_ids=self.special_ids.tolist(),
            generator=torch.Generator().manual_seed(int(chance[0])),
        )
        batch = {
            "input_ids": masked_ids,
            "token_type_ids": pad(types, 0, self.max_length),
            "attention_mask": attention_mask,
            "labels": labels,
        }
        if self.objective == "mlm+nsp":
            batch["next_sentence_label"] = torch.from_numpy(pairs.is_not_next[rows]).long()
        return batch
