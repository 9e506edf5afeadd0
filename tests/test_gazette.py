"""The Gazette's sums against brute force, on a world small enough to write out in full."""

from __future__ import annotations

import itertools
import math
import tomllib
from collections import Counter, defaultdict

import pytest

from bertmini.errors import InputError
from bertmini.gazette import Gazette, World, words_of
from bertmini.gazette.world import Slot

TINY = """
[agreement]
is = "are"
[lists]
when = "now*2 / at noon / at noon today"
[variables.who]
columns = "name | pronoun"
rows = '''
Ann*1 | she
Bob | he
Cy | he
'''
[variables.other]
unlike = "who"
[variables.mood]
parent = "who"
columns = "name | given | cry"
rows = '''
glad | 3 1 1 | hurrah*3 / oh
sad | 1 2 1 | oh / alas
'''
[variables.thing]
columns = "name | pronoun"
rows = '''
eggs | they
egg soup | it
'''
[roles]
open = [
  "2: {who} has {thing}[ today|] {when}.",
  "{who} has egg[ soup|] {when}.",
  "{thing} {thing.is} here {when}.",
]
feel = ["{mood.cry}, says {other}, {who.he} is {mood}.", "{mood.cry}, says {who}, {other.he} is [glad|sad]."]
[roles.end]
by = "mood"
glad = ["all is well."]
sad = ["all is lost.", "3: all is [well|over]."]
[stories.long]
kind = "article"
weight = 2
shapes = ["open feel end", "open end*2", "feel end"]
[stories.short]
kind = "notice"
prior.mood = "sad*1"
prior.who = "Ann*1 / Bob*4"
shapes = ["open end"]
"""


@pytest.fixture(scope="module")
def tiny() -> Gazette:
    return Gazette(seed=3, world=World(tomllib.loads(TINY)))


def sentence_chances(world: World, role_name: str, plan: dict[str, int]) -> dict[tuple[str, ...], float]:
    role = world.roles[role_name]
    row = plan[role.variable] if role.variable else 0
    chances: dict[tuple[str, ...], float] = defaultdict(float)
    before = 0
    for template, bound in zip(role.templates[row], role.bounds[row], strict=True):
        share, before = (bound - before) / role.bounds[row][-1], bound
        options = [piece.choices[plan[piece.variable] if piece.variable else 0].items()
                   if isinstance(piece, Slot) else [(piece, 1.0)] for piece in template.pieces]
        for parts in itertools.product(*options):
            chances[words_of("".join(text for text, _ in parts))] += share * math.prod(p for _, p in parts)
    return chances


def all_texts(world: World) -> dict[tuple[tuple[str, ...], ...], float]:
    """Every text of a world and its probability: all stories, shapes, plans and sentences, one by one."""
    texts: dict[tuple[tuple[str, ...], ...], float] = defaultdict(float)
    total = sum(story.weight for story in world.stories)
    names = list(world.variables)
    for story in world.stories:
        for values in itertools.product(*(range(len(world.variables[name].values)) for name in names)):
            plan = dict(zip(names, values, strict=True))
            chance = story.weight / total
            for name, variable in world.variables.items():
                weights = story.priors.get(name, variable.weights)
                row = weights[plan[variable.parent] if variable.parent else 0]
                chance *= row[plan[name]] / row.sum()
            before = 0
            for shape, bound in zip(story.shapes, story.bounds, strict=True):
                share, before = (bound - before) / story.bounds[-1], bound
                options = [sentence_chances(world, role, plan).items() for role in shape]
                for sentences in itertools.product(*options):
                    texts[tuple(words for words, _ in sentences)] += (
                        chance * share * math.prod(p for _, p in sentences))
    return {text: chance for text, chance in texts.items() if chance > 0}


@pytest.fixture(scope="module")
def texts(tiny):
    return all_texts(tiny.world)


def test_probabilities_of_all_texts_sum_to_one(tiny, texts):
    assert len(texts) > 1000
    assert math.fsum(tiny.exact.probability(text) for text in texts) == pytest.approx(1.0, abs=1e-12)


def test_log_prob_equals_brute_force(tiny, texts):
    for text, chance in texts.items():
        assert tiny.log_prob([" ".join(words) for words in text]) == pytest.approx(math.log(chance), abs=1e-9)


def test_masked_word_equals_brute_force(tiny, texts):
    around: dict[tuple, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for text, chance in texts.items():
        for s, words in enumerate(text):
            for w, word in enumerate(words):
                masked = (*words[:w], None, *words[w + 1:])
                around[(*text[:s], masked, *text[s + 1:])][word] += chance
    checked = 0
    for number, (text, chances) in enumerate(around.items()):
        if number % 7 == 0:                           # every seventh of the places is enough, and quick
            exact = tiny.exact.masked_word(text)
            total = math.fsum(chances.values())
            by_hand = {word: chance / total for word, chance in chances.items()}
            assert exact == pytest.approx(by_hand, abs=1e-9)
            checked += len(exact) > 1
    assert checked > 100


def test_samples_follow_the_probabilities(tiny, texts):
    n = 20_000
    counts = Counter(tuple(map(words_of, document.sentences)) for document in tiny.documents(n))
    assert set(counts) <= set(texts)
    for text, chance in texts.items():
        assert abs(counts[text] - n * chance) < 5.5 * math.sqrt(n * chance) + 3


def test_posterior_of_a_hidden_variable_equals_brute_force(tiny):
    story = tiny.world.stories[0]
    text = [words_of("oh, says Bob, she is glad.")]
    assert tiny.exact.posterior([*text, words_of("all is well.")], "mood")["glad"] == pytest.approx(
        posterior_by_hand(tiny.world, story, text[0]))


def posterior_by_hand(world, story, feel):
    scores = []
    for mood in (0, 1):
        score = 0.0
        for who, other in itertools.permutations(range(3), 2):
            plan = {"who": who, "other": other, "mood": mood, "thing": 0}
            weights = world.variables["mood"].weights[who]
            score += (weights[mood] / weights.sum() * sentence_chances(world, "feel", plan).get(feel, 0.0)
                      * sentence_chances(world, "end", plan).get(words_of("all is well."), 0.0))
        scores.append(score)
    return scores[0] / sum(scores)


def test_texts_that_cannot_be_have_no_probability(tiny):
    assert tiny.log_prob("Dee has eggs now. All is well.") == -math.inf
    assert tiny.log_prob("All is well.") == -math.inf
    assert tiny.log_prob("") == -math.inf
    assert tiny.masked_word(["Dee has eggs now.", "All is well."], 1, 0) == {}


def test_case_and_spacing_are_typography(tiny):
    document = tiny.documents(1)[0]
    assert tiny.log_prob(document.text.upper()) == tiny.log_prob(document.sentences) > -math.inf
    assert tiny.log_prob(document.text.replace(" ", "  ")) == tiny.log_prob(document.text)


@pytest.mark.parametrize(("call", "words"), [
    (lambda g: g.documents(1, "dvelopment"), "split 'dvelopment'"),
    (lambda g: g.documents(1, kind="poem"), "kind 'poem'"),
    (lambda g: g.masked_word(["All is well."], 0, 4), "no word 4 in sentence 0"),
    (lambda g: g.task("emotions"), "task 'emotions'"),
    (lambda g: g.world.slot("who.hat"), "{who.hat}"),
    (lambda g: g.world.template("a [{who}|b]"), "no slots inside a choice"),
    (lambda g: g.world.template("egg[s|]."), "runs across a seam"),
])
def test_mistakes_are_told_in_one_line(tiny, call, words):
    with pytest.raises(InputError) as error:
        call(tiny)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
