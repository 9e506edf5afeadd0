from __future__ import annotations

import json
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from bertmini import course
from bertmini.course.ablations import Ablation
from bertmini.course.exercises import exercise, expect_tensor, run
from bertmini.errors import InputError
from bertmini.model import attention, encoder
from bertmini.model.choice import by_question
from bertmini.tokenizer.wordpiece import split_word


@exercise("99.1")
def doubles(attempt):
    for number in (1.0, 2.0):
        given = torch.tensor([number])
        expect_tensor(run(attempt, given), 2 * given, f"[{number}]")


@pytest.fixture
def restored():
    yield
    course.use(None)


@pytest.fixture(autouse=True)
def own_settings():
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        yield


def said(capsys):
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("stub", [lambda x: ..., lambda x: None, lambda x: (..., x)])
def test_untouched_stub_is_not_attempted(stub, capsys):
    course.check("99.1", stub)
    assert said(capsys) == "99.1 not attempted"


def test_raising_stub_is_not_attempted(capsys):
    def stub(x):
        raise NotImplementedError

    course.check("99.1", stub)
    assert said(capsys) == "99.1 not attempted"


def test_right_answer_says_so(capsys):
    course.check("99.1", lambda x: x + x)
    assert said(capsys) == "99.1 ✓ right"


def test_wrong_answer_shows_the_first_counterexample(capsys):
    course.check("99.1", lambda x: x * x + 1)
    assert said(capsys) == "99.1 ✗ for [2.0] you gave [5.0], expected [4.0]"


def test_wrong_shape_is_told(capsys):
    course.check("99.1", lambda x: (x + x)[None])
    assert said(capsys) == "99.1 ✗ for [1.0] your answer has shape [1, 1], [1] was expected"


def test_error_in_the_readers_code_is_one_line_with_its_place(capsys):
    def broken(x):
        return x @ torch.zeros(3)

    course.check("99.1", broken)
    words = said(capsys)
    assert words.startswith("99.1 ✗ your code stopped: RuntimeError:")
    assert "x @ torch.zeros(3)" in words
    assert "\n" not in words


def test_unknown_exercise_names_the_known():
    with pytest.raises(InputError, match=r"99\.1"):
        course.check("98.7", lambda: 1)


def test_check_leaves_the_random_numbers_alone(capsys):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    course.check("99.1", lambda x: x + x + 0 * torch.rand(1))
    assert torch.equal(torch.rand(1), expected)


def test_claims_are_printed_listed_and_asserted(capsys):
    course.setup()
    course.claim("water is wet", True)
    course.claim("water is wet", torch.tensor(True))
    course.claim("stones are hard", 1 < 2)
    course.found()
    assert said(capsys).splitlines()[-2:] == ["1. water is wet", "2. stones are hard"]
    with pytest.raises(AssertionError, match="stones swim"):
        course.claim("stones swim", False)


def test_a_claim_about_the_books_model_does_not_stop_another(monkeypatch, capsys):
    monkeypatch.setenv("MODEL", "some/model")
    course.setup()
    course.claim("it knows the town", False)
    course.found()
    assert said(capsys).splitlines()[-2:] == [
        "✗ not with this model: it knows the town",
        "nothing claimed yet: run the cells above first",
    ]


def test_setup_makes_a_run_repeatable_and_quiet():
    with warnings.catch_warnings(record=True) as heard:
        course.setup(seed=3)
        first = torch.rand(2)
        warnings.warn("noise", stacklevel=1)
        course.setup(seed=3)
    assert torch.equal(first, torch.rand(2))
    assert not heard


class MySelfAttention(attention.SelfAttention):
    pass


class LoudAttention(attention.SelfAttention):
    def forward(self, *args, **kwargs):
        context, weights = super().forward(*args, **kwargs)
        return 2 * context, weights


def test_use_puts_the_readers_class_into_every_module(restored, capsys):
    original = attention.SelfAttention
    course.use(MySelfAttention)
    assert said(capsys) == "SelfAttention is now your MySelfAttention: equal to the package's, bit for bit"
    assert encoder.SelfAttention is attention.SelfAttention is MySelfAttention
    course.use(None)
    assert encoder.SelfAttention is attention.SelfAttention is original


def test_use_reports_the_largest_difference(restored, capsys):
    course.use(LoudAttention, in_place_of="SelfAttention")
    assert "its outputs differ from the package's by up to" in said(capsys)
    assert encoder.SelfAttention is LoudAttention


def test_use_twice_restores_the_packages_own(restored, capsys):
    original = attention.SelfAttention
    course.use(LoudAttention, in_place_of="SelfAttention")
    course.use(MySelfAttention)
    course.use(MySelfAttention)
    assert "bit for bit" in said(capsys).splitlines()[-1]
    course.use(None)
    assert encoder.SelfAttention is attention.SelfAttention is original


