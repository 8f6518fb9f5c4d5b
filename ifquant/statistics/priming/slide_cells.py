"""One slide's cells as arrays: places, roles, and intensities above background on a log scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.recipe.model import Priming
from ifquant.statistics.priming.question import Background, Question

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ids = NDArray[np.int64]

MIN_CLEAR_PX = 8
"""A source needs this many border pixels away from responders, else its value away from the one
responder, else it has none."""


@dataclass(frozen=True, eq=False)
class SlideData:
    """What a slide brings to the priming test.

    Attributes
    ----------
    cells
        One row per cell: ``cell_id``, ``x_um``, ``y_um``, ``phenotype``, the columns the question
        names, and where there are ``tumor_region_distance_um`` and ``<response>_positive``.
    pairs
        Contacts and what was measured at them (pairs.parquet); None: tables without outlines, where
        cells closer than ``options.contact_um`` count as touching and the ligand is that of the
        whole border.
    tissue
        Where there is tissue; None: known only from the cells.
    backgrounds
        Marker > background level; None: a substitute from the cells.
    """

    cells: pd.DataFrame
    pairs: pd.DataFrame | None = None
    tissue: Region | None = None
    backgrounds: Mapping[str, Background] | None = None


@dataclass(eq=False)
class SlideCells:
    """Cells of one slide for one question; columns are corrected on first use.

    `backgrounds` are those of the markers used so far.
    """

    slide: SlideData
    question: Question
    options: Priming
    x: Floats
    y: Floats
    responder: Bools
    source: Bools
    backgrounds: dict[str, Background] = field(default_factory=dict)
    _values: dict[str, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, slide: SlideData, question: Question, options: Priming) -> SlideCells:
        """Take what the question needs from a cell table.

        Raises
        ------
        RequestError
            If a column that the question cannot do without is missing.
        """
        table = slide.cells
        needed = ("x_um", "y_um", "phenotype", question.response_column, question.ligand_column)
        missing = [name for name in needed if name not in table]
        if missing:
            raise RequestError(
                f"the cell table lacks {', '.join(map(repr, missing))}; measure these (or map them)"
                " for [priming]."
            )
        phenotype = table["phenotype"].astype(object).to_numpy()
        x, y = (table[name].to_numpy(np.float64) for name in ("x_um", "y_um"))
        roles = phenotype == question.responder, phenotype == question.source
        return cls(slide, question, options, x, y, *roles)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.x)

    @property
    def table(self) -> pd.DataFrame:
        """The cell table."""
        return self.slide.cells

    @property
    def points(self) -> Floats:
        """Centroids (n, 2) in um."""
        return np.column_stack([self.x, self.y])

    def has(self, column: str) -> bool:
        """Whether the table has a column."""
        return column in self.table

    def marker_of(self, column: str) -> str:
        """Name the marker that a column of the question measures."""
        q = self.question
        markers = {c.column: c.marker for c in q.controls}
        markers |= {column: name for name, column in q.fields.items()}
        markers |= {q.response_column: q.response}
        markers |= {q.ligand_column: q.ligand, q.own_ligand_column: q.ligand}
        return markers.get(column, column)

    def background(self, marker: str, column: str) -> Background:
        """Level of a marker: the slide's calibration, or a stated substitute where there is none.

        The substitute for ligand and response is made from the column that the question asks of,
        whichever of the marker's is read first.
        """
        if marker not in self.backgrounds:
            q = self.question
            own = {q.ligand: q.ligand_column, q.response: q.response_column}
            values = self.table[own.get(marker, column)].to_numpy(np.float64)
            given = (self.slide.backgrounds or {}).get(marker)
            self.backgrounds[marker] = given or substitute_background(values)
        return self.backgrounds[marker]

    def log_values(self, column: str) -> Floats:
        """Log of the intensities above background, floored at one background SD; NaN stays NaN."""
        if column not in self._values:
            raw = self.table[column].to_numpy(np.float64)
            self._values[column] = self.corrected(raw, self.marker_of(column), column)
        return self._values[column]

    def corrected(self, raw: Floats, marker: str, column: str) -> Floats:
        """Log of raw intensities of a marker above its background, floored at one background SD."""
        level = self.background(marker, column)
        return np.asarray(np.log(np.maximum(raw - level.level, level.sd)))

    def at_floor(self, values: Floats, marker: str, column: str) -> Bools:
        """Which log values of a marker were raised to the floor of one background SD."""
        return np.asarray(values <= np.log(self.background(marker, column).sd) + 1e-12)

    def rows_of(self, ids: NDArray[np.int64]) -> Ids:
        """Rows of cell ids.

        Raises
        ------
        RequestError
            If an id is not in the table.
        """
        index = pd.Index(self.table["cell_id"].to_numpy(np.int64))
        rows = index.get_indexer(ids)
        if (rows < 0).any():
            raise RequestError(
                f"pairs name cell {int(ids[rows < 0][0])}, which is not in the cell table; both"
                " must come from one run."
            )
        return np.asarray(rows, np.int64)


def substitute_background(values: Floats) -> Background:
    """Take a low percentile of the cells for the level of a channel that nobody calibrated."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return Background(0.0, 1.0, "no value")
    low, tenth = (float(v) for v in np.quantile(finite, [0.01, 0.1]))
    smallest = 1e-6 * max(abs(float(finite.max())), 1e-12)
    sd = max((tenth - low) / 1.04, smallest)  # 1 % to 10 % of a normal distribution: 1.04 sd
    return Background(
        low,
        sd,
        "substitute: 1st percentile of the cells, and their spread up to the 10th (no calibrated"
        " image)",
    )


