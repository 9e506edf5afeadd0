"""Claims about quantisation."""

from __future__ import annotations

import copy
import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from bertmini import BertConfig, BertForMaskedLM, BertForSequenceClassification, Predictor
from bertmini.cli import main
from bertmini.compress.distill import student_from_teacher
from bertmini.compress.prune import HEADS, keep, size_of
from bertmini.compress.quantize import input_ranges, quantize
from bertmini.errors import InputError
from bertmini.model.quantized import QuantizedEmbedding, QuantizedLinear, to_int8
from bertmini.model.seq2seq import BertForSequenceToSequence

CONFIG = BertConfig(
    vocab_size=40, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=36,
    max_position_embeddings=16, id2label={0: "calm", 1: "storm", 2: "fog"}, initializer_range=0.2,
)  # fmt: skip
SHARED = CONFIG.replace(model_type="albert", num_hidden_layers=4, num_hidden_groups=2, embedding_size=8)


def model_of(config: BertConfig = CONFIG, kind: type = BertForSequenceClassification) -> nn.Module:
    torch.manual_seed(0)
    return kind(config).eval()


def batch_at(step: int, rows: int = 6) -> dict[str, torch.Tensor]:
    input_ids = torch.randint(5, 40, (rows, 10), generator=torch.Generator().manual_seed(step))
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}


BATCHES = [batch_at(step) for step in range(8)]


def test_a_rows_largest_number_is_127_and_none_is_off_by_more_than_half_a_step():
    rows = torch.randn(5, 33)
    integers, scales = to_int8(rows)
    assert integers.dtype == torch.int8
    assert integers.abs().amax(-1).tolist() == [127] * 5
    assert ((integers * scales - rows).abs() <= scales * 0.5001).all()
    integers, scales = to_int8(torch.zeros(1, 4))
    assert torch.equal(integers * scales, torch.zeros(1, 4))


def test_weights_are_those_of_torchao():
    torchao = pytest.importorskip("torchao.quantization")
    torch.manual_seed(0)
    theirs, ours = nn.Linear(48, 32), QuantizedLinear(48, 32, static=False)
    ours.set_weight(theirs.weight, theirs.bias)
    x = torch.randn(3, 7, 48)
    exact = theirs(x)
    torchao.quantize_(theirs, torchao.Int8DynamicActivationInt8WeightConfig())
    weight = theirs.weight.dequantize()
    # Its range is -128 to 127, ours without -128: scales differ by half a percent at most.
    assert (weight - ours.weight).abs().max() < 1.5 * ours.weight_scale.max()
    with torch.no_grad():
        distance = (ours(x) - exact).norm() / exact.norm()
        assert distance < 1.1 * (theirs(x) - exact).norm() / exact.norm()
        assert distance < 0.01


