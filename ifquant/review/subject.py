"""What is reviewed: one slide's results, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.calibration.tissue import TissueMask
from ifquant.columns.cell_columns import proximity_pair
from ifquant.errors import RequestError
from ifquant.geometry.runs import CellRuns
from ifquant.geometry.windows import Window
from ifquant.phenotypes.gates import FittedGate
from ifquant.proximity.tumor_region import TumorRegion
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.review.decisions import CellRef, Source

Labels = NDArray[np.int64]


class CellGeometry(Protocol):
    """Outlines of nuclei and cells as the results hold them; object `i` = row `i` of the table."""

    def of(self, row: int) -> tuple[CellRuns, CellRuns]:
        """Nucleus and cell of one row."""

    def anchor(self, row: int) -> tuple[int, int]:
        """First nucleus pixel (y, x) in raster order."""

    def centroid_px(self, row: int) -> tuple[float, float]:
        """Centroid (y, x) of the cell; the first pixel's center is at 0.5."""

    def painted(self, window: Window) -> tuple[Labels, Labels]:
        """Nuclei and cells of a window, each painted with its id."""

    def area(self, rows: NDArray[np.bool_]) -> CellRuns:
        """Area that the cells of `rows` (n,) cover together, in whatever pieces."""

    def all(self) -> tuple[CellRuns, CellRuns]:
        """Nuclei and cells of all rows."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One slide's results.

    Attributes
    ----------
    source
        Which results these are.
    recipe
        The resolved recipe of the run.
    table
        cells.parquet, sorted by ``cell_id``.
    gates
        The slide's gates.
    pixel_size_um, image_shape
        um per px; (Y, X) in px.
    tissue
        Tissue mask of the calibration.
    geometry
        Outlines of nuclei and cells; None when they were left out (then nothing about contacts or
        geometry can be decided).
    drawn_region
        Tumor region drawn by the user (GeoJSON); None: it follows from the tumor cells.
    columns
        Further columns per cell to sort the queue by, e.g. the leverage on the effect.
    """

    source: Source
    recipe: ResolvedRecipe
    table: pd.DataFrame
    gates: tuple[FittedGate, ...]
    pixel_size_um: float
    image_shape: tuple[int, int]
    tissue: TissueMask
    geometry: CellGeometry | None = None
    drawn_region: TumorRegion | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.table)

    @property
    def pair(self) -> tuple[str | None, str | None]:
        """Phenotypes ``from`` and ``to`` of [proximity]."""
        return proximity_pair(self.recipe)

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the rows, ascending."""
        return self.table["cell_id"].to_numpy(np.int64)

    def row(self, cell_id: int) -> int:
        """Row of a cell; raises RequestError if there is no such cell."""
        row = int(np.searchsorted(self.ids, cell_id))
        if row == len(self.ids) or self.ids[row] != cell_id:
            raise RequestError(f"slide {self.source.slide!r} has no cell {cell_id}.")
        return row

    def ref(self, cell_id: int) -> CellRef:
        """Name a cell by id and place, as decisions do."""
        row = self.row(cell_id)
        names = ("anchor_y_px", "anchor_x_px", "y_px", "x_px")
        place = {name: self.table[name].iloc[row].item() for name in names}
        return CellRef(cell_id=cell_id, **place)

    def gate(self, marker: str) -> FittedGate:
        """Gate of a marker."""
        for gate in self.gates:
            if gate.marker == marker:
                return gate
        raise RequestError(
            f"{marker!r} has no gate; gated are {', '.join(g.marker for g in self.gates)}."
        )

    def outlines(self) -> CellGeometry:
        """Outlines of nuclei and cells; raises RequestError if they were left out."""
        if self.geometry is None:
            raise RequestError("the outlines were left out; load the slide with outlines=True.")
        return self.geometry
