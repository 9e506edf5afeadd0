"""Distillation: a small model learns from a large one (Sanh et al. 2019, arXiv 1910.01108)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertmini.compress.imitate import Imitation, check_imitations, imitation_losses, look_inside, real_tokens
from bertmini.config import FAMILIES, PRUNABLE
from bertmini.errors import InputError
from bertmini.model.bert import Bert, BertForMaskedLM, BertForSequenceClassification, PretrainedModel
from bertmini.model.heads import mean_cross_entropy
from bertmini.model.tagging import BertForTokenClassification


def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """How far the student's distribution is from the teacher's, both softened by a temperature.

        L_soft = T² · KL(softmax(t / T) ‖ softmax(s / T))

    A high temperature shows what the teacher holds possible besides its first choice. Softening makes the
    gradient T² times smaller; the factor undoes that, so that the losses' weights need not follow T.
    A model with one output, a regression, has no distribution: there it is the squared difference.

    Args:
        student_logits, teacher_logits: s and t, [targets, classes].
        temperature: T, 1 leaves the distributions as they are.

    Returns:
        Scalar, in nats, the mean over targets.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2.
    """
    if student_logits.size(-1) == 1:
        return F.mse_loss(student_logits.float(), teacher_logits.float())
    student = F.log_softmax(student_logits.float() / temperature, dim=-1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def cosine_loss(student_states: Tensor, teacher_states: Tensor) -> Tensor:
    """How far the student's hidden states point away from the teacher's.

        L_cos = 1 - cos(h_s, h_t)

    Args:
        student_states, teacher_states: h_s and h_t, [tokens, hidden].

    Returns:
        Scalar from 0 to 2, the mean over tokens.

    Source: Sanh et al. 2019, section 3.
    """
    return (1 - F.cosine_similarity(student_states.float(), teacher_states.float(), dim=-1)).mean()


@dataclass
class DistillationOutput:
    """The losses by name, each as it is, and their weights in the sum."""

    losses: dict[str, Tensor]
    weights: dict[str, float]

    @property
    def loss(self) -> Tensor:
        """The weighted sum."""
        return torch.stack([self.weights[name] * value for name, value in self.losses.items()]).sum()


def distillation_loss(
    teacher: PretrainedModel,
    temperature: float = 2.0,
    weights: tuple[float, float, float] = (5.0, 2.0, 1.0),
    imitations: Sequence[Imitation] = (),
) -> Callable[[nn.Module, dict[str, Tensor]], DistillationOutput]:
    """DistilBERT's triple loss, for `train(student, ..., loss=distillation_loss(teacher))`.

        L = w_soft · L_soft + w_hard · L_hard + w_cos · L_cos

    and, where there are imitations, theirs beside the three.

    L_hard is what the student would be trained with alone: "mlm" (and "nsp" where it has that head and the
    batch that label), or "classification" or "regression" where the batch has labels. L_soft is called "soft"
    over tokens and "soft_labels" over examples; L_cos is called "cosine", over the last hidden states.

    Args:
        teacher: a trained model of the student's kind, with its vocabulary or its labels.
        temperature: T of the soft targets.
        weights: (w_soft, w_hard, w_cos). w_cos must be 0 where the two differ in hidden size.
        imitations: what else of the teacher is imitated, of `bertmini.compress.imitate`: `patient`, say, or
            `tinybert`.

    Returns:
        A function of the student and a batch.

    Raises:
        InputError: teacher and student differ in kind, outputs, or hidden size, or one of them lacks what is
            to be imitated.

    Source: Sanh et al. 2019, section 3; weights and temperature from its code.
    """
    teacher.eval().requires_grad_(False)
    soft, hard, cosine = weights

    def loss(student: nn.Module, batch: dict[str, Tensor]) -> DistillationOutput:
        check_pair(student, teacher, cosine)
        check_imitations(imitations, student, teacher)
        over_tokens = isinstance(student, BertForMaskedLM)
        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        with torch.no_grad():
            expected, theirs = look_inside(teacher.to(batch["input_ids"].device), inputs, imitations)
        # Given labels, a head in training computes masked positions only; the teacher speaks on all of them.
        output, ours = look_inside(student, inputs if over_tokens else batch, imitations)
        real = real_tokens(batch)  # [batch, length]
        losses = dict(output.losses)
        if over_tokens:
            predictions = output.prediction_logits
            losses["mlm"] = mean_cross_entropy(predictions.flatten(0, 1), batch["labels"].flatten())
            student_logits, teacher_logits = predictions[real], expected.prediction_logits[real]
            losses["soft"] = soft_target_loss(student_logits, teacher_logits, temperature)
        else:
            losses["soft_labels"] = soft_target_loss(output.logits, expected.logits, temperature)
        if cosine:
            losses["cosine"] = cosine_loss(output.last_hidden_state[real], expected.last_hidden_state[real])
        losses |= imitation_losses(imitations, ours, theirs, batch)
        weight = {"soft": soft, "soft_labels": soft, "cosine": cosine}
        weight |= {each.loss: each.weight for each in imitations}
        return DistillationOutput(losses, {name: weight.get(name, hard) for name in losses})

    return loss


def check_pair(student: nn.Module, teacher: nn.Module, cosine_weight: float) -> None:
    """Refuse a student that cannot learn from this teacher."""
    if not isinstance(student, BertForMaskedLM | BertForSequenceClassification | BertForTokenClassification):
        raise InputError(
            f"a {type(student).__name__} has no distribution over pieces or labels, which is what a teacher "
            "gives; take a masked-language model, a classifier or a tagger"
        )
    over_tokens = isinstance(student, BertForMaskedLM)
    if over_tokens != isinstance(teacher, BertForMaskedLM):
        raise InputError(
            f"the teacher is a {type(teacher).__name__}, the student a {type(student).__name__}; use one kind"
        )
    size = "vocab_size" if over_tokens else "num_labels"
    sizes = [size] + ["hidden_size"] * bool(cosine_weight)
    for name in sizes:
        theirs, ours = getattr(teacher.config, name), getattr(student.config, name)
        if theirs != ours:
            hint = "; or give the cosine loss the weight 0" if name == "hidden_size" else ""
            raise InputError(f"the teacher has {name} {theirs}, the student {ours}; make them equal{hint}")


def student_from_teacher(
    teacher: PretrainedModel, layers: Sequence[int] | None = None, family: str | None = None
) -> PretrainedModel:
    """A shallower model that begins as some of the teacher's layers, with its embeddings and heads.

    Args:
        teacher: any of the models.
        layers: which layers to take, from 0; None takes every second one. DistilBERT's six of twelve are
            0, 2, 4, 7, 9, 11.
        family: "distilbert" for a student without token types and pooler, as by `as_distilbert`; None: the
            teacher's.

    Raises:
        InputError: the teacher has no such layer, or cannot begin a DistilBERT.

    Source: Sanh et al. 2019, section 3, "Student initialization".
    """
    teacher.config.refuse_quantized()
    if family not in (None, "distilbert"):
        raise InputError(f"a student's family is {family!r}; expected distilbert, or none for the teacher's")
    if family:
        teacher = as_distilbert(teacher)
    depth = teacher.config.num_hidden_layers
    chosen = list(range(0, depth, 2) if layers is None else layers)
    if not chosen or not all(0 <= layer < depth for layer in chosen):
        raise InputError(f"layers {chosen}: the teacher has layers 0 to {depth - 1}; choose among them")
    different = teacher.config.num_hidden_groups or len(chosen)
    sizes = {  # of a pruned teacher's different layers
        name: [left[teacher.config.group_of(chosen[i * len(chosen) // different])] for i in range(different)]
        for name in PRUNABLE
        if (left := getattr(teacher.config, name))
    }
    student = type(teacher)(teacher.config.replace(num_hidden_layers=len(chosen), **sizes))
    weights = teacher.state_dict()

    def in_teacher(name: str) -> str:
        return re.sub(r"(?<=encoder\.layers\.)\d+", lambda match: str(chosen[int(match[0])]), name)

    student.load_state_dict({name: weights[in_teacher(name)] for name in student.state_dict()})
    return student


def as_distilbert(model: PretrainedModel) -> PretrainedModel:
    """A BERT as a DistilBERT: without token types, without pooler, and without the head for sentence pairs.

    Each token of a single text gets the first row of the token types. It is added to every position, and so
    hidden states and answers stay the same, up to rounding. In a pair the second text loses its mark.

    Args:
        model: a BERT, bare or with a head that reads the hidden states; it stays as it is.

    Raises:
        InputError: it is of another family, or answers through its pooler.

    Source: Sanh et al. 2019, section 3, "Student architecture"; there the token types are left out.
    """
    config, family = model.config, FAMILIES["distilbert"]
    if config.model_type == "distilbert":
        return model
    if config.model_type != "bert":
        raise InputError(f"the teacher is a {config.model_type}; a distilbert is made of a bert: take one")
    encoder: Any = model if isinstance(model, Bert) else model.bert
    if not isinstance(model, Bert | BertForMaskedLM) and encoder.pooler is not None:
        raise InputError(
            f"a {type(model).__name__} answers through BERT's pooler, and DistilBERT has another; make the "
            "student from the pretrained model, and fine-tune it"
        )
    kind = BertForMaskedLM if isinstance(model, BertForMaskedLM) else type(model)
    fields = family.defaults | {"model_type": "distilbert", "num_hidden_layers": config.num_hidden_layers}
    extra = {name: value for name, value in config.extra.items() if name != "objective"}  # it may be of pairs
    student, weights = kind(config.replace(**fields, extra=extra)), model.state_dict()
    if encoder.embeddings.token_type is not None:
        name = "embeddings.position.weight" if isinstance(model, Bert) else "bert.embeddings.position.weight"
        weights[name] = weights[name] + encoder.embeddings.token_type.weight[0]
    student.load_state_dict({name: weights[name] for name in student.state_dict()})
    return student
