"""Question answering: SQuAD's files, windows, spans, the official metrics, the threshold, the commands."""

from __future__ import annotations

import io
import itertools
import json
import math
import random
import re
import string
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from bertmini import BertConfig, BertForPreTraining, BertForQuestionAnswering, InputError, Predictor
from bertmini import WordPieceTokenizer as Tokenizer
from bertmini.cli import main
from bertmini.data.questions import Answer, Question, read_questions
from bertmini.tasks import TASKS, finetune, load_for_task, qa, squad, task_options
from bertmini.tasks.qa import best_spans, threshold_of
from bertmini.tasks.windows import PIECE, QuestionData, Window, WindowRows, encode, slide, windows
from bertmini.tokenizer.normalize import end_of_letter
from bertmini.viz.answers import answer_places, break_lines

WORDS = [
    "who",
    "what",
    "sails",
    "sings",
    "the",
    "sea",
    "is",
    "calm",
    "mara",
    "tom",
    "ida",
    "home",
    "today",
    ".",
]
CONTEXT = "the sea is calm . mara sails home . tom sings today ."


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    letters = [chr(97 + i) for i in range(26)]
    pieces = [*WORDS, *letters, *("##" + letter for letter in letters), "中", "文"]
    return Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(pieces)])


def small_config(tokenizer: Tokenizer, positions: int = 64) -> BertConfig:
    shape = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    return BertConfig(vocab_size=len(tokenizer), max_position_embeddings=positions, hidden_dropout_prob=0.0,
                      attention_probs_dropout_prob=0.0, **shape)  # fmt: skip


@pytest.fixture(scope="module")
def model(tokenizer) -> BertForQuestionAnswering:
    torch.manual_seed(0)
    model = BertForQuestionAnswering(small_config(tokenizer)).eval()
    torch.nn.init.normal_(model.qa_outputs.weight)
    return model


# The files


def squad_file(path, version="v2.0", **changes):
    """One paragraph with a question that has an answer, and its changes."""
    entry = {"id": "1", "question": "who sails", "answers": [{"text": "mara", "answer_start": 18}]} | changes
    content = {"version": version, "data": [{"paragraphs": [{"context": CONTEXT, "qas": [entry]}]}]}
    if "context" in changes:
        content["data"][0]["paragraphs"][0]["context"] = changes["context"]
    path.write_text(json.dumps(content))
    return path


def test_squad_is_read_under_its_own_file_names(tmp_path):
    squad_file(tmp_path / "train-v1.1.json", "1.1")
    squad_file(tmp_path / "dev-v2.0.json", is_impossible=True, answers=[])
    splits = read_questions(tmp_path)
    assert list(splits) == ["train", "dev"]
    assert splits["train"] == [Question("who sails", CONTEXT, (Answer("mara", 18),), "1")]
    assert splits["dev"][0].answers == ()


def test_json_lines_have_answers_as_objects_or_as_lists(tmp_path):
    row = {"question": "who sails", "context": CONTEXT}
    forms = ([{"text": "mara", "start": 18}], {"text": ["mara"], "answer_start": [18]}, [])
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(row | {"answers": a}) + "\n" for a in forms))
    answers = [question.answers for question in read_questions(tmp_path)["dev"]]
    assert answers == [(Answer("mara", 18),), (Answer("mara", 18),), ()]


