"""Where a model's files are: a directory on this machine, or one fetched from the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from bertmini.errors import InputError

SHIPPED = Path(__file__).parent / "pretrained" / "gazette-mini"


def shipped() -> str:
    """The directory of the small pretrained model that comes with the package.

    Raises:
        InputError: when the package was installed without it.
    """
    if not (SHIPPED / "config.json").is_file():
        raise InputError(f"no model at {SHIPPED}: reinstall bertmini, or name another directory or hub id")
    return str(SHIPPED)


def locate(directory: str | Path) -> Path:
    """The directory itself, or the local copy of a hub repository of that name."""
    path = Path(directory)
    if path.is_dir():
        return path
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(directory)):
        raise InputError(f"{directory} is not a directory; give one that holds a model's files")
    from huggingface_hub import snapshot_download

    try:
        # Folders may hold what says how vectors are made, and checkpoints of gigabytes.
        wanted, unwanted = ["*.json", "*.safetensors", "*.txt"], ["*/*.safetensors"]
        found = snapshot_download(str(directory), allow_patterns=wanted, ignore_patterns=unwanted)
        return Path(found)
    except Exception as error:
        raise InputError(
            f"{directory} is neither a directory here nor could it be fetched from the hub "
            f"({type(error).__name__}): check the path, the name and the network"
        ) from None
