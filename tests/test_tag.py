"""Tagging: tagged files, entities, conditional random fields, windows, answers."""

from __future__ import annotations

import copy
import io
import itertools
import json
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bertmini import BertConfig, BertForTokenClassification, InputError, Predictor, WordPieceTokenizer
from bertmini.cli import main
from bertmini.data.packing import pack
from bertmini.data.tagged import Entity, Tagged, bio, entities_of, labels_of, read_tagged
from bertmini.model.bert import Bert
from bertmini.model.tagging import FEATURES, ConditionalRandomField
from bertmini.tasks import finetune, load_for_task, tag, task_options

CRF, FEATURE_BASED = tag.VARIANTS
KINDS = [
    pytest.param(None, {}, id="linear"),
    pytest.param(CRF, {}, id="crf"),
    *(pytest.param(FEATURE_BASED, {"features": name}, id=name) for name in FEATURES),
]
THREE = [KINDS[0], KINDS[1], KINDS[-2]]


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    words = "mr jones saw the sea at dover in may , . ann sails to ##ville new york a b c d e ##n ##a ##b"
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words.split()])


@pytest.fixture(scope="module")
def origin(tmp_path_factory, tokenizer):
    directory = tmp_path_factory.mktemp("origin")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.2, hidden_dropout_prob=0.0,
    )  # fmt: skip
    Bert(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def voyages(number: int) -> list[Tagged]:
    """People and places; whether new begins a place depends on the word behind it."""
    lines = [
        "ann:B-person sails:O to:O new:B-place york:I-place",
        "mr:B-person jones:I-person saw:O the:O new:O sea:O",
        "the:O sea:O at:O dover:B-place",
        "jones:B-person saw:O ann:B-person in:O may:O .:O",
    ]
    pairs = [[pair.rsplit(":", 1) for pair in line.split()] for line in lines]
    return [Tagged(*map(tuple, zip(*pairs[i % 4], strict=True))) for i in range(number)]


def tagger(kind, fields, origin, seed=0):
    return load_for_task(tag, voyages(4), origin, kind=kind, seed=seed, **fields).eval()


# Files


SENTENCES = [
    Tagged(("New", "York", "and", "Oslo", "."), ("B-city", "I-city", "O", "B-city", "O")),
    Tagged(("Oslo", "Ann", "Lee", "Bob"), ("B-city", "B-who", "I-who", "B-who")),
]
SCHEMES = {
    "BIO": "B I O B O/B B I B",
    "IOB1": "I I O I O/I I I B",
    "IOBES": "B E O S O/S B E S",
    "BILOU": "B L O U O/U B L U",
}


def columns(scheme: str, separator: str = " ", middle: str = "") -> str:
    blocks = []
    for sentence, prefixes in zip(SENTENCES, SCHEMES[scheme].split("/"), strict=True):
        tags = [p if p == "O" else p + t[1:] for p, t in zip(prefixes.split(), sentence.tags, strict=True)]
        blocks.append("".join(f"{separator.join(filter(None, [word, middle, t]))}\n"
                              for word, t in zip(sentence.words, tags, strict=True)))  # fmt: skip
    return "\n".join(blocks)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_becomes_the_same_bio(tmp_path, scheme):
    (tmp_path / "train.txt").write_text(columns(scheme))
    assert read_tagged(tmp_path) == {"train": SENTENCES}


@pytest.mark.parametrize("separator", [" ", "\t"])
def test_columns_are_the_first_and_the_last_unless_numbered(tmp_path, separator):
    text = f"-DOCSTART- -X- O\n\n{columns('BIO', separator, 'NN')}\n"
    (tmp_path / "train.conll").write_text(text)
    (tmp_path / "valid.conll").write_text(text.replace("\n", "\r\n"), newline="")
    assert read_tagged(tmp_path) == {"train": SENTENCES, "dev": SENTENCES}
    turned = "\n".join(separator.join(reversed(line.split())) for line in text.splitlines()[2:])
    (tmp_path / "turned.conll").write_text(turned)
    assert read_tagged(tmp_path / "turned.conll", ["3"], "1") == {"train": SENTENCES}


def test_a_word_may_hold_a_space_that_does_not_break(tmp_path):
    (tmp_path / "train.txt").write_text("10\u00a0000  O\nQuill B-place \n", encoding="utf-8")
    assert read_tagged(tmp_path) == {"train": [Tagged(("10\u00a0000", "Quill"), ("O", "B-place"))]}


def test_a_sentence_ends_at_a_new_document_without_a_blank_line(tmp_path):
    (tmp_path / "train.txt").write_text(columns("BIO").replace("\n\n", "\n-DOCSTART- O\n"))
    assert read_tagged(tmp_path) == {"train": SENTENCES}


def test_json_lines_are_read(tmp_path):
    lines = [{"tokens": s.words, "tags": s.tags} for s in SENTENCES]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_tagged(tmp_path) == {"train": SENTENCES}
    lines = [{"id": 1, "w": s.words, "ner_tags": s.tags} for s in SENTENCES]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_tagged(tmp_path, ["w"]) == {"train": SENTENCES}


def test_a_data_set_of_the_hub_gives_its_tags_by_name(monkeypatch):
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

    names = ["O", "B-city", "I-city", "B-who", "I-who"]
    features = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=names))})
    rows = [{"tokens": list(s.words), "ner_tags": [names.index(t) for t in s.tags]} for s in SENTENCES]
    loaded = DatasetDict({"train": Dataset.from_list(rows, features=features)})
    monkeypatch.setattr("bertmini.data.hub.load", lambda name: loaded)
    assert read_tagged("hf:some/set") == {"train": SENTENCES}


