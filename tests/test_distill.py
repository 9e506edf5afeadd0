"""Claims about distillation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bertmini import BertConfig, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification
from bertmini.compress.distill import cosine_loss, distillation_loss, soft_target_loss, student_from_teacher
from bertmini.errors import InputError
from bertmini.training import Options, train

CONFIG = BertConfig(
    vocab_size=40, hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    id2label={0: "calm", 1: "storm", 2: "fog"}, initializer_range=0.2,
)  # fmt: skip


def batch_at(step: int, rows: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    input_ids = torch.randint(5, 40, (rows, 10), generator=generator)
    attention_mask = (torch.arange(10) < torch.randint(4, 11, (rows, 1), generator=generator)).long()
    masked = (torch.rand(rows, 10, generator=generator) < 0.3) & attention_mask.bool()
    masked[:, 1] = True
    return {
        "input_ids": (input_ids * attention_mask).masked_fill(masked, 4),
        "attention_mask": attention_mask,
        "labels": input_ids.masked_fill(~masked, -100),
    }


def classification_batch(step: int) -> dict[str, torch.Tensor]:
    batch = batch_at(step)
    return batch | {"labels": batch["input_ids"][:, 0] % 3}


def teacher_of(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind(CONFIG)


def test_soft_targets_are_the_cross_entropy_less_the_teachers_entropy_times_the_squared_temperature():
    student, teacher = torch.randn(2, 6, 9).unbind()
    p = F.softmax(teacher / 3, dim=-1)
    cross_entropy = -(p * F.log_softmax(student / 3, dim=-1)).sum(-1)
    entropy = -(p * p.log()).sum(-1)
    torch.testing.assert_close(soft_target_loss(student, teacher, 3.0), 9 * (cross_entropy - entropy).mean())


def test_the_squared_temperature_keeps_the_gradient_in_size():
    """At high temperatures the gradient tends to (s - t) / classes, for every T (Hinton et al., 2015)."""
    student, teacher = torch.randn(2, 5, 7).double().unbind()
    student, teacher = student - student.mean(-1, keepdim=True), teacher - teacher.mean(-1, keepdim=True)
    for temperature in (1000.0, 3000.0):
        s = student.clone().float().requires_grad_()
        soft_target_loss(s, teacher.float(), temperature).backward()
        torch.testing.assert_close(s.grad, ((student - teacher) / 7 / 5).float(), rtol=0.02, atol=2e-4)


def test_the_cosine_loss_is_that_of_pytorch():
    student, teacher = torch.randn(2, 12, 16).unbind()
    expected = F.cosine_embedding_loss(student, teacher, torch.ones(12))
    torch.testing.assert_close(cosine_loss(student, teacher), expected)


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertForPreTraining, BertForSequenceClassification])
def test_a_teacher_has_nothing_to_teach_itself(kind):
    teacher = teacher_of(kind)
    make = classification_batch if kind is BertForSequenceClassification else batch_at
    output = distillation_loss(teacher)(teacher, make(0))
    soft = "soft_labels" if kind is BertForSequenceClassification else "soft"
    assert output.losses[soft].item() == pytest.approx(0, abs=1e-5)
    assert output.losses["cosine"].item() == pytest.approx(0, abs=1e-5)


def test_the_sum_is_five_two_one():
    teacher, student = teacher_of(BertForMaskedLM), BertForMaskedLM(CONFIG.replace(num_hidden_layers=1))
    output = distillation_loss(teacher)(student, batch_at(0))
    losses = output.losses
    assert losses.keys() == {"soft", "mlm", "cosine"}
    torch.testing.assert_close(output.loss, 5 * losses["soft"] + 2 * losses["mlm"] + losses["cosine"])


def test_the_students_own_loss_is_the_one_it_would_have_alone():
    teacher, student = teacher_of(BertForPreTraining), BertForPreTraining(CONFIG).train()
    batch = batch_at(0) | {"next_sentence_label": torch.tensor([0, 1] * 4)}
    losses = distillation_loss(teacher)(student, batch).losses
    alone = student(**batch).losses
    for name in ("mlm", "nsp"):
        torch.testing.assert_close(losses[name], alone[name])


def test_padding_teaches_nothing():
    teacher, student = (
        teacher_of(BertForMaskedLM),
        BertForMaskedLM(CONFIG.replace(num_hidden_layers=1)).train(),
    )
    batch = batch_at(0)
    losses = distillation_loss(teacher)(student, batch).losses
    padding = batch["attention_mask"] == 0
    other = batch | {"input_ids": batch["input_ids"].masked_fill(padding, 17)}
    for name, value in distillation_loss(teacher)(student, other).losses.items():
        torch.testing.assert_close(value, losses[name], rtol=1e-5, atol=1e-6)


def test_a_student_comes_close_to_its_teacher_and_the_teacher_stays_as_it_is():
    teacher = teacher_of(BertForMaskedLM)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student = student_from_teacher(teacher)
    options = Options(steps=120, learning_rate=3e-3, precision="float32")
    history = train(student, batch_at, options, loss=distillation_loss(teacher))
    for name in ("soft", "cosine"):
        values = history.curve(name)[1]
        assert values[-1] < 0.7 * values[0]
    assert history.lines[0].keys() >= {"loss", "soft", "mlm", "cosine"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not teacher.training


def test_a_classifier_learns_its_teachers_answers_without_any_label():
    teacher = teacher_of(BertForSequenceClassification)
    student = student_from_teacher(teacher, [0, 3])

    def unlabelled(step):
        return {name: tensor for name, tensor in batch_at(step, 16).items() if name != "labels"}

    options = Options(steps=120, learning_rate=3e-3, precision="float32")
    history = train(student, unlabelled, options, loss=distillation_loss(teacher))
    values = history.curve("soft_labels")[1]
    assert values[-1] < 0.5 * values[0]
    assert "classification" not in history.lines[0]


def test_distillation_of_accumulated_batches_is_that_of_one_large_batch():
    teacher = teacher_of(BertForMaskedLM)
    small = [batch_at(0, 6), batch_at(1, 3)]
    large = {name: torch.cat([batch[name] for batch in small]) for name in small[0]}
    lines = []
    for batches, accumulation in ((small, 2), ([large], 1)):
        options = Options(steps=1, accumulation=accumulation, precision="float32")
        history = train(
            student_from_teacher(teacher), batches.__getitem__, options, loss=distillation_loss(teacher)
        )
        lines.append(history.lines[0])
    for name in ("loss", "soft", "mlm", "cosine", "gradient_norm"):
        assert lines[0][name] == pytest.approx(lines[1][name], rel=1e-4), name


def test_a_student_begins_as_every_second_layer_of_its_teacher():
    teacher = teacher_of(BertForPreTraining)
    student = student_from_teacher(teacher)
    assert student.config.num_hidden_layers == 2
    for ours, theirs in ((0, 0), (1, 2)):
        taken = teacher.bert.encoder.layers[theirs].state_dict()
        for name, tensor in student.bert.encoder.layers[ours].state_dict().items():
            assert torch.equal(tensor, taken[name])
    assert torch.equal(student.bert.embeddings.word.weight, teacher.bert.embeddings.word.weight)
    assert torch.equal(student.nsp_head.weight, teacher.nsp_head.weight)


def test_a_student_with_all_layers_is_its_teacher():
    teacher = teacher_of(BertForPreTraining).eval()
    student = student_from_teacher(teacher, [0, 1, 2, 3]).eval()
    inputs = {"input_ids": torch.arange(5, 15)[None]}
    assert torch.equal(student(**inputs).prediction_logits, teacher(**inputs).prediction_logits)


@pytest.mark.parametrize(
    ("changes", "found"),
    [({"vocab_size": 41}, "vocab_size 40, the student 41"),
     ({"hidden_size": 16}, "hidden_size 32, the student 16.*weight 0")],
)  # fmt: skip
def test_a_student_that_cannot_learn_from_this_teacher_is_told_why(changes, found):
    student = BertForMaskedLM(CONFIG.replace(**changes))
    with pytest.raises(InputError, match=found):
        distillation_loss(teacher_of(BertForMaskedLM))(student, batch_at(0))


def test_without_the_cosine_the_student_may_be_narrower():
    student = BertForMaskedLM(CONFIG.replace(hidden_size=16))
    output = distillation_loss(teacher_of(BertForMaskedLM), weights=(5.0, 2.0, 0.0))(student, batch_at(0))
    assert output.losses.keys() == {"soft", "mlm"}


def test_a_layer_that_the_teacher_lacks_is_refused():
    with pytest.raises(InputError, match="layers 0 to 3"):
        student_from_teacher(teacher_of(BertForMaskedLM), [0, 4])
