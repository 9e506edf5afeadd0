"""Pictures: attention as heat maps, arcs and bertviz views, shapes as boxes, training as a curve.

Every figure function returns its picture, which shows itself at a cell's end and has alternative text.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Picture": "bertmini.viz.picture",
    "apply_style": "bertmini.viz.style",
    "attention_arcs": "bertmini.viz.attention",
    "attention_heatmap": "bertmini.viz.attention",
    "mask_grid": "bertmini.viz.attention",
    "head_view": "bertmini.viz.views",
    "model_view": "bertmini.viz.views",
    "head_shares": "bertmini.viz.measure",
    "boxes": "bertmini.viz.shapes",
    "token_boxes": "bertmini.viz.tokens",
    "answer_places": "bertmini.viz.answers",
    "entity_spans": "bertmini.viz.spans",
    "learning_curve": "bertmini.viz.curves",
    "loss_curve": "bertmini.viz.curves",
    "range_curve": "bertmini.viz.curves",
    "schedule_curves": "bertmini.viz.curves",
    "confusion_matrix": "bertmini.viz.confusion",
    "stacked_bars": "bertmini.viz.budget",
    "roofline": "bertmini.viz.budget",
    "scaling": "bertmini.viz.budget",
    "trade_off": "bertmini.viz.trade",
    "interval_rows": "bertmini.viz.rows",
    "head_explorer": "bertmini.viz.explore",
    "mask_explorer": "bertmini.viz.explore",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bertmini.viz' has no attribute {name!r}")
