"""Claims about distillation."""

from __future__ import annotations

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from bertmini import BertConfig, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification
from bertmini.compress.distill import (
    as_distilbert,
    cosine_loss,
    distillation_loss,
    soft_target_loss,
    student_from_teacher,
)
from bertmini.compress.imitate import (
    Imitation,
    attention_scores,
    layer_pairs,
    look_inside,
    patient,
    patient_loss,
    projection,
    tinybert,
)
from bertmini.data.packing import pack
from bertmini.errors import InputError
from bertmini.model.bert import Bert
from bertmini.model.choice import BertForMultipleChoice
from bertmini.model.questions import BertForQuestionAnswering
from bertmini.training import Options, Run, train

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


def classification_batch(step: int, rows: int = 8) -> dict[str, torch.Tensor]:
    batch = batch_at(step, rows)
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


@pytest.mark.parametrize("options", [{}, {"temperature": 3.0}, {"weights": (4.0, 3.0, 2.0)}])
@pytest.mark.parametrize("kind", [BertForMaskedLM, BertForSequenceClassification])
def test_each_loss_has_its_weight_and_the_soft_one_its_temperature(kind, options):
    over_tokens = kind is BertForMaskedLM
    batch = batch_at(0) if over_tokens else classification_batch(0)
    teacher, student = teacher_of(kind).eval(), kind(CONFIG.replace(num_hidden_layers=1)).eval()
    output = distillation_loss(teacher, **options)(student, batch)
    names = ("soft", "mlm", "cosine") if over_tokens else ("soft_labels", "classification", "cosine")
    assert output.weights == dict(zip(names, options.get("weights", (5.0, 2.0, 1.0)), strict=True))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    both = student(**inputs), teacher(**inputs)
    if over_tokens:
        answers = [each.prediction_logits[batch["attention_mask"].bool()] for each in both]
    else:
        answers = [each.logits for each in both]
    expected = soft_target_loss(*answers, options.get("temperature", 2.0))
    torch.testing.assert_close(output.losses[names[0]], expected)


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


FIRST_STATES = Imitation("patient_cls", ((1, 2),))


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertForSequenceClassification])
def test_distillation_of_accumulated_batches_is_that_of_one_large_batch(kind):
    teacher = teacher_of(kind)
    make = classification_batch if kind is BertForSequenceClassification else batch_at
    small = [make(0, 6), make(1, 3)]
    large = {name: torch.cat([batch[name] for batch in small]) for name in small[0]}
    lines = []
    for batches, accumulation in ((small, 2), ([large], 1)):
        options = Options(steps=1, accumulation=accumulation, precision="float32")
        student = student_from_teacher(teacher)
        imitations = [FIRST_STATES, Imitation("patient", ((1, 2),)), *tinybert(student, teacher)]
        loss = distillation_loss(teacher, imitations=imitations)
        lines.append(train(student, batches.__getitem__, options, loss=loss).lines[0])
    soft = {"soft_labels", "classification"} if kind is BertForSequenceClassification else {"soft", "mlm"}
    for name in {"loss", "cosine", "gradient_norm", "patient_cls", "patient", "states", "attention"} | soft:
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


def test_a_student_of_a_pruned_teacher_has_the_sizes_of_its_layers():
    torch.manual_seed(0)
    sizes = {"heads_by_layer": [2, 1, 2, 1], "intermediate_by_layer": [8, 16, 24, 32]}
    teacher = BertForMaskedLM(CONFIG.replace(num_hidden_layers=4, **sizes)).eval()
    student = student_from_teacher(teacher, [3, 1])
    assert student.config.heads_by_layer == [1, 1]
    assert student.config.intermediate_by_layer == [32, 16]
    for of_student, of_teacher in ((0, 3), (1, 1)):
        layers = (student.bert.encoder.layers[of_student], teacher.bert.encoder.layers[of_teacher])
        ours, theirs = (layer.state_dict() for layer in layers)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert student_from_teacher(teacher).config.heads_by_layer == [2, 2]


