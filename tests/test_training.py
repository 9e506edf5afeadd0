"""Claims about the training loop, its schedule and its optimiser."""

from __future__ import annotations

import logging
import math
from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bertmini import BertConfig, BertForMaskedLM, BertForPreTraining
from bertmini.cost import flops
from bertmini.data.packing import pack
from bertmini.errors import InputError
from bertmini.model.attention import sequence_to_sequence_mask
from bertmini.training import (
    History,
    Options,
    Progress,
    Run,
    evaluate_pretraining,
    parameter_groups,
    settle,
    train,
)
from bertmini.training.loop import (
    Ahead,
    best_precision,
    count_pairs,
    count_rows,
    count_targets,
    count_tokens,
    work_of,
)

CONFIG = BertConfig(
    vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)  # fmt: skip


def pretraining_model(seed: int = 0) -> BertForPreTraining:
    torch.manual_seed(seed)
    return BertForPreTraining(CONFIG)


def batch_at(step: int, rows: int = 8) -> dict[str, torch.Tensor]:
    """A piece repeated, then the same one (IsNext) or one of the other half (NotNext): learnable at once."""
    generator = torch.Generator().manual_seed(step)
    input_ids = torch.randint(5, 15, (rows, 1), generator=generator).repeat(1, 12)
    is_not_next = torch.randint(0, 2, (rows,), generator=generator)
    input_ids[:, 6:] += 10 * is_not_next[:, None]
    masked = torch.rand(rows, 12, generator=generator) < 0.3
    masked[:, 1] = True
    return {
        "input_ids": input_ids.masked_fill(masked, 4),
        "attention_mask": torch.ones_like(input_ids),
        "labels": input_ids.masked_fill(~masked, -100),
        "next_sentence_label": is_not_next,
    }


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_both_objectives_are_learned_and_logged_by_name():
    history = train(
        pretraining_model(), batch_at, Options(steps=150, learning_rate=3e-3, precision="float32")
    )
    for name, first, last in (("mlm", 3.5, 2.5), ("nsp", 0.6, 0.1)):
        steps, values = history.curve(name)
        assert steps[-1] == 150
        assert values[0] > first
        assert values[-1] < last
    line = history.lines[0]
    assert line["loss"] == pytest.approx(line["mlm"] + line["nsp"], rel=1e-6)
    assert line["tokens_per_second"] > 0


