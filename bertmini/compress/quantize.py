"""Quantisation: a trained model in 8-bit whole numbers (Zafrir et al. 2019, arXiv 1910.06188)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from bertmini.data.batches import Batch
from bertmini.errors import InputError
from bertmini.model.bert import PretrainedModel
from bertmini.model.quantized import QuantizedLinear, quantize_layers
from bertmini.model.seq2seq import BertForSequenceToSequence, positions_in_each
from bertmini.training.loop import to_device

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "cu_seqlens")  # of the encoder


def quantize(model: PretrainedModel, batches: Iterable[Batch] | None = None) -> PretrainedModel:
    """The model with its word embedding and the matrices of its encoder in 8 bits; it no longer learns.

    Args:
        model: a trained one; stays as it is.
        batches: static quantisation: the ranges of what the matrices multiply are those of these examples.
            None: dynamic quantisation, where each token has its own range, measured at each call.

    Raises:
        InputError: the model is quantised already, or there is no batch.

    Source: Jacob et al. 2018, arXiv 1712.05877, sections 2.1 and 3; Zafrir et al. 2019, section 3.
    """
    model.config.refuse_quantized()
    ranges = None if batches is None else input_ranges(model, batches)
    smaller = copy.deepcopy(model).eval()
    config = model.config.replace(quantization="dynamic" if ranges is None else "static")
    for module in smaller.modules():
        if isinstance(module, PretrainedModel):
            module.config = config
    for name, (before, now) in quantize_layers(smaller).items():
        is_matrix = isinstance(now, QuantizedLinear)
        now.set_weight(before.weight, *([before.bias] if is_matrix else []))
        if is_matrix and ranges is not None:
            now.set_range(*ranges[name])
        now.to(before.weight.device)
    return smaller


@torch.no_grad()
def input_ranges(model: PretrainedModel, batches: Iterable[Batch]) -> dict[str, tuple[float, float]]:
    """The range of what each linear layer of the encoder multiplies: the mean over batches of its ends.

    A batch's one largest number would stretch the range, and all others would be told apart less well.
    Padding is left out: nobody reads what comes of it.

    Args:
        model: is left in evaluation mode.
        batches: a few hundred examples are enough.

    Returns:
        By name within the encoder's model, the lowest and the highest input.

    Raises:
        InputError: there is no batch.
    """
    bert: Any = getattr(model, "bert", model)
    names: dict[nn.Module, str] = {
        module: name
        for name, module in bert.named_modules()
        if name.startswith("encoder.") and isinstance(module, nn.Linear)
    }
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in names.values()}

    def look(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        low, high = inputs[0][is_real].aminmax()
        seen[names[module]].append((float(low), float(high)))

    hooks = [module.register_forward_pre_hook(look) for module in names]
    model.eval()
    device = next(model.parameters()).device
    try:
        for batch in batches:
            inputs = {name: part for name, part in to_device(batch, device).items() if name in INPUTS}
            mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
            is_real = (mask.any(dim=1) if mask.dim() == 3 else mask).bool()  # [batch, length]
            if isinstance(model, BertForSequenceToSequence):  # which counts the target anew
                starts = positions_in_each(inputs["token_type_ids"])
                inputs["position_ids"] = model.config.first_position + starts
            bert(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not all(seen.values()):
        raise InputError("no example to measure the ranges of inputs on; give examples, or leave them out")
    return {
        name: (sum(low for low, _ in ends) / len(ends), sum(high for _, high in ends) / len(ends))
        for name, ends in seen.items()
    }
