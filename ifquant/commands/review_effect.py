"""The answer to [priming] of one slide's folder, original or reviewed, as ``ifquant analyze`` finds
it; and which cells it hangs on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.commands.analyze_slide import backgrounds_of, cells_in_tissue, contacts_of
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.results.result_tables import read_result, record_of
from ifquant.review.subject import Subject
from ifquant.statistics.priming.influence import leverage
from ifquant.statistics.priming.priming_test import priming_effect
from ifquant.statistics.priming.question import Question, question_of
from ifquant.statistics.priming.slide_cells import SlideData
from ifquant.statistics.priming.slide_effect import SlideEffect
from ifquant.tables.cell_table import CellTable

LEVERAGE = "leverage on the effect"
"""Name of the column of a review's queue."""
VERDICT, REASON = "priming: verdict", "priming: in words"


def slide_effect(folder: Path, recipe: ResolvedRecipe) -> SlideEffect | None:
    """Analyse a slide's folder; None without [priming].

    Raises
    ------
    SlideError
        If the results are damaged, or were made before the recipe had [priming].
    """
    if recipe.priming is None:
        return None
    table = read_result(folder)
    question, options = question_of(recipe)
    data = _slide_data(table, question)
    return priming_effect(data, question, options, slide=table.slide, seed=recipe.seed)


def priming_answer(folder: Path, recipe: ResolvedRecipe) -> Mapping[str, Any]:
    """Give the answer of a slide's folder by name, for the comparison before and after review;
    nothing without [priming].
    """
    effect = slide_effect(folder, recipe)
    if effect is None:
        return {}
    low, high = effect.interval
    return {
        VERDICT: effect.verdict,
        "priming: partial rank correlation": _known(effect.correlation),
        "priming: 95 % interval, lower end": _known(low),
        "priming: 95 % interval, upper end": _known(high),
        "priming: Fisher z": _known(effect.z),
        "priming: standard error of z": _known(effect.se_z),
        "priming: p (random shifts)": effect.p,
        f"priming: {effect.question.responder} in contact": effect.n_exposed,
        "priming: worth so many independent ones": _known(effect.n_effective),
        REASON: effect.reason,
    }


def leverage_column(
    folder: Path, recipe: ResolvedRecipe, cells: pd.DataFrame | None = None
) -> NDArray[np.float64] | None:
    """Give what every cell of cells.parquet adds to Fisher's z (n,), NaN where it is in no contact;
    None without [priming].

    Parameters
    ----------
    cells
        cells.parquet, where it was read before.

    Raises
    ------
    SlideError
        As `slide_effect`.
    """
    if recipe.priming is None:
        return None
    table = read_result(folder, cells)
    question, options = question_of(recipe)
    data = _slide_data(table, question)
    out = np.full(len(table.cells), np.nan)
    known = np.isin(table.cells["cell_id"], data.cells["cell_id"])
    out[known] = leverage(data, question, options)
    return out


def with_leverage(
    subject: Subject, column: NDArray[np.float64] | Future[NDArray[np.float64]] | None
) -> Subject:
    """Add `leverage_column` to a slide under review, by which its queue and a reviewer may sort;
    the same subject for None.

    A column that is still being made is waited for when it is looked at.
    """
    return (
        subject
        if column is None
        else replace(subject, columns=_Columns({**subject.columns, LEVERAGE: column}))
    )


class _Columns(Mapping[str, NDArray[Any]]):
    """Columns by name, of which some may still be in the making."""

    def __init__(self, columns: Mapping[str, NDArray[Any] | Future[NDArray[Any]]]) -> None:
        self._columns = columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self._columns[name]
        return column.result() if isinstance(column, Future) else column

    def __contains__(self, name: object) -> bool:  # that of Mapping would wait for the column
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _slide_data(table: CellTable, question: Question) -> SlideData:
    """Give what the analysis takes from a slide."""
    cells, _ = cells_in_tissue(table)
    pairs = None if question.refusal else contacts_of(table, cells)
    return SlideData(cells, pairs, table.region, backgrounds_of(record_of(table)))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
