"""What heads look at, as numbers over many texts instead of a picture of one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def head_shares(attentions: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """The share of its weight that each head gives to what you ask about (Clark et al. 2019, §3).

    Args:
        attentions: a model's `.attentions`, a tuple of [batch, heads, query, key].
        wanted: bool [batch, query, key], True where a look counts. Positions that have nothing to look at
            are left out of the mean, so that padding is never True in a query.
    Returns:
        Mean shares, [layers, heads].
    """
    asked = wanted.any(dim=-1)  # [batch, query]
    shares = []
    for weights in attentions:
        share = torch.einsum("bhqk,bqk->bqh", weights, wanted.to(weights.dtype))
        shares.append(share[asked].mean(dim=0))  # [heads]
    return torch.stack(shares)
