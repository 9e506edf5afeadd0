"""Embeddings: what a token is, where it stands, which segment it is in (Devlin et al. 2018, Figure 2)."""

from __future__ import annotations

from torch import Tensor, nn

from bertmini.config import BertConfig
from bertmini.model.dropout import Dropout


class Embeddings(nn.Module):
    """Word, position and segment embeddings, summed, normalised and dropped out.

    BERT learns its position embeddings: a table with a row for every position, not the sine and cosine
    formula of the original Transformer (Devlin et al. 2018, §3).
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, position_ids: Tensor) -> Tensor:
        """Look up the three tables and add.

        Args:
            input_ids: [batch, length], ids of the pieces.
            token_type_ids: [batch, length], 0 for the first segment and 1 for the second.
            position_ids: [batch or 1, length], counted from 0.

        Returns:
            [batch, length, hidden].
        """
        # The order of this sum is transformers': floating-point addition depends on it.
        summed = self.word(input_ids) + self.token_type(token_type_ids) + self.position(position_ids)
        return self.dropout(self.norm(summed))
