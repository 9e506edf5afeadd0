"""Pruning: leave out what a trained model can do without.

Whole heads and whole units of the feed-forward network leave a smaller model, which is faster everywhere
(Michel et al. 2019, arXiv 1905.10650). Single weights leave zeros in matrices of the same size: a file that
compresses well, and no time is saved where the matrix product does not skip them (Han et al. 2015,
arXiv 1506.02626; Gordon et al. 2020, arXiv 2002.08307).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bertmini.config import PRUNABLE, BertConfig
from bertmini.data.batches import Batch
from bertmini.errors import InputError
from bertmini.model.bert import PretrainedModel
from bertmini.model.tagging import BertFeaturesForTokenClassification
from bertmini.training.loop import call, to_device
from bertmini.training.run import tensors_of

Loss = Callable[[Any, Batch], Any]
ROUND = 0.1  # share of a model's heads or units that is taken out before importance is measured again


@dataclass(frozen=True)
class Part:
    """What can be taken out of a layer.

    Args:
        name: in the plural.
        field: of the configuration, how many are left in each layer.
        makers: the linear layers whose outputs belong to it.
        reader: the linear layer that reads them.
    """

    name: str
    field: str
    makers: tuple[str, ...]
    reader: str

    def left(self, config: BertConfig) -> list[int]:
        """How many each of the different layers has."""
        whole = PRUNABLE[self.field]
        return [getattr(config.of_layer(i), whole) for i in range(config.num_different_layers)]


HEADS = Part(
    "heads", "heads_by_layer", ("attention.query", "attention.key", "attention.value"), "attention.output"
)
UNITS = Part("units", "intermediate_by_layer", ("feed_forward.up",), "feed_forward.down")


def different_layers(model: Any) -> list[Any]:
    """The layers of a model, those that share their weights once."""
    return list(dict.fromkeys(getattr(model, "bert", model).encoder.layers))


@contextmanager
def gated(model: PretrainedModel, part: Part, gate: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
    """Within it, what each head or unit gives is multiplied by a number, its gate.

    Args:
        model: any of the models.
        part: HEADS or UNITS.
        gate: called with the number of a layer and what its part gives, [rows, length, parts · size]; returns
            the gates, [rows, parts] or [parts].
    """

    def multiply(number: int) -> Callable:
        def hook(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            (given,) = inputs
            gates = gate(number, given)
            gates = gates.repeat_interleave(given.size(-1) // gates.size(-1), dim=-1)
            return (given * (gates[:, None] if gates.dim() == 2 else gates),)

        return hook

    readers = [layer.get_submodule(part.reader) for layer in different_layers(model)]
    hooks = [reader.register_forward_pre_hook(multiply(i)) for i, reader in enumerate(readers)]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


def importance(
    model: PretrainedModel, batches: Iterable[Batch], part: Part, loss: Loss | None = None
) -> list[Tensor]:
    """How much the loss of an example changes, to first order, when a head or a unit is turned off.

        I = mean over examples of |∂L / ∂ξ|,  ξ = 1 its gate

    Args:
        model: any of the models with a loss; is left in evaluation mode.
        batches: with labels; a few hundred examples are enough.
        part: HEADS or UNITS.
        loss: as in `bertmini.training.train`; None: the model's own.

    Returns:
        For each of the different layers [parts].

    Raises:
        InputError: there is no batch, or no gradient reaches the encoder.

    Source: Michel et al. 2019, section 4.1, equation 2.
    """
    refuse_still(model)
    loss, model, device = loss or call, model.eval(), next(model.parameters()).device
    sums: list[Any] = [0.0] * len(different_layers(model))
    rows = 0
    counts = part.left(model.config)
    for batch in batches:
        gates: dict[int, Tensor] = {}  # a layer that stands at several depths has one gate

        def gate(number: int, given: Tensor, gates: dict[int, Tensor] = gates) -> Tensor:
            if number not in gates:
                gates[number] = given.new_ones(len(given), counts[number], requires_grad=True)
            return gates[number]

        with gated(model, part, gate), torch.enable_grad():
            output = loss(model, to_device(batch, device))
            slopes = torch.autograd.grad(output.loss, [gates[i] for i in range(len(sums))])
        # Where the loss is a mean over rows, a row's share of it, times their number, is that row's own loss.
        # Where it is one over tokens, a row counts by how many of them it has.
        number = len(slopes[0])
        sums = [total + number * slope.abs().sum(0) for total, slope in zip(sums, slopes, strict=True)]
        rows += number
    if not rows:
        raise InputError(f"no example to measure the importance of {part.name} on; give labelled examples")
    return [total / rows for total in sums]


def number_to_remove(config: BertConfig, part: Part, fraction: float) -> int:
    """How many heads or units of a whole model a fraction is.

    Raises:
        InputError: it is none; or so many that a layer would have none left.
    """
    counts = part.left(config)
    total, most = sum(counts), sum(counts) - len(counts)
    number = round(fraction * total) if math.isfinite(fraction) else -1
    if not 0 < number <= most:
        raise InputError(
            f"{fraction:g} of {total} {part.name} are {max(0, number)}; each of {len(counts)} layers keeps "
            f"one, so that 1 to {most} can go: give a fraction from {math.ceil(1e4 / total) / 1e4:g} to "
            f"{math.floor(1e4 * most / total) / 1e4:g}"
        )
    return number


def strongest(scores: Sequence[Tensor], number: int) -> list[list[int]]:
    """What is left of each layer when so many of all are taken out, the least important first.

    Scores are compared across layers after division by their layer's length, and no layer loses all.

    Args:
        scores: for each layer [parts], as `importance` gives them.
        number: how many go.

    Returns:
        For each layer the numbers of those that stay, ascending.

    Source: Michel et al. 2019, section 4.1 for the division.
    """
    compared = [(layer / layer.norm().clamp(min=1e-20)).tolist() for layer in scores]
    left = [set(range(len(layer))) for layer in compared]
    order = sorted((score, i, j) for i, layer in enumerate(compared) for j, score in enumerate(layer))
    for _, i, j in order:
        if number and len(left[i]) > 1:
            left[i].remove(j)
            number -= 1
    return [sorted(of_layer) for of_layer in left]


def keep(model: PretrainedModel, part: Part, kept: Sequence[Sequence[int]]) -> PretrainedModel:
    """A smaller model with some of a model's heads or units, and what belongs to them.

    Args:
        model: stays as it is.
        part: HEADS or UNITS.
        kept: for each of the different layers the numbers of those that stay, from 0.

    Returns:
        A model that gives what the whole one gives with the others turned off.

    Raises:
        InputError: a layer would have none, or has no such head or unit.
    """
    counts = part.left(model.config)
    if len(kept) != len(counts):
        raise InputError(f"{len(kept)} lists of {part.name} for {len(counts)} layers; give one for each")
    for i, (chosen, count) in enumerate(zip(kept, counts, strict=True)):
        if not chosen or not set(chosen) <= set(range(count)) or len(set(chosen)) < len(chosen):
            raise InputError(
                f"layer {i}: {part.name} {list(chosen)!r:.60} are to stay; it has 0 to {count - 1}, each "
                "once, and keeps one at least"
            )
    smaller = copy.deepcopy(model)
    config = model.config.replace(**{part.field: [len(chosen) for chosen in kept]})
    for module in smaller.modules():
        if isinstance(module, PretrainedModel):
            module.config = config
    for i, (layer, chosen) in enumerate(zip(different_layers(smaller), kept, strict=True)):
        reader = layer.get_submodule(part.reader)
        size = reader.in_features // counts[i]
        features = torch.tensor([size * number + j for number in chosen for j in range(size)])
        reader.weight = nn.Parameter(reader.weight.data[:, features])
        reader.in_features = len(features)
        for maker in map(layer.get_submodule, part.makers):
            maker.weight = nn.Parameter(maker.weight.data[features])
            maker.bias = nn.Parameter(maker.bias.data[features])
            maker.out_features = len(features)
        layer.attention.num_heads = config.of_layer(i).num_attention_heads
    return smaller


def prune_parts(
    model: PretrainedModel,
    batches: Sequence[Batch],
    part: Part,
    fraction: float,
    loss: Loss | None = None,
) -> PretrainedModel:
    """A smaller model without the least important heads or units.

    A tenth goes at a time, and the importance of the others is measured again: what was spare beside another
    may be needed when that is gone.

    Args:
        model: a trained one; stays as it is.
        batches: with labels, as for `importance`.
        part: HEADS or UNITS.
        fraction: share of those of all layers together. Each layer keeps one.
        loss: as for `importance`.

    Raises:
        InputError: heads or units were taken out before, the fraction is out of range, there is no batch.

    Source: Michel et al. 2019, section 4.
    """
    refuse_pruned(model.config, part)
    number, rounds = number_to_remove(model.config, part, fraction), math.ceil(fraction / ROUND)
    gone = 0
    for i in range(1, rounds + 1):
        wanted = round(number * i / rounds)
        if wanted == gone:  # of a few heads a tenth may be none
            continue
        model = keep(model, part, strongest(importance(model, batches, part, loss), wanted - gone))
        gone = wanted
    return model


def refuse_pruned(config: BertConfig, part: Part) -> None:
    config.refuse_quantized()
    if getattr(config, part.field) is not None:
        left = ", ".join(map(str, part.left(config)))
        raise InputError(
            f"its {part.name} are pruned already: {left} are left in its layers, of "
            f"{getattr(config, PRUNABLE[part.field])}; prune the model that it was made from"
        )


def refuse_still(model: Any) -> None:
    if isinstance(model, BertFeaturesForTokenClassification):
        raise InputError(
            "its BERT stays as it is and no gradient reaches it, which is what this measures; prune the "
            "model that it reads, or take --sparsity without --movement"
        )


def matrices(model: Any) -> list[nn.Linear]:
    """The linear layers of the encoder, whose weights are pruned one by one; shared ones once."""
    modules = dict.fromkeys(module for layer in different_layers(model) for module in layer.modules())
    return [module for module in modules if isinstance(module, nn.Linear)]


def sparsity(model: Any) -> float:
    """The share of the encoder's weights that are 0."""
    weights = [linear.weight for linear in matrices(model)]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


