"""Embeddings: equal to the mean that transformers users write, in order, of constant memory."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers

from bertmini import InputError, WordPieceTokenizer
from bertmini.cli import main
from bertmini.data.task_files import Example
from bertmini.embed import Embedder, write_npy, write_parquet
from bertmini.hub import SHIPPED
from bertmini.inference import WINDOW

TEXTS = [
    "The harbour is open.",
    "It rained.",
    "The captain sold nine barrels of salt to a stranger from the north.",
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.from_pretrained(SHIPPED, batch_tokens=256)


def test_vectors_are_the_means_that_transformers_gives(embedder):
    model = transformers.AutoModel.from_pretrained(SHIPPED, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(SHIPPED)
    for text, vector in zip(TEXTS, embedder(TEXTS), strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = torch.nn.functional.normalize(states.mean(0), dim=-1)
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_one_text_none_and_pairs(embedder):
    np.testing.assert_allclose(embedder(TEXTS[0]), embedder(TEXTS)[0], atol=1e-6)
    assert embedder([]).shape == (0, embedder.model.config.hidden_size)
    pair = embedder([Example("It rained.", "The harbour is open.")])
    assert not np.allclose(pair[0], embedder("It rained."), atol=1e-3)


def test_a_stream_is_read_a_window_at_a_time(embedder):
    taken = itertools.count()
    stream = embedder.stream(f"day {i}" for i in taken)
    assert next(stream)[0].text == "day 0"
    assert next(taken) <= WINDOW + 1


def test_a_tokenizer_larger_than_the_model_is_refused(embedder):
    larger = WordPieceTokenizer([*embedder.tokenizer.pieces, "brandnewword"])
    with pytest.raises(InputError, match="the tokenizer has 1001 pieces and the model knows 1000"):
        Embedder(embedder.model, larger)


def test_a_model_goes_where_it_is_fastest(monkeypatch):
    monkeypatch.setattr("bertmini.embed.best_device", lambda: torch.device("meta"))
    model = Embedder.from_pretrained(SHIPPED).model
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_files(embedder, tmp_path):
    vectors = embedder(TEXTS)
    npy = io.BytesIO()
    assert write_npy(iter(vectors), vectors.shape[1], npy) == 3
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.getvalue())), vectors)
    many = [(Example(f"text {i}", None if i % 2 else "pair"), vectors[i % 3]) for i in range(2500)]
    with open(tmp_path / "vectors.parquet", "wb") as file:
        assert write_parquet(iter(many), vectors.shape[1], file) == 2500
    table = pq.read_table(tmp_path / "vectors.parquet")
    assert table.column("text").to_pylist() == [example.text for example, _ in many]
    assert table.column("pair").to_pylist() == [example.pair for example, _ in many]
    found = np.array(table.column("embedding").to_pylist(), dtype=np.float32)
    np.testing.assert_array_equal(found, np.stack([vector for _, vector in many]))
    empty = io.BytesIO()
    assert write_npy([], 4, empty) == 0
    assert np.load(io.BytesIO(empty.getvalue())).shape == (0, 4)


def test_command(embedder):
    command = [sys.executable, "-m", "bertmini.cli", "embed"]
    done = subprocess.run(command, input="\n".join(TEXTS).encode(), capture_output=True, check=True)
    np.testing.assert_allclose(np.load(io.BytesIO(done.stdout)), embedder(TEXTS), atol=1e-6)
    told = done.stderr.decode().splitlines()
    assert told[-1] == f"3 texts, {embedder.model.config.hidden_size} numbers each"
    again = subprocess.run([*command, *TEXTS, "--format", "parquet"], capture_output=True, check=True)
    assert pq.read_table(io.BytesIO(again.stdout)).column("text").to_pylist() == TEXTS


def test_a_terminal_gets_no_vectors(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["embed", "a text"]) == 2
    assert "> vectors.npy" in capsys.readouterr().err


def test_one_pair_is_one_text_in_all_its_forms(embedder):
    expected = embedder([Example("It rained.", "Calm.")])[0]
    pair = ("It rained.", "Calm.")
    for given in (pair, {"text": pair[0], "pair": pair[1]}, Example(*pair)):
        np.testing.assert_allclose(embedder(given), expected, atol=1e-6)


def test_vectors_that_are_no_numbers_are_named():
    embedder = Embedder.from_pretrained(SHIPPED)
    embedder.model.embeddings.word.weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="no numbers"):
        embedder("It rained.")


@pytest.mark.parametrize(("modes", "more", "told"), [
    (("mean_tokens",), ["Normalize"], None),
    (("cls_token",), [], "asks for pooling_mode_cls_token; bertmini's vectors are means"),
    (("mean_tokens", "max_tokens"), [], "asks for pooling_mode_mean_tokens, pooling_mode_max_tokens"),
    (("mean_tokens",), ["Dense"], "asks for Dense; bertmini's vectors are means"),
])  # fmt: skip
def test_a_model_whose_vectors_are_no_means_is_refused(modes, more, told, tmp_path):
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "copy"))
    (copy / "1_Pooling").mkdir()
    pooling = {"include_prompt": True, "pooling_mode_weightedmean_tokens": False}
    pooling |= {f"pooling_mode_{mode}": True for mode in modes}
    (copy / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"},
               {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
               *({"path": "2", "type": f"sentence_transformers.models.{name}"} for name in more)]  # fmt: skip
    (copy / "modules.json").write_text(json.dumps(modules))
    if told is None:
        assert Embedder.from_pretrained(copy)
        return
    with pytest.raises(InputError, match=told):
        Embedder.from_pretrained(copy)


@pytest.mark.parametrize(("said", "cut"), [(8, True), (None, False), (9999, False)])
def test_texts_are_cut_where_sentence_transformers_cuts_them(said, cut, tmp_path):
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "copy"))
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": said}))
    embedder, plain = Embedder.from_pretrained(copy), Embedder.from_pretrained(SHIPPED)
    text = "the harbour is open and the ferry came in late"
    assert embedder.max_length == (8 if cut else plain.max_length)
    assert np.allclose(embedder(text), plain(text)) is not cut
    if cut:
        plain.max_length = 8
        assert np.array_equal(embedder(text), plain(text))
