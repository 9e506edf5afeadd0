"""The Predictor: one, many, or a stream, always in order."""

from __future__ import annotations

import itertools
import random

import pytest

from bertmini import InputError, Predictor
from bertmini.data.task_files import Example


@pytest.fixture(scope="module")
def moods(classifier) -> Predictor:
    return Predictor.from_pretrained(classifier)


def test_one_text_gives_one_answer(moods):
    answer = moods("the captain was happy on day 3")
    assert set(answer) == {"label", "score", "scores"}
    assert answer["label"] == "joy"
    assert set(answer["scores"]) == {"joy", "fear", "anger"}


def test_answers_keep_the_order_of_texts_of_all_lengths(classifier):
    moods = Predictor.from_pretrained(classifier, batch_size=2)
    words = {"happy": "joy", "afraid": "fear", "angry": "anger"}
    rng = random.Random(0)
    drawn = [rng.choice(list(words)) for _ in range(100)]
    texts = [f"the captain was {word} on day 3" + " ." * rng.randrange(30) for word in drawn]
    one_by_one = [moods(text) for text in texts]
    together = moods(texts)
    assert [a["label"] for a in together] == [a["label"] for a in one_by_one]
    for a, b in zip(together, one_by_one, strict=True):
        assert a["scores"] == pytest.approx(b["scores"], abs=1e-5)


def test_a_generator_is_read_a_window_at_a_time(moods):
    taken = itertools.count()
    stream = moods(f"the captain was happy on day {i}" for i in taken)
    first = [next(stream)["label"] for _ in range(5)]
    assert first == ["joy"] * 5
    assert next(taken) <= 16 * moods.batch_size + 1


def test_a_list_gives_a_list_and_nothing_gives_nothing(moods):
    assert moods([]) == []
    assert len(moods(["a", "b"])) == 2


def test_a_pair_can_be_written_in_three_ways(moods):
    answers = moods(
        [
            ("a happy day", "a captain"),
            {"text": "a happy day", "pair": "a captain"},
            Example("a happy day", "a captain"),
        ]
    )
    assert answers[0] == answers[1] == answers[2]
    assert answers[0] != moods("a happy day")


def test_a_long_text_is_cut_at_the_position_table(moods):
    assert "label" in moods("happy " * 2000)


def test_what_is_no_text_is_named(moods):
    with pytest.raises(InputError, match="expected a string"):
        moods([{"txt": "typo"}])


def test_each_mask_gets_its_candidates_in_falling_order(pretrained):
    filled = Predictor.from_pretrained(pretrained, top=3)("the [MASK] is in the [MASK] .")
    assert filled["text"] == "the [MASK] is in the [MASK] ."
    assert [len(candidates) for candidates in filled["masks"]] == [3, 3]
    for candidates in filled["masks"]:
        scores = [candidate["score"] for candidate in candidates]
        assert scores == sorted(scores, reverse=True)


def test_a_text_without_a_mask_is_refused(pretrained):
    with pytest.raises(InputError, match=r"no \[MASK\] in"):
        Predictor.from_pretrained(pretrained)("nothing is missing")


def test_a_bare_encoder_answers_nothing(tmp_path, pretrained):
    from bertmini import Bert

    Bert.from_pretrained(pretrained).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="fine-tune it first"):
        Predictor.from_pretrained(tmp_path)


def test_a_checkpoint_without_its_head_is_refused(tmp_path, pretrained):
    import json
    import shutil

    shutil.copytree(pretrained, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"architectures": ["BertForSequenceClassification"]})
    )
    with pytest.raises(InputError, match="lacks classifier"):
        Predictor.from_pretrained(tmp_path)