def test_use_replaces_a_function_where_it_is_called(restored, capsys):
    def attend(q, k, v, mask=None, dropout=0.0, return_weights=False):
        calls.append(1)
        scores = q @ k.transpose(-1, -2) / q.size(-1) ** 0.5
        scores = scores if mask is None else scores.masked_fill(~mask, float("-inf"))
        weights = scores.softmax(-1)
        return weights @ v, weights if return_weights else None

    calls: list[int] = []
    course.use(attend)
    assert "attend is now your attend: equal to the package's" in said(capsys)
    before = len(calls)
    from bertmini.config import BertConfig

    attention.SelfAttention(BertConfig.preset("tiny"))(torch.randn(1, 3, 128))
    assert len(calls) == before + 1


def test_use_refuses_other_parameters_in_one_line(restored):
    class SelfAttention(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.q = nn.Linear(config.hidden_size, config.hidden_size)

    with pytest.raises(InputError, match=r"no parameter 'query\.weight' \[32, 32\]"):
        course.use(SelfAttention)
    assert encoder.SelfAttention is not SelfAttention


def test_use_refuses_code_that_stops(restored):
    class SelfAttention(attention.SelfAttention):
        def forward(self, hidden_states, mask=None, return_weights=False):
            return hidden_states @ hidden_states, None

    with pytest.raises(InputError, match="cannot take the package's place: RuntimeError"):
        course.use(SelfAttention)


def test_use_finds_a_loss_of_distillation_that_nobody_imported_yet():
    code = """
from bertmini import course

def soft_target_loss(student_logits, teacher_logits, temperature=2.0):
    return 0.0

try:
    course.use(soft_target_loss)
except Exception as error:
    assert "has no class or function" not in str(error), error
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_use_finds_a_name_whose_module_nobody_imported_yet():
    code = """
from bertmini import course

def linear_schedule(step, steps, warmup):
    return 0.0

course.use(linear_schedule)
from bertmini.training import schedule
assert schedule.linear_schedule is linear_schedule
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("linear_schedule is now your linear_schedule")


def test_use_puts_a_readers_loss_inside_the_triple_loss(restored):
    from bertmini import BertConfig, BertForSequenceClassification
    from bertmini.compress import distill

    def my_soft_target_loss(student_logits, teacher_logits, temperature):
        log_s = (student_logits / temperature).log_softmax(-1)
        log_t = (teacher_logits / temperature).log_softmax(-1)
        calls.append(temperature)
        return temperature**2 * (log_t.exp() * (log_t - log_s)).sum(-1).mean()

    calls: list[float] = []
    course.use(my_soft_target_loss)
    calls.clear()
    config = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    teacher, student = BertForSequenceClassification(config), BertForSequenceClassification(config)
    batch = {"input_ids": torch.tensor([[1, 2]]), "labels": torch.tensor([0])}
    distill.distillation_loss(teacher, temperature=3.0)(student, batch)
    assert calls == [3.0]


def test_use_of_an_unknown_name_says_so(restored):
    def telepathy(x):
        return x

    with pytest.raises(InputError, match="telepathy"):
        course.use(telepathy)


def test_pretrained_takes_the_named_model(monkeypatch):
    monkeypatch.setenv("MODEL", "some/model")
    assert course.pretrained() == "some/model"


def test_use_of_a_stub_leaves_the_packages(restored, capsys):
    class SelfAttention(attention.SelfAttention):
        def forward(self, hidden_states, mask=None, return_weights=False):
            return ...

    course.use(SelfAttention)
    assert said(capsys) == "SelfAttention stays the package's: yours is not attempted yet"
    assert encoder.SelfAttention is not SelfAttention


def slips():
    def scores_only(q, k):
        return k @ q

    def unscaled(q, k):
        return (k @ q).softmax(-1)

    def one_sided(length, width):
        place = torch.arange(length)
        return (place[:, None] - place[None] <= width)[None, None]

    class Unmasked(attention.SelfAttention):
        def forward(self, hidden_states, mask=None, return_weights=False):
            return super().forward(hidden_states, None, True)

    return {
        "you gave the scores": ("03.1", scores_only),
        "not divided by √d": ("03.1", unscaled),
        "for length 2 and width 0 you gave": ("03.2", one_sided),
        "and mask [[True, False]]": ("03.3", Unmasked),
    }


@pytest.mark.parametrize("hint", list(slips()))
def test_common_slips_in_attention_are_named(hint, capsys):
    number, attempt = slips()[hint]
    course.check(number, attempt)
    words = said(capsys)
    assert words.startswith(f"{number} ✗")
    assert hint in words


def test_a_module_without_forward_was_attempted(capsys):
    course.check("99.1", nn.Module())
    assert 'missing the required "forward"' in said(capsys)


def test_a_fraction_is_not_the_whole_number_below_it():
    with pytest.raises(course.Wrong):
        expect_tensor(torch.tensor([1.9]), torch.tensor([1]), "x")


def test_an_answer_in_float64_is_compared_as_any_other(capsys):
    course.check("03.1", lambda q, k: (k.double() @ q.double() / q.numel() ** 0.5).softmax(-1))
    assert said(capsys) == "03.1 ✓ right"
    course.check("03.1", lambda q, k: (k.double() @ q.double()).softmax(-1))
    assert "not divided by √d" in said(capsys)


def test_an_exercise_that_is_none_is_told_with_those_that_are():
    with pytest.raises(InputError, match=r"no exercise 3\.1: known are .*03\.1"):
        course.check("3.1", lambda: None)


@pytest.mark.parametrize(
    ("number", "attempt", "told"),
    [
        ("00.2", lambda p, truth: (p > p[truth]).int() + 1, "you gave [1, 1], expected 1"),
        ("01.1", lambda word, vocab: split_word(word, vocab) or [("[UNK]", 0, 0)], "the empty word has no"),
        ("13.1", lambda s, c: by_question(s, c).nan_to_num(neginf=float("inf")), "has inf, expected -inf"),
        ("16.1", lambda *_: float("nan"), "16.1 ✗"),
        ("12.1", lambda *_: float("nan"), "12.1 ✗"),
        ("15.3", lambda words, share, chance: [w for w in words if chance.random() >= share] or words,
         "you kept 200"),
    ],
)  # fmt: skip
def test_slips_at_the_edge_are_found_and_shown(number, attempt, told, capsys):
    course.check(number, attempt)
    assert told in said(capsys)


def ablation_results(folder):
    """Three rows, the last of which has no questions yet; the second learned with two seeds."""

    def pretrained(seed, perplexity):
        return {"seed": seed, "dev": {"mlm_perplexity": perplexity}}

    runs = {
        "a": pretrained(0, 8.0), "b": pretrained(1, 9.0), "c": pretrained(0, 7.0), "d": pretrained(1, 8.0),
        "qa": {"seed": 0, "f1": 0.5, "dev": 0.6}, "qc": {"seed": 0, "f1": 0.75, "dev": 0.6},
    }  # fmt: skip
    rows = [
        {"name": "BERT", "runs": {"pretraining": ["a", "b"], "questions": ["qa"]}},
        {"name": "more", "runs": {"pretraining": ["c", "d"], "questions": ["qc"]}},
        {"name": "less", "runs": {"pretraining": ["a"], "questions": []}},
    ]
    table = {"measures": {"questions": "f1"}, "rows": rows}
    (folder / "ablations.json").write_text(json.dumps({"tables": {"sizes": table}, "runs": runs}))
    return folder / "ablations.json"


def test_ablations_are_compared_by_seed_and_drawn_where_all_is_measured(tmp_path, capsys):
    sizes = Ablation(ablation_results(tmp_path), "sizes", ["mlm_perplexity", "questions"])
    assert sizes.scores["mlm perplexity"]["more"] == {0: 7.0, 1: 8.0}
    sizes.compare("BERT")
    assert capsys.readouterr().out.splitlines() == [
        "not measured yet, or not in full: less",
        "more, mlm perplexity: -1.000 ± 0.000, 2 seeds: beyond chance",
        "more, questions, f1: +0.250, one seed: no conclusion",
    ]
    alt = sizes.picture("Sizes").alt
    assert "Sizes. mlm perplexity: BERT 8.5 (2 runs), more 7.5 (2 runs)" in alt
    assert "less" not in alt


def test_ablations_that_are_not_there_are_named_with_their_command(tmp_path, capsys):
    for file in (tmp_path / "none.json", ablation_results(tmp_path)):
        masks = Ablation(file, "masks", ["questions"])
        masks.compare("dynamic")
        assert "benchmarks/ablations.py --tables masks" in capsys.readouterr().out
        assert masks.picture() is None


def test_a_model_that_was_not_asked_a_question_has_no_row(tmp_path, capsys):
    sizes = Ablation(ablation_results(tmp_path), "sizes", ["mlm_perplexity", "nsp_accuracy"])
    assert sizes.rows == []
    sizes.compare("BERT")
    assert "not measured yet" in capsys.readouterr().out


def test_results_of_another_form_are_refused_in_a_line(tmp_path):
    (tmp_path / "runs.json").write_text('{"tables": {"sizes": {"rows": [{"name": "BERT"}]}}}')
    with pytest.raises(InputError, match=r"not the results of .*sizes has none of nsp_accuracy"):
        Ablation(tmp_path / "runs.json", "sizes", ["nsp_accuracy"])
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(InputError, match=r"list\.json: not the results"):
        Ablation(tmp_path / "list.json", "sizes", ["questions"])
