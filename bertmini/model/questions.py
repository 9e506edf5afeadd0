"""Question answering: where in a passage an answer begins, and where it ends (Devlin et al. 2018, §4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bertmini.config import BertConfig
from bertmini.model.bert import Bert, BertOutput, PretrainedModel
from bertmini.model.heads import mean_cross_entropy


@dataclass
class SpanOutput(BertOutput):
    """What `BertForQuestionAnswering` returns."""

    start_logits: Tensor | None = None  # [batch, length]
    end_logits: Tensor | None = None  # [batch, length]


class BertForQuestionAnswering(PretrainedModel):
    """BERT with two scores for each token: does the answer begin here, does it end here (§4.2)."""

    HEAD = "qa_outputs"

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = Bert(config, add_pooler=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.initialize()

    def forward(
        self,
        input_ids: Tensor,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **inputs: Any,
    ) -> SpanOutput:
        """Score every position as the first and as the last of the answer.

        Args:
            input_ids: [batch, length], [CLS] question [SEP] passage [SEP].
            start_positions, end_positions: [batch], the first and the last token of the answer, both 0 where
                there is none; -100 for a row that does not count.
            inputs: as for `Bert.forward`.
        """
        encoded = self.bert(input_ids, **inputs)
        logits = self.qa_outputs(encoded.last_hidden_state)  # [batch, length, 2]
        start_logits, end_logits = logits[..., 0].contiguous(), logits[..., 1].contiguous()
        output = SpanOutput(**vars(encoded), start_logits=start_logits, end_logits=end_logits)
        if start_positions is not None and end_positions is not None:
            losses = (
                mean_cross_entropy(start_logits, start_positions),
                mean_cross_entropy(end_logits, end_positions),
            )
            output.losses["span"] = (losses[0] + losses[1]) / 2
        return output
