"""Few labels, lopsided labels: copies with changed words, losses, and a task's own texts."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from bertmini import BertConfig, BertForPreTraining, BertForSequenceClassification, InputError
from bertmini.cli import main
from bertmini.data.augment import OPERATIONS, Gap, augmented, oversampled, words_of
from bertmini.data.task_files import Example
from bertmini.hub import shipped
from bertmini.tasks import classify, fill, finetune, load_for_task, losses, task_options
from bertmini.tasks.finetune import begin_anew
from bertmini.tasks.pretrain import read_corpus
from bertmini.tokenizer import WordPieceTokenizer
from bertmini.training.loop import update

TEXT = "the fog came in , and the boats stayed home ."
EXAMPLES = [Example(TEXT, label="fog"), Example("Bread is dear. The baker smiled.", label="bread")] * 4


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer.from_pretrained(shipped())


@pytest.fixture(scope="module")
def start(save_start, tokenizer):
    """A directory with a small pretrained model: random weights, both heads."""
    return save_start(tokenizer, hidden_size=16, intermediate_size=32)


def classifier(start, examples=EXAMPLES, dropout=0.0):
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return load_for_task(classify, examples, start, **rates)


def batch_of(model, tokenizer, examples=EXAMPLES):
    return classify.data(examples, tokenizer, model.config, batch_size=8).batch(0)


# --- copies with changed words ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [TEXT, "It's Mr. Ünal's 2nd café\u0301, 中文 ok?", "a_b  c-d", "…"])
def test_words_with_spaces_between_them_are_read_as_the_text(text, tokenizer):
    assert tokenizer.encode_ids([" ".join(words_of(text))]) == tokenizer.encode_ids([text])


@pytest.mark.parametrize("seed", range(10))
def test_each_operation_changes_what_it_says(seed):
    words, chance = TEXT.split(), random.Random(seed)
    swapped = OPERATIONS["swap"](words, 0.3, chance)
    assert Counter(swapped) == Counter(words)
    assert swapped[4] == ","
    assert swapped[-1] == "."
    replaced = OPERATIONS["replace"](words, 0.3, chance)
    gaps = [(gap.was, word) for gap, word in zip(replaced, words, strict=True) if isinstance(gap, Gap)]
    assert len(gaps) == 2
    assert all(was == word for was, word in gaps)
    inserted = OPERATIONS["insert"](words, 0.3, chance)
    assert [word for word in inserted if word != Gap()] == words
    assert inserted.count(Gap()) == 2
    left = OPERATIONS["delete"](words, 0.3, chance)
    assert not Counter(left) - Counter(words)
    assert "," in left
    assert OPERATIONS["delete"](["fog", "."], 1.0, chance) == ["fog", "."]  # one word stays


def test_words_are_deleted_as_often_as_asked():
    words, chance = ["fog"] * 1000, random.Random(0)
    kept = [len(OPERATIONS["delete"](words, 0.2, chance)) for _ in range(20)]
    assert abs(sum(kept) / 20_000 - 0.8) < 0.01


def test_copies_keep_labels_and_pairs_and_depend_on_the_seed():
    examples = [Example("one two three four", "five six seven eight", "x"), Example("...", "?", "y")]
    made = augmented(examples, 3, operations=["swap"], seed=1)
    assert made[:2] == examples
    assert len(made) == 5
    for copy in made[2:]:
        assert copy.label == "x"
        assert (copy.text == examples[0].text) != (copy.pair == examples[0].pair)
    assert made == augmented(examples, 3, operations=["swap"], seed=1)
    assert made != augmented(examples, 3, operations=["swap"], seed=2)
    assert len(augmented([Example("a b c d e")], 1, operations=["delete"], share=1.0)[1].text.split()) == 1


def test_gaps_are_filled_by_likelihood_and_never_with_the_word_that_stood_there():
    def fill_all(texts):
        assert all("[MASK]" in text for text in texts)
        for text in texts:
            yield [{"fog": 0.9, "rain": 0.08, "snow": 0.02}] * text.count("[MASK]")

    made = augmented([Example("fog")] * 1000, 1, fill_all, ["replace"])[1000:]
    counts = Counter(example.text for example in made)
    assert set(counts) == {"rain", "snow"}
    assert 700 < counts["rain"] < 890
    nothing = augmented([Example("fog came")], 1, lambda texts: [[{}] for _ in texts], ["replace"])
    assert nothing[1].text == "fog came"  # what stood there comes back
    inserted = augmented([Example("fog came")], 1, lambda texts: [[{}] for _ in texts], ["insert"])
    assert inserted[1].text == "fog came"


def test_a_gap_needs_a_model_and_an_operation_needs_a_name():
    with pytest.raises(InputError, match="'replace' needs a masked model"):
        augmented(EXAMPLES, 1)
    with pytest.raises(InputError, match="operation 'shuffle'; expected some of replace, insert"):
        augmented(EXAMPLES, 1, operations=["shuffle"])


def test_the_models_proposals_are_words_for_every_mask(tokenizer):
    from bertmini import BertForMaskedLM

    model = BertForMaskedLM.from_pretrained(shipped())
    texts = ["the [MASK] came in , and the [MASK] stayed home .", "no mask", "the [MASK] is open ."]
    found = list(fill.proposals(model, tokenizer, texts))
    assert [len(masks) for masks in found] == [2, 0, 1]
    scores = [each for masks in found for mask in masks for each in mask.items()]
    assert all(word.isalpha() and 0 <= score <= 1 for word, score in scores)
    (single,) = fill.predict(model, tokenizer, [texts[2]], top=10)
    words = {each["token"]: each["score"] for each in single["masks"][0] if each["token"].isalpha()}
    assert found[2][0].keys() == words.keys()
    long = [" ".join(["the"] * 2000) + " [MASK]"]  # cut, and its mask with it
    assert list(fill.proposals(model, tokenizer, long)) == [[]]


# --- rare labels --------------------------------------------------------------------------------------------


def test_resampled_labels_are_equally_frequent_and_each_example_is_there():
    examples = [Example(str(i), label="abc"[min(i // 3, 2)]) for i in range(20)]  # 3, 3, 14
    made = oversampled(examples)
    assert Counter(example.label for example in made) == {"a": 14, "b": 14, "c": 14}
    counts = Counter(made)
    assert set(counts) == set(examples)
    assert {counts[e] for e in examples if e.label == "a"} <= {4, 5}  # 14 of 3 as evenly as can be
    assert oversampled(examples) == made
    assert any(oversampled(examples, seed) != made for seed in (1, 2, 3))


def test_balanced_weights_are_those_of_scikit_learn():
    names = ["fog"] * 7 + ["rain"] * 2 + ["snow"]
    weights = losses.balanced_weights([Example("", label=name) for name in names], ["fog", "rain", "snow"])
    expected = compute_class_weight("balanced", classes=np.array(["fog", "rain", "snow"]), y=names)
    assert torch.allclose(weights, torch.tensor(expected, dtype=torch.float32))


def test_a_label_without_examples_changes_no_weight():
    examples = [Example("", label=name) for name in ["fog", "fog", "rain"]]
    weights = losses.balanced_weights(examples, ["fog", "rain", "snow"])
    assert weights[:2].tolist() == losses.balanced_weights(examples, ["fog", "rain"]).tolist()
    assert weights[2] > 0  # whatever it is: no example has it


def test_weighted_loss_counts_each_example_by_its_label(start, tokenizer):
    model = classifier(start)
    batch = batch_of(model, tokenizer)
    weights = torch.tensor([0.5, 3.0])
    found = losses.weighted_loss(weights)(model, batch).losses["classification"]
    with torch.no_grad():
        logits = model(**batch).logits
    one_by_one = [
        weights[label] * F.cross_entropy(row[None], label[None])
        for row, label in zip(logits, batch["labels"], strict=True)
    ]
    assert torch.allclose(found, torch.stack(one_by_one).mean())
    plain = losses.weighted_loss(torch.ones(2))(model, batch).loss
    assert torch.allclose(plain, model(**batch).loss)


def test_weighted_loss_of_a_process_without_rows_is_nothing(start, tokenizer):
    model = classifier(start)
    batch = batch_of(model, tokenizer)
    batch["labels"] = torch.full_like(batch["labels"], -100)
    loss = losses.weighted_loss(torch.tensor([0.5, 3.0]))(model, batch).loss
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_balanced_weights_mean_the_same_as_resampling(start, tokenizer):
    """In expectation: the mean loss over all examples, weighted, is the mean over the resampled ones."""
    examples = [Example("fog", label="fog"), Example("fog bread", label="bread")]
    examples = [examples[0]] * 6 + [examples[1]] * 2
    model = classifier(start, examples)
    weights = losses.balanced_weights(examples, ["bread", "fog"])
    weighted = losses.weighted_loss(weights)(model, batch_of(model, tokenizer, examples)).loss
    again = classify.data(oversampled(examples), tokenizer, model.config, batch_size=12).batch(0)
    assert torch.allclose(weighted, model(**again).loss)


# --- losses -------------------------------------------------------------------------------------------------


def test_the_loss_on_one_layer_is_the_models_own(start, tokenizer):
    model = classifier(start)
    batch = batch_of(model, tokenizer)
    assert torch.equal(losses.layer_loss(1)(model, batch).loss, model(**batch).loss)


def test_the_loss_on_layers_is_the_mean_of_models_that_end_there(start, tokenizer):
    model = classifier(start)
    batch = batch_of(model, tokenizer)
    shallow = BertForSequenceClassification(model.config.replace(num_hidden_layers=1)).eval()
    shallow.load_state_dict({name: model.state_dict()[name] for name in shallow.state_dict()})
    mean = (model(**batch).loss + shallow(**batch).loss) / 2
    output = losses.layer_loss(2)(model, batch)
    assert torch.allclose(output.loss, mean)
    assert torch.equal(output.logits, model(**batch).logits)  # what is answered comes from the last layer
    with pytest.raises(InputError, match="loss on 3 layers: the model has 2"):
        losses.layer_loss(3)(model, batch)


def test_only_pooler_and_last_layers_begin_anew(start):
    before, model = classifier(start).state_dict(), classifier(start)
    norms = model.bert.encoder.layers[1].feed_forward_norm, model.bert.encoder.layers[0].feed_forward_norm
    for norm in norms:
        torch.nn.init.constant_(norm.weight, 3.0)
    begin_anew(model, 1)
    assert [float(norm.weight.mean().detach()) for norm in norms] == [1.0, 3.0]
    torch.nn.init.ones_(norms[1].weight)
    pooled = model.bert.pooler.dense
    assert 0.01 < pooled.weight.std() < 0.03  # initializer_range
    assert not pooled.bias.any()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.rpartition(".")[0] for name in changed} >= {"bert.pooler.dense"}
    assert all(name.startswith(("bert.pooler.", "bert.encoder.layers.1.")) for name in changed)
    begin_anew(untouched := classifier(start))
    layers = [name for name in before if ".layers." in name]
    assert all(torch.equal(untouched.state_dict()[name], before[name]) for name in layers)
    with pytest.raises(InputError, match="3 new layers and a new pooler: expected 0 to 2"):
        begin_anew(model, 3)


@pytest.mark.parametrize("shared", [{"num_hidden_groups": 1}, {"shared_part": "attention"}])
def test_layers_that_share_their_weights_do_not_begin_anew_alone(shared):
    labels = {0: "no", 1: "yes"}
    model = BertForSequenceClassification(BertConfig.preset("tiny", vocab_size=20, id2label=labels, **shared))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match="1 new layers: the layers below share their weights; expected 0 or"):
        begin_anew(model, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    begin_anew(model, 2)


def test_pretrainings_losses_are_those_of_the_pretrained_model(start, tokenizer):
    model = classifier(start)
    auxiliary = losses.PretrainingLoss(model, start, EXAMPLES, tokenizer, 0.5, batch_size=4, max_length=32)
    batch = batch_of(model, tokenizer) | auxiliary.batch(3)
    output = auxiliary(model, batch)
    theirs = BertForPreTraining.from_pretrained(
        start, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    expected = theirs.train()(**auxiliary.data.batch(3)).losses
    assert torch.allclose(output.losses["mlm"], expected["mlm"])
    assert torch.allclose(output.losses["nsp"], expected["nsp"])
    assert torch.allclose(output.losses["classification"], model(**batch_of(model, tokenizer)).loss)
    assert output.weights == {"mlm": 0.5, "nsp": 0.5}
    before = {name for name, _ in classifier(start).named_parameters()}
    auxiliary.end(model)
    assert {name for name, _ in model.named_parameters()} == before


def test_the_seed_decides_what_is_masked_beside_the_task(start, tokenizer):
    model = classifier(start)
    of_seed = [
        losses.PretrainingLoss(model, start, EXAMPLES, tokenizer, 0.5, 4, 32, seed) for seed in (0, 0, 1)
    ]
    first, again, other = (each.batch(0) for each in of_seed)
    assert torch.equal(first["text_input_ids"], again["text_input_ids"])
    assert not torch.equal(first["text_labels"].flatten(), other["text_labels"].flatten())


def test_the_auxiliary_weight_counts_in_the_update(start, tokenizer):
    def values_of(weight):
        model = classifier(start).train()
        auxiliary = losses.PretrainingLoss(model, start, EXAMPLES, tokenizer, weight, 4, max_length=32)
        batch = batch_of(model, tokenizer) | auxiliary.batch(0)
        options = task_options(classify, {"train": EXAMPLES}, 1, precision="float32")
        how = torch.optim.SGD(model.parameters(), lr=0.0), torch.amp.GradScaler("cpu", enabled=False)
        return update(lambda given: auxiliary(model, given), [batch], *how, options)[0]

    without, with_all = values_of(0.0), values_of(1.0)
    assert without["loss"] == pytest.approx(without["classification"])
    parts = [with_all[name] for name in ("classification", "mlm", "nsp")]
    assert with_all["loss"] == pytest.approx(sum(parts))


def test_a_classifier_trained_with_pretrainings_losses_has_its_own_weights_alone(start, tokenizer, tmp_path):
    model = classifier(start)
    options = task_options(classify, {"train": EXAMPLES}, 2, batch_size=4, precision="float32", log_every=1)
    auxiliary = losses.PretrainingLoss(model, start, EXAMPLES, tokenizer, 0.5, batch_size=4, max_length=32)
    history, _ = finetune(classify, {"train": EXAMPLES}, model, tokenizer, options, loss=auxiliary)
    assert {"classification", "mlm", "nsp"} <= history.lines[0].keys()
    model.save_pretrained(tmp_path)
    assert not BertForSequenceClassification.from_pretrained(tmp_path).fresh


# --- the command line ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    lines = [f"{example.text};{example.label}" for example in EXAMPLES]
    for part in ("train", "dev"):
        (tmp_path / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("options", [
    ["--balance", "weights"],
    ["--balance", "resample", "--augment", "2"],
    ["--augment", "1", "--augment-by", "swap", "delete"],
    ["--auxiliary", "0.5"],
    ["--layer-loss", "2", "--new-layers", "1"],
])  # fmt: skip
def test_classify_with_an_option_from_the_shell(options, folder, start):
    command = ["finetune", "classify", "--data", folder, "--model", start, "--out", folder / "run"]
    assert run(*command, "--epochs", "1", "--max-length", "32", *options) == 0
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert 0 <= metrics["dev"]["accuracy"] <= 1
    assert not BertForSequenceClassification.from_pretrained(folder / "run").fresh


def test_a_student_learns_from_a_teacher_of_its_own_size(folder, start, capsys):
    command = [
        "finetune",
        "classify",
        "--data",
        folder,
        "--model",
        start,
        "--epochs",
        "1",
        "--max-length",
        "32",
    ]
    assert run(*command, "--out", folder / "first") == 0
    assert run(*command, "--out", folder / "second", "--teacher", folder / "first") == 0
    lines = [json.loads(line) for line in (folder / "second" / "log.jsonl").read_text().splitlines()]
    assert "soft_labels" in lines[0]
    assert run("finetune", "classify", "--out", folder / "other", "--teacher", folder / "first") == 2
    assert "gives bread, fog; expected anger" in capsys.readouterr().err
    assert not (folder / "other").exists()


def test_two_losses_at_once_are_refused(folder, start, capsys):
    command = ["finetune", "classify", "--data", folder, "--model", start, "--out", folder / "run"]
    assert run(*command, "--layer-loss", "2", "--auxiliary", "1") == 2
    assert "--auxiliary and --layer-loss are losses, of which training takes one" in capsys.readouterr().err
    assert not (folder / "run").exists()


# --- a task's own texts -------------------------------------------------------------------------------------


def test_the_texts_of_a_task_are_read_without_labels(folder):
    documents, held_out = read_corpus([f"task:{folder}"], held_out=0)
    assert not held_out
    assert len(documents) == len(EXAMPLES)
    assert documents[1] == ["Bread is dear.", "The baker smiled."]
    assert not any("fog;" in sentence or ";" in sentence for document in documents for sentence in document)


def test_scores_and_pairs_are_texts_too(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence1\tsentence2\tscore\nThe fog came.\tIt rained.\t2.5\n")
    assert read_corpus([f"task:{tmp_path}"], held_out=0)[0] == [["The fog came."], ["It rained."]]


def test_task_texts_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="gazette/entities is for another command"):
        read_corpus(["task:gazette/entities"])
    with pytest.raises(InputError, match="leave --separator out"):
        read_corpus(["task:gazette/emotion"], separator="")
    with pytest.raises(InputError, match="one hf:NAME, task:DATA or prepared"):
        read_corpus(["task:gazette/emotion", "gazette"])


def test_pretraining_goes_on_with_a_tasks_texts_from_the_shell(folder, start):
    command = ["pretrain", "--init", start, "--data", f"task:{folder}", "--out", folder / "adapted"]
    command += ["--steps", "2", "--max-length", "32", "--held-out", "0", "--masking", "whole-word"]
    assert run(*command) == 0
    assert json.loads((folder / "adapted" / "metrics.json").read_text())["steps"] == 2


def test_the_loss_on_one_layer_is_the_models_own_where_it_reads_one_way(start, tokenizer):
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = load_for_task(classify, EXAMPLES, start, direction="left-to-right", **rates)
    batch = batch_of(model, tokenizer)
    assert torch.allclose(losses.layer_loss(1)(model, batch).loss, model(**batch).loss)


@pytest.mark.parametrize(("fields", "asked"), [
    ({"direction": "left-to-right"}, {"ltr"}),
    ({"extra": {"objective": "mlm"}}, {"mlm"}),
    ({"extra": {"objective": "mlm+sop"}}, {"mlm", "sop"}),
])  # fmt: skip
def test_the_auxiliary_losses_are_those_of_the_models_pretraining(fields, asked, start, tokenizer, tmp_path):
    model = BertForPreTraining.from_pretrained(start)
    BertForPreTraining(model.config.replace(**fields)).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    classifier = load_for_task(classify, EXAMPLES, tmp_path / "other")
    auxiliary = losses.PretrainingLoss(classifier, tmp_path / "other", EXAMPLES, tokenizer, 1.0, 4, 32)
    output = auxiliary(classifier, batch_of(classifier, tokenizer) | auxiliary.batch(0))
    assert set(output.losses) == {"classification"} | asked
    output.loss.backward()  # several processes wait for the gradient of every parameter
    assert all(part.grad is not None for part in classifier.pretraining_heads.parameters())


def test_a_gap_never_gets_its_word_back_whatever_its_case_and_a_sure_model_leaves_it():
    def of(**candidates):
        return lambda texts: [[candidates] for _ in texts]

    made = augmented([Example("London")] * 50, 1, of(London=0.9, Paris=0.1), ["replace"])
    assert {example.text for example in made[50:]} == {"Paris"}
    assert augmented([Example("york")], 1, of(york=1.0, town=0.0), ["replace"])[1].text == "york"


def test_a_teacher_with_another_tokenizer_is_refused(folder, start, save_start, tokenizer, capsys):
    other = save_start(WordPieceTokenizer([*tokenizer.pieces[:5], *tokenizer.pieces[:4:-1]]))
    command = ["finetune", "classify", "--data", folder, "--epochs", "1", "--max-length", "32"]
    assert run(*command, "--model", other, "--out", folder / "first") == 0
    assert run(*command, "--model", start, "--out", folder / "second", "--teacher", folder / "first") == 2
    assert "another tokenizer" in capsys.readouterr().err
    assert not (folder / "second").exists()


@pytest.mark.parametrize(
    ("piece", "is_one"), [("हिन्दी", True), ("sea", True), ("##ing", False), ("7", False), ("\u0301", False)]
)
def test_a_word_is_letters_and_their_marks(piece, is_one):
    assert fill.is_word(piece) == is_one
