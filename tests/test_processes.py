"""Claims about several processes that train one model: they are one, and none is lost without a word."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from bertmini.cli import main
from bertmini.training.options import MEASURED

STEPS = 12
COMMAND = [
    "pretrain", "--preset", "tiny", "--documents", "120", "--max-length", "48", "--batch-size", "9",
    "--accumulation", "2", "--ramp-share", "0.3", "--dropout", "0", "--precision", "float32",
    "--learning-rate", "0.001", "--log-every", "1", "--evaluate-every", "6", "--checkpoint-every", "4",
]  # fmt: skip
ENGINES = {"data parallel": ["--multi_gpu"], "sharded": ["--use_fsdp", "--fsdp_version", "2"]}


def pretrain(out: Path, *more: str) -> None:
    """In this process."""
    assert main([*COMMAND, "--out", str(out), *more]) == 0


def launched(engine: str, out: Path, *more: str) -> subprocess.Popen:
    """In two processes on the CPU, by the launcher that its users use."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *ENGINES[engine], "--num_processes", "2",
                "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
                "--main_process_port", "0"]  # fmt: skip
    command = [*launcher, "-m", "bertmini.cli", *COMMAND, "--out", str(out), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def pretrain_in_two(engine: str, out: Path, *more: str) -> str:
    process = launched(engine, out, *more)
    printed, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    return printed


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def assert_same_training(one: Path, two: Path) -> None:
    """Sums in another order differ in the last bits, which training makes larger, and no more."""
    for ours, theirs in zip(lines(one), lines(two), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - MEASURED - {"dev"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), (ours["step"], name)
        assert ours.get("dev", {}) == pytest.approx(theirs.get("dev", {}), rel=1e-3)
    ours, theirs = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert all(torch.allclose(tensor, theirs[name], atol=2e-3) for name, tensor in ours.items())


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "alone"
    pretrain(out, "--steps", str(STEPS))
    return out


@pytest.fixture(scope="module", params=ENGINES)
def together(request, tmp_path_factory) -> tuple[str, Path, str]:
    """An engine, the same run in its two processes, and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "together"
    return request.param, out, pretrain_in_two(request.param, out, "--steps", str(STEPS))


def test_two_processes_have_the_losses_of_one_with_the_same_batch(alone, together):
    """A batch of 9 rows leaves them 5 and 4, with other numbers of masked pieces in each."""
    _, out, printed = together
    assert_same_training(alone, out)
    assert printed.count("tokens a second") == 1  # one of them speaks
    metrics = [json.loads((run / "metrics.json").read_text()) for run in (alone, out)]
    assert metrics[0]["steps"] == metrics[1]["steps"]


def test_a_run_of_two_processes_is_ended_by_one_and_by_two(tmp_path, alone, together):
    engine, out, _ = together
    for name in ("by one", "by two"):
        shutil.copytree(out, tmp_path / name)
        (tmp_path / name / "checkpoints/step-12/state.json").unlink()  # so that step 8 is the last sound one
    pretrain(tmp_path / "by one", "--resume")
    assert_same_training(alone, tmp_path / "by one")
    pretrain_in_two(engine, tmp_path / "by two", "--resume")
    assert_same_training(alone, tmp_path / "by two")


def test_a_run_of_one_process_is_ended_by_two(tmp_path, alone):
    shutil.copytree(alone, tmp_path / "run")
    (tmp_path / "run/checkpoints/step-12/state.json").unlink()
    pretrain_in_two("data parallel", tmp_path / "run", "--resume")
    assert_same_training(alone, tmp_path / "run")


def test_a_process_that_dies_ends_the_run_with_a_word_and_a_checkpoint(tmp_path, capsys):
    process = launched("data parallel", tmp_path / "run", "--steps", "80")
    wait_for(process, tmp_path / "run/checkpoints/step-4")
    workers = psutil.Process(process.pid).children(recursive=True)
    next(worker for worker in workers if worker.environ().get("RANK") == "1").kill()
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    # The launcher's word to stop may come before the connection is found lost.
    died, stopped = "bertmini: error: another process of this run has died; ", "bertmini: interrupted; "
    assert died in said or stopped in said
    assert "is kept: continue it with --resume" in said
    last = max(int(path.name[5:]) for path in (tmp_path / "run/checkpoints").glob("step-*"))
    assert 4 <= last < 80
    pretrain(tmp_path / "run", "--resume")
    assert [line["step"] for line in lines(tmp_path / "run") if "mlm" in line] == list(range(1, 81))


def wait_for(process: subprocess.Popen, path: Path) -> None:
    for _ in range(6000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise TimeoutError(path)
