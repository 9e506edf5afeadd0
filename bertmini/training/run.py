"""Run directories: what was asked for, what happened, and checkpoints from which training goes on exactly."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from bertmini.errors import InputError
from bertmini.machine import git_commit, machine, versions
from bertmini.training.options import Options, Progress

logger = logging.getLogger("bertmini")


class Run:
    """A run directory: run.json, log.jsonl, metrics.json, the model, and checkpoints/step-N/.

    Files are written under a temporary name and renamed, so that a name never stands for half a file.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.log_file = self.directory / "log.jsonl"
        self.checkpoints = self.directory / "checkpoints"

    @classmethod
    def create(cls, directory: str | Path, options: Options, settings: dict[str, Any] | None = None) -> Run:
        """A new run.

        Args:
            directory: str or Path, does not exist yet, or is empty.
            options: Options of training.
            settings: dict that JSON can hold, all other options of the command.

        Raises:
            InputError: the directory holds something, or cannot be written.
        """
        run = cls(directory)
        if run.directory.exists() and (not run.directory.is_dir() or any(run.directory.iterdir())):
            raise InputError(
                f"{directory}: exists already; name a new directory, or continue it with --resume"
            )
        with _explained(run.directory):
            run.checkpoints.mkdir(parents=True)
            run.log_file.touch()
        run._write_json(
            "run.json",
            {"training": asdict(options), "settings": settings or {},
             "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
             "git_commit": git_commit(), "versions": versions(), "machine": machine()},
        )  # fmt: skip
        return run

    @classmethod
    def resume(cls, directory: str | Path) -> Run:
        """The run in a directory, to be continued with `run.options`.

        Raises:
            InputError: there is no run.json that can be read.
        """
        run = cls(directory)
        run.record()
        run.log_file.touch()
        return run

    def record(self) -> dict[str, Any]:
        """What run.json holds."""
        try:
            return json.loads((self.directory / "run.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.directory}: not a run directory (run.json: {error}); start one"
            ) from None

    @property
    def options(self) -> Options:
        """The options of training, with the number of steps once it is known."""
        return Options(**self.record()["training"])

    @options.setter
    def options(self, options: Options) -> None:
        self._write_json("run.json", self.record() | {"training": asdict(options)})

    def log(self, line: dict[str, Any]) -> None:
        """Adds a line to log.jsonl."""
        with _explained(self.log_file), open(self.log_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def lines(self) -> list[dict[str, Any]]:
        """The lines of log.jsonl."""
        return [json.loads(line) for line in self.log_file.read_text("utf-8").splitlines()]

    def saved(self) -> list[Path]:
        """The checkpoints, the last one last."""
        found = [path for path in self.checkpoints.glob("step-*") if path.name[5:].isdigit()]
        return sorted(found, key=lambda path: int(path.name[5:]))

    def finish(self, metrics: dict[str, Any], *parts: Any) -> None:
        """Writes the result.

        Args:
            metrics: dict for metrics.json, as {"dev": {"accuracy": 0.9}, "seconds": 12.0}.
            parts: the model, the tokenizer: whatever has `save_pretrained(directory)`.
        """
        temporary = self.directory / ".result.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        with _explained(self.directory):
            for part in parts:
                part.save_pretrained(temporary)
            for path in sorted(temporary.iterdir()) if parts else []:
                os.replace(path, self.directory / path.name)
            shutil.rmtree(temporary, ignore_errors=True)
        self._write_json("metrics.json", metrics)

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        progress: Progress,
        best: dict[str, Tensor] | None = None,
        keep: int = 2,
    ) -> None:
        """Writes checkpoints/step-N/ and removes all but the last `keep`.

        Args:
            best: dict of tensors, the best weights so far.

        Raises:
            InputError: the disk is full, say; the checkpoints before are intact.
        """
        files = {
            "model.safetensors": tensors_of(model),
            "optimizer.safetensors": _optimizer_tensors(model, optimizer),
            "rng.safetensors": _random_states(),
        } | ({"best.safetensors": best} if best else {})
        temporary = self.checkpoints / f".step-{progress.step}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with _explained(temporary, "the checkpoints before it are intact; make room and use --resume"):
                temporary.mkdir()
                checksums = {}
                for name, tensors in files.items():
                    data = safetensors.torch.save(tensors)
                    checksums[name] = hashlib.sha256(data).hexdigest()
                    _write(temporary / name, data)
                state = {"progress": asdict(progress), "log_bytes": self.log_file.stat().st_size}
                state |= {"scaler": scaler.state_dict(), "sha256": checksums}
                _write(temporary / "state.json", json.dumps(state, indent=2).encode())
                final = self.checkpoints / f"step-{progress.step}"
                shutil.rmtree(final, ignore_errors=True)
                os.rename(temporary, final)
                _sync_directory(self.checkpoints)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        for path in self.saved()[:-keep]:
            shutil.rmtree(path, ignore_errors=True)

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> tuple[Progress, dict[str, Tensor] | None]:
        """Puts the last sound checkpoint into the model, the optimiser and the random generators.

        log.jsonl is cut to that checkpoint's step, so that no line will stand twice.

        Returns:
            Progress and the best weights so far (None where none were kept). A fresh Progress where
            there is no checkpoint.

        Raises:
            InputError: checkpoints exist and all are damaged, or the model has other tensors.
        """
        for path in self.checkpoints.glob(".step-*.tmp"):  # half-written when the run was killed
            shutil.rmtree(path, ignore_errors=True)
        saved = self.saved()
        for path in reversed(saved):
            try:
                state, files = _read_checkpoint(path)
            except (OSError, ValueError, KeyError) as error:
                logger.warning("%s is damaged (%s); using the checkpoint before it", path, error)
                continue
            load_tensors(model, files["model.safetensors"], path / "model.safetensors")
            _load_optimizer(model, optimizer, files["optimizer.safetensors"])
            _set_random_states(files["rng.safetensors"])
            scaler.load_state_dict(state["scaler"])
            os.truncate(self.log_file, state["log_bytes"])
            return Progress(**state["progress"]), files.get("best.safetensors")
        if saved:
            raise InputError(f"{self.checkpoints}: all {len(saved)} checkpoints are damaged; start a new run")
        os.truncate(self.log_file, 0)
        return Progress(), None

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        temporary = self.directory / f".{name}.tmp"
        with _explained(self.directory / name):
            _write(temporary, (json.dumps(content, indent=2) + "\n").encode())
            os.replace(temporary, self.directory / name)
            _sync_directory(self.directory)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers by name, each once, also where two names share one."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}


def load_tensors(model: nn.Module, tensors: dict[str, Tensor], where: str | Path) -> None:
    """Copies tensors into the model.

    Raises:
        InputError: a name or a shape differs.
    """
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    for name in named.keys() | tensors.keys():
        expected = tuple(named[name].shape) if name in named else "nothing"
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        if found != expected:
            raise InputError(
                f"{where}: {name} is {found}, the model has {expected}; use the run's own config"
            )
    with torch.no_grad():
        for name, tensor in tensors.items():
            named[name].copy_(tensor)


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    state = json.loads((path / "state.json").read_text("utf-8"))
    files = {}
    for name, checksum in state["sha256"].items():
        data = (path / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != checksum:
            raise ValueError(f"{name}: its checksum differs")
        files[name] = safetensors.torch.load(data)
    return state, files


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.cpu().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition("/")
        optimizer.state[parameters[name]][key] = tensor.to(parameters[name].device)


def _random_states() -> dict[str, Tensor]:
    gpus = {f"cuda{i}": torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())}
    return {"cpu": torch.get_rng_state(), **gpus}


def _set_random_states(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    for i in range(torch.cuda.device_count()):
        if f"cuda{i}" in states:
            torch.cuda.set_rng_state(states[f"cuda{i}"], i)


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    if os.name == "posix":  # elsewhere a directory cannot be opened
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


@contextmanager
def _explained(path: Path, advice: str = "make room, or name another place") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from None