@pytest.mark.parametrize(("groups", "heads", "left"), [(1, [1], [1]), (2, [1, 2], [1, 2])])
def test_a_student_shares_its_layers_as_its_teacher_does(groups, heads, left):
    torch.manual_seed(0)
    config = CONFIG.replace(num_hidden_layers=4, num_hidden_groups=groups, heads_by_layer=heads)
    teacher = BertForMaskedLM(config).eval()
    student = student_from_teacher(teacher).eval()
    assert student.config.num_hidden_layers == 2
    assert student.config.heads_by_layer == left
    for i, layer in enumerate(student.bert.encoder.layers):
        theirs = teacher.bert.encoder.layers[2 * i].state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in layer.state_dict().items())


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


@pytest.mark.parametrize("kind", [BertForQuestionAnswering, BertForMultipleChoice])
def test_what_has_no_distribution_over_labels_is_not_taught(kind):
    teacher = kind(CONFIG)
    with pytest.raises(InputError, match="has no distribution over pieces or labels"):
        distillation_loss(teacher)(kind(CONFIG), batch_at(0))


def test_a_layers_scores_are_caught_at_each_depth_where_attention_is_shared():
    torch.manual_seed(0)
    model = BertForMaskedLM(CONFIG.replace(shared_part="attention")).eval()
    batch = batch_at(0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    _, inside = look_inside(model, inputs, tinybert(model, model))
    assert len(inside.queries) == CONFIG.num_hidden_layers
    assert not torch.equal(inside.queries[0], inside.queries[1])


def test_a_layer_that_the_teacher_lacks_is_refused():
    with pytest.raises(InputError, match="layers 0 to 3"):
        student_from_teacher(teacher_of(BertForMaskedLM), [0, 4])


# Layers


def test_the_patient_loss_compares_directions():
    """(3, 4) and (4, 3) are (0.6, 0.8) and (0.8, 0.6) when they have the length 1."""
    student, teacher = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [-5.0, 0.0]])
    torch.testing.assert_close(patient_loss(student, teacher), torch.tensor((0.08 + 4.0) / 2))
    student, teacher = torch.randn(2, 12, 16).unbind()
    torch.testing.assert_close(patient_loss(student, teacher), 2 * cosine_loss(student, teacher))


def test_layers_are_paired_evenly_and_ends_with_ends():
    assert layer_pairs(2, 4) == ((0, 0), (1, 2), (2, 4))
    assert [theirs for _, theirs in layer_pairs(4, 12)] == [0, 3, 6, 9, 12]  # TinyBERT's
    assert [theirs for _, theirs in layer_pairs(6, 12)[1:-1]] == [2, 4, 6, 8, 10]  # PKD-Skip's
    with pytest.raises(InputError, match="the student has 4 layers, the teacher 2"):
        layer_pairs(4, 2)


