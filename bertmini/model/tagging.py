"""Tagging: a label for each word, by a linear layer, a CRF, or an LSTM on a BERT that stays as it is."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bertmini.config import BertConfig
from bertmini.errors import InputError
from bertmini.model.bert import Bert, BertOutput, PretrainedModel
from bertmini.model.dropout import Dropout
from bertmini.model.heads import IGNORED, mean_cross_entropy


class BertForTokenClassification(PretrainedModel):
    """BERT with a linear layer on each hidden state: a label for each token (Devlin et al. 2018, §5.3)."""

    HEAD = "classifier"

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = Bert(config, add_pooler=False)
        # DistilBERT's classifier_dropout is of whole texts: its config.json calls it seq_classif_dropout.
        rate = None if config.model_type == "distilbert" else config.classifier_dropout
        self.dropout = Dropout(config.hidden_dropout_prob if rate is None else rate)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.initialize()

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        word_starts: Tensor | None = None,
        **inputs: Any,
    ) -> BertOutput:
        """Score the labels of tokens, or of words.

        Args:
            input_ids: [batch, length].
            labels: [batch, length], class indices; -100 where there is none.
            word_starts: bool [batch, length], True at the first piece of each word that is to be tagged. Then
                only those are: logits are [words, labels]. None: logits are [batch, length, labels].
            inputs: as for `Bert.forward`.
        """
        output = self.bert(input_ids, **inputs)
        states = output.last_hidden_state
        if word_starts is not None:
            states = states[word_starts]  # [words, hidden]
            labels = None if labels is None else labels[word_starts]
        output.logits = self.classifier(self.dropout(states))
        if labels is not None:
            output.losses["tagging"] = mean_cross_entropy(output.logits.flatten(0, -2), labels.flatten())
        return output

    def best(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """The answers: of logits [words, labels] the best label of each word, int64 [words].

        Args:
            logits: of all rows, one after the other.
            lengths: [rows], the words of each.
        """
        return logits.argmax(dim=-1)

    def probabilities(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """How likely each label of each word is, [words, labels]; takes what `best` takes."""
        return logits.softmax(dim=-1)


def words_in_rows(word_starts: Tensor, cu_seqlens: Tensor | None = None) -> Tensor:
    """The number of words in each row, or in each packed sequence: int64 [rows]."""
    if cu_seqlens is None:
        return word_starts.sum(dim=1)
    return F.pad(word_starts[0].cumsum(dim=0), (1, 0))[cu_seqlens].diff()


def in_rows(of_words: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Words one after the other, as rows filled up with zeros.

    Args:
        of_words: [words, ...].
        lengths: [rows], the words of each row.

    Returns:
        [rows, most, ...], and bool [rows, most], True where there is a word; `most` is at least 1.
    """
    columns = torch.arange(max(1, int(lengths.max())), device=lengths.device)
    real = columns < lengths[:, None]  # [rows, most]
    rows = of_words.new_zeros(*real.shape, *of_words.shape[1:])
    rows[real] = of_words
    return rows, real


