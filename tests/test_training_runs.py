"""Claims about run directories: nothing is lost, and an interrupted run continues to the same bits."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import stat
from pathlib import Path

import pytest
import torch

from bertmini import BertConfig, BertForPreTraining
from bertmini.errors import InputError
from bertmini.files import write
from bertmini.training import Options, Run, train
from bertmini.training.options import MEASURED

CONFIG = BertConfig(
    vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=16, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2,
)  # fmt: skip
OPTIONS = Options(steps=20, learning_rate=1e-3, log_every=3, evaluate_every=4, metric="mlm_loss",
                  checkpoint_every=1, keep=3, accumulation=2)  # fmt: skip


def new_model() -> BertForPreTraining:
    torch.manual_seed(1)
    return BertForPreTraining(CONFIG)


def batch_at(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    input_ids = torch.randint(5, 60, (4, 8), generator=generator)
    masked = torch.rand(4, 8, generator=generator) < 0.4
    masked[:, 1] = True
    return {
        "input_ids": input_ids.masked_fill(masked, 4),
        "labels": input_ids.masked_fill(~masked, -100),
        "next_sentence_label": torch.randint(0, 2, (4,), generator=generator),
    }


def evaluate(model) -> dict[str, float]:
    return {"mlm_loss": model(**batch_at(10_000)).losses["mlm"].item()}


class Interrupted(Exception):
    pass


def interrupted_at(step: int):
    """`batch_at` that fails in the middle of an update."""

    def until(n: int) -> dict[str, torch.Tensor]:
        if n == step * OPTIONS.accumulation + 1:
            raise Interrupted
        return batch_at(n)

    return until


def result_of(run: Run, model: torch.nn.Module) -> tuple[dict, list]:
    """Weights, and the log without its clock."""
    lines = [{name: value for name, value in line.items() if name not in MEASURED} for line in run.lines()]
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, lines


def assert_same(one: tuple[dict, list], other: tuple[dict, list]) -> None:
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[dict, list]:
    run, model = Run.create(tmp_path_factory.mktemp("run") / "whole", OPTIONS), new_model()
    train(model, batch_at, OPTIONS, evaluate=evaluate, run=run)
    return result_of(run, model)


def interrupt(directory: Path, step: int) -> None:
    with pytest.raises(Interrupted):
        train(
            new_model(), interrupted_at(step), OPTIONS, evaluate=evaluate, run=Run.create(directory, OPTIONS)
        )


def resume(directory: Path) -> tuple[dict, list]:
    run, model = Run.resume(directory), new_model()
    torch.manual_seed(99)  # the random state comes from the checkpoint
    train(model, batch_at, run.options, evaluate=evaluate, run=run)
    return result_of(run, model)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, uninterrupted):
    interrupt(tmp_path / "run", 11)
    assert_same(resume(tmp_path / "run"), uninterrupted)


def test_lines_logged_after_the_last_checkpoint_do_not_stand_twice(tmp_path, uninterrupted):
    interrupt(tmp_path / "run", 11)
    for path in (tmp_path / "run/checkpoints").glob("step-1*"):
        path.rename(path.with_name("lost-" + path.name))  # leaves step 9, while the log reaches 11
    Run(tmp_path / "run").log({"step": 12, "loss": 0.0})
    assert_same(resume(tmp_path / "run"), uninterrupted)


def test_a_run_interrupted_before_its_first_checkpoint_starts_again(tmp_path, uninterrupted):
    interrupt(tmp_path / "run", 0)
    assert_same(resume(tmp_path / "run"), uninterrupted)


def test_a_norm_that_is_no_number_is_null_in_the_log(tmp_path):
    """fp16 gradients overflow now and then; JSON knows no infinity."""
    run = Run.create(tmp_path / "run", OPTIONS)
    run.log({"step": 1, "loss": 2.0, "gradient_norm": math.inf})
    run.log({"step": 2, "dev": {"mse": math.nan}})
    assert run.lines()[0] == {"step": 1, "loss": 2.0, "gradient_norm": None}
    assert run.lines()[1] == {"step": 2, "dev": {"mse": None}}


def test_resuming_a_finished_run_changes_nothing(tmp_path, uninterrupted):
    run, model = Run.create(tmp_path / "run", OPTIONS), new_model()
    train(model, batch_at, OPTIONS, evaluate=evaluate, run=run)
    assert_same(resume(tmp_path / "run"), uninterrupted)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"]
)
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path, uninterrupted, caplog, name, damage
):
    interrupt(tmp_path / "run", 11)
    path = tmp_path / "run/checkpoints/step-11" / name
    data = bytearray(path.read_bytes())
    if damage == "changed":
        data[len(data) // 2] ^= 255
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    if damage == "gone":
        path.unlink()
    assert_same(resume(tmp_path / "run"), uninterrupted)
    assert "step-11 is damaged" in caplog.text


def test_only_damaged_checkpoints_are_refused_in_one_line(tmp_path):
    interrupt(tmp_path / "run", 5)
    for path in (tmp_path / "run/checkpoints").iterdir():
        (path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="all 3 checkpoints are damaged") as caught:
        resume(tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(tmp_path, uninterrupted):
    def loss(model, batch):
        output = model(**batch)
        if torch.equal(batch["labels"], batch_at(22)["labels"]):
            output.losses["nsp"] = output.losses["nsp"] * float("inf")
        return output

    run = Run.create(tmp_path / "run", OPTIONS)
    with pytest.raises(InputError, match=r"step 12: the loss is no longer a number .*step-11 is kept; "):
        train(new_model(), batch_at, OPTIONS, evaluate=evaluate, run=run, loss=loss)
    assert_same(resume(tmp_path / "run"), uninterrupted)


def test_a_half_written_checkpoint_is_not_seen(tmp_path, uninterrupted):
    interrupt(tmp_path / "run", 11)
    (tmp_path / "run/checkpoints/.step-10.tmp").mkdir()
    (tmp_path / "run/checkpoints/.step-10.tmp/model.safetensors").write_bytes(b"half")
    assert_same(resume(tmp_path / "run"), uninterrupted)
    assert not list((tmp_path / "run/checkpoints").glob(".*"))


def test_the_last_checkpoints_are_kept_and_none_is_a_pickle(tmp_path):
    interrupt(tmp_path / "run", 11)
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == [
        "step-10",
        "step-11",
        "step-9",
    ]
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".jsonl"}


def test_patience_goes_on_where_it_was_interrupted(tmp_path):
    """Two measurements that are no better end a run, before and after the interruption together."""
    options = Options(steps=20, evaluate_every=2, metric="mlm_loss", patience=2, checkpoint_every=1)
    run = Run.create(tmp_path / "run", options)

    def until_five(number):
        if number == 5:
            raise Interrupted
        return batch_at(number)

    how = {"evaluate": lambda model: {"mlm_loss": 1.0}}
    with pytest.raises(Interrupted):
        train(new_model(), until_five, options, run=run, **how)
    history = train(new_model(), batch_at, options, run=Run.resume(run.directory), **how)
    assert (history.progress.step, history.progress.best_step) == (6, 2)


def test_checkpoints_are_as_far_apart_as_asked_for_and_one_is_at_the_end(tmp_path):
    options = Options(steps=7, checkpoint_every=3, keep=9, precision="float32")
    run = Run.create(tmp_path / "run", options)
    train(new_model(), batch_at, options, run=run)
    assert [path.name for path in run.saved()] == ["step-3", "step-6", "step-7"]


def test_a_full_disk_is_one_clear_line_and_loses_no_checkpoint(tmp_path, uninterrupted):
    """The system itself refuses to write more than 30 kB to a file, as it does when a disk is full."""
    interrupt(tmp_path / "run", 5)
    before = {path: path.read_bytes() for path in (tmp_path / "run/checkpoints").rglob("*") if path.is_file()}
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(
            InputError, match=r"cannot be written \(.*\); .*the checkpoints before it are intact"
        ) as caught:
            resume(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    assert "\n" not in str(caught.value)
    assert before == {
        path: path.read_bytes() for path in (tmp_path / "run/checkpoints").rglob("*") if path.is_file()
    }
    assert_same(resume(tmp_path / "run"), uninterrupted)


def test_an_existing_directory_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="exists already"):
        Run.create(tmp_path / "run", OPTIONS)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_resuming_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run directory"):
        Run.resume(tmp_path)


def test_a_checkpoint_of_another_shape_is_refused_with_the_tensor_and_both_shapes(tmp_path):
    interrupt(tmp_path / "run", 5)
    run = Run.resume(tmp_path / "run")
    other = BertForPreTraining(CONFIG.replace(vocab_size=61))
    with pytest.raises(InputError, match=r"is \(60,.*the model has \(61,"):
        train(other, batch_at, run.options, run=run)


def test_run_json_says_what_was_asked_for_and_on_what_it_ran(tmp_path):
    options = Options(minutes=0.005, precision="auto")
    run = Run.create(tmp_path / "run", options, {"preset": "mini"})
    train(new_model(), batch_at, options, run=run)
    record = run.record()
    assert record["settings"] == {"preset": "mini"}
    assert record["training"]["minutes"] == 0.005
    assert record["training"]["steps"] == run.options.steps == run.lines()[-1]["step"]
    assert record["training"]["precision"] in ("bf16", "fp16", "float32")
    assert record["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert record["machine"]["cores"] > 0
    assert "command" in record
    assert "git_commit" in record


def test_the_options_of_the_first_call_are_those_of_the_run(tmp_path):
    run = Run.create(tmp_path / "run", Options())
    train(new_model(), batch_at, OPTIONS, evaluate=evaluate, run=run)
    assert run.options.steps == OPTIONS.steps
    assert train(new_model(), batch_at, Options(steps=40), run=Run.resume(run.directory)).progress.step == 20


def test_the_result_lies_beside_the_log(tmp_path):
    run, model = Run.create(tmp_path / "run", OPTIONS), new_model()
    run.finish({"dev": {"accuracy": 0.5}, "seconds": 1.0}, model)
    assert json.loads((run.directory / "metrics.json").read_text())["dev"] == {"accuracy": 0.5}
    again = BertForPreTraining.from_pretrained(run.directory)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert not [path for path in run.directory.iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(os.name != "posix", reason="the lock is POSIX")
def test_a_file_system_without_locks_is_trained_on(tmp_path, monkeypatch):
    run = Run.create(tmp_path / "run", OPTIONS)

    def missing(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", missing)
    with run.alone():
        run.log({"step": 1})


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a directory cannot be opened")
def test_a_file_system_that_syncs_no_directory_is_written_to(tmp_path, monkeypatch):
    sync = os.fsync

    def of_files(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr("bertmini.files.os.fsync", of_files)
    write(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"
