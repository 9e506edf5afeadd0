"""A run that is killed, at any moment and as often as you like, goes on to the bits of one that never was.

Children die by SIGKILL at a chosen call of Python or C, so that a failure can be repeated: its message has
the number of the call.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm import tqdm

from bertmini import BertConfig, BertForPreTraining, Gazette, WordPieceTokenizer, cli
from bertmini.training import Options, Run, loop, train
from bertmini.training.options import MEASURED

MODULES = ("cli", "compress.distill", "predict", "tasks.pretrain", "tasks.classify", "training.board")
SLOW = ("sklearn.metrics", "torch._dynamo", "accelerate", "pytest")
processes = multiprocessing.get_context("forkserver")  # a child begins in milliseconds, all imported
processes.set_forkserver_preload([*(f"bertmini.{name}" for name in MODULES), *SLOW])
FILES = (io.BufferedWriter, io.TextIOWrapper)
CHANGES = ("rmdir", "unlink", "rename", "replace", "truncate")
BEGINNINGS = {getattr(Run, name).__func__.__code__ for name in ("create", "resume")}
CONFIG = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
KILLS, SEED = 10, 20


class Death:
    """Counts a process's calls from the beginning of its run, and kills it at the one numbered `at`.

    Args:
        at: the call, from 1; 0 only counts.
        of_files: count only what changes files, and die in the middle of a write.
    """

    def __init__(self, at: int = 0, of_files: bool = False) -> None:
        self.at, self.of_files, self.calls, self.begun = at, of_files, 0, False

    def __call__(self, frame: Any, event: str, arg: Any) -> None:
        """What `sys.setprofile` calls."""
        if not self.begun:
            self.begun = frame.f_code in BEGINNINGS
        elif event == "c_call" and self.of_files:
            if getattr(arg, "__module__", None) == "posix" and arg.__name__ in CHANGES:
                self.calls += 1
                self.die_in_time()
            elif arg.__name__ == "write" and isinstance(arg.__self__, FILES):
                self.calls += 1
                if self.calls == self.at:
                    arg.__self__.write('{"st' if isinstance(arg.__self__, io.TextIOBase) else b'{"st')
                    arg.__self__.flush()
                self.die_in_time()
        elif event in ("call", "c_call") and not self.of_files:
            self.calls += 1
            self.die_in_time()

    def die_in_time(self) -> None:
        if self.calls == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def child(job: Callable[[], Any], death: Death | None, told: Any, messages: Path) -> None:
    descriptor = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is the system's, where the dead leave it
    loop.matrix_peak = lambda *_: 1e11  # it is slow, and part of the log's clock alone
    sys.setprofile(death)  # None: nothing is counted, which is faster
    code = job()
    sys.setprofile(None)
    told.send((code, death.calls if death else 0))


def in_child(work: Command | Library, messages: Path, death: Death | None = None) -> int | None:
    """Works in a process of its own; returns the number of calls, None where it was killed."""
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=child, args=(work.job(), death, there, messages))
    process.start()
    there.close()
    process.join()
    if process.exitcode == -signal.SIGKILL:
        return None
    assert process.exitcode == 0, messages.read_text()
    code, calls = here.recv()
    assert code in (0, None), messages.read_text()
    return calls


class Command:
    """A command line of bertmini that makes a run directory."""

    def __init__(self, line: str, out: Path) -> None:
        self.line, self.out = line, out

    def job(self) -> Callable[[], int]:
        """What a child does: begin, or go on where there is something to go on with.

        The line is parsed here, where what the parser has to import is imported once for all children.
        """
        name = self.line.split(" --")[0].split()
        is_begun = (self.out / "run.json").exists()
        options = ["--resume"] if is_begun else self.line.split()[len(name) :]
        return partial(run_parsed, cli.parse([*name, *options, "--out", str(self.out)]))


def run_parsed(command: argparse.Namespace) -> int:
    cli.parse = lambda _: command
    return cli.main([])


class Library:
    """The same without a command line: create, train, finish."""

    OPTIONS = Options(steps=2, learning_rate=1e-3, log_every=1, evaluate_every=1, metric="mlm_loss",
                      checkpoint_every=1, keep=1, precision="float32")  # fmt: skip

    def __init__(self, out: Path) -> None:
        self.out = out

    def job(self) -> Callable[[], None]:
        return self.run

    def run(self) -> None:
        torch.manual_seed(1)
        model = BertForPreTraining(
            BertConfig(vocab_size=60, max_position_embeddings=16, **CONFIG | {"num_hidden_layers": 1})
        )
        is_begun = (self.out / "run.json").exists()
        run = Run.resume(self.out) if is_begun else Run.create(self.out, self.OPTIONS)
        history = train(model, batch_at, run.options, evaluate=evaluate, run=run)
        run.finish({"train": {"loss": history.curve("loss")[1][-1]}}, model)


def batch_at(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(5, 60, (4, 8), generator=generator)
    return {"input_ids": ids, "labels": ids, "next_sentence_label": torch.tensor([0, 1, 0, 1])}


def evaluate(model: torch.nn.Module) -> dict[str, float]:
    return {"mlm_loss": model(**batch_at(10_000)).losses["mlm"].item()}


def result_of(out: Path) -> dict[str, Any]:
    """All that a run leaves, without the clock: weights, optimiser and random states bit for bit."""
    files = [path for path in out.rglob("*") if path.is_file()]
    last = Run(out).saved()[-1]
    kept = [path for path in files if path.parent in (out, last)]
    result: dict[str, Any] = {
        str(path.relative_to(out)): path.read_bytes()
        for path in kept
        if path.suffix == ".safetensors" or path.name in ("config.json", "vocab.txt", "tokenizer.json")
    }
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    metrics = json.loads((out / "metrics.json").read_text())
    result["log"] = [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]
    result["metrics"] = {name: value for name, value in metrics.items() if name not in MEASURED}
    result["half-written"] = [path.name for path in out.rglob(".*")]
    return result


def assert_same(one: dict[str, Any], other: dict[str, Any], when: str) -> None:
    assert one.keys() == other.keys(), when
    assert [name for name in one if one[name] != other[name]] == [], when


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> dict[str, str]:
    """Small command lines: a step takes milliseconds, and there are checkpoints every few."""
    folder = tmp_path_factory.mktemp("material")
    documents = [document.text for document in Gazette().documents(12)]
    (folder / "text.txt").write_text("\n\n\n\n".join(documents), encoding="utf-8")
    tokenizer = WordPieceTokenizer.train(documents, 300, model_max_length=32)
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(vocab_size=300, max_position_embeddings=32, **CONFIG))
    for part in (tokenizer, model):
        part.save_pretrained(folder / "model")
    (folder / "moods").mkdir()
    for part, rows in (("train", 24), ("dev", 4)):
        moods = "".join(f"it rained {i} days;fear\nthe sun came on day {i};joy\n" for i in range(rows // 2))
        (folder / f"moods/{part}.txt").write_text(moods, encoding="utf-8")
    learning = "--batch-size 4 --log-every 2 --learning-rate 1e-3 --precision float32"
    text = f"--data {folder}/text.txt --max-length 32 --held-out 4 --evaluate-every 4 --checkpoint-every 3"
    return {
        "pretrain": f"pretrain --init {folder}/model --short-share 0.2 --steps 10 {text} {learning}",
        "finetune classify": f"finetune classify --model {folder}/model --data {folder}/moods --epochs 2"
        f" --accumulation 2 --max-length 16 {learning}",
        "distill": f"distill --teacher {folder}/model --steps 8 --intermediate tinybert --mask-smoothing 0.7"
        f" {text} {learning}",
    }


@pytest.fixture(scope="module", params=["pretrain", "finetune classify", "distill"])
def whole(request, lines, tmp_path_factory) -> tuple[str, dict[str, Any], int]:
    """A command line, what it leaves when nothing disturbs it, and its number of calls."""
    out = tmp_path_factory.mktemp("whole") / "run"
    line = lines[request.param]
    calls = in_child(Command(line, out), out.with_name("messages"), Death())
    assert calls
    return line, result_of(out), calls


def test_the_same_seed_gives_the_same_bits(tmp_path, whole):
    line, expected, _ = whole
    in_child(Command(line, tmp_path / "run"), tmp_path / "messages")
    assert_same(result_of(tmp_path / "run"), expected, line)


def test_a_run_killed_at_a_random_moment_goes_on_to_the_same_bits(tmp_path, whole):
    line, expected, calls = whole
    rng = random.Random(f"{SEED} {line.split()[0]}")
    for number, at in enumerate(sorted(rng.sample(range(1, calls), KILLS))):
        command = Command(line, tmp_path / f"run-{number}")
        when = f"{line.split()[0]}, killed at call {at} of {calls}"
        assert in_child(command, tmp_path / "messages", Death(at)) is None, when
        in_child(command, tmp_path / "messages")
        assert_same(result_of(command.out), expected, when)


def test_a_run_killed_over_and_over_goes_on_to_the_same_bits(tmp_path, whole):
    line, expected, calls = whole
    rng, command, deaths = (
        random.Random(f"{SEED} again {line.split()[0]}"),
        Command(line, tmp_path / "run"),
        [],
    )
    for _ in range(8):
        deaths.append(rng.randrange(1, calls))
        if in_child(command, tmp_path / "messages", Death(deaths[-1])) is not None:
            break
    else:
        in_child(command, tmp_path / "messages")
    assert_same(result_of(command.out), expected, f"{line.split()[0]}, killed at the calls {deaths}")


def test_a_run_killed_at_any_step_of_writing_any_file_goes_on_to_the_same_bits(tmp_path):
    """run.json, the log, checkpoints and the result: before every change, and with half of it written."""
    in_child(Library(tmp_path / "whole"), tmp_path / "messages")
    expected = result_of(tmp_path / "whole")
    at, killed = 0, True
    while killed:
        at += 1
        work = Library(tmp_path / str(at))
        killed = in_child(work, tmp_path / "messages", Death(at, of_files=True)) is None
        in_child(work, tmp_path / "messages")
        assert_same(result_of(work.out), expected, f"killed at change {at} of a file")
    assert at > 50
