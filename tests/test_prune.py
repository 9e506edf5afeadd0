"""Claims about pruning."""

from __future__ import annotations

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrize

from bertmini import BertConfig, BertForMaskedLM, BertForSequenceClassification, Predictor
from bertmini.cli import main
from bertmini.compress.prune import (
    HEADS,
    UNITS,
    Mask,
    Sparsifier,
    gated,
    importance,
    keep,
    matrices,
    prune_parts,
    prune_weights,
    size_of,
    sparsity,
    strongest,
    strongest_mask,
)
from bertmini.cost import flops
from bertmini.errors import InputError
from bertmini.model.bert import BertOutput
from bertmini.model.choice import BertForMultipleChoice
from bertmini.model.questions import BertForQuestionAnswering
from bertmini.model.tagging import BertFeaturesForTokenClassification, BertForTokenClassification
from bertmini.training import Options, train

CONFIG = BertConfig(
    vocab_size=40, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=20,
    max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    id2label={0: "calm", 1: "storm", 2: "fog"}, initializer_range=0.2,
)  # fmt: skip
SHARED = CONFIG.replace(model_type="albert", num_hidden_layers=4, num_hidden_groups=2, embedding_size=8)
PARTS = [HEADS, UNITS]


def model_of(config: BertConfig = CONFIG, kind: type = BertForSequenceClassification) -> nn.Module:
    torch.manual_seed(0)
    model = kind(config).eval()
    for parameter in model.parameters():  # biases and norms too
        nn.init.normal_(parameter, std=0.3)
    return model


def batch_at(step: int, rows: int = 8) -> dict[str, torch.Tensor]:
    """Rows whose label is told by their first id."""
    generator = torch.Generator().manual_seed(step)
    input_ids = torch.randint(5, 40, (rows, 10), generator=generator)
    attention_mask = (torch.arange(10) < torch.randint(4, 11, (rows, 1), generator=generator)).long()
    labels = input_ids[:, 1] % 3
    return {"input_ids": input_ids * attention_mask, "attention_mask": attention_mask, "labels": labels}


def new_model() -> nn.Module:
    """One that learns: its weights are as training begins with them."""
    torch.manual_seed(0)
    return BertForSequenceClassification(CONFIG).eval()


def same_batch(step: int) -> dict[str, torch.Tensor]:
    """Eight rows to be learned by heart."""
    return batch_at(0)


def some_of(config: BertConfig, part, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    return [sorted(rng.sample(range(count), rng.randint(1, count))) for count in part.left(config)]


def masks_for(kept: list[list[int]], config: BertConfig, part) -> list[torch.Tensor]:
    masks = [torch.zeros(count) for count in part.left(config)]
    for mask, chosen in zip(masks, kept, strict=True):
        mask[chosen] = 1
    return masks


def exact_loss(model: nn.Module, batch: dict) -> BertOutput:
    """The model's own, which is computed in float32, in float64."""
    output = model(**inputs_of(batch))
    output.losses["classification"] = nn.functional.cross_entropy(output.logits, batch["labels"])
    return output


def inputs_of(batch: dict) -> dict:
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
@pytest.mark.parametrize("config", [CONFIG, SHARED], ids=["bert", "albert"])
def test_what_was_taken_out_gives_what_being_turned_off_gives(part, config):
    model, inputs, kept = model_of(config), inputs_of(batch_at(0)), some_of(config, part)
    masks = masks_for(kept, config, part)
    with torch.no_grad(), gated(model, part, lambda number, _: masks[number]):
        expected = model(**inputs, return_attentions=True)
    smaller = keep(model, part, kept)
    with torch.no_grad():
        found = smaller(**inputs, return_attentions=True)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, rtol=1e-6, atol=1e-6)
    if part is HEADS:
        for depth, (theirs, ours) in enumerate(zip(expected.attentions, found.attentions, strict=True)):
            chosen = kept[config.group_of(depth)]
            torch.testing.assert_close(ours, theirs[:, chosen], rtol=1e-6, atol=1e-6)


