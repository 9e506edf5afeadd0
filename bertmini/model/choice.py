"""Multiple choice: one score for each option, and a softmax over the options of a question."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bertmini.config import BertConfig
from bertmini.errors import InputError
from bertmini.model.bert import Bert, BertOutput, PretrainedModel
from bertmini.model.dropout import Dropout
from bertmini.model.heads import IGNORED, mean_cross_entropy


class BertForMultipleChoice(PretrainedModel):
    """BERT with one vector on the pooled [CLS], whose product is an option's score (§4.4).

    Each option is a row of its own, [CLS] text [SEP] option [SEP]; the options of a question meet only in the
    softmax. So a question may have any number of them.
    """

    HEAD = "classifier"

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = Bert(config, add_pooler=True)
        rate = config.classifier_dropout
        self.dropout = Dropout(config.hidden_dropout_prob if rate is None else rate)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.initialize()

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        option_counts: Tensor | None = None,
        **inputs: Any,
    ) -> BertOutput:
        """Score the options of each question.

        Args:
            input_ids: [rows, length], the options of all questions one after the other; or
                [batch, options, length], as transformers takes them, where all have as many.
            labels: [batch], the number of the right option, from 0; -100 where it does not count.
            option_counts: [batch], how many rows each question has. None: all rows are of one question.
            inputs: as for `Bert.forward`, in the form of `input_ids`.

        Returns:
            `logits` [batch, options], -inf where a question has fewer options than another.

        Raises:
            InputError: the counts are not those of the rows, or a label is the number of no option.
        """
        if input_ids.dim() == 3:
            option_counts = torch.full((len(input_ids),), input_ids.size(1), device=input_ids.device)
            inputs = {name: value.flatten(0, 1) if torch.is_tensor(value) else value
                      for name, value in inputs.items()}  # fmt: skip
            input_ids = input_ids.flatten(0, 1)
        output = self.bert(input_ids, **inputs)
        scores = self.classifier(self.dropout(output.pooler_output)).squeeze(-1)  # [rows]
        if option_counts is None:
            option_counts = torch.tensor([len(scores)], device=scores.device)
        output.logits = by_question(scores, option_counts)
        if labels is not None:
            check_labels(labels, option_counts)
            output.losses["choice"] = mean_cross_entropy(output.logits, labels)
        return output


def by_question(scores: Tensor, option_counts: Tensor) -> Tensor:
    """The scores of all options as a table with a row a question.

    A missing option has -inf, which is probability 0 in a softmax and never the largest.

    Args:
        scores: [rows], of the options of all questions one after the other.
        option_counts: [batch], how many belong to each question.

    Returns:
        [batch, options].
    """
    if int(option_counts.sum()) != len(scores):
        raise InputError(
            f"option_counts sum to {int(option_counts.sum())} and there are {len(scores)} rows; "
            "expected a row for each option"
        )
    columns = torch.arange(int(option_counts.max()), device=scores.device)
    is_there = columns < option_counts[:, None]  # [batch, options]
    table = scores.new_full(is_there.shape, -torch.inf)
    return table.masked_scatter(is_there, scores)


def check_labels(labels: Tensor, option_counts: Tensor) -> None:
    if labels.is_cuda:  # reading a value back would make the GPU wait
        return
    for number, (label, count) in enumerate(zip(labels.tolist(), option_counts.tolist(), strict=True)):
        if label != IGNORED and not 0 <= label < count:
            raise InputError(
                f"labels {list(labels.shape)}: the one at {number} is {label}, and that question has options "
                f"0 to {count - 1}"
            )
