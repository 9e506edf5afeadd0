"""Writing with a masked model, which has no order to write in: all masks at once, or one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bertmini.errors import InputError
from bertmini.inference import longest_row, refuse_nan
from bertmini.model.bert import BertForMaskedLM


@torch.no_grad()
def mask_predict(
    model: BertForMaskedLM, tokenizer: Any, texts: Sequence[str], iterations: int = 10
) -> list[str]:
    """Fill all masks of each text, and revise those that the model is least sure of.

    All masks are first filled at once, each by its likeliest piece. Each further iteration masks the least
    likely of these again, fewer every time, and fills them given all others.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        texts: each with one [MASK] or more, a mask for every piece that is to be written.
        iterations: 1 fills all masks once.

    Returns:
        The texts, filled, as the tokenizer decodes them.

    Raises:
        InputError: a text without a mask, or longer than those of training; or no iteration.

    Source: Ghazvininejad et al. 2019, arXiv 1904.09324, section 3.
    """
    if iterations < 1:
        raise InputError(f"iterations is {iterations}; expected 1 or more")
    if not texts:
        return []
    inputs, is_open = inputs_with_masks(tokenizer, texts, longest_row(tokenizer, model.config))
    ids, numbers = inputs["input_ids"], is_open.sum(dim=1)  # [texts]
    sure = torch.zeros(ids.shape)  # the probability of the piece that stands there, [texts, length]
    for iteration in range(iterations):
        again = numbers * (iterations - iteration) // iterations  # [texts]
        order = sure.masked_fill(~is_open, float("inf")).argsort(dim=1, stable=True).argsort(dim=1)
        chosen = is_open & (order < again[:, None])
        ids[chosen] = tokenizer.mask_token_id
        best = chances(model, tokenizer, inputs, chosen).max(dim=-1)  # [chosen]
        ids[chosen], sure[chosen] = best.indices, best.values
    return tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)


@torch.no_grad()
def gibbs_sample(
    model: BertForMaskedLM,
    tokenizer: Any,
    texts: Sequence[str],
    sweeps: int = 10,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[str]:
    """Draw what stands behind the masks of each text, one piece at a time given all others, again and again.

    Args:
        model, tokenizer, texts: as for `mask_predict`.
        sweeps: times that every mask is drawn, in an order that is drawn too.
        temperature: divides the logits; less than 1 keeps to what is likely.
        seed: of what is drawn.

    Returns:
        The texts, filled, as the tokenizer decodes them.

    Raises:
        InputError: as `mask_predict`; or no sweep, or a temperature that is not above 0.

    Source: Wang & Cho 2019, arXiv 1902.04094. The model's conditional probabilities need not belong to one
    distribution over texts, so that the samples are of no distribution that one could name.
    """
    if sweeps < 1 or not temperature > 0:
        raise InputError(f"sweeps {sweeps}, temperature {temperature}: expected 1 or more, and more than 0")
    if not texts:
        return []
    inputs, is_open = inputs_with_masks(tokenizer, texts, longest_row(tokenizer, model.config))
    ids, generator = inputs["input_ids"], torch.Generator().manual_seed(seed)
    for _ in range(sweeps):
        lots = torch.rand(ids.shape, generator=generator).masked_fill(~is_open, 2.0)
        turns = lots.argsort(dim=1).argsort(dim=1)  # [texts, length], at which turn each mask is drawn
        for turn in range(int(is_open.sum(dim=1).max())):
            chosen = is_open & (turns == turn)  # at most one place of each text
            ids[chosen] = tokenizer.mask_token_id
            drawn = chances(model, tokenizer, inputs, chosen, temperature)
            ids[chosen] = torch.multinomial(drawn, 1, generator=generator)[:, 0]
    return tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)


def inputs_with_masks(
    tokenizer: Any, texts: Sequence[str], longest: int
) -> tuple[dict[str, Tensor], Tensor]:
    """What the model reads, and where masks are, bool [texts, length].

    Raises:
        InputError: a text without a mask, or with more tokens than `longest`.
    """
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    is_open = inputs["input_ids"] == tokenizer.mask_token_id
    for text, number in zip(texts, is_open.sum(dim=1).tolist(), strict=True):
        if not number:
            raise InputError(f"no {tokenizer.mask_token} in {text[:60]!r}: put one for each piece to write")
    if (length := is_open.size(1)) > longest:
        raise InputError(f"a text has {length} tokens, and the model was trained on {longest}; shorten it")
    return inputs, is_open


def chances(
    model: BertForMaskedLM,
    tokenizer: Any,
    inputs: dict[str, Tensor],
    chosen: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """The probability of each piece at the chosen places, [chosen, vocab]; never special tokens."""
    device = next(model.parameters()).device
    states = model.bert(**{name: tensor.to(device) for name, tensor in inputs.items()}).last_hidden_state
    logits = model.mlm_head(states[chosen.to(device)], model.bert.embeddings.word.weight)
    logits = logits[:, : len(tokenizer)]  # a model may have rows to spare
    logits[:, tokenizer.all_special_ids] = float("-inf")
    return (refuse_nan(logits.float()) / temperature).softmax(dim=-1).cpu()
