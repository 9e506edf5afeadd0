"""BERT and its heads, put together (Devlin et al. 2018, arXiv 1810.04805)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.errors import InputError
from bertmini.hub import locate
from bertmini.model import checkpoint
from bertmini.model.attention import Mask, Packing, one_way_mask, padding_mask
from bertmini.model.dropout import Dropout
from bertmini.model.embeddings import Embeddings
from bertmini.model.encoder import Encoder
from bertmini.model.heads import IGNORED, MaskedLMHead, Pooler, mean_cross_entropy
from bertmini.model.quantized import quantize_layers


@dataclass
class BertOutput:
    """What a model returns; a field is None where the model has no such part or was not asked for it."""

    last_hidden_state: Tensor  # [batch, length, hidden]
    pooler_output: Tensor | None = None  # [batch, hidden]
    hidden_states: tuple[Tensor, ...] | None = None  # layers + 1, each [batch, length, hidden]
    attentions: tuple[Tensor, ...] | None = None  # layers, each [batch, heads, query, key]
    prediction_logits: Tensor | None = None  # [batch, length, vocab]
    seq_relationship_logits: Tensor | None = None  # [batch, 2]: is next, is not
    logits: Tensor | None = None  # a task's, [batch, labels]
    losses: dict[str, Tensor] = field(default_factory=dict)  # each objective's, by name

    @property
    def loss(self) -> Tensor | None:
        """The sum of the losses, or None where no labels were given."""
        return torch.stack(list(self.losses.values())).sum() if self.losses else None


class PretrainedModel(nn.Module):
    """What all models share: their configuration, how weights begin, and how they are loaded and saved."""

    MODEL_TYPE = "bert"  # "bertmini" where transformers has no such head
    ARCHITECTURE = ""  # its name in config.json; "": that of the class
    HEAD = ""  # the layer that a new task begins anew; "": it has none

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.fresh: tuple[str, ...] = ()  # parameters that from_pretrained did not find, and left at random

    def initialize(self) -> None:
        """Draw every weight from N(0, initializer_range), zero the biases, set LayerNorms to identity."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])

    @property
    def fits_transformers(self) -> bool:
        """Whether transformers can hold the model; a file of another has the model_type bertmini."""
        return self.MODEL_TYPE != "bertmini" and self.config.fits_transformers

    def begin_head(self, bias: float) -> None:
        """Draw the head's weights anew, and set its bias: one of as many labels may mean others."""
        if self.HEAD:
            head = getattr(self, self.HEAD)
            nn.init.normal_(head.weight, std=self.config.initializer_range)
            nn.init.constant_(head.bias, bias)

    @classmethod
    def from_pretrained(cls, directory: str | Path, **config_overrides: Any) -> Self:
        """Load a model from a directory in transformers' format, or from the hub.

        Args:
            directory: holds `config.json` and `model.safetensors`; or a hub id.
            config_overrides: fields of the configuration to change, `id2label` for a new task's head, say.

        Returns:
            The model, in evaluation mode. Parameters that the file does not hold (a new head) stay at their
            random start and are named in `model.fresh`.

        Raises:
            InputError: for missing files, pickled weights, wrong shapes or an encoder that is not there.
        """
        directory = locate(directory)
        model = cls(BertConfig.load(directory / "config.json").replace(**config_overrides))
        if model.config.quantization:
            quantize_layers(model)
        model.fresh = checkpoint.load_weights(model, directory)
        return model.eval()

    def save_pretrained(self, directory: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write `config.json` and `model.safetensors`, which `transformers` loads too.

        Args:
            directory: made if it does not exist.
            dtype: the number format in the file; None keeps the model's own.
        """
        checkpoint.save(self, Path(directory), dtype)


class Bert(PretrainedModel):
    """The encoder with its embeddings and pooler: text in, a vector for every token out.

    Args:
        config: the model's shape.
        add_pooler: whether to build the pooler, which NSP and classification need and MLM does not. None: as
            the family has it.
    """

    ARCHITECTURE = "BertModel"

    def __init__(self, config: BertConfig, add_pooler: bool | None = None) -> None:
        super().__init__(config)
        add_pooler = config.family.has_pooler if add_pooler is None else add_pooler
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config) if add_pooler else None
        self.initialize()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        return_hidden_states: bool = False,
        return_attentions: bool = False,
    ) -> BertOutput:
        """Encode a batch.

        Args:
            input_ids: [batch, length], ids of the pieces.
            attention_mask: [batch, length], 1 for a real token, 0 for padding; or bool [batch, query, key],
                True where the query may look. None: no padding.
            token_type_ids: [batch, length], the segment of each token. None: all in the first.
            position_ids: [batch, length]. None: counted from the configuration's `first_position`, not
                0 in a RoBERTa (in each packed sequence).
            cu_seqlens: [sequences + 1], boundaries of sequences packed into one row: batch is then 1, and
                `pooler_output` has a row a sequence.
            return_hidden_states: also return the embeddings and each layer's output.
            return_attentions: also return each layer's attention weights.

        Raises:
            InputError: for ids outside the vocabulary or a sequence longer than the position table.
        """
        # A GPU is asked for the longest packed sequence here, before it has work that would make this wait.
        longest = input_ids.size(1) if cu_seqlens is None else int(cu_seqlens.diff().max())
        if token_type_ids is None or self.config.type_vocab_size < 2:  # not all families know segments
            token_type_ids = torch.zeros_like(input_ids)
        self.check_inputs(input_ids, token_type_ids, longest)
        if position_ids is None:
            position_ids = positions(input_ids, self.config, cu_seqlens)
        embedded = self.embeddings(input_ids, token_type_ids, position_ids)
        mask = attention_mask_for(attention_mask, cu_seqlens, longest)
        if self.config.direction:
            mask = one_way(mask, self.config.direction, longest, input_ids.device)
        hidden_states, attentions = self.encoder(embedded, mask, return_attentions, return_hidden_states)
        last = hidden_states[-1]
        pooled = None
        if self.pooler is not None:
            pooled = self.pooler(summary(last, self.config, attention_mask, cu_seqlens))
        return BertOutput(last, pooled, hidden_states if return_hidden_states else None, attentions)

    def check_inputs(self, input_ids: Tensor, token_type_ids: Tensor | None, longest: int) -> None:
        rows = self.config.max_length
        if longest > rows:
            raise InputError(
                f"input_ids {list(input_ids.shape)}: {longest} tokens, but the position table has {rows} "
                f"rows; truncate with max_length={rows}"
            )
        if input_ids.is_cuda or not input_ids.numel():  # reading a value back would make the GPU wait
            return
        for name, ids, size in (
            ("input_ids", input_ids, self.config.vocab_size),
            ("token_type_ids", token_type_ids, self.config.type_vocab_size or 1),
        ):
            if ids is not None and (ids.min() < 0 or ids.max() >= size):
                raise InputError(
                    f"{name} {list(ids.shape)} holds {int(ids.min())} to {int(ids.max())}, but the model "
                    f"knows 0 to {size - 1}: is this the tokenizer that the model was trained with?"
                )


def positions(input_ids: Tensor, config: BertConfig, cu_seqlens: Tensor | None = None) -> Tensor:
    """Position ids [1 or batch, length], counted from 0 and from the start of each packed sequence.

    RoBERTa counts what is no padding, from the id of padding on.
    """
    if config.first_position and cu_seqlens is None:
        is_real = (input_ids != config.pad_token_id).long()
        return is_real.cumsum(dim=1) * is_real + config.pad_token_id
    counted = torch.arange(input_ids.size(1), device=input_ids.device)
    if cu_seqlens is not None:
        starts = torch.repeat_interleave(cu_seqlens[:-1], cu_seqlens.diff(), output_size=input_ids.size(1))
        counted = counted - starts
    return counted[None] + config.first_position


def attention_mask_for(
    attention_mask: Tensor | None, cu_seqlens: Tensor | None = None, longest: int = 0
) -> Mask | None:
    """What `attend` takes: bool [batch, 1, 1 or query, key], a Packing, or None where nothing is hidden."""
    if cu_seqlens is not None:
        return Packing(cu_seqlens, longest)
    if attention_mask is None:
        return None
    if attention_mask.dim() == 3:
        return attention_mask[:, None].bool()
    # Without padding the kernel needs no mask; only asking a GPU would cost more than it saves.
    return None if not attention_mask.is_cuda and attention_mask.all() else padding_mask(attention_mask)


def one_way(mask: Mask | None, direction: str, length: int, device: torch.device) -> Tensor:
    """What a mask lets a query see, without what comes later in the direction of reading."""
    if isinstance(mask, Packing):
        raise InputError(f"cu_seqlens: a {direction} model does not take packed sequences; pad them")
    before = one_way_mask(direction, length, device)
    # Padding looks at itself: a query that may look nowhere would have no weights.
    itself = torch.eye(length, dtype=torch.bool, device=device)
    return before if mask is None else mask & before | itself


def summary(
    last: Tensor, config: BertConfig, attention_mask: Tensor | None = None, cu_seqlens: Tensor | None = None
) -> Tensor:
    """The states that stand for whole texts, [sequences, hidden]: those of [CLS].

    In a left-to-right model [CLS] has seen nothing, and only the last token has seen everything.
    """
    if cu_seqlens is not None:
        return last[0, cu_seqlens[:-1]]
    if config.direction != "left-to-right":
        return last[:, 0]
    if attention_mask is None:
        return last[:, -1]
    is_real = attention_mask.any(dim=1) if attention_mask.dim() == 3 else attention_mask
    return last[torch.arange(len(last), device=last.device), is_real.sum(dim=1) - 1]


def select_targets(hidden_states: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """What there is to predict: the hidden states [targets, hidden] and their labels [targets]."""
    chosen = (labels != IGNORED).flatten().nonzero().squeeze(-1)
    return hidden_states.flatten(0, 1)[chosen], labels.flatten()[chosen]


class BertForMaskedLM(PretrainedModel):
    """BERT with the masked-language-model head.

    In a model that reads one way, the same head says what comes next.
    """

    def __init__(self, config: BertConfig, add_pooler: bool = False) -> None:
        super().__init__(config)
        self.bert = Bert(config, add_pooler)
        self.mlm_head = MaskedLMHead(config)
        self.initialize()

    @property
    def objective(self) -> str:
        """The name of the loss."""
        one_way = {"left-to-right": "ltr", "right-to-left": "rtl"}
        return one_way.get(self.config.direction or "", "mlm")

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, **inputs: Any) -> BertOutput:
        """Predict the masked pieces, or those that come next.

        Args:
            input_ids: [batch, length].
            labels: [batch, length], the true id where it is to be predicted, -100 elsewhere. In training mode
                the head computes only those positions, and `prediction_logits` is None.
            inputs: as for `Bert.forward`.
        """
        output = self.bert(input_ids, **inputs)
        words = self.bert.embeddings.word.weight
        if labels is not None and self.training:
            hidden_states, targets = select_targets(output.last_hidden_state, labels)
            output.losses[self.objective] = mean_cross_entropy(self.mlm_head(hidden_states, words), targets)
            return output
        output.prediction_logits = self.mlm_head(output.last_hidden_state, words)
        if labels is not None:
            logits = output.prediction_logits.flatten(0, 1)
            output.losses[self.objective] = mean_cross_entropy(logits, labels.flatten())
        return output


class BertForPreTraining(BertForMaskedLM):
    """BERT with both pretraining heads: masked language model and next-sentence prediction (§3.1).

    ALBERT asks the second head for the order of two passages instead (Lan et al. 2019, §3.1).
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooler=True)
        self.nsp_head = nn.Linear(config.hidden_size, 2)
        self.initialize()

    @property
    def fits_transformers(self) -> bool:
        return super().fits_transformers and self.config.family.has_pairs

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        sentence_order_label: Tensor | None = None,
        **inputs: Any,
    ) -> BertOutput:
        """Predict the masked pieces, and whether the second segment follows the first.

        Args:
            input_ids: [batch, length].
            labels: as for `BertForMaskedLM.forward`.
            next_sentence_label: [batch], 0 where it follows (IsNext), 1 where it does not (NotNext).
            sentence_order_label: [batch], 0 where it follows, 1 where it comes before the first.
            inputs: as for `Bert.forward`.
        """
        output = super().forward(input_ids, labels, **inputs)
        assert output.pooler_output is not None
        output.seq_relationship_logits = self.nsp_head(output.pooler_output)
        for name, label in (("nsp", next_sentence_label), ("sop", sentence_order_label)):
            if label is not None:
                output.losses[name] = mean_cross_entropy(output.seq_relationship_logits, label)
        return output


