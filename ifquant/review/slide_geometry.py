"""Outlines of a slide's cells as the results hold them, before any edit: as runs in memory, or
wherever else they are kept.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.runs import CellRuns, paint
from ifquant.geometry.windows import Window

Labels = NDArray[np.int64]


class Geometry(Protocol):
    """Nuclei and cells of a slide's table, object `i` = row `i`."""

    def of(self, row: int) -> tuple[CellRuns, CellRuns]:
        """Nucleus and cell of one row."""
        ...

    def anchor(self, row: int) -> tuple[int, int]:
        """First nucleus pixel (y, x) in raster order."""
        ...

    def centroid_px(self, row: int) -> tuple[float, float]:
        """Centroid (y, x) of the cell; the first pixel's center is at 0.5."""
        ...

    def painted(self, window: Window) -> tuple[Labels, Labels]:
        """Nuclei and cells of a window, each painted with its id."""
        ...

    def area(self, rows: NDArray[np.bool_]) -> CellRuns:
        """Give what the cells of `rows` (n,) cover together, in whatever pieces."""
        ...

    def all(self) -> tuple[CellRuns, CellRuns]:
        """Nuclei and cells of all rows."""
        ...


class HeldGeometry:
    """Outlines in memory; `ids` name the objects of the runs, ascending."""

    def __init__(self, ids: NDArray[np.int64], nuclei: CellRuns, cells: CellRuns) -> None:
        self._ids, self._nuclei, self._cells = ids, nuclei, cells
        self._boxes = cells.bounding_boxes

    def of(self, row: int) -> tuple[CellRuns, CellRuns]:
        """Nucleus and cell of one row."""
        return self._nuclei.take([row]), self._cells.take([row])

    def anchor(self, row: int) -> tuple[int, int]:
        """First nucleus pixel (y, x) in raster order."""
        return first_px(self._nuclei.take([row]))

    def centroid_px(self, row: int) -> tuple[float, float]:
        """Centroid (y, x) of the cell; the first pixel's center is at 0.5."""
        return centroid_of(self._cells.take([row]))

    def painted(self, window: Window) -> tuple[Labels, Labels]:
        """Nuclei and cells of a window, each painted with its id."""
        y0, x0, y1, x1 = self._boxes.T
        met = np.flatnonzero(
            (y0 < window.y1) & (y1 > window.y0) & (x0 < window.x1) & (x1 > window.x0)
        )
        nuclei, cells = (
            paint(runs.take(met), self._ids[met], window).astype(np.int64)
            for runs in (self._nuclei, self._cells)
        )
        return nuclei, cells

    def area(self, rows: NDArray[np.bool_]) -> CellRuns:
        """Give what the cells of `rows` (n,) cover together."""
        return self._cells.take(rows)

    def all(self) -> tuple[CellRuns, CellRuns]:
        """Nuclei and cells of all rows."""
        return self._nuclei, self._cells


def first_px(runs: CellRuns) -> tuple[int, int]:
    """First pixel (y, x) of one object in raster order."""
    return int(runs.y[0]), int(runs.x0[0])


def centroid_of(runs: CellRuns) -> tuple[float, float]:
    """Centroid (y, x) of one object; the first pixel's center is at 0.5."""
    size = (runs.x1 - runs.x0).astype(np.float64)
    y, x = (
        ((runs.y + 0.5) * size).sum() / size.sum(),
        ((runs.x0 + runs.x1) / 2 * size).sum() / size.sum(),
    )
    return float(y), float(x)
