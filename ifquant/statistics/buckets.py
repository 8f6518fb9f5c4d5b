"""Points sorted into the square buckets of a grid, on which compiled kernels find near points."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


class Buckets(NamedTuple):
    """Points by bucket, row-major: bucket k holds ``order[starts[k] : starts[k + 1]]``.

    `x`, `y` are relative to the grid's corner; `order` are the points' places before sorting.
    """

    x: Floats
    y: Floats
    order: Ids
    starts: Ids
    columns: int
    rows: int
    side: float


def sort_into_buckets(points: Floats, side: float, extent: tuple[float, float]) -> Buckets:
    """Sort points (n, 2), relative to the corner of a grid of this extent, into its buckets."""
    columns, rows = (int(length / side) + 1 for length in extent)
    place = np.clip(np.floor(points / side).astype(np.int64), 0, [columns - 1, rows - 1])
    bucket = place[:, 1] * columns + place[:, 0]
    order = np.argsort(bucket, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(bucket, minlength=columns * rows))))
    x, y = (np.ascontiguousarray(values) for values in points[order].T)
    return Buckets(x, y, order, starts, columns, rows, float(side))


@njit(cache=True, inline="always")
def bucket_window(buckets, x, y, reach):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Rows and columns of the buckets within reach of (x, y): first and last + 1 of each."""
    side, columns, rows = buckets.side, buckets.columns, buckets.rows
    left = min(max(math.floor((x - reach) / side), 0), columns)
    right = max(min(math.floor((x + reach) / side) + 1, columns), 0)
    top = min(max(math.floor((y - reach) / side), 0), rows)
    bottom = max(min(math.floor((y + reach) / side) + 1, rows), 0)
    return top, bottom, left, right


@njit(cache=True)
def neighbor_lists(buckets, reach):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Points j > i within `reach` of each point i, in the order of buckets: offsets, indices."""
    x, y, starts, columns = buckets.x, buckets.y, buckets.starts, buckets.columns
    offsets = np.zeros(x.size + 1, np.int64)
    near = np.zeros(0, np.int32)
    for fill in range(2):
        at = 0
        for i in range(x.size):
            top, bottom, left, right = bucket_window(buckets, x[i], y[i], reach)
            for row in range(top, bottom):
                first = max(starts[row * columns + left], i + 1)
                for j in range(first, starts[row * columns + right]):
                    if (x[j] - x[i]) ** 2 + (y[j] - y[i]) ** 2 <= reach * reach:
                        if fill:
                            near[at] = j
                        at += 1
            offsets[i + 1] = at
        if fill == 0:
            near = np.empty(at, np.int32)
    return offsets, near


@njit(cache=True)
def nearest_in_buckets(buckets, x, y, reach):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Index of the nearest point closer than `reach` to (x, y), the first of equals; -1 without."""
    top, bottom, left, right = bucket_window(buckets, x, y, reach)
    best, nearest = reach * reach, -1
    for row in range(top, bottom):
        start = row * buckets.columns
        for k in range(buckets.starts[start + left], buckets.starts[start + right]):
            gap = (buckets.x[k] - x) ** 2 + (buckets.y[k] - y) ** 2
            if gap < best:
                best, nearest = gap, k
    return nearest
