"""Where a nucleus ends: at half of its own brightness above the local background, object by object.

Uses nothing but the object's own pixels, so that it adds no reach to the decoder's.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.nuclei.decode import drop_small_and_number, fill_holes


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
    _largest_piece(kept, n, out)
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


@njit(cache=True)
def _largest_piece(labels, n, out):  # type: ignore[no-untyped-def]
    """Copy the largest 4-connected piece of each label (of equal ones the first in raster order) into `out`."""
    width = labels.shape[1]
    flat, target = labels.ravel(), out.ravel()
    best = np.zeros(n + 1, np.int64)
    first = np.full(n + 1, -1, np.int64)
    seen = np.zeros(flat.size, np.bool_)
    stack = np.empty(1024, np.int64)
    for chosen in range(2):  # measure every piece, then paint the chosen ones
        for begin in range(flat.size):
            k = flat[begin]
            if k == 0 or (chosen == 0 and seen[begin]) or (chosen == 1 and first[k] != begin):
                continue
            stack[0] = begin
            count = 1
            size = 0
            if chosen:
                target[begin] = k
            else:
                seen[begin] = True
            while count > 0:
                count -= 1
                i = stack[count]
                size += 1
                if count + 4 > stack.size:
                    bigger = np.empty(2 * stack.size, np.int64)
                    bigger[: stack.size] = stack
                    stack = bigger
                x = i % width
                for side in range(4):
                    if side == 0:
                        j = i - width
                    elif side == 1:
                        j = i - 1 if x > 0 else -1
                    elif side == 2:
                        j = i + 1 if x < width - 1 else -1
                    else:
                        j = i + width
                    if j < 0 or j >= flat.size or flat[j] != k:
                        continue
                    if chosen and target[j] == 0:
                        target[j] = k
                    elif not chosen and not seen[j]:
                        seen[j] = True
                    else:
                        continue
                    stack[count] = j
                    count += 1
            if chosen == 0 and size > best[k]:
                best[k] = size
                first[k] = begin