def test_bf16_trains_like_float32():
    losses = []
    for precision in ("bf16", "float32"):
        options = Options(steps=60, learning_rate=3e-3, precision=precision)
        losses.append(train(pretraining_model(), batch_at, options).lines[-1]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_automatic_precision_on_a_cpu_is_one_that_it_computes_in():
    assert best_precision(torch.device("cpu")) in ("bf16", "float32")


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_a_gpu_computes_in_bf16_only_where_it_does_not_emulate_it(capability, precision, monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    assert best_precision(torch.device("cuda")) == precision


def test_layer_norms_and_biases_do_not_decay_and_every_parameter_is_in_one_group():
    model = pretraining_model()
    decaying, not_decaying = parameter_groups(model, 0.01)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all("norm" in (name := names[id(p)].lower()) or "bias" in name for p in not_decaying["params"])
    assert not any("norm" in (name := names[id(p)].lower()) or "bias" in name for p in decaying["params"])
    assert len(decaying["params"]) + len(not_decaying["params"]) == len(names)
    assert (decaying["weight_decay"], not_decaying["weight_decay"]) == (0.01, 0.0)


def test_updates_are_those_of_adamw_with_the_constants_of_bert():
    """By hand, in float64. The gradients are so small that eps counts; the vector does not decay."""
    slopes = torch.tensor([1e-6, -3e-6, 2e-6, 5e-7])

    class Slope(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix, self.vector = (nn.Parameter(torch.ones(shape)) for shape in ((1, 2), (2,)))

        def forward(self, input_ids):
            height = slopes[input_ids].sum() * (self.matrix.sum() + self.vector.sum())
            return type("Output", (), {"losses": {"height": height}})()

    def slope_at(step):
        return {"input_ids": torch.tensor([[step]])}

    settings = {"learning_rate": 0.01, "schedule": "constant", "warmup_share": 0.0, "weight_decay": 0.3}
    model = Slope()
    train(model, slope_at, Options(steps=4, precision="float32", **settings))
    for found, decay in ((model.matrix, 0.3), (model.vector, 0.0)):
        weight, m, v = 1.0, 0.0, 0.0
        for t, slope in enumerate(slopes.tolist(), start=1):
            m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
            weight *= 1 - 0.01 * decay
            weight -= 0.01 * m / (1 - 0.9**t) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-6)
        torch.testing.assert_close(found.detach(), torch.full_like(found, weight), rtol=1e-6, atol=0)


def test_the_seed_decides_what_is_dropped():
    results = []
    for seed in (0, 0, 1):
        model = pretraining_model()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.5
        train(model, batch_at, Options(steps=1, seed=seed, learning_rate=1e-2, precision="float32"))
        results.append(model.bert.embeddings.word.weight)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_accumulated_small_batches_are_one_large_batch():
    """Batches with unequal numbers of masked tokens and of rows, and the batch that holds them all."""
    small = [batch_at(0, rows=8), batch_at(1, rows=3), batch_at(2, rows=5)]
    large = {name: torch.cat([batch[name] for batch in small]) for name in small[0]}
    counts = [count_targets("mlm", batch) for batch in small]
    assert len(set(counts)) == 3
    results = []
    for batches, accumulation in ((small, 3), ([large], 1)):
        model = pretraining_model()
        options = Options(
            steps=1, accumulation=accumulation, precision="float32", learning_rate=1e-3, log_every=1
        )
        line = train(model, batches.__getitem__, options).lines[0]
        results.append((line["mlm"], line["nsp"], line["gradient_norm"], weights(model)))
    for one, other in zip(results[0][:3], results[1][:3], strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for name, tensor in results[0][3].items():
        torch.testing.assert_close(tensor, results[1][3][name], rtol=0, atol=2e-5, msg=name)


def test_gradients_are_clipped_to_the_length_asked_for():
    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 4))

        def forward(self, input_ids):
            return type("Output", (), {"losses": {"steep": 1000 * self.weight.sum()}})()

    model = Steep()
    clipped = []
    original = torch.optim.AdamW.step

    def step(self, *args, **kwargs):
        clipped.append(model.weight.grad.norm().item())
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        history = train(
            model, lambda step: {"input_ids": torch.zeros(1, 1)},
            Options(steps=1, max_grad_norm=0.5, precision="float32"),
        )  # fmt: skip
    assert history.lines[0]["gradient_norm"] == pytest.approx(4000)
    assert clipped == [pytest.approx(0.5, rel=1e-4)]


def test_training_stops_when_the_metric_no_longer_improves_and_the_best_weights_are_kept():
    scores, seen = iter([0.1, 0.5, 0.3, 0.2, 0.9]), []

    def evaluate(model):
        assert not model.training
        seen.append(weights(model))
        return {"accuracy": next(scores)}

    model = pretraining_model()
    options = Options(steps=100, evaluate_every=5, metric="accuracy", patience=2, precision="float32")
    history = train(model, batch_at, options, evaluate=evaluate)
    assert history.progress.step == 20
    assert (history.progress.best, history.progress.best_step) == (0.5, 10)
    assert history.curve("accuracy", "dev") == ([5, 10, 15, 20], [0.1, 0.5, 0.3, 0.2])
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in weights(model).items())


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_a_model_is_measured_without_gradients_in_the_precision_of_training(precision):
    seen = []

    def evaluate(model):
        seen.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), model.training))
        return {}

    train(pretraining_model(), batch_at, Options(steps=1, precision=precision), evaluate=evaluate)
    assert seen == [(False, precision == "bf16", False)]


def test_lower_is_better_for_a_loss():
    losses = iter([3.0, 2.0, 2.5])
    options = Options(steps=3, evaluate_every=1, metric="mlm_loss", precision="float32")
    history = train(pretraining_model(), batch_at, options, evaluate=lambda model: {"mlm_loss": next(losses)})
    assert history.progress.best_step == 2


def test_a_metric_that_the_evaluation_lacks_is_named():
    options = Options(steps=1, metric="f1", precision="float32")
    with pytest.raises(InputError, match="no metric 'f1'; the evaluation has accuracy"):
        train(pretraining_model(), batch_at, options, evaluate=lambda model: {"accuracy": 1.0})


def test_a_loss_that_is_no_number_ends_training_before_it_reaches_the_weights():
    def broken_at(step):
        batch = batch_at(step)
        return batch | {"attention_mask": batch["attention_mask"], "broken": torch.tensor(step == 3)}

    def loss(model, batch):
        broken = batch.pop("broken")
        output = model(**batch)
        output.losses["mlm"] = output.losses["mlm"] * (math.nan if broken else 1.0)
        return output

    model = pretraining_model()
    with pytest.raises(InputError, match=r"step 4: the loss is no longer a number \(.*mlm nan") as caught:
        train(model, broken_at, Options(steps=10, precision="float32"), loss=loss)
    assert "\n" not in str(caught.value)
    assert all(tensor.isfinite().all() for tensor in model.parameters())


