"""Training as a curve, with the limit that no model can pass drawn in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bertmini.errors import InputError
from bertmini.viz.picture import Picture
from bertmini.viz.style import COLOURS, DASHES, INK


def loss_curve(
    log: str | Path | Iterable[Mapping[str, Any]],
    names: Iterable[str] | None = None,
    limit: float | None = None,
    baseline: float | None = None,
    baseline_name: str = "without learning",
    ylabel: str = "loss (nats)",
    title: str | None = None,
) -> Picture:
    """The loss over the steps, each objective a line with its own dash and its name at its end.

    Args:
        log: a `log.jsonl`, a run directory that holds one, or its rows as mappings with "step" and numbers.
        names: the values to draw; by default every one whose name is or ends in "loss" or an objective's.
        limit: the best possible value; the last value's distance to it is written beside the curve.
        baseline: the value that needs no learning, or little.
        baseline_name: what that is, written on its line.
        ylabel: the values' name and unit.
        title: above the picture.
    Returns:
        The picture.
    Raises:
        InputError: when the log holds no such value.
    """
    rows = _rows(log)
    known = sorted({key for row in rows for key in row})
    names = list(names) if names else _losses(rows)
    if not names:
        raise InputError(f"no loss in the log: its rows hold {known}")
    picture = Picture(6.4, 3.4)
    axis = picture.axis
    parts: list[str] = []
    ends: list[tuple[float, float, str]] = []  # of the curves, with their names
    late: list[float] = []  # values in the last third
    for index, name in enumerate(names):
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        if not points:
            raise InputError(f"no {name!r} in the log: its rows hold {known}")
        steps, values = zip(*points, strict=True)
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        axis.plot(steps, values, color=colour, linestyle=dash)
        ends.append((values[-1], steps[-1], f" {name} {values[-1]:.2f}"))
        late += values[2 * len(values) // 3 :]
        parts.append(f"{name} goes from {values[0]:.2f} to {values[-1]:.2f}")
    low, high = axis.get_ylim()
    if baseline is not None:
        axis.axhline(baseline, color=INK, linewidth=1, linestyle=":")
        # Its name stands over the line, or under it where a curve runs just above.
        crowded = any(0 < value - baseline < 0.1 * (high - low) for value in late)
        at_the_right = {"xycoords": axis.get_yaxis_transform(), "ha": "right"}
        at_the_right["va"] = "top" if crowded else "bottom"
        axis.annotate(f"{baseline_name} {baseline:.2f}", (1, baseline), color=INK, fontsize=9, **at_the_right)
        parts.append(f"{baseline_name}: {baseline:.2f}")
    low, high = axis.get_ylim()
    height = low
    for value, step, words in sorted(ends):  # names of curves that end together stand one above the other
        height = max(value, height)
        axis.annotate(words, (step, height), color=INK, va="center", annotation_clip=False)
        height += 0.065 * (high - low)
    if limit is not None:
        axis.axhline(limit, color=INK, linewidth=1.4)
        # The distance belongs to the first line: the limit is one objective's.
        first = [row[names[0]] for row in rows if row.get(names[0]) is not None][-1]
        away = round(first, 2) - round(limit, 2)  # of the numbers that are shown
        label = f"limit {limit:.2f}"
        if first - limit > 0.2 * (axis.get_ylim()[1] - limit):
            arrow = {"arrowstyle": "<->", "color": INK}
            last = ends[0][1]
            axis.annotate("", (last, limit), (last, first), arrowprops=arrow)
            middle = (last, (first + limit) / 2)
            above = f"{away:.2f} above \nthe limit "
            axis.annotate(above, middle, ha="right", va="center", fontsize=9, color=INK)
        else:  # no room for an arrow
            label += f", {away:.2f} below {names[0]}"
        axis.annotate(label, (steps[0], limit), color=INK, va="bottom", fontsize=9)
        parts.append(f"the limit is {limit:.2f}, {away:.2f} away")
    axis.set_xlabel("step")
    axis.set_ylabel(ylabel)
    axis.margins(x=0.02)
    axis.grid(axis="y")
    if title:
        axis.set_title(title)
    picture.alt = f"{title or 'Loss over steps'}: {'; '.join(parts)}."
    return picture


def learning_curve(
    runs: Mapping[str, Mapping[int, Sequence[float]]],
    limit: float | None = None,
    ylabel: str = "accuracy on unread texts",
    title: str | None = None,
) -> Picture:
    """How good a model is over the number of its labels: the mean of several runs, and from worst to best.

    Args:
        runs: by name of the start and by number of labels, the results of one or more runs.
        limit: the best possible value.
        ylabel: what the results are.
        title: above the picture.
    Returns:
        The picture, the labels on a logarithmic axis.
    Raises:
        InputError: there is nothing to draw, or a number of labels without a result.
    """
    if not runs or not all(of_start and all(of_start.values()) for of_start in runs.values()):
        raise InputError("learning_curve: a start or a number of labels is without results")
    picture, told = Picture(6.4, 3.6), []
    axis = picture.axis
    for number, (name, of_start) in enumerate(runs.items()):
        colour, dash, mark = (kinds[number % len(kinds)] for kinds in (COLOURS, DASHES, "osD^v"))
        counts = sorted(of_start)
        means = [sum(of_start[count]) / len(of_start[count]) for count in counts]
        spread = [
            [mean - min(of_start[count]) for count, mean in zip(counts, means, strict=True)],
            [max(of_start[count]) - mean for count, mean in zip(counts, means, strict=True)],
        ]
        how = {"color": colour, "linestyle": dash, "marker": mark, "markersize": 5, "capsize": 3}
        axis.errorbar(counts, means, yerr=spread, label=name, **how)
        points = ", ".join(f"{mean:.0%} at {count}" for count, mean in zip(counts, means, strict=True))
        told.append(f"{name} {points}")
    ticks = sorted({count for of_start in runs.values() for count in of_start})
    if limit is not None:
        axis.axhline(limit, color=INK, linewidth=1.4)
        axis.annotate(f"best possible {limit:.0%}", (ticks[0], limit), color=INK, va="bottom", fontsize=9)
        told.append(f"the best possible is {limit:.0%}")
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.minorticks_off()
    axis.yaxis.set_major_formatter("{x:.0%}")
    axis.set_xlabel("labelled texts")
    axis.set_ylabel(ylabel)
    axis.grid(axis="y")
    picture.figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False, labelcolor=INK)
    if title:
        axis.set_title(title)
    picture.alt = f"{title or 'Accuracy over the number of labels'}: {'; '.join(told)}."
    return picture


def range_curve(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    marks: Mapping[str, float],
    title: str | None = None,
) -> Picture:
    """A learning-rate range test: the loss over the rate, with the rates that it suggests.

    Args:
        rates: rising.
        losses: the loss at each, as dots.
        smoothed: the same without the noise, as a line.
        marks: rates by name, each a vertical line.
        title: above the picture.
    Returns:
        The picture, the rates on a logarithmic axis.
    """
    picture = Picture(6.4, 3.4)
    axis = picture.axis
    axis.plot(rates, losses, ".", color=INK, markersize=3, label="each batch")
    axis.plot(rates, smoothed, color=COLOURS[0], label="smoothed")
    marks = {name.replace("_", " "): rate for name, rate in marks.items()}
    for number, (name, rate) in enumerate(marks.items(), start=1):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        axis.axvline(rate, color=colour, linestyle=dash, label=f"{name}: {rate:.1e}")
    axis.set_xscale("log")
    # Where the loss has blown up it would press all else flat.
    low, high = min(smoothed), max(smoothed[: max(1, len(smoothed) // 2)])
    axis.set_ylim(low - 0.3 * (high - low), high + 1.2 * (high - low))
    axis.set_xlabel("learning rate")
    axis.set_ylabel("loss (nats)")
    axis.grid(axis="y")
    picture.figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False, labelcolor=INK)
    if title:
        axis.set_title(title)
    told = [f"{name} at {rate:.1e}" for name, rate in marks.items()]
    picture.alt = (
        f"{title or 'Loss over the learning rate'}: {smoothed[0]:.2f} at {rates[0]:.0e}, lowest "
        f"{low:.2f}, {smoothed[-1]:.2f} at {rates[-1]:.0e}; {', '.join(told)}."
    )
    return picture


def schedule_curves(curves: Mapping[str, Sequence[float]], title: str | None = None) -> Picture:
    """Learning-rate schedules side by side, three in a row.

    Args:
        curves: for each its factor at every step.
        title: above the picture.
    Returns:
        The picture.
    """
    rows = -(-len(curves) // 3)
    picture = Picture(6.4, 1.6 * rows, rows, 3)
    for axis in picture.axes.flat:
        axis.set_visible(False)
    for axis, (name, factors) in zip(picture.axes.flat, curves.items(), strict=False):
        axis.set_visible(True)
        axis.plot(factors, color=COLOURS[0])
        axis.set_title(name, fontsize=10)
        axis.set_ylim(0, 1.08)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y")
    picture.figure.supxlabel("step", color=INK, fontsize=9)
    picture.figure.supylabel("factor of the learning rate", color=INK, fontsize=9)
    if title:
        picture.figure.suptitle(title, color=INK)
    told = [
        f"{name} from {factors[0]:.2g} over {max(factors):.2g} at step {list(factors).index(max(factors))} "
        f"to {factors[-1]:.2g}"
        for name, factors in curves.items()
    ]
    picture.alt = f"{title or 'Learning-rate schedules'}: {'; '.join(told)}."
    return picture


def _rows(log: str | Path | Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if not isinstance(log, (str, Path)):
        return list(log)
    file = Path(log)
    file = file / "log.jsonl" if file.is_dir() else file
    if not file.is_file():
        raise InputError(f"{file} does not exist: a run directory holds a log.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def _losses(rows: list[Mapping[str, Any]]) -> list[str]:
    names = {key: None for row in rows for key, value in row.items() if isinstance(value, (int, float))}
    objectives = ("loss", "mlm", "nsp", "sop", "ltr", "rtl")
    return [name for name in names if name.split("_")[-1].split("/")[-1] in objectives]
