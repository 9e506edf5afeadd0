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
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose tokens to predict, and hide most of them (Devlin et al. 2018, section 3.1, A.1).

    Of the chosen ones 80 % become [MASK], 10 % a random token, 10 % stay as they are: the model cannot tell which
    tokens it will be asked for, so it has to keep a good account of all.

    Args:
        input_ids: int64 [batch, length].
        maskable: bool [batch, length], True where a token may be chosen.
        generator: the source of chance; the same state gives the same masks.
        special_ids: ids that a random token never is.
        rate: share of a row's maskable tokens that is chosen, rounded, at least one.
        mask_share, random_share: shares of the chosen ones.

    Returns:
        (the ids with masks, the labels), both int64 [batch, length]; labels are -100 where nothing is predicted.
    """
    # Each row chooses its exact share: the maskable tokens with the lowest of random scores.
    scores = torch.rand(input_ids.shape, generator=generator).masked_fill(~maskable, 2.0)
    ranks = scores.argsort(dim=1).argsort(dim=1)  # [batch, length]
    how_many = (maskable.sum(dim=1, keepdim=True) * rate).round().clamp(min=1)  # [batch, 1]
    chosen = maskable & (ranks < how_many)
    labels = torch.where(chosen, input_ids, -100)

    fate = torch.rand(input_ids.shape, generator=generator)
    becomes_mask = chosen & (fate < mask_share)
    becomes_random = chosen & (fate >= mask_share) & (fate < mask_share + random_share)
    specials = sorted(set(special_ids))
    random_ids = torch.randint(vocab_size - len(specials), input_ids.shape, generator=generator)
    for special in specials:  # step over each special id
        random_ids += random_ids >= special
    masked_ids = torch.where(becomes_mask, mask_token_id, torch.where(becomes_random, random_ids, input_ids))
    return masked_ids, labels