@pytest.mark.parametrize("static", [False, True])
def test_the_product_is_that_of_the_numbers_that_the_integers_stand_for(static):
    torch.manual_seed(0)
    linear, quantized, x = nn.Linear(30, 20), QuantizedLinear(30, 20, static), torch.randn(4, 5, 30)
    quantized.set_weight(linear.weight, linear.bias)
    if static:
        quantized.set_range(-2.0, 3.0)
        scale, zero = quantized.input_scale, quantized.input_zero
        rounded = ((x / scale).round() + zero).clamp(0, 255)
        rounded = (rounded - zero) * scale
        assert ((rounded - x).abs() < 0.51 * 5 / 255)[(x > -1.9) & (x < 2.9)].all()
        assert float((torch.zeros(()) / scale).round() + zero) == float(zero)  # 0 is 0 exactly
    else:
        integers, scales = to_int8(x)
        rounded = integers * scales
    expected = F.linear(rounded, quantized.weight, linear.bias)
    with torch.no_grad():
        torch.testing.assert_close(quantized(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(quantized(x), linear(x), rtol=0.1, atol=0.2 if static else 0.05)


@pytest.mark.parametrize(("low", "high"), [(1.0, 3.0), (-3.0, -1.0)])
def test_zero_is_exact_also_where_no_example_came_down_to_it(low, high):
    torch.manual_seed(0)
    linear, quantized = nn.Linear(30, 20), QuantizedLinear(30, 20, static=True)
    quantized.set_weight(linear.weight, linear.bias)
    quantized.set_range(low, high)
    assert torch.equal(quantized(torch.zeros(1, 30)), linear.bias[None])
    x = torch.empty(4, 30).uniform_(low, high)
    torch.testing.assert_close(quantized(x), linear(x), rtol=0.02, atol=0.05)


def test_a_tokens_answer_does_not_depend_on_its_neighbours():
    quantized = QuantizedLinear(16, 8, static=False)
    quantized.set_weight(torch.randn(8, 16), torch.randn(8))
    x = torch.randn(1, 3, 16)
    louder = torch.cat([x, 1000 * torch.randn(2, 3, 16)])
    assert torch.equal(quantized(louder)[:1], quantized(x))


def test_a_table_gives_its_rows_within_half_a_step():
    table, quantized = nn.Embedding(30, 12), QuantizedEmbedding(30, 12)
    quantized.set_weight(table.weight)
    ids = torch.randint(0, 30, (2, 5))
    assert (quantized(ids) - table(ids)).abs().max() <= 0.51 * quantized.weight_scale.max()
    assert torch.equal(quantized(ids), quantized.weight[ids])


@pytest.mark.parametrize("ranges", [None, BATCHES], ids=["dynamic", "static"])
@pytest.mark.parametrize("config", [CONFIG, SHARED], ids=["bert", "albert"])
@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForMaskedLM])
def test_a_quantised_model_is_near_is_smaller_and_comes_back_from_its_file(kind, config, ranges, tmp_path):
    model = model_of(config, kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    quantized, inputs = quantize(model, ranges), batch_at(50)
    assert isinstance(quantized.bert.embeddings.word, QuantizedEmbedding)
    assert not any(isinstance(module, nn.Linear) for module in quantized.bert.encoder.modules())
    with torch.no_grad():
        exact, found = (each(**inputs).last_hidden_state for each in (model, quantized))
    assert 0 < (found - exact).norm() < (0.05 if ranges is None else 0.1) * exact.norm()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert size_of(quantized)["bytes"] < 0.6 * size_of(model)["bytes"]
    if config is SHARED:
        layers = quantized.bert.encoder.layers
        assert layers[0] is layers[1]
        assert layers[1] is not layers[2]
    quantized.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["model_type"] == "bertmini"
    assert saved["quantization"] == ("dynamic" if ranges is None else "static")
    assert load_file(tmp_path / "model.safetensors").keys()
    back = kind.from_pretrained(tmp_path)
    assert not back.fresh
    loaded = back.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in quantized.state_dict().items())
    with torch.no_grad():
        assert torch.equal(back(**inputs).last_hidden_state, found)


def test_a_pruned_model_can_be_quantised_and_saved_in_bf16(tmp_path):
    model = quantize(keep(model_of(), HEADS, [[0, 2], [1]]))
    model.save_pretrained(tmp_path, torch.bfloat16)
    tensors = load_file(tmp_path / "model.safetensors").values()
    assert {tensor.dtype for tensor in tensors} == {torch.int8, torch.bfloat16}
    back = BertForSequenceClassification.from_pretrained(tmp_path)
    assert back.config.heads_by_layer == [2, 1]
    with torch.no_grad():
        expected, found = (each(**batch_at(0)).logits for each in (model, back))
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0.1)


def test_ranges_are_the_mean_of_each_batchs_ends():
    model = model_of()
    seen = []
    query = model.bert.encoder.layers[0].attention.query
    hook = query.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].aminmax()))
    with torch.no_grad():
        for batch in BATCHES:
            model(**batch)
    hook.remove()
    low, high = input_ranges(model, BATCHES)["encoder.layers.0.attention.query"]
    assert low == pytest.approx(sum(float(ends.min) for ends in seen) / len(seen))
    assert high == pytest.approx(sum(float(ends.max) for ends in seen) / len(seen))


def test_padding_has_no_say_in_the_range():
    model = model_of()
    padded = [
        {
            name: torch.nn.functional.pad(part, (0, 6), value=7 if name == "input_ids" else 0)
            for name, part in batch.items()
        }
        for batch in BATCHES
    ]
    expected, found = input_ranges(model, BATCHES), input_ranges(model, padded)
    assert found.keys() == expected.keys()
    assert all(found[name] == pytest.approx(expected[name], rel=1e-5) for name in found)


