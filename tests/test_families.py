"""RoBERTa, ALBERT and DistilBERT: the same numbers as transformers, bit for bit, and its files both ways."""

from __future__ import annotations

import json
import random

import pytest
import torch
import transformers
from torch import nn

from bertmini import BertConfig, InputError, WordPieceTokenizer
from bertmini.config import FAMILIES, SHARED_PARTS
from bertmini.model import bert as models
from bertmini.model.choice import BertForMultipleChoice
from bertmini.model.questions import BertForQuestionAnswering
from bertmini.model.tagging import BertForTokenClassification
from bertmini.tasks.generate import mask_predict
from bertmini.tasks.pretrain import extend_positions
from bertmini.tasks.sequence import logits_of_first

THEIRS = {"bert": "Bert", "roberta": "Roberta", "albert": "Albert", "distilbert": "DistilBert"}
OURS = {
    "Model": models.Bert,
    "ForMaskedLM": models.BertForMaskedLM,
    "ForPreTraining": models.BertForPreTraining,
    "ForSequenceClassification": models.BertForSequenceClassification,
    "ForTokenClassification": BertForTokenClassification,
    "ForQuestionAnswering": BertForQuestionAnswering,
    "ForMultipleChoice": BertForMultipleChoice,
}
HAVE_TWO = ("ForMultipleChoice", "ForQuestionAnswering", "ForPreTraining")  # labels, whatever the task
CASES = [
    (family, kind)
    for family in THEIRS
    for kind in OURS
    if kind != "ForPreTraining" or FAMILIES[family].has_pairs
]
OUTPUTS = {
    "last_hidden_state": "last_hidden_state",
    "pooler_output": "pooler_output",
    "logits": "logits",
    "prediction_logits": "prediction_logits",
    "seq_relationship_logits": "seq_relationship_logits",
    "sop_logits": "seq_relationship_logits",
    "start_logits": "start_logits",
    "end_logits": "end_logits",
}


def random_config(family: str, rng: random.Random) -> BertConfig:
    groups = rng.choice([1, 2]) if family == "albert" else None
    heads = rng.choice([1, 2, 4])
    return BertConfig.preset(
        "tiny",
        family,
        vocab_size=rng.randrange(20, 60),
        hidden_size=heads * rng.choice([4, 6]),
        num_hidden_layers=2 * rng.choice([1, 2]),
        num_attention_heads=heads,
        intermediate_size=rng.randrange(5, 40),
        max_position_embeddings=24,
        hidden_act=rng.choice(["gelu", "gelu_new", "relu"]),
        pad_token_id=rng.choice([0, 1, 3]),
        id2label={0: "a", 1: "b", 2: "c"},
        **{"num_hidden_groups": groups, "embedding_size": rng.choice([5, 8])} if groups else {},
    )


def pair(family: str, kind: str, seed: int, tmp_path, **fields) -> tuple:
    """Ours with random weights, and what transformers makes of its files."""
    torch.manual_seed(seed)
    config = random_config(family, random.Random(seed)).replace(**fields)
    config = config.replace(id2label=None) if kind in HAVE_TWO else config
    model = OURS[kind](config).eval()
    for parameter in model.parameters():  # biases and norms too
        nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "ours")
    theirs = getattr(transformers, THEIRS[family] + kind)
    loaded, info = theirs.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] | info["unexpected_keys"]
    return model, loaded.eval()


def padded_batch(config: BertConfig, family: str, kind: str) -> dict[str, torch.Tensor]:
    shape = (3, 4, 9) if kind == "ForMultipleChoice" else (3, 9)
    ids = torch.randint(4, config.vocab_size, shape)
    mask = torch.ones_like(ids)
    for row, length in enumerate([9, 6, 2]):
        mask[row, ..., length:] = 0
    ids[mask == 0] = config.pad_token_id
    batch = {"input_ids": ids, "attention_mask": mask}
    if config.type_vocab_size > 1:
        batch["token_type_ids"] = torch.randint(2, shape)
    return batch


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("family", "kind"), CASES)
def test_every_head_gives_the_numbers_of_transformers(family, kind, seed, tmp_path):
    model, theirs = pair(family, kind, seed, tmp_path)
    batch = padded_batch(model.config, family, kind)
    with torch.no_grad():
        mine, expected = model(**batch), theirs(**batch)
    compared = 0
    for name, value in expected.items():
        ours = "prediction_logits" if kind == "ForMaskedLM" and name == "logits" else OUTPUTS[name]
        assert torch.equal(getattr(mine, ours), value), name
        compared += 1
    assert compared


