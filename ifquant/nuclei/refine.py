"""Where a nucleus ends: at half of its own brightness above the local background, object by object.

Uses nothing but the object's own pixels, so that it adds no reach to the decoder's.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.nuclei.pieces import drop_small_and_number, fill_holes, largest_piece


def refine(
    labels: NDArray[np.int32],
    contrast: NDArray[np.int16],
    *,
    fraction: float,
    quantile: float,
    min_contrast: int,
    min_area_px: int,
) -> NDArray[np.int32]:
    """Cut each object back to the pixels above a fraction of its own brightness.

    Parameters
    ----------
    labels : int32 (Y, X)
        Objects 1..n.
    contrast : int16 (Y, X)
        Brightness above the local background.
    fraction
        A pixel stays when its contrast is above this fraction of its object's brightness.
    quantile
        The object's brightness is this quantile of its pixels' contrast.
    min_contrast
        Objects less bright than this are dropped.
    min_area_px
        Smaller objects are dropped in the end.

    Returns
    -------
    int32 (Y, X)
        The largest 4-connected piece of each object, holes filled, numbered 1..n in raster order of their first pixel.
    """
    kept = np.zeros_like(labels)
    n = int(labels.max()) if labels.size else 0
    if n == 0:
        return kept
    _cut_back(labels, contrast, n, fraction, quantile, min_contrast, kept)
    out = np.zeros_like(labels)
    largest_piece(kept, n, out)
    fill_holes(out)
    drop_small_and_number(out, n, min_area_px)
    return out


@njit(cache=True)
def _cut_back(labels, contrast, n, fraction, quantile, min_contrast, kept):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    area = np.zeros(n + 2, np.int64)
    for y in range(height):
        for x in range(width):
            area[labels[y, x] + 1] += 1
    area[1] = 0
    start = np.cumsum(area)  # pixels of object k: start[k] : start[k + 1]
    place = start.copy()
    values = np.empty(start[n + 1], np.int16)
    for y in range(height):
        for x in range(width):
            k = labels[y, x]
            if k:
                values[place[k]] = contrast[y, x]
                place[k] += 1
    limit = np.empty(n + 1, np.float64)
    for k in range(1, n + 1):
        own = np.sort(values[start[k] : start[k + 1]])
        level = own[int(quantile * (own.size - 1))] if own.size else np.int16(0)
        limit[k] = fraction * level if level >= min_contrast else 1e9
    for y in range(height):
        for x in range(width):
            k = labels[y, x]
            if k and contrast[y, x] > limit[k]:
                kept[y, x] = k
