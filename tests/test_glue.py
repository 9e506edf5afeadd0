"""The nine tasks of GLUE: files as GLUE gives them, official metrics, learning rates and restarts."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch

from bertmini import InputError, WordPieceTokenizer
from bertmini.cli import COMMANDS, main
from bertmini.commands.options import GlueTask
from bertmini.data.task_files import Example
from bertmini.tasks import TASKS, restarts, task_options
from bertmini.tasks.glue import GLUE, Glue
from bertmini.tasks.restarts import finetune_best

# A header as in GLUE's own files, None where there is none, and two rows.
FILES = {
    "cola": (None, ["gj04\t1\t\tthe sea is calm", "gj04\t0\t*\tsea the calm is"]),
    "sst2": ("sentence\tlabel", ["a bright ship\t1", "a dark \"sea\t0"]),
    "mrpc": ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", ["1\t7\t8\tthe sea\ta sea",
                                                             "0\t7\t9\tthe sea\ta ship"]),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        ["1\t2\t3\tis it calm\tis it wild\t0", "4\t5\t6\tis it dark\tis it dark\t1"],
    ),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        ["0\tn\tn\t2\t1\tn\tn\tthe \"sea\ta sea\t5.000", "1\tn\tn\t2\t1\tn\tn\tthe sea\ta ship\t1.400"],
    ),
    "mnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        [f"0\t1\t2\tg\tb\tb\tp\tp\tthe sea is calm\tit is {word}\tneutral\t{label}"
         for word, label in (("calm", "entailment"), ("wild", "contradiction"), ("dark", "neutral"))],
    ),
    "qnli": ("index\tquestion\tsentence\tlabel", ["0\twho sails\ta ship sails\tentailment",
                                                  "1\twho cries\ta ship sails\tnot_entailment"]),
    "rte": ("index\tsentence1\tsentence2\tlabel", ["0\tthe sea is calm\tit is calm\tentailment",
                                                   "1\tthe sea is calm\tit is wild\tnot_entailment"]),
    "wnli": ("index\tsentence1\tsentence2\tlabel", ["0\tthe sea is calm\tit is\t1", "1\tthe sea\tit\t0"]),
}  # fmt: skip


def write(folder, name, part="train", extra=()):
    header, rows = FILES[name]
    (folder / f"{part}.tsv").write_text("\n".join([*([header] if header else []), *rows, *extra]) + "\n")


def write_all(folder, name):
    for part in ["train", *(["dev_matched", "dev_mismatched"] if name == "mnli" else ["dev"])]:
        write(folder, name, part)
    (folder / "test.tsv").write_text("index\tsentence\n0\ta secret\n")


@pytest.mark.parametrize("name", GLUE)
def test_glues_own_files_are_read(name, tmp_path):
    write_all(tmp_path, name)
    task = GLUE[name]
    splits = task.read(str(tmp_path))
    assert list(splits) == ["train", "dev", *(["dev_mismatched"] if name == "mnli" else [])]
    texts = {example.text for example in splits["train"]}
    assert all((example.pair is not None) == task.has_pairs for example in splits["train"])
    assert len(splits["dev"]) == len(FILES[name][1])
    assert texts <= {cell for row in FILES[name][1] for cell in row.split("\t")}
    if name == "stsb":
        assert [example.label for example in splits["dev"]] == [5.0, 1.4]
        assert '"' in splits["dev"][0].text
    else:
        assert {example.label for example in splits["dev"]} <= set(task.labels[0])


def test_cola_is_read_with_a_header_too(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nthe sea is calm\t1\n")
    assert GLUE["cola"].read(str(tmp_path))["train"] == [Example("the sea is calm", None, "1")]


@pytest.mark.parametrize("encoding", [None, "utf-16"])
def test_cola_is_read_where_only_dev_is_there(tmp_path, encoding):
    (tmp_path / "dev.tsv").write_text("gj04\t1\t\tthe sea is calm\n", encoding=encoding or "utf-8")
    for data in (tmp_path, tmp_path / "dev.tsv"):
        splits = GLUE["cola"].read(str(data), encoding=encoding)
        assert list(splits.values()) == [[Example("the sea is calm", None, "1")]]


def test_accuracy_asks_for_no_positive_label():
    logits, labels = np.eye(2), ["entailment", "neutral"]
    assert GLUE["mnli"].measure(logits, np.array([0, 1]), labels) == {"accuracy": 1.0}


def test_the_hubs_labels_are_known_and_the_positive_one_is_the_second(monkeypatch):
    class Part(list):
        pass

    rows = Part({"sentence1": "a", "sentence2": "b", "label": label} for label in (0, 1, 1))
    names = SimpleNamespace(int2str=["not_equivalent", "equivalent"].__getitem__)
    rows.features = {"sentence1": None, "sentence2": None, "label": names}
    monkeypatch.setattr("bertmini.data.hub.load", lambda name: {"train": rows, "validation": rows})
    splits = GLUE["mrpc"].read("hf:nyu-mll/glue:mrpc")
    labels = list(GLUE["mrpc"].head(splits["train"])["id2label"].values())
    assert labels == ["equivalent", "not_equivalent"]
    always_yes = np.array([[1.0, 0.0]] * 3)
    targets = np.array([labels.index(example.label) for example in splits["dev"]])
    assert GLUE["mrpc"].measure(always_yes, targets, labels) == {"f1": pytest.approx(0.8), "accuracy": 2 / 3}


def test_ragged_rows_are_counted_and_left_out_or_refused(tmp_path):
    write(tmp_path, "qqp", extra=["7\t8\t9\tis it", "7\t8"])
    with pytest.warns(UserWarning, match=r"2 of 4 rows are left out; the first: .*train\.tsv:4: 4 columns"):
        assert len(GLUE["qqp"].read(str(tmp_path))["train"]) == 2
    with pytest.raises(InputError, match=r"train\.tsv:4: 4 columns; expected 6"):
        GLUE["qqp"].read(str(tmp_path), strict=True)


@pytest.mark.parametrize(
    ("files", "task", "told"),
    [
        ("sst2", "rte", "train: single texts; rte has pairs"),
        ("rte", "cola", "train: pairs; cola has single texts"),
        ("rte", "mnli", r"labels are entailment, not_entailment; mnli has entailment, neutral"),
        ("mnli", "rte", "labels are contradiction, entailment, neutral; rte has not_entailment, entailment"),
    ],
)
def test_the_files_of_another_task_are_refused(files, task, told, tmp_path):
    write(tmp_path, files)
    with pytest.raises(InputError, match=told):
        GLUE[task].read(str(tmp_path))


@pytest.mark.parametrize("name", [name for name in GLUE if name != "stsb"])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_scikit_learn(name, seed):
    from sklearn import metrics

    task, random = GLUE[name], np.random.default_rng(seed)
    labels = list(task.labels[0])
    targets = random.integers(len(labels), size=40)
    logits = random.normal(size=(40, len(labels))) + 2 * np.eye(len(labels))[targets]
    official = {
        "accuracy": metrics.accuracy_score,
        "f1": metrics.f1_score,
        "matthews_corrcoef": metrics.matthews_corrcoef,
    }
    measured = task.measure(logits, targets, labels)
    assert list(measured) == list(task.metrics)
    for metric, value in measured.items():
        assert value == pytest.approx(official[metric](targets, logits.argmax(axis=1)), abs=1e-12)


def test_weights_are_chosen_by_the_metrics_that_the_paper_reports():
    """Devlin et al. 2018, Table 1: F1 for QQP and MRPC, Spearman correlation for STS-B; CoLA by Matthews'."""
    chosen = {name: task.METRIC for name, task in GLUE.items()}
    others = {"cola": "matthews_corrcoef", "mrpc": "f1", "qqp": "f1", "stsb": "spearman"}
    assert chosen == dict.fromkeys(GLUE, "accuracy") | others
    of_tasks = {name: task.METRIC for name, task in TASKS.items()}
    assert of_tasks == {
        "classify": "accuracy", "regress": "pearson", "tag": "f1", "qa": "f1", "choice": "accuracy",
        "seq2seq": "loss", "vectors": "spearman",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("targets", "answers"), [([1, 1, 0], [0, 0, 0]), ([0, 0, 0], [0, 0, 0]), ([1, 1], [1, 1])]
)
def test_constant_answers_measure_as_in_scikit_learn(targets, answers):
    from sklearn import metrics

    logits, targets = np.eye(2)[answers], np.array(targets)
    found = GLUE["cola"].measure(logits, targets, ["0", "1"])["matthews_corrcoef"]
    assert found == metrics.matthews_corrcoef(targets, answers)
    found = GLUE["mrpc"].measure(logits, targets, ["0", "1"])["f1"]
    assert found == metrics.f1_score(targets, answers, zero_division=0)