@pytest.mark.parametrize("family", THEIRS)
@pytest.mark.parametrize("kind", ["ForSequenceClassification", "ForTokenClassification"])
def test_the_dropout_before_a_head_is_that_of_transformers(family, kind, tmp_path):
    config = random_config(family, random.Random(0)).replace(classifier_dropout=0.3, hidden_dropout_prob=0.05)
    model = OURS[kind](config)
    model.save_pretrained(tmp_path)
    theirs = getattr(transformers, THEIRS[family] + kind).from_pretrained(tmp_path)
    before_head = getattr(theirs, "dropout", None) or theirs.classifier.dropout  # within RoBERTa's classifier
    assert model.dropout.p == before_head.p


@pytest.mark.parametrize("family", THEIRS)
def test_quick_logits_are_those_of_the_whole_model_for_pairs_too(family):
    torch.manual_seed(0)
    config = random_config(family, random.Random(1))
    model = models.BertForSequenceClassification(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    batch = padded_batch(config, family, "Model") | {"token_type_ids": torch.randint(2, (3, 9))}
    with torch.no_grad():
        torch.testing.assert_close(logits_of_first(model, **batch), model(**batch).logits)


@pytest.mark.parametrize("kind", [kind for family, kind in CASES if family == "bert"])
def test_dropout_stands_where_that_of_transformers_does_with_its_rate(kind, tmp_path, monkeypatch):
    """Each place has its own factor instead of chance. ALBERT and DistilBERT of transformers have fewer."""

    def by_rate(x, p=0.5, training=True, inplace=False):
        return x * (1 + p) if training else x

    monkeypatch.setattr("torch.nn.functional.dropout", by_rate)
    monkeypatch.setattr("bertmini.model.dropout.drop", by_rate)
    monkeypatch.setattr("bertmini.model.attention.drop", by_rate)
    rates = {"hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0.5, "classifier_dropout": 0.125}
    model, theirs = pair("bert", kind, 0, tmp_path, **rates)
    theirs.set_attn_implementation("eager")
    batch = padded_batch(model.config, "bert", kind)
    mine, expected = model.train()(**batch), theirs.train()(**batch)
    for name, value in expected.items():
        ours = "prediction_logits" if kind == "ForMaskedLM" and name == "logits" else OUTPUTS[name]
        torch.testing.assert_close(getattr(mine, ours), value, msg=name)


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_files_of_transformers_load_and_go_back(family, kind, tmp_path):
    model, theirs = pair(family, kind, 0, tmp_path)
    theirs.save_pretrained(tmp_path / "theirs")
    back = OURS[kind].from_pretrained(tmp_path / "theirs")
    assert not back.fresh
    assert back.config.replace(extra={}) == model.config.replace(extra={})
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


@pytest.mark.parametrize("family", ["roberta", "albert", "distilbert"])
def test_a_default_configuration_of_transformers_is_read_as_it_is(family, tmp_path):
    names = {"roberta": "RobertaConfig", "albert": "AlbertConfig", "distilbert": "DistilBertConfig"}
    theirs = getattr(transformers, names[family])()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))  # what a file leaves out
    short = BertConfig.load(tmp_path / "config.json")
    theirs.save_pretrained(tmp_path)
    full = BertConfig.load(tmp_path / "config.json")
    assert short.replace(extra={}) == full.replace(extra={})
    assert (full.hidden_size, full.vocab_size) == (theirs.hidden_size, theirs.vocab_size)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def on_paper(config: BertConfig) -> models.Bert:
    with torch.device("meta"):
        return models.Bert(config)


def test_published_albert_has_the_published_number_of_parameters():
    """Lan et al. 2019, Table 1: 12M and 18M; the exact ones are those of transformers' models."""
    base = BertConfig.preset("base", "albert")
    large = BertConfig.preset("large", "albert")
    assert parameters(on_paper(base)) == 11_683_584
    assert parameters(on_paper(large)) == 17_683_968


def test_published_roberta_and_distilbert_have_the_published_number_of_parameters():
    roberta = BertConfig.preset("base", "roberta")
    distil = BertConfig.preset("base", "distilbert", num_hidden_layers=6)
    with torch.device("meta"):
        theirs = transformers.RobertaModel(
            transformers.RobertaConfig(max_position_embeddings=514, type_vocab_size=1)
        )
        theirs_distil = transformers.DistilBertModel(transformers.DistilBertConfig())
    assert parameters(on_paper(roberta)) == parameters(theirs) == 124_645_632
    assert parameters(on_paper(distil)) == parameters(theirs_distil) == 66_362_880


