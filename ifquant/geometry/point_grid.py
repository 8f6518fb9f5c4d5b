"""Points sorted into a square grid: the nearest one, and how many within a radius; both exact.

The grid only decides where to look.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


class PointGrid(NamedTuple):
    """Points by square, row-major: square k has ``order[starts[k] : starts[k + 1]]``.

    Attributes
    ----------
    low
        Smallest x and y of the points.
    side
        Of a square, in the unit of the points.
    order, xs, ys
        Index and place of the points, sorted by square.
    """

    low: Floats
    side: float
    columns: int
    rows: int
    order: Ids
    starts: Ids
    xs: Floats
    ys: Floats

    @classmethod
    def of(cls, points: Floats, side: float) -> PointGrid:
        """Sort points (n, 2), at least one, into squares of about `side`.

        Squares are larger where there would be many more of them than points.
        """
        low, high = points.min(axis=0), points.max(axis=0)
        extent = np.maximum(high - low, 1e-9)
        mean_gap = float(np.sqrt(extent[0] * extent[1] / len(points)))
        side = max(side, mean_gap, float(extent.max()) / len(points))
        columns, rows = (int(v) + 1 for v in np.floor(extent / side))
        where = _squares_of(points, low, side, columns, rows)
        order = np.argsort(where, kind="stable")
        starts = np.concatenate(([0], np.cumsum(np.bincount(where, minlength=columns * rows))))
        xs, ys = np.ascontiguousarray(points[order, 0]), np.ascontiguousarray(points[order, 1])
        return cls(low, side, columns, rows, order, starts, xs, ys)

    def walk(self, points: Floats) -> Ids:
        """Order of points (m, 2) square by square, so that what they look at stays cached."""
        where = _squares_of(points, self.low, self.side, self.columns, self.rows)
        return np.argsort(where, kind="stable")


def _squares_of(points: Floats, low: Floats, side: float, columns: int, rows: int) -> Ids:
    at = np.clip(np.floor((points - low) / side), 0, [columns - 1, rows - 1]).astype(np.int64)
    return np.asarray(at[:, 1] * columns + at[:, 0])


def nearest_of(points: Floats, targets: Ids) -> tuple[Floats, Ids]:
    """Distance from each point (n, 2) to the nearest other of `targets` (indices), and its index.

    nan and -1 where there is none.
    """
    n = len(points)
    distance, nearest = np.full(n, np.nan), np.full(n, -1, np.int64)
    if len(targets) == 0 or n == 0:
        return distance, nearest
    grid = PointGrid.of(points[targets], 0.0)
    queries = grid.walk(points)
    gap2, found = _nearest(points, queries, targets[grid.order], grid)
    distance[queries], nearest[queries] = np.where(found >= 0, np.sqrt(gap2), np.nan), found
    return distance, nearest


def count_within(points: Floats, targets: Ids, radii_um: Floats) -> NDArray[np.int32]:
    """Count for each point (n, 2) the other `targets` (indices) within each radius: (n, radii)."""
    n = len(points)
    if n == 0 or len(targets) == 0 or len(radii_um) == 0:
        return np.zeros((n, len(radii_um)), np.int32)
    grid = PointGrid.of(points[targets], float(radii_um.max()) / 4)
    walk = grid.walk(points)
    found = _count_within(points[walk, 0], points[walk, 1], grid, radii_um)
    counts = np.empty_like(found)
    counts[walk] = found
    counts[targets] -= 1
    return np.asarray(counts)


@njit(cache=True)
def _nearest(points, queries, owners, grid):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Squared distance and owner of the nearest point the query does not own; inf and -1 if none.

    Queries come side by side: what was nearest to the last is a bound to begin with. Rows of the
    grid are looked at from the query's own outwards, each only where the bound reaches.
    """
    low, side, columns, rows, _, starts, xs, ys = grid
    gap2, found = np.full(len(queries), np.inf), np.full(len(queries), -1, np.int64)
    last = 0
    for q in range(len(queries)):
        own = queries[q]
        x, y = points[own, 0], points[own, 1]
        best, at = np.inf, -1
        guess = last if owners[last] != own else last + 1 if last + 1 < len(xs) else last - 1
        if guess >= 0:
            best, at = (xs[guess] - x) ** 2 + (ys[guess] - y) ** 2, guess
        home = min(max(math.floor((y - low[1]) / side), 0), rows - 1)
        for step in range(rows):
            reached = False
            for row in (home - step, home + step):
                if row < 0 or row >= rows or (step == 0 and reached):
                    continue
                above, below = low[1] + row * side - y, y - (low[1] + (row + 1) * side)
                away = max(above, below, 0.0) - 1e-6 * side  # a rounded edge hides no point
                if away > 0 and away * away > best:
                    continue
                reached = True
                left, right = 0, columns - 1
                if at >= 0:
                    half = math.sqrt(max(best - max(away, 0.0) ** 2, 0.0)) + 1e-6 * side
                    left = min(max(math.floor((x - half - low[0]) / side), 0), columns)
                    right = max(min(math.floor((x + half - low[0]) / side), columns - 1), -1)
                    if left > right:
                        continue
                for j in range(starts[row * columns + left], starts[row * columns + right + 1]):
                    dx, dy = xs[j] - x, ys[j] - y
                    d2 = dx * dx + dy * dy
                    if d2 < best and owners[j] != own:
                        best, at = d2, j
            if not reached:
                break
        if at >= 0:
            gap2[q], found[q], last = best, owners[at], at
    return gap2, found


@njit(cache=True)
def _count_within(xq, yq, grid, radii):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Points within each radius of each query (a query that is a point counts itself)."""
    low, side, columns, rows, _, starts, xs, ys = grid
    counts = np.zeros((len(xq), len(radii)), np.int32)
    for q in range(len(xq)):
        x, y = xq[q], yq[q]
        for k in range(len(radii)):
            radius = radii[k]
            limit = radius * radius
            reach = radius + 1e-6 * side
            first = min(max(math.floor((y - reach - low[1]) / side), 0), rows)
            last = max(min(math.floor((y + reach - low[1]) / side), rows - 1), -1)
            left = min(max(math.floor((x - reach - low[0]) / side), 0), columns)
            right = max(min(math.floor((x + reach - low[0]) / side), columns - 1), -1)
            if left > right:
                continue
            found = 0
            for row in range(first, last + 1):
                for j in range(starts[row * columns + left], starts[row * columns + right + 1]):
                    dx = xs[j] - x
                    dy = ys[j] - y
                    found += dx * dx + dy * dy <= limit
            counts[q, k] = found
    return counts
