"""The results page shows what the benchmarks wrote, and says what they did not."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("sphinx", reason="the book's tools are not installed")

from book.tools import results
from book.tools.project import BOOK, ROOT

MACHINE = {"processor": "a processor", "threads": 2, "capability": "AVX2", "gpus": []}
VERSIONS = {"python": "3.11", "torch": "9.9"}
TEST = {
    "accuracy": 0.75,
    "f1_macro": 0.7333,
    "classes": {
        "joy": {"precision": 1.0, "recall": 0.5, "f1": 0.6667, "support": 2},
        "fear": {"precision": 0.6667, "recall": 1.0, "f1": 0.8, "support": 2},
    },
    "confusion_matrix": [[1, 1], [0, 2]],
}
METRICS = {"dev": TEST | {"accuracy": 0.625}, "test": TEST, "seconds": 90.0, "tokens_per_second": 1234.5}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(results, "METRICS", tmp_path / "metrics.json")
    return tmp_path


def page() -> str:
    return results.filled((BOOK / "results.md").read_text("utf-8"))


def make_run(directory, seed=0, pretraining=False):
    directory.mkdir()
    training = {
        "steps": 20,
        "batch_size": 32,
        "learning_rate": 1e-4,
        "precision": "bf16",
        "seed": seed,
        "epochs": 3,
    }
    record = {
        "training": training,
        "settings": {"training": {"epochs": 3}},
        "machine": MACHINE,
        "versions": VERSIONS,
        "git_commit": None,
    }
    (directory / "run.json").write_text(json.dumps(record))
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, directory / "model.safetensors")
    metrics = METRICS
    if pretraining:
        dev = {
            "mlm_accuracy": 0.3125,
            "mlm_baseline_accuracy": 0.0625,
            "mlm_perplexity": 41.2,
            "nsp_accuracy": 0.8125,
        }
        metrics = {"dev": dev, "steps": 20, "seconds": 1200.0, "tokens_per_second": 5678.0}
    (directory / "metrics.json").write_text(json.dumps(metrics))
    lines = [{"step": step, "loss": 9.0, "mlm": 9.0 - step / 10, "nsp": 0.7} for step in range(10, 21, 10)]
    (directory / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def collect(monkeypatch, *arguments):
    script = ROOT / "benchmarks" / "gutenberg.py"
    monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
    monkeypatch.syspath_prepend(str(script.parent))
    runpy.run_path(str(script), run_name="__main__")


def test_without_measurements_the_page_says_so_in_every_section(folder):
    text = page()
    assert "<!-- results" not in text
    assert text.count("ot measured yet") >= len(results.SECTIONS)


def test_the_page_has_a_place_for_every_section():
    text = (BOOK / "results.md").read_text("utf-8")
    assert sorted(results.PLACE.findall(text)) == sorted(results.SECTIONS)


def test_the_page_itself_holds_no_measured_number():
    prose = (BOOK / "results.md").read_text("utf-8")
    assert "%" not in prose
    assert not [
        word for word in prose.split() if word.strip(".,*").replace(",", "").replace(".", "").isdigit()
    ]


def test_collected_runs_reach_the_page(folder, monkeypatch, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    out = folder / "gutenberg.json"
    books = make_run(runs / "books", pretraining=True)
    collect(monkeypatch, "--pretrained", books, "--out", out)
    text = page()
    assert "31.2%" in text
    assert "6.2% (most frequent piece)" in text
    assert "17 parameters, 20 steps in 20 minutes, 5,678 tokens a second." in text
    assert "a processor, 2 threads, AVX2, torch 9.9" in text
    assert "not measured yet" in text

    several = [make_run(runs / f"real{seed}", seed) for seed in range(2)]
    collect(monkeypatch, "--own", make_run(runs / "own"), "--real", *several, "--out", out)
    measured = json.loads(out.read_text())
    assert "pretraining" in measured  # what an earlier call found stays
    assert [run["options"]["seed"] for run in measured["finetuning"]["real"]] == [0, 1]
    text = page()
    assert "| *mini*, from the books | 1 | 62.5% | 75.0% | 0.733 |" in text
    assert "75.0% (from 75.0% to 75.0%)" in text
    assert "| joy | 1.000 | 0.500 | 0.667 | 2 |" in text
    assert 'alt="mini, from the books: 3 of 4 right; most often 1 of 2 joy taken for fear."' in text
    assert "| *mini*, random weights | not measured yet |" in text


def test_the_side_by_side_run_reaches_the_page(folder):
    ours = {"seed": 0, "seconds": 300.0, "dev": TEST, "test": TEST}
    theirs = {"seed": 0, "seconds": 1000.0, "dev": TEST, "test": TEST}
    measured = {
        "machine": MACHINE,
        "versions": VERSIONS,
        "bertmini": [ours],
        "transformers": [theirs],
    }
    measured["time_ratio"] = 0.3
    (folder / "emotion.json").write_text(json.dumps(measured))
    text = page()
    assert "| bertmini | 1 | 300 | 75.0% | 75.0% | 0.733 |" in text
    assert "**30%** of the time" in text
    assert "| 6 layers, from much text | 1 | 75.0% |" in text


def test_translations_reach_the_page(folder):
    ours = {"parameters": 3_400_000, "seconds": 450, "epochs": 8.0, "bleu_greedy": 95.25, "bleu_beams": 95.5}
    theirs = {"parameters": 3_900_000, "seconds": 480, "epochs": 9.0, "bleu_greedy": 94.0}
    runs = [{"bertmini": ours, "encoder_decoder": theirs}, {"bertmini": ours, "encoder_decoder": theirs}]
    sets = {"quillish": {"minutes": 8.0, "runs": runs}}
    (folder / "translation.json").write_text(
        json.dumps({"machine": MACHINE, "versions": VERSIONS, "sets": sets})
    )
    text = page()
    assert "| quillish: one encoder with a mask | 2 | 3.4 | 7.5 | 8.0 | 95.2 | 95.5 |" in text
    assert "| quillish: encoder and decoder | 2 | 3.9 | 8.0 | 9.0 | 94.0 |  |" in text


def test_the_shipped_models_distance_to_the_limit_reaches_the_page(folder):
    dev = {"word_loss": 0.9, "limit_loss": 0.4, "word_accuracy": 0.7, "limit_accuracy": 0.85}
    dev |= {"mlm_accuracy": 0.5, "mlm_baseline_accuracy": 0.07, "nsp_accuracy": 0.95}
    (folder / "metrics.json").write_text(json.dumps({"dev": dev}))
    text = page()
    assert "**0.500 nats** above the limit" in text
    assert "| words right | 70.0% | 85.0% |" in text


def test_taggers_reach_the_page_each_part_as_it_is_measured(folder):
    assert "python benchmarks/tagging.py" in page()
    run = {"f1": 0.4, "precision": 0.5, "recall": 0.3333, "accuracy": 0.9, "seconds": 61.0}
    measured = {"machine": MACHINE, "gflops": {"float32": 20.2, "bf16": 1087.0}, "versions": VERSIONS}
    measured["features"] = {"WNUT 2017": {"fine-tuned": [run], "last": [run, run | {"f1": 0.3}]}}
    (folder / "tagging.json").write_text(json.dumps(measured))
    assert "| last | 35.0% (from 30.0% to 40.0%) |" in page()
    assert "in products of matrices: 20 in float32, 1,087 in bf16." in page()
    assert "| bertmini |" not in page()
    measured["fine-tuning"] = {"runs": {"bertmini": [run], "trainer": [run]}}
    (folder / "tagging.json").write_text(json.dumps(measured))
    assert "| bertmini | 1 | 40.0% | 50.0% | 33.3% | 61 |" in page()
    measured["features"]["WNUT 2017"]["sum-all"] = measured["fine-tuning"]["runs"]["trainer"] = []
    (folder / "tagging.json").write_text(json.dumps(measured))
    assert "| sum-all |  |" in page()
    assert "| trainer |" not in page()


def test_how_far_chance_goes_depends_on_the_texts():
    found = {"tiny, pretrained": 0.7, "tiny, random weights": 0.75}
    assert results.out_of_order(found, 1000) == ["*tiny, pretrained* is below *tiny, random weights*"]
    assert results.out_of_order(found, 400) == []


def test_answers_reach_the_page_with_the_ratio_in_each_precision(folder):
    assert "python benchmarks/inference.py" in page()
    speeds = {"bertmini": 230.2, "bertmini_float32": 80.0, "pipeline": 22.0, "loop": 150.0}
    measured = {"machine": MACHINE, "versions": VERSIONS, "rows": 20000, "rows_per_second": speeds}
    measured |= {"ratio_to_pipeline": 10.46, "ratio_to_loop": 1.53, "ratio_to_pipeline_in_float32": 3.64}
    measured |= {"same_labels_as_pipeline": 0.9939, "same_labels_as_pipeline_in_float32": 1}
    (folder / "inference.json").write_text(json.dumps(measured))
    text = page()
    assert "| pipeline | 22 | 10.46 |" in text
    assert "| pipeline, bertmini in float32 | 22 | 3.64 |" in text
    assert "Of the 20,000 labels 99.39% are those of the pipeline, in float32 100.00%." in text


def test_what_is_committed_fills_the_page():
    assert "<!-- results" not in page()


def test_the_one_table_reads_every_committed_measurement():
    command = [sys.executable, str(ROOT / "benchmarks" / "table.py")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "not measured yet" not in printed
    for measured in (
        "pretraining, base",
        "fine-tuning, sst2",
        "inference",
        "preparation",
        "import",
        "cost model",
    ):
        assert measured in printed


def test_preparation_shows_its_speed_and_how_it_grows(folder):
    assert "python benchmarks/preparation.py" in results.preparation()
    of_size = {"tokens": 2 * 10**9, "nanoseconds_per_token": 1234.5, "peak_mb": 300.4}
    measured = {
        "machine": MACHINE, "versions": VERSIONS,
        "speed": {"megabytes_per_second": {"ours": 9.04, "theirs": 3.56}, "ratio": 2.54},
        "growth": {
            "1 MB": {"prepare": of_size, "read": of_size | {"peak_mb": 7.0}},
            "2 MB to 1 MB": {"read peak_mb": 1.0},
        },
        "step": {"tiny, length 128": {"batch_ms": 0.897, "step_ms": 260.4, "share": 0.00344}},
    }  # fmt: skip
    (folder / "preparation.json").write_text(json.dumps(measured))
    text = results.preparation()
    assert "| MB of text a second | 9.0 | 3.6 | 2.54 |" in text
    assert "| 1 MB | 1,234 | 300 | 1,234 | 7 |" in text
    assert "2 MB" not in text
    assert "The batches that were read took 2469 to 2469 s." in text
    assert "| tiny, length 128 | 0.90 | 0.3% |" in text


def test_questions_show_every_contestant_with_and_without_the_threshold(folder):
    dev = {"exact": 0.5, "f1": 0.625, "has_answer_f1": 0.75, "no_answer_f1": 0.25}
    run = {"dev": dev, "training_windows_per_second": 12.34, "answering_windows_per_second": 40.0}
    ours = run | {"dev at the threshold": dev | {"f1": 0.6875}}
    runs = {"bertmini": [ours], "transformers": [run], "transformers_tuned": [run]}
    measured = {"machine": MACHINE, "versions": VERSIONS, "rows": 4000, "dev_questions": 1629, "runs": runs}
    (folder / "questions.json").write_text(json.dumps(measured))
    text = results.questions()
    assert "| bertmini | 1 | 50.0% | 62.5% | 75.0% | 25.0% |" in text
    assert "| bertmini, with its threshold | 1 | 50.0% | 68.8% | 75.0% | 25.0% |" in text
    assert "| transformers, tuned | 12.3 | 40.0 |" in text
    assert "4,000 training questions, 1,629 dev questions." in text


def test_the_five_sets_show_quality_and_time_beside_trainer(folder):
    runs = {
        "bertmini": [
            {"seed": 0, "seconds": 100.0, "pearson": 0.8},
            {"seed": 1, "seconds": 102.0, "pearson": 0.9},
        ],
        "trainer": [{"seed": 0, "seconds": 303.0, "pearson": 0.75}],
    }
    stsb = {"rows": 5749, "measure": "pearson", "runs": runs, "time_ratios": {"trainer": 3.0},
            "above": {"trainer": 0.05}, "standard_error": {"trainer": 0.02}}  # fmt: skip
    measured = {"machine": MACHINE, "versions": VERSIONS, "rows": 8000, "stsb": stsb}
    (folder / "finetuning.json").write_text(json.dumps(measured))
    text = results.five_sets()
    assert "| stsb, 5,749 rows, bertmini | 2 | 101 |  | pearson | 0.850 (from 0.800 to 0.900) |  |" in text
    assert "| stsb, 5,749 rows, Trainer | 1 | 303 | 3.00 | pearson | 0.750 | +0.050 ± 0.020 |" in text
    assert "| rte: not measured yet |" in text
    assert "--name finetuning_defaults" in text
    stsb["rows"] = 800
    (folder / "finetuning_defaults.json").write_text(json.dumps(measured))
    text = results.five_sets()
    assert "| stsb, 800 rows, Trainer | 1 | 303 |" in text
    assert "--name finetuning_defaults" not in text


def test_school_questions_stand_beside_their_floors(folder):
    runs = {"bertmini": [{"seconds": 100.0, "accuracy": 0.5}, {"seconds": 120.0, "accuracy": 0.52}]}
    measured = {
        "machine": MACHINE, "versions": VERSIONS, "rows": 2147, "questions": 549, "chance": 0.25,
        "baselines": {"tfidf": 0.3, "option_words": 0.34}, "runs": runs,
    }  # fmt: skip
    (folder / "choice.json").write_text(json.dumps(measured))
    text = results.choice()
    assert "| guessing |  | 25.0% |  |" in text
    assert "| words in common (TF-IDF) |  | 30.0% |  |" in text
    assert "| bertmini | 2 | 51.0% (from 50.0% to 52.0%) | 110 |" in text
    assert "2,147 questions to train on, 549 to answer." in text


def test_vectors_stand_beside_their_floors_and_the_plain_loop(folder):
    def runs(seconds: float, pearson: float) -> list[dict]:
        return [{"seed": 0, "seconds": seconds, "pearson": pearson, "spearman": 0.75}]

    trained = {
        kind: {"bertmini": runs(50.0, 0.8), "transformers": runs(100.0, 0.7)}
        for kind in ("bi-encoder", "cross-encoder")
    }
    cost = {"texts": 10_000, "pairs_per_second": 400.0, "bi_encoder_seconds": 21.0}
    measured = {
        "machine": MACHINE, "versions": VERSIONS, "rows": 5749, "trained": trained,
        "untrained": {"words in common": {"pearson": 0.5, "spearman": 0.625}},
        "cost": cost | {"cross_encoder_seconds": 36_000.0},
    }  # fmt: skip
    (folder / "vectors.json").write_text(json.dumps(measured))
    text = results.vectors()
    assert "| words in common, not trained here |  |  | 0.500 | 0.625 |" in text
    assert "| bi-encoder, bertmini | 1 | 50 | 0.800 | 0.750 |" in text
    assert "50% for the bi-encoder, 50% for the cross-encoder." in text
    assert "takes the bi-encoder 21 seconds, and the cross-encoder would take 10 hours" in text


def test_little_data_has_a_table_for_each_part_that_was_measured(folder):
    def runs(*accuracies: float) -> list[dict]:
        return [{"accuracy": a, "f1_macro": a / 2, "recalls": {"fear": a, "joy": 1.0}} for a in accuracies]

    assert results.little_data().count("Not measured yet.") == 5
    parts = {
        "curves": {"runs": {"bag of words": {"200": runs(0.5), "800": runs(0.625)}}},
        "options": {"runs": {"nothing": runs(0.5, 0.75)}},
        "rare": {"label": "fear", "runs": {"weights": runs(0.25)}},
    }
    (folder / "little_data.json").write_text(json.dumps({"machine": MACHINE, "versions": VERSIONS, **parts}))
    text = results.little_data()
    assert "| bag of words, 800 labels | 1 | 62.5% | 0.312 |" in text
    assert "| nothing | 2 | 62.5% (from 50.0% to 75.0%) | 0.312 (from 0.250 to 0.375) |" in text
    assert "| weights | 1 | 25.0% | 0.125 | 25.0% |" in text
    assert text.count("Not measured yet.") == 2


def test_the_gazettes_tasks_stand_between_floor_and_ceiling_and_faults_are_named(folder):
    def task(measure: str, baseline: float, ceiling: float, **runs: float) -> dict:
        names = {name: name.replace("_", ", ").replace("random", "random weights") for name in runs}
        return {
            "settings": {"measure": measure, "rows": 4000, "epochs": 3, "test": 1000},
            "labels": {"joy": 3000, "fear": 1000}, "collisions": 7, "baseline": baseline, "ceiling": ceiling,
            "known": "at least" if measure == "accuracy" else "by construction",
            "runs": {names[name]: [{measure: value}, {measure: value}] for name, value in runs.items()},
        }  # fmt: skip

    corpus = {"documents": 20_000, "seconds": 6.25, "collisions": {"dev": 0, "test": 1}}
    tasks = {
        "emotion": task("accuracy", 0.68, 0.97, mini_random=0.6, mini_pretrained=0.965),
        "quillish": task("bleu", 0.5, 100.0, mini_random=30.0, mini_pretrained=20.0, tiny_pretrained=10.0),
    }
    measured = {"machine": MACHINE, "versions": VERSIONS, "corpus": corpus, "tasks": tasks}
    (folder / "gazette.json").write_text(json.dumps(measured))
    text = results.gazette_tasks()
    assert "| emotion, accuracy | 4,000 × 3 | 0.68 |  |  | 0.60 | 0.96 | ≥ 0.97 |" in text
    assert "| quillish, BLEU / 100 | 4,000 × 3 | 0.01 |  | 0.10 | 0.30 | 0.20 | 1.00 |" in text
    assert "Within a hundredth of the best possible: emotion." in text
    assert "difference: quillish (*mini, pretrained* is below *mini, random weights*)." in text
    assert "| emotion | 2 | joy 75.0% | fear 25.0% | 7 of 1,000 |" in text
    assert "20,000 documents in 6.2 seconds" in text
    assert "0 of dev, 1 of test" in text


def test_what_was_made_smaller_shows_quality_size_and_time_and_what_nothing_beats(folder):
    assert "python benchmarks/compress.py" in results.compress()

    many, one = "32 rows of 64 tokens", "1 row of 32 tokens"

    def model(accuracy: float, batch: float, **size: int) -> dict:
        seconds = {many: {"median": batch}, one: {"median": batch / 8}}
        return {"accuracy": accuracy, "seconds": seconds, **size}

    models = {
        "whole": model(0.875, 0.2, bytes=40_000_000, zipped_bytes=37_000_000),
        "heads 50 %": model(0.85, 0.16, bytes=35_000_000, zipped_bytes=32_000_000),
        "int8 of torchao": model(0.9, 0.1),
        "float32, compiled": {"seconds": model(0, 0.4)["seconds"]},
    }
    fronts = {many: ["int8 of torchao"], "bytes": ["heads 50 %", "whole"]}
    gazette = {"models": models, "fronts": fronts, "rows": 1600, "test_rows": 1000, "epochs": 5, "again": 3}
    measured = {"machine": MACHINE, "versions": VERSIONS, "gazette": gazette}
    (folder / "compress.json").write_text(json.dumps(measured))
    text = results.compress()
    assert "| whole | 87.5% | 40.0 | 37.0 | 200.00 | 25.00 |" in text
    assert "| int8 of torchao | 90.0% |  |  | 100.00 | 12.50 |" in text
    assert "| float32, compiled |  |  |  | 400.00 | 50.00 |" in text
    assert "bytes: heads 50 %, whole." in text
    assert "python benchmarks/compress.py real" in text


def test_a_student_stands_beside_its_teacher_by_seed_with_what_both_cost(folder):
    assert "python benchmarks/distillation.py gazette" in results.distillation()
    scores = {
        "teacher": {"topic": {"0": 0.8, "1": 0.9}, "emotion": {"0": 0.8, "1": 0.7}},
        "student": {"topic": {"0": 0.8, "1": 0.7}, "emotion": {"0": 0.6}},
    }
    gazette = {
        "scores": scores,
        "parameters": {"teacher": 3_400_000, "student": 1_800_000},
        "of the layers": {"teacher": 3_160_000, "student": 1_580_000},
        "seconds": {"teacher": {"1 row": 0.004}, "student": {"1 row": 0.0025}},
    }
    measured = {"machine": MACHINE, "versions": VERSIONS, "gazette": gazette}
    (folder / "distillation.json").write_text(json.dumps(measured))
    text = results.distillation()
    assert "| teacher | 2 | 85.0% | 75.0% | 100.0% (from 100.0% to 100.0%) |" in text
    assert "| student | 1 | 75.0% | 60.0% | 87.5% |" in text
    assert "| student | 1.80 | 1.58 | 2.5 |" in text
    assert "1.60 at 1 row." in text
    assert "python benchmarks/distillation.py real" in text
