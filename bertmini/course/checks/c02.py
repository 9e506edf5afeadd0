"""Chapter 02, embeddings."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.course.exercises import Wrong, exercise, expect_tensor, run, same
from bertmini.course.replace import same_parameters, samples
from bertmini.model.embeddings import Embeddings


@exercise("02.1")
def sinusoids(attempt) -> None:
    """`sinusoids(length, size)`: sine in the even columns, cosine in the odd ones."""
    for length, size in ((1, 2), (2, 2), (2, 4), (5, 8)):
        place = torch.arange(length)[:, None]
        angle = place / 10000 ** (torch.arange(0, size, 2) / size)  # [length, size / 2]
        expected = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
        given = f"length {length} and size {size}"
        answer = run(attempt, length, size)
        if same(answer, torch.cat([angle.sin(), angle.cos()], dim=-1)) and not same(answer, expected):
            raise Wrong(
                f"for {given} all sines stand before all cosines; they take turns: {_rounded(expected)}"
            )
        expect_tensor(answer, expected, given)


@exercise("02.2")
def layer_norm(attempt) -> None:
    """`layer_norm(x, weight, bias, eps)`: over the last dimension, with the variance divided by its size."""
    one, none = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
    cases = [
        ([[1.0, 2.0, 3.0]], one, none, 0.0),
        ([[1.0, 2.0, 3.0]], one, none, 1.0),
        ([[1.0, 2.0, 3.0]], [1.0, 2.0, 3.0], [0.0, 1.0, 0.0], 0.0),
        ([[1.0, 2.0, 3.0], [0.0, 4.0, 2.0]], one, none, 0.0),
        ([[[1.0, 2.0, 3.0]], [[5.0, 0.0, 1.0]]], one, none, 0.0),
    ]
    for rows, weight, bias, eps in cases:
        x, w, b = torch.tensor(rows), torch.tensor(weight), torch.tensor(bias)
        expected = F.layer_norm(x, (3,), w, b, eps)
        given = f"x {rows}, weight {weight}, bias {bias} and eps {eps}"
        answer = run(attempt, x, w, b, eps)
        for name, variant in _mistakes(x, w, b, eps).items():
            if same(answer, variant) and not same(variant, expected):
                raise Wrong(f"for {given} {name}: expected {_rounded(expected)}")
        expect_tensor(answer, expected, given)


def _mistakes(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> dict[str, Tensor]:
    """What comes out of a LayerNorm with one thing wrong."""
    deviation = x - x.mean(-1, keepdim=True)
    variance = (deviation**2).mean(-1, keepdim=True)
    return {
        "the variance is divided by one less than the number of features (correction=0 helps)": deviation
        / (deviation.var(-1, keepdim=True) + eps).sqrt()
        * weight
        + bias,
        "eps is added to the root; it belongs to the variance": deviation / (variance.sqrt() + eps) * weight
        + bias,
        "you divided by the variance; its root is wanted": deviation / (variance + eps) * weight + bias,
        "weight and bias are missing": deviation / (variance + eps).sqrt(),
        "you took mean and variance over the whole tensor, not over each position's features": (x - x.mean())
        / (x.var(correction=0) + eps).sqrt()
        * weight
        + bias,
    }


@exercise("02.3")
def embeddings(attempt) -> None:
    """`MyEmbeddings(config)`: equal to the package's with the same tables."""
    config = BertConfig(
        vocab_size=4, hidden_size=3, num_attention_heads=1, max_position_embeddings=3, layer_norm_eps=0.0
    )
    mine: Any = attempt(config)
    theirs: Any = Embeddings(config).eval()
    rows = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 1.0, 3.0]])
    theirs.word.weight.copy_(rows)
    theirs.position.weight.copy_(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [3.0, 0.0, 0.0]]))
    theirs.token_type.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    mine = same_parameters("Embeddings", theirs, mine).eval()
    for ids, segments in (([[1]], [[0]]), ([[2]], [[1]]), ([[1, 2]], [[0, 0]]), ([[1, 2, 3]], [[0, 0, 1]])):
        places = [list(range(len(ids[0])))]
        inputs = [torch.tensor(numbers) for numbers in (ids, segments, places)]
        given = f"the tables of the chapter, ids {ids}, segments {segments} and positions {places}"
        answer, expected = run(mine, *inputs), theirs(*inputs)
        word, segment = theirs.word(inputs[0]), theirs.token_type(inputs[1])
        place = theirs.position(inputs[2])
        for name, variant in (
            ("the LayerNorm is missing", word + segment + place),
            ("the positions are missing", theirs.norm(word + segment)),
            ("the segments are missing", theirs.norm(word + place)),
        ):
            if same(answer, variant) and not same(variant, expected):
                raise Wrong(f"for {given} {name}")
        expect_tensor(answer, expected, given)
    _dropout(mine)


def _dropout(mine: nn.Module) -> None:
    ids = torch.ones(200, 3, dtype=torch.long)
    inputs = ids, torch.zeros_like(ids), torch.arange(3)[None]
    kept, dropped = mine.eval()(*inputs), run(mine.train(), *inputs)
    if torch.equal(kept, dropped):
        raise Wrong("in training mode 200 equal texts got equal vectors: the dropout is missing")
    if not (dropped[kept != 0] == 0).any():
        raise Wrong("in training mode no number is 0: dropout comes last, after the LayerNorm")


def _rounded(tensor: Tensor) -> list:
    return tensor.double().round(decimals=4).tolist()


@samples("Embeddings")
def embeddings_samples() -> list[tuple[tuple, dict]]:
    config = BertConfig.preset("tiny", vocab_size=50)
    ids = torch.tensor([[2, 17, 30, 3, 9, 3], [2, 41, 3, 0, 0, 0]])
    segments = torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]])
    return [((config,), {}), ((ids, segments, torch.arange(6)[None]), {})]