def test_layers_of_a_group_share_their_weights():
    config = BertConfig.preset("tiny", "albert", num_hidden_layers=6, num_hidden_groups=2)
    layers = models.Bert(config).encoder.layers
    assert [list(map(id, layers)).index(id(layer)) for layer in layers] == [0, 0, 0, 3, 3, 3]
    before = layers[4].feed_forward.up.weight[0, 0].item()
    with torch.no_grad():
        layers[3].feed_forward.up.weight += 1
    assert layers[4].feed_forward.up.weight[0, 0].item() == pytest.approx(before + 1)


def test_a_shared_layer_learns_from_every_depth():
    """Its gradient is the sum of those of separate layers with the same weights."""
    shared = BertConfig.preset("tiny", vocab_size=30, num_hidden_groups=1, hidden_dropout_prob=0.0)
    apart = shared.replace(num_hidden_groups=None)
    torch.manual_seed(0)
    one, many = models.Bert(shared), models.Bert(apart)
    many.load_state_dict(one.state_dict())
    ids = torch.randint(1, 30, (2, 7))
    for model in (one.double(), many.double()):
        model.eval()(ids).last_hidden_state.square().sum().backward()
    expected = sum(layer.feed_forward.up.weight.grad for layer in many.encoder.layers)
    torch.testing.assert_close(one.encoder.layers[0].feed_forward.up.weight.grad, expected)


@pytest.mark.parametrize("shared_part", list(SHARED_PARTS))
def test_layers_may_have_one_part_in_common(shared_part, tmp_path):
    """Its gradient is the sum of those of separate parts with the same weights; the others learn alone."""
    fields = {"vocab_size": 30, "num_hidden_layers": 3, "hidden_dropout_prob": 0.0}
    shared = BertConfig.preset("tiny", **fields, shared_part=shared_part)
    torch.manual_seed(0)
    one, many = models.BertForMaskedLM(shared), models.BertForMaskedLM(shared.replace(shared_part=None))
    many.load_state_dict(one.state_dict())
    ids = torch.randint(1, 30, (2, 7))
    for model in (one.double(), many.double()):
        model.eval()(ids).prediction_logits.square().sum().backward()
    apart = many.bert.encoder.layers
    for number, layer in enumerate(one.bert.encoder.layers):
        for name, parameter in layer.named_parameters():
            is_shared = name.split(".")[0] in SHARED_PARTS[shared_part]
            gradients = [dict(each.named_parameters())[name].grad for each in apart]
            expected = sum(gradients) if is_shared else gradients[number]
            torch.testing.assert_close(parameter.grad, expected)

    one.float().save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["model_type"], written["shared_part"]) == ("bertmini", shared_part)
    back = models.BertForMaskedLM.from_pretrained(tmp_path)
    assert back.fresh == ()
    assert len(list(back.parameters())) == len(list(one.parameters())) < len(list(many.parameters()))
    assert torch.equal(back(ids).prediction_logits, one(ids).prediction_logits)


def test_what_transformers_cannot_hold_says_so_and_comes_back(tmp_path):
    factorised = BertConfig.preset("tiny", vocab_size=30, embedding_size=7, num_hidden_groups=1)
    next_sentence = BertConfig.preset("tiny", "roberta", vocab_size=30)
    for i, model in enumerate([models.BertForMaskedLM(factorised), models.BertForPreTraining(next_sentence)]):
        model.save_pretrained(tmp_path / str(i))
        written = json.loads((tmp_path / str(i) / "config.json").read_text())
        assert written["model_type"] == "bertmini"
        back = type(model).from_pretrained(tmp_path / str(i))
        assert (back.config.model_type, back.fresh) == (model.config.model_type, ())
        for name, value in model.state_dict().items():
            assert torch.equal(back.state_dict()[name], value)


def test_roberta_counts_positions_after_padding():
    config = BertConfig.preset("tiny", "roberta", vocab_size=30, max_position_embeddings=10, pad_token_id=1)
    ids = torch.tensor([[5, 6, 7, 1, 1], [1, 1, 5, 6, 7]])
    assert models.positions(ids, config).tolist() == [[2, 3, 4, 1, 1], [1, 1, 2, 3, 4]]
    assert config.max_length == 8
    model = models.Bert(config)
    model(torch.full((1, 8), 5))
    with pytest.raises(InputError, match="max_length=8"):
        model(torch.full((1, 9), 5))


