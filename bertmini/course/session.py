"""A chapter's frame: the set-up at its start, the claims on its way, the list of them at its end."""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import torch

from bertmini.hub import shipped
from bertmini.machine import keep_freed_memory

_claims: list[str] = []


def setup(seed: int = 0) -> None:
    """Make the notebook repeatable, quick, quiet, and its pictures readable on a light and on a dark page.

    Args:
        seed: starts the random numbers of Python, NumPy and PyTorch. The number of threads stays yours.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    keep_freed_memory()
    torch.set_printoptions(precision=3, sci_mode=False, linewidth=110)
    warnings.filterwarnings("ignore")
    # torchao and torch.utils._pytree speak when transformers imports torchao, where that is installed.
    speakers = ("transformers", "huggingface_hub", "datasets", "matplotlib", "torchao", "torch.utils._pytree")
    for name in speakers:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")
    _claims.clear()
    if find_spec("matplotlib"):
        from bertmini.viz.style import apply_style

        apply_style()


def claim(words: str, condition: object) -> None:
    """State what was found, and stop the notebook where it is not so.

    The book's claims are about the small model that comes with it. With a model of your own the notebook goes
    on, and says which of them do not hold for it.

    Args:
        words: the finding as a sentence, without a number that differs from one machine to the next.
        condition: true when the finding holds, asserted with a margin by the one who writes it.
    Raises:
        AssertionError: with the words, when the condition is false.
    """
    if not bool(condition):
        if chosen_model():
            print(f"✗ not with this model: {words}")
            return
        raise AssertionError(f"this does not hold here: {words}")
    if words not in _claims:
        _claims.append(words)
    print(f"✓ {words}")


def found() -> None:
    """Print the claims that held in this notebook, in order."""
    if not _claims:
        print("nothing claimed yet: run the cells above first")
    for number, words in enumerate(_claims, 1):
        print(f"{number}. {words}")


def pretrained() -> str:
    """The model that a chapter starts from: the small one in the package, or the one you name.

    Set `MODEL = "directory or hub id"` in a cell, or the environment variable MODEL, for another one.

    Returns:
        A directory, or a hub id exactly as you gave it.
    Raises:
        InputError: when the package was installed without its small model.
    """
    return chosen_model() or shipped()


def chosen_model() -> str | None:
    """The model that the reader named, if any."""
    chosen = getattr(sys.modules.get("__main__"), "MODEL", None) or os.environ.get("MODEL")
    return str(chosen) if chosen else None


def on_gpu() -> bool:
    """Whether this chapter should scale up: a CUDA device is there, and the variable SMALL is not set."""
    return torch.cuda.is_available() and not os.environ.get("SMALL")