def test_scores_are_what_the_softmax_makes_attention_of():
    model, batch = teacher_of(BertForMaskedLM).eval(), batch_at(0)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    output, inside = look_inside(model, inputs, [Imitation("attention", ((0, 0),))])
    expected = model(**inputs, return_attentions=True, return_hidden_states=True)
    hidden = (inputs["attention_mask"] == 0)[:, None, None, :]
    for layer, weights in enumerate(expected.attentions):
        scores = attention_scores(inside.queries[layer], inside.keys[layer], 2)
        torch.testing.assert_close(scores.masked_fill(hidden, -torch.inf).softmax(-1), weights)
    torch.testing.assert_close(output.prediction_logits, expected.prediction_logits)
    for mine, theirs in zip(inside.states, expected.hidden_states, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert not model.bert.encoder.layers[0].attention.query._forward_hooks  # none is left behind


def states_of(model, batch):
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    return model(**inputs, return_hidden_states=True).hidden_states


def scores_by_hand(model, batch, layer):
    """Attention scores of each row without its padding, [heads, length, length], head by head (two of 16)."""
    attention, rows = model.bert.encoder.layers[layer].attention, []
    for state, length in zip(states_of(model, batch)[layer], batch["attention_mask"].sum(1), strict=True):
        q, k = attention.query(state[:length]), attention.key(state[:length])
        rows.append(torch.stack([q[:, i : i + 16] @ k[:, i : i + 16].T / 4 for i in (0, 16)]))
    return rows


def test_tinybert_losses_are_mean_squares_over_what_is_no_padding():
    teacher, batch = teacher_of(BertForMaskedLM).eval(), batch_at(0)
    student = BertForMaskedLM(CONFIG.replace(num_hidden_layers=2)).eval()
    losses = distillation_loss(teacher, imitations=tinybert(student, teacher))(student, batch).losses
    real = batch["attention_mask"].bool()
    of_attention, of_states = 0.0, 0.0
    for ours, theirs in ((0, 1), (1, 3)):
        pairs = zip(scores_by_hand(student, batch, ours), scores_by_hand(teacher, batch, theirs), strict=True)
        of_attention += torch.cat([(s - t).square().flatten() for s, t in pairs]).mean()
    for ours, theirs in ((0, 0), (1, 2), (2, 4)):
        s, t = states_of(student, batch)[ours][real], states_of(teacher, batch)[theirs][real]
        of_states += (s - t).square().mean()
    torch.testing.assert_close(losses["attention"], of_attention)
    torch.testing.assert_close(losses["states"], of_states)


def test_a_patient_classifier_compares_cls_and_a_patient_language_model_all_tokens():
    for kind, make in ((BertForMaskedLM, batch_at), (BertForSequenceClassification, classification_batch)):
        teacher, batch = teacher_of(kind).eval(), make(0)
        student = kind(CONFIG.replace(num_hidden_layers=2)).eval()
        output = distillation_loss(teacher, imitations=patient(student, teacher))(student, batch)
        s, t = states_of(student, batch)[1], states_of(teacher, batch)[2]
        real = batch["attention_mask"].bool()
        name, s, t = ("patient", s[real], t[real]) if make is batch_at else ("patient_cls", s[:, 0], t[:, 0])
        difference = s / s.norm(dim=-1, keepdim=True) - t / t.norm(dim=-1, keepdim=True)
        torch.testing.assert_close(output.losses[name], difference.square().sum(-1).mean())
        assert output.weights[name] == 10.0


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertForSequenceClassification])
def test_a_teacher_has_nothing_inside_to_teach_itself(kind):
    teacher = teacher_of(kind)
    make = classification_batch if kind is BertForSequenceClassification else batch_at
    imitations = [*patient(teacher, teacher), *tinybert(teacher, teacher)]
    losses = distillation_loss(teacher, imitations=imitations)(teacher, make(0)).losses
    for name in {each.loss for each in imitations}:
        assert losses[name].item() == pytest.approx(0, abs=1e-5)


def test_packed_texts_teach_what_padded_ones_do():
    teacher = teacher_of(BertForMaskedLM)
    student = BertForMaskedLM(CONFIG.replace(num_hidden_layers=2)).eval()
    imitations = [FIRST_STATES, Imitation("patient", ((1, 2),)), *tinybert(student, teacher)]
    loss = distillation_loss(teacher, imitations=imitations)
    padded, packed = loss(student, batch_at(0)).losses, loss(student, pack(batch_at(0))).losses
    assert padded.keys() == packed.keys()
    for name in padded:
        torch.testing.assert_close(packed[name], padded[name], rtol=1e-4, atol=1e-5)


def test_layers_that_share_their_weights_are_compared_at_each_depth():
    shared = CONFIG.replace(num_hidden_groups=1)
    teacher, student = BertForMaskedLM(shared), BertForMaskedLM(shared.replace(num_hidden_layers=2)).eval()
    loss = distillation_loss(teacher, imitations=[Imitation("attention", ((1, 3),))])
    pairs = zip(
        scores_by_hand(student, batch_at(0), 1), scores_by_hand(teacher, batch_at(0), 3), strict=True
    )
    expected = torch.cat([(s - t).square().flatten() for s, t in pairs]).mean()
    torch.testing.assert_close(loss(student, batch_at(0)).losses["attention"], expected)


