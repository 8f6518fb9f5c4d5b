"""Compiled: exposure of every responder when the ligand field is moved, for many shifts at once."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def bucket_sources(x: Floats, y: Floats, side: float) -> tuple[Ids, Ids, float, float, int, int]:
    """Sort points into square buckets: order (by bucket), first point of each bucket, origin and number of columns and rows."""
    x0, y0 = float(x.min()), float(y.min())
    column, row = ((x - x0) // side).astype(np.int64), ((y - y0) // side).astype(np.int64)
    columns, rows = int(column.max()) + 1, int(row.max()) + 1
    bucket = row * columns + column
    order = np.argsort(bucket, kind="stable")
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(bucket, minlength=columns * rows))])
    return order, first, x0, y0, columns, rows


@njit(cache=True)
def nearest_in_buckets(px, py, x, y, first, x0, y0, columns, rows, side):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Index of the nearest point within `side` of (px, py), the first of equals; -1 if there is none. Points are sorted by bucket."""
    column, row = int(np.floor((px - x0) / side)), int(np.floor((py - y0) / side))
    best, found = side * side, -1
    for r in range(max(row - 1, 0), min(row + 2, rows)):
        for c in range(max(column - 1, 0), min(column + 2, columns)):
            for k in range(first[r * columns + c], first[r * columns + c + 1]):
                gap = (x[k] - px) ** 2 + (y[k] - py) ** 2
                if gap < best:
                    best, found = gap, k
    return found


@njit(cache=True)
def shifted_exposure(shifts, offsets, member, weight, mx, my, inside, x, y, value, first, x0, y0, columns, rows, side):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Exposure (shifts, responders) under each shift; nan where no neighbour keeps a value.

    Responder `i` has the neighbours ``offsets[i] : offsets[i + 1]`` at `mx`, `my` (indexed by `member`), each with a `weight`. A neighbour
    whose shifted place is not `inside` (shifts, members) the tissue keeps no value.
    """
    out = np.full((len(shifts), len(offsets) - 1), np.nan)
    taken = np.empty(len(mx), np.int64)
    for s in range(len(shifts)):
        for m in range(len(mx)):
            taken[m] = -1
            if inside[s, m]:
                taken[m] = nearest_in_buckets(mx[m] + shifts[s, 0], my[m] + shifts[s, 1], x, y, first, x0, y0, columns, rows, side)
        for i in range(len(offsets) - 1):
            total, weights = 0.0, 0.0
            for k in range(offsets[i], offsets[i + 1]):
                source = taken[member[k]]
                if source >= 0:
                    total += weight[k] * value[source]
                    weights += weight[k]
            if weights > 0:
                out[s, i] = total / weights
    return out
