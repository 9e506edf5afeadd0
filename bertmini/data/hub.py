"""Data sets of the Hugging Face hub, by its own library."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from bertmini.errors import InputError


def load(name: str) -> Any:
    """Every part of a data set, by its name.

    Args:
        name: hf:NAME or hf:NAME:CONFIGURATION.

    Raises:
        InputError: the name is none, or the library cannot load it.
    """
    with _library(name) as load_dataset:
        return load_dataset()


def stream(name: str, seed: int | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a data set's train part, each fetched when it is asked for; raises as `load` does.

    Args:
        seed: of the order of its files, each of which is read from its beginning to its end; None: their own.
    """
    with _library(name) as load_dataset:
        rows = load_dataset(split="train", streaming=True)
        if seed is None:
            yield from rows
            return
        files = list(range(rows.num_shards))
        random.Random(seed).shuffle(files)
        for file in files:
            yield from rows.shard(rows.num_shards, file)


@contextmanager
def _library(name: str) -> Iterator[Callable[..., Any]]:
    parts = name.removeprefix("hf:").split(":")
    if not all(parts) or len(parts) > 2:
        raise InputError(f"{name} names no data set; expected hf:NAME or hf:NAME:CONFIGURATION")
    from datasets import load_dataset

    try:
        yield partial(load_dataset, *parts)
    # No network, no such set, files that are none: the library and the readers below it raise what they like.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{name} cannot be loaded: {reason}") from None
