"""Chapter 03, attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bertmini.config import BertConfig
from bertmini.course.exercises import Wrong, exercise, expect_tensor, run, same
from bertmini.course.replace import same_parameters, samples
from bertmini.model.attention import SelfAttention, left_to_right_mask, padding_mask


@exercise("03.1")
def look(attempt) -> None:
    """`look(query, keys)`: the weights of one query over all keys."""
    cases = [
        ([1.0], [[0.0]]),
        ([1.0], [[1.0], [0.0]]),
        ([1.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]),
        ([1.0, 1.0, 0.0, 2.0], [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]),
    ]
    for query, keys in cases:
        q, k = torch.tensor(query), torch.tensor(keys)
        unscaled, expected = (k @ q).softmax(-1), (k @ q / math.sqrt(q.numel())).softmax(-1)
        answer = run(attempt, q, k)
        given = f"query {query} and keys {keys}"
        if same(answer, unscaled) and not same(unscaled, expected):
            raise Wrong(f"for {given} the scores are not divided by √d: expected {_rounded(expected)}")
        if same(answer, (k @ q / math.sqrt(len(k))).softmax(-1)) and not same(answer, expected):
            roots = f"divide by the root of d, the size of the query ({len(q)}), not of the length ({len(k)})"
            raise Wrong(f"for {given} you gave {_rounded(answer)}, expected {_rounded(expected)}: {roots}")
        if same(answer, k @ q / math.sqrt(q.numel())) and not same(answer, expected):
            raise Wrong(f"for {given} you gave the scores; their softmax is expected: {_rounded(expected)}")
        expect_tensor(answer, expected, given)


@exercise("03.2")
def window_mask(attempt) -> None:
    """`window_mask(length, width)`: each position looks at those at most `width` away."""
    for length, width in ((1, 0), (2, 0), (2, 1), (3, 1), (5, 2)):
        place = torch.arange(length)
        expected = ((place[:, None] - place[None, :]).abs() <= width)[None, None]
        expect_tensor(run(attempt, length, width), expected, f"length {length} and width {width}")


@exercise("03.3")
def self_attention(attempt) -> None:
    """`MySelfAttention(config)`: equal to the package's with the same parameters."""
    two = [[[1.0, 0.0], [0.0, 2.0]]]
    cases = [
        (1, [[[1.0, 2.0]]], None),
        (1, two, None),
        (1, two, torch.tensor([[[[True, False]]]])),
        (1, two, left_to_right_mask(2)),
        (2, two, None),
        (2, two, left_to_right_mask(2)),
        (1, [*two, [[3.0, 0.0], [0.0, 0.0]]], None),
    ]
    for heads, rows, mask in cases:
        config = BertConfig(hidden_size=2, num_attention_heads=heads)
        mine, theirs = _simple(attempt(config)), _simple(SelfAttention(config))
        given = f"{heads} head{'s' * (heads > 1)}, query, key and value that change nothing, output that "
        given += f"doubles, hidden_states {rows}"
        given += f" and mask {mask[0, 0].tolist()}" if mask is not None else ""
        _compare(mine, theirs, torch.tensor(rows), mask, given)
    config = BertConfig(hidden_size=12, num_attention_heads=3)
    theirs = SelfAttention(config).eval()
    mine = same_parameters("SelfAttention", theirs, attempt(config)).eval()
    _compare(mine, theirs, torch.randn(2, 4, 12), None, "3 heads, random parameters and hidden_states")


def _compare(mine: nn.Module, theirs: nn.Module, states: Tensor, mask: Tensor | None, given: str) -> None:
    answer = run(mine, states, mask, True)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise Wrong(f"forward returns a pair, context and weights; yours returned {type(answer).__name__}")
    context, weights = theirs(states, mask, True)
    size = states.size(-1) // theirs.num_heads  # type: ignore[operator]
    for divisor, mistake in ((states.size(-1), "by the root of hidden"), (1, "by no root")):
        mistaken = (weights.log() * math.sqrt(size / divisor)).softmax(-1)
        if same(answer[1], mistaken) and not same(mistaken, weights):
            reason = f"each head divides by the root of its own size, hidden // num_heads = {size}"
            raise Wrong(f"for {given} the scores are divided {mistake}: {reason}")
    expect_tensor(answer[1], weights, f"{given}: as weights,")
    expect_tensor(answer[0], context, f"{given}: as context,")


def _simple(module: nn.Module) -> nn.Module:
    """Projections with which the reader can follow a counterexample on paper."""
    for name, factor in (("query", 1.0), ("key", 1.0), ("value", 1.0), ("output", 2.0)):
        projection = getattr(module, name)
        projection.weight.copy_(factor * torch.eye(2))
        projection.bias.zero_()
    return module.eval()


def _rounded(tensor: Tensor) -> list[float]:
    return [round(number, 4) for number in tensor.tolist()]


@samples("attend")
def attend_samples() -> list[tuple[tuple, dict]]:
    q, k, v = torch.randn(3, 2, 2, 5, 4)
    padding = padding_mask(torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
    return [
        ((q, k, v), {"return_weights": True}),
        ((q, k, v, padding), {"return_weights": True}),
        ((q, k, v, left_to_right_mask(5)), {"return_weights": True}),
    ]


@samples("SelfAttention")
def self_attention_samples() -> list[tuple[tuple, dict]]:
    config = BertConfig.preset("tiny", hidden_size=32, num_attention_heads=4)
    hidden_states = torch.randn(2, 5, 32)
    padding = padding_mask(torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
    return [
        ((config,), {}),
        ((hidden_states,), {"return_weights": True}),
        ((hidden_states, padding), {"return_weights": True}),
        ((hidden_states, left_to_right_mask(5)), {"return_weights": True}),
    ]
