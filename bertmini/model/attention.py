"""Attention: every position looks at every other and takes what it needs.

Vaswani et al. 2017, arXiv 1706.03762, §3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.model.dropout import drop


@dataclass(frozen=True)
class Packing:
    """Several sequences laid end to end in one row, each of which looks only at itself.

    Args:
        cu_seqlens: [sequences + 1], where each sequence begins, and the total length last.
        longest: tokens of the longest sequence.
    """

    cu_seqlens: Tensor
    longest: int


Mask = Tensor | Packing  # where a query may look


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | None = None,
    dropout: float = 0.0,
    return_weights: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention: softmax(q kᵀ / √head_size) v.

    Args:
        q, k, v: queries, keys and values, each [batch, heads, length, head_size].
        mask: bool, broadcast to [batch, heads, query, key]; True where the query may look.
            Or a Packing, where batch is 1.
        dropout: probability of dropping an attention weight.
        return_weights: also return the weights. Without them PyTorch's fused kernel is used, which is faster
            and never forms them, except on a CPU with dropout or in bf16, where the formula is faster.

    Returns:
        The context [batch, heads, length, head_size], and the weights [batch, heads, query, key] or None.
    """
    if isinstance(mask, Packing):
        return attend_packed(q, k, v, mask, dropout, return_weights)
    has_kernel = q.device.type != "cpu" or (not dropout and q.dtype != torch.bfloat16)
    if has_kernel and not return_weights:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout), None
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))  # [batch, heads, query, key]
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=-1)
    return drop(weights, dropout) @ v, weights if return_weights else None


def attend_packed(
    q: Tensor, k: Tensor, v: Tensor, packing: Packing, dropout: float = 0.0, return_weights: bool = False
) -> tuple[Tensor, Tensor | None]:
    """`attend` within each of several packed sequences; takes and returns what it does."""
    if return_weights:
        return attend(q, k, v, packing_mask(packing.cu_seqlens), dropout, return_weights)
    if q.is_cuda:
        return attend_jagged(q, k, v, packing, dropout), None
    # A core is busy with one sequence; all of them at once would compute what the mask then hides.
    parts = [slice(*ends) for ends in pairwise(packing.cu_seqlens.tolist())]
    contexts = [attend(q[:, :, i], k[:, :, i], v[:, :, i], None, dropout)[0] for i in parts]
    return torch.cat(contexts, dim=2), None


def attend_jagged(q: Tensor, k: Tensor, v: Tensor, packing: Packing, dropout: float = 0.0) -> Tensor:
    """Packed attention by one kernel for sequences of different lengths (on a GPU the flash kernel).

    Args:
        q, k, v: [1, heads, total, head_size].
        packing: where the sequences begin. Its lengths are given to the kernel, which would else ask the GPU.
        dropout: probability of dropping an attention weight.

    Returns:
        The context [1, heads, total, head_size].
    """

    def by_sequence(x: Tensor) -> Tensor:  # [sequences, heads, its length, head_size]
        x = x[0].transpose(0, 1)
        return torch.nested.nested_tensor_from_jagged(
            x, packing.cu_seqlens, min_seqlen=1, max_seqlen=packing.longest
        ).transpose(1, 2)

    context = F.scaled_dot_product_attention(
        by_sequence(q), by_sequence(k), by_sequence(v), dropout_p=dropout
    )
    return context.transpose(1, 2).values().transpose(0, 1)[None]


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


def one_way_mask(direction: str, length: int, device: torch.device | None = None) -> Tensor:
    """The mask of a model that reads in one direction, a name in `bertmini.config.DIRECTIONS`; as above."""
    mask = left_to_right_mask(length, device)
    return mask if direction == "left-to-right" else mask.transpose(-1, -2)


def sequence_to_sequence_mask(token_type_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """The mask of a text that is written from another one (UniLM; Dong et al. 2019, arXiv 1905.03197, §2.3).

    Every position looks at the whole source. A position of the target looks also at the target up to itself.

    Args:
        token_type_ids: [batch, length], 0 in the source and 1 in the target, which follows it.
        attention_mask: [batch, length], 1 for a real token and 0 for padding. None: no padding.

    Returns:
        Bool [batch, query, key], as `Bert.forward` takes it.
    """
    is_target = token_type_ids.bool()  # [batch, length]
    written = left_to_right_mask(is_target.size(1), is_target.device)[0] & is_target[:, :, None]
    mask = ~is_target[:, None, :] | written  # [batch, query, key]
    return mask if attention_mask is None else mask & attention_mask.bool()[:, None, :]


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
        inner = config.num_attention_heads * config.head_size  # hidden_size, where no head was pruned
        self.query = nn.Linear(config.hidden_size, inner)
        self.key = nn.Linear(config.hidden_size, inner)
        self.value = nn.Linear(config.hidden_size, inner)
        self.output = nn.Linear(inner, config.hidden_size)

    def split_heads(self, x: Tensor) -> Tensor:
        batch, length, inner = x.shape
        x = x.view(batch, length, self.num_heads, inner // self.num_heads)
        return x.transpose(1, 2)  # [batch, heads, length, head_size]

    def forward(
        self, hidden_states: Tensor, mask: Mask | None = None, return_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Let every position gather from all the positions that the mask allows.

        Args:
            hidden_states: [batch, length, hidden].
            mask: as for `attend`.
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
