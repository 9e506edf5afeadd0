"""Results with how sure they are: a row for each model, its runs, their mean and the interval around it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bertmini.errors import InputError
from bertmini.viz.picture import Picture
from bertmini.viz.style import COLOURS, INK

FEWEST = 3  # runs whose interval is drawn: that of two is 13 times as wide as they lie apart


def mean_interval(scores: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The mean of several runs, and how far to each side its t-interval reaches.

    Where runs scatter normally, such an interval holds the mean of all possible runs in a share `level` of
    all cases.

    Args:
        scores: one of each run, two at least.
        level: between 0 and 1.

    Returns:
        The mean and half of the interval's width, in the unit of the scores.

    Raises:
        InputError: there are fewer than two scores, or the level is no share.

    Source: Student 1908, The Probable Error of a Mean.
    """
    if len(scores) < 2:
        raise InputError(f"an interval needs two runs or more, and here are {len(scores)}; run more seeds")
    if not 0 < level < 1:
        raise InputError(f"the level of an interval is {level}; it must be between 0 and 1")
    from scipy.stats import t

    error = statistics.stdev(scores) / len(scores) ** 0.5  # of the mean
    return statistics.fmean(scores), float(t.ppf((1 + level) / 2, len(scores) - 1)) * error


def interval_rows(
    panels: Mapping[str, Mapping[str, Sequence[float]]], title: str | None = None
) -> Picture:
    """Models below each other, in a panel for each measure: runs as dots, their mean, and its interval.

    Args:
        panels: by measure and by model the scores, one of each run; there may be none. The first model's mean
            has a dashed line.
        title: above the picture.

    Returns:
        The picture. From three runs on the mean has its interval of 95 %.

    Raises:
        InputError: there is no score at all.
    """
    names = list(dict.fromkeys(name for rows in panels.values() for name in rows))
    if not any(scores for rows in panels.values() for scores in rows.values()):
        raise InputError("interval_rows: there is no score to draw")
    picture = Picture(min(8.6, 2.6 + 2.1 * len(panels)), 1.1 + 0.36 * len(names), columns=len(panels))
    told = []
    for axis, (measure, rows) in zip(picture.axes[0], panels.items(), strict=True):
        ends: list[float] = []  # of what is drawn
        words = []
        for place, name in enumerate(names):
            scores = list(rows.get(name, ()))
            if not scores:
                words.append(f"{name} not measured")
                continue
            mean, half = mean_interval(scores) if len(scores) >= FEWEST else (statistics.fmean(scores), 0.0)
            if half:
                axis.plot([mean - half, mean + half], [place] * 2, color=COLOURS[0], linewidth=4, alpha=0.4,
                          linestyle="-", solid_capstyle="butt")  # fmt: skip
            axis.plot(scores, [place] * len(scores), "o", color=INK, markersize=3.5)
            axis.plot([mean], [place], "|", color=COLOURS[0], markersize=15, markeredgewidth=2.4)
            ends += [*scores, mean - half, mean + half]
            sure = f" ± {half:.2g}" if half else ""
            words.append(f"{name} {mean:.3g}{sure} ({len(scores)} run{'s' * (len(scores) > 1)})")
        if first := rows.get(names[0]):
            axis.axvline(statistics.fmean(first), color=INK, linestyle="--", linewidth=1, zorder=0)
        if ends:
            margin = 0.08 * (max(ends) - min(ends)) or 0.5
            axis.set_xlim(min(ends) - margin, max(ends) + margin)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_yticks(range(len(names)), names if axis is picture.axis else [])
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x")
        axis.locator_params(axis="x", nbins=4)
        axis.set_xlabel(measure)
        told.append(f"{measure}: {', '.join(words)}")
    if title:
        picture.figure.suptitle(title, fontsize=11, color=INK)
    picture.alt = f"{title or 'Means of runs'}. {'; '.join(told)}."
    return picture
