"""Chapter 04, the encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.course.exercises import Wrong, exercise, expect_tensor, run, same
from bertmini.course.replace import same_parameters, samples
from bertmini.model.attention import left_to_right_mask, padding_mask
from bertmini.model.bert import Bert
from bertmini.model.encoder import FeedForward, Layer


@exercise("04.1")
def feed_forward(attempt) -> None:
    """`MyFeedForward(config)`: equal to the package's with the same parameters."""
    for size, rows in ((1, [[[-1.0]]]), (1, [[[1.0]]]), (2, [[[1.0, -2.0], [0.0, 3.0]]])):
        config = BertConfig(hidden_size=size, num_attention_heads=1, intermediate_size=size)
        mine, theirs = _plain(attempt(config)), _plain(FeedForward(config))
        states = torch.tensor(rows)
        given = f"weights that change nothing and hidden_states {rows}"
        answer = run(mine, states)
        if same(answer, states):
            raise Wrong(f"for {given} you gave them back: between the two linear layers stands a gelu")
        if same(answer, F.gelu(states, approximate="tanh")):
            raise Wrong(f"for {given} you gave the tanh form of gelu; the one with erf is expected")
        expect_tensor(answer, theirs(states), given)
    config = BertConfig(hidden_size=2, num_attention_heads=1, intermediate_size=5)
    theirs = FeedForward(config)
    mine = same_parameters("FeedForward", theirs, attempt(config))
    states = torch.randn(1, 2, 2)
    expect_tensor(run(mine, states), theirs(states), "random parameters and hidden_states")


@exercise("04.2")
def layer(attempt) -> None:
    """`MyLayer(config)`: equal to the package's, and it says which part is missing where it can tell."""
    config = BertConfig(hidden_size=3, num_attention_heads=1, intermediate_size=3, hidden_act="relu")
    mine, theirs = _plain(attempt(config)), _plain(Layer(config))
    for rows in ([[[1.0, 0.0, 2.0]]], [[[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]]]):
        states = torch.tensor(rows)
        given = f"weights that change nothing, relu and hidden_states {rows}"
        _compare(mine, theirs, states, None, given)
    config = BertConfig(hidden_size=8, num_attention_heads=2, intermediate_size=16)
    theirs = Layer(config).eval()
    for parameter in theirs.parameters():
        parameter.normal_()  # norms that do something, so that one norm used twice is found
    mine = same_parameters("Layer", theirs, attempt(config)).eval()
    for name, mask in (("no mask", None), ("a left-to-right mask", left_to_right_mask(4))):
        given = f"random parameters and hidden_states, {name}"
        _compare(mine, theirs, torch.randn(2, 4, 8), mask, given)
    _dropout(mine.train(), theirs)


def _dropout(mine: nn.Module, theirs: Any) -> None:
    """With a dropout that drops everything only the residuals and the norms are left."""
    for module in mine.modules():
        if isinstance(module, nn.Dropout):
            module.p = 1.0
    states = torch.randn(1, 2, 8)
    if not same(run(mine, states)[0], theirs.feed_forward_norm(theirs.attention_norm(states))):
        raise Wrong(
            "in training, with a dropout that drops everything, each norm should get the residual alone: "
            "apply self.dropout to what each of the two sublayers gives, before it is added"
        )


def _compare(mine: nn.Module, theirs: Any, states: Tensor, mask: Tensor | None, given: str) -> None:
    answer = run(mine, states, mask, True)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise Wrong(f"forward returns a pair, hidden states and weights; yours gave {type(answer).__name__}")
    if answer[1] is None:
        raise Wrong("the weights are None: pass mask and return_weights on to self.attention")
    expected, weights = theirs(states, mask, True)
    for name, variant in _mistakes(theirs, states, mask).items():
        if same(answer[0], variant) and not same(variant, expected):
            raise Wrong(f"for {given}: {name}")
    expect_tensor(answer[0], expected, f"{given}: as hidden states", tolerance=1e-4)
    expect_tensor(answer[1], weights, f"{given}: as weights")


def _mistakes(layer: Any, x: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """What comes out of a layer with one thing wrong."""
    attention, work = layer.attention, layer.feed_forward
    first, second = layer.attention_norm, layer.feed_forward_norm
    attended = attention(x, mask)[0]
    middle = first(attended + x)
    before = x + attention(first(x), mask)[0]
    return {
        "the residual around the attention is missing": second(work(first(attended)) + first(attended)),
        "the residual around the feed-forward network is missing": second(work(middle)),
        "the second residual starts from the layer's input, not from the first norm's output": second(
            work(middle) + x
        ),
        "the norms stand before the sublayers; BERT's stand after the sums": before + work(second(before)),
        "the feed-forward network is missing": second(middle),
        "one norm is used twice: each sum has its own": first(work(middle) + middle),
    }


SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size", "max_position_embeddings")


@exercise("04.3")
def count_parameters(attempt) -> None:
    """`count_parameters(config)`: all of a `Bert`'s, and the difference by part where it is wrong."""
    tiny = BertConfig(
        vocab_size=5, hidden_size=2, num_attention_heads=1, intermediate_size=3, max_position_embeddings=4
    )
    for config in (
        tiny.replace(num_hidden_layers=0),
        tiny.replace(num_hidden_layers=1),
        tiny.replace(num_hidden_layers=3, vocab_size=7, hidden_size=4, intermediate_size=9),
    ):
        with torch.device("meta"):
            model = Bert(config)
        parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
        answer, expected = run(attempt, config), sum(parts.values())
        if answer != expected:
            held = ", ".join(f"{name} {count}" for name, count in parts.items())
            given = ", ".join(f"{name} {getattr(config, name)}" for name in SIZES)
            raise Wrong(f"for {given} you gave {answer}, expected {expected} ({held})")


def _plain(module: nn.Module) -> nn.Module:
    """Weights that change nothing, so that the reader can follow a counterexample on paper."""
    for name, parameter in module.named_parameters():
        if parameter.dim() == 2:
            parameter.copy_(torch.eye(*parameter.shape))
        else:
            parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return module.eval()


@samples("FeedForward")
def feed_forward_samples() -> list[tuple[tuple, dict]]:
    return [((BertConfig.preset("tiny"),), {}), ((torch.randn(2, 5, 128),), {})]


@samples("Layer")
def layer_samples() -> list[tuple[tuple, dict]]:
    hidden_states = torch.randn(2, 5, 128)
    padding = padding_mask(torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
    return [
        ((BertConfig.preset("tiny"),), {}),
        ((hidden_states,), {"return_weights": True}),
        ((hidden_states, padding), {"return_weights": True}),
    ]