def test_a_model_that_keeps_everything_is_the_same_bit_for_bit_and_the_whole_one_stays_as_it_was():
    model, inputs = model_of(), inputs_of(batch_at(0))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    all_heads = keep(model, HEADS, [[0, 1, 2, 3]] * 3)
    assert torch.equal(all_heads(**inputs).logits, model(**inputs).logits)
    prune_parts(model, [batch_at(0)], HEADS, 0.5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.config == CONFIG


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_importance_is_the_mean_size_of_each_examples_own_slope(part):
    """By differences, a gate and an example at a time, in float64."""
    model, batches = model_of().double(), [batch_at(0, 3), batch_at(1, 2)]
    found = importance(model, batches, part, exact_loss)
    rows = [{name: tensor[i : i + 1] for name, tensor in batch.items()} for batch in batches
            for i in range(len(batch["labels"]))]  # fmt: skip
    step = 1e-5
    for layer, scores in enumerate(found):
        for j in range(0, len(scores), max(1, len(scores) // 4)):
            slopes = []
            for row in rows:
                losses = []
                for value in (1 + step, 1 - step):
                    gates = [torch.ones(count).double() for count in part.left(CONFIG)]
                    gates[layer][j] = value
                    with torch.no_grad(), gated(model, part, lambda number, _, gates=gates: gates[number]):
                        losses.append(float(exact_loss(model, row).loss))
                slopes.append(abs(losses[0] - losses[1]) / (2 * step))
            assert float(scores[j]) == pytest.approx(sum(slopes) / len(rows), rel=1e-4, abs=1e-8)


def test_importance_foretells_what_turning_a_head_off_does_to_the_loss():
    """To first order: with heads that give little, the change of each example's loss is its slope."""
    model, batch = model_of().double(), batch_at(0, 1)
    for layer in model.bert.encoder.layers:
        layer.attention.output.weight.data *= 1e-4
    scores = importance(model, [batch], HEADS, exact_loss)
    with torch.no_grad():
        whole = float(exact_loss(model, batch).loss)
        for layer, of_layer in enumerate(scores):
            for head, score in enumerate(of_layer.tolist()):
                masks = [torch.ones(4).double() for _ in range(3)]
                masks[layer][head] = 0
                with gated(model, HEADS, lambda number, _, masks=masks: masks[number]):
                    change = abs(float(exact_loss(model, batch).loss) - whole)
                assert change == pytest.approx(score, rel=0.01, abs=1e-9)


def test_a_shared_layers_gate_is_one_at_all_its_depths():
    model, batch = model_of(SHARED).double(), batch_at(0, 1)
    scores = importance(model, [batch], HEADS, exact_loss)
    assert [len(of_layer) for of_layer in scores] == [4, 4]
    losses = []
    for value in (1 + 1e-5, 1 - 1e-5):
        gates = [torch.ones(4).double(), torch.ones(4).double()]
        gates[1][2] = value
        with torch.no_grad(), gated(model, HEADS, lambda number, _, gates=gates: gates[number]):
            losses.append(float(exact_loss(model, batch).loss))
    assert float(scores[1][2]) == pytest.approx(abs(losses[0] - losses[1]) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertForTokenClassification, BertForQuestionAnswering])
def test_importance_is_measured_for_every_task(kind):
    model, batch = model_of(CONFIG, kind), batch_at(0)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    targets = {
        BertForMaskedLM: {"labels": labels},
        BertForTokenClassification: {"labels": torch.where(labels < 0, labels, labels % 3)},
        BertForQuestionAnswering: {"start_positions": batch["labels"], "end_positions": batch["labels"]},
    }[kind]
    for part in PARTS:
        scores = importance(model, [inputs_of(batch) | targets], part)
        assert [len(layer) for layer in scores] == part.left(CONFIG)
        assert all(bool((layer > 0).all()) for layer in scores)


def test_a_layer_of_small_slopes_is_not_taken_out_first():
    scores = [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.01, 0.02, 0.03])]
    assert strongest(scores, 2) == [[1, 2], [1, 2]]
    assert strongest(scores, 4) == [[2], [2]]


def test_no_layer_loses_all():
    scores = [torch.tensor([5.0, 5.0]), torch.tensor([1e-9, 2.0, 2.0, 2.0])]
    for number in range(1, 5):
        kept = strongest(scores, number)
        assert sum(map(len, kept)) == 6 - number
        assert all(kept)


