"""Exercises that answer: not attempted, right, or wrong with the smallest input that shows it."""

from __future__ import annotations

import inspect
import linecache
import traceback
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

import torch

from bertmini.errors import InputError

_checks: dict[str, Callable[[Any], None]] = {}


class Wrong(Exception):
    """An answer is not right; its words give the smallest input that shows it, what came out, what should."""


class NotAttempted(Exception):
    """The stub is as the reader found it."""


def exercise(number: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register a check under the number of its exercise: `@exercise("03.1")` on a function of the attempt."""

    def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
        _checks[number] = function
        return function

    return register


def run(attempt: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call the reader's code; an answer of None, or with `...` in it, means that nothing is to be checked."""
    answer = attempt(*args, **kwargs)
    parts = answer if isinstance(answer, tuple) else (answer,)
    if answer is None or any(part is ... for part in parts):
        raise NotAttempted
    return answer


def expect_tensor(answer: Any, expected: torch.Tensor, given: str, tolerance: float = 1e-5) -> None:
    """Compare one answer with what was expected.

    Args:
        answer: what the reader's code returned.
        expected: the right tensor.
        given: the input in words, for the message.
        tolerance: largest difference that counts as rounding.
    Raises:
        Wrong: when the type, the shape or a number differs.
    """
    if not isinstance(answer, torch.Tensor):
        raise Wrong(f"for {given} your answer is {type(answer).__name__}, a tensor was expected")
    if answer.shape != expected.shape:
        raise Wrong(
            f"for {given} your answer has shape {list(answer.shape)}, {list(expected.shape)} was expected"
        )
    if (answer.dtype == torch.bool) != (expected.dtype == torch.bool):
        raise Wrong(f"for {given} your answer holds {answer.dtype}, {expected.dtype} was expected")
    if not torch.allclose(answer.double(), expected.double(), rtol=0, atol=tolerance):
        raise Wrong(f"for {given} you gave {_short(answer)}, expected {_short(expected)}")


def same(answer: object, expected: torch.Tensor) -> bool:
    """Whether an answer is a tensor of that shape with those numbers, up to rounding, of any dtype."""
    if not isinstance(answer, torch.Tensor) or answer.shape != expected.shape:
        return False
    return torch.allclose(answer.double(), expected.double(), atol=1e-5)


def check(number: str, attempt: Any) -> None:
    """Check an exercise and print one line on it.

    Args:
        number: chapter and exercise, "03.1".
        attempt: your function or class.
    Raises:
        InputError: when there is no exercise of that number.
    """
    module = f"bertmini.course.checks.c{number.split('.')[0]}"
    if number not in _checks and find_spec(module):
        import_module(module)
    if number not in _checks:
        load_checks()
        raise InputError(f"no exercise {number}: known are {', '.join(sorted(_checks))}")
    try:
        # A check compares answers, it needs neither gradients nor the notebook's random numbers.
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _checks[number](attempt)
    except NotAttempted:
        print(f"{number} not attempted")
    except Wrong as wrong:
        print(f"{number} ✗ {wrong}")
    except Exception as error:
        if isinstance(error, NotImplementedError) and not error.args:  # a stub's own; torch's has words
            print(f"{number} not attempted")
            return
        print(f"{number} ✗ your code stopped: {one_line(error)}{_where(error, attempt)}")
    else:
        print(f"{number} ✓ right")


def load_checks() -> None:
    """Import the checks of all chapters; samples for `replace` stand beside them."""
    package = import_module("bertmini.course.checks")
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")


def one_line(error: BaseException) -> str:
    """An error's kind and words without line breaks."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _where(error: BaseException, attempt: Any) -> str:
    """The line of the reader's own cell that was running, with its text."""
    files = set()
    functions = vars(attempt).values() if inspect.isclass(attempt) else [attempt]
    for function in functions:
        if code := getattr(function, "__code__", None):
            files.add(code.co_filename)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not lines:
        return ""
    text = linecache.getline(lines[-1].filename, lines[-1].lineno or 0).strip()
    return f" (line {lines[-1].lineno} of your cell: {text})" if text else f" (line {lines[-1].lineno})"


def _short(tensor: torch.Tensor) -> str:
    values = tensor.to(torch.float64).round(decimals=4) if tensor.is_floating_point() else tensor
    text = str(values.tolist())
    return text if len(text) <= 160 else f"{text[:157]}..."
