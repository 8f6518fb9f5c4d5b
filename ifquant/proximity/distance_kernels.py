"""Compiled kernels of distances.py: border gaps between objects, discs over the tissue mask.

A pixel is the closed square of its row and column. The gap between two objects is the smallest
distance between their squares; squared and in px it is an integer, so that gaps are exact. Boxes of
objects are kept in a packed tree (8 boxes per node, in Morton order): a query visits only boxes
nearer than the best gap found.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

_FAN = 8
FAR = np.int64(2**62)
"""Squared gap of an object that has no partner."""


class Tree(NamedTuple):
    """Boxes packed by 8.

    Attributes
    ----------
    order : (n,)
        Box indices in Morton order, the entries of the leaves.
    nodes : (m, 4)
        Boxes of the entries, then of every level above, the root last.
    levels
        First node of each level, and the total.
    """

    order: NDArray[np.int64]
    nodes: NDArray[np.int32]
    levels: NDArray[np.int64]


class Outlines(NamedTuple):
    """Runs of n objects (see `CellRuns`) and their boxes (n, 4)."""

    offsets: NDArray[np.int64]
    y: NDArray[np.int32]
    x0: NDArray[np.int32]
    x1: NDArray[np.int32]
    boxes: NDArray[np.int32]


def build_tree(boxes: NDArray[np.int32]) -> Tree:
    """Pack half-open boxes (n, 4: y0, x0, y1, x1) into a tree."""
    center = (boxes[:, :2].astype(np.int64) + boxes[:, 2:]) // 2
    if len(center):
        center -= center.min(axis=0)
    order = np.argsort(
        _spread(center[:, 0]) | (_spread(center[:, 1]) << np.uint64(1)), kind="stable"
    ).astype(np.int64)
    level = np.ascontiguousarray(boxes[order])
    nodes, levels = [level], [0, len(level)]
    while len(level) > 1:
        starts = np.arange(0, len(level), _FAN)
        level = np.concatenate(
            (np.minimum.reduceat(level[:, :2], starts), np.maximum.reduceat(level[:, 2:], starts)),
            axis=1,
        )
        nodes.append(level)
        levels.append(levels[-1] + len(level))
    return Tree(order, np.concatenate(nodes), np.array(levels, np.int64))


def _spread(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Put a zero bit between the bits of 32-bit numbers."""
    x = values.astype(np.uint64)
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        x = (x | (x << np.uint64(shift))) & np.uint64(mask)
    return x


@njit(cache=True, inline="always")
def _box_gap2(nodes, k, y0, x0, y1, x1):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Squared gap between node `k` and a box, in px."""
    dy = max(nodes[k, 0] - y1, y0 - nodes[k, 2], 0)
    dx = max(nodes[k, 1] - x1, x0 - nodes[k, 3], 0)
    return np.int64(dy) * np.int64(dy) + np.int64(dx) * np.int64(dx)


@njit(cache=True, inline="always")
def _run_gap2(y, x0, x1, i, j):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Squared gap between two runs."""
    dy = max(abs(np.int64(y[i]) - np.int64(y[j])) - 1, 0)
    dx = max(np.int64(x0[i]) - np.int64(x1[j]), np.int64(x0[j]) - np.int64(x1[i]), 0)
    return dy * dy + dx * dx  # type: ignore[operator]


@njit(cache=True)
def _pair_gap2(offsets, y, x0, x1, boxes, a, b, best):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Squared gap between objects `a` and `b` if below `best`, else `best`; rows of `a` no nearer
    to the box of `b` are left out.
    """
    first, last = offsets[b], offsets[b + 1]
    best = min(
        best, _run_gap2(y, x0, x1, (offsets[a] + offsets[a + 1]) // 2, (first + last) // 2)
    )  # a bound to prune with
    reach = np.int64(np.ceil(np.sqrt(np.float64(best))))
    for i in range(offsets[a], offsets[a + 1]):
        if _box_gap2(boxes, b, y[i], x0[i], y[i] + 1, x1[i]) >= best:
            continue
        while (
            first < last and y[first] < y[i] - reach
        ):  # rows at a gap of `reach` or more cannot win
            first += 1
        for j in range(first, last):
            if y[j] > y[i] + reach:
                break
            gap2 = _run_gap2(y, x0, x1, i, j)
            if gap2 < best:
                best = gap2
                if best == 0:
                    return best
                reach = np.int64(np.ceil(np.sqrt(np.float64(best))))
    return best


@njit(cache=True)
def _touch(offsets, y, x0, x1, a, b):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether the gap between objects `a` and `b` is 0."""
    j_first, j_last = offsets[b], offsets[b + 1]
    for i in range(offsets[a], offsets[a + 1]):
        while j_first < j_last and y[j_first] < y[i] - 1:
            j_first += 1
        j = j_first
        while j < j_last and y[j] <= y[i] + 1:
            if x0[j] <= x1[i] and x0[i] <= x1[j]:
                return True
            j += 1
    return False