def test_a_line_of_one_column_is_left_out_with_a_warning_and_refused_when_strict(tmp_path):
    (tmp_path / "train.txt").write_text(columns("BIO") + "\n\ufeff\n")
    with pytest.warns(UserWarning, match=r"train.txt:12: 1 column; expected 2; 1 such line left out"):
        assert read_tagged(tmp_path) == {"train": SENTENCES}
    with pytest.raises(InputError, match=r"train.txt:12: 1 column; expected 2$"):
        read_tagged(tmp_path, strict=True)


BAD = {
    "a a tag of dev that training never saw": (
        {"train.txt": "a B-x\n", "dev.txt": "a B-x\n\nb B-y\n"}, {},
        r"dev.txt:3: 'B-y' is a tag that training never saw"),
    "words alone": ({"train.txt": "a\nb\n"}, {}, r"train.txt:1: one column; expected a word and its tag"),
    "no tag": ({"train.txt": "a NN\n"}, {}, r"train.txt:1: 'NN' is no tag; expected O, B-place"),
    "no such column": ({"train.txt": "a O\n"}, {"label_column": "3"}, r"column '3': expected a number from"),
    "two text columns": ({"train.txt": "a O\n"}, {"text_columns": ["1", "2"]}, r"names 2 columns; expected"),
    "only blank lines and documents": ({"train.txt": "-DOCSTART- O\n\n"}, {}, r"train.txt holds no sentence"),
    "no JSON": ({"train.jsonl": "[1]\n"}, {}, r"train.jsonl:1: not a JSON object"),
    "other JSON": ({"train.jsonl": '{"text": "a"}\n'}, {}, r"train.jsonl:1: columns are text; expect"),
    "no list": ({"train.jsonl": '{"tokens": "a", "tags": ["O"]}\n'}, {}, r"train.jsonl:1: found 'a'"),
    "a tag missing": (
        {"train.jsonl": '{"tokens": ["a", "b"], "tags": ["O"]}\n'}, {},
        r"train.jsonl:1: 2 words and 1 tags; expected a tag for each word"),
    "another ending": ({"train.xml": "<a>"}, {}, r"expected train, dev and test as .conll"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    files, options, message = BAD[name]
    for file, content in files.items():
        (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_tagged(tmp_path, **options)
    assert "\n" not in str(caught.value)


def test_an_inside_tag_in_dev_is_known_when_its_kind_is(tmp_path):
    (tmp_path / "train.txt").write_text("Oslo B-city\n")
    (tmp_path / "dev.txt").write_text("New B-city\nYork I-city\n")
    assert labels_of(read_tagged(tmp_path)["train"]) == ["O", "B-city", "I-city"]


# Entities and their measure


tags_of_any_scheme = st.lists(st.sampled_from(["O", *(f"{p}-{k}" for p in "BIES" for k in ("a", "b-c"))]))


@given(tags_of_any_scheme)
@settings(max_examples=300, deadline=None)
def test_entities_are_those_of_seqeval(tags):
    from seqeval.metrics.sequence_labeling import get_entities

    assert [(e.label, e.start, e.end - 1) for e in entities_of(tags)] == get_entities(tags)


@given(tags_of_any_scheme)
@settings(max_examples=100, deadline=None)
def test_entities_survive_the_way_through_bio(tags):
    entities = entities_of(tags)
    assert entities_of(bio(entities, len(tags))) == entities


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.randoms())
@settings(max_examples=60, deadline=None)
def test_measures_are_those_of_seqeval(lengths, random):
    from seqeval.metrics import accuracy_score
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    names = ["O", "B-a", "I-a", "B-b", "I-b"]
    truth, answers = ([[random.choice(names) for _ in range(n)] for n in lengths] for _ in "ab")
    measured = tag.measure(truth, answers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = precision_recall_fscore_support(truth, answers, average="micro", zero_division=0)
        by_kind = precision_recall_fscore_support(truth, answers, average=None, zero_division=0)
        accuracy = accuracy_score(truth, answers) if sum(lengths) else 0.0
    ours = [measured[name] for name in ("precision", "recall", "f1")]
    assert ours == pytest.approx(list(theirs[:3]))
    assert measured["accuracy"] == pytest.approx(accuracy)
    rows = [list(row.values()) for row in measured["entities"].values()]
    if rows:
        assert np.array(rows) == pytest.approx(np.array(by_kind).T)


def test_half_an_entity_is_no_entity():
    measured = tag.measure([["B-a", "I-a", "O", "B-b"]], [["B-a", "O", "O", "B-b"]])
    assert (measured["precision"], measured["recall"], measured["accuracy"]) == (0.5, 0.5, 0.75)


# The conditional random field, against all sequences


@pytest.fixture
def field() -> tuple[ConditionalRandomField, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    crf = ConditionalRandomField(3)
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter, std=1 / crf.UNIT)
    return crf, 2 * torch.randn(3, 4, 3), torch.tensor([4, 1, 3])


def all_paths(crf, emissions, length):
    """Every sequence of labels with its score, added up number by number."""
    for path in itertools.product(range(3), repeat=length):
        score = crf.UNIT * (crf.start[path[0]] + crf.end[path[-1]])
        for word, label in enumerate(path):
            score = score + emissions[word, label]
            if word:
                score = score + crf.UNIT * crf.transitions[path[word - 1], label]
        yield path, score


def test_likelihood_marginals_and_best_path_are_those_over_all_sequences(field):
    crf, emissions, lengths = field
    total, best, marginals = (f(emissions, lengths) for f in (crf.log_partition, crf.best, crf.marginals))
    for row, length in enumerate(lengths.tolist()):
        paths, found = zip(*all_paths(crf, emissions[row], length), strict=True)
        values = torch.stack(found)
        assert torch.allclose(total[row], values.logsumexp(0), atol=1e-5)
        assert tuple(best[row, :length].tolist()) == paths[values.argmax()]
        chances = values.softmax(0)
        for word, label in itertools.product(range(length), range(3)):
            expected = sum(p for path, p in zip(paths, chances, strict=True) if path[word] == label)
            assert torch.allclose(marginals[row, word, label], expected, atol=1e-5)
        for path, score in zip(paths, found, strict=True):
            labels = torch.tensor([[*path, *[-100] * (4 - length)]])
            loss = crf(emissions[row : row + 1], lengths[row : row + 1], labels)
            assert torch.allclose(loss, total[row] - score, atol=1e-4)


def test_without_transitions_it_is_a_softmax_for_each_word():
    crf, emissions, labels = ConditionalRandomField(5), torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    losses = crf(emissions, torch.tensor([3, 3]), labels)
    each = torch.nn.functional.cross_entropy(emissions.flatten(0, 1), labels.flatten(), reduction="none")
    assert torch.allclose(losses, each.view(2, 3).sum(1), atol=1e-5)
    assert torch.equal(crf.best(emissions, torch.tensor([3, 3])), emissions.argmax(-1))


def test_the_forward_algorithm_does_not_overflow():
    crf = ConditionalRandomField(3)
    total = crf.log_partition(torch.full((1, 50, 3), 200.0), torch.tensor([50]))
    assert torch.allclose(total, torch.tensor(50 * (200 + np.log(3))).float())


def test_its_gradients_are_those_of_small_differences(field):
    crf, emissions, lengths = field
    crf.double()
    emissions = emissions.double().requires_grad_()
    labels = torch.tensor([[0, 2, 1, 1], [2, -100, -100, -100], [1, 1, 0, -100]])
    assert torch.autograd.gradcheck(lambda e: crf(e, lengths, labels), emissions)


# The model


def test_logits_are_those_of_transformers_and_checkpoints_go_both_ways(tmp_path):
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    labels = dict(enumerate(labels_of(SENTENCES)))
    torch.manual_seed(0)
    theirs = transformers.BertForTokenClassification(
        transformers.BertConfig(vocab_size=50, initializer_range=0.2, id2label=labels, **shape)
    ).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    ours = BertForTokenClassification.from_pretrained(tmp_path / "theirs")
    assert not ours.fresh
    ids, mask = torch.randint(5, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[1, 5:] = 0
    with torch.no_grad():
        logits = theirs(ids, attention_mask=mask).logits
        assert torch.equal(ours(ids, attention_mask=mask).logits, logits)
    ours.save_pretrained(tmp_path / "ours")
    again = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        assert torch.equal(again(ids, attention_mask=mask).logits, logits)
    assert again.config.id2label == labels


def test_the_loss_is_that_of_transformers(tmp_path, origin):
    import transformers

    ours = tagger(None, {}, origin)
    ours.save_pretrained(tmp_path)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    ids, labels = torch.randint(5, 20, (2, 6)), torch.randint(5, (2, 6))
    labels[:, ::2] = -100
    assert torch.allclose(ours(ids, labels=labels).loss, theirs(ids, labels=labels).loss)


def batch_of(tokenizer, model, examples=None):
    examples = examples or voyages(4)
    return tag.data(examples, tokenizer, model.config, max_length=16).make(np.arange(len(examples)))


def test_logits_of_words_are_those_of_their_first_pieces(origin, tokenizer):
    model = tagger(None, {}, origin)
    batch = batch_of(tokenizer, model)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        everywhere, at_words = model(**inputs).logits, model(**batch).logits
    assert torch.equal(everywhere[batch["labels"] != -100], at_words)


@pytest.mark.parametrize(("kind", "fields"), THREE)
def test_packed_sequences_have_the_loss_of_padded_ones(origin, tokenizer, kind, fields):
    model = tagger(kind, fields, origin)
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter += torch.randn_like(parameter)
        padded = batch_of(tokenizer, model)
        assert torch.allclose(model(**padded).loss, model(**pack(padded)).loss, atol=1e-5)


@pytest.mark.parametrize(("kind", "fields"), THREE)
def test_a_row_without_a_say_has_no_loss_and_reaches_every_parameter(origin, tokenizer, kind, fields):
    model = tagger(kind, fields, origin)
    batch = batch_of(tokenizer, model)
    batch["labels"][:] = -100
    loss = model(**batch).loss
    loss.backward()
    assert loss == 0
    # Only what no loss of this model ever reads has no gradient: processes wait for all others.
    trained = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not trained


def test_a_frozen_model_reads_in_evaluation_mode_and_stays(origin, tokenizer):
    model = tagger(FEATURE_BASED, {"features": "concat-last-four"}, origin)
    before = {name: tensor.clone() for name, tensor in model.bert.state_dict().items()}
    splits = {"train": voyages(8)}
    options = task_options(tag, splits, 1, learning_rate=1e-2, batch_size=4)
    finetune(tag, splits, model, tokenizer, options, max_length=16, progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.bert.state_dict().items())
    assert not model.train().bert.training


@pytest.mark.parametrize("name", FEATURES)
def test_features_are_the_states_that_their_name_says(origin, tokenizer, name):
    model = tagger(FEATURE_BASED, {"features": name}, origin)
    batch = batch_of(tokenizer, model)
    starts = batch["word_starts"]
    read = []
    model.read = lambda features, lengths: read.append(features) or torch.zeros(len(features), 32)
    with torch.no_grad():
        states = model.bert(batch["input_ids"], batch["attention_mask"], return_hidden_states=True)
        model(**batch)
    states = [state[starts] for state in states.hidden_states]
    expected = {
        "embeddings": states[0],
        "second-to-last": states[3],
        "last": states[4],
        "sum-last-four": sum(states[1:]) / 4,  # equal weights at the start
        "concat-last-four": torch.cat(states[1:], dim=1),
        "sum-all": sum(states[1:]) / 4,
    }
    assert torch.allclose(read[0], expected[name], atol=1e-6)


def test_features_of_four_layers_need_four(origin):
    config = BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=2)
    with pytest.raises(InputError, match="sum-last-four: the model has 2 layers"):
        FEATURE_BASED(config.replace(features="sum-last-four"))
    with pytest.raises(InputError, match="features is None; expected one of embeddings"):
        FEATURE_BASED(config)


def test_another_kind_of_head_begins_anew(origin, tmp_path):
    first = tagger(CRF, {}, origin)
    torch.nn.init.ones_(first.crf.transitions)
    first.save_pretrained(tmp_path)
    assert tagger(CRF, {}, tmp_path).crf.transitions.eq(1).all()  # the same labels: it stays
    others = [Tagged(("a", "b"), ("B-x", "B-y"))]
    assert load_for_task(tag, others, tmp_path, kind=CRF).crf.transitions.eq(0).all()
    fewer = load_for_task(tag, [Tagged(("a",), ("B-x",))], tmp_path, kind=CRF)
    assert fewer.crf.transitions.shape == (3, 3)


# Words, pieces and windows


@given(pieces=st.lists(st.integers(1, 4), max_size=40), room=st.integers(1, 12).map(lambda n: 2 * n))
@settings(max_examples=200, deadline=None)
def test_each_word_is_tagged_once_where_its_context_is_largest(pieces, room):
    lengths = np.array(pieces, dtype=np.int64)
    first, length = lengths.cumsum() - lengths, int(lengths.sum())
    cut = list(tag.windows(first, length, room))
    assert np.concatenate([places for *_, places in cut]).tolist() == first.tolist()
    assert all(end - begin <= room for begin, end, _ in cut)
    assert (cut[0][0], cut[-1][1]) == (0, length)

    def context(place, begin, end):  # on its shorter side; a text's own end cuts nothing off
        return min(place - begin if begin else room, end - 1 - place if end < length else room)

    for begin, end, places in cut:
        for place in places.tolist():
            best = max(context(place, b, e) for b, e, _ in cut if b <= place < e)
            assert context(place, begin, end) == best
            if length > room:
                assert best >= room // 4 - 1


def test_a_sentence_has_the_ids_that_transformers_gives_its_words(origin, tokenizer):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(origin)
    for example in [*voyages(4), Tagged(("mr.", "ann", "Newville", "x"))]:
        rows = tag.WordRows.of_words([example.words], tokenizer, 64)
        encoded = theirs(list(example.words), is_split_into_words=True)
        assert rows.ids.tolist() == encoded["input_ids"]
        first = [i for i, (a, b) in enumerate(itertools.pairwise([None, *encoded.word_ids()]))
                 if b is not None and a != b]  # fmt: skip
        assert np.flatnonzero(rows.starts).tolist() == first


def test_labels_stand_at_first_pieces_alone(origin, tokenizer):
    model = tagger(None, {}, origin)
    example = Tagged(("ann", "sails", "to", "Newville"), ("B-person", "O", "O", "B-place"))
    batch = batch_of(tokenizer, model, [example])
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    known = tag.tags_of(model.config)
    shown = [
        (token, known[label]) for token, label in zip(tokens, batch["labels"][0], strict=True) if label >= 0
    ]
    assert shown == [("ann", "B-person"), ("sails", "O"), ("to", "O"), ("new", "B-place")]
    assert tokens[-2] == "##ville"


def test_a_word_of_nothing_visible_is_tagged_too(origin, tokenizer):
    model = tagger(None, {}, origin)
    (answer,) = tag.predict(model, tokenizer, [{"words": ["ann", "\u200d", "sails"]}])
    assert len(answer["tags"]) == 3


def test_a_tag_that_the_model_does_not_know_is_refused(origin, tokenizer):
    model = tagger(None, {}, origin)
    with pytest.raises(InputError, match=r"example 1 has the tag 'B-ship'; expected one of O, B-person"):
        tag.data([Tagged(("a",), ("B-ship",))], tokenizer, model.config)
    with pytest.raises(InputError, match="example 1 has no tags for 1 words"):
        tag.data([Tagged(("a",))], tokenizer, model.config)
    with pytest.raises(InputError, match="there is no example"):
        tag.data([], tokenizer, model.config)


def test_training_examples_without_an_entity_are_refused(origin):
    with pytest.raises(InputError, match="every tag is O"):
        load_for_task(tag, [Tagged(("a",), ("O",))], origin)


# Learning and answering


@pytest.mark.parametrize(("kind", "fields"), KINDS)
def test_every_way_learns_and_comes_back_from_its_directory(origin, tokenizer, tmp_path, kind, fields):
    splits = {"train": voyages(32), "dev": voyages(4)}
    model = tagger(kind, fields, origin)
    options = task_options(
        tag,
        splits,
        25 if fields else 12,
        batch_size=4,
        learning_rate=2e-2 if fields else 3e-3,
        precision="float32",
        warmup_share=0.0,
    )
    _, metrics = finetune(tag, splits, model, tokenizer, options, max_length=16, progress=False)
    assert metrics["dev"]["f1"] == 1.0
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == ("bert" if kind is None else "bertmini")
    predictor = Predictor.from_pretrained(tmp_path)
    assert type(predictor.model) is type(model)
    answer = predictor("Ann  sails to New York")
    assert answer["words"] == ["Ann", "sails", "to", "New", "York"]
    found = [(e["text"], e["label"], e["start"], e["end"]) for e in answer["entities"]]
    assert found == [("Ann", "person", 0, 3), ("New York", "place", 14, 22)]
    assert all(0.3 < entity["score"] <= 1 for entity in answer["entities"])
    words = {"words": ["Mr", "Jones", "saw", "the", "new", "sea"]}
    assert predictor(words)["tags"] == ["B-person", "I-person", "O", "O", "O", "O"]


@pytest.mark.parametrize(("kind", "fields"), THREE)
def test_answers_depend_neither_on_batches_nor_on_neighbours(origin, tokenizer, kind, fields):
    model = tagger(kind, fields, origin)
    torch.nn.init.normal_(model.classifier.weight)
    tokenizer = WordPieceTokenizer(tokenizer.pieces, model_max_length=16)
    texts = [" ".join(example.words * (1 + 3 * (i % 3))) for i, example in enumerate(voyages(9))] + [""]
    together = list(tag.predict(model, tokenizer, texts))
    for batch_tokens in (1, 60):
        assert [a["tags"] for a in tag.predict(model, tokenizer, texts, batch_tokens)] == [
            a["tags"] for a in together
        ]
    assert [len(a["tags"]) for a in together] == [len(t.replace(",", " ,").split()) for t in texts]
    assert together[-1] == {"words": [], "tags": [], "entities": []}


@pytest.mark.parametrize(("kind", "fields"), THREE)
def test_measuring_is_answering_and_does_not_depend_on_the_batch_size(origin, tokenizer, kind, fields):
    model = tagger(kind, fields, origin)
    torch.nn.init.normal_(model.classifier.weight)
    tokenizer = WordPieceTokenizer(tokenizer.pieces, model_max_length=8)  # some sentences in two windows
    examples = [Tagged(e.words * 2, e.tags * 2) for e in voyages(7)]
    answers = [a["tags"] for a in tag.predict(model, tokenizer, examples)]
    expected = tag.measure([e.tags for e in examples], answers)
    for size in (1, 3, 7):
        assert tag.evaluate(model, tag.data(examples, tokenizer, model.config, size, 8)) == expected


def test_answers_are_those_of_transformers_pipeline(origin, tokenizer, tmp_path):
    import transformers

    model, splits = tagger(None, {}, origin), {"train": voyages(24)}
    options = task_options(tag, splits, 6, batch_size=4, learning_rate=3e-3, precision="float32")
    finetune(tag, splits, model, tokenizer, options, max_length=16, progress=False)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    theirs = transformers.pipeline("token-classification", str(tmp_path), aggregation_strategy="first")
    predictor, number = Predictor.from_pretrained(tmp_path), 0
    words = [
        "Ann",
        "saw",
        "Newville,",
        "Mr. Jones",
        "b.c",
        "NEW",
        "york",
        "(sea)",
        "Annville",
        "d",
        "a  b",
        "in",
    ]
    for _ in range(12):
        text = " ".join(words[i] for i in torch.randint(len(words), (9,)).tolist())
        expected, found = theirs(text), predictor(text)["entities"]
        places = [(e["label"], e["start"], e["end"]) for e in found]
        assert places == [(e["entity_group"], e["start"], e["end"]) for e in expected]
        assert [e["score"] for e in found] == pytest.approx([e["score"] for e in expected], abs=1e-5)
        number += len(found)
    assert number > 12


@pytest.mark.parametrize(
    "given", [3, ("a", 1), {"question": "a"}, {"words": "a b"[0:0] or [1]}, {"words": None}]
)
def test_what_holds_no_words_is_refused(origin, tokenizer, given):
    with pytest.raises(InputError, match="is no text; expected a string"):
        list(tag.predict(tagger(None, {}, origin), tokenizer, [given]))


def test_distillation_passes_a_tagger_on(origin, tokenizer):
    from bertmini.compress.distill import distillation_loss, student_from_teacher

    teacher = tagger(None, {}, origin)
    student = student_from_teacher(teacher)
    output = distillation_loss(teacher)(student.train(), batch_of(tokenizer, teacher))
    assert set(output.losses) == {"tagging", "soft_labels", "cosine"}


# The command


@pytest.fixture(scope="module")
def voyage_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voyages")
    for part, number in (("train", 24), ("dev", 4), ("test", 4)):
        blocks = [
            "".join(f"{w}\t{t}\n" for w, t in zip(e.words, e.tags, strict=True)) for e in voyages(number)
        ]
        (folder / f"{part}.conll").write_text("\n".join(blocks))
    return folder


@pytest.mark.parametrize(
    "way", [[], ["--crf"], ["--features", "concat-last-four"]], ids=["linear", "crf", "lstm"]
)
def test_the_command_fine_tunes_evaluates_and_predicts(
    origin, voyage_files, tmp_path, way, capsys, monkeypatch
):
    out = tmp_path / "run"
    epochs, rate = ("25", "2e-2") if "--features" in way else ("12", "3e-3")
    command = [
        "finetune",
        "tag",
        "--data",
        str(voyage_files),
        "--model",
        str(origin),
        "--out",
        str(out),
        *way,
    ]
    assert main([*command, "--epochs", epochs, "--batch-size", "4", "--learning-rate", rate]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["f1"] == 1.0
    assert set(metrics["test"]["entities"]) == {"person", "place"}
    capsys.readouterr()
    assert main(["evaluate", "--model", str(out), "--data", str(voyage_files)]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["f1"] == 1.0
    lines = 'The sea at Dover\n{"words": ["The", "sea", "at", "Dover"]}\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert main(["predict", "--model", str(out), "--precision", "float32"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert answers[0] == answers[1]
    assert [e["text"] for e in answers[0]["entities"]] == ["Dover"]


def test_a_tab_in_a_line_is_a_space_to_a_tagger(origin, tokenizer, tmp_path, capsys):
    tagger(BertForTokenClassification, {}, origin).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert main(["predict", "--model", str(tmp_path), "ann sails\tto new york", "ann sails to new york"]) == 0
    tabbed, spaced = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert tabbed["words"] == ["ann", "sails", "to", "new", "york"]
    assert tabbed["tags"] == spaced["tags"]


def test_two_ways_at_once_are_refused(origin, voyage_files, tmp_path, capsys):
    command = [
        "finetune",
        "tag",
        "--data",
        str(voyage_files),
        "--model",
        str(origin),
        "--out",
        str(tmp_path / "a"),
    ]
    assert main([*command, "--crf", "--features", "last"]) == 2
    assert capsys.readouterr().err == "bertmini: error: --crf and --features last: give one of them\n"
    assert not (tmp_path / "a").exists()


def test_entities_name_words():
    assert entities_of(["B-a", "I-a", "O", "I-b"]) == [Entity(0, 2, "a"), Entity(3, 4, "b")]


# The picture


def test_entities_are_drawn_with_their_kind_in_words_and_html():
    from bertmini import viz

    picture = viz.entity_spans(
        ["New", "York", "<", "Ann"],
        truth=["B-place", "I-place", "O", "B-who"],
        answer=["O", "B-place", "O", "O"],
    )
    assert repr(picture) == "truth: [New York | place] < [Ann | who]\nanswer: New [York | place] < Ann"
    assert "&lt;" in picture.html()
    assert picture.html().count("border:") == 3
    with pytest.raises(InputError, match="truth has 1 tags for 2 words"):
        viz.entity_spans(["a", "b"], truth=["O"])


def test_an_epoch_reads_every_row_of_long_texts(tokenizer):
    examples = [Tagged(each.words * 20, each.tags * 20) for each in voyages(4)]
    config = BertConfig(id2label=dict(enumerate(labels_of(examples))))
    data = tag.data(examples, tokenizer, config, batch_size=4, max_length=16)
    rows = tag.rows(examples, tokenizer, 16)
    assert rows == data.number > len(examples)
    assert task_options(tag, {"train": examples}, 2, rows, batch_size=4).steps == 2 * len(data)


@pytest.mark.parametrize("text", ["Rene\u0301 kam", "दिल्ली में है", "שָׁלוֹם לְךָ"])
def test_words_of_a_text_keep_the_marks_of_their_last_letter(text, tokenizer):
    assert tag.as_sentence(text, tokenizer).words == text.split()


@pytest.mark.parametrize(("kind", "fields"), THREE)
def test_scores_that_are_no_numbers_are_named(origin, tokenizer, kind, fields):
    model = tagger(kind, fields, origin)
    model.classifier.bias.data.fill_(float("nan"))
    with pytest.raises(InputError, match="no numbers"):
        list(tag.predict(model, tokenizer, ["ann sails"]))


def test_a_very_long_text_is_cut_without_a_table_of_all_words_and_windows():
    tracemalloc.start()
    assert sum(len(own) for *_, own in tag.windows(np.arange(100_000), 100_000, 126)) == 100_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6


def test_an_entity_on_the_border_of_two_rows_is_one_with_a_random_field(origin, tokenizer):
    """Between two rows of a text there is no beginning of a sentence, where no entity goes on."""
    model = tagger(tag.BertCrfForTokenClassification, {}, origin)
    tags = tag.tags_of(model.config)
    inside = next(tag_ for tag_ in tags if tag_.startswith("I-"))
    first, rest = (tags.index(prefix + inside[1:]) for prefix in "BI")
    for parameter in (model.classifier.weight, model.classifier.bias):
        parameter.data.zero_()
    model.classifier.bias.data[[first, rest]] = torch.tensor([4.0, 5.0])
    model.crf.start.data[rest] = -6.0 / model.crf.UNIT
    tokenizer = copy.copy(tokenizer)
    tokenizer.model_max_length = 12
    words = ["ann"] * 60
    (answer,) = tag.predict(model, tokenizer, [{"words": words}])
    assert answer["tags"] == [tags[first]] + [tags[rest]] * 59
    data = tag.TagData([Tagged(tuple(words), tuple(answer["tags"]))], tokenizer, tags, 4, 12, 0)
    assert data.number > 1
    assert tag.evaluate(model, data)["f1"] == 1.0
