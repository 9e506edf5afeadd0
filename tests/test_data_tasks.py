"""Labelled examples: files, the Gazette, the hub's library, and their batches."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from bertmini import InputError, WordPieceTokenizer
from bertmini.data.batches import TaskData
from bertmini.data.corpus import Corpus
from bertmini.data.task_files import Example, label_names, read_task
from bertmini.files import new_directory


def write(directory, **files):
    for name, content in files.items():
        stem, suffix = name.rsplit("_", 1)
        (directory / f"{stem}.{suffix}").write_text(content, encoding="utf-8")
    return directory


FORMATS = {
    "GLUE single": ("tsv", 'sentence\tlabel\na "b\t1\n', Example('a "b', None, "1")),
    "GLUE pair": ("tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tno\n", Example("a", "b", "no")),
    "QNLI": ("tsv", "index\tquestion\tsentence\tlabel\n0\ta\tb\tno\n", Example("a", "b", "no")),
    "QQP": (
        "tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\ta\tb\t1\n",
        Example("a", "b", "1"),
    ),
    "MNLI": (
        "tsv",
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tno\tyes\n",
        Example("a", "b", "yes"),
    ),
    "MRPC": ("tsv", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t5\t6\ta\tb\n", Example("a", "b", "1")),
    "CSV": ("csv", 'text,label\n"a, ""b""\nc",x\n', Example('a, "b"\nc', None, "x")),
    "JSON lines": ("jsonl", '{"text": "a", "pair": "b", "label": 3}\n', Example("a", "b", "3")),
    "text;label": ("txt", "a; b;joy\n", Example("a; b", None, "joy")),
    "TREC": ("txt", "NUM:dist How far ?\n", Example("How far ?", None, "NUM")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_people_have_are_read(tmp_path, name):
    suffix, content, example = FORMATS[name]
    (tmp_path / f"train.{suffix}").write_text(content, newline="")
    (tmp_path / f"val.{suffix}").write_text(
        content.replace("\n", "\r\n") if suffix != "csv" else content, newline=""
    )
    assert read_task(tmp_path) == {"train": [example], "dev": [example]}
    assert read_task(tmp_path / f"val.{suffix}") == {"dev": [example]}


def test_what_is_null_is_left_out(tmp_path):
    write(tmp_path, train_jsonl='{"text": "a", "pair": null, "label": "x"}\n')
    assert read_task(tmp_path) == {"train": [Example("a", None, "x")]}


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_text_may_be_long(tmp_path, suffix):
    comma = "," if suffix == "csv" else "\t"
    write(tmp_path, **{f"train_{suffix}": f"text{comma}label\n{'a' * 200_000}{comma}1\n"})
    assert read_task(tmp_path) == {"train": [Example("a" * 200_000, None, "1")]}


def test_columns_can_be_named_or_numbered(tmp_path):
    write(tmp_path, train_csv="review,stars,title\ngood,5,t\n")
    assert read_task(tmp_path, "regress", ["title", "review"], "stars")["train"] == [
        Example("t", "good", 5.0)
    ]
    write(tmp_path, train_tsv="gj04\t1\t\tOur friends\n")  # CoLA has no header
    assert read_task(tmp_path, text_columns=["4"], label_column="2")["train"] == [
        Example("Our friends", None, "1")
    ]
    write(tmp_path, train_txt="ENTY:animal What bird ?\n")
    assert read_task(tmp_path / "train.txt", label_column="fine")["train"][0].label == "ENTY:animal"


def test_a_test_part_without_labels_is_left_out(tmp_path):
    write(tmp_path, train_tsv="sentence\tlabel\na\t1\n", test_tsv="index\tsentence\n0\tb\n")
    with pytest.warns(UserWarning, match=r"test\.tsv:2: no column of labels"):
        assert set(read_task(tmp_path)) == {"train"}
    with pytest.raises(InputError, match=r"test\.tsv:2: columns are index, sentence; .*--label-column"):
        read_task(tmp_path / "test.tsv")  # nothing would be left


BAD = {
    "ragged row": (
        {"train_tsv": "text\tlabel\na\t1\nb\n"},
        r"train\.tsv:3: 1 column; expected 2: text, label",
    ),
    "missing column": (
        {"train_csv": "text,mood\na,1\n"},
        r"train\.csv:2: columns are text, mood; expected .*--label-column",
    ),
    "empty label": ({"train_csv": "text,label\na,x\nb,\n"}, r"csv:3: the label is empty"),
    "null pair": (
        {"train_jsonl": '{"text": "a", "pair": null, "label": 1}\n{"text": "b", "pair": "c", "label": 1}\n'},
        r"jsonl:1: no pair; found text, label",
    ),
    "several labels": (
        {"train_jsonl": '{"text": "a", "label": ["x"]}\n{"text": "b", "label": ["x", "y"]}\n'},
        r"jsonl:1: label is \['x'\]; expected one label",
    ),
    "words for a text": (
        {"train_jsonl": '{"text": "a", "label": "x"}\n{"text": ["b", "c"], "label": "x"}\n'},
        r"jsonl:2: text is \['b', 'c'\]; expected one text",
    ),
    "missing text": ({"train_csv": "words,label\na,1\n"}, r"expected sentence1\+sentence2, .*--text-columns"),
    "missing in a line": (
        {"train_jsonl": '{"text": "a", "label": 1}\n{"text": "b"}\n'},
        r"jsonl:2: no label; found text",
    ),
    "null label": (
        {"train_jsonl": '{"text": "a", "label": 1}\n{"text": "b", "label": null}\n'},
        r"jsonl:2: no label; found text",
    ),
    "null text": (
        {"train_jsonl": '{"text": "a", "label": 1}\n{"text": null, "label": 1}\n'},
        r"jsonl:2: no text; found label",
    ),
    "unknown label": (
        {"train_txt": "a;joy\nb;fear\n", "val_txt": "a;joy\n\nb;rage\n"},
        r"val\.txt:3: 'rage' is a label that training never saw",
    ),
    "no JSON": ({"train_jsonl": '{"text": "a", "label": 1}\n[1]\n'}, r"jsonl:2: not a JSON object"),
    "no CSV": ({"train_csv": 'text,label\n"a"b,1\n'}, r"train\.csv:2: not CSV"),
    "no label": ({"train_txt": "a;joy\nb\n"}, r"txt:2: expected text;label"),
    "no rows": ({"train_tsv": "text\tlabel\n"}, "a header without rows"),
    "empty": ({"train_tsv": ""}, "is empty"),
    "BOM in CSV": ({"train_csv": "\ufeff"}, "is empty"),
    "BOM in TSV": ({"train_tsv": "\ufeff\n"}, "is empty"),
    "BOM in JSON lines": ({"train_jsonl": "\ufeff"}, "is empty"),
    "fixed space": ({"train_txt": "\xa0\n"}, "is empty"),
    "nothing": ({}, "holds no such file; expected train"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_task_files_are_refused_with_file_and_line(tmp_path, name):
    files, message = BAD[name]
    with pytest.raises(InputError, match=message) as error:
        read_task(write(tmp_path, **files))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("score", ["much", "nan", "inf", ""])
def test_scores_are_finite_numbers(tmp_path, score):
    write(tmp_path, train_tsv=f"text\tscore\na\t1e1\nb\t{score}\n")
    with pytest.raises(InputError, match=rf"train\.tsv:3: the score is '{score}'; expected a number"):
        read_task(tmp_path, "regress")


def test_missing_and_strange_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_task(tmp_path / "nowhere")
    (tmp_path / "train.xls").write_text("a")
    with pytest.raises(InputError, match="unknown kind of file"):
        read_task(tmp_path / "train.xls")


def test_three_text_columns_are_refused(tmp_path):
    with pytest.raises(InputError, match="names 3 columns; expected one or two"):
        read_task(tmp_path, text_columns=["a", "b", "c"])


def test_classes_have_a_fixed_order():
    examples = [Example("", None, label) for label in ["b", "10", "2", "a", "2"]]
    assert label_names(examples) == ["2", "10", "a", "b"]


def test_classes_that_are_one_number_have_a_fixed_order():
    """Otherwise it would depend on PYTHONHASHSEED which of eight is 0."""
    names = ["1".zfill(digits) for digits in range(8, 0, -1)]
    assert label_names([Example("", None, name) for name in reversed(names)]) == names


@pytest.mark.parametrize("name", ["emotion", "similarity"])
def test_the_gazette_gives_labelled_examples(name):
    splits = read_task(f"gazette/{name}", "classify" if name == "emotion" else "regress")
    assert set(splits) == {"train", "dev", "test"}
    assert all(example.label is not None for example in splits["train"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_hub_library_gives_labelled_examples(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder, train_csv="text,label\na,1\nb,0\n", validation_csv="text,label\nc,1\n")
    expected = {"train": [Example("a", None, "1"), Example("b", None, "0")], "dev": [Example("c", None, "1")]}
    assert read_task(f"hf:{folder}") == expected


def test_several_labels_on_the_hub_are_not_taken_for_one(monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "labels": [[0], [1, 2]]})
    monkeypatch.setattr(datasets, "load_dataset", lambda name: {"train": rows})
    with pytest.raises(InputError, match=r"hf:moods train:1: labels is \[0\]; expected one label"):
        read_task("hf:moods", label_column="labels")
    assert len(read_task("hf:moods", "texts", label_column="labels")["train"]) == 2


def test_a_csv_file_of_a_spreadsheet_may_have_semicolons(tmp_path):
    write(tmp_path, train_csv='text;label\n"a; b";x\nc, d;y\n', dev_csv="text,label\ne;f,x\n")
    assert read_task(tmp_path) == {
        "train": [Example("a; b", None, "x"), Example("c, d", None, "y")],
        "dev": [Example("e;f", None, "x")],
    }


def test_of_two_files_for_a_part_the_first_is_read_with_a_warning(tmp_path):
    write(tmp_path, train_csv="text,label\nnew,x\n", train_tsv="text\tlabel\nold\tx\n")
    with pytest.warns(UserWarning, match=r"holds train\.tsv and train\.csv; train\.tsv is read"):
        assert read_task(tmp_path)["train"] == [Example("old", None, "x")]


def test_the_hub_library_names_its_classes(monkeypatch):
    datasets = pytest.importorskip("datasets")
    classes = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"sentence": datasets.Value("string"), "label": classes})

    def part(*labels):
        return datasets.Dataset.from_dict(
            {"sentence": ["a"] * len(labels), "label": labels}, features=features
        )

    loaded = {("set", "en"): {"train": part(1, 0), "test": part(-1)}}
    monkeypatch.setattr(datasets, "load_dataset", lambda *name: loaded[name])
    with pytest.warns(UserWarning, match="the test part is left out"):
        assert read_task("hf:set:en") == {"train": [Example("a", None, "yes"), Example("a", None, "no")]}


def test_rows_of_the_hub_without_a_class_are_left_out_and_counted(monkeypatch):
    datasets = pytest.importorskip("datasets")
    classes = datasets.ClassLabel(names=["yes", "no"])
    features = datasets.Features(
        {"premise": datasets.Value("string"), "hypothesis": datasets.Value("string"), "label": classes}
    )

    def part(*labels):
        rows = {"premise": ["a"] * len(labels), "hypothesis": ["b"] * len(labels), "label": labels}
        return datasets.Dataset.from_dict(rows, features=features)

    loaded = {"train": part(1, -1, 0, -1), "test": part(-1, 1)}
    monkeypatch.setattr(datasets, "load_dataset", lambda name: loaded)
    with pytest.warns(UserWarning, match="left out") as told:
        found = read_task("hf:snli")
    assert [each.label for each in found["train"]] == ["no", "yes"]
    assert [each.label for each in found["test"]] == ["no"]
    assert [str(each.message) for each in told] == [
        "hf:snli train:2: no label; 2 such rows left out", "hf:snli test:1: no label; 1 such row left out",
    ]  # fmt: skip


def test_labels_that_are_numbers_stand_by_value():
    examples = [Example("a", None, label) for label in ("10", "-1", "no", "2", "0", "-10", "-")]
    assert label_names(examples) == ["-10", "-1", "0", "2", "10", "-", "no"]


def test_what_is_null_on_the_hub_is_left_out_and_an_empty_part_refused(monkeypatch):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_dict({"text": ["a"], "label": ["1"]})
    null = datasets.Dataset.from_dict({"text": ["a", None], "label": ["1", "1"]})
    loaded = {"null": {"train": one, "test": null}, "empty": {"train": one, "dev": one.select([])}}
    monkeypatch.setattr(datasets, "load_dataset", lambda name: loaded[name])
    with pytest.raises(InputError, match="hf:null test:2: no text; found label"):
        read_task("hf:null")
    with pytest.raises(InputError, match="hf:empty: its part dev has no row; expected examples"):
        read_task("hf:empty")


def test_a_set_that_the_hub_library_cannot_load_is_refused_in_one_line(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    with pytest.raises(InputError, match="cannot be loaded: ") as error:
        read_task(f"hf:{tmp_path / 'nowhere'}")
    assert "\n" not in str(error.value)
    for name in ("hf:", "hf:a:b:c"):
        with pytest.raises(InputError, match=f"{name} names no data set; expected hf:NAME or"):
            read_task(name)
    (tmp_path / "train.json").write_text('{"text": ')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="hf:json cannot be loaded: "):
        read_task("hf:json")
    monkeypatch.setattr(datasets, "load_dataset", lambda *name: {"all": None})
    with pytest.raises(InputError, match="hf:set has all; expected train"):
        read_task("hf:set")


@pytest.mark.filterwarnings("ignore:.*Latin-1")
@pytest.mark.parametrize(
    ("name", "task", "rows", "classes"),
    [
        ("emotion", "classify", {"train": 16000, "dev": 2000, "test": 2000}, 6),
        ("sst2", "classify", {"train": 67349, "dev": 872}, 2),
        ("stsb", "regress", {"train": 5749, "dev": 1500}, None),
        ("rte", "classify", {"train": 2490, "dev": 277}, 2),
        ("trec", "classify", {"train": 5452, "test": 500}, 6),
        ("chnsenticorp", "classify", {"train": 9600, "dev": 1200, "test": 1200}, 2),
    ],
)
def test_real_sets_are_read_whole(data_directory, name, task, rows, classes):
    splits = read_task(data_directory / name, task)
    assert {split: len(examples) for split, examples in splits.items()} == rows
    assert all(example.text.strip() for examples in splits.values() for example in examples)
    if classes:
        assert len(label_names(splits["train"])) == classes


def test_latin_1_is_read_with_a_warning_or_refused(data_directory):
    with pytest.warns(UserWarning, match=r"read as Latin-1: .*trec/train\.txt"):
        read_task(data_directory / "trec")
    with pytest.raises(InputError, match=r"trec/train\.txt:\d+ is not UTF-8"):
        read_task(data_directory / "trec", strict=True)


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"])


EXAMPLES = [Example("a b c d e"[: 2 * n + 1], "f g", str(n % 2)) for n in range(5)] * 5


def test_task_batches_hold_texts_and_labels(tokenizer):
    data = TaskData(EXAMPLES, tokenizer, ["0", "1"], batch_size=4, max_length=12, seed=0)
    assert len(data) == 7
    seen = [row for step in range(7) for row in zip(*data.batch(step).values(), strict=True)]
    assert len(seen) == 25
    for ids, types, mask, label in seen:
        length = int(mask.sum())
        assert (length - 5 - 1) % 2 == label  # n + 1 words, two words, three special tokens
        assert ids[:length].tolist()[-4:] == [3, 10, 11, 3]
        assert types.tolist() == [0] * (length - 3) + [1] * 3 + [0] * (len(ids) - length)
    assert {tensor.dtype for tensor in data.batch(0).values()} == {torch.int64}
    scores = TaskData([Example("a", None, 2.5)], tokenizer, None, 4, 12, 0).batch(9)["labels"]
    assert scores.dtype == torch.float32
    assert scores.tolist() == [2.5]


def test_task_batches_are_a_pure_function_of_seed_and_step(tokenizer):
    first, second = (TaskData(EXAMPLES, tokenizer, ["0", "1"], 4, 12, seed=1) for _ in range(2))
    batches = [first.batch(step) for step in range(20)]
    for step in reversed(range(20)):
        assert all(torch.equal(value, batches[step][name]) for name, value in second.batch(step).items())
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(
        (first.batch(step)["input_ids"] for step in range(7)),
        (first.batch(step)["input_ids"] for step in range(7, 14)), strict=True))  # fmt: skip


def test_several_processes_share_out_a_batch_and_each_has_a_row(tokenizer):
    whole, *parts = (
        TaskData(EXAMPLES, tokenizer, ["0", "1"], 4, 12, seed=1, part=part)
        for part in [(0, 1), (0, 2), (1, 2)]
    )
    for step in range(14):
        rows, *found = ([part.batch(step)] for part in (whole, *parts))
        labels = rows[0]["labels"].tolist()
        assert [part["labels"].tolist() for (part,) in found] == [labels[::2], labels[1::2] or [-100]]
        for rank, (part,) in enumerate(found[: len(labels)]):
            length = part["input_ids"].shape[1]
            assert torch.equal(part["input_ids"], rows[0]["input_ids"][rank::2, :length])
            assert not rows[0]["attention_mask"][rank::2, length:].any()
    assert len(EXAMPLES) % 4 == 1, "the last batch has a row for one process alone"


def test_evaluation_sees_every_example_once(tokenizer):
    data = TaskData(EXAMPLES, tokenizer, ["0", "1"], 4, 12, 0)
    seen = [row for batch in data.batches_for_evaluation() for row in zip(*batch.values(), strict=True)]
    assert len(seen) == len(EXAMPLES)
    assert Counter(int(label) for *_, label in seen) == Counter(int(example.label) for example in EXAMPLES)


def test_task_data_without_labels_or_with_strange_ones(tokenizer):
    assert "labels" not in TaskData([Example("a")], tokenizer, ["0"], 4, 12, 0).batch(0)
    with pytest.raises(InputError, match="example 2 has the label 'x'; expected one of 0, 1"):
        TaskData([Example("a", None, "0"), Example("a", None, "x")], tokenizer, ["0", "1"], 4, 12, 0)
    with pytest.raises(InputError, match="no example"):
        TaskData([], tokenizer, ["0"], 4, 12, 0)


def test_a_score_of_minus_one_is_a_score(monkeypatch):
    class Part(list):
        pass

    rows = Part({"sentence1": "a", "sentence2": "b", "label": score} for score in (-1.0, 0.5))
    rows.features = dict.fromkeys(("sentence1", "sentence2", "label"))
    monkeypatch.setattr("bertmini.data.hub.load", lambda name: {"train": rows, "test": rows})
    assert [each.label for each in read_task("hf:scores", "regress")["test"]] == [-1.0, 0.5]


def test_single_texts_among_pairs_are_refused():
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    mixed = [Example("a", None, "0"), Example("a", "a", "0")]
    for examples in (mixed, mixed[::-1]):
        with pytest.raises(InputError, match="some examples are pairs of texts, others single ones"):
            TaskData(examples, tokenizer, ["0"], 4, 12, 0)


def test_a_text_is_no_list_of_sentences():
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    with pytest.raises(InputError, match="a document is a string; expected its sentences"):
        Corpus.from_documents(["a a"], tokenizer)


def test_a_place_where_another_disk_begins_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.ismount", lambda path: True)
    with pytest.raises(InputError, match="is where another disk begins"), new_directory(tmp_path / "out"):
        pytest.fail("it wrote")
