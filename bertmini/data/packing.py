"""Packing: the sequences of a batch laid end to end, so that no position is padding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Batch = dict[str, Tensor]


def pack(batch: Batch) -> Batch:
    """Leave the padding out of a batch; a model gives the same losses for both forms.

    A batch that speaks of places in a row (start_positions), or whose rows or masks have a further dimension,
    stays as it is.

    Args:
        batch: input_ids [batch, length] and, where there is padding, attention_mask, of the same shape. Other
            tensors of that shape belong to tokens, and the rest to sequences.

    Returns:
        cu_seqlens, int64 [sequences + 1], where each sequence begins, and the total length last; tensors of
        tokens [1, total]; those of sequences as they were. No attention_mask.
    """
    ids = batch["input_ids"]
    real = batch.get("attention_mask", torch.ones_like(ids)).bool()
    if ids.dim() > 2 or real.dim() > 2 or "start_positions" in batch:
        return batch
    packed = {
        name: tensor[real][None] if tensor.shape == ids.shape else tensor
        for name, tensor in batch.items()
        if name != "attention_mask"
    }
    return packed | {"cu_seqlens": F.pad(real.sum(dim=1).cumsum(dim=0), (1, 0))}
