"""ONNX: PyTorch's numbers at every size, int8 comes close, and what cannot be exported is told."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import nn

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

import onnx
import onnxruntime

from bertmini import BertConfig, BertForPreTraining, Predictor, WordPieceTokenizer
from bertmini.cli import main
from bertmini.compress.quantize import quantize
from bertmini.export import export_onnx
from bertmini.export import onnx as exporter
from bertmini.hub import locate
from bertmini.model import bert as models
from bertmini.model.choice import BertForMultipleChoice
from bertmini.model.questions import BertForQuestionAnswering
from bertmini.model.seq2seq import BertForSequenceToSequence
from bertmini.model.tagging import (
    BertCrfForTokenClassification,
    BertFeaturesForTokenClassification,
    BertForTokenClassification,
)
from bertmini.model.vectors import BiEncoder

HEADS = {
    "Model": BiEncoder,
    "ForMaskedLM": models.BertForMaskedLM,
    "ForPreTraining": models.BertForPreTraining,
    "ForSequenceClassification": models.BertForSequenceClassification,
    "ForTokenClassification": BertForTokenClassification,
    "ForQuestionAnswering": BertForQuestionAnswering,
    "ForMultipleChoice": BertForMultipleChoice,
}
THEIRS = {"bert": "Bert", "roberta": "Roberta", "albert": "Albert", "distilbert": "DistilBert"}
CASES = [("bert", head) for head in HEADS] + [
    ("roberta", "ForMaskedLM"),
    ("roberta", "ForTokenClassification"),
    ("albert", "ForSequenceClassification"),
    ("distilbert", "ForSequenceClassification"),
]
LENGTH = 24


def random_model(family: str, head: str):
    """Weights of a spread at which a mistake shows, biases and norms too."""
    torch.manual_seed(0)
    groups = {"embedding_size": 8, "num_hidden_groups": 1} if family == "albert" else {}
    pad = 1 if family == "roberta" else 0
    config = BertConfig.preset(
        "tiny", family, vocab_size=40, hidden_size=16, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=LENGTH + (2 if family == "roberta" else 0), pad_token_id=pad,
        id2label={0: "a", 1: "b", 2: "c"} if head.endswith("Classification") else None, **groups,
    )  # fmt: skip
    model = HEADS[head](config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def session_of(file: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "".join(case))
def graph(request, tmp_path_factory):
    """A model, transformers' model of the same weights, and the file of its graph."""
    family, head = request.param
    directory = tmp_path_factory.mktemp("graph")
    model = random_model(family, head)
    model.save_pretrained(directory)
    theirs = getattr(transformers, THEIRS[family] + head).from_pretrained(directory).eval()
    made = exporter.Graph(model)
    with exporter.quiet():
        exporter.write_graph(made, model.config, directory / "model.onnx")
    return model, theirs, made, session_of(directory / "model.onnx")


def test_every_head_gives_the_numbers_of_transformers_at_every_size(graph):
    model, theirs, made, session = graph
    rng, generator = random.Random(0), torch.Generator().manual_seed(1)
    choices = isinstance(model, BertForMultipleChoice)
    for batch, length in [(1, 1), (1, LENGTH), (5, LENGTH), (7, 1)] + [
        (rng.randint(1, 6), rng.randint(1, LENGTH)) for _ in range(12)
    ]:
        shape = (batch, rng.randint(1, 4), length) if choices else (batch, length)
        ids = torch.randint(4, model.config.vocab_size, shape, generator=generator)
        mask = torch.arange(length) < torch.randint(1, length + 1, shape[:-1], generator=generator)[..., None]
        ids[~mask] = model.config.pad_token_id
        inputs = {"input_ids": ids, "attention_mask": mask.long()}
        if "token_type_ids" in made.inputs:
            inputs["token_type_ids"] = torch.randint(2, shape, generator=generator)
        with torch.no_grad():
            expected = theirs(**inputs)
        found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        for name, value in zip(made.outputs, found, strict=True):
            reference = expected[name].numpy()
            assert value.shape == reference.shape
            assert np.abs(value - reference).max() <= 1e-4 * max(1.0, np.abs(reference).max()), (name, shape)


def test_inputs_and_outputs_have_transformers_names_and_open_sizes(graph):
    model, _, made, session = graph
    has_segments = model.config.model_type in ("bert", "albert")
    names = (
        ["input_ids", "token_type_ids", "attention_mask"] if has_segments else ["input_ids", "attention_mask"]
    )
    assert sorted(each.name for each in session.get_inputs()) == sorted(names)
    axes = ["batch", "options", "length"] if isinstance(model, BertForMultipleChoice) else ["batch", "length"]
    for each in session.get_inputs():
        assert (each.shape, each.type) == (axes, "tensor(int64)")
    assert [each.name for each in session.get_outputs()] == list(made.outputs)
    assert all(each.shape[0] == "batch" for each in session.get_outputs())


