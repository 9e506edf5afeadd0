"""Losses for few or lopsided labels, in place of a classifier's own: `finetune(…, loss=…)` takes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertmini.data.batches import OBJECTIVES, Batch, PretrainingData
from bertmini.data.corpus import Corpus
from bertmini.data.task_files import Example
from bertmini.data.text import split_sentences
from bertmini.errors import InputError
from bertmini.model.bert import BertForPreTraining, BertForSequenceClassification, BertOutput, summary
from bertmini.model.heads import IGNORED, mean_cross_entropy
from bertmini.tasks.pretrain import FAMILY_OBJECTIVES

Loss = Callable[[Any, Batch], BertOutput]


@dataclass
class WeightedOutput(BertOutput):
    """What a model returns, where the losses do not all count alike in the sum."""

    weights: dict[str, float] = field(default_factory=dict)  # of losses by name; 1 where none is given


def balanced_weights(examples: Sequence[Example], labels: Sequence[str]) -> Tensor:
    """A weight for each label, so that all labels that occur weigh the same: examples / (labels · count).

    Args:
        examples: the training examples.
        labels: the classes by index.

    Returns:
        [labels], 1 on average over the examples; what scikit-learn calls balanced.
    """
    counts = Counter(str(example.label) for example in examples)
    return torch.tensor([len(examples) / (len(counts) * max(1, counts[label])) for label in labels])


def weighted_loss(weights: Tensor) -> Loss:
    """Cross-entropy in which an example counts by its label's weight.

        L = mean over examples of w[y] · CE(logits, y)

    Args:
        weights: w, [labels], of mean 1 over the examples, or the learning rate means another.
    """

    def loss(model: BertForSequenceClassification, batch: Batch) -> BertOutput:
        inputs, labels = without_labels(batch)
        output = model(**inputs)
        of_example = F.cross_entropy(output.logits.float(), labels, reduction="none")  # [batch], 0 of IGNORED
        scale = weights.to(labels.device)[labels.clamp(min=0)]
        output.losses["classification"] = (scale * of_example).sum() / (labels != IGNORED).sum().clamp(min=1)
        return output

    return loss


def layer_loss(layers: int) -> Loss:
    """The mean of the losses that pooler and classifier have on each of the last layers.

    Lower layers are asked to be useful for the task at once, where otherwise the gradient reaches them
    through all layers above: deep supervision (Lee et al. 2015, arXiv 1409.5185), here with one head for all.

    Args:
        layers: how many, from the last one down; with 1 it is the model's own loss.

    Raises:
        InputError: the model has fewer.
    """

    def loss(model: BertForSequenceClassification, batch: Batch) -> BertOutput:
        depth, pooler = model.config.num_hidden_layers, cast(Any, model.bert.pooler)
        if not 1 <= layers <= depth:
            raise InputError(f"loss on {layers} layers: the model has {depth}; expected 1 to {depth}")
        inputs, labels = without_labels(batch)
        output = model.bert(**inputs, return_hidden_states=True)
        of_layers = []
        for states in output.hidden_states[-layers:]:
            first = summary(states, model.config, inputs.get("attention_mask"), inputs.get("cu_seqlens"))
            output.logits = model.classifier(model.dropout(pooler(first)))  # [batch, labels]
            of_layers.append(mean_cross_entropy(output.logits, labels))
        output.losses["classification"] = torch.stack(of_layers).mean()
        return output

    return loss


class PretrainingLoss:
    """The task's loss, and beside it pretraining's own losses on the task's texts.

        L = L_task + w · (L_mlm + L_nsp)

    or what else the model was pretrained for: the order of two passages, masked pieces alone, the next piece.
    What was learned in pretraining is then not forgotten so fast. Each batch gets rows of running text.

    Args:
        model: the classifier; it carries pretraining's heads until `end`.
        directory: where they come from; heads that it lacks begin at random.
        examples: the training examples, of which the texts count.
        tokenizer: the model's.
        weight: w.
        batch_size, max_length, seed: of the rows of running text.

    Source: Radford et al. 2018, section 3.2, language modelling as an auxiliary objective.
    """

    def __init__(
        self,
        model: BertForSequenceClassification,
        directory: str | Path,
        examples: Sequence[Example],
        tokenizer: Any,
        weight: float,
        batch_size: int = 32,
        max_length: int = 128,
        seed: int = 0,
    ) -> None:
        parts = (text for example in examples for text in (example.text, example.pair) if text)
        documents = [sentences for text in parts if (sentences := split_sentences(text))]
        has_pairs = len(documents) > 1 and any(len(sentences) > 1 for sentences in documents)
        corpus = Corpus.from_documents(documents, tokenizer)
        torch.manual_seed(seed)
        heads = BertForPreTraining.from_pretrained(directory)
        self.pieces, own = heads.objective, heads.config.extra.get("objective")
        if own not in OBJECTIVES:
            own = self.pieces if heads.config.direction else FAMILY_OBJECTIVES[heads.config.model_type]
        if OBJECTIVES[own].pair_label and not has_pairs:
            own = self.pieces
        self.pair, self.pair_label = own.rpartition("+")[2], OBJECTIVES[own].pair_label
        self.data = PretrainingData(corpus, tokenizer, batch_size, max_length, seed, own)
        self.weight = weight
        asked = {"nsp": heads.nsp_head} if self.pair_label else {}
        model.pretraining_heads = nn.ModuleDict({"mlm": heads.mlm_head, **asked}).train()

    def batch(self, step: int) -> Batch:
        """The rows of running text of a step, [1, batch, length]: so they are not taken for the task's."""
        return {f"text_{name}": tensor[None] for name, tensor in self.data.batch(step).items()}

    def __call__(self, model: BertForSequenceClassification, batch: Batch) -> BertOutput:
        own = {name: tensor for name, tensor in batch.items() if not name.startswith("text_")}
        text = {name[5:]: tensor[0] for name, tensor in batch.items() if name.startswith("text_")}
        output, heads = model(**own), cast(Any, model.pretraining_heads)
        targets, answers = text.pop("labels"), text.pop(self.pair_label or "", None)
        read = model.bert(**text)
        chosen = targets != -100  # [batch, length]
        logits = heads["mlm"](read.last_hidden_state[chosen], model.bert.embeddings.word.weight)
        output.losses[self.pieces] = mean_cross_entropy(logits, targets[chosen])
        if answers is not None:
            output.losses[self.pair] = mean_cross_entropy(heads["nsp"](read.pooler_output), answers)
        return WeightedOutput(**vars(output), weights={self.pieces: self.weight, self.pair: self.weight})

    def end(self, model: BertForSequenceClassification) -> None:
        """The classifier alone again, as it is saved."""
        del model.pretraining_heads


def without_labels(batch: Batch) -> tuple[Batch, Tensor]:
    """The inputs of a batch, and its labels."""
    return {name: tensor for name, tensor in batch.items() if name != "labels"}, batch["labels"]
