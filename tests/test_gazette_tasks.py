"""The Gazette's tasks: labels in balance, baselines where they are said to be, files that can be read."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from bertmini.data.task_files import read_task
from bertmini.errors import InputError
from bertmini.gazette import GAZETTE_VERSION, Gazette
from bertmini.gazette.baselines import best_emotions, scored
from bertmini.gazette.tasks import TASKS, emotion_posterior, emotion_text


@pytest.fixture(scope="module")
def gazette() -> Gazette:
    return Gazette()


DIGESTS = {
    "topic": "5101f85472ef5fda", "emotion": "76581a21fc94e05b", "acceptability": "1bcb2e4f1cee9ad0",
    "similarity": "03f8085bad68859a", "paraphrase": "8ca6228c485050c1", "inference": "fbce1c648c5acd96",
    "entities": "4fb56dbdac4e9bce", "questions": "21603e67a3d956af", "continuation": "622f0b10051161a4",
    "quillish": "6c69d0ee3affd565",
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_the_examples_of_this_version_never_change(gazette, name):
    text = "\n".join(str(gazette.task(name, split, 40)) for split in ("train", "dev", "test"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert (GAZETTE_VERSION, digest) == ("1", DIGESTS[name]), "other examples need another GAZETTE_VERSION"


def test_emotions_are_in_balance(gazette):
    counts = Counter(example.label for example in gazette.task("emotion", "train"))
    assert set(counts) == {"sadness", "joy", "love", "anger", "fear", "surprise"}
    assert all(abs(count / 4000 - 1 / 6) < 0.025 for count in counts.values())


def test_scores_are_in_balance(gazette):
    counts = Counter(example.label for example in gazette.task("similarity", "train"))
    assert set(counts) == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
    assert all(abs(count / 4000 - 1 / 6) < 0.025 for count in counts.values())


@pytest.mark.parametrize(("name", "most"), [("emotion", 0), ("similarity", 0)])
def test_splits_share_no_example(gazette, name, most):
    train = {(example.text, example.pair) for example in gazette.task(name, "train")}
    assert sum((example.text, example.pair) in train for example in gazette.task(name, "test")) <= most


def test_a_bag_of_words_reads_two_letters_in_three_and_the_generator_nearly_all(gazette):
    train, test = gazette.task("emotion", "train"), gazette.task("emotion", "test")
    labels = [example.label for example in test]
    for longest in (1, 2):                            # single words; pairs of words do not help
        bag = CountVectorizer(ngram_range=(1, longest))
        model = LogisticRegression(C=0.3, max_iter=1000)
        counts = bag.fit_transform([example.text for example in train])
        model.fit(counts, [example.label for example in train])
        accuracy = model.score(bag.transform([example.text for example in test]), labels)
        print(f"\nemotion: {longest}-grams {accuracy:.1%}")
        assert 0.60 < accuracy < 0.75
    letters = gazette.documents(500, "test", kind="letter")
    assert [emotion_text(letter) for letter in letters] == [example.text for example in test[:500]]
    posteriors = [emotion_posterior(gazette, letter) for letter in letters]
    ceiling = np.mean([max(chances, key=chances.__getitem__) == letter.emotion
                       for chances, letter in zip(posteriors, letters, strict=True)])
    print(f"emotion: ceiling {ceiling:.1%}")
    assert 0.94 < ceiling < 0.99
    likeliest = [max(chances, key=chances.__getitem__) for chances in posteriors[:20]]
    assert best_emotions(gazette, "test", 20) == likeliest


def test_shared_words_tell_only_part_of_a_similarity(gazette):
    train, test = gazette.task("similarity", "train"), gazette.task("similarity", "test")
    bag, scores = CountVectorizer(binary=True), [example.label for example in test]
    one, other = bag.fit_transform([e.text for e in test]), bag.transform([e.pair for e in test])
    cosine = one.multiply(other).sum(1) / np.sqrt(np.multiply(one.sum(1), other.sum(1)))
    correlations = [pearsonr(found, scores)[0] for found in (np.asarray(cosine).ravel(), scored(train, test))]
    print("\nsimilarity: cosine {:.3f}, ridge {:.3f}".format(*correlations))
    assert 0.60 < correlations[0] < 0.76
    assert 0.72 < correlations[1] < 0.85


def test_people_who_change_sides_keep_their_words_and_lose_two_points(gazette):
    swapped = 0
    for example in gazette.task("similarity", "dev"):
        one, other = (sorted(word for word in text.rstrip(".").split() if word[0].isupper() and len(word) > 5)
                      for text in (example.text, example.pair))
        swapped += one == other and example.label <= 3
    assert swapped > 20


@pytest.mark.parametrize(("name", "task"), [("emotion", "classify"), ("similarity", "regress")])
def test_exported_tasks_are_read_back(gazette, tmp_path, name, task):
    gazette.export(name, tmp_path / "there", n=30)
    read = read_task(tmp_path / "there", task)
    for split, n in {"train": 30, "dev": None, "test": None}.items():
        assert read[split] == gazette.task(name, split, n)


@pytest.mark.parametrize("n", [0, -1])
def test_export_refuses_less_than_one_row(gazette, tmp_path, n):
    with pytest.raises(InputError, match=f"found {n} rows for the train part; expected 1 or more"):
        gazette.export("emotion", tmp_path / "new", n=n)
    assert not (tmp_path / "new").exists()


def test_the_exported_corpus_has_a_blank_line_between_documents(gazette, tmp_path):
    paths = gazette.export("corpus", tmp_path, n=10)
    blocks = paths[0].read_text(encoding="utf-8").strip().split("\n\n")
    assert [block.split("\n") for block in blocks] == [d.sentences for d in gazette.documents(10)]


def test_export_refuses_to_overwrite(gazette, tmp_path):
    gazette.export("emotion", tmp_path, n=2)
    with pytest.raises(InputError, match=r"train\.txt exists already"):
        gazette.export("emotion", tmp_path, n=2)