class ConditionalRandomField(nn.Module):
    """A linear-chain conditional random field: scores for labels, and for one label after another.

        P(labels | scores) = exp(score of the path) / sum over all paths of exp(score of the path)

    It begins with all transitions at 0, where it says the same as a softmax for each word.

    Args:
        num_labels: the number of labels.

    Source: Lafferty et al. 2001; for tagging with neural networks Lample et al. 2016, arXiv 1603.01360.
    """

    # Adam moves each number by about the learning rate a step, and one that is right for BERT's weights would
    # leave these, which have to reach whole numbers, at their start. So they are kept in small units.
    UNIT = 100.0

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(num_labels))
        self.end = nn.Parameter(torch.zeros(num_labels))
        self.transitions = nn.Parameter(torch.zeros(num_labels, num_labels))  # [from, to]

    def forward(self, emissions: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        """The negative log-likelihood of the true labels, in nats: [rows].

        Args:
            emissions: scores of each word's labels, [rows, most, labels].
            lengths: words of each row, 1 or more, [rows].
            labels: class indices, [rows, most]; any number beyond a row's length.
        """
        return self.log_partition(emissions, lengths) - self.path_score(emissions, lengths, labels)

    def path_score(self, emissions: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        """The score of one path: of its labels, its transitions, its start and its end; [rows]."""
        real = torch.arange(labels.size(1), device=labels.device) < lengths[:, None]  # [rows, most]
        labels = labels.where(real, 0)
        of_labels = emissions.gather(2, labels[:, :, None]).squeeze(2)  # [rows, most]
        of_steps = self.UNIT * self.transitions[labels[:, :-1], labels[:, 1:]]  # [rows, most - 1]
        last = labels.gather(1, lengths[:, None] - 1).squeeze(1)
        ends = self.UNIT * (self.start[labels[:, 0]] + self.end[last])
        return (of_labels * real).sum(dim=1) + (of_steps * real[:, 1:]).sum(dim=1) + ends

    def log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """The logarithm of the sum over all paths, by the forward algorithm: [rows].

        A path's past matters only through its last label, so that sums over the paths so far are kept for
        each last label: words · labels² steps in place of labels to the power of words.
        """
        scores = self.UNIT * self.start + emissions[:, 0]  # [rows, labels]
        for word in range(1, emissions.size(1)):
            steps = scores[:, :, None] + self.UNIT * self.transitions  # [rows, from, to]
            longer = steps.logsumexp(dim=1) + emissions[:, word]
            scores = longer.where((word < lengths)[:, None], scores)
        return (scores + self.UNIT * self.end).logsumexp(dim=1)

    def best(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """The path with the highest score, by Viterbi's algorithm: int64 [rows, most].

        It is the forward algorithm with the largest in place of the sum, and a note of where it came from.
        """
        scores = self.UNIT * self.start + emissions[:, 0]  # [rows, labels]
        stay = torch.arange(scores.size(1), device=scores.device).expand_as(scores)
        came_from = []
        for word in range(1, emissions.size(1)):
            highest, origin = (scores[:, :, None] + self.UNIT * self.transitions).max(dim=1)
            goes_on = (word < lengths)[:, None]
            scores = (highest + emissions[:, word]).where(goes_on, scores)
            came_from.append(origin.where(goes_on, stay))
        path = [(scores + self.UNIT * self.end).argmax(dim=1)]
        for origin in reversed(came_from):
            path.append(origin.gather(1, path[-1][:, None]).squeeze(1))
        return torch.stack(path[::-1], dim=1)

    def marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """How likely each label of each word is, over all paths: [rows, most, labels].

        The derivative of the log partition by a score is the share of the paths with it.
        """
        with torch.enable_grad():
            emissions = emissions.detach().requires_grad_()
            total = self.log_partition(emissions, lengths).sum()
            return torch.autograd.grad(total, emissions)[0]


class BertCrfForTokenClassification(BertForTokenClassification):
    """A tagger whose labels are chosen together, by a conditional random field over a row's words."""

    MODEL_TYPE = "bertmini"  # transformers has no such layer

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.crf = ConditionalRandomField(config.num_labels)

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        word_starts: Tensor,
        labels: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        **inputs: Any,
    ) -> BertOutput:
        """Score the labels of words; takes what the linear tagger takes, and word_starts always."""
        output = super().forward(input_ids, word_starts=word_starts, cu_seqlens=cu_seqlens, **inputs)
        if labels is not None:
            assert output.logits is not None
            lengths = words_in_rows(word_starts, cu_seqlens)
            emissions, _ = in_rows(output.logits.float(), lengths)  # [rows, most, labels]
            targets, _ = in_rows(labels[word_starts], lengths)
            # A row without words has nothing to say, nor has one that another process reads.
            chosen = (lengths > 0) & (targets[:, 0] != IGNORED)
            losses = self.crf(emissions[chosen], lengths[chosen], targets[chosen])
            output.losses["tagging"] = losses.sum() / lengths[chosen].sum().clamp(min=1)
        return output

    def best(self, logits: Tensor, lengths: Tensor) -> Tensor:
        emissions, real = in_rows(logits.float(), lengths)
        return self.crf.best(emissions, lengths)[real]

    def probabilities(self, logits: Tensor, lengths: Tensor) -> Tensor:
        emissions, real = in_rows(logits.float(), lengths)
        return self.crf.marginals(emissions, lengths)[real]

    def begin_head(self, bias: float) -> None:
        super().begin_head(bias)
        for parameter in self.crf.parameters():
            nn.init.zeros_(parameter)


class Features(NamedTuple):
    """Which hidden states a feature-based tagger reads, and how they become one vector."""

    states: slice  # of the embeddings and all layers' outputs
    is_sum: bool  # weighted, with weights that are learned; otherwise one beside the other


# The rows of Table 7 of Devlin et al. 2018.
FEATURES = {
    "embeddings": Features(slice(0, 1), False),
    "second-to-last": Features(slice(-2, -1), False),
    "last": Features(slice(-1, None), False),
    "sum-last-four": Features(slice(-4, None), True),
    "concat-last-four": Features(slice(-4, None), False),
    "sum-all": Features(slice(1, None), True),
}


class WeightedSum(nn.Module):
    """A sum of layers with weights that are learned (Peters et al. 2018, arXiv 1802.05365, §3.2)."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, states: Tensor) -> Tensor:
        """[layers, words, hidden] to [words, hidden]."""
        return self.scale * (self.scores.softmax(dim=0)[:, None, None] * states).sum(dim=0)


class BertFeaturesForTokenClassification(BertForTokenClassification):
    """A tagger on a BERT that stays as it is: a two-layer BiLSTM on its hidden states (§5.3).

    Args:
        config: its `features` is a name in FEATURES.

    Raises:
        InputError: for other features, or fewer layers than they take.
    """

    MODEL_TYPE = "bertmini"  # transformers has no such model

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        if config.features not in FEATURES:
            raise InputError(f"features is {config.features!r}; expected one of {', '.join(FEATURES)}")
        self.states, is_sum = FEATURES[config.features]
        layers = len(range(config.num_hidden_layers + 1)[self.states])
        if config.features.endswith("four") and config.num_hidden_layers < 4:
            raise InputError(f"features {config.features}: the model has {config.num_hidden_layers} layers")
        self.bert.requires_grad_(False)
        self.sum = WeightedSum(layers) if is_sum else None
        width = config.hidden_size * (1 if is_sum else layers)
        half = config.hidden_size // 2  # of each direction
        self.lstm = nn.LSTM(width, half, num_layers=2, bidirectional=True, batch_first=True)
        self.classifier = nn.Linear(2 * half, config.num_labels)
        self.initialize()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.bert.eval()  # features have no dropout, and are the same in each epoch
        return self

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        word_starts: Tensor,
        labels: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        **inputs: Any,
    ) -> BertOutput:
        """Score the labels of words; takes what the linear tagger takes, and word_starts always."""
        with torch.no_grad():
            output = self.bert(input_ids, cu_seqlens=cu_seqlens, return_hidden_states=True, **inputs)
        states = torch.stack([layer[word_starts] for layer in output.hidden_states[self.states]])
        # [layers, words, hidden] to [words, hidden], or to [words, layers * hidden]
        features = self.sum(states.float()) if self.sum else states.float().transpose(0, 1).flatten(1)
        read = self.read(features, words_in_rows(word_starts, cu_seqlens))
        output.logits = self.classifier(self.dropout(read))
        if labels is not None:
            output.losses["tagging"] = mean_cross_entropy(output.logits, labels[word_starts])
        return output

    def read(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The BiLSTM over each row's words: [words, width] to [words, hidden]."""
        rows, real = in_rows(self.dropout(features), lengths)  # [rows, most, width]
        # The backward direction begins at a row's last word. A row without words counts as one, unread.
        packed = pack_padded_sequence(
            rows, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        with torch.autocast(features.device.type, enabled=False):
            hidden, _ = self.lstm(packed)
        return pad_packed_sequence(hidden, batch_first=True, total_length=rows.size(1))[0][real]
