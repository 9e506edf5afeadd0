"""Which labels are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from bertmini.errors import InputError
from bertmini.viz.picture import Picture

CELL = 0.62  # inches a label


def confusion_matrix(
    matrix: Sequence[Sequence[int]], labels: Sequence[str], title: str | None = None
) -> Picture:
    """A confusion matrix as a grid: a row for each true label, a column for each answer.

    Args:
        matrix: numbers of examples, [labels, labels], as `bertmini.tasks.classify.measure` gives it.
        labels: their names, in the matrix's order.
        title: above the picture.
    Returns:
        The picture. A cell holds its number and is the darker, the larger its share of the row.
    Raises:
        InputError: when matrix and labels do not match.
    """
    counts = np.asarray(matrix)
    if counts.shape != (len(labels), len(labels)):
        raise InputError(f"confusion matrix {list(counts.shape)}: expected a row and a column for each of "
                         f"{len(labels)} labels")  # fmt: skip
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # [true, answer]
    picture = Picture(CELL * len(labels) + 1.4, CELL * len(labels) + 1.1)
    axis = picture.axis
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for true, answer in product(range(len(labels)), repeat=2):
        # From here on the blue is dark enough for white figures to stand out more than black ones.
        ink = "white" if shares[true, answer] > 0.7 else "black"
        axis.text(answer, true, f"{counts[true, answer]}", ha="center", va="center", color=ink)
    axis.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(labels)), labels)
    axis.set_xlabel("answer")
    axis.set_ylabel("true label")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    if title:
        axis.set_title(title)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    true, answer = map(int, np.unravel_index(wrong.argmax(), wrong.shape))
    worst = f"{wrong[true, answer]} of {counts[true].sum()} {labels[true]} taken for {labels[answer]}"
    picture.alt = (
        f"{title or 'Confusion matrix'}: {np.trace(counts)} of {counts.sum()} right"
        + (f"; most often {worst}" if wrong.any() else "") + "."
    )  # fmt: skip
    return picture