def test_the_head_that_the_answer_rests_on_stays():
    """Attention of one head in each layer is of any use: the others' output is cut off."""
    model = model_of()
    for layer in model.bert.encoder.layers:
        layer.attention.output.weight.data[:, [*range(6), *range(12, 24)]] *= 1e-3
    smaller = prune_parts(model, [batch_at(i) for i in range(4)], HEADS, 0.75)
    assert smaller.config.heads_by_layer == [1, 1, 1]
    for whole, layer in zip(model.bert.encoder.layers, smaller.bert.encoder.layers, strict=True):
        assert torch.equal(layer.attention.value.weight, whole.attention.value.weight[6:12])


def test_importance_is_measured_again_after_each_tenth(monkeypatch):
    measured = []

    def noting(model, batches, part, loss):
        measured.append(sum(part.left(model.config)))
        return importance(model, batches, part, loss)

    monkeypatch.setattr("bertmini.compress.prune.importance", noting)
    smaller = prune_parts(model_of(), [batch_at(0)], UNITS, 0.4)
    assert measured == [60, 54, 48, 42]
    assert sum(smaller.config.intermediate_by_layer) == 36


@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForMaskedLM, BertForMultipleChoice])
@pytest.mark.parametrize("family", ["bert", "albert", "roberta", "distilbert"])
def test_a_pruned_model_is_saved_and_loaded_again(family, kind, tmp_path):
    config = SHARED if family == "albert" else CONFIG.replace(model_type=family)
    model = model_of(config, kind)
    for part in PARTS:
        model = keep(model, part, some_of(config, part, seed=1))
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert (saved["model_type"], saved["family"]) == ("bertmini", family)
    back = kind.from_pretrained(tmp_path)
    assert not back.fresh
    assert back.config.heads_by_layer == model.config.heads_by_layer
    assert back.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name
    inputs = inputs_of(batch_at(0))
    if kind is BertForMaskedLM:
        assert torch.equal(back(**inputs).prediction_logits, model(**inputs).prediction_logits)


def test_a_pruned_model_has_as_many_parameters_and_operations_less_as_were_taken_out():
    model = model_of()
    smaller = keep(keep(model, HEADS, [[0], [1, 2], [0, 1, 2, 3]]), UNITS, [[*range(5)]] * 3)
    gone = size_of(model)["parameters"] - size_of(smaller)["parameters"]
    per_head = 4 * 24 * 6 + 3 * 6  # of query, key, value and output, and three biases
    assert gone == 5 * per_head + 3 * 15 * (2 * 24 + 1)
    whole, left = flops(model.config, 10), flops(smaller.config, 10)
    assert left["projections"] == whole["projections"] * 7 / 12
    assert left["attention"] == whole["attention"] * 7 / 12
    assert left["feed-forward"] == whole["feed-forward"] / 4
    assert left["heads"] == whole["heads"]


def test_a_pruned_model_learns_again():
    smaller = prune_parts(new_model(), [batch_at(i) for i in range(4)], HEADS, 0.5)
    history = train(smaller, same_batch, Options(steps=60, learning_rate=3e-3, precision="float32"))
    losses = history.curve("classification")[1]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("fields", "found"),
    [({"heads_by_layer": [1, 2]}, "heads_by_layer has 2 numbers; expected 3"),
     ({"heads_by_layer": [1, 0, 2]}, "heads_by_layer holds 0; expected whole numbers from 1 to 4"),
     ({"heads_by_layer": [1, 5, 2]}, "holds 5; expected whole numbers from 1 to 4"),
     ({"intermediate_by_layer": [1, "2", 3]}, "intermediate_by_layer holds '2'"),
     ({"heads_by_layer": 3}, "heads_by_layer is 3; expected"),
     ({"quantization": "int4"}, "quantization is 'int4'; expected dynamic, static or none")],
)  # fmt: skip
def test_a_configuration_that_no_pruning_leaves_is_refused(fields, found):
    with pytest.raises(InputError, match=found):
        CONFIG.replace(**fields)


