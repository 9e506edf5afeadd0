"""Adam with weight decay, as BERT uses it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters in two groups: matrices with weight decay, vectors without.

    The vectors are the biases and the LayerNorms' weights. A bias near zero is no simpler than another,
    and a LayerNorm's natural value is one.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with BERT's constants (Loshchilov & Hutter 2017, arXiv 1711.05101; eps of Google's code).

    Google's code leaves out Adam's bias correction, which makes short fine-tuning unstable
    (Mosbach et al. 2020, arXiv 2006.04884); it is in here.
    """
    groups = parameter_groups(model, weight_decay)
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.999), eps=1e-6, fused=True)
