"""Attention: every position looks at every other and takes what it needs.

Vaswani et al. 2017, arXiv 1706.03762, §3.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.model.dropout import drop


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    return_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention: softmax(q kᵀ / √head_size) v.

    Args:
        q, k, v: queries, keys and values, each [batch, heads, length, head_size].
        mask: bool, broadcast to [batch, heads, query, key]; True where the query may look.
        dropout: probability of dropping an attention weight.
        return_weights: also return the weights. Without them PyTorch's fused kernel is used, which is faster
            and never forms them, unless weights are dropped on a CPU: there it has no such kernel.

    Returns:
        The context [batch, heads, length, head_size], and the weights [batch, heads, query, key] or None.
    """
    if not return_weights and (not dropout or q.device.type != "cpu"):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout), None
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))  # [batch, heads, query, key]
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=-1)
    return drop(weights, dropout) @ v, weights if return_weights else None


def padding_mask(attention_mask: Tensor) -> Tensor:
    """The mask that hides padding from every query.

    Args:
        attention_mask: [batch, length], 1 for a real token and 0 for padding.

    Returns:
        Bool [batch, 1, 1, length].
    """
    return attention_mask.bool()[:, None, None, :]


def left_to_right_mask(length: int, device: torch.device | None = None) -> Tensor:
    """The mask of a left-to-right model: position i looks at 0 to i; bool [1, 1, length, length]."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]


def packing_mask(cu_seqlens: Tensor) -> Tensor:
    """The mask of several sequences laid end to end in one row: each looks only at itself.

    Args:
        cu_seqlens: [sequences + 1], where each sequence begins, and the total length last.

    Returns:
        Bool [1, 1, total, total].
    """
    lengths = cu_seqlens.diff()
    owner = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    return (owner[:, None] == owner[None, :])[None, None]


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, §3.2.2), with its output projection."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def split_heads(self, x: Tensor) -> Tensor:
        batch, length, hidden = x.shape
        x = x.view(batch, length, self.num_heads, hidden // self.num_heads)
        return x.transpose(1, 2)  # [batch, heads, length, head_size]

    def forward(
        self, hidden_states: Tensor, mask: Tensor | None = None, return_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Let every position gather from all the positions that the mask allows.

        Args:
            hidden_states: [batch, length, hidden].
            mask: bool, broadcast to [batch, heads, query, key]; True where the query may look.
            return_weights: also return the attention weights.

        Returns:
            [batch, length, hidden], and the weights [batch, heads, query, key] or None.
        """
        q = self.split_heads(self.query(hidden_states))
        k = self.split_heads(self.key(hidden_states))
        v = self.split_heads(self.value(hidden_states))
        dropout = self.dropout if self.training else 0.0
        context, weights = attend(q, k, v, mask, dropout, return_weights)
        context = context.transpose(1, 2).flatten(2)  # [batch, length, hidden]
        return self.output(context), weights
