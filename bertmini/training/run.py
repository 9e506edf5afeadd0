"""Run directories: what was asked for, what happened, and checkpoints from which training goes on exactly."""

from __future__ import annotations

import hashlib
import json
import logging
import math
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
from safetensors import SafetensorError
from torch import Tensor, nn

from bertmini.errors import InputError
from bertmini.files import lock, new_directory, sync_directory, write, write_json
from bertmini.machine import git_commit, machine, versions
from bertmini.training.options import Options, Progress
from bertmini.training.processes import Processes, like, processes, whole_tensor

logger = logging.getLogger("bertmini")


class Run:
    """A run directory: run.json, log.jsonl, metrics.json, the model, and checkpoints/step-N/.

    Files are written under a temporary name and renamed, so that a name never stands for half a file.
    Of several processes that train together the main one writes, and all can read.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.processes = processes()
        self.log_file = self.directory / "log.jsonl"
        self.checkpoints = self.directory / "checkpoints"

    @classmethod
    def create(
        cls, directory: str | Path, options: Options, settings: dict[str, Any] | None = None, *parts: Any
    ) -> Run:
        """A new run.

        Args:
            directory: str or Path, does not exist yet, or is empty.
            options: Options of training.
            settings: dict that JSON can hold, all other options of the command.
            parts: what is saved at once, by `save_pretrained(directory)`: the tokenizer, say.

        Raises:
            InputError: the directory holds something, or cannot be written.
        """
        run = cls(directory)
        run.processes.wait()  # until all have found that there is no such directory yet
        if not run.processes.is_main:
            run.processes.wait()
            return run
        if run.directory.exists() and (not run.directory.is_dir() or any(run.directory.iterdir())):
            raise InputError(
                f"{directory}: exists already; name a new directory, or continue it with --resume"
            )
        record = {
            "training": asdict(options), "settled": False, "settings": settings or {},
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "git_commit": git_commit(), "versions": versions(), "machine": machine(),
        }  # fmt: skip
        # It takes its name as a whole: one killed in between could neither go on nor begin again.
        with _explained(run.directory), new_directory(run.directory) as directory:
            (directory / "checkpoints").mkdir()
            (directory / "log.jsonl").touch()
            for part in parts:
                part.save_pretrained(directory)
            write_json(directory / "run.json", record)
        run.processes.wait()
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
            record = json.loads((self.directory / "run.json").read_text("utf-8"))
            if not all(isinstance(record[part], dict) for part in ("training", "settings")):
                raise ValueError("training and settings are no objects")
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{self.directory}: not a run directory (run.json: {reason}); start a new run"
            ) from None
        return record

    @property
    def options(self) -> Options:
        """The options of training; setting them settles what was left open, precision and steps."""
        try:
            return Options(**self.record()["training"])
        except TypeError as error:
            raise InputError(
                f"{self.directory}: run.json is of another version ({error}); start a new run"
            ) from None

    @options.setter
    def options(self, options: Options) -> None:
        self._write_json("run.json", self.record() | {"training": asdict(options), "settled": True})

    @property
    def is_settled(self) -> bool:
        """Whether precision and steps were decided; they hold when the run continues elsewhere."""
        return bool(self.record().get("settled"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within it no other process trains in this directory, where the system has POSIX locks.

        Raises:
            InputError: one does already.
        """
        with open(self.log_file, "rb") as file:
            if self.processes.is_main:
                lock(file, f"{self.directory}: another process is training here; wait for it")
            yield

    def log(self, line: dict[str, Any]) -> None:
        """Adds a line to log.jsonl."""
        if not self.processes.is_main:
            return
        with _explained(self.log_file), open(self.log_file, "a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(line)) + "\n")
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
        if not self.processes.is_main:
            return
        temporary = self.directory / ".result.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with _explained(self.directory):
                for part in parts:
                    part.save_pretrained(temporary)
                for path in sorted(temporary.iterdir()) if parts else []:
                    os.replace(path, self.directory / path.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._write_json("metrics.json", _finite(metrics))

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        progress: Progress,
        best: dict[str, Tensor] | None = None,
        keep: int = 2,
        average: nn.Module | None = None,
    ) -> None:
        """Writes checkpoints/step-N/ and removes all but the last `keep`.

        Args:
            best: dict of tensors, the best weights so far.
            average: the model with averaged weights.

        Raises:
            InputError: the disk is full, say; the checkpoints before are intact.
        """
        files = {
            "model.safetensors": tensors_of(model),
            "optimizer.safetensors": _optimizer_tensors(model, optimizer),
            "rng.safetensors": _random_states(self.processes),
        }
        files |= {"best.safetensors": best} if best else {}
        files |= {} if average is None else {"average.safetensors": tensors_of(average)}
        if not self.processes.is_main:
            return
        temporary = self.checkpoints / f".step-{progress.step}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            with _explained(temporary):
                checksums = {}
                for name, tensors in files.items():
                    data = safetensors.torch.save(tensors)
                    checksums[name] = hashlib.sha256(data).hexdigest()
                    write(temporary / name, data)
                state = {"progress": asdict(progress), "log_bytes": self.log_file.stat().st_size}
                state |= {"scaler": scaler.state_dict(), "sha256": checksums}
                write(temporary / "state.json", json.dumps(state, indent=2).encode())
                final = self.checkpoints / f"step-{progress.step}"
                shutil.rmtree(final, ignore_errors=True)
                os.rename(temporary, final)
                sync_directory(self.checkpoints)
        except InputError as error:
            intact = "; the checkpoints before it are intact, use --resume" if self.saved() else ""
            raise InputError(f"{error}{intact}") from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for path in self.saved()[:-keep]:
            shutil.rmtree(path, ignore_errors=True)

    def restore(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        average: nn.Module | None = None,
    ) -> tuple[Progress, dict[str, Tensor] | None]:
        """Puts the last sound checkpoint into model, average, optimiser and random generators.

        log.jsonl is cut to that checkpoint's step, so that no line will stand twice.

        Returns:
            Progress and the best weights so far (None where none were kept). A fresh Progress where
            there is no checkpoint.

        Raises:
            InputError: checkpoints exist and all are damaged, or the model has other tensors.
        """
        is_main = self.processes.is_main
        for path in (
            self.checkpoints.glob(".step-*.tmp") if is_main else ()
        ):  # half-written when it was killed
            shutil.rmtree(path, ignore_errors=True)
        saved = self.saved()
        for path in reversed(saved):
            try:
                state, files = _read_checkpoint(path)
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                if self.processes.is_main:
                    logger.warning("%s is damaged (%s); using the checkpoint before it", path, error)
                continue
            if self.log_file.stat().st_size < state["log_bytes"]:
                raise InputError(f"{self.log_file}: shorter than when {path.name} was saved; put it back")
            load_tensors(model, files["model.safetensors"], path / "model.safetensors")
            if average is not None:
                load_tensors(average, files["average.safetensors"], path / "average.safetensors")
            _load_optimizer(model, optimizer, files["optimizer.safetensors"])
            _set_random_states(files["rng.safetensors"], self.processes.rank)
            scaler.load_state_dict(state["scaler"])
            self._cut_log(state["log_bytes"])
            return Progress(**state["progress"]), files.get("best.safetensors")
        if saved:
            raise InputError(f"{self.checkpoints}: all {len(saved)} checkpoints are damaged; start a new run")
        self._cut_log(0)
        return Progress(), None

    def _cut_log(self, size: int) -> None:
        self.processes.wait()  # until all have seen its size
        if self.processes.is_main:
            os.truncate(self.log_file, size)
        self.processes.wait()

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        if self.processes.is_main:
            write_json(self.directory / name, content)


def _finite(value: Any) -> Any:
    """JSON has no infinity: the norm of a gradient that overflowed in fp16 becomes null."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters and buffers by name, each once, also where two names share one."""
    named = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: whole_tensor(tensor) for name, tensor in named.items()}


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
            named[name].copy_(like(tensor, named[name]))


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
        f"{name}/{key}": whole_tensor(value)
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    parameters = dict(model.named_parameters())
    for full_name, tensor in tensors.items():
        name, _, key = full_name.rpartition("/")
        parameter = parameters[name]
        is_moment = tensor.shape == parameter.shape  # else it is the count of steps, which is never parted
        optimizer.state[parameter][key] = (
            like(tensor, parameter) if is_moment else tensor.to(parameter.device)
        )


def _random_states(together: Processes) -> dict[str, Tensor]:
    own = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        own["cuda"] = torch.cuda.get_rng_state()
    every = together.gather(own)
    return {f"{rank}/{name}": state for rank, states in enumerate(every) for name, state in states.items()}


def _set_random_states(states: dict[str, Tensor], rank: int) -> None:
    """A process that was not there before keeps the state that its seed gave it."""
    if f"{rank}/cpu" in states:
        torch.set_rng_state(states[f"{rank}/cpu"])
    if torch.cuda.is_available() and f"{rank}/cuda" in states:
        torch.cuda.set_rng_state(states[f"{rank}/cuda"])


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); make room, or name another place"
        ) from None