@pytest.mark.parametrize(
    ("fraction", "found"),
    [(0.99, "0.99 of 12 heads are 12; each of 3 layers keeps one, so that 1 to 9 can go: .* 0.0834 to 0.75"),
     (0.01, "0.01 of 12 heads are 0"), (-1.0, "-1 of 12 heads"), (float("nan"), "nan of 12 heads")],
)  # fmt: skip
def test_a_share_that_leaves_a_layer_none_or_takes_none_is_refused(fraction, found):
    with pytest.raises(InputError, match=found):
        prune_parts(model_of(), [batch_at(0)], HEADS, fraction)


def test_what_is_pruned_already_and_what_has_no_examples_is_refused():
    model = model_of()
    smaller = prune_parts(model, [batch_at(0)], HEADS, 0.5)
    with pytest.raises(InputError, match=r"its heads are pruned already: .* are left in its layers, of 4"):
        prune_parts(smaller, [batch_at(0)], HEADS, 0.5)
    assert prune_parts(smaller, [batch_at(0)], UNITS, 0.5).config.is_pruned  # the other part can go still
    with pytest.raises(InputError, match="no example to measure the importance of heads on"):
        prune_parts(model, [], HEADS, 0.5)
    with pytest.raises(InputError, match=r"layer 1: heads \[\] are to stay"):
        keep(model, HEADS, [[0], [], [1]])
    with pytest.raises(InputError, match=r"layer 0: heads \[7\] are to stay; it has 0 to 3"):
        keep(model, HEADS, [[7], [1], [1]])
    with pytest.raises(InputError, match=r"layer 1: heads \[0, 0\] are to stay; it has 0 to 3, each once"):
        keep(model, HEADS, [[1], [0, 0], [1]])
    with pytest.raises(InputError, match="2 lists of heads for 3 layers; give one for each"):
        keep(model, HEADS, [[1], [1]])


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_so_many_weights_are_zero_and_they_are_the_smallest(fraction):
    model = model_of()
    sparse = prune_weights(model, fraction)
    for before, after in zip(matrices(model), matrices(sparse), strict=True):
        zero = after.weight == 0
        assert int(zero.sum()) == round(fraction * zero.numel())
        assert torch.equal(after.weight[~zero], before.weight[~zero])
        assert before.weight[zero].abs().max() <= before.weight[~zero].abs().min()
        assert torch.equal(after.bias, before.bias)
    assert sparsity(model) == 0
    assert sparsity(sparse) == pytest.approx(fraction, abs=0.002)


def test_ties_do_not_change_how_many_go():
    assert int(strongest_mask(torch.zeros(4, 5), 0.5).sum()) == 10


@pytest.mark.parametrize("movement", [False, True])
def test_training_with_masks_leaves_exact_zeros_and_learns(movement):
    model, steps = new_model(), 80
    whole = {id(linear): linear.weight.detach().clone() for linear in matrices(model)}
    sparsifier = Sparsifier(model, 0.6, steps, movement)
    seen = []

    def before_update(trained, step):
        sparsifier(trained, step)
        seen.append(sparsity(trained))

    options = Options(steps=steps, learning_rate=5e-3, precision="float32")
    history = train(model, same_batch, options, before_update=before_update)
    inputs = inputs_of(batch_at(99))
    during = model(**inputs).logits
    sparsifier.end(model)
    assert torch.equal(model(**inputs).logits, during)  # what was measured in training is what is saved
    assert not any(parametrize.is_parametrized(module) for module in model.modules())
    assert model.state_dict().keys() == model_of().state_dict().keys()
    for linear in matrices(model):
        assert int((linear.weight == 0).sum()) == round(0.6 * linear.weight.numel())
        assert not torch.equal(linear.weight, whole[id(linear)])
    assert seen[0] == 0
    assert seen == sorted(seen)
    chosen = [step for step in range(1, steps) if seen[step] != seen[step - 1]]
    assert chosen == [10, 20, 30, 40, 50, 55]  # every tenth step, and the last of the rise
    assert seen[40] > 0.9 * 0.6  # the schedule is fast at first
    losses = history.curve("classification")[1]
    assert losses[-1] < 0.7 * losses[0]


