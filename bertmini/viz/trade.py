"""Quality beside cost: what is worth having of many models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bertmini.errors import InputError
from bertmini.viz.picture import Picture
from bertmini.viz.style import COLOURS, INK

LARGEST_DOT = 700.0  # points², the area of the largest dot


def trade_off(
    points: Mapping[str, tuple[float, float, float]],
    front: Sequence[str],
    xlabel: str,
    ylabel: str,
    title: str | None = None,
) -> Picture:
    """Models as dots, quality over cost, and a line through those that no other beats.

    Args:
        points: by name (cost, quality as a share, size); a dot's area is its size.
        front: names of those that no other is as good as and cheaper (the Pareto front), the cheapest first.
        xlabel: what the cost is, with its unit.
        ylabel: what the quality is.
        title: above the picture.
    Returns:
        The picture. Dots have numbers, from the cheapest on, and their names stand below.
    Raises:
        InputError: there is no point, or the front names one that is not there.
    """
    if not points or not set(front) <= set(points):
        raise InputError(f"trade-off: of {list(points)} the front is {list(front)}; expected names of points")
    order = sorted(points, key=lambda name: points[name][0])
    largest = max(size for _, _, size in points.values())
    picture = Picture(6.4, 3.4 + 0.22 * -(-len(points) // 2))
    axis = picture.axis
    costs, qualities, _ = zip(*points.values(), strict=True)
    width, height = (max(ends) - min(ends) or 1.0 for ends in (costs, qualities))
    labels: list[tuple[float, float]] = []  # where numbers stand
    ends = [points[name][:2] for name in front]
    axis.plot(*zip(*ends, strict=True), color=INK, linestyle="--", linewidth=1.2, zorder=1)
    for number, name in enumerate(order, start=1):
        cost, quality, size = points[name]
        is_best = name in front
        colour = COLOURS[0] if is_best else COLOURS[1]
        mark = "o" if is_best else "s"  # so that colour never speaks alone
        axis.scatter([cost], [quality], LARGEST_DOT * size / largest, color=colour, marker=mark, alpha=0.45,
                     label=f"{number} {name}", zorder=2)  # fmt: skip
        place = quality  # of the number: on its dot, or above where another stands
        while any(abs(cost - x) < 0.05 * width and abs(place - y) < 0.08 * height for x, y in labels):
            place += 0.08 * height
        labels.append((cost, place))
        axis.annotate(str(number), (cost, quality), (cost, place), ha="center", va="center", fontsize=9,
                      color=INK, zorder=3,
                      arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6})  # fmt: skip
    axis.margins(0.15)
    axis.yaxis.set_major_formatter("{x:.0%}")
    axis.set_xlabel(f"{xlabel}; circles: no other is faster and as good")
    axis.set_ylabel(ylabel)
    axis.grid()
    legend = picture.figure.legend(loc="outside lower center", ncols=2, fontsize=9, labelcolor=INK)
    for handle in legend.legend_handles:
        handle.set_sizes([40.0])
    if title:
        axis.set_title(title)
    told = [f"{name} {points[name][1]:.1%} at {points[name][0]:.3g}" for name in order]
    picture.alt = (
        f"{title or 'Quality over cost'}, {xlabel}: {'; '.join(told)}. No other beats {', '.join(front)}."
    )
    return picture
