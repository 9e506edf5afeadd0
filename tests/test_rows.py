"""Means of runs with their intervals, how they are drawn, and what chapter 08 says of common slips."""

from __future__ import annotations

import statistics

import pytest
import torch

pytest.importorskip("matplotlib", reason="the course's extra is not installed")

from scipy import stats

from bertmini import course
from bertmini.errors import InputError
from bertmini.viz.rows import interval_rows, mean_interval

SCORES = [80.0, 82.0, 81.0, 85.0, 82.0]


@pytest.mark.parametrize("scores", [[1.0, 2.0], [0.3, 0.1, 0.2], SCORES])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_intervals_are_those_of_scipy(scores, level):
    mean, half = mean_interval(scores, level)
    expected = stats.t.interval(level, len(scores) - 1, statistics.fmean(scores), stats.sem(scores))
    assert (mean - half, mean + half) == pytest.approx(expected)


def test_an_interval_of_95_percent_holds_the_true_mean_so_often():
    runs = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0)).tolist()
    inside = [abs(mean) <= half for mean, half in map(mean_interval, runs)]
    assert 0.935 < statistics.fmean(inside) < 0.965


def test_what_has_no_interval_is_refused():
    with pytest.raises(InputError, match="two runs or more, and here are 1"):
        mean_interval([1.0])
    with pytest.raises(InputError, match="level of an interval is 95"):
        mean_interval(SCORES, 95)


def test_rows_have_their_runs_means_and_intervals():
    panels = {
        "accuracy": {"old": SCORES, "new": [83.0], "other": []},
        "F1": {"old": [0.5, 0.7], "new": [0.1, 0.2, 0.3]},
    }
    picture = interval_rows(panels, title="Recipes")
    assert picture.alt == (
        "Recipes. accuracy: old 82 ± 2.3 (5 runs), new 83 (1 run), other not measured; "
        "F1: old 0.6 (2 runs), new 0.2 ± 0.25 (3 runs), other not measured."
    )
    left, right = picture.axes[0]
    assert [label.get_text() for label in left.get_yticklabels()] == ["old", "new", "other"]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first row is above
    lines = [(line.get_xdata(), line.get_linewidth()) for line in left.lines]
    assert [len(x) for x, width in lines if width == 4] == [2]  # one interval, since one run has none
    (ends,) = [x for x, width in lines if width == 4]
    assert (ends[1] - ends[0]) / 2 == pytest.approx(mean_interval(SCORES)[1])
    low, high = right.get_xlim()
    assert low < 0.2 - 0.24
    assert high > 0.7


def test_rows_without_a_score_are_refused():
    with pytest.raises(InputError, match="no score"):
        interval_rows({"F1": {"one": []}})


def normal(scores):
    half = 1.96 * stats.sem(scores)
    mean = statistics.fmean(scores)
    return mean - half, mean + half


def of_single_runs(scores):
    half = mean_interval(scores)[1] * len(scores) ** 0.5
    mean = statistics.fmean(scores)
    return mean - half, mean + half


def many_divided(scores):
    half = mean_interval(scores)[1] * ((len(scores) - 1) / len(scores)) ** 0.5
    mean = statistics.fmean(scores)
    return mean - half, mean + half


def theirs_less_ours(ours, theirs):
    mean, half = mean_interval([b - a for a, b in zip(ours, theirs, strict=True)])
    return mean - half, mean + half


def unpaired(ours, theirs):
    (a, half_a), (b, half_b) = mean_interval(ours), mean_interval(theirs)
    half = (half_a**2 + half_b**2) ** 0.5
    return a - b - half, a - b + half


def by_the_normal(spread, difference):
    return max(2, int((1.96 * spread / difference) ** 2) + 1)


def of_the_last_layer(masks):
    known = torch.eye(len(masks[0]))
    for mask in masks:
        known = ((mask.float() @ known + known) > 0).float()
    return int((known.tril(-1).any(1) & known.triu(1).any(1)).sum())


def of_each_mask_alone(masks):
    return sum(int((mask.tril(-1).any(1) & mask.triu(1).any(1)).sum()) for mask in masks)


def every_state(masks):
    return len(masks) * len(masks[0])


SLIPS = {
    "quantile of the normal distribution": ("08.1", normal),
    "that of their mean is narrower": ("08.1", of_single_runs),
    "divided by one less than their number": ("08.1", many_divided),
    "not the mean and half of the width": ("08.1", mean_interval),
    "yours returned 3": ("08.1", lambda scores: 3),
    "theirs less ours": ("08.2", theirs_less_ours),
    "take the differences first": ("08.2", unpaired),
    "larger than that of the normal": ("08.3", by_the_normal),
    "one run has no spread": ("08.3", lambda spread, difference: 1),
    "not those of the last": ("08.4", of_the_last_layer),
    "a state knows all that the states know": ("08.4", of_each_mask_alone),
    "nothing on its left": ("08.4", every_state),
}


@pytest.mark.parametrize("hint", list(SLIPS))
def test_common_slips_are_named(hint, capsys):
    number, attempt = SLIPS[hint]
    course.check(number, attempt)
    words = capsys.readouterr().out
    assert words.startswith(f"{number} ✗")
    assert hint in words