def strongest_mask(scores: Tensor, fraction: float) -> Tensor:
    """1 for the largest scores and 0 for a fraction of them, exactly so many; of the shape of scores."""
    kept = scores.numel() - round(fraction * scores.numel())
    mask = torch.zeros_like(scores)
    mask.view(-1)[scores.flatten().topk(kept, sorted=False).indices] = 1.0
    return mask


class Mask(nn.Module):
    """A matrix times a mask, as a parametrisation of its weight.

    By magnitude the largest weights stay. By movement those stay that training moves away from 0: each has a
    score S, which learns as if the mask were not rounded to 0 and 1 ("straight-through").

        W' = W · M(S),  ∂L/∂S = ∂L/∂W' · W

    Source: Sanh et al. 2020, arXiv 2005.07683, section 4.
    """

    mask: Tensor

    def __init__(self, weight: Tensor, movement: bool) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight))
        self.scores = nn.Parameter(torch.zeros_like(weight)) if movement else None

    def forward(self, weight: Tensor) -> Tensor:
        """The weight as the model uses it."""
        if self.scores is None:
            return weight * self.mask
        return weight * (self.mask + (self.scores - self.scores.detach()))

    def update(self, weight: Tensor, fraction: float) -> None:
        """Choose anew what stays."""
        scores = weight.abs() if self.scores is None else self.scores
        self.mask.copy_(strongest_mask(scores.detach(), fraction))