@pytest.mark.parametrize(("accumulation", "ramp_share"), [(1, 0.0), (4, 0.0), (4, 0.5), (8, 0.9)])
def test_minutes_become_steps_that_take_as_long(accumulation, ramp_share, monkeypatch):
    """By a clock on which every batch takes a tenth of a second, with a model that takes none."""
    now = 0.0

    class Plane(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2, 2))

        def forward(self, input_ids):
            return type("Output", (), {"losses": {"height": self.weight.sum()}})()

    def slow_batch(step):
        nonlocal now
        now += 0.1
        return {"input_ids": torch.zeros(1, 1)}

    monkeypatch.setattr("bertmini.training.loop.time.perf_counter", lambda: now)
    how = {"accumulation": accumulation, "ramp_share": ramp_share, "precision": "float32"}
    history = train(Plane(), slow_batch, Options(minutes=1.0, log_every=1, **how))
    most = 1.1 * 60 if ramp_share else 60 + 0.1 * accumulation  # how large a ramp's updates are is a guess
    assert 0.9 * 60 < history.progress.seconds < now <= most
    batches = Options(steps=history.progress.step, **how).batches_before(history.progress.step)
    assert batches == round(history.progress.seconds / 0.1)
    assert history.lines[-1]["learning_rate"] < history.lines[len(history.lines) // 2]["learning_rate"]


def test_what_was_settled_before_the_first_checkpoint_holds(tmp_path, monkeypatch):
    """A run that was given minutes has a number of steps, also where it was stopped at once."""
    run = Run.create(tmp_path / "run", Options(minutes=0.01))
    settled = settle(pretraining_model(), batch_at, run.options, run=run)
    monkeypatch.setattr("bertmini.training.loop.steps_in_time", lambda *_: 1 + settled.steps)
    again = settle(pretraining_model(), batch_at, Options(minutes=0.01), run=Run.resume(run.directory))
    assert again == settled


def test_targets_are_counted_once_a_batch_however_many_are_accumulated(monkeypatch):
    counted = []

    def counting(name, batch):
        counted.append(name)
        return count_targets(name, batch)

    monkeypatch.setattr("bertmini.training.loop.count_targets", counting)
    train(pretraining_model(), batch_at, Options(steps=1, accumulation=16, precision="float32"))
    assert (counted.count("mlm"), counted.count("nsp")) == (16, 16)


def test_a_hand_on_the_model_comes_before_each_update():
    seen = []
    train(
        pretraining_model(),
        batch_at,
        Options(steps=3, precision="float32"),
        before_update=lambda model, step: seen.append(step),
    )
    assert seen == [0, 1, 2]


def test_timing_the_first_steps_leaves_no_trace():
    """Weights and random numbers are those of a run that was given the number of steps."""
    timed, counted = pretraining_model(), pretraining_model()
    for model in (timed, counted):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.1
    history = train(timed, batch_at, Options(minutes=0.01, precision="float32"))
    train(counted, batch_at, Options(steps=history.progress.step, precision="float32"))
    assert all(torch.equal(tensor, weights(counted)[name]) for name, tensor in weights(timed).items())


@pytest.mark.parametrize(
    ("settings", "found"),
    [({"steps": 0}, "steps is 0"), ({"steps": 1, "learning_rate": -1}, "learning_rate is -1"),
     ({"steps": 1, "warmup_share": 1.0}, "warmup_share is 1.0"), ({"steps": 1, "patience": 2}, "metric")],
)  # fmt: skip
def test_options_out_of_range_are_refused(settings, found):
    with pytest.raises(InputError, match=found):
        Options(**settings)


def test_training_without_steps_or_minutes_is_refused():
    with pytest.raises(InputError, match="neither steps nor minutes"):
        train(pretraining_model(), batch_at, Options())


def test_nothing_is_printed_where_there_is_no_terminal(capfd):
    train(pretraining_model(), batch_at, Options(steps=2, precision="float32"))
    assert capfd.readouterr() == ("", "")


def test_a_logged_step_is_one_log_line(caplog):
    with caplog.at_level(logging.INFO, "bertmini"):
        train(pretraining_model(), batch_at, Options(steps=6, log_every=2, precision="float32"))
    assert [record.message.split(",")[0] for record in caplog.records] == [
        f"{{'step': {n}" for n in (2, 4, 6)
    ]


def evaluation_batch(labels: list[list[int]], is_not_next: list[int]) -> dict[str, torch.Tensor]:
    ones = torch.ones(len(labels), len(labels[0]), dtype=torch.long)
    return {"input_ids": ones, "attention_mask": ones, "labels": torch.tensor(labels),
            "next_sentence_label": torch.tensor(is_not_next)}  # fmt: skip


def always_seven(logit: float = 2.0) -> BertForPreTraining:
    """A model that says piece 7 at every place, and that the second sentence is the next."""
    model = pretraining_model().eval()
    logits = torch.zeros(60)
    logits[7] = logit
    model.mlm_head.forward = lambda states, words: logits.expand(*states.shape[:-1], 60)
    model.nsp_head.forward = lambda pooled: torch.tensor([[1.0, 0.0]]).repeat(len(pooled), 1)
    return model


def test_evaluation_counts_every_target_once():
    """A model that always says piece 7, on labels of which 3 of 5 are 7."""
    batches = [
        evaluation_batch([[7, 8, -100, 7]], [0]),
        evaluation_batch([[-100, 9, -100, -100], [-100, -100, -100, 7]], [1, 1]),
    ]
    metrics = evaluate_pretraining(always_seven(), batches)
    assert metrics["mlm_accuracy"] == metrics["mlm_baseline_accuracy"] == 0.6
    log_sum = math.log(59 + math.exp(2))
    assert metrics["mlm_loss"] == pytest.approx(log_sum - 3 / 5 * 2, rel=1e-6)
    assert metrics["mlm_perplexity"] == pytest.approx(math.exp(metrics["mlm_loss"]))
    assert metrics["nsp_accuracy"] == pytest.approx(1 / 3)


def test_evaluation_is_that_of_the_whole_model_and_computes_only_masked_positions():
    model, seen = pretraining_model().eval(), []
    model.mlm_head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0].shape))
    batch = batch_at(0)
    metrics = evaluate_pretraining(model, [batch])
    assert seen == [(int((batch["labels"] != -100).sum()), 32)]
    losses = model(**batch).losses
    assert metrics["mlm_loss"] == pytest.approx(losses["mlm"].item(), rel=1e-6)
    assert metrics["nsp_loss"] == pytest.approx(losses["nsp"].item(), rel=1e-6)


