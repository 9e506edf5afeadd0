"""One vector for a text, trained by comparing two (Reimers & Gurevych 2019, arXiv 1908.10084)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.model.bert import Bert
from bertmini.model.heads import IGNORED, mean_cross_entropy

TEMPERATURE = 0.05  # cosines reach from -1 to 1; divided by it they can say "almost certainly"


class BiEncoder(Bert):
    """BERT that gives each of two texts its own vector. It has no head: what is trained is the encoder."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        if self.pooler is not None:  # transformers' BertModel has one, so it is kept; nothing reads it
            self.pooler.requires_grad_(False)

    @classmethod
    def from_pretrained(cls, directory: str | Path, **config_overrides: Any) -> Self:
        """As every model; and no pooler is missed."""
        model = super().from_pretrained(directory, **config_overrides)
        model.fresh = ()
        return model


def mean_vectors(
    hidden_states: Tensor, attention_mask: Tensor | None = None, cu_seqlens: Tensor | None = None
) -> Tensor:
    """The mean of each text's hidden states, of length 1, so that a dot product of two is their cosine.

    Args:
        hidden_states: [batch, length, hidden], or [1, tokens, hidden] of packed texts.
        attention_mask: [batch, length], 0 for padding, which does not count. None: no padding.
        cu_seqlens: [texts + 1], boundaries of packed texts.

    Returns:
        float32 [texts, hidden].

    Source: Reimers & Gurevych 2019, section 3 (the MEAN strategy).
    """
    states = hidden_states.float()
    if cu_seqlens is not None:
        lengths = cu_seqlens.diff()
        text_of = torch.repeat_interleave(lengths, output_size=states.size(1))  # [tokens]
        sums = states.new_zeros(len(lengths), states.size(2)).index_add(0, text_of, states[0])
        means = sums / lengths[:, None]
    elif attention_mask is not None:
        real = attention_mask[:, :, None]  # [batch, length, 1]
        means = (states * real).sum(dim=1) / real.sum(dim=1)
    else:
        means = states.mean(dim=1)
    return F.normalize(means, dim=-1)


def cosine_loss(vectors: Tensor, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of a pair's cosine from how close its texts are.

    Args:
        vectors: [texts, hidden], of length 1.
        first, second: [pairs], which vectors are a pair.
        labels: [pairs], closeness from 0 to 1.

    Source: Reimers & Gurevych 2019, section 3 (the regression objective).
    """
    cosines = (vectors[first] * vectors[second]).sum(dim=-1)  # [pairs]
    return F.mse_loss(cosines, labels)


def contrastive_loss(vectors: Tensor, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of finding a text's partner among all second texts of the batch.

    Only a pair of closeness 1 is a question; the second texts of the others are further wrong answers.

    Args:
        vectors, first, second, labels: as for `cosine_loss`.

    Source: Henderson et al. 2017, arXiv 1705.00652, section 4; the temperature is that of Gao et al. 2021,
    arXiv 2104.08821.
    """
    candidates, partner = second.unique(return_inverse=True)  # a text that comes twice is one answer
    scores = vectors[first] @ vectors[candidates].T / TEMPERATURE  # [pairs, candidates]
    # A text is no wrong answer to itself.
    itself = (candidates == first[:, None]) & (candidates != second[:, None])
    targets = partner.masked_fill(labels != 1, IGNORED)
    return mean_cross_entropy(scores.masked_fill(itself, -torch.inf), targets)
