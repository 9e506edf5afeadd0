"""What commands share that make a run directory: it is made or resumed, and the result is told."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertmini.errors import InputError

if TYPE_CHECKING:
    from bertmini.training import Options, Run

NOTHING_WRITTEN = "nothing was written"


class Resumable:
    """What commands have whose interrupted run --resume continues."""

    out: str
    resume: bool

    def interrupted(self) -> str:
        """What an interruption leaves."""
        if not (Path(self.out) / "run.json").exists():
            return NOTHING_WRITTEN
        from bertmini.training import Run

        last = next(reversed(Run(self.out).saved()), None)
        return (
            f"{last or self.out} {'is kept' if last else 'has no checkpoint yet'}: continue it with --resume"
        )


def refuse_existing(out: str) -> None:
    path = Path(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{out}: exists already; name a new directory, or remove it first")


def refuse_without_train(data: str, splits: dict[str, Any]) -> None:
    if "train" not in splits:
        raise InputError(f"{data}: it has {', '.join(splits)} and no train part to learn from")


@contextlib.contextmanager
def run_directory(
    command: Resumable, options: Options, data: Iterable[Any], *parts: Any
) -> Iterator[Run]:
    """A new run directory, or the interrupted one. A new one goes when it fails before it has logged a step.

    Args:
        data: what is learned from; the interrupted run must have begun with the same.
        parts: what a new run saves at once.
    """
    from bertmini.training import Run

    digest = hashlib.sha256()
    for part in data:
        digest.update(repr(part).encode())
    if command.resume:
        run = Run.resume(command.out)
        if run.record()["settings"].get("data_sha256") != digest.hexdigest():
            raise InputError(
                f"{command.out}: its data are not what they were; put them back, or start a new run"
            )
    else:
        given = asdict(command)  # type: ignore[call-overload]  # every command is a dataclass
        settings = {"command": type(command).__name__, **given, "data_sha256": digest.hexdigest()}
        run = Run.create(command.out, options, settings, *parts)
    try:
        with run.alone():
            yield run
    except Exception:
        if run.processes.is_main and not command.resume and not has_begun(run.directory):
            shutil.rmtree(run.directory, ignore_errors=True)
        raise


def has_begun(directory: Path) -> bool:
    """Whether a run there, or one of the attempts below it, has logged a step or kept a checkpoint."""
    has_logged = any(log.stat().st_size for log in directory.rglob("log.jsonl"))
    return has_logged or any(directory.glob("**/checkpoints/step-*"))


def report(out: str, metrics: dict[str, Any]) -> None:
    """The result in a few lines."""
    if not is_main():
        return
    for part in ("train", "dev", "dev_mismatched", "test"):
        numbers = {name: v for name, v in metrics.get(part, {}).items() if isinstance(v, float)}
        if numbers:
            print(f"{part:5}  " + "  ".join(f"{name} {value:.4g}" for name, value in numbers.items()))
    print(
        f"{out}: {metrics['seconds']:.0f} s of training, {metrics['tokens_per_second']:.0f} tokens a second"
    )


def is_main() -> bool:
    """Whether this process speaks, where a launcher has started several."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"
