"""Connected pieces of labelled objects: holes, largest pieces, small objects. Kernels that work in
place on int32 labels (Y, X).
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def fill_holes(labels):  # type: ignore[no-untyped-def]
    """Give background enclosed by one label to that label, in place (4-connected background, as
    scipy's ``binary_fill_holes``).

    Background enclosed by several labels together, or reaching the array's border, stays
    background. Works on runs of background.
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
    """Return the one label around a run of background; -1 for several, or when it meets the array's
    border.
    """
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
    if a == b or b == 0:
        return a
    return b if a == 0 else np.int32(-1)


@njit(cache=True)
def _find(root, i):  # type: ignore[no-untyped-def]
    while root[i] != i:
        root[i] = root[root[i]]
        i = root[i]
    return i


@njit(cache=True)
def drop_small_and_number(labels, n_labels, min_area):  # type: ignore[no-untyped-def]
    """Drop labels below `min_area` pixels and number the others in raster order of their first
    pixel, in place.
    """
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


@njit(cache=True)
def largest_piece(labels, n, out):  # type: ignore[no-untyped-def]
    """Copy the largest 4-connected piece of each label (of equal ones the first in raster order)
    into `out`.
    """
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