def test_the_share_rises_by_zhu_and_guptas_cubic():
    sparsifier = Sparsifier(model_of(), 0.8, 101)
    assert [sparsifier.at(step) for step in (0, 10)] == [0, 0]
    assert sparsifier.at(40) == pytest.approx(0.8 * (1 - 0.5**3))
    assert sparsifier.at(70) == sparsifier.at(100) == 0.8


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_short_training_reaches_its_sparsity_too(steps):
    model = model_of()
    sparsifier = Sparsifier(model, 0.5, steps)
    train(model, batch_at, Options(steps=steps, precision="float32"), before_update=sparsifier)
    sparsifier.end(model)
    assert sparsity(model) == 0.5


def test_a_scores_slope_is_that_of_the_weight_used_times_the_weight():
    """Sanh et al. 2020, equation 4; what a mask hides does not learn, and its score does."""
    torch.manual_seed(0)
    linear, x = nn.Linear(4, 3).double(), torch.randn(5, 4).double()
    weight = linear.weight.detach().clone()
    parametrize.register_parametrization(linear, "weight", Mask(linear.weight.data, movement=True))
    mask = linear.parametrizations.weight[0]
    with torch.no_grad():
        mask.mask[0, :2] = 0
        mask.scores += 3.7
    assert torch.equal(linear.weight, weight * mask.mask)
    linear(x).pow(2).sum().backward()
    used = (weight * mask.mask).requires_grad_()
    nn.functional.linear(x, used, linear.bias.detach()).pow(2).sum().backward()
    torch.testing.assert_close(mask.scores.grad, used.grad * weight)
    torch.testing.assert_close(linear.parametrizations.weight.original.grad, used.grad * mask.mask)


def test_movement_keeps_what_moves_away_from_zero():
    """One weight begins small and is needed, another begins large and is not: magnitude takes the first."""
    kept = {}
    for movement in (False, True):
        linear = nn.Linear(2, 1)
        weight = torch.tensor([[0.1, 1.0]])
        linear.weight.data, linear.bias.data = weight.clone(), torch.zeros(1)
        parametrize.register_parametrization(linear, "weight", Mask(weight, movement))
        optimizer = torch.optim.Adam(linear.parameters(), lr=0.01)
        x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        for _ in range(30):
            nn.functional.mse_loss(linear(x)[:, 0], 2 * x[:, 0]).backward()
            optimizer.step()
            optimizer.zero_grad()
        mask = linear.parametrizations.weight
        mask[0].update(mask.original, 0.5)
        kept[movement] = mask[0].mask[0].tolist()
    assert kept == {False: [0, 1], True: [1, 0]}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_no_share_of_the_weights_is_refused(fraction):
    with pytest.raises(InputError, match="of the weights; expected more than 0 and less than 1"):
        prune_weights(model_of(), fraction)
    with pytest.raises(InputError, match="of the weights; expected more than 0 and less than 1"):
        Sparsifier(model_of(), fraction, 10)


def test_weights_do_not_go_in_no_steps():
    with pytest.raises(InputError, match="there are 0 steps; give 1 or more"):
        Sparsifier(model_of(), 0.5, 0)


def test_a_sparse_model_is_not_made_sparse_again():
    with pytest.raises(InputError, match="its weights are pruned already: 50% of the encoder's are 0"):
        Sparsifier(prune_weights(model_of(), 0.5), 0.8, 10)


def test_heads_and_units_are_pruned_by_the_command(classifier, mood_files, tmp_path, capsys):
    out = tmp_path / "pruned"
    command = f"compress --model {classifier} --data {mood_files} --out {out} --prune-heads 0.5"
    assert main([*command.split(), "--prune-units", "0.5", "--epochs", "8", "--learning-rate", "1e-3"]) == 0
    told = capsys.readouterr().out
    assert "accuracy 1 → " in told
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["size"]["parameters"] < metrics["size_before"]["parameters"]
    assert metrics["test"]["accuracy"] >= 0.9
    predictor = Predictor.from_pretrained(out)
    assert sum(predictor.model.config.heads_by_layer) == 2
    assert sum(predictor.model.config.intermediate_by_layer) == 512
    assert predictor("the captain was angry on day 3")["label"] == "anger"
    assert main(["evaluate", "--data", str(mood_files), "--model", str(out)]) == 0
    again = f"compress --model {out} --data {mood_files} --out {tmp_path / 'x'} --prune-heads 0.5"
    assert main(again.split()) == 2
    assert "its heads are pruned already: 1, 1 are left" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("movement", ["", "--movement"])
