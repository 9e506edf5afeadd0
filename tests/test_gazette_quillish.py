"""Quillish: a language with rules, in which every English sentence has one translation."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict

import pytest
import sacrebleu

from bertmini.data.parallel import Parallel, read_parallel
from bertmini.gazette import Gazette
from bertmini.gazette.baselines import translated
from bertmini.gazette.quillish import LOCATIVE, Meaning, Noun, mean, quillish, read_verbs, vocabulary
from bertmini.gazette.world import World


@pytest.fixture(scope="module")
def gazette() -> Gazette:
    return Gazette()


@pytest.fixture(scope="module")
def train(gazette) -> list[Parallel]:
    return gazette.task("quillish", "train", 8000)


def test_the_rules_by_hand():
    stem = vocabulary()
    pilot = Noun("the old pilot", (stem["pilot"], stem["old"]))
    kettles = Noun("two rusty kettles", (stem["kettle"], stem["rusty"]), stem["two"])
    given = Meaning(("give", "gave", "given"), "past", True, False, Noun("Silas", ("silas",)), kettles, pilot,
                    ("the Fish Market", "at the Fish Market"), "on Monday")
    words = [stem["on Monday"], stem["the Fish Market"] + "m", "silas", stem["pilot"] + "r",
             stem["old"] + "r", stem["kettle"] + "lin", stem["rusty"] + "lin", stem["two"], "nu",
             stem["give"] + "t"]
    assert given.quillish() == " ".join(words) + "."
    assert given.english(False, True, True) == (
        "On Monday Silas did not give the old pilot two rusty kettles at the Fish Market.")
    assert given.english(True, False, False) == (
        "Two rusty kettles were not given to the old pilot by Silas at the Fish Market on Monday.")
    assert Noun("Silas", ("silas",)).quillish("r") == "silaser"
    assert Noun("Mara", ("mara",)).quillish("r") == "marar"


def test_the_language_is_the_same_for_ever():
    stem = vocabulary()
    assert [stem[word] for word in ("kettle", "netmaker", "give", "the Fish Market", "twelve")] == [
        "nipi", "revo", "rogo", "lise", "momo"]
    assert len(set(stem.values())) == len(stem) == 171
    assert all(re.fullmatch("([bdfgklmnprstvz][aeiou]){2}", word) for word in stem.values())
    assert all(word + LOCATIVE not in stem.values() for word in stem.values())


def test_one_english_sentence_has_one_translation(train):
    translations = defaultdict(set)
    for pair in train:
        translations[pair.source].add(pair.target)
    assert all(len(each) == 1 for each in translations.values())


def test_a_meaning_has_six_ways_in_english(gazette):
    dice = gazette.dice("a meaning")
    meaning = next(m for m in (mean(Gazette(world=World.of_tasks()), dice) for _ in range(99))
                   if m.whom and m.when and not m.is_asked)
    assert len({meaning.english(*ways) for ways in itertools.product((False, True), repeat=3)}) == 6


def test_nothing_that_is_told_is_lost(train):
    """Each English word that means something has its stem in the translation, and no other stem is there."""
    stem = vocabulary()
    phrases = sorted(stem, key=len, reverse=True)
    for pair in train[:1500]:
        if "painted" in pair.source or "broken" in pair.source:   # verbs there, adjectives here
            continue
        rest, stems = pair.source.lower(), Counter()
        for infinitive, *forms in (verb for verbs in read_verbs().values() for verb in verbs):
            for form in {*forms}:
                rest = re.sub(rf"\b{form}\b", infinitive, rest)
        for phrase in phrases:
            pattern = rf"\b{phrase.lower()}(?:e?s|e?d)?\b"
            stems[stem[phrase]] += len(re.findall(pattern, rest))
            rest = re.sub(pattern, " ", rest)
        target = Counter(word[:4] for word in re.findall(r"\w+", pair.target) if word[:4] in stem.values()
                         and re.fullmatch(r"\w{4}(li)?(n|r|m|t|sh)?", word))
        assert +stems == target, pair


def test_english_is_typed_properly_and_agrees(train):
    for pair in train:
        assert re.fullmatch(r"[A-Z][\w' ]+[.?]", pair.source), pair.source
        assert not re.search(r"  |\b(\w+) \1\b", pair.source.lower()), pair.source
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", pair.source), pair.source
        assert pair.target == pair.target.lower()
        assert pair.source[-1] == pair.target[-1]
        assert (pair.source[-1] == "?") == pair.target.startswith("ko ")
        assert ("not" in pair.source.split()) == (" nu " in pair.target)
        if found := re.match(r"(\w+) .*\b(was|were)\b", pair.source):
            several = found[1].lower() in vocabulary()
            if found[1] not in ("The", "A", "An", "On", "At", "In", "Before", "Shortly", "After"):
                assert (found[2] == "were") == several, pair.source


def test_the_verb_comes_last_with_its_tense(train):
    for pair in train:
        last = pair.target.rstrip(".?").split()[-1]
        assert last.endswith("sh" if re.search(r"\b[Ww]ill\b", pair.source) else "t"), pair


def test_splits_share_no_sentence(gazette, train):
    sources = {pair.source for pair in train}
    assert sum(pair.source in sources for pair in gazette.task("quillish", "test")) <= 5


def test_a_dictionary_alone_translates_badly(gazette, train):
    """Word by word, in the English order."""
    test = gazette.task("quillish", "test")
    bleu = sacrebleu.corpus_bleu(translated(train, test), [[pair.target for pair in test]]).score
    print(f"\nquillish: word by word BLEU {bleu:.1f}")
    assert bleu < 20


def test_the_task_has_ten_thousand_pairs_and_is_read_back(gazette, tmp_path):
    assert len(gazette.task("quillish", "train")) == 10_000
    assert len(gazette.task("quillish", "dev")) == 1000
    gazette.export("quillish", tmp_path / "there", n=20)
    read = read_parallel(tmp_path / "there", ["en"], "qu")
    assert read["train"] == quillish(gazette, "train", 20)
    assert read["test"] == gazette.task("quillish", "test")