@njit(cache=True)
def touching_pairs_kernel(outlines, tree):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Pairs (i, j), i < j, of objects with gap 0; grouped by i, j unordered."""
    offsets, y, x0, x1, boxes = outlines
    order, nodes, levels = tree
    n = len(boxes)
    first = np.empty(max(16, 4 * n), np.int64)
    second = np.empty(max(16, 4 * n), np.int64)
    count = 0
    depth = len(levels) - 1
    stack_level = np.empty(_FAN * 32, np.int64)
    stack_node = np.empty(_FAN * 32, np.int64)
    for a in range(n):
        if offsets[a] == offsets[a + 1]:
            continue
        qy0, qx0, qy1, qx1 = boxes[a, 0], boxes[a, 1], boxes[a, 2], boxes[a, 3]
        stack_level[0], stack_node[0], top = depth - 1, 0, 1
        while top:
            top -= 1
            level, node = stack_level[top], stack_node[top]
            if _box_gap2(nodes, levels[level] + node, qy0, qx0, qy1, qx1) > 0:
                continue
            if level == 0:
                b = order[node]
                if b > a and _touch(offsets, y, x0, x1, a, b):
                    if count == len(first):
                        first = np.concatenate((first, np.empty_like(first)))
                        second = np.concatenate((second, np.empty_like(second)))
                    first[count], second[count] = a, b
                    count += 1
                continue
            size = levels[level] - levels[level - 1]
            for child in range(node * _FAN, min((node + 1) * _FAN, size)):
                stack_level[top], stack_node[top] = level - 1, child
                top += 1
    return first[:count].copy(), second[:count].copy()


@njit(cache=True)
def nearest_border_kernel(queries, seeds, outlines, targets, tree):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Squared gap from each query object to the nearest other target; search begins at `seeds`."""
    offsets, y, x0, x1, boxes = outlines
    order, nodes, levels = tree
    result = np.empty(len(queries), np.int64)
    depth = len(levels) - 1
    stack_level = np.empty(_FAN * 32, np.int64)
    stack_node = np.empty(_FAN * 32, np.int64)
    stack_gap = np.empty(_FAN * 32, np.int64)
    for q in range(len(queries)):
        a = queries[q]
        best = FAR
        if seeds[q] >= 0:
            best = _pair_gap2(offsets, y, x0, x1, boxes, a, seeds[q], best)
        qy0, qx0, qy1, qx1 = boxes[a, 0], boxes[a, 1], boxes[a, 2], boxes[a, 3]
        stack_level[0], stack_node[0], stack_gap[0], top = depth - 1, 0, 0, 1
        while top and best > 0:
            top -= 1
            level, node = stack_level[top], stack_node[top]
            if stack_gap[top] >= best:
                continue
            if level == 0:
                b = targets[order[node]]
                if b != a:
                    best = _pair_gap2(offsets, y, x0, x1, boxes, a, b, best)
                continue
            size = levels[level] - levels[level - 1]
            base = top
            for child in range(node * _FAN, min((node + 1) * _FAN, size)):
                gap2 = _box_gap2(nodes, levels[level - 1] + child, qy0, qx0, qy1, qx1)
                if gap2 >= best:
                    continue
                place = top  # insertion: the nearest child ends on top
                while place > base and stack_gap[place - 1] < gap2:
                    stack_level[place], stack_node[place], stack_gap[place] = (
                        stack_level[place - 1],
                        stack_node[place - 1],
                        stack_gap[place - 1],
                    )
                    place -= 1
                stack_level[place], stack_node[place], stack_gap[place] = level - 1, child, gap2
                top += 1
        result[q] = best
    return result


@njit(cache=True, inline="always")
def _half_disc(x, r):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Antiderivative of sqrt(r^2 - x^2)."""
    x = min(max(x, -r), r)
    return 0.5 * (x * math.sqrt(max(r * r - x * x, 0.0)) + r * r * math.asin(x / r))


@njit(cache=True)
def _disc_strip(x0, x1, y, r):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Signed area of the disc of radius r around 0 between the x axis and height y, for x0 <= x <=
    x1.
    """
    height = min(abs(y), r)
    x0, x1 = max(x0, -r), min(x1, r)
    if x0 >= x1:
        return 0.0
    corner = math.sqrt(max(r * r - height * height, 0.0))
    area = 0.0
    a, b = max(x0, -corner), min(x1, corner)
    if a < b:
        area += height * (b - a)
    if x0 < -corner:
        area += _half_disc(min(x1, -corner), r) - _half_disc(x0, r)
    if x1 > corner:
        area += _half_disc(x1, r) - _half_disc(max(x0, corner), r)
    return area if y >= 0 else -area


@njit(cache=True)
def tissue_within_kernel(x_px, y_px, radii_px, mask, total, step, height, width):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fraction of each disc that is tissue inside the image (n, radii); `total` is the summed-area
    table of `mask` (My + 1, Mx + 1).
    """
    result = np.empty((len(x_px), len(radii_px)), np.float64)
    rows, columns = mask.shape
    for i in range(len(x_px)):
        for k in range(len(radii_px)):
            x, y, r = x_px[i], y_px[i], radii_px[k]
            row0 = min(max(math.floor((y - r) / step), 0), rows)
            row1 = max(min(math.floor((y + r) / step), rows - 1), -1)
            column0 = min(max(math.floor((x - r) / step), 0), columns)
            column1 = max(min(math.floor((x + r) / step), columns - 1), -1)
            if row0 > row1 or column0 > column1:
                result[i, k] = 0.0
                continue
            filled = (
                total[row1 + 1, column1 + 1]
                - total[row0, column1 + 1]
                - total[row1 + 1, column0]
                + total[row0, column0]
            )
            inside = y - r >= 0 and x - r >= 0 and y + r <= height and x + r <= width
            if inside and filled == (row1 - row0 + 1) * (column1 - column0 + 1):
                result[i, k] = 1.0
                continue
            area = 0.0
            if filled:
                for row in range(row0, row1 + 1):
                    bottom, top = row * step - y, min((row + 1) * step, height) - y
                    column = column0
                    while column <= column1:
                        if not mask[row, column]:
                            column += 1
                            continue
                        start = column
                        while column <= column1 and mask[row, column]:
                            column += 1
                        left, right = start * step - x, min(column * step, width) - x
                        area += _disc_strip(left, right, top, r) - _disc_strip(
                            left, right, bottom, r
                        )
            result[i, k] = min(max(area / (math.pi * r * r), 0.0), 1.0)
    return result