def test_scores_are_measured_as_by_scipy():
    from scipy import stats

    random = np.random.default_rng(0)
    targets = random.integers(6, size=50).astype(np.float32)
    logits = targets[:, None] + random.normal(size=(50, 1))
    measured = GLUE["stsb"].measure(logits, targets, ["score"])
    assert measured["pearson"] == pytest.approx(stats.pearsonr(logits[:, 0], targets).statistic, abs=1e-7)
    assert measured["spearman"] == pytest.approx(stats.spearmanr(logits[:, 0], targets).statistic, abs=1e-12)


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    words = "the sea is calm rough wild dark bright ship sails home away today a gull cries it who"
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.split()])


@pytest.fixture(scope="module")
def origin(save_start, tokenizer):
    return save_start(tokenizer, max_position_embeddings=32)


def seas(number: int) -> list[Example]:
    words = ["calm", "wild", "bright", "rough", "dark"]
    return [Example(f"the sea is {words[i % 5]} today", label=str(i % 5 // 2 % 2)) for i in range(number)]


SETTINGS = {"batch_size": 10, "precision": "float32"}


def test_rates_then_restarts_and_the_best_of_all_is_kept(origin, tokenizer, tmp_path, monkeypatch):
    def by_weights(self, model, data):
        """So short a training answers all alike, whose measure is 0: this one is another for each model."""
        return {"matthews_corrcoef": float(1e3 * model.classifier.weight.detach().double().abs().sum() % 1)}

    monkeypatch.setattr(Glue, "evaluate", by_weights)
    task, splits = GLUE["cola"], {"train": seas(40), "dev": seas(15)}
    options = task_options(task, splits, 2, seed=3, **SETTINGS)
    rates = (1e-5, 3e-3, 1e-3)
    how = {"rates": rates, "restarts": 3}
    model, metrics = finetune_best(task, splits, origin, tokenizer, options, tmp_path / "a", **how)
    search = metrics["search"]
    tried = [(run["learning_rate"], run["seed"]) for run in search["runs"]]
    assert tried[:3] == [(rate, 3) for rate in rates]
    assert tried[3:] == [(search["learning_rate"], 4), (search["learning_rate"], 5)]
    reached = [run["dev"]["matthews_corrcoef"] for run in search["runs"]]
    assert len(set(reached)) == 5
    assert metrics["dev"]["matthews_corrcoef"] == max(reached)
    assert search["seed"] == tried[int(np.argmax(reached))][1]
    assert search["learning_rate"] == rates[int(np.argmax(reached[:3]))]
    again = [
        value for value, (rate, _) in zip(reached, tried, strict=True) if rate == search["learning_rate"]
    ]
    assert len(again) == 3
    assert search["mean"] == pytest.approx(np.mean(again))
    assert search["std"] == pytest.approx(np.std(again, ddof=1))
    assert metrics["seconds"] == pytest.approx(sum(run["seconds"] for run in search["runs"]))

    data = task.data(splits["dev"], tokenizer, model.config)
    assert task.evaluate(model, data) == metrics["dev"]
    assert len(list((tmp_path / "a").glob("*/model.safetensors"))) == 1
    assert not list((tmp_path / "a").glob("*/checkpoints/*"))


def test_an_interrupted_search_goes_on_and_ends_the_same(origin, tokenizer, tmp_path, monkeypatch):
    task, splits = GLUE["cola"], {"train": seas(40), "dev": seas(15)}
    options = task_options(task, splits, 2, **SETTINGS)
    how = {"rates": (3e-3, 1e-3), "restarts": 2}
    whole, expected = finetune_best(task, splits, origin, tokenizer, options, tmp_path / "whole", **how)

    from bertmini.training import Run

    def killed(run, *given, **named):
        save(run, *given, **named)
        if "0.001" in str(run.directory) and "step-4" in str(run.saved()[-1]):
            raise KeyboardInterrupt

    save = Run.save
    monkeypatch.setattr(Run, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune_best(task, splits, origin, tokenizer, options, tmp_path / "parts", **how)
    monkeypatch.setattr(Run, "save", save)
    trained = []
    restore = Run.restore
    monkeypatch.setattr(
        Run, "restore", lambda run, *g: trained.append(run.directory.name) or restore(run, *g)
    )
    parts, found = finetune_best(task, splits, origin, tokenizer, options, tmp_path / "parts", **how)
    assert trained[0] == "rate-0.001-seed-0"  # the finished one is not trained again
    assert [run["dev"] for run in found["search"]["runs"]] == [
        run["dev"] for run in expected["search"]["runs"]
    ]
    assert all(torch.equal(a, b) for a, b in zip(parts.parameters(), whole.parameters(), strict=True))


def test_the_shell_fine_tunes_measures_and_answers_a_task_by_name(origin, tmp_path, capsys):
    data, run = tmp_path / "mnli", tmp_path / "run"
    data.mkdir()
    write_all(data, "mnli")
    command = f"finetune glue mnli --data {data} --model {origin} --out {run} --epochs 1 --restarts 2"
    assert main([*command.split(), "--learning-rate", "1e-3"]) == 0
    assert "rate 0.001, seed 1: dev  accuracy" in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"train", "dev", "dev_mismatched", "search", "seconds"} <= metrics.keys()
    assert len(metrics["search"]["runs"]) == 2
    assert main(f"evaluate --glue mnli --data {data} --model {run} --split dev".split()) == 0
    assert json.loads(capsys.readouterr().out)["dev"] == metrics["dev"]
    assert main(["predict", "--model", str(run), "the sea is calm\tit is wild"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in ("entailment", "neutral", "contradiction")
    assert main([*command.split(), "--learning-rate", "1e-3", "--resume"]) == 0  # nothing is left to do
    assert json.loads((run / "metrics.json").read_text())["search"] == metrics["search"]


def test_without_a_dev_part_nothing_can_be_chosen(origin, tmp_path, capsys):
    write(tmp_path, "rte")
    command = f"finetune glue rte --data {tmp_path} --model {origin} --out {tmp_path / 'run'}"
    assert main(command.split()) == 2
    assert "no dev part; expected one" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_command_knows_the_tasks_of_the_table():
    assert get_args(GlueTask) == tuple(GLUE)


def test_a_search_that_fails_late_keeps_what_it_has_and_goes_on(origin, tmp_path, monkeypatch, capsys):
    from bertmini.training import Run

    data, run = tmp_path / "mnli", tmp_path / "run"
    data.mkdir()
    write_all(data, "mnli")
    command = f"finetune glue mnli --data {data} --model {origin} --out {run} --epochs 1 --restarts 2"
    command += " --learning-rate 1e-3"
    finish = Run.finish

    def full(self, *given):
        if "seed-1" in self.directory.name:
            raise InputError("no room")
        finish(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish", full)
        assert main(command.split()) == 2
    assert (run / "attempts/rate-0.001-seed-0/metrics.json").exists()
    assert COMMANDS["finetune glue"](task="mnli", data=str(data), out=str(run)).interrupted() == (
        f"{run} has 1 finished attempt: continue it with --resume"
    )
    capsys.readouterr()
    assert main([*command.split(), "--resume"]) == 0
    told = capsys.readouterr().out
    assert "dev    " in told
    assert "dev_mismatched  " in told


def test_while_attempts_load_models_of_their_own_no_other_one_is_held(origin, tmp_path, monkeypatch):
    from bertmini.commands.finetuning import FinetuneGlue

    write_all(tmp_path, "mnli")
    begun, learn = [], FinetuneGlue.learn

    def seen(self, task, splits, model, *others):
        begun.append(model)
        learn(self, task, splits, model, *others)

    def stop(*given, **begin):
        assert {parameter.device.type for parameter in begun[0].parameters()} == {"meta"}
        assert begin["id2label"] == {0: "contradiction", 1: "entailment", 2: "neutral"}
        raise InputError("enough")

    monkeypatch.setattr(FinetuneGlue, "learn", seen)
    monkeypatch.setattr(restarts, "finetune_best", stop)
    assert main(f"finetune glue mnli --data {tmp_path} --model {origin} --out {tmp_path / 'x'}".split()) == 2
    assert begun


def test_of_losses_the_lowest_is_best():
    assert restarts.best([{"dev": {"loss": 2.0}}, {"dev": {"loss": 1.0}}], "loss")["dev"]["loss"] == 1.0


def test_a_rate_given_twice_is_one_attempt(origin, tokenizer, tmp_path):
    task, splits = GLUE["cola"], {"train": seas(20), "dev": seas(10)}
    options = task_options(task, splits, 1, **SETTINGS)
    _, found = finetune_best(task, splits, origin, tokenizer, options, tmp_path / "a", rates=(1e-3, 1e-3))
    assert len(found["search"]["runs"]) == 1


def test_a_file_of_ragged_rows_alone_is_refused(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\na bright ship\t1\t\na dark sea\t0\t\n")
    with pytest.raises(InputError, match=r"train\.tsv:2: 3 columns; expected 2"):
        GLUE["sst2"].read(str(tmp_path))