def test_weights_are_pruned_by_the_command_and_it_resumes_to_the_same_bits(
    movement, classifier, mood_files, tmp_path, monkeypatch
):
    from bertmini.training import Run

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    command = f"compress --model {classifier} --data {mood_files} --sparsity 0.7 {movement}"
    command += " --batch-size 8 --log-every 1"
    assert main(f"{command} --out {whole}".split()) == 0
    log = Run.log

    def interrupt(self, line):
        log(self, line)
        if line["step"] == 15:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", interrupt)
        assert main(f"{command} --out {cut}".split()) == 130
    assert main(f"compress --out {cut} --resume".split()) == 0
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    weights = load_file(whole / "model.safetensors")
    zeros = {name: float((tensor == 0).double().mean()) for name, tensor in weights.items()
             if name.startswith("bert.encoder") and tensor.ndim == 2 and "bias" not in name}  # fmt: skip
    assert len(zeros) == 12
    assert all(share == pytest.approx(0.7, abs=1e-4) for share in zeros.values())


def test_without_examples_weights_are_pruned_as_they_are(classifier, tmp_path):
    out = tmp_path / "sparse"
    assert main(f"compress --model {classifier} --out {out} --sparsity 0.3".split()) == 0
    assert sparsity(BertForSequenceClassification.from_pretrained(out)) == pytest.approx(0.3, abs=1e-4)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["size"]["not_zero"] < metrics["size_before"]["not_zero"]
    assert metrics["size"]["bytes"] == metrics["size_before"]["bytes"]


@pytest.mark.parametrize(
    ("options", "found"),
    [("", "nothing is asked for: give --prune-heads F"),
     ("--prune-heads 0.5", "measure importance on examples, and there are none; name them with --data"),
     ("--prune-units 0.5", "measure importance on examples, and there are none; name them with --data"),
     ("--prune-heads 0", "--prune-heads 0.0: expected a share, more than 0 and less than 1"),
     ("--sparsity 1", "--sparsity 1.0: expected a share"),
     ("--prune-units -0.1", "--prune-units -0.1: expected a share"),
     ("--int8 --static", "--static measures ranges on examples, and there are none; name them with --data"),
     ("--static --sparsity 0.5", "--static says how --int8 is done"),
     ("--movement --int8", "--movement says what --sparsity takes out"),
     ("--movement --sparsity 0.5", "--movement needs examples to learn from"),
     ("--sparsity 0.5 --int8", "--sparsity and --int8 are done one after the other"),
     ("--sparsity 0.5 --data D --patience 2", "--patience would stop before"),
     ("--prune-heads 0.99 --data D", "0.99 of 4 heads are 4; each of 2 layers keeps one"),
     ("--sparsity 0.5 --epochs -1 --data D", "--epochs -1: expected 0 or more")],
)  # fmt: skip
def test_what_cannot_be_compressed_is_told_in_one_line(
    options, found, classifier, mood_files, tmp_path, capsys
):
    options = options.replace("--data D", f"--data {mood_files}")
    assert main(f"compress --model {classifier} --out {tmp_path / 'x'} {options}".split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert found in line
    assert not (tmp_path / "x").exists()


def test_examples_for_a_pretrained_model_are_refused(pretrained, mood_files, tmp_path, capsys):
    command = f"compress --model {pretrained} --data {mood_files} --out {tmp_path / 'x'} --prune-heads 0.5"
    assert main(command.split()) == 2
    assert "is a pretrained model" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["attention", "feed-forward"])
def test_weights_that_layers_share_go_once(part):
    model = model_of(CONFIG.replace(shared_part=part))
    assert len(matrices(model)) == len({id(linear) for linear in matrices(model)})
    sparsifier = Sparsifier(model, 0.5, 1)
    sparsifier(model, 0)
    sparsifier.end(model)
    assert sparsity(model) == pytest.approx(0.5)


def test_an_encoder_that_stays_as_it_is_has_no_slopes_to_prune_by():
    model = BertFeaturesForTokenClassification(CONFIG.replace(features="last"))
    with pytest.raises(InputError, match="stays as it is"):
        importance(model, [batch_at(0)], HEADS)
    with pytest.raises(InputError, match="stays as it is"):
        Sparsifier(model, 0.5, 10, movement=True)
