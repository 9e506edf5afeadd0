"""The tables that `make ablations` measures: what there is of one, compared seed by seed, and drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bertmini.errors import InputError
from bertmini.viz.picture import Picture
from bertmini.viz.rows import interval_rows, mean_interval

COMMAND = "benchmarks/ablations.py"


class Ablation:
    """A table of ablations as far as it has been measured, each row with several seeds.

    Args:
        file: of the results, `benchmarks/results/ablations.json` of the repository. It may be missing.
        title: the table's, such as "directions".
        columns: tasks, and measures of held-out text after pretraining, such as "mlm_perplexity". Some models
            are not asked all of them.

    Attributes:
        scores: by column and by row the results, each by its seed.

    Raises:
        InputError: the file has another form, or the table no such column.
    """

    def __init__(self, file: str | Path, title: str, columns: Sequence[str]) -> None:
        self.title = title
        self.scores: dict[str, dict[str, dict[int, float]]] = {}
        measured = json.loads(Path(file).read_text("utf-8")) if Path(file).exists() else {"tables": {}}
        try:
            table = measured["tables"].get(title, {"rows": []})
            for column in columns:
                task = column if column in table.get("measures", ()) else "pretraining"
                measure = table["measures"][task] if task == column else column
                label = f"{task}, {measure}" if task == column else column.replace("_", " ")
                self.scores[label] = {
                    row["name"]: {
                        run["seed"]: found[measure]
                        for run in (measured["runs"][key] for key in row["runs"][task])
                        if measure in (found := run["dev"] if task == "pretraining" else run)
                    }
                    for row in table["rows"]
                }
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{file}: not the results of {COMMAND}, or {title} has none of {', '.join(columns)}: {error}"
            ) from None

    @property
    def rows(self) -> list[str]:
        """Those of which every column has been measured."""
        tables = list(self.scores.values())
        return [row for row in tables[0] if all(table[row] for table in tables)] if tables else []

    def compare(self, reference: str) -> None:
        """Print how far each row is above a reference, by the mean over seeds and its interval of 95 %.

        Args:
            reference: a row.
        """
        if reference not in self.rows or len(self.rows) < 2:
            print(f"our table of {self.title}: not measured yet, or not here;")
            print(f"it takes {COMMAND} --tables {self.title}")
            return
        if missing := [row for row in next(iter(self.scores.values())) if row not in self.rows]:
            print(f"not measured yet, or not in full: {'; '.join(missing)}")
        for row in self.rows:
            if row == reference:
                continue
            for label, table in self.scores.items():
                both = sorted(table[row].keys() & table[reference].keys())
                told = difference([table[row][seed] - table[reference][seed] for seed in both])
                print(f"{row}, {label}: {told}")

    def picture(self, heading: str | None = None) -> Picture | None:
        """The runs, a panel for each column; nothing where `compare` has nothing to say."""
        if len(self.rows) < 2:
            return None
        panels = {
            label: {row: list(table[row].values()) for row in self.rows}
            for label, table in self.scores.items()
        }
        return interval_rows(panels, title=heading)


def difference(differences: Sequence[float]) -> str:
    """A mean difference in words: with its interval where there are several, and whether that holds 0."""
    if not differences:
        return "no seed in common"
    if len(differences) == 1:
        return f"{differences[0]:+.3f}, one seed: no conclusion"
    mean, half = mean_interval(differences)
    sure = "the interval holds 0" if abs(mean) <= half else "beyond chance"
    return f"{mean:+.3f} ± {half:.3f}, {len(differences)} seeds: {sure}"