def test_exporting_leaves_the_model_as_it_was(graph):
    model, _, made, _ = graph
    encoder, copied = ((m if isinstance(m, models.Bert) else m.bert) for m in (model, made.model))
    assert "check_inputs" in vars(copied)
    assert "check_inputs" not in vars(encoder)


# The command


@pytest.fixture(scope="module")
def exported(tmp_path_factory, classifier) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "moods"
    assert main(["export", "--model", str(classifier), "--to", "onnx", "--out", str(out)]) == 0
    return out


def test_a_service_finds_all_it_needs_beside_the_graph(exported, classifier):
    assert {path.name for path in exported.iterdir()} == {
        "model.onnx", "model_int8.onnx", "config.json", "export.json",
        "vocab.txt", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert (exported / "config.json").read_bytes() == (classifier / "config.json").read_bytes()
    assert (exported / "vocab.txt").read_bytes() == (classifier / "vocab.txt").read_bytes()


def test_the_record_says_how_large_the_files_are_and_how_far_from_pytorch(exported):
    record = json.loads((exported / "export.json").read_text())
    assert set(record["files"]) == {"model.onnx", "model_int8.onnx"}
    for name, found in record["files"].items():
        assert found["bytes"] == (exported / name).stat().st_size
        assert found["largest_output"] > 0
    exact, rounded = record["files"].values()
    assert exact["largest_difference"] <= 1e-4 * max(1, exact["largest_output"])
    assert exact["largest_difference"] < rounded["largest_difference"] < 0.1 * rounded["largest_output"]
    lengths = [shape[-1] for shape in record["checked_batches"]]
    assert {1, 512} <= set(lengths)


def test_the_large_weights_of_the_small_file_are_of_one_byte(exported):
    whole, small = ((exported / name).stat().st_size for name in ("model.onnx", "model_int8.onnx"))
    assert small < 0.4 * whole
    stored = {weight.name: weight for weight in onnx.load(exported / "model_int8.onnx").graph.initializer}
    large = [weight for weight in stored.values() if np.prod(weight.dims) >= 128 * 128]
    assert large
    assert {weight.data_type for weight in large} <= {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}


def test_it_runs_without_pytorch_and_without_bertmini_as_the_docstring_says(exported, classifier):
    """The example of `export_onnx`, in a Python where both cannot be imported."""
    _, _, example = (export_onnx.__doc__ or "").partition("import numpy")
    code = "import numpy" + example.partition("\n\n    Args")[0].replace("\n        ", "\n")
    code = code.replace('"onnx/', f'"{exported}/')
    blocked = "import sys; sys.modules['torch'] = sys.modules['bertmini'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{blocked}{code}\nprint(logits.tolist())"],
        capture_output=True,
        text=True,
        check=True,
    )
    predictor = Predictor.from_pretrained(classifier)
    with torch.no_grad():
        expected = predictor.model(**predictor.tokenizer(["the harbour is open"], return_tensors="pt")).logits
    assert np.array(json.loads(done.stdout)) == pytest.approx(expected.numpy(), abs=1e-4)


@pytest.mark.parametrize(("file", "within"), [("model.onnx", 1e-5), ("model_int8.onnx", 0.1)])
def test_both_graphs_give_the_labels_of_the_model(exported, classifier, file, within):
    predictor, session = Predictor.from_pretrained(classifier), session_of(exported / file)
    words = ("happy", "afraid", "angry")
    texts = [f"the captain was {word} on day {i} ." for i in range(30, 50) for word in words]
    batch = predictor.tokenizer(texts, padding=True, return_tensors="np")
    (logits,) = session.run(["logits"], {each.name: batch[each.name] for each in session.get_inputs()})
    labels = list(predictor.model.config.id2label.values())
    probabilities = torch.from_numpy(logits).softmax(-1).numpy()
    for row, answer in zip(probabilities, predictor(texts), strict=True):
        assert labels[row.argmax()] == answer["label"]
        assert row == pytest.approx(list(answer["scores"].values()), abs=within)


def test_the_command_tells_sizes_and_differences(classifier, tmp_path, capsys):
    assert main(["export", "--model", str(classifier), "--to", "onnx", "--out", str(tmp_path / "onnx")]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"{tmp_path / 'onnx'}/{name}" for name in ("model.onnx", "model_int8.onnx")
    ]
    assert all(" MB, outputs within " in line for line in lines)
    assert captured.err == ""


