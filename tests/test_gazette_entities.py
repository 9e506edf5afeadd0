"""The Gazette's names: what they are follows from the plan, and no list of words tells."""

from __future__ import annotations

import calendar
from collections import Counter, defaultdict

import pytest
from seqeval.metrics import f1_score

from bertmini.data.tagged import Tagged
from bertmini.gazette import Gazette
from bertmini.gazette.baselines import tagged as most_frequent
from bertmini.gazette.entities import document_tags
from bertmini.gazette.names import KINDS, tagged


@pytest.fixture(scope="module")
def gazette() -> Gazette:
    return Gazette()


@pytest.fixture(scope="module")
def train(gazette) -> list[Tagged]:
    return gazette.task("entities", "train")


def found_in(example: Tagged) -> list[tuple[str, str]]:
    """(kind, words) of each name."""
    names: list[tuple[str, list[str]]] = []
    for word, tag in zip(example.words, example.tags or (), strict=True):
        if tag.startswith("B-"):
            names.append((tag[2:], [word]))
        elif tag.startswith("I-"):
            assert names[-1][0] == tag[2:]                        # no name begins with I
            names[-1][1].append(word)
    return [(kind, " ".join(words)) for kind, words in names]


def test_names_of_a_document_are_where_its_plan_put_them(gazette):
    for document in gazette.documents(300):
        for sentence, names in zip(document.sentences, document.names, strict=True):
            for name in names:
                text = sentence[name.start:name.end]
                assert text[0].isupper()
                assert text == text.strip()
                titles = ("The", "Mrs", "Mr", "Miss", "Constable", "Reverend")
                assert name.kind == "work" or text.split()[0] not in titles
    document = next(d for d in gazette.documents(50) if d.topic == "rescue")
    assert ("ship", document.plan["ship"].removeprefix("the ")) in found_in(document_tags(document))
    assert ("person", document.plan["hero"]) in found_in(document_tags(document))


def test_every_capital_inside_a_sentence_is_a_name_or_known_to_be_none(gazette):
    none = {"I", "Captain", "Mrs", "Mr", "Miss", "Doctor", "Constable", "Reverend", "Christmas"}
    none |= {*calendar.day_name, *calendar.month_name}
    for document in gazette.documents(1000):
        for sentence, names in zip(document.sentences, document.names, strict=True):
            words, tags = tagged(sentence, names)
            for before, word, tag in zip(words, words[1:], tags[1:], strict=False):
                if word[0].isupper() and tag == "O" and before not in '":':
                    assert word in none, sentence


def test_a_first_and_a_last_name_are_one_name(gazette):
    names = {name for document in gazette.documents(300) for kind, name in found_in(document_tags(document))
             if kind == "person"}
    assert {"Mara", "Fennick", "Mara Fennick"} <= names


def test_words_of_a_text_are_those_of_berts_pre_tokenizer(gazette, train):
    words, tags = tagged("It's Mara.", [])
    assert words == ("It", "'", "s", "Mara", ".")
    assert set(tags) == {"O"}
    assert all(len(example.words) == len(example.tags) for example in train)


def test_all_kinds_occur_and_one_name_is_of_several_kinds(train):
    kinds = defaultdict(set)
    counts = Counter()
    for example in train:
        for kind, name in found_in(example):
            kinds[name].add(kind)
            counts[kind] += 1
    assert set(counts) == set(KINDS)
    assert min(counts.values()) > 0.02 * sum(counts.values())
    assert kinds["Fennick"] >= {"person", "ship", "organisation"}
    assert kinds["Oystermouth"] >= {"place", "ship", "organisation"}
    assert kinds["Merry Petrel"] >= {"place", "ship"}
    assert sum(len(of) > 1 for of in kinds.values()) > 100


def test_examples_are_of_two_families_and_of_three_sentences(gazette, train):
    for example in train[:500]:
        text = " ".join(example.words)
        assert 3 <= sum(text.count(mark) for mark in (" .", " ?")) <= 3, text
    assert train[:10] == gazette.task("entities", "train", 10)
    words = {example.words for example in train}
    assert sum(example.words in words for example in gazette.task("entities", "test")) == 0


def test_the_word_alone_tells_half_of_it_and_its_neighbours_more(gazette, train):
    test = gazette.task("entities", "test", 400)
    truth = [list(example.tags) for example in test]
    alone, within = (f1_score(truth, most_frequent(train, test, window)) for window in (0, 1))
    print(f"\nentities: F1 by the most frequent tag of a word {alone:.3f}, with its neighbours {within:.3f}")
    assert 0.52 < alone < 0.72
    assert alone + 0.1 < within < 0.92
