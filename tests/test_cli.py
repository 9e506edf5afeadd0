"""The command line, run in this process unless a signal or the start-up is the matter."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from bertmini import BertForPreTraining, BertForSequenceClassification, InputError, WordPieceTokenizer
from bertmini.cli import COMMANDS, main
from bertmini.compress import distill
from bertmini.compress.prune import matrices
from bertmini.data.corpus import piece_counts
from bertmini.data.masking import rarity_weights
from bertmini.tasks import classes_of, task_options
from bertmini.tasks.losses import balanced_weights, weighted_loss
from bertmini.training import Options


def lines_on_stdin(monkeypatch, lines: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8"))


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    told = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    options = re.split(r"\n[│ ] (?=--\w)", told)[1:]  # tyro draws its boxes where the output is UTF-8
    assert options
    for option in options:
        explanation = re.sub(r"^--\S+( [A-Z]\S*)?", "", option.replace("│", ""))
        assert len(explanation.split()) >= 3, option


def test_help_offers_no_option_that_cannot_be_given(capsys):
    assert main(["lr-find", "classify", "--help"]) == 0
    told = capsys.readouterr().out
    assert "--rates" in told
    assert "--resume" not in told


def test_help_of_a_group_names_its_members(capsys):
    assert main(["finetune", "--help"]) == 0
    told = capsys.readouterr().out
    assert "finetune classify" in told
    assert "pretrain" not in told


def test_version(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"bertmini \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_is_quick_and_leaves_heavy_libraries_alone():
    code = (
        "import sys; from bertmini.cli import main; main(['pretrain', '--help']);"
        "sys.exit(any(name in sys.modules for name in ('sklearn', 'datasets', 'transformers', 'scipy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_a_vocabulary_is_trained_and_loads(small_corpus, tmp_path, capsys):
    from bertmini import WordPieceTokenizer

    assert (
        main(["train-tokenizer", str(small_corpus), "--out", str(tmp_path / "t"), "--vocab-size", "500"]) == 0
    )
    assert "500 pieces" in capsys.readouterr().out
    assert len(WordPieceTokenizer.from_pretrained(tmp_path / "t")) == 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t"]


def test_a_cased_vocabulary_keeps_capitals(small_corpus, tmp_path):
    from bertmini import WordPieceTokenizer

    arguments = ["train-tokenizer", str(small_corpus), "--out", str(tmp_path / "t"), "--vocab-size", "500"]
    assert main([*arguments, "--cased"]) == 0
    assert any(piece[0].isupper() for piece in WordPieceTokenizer.from_pretrained(tmp_path / "t").vocab)


def test_a_run_directory_is_complete_and_loads(pretrained):
    from bertmini import BertForPreTraining

    assert {path.name for path in pretrained.iterdir()} == {
        "config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json",
        "run.json", "log.jsonl", "metrics.json", "checkpoints",
    }  # fmt: skip
    assert BertForPreTraining.from_pretrained(pretrained).fresh == ()
    metrics = json.loads((pretrained / "metrics.json").read_text())
    assert {"mlm_loss", "mlm_accuracy", "nsp_accuracy", "mlm_baseline_accuracy"} <= set(metrics["dev"])
    assert {"mlm", "nsp", "loss"} <= set(metrics["train"])
    assert metrics["seconds"] > 0
    assert metrics["tokens_per_second"] > 0
    record = json.loads((pretrained / "run.json").read_text())
    assert record["training"]["steps"] == 4
    assert record["settings"]["preset"] == "tiny"


def test_the_limit_stands_beside_the_loss_of_the_gazette(tmp_path):
    out = tmp_path / "run"
    arguments = (
        f"pretrain --out {out} --preset tiny --steps 2 --documents 300 --vocab-size 700 --batch-size 4"
    )
    assert main(arguments.split()) == 0
    dev = json.loads((out / "metrics.json").read_text())["dev"]
    assert dev["limit_loss"] < dev["word_loss"]


LEARNING = {
    "batch_size": 5, "accumulation": 3, "ramp_share": 0.2, "learning_rate": 2e-4, "warmup_share": 0.3,
    "schedule": "cosine", "weight_decay": 0.05, "ema": 0.9, "precision": "float32", "log_every": 4, "seed": 7,
}  # fmt: skip


def learning(*flags: str, **more: object) -> list[str]:
    """Options of training, each other than its default."""
    given = LEARNING | more
    named = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return [*named, *flags]


@pytest.fixture
def handed(monkeypatch):
    """What a command hands to the function that learns, which is not called: its arguments, by name last."""
    seen: dict = {}

    def spy(name: str) -> dict:
        def stop(*args, **named):
            seen.update(named, args=args)
            raise InputError("seen")

        monkeypatch.setattr(name, stop)
        return seen

    return spy


def test_options_of_pretraining_reach_what_they_are_for(small_corpus, tmp_path, handed):
    seen = handed("bertmini.tasks.pretrain.pretrain")
    command = f"pretrain --data {small_corpus} --preset tiny --vocab-size 500 --out {tmp_path / 'x'}"
    own = "--dropout 0.25 --short-share 0.15 --mask-rate 0.3 --mask-smoothing 0.6 --static-masks 3"
    more = {"steps": 9, "evaluate_every": 6, "checkpoint_every": 8}
    flags = [
        "--inputs",
        "sentence-pairs",
        "--max-length",
        "40",
        "--checkpointing",
        "--tensorboard",
        "--compile",
    ]
    assert main([*command.split(), *own.split(), *learning(*flags, **more)]) == 2
    model, options, data, *_ = seen["args"]
    on = dict.fromkeys(("checkpointing", "tensorboard", "compile"), True)
    assert asdict(options) == asdict(Options(**LEARNING, **more, **on))
    assert (seen["short_share"], seen["is_new"]) == (0.15, True)
    assert (data.batch_size, data.max_length, data.seed) == (5, 40, 7)
    assert (data.inputs, data.rate, data.static_masks) == ("sentence-pairs", 0.3, 3)
    counts = piece_counts(data.corpus, len(data.tokenizer))
    assert torch.equal(data.weights, rarity_weights(counts, 0.6))
    assert model.config.hidden_dropout_prob == model.config.attention_probs_dropout_prob == 0.25
    torch.manual_seed(7)
    twin = BertForPreTraining(model.config)
    assert torch.equal(model.nsp_head.weight, twin.nsp_head.weight)


def test_options_of_finetuning_reach_what_they_are_for(pretrained, mood_files, tmp_path, handed):
    seen = handed("bertmini.tasks.finetune")
    command = f"finetune classify --data {mood_files} --model {pretrained} --out {tmp_path / 'x'}"
    flags = "--rows 30 --epochs 2 --max-length 24 --patience 5 --new-layers 1 --augment 2 --augment-by swap"
    assert main([*command.split(), *flags.split(), *learning(balance="weights")]) == 2
    task, splits, model, tokenizer, options = seen["args"]
    expected = task_options(task, splits, epochs=2, patience=5, **LEARNING)
    assert options == replace(expected, metric="f1_macro")
    assert (seen["max_length"], tokenizer.model_max_length) == (24, 24)
    assert len(splits["train"]) == 3 * 30
    assert len(splits["dev"]) == 12
    weights = balanced_weights(splits["train"], classes_of(model))
    assert len(set(weights.tolist())) > 1
    batch = task.data(splits["train"], tokenizer, model.config, 90, 24, 0).batch(0)
    assert seen["loss"](model, batch).loss == weighted_loss(weights)(model, batch).loss
    whole = BertForSequenceClassification.from_pretrained(pretrained)
    kept = [
        torch.equal(ours.attention.query.weight, theirs.attention.query.weight)
        for ours, theirs in zip(model.bert.encoder.layers, whole.bert.encoder.layers, strict=True)
    ]
    assert kept == [True, False]


def test_options_of_distillation_reach_what_they_are_for(
    pretrained, small_corpus, tmp_path, handed, monkeypatch
):
    seen, asked = handed("bertmini.tasks.pretrain.pretrain"), []
    made = distill.distillation_loss
    monkeypatch.setattr(distill, "distillation_loss", lambda *args, **how: asked.append(args) or made(*args))
    command = f"distill --teacher {pretrained} --data {small_corpus} --layers 1 --out {tmp_path / 'x'}"
    own = "--temperature 3 --mask-smoothing 0.6 --max-length 40 --steps 9"
    assert main([*command.split(), *own.split(), *learning()]) == 2
    student, options = seen["args"]
    assert {name: getattr(options, name) for name in LEARNING} == LEARNING
    assert [temperature for _, temperature in asked] == [3.0]
    data = seen["data"]
    assert (data.batch_size, data.max_length, data.seed) == (5, 40, 7)
    counts = piece_counts(data.corpus, len(data.tokenizer))
    assert torch.equal(data.weights, rarity_weights(counts, 0.6))
    whole = BertForPreTraining.from_pretrained(pretrained)
    (layer,) = student.bert.encoder.layers
    assert torch.equal(layer.feed_forward.up.weight, whole.bert.encoder.layers[1].feed_forward.up.weight)


def test_options_of_compressing_reach_what_they_are_for(classifier, mood_files, tmp_path, handed):
    seen = handed("bertmini.tasks.finetune")
    command = f"compress --model {classifier} --data {mood_files} --out {tmp_path / 'x'} --epochs 2"
    assert main([*command.split(), "--sparsity", "0.3", "--movement", "--max-length", "20", *learning()]) == 2
    task, splits, model, _, options = seen["args"]
    expected = task_options(task, splits, epochs=2, **LEARNING)
    assert options == replace(expected, metric=None, evaluate_every=None)
    assert (seen["before_update"].fraction, seen["max_length"]) == (0.3, 20)
    assert all(linear.parametrizations["weight"][0].scores is not None for linear in matrices(model))


def test_options_of_the_search_for_a_rate_reach_what_they_are_for(pretrained, mood_files, tmp_path, handed):
    seen = handed("bertmini.training.lr_find.find_learning_rate")
    command = f"lr-find classify --data {mood_files} --model {pretrained} --out {tmp_path / 'x'}"
    limits = "--rates 33 --lowest 1e-5 --highest 0.3 --max-length 6"
    assert main([*command.split(), *limits.split(), *learning()]) == 2
    _, batch_at, options = seen["args"]
    assert (seen["lowest"], seen["highest"], options.steps) == (1e-5, 0.3, 33)
    assert {name: getattr(options, name) for name in LEARNING} == LEARNING
    assert batch_at(0)["input_ids"].shape == (5, 6)


@pytest.mark.parametrize("loss", ["cosine", "contrastive"])
def test_the_loss_of_vectors_is_the_one_that_is_named(loss, pretrained, tmp_path, handed):
    seen = handed("bertmini.tasks.finetune")
    (tmp_path / "train.tsv").write_text("text\tpair\tscore\na\tb\t1\nc\td\t0\n")
    command = f"finetune vectors --data {tmp_path} --model {pretrained} --out {tmp_path / 'x'} --loss {loss}"
    assert main(command.split()) == 2
    task, splits, model, tokenizer, _ = seen["args"]
    batch = task.data(splits["train"], tokenizer, model.config).batch(0)
    assert seen["loss"](model, batch).losses.keys() == {f"{loss}_loss"}


def test_masked_language_modelling_alone_has_no_other_loss(small_corpus, tmp_path):
    out = tmp_path / "run"
    arguments = (
        f"pretrain --data {small_corpus} --out {out} --preset tiny --steps 2 --vocab-size 500 --objective mlm"
    )
    assert main(arguments.split()) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["train"]) == {"loss", "mlm"}
    assert not any(name.startswith("nsp") for name in metrics["dev"])
    assert json.loads((out / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]


def test_pretraining_goes_on_from_a_model_with_its_tokenizer(pretrained, small_corpus, tmp_path):
    out = tmp_path / "run"
    assert main(f"pretrain --data {small_corpus} --init {pretrained} --out {out} --steps 1".split()) == 0
    assert (out / "vocab.txt").read_bytes() == (pretrained / "vocab.txt").read_bytes()
    new, gone_on = (json.loads((run / "run.json").read_text())["training"] for run in (pretrained, out))
    assert (new["learning_rate"], gone_on["learning_rate"]) == (1e-3, 1e-4)


def positions_of(directory: Path):
    from bertmini import BertForPreTraining

    return BertForPreTraining.from_pretrained(directory).bert.embeddings.position.weight.detach()


def test_only_positions_that_no_training_reached_begin_as_copies(
    pretrained, small_corpus, mood_files, tmp_path
):
    """The fixture's model was trained on rows of 128 tokens, whatever short texts it is fine-tuned on."""
    tuned = tmp_path / "tuned"
    common = f"--model {pretrained} --epochs 1 --max-length 16 --precision float32"
    assert main(f"finetune classify --data {mood_files} --out {tuned} {common}".split()) == 0
    for origin, length in ((pretrained, 64), (tuned, 128), (pretrained, 200)):
        out = tmp_path / f"{origin.name} {length}"
        common = f"pretrain --data {small_corpus} --steps 1 --max-length {length} --learning-rate 1e-9"
        assert main([*common.split(), "--init", str(origin), "--out", str(out)]) == 0
        before, after = positions_of(pretrained), positions_of(out)
        assert (after[:128] - before[:128]).abs().max() < 1e-3
        copied = (after[128:200] - before[1:73]).abs().max() < 1e-3
        assert copied == (length == 200)


