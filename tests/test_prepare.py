"""Preparation: a corpus tokenised once, in several processes, and read block by block."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bertmini.data.prepare
from bertmini import InputError, WordPieceTokenizer
from bertmini.cli import main
from bertmini.data.batches import PretrainingData, lay_out
from bertmini.data.corpus import Corpus
from bertmini.data.pairs import pair_examples
from bertmini.data.prepare import Prepared, in_blocks, prepare
from bertmini.data.text import split_sentences
from bertmini.hub import shipped
from bertmini.tasks.pretrain import read_corpus, stream_corpus, training_data
from bertmini.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of some documents, two in a file."""
    monkeypatch.setattr(bertmini.data.prepare, "BLOCK", 3000)
    monkeypatch.setattr(bertmini.data.prepare, "SHARD", 2)


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer.from_pretrained(shipped())


def prepared(file, tokenizer, out, processes=1, held_out=20, **options):
    texts, source = stream_corpus([str(file)], held_out=held_out, **options)
    return prepare(texts, tokenizer, out, source, held_out=held_out, processes=processes)


def same(first, second):
    return all(np.array_equal(array, vars(second)[name]) for name, array in vars(first).items())


@pytest.mark.parametrize("number", [10, 15, 19, 40])
def test_of_a_few_long_documents_some_are_held_out(monkeypatch, number):
    monkeypatch.setattr(bertmini.data.prepare, "SHARD", 16)
    parts: Counter[str] = Counter()
    for part, block in in_blocks(["x" * 700] * number, 20):  # the block's 3,000 characters are four of them
        parts[part] += len(block)
    assert parts["dev"] == max(2, number // 20)
    assert parts.total() == number


def test_reading_ahead_for_long_documents_has_an_end():
    read = []
    next(in_blocks((read.append(i) or "x" * 700 for i in range(10_000)), 1000))
    assert len(read) < 20


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("held_out", [0, 7])
def test_a_prepared_corpus_is_what_would_be_read_at_once(
    small_corpus, tokenizer, tmp_path, processes, held_out
):
    record = prepared(small_corpus, tokenizer, tmp_path / "out", processes, held_out)
    whole = read_corpus([str(small_corpus)], held_out=held_out)
    for part, documents in zip(("train", "dev"), whole, strict=True):
        if not documents:
            assert part not in record["parts"]
            continue
        expected = Corpus.from_documents(documents, tokenizer)
        assert same(Prepared(tmp_path / "out", part, at_least=10**9)[0], expected)
        blocks = Prepared(tmp_path / "out", part)
        assert np.concatenate([block.token_ids for block in blocks]).tolist() == expected.token_ids.tolist()
        assert [[block.num_documents, len(block)] for block in blocks] == blocks.sizes.tolist()
        assert record["parts"][part]["documents"] == expected.num_documents == blocks.sizes[:, 0].sum()
    assert len(Prepared(tmp_path / "out")) > 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert WordPieceTokenizer.from_pretrained(tmp_path / "out").pieces == tokenizer.pieces


def test_blocks_side_by_side_make_a_larger_one(small_corpus, tokenizer, tmp_path):
    prepared(small_corpus, tokenizer, tmp_path / "out")
    small, large = Prepared(tmp_path / "out"), Prepared(tmp_path / "out", at_least=1500)
    assert 1 < len(large) < len(small)
    assert all(len(block) >= 1500 for block in list(large)[:-1])
    assert np.concatenate([block.token_ids for block in large]).tolist() == [
        token for block in small for token in block.token_ids
    ]
    assert all(text.num_documents > 1 for text in small), "NotNext takes B from another document of the block"


def test_the_library_datasets_opens_it(small_corpus, tokenizer, tmp_path):
    datasets = pytest.importorskip("datasets")
    prepared(small_corpus, tokenizer, tmp_path / "out", held_out=10)
    parts = datasets.load_from_disk(str(tmp_path / "out"))
    train = datasets.load_from_disk(str(tmp_path / "out" / "train"))
    documents, _ = read_corpus([str(small_corpus)], held_out=10)
    assert len(parts["dev"]) == 8
    assert len(train) == len(documents)
    for row, document in zip(train, documents, strict=True):
        rows = tokenizer.encode_ids(document)
        assert row["input_ids"] == [token for ids in rows for token in ids]
        assert row["sentence_lengths"] == [len(ids) for ids in rows]


KILLED = """
import os, signal, sys
from bertmini.data import prepare
from bertmini.cli import main
prepare.BLOCK, prepare.SHARD = 3000, 2
add, adds = prepare.Writer.add, []
def killing(self, corpus):
    add(self, corpus)
    adds.append(corpus)
    if len(adds) == {adds}:
        os.kill(os.getpid(), signal.SIGKILL)
prepare.Writer.add = killing
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_preparation_goes_on_and_comes_out_the_same(small_corpus, tokenizer, tmp_path):
    whole = prepared(small_corpus, tokenizer, tmp_path / "whole", documents=60)
    command = f"prepare {small_corpus} --tokenizer {shipped()} --documents 60 --out {tmp_path / 'out'}"
    directory = tmp_path / ".out.preparing"
    kept = {}
    for adds in (1, 4, 3):
        # The processes that tokenise hold its output open: were they to outlive it, this would not return.
        killed = [sys.executable, "-c", KILLED.format(adds=adds), *command.split()]
        done = subprocess.run(killed, capture_output=True, timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert not (tmp_path / "out").exists()
        files = {file.name: file.stat().st_ino for file in directory.glob("train/data-*")}
        assert kept.items() <= files.items(), "a finished file is written once"
        kept = files
    assert len(kept) == 3
    with pytest.raises(InputError, match="holds an interrupted preparation of another text"):
        prepared(small_corpus, tokenizer, tmp_path / "out", documents=59)
    assert main(command.split()) == 0
    assert not directory.exists()
    record = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert record["sha256"] == whole["sha256"]
    assert record["parts"] == whole["parts"]


@pytest.mark.skipif(os.name != "posix", reason="the lock is POSIX")
def test_two_do_not_prepare_at_the_same_place(small_corpus, tokenizer, tmp_path):
    with bertmini.data.prepare.alone(tmp_path / ".out.preparing"):
        with pytest.raises(InputError, match="another process is preparing here"):
            prepared(small_corpus, tokenizer, tmp_path / "out")
        assert (tmp_path / ".out.preparing").exists()


def test_an_empty_directory_is_filled(small_corpus, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared(small_corpus, tokenizer, ".")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("dataset_dict.json", "dev", "prepared.json"),
        *("tokenizer.json", "tokenizer_config.json", "train", "vocab.txt"),
    ]
    assert sorted(path.name for path in (tmp_path / "dev").iterdir()) == [
        *("data-00000.arrow", "dataset_info.json", "state.json"),
    ]


def test_what_cannot_be_prepared_is_refused_in_one_line_and_leaves_nothing(
    small_corpus, tokenizer, tmp_path, capsys
):
    (tmp_path / "binary").write_bytes(b"One. Two.\0")
    (tmp_path / "single").write_text("One. Two.")
    (tmp_path / "headings").write_text("CHAPTER I\n")
    (tmp_path / "control").write_text("\x01\n\n\n\n\x02")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    for corpus, out, words in [
        ("binary", "new", "binary is binary (byte 9 is zero)"),
        ("single", "new", "one document cannot be split"),
        ("headings", "new", "no document in the corpus"),
        ("control --held-out 0", "new", "hold no token"),
        ("nowhere", "new", "nowhere does not exist"),
        ("single --held-out 1", "new", "held_out is 1; expected 2 or more"),
        ("single --processes 0", "new", "--processes 0: expected 1 or more"),
        ("single --documents 0", "new", "--documents 0: expected 1 or more"),
        ("single", "out", "exists already"),
    ]:
        command = f"prepare {tmp_path}/{corpus} --tokenizer {shipped()} --out {tmp_path / out}"
        assert main(command.split()) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before


def test_a_prepared_corpus_that_was_damaged_is_refused(small_corpus, tokenizer, tmp_path):
    prepared(small_corpus, tokenizer, tmp_path / "out")
    file = tmp_path / "out" / "train" / "data-00001.arrow"
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    with pytest.raises(InputError, match=r"data-00001.arrow has another length"):
        read_corpus([str(tmp_path / "out")])
    file.unlink()
    with pytest.raises(InputError, match=r"data-00001.arrow is missing"):
        read_corpus([str(tmp_path / "out")])


def test_how_a_prepared_corpus_is_read_was_settled_before(small_corpus, tokenizer, tmp_path, capsys):
    prepared(small_corpus, tokenizer, out := tmp_path / "out")
    for command in ("train-tokenizer", f"prepare --tokenizer {shipped()}"):
        assert main(f"{command} {out} --out {tmp_path / 'new'}".split()) == 2
        assert "is prepared already" in capsys.readouterr().err
    with pytest.raises(InputError, match="leave out how to read it"):
        read_corpus([str(out)], documents=5)
    with pytest.raises(InputError, match="or prepared directory, or files and folders"):
        read_corpus([str(out), str(small_corpus)])
    other = WordPieceTokenizer([*tokenizer.pieces, "zzz"])
    documents, held_out = read_corpus([str(out)])
    assert isinstance(held_out, Prepared)
    with pytest.raises(InputError, match="was prepared with another vocabulary"):
        training_data(documents, other, 4, 64, "mlm", 0)


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_prepared_corpus_of_one_block_gives_the_batches_of_the_same_in_memory(
    small_corpus, tokenizer, tmp_path
):
    prepared(small_corpus, tokenizer, tmp_path / "out")
    settings = (tokenizer, 8, 64, "mlm+nsp", 3)
    on_disk = training_data(read_corpus([str(tmp_path / "out")])[0], *settings)
    in_memory = training_data(read_corpus([str(small_corpus)])[0], *settings)
    assert len(on_disk) == len(in_memory)
    assert all(equal(on_disk.batch(step), in_memory.batch(step)) for step in range(2 * len(in_memory)))


class Blocks(list):
    """Corpora as the blocks of one."""

    @property
    def sizes(self):
        return np.array([[block.num_documents, len(block)] for block in self])


shapes = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=2, max_size=6)


class Numbers(Tokenizer):
    pad_token_id, unk_token_id, cls_token_id, sep_token_id, mask_token_id = range(5)
    all_special_ids = range(5)

    def __init__(self):
        pass

    def __len__(self):
        return 100_000

    def encode_ids(self, texts):
        return [[int(word) for word in text.split()] for text in texts]


def numbered_blocks(shapes):
    number = iter(range(5, 100_000))

    def sentence(length):
        return " ".join(str(next(number)) for _ in range(length))

    documents = [[list(map(sentence, document)) for document in shape] for shape in shapes]
    return Blocks(Corpus.from_documents(some, Numbers()) for some in documents)


@settings(max_examples=40, deadline=None)
@given(st.lists(shapes, min_size=1, max_size=5), st.integers(1, 9), st.integers(0, 2))
def test_an_epoch_holds_every_example_of_every_block_once(shapes, batch_size, epoch):
    blocks = numbered_blocks(shapes)
    data = PretrainingData(blocks, Numbers(), batch_size, 32, seed=5)
    found = []
    for step in range(epoch * len(data), (epoch + 1) * len(data)):
        batch = data.batch(step)
        ids = torch.where(batch["labels"] == -100, batch["input_ids"], batch["labels"])
        found += [row[mask == 1].tolist() for row, mask in zip(ids, batch["attention_mask"], strict=True)]
    expected = []
    for number, block in enumerate(blocks):
        pairs = pair_examples(block, 32, 5, epoch * len(blocks) + number)
        laid_out = lay_out(block.token_ids, pairs, np.arange(len(pairs)), Numbers())
        expected += [
            row[mask == 1].tolist()
            for row, mask in zip(laid_out["input_ids"], laid_out["attention_mask"], strict=True)
        ]
    # A block of fewer examples than were planned for it repeats some.
    assert sorted(map(tuple, found)) == sorted(map(tuple, expected)) or (
        set(map(tuple, found)) == set(map(tuple, expected)) and len(found) - len(expected) < len(blocks) * 9
    )


def test_a_step_over_blocks_is_a_pure_function_and_epochs_have_orders_of_their_own():
    shape = [[5, 9, 4, 7] * 5] * 9
    blocks = numbered_blocks([shape] * 6)
    there, back = (PretrainingData(blocks, Numbers(), 4, 32, seed=3) for _ in range(2))
    steps = range(2 * len(there))
    batches = [there.batch(step) for step in steps]
    assert all(equal(back.batch(step), batches[step]) for step in reversed(steps))
    ends = np.cumsum([len(block) for block in blocks])
    orders = []
    for epoch in (0, 1):
        of_epoch = batches[epoch * len(there) : (epoch + 1) * len(there)]
        first = [int(batch["input_ids"][batch["input_ids"] > 4].median()) for batch in of_epoch]
        blocks_met = np.searchsorted(ends, first)
        orders.append(list(dict.fromkeys(blocks_met.tolist())))
        assert sorted(orders[-1]) == list(range(6))
        assert (np.diff(blocks_met) != 0).sum() == 5, "one block after another"
    assert orders[0] != orders[1]
    sizes = [len(batch["input_ids"]) for batch in batches]
    assert max(sizes) <= 5
    assert np.mean(sizes) > 3.5


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_set_of_the_hub_streams_file_by_file_in_an_order_fixed_by_the_seed(tokenizer, tmp_path, kind):
    datasets = pytest.importorskip("datasets")
    (folder := tmp_path / "set").mkdir()
    for number in range(6):
        rows = datasets.Dataset.from_dict({"text": [f"File {number}. Row {row}." for row in range(4)]})
        if kind == "parquet":
            rows.to_parquet(folder / f"train-{number:05}-of-00006.parquet")
        else:
            rows.to_json(folder / f"train-{number:05}-of-00006.jsonl")
    orders = []
    for seed in (0, 0, 1):
        texts, source = stream_corpus([f"hf:{folder}"], seed=seed)
        assert source["seed"] == seed
        orders.append([text.split(".")[:2] for text in texts])
        files = [file for file, _ in orders[-1]]
        assert [row for _, row in orders[-1]] == [f" Row {row}" for row in range(4)] * 6
        assert files == [file for file in dict.fromkeys(files) for _ in range(4)]
    assert orders[0] == orders[1] != orders[2]
    command = f"prepare hf:{folder} --tokenizer {shipped()} --out {tmp_path / 'out'} --held-out 0 --seed 1"
    assert main(command.split()) == 0
    (block,) = Prepared(tmp_path / "out", at_least=10**9)
    expected = [split_sentences(f"{file}.{row}.") for file, row in orders[2]]
    assert same(block, Corpus.from_documents(expected, tokenizer))


def test_a_run_on_prepared_data_goes_on_with_the_same_alone(small_corpus, tokenizer, tmp_path, capsys):
    prepared(small_corpus, tokenizer, data := tmp_path / "data")
    run = tmp_path / "run"
    command = f"pretrain --data {data} --out {run} --preset tiny --steps 3 --batch-size 4"
    assert main([*command.split(), "--vocab-size", "500"]) == 2
    assert "--vocab-size 500 is for a new tokenizer" in capsys.readouterr().err
    assert main(command.split()) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["dev"]["mlm_loss"] > 0
    settings = json.loads((run / "run.json").read_text())["settings"]
    assert len(settings["data_sha256"]) == 64
    capsys.readouterr()
    assert main(f"evaluate --data {data} --model {run}".split()) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["dev"]  # it has no test part
    assert main(f"pretrain --out {run} --resume".split()) == 0
    os.rename(data, tmp_path / "away")
    prepared(small_corpus, tokenizer, data, documents=70)
    capsys.readouterr()
    assert main(f"pretrain --out {run} --resume".split()) == 2
    assert "its data are not what they were" in capsys.readouterr().err


@pytest.mark.parametrize("long", [[0, 1, 2, 3], [20, 21], [39]])
def test_every_block_has_two_documents_however_long_they_are(tokenizer, tmp_path, long):
    texts = ["One. Two. " * (400 if number in long else 30) for number in range(40)]
    prepare(texts, tokenizer, tmp_path / "out", "long ones", held_out=0)
    blocks = Prepared(tmp_path / "out")
    assert all(block.num_documents > 1 for block in blocks)
    assert sum(block.num_documents for block in blocks) == 40
    assert [[block.num_documents, len(block)] for block in blocks] == blocks.sizes.tolist()


def test_a_tasks_texts_are_the_same_documents_when_they_are_prepared(tmp_path):
    row = {"text": "Good food\n\nBad service", "label": "a"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    data = [f"task:{tmp_path}"]
    assert [split_sentences(text) for text in stream_corpus(data)[0]] == read_corpus(data, held_out=0)[0]


def test_a_record_of_another_program_is_refused(tmp_path):
    (tmp_path / "prepared.json").write_text("{}")
    with pytest.raises(InputError, match="is not bertmini's"):
        read_corpus([str(tmp_path)])
