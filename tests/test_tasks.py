"""Tasks: heads, metrics, answers, and fine-tuning through the library."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bertmini import BertConfig, BertForMaskedLM, BertForPreTraining, InputError, WordPieceTokenizer
from bertmini.commands.compressing import Compress
from bertmini.commands.options import CompressTraining
from bertmini.data.batches import TaskData
from bertmini.data.task_files import Example
from bertmini.tasks import TASKS, classes_of, finetune, load_for_task, task_options
from bertmini.tasks.classify import answers, head, measure
from bertmini.tasks.pretrain import (
    MaskedWords,
    extend_positions,
    held_out_metrics,
    pretrain,
    read_corpus,
    read_part,
    training_data,
)
from bertmini.tasks.regress import measure as measure_scores
from bertmini.training import Options, Run


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    words = "the sea is calm rough wild dark bright ship sails home away today a gull cries 0 1 2 3 4 5"
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.split()])


@pytest.fixture(scope="module")
def origin(save_start, tokenizer):
    size = {"hidden_size": 128, "intermediate_size": 512, "max_position_embeddings": 512}
    return save_start(tokenizer, hidden_dropout_prob=0.0, **size)


def weather(number: int) -> list[Example]:
    labels = {"calm": "good", "rough": "bad", "bright": "good", "wild": "bad"}
    words = list(labels)
    return [Example(f"the sea is {words[i % 4]} today", label=labels[words[i % 4]]) for i in range(number)]


def test_number_labels_are_ordered_by_value_and_words_by_the_alphabet():
    numbers = [Example("a", label=label) for label in ("10", "2", "1")]
    words = [Example("a", label=label) for label in ("joy", "anger")]
    assert head(numbers)["id2label"] == {0: "1", 1: "2", 2: "10"}
    assert head(words)["id2label"] == {0: "anger", 1: "joy"}


def test_one_label_alone_is_refused():
    with pytest.raises(InputError, match="two labels"):
        head([Example("a", label="joy"), Example("b", label="joy")])


def test_classification_metrics_agree_with_a_count_by_hand():
    #          truth 0, 0, 1, 1, 2; answers 0, 1, 1, 1, 0
    answers = np.eye(3)[[0, 1, 1, 1, 0]]
    metrics = measure(answers, np.array([0, 0, 1, 1, 2]), ["a", "b", "c"])
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["confusion_matrix"] == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert metrics["classes"]["b"] == {"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2}
    assert metrics["f1_macro"] == pytest.approx((0.5 + 0.8 + 0.0) / 3)


def test_correlations_agree_with_scipy():
    from scipy.stats import pearsonr, spearmanr

    rng = np.random.default_rng(0)
    targets = rng.integers(0, 6, 50).astype(float)  # with ties
    answers = targets + rng.normal(size=50)
    metrics = measure_scores(answers[:, None], targets, [])
    assert metrics["pearson"] == pytest.approx(pearsonr(answers, targets).statistic)
    assert metrics["spearman"] == pytest.approx(spearmanr(answers, targets).statistic)
    assert metrics["mse"] == pytest.approx(((answers - targets) ** 2).mean())


def test_a_constant_answer_correlates_with_nothing():
    assert measure_scores(np.ones((4, 1)), np.arange(4.0), [])["pearson"] == 0.0


def test_an_answer_holds_the_likeliest_label_and_probabilities_that_sum_to_one():
    given = answers(np.array([[0.0, 2.0, 1.0]], dtype=np.float32), ["a", "b", "c"])[0]
    assert given["label"] == "b"
    assert given["score"] == max(given["scores"].values())
    assert sum(given["scores"].values()) == pytest.approx(1.0, abs=1e-5)


def test_the_likeliest_label_is_found_before_numbers_are_rounded():
    near_tie = np.array([[1.0, 1.0 + 1e-7], [1.0 + 1e-7, 1.0]])
    assert [given["label"] for given in answers(near_tie, ["a", "b"])] == ["b", "a"]


def test_fine_tuning_learns_a_word_and_keeps_the_best_epoch(origin, tokenizer):
    task, splits = TASKS["classify"], {"train": weather(64), "dev": weather(16), "test": weather(12)}
    model = load_for_task(task, splits["train"], origin)
    options = task_options(task, splits, epochs=12, batch_size=16, learning_rate=2e-3, precision="float32")
    assert options.steps == 12 * 4
    history, metrics = finetune(task, splits, model, tokenizer, options, max_length=16, progress=False)
    assert metrics["test"]["accuracy"] == 1.0
    assert metrics["dev"]["accuracy"] == max(history.curve("accuracy", "dev")[1])
    assert set(metrics) == {"train", "dev", "test", "seconds", "tokens_per_second"}


def test_a_task_is_measured_and_saved_once_an_epoch_and_stops_by_what_is_measured():
    task, splits = TASKS["classify"], {"train": weather(50), "dev": weather(8)}
    options = task_options(task, splits, epochs=3, batch_size=16, patience=2)
    assert options == Options(
        steps=12, evaluate_every=4, checkpoint_every=4, metric="accuracy", patience=2, learning_rate=5e-5,
        batch_size=16,
    )  # fmt: skip
    alone = task_options(task, {"train": weather(50)}, epochs=3, batch_size=16, patience=2)
    assert (alone.evaluate_every, alone.metric, alone.patience) == (None, None, None)
    assert task_options(task, splits, epochs=3, checkpoint_every=7).checkpoint_every == 7


def test_length_batch_size_and_seed_reach_the_examples(origin, tokenizer):
    task, asked = TASKS["classify"], []

    def data(examples, tokenizer, config, *settings):
        asked.append(settings)
        return task.data(examples, tokenizer, config, *settings)

    spied = SimpleNamespace(**vars(task) | {"data": data})
    splits = {"train": weather(4), "test": weather(4)}
    options = task_options(task, splits, epochs=1, batch_size=2, seed=5, precision="float32")
    finetune(spied, splits, load_for_task(task, splits["train"], origin), tokenizer, options, max_length=9)
    assert asked == [(2, 9, 5)] * 2


@pytest.mark.parametrize("ramp_share", [0.0, 0.5, 0.9])
def test_an_epoch_sees_all_examples_with_a_ramp_too(ramp_share):
    settings = {"batch_size": 1, "accumulation": 8, "ramp_share": ramp_share}
    options = task_options(TASKS["classify"], {"train": weather(800)}, epochs=2, **settings)
    seen = options.batches_before(options.steps)
    assert 1600 <= seen < 1600 + 8 * 2
    assert (options.steps == 200) == (ramp_share == 0.0)


def test_one_example_without_a_label_is_named(tokenizer):
    examples = [Example("a", label="x"), Example("b")]
    with pytest.raises(InputError, match="example 2 has no label"):
        TaskData(examples, tokenizer, ("x", "y"), 2, 16, 0)


def test_regression_learns_a_number(origin, tokenizer):
    examples = [Example("the sea", f"is {score}", label=float(score)) for score in range(6)] * 8
    task, splits = TASKS["regress"], {"train": examples, "dev": examples[:12]}
    model = load_for_task(task, splits["train"], origin)
    assert model.is_regression
    options = task_options(task, splits, epochs=40, batch_size=16, learning_rate=2e-3, precision="float32")
    _, metrics = finetune(task, splits, model, tokenizer, options, max_length=16, progress=False)
    assert metrics["dev"]["pearson"] > 0.9
    assert metrics["dev"]["mse"] < 1.0  # saying the mean has 2.9


def test_a_new_head_begins_at_the_mean_score(origin):
    model = load_for_task(TASKS["regress"], [Example("a", label=1.0), Example("b", label=4.0)], origin)
    assert model.classifier.bias.item() == 2.5
    assert 0.015 < model.classifier.weight.std() < 0.025  # initializer_range
    assert not load_for_task(TASKS["classify"], weather(4), origin).classifier.bias.any()


def test_a_head_stays_for_the_same_labels_and_is_new_for_others(origin, tokenizer, tmp_path):
    task = TASKS["classify"]
    model = load_for_task(task, weather(4), origin)
    model.save_pretrained(tmp_path)
    again = load_for_task(task, weather(4), tmp_path, seed=7)
    assert torch.equal(again.classifier.weight, model.classifier.weight)
    others = [Example("a", label="yes"), Example("b", label="no")]
    assert not torch.equal(
        load_for_task(task, others, tmp_path, seed=7).classifier.weight, model.classifier.weight
    )


def test_from_scratch_takes_the_shape_and_no_weight(origin):
    scratch = load_for_task(TASKS["classify"], weather(4), origin, from_scratch=True)
    trained = load_for_task(TASKS["classify"], weather(4), origin)
    assert scratch.config == trained.config
    assert not torch.equal(scratch.bert.embeddings.word.weight, trained.bert.embeddings.word.weight)


def test_the_seed_fixes_the_new_head(origin):
    heads = [
        load_for_task(TASKS["classify"], weather(4), origin, seed=seed).classifier.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_evaluation_does_not_depend_on_the_batch_size(origin, tokenizer):
    model = load_for_task(TASKS["classify"], weather(4), origin)
    measured = []
    for batch_size in (1, 5, 16):
        data = TaskData(weather(16), tokenizer, classes_of(model), batch_size, 16, seed=0)
        measured.append(TASKS["classify"].evaluate(model, data))
    assert measured[0] == measured[1] == measured[2]


def test_held_out_documents_are_not_trained_on(small_corpus):
    train, held_out = read_corpus([str(small_corpus)], held_out=10)
    assert len(held_out) == 8
    assert not {tuple(document) for document in train} & {tuple(document) for document in held_out}


def test_no_model_beats_the_limit_of_the_gazette():
    documents, held_out = read_corpus(["gazette"], documents=200, held_out=4)
    tokenizer = WordPieceTokenizer.train((s for document in documents for s in document), 700)
    model = BertForPreTraining(BertConfig.preset("tiny", vocab_size=len(tokenizer))).eval()
    metrics = held_out_metrics(held_out, tokenizer, 8, 256, "mlm+nsp", gazette=True)(model)
    assert metrics["limit_loss"] < metrics["word_loss"]
    assert metrics["limit_accuracy"] > metrics["word_accuracy"]
    assert metrics["mlm_baseline_accuracy"] < metrics["limit_accuracy"]


def test_masked_words_hide_one_whole_word_of_a_whole_document():
    documents, held_out = read_corpus(["gazette"], documents=200, held_out=4)
    tokenizer = WordPieceTokenizer.train((s for document in documents for s in document), 700)
    texts = {tokenizer.decode(ids) for ids in tokenizer.encode_ids([" ".join(d) for d in held_out])}
    words = MaskedWords.draw(held_out, tokenizer, 256, "mlm+nsp", number=20)
    assert len(words.places) == 20
    for place in words.places:
        assert place.input_ids[place.position] == tokenizer.mask_token_id
        whole = list(place.input_ids)
        whole[place.position] = words.vocabulary[place.word]
        assert tokenizer.decode(whole, skip_special_tokens=True) in texts
        assert place.log_chance <= 0


@pytest.fixture
def voyage(tokenizer):
    """Batches of 4 rows of 64 tokens, and a fresh model for them."""
    generator = torch.Generator().manual_seed(0)
    pieces = [piece for piece in tokenizer.vocab if not piece.startswith("[")]
    draws = torch.randint(len(pieces), (20, 12, 9), generator=generator).tolist()
    documents = [[" ".join(pieces[i] for i in sentence) for sentence in draw] for draw in draws]

    def model() -> BertForPreTraining:
        torch.manual_seed(0)
        return BertForPreTraining(BertConfig.preset("tiny", vocab_size=len(tokenizer)))

    return training_data(documents, tokenizer, 4, 64, "mlm+nsp", seed=0), model


def test_pretraining_begins_with_as_many_tokens_in_short_rows(voyage) -> None:
    data, model = voyage
    shapes = []

    def loss(model, batch):
        shapes.append(batch["input_ids"].shape)
        return model(**batch)

    options = Options(steps=5, accumulation=2)
    pretrain(model(), options, data, loss=loss, short_share=0.4)
    assert all(shape[0] == 8 and shape[1] <= 32 for shape in shapes[:4])
    assert all(shape[0] <= 4 for shape in shapes[4:])
    assert max(shape[1] for shape in shapes[4:]) > 32
    assert len(shapes) == 10


def test_long_rows_begin_with_copies_of_the_positions_that_have_learned(voyage) -> None:
    data, model = voyage
    ship, seen = model(), []

    def loss(model, batch):
        seen.append(model.bert.embeddings.position.weight.detach().clone())
        return model(**batch)

    pretrain(ship, Options(steps=4, learning_rate=1e-2), data, loss=loss, short_share=0.5)
    copied = [torch.equal(table[32:63], table[1:32]) for table in seen]
    assert copied == [True, True, True, False]


@pytest.mark.parametrize("checkpoint_every", [1, 2, 3])
def test_a_run_resumes_exactly_before_at_and_after_the_change_of_length(
    voyage, tmp_path, checkpoint_every
) -> None:
    data, model = voyage
    options = Options(steps=6, checkpoint_every=checkpoint_every, learning_rate=1e-2)
    whole = model()
    pretrain(whole, options, data, short_share=1 / 3)
    calls = []

    def fails_in_step_4(model, batch):
        calls.append(batch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return model(**batch)

    run = Run.create(tmp_path / "run", options)
    with pytest.raises(KeyboardInterrupt):
        pretrain(model(), options, data, run=run, loss=fails_in_step_4, short_share=1 / 3)
    continued = model()
    pretrain(continued, options, data, run=Run.resume(tmp_path / "run"), short_share=1 / 3)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, continued.state_dict()[name]), name


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_of_short_rows_outside_its_range_is_refused(voyage, share) -> None:
    data, model = voyage
    with pytest.raises(InputError, match=r"short_share is .*; it must be in \[0, 1\)"):
        pretrain(model(), Options(steps=2), data, short_share=share)


def test_a_model_goes_on_to_longer_sequences_with_copies_of_its_positions() -> None:
    config = BertConfig.preset("tiny", vocab_size=50, max_position_embeddings=32)
    model = BertForMaskedLM(config)
    before = model.bert.embeddings.position.weight.detach().clone()
    extend_positions(model, trained=8, length=20)
    table = model.bert.embeddings.position.weight
    assert torch.equal(table[:8], before[:8])
    assert torch.equal(table[8:15], before[1:8])
    assert torch.equal(table[15:20], before[1:6])
    assert torch.equal(table[20:], before[20:])


def test_positions_that_a_model_has_learned_stay_while_rows_are_short(voyage) -> None:
    data, model = voyage
    ship, seen = model(), []
    before = ship.bert.embeddings.position.weight[32:64].detach().clone()

    def loss(model, batch):
        seen.append(model.bert.embeddings.position.weight[32:64].detach().clone())
        return model(**batch)

    options = Options(steps=4, learning_rate=1e-2, weight_decay=0.0)
    pretrain(ship, options, data, loss=loss, short_share=0.5, is_new=False)
    assert all(torch.equal(table, before) for table in seen[:3])


def test_a_dev_part_of_one_score_cannot_choose(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tscore\na\t1\nb\t2\n")
    (tmp_path / "dev.tsv").write_text("text\tscore\na\t1\n")
    with pytest.raises(InputError, match="dev: all examples have the score 1, with which nothing can"):
        TASKS["regress"].read(str(tmp_path))


def test_of_a_prepared_corpus_the_part_is_the_one_that_is_named(monkeypatch):
    monkeypatch.setattr("bertmini.tasks.pretrain.is_prepared", lambda data: True)
    monkeypatch.setattr("bertmini.tasks.pretrain.Prepared", lambda *given: given)
    parts = {split: read_part("made", split)[1] for split in ("train", "dev", "test")}
    assert parts == {"train": "train", "dev": "dev", "test": "dev"}
    with pytest.raises(InputError, match="made was read when it was prepared"):
        read_part("made", "test", encoding="latin-1")


@pytest.mark.parametrize(("asked", "read"), [(None, 256), (64, 64), (512, 256)])
def test_what_is_compressed_is_read_as_far_as_it_was_before(asked, read):
    command = Compress(out="out", training=CompressTraining(max_length=asked))
    assert command.max_length(SimpleNamespace(max_length=256)) == read
