"""The cost model against what is counted: parameters, operations, and the bytes that autograd keeps."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bertmini import BertConfig, BertForMaskedLM, BertForPreTraining
from bertmini.cost import Plan, activation_bytes, flops, parameters, state_bytes
from bertmini.errors import InputError

SMALL = BertConfig(
    vocab_size=300, hidden_size=64, num_hidden_layers=3, num_attention_heads=2, intermediate_size=192
)
ROWS, LENGTH, TARGETS = 5, 32, 8


def training_batch():
    labels = torch.full((ROWS, LENGTH), -100)
    labels[:, :TARGETS] = 7
    return {
        "input_ids": torch.randint(5, 300, (ROWS, LENGTH)),
        "labels": labels,
        "next_sentence_label": torch.zeros(ROWS, dtype=torch.long),
    }


@pytest.mark.parametrize("preset", ["tiny", "mini", "base"])
def test_parameters(preset):
    config = BertConfig.preset(preset)
    with torch.device("meta"):
        model, without = BertForPreTraining(config), BertForMaskedLM(config)
    assert sum(parameters(config).values()) == sum(p.numel() for p in model.parameters())
    assert sum(parameters(config, nsp=False).values()) == sum(p.numel() for p in without.parameters())
    assert state_bytes(config)["optimizer"] == 2 * state_bytes(config)["weights"]


def test_published_counts():
    # transformers 5.23, BertForPreTraining(BertConfig()); Devlin et al. 2018 give 110M and 340M.
    assert sum(parameters(BertConfig()).values()) == 110_106_428
    assert 330e6 < sum(parameters(BertConfig.preset("large")).values()) < 340e6


def test_operations_are_those_that_torch_counts():
    model, batch = BertForPreTraining(SMALL).train(), training_batch()
    with FlopCounterMode(display=False) as counter:
        output = model(**batch)
        forward = counter.get_total_flops()
        sum(output.losses.values()).backward()
    told = ROWS * LENGTH * sum(flops(SMALL, LENGTH, masked=TARGETS / LENGTH).values())
    assert forward == pytest.approx(told, rel=1e-6)
    # The embeddings want a gradient, so that the first layer's backward pass is whole as well.
    assert counter.get_total_flops() == pytest.approx(3 * told, rel=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("hidden", "inner", "heads"), [(64, 192, 2), (128, 512, 8)])
def test_activations_are_those_that_autograd_keeps(precision, dropout, hidden, inner, heads):
    config = SMALL.replace(
        hidden_size=hidden, intermediate_size=inner, num_attention_heads=heads,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    model, batch = BertForPreTraining(config).train(), training_batch()
    ours = {p.untyped_storage().data_ptr() for p in model.parameters()}
    numbers_of_rows = (ROWS * LENGTH, ROWS * TARGETS, ROWS)
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor):
        is_cast_weight = (
            tensor.dtype == torch.bfloat16 and tensor.ndim == 2 and tensor.shape[0] not in numbers_of_rows
        )
        if tensor.untyped_storage().data_ptr() not in ours and not is_cast_weight:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        output = model(**batch)
    measured = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    told = activation_bytes(
        config, ROWS * LENGTH, LENGTH, precision, fused=dropout == 0, masked=TARGETS / LENGTH
    )
    assert output.losses
    assert sum(told.values()) == pytest.approx(measured, rel=0.1)


def test_plan_scales_as_it_must():
    plan = Plan(BertConfig.preset("base"), tokens=1e11)
    # Kaplan et al. 2020: six operations a parameter and token, the embedding tables apart.
    inner = sum(parameters(plan.config).values()) - parameters(plan.config)["embeddings"]
    assert plan.flops_per_token == pytest.approx(6 * inner, rel=0.15)
    assert plan.seconds == pytest.approx(1e11 * plan.flops_per_token / 312e12 / 0.4, rel=1e-9)
    eight = Plan(plan.config, tokens=1e11, gpus=8)
    assert plan.seconds / 8 <= eight.seconds < plan.seconds / 4
    assert plan.communication_seconds == 0
    slow = Plan(plan.config, tokens=1e11, gpus=8, bandwidth=1e8)
    assert slow.step_seconds == pytest.approx(slow.communication_seconds + slow.compute_seconds / 3, rel=0.01)
    saving = Plan(plan.config, tokens=1e11, checkpointing=True)
    assert saving.memory["activations"] < plan.memory["activations"] / 3
    assert plan.seconds * 1.25 < saving.seconds < plan.seconds * 1.34


@pytest.mark.parametrize(
    "wrong", [{"gpus": 0}, {"length": 513}, {"utilisation": 1.5}, {"tokens": math.nan}, {"gpus": 10_000}]
)
def test_bad_plans(wrong):
    with pytest.raises(InputError, match="cost: "):
        Plan(BertConfig.preset("base"), **{"tokens": 1e9, **wrong})
