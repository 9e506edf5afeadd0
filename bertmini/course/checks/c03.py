"""Chapter 03, attention."""

from __future__ import annotations

import torch

from bertmini.config import BertConfig
from bertmini.course.replace import samples
from bertmini.model.attention import left_to_right_mask, padding_mask


@samples("attend")
def attend_samples() -> list[tuple[tuple, dict]]:
    q, k, v = torch.randn(3, 2, 2, 5, 4)
    padding = padding_mask(torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
    return [
        ((q, k, v), {"return_weights": True}),
        ((q, k, v, padding), {}),
        ((q, k, v, left_to_right_mask(5)), {"return_weights": True}),
    ]


@samples("SelfAttention")
def self_attention_samples() -> list[tuple[tuple, dict]]:
    config = BertConfig.preset("tiny", hidden_size=32, num_attention_heads=4)
    hidden_states = torch.randn(2, 5, 32)
    padding = padding_mask(torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
    return [
        ((config,), {}),
        ((hidden_states,), {"return_weights": True}),
        ((hidden_states, padding), {}),
        ((hidden_states, left_to_right_mask(5)), {"return_weights": True}),
    ]