@pytest.mark.parametrize("family", list(FAMILIES))
def test_packed_sequences_equal_padded_ones(family):
    torch.manual_seed(0)
    model = models.Bert(random_config(family, random.Random(1)), add_pooler=True).double().eval()
    batch = padded_batch(model.config, family, "Model")
    real = batch["attention_mask"].bool()
    from bertmini.data.packing import pack

    with torch.no_grad():
        padded, packed = model(**batch), model(**pack(batch))
    torch.testing.assert_close(packed.last_hidden_state[0], padded.last_hidden_state[real])
    torch.testing.assert_close(packed.pooler_output, padded.pooler_output)


def test_bad_configurations_are_refused_in_a_line(tmp_path):
    with pytest.raises(InputError, match="model_type is 'gpt2'; expected one of bert, roberta"):
        BertConfig.preset("tiny", "gpt2")
    with pytest.raises(InputError, match="num_hidden_layers 2 is not a multiple of num_hidden_groups 3"):
        BertConfig.preset("tiny", "albert", num_hidden_groups=3)
    with pytest.raises(InputError, match="shared_part is 'norms'; expected one of attention, feed-forward"):
        BertConfig.preset("tiny", shared_part="norms")
    with pytest.raises(InputError, match="shared_part is 'attention', and the layers have different sizes"):
        BertConfig.preset("tiny", shared_part="attention", heads_by_layer=[1, 2])
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "albert", "inner_group_num": 2}))
    with pytest.raises(InputError, match="inner_group_num is 2"):
        BertConfig.load(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(InputError, match=r"config\.json: model_type is 'gpt2'"):
        BertConfig.load(tmp_path / "config.json")


def test_weights_of_another_family_are_refused(tmp_path):
    model = models.BertForMaskedLM(BertConfig.preset("tiny", vocab_size=30))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "roberta"}))
    with pytest.raises(InputError, match=r"of another family.*bert"):
        models.BertForMaskedLM.from_pretrained(tmp_path)


def test_positions_of_roberta_that_no_training_reached_begin_as_copies_behind_those_of_padding():
    config = BertConfig.preset("tiny", "roberta", vocab_size=30, max_position_embeddings=12)
    model = models.BertForMaskedLM(config)
    table = model.bert.embeddings.position.weight
    before = table.detach().clone()
    assert (config.first_position, config.max_length) == (2, 10)
    extend_positions(model, trained=4, length=10)
    # The first token's row is 2; those of the tokens 1 to 3 are copied to the tokens 4 to 9.
    assert torch.equal(table[:6], before[:6])
    assert torch.equal(table[6:12], before[[3, 4, 5, 3, 4, 5]])


def test_a_text_beyond_the_positions_of_roberta_is_refused_before_it_is_written():
    config = BertConfig.preset("tiny", "roberta", vocab_size=30, max_position_embeddings=12)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sea"]
    with pytest.raises(InputError, match="a text has 11 tokens, and the model was trained on 10"):
        mask_predict(
            models.BertForMaskedLM(config).eval(), WordPieceTokenizer(vocabulary), ["[MASK]" + " sea" * 8]
        )


def test_a_distilbert_whose_positions_began_as_sines_is_read(tmp_path):
    model, theirs = pair("distilbert", "ForQuestionAnswering", 0, tmp_path)
    theirs.config.sinusoidal_pos_embds = True
    theirs.save_pretrained(tmp_path / "theirs")
    back = BertForQuestionAnswering.from_pretrained(tmp_path / "theirs")
    assert torch.equal(back.bert.embeddings.position.weight, model.bert.embeddings.position.weight)


@pytest.mark.parametrize(("said", "read"), [
    ({"model_type": "bert", "embedding_size": 768, "num_hidden_groups": 1, "direction": "left-to-right"},
     {"embedding_size": None, "num_hidden_groups": None, "direction": None}),
    ({"model_type": "distilbert", "layer_norm_eps": 1e-5, "type_vocab_size": 2},
     {"layer_norm_eps": 1e-12, "type_vocab_size": 0}),
    ({"model_type": "albert", "embedding_size": 64, "num_hidden_groups": 2},
     {"embedding_size": 64, "num_hidden_groups": 2}),
    ({"model_type": "bertmini", "family": "bert", "direction": "left-to-right"},
     {"direction": "left-to-right"}),
])  # fmt: skip
def test_fields_that_a_familys_code_never_reads_change_nothing(said, read, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(said))
    config = BertConfig.load(tmp_path / "config.json")
    assert {name: getattr(config, name) for name in read} == read
    assert config.fits_transformers == (said["model_type"] != "bertmini")
