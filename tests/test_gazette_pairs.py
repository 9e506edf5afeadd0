"""Sentences and pairs of the Gazette: labels follow from the plan, and baselines do not reach them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from bertmini.data.choices import read_choices
from bertmini.data.task_files import Example, read_task
from bertmini.gazette import Gazette, words_of
from bertmini.gazette.baselines import best_acceptability, best_topics, chosen, classified, is_possible
from bertmini.gazette.continuation import possible
from bertmini.gazette.pairs import contradicts, retell, tells
from bertmini.gazette.sentences import FAULTS, any_sentence, topic_posterior
from bertmini.gazette.world import World

LABELS = {
    "paraphrase": ["0", "1"], "acceptability": ["0", "1"],
    "inference": ["contradiction", "entailment", "neutral"],
    "topic": ["council", "crime", "festival", "harbour", "lecture", "letter", "lost", "market", "portrait",
              "rescue", "sale", "sport", "theatre", "weather"],
}  # fmt: skip


@pytest.fixture(scope="module")
def gazette() -> Gazette:
    return Gazette()


@pytest.fixture(scope="module")
def town() -> Gazette:
    return Gazette(world=World.of_tasks())


def bag_accuracy(train: Sequence[Example], test: Sequence[Example]) -> float:
    answers = classified(train, test)
    return float(np.mean([a == example.label for a, example in zip(answers, test, strict=True)]))


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_in_balance_and_splits_apart(gazette, name):
    train = gazette.task(name, "train")
    counts = Counter(example.label for example in train)
    assert sorted(counts) == LABELS[name]
    share = 1 / len(counts)
    assert all(abs(count / 4000 - share) < 4 * np.sqrt(share / 4000) for count in counts.values())
    assert train[:5] == gazette.task(name, "train", 5)
    texts = {(example.text, example.pair) for example in train}
    same = sum((example.text, example.pair) in texts for example in gazette.task(name, "test"))
    print(f"\n{name}: {same} of 1,000 test examples are in train")
    assert same <= 15                                 # nothing is rejected; short sentences recur


@pytest.mark.parametrize(("name", "low", "high"), [
    ("paraphrase", 0.45, 0.75), ("inference", 0.50, 0.75), ("acceptability", 0.60, 0.88),
    ("topic", 0.30, 0.65),
])
def test_a_bag_of_words_stays_far_below_the_ceiling(gazette, name, low, high):
    accuracy = bag_accuracy(gazette.task(name, "train", 2000), gazette.task(name, "test", 500))
    print(f"\n{name}: bag of words {accuracy:.1%} after 2,000 examples")
    assert low < accuracy < high


def test_a_claim_alone_does_not_tell_whether_it_follows(gazette):
    train, test = ([Example(e.pair, None, e.label) for e in gazette.task("inference", split, n)]
                   for split, n in (("train", 2000), ("test", 500)))
    accuracy = bag_accuracy(train, test)
    print(f"\ninference: the claim alone {accuracy:.1%}")
    assert accuracy < 0.5


def test_a_story_can_be_told_by_its_sentences_five_times_in_six(gazette):
    test = gazette.task("topic", "test", 200)
    firsts = [re.search(r"On page one: (.*?)(?: On page two:.*)?$", example.text)[1] for example in test]
    posteriors = [topic_posterior(gazette, first) for first in firsts]
    alone = np.mean([max(p, key=p.__getitem__) == e.label for p, e in zip(posteriors, test, strict=True)])
    both = np.mean([a == e.label for a, e in zip(best_topics(gazette, "test", 200), test, strict=True)])
    print(f"\ntopic: ceiling {both:.1%}, {alone:.1%} from page one alone")
    assert 0.78 < alone < 0.92
    assert alone - 0.03 < both < 0.95                 # the other page says only what story this one is not


def test_who_knows_what_the_town_can_write_finds_nearly_every_fault(gazette):
    answers = best_acceptability(gazette, "test", 150)
    labels = [example.label for example in gazette.task("acceptability", "test", 150)]
    assert all(answer == "1" for answer, label in zip(answers, labels, strict=True) if label == "1")
    right = np.mean([a == label for a, label in zip(answers, labels, strict=True)])
    print(f"\nacceptability: ceiling at least {right:.1%}")
    assert right > 0.95


def test_a_told_fact_entails_what_it_tells_and_nothing_else(town):
    dice = town.dice("a fact")
    for _ in range(300):
        plan = town.plan(dice, "harbour")
        fact = town.write(dice, "told_deal", plan)
        claim = retell(town, dice, fact, "claim_told_deal", plan)
        assert not contradicts(fact, claim)
        told = {slot.source for slot, _, _ in fact.slots()}
        assert tells(fact, claim) == ({slot.source for slot, _, _ in claim.slots()} <= told)
        assert tells(fact, fact)
        other = retell(town, dice, fact, "told_deal", plan | {"hero": plan["friend"], "friend": plan["hero"]})
        people = [{slot.source for slot, _, _ in each.slots()} & {"hero", "friend"} for each in (fact, other)]
        assert contradicts(fact, other) == bool(people[0] & people[1])


def test_denial_turns_claims_around(gazette):
    train = gazette.task("inference", "train")
    denied = Counter(example.label for example in train if example.pair.startswith("It is not true that"))
    assert all(abs(count / sum(denied.values()) - 1 / 3) < 0.06 for count in denied.values())
    assert 0.2 < sum(denied.values()) / len(train) < 0.45


def test_paraphrases_are_worded_differently_and_others_mostly_share_all_words(gazette):
    train = gazette.task("paraphrase", "train")
    assert all(example.text != example.pair for example in train)
    numbers = set(World.of_tasks().lists["number"].strings)
    for example in train:
        if example.label == "1":
            one, other = (set(words_of(text)) & numbers for text in (example.text, example.pair))
            assert one == other, example
    assert any(set(words_of(e.text)) == set(words_of(e.pair)) for e in train if e.label == "0")


def test_faults_are_of_four_kinds_and_change_one_thing(gazette):
    dice, found = gazette.dice("faults"), Counter()
    for _ in range(1500):
        sentence = any_sentence(gazette, dice)
        for kind, find in FAULTS.items():
            for text in find(gazette.world, sentence):
                found[kind] += 1
                before, after = words_of(sentence.text), words_of(text)
                assert before != after, text
                if kind == "order":
                    assert sorted(before) == sorted(after)
                    assert sum(a != b for a, b in zip(before, after, strict=True)) == 2
                elif kind == "missing":
                    assert len(before) == len(after) + 1
                else:
                    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1, text
    assert set(found) == {"agreement", "pronoun", "order", "missing"}
    assert min(found.values()) > 60


def test_sound_sentences_are_of_the_corpus(gazette):
    sound = [e.text for e in gazette.task("acceptability", "train", 200) if e.label == "1"]
    for text in sound[:60]:
        assert is_possible(gazette, text), text


# --- continuation -------------------------------------------------------------------------------------


def test_choices_have_four_different_ways_and_any_place_is_right(gazette):
    train = gazette.task("continuation", "train", 1500)
    assert all(len(set(choice.options)) == 4 for choice in train)
    counts = Counter(choice.label for choice in train)
    assert all(abs(counts[place] / 1500 - 1 / 4) < 0.05 for place in range(4))
    assert train[:5] == gazette.task("continuation", "train", 5)
    texts = {choice.text for choice in train}
    assert not texts & {choice.text for choice in gazette.task("continuation", "test", 500)}


def test_the_right_way_is_possible_and_the_others_are_not(gazette):
    """By the sums over all plans, read as part of a document: a wrong way has no probability."""
    def likelihood(text: str, option: str) -> float:
        sentences = [words_of(sentence) for sentence in (*re.findall(r"[^.?]+[.?]\"?", text), option)]
        best = 0.0
        for story in gazette.world.stories:
            for shape in story.shapes:
                for start in range(len(shape) - 3):
                    readings = [gazette.exact.readings(role, words)
                                for role, words in zip(shape[start:start + 4], sentences, strict=True)]
                    for one in readings[0]:
                        for two in readings[1]:
                            for three in readings[2]:
                                for four in readings[3]:
                                    whole = one.together(two).together(three).together(four)
                                    if whole.possible():
                                        best += whole.number * gazette.exact.evidence(story, whole.vectors)
        return best

    checked = 0
    for choice in gazette.task("continuation", "dev", 60):
        if len(re.findall(r"[^.?]+[.?]\"?", choice.text)) != 3 or '"' in choice.text:
            continue
        found = [likelihood(choice.text, option) for option in choice.options]
        assert found[choice.label] > 0, choice
        assert sum(found) == pytest.approx(found[choice.label]), choice
        checked += 1
    assert checked > 25


def test_shared_words_do_not_tell_how_a_text_goes_on(gazette):
    test = gazette.task("continuation", "test", 800)

    def shared(choice, place):
        return len(set(words_of(choice.text)) & set(words_of(choice.options[place])))

    most = np.mean([max(range(4), key=lambda i, c=choice: shared(c, i)) == choice.label for choice in test])
    least = np.mean([min(range(4), key=lambda i, c=choice: shared(c, i)) == choice.label for choice in test])
    print(f"\ncontinuation: most shared words {most:.1%}, least {least:.1%}")
    assert max(most, least) < 0.5


def test_a_bag_of_words_guesses_how_a_text_goes_on(gazette):
    train, test = gazette.task("continuation", "train", 800), gazette.task("continuation", "test", 400)
    right = np.mean([a == choice.label for a, choice in zip(chosen(train, test), test, strict=True)])
    print(f"\ncontinuation: bag of words {right:.1%}")
    assert 0.2 < right < 0.6


def test_possible_values_are_those_that_all_sentences_allow(gazette):
    dice = gazette.dice("possible")
    plan = gazette.plan(dice, gazette.world.stories[0].name)
    written = [gazette.write(dice, "harbour_unload", plan) for _ in range(20)]
    allowed = possible(written, "hero")
    assert allowed is not None
    assert allowed[plan["hero"]]
    assert allowed.sum() == 1
    assert possible(written, "emotion") is None


# --- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LABELS)
def test_exported_sentences_and_pairs_are_read_back(gazette, tmp_path, name):
    gazette.export(name, tmp_path / "there", n=400)
    read = read_task(tmp_path / "there", "classify")
    assert read["train"] == gazette.task(name, "train", 400)
    assert read["test"] == gazette.task(name, "test")


def test_exported_choices_are_read_back(gazette, tmp_path):
    gazette.export("continuation", tmp_path / "there", n=20)
    assert read_choices(tmp_path / "there")["train"] == gazette.task("continuation", "train", 20)
    header = (tmp_path / "there" / "train.csv").read_text().split("\n")[0]
    assert header.startswith(",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,")
