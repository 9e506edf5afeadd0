"""The ablations' command: what its tables hold, and that it goes on where it was."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bertmini.data.batches import OBJECTIVES

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def ablations(monkeypatch, tmp_path):
    """The script as a module, whose results go elsewhere."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "ablations", raising=False)
    module = importlib.import_module("ablations")
    monkeypatch.setattr(sys.modules["machine"], "RESULTS", tmp_path / "results")
    return module


@pytest.fixture
def small(ablations, monkeypatch):
    """The same with two small tables, which share a row."""
    Row, Table, Setting = ablations.Row, ablations.Table, ablations.Setting
    bert = ablations.Pretraining(steps=2, batch_size=2, documents=40)
    left, right = replace(bert, objective="ltr"), replace(bert, objective="rtl")
    rows = (
        Row("BERT", bert),
        Row("left to right", left),
        Row("left to right + BiLSTM", left, lstm=True),
        Row("left to right beside right to left", left, beside=right),
    )
    student = Row("student", ablations.Distillation(bert, layers=(0,), steps=2))
    tables = {
        "directions": Table("a paper", ("inference", "entities"), rows),
        "distillation": Table("another", ("inference",), (Row("the teacher", bert), student)),
    }
    settings = {"entities": Setting("tag", "f1", 24, 1, 8, 8)}
    settings["inference"] = Setting("classify", "accuracy", 24, 1, 8, 8)
    for name, value in {"TABLES": tables, "SETTINGS": settings, "HELD_OUT": 2}.items():
        monkeypatch.setattr(ablations, name, value)
    return ablations


def counting(monkeypatch, small):
    """Counts the trainings from now on; stops as by Ctrl-C when there were so many fine-tunings."""
    calls, limit = Counter(), {"finetune": 1000}

    def counted(name, function):
        def call(*args, **options):
            if calls[name] == limit.get(name):
                raise KeyboardInterrupt
            calls[name] += 1
            return function(*args, **options)

        return call

    monkeypatch.setattr(small, "finetune", counted("finetune", small.finetune))
    monkeypatch.setattr(small.pretrain, "pretrain", counted("pretrain", small.pretrain.pretrain))
    return calls, limit


def test_an_interrupted_measurement_goes_on_and_runs_nothing_twice(small, monkeypatch, tmp_path, capsys):
    calls, limit = counting(monkeypatch, small)
    command = ["--cache", str(tmp_path / "cache"), "--seeds", "1"]
    file = tmp_path / "results" / "ablations.json"
    limit["finetune"] = 3
    with pytest.raises(KeyboardInterrupt):
        small.main(command)
    before = json.loads(file.read_text())
    assert len(before["runs"]) == 5  # two pretrainings, three fine-tunings
    limit["finetune"] = 1000
    small.main(command)
    after = json.loads(file.read_text())
    assert before["runs"].items() <= after["runs"].items()
    # BERT, two directions, the student; four rows with two tasks, and the student's one.
    assert calls == {"pretrain": 4, "finetune": 9}
    check_result(small, after["runs"], after["tables"])
    written = file.read_bytes()
    capsys.readouterr()
    small.main(command)
    assert calls == {"pretrain": 4, "finetune": 9}
    assert file.read_bytes() == written
    monkeypatch.setattr(small, "speed", lambda: 1e9)
    small.main([*command, "--plan"])
    assert "together         0 runs, 0.00 hours" in capsys.readouterr().out


def check_result(small, runs, tables):
    """Every row has its numbers, and what rows share is there once."""
    for title, table in small.TABLES.items():
        assert [row["name"] for row in tables[title]["rows"]] == [row.name for row in table.rows]
        for row in tables[title]["rows"]:
            assert row["runs"].keys() - {"pretraining beside"} == {"pretraining", *table.tasks}
            for name, measure in tables[title]["measures"].items():
                (key,) = row["runs"][name]
                assert 0 <= runs[key][measure] <= 1
            (key,) = row["runs"]["pretraining"]
            objective = row["options"].get("objective", "mlm+nsp").split("+")[0]
            assert runs[key]["dev"][f"{objective}_perplexity"] > 1
    shared = tables["directions"]["rows"][0]["runs"]
    assert tables["distillation"]["rows"][0]["runs"].items() <= shared.items()
    assert "sop_accuracy" in runs[shared["pretraining"][0]]["dev"]
    left = [row["runs"] for row in tables["directions"]["rows"][1:]]
    assert len({each["pretraining"][0] for each in left}) == 1
    assert len({each["entities"][0] for each in left}) == 3


def test_the_plan_counts_what_is_left_and_runs_nothing(small, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(small, "speed", lambda: 1e9)
    calls, _ = counting(monkeypatch, small)
    small.main(["--cache", str(tmp_path / "cache"), "--seeds", "2", "--plan"])
    # Of each seed three pretrainings and eight fine-tunings; and a student, whose teacher is there.
    told = capsys.readouterr().out.splitlines()
    assert [line.split(" runs")[0].split() for line in told] == [
        ["directions", "22"],
        ["distillation", "4"],
        ["together", "26"],
    ]
    assert not calls
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "results").exists()


def test_another_option_is_another_run(small):
    row = small.TABLES["directions"].rows[0]
    runs = [
        small.Pretrained(row.recipe, 0),
        small.Pretrained(row.recipe, 1),
        small.Pretrained(replace(row.recipe, steps=3), 0),
        small.Finetuned(row, "entities", 0),
        small.Finetuned(row, "entities", 1),
        small.Finetuned(row, "inference", 0),
        small.Finetuned(replace(row, lstm=True), "entities", 0),
        small.Finetuned(replace(row, beside=row.recipe), "entities", 0),
    ]
    assert len({small.key(run) for run in runs}) == len(runs)
    assert small.key(runs[3]) == small.key(small.Finetuned(replace(row, name="again"), "entities", 0))


def test_the_tables_hold_models_that_can_be_built_and_rows_that_can_be_read(ablations):
    for table in ablations.TABLES.values():
        assert len({row.name for row in table.rows}) == len(table.rows) > 1
        assert set(table.tasks) <= ablations.SETTINGS.keys()
        for recipe in {recipe for row in table.rows for recipe in (row.recipe, row.beside) if recipe}:
            pretraining = recipe
            if isinstance(recipe, ablations.Distillation):
                pretraining = recipe.teacher
                assert set(recipe.layers) < set(range(pretraining.layers))
            asked = OBJECTIVES[pretraining.objective]
            assert pretraining.inputs in (None, *asked.inputs)
            assert pretraining.new_model(0).config.direction == asked.direction
            assert recipe.work() > 0


def test_batches_of_all_sizes_read_as_many_tokens(ablations):
    recipes = [row.recipe for row in ablations.TABLES["batches"].rows]
    assert len({recipe.steps * recipe.batch_size for recipe in recipes}) == 1
    assert len({recipe.batch_size for recipe in recipes}) == len(recipes)
