"""The Predictor: one, many, or a stream, always in order."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import time

import numpy as np
import pytest
import torch
import transformers

from bertmini import BertConfig, BertForSequenceClassification, InputError, Predictor, WordPieceTokenizer
from bertmini.data.batches import Batch
from bertmini.data.task_files import Example
from bertmini.inference import WINDOW, Precision, Rows, in_order, on_every_core
from bertmini.tasks import classes_of
from bertmini.tasks.sequence import as_example, logits_of_first


@pytest.fixture(scope="module")
def moods(classifier) -> Predictor:
    return Predictor.from_pretrained(classifier)


def test_one_text_gives_one_answer(moods):
    answer = moods("the captain was happy on day 3")
    assert set(answer) == {"label", "score", "scores"}
    assert answer["label"] == "joy"
    assert set(answer["scores"]) == {"joy", "fear", "anger"}


def test_answers_keep_the_order_of_texts_of_all_lengths(classifier):
    moods = Predictor.from_pretrained(classifier, batch_tokens=64)
    words = {"happy": "joy", "afraid": "fear", "angry": "anger"}
    rng = random.Random(0)
    drawn = [rng.choice(list(words)) for _ in range(100)]
    texts = [f"the captain was {word} on day 3" + " ." * rng.randrange(30) for word in drawn]
    one_by_one = [moods(text) for text in texts]
    together = moods(texts)
    assert [a["label"] for a in together] == [a["label"] for a in one_by_one]
    for a, b in zip(together, one_by_one, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-5)


def texts_of_all_lengths(number: int = 300) -> list[str | tuple[str, str]]:
    rng = random.Random(1)
    words = ["the", "captain", "was", "happy", "afraid", "angry", "on", "day", "3", "of", "."]
    texts = [" ".join(rng.choices(words, k=1 + int(rng.expovariate(0.08)))) for _ in range(number)]
    return [(text, texts[i - 1]) if i % 4 == 0 else text for i, text in enumerate(texts)]


def logits_of(predictor: Predictor, texts: list, precision: Precision = "float32") -> torch.Tensor:
    def logits(batch: Batch) -> torch.Tensor:
        return logits_of_first(predictor.model, **batch).float()

    def rows(examples: list[Example]) -> Rows:
        return Rows.of(examples, predictor.tokenizer, predictor.max_length)

    answered = in_order(map(as_example, texts), rows, logits, predictor.model, 256, precision)
    return torch.stack([of_row for _, of_row in answered])


def test_batches_give_the_logits_of_each_text_alone(moods):
    texts = texts_of_all_lengths()
    with torch.no_grad():
        alone = []
        for text in map(as_example, texts):
            row = moods.tokenizer([text.text], text.pair and [text.pair], return_tensors="pt",
                                  truncation=True, max_length=moods.max_length)  # fmt: skip
            alone.append(moods.model(**row).logits[0])
    expected = torch.stack(alone)
    assert (logits_of(moods, texts) - expected).abs().max() <= 3e-6 * expected.abs().max()


def test_threads_give_the_answers_of_one_and_leave_as_many_as_there_were(moods):
    texts, threads = texts_of_all_lengths(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = logits_of(moods, texts)
        torch.set_num_threads(3)
        assert torch.equal(logits_of(moods, texts), expected)  # each works on one core
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_an_error_in_a_thread_ends_all_and_reaches_the_caller():
    begun = []

    def work(waiting) -> None:
        for number in waiting:
            begun.append(number)
            time.sleep(0.001)
            if number == 5:
                raise InputError("five")

    threads = torch.get_num_threads()
    try:
        with pytest.raises(InputError, match="five"):
            on_every_core(work, iter(range(10_000)), 2)
    finally:
        torch.set_num_threads(threads)
    assert len(begun) < 1000


def test_bf16_turns_only_labels_that_were_nearly_ties(moods):
    texts = texts_of_all_lengths()
    exact, fast = logits_of(moods, texts), logits_of(moods, texts, "bf16")
    assert (fast != exact).any()
    gap = (fast - exact).abs().max()
    assert gap <= 0.03 * exact.abs().max()
    best = exact.topk(2).values
    clear = best[:, 0] - best[:, 1] > 2 * gap
    assert torch.equal(fast.argmax(-1)[clear], exact.argmax(-1)[clear])
    assert clear.float().mean() > 0.9


def test_batches_hold_rows_of_like_length_within_their_tokens():
    lengths = np.random.default_rng(0).integers(3, 128, 1000)
    tokens = np.arange(lengths.sum())
    rows = Rows(tokens, tokens % 2, lengths, pad_token_id=-1)
    batches = list(rows.batches(512))
    assert sorted(np.concatenate(batches)) == list(range(1000))
    assert all(len(chosen) * lengths[chosen].max() <= 512 for chosen in batches)
    made = [rows.batch(chosen) for chosen in batches]
    assert sum(batch["attention_mask"].numel() for batch in made) < 1.03 * len(tokens)
    for chosen, batch in zip(batches, made, strict=True):
        for i, ids, real in zip(chosen, batch["input_ids"], batch["attention_mask"].bool(), strict=True):
            np.testing.assert_array_equal(ids[real], rows.split()[i])
            assert (ids[~real] == -1).all()
    assert len(list(Rows(tokens, tokens, np.array([900, 4]), 0).batches(512))) == 2  # longer than a batch


def test_a_million_texts_are_never_held_at_once(moods):
    held = most = 0

    def lines():
        nonlocal held
        for _ in range(1_000_000):
            held += 1
            yield Example("text")

    def encode(window) -> Rows:
        nothing = np.zeros(3 * len(window), np.int64)
        return Rows(nothing, nothing, np.full(len(window), 3), 0)

    answered = in_order(lines(), encode, lambda batch: batch["input_ids"][:, 0].tolist(), moods.model, 10**6)
    for number, _ in enumerate(answered, start=1):  # noqa: B007
        most, held = max(most, held), held - 1
    assert number == 1_000_000
    assert most == WINDOW


def test_a_generator_is_read_a_window_at_a_time(moods):
    taken = itertools.count()
    stream = moods(f"the captain was happy on day {i}" for i in taken)
    first = [next(stream)["label"] for _ in range(5)]
    assert first == ["joy"] * 5
    assert next(taken) <= WINDOW + 1


def test_a_list_gives_a_list_and_nothing_gives_nothing(moods):
    assert moods([]) == []
    assert len(moods(["a", "b"])) == 2


def test_a_pair_can_be_written_in_three_ways(moods):
    answers = moods(
        [
            ("a happy day", "a captain"),
            {"text": "a happy day", "pair": "a captain"},
            Example("a happy day", "a captain"),
        ]
    )
    assert answers[0] == answers[1] == answers[2]
    assert answers[0] != moods("a happy day")


def test_a_long_text_is_cut_at_the_position_table(moods):
    assert "label" in moods("happy " * 2000)


@pytest.mark.parametrize(
    "bad",
    [{"txt": "typo"}, {"text": "a", "pair": 5}, {"text": "a", "pair": {"x": 1}}, {"text": "a", "pair": []}],
)
def test_what_is_no_text_is_named(bad, moods):
    with pytest.raises(InputError, match="expected a string"):
        moods([bad])


def test_each_mask_gets_its_candidates_in_falling_order(pretrained):
    filled = Predictor.from_pretrained(pretrained, top=3)("the [MASK] is in the [MASK] .")
    assert filled["text"] == "the [MASK] is in the [MASK] ."
    assert [len(candidates) for candidates in filled["masks"]] == [3, 3]
    for candidates in filled["masks"]:
        scores = [candidate["score"] for candidate in candidates]
        assert scores == sorted(scores, reverse=True)


def test_a_text_without_a_mask_is_refused(pretrained):
    with pytest.raises(InputError, match=r"no \[MASK\] in"):
        Predictor.from_pretrained(pretrained)("nothing is missing")


def test_a_model_without_a_known_head_answers_nothing(tmp_path, pretrained):
    shutil.copytree(pretrained, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["BertLMHeadModel"]}))
    with pytest.raises(InputError, match="BertLMHeadModel, which answers nothing; expected one"):
        Predictor.from_pretrained(tmp_path)


def test_a_bare_encoder_gives_pairs_their_cosine(tmp_path, pretrained):
    from bertmini import Bert, Embedder, WordPieceTokenizer

    config = Bert.from_pretrained(pretrained).config
    Bert(config, add_pooler=False).save_pretrained(tmp_path)
    WordPieceTokenizer.from_pretrained(pretrained).save_pretrained(tmp_path)
    one, other = Embedder.from_pretrained(tmp_path)(["It rained.", "The harbour is open."])
    answer = Predictor.from_pretrained(tmp_path)(("It rained.", "The harbour is open."))
    assert answer["score"] == pytest.approx(float(one @ other), abs=1e-5)


def test_a_checkpoint_without_its_head_is_refused(tmp_path, pretrained):
    shutil.copytree(pretrained, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"architectures": ["BertForSequenceClassification"]})
    )
    with pytest.raises(InputError, match="lacks classifier"):
        Predictor.from_pretrained(tmp_path)


def test_a_text_longer_than_those_of_training_is_refused_though_the_position_table_has_room(pretrained):
    predictor = Predictor.from_pretrained(pretrained)  # trained on 128 tokens, with a table of 512
    fits, too_long = ("[MASK] " * words for words in (126, 127))
    assert len(predictor(fits)["masks"]) == 126
    with pytest.raises(
        InputError, match="has 129 tokens, and the model was trained on 128; shorten the text"
    ):
        predictor(too_long)


def test_two_labels_without_names_have_those_of_transformers(tmp_path, classifier):
    """transformers does not write them to config.json."""
    config = transformers.BertConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    theirs = transformers.BertForSequenceClassification(config).eval()
    theirs.save_pretrained(tmp_path)
    tokenizer = WordPieceTokenizer.from_pretrained(classifier)
    tokenizer.save_pretrained(tmp_path)
    answer = Predictor.from_pretrained(tmp_path)("a captain")
    with torch.no_grad():
        logits = theirs(**tokenizer(["a captain"], return_tensors="pt")).logits[0]
    expected = dict(zip(theirs.config.id2label.values(), logits.softmax(-1).tolist(), strict=True))
    assert answer["scores"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("problem", "labels"), [("multi_label_classification", "abc"), ("regression", "ab")])
def test_a_model_of_several_answers_at_once_gives_none(problem, labels):
    config = BertConfig(
        vocab_size=99, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        id2label=dict(enumerate(labels)), problem_type=problem,
    )  # fmt: skip
    with pytest.raises(InputError, match=f"problem_type is '{problem}' with {len(labels)} labels"):
        classes_of(BertForSequenceClassification(config))


def test_a_tokenizer_larger_than_the_model_is_refused(pretrained):
    predictor = Predictor.from_pretrained(pretrained)
    larger = WordPieceTokenizer([*predictor.tokenizer.pieces, "brandnewword"])
    with pytest.raises(InputError, match="the tokenizer has 601 pieces and the model knows 600"):
        Predictor(predictor.model, larger)


def test_a_model_goes_where_it_is_fastest(monkeypatch, classifier):
    monkeypatch.setattr("bertmini.predict.best_device", lambda: torch.device("meta"))
    model = Predictor.from_pretrained(classifier).model
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_answers_on_a_gpu_are_those_on_a_cpu(moods, classifier, pretrained):
    on_cpu = Predictor(BertForSequenceClassification.from_pretrained(classifier), moods.tokenizer)
    texts = ["the captain was happy on day 3", "afraid"]
    for one, other in zip(moods(texts), on_cpu(texts), strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-3)
    assert Predictor.from_pretrained(pretrained)("[MASK]")["masks"]


def test_a_model_with_a_readers_own_layer_is_asked_as_a_whole(classifier, moods):
    class Mine(torch.nn.Module):
        """Knows nothing of the package's attention but how it is called."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, hidden_states, mask=None, return_weights=False):
            return self.inner(hidden_states, mask, return_weights)

    theirs = Predictor.from_pretrained(classifier)
    last = theirs.model.bert.encoder.layers[-1]
    last.attention = Mine(last.attention)
    predictor = Predictor(theirs.model, theirs.tokenizer)
    text = "the captain was happy on day 3"
    assert predictor(text)["scores"] == pytest.approx(moods(text)["scores"], abs=1e-5)


def test_an_input_of_several_rows_gets_the_answers_of_all_of_them(moods):
    def rows(texts: list[str]) -> Rows:  # a row a word
        words = [[Example(word) for word in text.split()] for text in texts]
        made = Rows.of([word for of_text in words for word in of_text], moods.tokenizer, 32)
        made.owners = np.repeat(np.arange(len(texts)), [len(of_text) for of_text in words])
        return made

    def lengths(batch: Batch) -> list[int]:
        return batch["attention_mask"].sum(1).tolist()

    texts = ["captain harbour afraid", "x", "", "the storm"]
    answered = list(in_order(iter(texts), rows, lengths, moods.model, batch_tokens=8))
    one_by_one = [[len(moods.tokenizer([word])["input_ids"][0]) for word in text.split()] for text in texts]
    assert answered == list(zip(texts, one_by_one, strict=True))


def test_an_unknown_precision_is_named(moods):
    with pytest.raises(InputError, match="precision is 'fp32'; expected auto, "):
        Predictor(moods.model, moods.tokenizer, precision="fp32")("a")