def test_rows_longer_than_512_tokens_are_kept_in_mind(small_corpus, tmp_path):
    from bertmini import Predictor

    out = tmp_path / "long"
    command = f"pretrain --data {small_corpus} --preset tiny --steps 1 --vocab-size 500 --max-length 700"
    assert main([*command.split(), "--batch-size", "2", "--out", str(out)]) == 0
    assert Predictor.from_pretrained(out).max_length == 700


def stop_at(step: int, monkeypatch, command: str) -> None:
    """Run a command until a step is logged, and press Control-C there."""
    from bertmini.training import Run

    log = Run.log

    def interrupt(self, line):
        log(self, line)
        if line["step"] == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", interrupt)
        assert main(command.split()) == 130


@pytest.mark.parametrize("kind", ["classify", "from scratch", "distill text", "distill labels"])
def test_other_runs_resume_to_the_same_bits_too(
    kind, small_corpus, mood_files, pretrained, classifier, tmp_path, monkeypatch
):
    common = "--batch-size 8 --log-every 1"
    if kind.startswith("distill"):
        teacher, data = (pretrained, small_corpus) if "text" in kind else (classifier, mood_files)
        command = f"distill --teacher {teacher} --data {data} --steps 6 --checkpoint-every 2 {common}"
    else:
        scratch = "--from-scratch" if kind == "from scratch" else ""
        command = f"finetune classify --data {mood_files} --model {pretrained} --epochs 2 {common} {scratch}"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(f"{command} --out {whole}".split()) == 0
    stop_at(5, monkeypatch, f"{command} --out {cut}")
    # With no option, or with all that it began with.
    again = command if kind in ("from scratch", "distill labels") else command.split(" --")[0]
    assert main(f"{again} --out {cut} --resume".split()) == 0
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_run_does_not_resume_on_other_data(mood_files, pretrained, tmp_path, monkeypatch, capsys):
    import shutil

    data, out = Path(shutil.copytree(mood_files, tmp_path / "data")), tmp_path / "run"
    stop_at(2, monkeypatch, f"finetune classify --data {data} --model {pretrained} --out {out} --log-every 1")
    train = (data / "train.txt").read_text()
    (data / "train.txt").write_text(train.replace("joy", "zoy"))
    for part in ("dev.txt", "test.txt"):
        (data / part).write_text((data / part).read_text().replace("joy", "zoy"))
    assert main(["finetune", "classify", "--out", str(out), "--resume"]) == 2
    assert "its data are not what they were" in capsys.readouterr().err


