"""Claims about the craft of training: schedules, the range test, averaged weights."""

from __future__ import annotations

import copy
import json
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from bertmini import BertConfig, BertForPreTraining
from bertmini.cli import main
from bertmini.errors import InputError
from bertmini.training import SCHEDULES, Options, Run, train
from bertmini.training.ema import move_average
from bertmini.training.lr_find import RangeTest, find_learning_rate, has_blown_up
from bertmini.training.options import MEASURED

CONFIG = BertConfig(
    vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=16, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
)  # fmt: skip
STEPS, WARMUP = 40, 12


def new_model() -> BertForPreTraining:
    torch.manual_seed(1)
    return BertForPreTraining(CONFIG)


def batch_at(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(5, 20, (4, 1), generator=generator).repeat(1, 8)
    masked = torch.rand(4, 8, generator=generator) < 0.4
    masked[:, 1] = True
    return {"input_ids": ids.masked_fill(masked, 4), "labels": ids.masked_fill(~masked, -100),
            "next_sentence_label": torch.randint(0, 2, (4,), generator=generator)}  # fmt: skip


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def factors(name: str, warmup: int = WARMUP) -> list[float]:
    return [SCHEDULES[name](step, STEPS, warmup) for step in range(STEPS)]


def rates_of(make) -> list[float]:
    """The rates that one of PyTorch's schedulers gives to each update, where the highest is 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(STEPS - 1):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 101])
def test_a_schedule_rises_to_one_falls_and_no_update_is_lost(name, steps):
    for warmup in {0, 1, steps // 4, steps - 1}:
        found = [SCHEDULES[name](step, steps, warmup) for step in range(steps)]
        top = max(0, warmup - 1)
        assert found[top] == max(found) == pytest.approx(1), warmup
        assert found[: top + 1] == sorted(found[: top + 1])
        assert found[top:] == sorted(found[top:], reverse=True)
        assert min(found) > 0


def test_one_cycle_is_that_of_pytorch():
    make = partial(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=STEPS, pct_start=WARMUP / STEPS)
    assert factors("one-cycle") == pytest.approx(rates_of(partial(make, cycle_momentum=False)), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "make"),
    [("step", lambda o: lr_scheduler.MultiStepLR(o, [STEPS // 2, STEPS * 3 // 4], gamma=0.1)),
     ("exponential", lambda o: lr_scheduler.ExponentialLR(o, 0.01 ** (1 / STEPS))),
     ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS)),
     ("linear", lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, STEPS)),
     ("constant", lambda o: lr_scheduler.ConstantLR(o, 1.0))],
)  # fmt: skip
def test_without_a_warmup_a_schedule_is_that_of_pytorch(name, make):
    assert factors(name, warmup=0) == pytest.approx(rates_of(make), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("linear", "get_linear_schedule_with_warmup"), ("cosine", "get_cosine_schedule_with_warmup"),
     ("constant", "get_constant_schedule_with_warmup")],
)  # fmt: skip
def test_after_the_warmup_a_schedule_is_that_of_transformers(name, theirs):
    """In the warm-up theirs is one update behind: its first one has the rate 0."""
    transformers = pytest.importorskip("transformers")
    more = {} if name == "constant" else {"num_training_steps": STEPS}
    found = rates_of(lambda optimizer: getattr(transformers, theirs)(optimizer, WARMUP, **more))
    assert factors(name)[WARMUP:] == pytest.approx(found[WARMUP:], rel=1e-9)
    assert factors(name)[: WARMUP - 1] == pytest.approx(found[1:WARMUP])
    assert found[0] == 0


def test_the_loop_follows_the_schedule_of_its_options():
    options = Options(steps=10, learning_rate=1e-3, warmup_share=0.2, schedule="cosine", log_every=1)
    rates = train(new_model(), batch_at, options).curve("learning_rate")[1]
    assert rates == [1e-3 * SCHEDULES["cosine"](step, 10, 2) for step in range(10)]


def test_a_schedule_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(InputError, match="schedule is 'cosinus'; expected one of linear, cosine, one-cycle"):
        Options(schedule="cosinus")


def test_the_command_line_knows_every_schedule():
    from typing import get_args

    from bertmini.commands.options import ScheduleName

    assert get_args(ScheduleName) == tuple(SCHEDULES)


def test_the_average_is_adams_corrected_one_and_begins_at_the_first_weights():
    model, decay = nn.Linear(3, 2), 0.8
    model.register_buffer("mask", torch.zeros(2))
    average = copy.deepcopy(model)
    mean = torch.zeros(2, 3)
    for updates in range(1, 8):
        with torch.no_grad():
            model.weight.normal_()
        model.mask.fill_(updates)
        move_average(average, model, decay, updates)
        mean = decay * mean + (1 - decay) * model.weight.detach()
        torch.testing.assert_close(average.weight.detach(), mean / (1 - decay**updates))
        assert torch.equal(average.mask, model.mask)  # of pruned weights, say: it is copied, not averaged
        if updates == 1:
            assert torch.equal(average.weight, model.weight)


def test_the_average_is_that_of_pytorch_where_both_begin_alike():
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model = nn.Linear(3, 2)
    average, decay = copy.deepcopy(model), 0.9
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    theirs.update_parameters(model)  # its first call copies, without a correction
    for _ in range(5):
        with torch.no_grad():
            model.weight.normal_()
        theirs.update_parameters(model)
        move_average(average, model, decay, 10**6)  # long after the beginning the correction is 1
    torch.testing.assert_close(average.weight, theirs.module.weight)


def test_averaged_weights_are_measured_and_kept_and_training_is_not_changed_by_them():
    seen: dict[float, list] = {0.0: [], 0.9: []}
    models = {ema: new_model() for ema in seen}
    for ema, model in models.items():
        options = Options(steps=6, learning_rate=1e-2, evaluate_every=3, ema=ema, precision="float32")
        history = train(
            model, batch_at, options,
            evaluate=lambda model, ema=ema: seen[ema].append(weights(model)) or {"accuracy": 0.0},
        )  # fmt: skip
        losses = history.curve("loss")[1]
        seen[ema].append(losses)
    assert seen[0.0][-1] == seen[0.9][-1]  # the losses of training
    assert same(weights(models[0.0]), seen[0.0][1])
    assert same(weights(models[0.9]), seen[0.9][1])
    assert not same(seen[0.0][1], seen[0.9][1])


def test_after_one_update_the_average_is_the_weights():
    models = [new_model(), new_model()]
    for model, ema in zip(models, (0.0, 0.9), strict=True):
        train(model, batch_at, Options(steps=1, learning_rate=1e-2, ema=ema, precision="float32"))
    assert same(weights(models[0]), weights(models[1]))


def test_with_patience_the_best_average_is_kept():
    scores, seen = iter([0.2, 0.9, 0.1, 0.3]), []

    def evaluate(model):
        seen.append(weights(model))
        return {"accuracy": next(scores)}

    model = new_model()
    options = Options(steps=40, evaluate_every=2, metric="accuracy", patience=2, ema=0.7, learning_rate=1e-2)
    train(model, batch_at, options, evaluate=evaluate)
    assert len(seen) == 4
    assert same(weights(model), seen[1])


def test_an_interrupted_run_with_averaged_weights_goes_on_to_the_same_bits(tmp_path):
    options = Options(steps=12, learning_rate=1e-2, log_every=1, evaluate_every=4, metric="mlm_loss", ema=0.9,
                      checkpoint_every=5, precision="float32", schedule="one-cycle")  # fmt: skip

    def evaluate(model):
        return {"mlm_loss": model(**batch_at(10_000)).losses["mlm"].item()}

    def until_seven(number):
        if number == 7:
            raise KeyboardInterrupt
        return batch_at(number)

    results = []
    for name in ("whole", "broken"):
        run = Run.create(tmp_path / name, options)
        if name == "broken":
            with pytest.raises(KeyboardInterrupt):
                train(new_model(), until_seven, options, evaluate=evaluate, run=run)
        model = new_model()
        train(model, batch_at, options, evaluate=evaluate, run=Run.resume(run.directory))
        lines = [{k: v for k, v in line.items() if k not in MEASURED} for line in run.lines()]
        files = {path.name: path.read_bytes() for path in run.saved()[-1].glob("*.safetensors")}
        results.append((weights(model), lines, files))
    assert same(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]
    assert "average.safetensors" in results[0][2]


def test_a_run_without_the_new_options_goes_on(tmp_path):
    run = Run.create(tmp_path / "run", Options(steps=2, precision="float32"))
    record = json.loads((run.directory / "run.json").read_text())
    for name in ("schedule", "ema"):
        del record["training"][name]
    (run.directory / "run.json").write_text(json.dumps(record))
    assert Run.resume(run.directory).options == Options(steps=2, precision="float32")


@pytest.fixture(scope="module")
def found() -> RangeTest:
    return find_learning_rate(new_model(), batch_at, Options(steps=80, precision="float32"))


def test_the_range_test_leaves_no_trace():
    model = new_model().train()
    before, state = weights(model), torch.get_rng_state()
    find_learning_rate(model, batch_at, Options(steps=20, precision="float32"))
    assert same(before, weights(model))
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_its_rates_rise_by_the_same_factor_and_its_losses_are_those_of_training(found):
    quotients = [b / a for a, b in zip(found.rates, found.rates[1:], strict=False)]
    assert quotients == pytest.approx([quotients[0]] * len(quotients))
    assert found.rates[0] == 1e-7
    model = new_model().train()
    torch.manual_seed(0)
    assert found.losses[0] == pytest.approx(model(**batch_at(0)).loss.item(), rel=1e-6)


def test_its_rates_end_at_the_highest_and_every_update_has_batches_of_its_own():
    asked = []

    def noting(number):
        asked.append(number)
        return batch_at(number)

    options = Options(steps=10, accumulation=2, precision="float32")
    rates = find_learning_rate(new_model(), noting, options, lowest=1e-6, highest=1e-4).rates
    assert (rates[0], rates[-1]) == (pytest.approx(1e-6), pytest.approx(1e-4))
    assert asked == list(range(20))


def test_a_loss_has_blown_up_at_four_times_the_lowest():
    assert not has_blown_up([1.0] * 5 + [15.9])  # a mean of five: 3.98
    assert has_blown_up([1.0] * 5 + [16.1])
    assert not has_blown_up([100.0, 1.0, 1.0, 1.0])  # fewer than five have no mean


def test_the_rates_that_it_suggests_learn_more_than_one_that_it_calls_too_small(found):
    assert 1e-5 < found.steepest < found.lowest
    assert found.tenth == found.lowest / 10
    losses = {}
    for rate in (1e-6, found.steepest):
        options = Options(steps=60, learning_rate=rate, log_every=60, precision="float32")
        losses[rate] = train(new_model(), batch_at, options).curve("loss")[1][-1]
    assert losses[found.steepest] < losses[1e-6] - 0.3


def test_suggestions_of_a_curve_without_noise():
    """Flat, then a fall that is steepest in the middle, then a rise."""
    places = [-7 + 7 * i / 99 for i in range(100)]
    losses = [2 - 1 / (1 + math.exp(-8 * (x + 3))) + max(0.0, x + 1.5) ** 2 for x in places]
    test = RangeTest([10**x for x in places], losses)
    assert math.log10(test.steepest) == pytest.approx(-3, abs=0.1)
    assert -2.6 < math.log10(test.lowest) < -1.3
    assert test.fell


def test_it_stops_where_the_loss_blows_up():
    class Parabola(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 3))

        def forward(self, input_ids):
            return type("Output", (), {"losses": {"square": self.weight.square().sum()}})()

    test = find_learning_rate(
        Parabola(), lambda step: {"input_ids": torch.zeros(1, 1)}, Options(steps=200, precision="float32"),
        highest=1e4,
    )  # fmt: skip
    assert len(test.rates) == len(test.losses) < 200
    assert has_blown_up(test.losses)
    assert not has_blown_up(test.losses[:-1])


def test_a_loss_that_is_no_number_from_the_beginning_is_told():
    model = new_model()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="no number at the first rate, 1e-0"):
        find_learning_rate(model, batch_at, Options(steps=20, precision="float32"))


def test_a_loss_that_never_falls_is_told():
    generator = torch.Generator().manual_seed(0)
    noise = (2 + 0.1 * torch.randn(100, generator=generator)).tolist()
    assert not RangeTest([10 ** (-7 + 0.07 * i) for i in range(100)], noise).fell


@pytest.mark.parametrize(
    ("steps", "settings", "told"),
    [(5, {}, "steps is 5; it needs 10"), (20, {"lowest": 1.0}, "expected a rise from above 0"),
     (20, {"lowest": 0.0}, "expected a rise from above 0")],
)  # fmt: skip
def test_a_range_that_is_none_is_refused(steps, settings, told):
    with pytest.raises(InputError, match=told):
        find_learning_rate(new_model(), batch_at, Options(steps=steps), **settings)


def command(line: str, *more: object) -> int:
    return main([*line.split(), *map(str, more)])


def test_a_rate_is_found_from_the_command_line(tmp_path, pretrained, mood_files, capsys):
    """With a picture, and with the options that fine-tuning has."""
    out = tmp_path / "found"
    line = f"lr-find classify --data {mood_files} --model {pretrained} --rates 40 --batch-size 8"
    assert command(f"{line} --precision float32 --weight-decay 0 --out", out) == 0
    told = capsys.readouterr().out
    record = json.loads((out / "lr_find.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == ["lr_find.json", "lr_find.png"]
    assert len(record["rates"]) == len(record["losses"]) <= 40
    assert f"{record['suggestions']['steepest']:.1e}" in told
    assert (out / "lr_find.png").read_bytes().startswith(b"\x89PNG")


def test_every_task_that_is_finetuned_has_its_search_for_a_rate():
    from bertmini.cli import COMMANDS

    tasks = [name.split()[1] for name in COMMANDS if name.startswith("finetune ")]
    assert tasks == [name.split()[1] for name in COMMANDS if name.startswith("lr-find ")]


@pytest.mark.parametrize(
    ("options", "told"),
    [("--rates 3", "--rates 3: expected 10 or more"), ("--lowest 0", "--lowest 0.0: expected more than 0"),
     ("--lowest 2", "from 2 to 1; expected a rise"), ("--ema 1", "--ema 1.0: expected 0 or more")],
)  # fmt: skip
def test_a_search_that_cannot_be_made_is_one_line_and_leaves_nothing(
    tmp_path, pretrained, mood_files, capsys, options, told
):
    line = f"lr-find classify --data {mood_files} --model {pretrained} {options} --out"
    assert command(line, tmp_path / "found") == 2
    assert told in (error := capsys.readouterr().err)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_finetuning_with_a_schedule_and_an_average_saves_the_average_and_reloads_in_one_line(
    tmp_path, pretrained, mood_files
):
    from safetensors.torch import load_file

    from bertmini import Predictor

    out = tmp_path / "run"
    line = f"finetune classify --data {mood_files} --model {pretrained} --epochs 1 --batch-size 8"
    assert command(f"{line} --schedule one-cycle --warmup-share 0.3 --ema 0.8 --out", out) == 0
    options = json.loads((out / "run.json").read_text())["training"]
    assert (options["schedule"], options["ema"]) == ("one-cycle", 0.8)
    last = Run(out).saved()[-1]
    average, raw = load_file(last / "average.safetensors"), load_file(last / "model.safetensors")
    saved = load_file(out / "model.safetensors")
    assert torch.equal(saved["classifier.weight"], average["classifier.weight"])
    assert not torch.equal(saved["classifier.weight"], raw["classifier.weight"])
    assert Predictor.from_pretrained(out)("the captain was happy")["label"] in ("joy", "fear", "anger")


def test_a_readers_own_schedule_takes_the_place_of_the_packages():
    from bertmini import course

    def linear_schedule(step, steps, warmup):
        return 0.5

    try:
        course.use(linear_schedule)
        options = Options(steps=3, learning_rate=1e-3, log_every=1, precision="float32")
        rates = train(new_model(), batch_at, options).curve("learning_rate")[1]
        assert rates == [5e-4] * 3
    finally:
        course.use(None)
    assert SCHEDULES["linear"](0, 10, 0) == 1
