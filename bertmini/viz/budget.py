"""What training costs, as pictures: parts that add up, the roofline, and time over the number of GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bertmini.errors import InputError
from bertmini.viz.picture import Picture
from bertmini.viz.style import COLOURS, DASHES, INK

HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")  # so that colour never speaks alone


def stacked_bars(
    bars: Mapping[str, Mapping[str, float]],
    unit: str,
    limits: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Picture:
    """Bars of parts that add up, one below the other.

    Args:
        bars: for each bar its parts by name, in one unit.
        unit: what is counted, for the axis.
        limits: values by name, each a line across all bars.
        title: above the picture.
    Returns:
        The picture.
    Raises:
        InputError: when there is no bar.
    """
    if not bars:
        raise InputError("stacked bars: there is no bar to draw")
    parts = list(dict.fromkeys(part for each in bars.values() for part in each))
    picture = Picture(6.4, 1.3 + 0.42 * len(bars))
    axis = picture.axis
    names = list(bars)
    ends = [0.0] * len(names)
    for number, part in enumerate(parts):
        sizes = [bars[name].get(part, 0.0) for name in names]
        axis.barh(
            names, sizes, left=ends, height=0.62, label=part, color=COLOURS[number % len(COLOURS)],
            hatch=HATCHES[number % len(HATCHES)], edgecolor="white", linewidth=0.6,
        )  # fmt: skip
        ends = [end + size for end, size in zip(ends, sizes, strict=True)]
    for place, end in enumerate(ends):
        axis.text(end, place, f" {end:.3g}", va="center", fontsize=9, color=INK)
    for number, (name, value) in enumerate((limits or {}).items()):
        axis.axvline(
            value, color=INK, linestyle=DASHES[(number + 1) % len(DASHES)], linewidth=1.2, label=name
        )
    axis.set_xlim(0, 1.12 * max([*ends, *(limits or {}).values()]))
    axis.invert_yaxis()
    axis.set_xlabel(unit)
    picture.figure.legend(loc="outside lower center", ncols=3, fontsize=9, labelcolor=INK)
    if title:
        axis.set_title(title)
    told = [
        f"{name} {end:.3g} ({', '.join(f'{part} {size:.3g}' for part, size in each.items() if size)})"
        for (name, each), end in zip(bars.items(), ends, strict=True)
    ]
    told += [f"line {name} at {value:.3g}" for name, value in (limits or {}).items()]
    picture.alt = f"{title or 'Stacked bars'}, {unit}: {'; '.join(told)}."
    return picture


def roofline(
    peak: float, bandwidth: float, points: Mapping[str, tuple[float, float]], title: str | None = None
) -> Picture:
    """What a processor can reach by how much it computes with each byte (Williams et al. 2009).

    Args:
        peak: operations a second.
        bandwidth: bytes a second.
        points: by name (operations a byte, operations a second), measured.
        title: above the picture.
    Returns:
        The picture, both axes logarithmic.
    """
    balance = peak / bandwidth
    widest = max([4 * balance, *(2 * intensity for intensity, _ in points.values())])
    least = min([balance / 64, *(intensity / 2 for intensity, _ in points.values())])
    picture = Picture(6.4, 3.6)
    axis = picture.axis
    axis.loglog(
        [least, balance, widest], [v / 1e9 for v in (least * bandwidth, peak, peak)], color=COLOURS[0]
    )
    for number, (name, (intensity, speed)) in enumerate(points.items()):
        mark = "osD^v"[number % 5]
        axis.plot([intensity], [speed / 1e9], mark, color=COLOURS[1 + number % 3], label=name)
    axis.annotate("bandwidth ", (balance / 8, bandwidth * balance / 6e9), ha="right", fontsize=9, color=INK)
    axis.annotate("peak", (1.5 * balance, 1.15 * peak / 1e9), fontsize=9, color=INK)
    axis.set_ylim(top=3 * peak / 1e9)
    axis.set_xlabel("operations for each byte read or written")
    axis.set_ylabel("billion operations a second")
    axis.legend(loc="lower right", fontsize=9, labelcolor=INK)
    axis.grid()
    if title:
        axis.set_title(title)
    told = [
        f"{name}: {i:.2g} a byte, {speed / 1e9:.2g} billion a second" for name, (i, speed) in points.items()
    ]
    picture.alt = (
        f"{title or 'Roofline'}: a slope up to {balance:.2g} operations a byte, then flat at "
        f"{peak / 1e9:.3g} billion a second; {'; '.join(told)}."
    )
    return picture


def scaling(gpus: Sequence[int], hours: Mapping[str, Sequence[float]], title: str | None = None) -> Picture:
    """Time over the number of GPUs, each curve beside the line that it would be if nothing had to be sent.

    Args:
        gpus: the numbers, rising.
        hours: for each curve the hours at each number.
        title: above the picture.
    Returns:
        The picture, both axes logarithmic.
    """
    picture = Picture(6.4, 3.6)
    axis = picture.axis
    told = []
    for number, (name, values) in enumerate(hours.items()):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        axis.loglog(gpus, values, linestyle=dash, color=colour, marker="osD^"[number % 4], label=name)
        axis.loglog(
            gpus, [values[0] * gpus[0] / each for each in gpus], color=INK, linestyle="-", linewidth=0.8
        )
        told.append(f"{name} from {values[0]:.3g} hours on {gpus[0]} to {values[-1]:.2g} on {gpus[-1]}")
    axis.set_xticks(list(gpus), [str(each) for each in gpus])
    axis.minorticks_off()
    axis.set_xlabel("GPUs; the thin lines would be perfect")
    axis.set_ylabel("hours")
    axis.legend(fontsize=9, labelcolor=INK)
    axis.grid()
    if title:
        axis.set_title(title)
    picture.alt = f"{title or 'Hours over GPUs'}: {'; '.join(told)}."
    return picture