def studied_backgrounds(slide: SlideData, question: Question) -> dict[str, Background]:
    """Background of ligand and response, as far as a table has them, for refused questions."""
    columns = {question.ligand: question.ligand_column, question.response: question.response_column}
    given = slide.backgrounds or {}
    return {
        marker: given.get(marker) or substitute_background(slide.cells[column].to_numpy(np.float64))
        for marker, column in columns.items()
        if column in slide.cells
    }


def clear_ligand(cells: SlideCells, pairs: pd.DataFrame) -> Floats:
    """Ligand of every source on its border away from any responder; NaN where nothing is left.

    Untouched sources: their whole border. `pairs` is the table of contacts
    (`columns/pair_columns.py`).
    """
    values = cells.log_values(cells.question.ligand_column).copy()
    source = cells.rows_of(pairs["source_id"].to_numpy(np.int64))
    touched = np.unique(source)
    values[touched] = np.nan
    _fill(values, cells, *_sums(source, pairs, "ligand_away", len(values)), touched)
    once = ~pd.Series(source).duplicated().to_numpy()
    _fill(values, cells, *_sums(source[once], pairs[once], "ligand_clear", len(values)), touched)
    return values


def per_responder(
    cells: SlideCells, pairs: pd.DataFrame, name: str, marker: str, column: str
) -> Floats:
    """Log of a mean per responder (``<name>_sum`` / ``response_eroded_px``); NaN without pixels."""
    responder = cells.rows_of(pairs["responder_id"].to_numpy(np.int64))
    values = np.full(len(cells), np.nan)
    total = pairs[f"{name}_sum"].to_numpy(np.float64)
    count = pairs["response_eroded_px"].to_numpy(np.float64)
    enough = count >= MIN_CLEAR_PX
    values[responder[enough]] = cells.corrected(total[enough] / count[enough], marker, column)
    return values


def shared_ligand(cells: SlideCells, pairs: pd.DataFrame) -> Floats:
    """Ligand of touched sources on the pixels near responders; of others on their whole border."""
    values = cells.log_values(cells.question.ligand_column).copy()
    source = cells.rows_of(pairs["source_id"].to_numpy(np.int64))
    _fill(values, cells, *_sums(source, pairs, "ligand_shared", len(values)), np.unique(source))
    return values


def _sums(source: Ids, pairs: pd.DataFrame, name: str, n: int) -> tuple[Floats, Floats]:
    """Sum of intensities and number of pixels per cell, over its pairs."""
    total, count = np.zeros(n), np.zeros(n)
    np.add.at(total, source, pairs[f"{name}_sum"].to_numpy(np.float64))
    np.add.at(count, source, pairs[f"{name}_px"].to_numpy(np.float64))
    return total, count


def _fill(values: Floats, cells: SlideCells, total: Floats, count: Floats, rows: Ids) -> None:
    """Set the log ligand of `rows` where there are enough pixels."""
    enough = rows[count[rows] >= MIN_CLEAR_PX]
    q = cells.question
    values[enough] = cells.corrected(total[enough] / count[enough], q.ligand, q.ligand_column)