# What is refused


@pytest.fixture
def refused(capsys, tmp_path):
    """Run an export, check that it is refused in one line and writes nothing, and return the line."""

    def run(model: Path | str, to: str = "onnx", *more: str, out: str = "out") -> str:
        before = sorted(tmp_path.rglob("*"))
        assert main(["export", "--model", str(model), "--to", to, "--out", str(tmp_path / out), *more]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("bertmini: error: ")
        assert captured.err.count("\n") == 1
        assert len(captured.err) < 400
        assert sorted(tmp_path.rglob("*")) == before
        return captured.err

    return run


def small(**fields) -> BertConfig:
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertConfig(vocab_size=600, **shape | fields)


@pytest.mark.parametrize("to", ["onnx", "transformers"])
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: BertCrfForTokenClassification(small()), "conditional random field"),
        (lambda: BertFeaturesForTokenClassification(small(features="last")), "BiLSTM"),
        (lambda: BertForSequenceToSequence(small()), "sequence-to-sequence mask"),
        (lambda: models.BertForMaskedLM(small(num_hidden_groups=1)), "of no published family"),
        (
            lambda: BertForPreTraining(
                small(model_type="distilbert", pooler_act="relu", type_vocab_size=0)
            ),
            "next-sentence",
        ),
        (lambda: quantize(models.BertForMaskedLM(small())), "its matrices are 8-bit numbers"),
        (lambda: models.BertForMaskedLM(small(direction="left-to-right")), "it reads one way, left-to-right"),
    ],
    ids=["crf", "features", "seq2seq", "shared", "nsp", "int8", "one way"],
)
def test_what_transformers_cannot_hold_is_refused_with_the_reason(
    model, reason, to, refused, tmp_path, pretrained
):
    model().save_pretrained(tmp_path / "model")
    WordPieceTokenizer.from_pretrained(pretrained).save_pretrained(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "bertmini"
    assert reason in refused(tmp_path / "model", to)


def test_a_model_of_another_family_is_refused(refused, tmp_path, pretrained):
    shutil.copytree(pretrained, tmp_path / "other")
    config = json.loads((pretrained / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    assert "model_type is 'gpt2', and bertmini reads bert, roberta" in refused(tmp_path / "other")


def test_a_hub_name_without_a_network_is_refused(refused, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    assert "neither a directory here nor could it be fetched" in refused("somebody/some-model")


def test_of_a_repository_only_what_is_read_is_fetched(monkeypatch, tmp_path):
    from huggingface_hub.utils import filter_repo_objects

    asked = {}
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda _, **how: asked.update(how) or tmp_path)
    assert locate("somebody/some-model") == tmp_path
    files = ["model.safetensors", "checkpoint-5/model.safetensors", "1_Pooling/config.json", "model.bin"]
    assert list(filter_repo_objects(files, **asked)) == ["model.safetensors", "1_Pooling/config.json"]


def test_a_directory_that_is_there_is_not_overwritten(refused, classifier, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    for to in ("onnx", "transformers"):
        assert "exists already" in refused(classifier, to)


def test_a_missing_package_is_named_with_its_extra(refused, classifier, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "onnxscript: pip install 'bertmini[onnx]'" in refused(classifier)


def test_a_model_too_large_for_one_file_is_refused(refused, classifier, monkeypatch):
    monkeypatch.setattr(exporter, "MOST_BYTES", 1000)
    assert "an ONNX file holds less than 2 GiB" in refused(classifier)


def test_a_graph_with_other_outputs_is_never_written(refused, classifier, monkeypatch):
    write_graph = exporter.write_graph

    def write_another(graph, config, file):
        weight = graph.model.classifier.weight.data
        weight[0] += 0.1
        write_graph(graph, config, file)
        weight[0] -= 0.1

    monkeypatch.setattr(exporter, "write_graph", write_another)
    assert "the graph's outputs are up to" in refused(classifier)


def test_weights_that_are_no_numbers_are_refused(refused, classifier, tmp_path):
    predictor = Predictor.from_pretrained(classifier)
    predictor.model.classifier.bias.data[0] = float("nan")
    predictor.model.save_pretrained(tmp_path / "model")
    predictor.tokenizer.save_pretrained(tmp_path / "model")
    assert "are the weights finite?" in refused(tmp_path / "model")


@pytest.mark.parametrize("option", ["--private", "--update"])
def test_options_of_the_hub_are_refused_elsewhere(option, refused, classifier):
    assert f"{option} is for --to hub" in refused(classifier, "onnx", option)
