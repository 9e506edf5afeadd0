"""A picture that shows itself in a notebook, with its alternative text."""

from __future__ import annotations

import base64
import io
from typing import Any

from bertmini.viz.style import RULES, optional

DOTS = 160  # dots an inch in the file: sharp on dense screens, and a page stays small
SIDE = 8000  # dots of the longer side at most: Pillow takes larger pictures for an attack
POINTS = 100  # dots an inch as shown


class Picture:
    """A matplotlib figure (`.figure`) and the words that stand for it (`.alt`).

    In a notebook it is a PNG. The words are its plain text, so a test run can compare them, and its `alt`
    metadata, where exporters look for alternative text.
    """

    def __init__(self, width: float, height: float, rows: int = 1, columns: int = 1) -> None:
        matplotlib = optional("matplotlib")
        self.alt = ""
        with matplotlib.rc_context(RULES):
            # No pyplot: a figure that pyplot knows is shown twice in a notebook.
            self.figure = optional("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
            self.axes = self.figure.subplots(rows, columns, squeeze=False)

    @property
    def axis(self) -> Any:
        """The first, often the only pair of axes."""
        return self.axes[0, 0]

    def png(self) -> bytes:
        """The picture as the bytes of a PNG file with a clear ground."""
        for text in self.figure.findobj(optional("matplotlib.text").Text):
            # "$5 or $6?" is a question, and no formula; the numbers of a logarithmic axis are formulas.
            if "$" in text.get_text() and r"\mathdefault" not in text.get_text():
                text.set_parse_math(False)
        drawn, packed = io.BytesIO(), io.BytesIO()
        # Without the version in it the file depends only on what is drawn.
        dots = min(DOTS, SIDE / max(self.figure.get_size_inches()))
        self.figure.savefig(drawn, format="png", dpi=dots, transparent=True, metadata={"Software": None})
        # A drawing has few colours: a palette makes the file a third as large.
        image = optional("PIL.Image")
        image.open(drawn).quantize(96, method=image.Quantize.FASTOCTREE).save(packed, "png", optimize=True)
        return packed.getvalue()

    def html(self) -> str:
        """The picture as an `<img>` with its alternative text."""
        data = base64.b64encode(self.png()).decode()
        size = f'style="max-width:100%" width="{self._width()}"'
        return f'<img {size} alt="{escape(self.alt)}" src="data:image/png;base64,{data}">'

    def _width(self) -> int:
        return round(self.figure.get_figwidth() * POINTS)

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data = {"image/png": base64.b64encode(self.png()).decode(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt, "width": self._width()}}


def escape(text: str) -> str:
    """Text that is safe inside an HTML attribute."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
