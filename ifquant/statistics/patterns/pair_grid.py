"""Points on a grid, and sums over pairs of near points found on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.region import Region
from ifquant.statistics.patterns import pair_kernels as kernels

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, init=False)
class Grid:
    """Points sorted by the cells of a grid with the region's corner as its origin; pairs are found
    on it.
    """

    points: Floats
    ids: NDArray[np.int64]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    columns: int
    rows: int
    cell: float

    def __init__(
        self, points: Floats, ids: NDArray[np.int64], reach: float, region: Region
    ) -> None:
        width, height = region.extent_um
        cell = max(
            reach / 3,
            float(np.sqrt(width * height / max(len(points), 1))),
            max(width, height) / 8192,
        )
        columns, rows = int(width / cell) + 1, int(height / cell) + 1
        at = points - np.asarray(region.corner_um)
        where = np.clip(np.floor(at / cell).astype(np.int64), 0, [columns - 1, rows - 1])
        index = where[:, 1] * columns + where[:, 0]
        order = np.argsort(index, kind="stable")
        for name, value in {
            "points": at[order],
            "ids": ids[order],
            "order": order,
            "columns": columns,
            "rows": rows,
            "cell": cell,
            "starts": np.concatenate(
                ([0], np.cumsum(np.bincount(index, minlength=columns * rows)))
            ),
        }.items():
            object.__setattr__(self, name, value)

    def arguments(
        self,
    ) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64], int, int, float]:
        """Give the grid as the kernels take it."""
        x, y = np.ascontiguousarray(self.points[:, 0]), np.ascontiguousarray(self.points[:, 1])
        return x, y, self.ids, self.starts, self.columns, self.rows, self.cell


def pair_sums(
    sources: Floats,
    grid: Grid,
    region: Region,
    r: Floats,
    mode: int,
    w_source: Floats,
    w_target: Floats,
    border: Floats,
    counts: Floats,
    own: NDArray[np.int64] | None = None,
) -> Floats:
    """Call the kernel: `own` are the ids of the sources among the targets, `counts` the
    covariogram's (mode TRANSLATE).
    """
    at = sources - np.asarray(region.corner_um)
    walk = np.lexsort(
        (at[:, 0], np.floor(at[:, 1] / grid.cell))
    )  # near sources near each other in memory
    own = np.full(len(sources), -1) if own is None else own
    x, y, ids, starts, columns, rows, cell = grid.arguments()
    out = kernels.pair_histogram(
        at[walk, 0],
        at[walk, 1],
        own[walk],
        w_source[walk],
        border[walk],
        x,
        y,
        ids,
        w_target[grid.order],
        starts,
        columns,
        rows,
        cell,
        r,
        mode,
        counts,
        *region.step_um,
        np.array(region.extent_um),
        region.area_um2,
    )
    return np.asarray(np.cumsum(out[:-1]))
