"""Chapter 18, distillation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bertmini.compress.distill import soft_target_loss
from bertmini.compress.imitate import patient_loss
from bertmini.course.exercises import Wrong, exercise, expect_tensor, run, same
from bertmini.course.replace import samples


@exercise("18.1")
def soften(attempt: Callable[..., Any]) -> None:
    """`soften(logits, temperature)`: the distribution at a temperature."""
    cases = [
        ([[1.0, 0.0]], 1.0),
        ([[2.0, 0.0]], 2.0),
        ([[2.0, 0.0], [0.0, 0.0]], 2.0),
        ([[1.0, 0.0]], 0.5),
        ([[4.0, 2.0, 0.0], [0.0, 1.0, 0.0]], 4.0),
    ]
    for rows, temperature in cases:
        logits = torch.tensor(rows)
        expected = (logits / temperature).softmax(dim=-1)
        answer = run(attempt, logits, temperature)
        given = f"logits {rows} and temperature {temperature:g}"
        wrong = {
            "you multiplied by the temperature": (logits * temperature).softmax(dim=-1),
            "the temperature is missing": logits.softmax(dim=-1),
            "the probabilities were divided, and no longer sum to 1": logits.softmax(dim=-1) / temperature,
            "each column sums to 1, and it should be each row": (logits / temperature).softmax(dim=0),
        }
        explain(answer, expected, wrong, given)
        expect_tensor(answer, expected, given)


@exercise("18.2")
def my_soft_target_loss(attempt: Callable[..., Any]) -> None:
    """`my_soft_target_loss(student_logits, teacher_logits, temperature)`: T² times the mean divergence."""
    cases = [
        ([[1.0, 0.0]], [[1.0, 0.0]], 1.0),
        ([[0.0, 0.0]], [[1.0, 0.0]], 1.0),
        ([[0.0, 0.0]], [[2.0, 0.0]], 2.0),
        ([[0.0, 0.0], [0.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]], 2.0),
        ([[2.0, 0.0, 0.0]], [[4.0, 2.0, 0.0]], 2.0),
    ]
    for student_rows, teacher_rows, temperature in cases:
        student, teacher = torch.tensor(student_rows), torch.tensor(teacher_rows)
        expected = soft_target_loss(student, teacher, temperature)
        answer = run(attempt, student, teacher, temperature)
        if isinstance(answer, (int, float)):
            answer = torch.tensor(float(answer))
        given = f"student {student_rows}, teacher {teacher_rows} and temperature {temperature:g}"
        s = F.log_softmax(student / temperature, dim=-1)
        t = F.softmax(teacher / temperature, dim=-1)
        cross_entropy = -(temperature**2) * (t * s).sum(dim=-1).mean()
        wrong = {
            "the factor T² is missing": expected / temperature**2,
            "the factor is T², not T": expected / temperature,
            "student and teacher have changed places": soft_target_loss(teacher, student, temperature),
            "that is the cross-entropy: subtract the teacher's own": cross_entropy,
            "that is the sum over examples; take the mean": expected * len(student),
            "that is the mean over all numbers; sum over the classes": expected / student.size(-1),
            "the temperature is only in the factor": temperature**2 * soft_target_loss(student, teacher, 1.0),
        }
        explain(answer, expected, wrong, given)
        expect_tensor(answer, expected, given)


@exercise("18.3")
def choose_layers(attempt: Callable[..., Any]) -> None:
    """`choose_layers(depth, count)`: so many layers, spread evenly from the first to the last."""
    for depth, count in ((2, 2), (4, 2), (1, 1), (4, 1), (5, 3), (4, 4), (12, 2), (12, 4), (12, 6), (24, 12)):
        expected = [round(i * (depth - 1) / max(count - 1, 1)) for i in range(count)]
        answer = run(attempt, depth, count)
        try:
            layers = [int(layer) for layer in answer]
        except (TypeError, ValueError):
            raise Wrong(f"choose_layers returns a list of whole numbers; yours returned {answer!r}") from None
        if layers != expected:
            given = f"{count} of {depth} layers"
            why = ""
            if len(layers) != count:
                why = f": {len(layers)} instead of {count}"
            elif count > 1 and layers[-1] != depth - 1:
                why = f": the last layer, {depth - 1}, is not the last one"
            raise Wrong(f"for {given} you gave {layers}, expected {expected}{why}")


@exercise("18.4")
def my_patient_loss(attempt: Callable[..., Any]) -> None:
    """`my_patient_loss(student_states, teacher_states)`: the distance of directions, the mean over tokens."""
    cases = [
        ([[3.0, 4.0]], [[3.0, 4.0]]),
        ([[1.0, 0.0]], [[0.0, 1.0]]),
        ([[3.0, 4.0]], [[4.0, 3.0]]),
        ([[1.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [3.0, 0.0]]),
        ([[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[2.0, 1.0, 2.0], [0.0, 1.0, -1.0]]),
    ]
    for student_rows, teacher_rows in cases:
        student, teacher = torch.tensor(student_rows), torch.tensor(teacher_rows)
        expected = patient_loss(student, teacher)
        answer = run(attempt, student, teacher)
        if isinstance(answer, (int, float)):
            answer = torch.tensor(float(answer))
        given = f"student {student_rows} and teacher {teacher_rows}"
        s, t = F.normalize(student, dim=-1), F.normalize(teacher, dim=-1)
        wrong = {
            "that is the cosine loss, half of this one": expected / 2,
            "the states are not brought to the length 1": (student - teacher).square().sum(dim=-1).mean(),
            "that is the length of the difference; square it": (s - t).norm(dim=-1).mean(),
            "that is the mean over all numbers; sum over the features": (s - t).square().mean(),
            "that is the sum over tokens; take the mean": expected * len(student),
            "that is a number for each token; take the mean": (s - t).square().sum(dim=-1),
            "the length is that of a column, and it should be that of a row": (
                (F.normalize(student, dim=0) - F.normalize(teacher, dim=0)).square().sum(dim=-1).mean()
            ),
        }
        explain(answer, expected, wrong, given)
        expect_tensor(answer, expected, given)


def explain(answer: Any, expected: Tensor, wrong: dict[str, Tensor], given: str) -> None:
    """Name a common slip where the answer is what it gives."""
    if not isinstance(answer, Tensor) or same(answer, expected):
        return
    for words, value in wrong.items():
        if same(answer, value) and not same(value, expected):
            raise Wrong(f"for {given} {words}: you gave {short(answer)}, expected {short(expected)}")


def short(tensor: Tensor) -> str:
    return str(tensor.double().round(decimals=4).tolist())


@samples("soft_target_loss")
def soft_target_loss_samples() -> list[tuple[tuple, dict]]:
    student, teacher = torch.randn(2, 8, 6)
    return [((student, teacher, temperature), {}) for temperature in (1.0, 2.0, 4.0)]
