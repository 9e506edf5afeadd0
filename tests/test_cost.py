"""The cost model against what is counted: parameters, operations, bytes kept and bytes moved."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bertmini import BertConfig, BertForMaskedLM, BertForPreTraining
from bertmini.cli import main
from bertmini.cost import (
    PROCESSORS,
    Plan,
    Processor,
    activation_bytes,
    describe,
    flops,
    measured,
    moved_bytes,
    parameters,
    state_bytes,
)
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


ALBERT = {"model_type": "albert", "embedding_size": 16, "num_hidden_groups": 1}


@pytest.mark.parametrize("fields", [{}, ALBERT])
def test_operations_are_those_that_torch_counts(fields):
    config = SMALL.replace(**fields)
    model, batch = BertForPreTraining(config).train(), training_batch()
    with FlopCounterMode(display=False) as counter:
        output = model(**batch)
        forward = counter.get_total_flops()
        sum(output.losses.values()).backward()
    told = ROWS * LENGTH * sum(flops(config, LENGTH, masked=TARGETS / LENGTH).values())
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


class BytesMoved(TorchDispatchMode):
    """Counts what all operations but matrix products read and write."""

    NOTHING = ("view", "t", "transpose", "expand", "detach", "_unsafe_view", "unsqueeze", "slice", "select",
               "alias", "as_strided", "split", "split_with_sizes", "squeeze", "permute", "unbind", "empty",
               "empty_strided", "empty_like", "new_empty", "mm", "addmm", "bmm")  # fmt: skip

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **(kwargs or {}))
        if operation.__name__.split(".")[0] not in self.NOTHING:
            tensors = [x for x in tree_leaves((args, kwargs, results)) if isinstance(x, torch.Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return results


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("hidden", "inner", "heads"), [(128, 512, 2), (256, 1024, 4)])
def test_bytes_moved_are_those_that_operations_read_and_write(precision, hidden, inner, heads):
    config = SMALL.replace(
        vocab_size=2000, hidden_size=hidden, intermediate_size=inner, num_attention_heads=heads
    )
    model, rows, length = BertForPreTraining(config).train(), 16, 64
    input_ids = torch.randint(5, 2000, (rows, length))
    labels = input_ids.masked_fill(torch.arange(length) >= round(0.15 * length), -100)
    with BytesMoved() as counter:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = model(input_ids, labels=labels, next_sentence_label=torch.zeros(rows, dtype=torch.long))
        output.loss.backward()
    told = moved_bytes(config, rows * length, length, precision, fused=False)
    assert told == pytest.approx(counter.bytes, rel=0.2)


def test_rates_measured_here_make_a_plan():
    config = BertConfig.preset("tiny", vocab_size=1000)
    here = measured(config, tokens=256, length=64, precision="float32")
    assert 0 < here.products < 3 * here.peak  # small matrices may fit the caches better
    assert min(here.bandwidth, here.update) > 0
    assert not here.fused
    plan = Plan(config, 1e6, here, batch_tokens=256, micro_tokens=256, length=64, precision="float32")
    parts = plan.product_seconds, plan.moving_seconds, plan.update_seconds
    assert min(parts) > 0
    assert plan.step_seconds == pytest.approx(sum(parts))
    assert any(line.startswith("time") for line in describe(plan))


def test_measuring_leaves_the_random_numbers_alone():
    config = BertConfig.preset("tiny", vocab_size=1000)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    measured(config, tokens=128, length=64, precision="float32")
    assert torch.equal(torch.rand(3), expected)


def test_operations_are_those_of_the_literature():
    plan = Plan(BertConfig.preset("base"), tokens=1e11)
    # Kaplan et al. 2020: six operations a parameter and token, the embedding tables apart.
    inner = sum(parameters(plan.config).values()) - parameters(plan.config)["embeddings"]
    assert plan.flops_per_token == pytest.approx(6 * inner, rel=0.15)


@pytest.fixture
def base():
    return BertConfig.preset("base")


def test_a_plan_is_between_once_and_three_times_as_fast_as_a_published_run(base):
    # Portes et al. 2023: BERT base of transformers, 70,000 steps of 4096 x 128 in 11.5 hours on 8 A100.
    # A plan knows no padding, no waiting for data and no slow code, and so is too fast, but not by much.
    plan = Plan(base, 70_000 * 4096 * 128, PROCESSORS["a100"], batch_tokens=4096 * 128, gpus=8)
    assert 1 < 11.5 * 3600 / plan.seconds < 3


def test_eight_gpus_are_less_than_eight_times_as_fast(base):
    one, eight = (Plan(base, tokens=1e11, gpus=gpus) for gpus in (1, 8))
    assert one.communication_seconds == 0
    assert one.seconds / 8 < eight.seconds < one.seconds / 4


def test_messages_are_hidden_behind_the_last_backward_pass_only(base):
    slow = Processor(peak=312e12, products=200e12, bandwidth=1e12, update=0, link=1e8)
    plan = Plan(base, 1e11, slow, gpus=8)
    computed = plan.product_seconds + plan.moving_seconds
    assert plan.step_seconds == pytest.approx(plan.communication_seconds + computed / 3)
    accumulating = Plan(base, 1e11, slow, gpus=8, micro_tokens=8192)
    assert accumulating.passes == 2
    assert accumulating.step_seconds > plan.step_seconds


def test_a_ring_over_machines_is_as_fast_as_the_network(base):
    near, far = (Plan(base, 1e11, batch_tokens=2**20, gpus=gpus) for gpus in (8, 16))
    ratio = PROCESSORS["a100"].link / PROCESSORS["a100"].network * (15 / 16) / (7 / 8)
    assert far.communication_seconds / near.communication_seconds == pytest.approx(ratio)


def test_sharding_divides_the_state_and_sends_half_as_much_again(base):
    whole, sharded = (Plan(base, 1e11, gpus=8, sharded=sharded) for sharded in (False, True))
    for part in state_bytes(base):
        assert sharded.memory[part] == whole.memory[part] / 8
    assert whole.passes == 1
    assert sharded.communication_seconds == pytest.approx(1.5 * whole.communication_seconds)


def test_checkpointing_takes_less_memory_and_more_time(base):
    plan, saving = (Plan(base, 1e11, checkpointing=saving) for saving in (False, True))
    assert saving.memory["activations"] < plan.memory["activations"] / 3
    assert 1.25 < saving.product_seconds / plan.product_seconds < 1.34
    assert saving.flops_per_token == plan.flops_per_token  # what training needs, not what it does again


def test_the_command_plans_with_this_machine_or_a_data_sheet(capsys):
    sizes = ["--preset", "tiny", "--vocab-size", "1000", "--micro-tokens", "256", "--batch-tokens", "256"]
    for more in (["--processor", "here", "--precision", "float32"], ["--processor", "h100", "--sharded"]):
        assert main(["cost", *sizes, *more]) == 0
        told = capsys.readouterr().out
        assert "products" in told
        assert "GPU hours" in told
    assert main(["cost", "--precision", "float32"]) == 2
    assert "16-bit" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [{"gpus": 0}, {"length": 513}, {"precision": "int8"}, {"tokens": math.nan}, {"gpus": 10_000}]
)
def test_bad_plans(base, wrong):
    with pytest.raises(InputError, match="cost: "):
        Plan(base, **{"tokens": 1e9, **wrong})


def test_another_familys_plan_is_refused():
    with pytest.raises(InputError, match="counts the parts of a BERT"):
        Plan(BertConfig.preset("base", "albert"), 1e9)
