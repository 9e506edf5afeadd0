"""Embeddings: what a token is, where it stands, which segment it is in (Devlin et al. 2018, Figure 2)."""

from __future__ import annotations

from torch import Tensor, nn

from bertmini.config import BertConfig
from bertmini.model.dropout import Dropout


class Embeddings(nn.Module):
    """Word, position and segment embeddings, summed, normalised and dropped out.

    BERT learns its position embeddings: a table with a row for every position, not the sine and cosine
    formula of the original Transformer (Devlin et al. 2018, §3). ALBERT's tables are narrower than its hidden
    states, and a projection widens what they give (Lan et al. 2019, §3.1).
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width = config.embedding_size or config.hidden_size
        self.word = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.position = nn.Embedding(config.max_position_embeddings, width)
        self.token_type = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size else None
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.projection = nn.Linear(width, config.hidden_size) if config.embedding_size else None
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, token_type_ids: Tensor, position_ids: Tensor) -> Tensor:
        """Look up the three tables and add.

        Args:
            input_ids: [batch, length], ids of the pieces.
            token_type_ids: [batch, length], 0 for the first segment and 1 for the second.
            position_ids: [batch or 1, length], counted from the configuration's `first_position`.

        Returns:
            [batch, length, hidden].
        """
        # The order of this sum is transformers': floating-point addition depends on it.
        summed = self.word(input_ids)
        if self.token_type is not None:
            summed = summed + self.token_type(token_type_ids)
        embedded = self.dropout(self.norm(summed + self.position(position_ids)))
        return embedded if self.projection is None else self.projection(embedded)
