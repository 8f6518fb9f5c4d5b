"""Compiled part of the cell model before growth: which stain a pixel carries, where stain has
edges, how nuclei are numbered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]


@njit(cache=True)  # type: ignore[untyped-decorator]
def strongest_stain(
    tumor: NDArray[np.float32], myeloid: NDArray[np.float32]
) -> Bytes:  # pragma: no cover
    """Medium of each pixel: 0 unstained, 1 tumor, 2 myeloid; both above 1: the larger ratio to its
    threshold, ties to tumor.
    """
    medium = np.zeros(tumor.shape, np.uint8)
    for y in range(tumor.shape[0]):
        for x in range(tumor.shape[1]):
            if tumor[y, x] > 1 and tumor[y, x] >= myeloid[y, x]:
                medium[y, x] = 1
            elif myeloid[y, x] > 1:
                medium[y, x] = 2
    return medium


@njit(cache=True)  # type: ignore[untyped-decorator]
def relative_edges(
    ratio: NDArray[np.float32], gain: float, largest: int
) -> Bytes:  # pragma: no cover
    """Cost of edges: `gain` x (|vertical| + |horizontal| central difference) / max(ratio, 1),
    rounded down, at most `largest`.
    """
    height, width = ratio.shape
    edges = np.zeros(ratio.shape, np.uint8)
    for y in range(height):
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            if ratio[y, x] <= 1:
                continue
            left, right = max(x - 1, 0), min(x + 1, width - 1)
            slope = abs(np.float64(ratio[below, x]) - ratio[above, x]) + abs(
                np.float64(ratio[y, right]) - ratio[y, left]
            )
            edges[y, x] = int(min(gain * slope / ratio[y, x], largest))
    return edges


@njit(cache=True)  # type: ignore[untyped-decorator]
def number_by_anchor(
    labels: NDArray[Any], largest: int
) -> tuple[Ints, NDArray[np.int64]]:  # pragma: no cover
    """Renumber labels (Y, X) 1..n by their first pixel in raster order; also the old label of each
    new one (n + 1,).
    """
    new = np.zeros(largest + 1, np.int32)
    old = np.zeros(largest + 1, np.int64)
    out = np.zeros(labels.shape, np.int32)
    n = 0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label == 0:
                continue
            if new[label] == 0:
                n += 1
                new[label] = n
                old[n] = label
            out[y, x] = new[label]
    return out, old[: n + 1].copy()