def test_layers_that_are_computed_twice_learn_the_same():
    teacher, gradients = teacher_of(BertForMaskedLM), []
    for checkpointing in (False, True):
        student = student_from_teacher(teacher).train()
        student.bert.encoder.checkpointing = checkpointing
        loss = distillation_loss(teacher, imitations=tinybert(student, teacher))
        loss(student, batch_at(0)).loss.backward()
        gradients.append([parameter.grad for parameter in student.parameters()])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_imitations_of_weight_0_change_nothing():
    teacher = teacher_of(BertForMaskedLM)
    students = [student_from_teacher(teacher) for _ in range(2)]
    options = Options(steps=3, learning_rate=1e-3, precision="float32")
    train(students[0], batch_at, options, loss=distillation_loss(teacher))
    imitations = [Imitation("patient", ((1, 2),), weight=0.0)]
    train(students[1], batch_at, options, loss=distillation_loss(teacher, imitations=imitations))
    for mine, theirs in zip(*(student.parameters() for student in students), strict=True):
        torch.testing.assert_close(mine, theirs)


def narrow_student() -> BertForMaskedLM:
    torch.manual_seed(1)
    return BertForMaskedLM(CONFIG.replace(hidden_size=16, num_hidden_layers=2, hidden_dropout_prob=0.1))


def test_a_narrow_student_learns_a_projection_and_loses_it_again():
    teacher, student = teacher_of(BertForMaskedLM), narrow_student()
    names = list(student.state_dict())
    loss = distillation_loss(teacher, weights=(5.0, 2.0, 0.0), imitations=tinybert(student, teacher))
    with projection(student, teacher) as matrix:
        assert matrix.weight.shape == (32, 16)
        before = matrix.weight.detach().clone()
        loss(student, batch_at(0)).losses["states"].backward()
        for parameter in (matrix.weight, matrix.bias, student.bert.embeddings.word.weight):
            assert parameter.grad.abs().sum() > 0
        student.zero_grad()
        options = Options(steps=60, learning_rate=1e-2, precision="float32")
        history = train(student, batch_at, options, loss=loss)
        assert not torch.equal(matrix.weight, before)
    values = history.curve("states")[1]
    assert values[-1] < 0.8 * values[0]
    assert list(student.state_dict()) == names
    with pytest.raises(InputError, match=r"hidden_size 32, the student 16; train within `with projection"):
        loss(student, batch_at(0))


