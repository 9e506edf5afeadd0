"""Masks for the masked language model."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def mask_tokens(
    input_ids: torch.Tensor,
    maskable: torch.Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    generator: torch.Generator | None = None,
    special_ids: Sequence[int] = (),
    rate: float = 0.15,
    mask_share: float = 0.8,
    random_share: float = 0.1,
    rows: slice = slice(None),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose tokens to predict and hide most of them (Devlin et al. 2018, sections 3.1 and A.1).

    Args:
        input_ids: int64 [batch, length].
        maskable: bool [batch, length], True where a token may be chosen.
        generator: the source of chance: the same state gives the same masks.
        special_ids: ids that a random token never is.
        rate: share of a row's maskable tokens that is chosen, rounded, one at least.
        mask_share, random_share: shares of the chosen that become [MASK] and a random token; the rest stays.
        rows: those to mask; their masks are the ones that they get among all rows.

    Returns:
        (ids with masks, labels), int64 [rows, length]; the label is -100 where nothing is predicted.
    """
    specials = sorted(set(special_ids))
    scores = torch.rand(input_ids.shape, generator=generator)[rows]
    random_ids = torch.randint(vocab_size - len(specials), input_ids.shape, generator=generator)[rows]
    fate = torch.rand(input_ids.shape, generator=generator)[rows]
    input_ids, maskable = input_ids[rows], maskable[rows]

    # In each row the maskable tokens with the lowest random scores are chosen.
    scores = scores.masked_fill(~maskable, 2.0)
    rank = scores.argsort(dim=1).argsort(dim=1)  # [batch, length]
    how_many = (rate * maskable.sum(dim=1, keepdim=True)).round().clamp(min=1)  # [batch, 1]
    chosen = maskable & (rank < how_many)
    labels = torch.where(chosen, input_ids, -100)

    for special in specials:  # step over each
        random_ids += random_ids >= special
    masked_ids = torch.where(chosen & (fate < mask_share + random_share), random_ids, input_ids)
    masked_ids = torch.where(chosen & (fate < mask_share), mask_token_id, masked_ids)
    return masked_ids, labels
