"""Tables of rates and means with their intervals: Markdown for the docs, CSV with every number in a
column of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class Rate(NamedTuple):
    """A share of independent sets, with its exact (Clopper-Pearson) 99 % interval."""

    k: int
    n: int

    @property
    def value(self) -> float:
        """The share."""
        return self.k / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds."""
        found = stats.binomtest(self.k, self.n).proportion_ci(0.99)
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} ({low:.3f} to {high:.3f})" if self.n else "none"


class Mean(NamedTuple):
    """A mean with half of its 99 % interval."""

    value: float
    half: float
    shown: str = "+.4f"

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds."""
        return self.value - self.half, self.value + self.half

    def __str__(self) -> str:
        return f"{self.value:{self.shown}} ± {self.half:{self.shown.lstrip('+')}}"


class Number(NamedTuple):
    """A number, and how to show it."""

    value: float
    shown: str

    def __str__(self) -> str:
        return f"{self.value:{self.shown}}"


class Table(NamedTuple):
    """Rows of texts, numbers, rates and means under their names."""

    name: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]

    def markdown(self) -> str:
        """Show it as in the docs."""
        return "\n".join(
            f"| {' | '.join(map(str, row))} |"
            for row in [self.head, ["---"] * len(self.head), *self.rows]
        )

    def frame(self) -> pd.DataFrame:
        """Give it with the bounds of intervals, and the sets behind a rate, in columns of their
        own.
        """
        return pd.DataFrame([_spread(self.head, row) for row in self.rows])

    def show(self, folder: Path | None) -> None:
        """Print it, and write ``folder/name.csv`` if it has a name."""
        print(self.markdown(), end="\n\n", flush=True)
        if folder is not None and self.name:
            folder.mkdir(parents=True, exist_ok=True)
            self.frame().to_csv(folder / f"{self.name}.csv", index=False)


def of_clusters(values: Sequence[Sequence[float]], shown: str = ".3f") -> Mean:
    """Mean over clusters (tissues) and half its 99 % interval, Student's t over the clusters'
    means.
    """
    means = np.array([np.mean(own) for own in values if len(own)])
    if len(means) < 2:
        return Mean(float(means.mean()), math.nan, shown)
    return Mean(
        float(means.mean()),
        float(stats.t.ppf(0.995, len(means) - 1) * means.std(ddof=1) / math.sqrt(len(means))),
        shown,
    )


def _spread(head: Sequence[str], row: Sequence[object]) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, cell in zip(head, row, strict=True):
        if isinstance(cell, Rate | Mean):
            low, high = cell.interval
            out |= {
                name: round(cell.value, 5),
                f"{name}, low 99 %": round(low, 5),
                f"{name}, high 99 %": round(high, 5),
            }
            out |= {f"{name}, of": cell.n} if isinstance(cell, Rate) else {}
        else:
            out[name] = round(cell.value, 5) if isinstance(cell, Number) else cell
    return out
