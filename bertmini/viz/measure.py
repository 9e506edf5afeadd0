"""What heads look at, as numbers over many texts instead of a picture of one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bertmini.errors import InputError


def head_shares(attentions: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """The share of its weight that each head gives to what you ask about (Clark et al. 2019, §3).

    Args:
        attentions: a model's `.attentions`, a tuple of [batch, heads, query, key].
        wanted: bool [batch, query, key], True where a look counts. Queries without any are left out of the
            mean; leave the rows of padding False.

    Returns:
        Mean shares, [layers, heads].

    Raises:
        InputError: nothing is wanted of any query.
    """
    asked = wanted.any(dim=-1)  # [batch, query]
    if not asked.any():
        raise InputError("head_shares: wanted is False everywhere; expected something to look at")
    shares = []
    for weights in attentions:
        share = torch.einsum("bhqk,bqk->bqh", weights, wanted.to(weights.dtype))
        shares.append(share[asked].mean(dim=0))  # [heads]
    return torch.stack(shares)