def test_a_loss_whose_exponential_is_too_large_for_a_float_is_told_all_the_same():
    metrics = evaluate_pretraining(always_seven(2000.0), [evaluation_batch([[8, -100]], [0])])
    assert metrics["mlm_loss"] == pytest.approx(2000)
    assert math.isfinite(metrics["mlm_perplexity"])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.floats(0, 0.99))
def test_a_ramp_rises_to_the_whole_update_and_uses_every_batch_once(steps, accumulation, ramp_share):
    options = Options(steps=steps, accumulation=accumulation, ramp_share=ramp_share)
    batches = [options.batches_at(step) for step in range(steps)]
    assert batches == sorted(batches)
    assert 1 <= batches[0] <= batches[-1] <= options.batches_at(steps) == accumulation
    assert [options.batches_before(step) for step in range(steps + 1)] == [0, *accumulate(batches)]


def test_a_run_with_a_ramp_asks_for_the_batches_one_after_the_other():
    asked = []

    def noting(number):
        asked.append(number)
        return batch_at(number)

    options = Options(steps=6, accumulation=4, ramp_share=0.5, precision="float32")
    train(pretraining_model(), noting, options)
    assert asked == list(range(1 + 2 + 3 + 4 + 4 + 4))


def test_layers_computed_twice_give_the_same_bits():
    results = []
    for checkpointing in (False, True):
        model = pretraining_model()
        train(model, batch_at, Options(steps=3, checkpointing=checkpointing, precision="float32"))
        assert model.bert.encoder.checkpointing == checkpointing
        results.append(weights(model))
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


def test_batches_made_ahead_are_the_same_ones():
    made = []

    def noting(number):
        made.append(number)
        return {"input_ids": torch.tensor([number])}

    ahead = Ahead(noting)
    assert [int(ahead(number)["input_ids"]) for number in (0, 1, 2, 7, 8)] == [0, 1, 2, 7, 8]
    assert made.count(1) == made.count(2) == made.count(8) == 1  # not made again when their turn comes