class BertForSequenceClassification(PretrainedModel):
    """BERT with a linear layer on the pooled [CLS]: one label, or one number, for a text or a pair (§4.1)."""

    HEAD = "classifier"

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = Bert(config, add_pooler=True)
        rate = config.classifier_dropout
        self.dropout = Dropout(config.hidden_dropout_prob if rate is None else rate)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.initialize()

    @property
    def is_regression(self) -> bool:
        return self.config.problem_type == "regression" or self.config.num_labels == 1

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, **inputs: Any) -> BertOutput:
        """Classify or score.

        Args:
            input_ids: [batch, length].
            labels: [batch], class indices; or numbers, for regression.
            inputs: as for `Bert.forward`.

        Raises:
            InputError: for a class index that the head does not have.
        """
        output = self.bert(input_ids, **inputs)
        output.logits = self.classifier(self.dropout(output.pooler_output))
        if labels is None:
            return output
        if self.is_regression:
            output.losses["regression"] = F.mse_loss(output.logits.squeeze(-1).float(), labels.float())
            return output
        is_known = (labels == IGNORED) | ((labels >= 0) & (labels < self.config.num_labels))
        if not labels.is_cuda and not is_known.all():
            found = int(labels[~is_known][0])
            raise InputError(
                f"labels {list(labels.shape)} hold class {found}, but the head has classes 0 to "
                f"{self.config.num_labels - 1}: was the label in the training data?"
            )
        output.losses["classification"] = mean_cross_entropy(output.logits, labels)
        return output
