"""What the measuring scripts share: how results are kept, and how two sides are compared."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch, tmp_path):
    """A script as a module, whose results go elsewhere."""

    def load(name: str):
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module(name)
        monkeypatch.setattr(sys.modules["machine"], "RESULTS", tmp_path)
        monkeypatch.setattr(sys.modules["machine"], "gflops", dict)
        return module

    return load


def test_results_of_other_settings_are_neither_mixed_nor_lost(script, tmp_path):
    machine = script("machine")
    assert machine.earlier("new", {"rows": 8}) == {}
    machine.save("old", {"rows": 8, "runs": [1]})
    assert machine.earlier("old", {"rows": 8})["runs"] == [1]
    with pytest.raises(SystemExit, match=r"old\.json: measured with rows 8, and now it is 9; give the same"):
        machine.earlier("old", {"rows": 9})
    assert json.loads((tmp_path / "old.json").read_text())["runs"] == [1]


def test_runs_are_compared_seed_by_seed_and_times_at_as_many_threads(script):
    def run(seed, threads, seconds, accuracy):
        return {"seed": seed, "threads": threads, "seconds": seconds, "accuracy": accuracy}

    runs = {
        "bertmini": [run(0, 2, 100, 0.9), run(1, 1, 200, 0.8), run(2, 1, 10, 0.1)],
        "trainer": [run(1, 1, 300, 0.7), run(0, 1, 250, 0.9)],
        "trainer_tuned": [],
    }
    found = script("finetuning").compared("accuracy", runs)
    assert found["time_ratios"] == {"trainer": 1.5}
    assert found["above"] == {"trainer": pytest.approx(0.05)}
    # The differences 0.1 and 0 have a standard deviation of 0.1 / sqrt(2), and there are two of them.
    assert found["standard_error"] == {"trainer": pytest.approx(0.05)}
    runs["trainer"] = runs["trainer"][1:]
    found = script("finetuning").compared("accuracy", runs)
    assert (found["time_ratios"], found["standard_error"]) == ({}, {})


def test_parts_of_one_file_do_not_erase_each_other(script, tmp_path, monkeypatch):
    tagging = script("tagging")

    def half(options, before):
        yield {"runs": 1}
        sys.modules["machine"].save("tagging", tagging.earlier("tagging") | {"features": {"other": 1}})
        yield {"runs": 2}

    monkeypatch.setattr(tagging, "side_by_side", half)
    given = ["--data", str(tmp_path), "--model", str(tmp_path), "--part", "fine-tuning"]
    monkeypatch.setattr(sys, "argv", ["tagging.py", *given])
    tagging.main()
    found = json.loads((tmp_path / "tagging.json").read_text())
    assert (found["fine-tuning"], found["features"]) == ({"runs": 2}, {"other": 1})


def test_a_compression_that_was_interrupted_goes_on(script, tmp_path, monkeypatch):
    compress, called = script("compress"), []
    monkeypatch.setattr(compress, "command", lambda arguments: called.append(arguments))
    compress.run("compress --int8", tmp_path / "new")
    for name in ("run.json", "metrics.json"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).touch()
        compress.run("compress --int8", tmp_path / "run")
    given, new, begun = ["compress", "--int8", "--out"], str(tmp_path / "new"), str(tmp_path / "run")
    assert called == [[*given, new], [*given, begun, "--resume"]]


def test_seeds_that_were_measured_are_left_out(script):
    little_data = script("little_data")
    assert list(little_data.left({}, 2)) == [0, 1]
    assert list(little_data.left({"a": [1, 2], "b": [1]}, 3)) == [1, 2]
    assert list(little_data.left({"a": [1, 2], "b": []}, 1)) == [0]


def test_a_distillation_measures_teacher_student_and_who_had_none_and_goes_on(script, tmp_path, monkeypatch):
    distillation = script("distillation")
    gazette = sys.modules["gazette"]
    small = gazette.Setting("classify", "accuracy", 16, 1, 8)
    monkeypatch.setattr(distillation, "SETTINGS", {"emotion": small})
    for name, value in {
        "TASKS": ("emotion",),
        "DOCUMENTS": 20,
        "BATCH": 4,
        "LENGTH": 64,
        "ROUNDS": 1,
    }.items():
        monkeypatch.setattr(distillation, name, value)
    monkeypatch.setattr(gazette, "DEV", 8)
    given = ["distillation.py", "gazette", "--cache", str(tmp_path / "cache"), "--steps", "2", "--seeds"]
    monkeypatch.setattr(sys, "argv", [*given, "1"])
    distillation.main()
    found = json.loads((tmp_path / "distillation.json").read_text())["gazette"]
    assert [*found["scores"]] == ["teacher", "student", "student without a teacher"]
    assert found["of the layers"]["teacher"] == 2 * found["of the layers"]["student"]
    assert {*found["seconds"]["student"]} == {*distillation.SHAPES}

    trained = []
    monkeypatch.setattr(distillation, "learn", lambda *given: trained.append(given[5]) or {"accuracy": 0.5})
    monkeypatch.setattr(sys, "argv", [*given, "2"])
    distillation.main()
    again = json.loads((tmp_path / "distillation.json").read_text())["gazette"]
    assert trained == [1, 1, 1]
    assert again["scores"]["student"]["emotion"] == found["scores"]["student"]["emotion"] | {"1": 0.5}
    monkeypatch.setattr(sys, "argv", [*given, "1", "--steps", "3"])
    with pytest.raises(SystemExit, match=r"gazette: measured with .*2., and now it is .*3"):
        distillation.main()
