"""Model cards, what is put on the Hugging Face hub, and the entry points of PyTorch Hub."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard

from bertmini import BertConfig, BertForMaskedLM, ByteLevelBPETokenizer, Predictor, WordPieceTokenizer
from bertmini.cli import main
from bertmini.export.card import TASKS as CARD_TASKS
from bertmini.export.card import beginning, is_of_gazette, last_part, training
from bertmini.hub import SHIPPED, shipped
from bertmini.tasks import TASKS

ROOT = Path(__file__).parents[1]


def card_of(model: Path | str, out: Path) -> str:
    assert main(["export", "--model", str(model), "--to", "transformers", "--out", str(out)]) == 0
    return (out / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def card(tmp_path_factory, classifier) -> str:
    return card_of(classifier, tmp_path_factory.mktemp("cards") / "harbour-moods")


def test_a_card_has_the_numbers_of_metrics_json_by_part(card, classifier):
    metrics = json.loads((classifier / "metrics.json").read_text())
    assert "|  | train | dev | test |" in card
    for name in ("accuracy", "f1_macro"):
        assert f"| {name} |  | {metrics['dev'][name]:.4g} | {metrics['test'][name]:.4g} |" in card
    for label, found in metrics["test"]["classes"].items():
        columns = " | ".join(f"{found[name]:.4g}" for name in ("precision", "recall", "f1"))
        assert f"| {label} | {columns} | {found['support']} |" in card


def test_a_card_says_what_the_model_is_and_was_trained_on(card, classifier, mood_files):
    config = json.loads((classifier / "config.json").read_text())
    record = json.loads((classifier / "run.json").read_text())
    parameters = sum(p.numel() for p in Predictor.from_pretrained(classifier).model.parameters())
    assert card.count("# harbour-moods\n") == 1
    shape = f"{config['num_hidden_layers']} layers, {config['hidden_size']} wide"
    assert f"{shape}, {parameters:,} parameters" in card
    assert "Its labels are anger, fear, joy." in card
    assert f"| data | {mood_files.name} |" in card
    assert "| began from | pretrained |" in card
    assert f"| steps | {record['training']['steps']} |" in card
    assert "| highest learning rate | 0.001 |" in card


def test_a_card_tells_no_path_of_the_machine(card, mood_files, pretrained):
    assert str(mood_files.parent) not in card
    assert str(pretrained.parent) not in card
    assert "/tmp" not in card


def test_the_hub_reads_the_header_of_a_card(card):
    data = ModelCard(card).data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert data.tags == ["bert", "bertmini"]


def test_a_card_claims_nothing_that_no_file_says(tmp_path, classifier):
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        (tmp_path / "bare").mkdir(exist_ok=True)
        shutil.copy(classifier / name, tmp_path / "bare")
    card = card_of(tmp_path / "bare", tmp_path / "out")
    assert "No record of its training is kept with the model." in card
    assert "No measurement is kept with the model." in card
    assert "Measure it on your own texts" in card


def test_a_card_says_that_dev_numbers_flatter_where_nothing_else_was_measured(tmp_path, classifier):
    shutil.copytree(classifier, tmp_path / "run")
    metrics = json.loads((classifier / "metrics.json").read_text())
    (tmp_path / "run" / "metrics.json").write_text(json.dumps({"dev": metrics["dev"]}))
    assert "its numbers flatter" in card_of(tmp_path / "run", tmp_path / "out")


def test_the_card_of_a_model_of_the_gazette_says_that_its_town_is_invented(tmp_path):
    card = card_of(SHIPPED, tmp_path / "out")
    assert "| data | gazette |" in card
    assert "| began from | random weights |" in card
    assert "an invented town" in card
    assert "mlm_accuracy" in card


@pytest.mark.parametrize(
    ("name", "told", "is_town"),
    [
        ("gazette", "gazette", True),
        ("gazette/emotion", "gazette/emotion", True),
        ("task:gazette/emotion", "task:gazette/emotion", True),
        ("hf:owner/set", "hf:owner/set", False),
        ("gazettes/of/london", "london", False),
        ("gazette_letters_1850", "gazette_letters_1850", False),
        ("task:/home/reader/complaints", "task:complaints", False),
        (r"C:\Users\reader\complaints.csv", "complaints.csv", False),
        ("clients/complaints.tsv", "complaints.tsv", False),
    ],
)
def test_a_card_knows_the_gazette_from_files_and_shortens_their_paths(name, told, is_town):
    assert (last_part(name), is_of_gazette(name)) == (told, is_town)


@pytest.mark.parametrize(
    ("settings", "origin"),
    [
        ({"command": "Compress", "model": None}, "gazette-mini, which bertmini ships"),
        ({"command": "Compress", "model": "/runs/emotion"}, "emotion"),
        ({"command": "FinetuneClassify", "model": None, "teacher": "/runs/emotion"},
         "gazette-mini, which bertmini ships"),
        ({"command": "Distill", "teacher": "/runs/emotion"}, "emotion"),
        ({"command": "Pretrain", "init": None}, "random weights"),
    ],
)  # fmt: skip
def test_a_card_says_what_the_weights_were_before(settings, origin):
    assert beginning(settings) == origin


def test_the_card_of_a_run_that_learned_nothing_tells_of_no_batch():
    run = {"settings": {"command": "Compress"}, "training": {"steps": None, "batch_size": 32, "seed": 3}}
    told = training(run, {})
    assert "| seed | 3 |" in told
    assert "batch" not in told


@pytest.fixture(scope="module")
def directory_for(tmp_path_factory):
    """Makes a directory with the head of a task on the shipped model, or the shipped model itself."""

    def make(task: str) -> Path:
        if task == "fill":
            return SHIPPED
        directory, fields = tmp_path_factory.mktemp("model"), {}
        if task == "fill, roberta":
            tokenizer = ByteLevelBPETokenizer.train(["the tide is high", "the harbour is open"], 280)
            config = BertConfig.preset("tiny", "roberta", vocab_size=len(tokenizer))
            BertForMaskedLM(config).save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            return directory
        if task == "classify":
            fields = {"id2label": {0: "a", 1: "b"}, "problem_type": "single_label_classification"}
        if task == "regress":
            fields = {"id2label": {0: "score"}, "problem_type": "regression"}
        if task == "tag":
            fields = {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}}
        TASKS[task].MODEL.from_pretrained(SHIPPED, **fields).save_pretrained(directory)
        WordPieceTokenizer.from_pretrained(SHIPPED).save_pretrained(directory)
        return directory

    return make


@pytest.mark.parametrize("task", ["fill, roberta", *CARD_TASKS])
def test_the_code_on_a_card_runs(task, directory_for, tmp_path, monkeypatch, capsys):
    """Both pieces, ours and that for transformers, under the name that the card gives the model."""
    card = card_of(directory_for(task), tmp_path / "a-model")
    pieces = re.findall(r"```python\n(.*?)```", card, re.S)
    assert len(pieces) == 2
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    for code, library in zip(pieces, ("bertmini", "transformers"), strict=True):
        assert code.startswith(f"from {library} import")
        scope: dict = {}
        exec(code, scope)
        if "print" in code:
            assert capsys.readouterr().out.strip()
        else:
            assert not scope["model"].training


# Uploading


class Recorder:
    """In place of huggingface_hub.HfApi: keeps what it is asked, and what lies in the folder."""

    def __init__(
        self, exists: bool = False, error: Exception | None = None, private: bool = False
    ) -> None:
        self.exists, self.error, self.private, self.calls, self.files = exists, error, private, [], {}

    def __call__(self) -> Recorder:
        return self

    def repo_exists(self, name):
        if self.error:
            raise self.error
        return self.exists

    def repo_info(self, name):
        return SimpleNamespace(private=self.private)

    def create_repo(self, name, *, private, exist_ok):
        self.calls.append(("create_repo", name, private, exist_ok))
        return f"https://hub.example/{name}"

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.calls.append(("upload_folder", repo_id))
        self.files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}


def push(monkeypatch, recorder, *more: str, model: Path | str = SHIPPED, name: str = "quill/moods") -> int:
    monkeypatch.setattr("huggingface_hub.HfApi", recorder)
    return main(["export", "--model", str(model), "--to", "hub", "--out", name, *more])


def test_the_hub_gets_model_tokenizer_and_card_and_nothing_of_the_run(monkeypatch, classifier, capsys):
    recorder = Recorder()
    assert push(monkeypatch, recorder, model=classifier) == 0
    assert recorder.calls == [("create_repo", "quill/moods", None, False), ("upload_folder", "quill/moods")]
    assert set(recorder.files) == {
        "config.json", "model.safetensors", "README.md",
        "vocab.txt", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert recorder.files["model.safetensors"] == (classifier / "model.safetensors").read_bytes()
    card = recorder.files["README.md"].decode()
    assert "# moods\n" in card
    assert 'pipeline("text-classification", "quill/moods")' in card
    assert capsys.readouterr().out == "https://hub.example/quill/moods\n"


def test_a_private_model_stays_private(monkeypatch):
    recorder = Recorder()
    assert push(monkeypatch, recorder, "--private") == 0
    assert recorder.calls[0] == ("create_repo", "quill/moods", True, False)


def test_a_repository_that_is_there_gets_a_version_only_when_asked(monkeypatch, capsys):
    recorder = Recorder(exists=True)
    assert push(monkeypatch, recorder) == 2
    assert "quill/moods is on the hub already" in capsys.readouterr().err
    assert recorder.calls == []
    assert push(monkeypatch, recorder, "--update") == 0
    assert recorder.calls[0] == ("create_repo", "quill/moods", None, True)


@pytest.mark.parametrize("name", ["moods", "a/b/c", "two words/x", "../x", "/runs/emotion", ""])
def test_what_is_no_name_of_a_repository_is_refused(name, monkeypatch, capsys):
    recorder = Recorder()
    assert push(monkeypatch, recorder, name=name) == 2
    assert "is no name of a repository on the hub; expected OWNER/NAME" in capsys.readouterr().err
    assert recorder.calls == []


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch, capsys):
    recorder = Recorder(error=ConnectionError("no route\nto host"))
    assert push(monkeypatch, recorder) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "could not be put on the hub (ConnectionError: no route to host): check the network" in told


# PyTorch Hub


def load(entry: str, *args, **options):
    return torch.hub.load(str(ROOT), entry, *args, source="local", **options)


def test_the_entry_points_load_from_a_clone():
    batch = load("tokenizer")(["The harbour [MASK] has elected her."], return_tensors="pt")
    with torch.no_grad():
        output = load("bertmini")(**batch)
    assert output.prediction_logits.shape == (*batch["input_ids"].shape, 1000)
    text = "The harbour [MASK] has elected her."
    assert load("predictor", top=2)(text) == Predictor.from_pretrained(shipped(), top=2)(text)


def test_a_model_comes_with_the_head_of_its_files_or_of_a_task(classifier):
    model = load("bertmini", str(classifier))
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.id2label == {0: "anger", 1: "fear", 2: "joy"}
    assert not model.training
    assert not model.fresh
    new = load("bertmini", task="classify", id2label={0: "bad", 1: "good"})
    assert new.fresh == ("classifier.weight", "classifier.bias")
    assert type(load("bertmini", task="qa")).__name__ == "BertForQuestionAnswering"
    assert load("predictor", str(classifier))("the captain was happy on day 3")["label"] == "joy"


def test_an_unknown_task_or_directory_is_named(tmp_path):
    with pytest.raises(ValueError, match="task is 'sing'; expected one of classify"):
        load("bertmini", task="sing")
    with pytest.raises(ValueError, match="is not a directory"):
        load("bertmini", str(tmp_path / "no" / "model"))


def test_hub_lists_the_entry_points_and_helps_with_each(monkeypatch):
    monkeypatch.setattr(torch.hub, "_get_cache_or_reload", lambda *_, **__: str(ROOT))
    assert torch.hub.list("bertmini/bertmini") == ["bertmini", "predictor", "tokenizer"]
    for name in torch.hub.list("bertmini/bertmini"):
        assert "Args:\n        directory: " in (torch.hub.help("bertmini/bertmini", name) or "")


def test_the_dependencies_that_hub_checks_are_those_that_are_imported(tmp_path):
    """Those of the project that a fresh Python has imported after all entry points were called."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import hubconf, importlib.metadata as metadata\n"
        "hubconf.bertmini(); hubconf.tokenizer(); hubconf.predictor()('[MASK]')\n"
        "found = metadata.packages_distributions()\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*(name for root in roots for name in found.get(root, [])))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    ours = {re.split("[<>=]", dependency)[0] for dependency in project["dependencies"]}
    scope: dict = {}
    exec((ROOT / "hubconf.py").read_text("utf-8"), scope)
    assert set(scope["dependencies"]) == ours & set(done.stdout.split())


def test_what_is_to_be_private_is_not_put_where_everybody_sees_it(monkeypatch, capsys):
    recorder = Recorder(exists=True)
    assert push(monkeypatch, recorder, "--private", "--update") == 2
    assert recorder.calls == []
    assert "where everybody sees it" in capsys.readouterr().err
    assert push(monkeypatch, Recorder(exists=True, private=True), "--private", "--update") == 0


def test_the_card_of_a_search_tells_what_was_found_and_both_dev_parts_of_mnli():
    from bertmini.export import card

    run = {"settings": {}, "training": {"steps": 10, "learning_rate": None, "seed": 0}}
    metrics = {"dev": {"accuracy": 0.8}, "dev_mismatched": {"accuracy": 0.7}}
    found = {"search": {"metric": "accuracy", "learning_rate": 3e-5, "seed": 2}}
    told = card.training(run, metrics | found)
    assert "| highest learning rate | 3e-05 |" in told
    assert "| seed | 2 |" in told
    assert "| accuracy | 0.8 | 0.7 |" in card.results(metrics)