def test_tensorboard_has_the_numbers_of_the_log(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = Options(steps=4, log_every=2, evaluate_every=2, tensorboard=True, precision="float32")
    run = Run.create(tmp_path / "run", options)
    train(pretraining_model(), batch_at, options, run=run, evaluate=lambda model: {"mlm_loss": 2.5})
    events = accumulator.EventAccumulator(str(run.directory / "tensorboard")).Reload()
    logged = [(line["step"], line["mlm"]) for line in run.lines() if "mlm" in line]
    assert [(event.step, event.value) for event in events.Scalars("train/mlm")] == [
        (step, pytest.approx(value)) for step, value in logged
    ]
    assert [event.value for event in events.Scalars("dev/mlm_loss")] == [2.5, 2.5]


def test_the_share_of_the_peak_is_work_over_time_over_peak(tmp_path, monkeypatch):
    monkeypatch.setattr("bertmini.training.loop.matrix_peak", lambda *_: 1e9)
    options = Options(steps=2, log_every=2, precision="float32")
    run, model = Run.create(tmp_path / "run", options), pretraining_model()
    train(model, batch_at, options, run=run)
    (line,) = run.lines()
    tokens = int(batch_at(0)["attention_mask"].sum())
    length = tokens / len(batch_at(0)["input_ids"])
    work = 3 * sum(flops(model.config, length).values())
    assert line["utilisation"] == pytest.approx(line["tokens_per_second"] * work / 1e9, rel=0.1)
    assert line["memory_mb"] > 10


def test_one_way_every_token_is_predicted_and_counted_as_work():
    ids = torch.randint(5, 60, (4, 16))
    one_way, both_ways = (BertForMaskedLM(CONFIG.replace(direction=way)) for way in ("left-to-right", None))
    (tokens, work), (_, less) = (work_of([{"input_ids": ids}], model) for model in (one_way, both_ways))
    # Of the fused kernel it does not see inside.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        one_way(input_ids=ids, labels=ids)
    assert tokens == 64
    assert work / 3 == pytest.approx(counter.get_total_flops(), rel=1e-6)
    assert work > 1.1 * less


def test_soft_labels_count_texts_however_they_are_laid_out():
    batch = batch_at(0)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert count_targets("soft_labels", inputs) == count_targets("soft_labels", pack(inputs)) == 8


def test_padding_is_no_token_in_whatever_form_it_is_hidden():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    plain = {"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": mask}
    of_queries = plain | {
        "attention_mask": sequence_to_sequence_mask(torch.tensor([[0, 1, 0], [0, 1, 1]]), mask)
    }
    assert [count_tokens(batch) for batch in (plain, pack(plain), of_queries)] == [5, 5, 5]
    assert [count_rows(batch) for batch in (plain, pack(plain))] == [2, 2]
    assert [count_pairs(batch) for batch in (plain, pack(plain))] == [2**2 + 3**2] * 2
    assert count_tokens({"input_ids": plain["input_ids"]}) == 6


def test_a_line_of_the_log_has_the_means_since_the_last_one():
    progress, lines = Progress(), []
    for step, (loss, seconds) in enumerate([(3.0, 1.0), (1.0, 3.0), (5.0, 2.0)], start=1):
        progress.step = step
        progress.add({"loss": loss}, tokens=10, flops=100.0, seconds=seconds)
        if step > 1:
            lines.append(progress.take(peak=1000.0))
    assert lines == [
        {"step": 2, "loss": 2.0, "tokens_per_second": 5.0, "seconds": 4.0, "utilisation": 0.05},
        {"step": 3, "loss": 5.0, "tokens_per_second": 5.0, "seconds": 6.0, "utilisation": 0.05},
    ]
    assert History(lines, progress).tokens_per_second == 5.0


@pytest.mark.parametrize("name", ["mse", "mlm_loss", "mlm_perplexity", "accuracy", "f1", "pearson"])
def test_lower_is_better_for_errors_alone(name):
    progress, is_error = Progress(), name in ("mse", "mlm_loss", "mlm_perplexity")
    found = [progress.improved(name, {name: value}) for value in (1.0, 2.0, 0.5)]
    assert found == ([True, False, True] if is_error else [True, True, False])


def test_the_model_is_compiled_for_all_lengths_where_that_is_asked_for(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda model, **how: compiled.append((model, how)))
    model = pretraining_model()
    for asked in (False, True):
        train(model, batch_at, Options(steps=1, compile=asked, precision="float32"))
    assert compiled == [(model, {"dynamic": True})]


def test_a_metric_that_is_no_number_is_never_the_best():
    progress = Progress()
    found = [progress.improved("loss", {"loss": value}) for value in (math.nan, 2.0, math.nan, 1.0)]
    assert found == [False, True, False, True]


@pytest.mark.parametrize(("field", "value"), [("precision", "fp32"), ("seed", -1), ("weight_decay", -0.1)])
def test_options_that_would_crash_later_are_refused(field, value):
    with pytest.raises(InputError, match=f"training: {field} is"):
        Options(steps=1, **{field: value})
