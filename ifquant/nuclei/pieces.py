"""Connected pieces of labelled objects: holes, largest pieces, small objects. Kernels that work in place on int32 labels (Y, X)."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def fill_holes(labels):  # type: ignore[no-untyped-def]
    """Give background enclosed by one label to that label, in place (4-connected background, as scipy's ``binary_fill_holes``).

    Background enclosed by several labels together, or reaching the array's border, stays background.
    """
    height, width = labels.shape
    flat = labels.ravel()
    seen = np.zeros(flat.size, np.bool_)
    stack = np.empty(flat.size + 1 if flat.size < 1 << 16 else 1 << 16, np.int32)
    found = np.empty(stack.size, np.int32)
    for start in range(flat.size):
        if flat[start] != 0 or seen[start]:
            continue
        owner = 0  # -1: several owners or open
        seen[start] = True
        stack[0] = start
        n = 1
        n_found = 0
        while n > 0:
            n -= 1
            i = stack[n]
            if owner >= 0:
                if n_found == found.size:
                    longer = np.empty(2 * n_found, np.int32)
                    longer[:n_found] = found
                    found = longer
                found[n_found] = i
                n_found += 1
            if n + 4 > stack.size:
                bigger = np.empty(2 * stack.size, np.int32)
                bigger[: stack.size] = stack
                stack = bigger
            y, x = i // width, i % width
            if y == 0 or x == 0 or y == height - 1 or x == width - 1:
                owner = -1
            for k in range(4):
                ny = y + (k == 3) - (k == 0)
                nx = x + (k == 2) - (k == 1)
                if ny < 0 or nx < 0 or ny >= height or nx >= width:
                    continue
                j = ny * width + nx
                if flat[j] != 0:
                    if owner == 0:
                        owner = flat[j]
                    elif owner != flat[j]:
                        owner = -1
                elif not seen[j]:
                    seen[j] = True
                    stack[n] = j
                    n += 1
        if owner > 0:
            for k in range(n_found):
                flat[found[k]] = owner


@njit(cache=True)
def drop_small_and_number(labels, n_labels, min_area):  # type: ignore[no-untyped-def]
    """Drop labels below `min_area` pixels and number the others in raster order of their first pixel, in place."""
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