def test_an_id_that_is_not_known_is_none(tmp_path):
    row = {"id": None, "question": "who sails", "context": CONTEXT, "answers": []}
    (tmp_path / "train.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    assert [question.id for question in read_questions(tmp_path)["train"]] == ["", ""]


def test_a_single_file_is_the_part_that_its_name_says(tmp_path):
    assert list(read_questions(squad_file(tmp_path / "test-v2.0.json"))) == ["test"]
    assert list(read_questions(squad_file(tmp_path / "harbour.json"))) == ["train"]


def test_a_misplaced_answer_is_counted_and_strict_refuses_it(tmp_path):
    squad_file(tmp_path / "train.json", answers=[{"text": "mara", "answer_start": 17}] * 2)
    with pytest.warns(
        UserWarning, match=r"question 1: the answer 'mara' does not stand at 17.*' mar'.*2 such"
    ):
        question = read_questions(tmp_path)["train"][0]
    assert question.answers is not None  # measuring compares texts
    assert question.answers[0].text == "mara"
    with pytest.raises(InputError, match="correct its place"):
        read_questions(tmp_path, strict=True)


FAULTS = [
    ({"version": "1.1", "answers": []}, "question 1: no answer, and in SQuAD 1.1"),
    ({"context": " \n"}, "the passage is empty"),
    ({"question": ""}, "the question is empty"),
    ({"question": None}, "the question is missing"),
    ({"answers": [{"text": "mara"}]}, "the answer .* is none; expected"),
    ({"answers": [{"text": "", "answer_start": 0}]}, "the answer .* is none; expected"),
    ({"is_impossible": True}, "is_impossible is true, and it has 1 answers"),
    ({"answers": None}, "no answers; expected them"),
]


@pytest.mark.parametrize(("changes", "words"), FAULTS)
def test_a_fault_is_one_line_with_the_file_and_the_question(tmp_path, changes, words):
    file = squad_file(tmp_path / "train.json", **changes)
    with pytest.raises(InputError, match=words) as told:
        read_questions(file)
    assert str(file) in str(told.value)
    assert "\n" not in str(told.value)


def test_an_id_that_occurs_twice_is_refused(tmp_path):
    row = json.dumps({"id": "7", "question": "who sails", "context": CONTEXT, "answers": []})
    (tmp_path / "train.jsonl").write_text(f"{row}\n{row}\n")
    with pytest.raises(InputError, match=r"train.jsonl:2: the id '7' was that of .*train.jsonl:1"):
        read_questions(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("train.json", '{"data":\n[}', r"train.json:2: not JSON"),
        ("train.json", '{"version": "1.1"}', "no list of articles"),
        (
            "train.json",
            '{"data": [{"paragraphs": [{"context": "a"}]}]}',
            r"data\[0\].paragraphs\[0\]: no list",
        ),
        ("train.json", '{"data": []}', "its part train has no question"),
        ("train.jsonl", '{"question": "a"}\nsea', r"train.jsonl:1: the passage is missing"),
        ("other.csv", "a", "holds no such file"),
    ],
)
def test_what_is_no_question_file_is_refused(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_questions(tmp_path)


def test_two_files_for_one_part_are_refused(tmp_path):
    squad_file(tmp_path / "train-v1.1.json")
    squad_file(tmp_path / "train-v2.0.json")
    with pytest.raises(InputError, match="expected one file for train"):
        read_questions(tmp_path)


def test_a_test_part_without_answers_is_left_out_with_a_warning(tmp_path):
    squad_file(tmp_path / "train.json")
    squad_file(tmp_path / "test.json", answers=None)
    with pytest.warns(UserWarning, match=r"test part is left out"):
        assert list(read_questions(tmp_path)) == ["train"]


# The model


def test_logits_and_loss_equal_transformers_and_weights_load_both_ways(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "ours")
    theirs = transformers.BertForQuestionAnswering.from_pretrained(tmp_path / "ours").eval()
    question = tokenizer(
        ["who sails", "what is calm today"], [CONTEXT, "the sea"], padding=True, return_tensors="pt"
    )
    targets = {"start_positions": torch.tensor([4, 0]), "end_positions": torch.tensor([6, 0])}
    with torch.no_grad():
        mine, other = model(**question, **targets), theirs(**question, **targets)
    assert torch.equal(mine.start_logits, other.start_logits)
    assert torch.equal(mine.end_logits, other.end_logits)
    assert mine.loss.item() == pytest.approx(other.loss.item(), rel=1e-6)
    theirs.save_pretrained(tmp_path / "theirs")
    again = BertForQuestionAnswering.from_pretrained(tmp_path / "theirs")
    assert not again.fresh
    assert torch.equal(again.qa_outputs.weight, model.qa_outputs.weight)


def test_a_row_that_does_not_count_has_no_part_in_the_loss(model, tokenizer):
    question = tokenizer(["who sails", "who sings"], [CONTEXT] * 2, padding=True, return_tensors="pt")
    both = model(**question, start_positions=torch.tensor([4, -100]), end_positions=torch.tensor([5, -100]))
    first = {name: tensor[:1] for name, tensor in question.items()}
    alone = model(**first, start_positions=torch.tensor([4]), end_positions=torch.tensor([5]))
    assert both.loss.item() == pytest.approx(alone.loss.item(), abs=1e-5)


# Windows


def long_context(words: int, seed: int = 0) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.mark.parametrize("words", [1, 20, 25, 26, 100, 301])
def test_windows_are_those_that_transformers_makes(tokenizer, words):
    question, context, length = "who sails home today", long_context(words), 32
    found = [window for _, window in windows([Question(question, context)], tokenizer, length)]
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.to_rust(), pad_token="[PAD]")
    room = length - 4 - 3
    expected = theirs(question, context, truncation="only_second", max_length=length, stride=room - 10,
                      return_overflowing_tokens=True, return_offsets_mapping=True)  # fmt: skip
    rows = WindowRows(found, tokenizer)
    assert [row.tolist() for row in rows.split()] == expected["input_ids"]
    for window, offsets in zip(found, expected["offset_mapping"], strict=True):
        assert window.offsets.tolist() == [list(place) for place in offsets[window.first : -1]]


