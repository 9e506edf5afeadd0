"""Multiple choice: files of all forms, any number of options, transformers' numbers."""

from __future__ import annotations

import io
import json

import pytest
import torch
import transformers

from bertmini import (
    BertConfig,
    BertForMultipleChoice,
    BertForPreTraining,
    InputError,
    Predictor,
    WordPieceTokenizer,
)
from bertmini.cli import main
from bertmini.data.choices import Choice, ChoiceData, read_choices
from bertmini.data.packing import pack
from bertmini.tasks import TASKS, choice, finetune, load_for_task, task_of, task_options
from bertmini.training.loop import shares_of
from bertmini.training.processes import ALONE

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

SWAG = """,video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label
0,a,1,The sea is calm. A gull,The sea is calm.,A gull,gold,cries.,sails away.,is a ship.,is home.,0
1,b,2,The ship sails. It,The ship sails.,It,gold,"cries, dark.",is away.,is calm.,is wild.,1
"""
ARC = """Which sails?,a gull,a ship,the sea,home,B
"What is calm, today?",the sea,a gull,a ship,,1
"""


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    words = "the sea is calm rough wild dark bright ship sails home away today a gull cries . , ?"
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.split()])


@pytest.fixture(scope="module")
def config(tokenizer) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=32, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(config) -> BertForMultipleChoice:
    torch.manual_seed(0)
    return BertForMultipleChoice(config.replace(initializer_range=0.3)).eval()


