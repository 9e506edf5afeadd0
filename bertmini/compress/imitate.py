"""Distillation of what is inside: layers of the student imitate layers of its teacher.

Patient knowledge distillation compares directions of hidden states (Sun et al. 2019, arXiv 1908.09355),
TinyBERT hidden states and attention scores as they are (Jiao et al. 2020, arXiv 1909.10351).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from bertmini.errors import InputError
from bertmini.model.bert import BertForSequenceClassification, PretrainedModel, summary

Batch = dict[str, Tensor]
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Imitation:
    """One more loss: parts of the student are to be like parts of the teacher. Summed over the pairs.

    Args:
        loss: what is compared and how, a name in `LOSSES`, under which it is logged.
        pairs: (the student's, the teacher's), numbered as in `hidden_states`, where 0 are the embeddings and
            1 is what the first layer gives; for "attention" as in `attentions`, where 0 is the first layer's.
        weight: of the loss in the sum.

    Raises:
        InputError: there is no such loss, or no pair.
    """

    loss: str
    pairs: Pairs
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"imitation of {self.loss!r}; expected one of {', '.join(LOSSES)}")
        if not self.pairs:
            raise InputError(f"imitation of {self.loss} without a pair (student's, teacher's); give one")


@dataclass(frozen=True)
class Inside:
    """What a model computed on the way to its answers.

    Args:
        model: whose they are.
        states: the embeddings and each layer's output, each [batch, length, hidden].
        queries, keys: of each layer, [batch, length, heads · head_size]; empty unless attention is imitated.
    """

    model: Any
    states: Sequence[Tensor]
    queries: Sequence[Tensor]
    keys: Sequence[Tensor]


def patient_loss(student_states: Tensor, teacher_states: Tensor) -> Tensor:
    """How far apart hidden states are when both are brought to the length 1.

        L = ‖h_s / ‖h_s‖ - h_t / ‖h_t‖‖²

    Args:
        student_states, teacher_states: h_s and h_t, [tokens, hidden].

    Returns:
        Scalar from 0 to 4, the mean over tokens.

    Source: Sun et al. 2019, section 3.2.
    """
    student = F.normalize(student_states.float(), dim=-1)
    teacher = F.normalize(teacher_states.float(), dim=-1)
    return (student - teacher).square().sum(dim=-1).mean()


def squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference of two tensors of one shape (Jiao et al. 2020, section 3.1)."""
    return F.mse_loss(student.float(), teacher.float())


def attention_scores(queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """How well each query fits each key, q kᵀ / √head_size: what attention knows before its softmax.

    Args:
        queries, keys: of a layer, [batch, length, heads · head_size].
        heads: their number.

    Returns:
        [batch, heads, query, key].
    """
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys))
    return q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))


def real_tokens(batch: Batch) -> Tensor:
    """Where a batch holds no padding: bool [batch, length]."""
    return batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()


def projected(inside: Inside, number: int) -> Tensor:
    """Hidden states of a number, in the teacher's width where the student has a `projection`."""
    states, widen = inside.states[number], getattr(inside.model, "projection", None)
    return widen(states) if widen else states


def states_of_tokens(inside: Inside, number: int, batch: Batch) -> Tensor:
    """Hidden states of the tokens that are no padding, [tokens, hidden]."""
    return projected(inside, number)[real_tokens(batch)]


def states_of_texts(inside: Inside, number: int, batch: Batch) -> Tensor:
    """Hidden states of the tokens that stand for whole texts, [CLS], [texts, hidden]."""
    where = (batch.get("attention_mask"), batch.get("cu_seqlens"))
    return summary(projected(inside, number), inside.model.config, *where)


def scores_of_tokens(inside: Inside, number: int, batch: Batch) -> Tensor:
    """Attention scores of all pairs of a text's tokens, [pairs, heads]."""
    heads = inside.model.bert.encoder.layers[number].attention.num_heads
    q, k, real = inside.queries[number], inside.keys[number], real_tokens(batch)
    if "cu_seqlens" in batch:  # texts end to end in one row: to each its own again
        lengths = batch["cu_seqlens"].diff().tolist()
        q, k, real = (pad_sequence(x[0].split(lengths), batch_first=True) for x in (q, k, real))
    scores = attention_scores(q, k, heads)  # [batch, heads, query, key]
    return scores.permute(0, 2, 3, 1)[real[:, :, None] & real[:, None, :]]


