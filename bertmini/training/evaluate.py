"""How well a pretraining model does on held-out text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bertmini.model.bert import select_targets


@torch.no_grad()
def evaluate_pretraining(model: Any, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
    """Metrics of masked language modelling and, where batches have its labels, of next-sentence prediction.

    Args:
        model: BertForPreTraining or BertForMaskedLM, in evaluation mode.
        batches: the same ones each time, or metrics cannot be compared.

    Returns:
        "mlm_loss" in nats, "mlm_perplexity" (its exponential), "mlm_accuracy", "nsp_loss", "nsp_accuracy";
        "mlm_baseline_accuracy" and "nsp_baseline_accuracy": of always giving the most frequent answer.
    """
    words = model.bert.embeddings.word.weight
    sums = dict.fromkeys(("mlm_loss", "mlm_accuracy", "nsp_loss", "nsp_accuracy"), 0.0)
    all_targets, all_pairs = [], []
    for batch in batches:
        inputs = {name: tensor.to(words.device) for name, tensor in batch.items()}
        labels, is_not_next = inputs.pop("labels"), inputs.pop("next_sentence_label", None)
        output = model.bert(**inputs)
        states, targets = select_targets(
            output.last_hidden_state, labels
        )  # as in training; all would be many
        logits = model.mlm_head(states, words).float()  # [targets, vocabulary]
        sums["mlm_loss"] += F.cross_entropy(logits, targets, reduction="sum").item()
        sums["mlm_accuracy"] += (logits.argmax(-1) == targets).sum().item()
        all_targets.append(targets)
        if is_not_next is not None:
            logits = model.nsp_head(output.pooler_output).float()  # [batch, 2]
            sums["nsp_loss"] += F.cross_entropy(logits, is_not_next, reduction="sum").item()
            sums["nsp_accuracy"] += (logits.argmax(-1) == is_not_next).sum().item()
            all_pairs.append(is_not_next)
    answers = {"mlm": torch.cat(all_targets)}
    if all_pairs:
        answers["nsp"] = torch.cat(all_pairs)
    metrics = {name: value / len(answers[name[:3]]) for name, value in sums.items() if name[:3] in answers}
    metrics["mlm_perplexity"] = math.exp(min(metrics["mlm_loss"], 700))  # more is too large for a float
    for name, given in answers.items():
        metrics[f"{name}_baseline_accuracy"] = given.bincount().max().item() / len(given)
    return metrics