class Sparsifier:
    """Takes out single weights while a model is fine-tuned: `train(…, before_update=sparsifier)`.

    Each matrix of the encoder loses the same share. It rises in the second to the seventh tenth of the steps,
    fast at first, and what remains has the last three tenths to recover with a mask that stays.

        s(t) = s · (1 - (1 - t)³),  t from 0 to 1

    Args:
        model: gets the masks; `end` takes them off again, and leaves zeros.
        fraction: s, the share of the weights that go.
        steps: of training.
        movement: by the movement of weights, not by their magnitude.

    Raises:
        InputError: the fraction is not between 0 and 1, there are no steps, or the model has zeros already.

    Source: Zhu & Gupta 2018, arXiv 1710.01878, section 3, for the schedule.
    """

    EVERY = 10  # steps between two choices

    def __init__(self, model: PretrainedModel, fraction: float, steps: int, movement: bool = False) -> None:
        refuse_sparse(model, fraction)
        if movement:
            refuse_still(model)
        if steps < 1:
            raise InputError(f"weights go while a model learns, and there are {steps} steps; give 1 or more")
        self.fraction = fraction
        self.first, self.last = round(0.1 * (steps - 1)), round(0.7 * (steps - 1))
        for linear in matrices(model):
            parametrize.register_parametrization(linear, "weight", Mask(linear.weight.data, movement))

    def at(self, step: int) -> float:
        """The share that is out at a step, from 0."""
        if step >= self.last:
            return self.fraction
        way = max(0, step - self.first) / (self.last - self.first)
        return self.fraction * (1 - (1 - way) ** 3)

    @torch.no_grad()
    def __call__(self, model: Any, step: int) -> None:
        if step == self.last or (step < self.last and step % self.EVERY == 0):
            for linear in matrices(model):
                of_weight: Any = linear.parametrizations
                of_weight.weight[0].update(of_weight.weight.original, self.at(step))

    def end(self, model: Any) -> None:
        """Take the masks off; the weights are what the model used."""
        for linear in matrices(model):
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)


@torch.no_grad()
def prune_weights(model: PretrainedModel, fraction: float) -> PretrainedModel:
    """The model with its smallest weights at 0, the same share of each matrix of the encoder.

    It has not learned since; `Sparsifier` lets it.

    Args:
        model: stays as it is.
        fraction: the share of the weights that go.

    Raises:
        InputError: as `Sparsifier`.
    """
    refuse_sparse(model, fraction)
    model = copy.deepcopy(model)
    for linear in matrices(model):
        linear.weight *= strongest_mask(linear.weight.abs(), fraction)
    return model


def refuse_sparse(model: PretrainedModel, fraction: float) -> None:
    model.config.refuse_quantized()
    if not 0 < fraction < 1:
        raise InputError(f"a fraction of {fraction:g} of the weights; expected more than 0 and less than 1")
    if (zeros := sparsity(model)) > 0.01:
        raise InputError(
            f"its weights are pruned already: {zeros:.0%} of the encoder's are 0; prune the model that it "
            "was made from"
        )


def size_of(model: nn.Module) -> dict[str, int]:
    """How large a model is: its numbers, those of them that are not 0, and the bytes of all."""
    tensors = tensors_of(model).values()
    return {
        "parameters": sum(tensor.numel() for tensor in tensors),
        "not_zero": sum(int(tensor.count_nonzero()) for tensor in tensors),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    }