def test_what_cannot_be_quantised_or_learn_any_more_is_refused():
    quantized = quantize(model_of())
    for again in (quantize, student_from_teacher):
        with pytest.raises(InputError, match="quantised already, and its 8-bit numbers no longer learn"):
            again(quantized)
    with pytest.raises(InputError, match="no example to measure the ranges"):
        quantize(model_of(), [])


@pytest.mark.parametrize("static", [False, True])
def test_the_command_quantises_a_classifier(static, classifier, mood_files, tmp_path, capsys):
    out = tmp_path / "int8"
    options = f"--data {mood_files} --static" if static else ""
    assert main(f"compress --model {classifier} --out {out} --int8 {options}".split()) == 0
    assert "bytes" in capsys.readouterr().out
    sizes = [(directory / "model.safetensors").stat().st_size for directory in (classifier, out)]
    assert sizes[1] < 0.4 * sizes[0]
    answer, whole = Predictor.from_pretrained(out), Predictor.from_pretrained(classifier)
    text = "the captain was happy on day 2"
    assert answer(text)["label"] == whole(text)["label"] == "joy"
    assert answer(text)["score"] == pytest.approx(whole(text)["score"], abs=0.05)
    bf16 = Predictor.from_pretrained(out, precision="bf16")
    assert bf16(text)["label"] == "joy"
    if static:
        metrics = json.loads((out / "metrics.json").read_text())
        assert metrics["test"]["accuracy"] >= metrics["before"]["test"]["accuracy"] - 0.1


def test_the_command_refuses_what_is_quantised_already(classifier, mood_files, tmp_path, capsys):
    out = tmp_path / "int8"
    assert main(f"compress --model {classifier} --out {out} --int8".split()) == 0
    finetune = f"finetune classify --data {mood_files}"
    for command in ("compress --int8", f"compress --sparsity 0.5 --data {mood_files}", finetune):
        capsys.readouterr()
        assert main(f"{command} --model {out} --out {tmp_path / 'x'}".split()) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "quantised already" in line
        assert not (tmp_path / "x").exists()


def test_the_shipped_model_fills_masks_in_8_bits_too(tmp_path):
    out = tmp_path / "int8"
    assert main(f"compress --out {out} --int8".split()) == 0
    from bertmini.hub import shipped

    text = "Abel Oddlestone sold ten oranges at the Fish [MASK]."
    load = partial(Predictor.from_pretrained, top=1)
    before, after = (load(directory)(text)["masks"][0][0] for directory in (shipped(), out))
    assert after["token"] == before["token"]
    assert after["score"] == pytest.approx(before["score"], abs=0.05)


@pytest.mark.parametrize("static", [False, True])
def test_without_the_kernel_the_numbers_are_the_same(static, monkeypatch):
    quantized, x = QuantizedLinear(30, 20, static), torch.randn(4, 30)
    quantized.set_weight(torch.randn(20, 30), torch.randn(20))
    if static:
        quantized.set_range(-3.0, 3.0)
    expected = quantized(x)
    monkeypatch.setattr("bertmini.model.quantized.HAS_KERNEL", False)
    torch.testing.assert_close(quantized(x), expected, rtol=1e-4, atol=1e-4)


def test_loaded_and_copied_weights_are_those_that_are_multiplied_with():
    one, other, x = QuantizedLinear(30, 20, False), QuantizedLinear(30, 20, False), torch.randn(4, 30)
    for each in (one, other):
        each.set_weight(torch.randn(20, 30), torch.randn(20))
    one(x)
    one.load_state_dict(other.state_dict())
    assert torch.equal(one(x), other(x))
    assert torch.equal(copy.deepcopy(one)(x), other(x))


def test_the_ranges_of_a_translator_are_of_the_positions_that_it_reads():
    torch.manual_seed(0)
    model = BertForSequenceToSequence(CONFIG.replace(initializer_range=0.3)).eval()
    ids, types = torch.randint(5, 40, (2, 8)), (torch.arange(8) > 4).long().expand(2, -1)
    seen = []
    query = model.bert.encoder.layers[0].attention.query
    hook = query.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].aminmax()))
    model(ids, types)
    hook.remove()
    ranges = input_ranges(model, [{"input_ids": ids, "token_type_ids": types}])
    low, high = ranges["encoder.layers.0.attention.query"]
    assert (low, high) == pytest.approx((float(seen[0].min), float(seen[0].max)))