def test_a_run_with_a_projection_resumes_to_the_same_bits(tmp_path):
    def distilled(out, stop=None):
        teacher, student = teacher_of(BertForMaskedLM), narrow_student()
        options = Options(
            steps=6, learning_rate=1e-3, log_every=1, checkpoint_every=2, precision="float32", ema=0.9
        )
        run = Run.resume(out) if (out / "run.json").exists() else Run.create(out, options)
        loss = distillation_loss(teacher, weights=(5.0, 2.0, 0.0), imitations=tinybert(student, teacher))

        def batches(step):
            if step == stop:
                raise KeyboardInterrupt
            return batch_at(step)

        with projection(student, teacher):
            train(student, batches, run.options, run=run, loss=loss)
        return student.state_dict()

    whole = distilled(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        distilled(tmp_path / "cut", stop=5)
    resumed = distilled(tmp_path / "cut")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    files = [tmp_path / name / "checkpoints/step-6/model.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "projection.weight" in load_file(files[0])


@pytest.mark.parametrize(
    ("imitations", "found"),
    [([Imitation("states", ((3, 4),))], "states 3: the student has 0 to 2"),
     ([Imitation("states", ((2, 5),))], "states 5: the teacher has 0 to 4"),
     ([Imitation("attention", ((2, 3),))], "attention 2: the student has 0 to 1"),
     ([Imitation("patient", ((-1, 0),))], "patient -1: the student has 0 to 2"),
     ([Imitation("states", ((0, 0),))] * 2, "2 imitations of states; give all pairs in one")],
)  # fmt: skip
def test_an_imitation_of_what_is_not_there_is_refused(imitations, found):
    student = BertForMaskedLM(CONFIG.replace(num_hidden_layers=2))
    with pytest.raises(InputError, match=found):
        distillation_loss(teacher_of(BertForMaskedLM), imitations=imitations)(student, batch_at(0))


def test_an_imitation_of_other_heads_or_in_a_compiled_model_is_refused():
    teacher, student = teacher_of(BertForMaskedLM), BertForMaskedLM(CONFIG.replace(num_attention_heads=4))
    loss = distillation_loss(teacher, imitations=[Imitation("attention", ((0, 1),))])
    with pytest.raises(InputError, match=r"layers \(0, 1\): the student has 4 heads, the teacher 2"):
        loss(student, batch_at(0))
    student = BertForMaskedLM(CONFIG)
    student.compile()
    with pytest.raises(InputError, match="compiled model; leave the compiling out"):
        loss(student, batch_at(0))


def test_an_imitation_without_a_name_or_a_pair_is_refused():
    with pytest.raises(InputError, match="imitation of 'pooler'; expected one of states, attention"):
        Imitation("pooler", ((0, 0),))
    with pytest.raises(InputError, match="without a pair"):
        Imitation("states", ())
    teacher = teacher_of(BertForMaskedLM)
    with pytest.raises(InputError, match="the student has 1 layers, and none before the last one"):
        patient(student_from_teacher(teacher, [0]), teacher)


# A student that is a DistilBERT


@pytest.mark.parametrize(
    ("kind", "theirs"),
    [(Bert, transformers.DistilBertModel), (BertForMaskedLM, transformers.DistilBertForMaskedLM),
     (BertForPreTraining, transformers.DistilBertForMaskedLM),
     (BertForQuestionAnswering, transformers.DistilBertForQuestionAnswering)],
)  # fmt: skip
def test_a_distilbert_answers_as_the_bert_that_it_was_and_as_transformers_reads_it(kind, theirs, tmp_path):
    torch.manual_seed(0)
    teacher = kind(CONFIG.replace(id2label=None)).eval()
    student = student_from_teacher(teacher, range(4), family="distilbert").eval()
    batch = batch_at(0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        mine, before = student(**inputs), teacher(**inputs)
    real = batch["attention_mask"].bool()
    answers = {"prediction_logits": "logits", "start_logits": "start_logits", "end_logits": "end_logits"}
    for name in ("last_hidden_state", *answers):
        if (expected := getattr(before, name, None)) is not None:
            found = getattr(mine, name)
            torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-4)
    student.save_pretrained(tmp_path)
    loaded, info = theirs.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] | info["unexpected_keys"]
    with torch.no_grad():
        output = loaded.eval()(**inputs)
    names = {"last_hidden_state": "last_hidden_state"} if kind is Bert else answers
    compared = [
        torch.equal(getattr(mine, ours), output[name])
        for ours, name in names.items()
        if getattr(mine, ours, None) is not None
    ]
    assert compared
    assert all(compared)


def test_a_distilbert_has_neither_token_types_nor_pooler_nor_a_head_for_pairs():
    teacher = BertForPreTraining(CONFIG.replace(extra={"objective": "mlm+nsp", "trained_positions": 9}))
    student = student_from_teacher(teacher, family="distilbert")
    left_out = {
        name.removeprefix("bert.").split(".")[0] if "token_type" not in name else "token_type"
        for name in teacher.state_dict().keys() - student.state_dict().keys()
        if "layers" not in name
    }
    assert left_out == {"token_type", "pooler", "nsp_head"}
    assert student.config.extra == {"trained_positions": 9}
    folded = teacher.bert.embeddings.position.weight + teacher.bert.embeddings.token_type.weight[0]
    assert torch.equal(student.bert.embeddings.position.weight, folded)
    assert as_distilbert(student) is student


def test_a_distilbert_is_taught_by_a_bert_that_reads_pairs():
    teacher = teacher_of(BertForPreTraining)
    student = student_from_teacher(teacher, family="distilbert")
    batch = batch_at(0) | {"token_type_ids": torch.ones(8, 10, dtype=torch.long)}
    output = distillation_loss(teacher, imitations=tinybert(student, teacher))(student.train(), batch)
    assert output.losses.keys() == {"mlm", "soft", "cosine", "states", "attention"}


def test_a_distilbert_of_what_is_no_bert_or_answers_through_its_pooler_is_refused():
    with pytest.raises(InputError, match="the teacher is a roberta"):
        student_from_teacher(BertForMaskedLM(CONFIG.replace(model_type="roberta")), family="distilbert")
    with pytest.raises(InputError, match="BertForSequenceClassification answers through BERT's pooler"):
        student_from_teacher(teacher_of(BertForSequenceClassification), family="distilbert")
    with pytest.raises(InputError, match="family is 'albert'; expected distilbert"):
        student_from_teacher(teacher_of(BertForMaskedLM), family="albert")
