"""Sentence vectors: the losses, batches of pairs, training through the library and the shell, search."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from scipy.stats import pearsonr, spearmanr

from bertmini import BertConfig, BertForMaskedLM, Embedder, InputError, Predictor, WordPieceTokenizer
from bertmini.cli import main
from bertmini.compress.prune import HEADS, importance
from bertmini.config import FAMILIES
from bertmini.data.packing import pack
from bertmini.data.task_files import Example
from bertmini.embed import search
from bertmini.model.vectors import BiEncoder, contrastive_loss, cosine_loss, mean_vectors
from bertmini.tasks import finetune, load_for_task, task_options, vectors
from bertmini.training.loop import count_targets

NOUNS = ["tea", "salt", "rope", "wool", "fish", "corn"]
PLACES = ["harbour", "market", "mill", "tower"]
OTHER_NAMES = {
    "tea": "leaves",
    "salt": "crystals",
    "rope": "cord",
    "wool": "yarn",
    "fish": "cod",
    "corn": "grain",
}
OTHER_NAMES |= {"harbour": "docks", "market": "square", "mill": "river", "tower": "hill"}


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    words = [
        *NOUNS,
        *PLACES,
        *OTHER_NAMES.values(),
        *["the", "there", "was", "is", "plenty", "of", "at", "enough", "sold", "some"],
    ]
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])


@pytest.fixture(scope="module")
def origin(tmp_path_factory, tokenizer):
    """A model of random weights without a pooler."""
    directory = tmp_path_factory.mktemp("origin")
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), hidden_dropout_prob=0.0, **shape)
    BertForMaskedLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def goods(number: int) -> list[Example]:
    """Two texts without a common name; a score from 0 to 4, 3 for the same goods and 1 for the same place."""
    rng = np.random.default_rng(0)
    examples = []
    for _ in range(number):
        one = rng.integers(len(NOUNS)), rng.integers(len(PLACES))
        noun = one[0] if rng.random() < 0.5 else rng.integers(len(NOUNS))
        place = one[1] if rng.random() < 0.5 else rng.integers(len(PLACES))
        text = f"there was plenty of {NOUNS[one[0]]} at the {PLACES[one[1]]}"
        pair = f"some {OTHER_NAMES[NOUNS[noun]]} was sold at the {OTHER_NAMES[PLACES[place]]}"
        examples.append(Example(text, pair, 3.0 * (noun == one[0]) + 1.0 * (place == one[1])))
    return examples


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def test_a_vector_is_the_mean_of_the_tokens_without_padding_and_has_length_one():
    states = torch.randn(2, 5, 8)
    found = mean_vectors(states, torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]))
    mean = states[0, :3].mean(dim=0)
    torch.testing.assert_close(found[0], mean / mean.norm())
    torch.testing.assert_close(found[1], mean_vectors(states[1:])[0])
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))


def test_packed_texts_have_the_vectors_of_padded_ones(origin, tokenizer):
    data = vectors.PairData(goods(6), tokenizer, batch_size=6, max_length=16, seed=0)
    model = BiEncoder.from_pretrained(origin)
    for name in vectors.LOSSES:
        padded, packed = (
            vectors.loss_of(name)(model, b).losses for b in (data.batch(0), pack(data.batch(0)))
        )
        torch.testing.assert_close(padded, packed)


def test_the_cosine_loss_is_the_squared_distance_of_cosine_and_score():
    three, first, second = unit(3, 8), torch.tensor([0, 0]), torch.tensor([1, 2])
    scores = torch.tensor([0.2, 1.0])
    expected = (torch.nn.functional.cosine_similarity(three[first], three[second]) - scores).pow(2).mean()
    torch.testing.assert_close(cosine_loss(three, first, second, scores), expected)


def brute_force(texts: torch.Tensor, first: list[int], second: list[int], labels: list[float]) -> float:
    """The contrastive loss, a pair and a candidate at a time."""
    losses = []
    for one, partner, label in zip(first, second, labels, strict=True):
        if label == 1:
            candidates = [c for c in sorted(set(second)) if c != one or c == partner]
            scores = {c: float(texts[one] @ texts[c]) / 0.05 for c in candidates}
            losses.append(np.log(sum(np.exp(score) for score in scores.values())) - scores[partner])
    return float(np.mean(losses)) if losses else 0.0


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        ([0, 1, 2], [3, 4, 5], [1.0, 1.0, 1.0]),
        (
            [0, 1, 2],
            [3, 4, 5],
            [1.0, 0.2, 1.0],
        ),  # the second pair asks nothing, and its text is a wrong answer
        ([0, 1, 2], [3, 3, 4], [1.0, 1.0, 1.0]),  # two texts have one partner
        ([0, 3, 2], [3, 0, 4], [1.0, 1.0, 1.0]),  # both directions: a text stands among the candidates
        ([0, 1], [0, 2], [1.0, 1.0]),  # a text that is its own partner
        ([0, 1], [2, 3], [0.5, -100.0]),  # nobody belongs together
    ],
)
def test_the_contrastive_loss_agrees_with_brute_force(first, second, labels):
    texts = unit(6, 8).requires_grad_()
    loss = contrastive_loss(texts, torch.tensor(first), torch.tensor(second), torch.tensor(labels))
    assert loss.item() == pytest.approx(brute_force(texts.detach(), first, second, labels), abs=1e-5)
    loss.backward()
    assert texts.grad is not None
    assert texts.grad.isfinite().all()


def test_a_batch_counts_only_the_pairs_that_ask_something():
    batch = {"input_ids": torch.zeros(4, 3), "labels": torch.tensor([1.0, 0.5, 1.0])}
    assert count_targets("contrastive_loss", batch) == 2
    assert count_targets("cosine_loss", batch) == 3


def test_a_batch_holds_each_text_once_and_an_epoch_each_pair_once(tokenizer):
    texts = [f"there is {noun}" for noun in NOUNS]
    examples = [Example(texts[i], texts[(i + 1) % 6], float(i)) for i in range(6)]
    data = vectors.PairData(examples, tokenizer, batch_size=6, max_length=16, seed=0)
    (batch,) = data.batches_for_evaluation()
    assert batch["input_ids"].shape == (6, 5)
    read = [tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in batch["input_ids"]]
    pairs = {
        (read[f], read[s]): label
        for f, s, label in zip(*(batch[n].tolist() for n in ("first", "second", "labels")), strict=True)
    }
    assert pairs == pytest.approx({(e.text, e.pair): e.label / 5 for e in examples})


def test_both_texts_count_for_the_length_of_a_pair(tokenizer):
    short, long = "tea", "there was plenty of tea at the market"
    examples = [Example(short, long, 1.0), Example(short, short, 1.0), Example(long, short, 1.0)] * 4
    data = vectors.PairData(examples, tokenizer, batch_size=4, max_length=16, seed=0)
    lengths = sorted(batch["input_ids"].size(1) for batch in data.batches_for_evaluation())
    assert lengths == [3, 10, 10]


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (Example("tea", None, 1.0), "example 2 is one text; expected two"),
        (Example("tea", "salt", "alike"), "example 2 has the score 'alike'; expected a number"),
        (Example("tea", "salt", -1.0), "example 2 has the score -1.0; expected a number, 0 or more"),
        (Example("tea", "salt"), "example 2 has the score None"),
    ],
)
def test_what_is_no_scored_pair_is_refused(tokenizer, example, reason):
    with pytest.raises(InputError, match=reason):
        vectors.PairData([Example("tea", "salt", 1.0), example], tokenizer, 2, 16, 0)
    with pytest.raises(InputError, match="no example"):
        vectors.PairData([], tokenizer, 2, 16, 0)


def write_pairs(folder, **parts: list[Example]):
    folder.mkdir()
    for part, examples in parts.items():
        lines = [f"{e.text}\t{e.pair}\t{e.label}\n" for e in examples]
        (folder / f"{part}.tsv").write_text("sentence1\tsentence2\tscore\n" + "".join(lines))
    return folder


def test_parts_that_measure_nothing_are_refused_when_they_are_read(tmp_path):
    same = write_pairs(tmp_path / "same", train=goods(4), dev=[Example("tea", "salt", 1.0)] * 3)
    with pytest.raises(InputError, match="same, dev: all examples have the score 1, with which nothing can"):
        vectors.read(str(same))
    (tmp_path / "single.tsv").write_text("text\tscore\ntea\t1\n")
    with pytest.raises(
        InputError, match=r"single\.tsv, train: example 1 is one text; expected two and their"
    ):
        vectors.read(str(tmp_path / "single.tsv"))


def test_labels_of_the_gazette_become_numbers():
    splits = vectors.read("gazette/similarity")
    assert {example.label for example in splits["train"]} == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}


def train(origin, tokenizer, loss: str | None, rows: int, epochs: int = 8):
    splits = {"train": goods(rows), "test": goods(400)[-100:]}
    model = load_for_task(vectors, splits["train"], origin, seed=0)
    options = task_options(vectors, splits, epochs, batch_size=16, learning_rate=2e-3, precision="float32")
    how = {"max_length": 16, "progress": False, "loss": loss and vectors.loss_of(loss)}
    before = vectors.evaluate(model, vectors.data(splits["test"], tokenizer, model.config))
    _, metrics = finetune(vectors, splits, model, tokenizer, options, **how)
    return model, before, metrics["test"]


def test_cosines_learn_scores_and_the_pooler_stays(origin, tokenizer):
    model, before, after = train(origin, tokenizer, None, 300, epochs=16)
    assert after["pearson"] > 0.9
    assert before["pearson"] < 0.4
    again = load_for_task(vectors, goods(2), origin, seed=0)
    assert torch.equal(model.pooler.dense.weight, again.pooler.dense.weight)


def test_pairs_that_belong_together_find_each_other(origin, tokenizer):
    _, before, after = train(origin, tokenizer, "contrastive", 200)
    assert after["spearman"] > before["spearman"] + 0.3


def test_a_classifier_becomes_an_encoder_without_its_labels(origin, tmp_path, tokenizer):
    from bertmini import BertForSequenceClassification

    BertForSequenceClassification.from_pretrained(origin, id2label={0: "a", 1: "b"}).save_pretrained(tmp_path)
    model = load_for_task(vectors, goods(2), tmp_path)
    assert model.config.id2label is None
    assert load_for_task(vectors, goods(2), tmp_path, from_scratch=True).config == model.config


@pytest.fixture(scope="module")
def run(tmp_path_factory, origin):
    """A run directory of `bertmini finetune vectors`, and its data."""
    folder = tmp_path_factory.mktemp("vectors")
    examples = goods(80)
    data = write_pairs(folder / "data", train=examples[:48], dev=examples[48:64], test=examples[64:])
    command = f"finetune vectors --data {data} --model {origin} --out {folder / 'run'} --epochs 2"
    assert (
        main([*command.split(), "--batch-size", "16", "--learning-rate", "1e-3", "--loss", "contrastive"])
        == 0
    )
    return folder / "run", data


def test_the_run_directory_is_a_plain_encoder_for_transformers_too(run):
    directory, _ = run
    theirs, report = transformers.BertModel.from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    text = "there was plenty of tea at the market"
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    with torch.no_grad():
        mean = theirs.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)
    np.testing.assert_allclose(Embedder.from_pretrained(directory)(text), mean / mean.norm(), atol=1e-5)


def test_evaluation_is_the_correlation_of_the_embedders_cosines(run, capsys):
    directory, data = run
    examples = vectors.read(str(data))["test"]
    embedder = Embedder.from_pretrained(directory)
    one, other = (embedder([getattr(e, part) for e in examples]) for part in ("text", "pair"))
    cosines, scores = (one * other).sum(axis=1), [e.label for e in examples]
    assert main(["evaluate", "--data", str(data), "--model", str(directory)]) == 0
    measured = json.loads(capsys.readouterr().out)["test"]
    assert measured["pearson"] == pytest.approx(pearsonr(cosines, scores).statistic, abs=1e-4)
    assert measured["spearman"] == pytest.approx(spearmanr(cosines, scores).statistic, abs=1e-4)
    assert json.loads((directory / "metrics.json").read_text())["test"] == pytest.approx(measured, abs=1e-4)


def test_pairs_get_their_cosine_in_order_and_a_single_text_is_refused(run, capsys):
    directory, _ = run
    embedder, pairs = Embedder.from_pretrained(directory), [(e.text, e.pair) for e in goods(9)]
    expected = [float(embedder(one) @ embedder(other)) for one, other in pairs]
    answers = Predictor.from_pretrained(directory, batch_tokens=64)(pairs)
    assert [answer["score"] for answer in answers] == pytest.approx(expected, abs=1e-5)
    assert main(["predict", "--model", str(directory), "tea\tsalt"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"score"}
    assert main(["predict", "--model", str(directory), "tea"]) == 2
    assert "'tea' is one text, and this model compares two" in capsys.readouterr().err


def test_distillation_of_an_encoder_is_refused(run, tmp_path, capsys):
    command = ["distill", "--teacher", str(run[0]), "--data", str(run[1]), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "is a model for the task vectors; expected a pretrained one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("block", [1, 7, 50, 1000])
def test_search_finds_what_comparing_with_all_finds(block):
    corpus, queries = unit(50, 8).numpy(), unit(3, 8, seed=1).numpy()
    scores, places = search(queries, corpus, top=10, block=block)
    products = queries @ corpus.T
    np.testing.assert_array_equal(places, np.argsort(-products, axis=1)[:, :10])
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :10], atol=1e-6)
    one = search(queries[1], corpus, top=10, block=block)
    np.testing.assert_array_equal(one[1], places[1])


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_a_corpus_in_another_number_format_is_searched(kind):
    corpus = unit(50, 8).numpy()
    scores, places = search(corpus[3], corpus.astype(kind), top=2)
    assert (scores.dtype, places[0]) == (np.float32, 3)
    assert scores[0] == pytest.approx(1, abs=2e-3)


def test_search_at_the_edges():
    corpus = unit(3, 8).numpy()
    _, places = search(corpus[:2], corpus, top=9)
    assert places.shape == (2, 3)
    assert places[:, 0].tolist() == [0, 1]
    assert search(corpus, corpus[:0], top=9)[0].shape == (3, 0)
    with pytest.raises(InputError, match="queries have 4 numbers each, and the corpus 8"):
        search(corpus[:, :4], corpus)


def test_search_from_the_shell_names_lines(run, tmp_path, capsys):
    texts = ["the tower", "", "there was plenty of tea at the market", "salt"]
    (tmp_path / "corpus.txt").write_text("\n".join(texts) + "\n")
    command = ["search", "--model", str(run[0]), "--corpus", str(tmp_path / "corpus.txt"), "--top", "2"]
    assert main([*command, texts[2], texts[3]]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["found"][0]["line"] for answer in answers] == [3, 4]
    assert answers[0]["found"][0] == {"score": pytest.approx(1, abs=1e-5), "line": 3, "text": texts[2]}
    (tmp_path / "corpus.txt").write_text("\n \n")
    assert main([*command, "tea"]) == 2
    assert "no line holds a text" in capsys.readouterr().err
    assert main([*command[:4], str(tmp_path / "nowhere.txt"), "tea"]) == 2
    assert "nowhere.txt" in capsys.readouterr().err


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_family_gives_vectors_and_comes_back(family, tmp_path):
    model = BiEncoder(BertConfig.preset("tiny", family, vocab_size=30))
    model.save_pretrained(tmp_path)
    assert BiEncoder.from_pretrained(tmp_path).fresh == ()
    assert (model.pooler is None) == (family == "distilbert")


def test_heads_of_a_bi_encoder_have_an_importance():
    config = BertConfig(vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=16)  # fmt: skip
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    pairs = [Example("a", "a a", 1.0), Example("a a a", "a", 0.0)]
    batch = vectors.PairData(pairs, tokenizer, 2, 16, 0).batch(0)
    (found,) = importance(BiEncoder(config), [batch], HEADS, vectors.loss)
    assert found.shape == (2,)
    assert (found > 0).all()
