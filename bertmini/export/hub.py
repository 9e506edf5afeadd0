"""Publishing: a model and its card become a repository of the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bertmini.errors import InputError
from bertmini.export.directory import export_directory


def push_to_hub(origin: str | Path, name: str, *, private: bool = False, update: bool = False) -> str:
    """Upload what `export_directory` writes: configuration, weights, tokenizer and card.

    Args:
        origin: the directory of a model.
        name: of the repository, OWNER/NAME.
        private: let nobody else see it.
        update: add a version to a repository that is there; its history keeps the older ones.

    Returns:
        The address of the repository.

    Raises:
        InputError: the name is none, the model cannot be exported, the repository is there already, or the
            hub cannot be reached or does not know you.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        if name.count("/") != 1:  # the hub takes a name without its owner in one place and not in another
            raise HFValidationError
    except HFValidationError:
        raise InputError(f"{name!r} is no name of a repository on the hub; expected OWNER/NAME") from None
    with tempfile.TemporaryDirectory() as directory:
        export_directory(origin, directory, name)
        try:
            api = HfApi()
            exists = api.repo_exists(name)
            if exists and not update:
                raise InputError(
                    f"{name} is on the hub already; take another name, or add to it with --update"
                )
            if exists and private and not api.repo_info(name).private:
                raise InputError(
                    f"{name} is on the hub already, where everybody sees it, and --private does not change "
                    "that; make it private there first, or leave --private out"
                )
            address = api.create_repo(name, private=private or None, exist_ok=update)
            api.upload_folder(
                repo_id=name, folder_path=directory, commit_message=f"Upload {name} with bertmini"
            )
        except InputError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{name} could not be put on the hub ({type(error).__name__}: {reason}): check the network, "
                "the name, and that you are logged in (hf auth login)"
            ) from None
    return str(address)
