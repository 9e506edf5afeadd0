"""Chapter 06, pretraining."""

from __future__ import annotations

import math

import torch
from torch import nn

from bertmini.config import BertConfig
from bertmini.course.exercises import Wrong, exercise, expect_tensor, run
from bertmini.course.replace import same_parameters, samples
from bertmini.model.heads import IGNORED, MaskedLMHead
from bertmini.model.heads import mean_cross_entropy as package_loss
from bertmini.training import linear_schedule as package_schedule


@exercise("06.1")
def schedule(attempt) -> None:
    """`cosine_schedule(step, steps, warmup)`: a linear rise, then a fall along half a cosine."""
    cases = [
        (0, 1, 0),
        (0, 2, 0),
        (1, 2, 0),
        (0, 2, 1),
        (0, 4, 2),
        (1, 4, 2),
        (2, 4, 2),
        (3, 4, 2),
        (7, 10, 4),
    ]
    for step, steps, warmup in cases:
        linear = package_schedule(step, steps, warmup)
        share = (step - warmup) / (steps - warmup)
        expected = linear if step < warmup else 0.5 * (1 + math.cos(math.pi * share))
        answer = run(attempt, step, steps, warmup)
        given = f"step {step} of {steps} with a warm-up of {warmup}"
        if not isinstance(answer, (int, float)):
            raise Wrong(f"for {given} your answer is {type(answer).__name__}, a number was expected")
        if answer == 0:
            raise Wrong(f"for {given} you gave 0, and the batch changes nothing; expected {expected:g}")
        if abs(answer - linear) < 1e-6 < abs(linear - expected):
            raise Wrong(
                f"for {given} you gave {answer:.4g}: that is the line; on the cosine it is {expected:.4g}"
            )
        if not abs(answer - expected) <= 1e-6:  # nan is far from everything
            raise Wrong(f"for {given} you gave {answer:.4g}, expected {expected:.4g}")


@exercise("06.2")
def mean_cross_entropy(attempt) -> None:
    """`my_mean_cross_entropy(logits, labels)`: mean cross-entropy over the labelled positions."""
    cases = [
        ([[0.0, 0.0]], [1]),
        ([[2.0, 0.0]], [0]),
        ([[2.0, 0.0], [0.0, 0.0]], [0, 1]),
        ([[2.0, 0.0], [0.0, 5.0]], [0, IGNORED]),
        ([[2.0, 0.0], [0.0, 5.0]], [IGNORED, IGNORED]),
        ([[200.0, 0.0]], [1]),
    ]
    for rows, targets in cases:
        logits, labels = torch.tensor(rows), torch.tensor(targets)
        expected, answer = package_loss(logits, labels), run(attempt, logits, labels)
        given = f"logits {rows} and labels {targets}"
        if isinstance(answer, torch.Tensor) and answer.dim() == 0:
            rest, some = answer - expected, (labels != IGNORED).sum()
            if not answer.isfinite():
                why = "there is nothing to predict" if some == 0 else "exp of a large score overflows"
                raise Wrong(f"for {given} you gave {answer.item()}: {why}; expected {expected.item():.4f}")
            if some and rest.abs() > 1e-4 and (answer * len(labels) / some - expected).abs() < 1e-4:
                raise Wrong(f"for {given} you divided by {len(labels)} positions, but {some} has a label")
        expect_tensor(answer, expected, given, tolerance=1e-4)


@exercise("06.3")
def masked_lm_head(attempt) -> None:
    """`MyMaskedLMHead(config)`: equal to the package's with the same parameters."""
    small = BertConfig(hidden_size=2, num_attention_heads=1, vocab_size=3)
    mine, theirs = run(attempt, small), MaskedLMHead(small)
    words = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    states = torch.tensor([[1.0, 2.0]])
    run(mine, states, words)
    theirs.transform.weight.copy_(torch.eye(2))
    theirs.transform.bias.zero_()
    same_parameters("MaskedLMHead", theirs, mine)
    given = "hidden state [1, 2], a transform that changes nothing, embeddings [1, 0], [0, 1], [1, 1]"
    expect_tensor(run(mine, states, words), theirs(states, words), f"{given} and no bias")
    theirs.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
    same_parameters("MaskedLMHead", theirs, mine)
    expect_tensor(run(mine, states, words), theirs(states, words), f"{given} and bias [0, 5, 0]")
    config = BertConfig(hidden_size=8, num_attention_heads=1, vocab_size=11)
    theirs = MaskedLMHead(config)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    mine = same_parameters("MaskedLMHead", theirs, attempt(config))
    states, words = torch.randn(2, 3, 8), torch.randn(11, 8)
    expect_tensor(run(mine, states, words), theirs(states, words), "random parameters, states [2, 3, 8]")


@samples("MaskedLMHead")
def masked_lm_head_samples() -> list[tuple[tuple, dict]]:
    config = BertConfig(hidden_size=32, num_attention_heads=1, vocab_size=50)
    words = torch.randn(50, 32)
    return [((config,), {}), ((torch.randn(5, 32), words), {}), ((torch.randn(2, 5, 32), words), {})]


@samples("mean_cross_entropy")
def mean_cross_entropy_samples() -> list[tuple[tuple, dict]]:
    logits = torch.randn(4, 7)
    return [
        ((logits, torch.tensor([2, IGNORED, 0, 6])), {}),
        ((logits, torch.full((4,), IGNORED)), {}),
        ((logits[:0], torch.tensor([], dtype=torch.long)), {}),
    ]
