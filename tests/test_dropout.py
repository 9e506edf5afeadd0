"""Dropout: as many as asked for, at random, and the mean stays."""

import pytest
import torch
from torch import nn

from bertmini.model.attention import attend
from bertmini.model.dropout import Dropout, drop


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_share_and_scale(p, dtype):
    torch.manual_seed(0)
    dropped = drop(torch.ones(1003, 997, dtype=dtype), p)
    kept = dropped[dropped != 0]
    assert dropped.dtype == dtype
    assert len(kept.unique()) == 1
    assert kept[0].item() == pytest.approx(1 / (1 - p), rel=0.01 if dtype == torch.bfloat16 else 1e-4)
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.002)


def test_coins_are_independent():
    torch.manual_seed(1)
    coins = (drop(torch.ones(400, 1000), 0.5) != 0).double()
    # Neighbours come from the same 64 bits, every fifth from the next ones.
    for shift in (1, 2, 3, 4, 5):
        assert (coins[:, shift:] == coins[:, :-shift]).double().mean().item() == pytest.approx(0.5, abs=0.005)
    assert coins.mean(0).std().item() == pytest.approx((0.25 / 400) ** 0.5, rel=0.1)


def test_the_seed_decides_and_the_gradient_passes_where_the_number_did():
    x = torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(2)
    first = drop(x, 0.3)
    torch.manual_seed(2)
    second = drop(x, 0.3)
    assert torch.equal(first, second)
    first.sum().backward()
    assert torch.allclose(x.grad * x, first)
    assert not torch.equal(drop(x, 0.3), first)


def test_none_and_all():
    x = torch.randn(3, 5)
    assert torch.equal(drop(x, 0.0), x)
    assert torch.equal(drop(x, 1.0), torch.zeros(3, 5))
    assert torch.equal(drop(torch.ones(0, 4), 0.5), torch.ones(0, 4))


def test_module_drops_in_training_only():
    module, x = Dropout(0.5), torch.ones(100)
    assert isinstance(module, nn.Dropout)
    assert 0 in module(x)
    assert torch.equal(module.eval()(x), x)


def test_attention_drops_weights():
    torch.manual_seed(3)
    q, k = torch.randn(2, 2, 3, 6, 4)
    v = torch.eye(6, 4).expand(2, 3, 6, 4)
    mask = (torch.arange(6) < 4)[None, :]  # their values are unit vectors: the context is the weights
    context, weights = attend(q, k, v, mask, dropout=0.5)
    whole, _ = attend(q, k, v, mask)
    assert weights is None
    kept = context != 0
    assert torch.allclose(context[kept], 2 * whole[kept], atol=1e-6)
    assert 0.3 < kept.double().mean() < 0.7
