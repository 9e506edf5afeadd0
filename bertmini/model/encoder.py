"""The encoder: a stack of layers of attention and feed-forward networks (Vaswani et al. 2017, §3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bertmini.config import BertConfig
from bertmini.errors import InputError
from bertmini.model.attention import Mask, SelfAttention
from bertmini.model.dropout import Dropout


def gelu_new(x: Tensor) -> Tensor:
    """Gelu by tanh, the form in Google's BERT code (Hendrycks & Gimpel 2016, arXiv 1606.08415)."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "gelu_new": gelu_new, "relu": F.relu}


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, applied to each position on its own."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        if config.hidden_act not in ACTIVATIONS:
            raise InputError(f"hidden_act {config.hidden_act!r} is unknown: one of {', '.join(ACTIVATIONS)}")
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Widen, bend, narrow: [batch, length, hidden] to the same shape."""
        return self.down(self.activation(self.up(hidden_states)))


class Layer(nn.Module):
    """Attention, then feed-forward, each with dropout, a residual connection and a LayerNorm.

    The LayerNorm comes after the sum ("post-LN"), as in the original Transformer and in BERT.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden_states: Tensor, mask: Mask | None = None, return_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Mix positions, then work on each: [batch, length, hidden] to the same, and the weights."""
        attended, weights = self.attention(hidden_states, mask, return_weights)
        hidden_states = self.attention_norm(self.dropout(attended) + hidden_states)
        hidden_states = self.feed_forward_norm(self.dropout(self.feed_forward(hidden_states)) + hidden_states)
        return hidden_states, weights


class Encoder(nn.Module):
    """The stack of layers. Where layers, or a part of each, share their weights, they are one module.

    With `checkpointing` a training step keeps each layer's input alone, and computes the rest again when the
    backward pass comes to that layer: a third more time for a small part of the memory (Chen et al. 2016,
    arXiv 1604.06174).
    """

    checkpointing = False

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        different = [Layer(config.of_layer(i)) for i in range(config.num_different_layers)]
        for part in config.parts_in_common:
            for layer in different[1:]:
                setattr(layer, part, getattr(different[0], part))
        self.layers = nn.ModuleList(different[config.group_of(i)] for i in range(config.num_hidden_layers))

    def forward(
        self,
        hidden_states: Tensor,
        mask: Mask | None = None,
        return_weights: bool = False,
        return_states: bool = True,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
        """Run all layers.

        Args:
            hidden_states: the embeddings, [batch, length, hidden].
            mask: as for `attend`.
            return_weights: also return the attention weights.
            return_states: return all hidden states; otherwise the last alone, and memory is freed on the way.

        Returns:
            The hidden states (the embeddings, then each layer's output: one more than there are layers), and
            each layer's weights [batch, heads, query, key] or None.
        """
        all_states, all_weights = [hidden_states], []
        for layer in self.layers:
            inputs = (hidden_states, mask, return_weights)
            if self.checkpointing and self.training:
                hidden_states, weights = checkpoint(layer, *inputs, use_reentrant=False)
            else:
                hidden_states, weights = layer(*inputs)
            all_states = [*all_states, hidden_states] if return_states else [hidden_states]
            all_weights.append(weights)
        return tuple(all_states), tuple(all_weights) if return_weights else None