@pytest.fixture(scope="module")
def origin(tmp_path_factory, config, tokenizer):
    directory = tmp_path_factory.mktemp("origin")
    torch.manual_seed(0)
    BertForPreTraining(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def weather(number: int) -> list[Choice]:
    """A question has two to four options, of which the bright or the calm one is right, in any place."""
    questions = []
    for i in range(number):
        options = ["rough", "wild", "dark"][: 1 + i % 3]
        options.insert(right := i % (len(options) + 1), ["calm", "bright"][i % 2])
        questions.append(Choice("the sea is today", tuple(options), right))
    return questions


def read(folder, name, content, **reading):
    (folder / name).write_text(content, encoding="utf-8")
    return read_choices(folder / name, **reading)["train"]


def test_swag_is_read_with_the_beginning_before_each_ending(tmp_path):
    first, second = read(tmp_path, "train.csv", SWAG)
    assert first.text == "The sea is calm."
    assert first.options == ("A gull cries.", "A gull sails away.", "A gull is a ship.", "A gull is home.")
    assert (first.label, second.label) == (0, 1)
    assert second.options[0] == "It cries, dark."


def test_swag_without_its_parts_is_read_by_its_start_phrase(tmp_path):
    (found,) = read(tmp_path, "train.csv", "startphrase,ending0,ending1,label\nThe sea,is calm,cries,0\n")
    assert found == Choice("The sea", ("is calm", "cries"), 0)


def test_arc_is_read_by_letters_and_by_numbers_and_an_empty_cell_is_an_option_less(tmp_path):
    first, second = read(tmp_path, "train.csv", ARC)
    assert first == Choice("Which sails?", ("a gull", "a ship", "the sea", "home"), 1)
    assert second == Choice("What is calm, today?", ("the sea", "a gull", "a ship"), 0)


def test_a_letter_counts_columns_also_behind_an_empty_one(tmp_path):
    (found,) = read(tmp_path, "train.csv", "Which sails?,a gull,,a ship,C\n")
    assert found == Choice("Which sails?", ("a gull", "a ship"), 1)


def test_json_lines_take_any_number_of_options(tmp_path):
    rows = [
        {"text": "a", "options": ["b", "c"], "label": 1},
        {"text": "a", "options": list("bcdefg"), "label": 5},
    ]
    found = read(tmp_path, "train.jsonl", "\n".join(map(json.dumps, rows)))
    assert found == [Choice("a", ("b", "c"), 1), Choice("a", tuple("bcdefg"), 5)]


def test_a_folder_gives_its_parts_and_leaves_out_a_test_part_without_answers(tmp_path):
    for part in ("train", "val"):
        (tmp_path / f"{part}.csv").write_text(SWAG)
    (tmp_path / "test.csv").write_text(SWAG.replace(",label", ",gold").replace("label", "gold"))
    with pytest.warns(UserWarning, match=r"test\.csv:2: no right answers; the test part is left out"):
        assert {part: len(found) for part, found in read_choices(tmp_path).items()} == {"train": 2, "dev": 2}


def test_a_part_of_the_hub_without_rows_is_refused(monkeypatch):
    monkeypatch.setattr("bertmini.data.hub.load", lambda name: {"train": []})
    with pytest.raises(InputError, match="hf:swag: its part train has no row"):
        read_choices("hf:swag")


def test_the_hubs_forms_are_read(monkeypatch):
    arc = {"question": "Which sails?", "choices": {"text": ["a gull", "a ship"], "label": ["A", "B"]}}
    swag = {"sent1": "The sea.", "sent2": "It", "ending0": "is calm.", "ending1": "cries.", "label": 0}
    parts = {"train": [arc | {"answerKey": "B"}], "validation": [swag], "test": [swag | {"label": -1}]}
    monkeypatch.setattr("bertmini.data.hub.load", lambda name: parts)
    with pytest.warns(UserWarning, match="no right answers"):
        found = read_choices("hf:any")
    assert found == {
        "train": [Choice("Which sails?", ("a gull", "a ship"), 1)],
        "dev": [Choice("The sea.", ("It is calm.", "It cries."), 0)],
    }


def test_questions_that_cannot_be_answered_are_counted_and_left_out(tmp_path):
    broken = ARC + "Which rocks?,,,,,3\n" + "What is it?,a,b,c,d,E\n"
    with pytest.warns(UserWarning, match=r"2 of 4 questions .*first: .*train\.csv:3: 0 options"):
        assert len(read(tmp_path, "train.csv", broken)) == 2
    with pytest.raises(InputError, match=r"train\.csv:3: 0 options"):
        read(tmp_path, "train.csv", broken, strict=True)
    with pytest.raises(InputError, match=r"train\.csv:1: 'D' is right, and there is no such option"):
        read(tmp_path, "train.csv", "What is it?,a,b,,D\n")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("train.csv", SWAG.replace("ending", "end"), r"train\.csv:2: columns are .*; expected those of SWAG"),
        ("train.csv", SWAG.replace("gold-source", "sent1"), r":1: the column sent1 stands there twice"),
        ("train.csv", "Which?,a,b,C\nWhich?,a,b,c,C\n", r"train\.csv:2: 5 columns; expected 4"),
        ("train.csv", "Which?,a,b,A\nWhich?,a,b,yes\n", r"train\.csv:2: the right option is 'yes'"),
        ("train.csv", ",a,b,A\n", r"train\.csv:1: 1 is ''; expected a text"),
        ("train.jsonl", '{"text": "a", "options": ["b"', r"train\.jsonl:1: not JSON"),
        ("train.jsonl", '["a"]', r"train\.jsonl:1: .*; expected an object a line"),
        ("train.jsonl", '{"text": "a", "options": "b", "label": 0}', r":1: 1 options; expected two"),
        ("train.jsonl", '{"text": "a", "options": ["b", 1], "label": 0}', r":1: an option is 1; expected"),
        ("train.jsonl", '{"text": "a", "options": ["b", "c"]}', r":1: no label; found text, options"),
        ("train.jsonl", '{"text": 3, "options": ["b", "c"], "label": 0}', r":1: text is 3; expected a text"),
        ("train.jsonl", '{"text": "a", "options": ["b", "c"], "label": 1.5}', r"the right option is '1\.5'"),
        ("train.txt", "a;b\n", r"unknown kind of file"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_in_one_line_with_its_place(tmp_path, name, content, told):
    with pytest.raises(InputError, match=told) as error:
        read(tmp_path, name, content)
    assert "\n" not in str(error.value)


def test_logits_and_loss_are_those_of_transformers_and_checkpoints_go_both_ways(tmp_path, model):
    model.save_pretrained(tmp_path / "ours")
    theirs = transformers.BertForMultipleChoice.from_pretrained(tmp_path / "ours").eval()
    theirs.save_pretrained(tmp_path / "theirs")
    back = BertForMultipleChoice.from_pretrained(tmp_path / "theirs")
    assert back.fresh == ()
    inputs = {"input_ids": torch.randint(5, 20, (3, 4, 9)), "token_type_ids": torch.randint(2, (3, 4, 9))}
    inputs["attention_mask"] = (torch.arange(9) < torch.randint(3, 10, (3, 4, 1))).long()
    labels = torch.tensor([1, 0, 3])
    with torch.no_grad():
        expected = theirs(**inputs, labels=labels)
        for found in (model(**inputs, labels=labels), back(**inputs, labels=labels)):
            assert torch.equal(found.logits, expected.logits)
            assert torch.equal(found.loss, expected.loss)


def test_a_question_has_the_scores_that_it_has_alone(model, tokenizer, config):
    questions = weather(7)
    data = choice.data(questions, tokenizer, config, batch_size=7)
    (chosen,) = data.rows_for_evaluation()
    batch = data.make(chosen)
    assert len(batch["input_ids"]) == sum(len(each.options) for each in questions)  # no row for a missing one
    with torch.no_grad():
        together = model(**batch)
        losses = []
        for row, number in enumerate(chosen.tolist()):
            (alone,) = choice.data(questions[number : number + 1], tokenizer, config).batches_for_evaluation()
            output = model(**alone)
            count = len(questions[number].options)
            assert output.logits.shape == (1, count)
            assert torch.allclose(together.logits[row, :count], output.logits[0], atol=1e-5)
            assert (together.logits[row, count:] == -torch.inf).all()
            losses.append(output.loss)
        assert together.loss == pytest.approx(float(torch.stack(losses).mean()), abs=1e-5)


def test_a_missing_option_has_no_gradient_and_no_nan(config, tokenizer):
    model = BertForMultipleChoice(config).train()
    (batch,) = choice.data(weather(3), tokenizer, config).batches_for_evaluation()
    model(**batch).loss.backward()
    assert all(
        parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None
    )
    assert model.classifier.weight.grad.abs().sum() > 0
    assert model.classifier.bias.grad.abs() < 1e-6  # it adds to all options alike


def test_a_packed_batch_gives_the_same_logits(model, tokenizer, config):
    (batch,) = choice.data(weather(6), tokenizer, config, batch_size=6).batches_for_evaluation()
    with torch.no_grad():
        assert torch.allclose(model(**pack(batch)).logits, model(**batch).logits, atol=1e-5)


def test_each_question_counts_once_however_the_batch_is_parted(tokenizer, config):
    parts = []
    for rank in range(3):
        data = ChoiceData(weather(4), tokenizer, 4, 32, seed=0)
        data.part = (rank, 3)
        parts.append(data.batch(0))
    targets = sum(int((part["labels"] != -100).sum()) for part in parts)
    assert targets == 4
    assert shares_of(["choice"], parts, ALONE)["choice"] == [0.5, 0.25, 0.25]
    idle = ChoiceData(weather(1), tokenizer, 4, 32, seed=0)
    idle.part = (1, 2)
    assert float(BertForMultipleChoice(config)(**idle.batch(0)).loss.detach()) == 0.0


def test_questions_of_like_length_come_together(tokenizer):
    long = Choice("the sea is calm today", ("a gull cries", "a ship sails away today"), 0)
    short = Choice("the sea", ("cries", "sails"), 1)
    data = ChoiceData([long, short] * 48, tokenizer, 4, 32, seed=0)
    lengths = [data.batch(step)["input_ids"].size(1) for step in range(len(data))]
    assert set(lengths) == {6, 13}
    assert lengths.count(6) >= 8, "of 12 that could be; in any order it would be one or two of 24"


def test_wrong_labels_and_counts_are_named(model, tokenizer):
    ids = torch.randint(5, 20, (5, 4))
    with pytest.raises(InputError, match="option_counts sum to 4 and there are 5 rows"):
        model(ids, option_counts=torch.tensor([2, 2]))
    with pytest.raises(InputError, match="the one at 1 is 2, and that question has options 0 to 1"):
        model(ids, labels=torch.tensor([2, 2]), option_counts=torch.tensor([3, 2]))
    with pytest.raises(InputError, match="question 2: its label is None; expected 0 to 1"):
        ChoiceData([Choice("a", ("b", "c"), 0), Choice("a", ("b", "c"))], tokenizer, 2, 32, 0)
    with pytest.raises(InputError, match="no question in the data"):
        ChoiceData([], tokenizer, 2, 32, 0)


def test_fine_tuning_learns_to_choose_and_predicting_repeats_its_accuracy(origin, tokenizer):
    questions = weather(60)
    splits = {"train": questions, "dev": questions[:20]}
    model = load_for_task(choice, questions, origin)
    options = task_options(choice, splits, epochs=10, learning_rate=3e-3, batch_size=10, precision="float32")
    _, metrics = finetune(choice, splits, model, tokenizer, options, progress=False)
    assert metrics["dev"]["accuracy"] > 0.9
    assert metrics["dev"]["chance_accuracy"] == pytest.approx(
        sum(1 / len(q.options) for q in questions[:20]) / 20
    )
    answers = Predictor(model, tokenizer, batch_tokens=64)(questions[:20])
    right = sum(
        answer["choice"] == question.label for answer, question in zip(answers, questions, strict=False)
    )
    assert right / 20 == metrics["dev"]["accuracy"]
    for answer, question in zip(answers, questions, strict=False):
        assert len(answer["scores"]) == len(question.options)
        assert answer["text"] == question.options[answer["choice"]]
        assert sum(answer["scores"]) == pytest.approx(1, abs=1e-5)
    assert Predictor(model, tokenizer)(questions[0])["choice"] == answers[0]["choice"]
    assert task_of(model) is TASKS["choice"]


def test_scores_are_a_softmax_over_the_models_logits(model, tokenizer, config):
    questions = weather(9)
    answers = list(choice.predict(model, tokenizer, questions, batch_tokens=48))
    for question, answer in zip(questions, answers, strict=True):
        (batch,) = choice.data([question], tokenizer, config).batches_for_evaluation()
        with torch.no_grad():
            expected = model(**batch).logits.softmax(dim=1)[0]
        assert torch.allclose(torch.tensor(answer["scores"]), expected, atol=1e-5)


@pytest.mark.parametrize(
    "question",
    [{"text": "a", "options": ["b"]}, {"text": "a"}, {"text": "a", "options": ["b", 2]}, "a",
     {"text": 1, "options": ["b", "c"]}, {"text": "a", "options": "bc"},
     Choice("a", ()), Choice("a", ("b",))],
)  # fmt: skip
def test_what_is_no_question_is_named(question, model, tokenizer):
    with pytest.raises(InputError, match="is no question"):
        list(choice.predict(model, tokenizer, [question]))


def test_a_classifiers_head_does_not_serve_for_choosing(origin, tmp_path):
    from bertmini.data.task_files import Example

    scorer = load_for_task(TASKS["regress"], [Example("a", "b", 2.5)], origin)
    scorer.save_pretrained(tmp_path)
    chooser = load_for_task(choice, weather(3), tmp_path, seed=1)
    assert not torch.equal(chooser.classifier.weight, scorer.classifier.weight)
    assert chooser.config.id2label is None
    assert chooser.config.problem_type is None
    chooser.save_pretrained(tmp_path / "chooser")
    again = load_for_task(choice, weather(3), tmp_path / "chooser")
    assert torch.equal(again.classifier.weight, chooser.classifier.weight)


def test_the_shell_trains_measures_and_answers(origin, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    for part, number in (("train", 24), ("dev", 9)):
        rows = [{"text": q.text, "options": q.options, "label": q.label} for q in weather(number)]
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = tmp_path / "run"
    command = f"finetune choice --data {folder} --model {origin} --out {run} --epochs 2 --batch-size 8"
    assert main(command.split()) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    capsys.readouterr()
    assert main(f"evaluate --data {folder} --model {run} --split dev".split()) == 0
    assert json.loads(capsys.readouterr().out)["dev"] == metrics["dev"]
    line = json.dumps({"text": "the sea is calm", "options": ["calm", "rough", "wild"]})
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{line}\n".encode())))
    assert main(["predict", "--model", str(run)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.keys() == {"choice", "text", "scores"}
    assert len(answer["scores"]) == 3
    assert main([*command.split()[:-6], "--out", str(tmp_path / "x"), "--text-columns", "text"]) == 2
    assert "--text-columns is not for multiple choice" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
