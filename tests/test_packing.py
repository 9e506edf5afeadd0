"""Packing and activation checkpointing: less work or memory, the same numbers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bertmini.config import BertConfig
from bertmini.data.packing import pack
from bertmini.errors import InputError
from bertmini.model.attention import Packing, attend, attend_jagged, packing_mask
from bertmini.model.bert import Bert, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification
from bertmini.model.encoder import Encoder

MODELS = [Bert, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification]
BOUNDS = {torch.float32: 3e-6, torch.float64: 1e-12}  # relative to the largest number
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def small_config(**changes: Any) -> BertConfig:
    shape = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    return BertConfig(**{**shape, "intermediate_size": 64, "max_position_embeddings": 40, **changes})


def batch_for(kind: type, lengths: list[int]) -> dict[str, Tensor]:
    """A padded batch with the labels of a model, of which there is at least one."""
    rows, longest = len(lengths), max(lengths)
    real = torch.arange(longest) < torch.tensor(lengths)[:, None]
    ids = torch.randint(1, 99, (rows, longest)) * real
    batch = {"input_ids": ids, "attention_mask": real.long(), "token_type_ids": ids % 2}
    if kind in (BertForMaskedLM, BertForPreTraining):
        batch["labels"] = ids.masked_fill(~real | (torch.rand(ids.shape) < 0.7), -100)
        batch["labels"][0, 0] = ids[0, 0]
    if kind is BertForPreTraining:
        batch["next_sentence_label"] = torch.randint(0, 2, (rows,))
    if kind is BertForSequenceClassification:
        batch["labels"] = torch.randint(0, 2, (rows,))
    return batch


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= BOUNDS[expected.dtype] * expected.abs().max().clamp(min=1e-3)


def offsets(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", BOUNDS)
@settings(max_examples=8, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 10**6))
def test_a_packed_batch_gives_what_the_padded_one_gives(kind, dtype, lengths, seed) -> None:
    torch.manual_seed(seed)
    model = kind(small_config()).to(dtype).eval()
    batch = batch_for(kind, lengths)
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        expected, found = model(**batch), model(**pack(batch))
    assert_near(found.last_hidden_state[0], expected.last_hidden_state[real])
    if expected.prediction_logits is not None:
        assert_near(found.prediction_logits[0], expected.prediction_logits[real])
    for name in ("pooler_output", "seq_relationship_logits", "logits"):
        if getattr(expected, name) is not None:
            assert_near(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("kind", MODELS[1:])
@pytest.mark.parametrize("dtype", BOUNDS)
@settings(max_examples=8, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 10**6))
def test_losses_and_gradients_of_training_are_those_of_the_padded_batch(kind, dtype, lengths, seed) -> None:
    torch.manual_seed(seed)
    config = small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    padded = kind(config).to(dtype).train()
    packed = copy.deepcopy(padded)
    batch = batch_for(kind, lengths)
    expected, found = padded(**batch), packed(**pack(batch))
    assert expected.losses.keys() == found.losses.keys()
    for name, loss in expected.losses.items():
        assert_near(found.losses[name], loss)
    expected.loss.backward()
    found.loss.backward()
    largest = max(p.grad.abs().max() for p in padded.parameters() if p.grad is not None)
    for one, other in zip(padded.parameters(), packed.parameters(), strict=True):
        if one.grad is not None:
            assert (one.grad - other.grad).abs().max() <= BOUNDS[dtype] * largest


@settings(max_examples=10, deadline=None)
@given(lengths=LENGTHS)
def test_a_packed_batch_has_every_real_token_once_and_no_other(lengths) -> None:
    batch = batch_for(BertForPreTraining, lengths)
    packed = pack(batch)
    assert "attention_mask" not in packed
    assert packed["input_ids"].shape == packed["labels"].shape == (1, sum(lengths))
    assert torch.equal(packed["next_sentence_label"], batch["next_sentence_label"])
    rows = packed["input_ids"][0].split(lengths)
    assert all(
        torch.equal(row, whole[: len(row)]) for row, whole in zip(rows, batch["input_ids"], strict=True)
    )
    assert packed["cu_seqlens"].tolist() == offsets(lengths).tolist()


def test_a_batch_without_a_mask_has_no_padding() -> None:
    packed = pack({"input_ids": torch.arange(1, 7).view(2, 3)})
    assert packed["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6]]
    assert packed["cu_seqlens"].tolist() == [0, 3, 6]


def test_a_batch_that_speaks_of_places_or_has_a_further_dimension_stays_as_it_is() -> None:
    ids, mask = torch.arange(1, 7).view(2, 3), torch.tensor([[1, 1, 0], [1, 1, 1]])
    answers = {"input_ids": ids, "attention_mask": mask, "start_positions": torch.tensor([0, 2])}
    written = {"input_ids": ids, "attention_mask": mask[:, None].expand(2, 3, 3)}
    options = {"input_ids": ids[:, None], "attention_mask": mask[:, None]}
    for batch in (answers, written, options):
        assert pack(batch) is batch


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype stage")
@pytest.mark.parametrize("dtype", BOUNDS)
@settings(max_examples=10, deadline=None)
@given(lengths=LENGTHS)
def test_every_form_of_packed_attention_is_attention_under_the_packing_mask(dtype, lengths) -> None:
    torch.manual_seed(0)
    packing = Packing(offsets(lengths), max(lengths))
    # As SelfAttention makes them: heads split from one row, so that nothing is contiguous.
    q, k, v = (
        torch.randn(1, sum(lengths), 2, 8, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)
    )
    gradient = torch.randn(1, 2, sum(lengths), 8, dtype=dtype)
    expected, weights = attend(q, k, v, packing_mask(packing.cu_seqlens), return_weights=True)
    gradients = torch.autograd.grad(expected, (q, k, v), gradient)
    with_weights, found_weights = attend(q, k, v, packing, return_weights=True)
    assert torch.equal(with_weights, expected)
    assert torch.equal(found_weights, weights)
    for found in (attend(q, k, v, packing)[0], attend_jagged(q, k, v, packing)):
        assert_near(found, expected)
        for one, other in zip(torch.autograd.grad(found, (q, k, v), gradient), gradients, strict=True):
            assert_near(one, other)


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype stage")
@pytest.mark.parametrize("form", [lambda *inputs: attend(*inputs)[0], attend_jagged])
def test_packed_attention_drops_weights(form) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 40, 3, 8).transpose(2, 3)
    v = torch.ones(1, 40, 3, 8).transpose(1, 2)  # the context is the sum of the weights that are left
    packing = Packing(torch.tensor([0, 25, 40]), 25)
    sums = form(q, k, v, packing, 0.5)[..., 0]
    assert sums.std() > 0.05
    assert sums.mean() == pytest.approx(1.0, abs=0.1)
    assert torch.allclose(form(q, k, v, packing, 0.0), v)


def test_the_position_table_bounds_a_sequence_and_not_the_row() -> None:
    model = Bert(small_config()).eval()
    ids = torch.ones(1, 60, dtype=torch.long)
    assert model(ids, cu_seqlens=torch.tensor([0, 20, 60])).last_hidden_state.shape == (1, 60, 32)
    with pytest.raises(InputError, match="41 tokens, but the position table has 40 rows"):
        model(ids, cu_seqlens=torch.tensor([0, 19, 60]))


def gradients_of(model: torch.nn.Module, batch: dict[str, Tensor], precision: torch.dtype) -> list[Tensor]:
    torch.manual_seed(5)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        loss = model(**batch).loss
    loss.backward()
    return [p.grad.clone() for p in model.parameters()] + [loss.detach(), torch.rand(1)]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", [pack, dict])
def test_checkpointing_changes_no_bit_of_loss_gradient_or_chance(precision, form) -> None:
    torch.manual_seed(0)
    model = BertForPreTraining(small_config(num_hidden_layers=3)).train()
    batch = form(batch_for(BertForPreTraining, [12, 7, 30, 1]))
    expected = gradients_of(model, batch, precision)
    model.bert.encoder.checkpointing = True
    assert all(map(torch.equal, gradients_of(model, batch, precision), expected))
    model.bert.encoder.checkpointing = False
    torch.manual_seed(6)
    assert not torch.equal(model(**batch).loss, expected[-2])  # dropout was at work


def kept_bytes(encoder: Encoder, states: Tensor) -> int:
    """The memory that the forward pass keeps for the backward pass, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address comes again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = encoder(states, return_states=False)[0][-1]
    assert output.requires_grad
    return sum(size for size, _ in kept.values())


def test_checkpointing_keeps_the_inputs_of_layers_alone() -> None:
    encoder = Encoder(small_config(num_hidden_layers=4)).train()
    states = torch.randn(4, 40, 32, requires_grad=True)
    whole = kept_bytes(encoder, states)
    encoder.checkpointing = True
    inputs = 4 * states.numel() * 4  # layers, numbers, bytes
    assert inputs <= kept_bytes(encoder, states) < 1.1 * inputs < 0.1 * whole


def test_the_encoder_returns_all_states_or_the_last() -> None:
    encoder = Encoder(small_config()).eval()
    states = torch.randn(2, 5, 32)
    every, _ = encoder(states)
    last, _ = encoder(states, return_states=False)
    assert len(every) == 3
    assert len(last) == 1
    assert torch.equal(every[-1], last[0])