@given(st.integers(1, 400), st.integers(0, 20), st.integers(12, 64))
@settings(max_examples=150, deadline=None)
def test_a_token_is_judged_where_most_is_shown_around_it(tokens, asked, length):
    asked = min(asked, length // 3)
    ids = np.arange(tokens)
    pieces = [(part, np.stack([part, part + 1], 1)) for part in np.array_split(ids, 3)]
    found = list(slide(np.zeros(asked, np.int64), pieces, length))
    judged = [token for window in found for token in window.ids[slice(*window.own)]]
    assert judged == ids.tolist()  # each in one window
    for i, window in enumerate(found):
        for token in window.ids[slice(*window.own)]:
            shown = [
                min(token - w.ids[0], w.ids[-1] - token) for w in found if w.ids[0] <= token <= w.ids[-1]
            ]
            assert min(token - window.ids[0], window.ids[-1] - token) == max(shown), (i, token)


def test_a_question_has_a_third_of_the_window_at_most(tokenizer):
    question = Question("who " * 50, long_context(60))
    sizes = [(len(window.question), len(window)) for _, window in windows([question], tokenizer, 30)]
    assert {asked for asked, _ in sizes} == {10}
    assert max(length for _, length in sizes) == 30


def test_a_passage_that_comes_in_pieces_has_the_tokens_of_the_whole(tokenizer):
    context = long_context(PIECE // 3)
    assert len(context) > PIECE
    whole = tokenizer.encode_places([context])[0]
    ids, offsets = (np.concatenate(parts) for parts in zip(*encode(context, tokenizer), strict=True))
    assert ids.tolist() == whole.ids
    assert offsets.tolist() == [list(place) for place in whole.offsets]
    one_word = "中文" * PIECE  # no white space to cut at
    ids, _ = (np.concatenate(parts) for parts in zip(*encode(one_word, tokenizer), strict=True))
    assert len(ids) == len(one_word)


def test_a_window_without_room_and_a_passage_without_tokens_are_refused(tokenizer):
    with pytest.raises(InputError, match="12 or more"):
        list(windows([Question("who", CONTEXT)], tokenizer, 11))
    with pytest.raises(InputError, match="holds nothing that can be read"):
        list(windows([Question("who", "\u200b\u200b")], tokenizer, 32))


def test_targets_are_the_answer_where_a_window_holds_all_of_it_and_else_cls(tokenizer):
    context = f"{long_context(40)} {CONTEXT} {long_context(40, 1)}"
    start = context.index(CONTEXT) + 18
    question = Question("who sails", context, (Answer("mara sails", start),))
    data = QuestionData([question, Question("who", CONTEXT, ())], tokenizer, 64, 24, seed=0)
    texts = []
    for rows in data.rows_for_evaluation():
        batch = data.make(rows)
        for i, start, end in zip(
            rows, *(batch[f"{side}_positions"] for side in ("start", "end")), strict=True
        ):
            window, owner = data.windows[i], data.owners[i]
            place = window.offsets - 0
            if start:
                places = place[start - window.first, 0], place[end - window.first, 1]
                texts.append(data.questions[owner].context[slice(*places)])
            elif owner == 0:
                assert not window.offsets[0, 0] <= question.answers[0].start < window.offsets[-1, 1] - 10
    assert len(texts) >= 1
    assert set(texts) == {"mara sails"}


@pytest.mark.parametrize("answer", ["zoe\u0308", " zoe\u0308 ", "it was zoe\u0308 \u200b", "\u200b it"])
def test_an_answer_may_begin_or_end_with_what_is_not_read(tokenizer, answer):
    context = "\u200b it was zoe\u0308 \u200b"
    question = Question("who", context, (Answer(answer, context.index(answer)),))
    data = QuestionData([question], tokenizer, 4, 32, seed=0)
    (window,), batch = data.windows, data.make(np.arange(1))
    first, last = (int(batch[f"{side}_positions"]) - window.first for side in ("start", "end"))
    assert first >= 0, "it is not taught as no answer"
    found = context[window.offsets[first, 0] : end_of_letter(context, window.offsets[last, 1])]
    assert found == answer.strip("\u200b ")


def test_a_question_whose_answers_are_misplaced_does_not_count_in_training(tokenizer):
    data = QuestionData([Question("who", CONTEXT, (Answer("mara", 3),))], tokenizer, 4, 32, seed=0)
    assert data.batch(0)["start_positions"].tolist() == [-100]


TEXTS = ["Ida café x", "cafe\u0301 x", "x 中文 x", "a\u00adb\u200b c", "e\u0301e\u0301", "ǆ ﬁ ½", "👩‍🚀 sea"]


@pytest.mark.parametrize("text", TEXTS)
def test_answers_are_exact_slices_with_all_accents_of_their_last_letter(tokenizer, text):
    row = tokenizer.encode_places([text])[0]
    for start, end in row.offsets:
        end = end_of_letter(text, end)
        assert text[start:end].strip() == text[start:end] != ""
        assert not (end < len(text) and text[end] == "\u0301")


# Spans


def brute_force(start, end, may_start, may_end):
    """All allowed spans, the best first; of equals the one that begins and ends first."""
    spans = [
        (float(start[i]) + float(end[j]), i, j)
        for i in range(len(start))
        for j in range(i, min(len(end), i + qa.LONGEST_ANSWER))
        if may_start[i] and may_end[j]
    ]
    return sorted(spans, key=lambda span: (-span[0], span[1], span[2]))


@pytest.mark.parametrize("seed", range(5))
def test_the_best_spans_are_those_of_a_search_through_all(seed):
    torch.manual_seed(seed)
    start, end = torch.randn(2, 3, 50).round(decimals=3).double()
    may_start, may_end = torch.rand(2, 3, 50) < 0.7
    for row, spans in enumerate(best_spans(start, end, may_start, may_end, 4)):
        every = brute_force(start[row], end[row], may_start[row], may_end[row])
        expected: list = []
        for score, i, j in every:
            if all(j < first or last < i for _, first, last in expected) and len(expected) < 4:
                expected.append((score, i, j))
        assert spans.places == [(i, j) for _, i, j in expected]
        assert spans.scores == pytest.approx([score for score, *_ in expected], abs=1e-5)
        total = math.log(sum(math.exp(score) for score, *_ in every))
        assert spans.total == pytest.approx(total, abs=1e-4)
        assert spans.null == pytest.approx(float(start[row, 0] + end[row, 0]), abs=1e-5)


def test_scores_that_are_no_numbers_are_named():
    logits, may = torch.zeros(2, 6), torch.ones(2, 6, dtype=torch.bool)
    logits[1, 3] = float("nan")
    with pytest.raises(InputError, match="no numbers"):
        best_spans(logits, logits, may, may)


def test_an_answer_is_never_longer_than_thirty_tokens_nor_ends_before_it_begins():
    start, end = torch.zeros(2, 1, 100)
    start[0, 10], end[0, 90], end[0, 5], end[0, 40], end[0, 39] = 9.0, 9.0, 9.5, 8.0, 7.0
    may = torch.ones(1, 100).bool()
    assert best_spans(start, end, may, may)[0].places == [(10, 39)]


# The official metrics


def official(question: Question, prediction: str) -> tuple[int, float]:
    """Exact match and F1 of one prediction, as the rules of SQuAD 2.0's evaluation read."""

    def plain(text: str) -> str:
        kept = "".join(character for character in text.lower() if character not in set(string.punctuation))
        return " ".join(word for word in re.sub(r"\b(a|an|the)\b", " ", kept).split())

    golds = [answer.text for answer in question.answers or () if plain(answer.text)] or [""]
    exact, f1 = 0, 0.0
    for gold in golds:
        gold_words, words = plain(gold).split(), plain(prediction).split()
        exact = max(exact, int(plain(gold) == plain(prediction)))
        if not gold_words or not words:
            f1 = max(f1, float(gold_words == words))
            continue
        left, same = list(gold_words), 0
        for word in words:
            if word in left:
                left.remove(word)
                same += 1
        if same:
            precision, recall = same / len(words), same / len(gold_words)
            f1 = max(f1, 2 * precision * recall / (precision + recall))
    return exact, f1


PARTS = [
    "the",
    "The",
    "a",
    "an",
    "cat",
    "Cat's",
    "cat,",
    "theory",
    "-",
    "—",
    "é",
    "\u00a0",
    " ",
    "10",
    "10,000",
]
pieces_of_text = st.sampled_from([*PARTS, "U.S.", "中文", "'", "_a_", "A.", "\t"])
texts = st.lists(pieces_of_text, max_size=6).map(" ".join)


@given(st.lists(st.tuples(st.lists(texts, max_size=3), texts), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_exact_match_and_f1_are_the_official_ones_on_any_predictions(rows):
    questions = [Question("?", "-", tuple(Answer(text, 0) for text in golds)) for golds, _ in rows]
    metrics = squad.measure(questions, [prediction for _, prediction in rows])
    expected = np.array([official(q, prediction) for q, (_, prediction) in zip(questions, rows, strict=True)])
    assert [metrics["exact"], metrics["f1"]] == pytest.approx(expected.mean(0).tolist())
    for kind, wanted in (("has_answer", True), ("no_answer", False)):
        chosen = [bool(question.answers) == wanted for question in questions]
        if any(chosen) and not all(chosen):
            of_kind = [metrics[f"{kind}_exact"], metrics[f"{kind}_f1"]]
            assert of_kind == pytest.approx(expected[chosen].mean(0).tolist())


@pytest.mark.parametrize(
    ("answer", "truth", "exact", "f1"),
    [
        ("The Cat's boat.", "cats boat", 1, 1),
        ("cat", "the black cat", 0, 2 / 3),  # an article counts for nothing
        ("cat cat", "cat", 0, 2 / 3),
        ("theory", "the ory", 0, 0),
        ("", "", 1, 1),
        ("", "cat", 0, 0),
        ("the", "", 1, 1),
        ("10,000", "10000", 1, 1),
        ("New  York", "new york", 1, 1),
    ],
)
def test_two_texts_compare_as_the_official_script_says(answer, truth, exact, f1):
    assert squad.exact(answer, truth) == exact
    assert squad.f1(answer, truth) == pytest.approx(f1)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-4, 4)), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_no_threshold_is_better_than_the_chosen_one(rows):
    questions = [Question("?", "-", (Answer("yes", 0),) if has else ()) for has, *_ in rows]
    answers, doubts = ["yes" if right else "no" for _, right, _ in rows], [float(doubt) for *_, doubt in rows]

    def f1_at(threshold: float) -> float:
        told = [a if doubt <= threshold else "" for a, doubt in zip(answers, doubts, strict=True)]
        return squad.measure(questions, told)["f1"]

    chosen = squad.best_threshold(questions, answers, doubts)
    assert f1_at(chosen) == pytest.approx(max(map(f1_at, [*doubts, -99.0])))


def test_questions_without_known_answers_are_not_measured():
    with pytest.raises(InputError, match="not known"):
        squad.measure([Question("who", CONTEXT)], ["mara"])


# From training to answers


def voyage(number: int, unanswered: bool) -> list[Question]:
    """Who asks for a name, what for what somebody does; in every third passage it is missing, if any."""
    rng, questions = random.Random(number), []
    for i in range(number):
        name, verb = rng.choice(["mara", "tom", "ida"]), rng.choice(["sails", "sings"])
        asked, answer = rng.choice([("who", name), ("what", verb)])
        words = ["the", "sea", "is", "calm", "today", name, verb]
        if unanswered and i % 3 == 0:
            words.remove(answer)
        rng.shuffle(words)
        context = " ".join(words)
        answers = (Answer(answer, context.index(answer)),) if answer in words else ()
        questions.append(Question(f"{asked} is home", context, answers, str(i)))
    return questions


@pytest.fixture(scope="module")
def origin(tmp_path_factory, tokenizer):
    directory = tmp_path_factory.mktemp("origin")
    torch.manual_seed(0)
    BertForPreTraining(small_config(tokenizer)).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def sailor(origin, tokenizer):
    """A model that has learned the voyages, and its metrics on others."""
    task, splits = TASKS["qa"], {"train": voyage(384, True), "dev": voyage(60, True)}
    model = load_for_task(task, splits["train"], origin)
    settings = {"batch_size": 16, "learning_rate": 3e-3, "precision": "float32", "evaluate_every": 240}
    options = task_options(task, splits, 20, **settings)
    _, metrics = finetune(task, splits, model, tokenizer, options, max_length=32, progress=False)
    return model, metrics["dev"]


def test_training_learns_who_is_meant_and_when_nobody_is(sailor, tokenizer):
    model, dev = sailor
    assert dev["f1"] > 0.9
    assert dev["no_answer_f1"] > 0.8
    found = Predictor(model, tokenizer)(
        {"question": "who is home", "context": "today ida sails the sea is calm"}
    )
    assert (found["answer"], found["start"], found["end"]) == ("ida", 6, 9)
    assert found["best"][0]["score"] == found["score"]


def test_the_threshold_is_chosen_on_dev_and_kept_with_the_model(sailor, tokenizer, tmp_path):
    model, dev = sailor
    data = qa.data(voyage(60, True), tokenizer, model.config, max_length=32)
    found = qa.readings(model, data)
    at = {t: squad.measure(data.questions, qa.given(found, t))["f1"] for t in (-5.0, 0.0, 5.0)}
    assert dev["f1"] >= max(at.values())
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = Predictor.from_pretrained(tmp_path)
    assert threshold_of(again.model.config) == threshold_of(model.config)
    nobody = again({"question": "who is home", "context": "the sea is calm today sings"})
    assert (nobody["answer"], nobody["start"]) == ("", None)
    assert nobody["null_score"] > threshold_of(model.config)
    assert nobody["best"][0]["answer"]  # what would have been said


def test_where_every_question_has_an_answer_one_is_always_given(origin, tokenizer):
    questions = voyage(8, unanswered=False)
    model = load_for_task(TASKS["qa"], questions, origin)
    model.qa_outputs.bias.data.fill_(0)
    qa.settle(model, qa.data(questions, tokenizer, model.config, max_length=32))
    assert threshold_of(model.config) is None
    found = Predictor(model, tokenizer)([(question.question, question.context) for question in questions])
    assert all(each["answer"] for each in found)
    assert sum(each["score"] for each in found[0]["best"]) <= 1 + 1e-5


def test_measuring_and_predicting_give_the_same_answers(sailor, tokenizer):
    model, _ = sailor
    questions = voyage(20, True)
    long = Question("who is home", f"{long_context(90)} . ida sails home .", ())
    data = qa.data([*questions, long], tokenizer, model.config, max_length=64)
    assert len(data.windows) > len(data.questions)
    measured = qa.given(qa.readings(model, data), threshold_of(model.config))
    predictor = Predictor(model, tokenizer, batch_tokens=128)
    predictor.tokenizer.model_max_length = 64
    told = [answer["answer"] for answer in predictor([(q.question, q.context) for q in data.questions])]
    assert told == measured


def test_answers_of_a_long_passage_are_those_of_its_best_window(model, tokenizer):
    tokenizer.model_max_length = 32
    question = Question("who sails", long_context(200, 3))
    found = Predictor(model, tokenizer)((question.question, question.context))
    every = []
    for _, window in windows([question], tokenizer, 32):
        batch = WindowRows([window], tokenizer).batch(np.array([0]))
        masks = [batch.pop(name)[0] for name in ("may_start", "may_end")]
        with torch.no_grad():
            output = model(**batch)
        spans = brute_force(output.start_logits[0], output.end_logits[0], *masks)
        places = [
            (score, window.offsets[i - window.first, 0], window.offsets[j - window.first, 1])
            for score, i, j in spans
        ]
        every += places
    total = math.log(sum(math.exp(score) for score, *_ in every))
    score, start, end = max(every)
    assert (found["start"], found["end"]) == (start, end)
    assert found["answer"] == question.context[start:end]
    assert found["score"] == pytest.approx(math.exp(score - total), abs=1e-5)
    for one, two in itertools.combinations(found["best"], 2):
        assert one["end"] <= two["start"] or two["end"] <= one["start"]


def test_an_answer_counts_again_when_the_better_one_beside_it_gives_way():
    """The second window's answer is better than the first's second one, and worse than the third's."""
    reading = qa.Reading(Question("who", "mara sails home . tom sings today ."))
    offsets = np.array([[i, i + 1] for i in range(35)])
    window = Window(np.empty(0, np.int64), np.zeros(35, np.int64), offsets, (0, 35))
    of_windows = [([5.0, 3.0], [(0, 3), (10, 14)]), ([4.0], [(13, 20)]), ([6.0], [(18, 25)])]
    for scores, places in of_windows:
        in_row = [(first + window.first, last + window.first) for first, last in places]
        reading.add(window, qa.Spans(scores, in_row, 0.0, 0.0))
    told = reading.told(None)
    assert [(each["start"], each["end"]) for each in told["best"]] == [(18, 26), (0, 4), (10, 15)]
    assert (told["start"], told["end"]) == (18, 26)
    assert reading.text == told["answer"]


def test_the_threshold_takes_its_place_beside_the_settings_of_other_tasks(origin, tokenizer, tmp_path):
    other = {"task_specific_params": {"summarization": {"num_beams": 2}}}
    before = BertForPreTraining.from_pretrained(origin)
    before.config = before.config.replace(extra=before.config.extra | other)
    before.save_pretrained(tmp_path)
    questions = voyage(8, unanswered=True)
    model = load_for_task(TASKS["qa"], questions, tmp_path)
    assert model.config.extra["task_specific_params"] == {
        "summarization": {"num_beams": 2},
        "question-answering": {"threshold": 0.0},
    }
    qa.settle(model, qa.data(questions, tokenizer, model.config, max_length=32))
    assert model.config.extra["task_specific_params"]["summarization"] == {"num_beams": 2}
    assert isinstance(threshold_of(model.config), float)


def test_a_long_passage_is_read_without_holding_its_windows(tokenizer):
    context = long_context(200_000)
    tracemalloc.start()
    count = sum(1 for _ in windows([Question("who", context)], tokenizer, 48))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 10_000
    assert peak < 8e6  # its tokens alone would take more


@pytest.mark.parametrize(
    "wrong", ["who sails", {"question": "who"}, ("who", ""), {"question": 3, "context": "a"}, 7]
)
def test_an_input_that_is_no_question_is_refused(model, tokenizer, wrong):
    with pytest.raises(InputError, match="is no question with its passage"):
        list(qa.predict(model, tokenizer, [wrong]))


def test_a_question_alone_is_answered_as_its_parts_are(model, tokenizer):
    reader = Predictor(model, tokenizer)
    assert reader(Question("who sails", CONTEXT)) == reader({"question": "who sails", "context": CONTEXT})


def test_a_question_answering_model_of_transformers_answers_here(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "ours")
    theirs = transformers.BertForQuestionAnswering.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    assert Predictor.from_pretrained(tmp_path / "theirs")(("who sails", CONTEXT))["answer"] in CONTEXT


# The picture


def test_a_title_with_two_prices_is_no_formula():
    picture = answer_places("tea", [(0, 3)], [1.0], [1.0], title=r"$\wrong or $6?")
    assert "<img" in picture.html()  # as a formula it could not be drawn


def test_the_picture_says_in_words_where_the_answer_may_begin_and_end():
    offsets = [(0, 4), (5, 9), (10, 13), (14, 17)]
    picture = answer_places(
        "mara sold the tea", offsets, [0, 0, 0.75, 0.25], [0.1, 0, 0, 0.9], (10, 17), "What?"
    )
    assert picture.alt == (
        "What?: a passage of 17 characters; the answer: it begins at 'the' (75%) or at 'tea' (25%), "
        "it ends at 'tea' (90%) or at 'mara' (10%); framed: 'the tea'."
    )
    assert picture.png().startswith(b"\x89PNG")


@given(st.text(alphabet="ab ", max_size=60))
@settings(max_examples=60, deadline=None)
def test_lines_hold_the_whole_text_and_are_no_longer_than_they_may(text):
    lines = break_lines(text, 10)
    assert "".join(text[first:last] for first, last in lines) == text
    assert all(len(text[first:last].rstrip()) <= 10 for first, last in lines)


# The commands


@pytest.fixture(scope="module")
def question_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    for part, number in (("train", 60), ("dev", 24), ("test", 24)):
        rows = [
            {"id": q.id, "question": q.question, "context": q.context,
             "answers": [{"text": a.text, "answer_start": a.start} for a in q.answers or ()]}
            for q in voyage(number, True)
        ]  # fmt: skip
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_commands_finetune_evaluate_and_predict(
    question_files, pretrained, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "run"
    command = f"finetune qa --data {question_files} --model {pretrained} --out {out} --epochs 2"
    assert main([*command.split(), "--learning-rate", "1e-3", "--max-length", "48"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"exact", "f1", "has_answer_f1", "no_answer_f1"} <= metrics["test"].keys()
    stored = json.loads((out / "config.json").read_text())["task_specific_params"]
    assert isinstance(stored["question-answering"]["threshold"], float)
    capsys.readouterr()
    assert main(["evaluate", "--data", str(question_files), "--model", str(out)]) == 0
    again = json.loads(capsys.readouterr().out)["test"]
    assert again["f1"] == pytest.approx(metrics["test"]["f1"], abs=0.05)  # two number formats
    lines = json.dumps({"question": "who sails", "context": CONTEXT}) + f"\nwho sings\t{CONTEXT}\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert main(["predict", "--model", str(out)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 2
    assert all(each["answer"] in CONTEXT for each in answers)


def test_columns_have_no_meaning_for_questions(question_files, tmp_path, capsys):
    command = f"finetune qa --data {question_files} --out {tmp_path / 'run'} --label-column answer"
    assert main(command.split()) == 2
    assert "for tables" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_real_squad_is_read_whole_and_its_answers_are_exact(data_directory):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits = read_questions(data_directory / "squad")
    assert {part: len(of) for part, of in splits.items()} == {"train": 4449, "dev": 1629}
    pieces = (data_directory / "vocab" / "bert-base-uncased-vocab.txt").read_text("utf-8").split("\n")[:-1]
    questions = [question for question in splits["train"] if question.answers]
    data = QuestionData(questions, Tokenizer(pieces), 32, 512, seed=0)
    same = []
    for owner, window, (start, end) in zip(data.owners, data.windows, data.targets.tolist(), strict=True):
        if start:
            places = window.offsets[start - window.first, 0], window.offsets[end - window.first, 1]
            same.append(questions[owner].context[slice(*places)] == questions[owner].answers[0].text)
    assert len(same) > 2000
    assert sum(same) > 0.999 * len(same)  # one answer ends inside a word
