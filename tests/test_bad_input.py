"""Bad input through the command line: one clear line, exit code 2, nothing written, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest
import safetensors.torch

from bertmini.cli import COMMANDS, main
from bertmini.commands.options import ABOVE_0, BELOW_1, LEAST, SHARES
from bertmini.errors import InputError
from bertmini.training import Run


@pytest.fixture
def refused(capsys, tmp_path):
    """Run a command, check that it is refused as promised, and return its line."""

    def run(command: str, *more: str) -> str:
        arguments = [*command.split(), *more]
        before = sorted(tmp_path.rglob("*"))
        assert main(arguments) == 2
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if not line.startswith("bertmini: warning: ")]
        assert len(errors) == 1, captured.err
        assert errors[0].startswith("bertmini: error: ")
        assert len(errors[0]) < 600
        assert captured.out == ""
        assert sorted(tmp_path.rglob("*")) == before
        return errors[0]

    return run


@pytest.fixture
def copy_of(tmp_path):
    """A model directory that may be spoilt."""

    def copy(directory: Path) -> Path:
        return Path(shutil.copytree(directory, tmp_path / "spoilt"))

    return copy


# --- corpora --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train-tokenizer {}", "pretrain --data {}"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "empty"),
        (b" \n\n\t\n", "empty"),
        (b"text\0text and more text", "zero"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "zero"),
    ],
    ids=["missing", "empty", "blank", "zero byte", "picture"],
)
def test_a_corpus_that_is_none_is_refused(command, content, words, refused, tmp_path):
    file = tmp_path / "corpus.txt"
    if content is not None:
        file.write_bytes(content)
    line = refused(f"{command.format(file)} --out {tmp_path / 'out'}")
    assert words in line
    assert str(file) in line


def test_a_folder_without_files_is_refused(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(f"pretrain --data {tmp_path / 'empty'} --out {tmp_path / 'out'}")


def test_a_strict_reader_names_the_line_that_is_not_utf8(refused, tmp_path):
    file = tmp_path / "latin.txt"
    file.write_bytes("One line.\nThe café.\n".encode("latin-1"))
    line = refused(f"train-tokenizer {file} --out {tmp_path / 'out'} --strict")
    assert f"{file}:2" in line


@pytest.mark.parametrize("encoding", ["ascii", "no-such-encoding"])
def test_a_wrong_or_unknown_encoding_is_refused(encoding, refused, tmp_path):
    file = tmp_path / "latin.txt"
    file.write_bytes("One line.\nThe café.\n".encode("latin-1"))
    assert encoding in refused(f"train-tokenizer {file} --out {tmp_path / 'out'} --encoding {encoding}")


@pytest.mark.parametrize("command", ["train-tokenizer {}", "pretrain --data {}"])
def test_a_vocabulary_larger_than_the_text_supports_is_refused(command, refused, small_corpus, tmp_path):
    line = refused(f"{command.format(small_corpus)} --out {tmp_path / 'out'} --vocab-size 50000")
    assert "50000" in line.replace(",", "")


def test_one_document_cannot_be_held_out_or_paired(refused, tmp_path):
    file = tmp_path / "one.txt"
    file.write_text("The sea is calm. The ship sails. A gull cries. " * 20)
    common = f"pretrain --data {file} --out {tmp_path / 'out'} --vocab-size 40"
    assert "one document" in refused(common)
    assert "one document" in refused(f"{common} --held-out 0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--data hf:a hf:b", "found hf:a hf:b as data"),
        ("--data hf:", "hf: names no data set"),
        ("--data hf:a:b:c", "hf:a:b:c names no data set"),
    ],
)
def test_data_that_name_no_corpus_are_refused(options, words, refused, tmp_path):
    assert words in refused(f"pretrain {options} --out {tmp_path / 'out'}")


# --- sequences, ids and labels --------------------------------------------------------------------


@pytest.mark.parametrize("words", [127, 600])  # the model has trained on 128 tokens, and its table has 512
def test_a_sequence_longer_than_those_of_training_is_refused(words, refused, pretrained):
    line = refused(f"fill --model {pretrained}", "[MASK] " + "sea " * words)
    assert "the model was trained on 128" in line


def test_pretraining_beyond_the_position_table_of_a_model_is_refused(
    refused, pretrained, small_corpus, tmp_path
):
    common = f"pretrain --data {small_corpus} --init {pretrained} --out {tmp_path / 'out'}"
    assert "512 rows" in refused(f"{common} --max-length 600")


@pytest.mark.parametrize("command", ["fill", "evaluate --data gazette", "embed"])
def test_a_tokenizer_with_more_pieces_than_its_model_is_refused(command, refused, copy_of, pretrained):
    spoilt = copy_of(pretrained)
    with open(spoilt / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("brandnewword\n")
    line = refused(f"{command} --model {spoilt}", *([] if "evaluate" in command else ["[MASK] brandnewword"]))
    assert f"{spoilt}: the tokenizer has 601 pieces and the model knows 600" in line


def test_a_tokenizer_larger_than_the_model_is_refused(refused, copy_of, pretrained, small_corpus, tmp_path):
    larger = copy_of(pretrained)
    (larger / "tokenizer.json").unlink()
    with open(larger / "vocab.txt", "a", encoding="utf-8") as file:
        file.write("brandnewword\n")
    common = f"pretrain --data {small_corpus} --out {tmp_path / 'out'} --init {pretrained}"
    assert "601 pieces" in refused(f"{common} --tokenizer {larger}")


def test_a_label_that_training_never_saw_is_refused_with_its_line(refused, mood_files, pretrained, tmp_path):
    data = Path(shutil.copytree(mood_files, tmp_path / "data"))
    with open(data / "dev.txt", "a") as file:
        file.write("the captain was puzzled;wonder\n")
    line = refused(f"finetune classify --data {data} --model {pretrained} --out {tmp_path / 'out'}")
    assert f"{data / 'dev.txt'}:13" in line
    assert "'wonder'" in line


def test_a_label_that_the_model_does_not_know_is_refused(refused, classifier, tmp_path):
    file = tmp_path / "test.txt"
    file.write_text("the captain was happy;joy\nthe captain was puzzled;wonder\n")
    line = refused(f"evaluate --data {file} --model {classifier}")
    assert "'wonder'" in line
    assert "anger, fear, joy" in line


def test_rows_that_are_no_examples_are_refused_with_their_line(refused, mood_files, pretrained, tmp_path):
    data = Path(shutil.copytree(mood_files, tmp_path / "data"))
    with open(data / "train.txt", "a") as file:
        file.write("no label on this line\n")
    line = refused(f"finetune classify --data {data} --model {pretrained} --out {tmp_path / 'out'}")
    assert f"{data / 'train.txt'}:49" in line


def test_a_row_without_a_label_is_refused_with_its_line(refused, pretrained, tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text('{"text": "the sea", "label": "calm"}\n{"text": "the ship", "label": null}\n')
    line = refused(f"finetune classify --data {file} --model {pretrained} --out {tmp_path / 'out'}")
    assert f"{file}:2: no label" in line


def test_a_file_without_labels_is_not_measured(refused, classifier, tmp_path):
    file = tmp_path / "test.tsv"
    file.write_text("index\tsentence\n0\tthe captain was happy\n")
    line = refused(f"evaluate --data {file} --model {classifier}")
    assert f"{file}:2: columns are index, sentence" in line
    assert "--label-column" in line


def test_a_score_that_is_no_number_is_refused_with_its_line(refused, pretrained, tmp_path):
    file = tmp_path / "train.tsv"
    file.write_text("sentence\tscore\nthe sea\t3.5\nthe ship\thigh\n")
    line = refused(f"finetune regress --data {file} --model {pretrained} --out {tmp_path / 'out'}")
    assert f"{file}:3" in line
    assert "'high'" in line


def test_a_missing_task_or_part_is_refused(refused, classifier, mood_files, pretrained, tmp_path):
    nothing = tmp_path / "nothing"
    common = f"--model {pretrained} --out {tmp_path / 'out'}"
    assert "does not exist" in refused(f"finetune classify --data {nothing} {common}")
    assert "gazette" in refused(f"finetune classify --data gazette/nothing {common}")
    part = tmp_path / "part"
    part.mkdir()
    shutil.copy(mood_files / "dev.txt", part)
    assert "no train part" in refused(f"finetune classify --data {part} {common}")
    assert "no part test" in refused(f"evaluate --data {part} --model {classifier}")


# --- checkpoints ----------------------------------------------------------------------------------


def commands_for(model: Path, out: Path) -> list[str]:
    return [f"fill --model {model} [MASK]", f"finetune classify --model {model} --out {out}",
            f"distill --teacher {model} --out {out}"]  # fmt: skip


def test_a_model_that_is_not_there_is_refused(refused, tmp_path):
    for command in commands_for(tmp_path / "nowhere", tmp_path / "out"):
        assert "nowhere" in refused(command)


def test_a_checkpoint_of_another_shape_is_refused(refused, copy_of, pretrained, tmp_path):
    spoilt = copy_of(pretrained)
    config = json.loads((spoilt / "config.json").read_text())
    (spoilt / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    for command in commands_for(spoilt, tmp_path / "out"):
        line = refused(command)
        assert "[600, 128]" in line
        assert "[600, 64]" in line


def test_a_checkpoint_that_lacks_layers_is_refused(refused, copy_of, pretrained, tmp_path):
    spoilt = copy_of(pretrained)
    config = json.loads((spoilt / "config.json").read_text())
    (spoilt / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    assert "encoder.layer.2" in refused(f"fill --model {spoilt} [MASK]")


def test_pickled_weights_are_refused_unread(refused, copy_of, pretrained, tmp_path):
    spoilt = copy_of(pretrained)
    (spoilt / "model.safetensors").unlink()
    (spoilt / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    for command in commands_for(spoilt, tmp_path / "out"):
        line = refused(command)
        assert "pytorch_model.bin" in line
        assert "pickle" in line


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_half_written_checkpoint_is_refused(share, refused, copy_of, pretrained):
    spoilt = copy_of(pretrained)
    weights = (spoilt / "model.safetensors").read_bytes()
    (spoilt / "model.safetensors").write_bytes(weights[: int(share * len(weights))])
    assert "model.safetensors cannot be read" in refused(f"fill --model {spoilt} [MASK]")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_half_written_configuration_is_refused(name, refused, copy_of, pretrained):
    spoilt = copy_of(pretrained)
    (spoilt / name).write_text((spoilt / name).read_text()[:40])
    assert name in refused(f"fill --model {spoilt} [MASK]")


DAMAGE = [
    ("config.json", []),
    ("config.json", {"num_attention_heads": 0}),
    ("config.json", {"vocab_size": "600"}),
    ("config.json", {"id2label": {"a": "joy"}}),
    ("config.json", {"position_embedding_type": "relative_key"}),
    ("config.json", {"num_hidden_layers": 1}),
    ("config.json", {"architectures": 5}),
    ("config.json", {"architectures": [5]}),
    ("config.json", {"problem_type": "multi_label_classification"}),
    ("tokenizer_config.json", []),
    ("tokenizer_config.json", {"do_lower_case": "yes"}),
    ("tokenizer.json", []),
    ("tokenizer.json", {"model": {"type": "Unigram", "vocab": []}}),
    ("model.safetensors.index.json", []),
    ("model.safetensors.index.json", {}),
]


# What is read in its place as long as it is there.
BESIDE = {"tokenizer.json": "vocab.txt", "model.safetensors.index.json": "model.safetensors"}


@pytest.mark.parametrize(("name", "content"), DAMAGE)
def test_a_damaged_model_directory_is_refused(name, content, refused, copy_of, classifier):
    spoilt = copy_of(classifier)
    file = spoilt / name
    if name in BESIDE:
        (spoilt / BESIDE[name]).unlink()
    if isinstance(content, dict) and file.exists():
        content = json.loads(file.read_text()) | content
    file.write_text(json.dumps(content))
    assert str(spoilt) in refused(f"predict --model {spoilt} hello")


def test_a_tokenizer_config_without_a_length_is_read(copy_of, classifier, capsys):
    spoilt = copy_of(classifier)
    (spoilt / "tokenizer_config.json").write_text('{"model_max_length": null}')
    assert main(["predict", "--model", str(spoilt), "hello"]) == 0
    assert "label" in capsys.readouterr().out


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(small_corpus, tmp_path, capsys):
    out = tmp_path / "run"
    command = f"pretrain --data {small_corpus} --out {out} --preset tiny --steps 4 --vocab-size 500"
    assert main([*command.split(), "--batch-size", "4", "--checkpoint-every", "2"]) == 0
    whole = (out / "model.safetensors").read_bytes()
    damaged = out / "checkpoints" / "step-4" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert main(["pretrain", "--out", str(out), "--resume"]) == 0
    assert "step-4 is damaged" in capsys.readouterr().err
    assert (out / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("content", [None, "{}", "[]", "{", '{"training": {}, "settings": []}'])
def test_a_directory_that_is_no_run_is_not_resumed(content, refused, tmp_path):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    assert "not a run directory" in refused(f"pretrain --out {tmp_path} --resume")


def test_a_run_whose_log_is_gone_or_that_another_version_began_is_not_resumed(refused, copy_of, pretrained):
    run = copy_of(pretrained)
    (run / "log.jsonl").write_bytes(b"")
    assert "shorter than when step-4 was saved" in refused(f"pretrain --out {run} --resume")
    record = json.loads((run / "run.json").read_text())
    record["training"]["momentum"] = 0.9
    (run / "run.json").write_text(json.dumps(record))
    assert "another version" in refused(f"pretrain --out {run} --resume")


@pytest.mark.skipif(os.name != "posix", reason="the lock is POSIX")
def test_a_run_that_another_process_trains_is_left_alone(refused, copy_of, pretrained):
    from bertmini.training import Run

    run = copy_of(pretrained)
    with Run(run).alone():
        assert "another process is training here" in refused(f"pretrain --out {run} --resume")


def test_a_run_that_is_refused_after_it_was_begun_leaves_nothing(refused, small_corpus, pretrained, tmp_path):
    common = f"--data {small_corpus} --steps 4 --batch-size 4 --out {tmp_path / 'out'}"
    line = refused(f"pretrain {common} --vocab-size 500 --preset tiny --learning-rate 1e18 --short-share 0")
    assert "no longer a number" in line
    assert "layers [7]" in refused(f"distill --teacher {pretrained} {common} --layers 7")
    patient = f"distill --teacher {pretrained} {common} --intermediate patient"
    assert "none before the last" in refused(patient)
    weighted = f"pretrain --init {pretrained} {common} --masking whole-word --mask-smoothing 0.7"
    assert "single pieces" in refused(weighted)


def test_a_folder_without_a_train_part_teaches_no_student(refused, classifier, mood_files, tmp_path):
    part = tmp_path / "part"
    part.mkdir()
    shutil.copy(mood_files / "dev.txt", part)
    out = tmp_path / "out"
    assert "no train part" in refused(f"distill --teacher {classifier} --data {part} --out {out}")
    shutil.copy(mood_files / "train.txt", part)
    command = f"distill --teacher {classifier} --data {part} --out {out} --documents 5"
    assert "for running text" in refused(command)
    command = f"distill --teacher {classifier} --data {part} --out {out}"
    assert "for running text" in refused(f"{command} --mask-smoothing 0.7")
    assert "through BERT's pooler" in refused(f"{command} --family distilbert")


def test_patience_without_a_dev_part_is_refused(refused, mood_files, pretrained, tmp_path):
    common = f"--model {pretrained} --out {tmp_path / 'out'} --patience 2"
    assert "has none" in refused(f"finetune classify --data {mood_files / 'train.txt'} {common}")


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError])
def test_a_full_memory_is_one_line(kind, capsys, monkeypatch):
    from bertmini.commands.shipping import Cost

    def run(self):
        raise kind("DefaultCPUAllocator: can't allocate memory:\n you tried to allocate 9 bytes")

    monkeypatch.setattr(Cost, "run", run)
    assert main(["cost"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("bertmini: error: the memory is full (DefaultCPUAllocator")
    assert told.count("\n") == 1


def test_compiling_without_a_compiler_is_refused(refused, mood_files, pretrained, tmp_path, monkeypatch):
    from torch import nn
    from torch._inductor.exc import InvalidCxxCompiler

    def compile(model, **how):
        raise InvalidCxxCompiler

    monkeypatch.setattr(nn.Module, "compile", compile)
    common = f"--model {pretrained} --out {tmp_path / 'out'} --compile"
    told = refused(f"finetune classify --data {mood_files} {common}")
    assert "--compile needs a C++ compiler" in told


def test_the_wrong_kind_of_model_is_refused(refused, pretrained, classifier):
    assert "bertmini fill" in refused(f"predict --model {pretrained} text")
    assert "use predict" in refused(f"fill --model {classifier} [MASK]")


# --- the command itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", "no command was given"),
        ("pretrian --out x", "'pretrian"),
        ("finetune poem --out x", "finetune classify, finetune regress"),
        ("pretrain --out x --stpes 4", "--stpes"),
        ("pretrain", "--out"),
        ("pretrain --out x --steps many", "--steps"),
        ("pretrain --out x --preset huge", "huge"),
        ("pretrain --out x --steps 0", "--steps 0: expected 1 or more"),
        ("pretrain --out x --steps 1 --learning-rate -1", "--learning-rate -1.0: expected more than 0"),
        ("pretrain --out x --dropout 1.5", "--dropout 1.5: expected 0 or more, and less than 1"),
        ("pretrain --out x --dropout nan", "--dropout nan: expected"),
        ("pretrain --out x --minutes inf", "--minutes inf: expected a smaller number"),
        ("pretrain --out x --seed -1", "--seed -1: expected 0 or more"),
        ("pretrain --out x --documents 0", "--documents 0: expected 1 or more"),
        ("pretrain --out x --static-masks -3", "--static-masks -3: expected 1 or more"),
        ("pretrain --out x --mask-rate 2", "--mask-rate 2.0: expected a share"),
        ("finetune classify --out x --auxiliary -1", "--auxiliary -1.0: expected 0 or more"),
        ("finetune classify --out x --layer-loss 0", "--layer-loss 0: expected 1 or more"),
        ("finetune classify --out x --augment -1", "--augment -1: expected 0 or more"),
        ("finetune classify --out x --new-layers -1", "--new-layers -1: expected 0 or more"),
        ("pretrain --out x --vocab-size 0", "--vocab-size 0: expected 1 or more"),
        ("pretrain --out x --max-length 0", "--max-length 0: expected 1 or more"),
        ("pretrain --out x --weight-decay -1", "--weight-decay -1.0: expected 0 or more"),
        ("pretrain --out x --steps 5 --minutes 1", "give one of them"),
        ("pretrain --out x --init y --vocab-size 900", "is for a new tokenizer; drop it or --init"),
        ("finetune classify --out x --batch-size 0", "--batch-size 0: expected 1 or more"),
        ("finetune classify --out x --rows -5", "--rows -5: expected 1 or more"),
        ("fill --top -1 [MASK]", "--top -1: expected 1 or more"),
        ("predict --model x --batch-tokens 0 text", "--batch-tokens 0: expected 1 or more"),
        ("evaluate --data x --batch-size -2", "--batch-size -2: expected 1 or more"),
        ("distill --out x", "--teacher DIR is missing"),
        ("distill --out x --teacher y --temperature -3", "--temperature -3.0: expected more than 0"),
        ("distill --out x --teacher y --mask-smoothing -1", "--mask-smoothing -1.0: expected 0 or more"),
        ("cost --link inf", "--link inf: expected a smaller number"),
        ("gazette export emotion --out x --rows -3", "--rows -3: expected 1 or more"),
        ("train-tokenizer --out x --vocab-size", "--vocab-size"),
        ("finetune classify --out x extra", "extra"),
        ("gazette export nothing --out x", "nothing"),
        ("fill --model x [MASK]", "x"),
    ],
)
def test_what_a_command_does_not_know_is_refused(command, words, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refused(command)


def test_python_runs_the_package_as_the_command():
    done = subprocess.run([sys.executable, "-m", "bertmini"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("bertmini: error: no command was given")


def test_a_text_without_a_mask_is_refused(refused, pretrained):
    assert "no [MASK]" in refused(f"fill --model {pretrained} calm")


def test_a_line_that_is_half_json_is_refused(refused, classifier):
    assert "begins like JSON" in refused(f"predict --model {classifier}", '{"text": "cut')
    assert "begins like JSON" in refused(f"predict --model {classifier}", '{ "text": "cut')
    assert "begins like JSON" in refused(f"predict --model {classifier}", '{"a":' * 2000)
    assert "expected a string" in refused(f"predict --model {classifier}", '{"txt": "typo"}')
    assert "expected a string" in refused(f"predict --model {classifier}", '{"text": "a", "pair": 5}')


def test_a_model_whose_scores_are_no_numbers_is_refused(refused, copy_of, classifier, mood_files):
    spoilt = copy_of(classifier)
    weights = safetensors.torch.load_file(spoilt / "model.safetensors")
    weights["classifier.weight"].fill_(float("nan"))
    safetensors.torch.save_file(weights, spoilt / "model.safetensors", {"format": "pt"})
    for command in ("predict happy", f"evaluate --data {mood_files}"):
        assert "the model's scores are no numbers (nan)" in refused(f"{command} --model {spoilt}")


@pytest.mark.parametrize("command", ["pretrain --out x --stpes 4", "pretrain", "pretrain --preset my"])
def test_a_wrong_option_is_one_plain_line_on_a_terminal(command, capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(command.split()) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not [wrong for wrong in ("\x1b", "│", "For full") if wrong in told]


def test_a_lone_process_speaks_whatever_its_rank(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert "--steps 0" in refused(f"pretrain --steps 0 --out {tmp_path / 'x'}")


def test_a_refused_command_leaves_no_folder_that_it_made(refused, tmp_path):
    refused(f"train-tokenizer {tmp_path / 'nowhere'} --out {tmp_path / 'a' / 'b' / 'c'}")


def test_a_task_is_no_running_text(refused, tmp_path):
    told = "gazette/emotion is a task; expected running text, or task:gazette/emotion"
    assert told in refused("evaluate --data gazette/emotion")
    assert told in refused(f"pretrain --data gazette/emotion --out {tmp_path / 'x'}")


def test_a_search_for_a_rate_first_asks_for_what_draws(
    refused, mood_files, pretrained, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(
        "bertmini.training.lr_find.find_learning_rate", lambda *_, **__: pytest.fail("it trained")
    )
    command = f"lr-find classify --data {mood_files} --model {pretrained} --out {tmp_path / 'x'}"
    assert "bertmini[course]" in refused(command)


def test_a_masking_where_nothing_is_masked_is_refused(refused, small_corpus, tmp_path):
    command = f"pretrain --data {small_corpus} --out {tmp_path / 'x'} --objective ltr"
    assert "--masking span: ltr masks nothing" in refused(f"{command} --masking span")
    assert "--mask-rate 0.4: ltr masks nothing" in refused(f"{command} --mask-rate 0.4")


def test_running_text_in_place_of_examples_is_refused(refused, classifier, tmp_path):
    told = "--data gazette is running text, and this needs labelled examples"
    assert told in refused(f"finetune tag --data gazette --out {tmp_path / 'x'}")
    assert told in refused(f"distill --teacher {classifier} --out {tmp_path / 'x'}")  # the default
    assert told in refused(f"evaluate --data gazette --model {classifier}")


def test_no_change_for_copies_is_refused(refused, mood_files, pretrained, tmp_path):
    command = f"finetune classify --data {mood_files} --model {pretrained} --out {tmp_path / 'x'}"
    assert "--augment-by names no change" in refused(f"{command} --augment 1 --augment-by")
    assert "ask for some with --augment N" in refused(f"{command} --augment-by swap delete")


def test_patience_without_a_dev_part_is_refused_when_compressing(refused, mood_files, classifier, tmp_path):
    (tmp_path / "files").mkdir()
    for part in ("train", "test"):
        shutil.copy(mood_files / f"{part}.txt", tmp_path / "files")
    command = f"compress --model {classifier} --out {tmp_path / 'x'} --prune-heads 0.5 --patience 1"
    assert "has none; leave it out" in refused(f"{command} --data {tmp_path / 'files'}")
    command = f"compress --model {classifier} --out {tmp_path / 'x'} --int8 --patience 1"
    assert "--patience watches the dev part" in refused(command)


def test_pairs_of_one_score_are_not_for_the_cosine(refused, pretrained, tmp_path):
    rows = [json.dumps({"text": "a calm sea", "pair": "a quiet sea", "label": 1})] * 4
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    command = f"finetune vectors --data {tmp_path} --model {pretrained} --out {tmp_path / 'x'} --epochs 1"
    assert "all pairs have the score 1, and the loss cosine" in refused(command)


def test_an_empty_directory_where_the_user_stands_takes_the_output(small_corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(f"train-tokenizer {small_corpus} --out . --vocab-size 500".split()) == 0
    assert (tmp_path / "vocab.txt").exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_what_a_console_cannot_show_does_not_stop_an_answer(pretrained):
    command = [sys.executable, "-m", "bertmini.cli", "fill", "--model", str(pretrained), "[MASK] 中"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0
    assert "中" in done.stdout.decode("utf-8")


def test_an_existing_output_is_refused_and_untouched(
    refused, small_corpus, mood_files, pretrained, classifier, tmp_path
):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    for command in (
        f"train-tokenizer {small_corpus}",
        f"pretrain --data {small_corpus}",
        f"finetune classify --data {mood_files} --model {pretrained}",
        f"finetune regress --model {pretrained}",
        f"distill --teacher {classifier} --data {mood_files}",
        "gazette export emotion",
    ):
        assert f"{out}: exists already" in refused(f"{command} --out {out}")
    assert (out / "mine.txt").read_text() == "precious"
    assert "exists already" in refused(f"train-tokenizer {small_corpus} --out {out / 'mine.txt'}")


# --- the disk -------------------------------------------------------------------------------------


def test_a_log_that_finds_no_room_in_the_middle_of_a_line(small_corpus, tmp_path, monkeypatch, capsys):
    def half(run, line):
        run.log_file.write_text('{"step": 1, "lo')
        raise InputError("no room")

    out = tmp_path / "run"
    command = f"pretrain --data {small_corpus} --out {out} --preset tiny --steps 2 --vocab-size 500"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", half)
        assert main([*command.split(), "--log-every", "1"]) == 2
    assert capsys.readouterr().err == "bertmini: error: no room\n"
    assert main(["pretrain", "--out", str(out), "--resume"]) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_standard_output_that_takes_nothing_is_one_line_or_none():
    command = [sys.executable, "-m", "bertmini"]
    how = {"env": {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}}
    how |= {"stderr": subprocess.PIPE, "text": True}
    with open("/dev/full", "w") as full:
        done = subprocess.run([*command, "cost"], stdout=full, **how)
    told = "bertmini: error: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, told)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*command, "--version"], stdout=writing, **how)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")

FULL = """
import resource, sys
from bertmini.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, {bytes}))  # a write beyond fails as on a full disk
sys.exit(main(sys.argv[1:]))
"""


def with_a_full_disk(room: int, arguments: list[str]) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", FULL.format(bytes=room), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.skipif(os.name != "posix", reason="the limit on a file's size is POSIX")
def test_a_full_disk_leaves_no_half_tokenizer(small_corpus, tmp_path):
    arguments = f"train-tokenizer {small_corpus} --out {tmp_path / 'out'} --vocab-size 600".split()
    done = with_a_full_disk(2_000, arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("bertmini: error: ")
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="the limit on a file's size is POSIX")
def test_a_run_whose_tokenizer_finds_no_room_leaves_no_directory_in_the_way(small_corpus, tmp_path):
    out = tmp_path / "out"
    command = f"pretrain --data {small_corpus} --out {out} --preset tiny --steps 2 --vocab-size 600"
    done = with_a_full_disk(2_000, command.split())
    assert done.returncode == 2
    assert "File too large" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="the limit on a file's size is POSIX")
def test_a_run_that_found_the_disk_full_goes_on_when_there_is_room(small_corpus, tmp_path):
    out = tmp_path / "out"
    command = f"pretrain --data {small_corpus} --out {out} --preset tiny --steps 2 --vocab-size 600"
    done = with_a_full_disk(100_000, command.split())
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("bertmini: error: ")
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((out / "checkpoints").iterdir())
    assert main(["pretrain", "--out", str(out), "--resume"]) == 0


def test_a_disk_that_fills_later_keeps_the_checkpoints_before(small_corpus, tmp_path, monkeypatch, capsys):
    from bertmini.training import run as runs

    out = tmp_path / "run"
    write = runs.write

    def full(path, data):
        if "step-4" in str(path) and path.name == "optimizer.safetensors":
            raise OSError(28, "No space left on device")
        write(path, data)

    common = f"pretrain --data {small_corpus} --out {out} --preset tiny --steps 6 --vocab-size 500"
    with monkeypatch.context() as patch:
        patch.setattr(runs, "write", full)
        assert main([*common.split(), "--batch-size", "4", "--checkpoint-every", "2"]) == 2
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "--resume" in told
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-2"]
    assert main(["pretrain", "--out", str(out), "--resume"]) == 0


def numbers_of(kind):
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from numbers_of(hint)
        elif get_origin(hint) is not tuple and {int, float} & {hint, *get_args(hint)}:
            yield name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_number_has_limits(name):
    assert not set(numbers_of(COMMANDS[name])) - {*LEAST, *ABOVE_0, *SHARES, *BELOW_1}


def test_text_of_unknown_characters_is_refused(refused, pretrained, tmp_path):
    (file := tmp_path / "zh.txt").write_text("他来了。你好吗。\n", encoding="utf-8")
    assert "no piece that the tokenizer knows" in refused(f"evaluate --model {pretrained} --data {file}")


@pytest.mark.parametrize(("command", "wanted"), [
    ("classify --data gazette/entities", "kind Tagged; expected Example"),
    ("tag --data gazette/emotion", "kind Example; expected Tagged"),
    ("seq2seq --data gazette/emotion", "kind Example; expected Parallel"),
    ("choice --data gazette/emotion", "kind Example; expected Choice"),
    ("qa --data gazette/emotion", "kind Example; expected Question"),
    ("regress --data gazette/emotion", "expected a number"),
])  # fmt: skip
def test_a_task_of_the_gazette_for_another_command_is_refused(command, wanted, refused, pretrained, tmp_path):
    assert wanted in refused(f"finetune {command} --model {pretrained} --out {tmp_path / 'run'}")


def test_what_is_evaluated_by_glue_is_a_model_for_it(refused, pretrained, classifier, tmp_path):
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nthe sea is calm\t1\nit the was\t0\n")
    line = f"evaluate --glue cola --data {tmp_path} --split dev"
    told = refused(f"{line} --model {pretrained}")
    assert "is a pretrained model, which is measured on running text" in told
    line = f"evaluate --glue stsb --data {tmp_path} --split dev"
    assert "is a model for the task classify" in refused(f"{line} --model {classifier}")