def test_early_stopping_before_the_first_line_of_the_log_leaves_a_model(mood_files, pretrained, tmp_path):
    out = tmp_path / "run"
    command = (
        f"finetune classify --data {mood_files} --model {pretrained} --out {out} --epochs 10 --patience 1"
    )
    assert main([*command.split(), "--learning-rate", "1e-9"]) == 0
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line][-1] < 20
    assert (out / "model.safetensors").exists()
    before = (out / "model.safetensors").read_bytes()
    assert main(["finetune", "classify", "--out", str(out), "--resume"]) == 0
    assert (out / "model.safetensors").read_bytes() == before


def test_an_interrupted_run_names_its_checkpoint_and_continues_to_the_same_bits(
    small_corpus, tmp_path, capsys, monkeypatch
):
    from bertmini.training import Run

    common = f"--data {small_corpus} --preset tiny --steps 6 --vocab-size 500 --batch-size 4 --log-every 1"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(f"pretrain {common} --checkpoint-every 2 --out {whole}".split()) == 0
    log = Run.log

    def interrupt(self, line):
        log(self, line)
        if line["step"] == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", interrupt)
        assert main(f"pretrain {common} --checkpoint-every 2 --out {cut}".split()) == 130
    told = capsys.readouterr().err
    assert f"bertmini: interrupted; {cut}/checkpoints/step-4 is kept: continue it with --resume\n" in told
    assert not (cut / "model.safetensors").exists()

    assert main(["pretrain", "--out", str(cut), "--resume"]) == 0
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert len((cut / "log.jsonl").read_text().splitlines()) == len(
        (whole / "log.jsonl").read_text().splitlines()
    )


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
def test_control_c_is_one_line_and_exit_code_130(small_corpus, tmp_path):
    command = f"pretrain --data {small_corpus} --out {tmp_path / 'run'} --preset tiny --vocab-size 500"
    process = subprocess.Popen(
        [sys.executable, "-m", "bertmini.cli", *command.split(), "--steps=9999", "--checkpoint-every=2"],
        stderr=subprocess.PIPE, text=True,
        # A shell that starts its jobs in the background has them, and their children, ignore Control-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "run").glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(
        r"bertmini: interrupted; .*checkpoints/step-\d+ is kept: continue it with --resume\n", told
    )


