"""One look for every picture: readable on a light and on a dark page, and without telling colours apart."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bertmini.errors import InputError

# The one grey that keeps a contrast of 4.5 on white and on black (WCAG 2.1): 4.6 and 4.6.
INK = "#757575"
# Okabe & Ito's colours for all kinds of colour vision, those that stay visible on white and on black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
# With each colour comes its own dash, so that colour never speaks alone.
DASHES = ("-", "--", "-.", ":")
FAINT = "#8888884D"


def optional(module: str) -> Any:
    """Import what only the course needs, or say which extra brings it.

    Raises:
        InputError: when the module is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        name = module.split(".")[0]
        raise InputError(f'{name} is not installed: pip install "bertmini[course]" brings it') from None


def apply_style() -> None:
    """Give your own matplotlib figures the book's look: clear ground, mid-grey ink, open axes."""
    matplotlib = optional("matplotlib")
    cycler = optional("cycler").cycler
    matplotlib.rcParams.update(RULES | {"axes.prop_cycle": cycler(color=COLOURS, linestyle=DASHES)})


RULES: dict[str, Any] = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.transparent": True,
    "figure.dpi": 100,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