# What of a model is compared, and by which measure. "patient" is over all tokens, "patient_cls" over texts.
LOSSES: dict[str, tuple[Callable[[Inside, int, Batch], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "states": (states_of_tokens, squared_difference),
    "attention": (scores_of_tokens, squared_difference),
    "patient": (states_of_tokens, patient_loss),
    "patient_cls": (states_of_texts, patient_loss),
}


def layer_pairs(student_layers: int, teacher_layers: int) -> Pairs:
    """Which of the teacher's hidden states each of the student's imitates: spread evenly, ends by ends.

    Two layers of four: ((0, 0), (1, 2), (2, 4)), where 0 are the embeddings.

    Raises:
        InputError: the student has more layers.

    Source: Jiao et al. 2020, section 3, g(m) = m · N / M.
    """
    if student_layers > teacher_layers:
        raise InputError(
            f"the student has {student_layers} layers, the teacher {teacher_layers}; "
            "expected no more than the teacher, or pairs of your own"
        )
    every = range(student_layers + 1)
    return tuple((layer, layer * teacher_layers // max(1, student_layers)) for layer in every)


def patient(student: PretrainedModel, teacher: PretrainedModel, weight: float = 10.0) -> list[Imitation]:
    """What a patient student imitates: directions after each layer but the last, which the cosine loss has.

    A classifier answers by [CLS] alone, whose states are compared; in other models those of all tokens are.

    Args:
        weight: of the loss beside the soft loss's 5. With 1 it is hardly heard; the authors search theirs for
            each task.

    Raises:
        InputError: the student has a single layer.

    Source: Sun et al. 2019, section 3.2, "PKD-Skip".
    """
    depth = student.config.num_hidden_layers
    pairs = layer_pairs(depth, teacher.config.num_hidden_layers)[1:-1]
    if not pairs:
        raise InputError(f"the student has {depth} layers, and none before the last one; expected 2 or more")
    is_classifier = isinstance(student, BertForSequenceClassification)
    return [Imitation("patient_cls" if is_classifier else "patient", pairs, weight)]


def tinybert(student: PretrainedModel, teacher: PretrainedModel) -> list[Imitation]:
    """What TinyBERT imitates: embeddings and all layers' hidden states and attention scores.

    Source: Jiao et al. 2020, section 3.1.
    """
    pairs = layer_pairs(student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    layers = tuple((ours - 1, theirs - 1) for ours, theirs in pairs[1:])
    return [Imitation("states", pairs), Imitation("attention", layers)]


INTERMEDIATE: dict[str, Callable[[Any, Any], list[Imitation]]] = {"patient": patient, "tinybert": tinybert}


@contextmanager
def projection(student: PretrainedModel, teacher: PretrainedModel) -> Iterator[nn.Linear]:
    """Within it the student has a matrix that takes its hidden states to the teacher's width, and learns it.

    As a part of the student it is trained, saved in checkpoints and resumed with it. Afterwards it is gone:
    it was a measure, and no answer needs it. One serves all hidden states, as in TinyBERT's code.

    Source: Jiao et al. 2020, section 3.1, W_h.
    """
    matrix = nn.Linear(student.config.hidden_size, teacher.config.hidden_size)
    nn.init.normal_(matrix.weight, std=student.config.initializer_range)
    nn.init.zeros_(matrix.bias)
    student.projection = matrix
    try:
        yield matrix
    finally:
        del student.projection


def look_inside(model: Any, inputs: Batch, imitations: Sequence[Imitation]) -> tuple[Any, Inside]:
    """A model's output, and what the imitations compare.

    Queries and keys are caught as they are made. The scores themselves are never formed by the fused kernel,
    and where attention weights are returned, the softmax has been over them.
    """
    wanted = {each.loss for each in imitations}
    kept: dict[str, list[Tensor]] = {"query": [], "key": []}
    layers = model.bert.encoder.layers if "attention" in wanted else []
    hooks = [
        getattr(attention, name).register_forward_hook(keep_in(made))
        # One that layers share is called at each depth.
        for attention in dict.fromkeys(layer.attention for layer in layers)
        for name, made in kept.items()
    ]
    try:
        output = model(**inputs, **({"return_hidden_states": True} if wanted else {}))
    finally:
        for hook in hooks:
            hook.remove()
    return output, Inside(model, output.hidden_states or (), kept["query"], kept["key"])


def keep_in(made: list[Tensor]) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
        made.append(output)

    return hook


def imitation_losses(
    imitations: Sequence[Imitation], student: Inside, teacher: Inside, batch: Batch
) -> dict[str, Tensor]:
    """Each imitation's loss by its name."""
    losses = {}
    for each in imitations:
        of, measure = LOSSES[each.loss]
        of_pairs = [measure(of(student, i, batch), of(teacher, j, batch)) for i, j in each.pairs]
        losses[each.loss] = torch.stack(of_pairs).sum()
    return losses


def check_imitations(imitations: Sequence[Imitation], student: Any, teacher: Any) -> None:
    """Refuse what the two have not, or have in other sizes."""
    names = [each.loss for each in imitations]
    for each in imitations:
        if names.count(each.loss) > 1:
            raise InputError(f"{names.count(each.loss)} imitations of {each.loss}; give all pairs in one")
        for pair in each.pairs:
            check_numbers(each.loss, pair, student, teacher)
        if each.loss == "attention":
            check_attention(each.pairs, student, teacher)
        elif not hasattr(student, "projection"):
            theirs, ours = teacher.config.hidden_size, student.config.hidden_size
            if theirs != ours:
                raise InputError(
                    f"the teacher has hidden_size {theirs}, the student {ours}; train within "
                    "`with projection(student, teacher)`, which learns to widen its states"
                )


def check_numbers(loss: str, pair: tuple[int, int], student: Any, teacher: Any) -> None:
    for whose, number, model in zip(("student", "teacher"), pair, (student, teacher), strict=True):
        last = model.config.num_hidden_layers - (loss == "attention")
        if not 0 <= number <= last:
            raise InputError(f"imitation of {loss} {number}: the {whose} has 0 to {last}; choose among them")


def check_attention(pairs: Pairs, student: Any, teacher: Any) -> None:
    if student._compiled_call_impl:  # a compiled model does as in its first call, and nothing new is caught
        raise InputError("attention scores cannot be caught in a compiled model; leave the compiling out")
    for pair in pairs:
        ours, theirs = (
            model.bert.encoder.layers[number].attention.num_heads
            for model, number in zip((student, teacher), pair, strict=True)
        )
        if ours != theirs:
            raise InputError(
                f"attention of layers {pair}: the student has {ours} heads, the teacher {theirs}; make them "
                "equal, or imitate hidden states alone"
            )
