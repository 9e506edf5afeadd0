"""What BERT was compared with: two models that read one way each, side by side, and an LSTM on top.

Devlin et al. 2018, arXiv 1810.04805, section 5.1: a left-to-right model of BERT's size, the same with a
BiLSTM on top of it, and, as ELMo has it, a second model that reads from right to left beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bertmini.config import DIRECTIONS, BertConfig
from bertmini.errors import InputError
from bertmini.model.bert import Bert, BertOutput, PretrainedModel, summary
from bertmini.model.heads import Pooler
from bertmini.model.tagging import in_rows


class Reader(nn.Module):
    """What a task's head reads in place of one BERT's states.

    It is there to be measured, and does not save: no configuration says how to build it again.

    Args:
        config: of the BERT below.
        width: features of a state.
        add_pooler: whether the task's head reads one vector for a whole text.
    """

    def __init__(self, config: BertConfig, width: int, add_pooler: bool) -> None:
        super().__init__()
        self.width = width
        self.pooler = Pooler(config.replace(hidden_size=width)) if add_pooler else None
        if self.pooler is not None:
            nn.init.normal_(self.pooler.dense.weight, std=config.initializer_range)
            nn.init.zeros_(self.pooler.dense.bias)
        self.register_state_dict_pre_hook(refuse_to_save)

    def read(
        self, input_ids: Tensor, attention_mask: Tensor | None, **inputs: Any
    ) -> tuple[Tensor, Tensor]:
        """The states [batch, length, width], and what stands for each whole text, [texts, width]."""
        raise NotImplementedError

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
    ) -> BertOutput:
        """Encode a batch; takes what `Bert.forward` takes, but returns the last states alone."""
        further = {"token_type_ids": token_type_ids, "position_ids": position_ids, "cu_seqlens": cu_seqlens}
        states, texts = self.read(input_ids, attention_mask, **further)
        return BertOutput(states, None if self.pooler is None else self.pooler(texts))


def refuse_to_save(module: nn.Module, *_: Any) -> None:
    raise InputError(
        f"{type(module).__name__}: models whose heads read more than one BERT are there to be measured and "
        "cannot be saved; save the models below it"
    )


class SideBySide(Reader):
    """Two models that read one way each, their last hidden states one beside the other, as ELMo's.

    Each layer of either has seen one side only: what stands left and what stands right of a token meet in the
    task's head, and not before.

    Args:
        left_to_right, right_to_left: the models; their own poolers are not used.
        add_pooler: whether the task's head reads one vector for a whole text.

    Raises:
        InputError: they do not read these ways, or have different vocabularies.

    Source: Peters et al. 2018, arXiv 1802.05365, section 3.1.
    """

    def __init__(self, left_to_right: Bert, right_to_left: Bert, add_pooler: bool) -> None:
        models = (left_to_right, right_to_left)
        if (found := tuple(model.config.direction for model in models)) != DIRECTIONS:
            raise InputError(
                f"the models read {' and '.join(name or 'both ways' for name in found)}; "
                f"expected {' and '.join(DIRECTIONS)}"
            )
        sizes = [model.config.vocab_size for model in models]
        if sizes[0] != sizes[1]:
            raise InputError(f"the models know {sizes[0]} and {sizes[1]} pieces; expected one vocabulary")
        width = sum(model.config.hidden_size for model in models)
        super().__init__(left_to_right.config, width, add_pooler)
        for model in models:
            model.pooler = None
        self.models = nn.ModuleList(models)

    def read(
        self, input_ids: Tensor, attention_mask: Tensor | None, **inputs: Any
    ) -> tuple[Tensor, Tensor]:
        last = [model(input_ids, attention_mask, **inputs).last_hidden_state for model in self.models]
        # Each sums a text up at the token that has read all of it.
        ends = [
            summary(states, model.config, attention_mask)  # type: ignore[arg-type]
            for states, model in zip(last, self.models, strict=True)
        ]
        return torch.cat(last, dim=-1), torch.cat(ends, dim=-1)


class LstmOnTop(Reader):
    """A BiLSTM of two layers on a BERT's last hidden states; as wide as they are.

    Args:
        bert: the model below, which learns with it; its own pooler is not used.
        add_pooler: whether the task's head reads one vector for a whole text.
    """

    def __init__(self, bert: Bert, add_pooler: bool) -> None:
        half = bert.config.hidden_size // 2  # of each direction
        super().__init__(bert.config, 2 * half, add_pooler)
        bert.pooler = None
        self.bert = bert
        self.lstm = nn.LSTM(bert.config.hidden_size, half, 2, bidirectional=True, batch_first=True)

    def read(
        self, input_ids: Tensor, attention_mask: Tensor | None, **inputs: Any
    ) -> tuple[Tensor, Tensor]:
        last = self.bert(input_ids, attention_mask, **inputs).last_hidden_state.float()
        is_real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        is_real = is_real.bool()  # [batch, length]
        packed, lengths = inputs["cu_seqlens"], is_real.sum(dim=1)
        lengths = lengths if packed is None else packed.diff()  # [texts]
        rows, filled = in_rows(last[is_real], lengths)  # [texts, longest, hidden]
        # Without padding, which the backward direction would begin with. A text without tokens counts as one.
        in_turn = pack_padded_sequence(
            rows, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        with torch.autocast(last.device.type, enabled=False):
            read, (ends, _) = self.lstm(in_turn)
        read, _ = pad_packed_sequence(read, batch_first=True, total_length=rows.size(1))
        states = last.new_zeros(*input_ids.shape, self.width)
        states[is_real] = read[filled]
        # Of the last layer, the forward direction at the last token and the backward one at the first.
        return states, ends[-2:].transpose(0, 1).flatten(1)


def read_side_by_side(model: PretrainedModel, right_to_left: Bert) -> None:
    """Let a task's head read a second model's states beside those of its own, which reads from left to right.

    Args:
        model: with the head of a task; changed in place, and its head begins anew.
        right_to_left: the second model.

    Raises:
        InputError: as `SideBySide`; or the model has no task's head.
    """
    bert = encoder_of(model)
    read_through(model, SideBySide(bert, right_to_left, bert.pooler is not None))


def read_by_lstm(model: PretrainedModel) -> None:
    """Put a BiLSTM with random weights between a model and its task's head.

    Args:
        model: with the head of a task; changed in place, and its head begins anew.

    Raises:
        InputError: the model has no task's head.
    """
    bert = encoder_of(model)
    read_through(model, LstmOnTop(bert, bert.pooler is not None))


def encoder_of(model: Any) -> Bert:
    if not model.HEAD or not isinstance(getattr(model, "bert", None), Bert):
        raise InputError(f"{type(model).__name__} has no BERT below the head of a task; load one for a task")
    return model.bert


def read_through(model: Any, reader: Reader) -> None:
    """Put a reader in the place of a model's BERT, under a new head of its width."""
    before = getattr(model, model.HEAD)
    head = nn.Linear(reader.width, before.out_features)
    nn.init.normal_(head.weight, std=model.config.initializer_range)
    head.bias = before.bias  # where a task wants it to begin
    setattr(model, model.HEAD, head)
    model.bert = reader
