"""`use`: the reader's own class or function takes the package's place."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import torch
from torch import nn

from bertmini.course.exercises import NotAttempted, load_checks, one_line, run
from bertmini.errors import InputError

# name -> function that returns a list of (args, kwargs) to compare on; a class gets its constructor's first.
_samples: dict[str, Callable[[], list[tuple[tuple, dict]]]] = {}
_replaced: list[tuple[dict, Any, Any]] = []  # (names of a module or a table, key, the package's own object)

ROUNDING = 1e-5


def samples(name: str) -> Callable:
    """Register inputs on which a replacement of `name` is compared with the package's own.

    The function returns a list of (args, kwargs) of calls. For a class the first of them builds the module,
    the others call it.
    """

    def register(function: Callable) -> Callable:
        _samples[name] = function
        return function

    return register


def use(mine: Any, in_place_of: str | None = None) -> None:
    """Put your class or function in the package's place for the rest of this Python session.

    Models that are built from now on contain your version. Before that, both versions get the same parameters
    and the same random inputs, and one line says how far their outputs are apart.

    Args:
        mine: your class or function, or None to restore everything that was replaced.
        in_place_of: the name in the package; by default your own name, without a leading `My` or `my_`.
    Raises:
        InputError: when the package has nothing of that name, or yours cannot run in its place.
    """
    if mine is None:
        while _replaced:
            names, key, original = _replaced.pop()
            names[key] = original
        return
    name = in_place_of or mine.__name__.removeprefix("My").removeprefix("my_")
    original, places = _find(name)
    try:
        verdict = _compare(name, original, mine)
    except NotAttempted:
        print(f"{name} stays the package's: yours is not attempted yet")
        return
    for names, key in places:
        _replaced.append((names, key, names[key]))
        names[key] = mine
    print(f"{name} is now your {mine.__name__}: {verdict}")


def _find(name: str) -> tuple[Any, list[tuple[dict, Any]]]:
    """The package's own object of that name, and every place that now holds it: (names, key)."""
    current = _current(name)
    if current is None:
        # Perhaps nobody has imported its module yet.
        for part in ("tokenizer", "model", "data", "training", "compress"):
            package = import_module(f"bertmini.{part}")
            for module in iter_modules(package.__path__):
                import_module(f"{package.__name__}.{module.name}")
        current = _current(name)
    if current is None:
        raise InputError(f"bertmini has no class or function {name!r}: give its name with in_place_of=")
    modules = [vars(module) for module in _modules()]
    tables = {id(value): value for names in modules for value in names.values() if type(value) is dict}
    places = [
        (names, key)
        for names in [*modules, *tables.values()]  # a table of variants, as SCHEDULES, holds functions too
        for key, value in list(names.items())
        if value is current
    ]
    first = next((item for item in _replaced if item[1] == name), None)
    return (first[2] if first else current), places


def _current(name: str) -> Any:
    """What stands under that name in the modules that are imported, or None."""
    for module in _modules():
        candidate = vars(module).get(name)
        replaceable = inspect.isclass(candidate) or inspect.isfunction(candidate)
        if replaceable and _is_ours(candidate, module, name):
            return candidate
    return None


def _modules() -> list[Any]:
    return [
        module
        for key, module in list(sys.modules.items())
        if key.split(".")[0] == "bertmini" and not key.startswith("bertmini.course") and module
    ]


def _is_ours(candidate: Any, module: Any, name: str) -> bool:
    replaced_here = any(item[0] is vars(module) and item[1] == name for item in _replaced)
    return replaced_here or candidate.__module__.split(".")[0] == "bertmini"


def _compare(name: str, original: Callable[..., Any], mine: Callable[..., Any]) -> str:
    if name not in _samples:
        load_checks()
    if name not in _samples:
        return "in use, not compared (no inputs are registered for it)"
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        calls = _samples[name]()
        if isinstance(original, type):
            (args, kwargs), *calls = calls
            built: Any = original(*args, **kwargs)
            mine = same_parameters(name, built, _attempt(name, mine, args, kwargs)).eval()
            original = built.eval()
        distance = 0.0
        for args, kwargs in calls:
            theirs, yours = original(*args, **kwargs), _attempt(name, mine, args, kwargs)
            distance = max(distance, _distance(name, theirs, yours))
    if distance == 0:
        return "equal to the package's, bit for bit"
    if distance <= ROUNDING:
        return "equal to the package's up to rounding"
    by_how_much = f" by up to {distance:.2g}" if distance < float("inf") else ""
    return f"its outputs differ from the package's{by_how_much}"


def _attempt(name: str, mine: Any, args: tuple, kwargs: dict) -> Any:
    try:
        return run(mine, *args, **kwargs)
    except NotAttempted:
        raise
    except Exception as error:
        raise InputError(f"your {name} cannot take the package's place: {one_line(error)}") from None


def same_parameters(name: str, original: nn.Module, mine: nn.Module) -> nn.Module:
    """Copy the package's parameters into the reader's module of that name, or say what does not fit."""
    theirs, yours = original.state_dict(), mine.state_dict()
    for key, tensor in theirs.items():
        if key not in yours:
            wanted = f"{key!r} {list(tensor.shape)}"
            raise InputError(f"your {name} has no parameter {wanted}: it has {list(yours)}")
        if yours[key].shape != tensor.shape:
            shapes = f"{list(yours[key].shape)}, the package's has {list(tensor.shape)}"
            raise InputError(f"your {name}'s parameter {key!r} has shape {shapes}")
    if extra := [key for key in yours if key not in theirs]:
        raise InputError(f"your {name} has parameters that the package's has not: {extra}")
    mine.load_state_dict(theirs)
    return mine


def _tensors(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    if is_dataclass(output):
        return [tensor for field in fields(output) for tensor in _tensors(getattr(output, field.name))]
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, (tuple, list)):
        return [tensor for item in output for tensor in _tensors(item)]
    return []


def _distance(name: str, theirs: Any, yours: Any) -> float:
    left, right = _tensors(theirs), _tensors(yours)
    shapes_left, shapes_right = [list(t.shape) for t in left], [list(t.shape) for t in right]
    if shapes_left != shapes_right:
        raise InputError(f"your {name} returns shapes {shapes_right}, the package's returns {shapes_left}")
    if not left:  # words and whole numbers, as a tokenizer's, are equal or they are not
        return 0.0 if theirs == yours else float("inf")
    return max(_gap(a.double(), b.double()) for a, b in zip(left, right, strict=True))


def _gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference; nan or infinity in both is none, in one of them an infinite one."""
    differ = (a != b) & ~(a.isnan() & b.isnan())
    return (a - b)[differ].abs().nan_to_num(nan=float("inf")).max().item() if differ.any() else 0.0
