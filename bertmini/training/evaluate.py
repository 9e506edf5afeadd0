"""How well a pretraining model does on held-out text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bertmini.data.batches import PAIR_LABELS
from bertmini.model.bert import select_targets


@torch.no_grad()
def evaluate_pretraining(model: Any, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
    """Metrics of the language model and, where batches have their labels, of what is said about pairs.

    Args:
        model: BertForPreTraining or BertForMaskedLM, in evaluation mode.
        batches: the same ones each time, or metrics cannot be compared.

    Returns:
        "mlm_loss" in nats, "mlm_accuracy", "mlm_perplexity" (the exponential of the loss) and
        "mlm_baseline_accuracy", of always giving the most frequent answer; without the perplexity the same
        for "nsp" and "sop". A model that reads one way has "ltr" or "rtl" in place of "mlm".
    """
    words = model.bert.embeddings.word.weight
    losses: dict[str, list[float]] = {}
    hits: dict[str, list[Tensor]] = {}
    answers: dict[str, list[Tensor]] = {}

    def measure(name: str, logits: Tensor, targets: Tensor) -> None:
        total = F.cross_entropy(logits.float(), targets, reduction="sum").item()
        losses.setdefault(name, []).append(total)
        hits.setdefault(name, []).append(logits.argmax(-1) == targets)
        answers.setdefault(name, []).append(targets)

    for batch in batches:
        inputs = {name: tensor.to(words.device) for name, tensor in batch.items()}
        labels = inputs.pop("labels")
        pairs = {name: inputs.pop(label) for name, label in PAIR_LABELS.items() if label in inputs}
        output = model.bert(**inputs)
        # As in training: at all positions, logits would be many.
        states, targets = select_targets(output.last_hidden_state, labels)
        measure(model.objective, model.mlm_head(states, words), targets)
        for name, label in pairs.items():
            measure(name, model.nsp_head(output.pooler_output), label)
    metrics = {}
    for name, given in answers.items():
        targets = torch.cat(given)
        metrics[f"{name}_loss"] = sum(losses[name]) / len(targets)
        metrics[f"{name}_accuracy"] = torch.cat(hits[name]).sum().item() / len(targets)
        metrics[f"{name}_baseline_accuracy"] = targets.bincount().max().item() / len(targets)
    # The exponential of more is too large for a float.
    metrics[f"{model.objective}_perplexity"] = math.exp(min(metrics[f"{model.objective}_loss"], 700))
    return metrics