def test_a_resumed_run_refuses_other_options(pretrained, capsys):
    assert main(["pretrain", "--out", str(pretrained), "--resume", "--learning-rate", "0.1"]) == 2
    assert "--learning-rate 0.1: the run in" in capsys.readouterr().err


def test_a_resumed_run_refuses_another_command(pretrained, capsys):
    assert main(["finetune", "classify", "--out", str(pretrained), "--resume"]) == 2
    assert "was not begun with bertmini finetune classify" in capsys.readouterr().err


def test_fine_tuning_reports_a_table_of_classes(classifier):
    metrics = json.loads((classifier / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] == 1.0
    assert set(metrics["test"]["classes"]) == {"joy", "fear", "anger"}
    assert [sum(row) for row in metrics["test"]["confusion_matrix"]] == [4, 4, 4]
    config = json.loads((classifier / "config.json").read_text())
    assert config["id2label"] == {"0": "anger", "1": "fear", "2": "joy"}
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_evaluate_repeats_the_metrics_of_the_run(classifier, mood_files, capsys):
    assert main(["evaluate", "--data", str(mood_files), "--model", str(classifier)]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["test"] == json.loads((classifier / "metrics.json").read_text())["test"]


def test_evaluate_calls_a_file_by_the_part_that_its_name_says(classifier, mood_files, tmp_path, capsys):
    (tmp_path / "mine.txt").write_bytes((mood_files / "dev.txt").read_bytes())
    for file, part in ((mood_files / "dev.txt", "dev"), (tmp_path / "mine.txt", "test")):
        assert main(["evaluate", "--data", str(file), "--model", str(classifier)]) == 0
        assert list(json.loads(capsys.readouterr().out)) == [part]


def test_evaluate_measures_a_pretrained_model_on_text(pretrained, small_corpus, capsys):
    assert main(["evaluate", "--data", str(small_corpus), "--model", str(pretrained)]) == 0
    assert {"mlm_loss", "nsp_accuracy"} <= set(json.loads(capsys.readouterr().out)["test"])


def test_rows_are_drawn_by_the_seed(mood_files, pretrained, tmp_path):
    common = f"finetune classify --data {mood_files} --model {pretrained} --rows 12 --epochs 1"
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(f"{common} --out {tmp_path / name} --seed {seed}".split()) == 0
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_regression_is_trained_evaluated_and_predicted(pretrained, tmp_path, capsys):
    rows = "".join(f"the sea is calm\tthe sea is {i % 6}\t{i % 6}\n" for i in range(24))
    for part in ("train", "dev"):
        (tmp_path / f"{part}.tsv").write_text("sentence1\tsentence2\tscore\n" + rows)
    out = tmp_path / "run"
    assert (
        main(f"finetune regress --data {tmp_path} --model {pretrained} --out {out} --epochs 1".split()) == 0
    )
    assert set(json.loads((out / "metrics.json").read_text())["dev"]) == {"pearson", "spearman", "mse"}
    capsys.readouterr()
    assert main(["predict", "--model", str(out), "the sea is calm\tthe sea is 3"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"score"}


def test_predict_answers_each_line_in_order(classifier, capsys, monkeypatch):
    lines_on_stdin(monkeypatch, b"the captain was happy on day 1\nthe captain was afraid\tof day 2\n"
                   b'{"text": "the captain was angry on day 3", "pair": "indeed"}\n\nhappy\r\n')  # fmt: skip
    assert main(["predict", "--model", str(classifier)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 5
    assert [answer["label"] for answer in answers[:3]] == ["joy", "fear", "anger"]


def test_predict_streams_a_window_before_its_input_ends(classifier):
    process = subprocess.Popen(
        [sys.executable, "-m", "bertmini.cli", "predict", "--model", str(classifier)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write("the captain was happy\n" * 5000)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["label"]
    process.stdout.close()  # as `head -1` does
    process.stdin.close()
    assert process.wait(timeout=60) == 0


def test_fill_prints_json_lines_to_a_pipe_and_a_list_to_a_terminal(pretrained, capsys, monkeypatch):
    arguments = ["fill", "--model", str(pretrained), "--top", "2", "the [MASK] is open"]
    assert main(arguments) == 0
    filled = json.loads(capsys.readouterr().out)
    assert len(filled["masks"][0]) == 2
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(arguments) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "the [MASK] is open"
    assert re.fullmatch(r" +\d+\.\d%  \S+", told[1])


def test_a_student_is_distilled_from_a_pretrained_teacher(pretrained, small_corpus, tmp_path):
    out = tmp_path / "student"
    assert main(f"distill --teacher {pretrained} --data {small_corpus} --out {out} --steps 2".split()) == 0
    assert json.loads((out / "config.json").read_text())["num_hidden_layers"] == 1
    assert {"soft", "mlm", "cosine"} <= set(json.loads((out / "metrics.json").read_text())["train"])


def test_a_student_imitates_layers_and_is_a_distilbert(pretrained, small_corpus, tmp_path):
    out = tmp_path / "student"
    command = f"distill --teacher {pretrained} --data {small_corpus} --out {out} --steps 2"
    command += " --family distilbert --intermediate tinybert --mask-smoothing 0.7"
    assert main(command.split()) == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["n_layers"]) == ("distilbert", 1)
    losses = json.loads((out / "metrics.json").read_text())["train"].keys()
    assert losses >= {"soft", "mlm", "cosine", "states", "attention"}
    assert "nsp" not in losses


def test_a_student_is_distilled_from_a_fine_tuned_teacher(classifier, mood_files, tmp_path, capsys):
    out = tmp_path / "student"
    command = f"distill --teacher {classifier} --data {mood_files} --out {out} --steps 60 --batch-size 8"
    assert main([*command.split(), "--learning-rate", "1e-3", "--evaluate-every", "20"]) == 0
    assert json.loads((out / "metrics.json").read_text())["test"]["accuracy"] == 1.0


def test_the_gazette_is_exported_in_a_form_that_is_read_back(tmp_path, capsys):
    from bertmini.data.task_files import read_task

    out = tmp_path / "emotion"
    assert main(["gazette", "export", "emotion", "--out", str(out), "--rows", "50"]) == 0
    splits = read_task(out)
    assert len(splits["train"]) == 50
    assert set(splits) == {"train", "dev", "test"}


def test_latin_1_text_is_read_with_one_counted_warning(tmp_path, capsys):
    for i in range(2):
        (tmp_path / f"{i}.txt").write_bytes("Le café est fermé. ".encode("latin-1") * 30)
    (tmp_path / "2.txt").write_text("The café is open. " * 30, encoding="utf-8")
    assert main(f"train-tokenizer {tmp_path} --out {tmp_path / 'out'} --vocab-size 40".split()) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert re.search(r"\b2\b.*Latin-1", warnings[0])


def test_lines_that_are_not_utf8_are_counted(classifier, capsys, monkeypatch):
    lines_on_stdin(monkeypatch, "le café\nplain\nfermé\n".encode("latin-1"))
    assert main(["predict", "--model", str(classifier)]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    told = captured.err.splitlines()
    assert told[0] == "bertmini: warning: not UTF-8, read as Latin-1: 2 lines of standard input"
    assert re.fullmatch(r"3 rows, \d+ rows a second", told[1])


def test_files_are_answered_one_after_the_other(classifier, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("the captain was happy\nthe captain was afraid\n")
    (tmp_path / "b.txt").write_text("the captain was angry")
    files = [str(tmp_path / name) for name in ("b.txt", "a.txt")]
    assert main(["predict", "--model", str(classifier), "--input", *files]) == 0
    captured = capsys.readouterr()
    labels = [json.loads(line)["label"] for line in captured.out.splitlines()]
    assert labels == ["anger", "joy", "fear"]
    assert re.fullmatch(r"3 rows, \d+ rows a second\n", captured.err)
    (tmp_path / "b.txt").write_bytes(b"plain\nbin\0ary\n")
    (tmp_path / "c.txt").write_text('{"text": 5\n')
    for wrong, message in (
        ([files[1], "nowhere.txt"], "--input nowhere.txt: no such file"),
        ([files[0]], "b.txt, line 2: a zero byte"),
        ([files[1], str(tmp_path / "c.txt")], "c.txt, line 1: '{\"text\": 5' begins like JSON"),
    ):
        assert main(["predict", "--model", str(classifier), "--input", *wrong]) == 2
        captured = capsys.readouterr()
        assert not captured.out
        assert message in captured.err


def test_real_books_and_a_real_labelled_set(data_directory: Path, tmp_path):
    books = data_directory / "gutenberg"
    tokenizer, model, out = tmp_path / "tokenizer", tmp_path / "model", tmp_path / "out"
    assert (
        main(f"train-tokenizer {books / 'carroll-alice.txt'} --out {tokenizer} --vocab-size 1500".split())
        == 0
    )
    command = f"pretrain --data {books / 'carroll-alice.txt'} --tokenizer {tokenizer} --out {model}"
    assert main(f"{command} --preset tiny --steps 3".split()) == 0
    command = f"finetune classify --data {data_directory / 'emotion'} --model {model} --out {out}"
    assert main(f"{command} --rows 200 --epochs 1".split()) == 0
    assert json.loads((out / "metrics.json").read_text())["test"]["accuracy"] > 0.2


def test_the_readme_names_every_task():
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    tasks = [name.split()[1] for name in COMMANDS if name.startswith("finetune ")]
    assert not [task for task in tasks if f"`{task}`" not in readme]


def test_labels_that_the_drawn_rows_lack_are_known(mood_files, pretrained, tmp_path):
    out = tmp_path / "run"
    line = f"finetune classify --data {mood_files} --model {pretrained} --out {out} --rows 2 --epochs 1"
    assert main(line.split()) == 0
    assert len(json.loads((out / "config.json").read_text())["id2label"]) == 3


def test_an_interruption_does_not_deny_the_answers_before(classifier, capsys, monkeypatch):
    def first(self, answers):
        yield next(iter(answers))
        raise KeyboardInterrupt

    monkeypatch.setattr("bertmini.commands.answering.OnTexts.counted", first)
    assert main(["predict", "--model", str(classifier), "happy", "afraid"]) == 130
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "the answers before it are written" in captured.err


@pytest.mark.skipif(os.name != "posix", reason="a pipe as a file")
def test_a_pipe_is_a_file_of_texts(classifier, capsys):
    reading, writing = os.pipe()
    os.write(writing, b"happy\n")
    os.close(writing)
    assert main(["predict", "--model", str(classifier), "--input", f"/dev/fd/{reading}"]) == 0
    os.close(reading)
    assert json.loads(capsys.readouterr().out)["label"]


def test_warnings_are_shown_where_the_module_is_run(classifier):
    command = [sys.executable, "-m", "bertmini.cli", "predict", "--model", str(classifier)]
    done = subprocess.run(command, input="café\n".encode("latin-1"), capture_output=True, timeout=120)
    assert "read as Latin-1: 1 lines" in done.stderr.decode()


def test_a_teacher_is_read_as_far_as_it_knows_positions(save_start, small_corpus, tmp_path, capsys):
    teacher = save_start(WordPieceTokenizer.train(small_corpus.read_text().splitlines(), 500))  # 64 positions
    line = f"distill --teacher {teacher} --data {small_corpus} --steps 1 --out {tmp_path / 'out'}"
    assert main(f"{line} --max-length 65".split()) == 2
    assert "knows texts of up to 64 tokens" in capsys.readouterr().err
    assert main(line.split()) == 0


def test_what_may_be_chosen_is_what_there_is():
    from bertmini.commands import options, pretraining, shipping
    from bertmini.config import PRESETS
    from bertmini.model.tagging import FEATURES
    from bertmini.training.options import Precision

    assert get_args(options.Precision) == get_args(Precision)
    assert get_args(options.TagFeatures) == tuple(FEATURES)
    assert list(pretraining.RATE_OF_PRESET) == list(PRESETS)
    for command in (pretraining.Pretrain, shipping.Cost):
        assert get_args(get_type_hints(command)["preset"]) == tuple(PRESETS)
