"""One encoder that reads a text and writes another: a mask makes the difference (UniLM; Dong et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bertmini.config import BertConfig
from bertmini.errors import InputError
from bertmini.model.attention import attend, padding_mask, sequence_to_sequence_mask
from bertmini.model.bert import Bert, BertOutput, PretrainedModel, select_targets
from bertmini.model.heads import MaskedLMHead, mean_cross_entropy

Past = list[tuple[Tensor, Tensor]]  # a layer's keys and values, each [rows, heads, length, head_size]


class BertForSequenceToSequence(PretrainedModel):
    """BERT that writes: the source is read in both directions, the target from left to right.

    A row is [CLS] source [SEP] target. The [SEP] behind the source and every piece of the target predict the
    piece that comes next, with the head of pretraining; what comes after the last one is [SEP], the end.
    """

    MODEL_TYPE = "bertmini"  # transformers' BERT has no such mask

    def __init__(self, config: BertConfig) -> None:
        if config.direction:
            raise InputError(
                f"direction is {config.direction!r}: a model that translates reads its source both ways; "
                "begin with another model"
            )
        super().__init__(config)
        self.bert = Bert(config, add_pooler=False)
        self.mlm_head = MaskedLMHead(config)
        self.initialize()

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> BertOutput:
        """Predict the next piece of the target.

        Args:
            input_ids: [batch, length].
            token_type_ids: [batch, length], 0 in the source and 1 in the target.
            attention_mask: [batch, length], 1 for a real token and 0 for padding; or the whole mask, as
                `sequence_to_sequence_mask` makes it.
            labels: [batch, length], the next id of the target where there is one, -100 elsewhere. The head
                then computes only those positions, and `prediction_logits` is None.
            inputs: as for `Bert.forward`. Positions are counted in the source, and anew in the target.
        """
        if attention_mask is None or attention_mask.dim() == 2:
            attention_mask = sequence_to_sequence_mask(token_type_ids, attention_mask)
        inputs.setdefault("position_ids", self.config.first_position + positions_in_each(token_type_ids))
        output = self.bert(input_ids, attention_mask, token_type_ids, **inputs)
        if labels is None:
            output.prediction_logits = self.predict(output.last_hidden_state)
            return output
        hidden_states, targets = select_targets(output.last_hidden_state, labels)
        output.losses["seq2seq"] = mean_cross_entropy(self.predict(hidden_states), targets)
        return output

    def predict(self, hidden_states: Tensor) -> Tensor:
        """Logits [..., vocab] of the piece after each hidden state [..., hidden]."""
        return self.mlm_head(hidden_states, self.bert.embeddings.word.weight)

    def read_on(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
        past: Past | None = None,
    ) -> tuple[Tensor, Past]:
        """Read further positions, which look at all that was read before, and at each other.

        Nothing of the past changes by what is written after it, since it does not look there. So each layer's
        keys and values are kept, and a new piece costs one position.

        Args:
            input_ids, token_type_ids, position_ids: of the new positions, [rows, new]; positions are counted
                from 0 in the source, and anew in the target.
            attention_mask: [rows, past + new], 1 for a real token and 0 for padding.
            past: what the last call gave; None at the beginning.

        Returns:
            The last hidden states [rows, new, hidden], and the past with the new positions.
        """
        if self.config.type_vocab_size < 2:  # as in Bert.forward
            token_type_ids = torch.zeros_like(input_ids)
        places = self.config.first_position + position_ids
        hidden_states = self.bert.embeddings(input_ids, token_type_ids, places)
        mask, with_new = padding_mask(attention_mask), []
        layers: Any = self.bert.encoder.layers
        for number, layer in enumerate(layers):
            attention = layer.attention
            q, k, v = (
                attention.split_heads(project(hidden_states))
                for project in (attention.query, attention.key, attention.value)
            )
            if past is not None:
                k, v = (torch.cat(both, dim=2) for both in zip(past[number], (k, v), strict=True))
            with_new.append((k, v))
            context, _ = attend(q, k, v, mask)  # [rows, heads, new, head_size]
            attended = attention.output(context.transpose(1, 2).flatten(2))
            hidden_states = layer.attention_norm(attended + hidden_states)
            hidden_states = layer.feed_forward_norm(layer.feed_forward(hidden_states) + hidden_states)
        return hidden_states, with_new


def positions_in_each(token_type_ids: Tensor) -> Tensor:
    """Position ids [batch, length], counted from 0 in the source, and from 0 again in the target.

    A word then often stands near the place that its translation has; counted on, the target would begin at a
    different place in every row.
    """
    first = token_type_ids.argmax(dim=1, keepdim=True)  # [batch, 1], where the target begins
    counted = torch.arange(token_type_ids.size(1), device=token_type_ids.device)
    return counted - token_type_ids * first


def change_vocabulary(model: BertForSequenceToSequence, before: Sequence[str], after: Sequence[str]) -> None:
    """Give a model another vocabulary: pieces that it knew keep their vectors, others begin at random.

    Args:
        model: is changed in place.
        before: its pieces in the order of their ids.
        after: those that it is to have.
    """
    old, bias = model.bert.embeddings.word.weight.data, model.mlm_head.bias.data
    config = model.config.replace(vocab_size=len(after))
    known = {piece: i for i, piece in enumerate(before)}
    new_ids = [i for i, piece in enumerate(after) if piece in known]
    old_ids = [known[after[i]] for i in new_ids]
    words = nn.Embedding(len(after), old.size(1), padding_idx=config.pad_token_id)
    nn.init.normal_(words.weight, std=config.initializer_range)
    new_bias = torch.zeros(len(after))
    words.weight.data[new_ids], new_bias[new_ids] = old[old_ids], bias[old_ids]
    model.bert.embeddings.word = words.to(old.device)
    model.mlm_head.bias = nn.Parameter(new_bias.to(bias.device))
    model.config = model.bert.config = config
