"""Heads: what turns hidden states into answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.model.encoder import ACTIVATIONS

# The label of a position that has nothing to predict. It must be no class of any objective: with 0, NSP would
# lose one of its two answers.
IGNORED = -100


class Pooler(nn.Module):
    """The hidden state of [CLS] through a linear layer and tanh: one vector for the whole input.

    DistilBERT, whose classifier has such a layer of its own, takes relu.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = {"tanh": torch.tanh, "relu": torch.relu}[config.pooler_act]

    def forward(self, cls_states: Tensor) -> Tensor:
        """[sequences, hidden] to the same shape."""
        return self.activation(self.dense(cls_states))


class MaskedLMHead(nn.Module):
    """Predicts the pieces behind the masks (Devlin et al. 2018, §3.1, Task #1).

    The last matrix is the word embedding itself (Press & Wolf 2017, arXiv 1608.05859): a piece is likely
    where the transformed hidden state points along its embedding. Only the bias is the head's own.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.embedding_size or config.hidden_size  # of a word's embedding
        self.transform = nn.Linear(config.hidden_size, width)
        self.activation = ACTIVATIONS[config.family.head_act or config.hidden_act]
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden_states: Tensor, word_embeddings: Tensor) -> Tensor:
        """Score every piece of the vocabulary.

        Args:
            hidden_states: [..., hidden].
            word_embeddings: the embedding table, [vocab, hidden].

        Returns:
            Logits [..., vocab].
        """
        hidden_states = self.norm(self.activation(self.transform(hidden_states)))
        return F.linear(hidden_states, word_embeddings, self.bias)


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the positions that have a label, in nats; 0 where there is none.

    Args:
        logits: [positions, classes]; for masked words a class is a piece of the vocabulary.
        labels: [positions], the right classes; IGNORED where nothing is asked.
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)
