"""Connected components of labelled objects: largest ones, holes, small objects; int32 (Y, X)."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def largest_components(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep the largest 4-connected component of each label, of equal ones the first in raster."""
    from skimage.measure import label

    if labels.size == 0:
        return labels.copy()
    component = label(labels, background=0, connectivity=1)
    area = np.bincount(component.ravel())
    object_of = np.zeros(len(area), np.int32)
    object_of[component] = labels
    order = np.lexsort((-area, object_of))
    is_largest = np.zeros(len(area), np.bool_)
    is_largest[order[np.diff(object_of[order], prepend=-1) != 0]] = True
    return np.where(is_largest[component], labels, 0)


@njit(cache=True)
def fill_holes(labels):  # type: ignore[no-untyped-def]
    """Fill background enclosed by one label, in place (as scipy's ``binary_fill_holes``).

    The background is 4-connected. What several labels enclose together, or what reaches the array's
    border, stays background. Works on runs of background.
    """
    height, width = labels.shape
    start = np.zeros(height + 1, np.int64)  # runs of row y: start[y] : start[y + 1]
    for y in range(height):
        n = 0
        for x in range(width):
            n += labels[y, x] == 0 and (x == 0 or labels[y, x - 1] != 0)
        start[y + 1] = start[y] + n
    x0 = np.empty(start[height], np.int32)
    x1 = np.empty(start[height], np.int32)
    root = np.arange(start[height])
    owner = np.zeros(start[height], np.int32)  # 0 none met yet, -1 several or open
    for y in range(height):
        run = start[y]
        x = 0
        above = start[y - 1] if y > 0 else start[y]
        while x < width:
            if labels[y, x] != 0:
                x += 1
                continue
            x0[run] = x
            while x < width and labels[y, x] == 0:
                x += 1
            x1[run] = x
            owner[run] = _around(labels, y, x0[run], x)
            while above < start[y] and x1[above] <= x0[run]:
                above += 1
            k = above
            while k < start[y] and x0[k] < x:  # touches the run k of the row above
                a, b = _find(root, run), _find(root, k)
                if a != b:
                    root[max(a, b)] = min(a, b)
                    owner[min(a, b)] = _either(owner[a], owner[b])
                k += 1
            run += 1
    for y in range(height):
        for run in range(start[y], start[y + 1]):
            label = owner[_find(root, run)]
            if label > 0:
                labels[y, x0[run] : x1[run]] = label


@njit(cache=True)
def _around(labels, y, x0, x1):  # type: ignore[no-untyped-def]
    """One label around a run of background; -1 for several or at the array's border."""
    height, width = labels.shape
    if y == 0 or y == height - 1 or x0 == 0 or x1 == width:
        return np.int32(-1)
    met = _either(labels[y, x0 - 1], labels[y, x1])
    for x in range(x0, x1):
        if met < 0:
            break
        met = _either(_either(met, labels[y - 1, x]), labels[y + 1, x])
    return met


@njit(cache=True)
def _either(a, b):  # type: ignore[no-untyped-def]
    """Whichever of two labels is not 0; -1 for two different ones."""
    if a == b or b == 0:
        return a
    return b if a == 0 else np.int32(-1)


@njit(cache=True)
def _find(root, i):  # type: ignore[no-untyped-def]
    """Root of run `i` in a forest of joined runs; halves the path."""
    while root[i] != i:
        root[i] = root[root[i]]
        i = root[i]
    return i


@njit(cache=True)
def relabel_without_small(labels, n_labels, min_area):  # type: ignore[no-untyped-def]
    """Drop labels below `min_area` pixels, number the others by their first pixels, in place."""
    flat = labels.ravel()
    area = np.zeros(n_labels + 1, np.int64)
    for i in range(flat.size):
        area[flat[i]] += 1
    number = np.zeros(n_labels + 1, np.int32)
    n = 0
    for i in range(flat.size):
        old = flat[i]
        if old == 0:
            continue
        if area[old] < min_area:
            flat[i] = 0
            continue
        if number[old] == 0:
            n += 1
            number[old] = n
        flat[i] = number[old]
    return n
