"""Compiled part of the measurement: pixels sorted by cell once, then sums and order statistics per
cell and compartment.

`part` is a byte per pixel of a cell whose bits say which compartments it belongs to; bit k stands
for position k of `COMPARTMENTS`. Pixels of a cell stay in raster order, so sums do not depend
on the window; integer images are summed exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.columns.column_info import COMPARTMENTS

N_COMPARTMENTS = len(COMPARTMENTS)
N_SETS = 1 << N_COMPARTMENTS
"""Different values of a byte of `part`."""
NUCLEUS, CYTOPLASM, MEMBRANE, CELL, SOMA = (
    1 << COMPARTMENTS.index(name) for name in ("nucleus", "cytoplasm", "membrane", "cell", "soma")
)
NEAR_EDGE, NEAR_OTHER, NEAR_OTHER_CLEAR, NEAR_NUCLEUS = 1, 2, 4, 8
"""What `mark_edges` and `mark_nuclei` say of a pixel of a cell."""
BINS = 64
"""Classes of equal width into which the values of a cell are counted before the ranked ones are
picked."""

Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]


@njit(cache=True)  # type: ignore[untyped-decorator]
def present(labels: NDArray[Any], largest: int) -> NDArray[np.bool_]:  # pragma: no cover
    """Which of the labels 0..largest occur."""
    found = np.zeros(largest + 1, np.bool_)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            found[labels[y, x]] = True
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def mark_edges(
    marks: Bytes, cells: Ints, dy: Ints, dx: Ints, from_ground: Bytes, from_cell: Bytes
) -> None:  # pragma: no cover
    """Mark the pixels of cells that lie within given offsets (dy, dx) of a pixel outside their
    cell.

    The nearest such pixel always has one of its 4 neighbours inside the cell, so only those stamp
    their surroundings: with `from_ground` (per offset) where the outside is background, with
    `from_cell` where it is another cell.
    """
    height, width = cells.shape
    reach = max(np.abs(dy).max(), np.abs(dx).max())
    steps = dy.astype(np.int64) * width + dx
    flat, flat_marks = cells.ravel(), marks.ravel()
    for y in range(height):
        for x in range(width):
            own = cells[y, x]
            if not _on_edge(cells, y, x):
                continue
            stamp = from_ground if own == 0 else from_cell
            if reach <= y < height - reach and reach <= x < width - reach:
                for k in range(steps.size):
                    p = y * width + x + steps[k]
                    if flat[p] != 0 and flat[p] != own:
                        flat_marks[p] |= stamp[k]
                continue
            for k in range(dy.size):
                v, u = y + dy[k], x + dx[k]
                if 0 <= v < height and 0 <= u < width and cells[v, u] != 0 and cells[v, u] != own:
                    marks[v, u] |= stamp[k]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _on_edge(labels: Ints, y: int, x: int) -> bool:  # pragma: no cover
    """Whether one of the 4 neighbours has another label."""
    own = labels[y, x]
    return bool(
        (y > 0 and labels[y - 1, x] != own)
        or (y + 1 < labels.shape[0] and labels[y + 1, x] != own)
        or (x > 0 and labels[y, x - 1] != own)
        or (x + 1 < labels.shape[1] and labels[y, x + 1] != own)
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def mark_nuclei(
    marks: Bytes, cells: Ints, nuclei: Ints, dy: Ints, dx: Ints
) -> None:  # pragma: no cover
    """Mark the pixels of cells that lie within given offsets of their own nucleus."""
    height, width = cells.shape
    reach = max(np.abs(dy).max(), np.abs(dx).max())
    steps = dy.astype(np.int64) * width + dx
    flat, flat_marks = cells.ravel(), marks.ravel()
    for y in range(height):
        for x in range(width):
            own = nuclei[y, x]
            if own == 0 or not _on_edge(nuclei, y, x):
                continue
            if reach <= y < height - reach and reach <= x < width - reach:
                for k in range(steps.size):
                    p = y * width + x + steps[k]
                    if flat[p] == own:
                        flat_marks[p] |= NEAR_NUCLEUS
                continue
            for k in range(dy.size):
                v, u = y + dy[k], x + dx[k]
                if 0 <= v < height and 0 <= u < width and cells[v, u] == own:
                    marks[v, u] |= NEAR_NUCLEUS


@njit(cache=True)  # type: ignore[untyped-decorator]
def sort_pixels(  # pragma: no cover
    cells: Ints,
    nuclei: Ints,
    marks: Bytes,
    row: Ints,
    n: int,
    shared_membrane: bool,
    index: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[Any], Bytes, NDArray[np.bool_]]:
    """Sort the pixels of the wanted cells by cell, in raster order within each.

    Parameters
    ----------
    cells, nuclei
        int32 (Y, X); a nucleus pixel outside its cell counts for the nucleus only.
    marks
        uint8 (Y, X), or (1, 1) when neither membrane nor soma are wanted.
    row
        int32 (largest label + 1,): position of each label in the result, -1 = not wanted.
    index
        Empty array of the type of pixel indices.

    Returns
    -------
    first (n + 1,) into the pixels; flat pixel index and part (both: pixels); whether the soma had
    to fall back on the nucleus (n,).
    """
    height, width = cells.shape
    marked = marks.size == cells.size
    first = np.zeros(n + 2, np.int64)
    for y in range(height):
        for x in range(width):
            cell, nucleus = cells[y, x], nuclei[y, x]
            if row[cell] >= 0:
                first[row[cell] + 2] += 1
            if nucleus != cell and row[nucleus] >= 0:
                first[row[nucleus] + 2] += 1
    first = first.cumsum()
    index = np.empty(first[n + 1], index.dtype)
    part = np.empty(first[n + 1], np.uint8)
    for y in range(height):
        for x in range(width):
            cell, nucleus = cells[y, x], nuclei[y, x]
            if row[cell] >= 0:
                bits = CELL | (NUCLEUS if nucleus == cell else CYTOPLASM)
                if marked:
                    mark = marks[y, x]
                    if mark & NEAR_EDGE and (shared_membrane or not mark & NEAR_OTHER):
                        bits |= MEMBRANE
                    if (nucleus == cell or mark & NEAR_NUCLEUS) and not mark & NEAR_OTHER_CLEAR:
                        bits |= SOMA
                place = first[row[cell] + 1]
                first[row[cell] + 1] += 1
                index[place] = y * width + x
                part[place] = bits
            if nucleus != cell and row[nucleus] >= 0:
                place = first[row[nucleus] + 1]
                first[row[nucleus] + 1] += 1
                index[place] = y * width + x
                part[place] = NUCLEUS
    fallen_back = np.zeros(n, np.bool_)
    for i in range(n):
        bits = 0
        for place in range(first[i], first[i + 1]):
            bits |= part[place]
        if marked and not bits & SOMA and bits & NUCLEUS:
            fallen_back[i] = True
            for place in range(first[i], first[i + 1]):
                if part[place] & NUCLEUS:
                    part[place] |= SOMA
    return first[: n + 1].copy(), index, part, fallen_back


@njit(cache=True)  # type: ignore[untyped-decorator]
def statistics(  # pragma: no cover
    values: NDArray[Any],
    words: NDArray[Any],
    flips: NDArray[Any],
    total: NDArray[Any],
    first: NDArray[np.int64],
    index: NDArray[Any],
    part: Bytes,
    saturation: float,
    spread: int,
    middle: int,
    upper: int,
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float64], NDArray[Any], NDArray[np.int64]]:
    """Statistics of one channel per cell and compartment. Values that are not finite are left out.

    Parameters
    ----------
    values, words
        Flat channel, and the same memory as unsigned integers.
    flips
        (3,) of the type of `words`: the sign bit, and what to exclusive-or to words with and
        without it so that they sort like the values.
    total
        Empty array of the type to sum in: uint64, int64 or float64.
    first, index, part
        Pixels sorted by cell (`sort_pixels`).
    saturation
        Cell pixels of at least this value are counted (NaN: none).
    spread, middle, upper
        Compartments (bits) whose squared deviations from the mean, median, 95th percentile are
        wanted.

    Returns
    -------
    Number of pixels (n, 5); sums (n, 5); squared deviations (n, 5); sortable words next to the
    median, below and above, and next to the percentile (n, 5, 4); pixels of the cell that are
    saturated, and left out (n, 2).
    """
    n = first.size - 1
    counts, odd = np.zeros((n, N_COMPARTMENTS), np.int64), np.zeros((n, 2), np.int64)
    added, squares = (
        np.zeros((n, N_COMPARTMENTS), total.dtype),
        np.zeros((n, N_COMPARTMENTS), np.float64),
    )
    near = np.zeros((n, N_COMPARTMENTS, 4), words.dtype)
    longest = 0
    for i in range(n):
        longest = max(longest, first[i + 1] - first[i])
    keys, bits = np.empty(longest, words.dtype), np.empty(longest, np.uint8)
    binned, binned_bits, chosen = (
        np.empty_like(keys),
        np.empty_like(bits),
        np.empty(longest + 1, words.dtype),
    )
    numbers, partial = np.zeros(N_SETS, np.int64), np.zeros(N_SETS, total.dtype)
    bins, column, start = (
        np.zeros((N_SETS, BINS), np.int64),
        np.zeros(BINS, np.int64),
        np.zeros(BINS + 1, np.int64),
    )
    sign, flip_set, flip_clear = flips
    for i in range(n):
        numbers[:] = 0
        partial[:] = 0
        size = 0
        smallest, largest = ~words.dtype.type(0), words.dtype.type(0)
        for place in range(first[i], first[i + 1]):
            value, member = values[index[place]], part[place]
            if value - value == 0:
                numbers[member] += 1
                partial[member] += value
                word = words[index[place]]
                word ^= flip_set if word & sign else flip_clear
                keys[size], bits[size] = word, member
                smallest, largest = min(smallest, word), max(largest, word)
                size += 1
                if member & CELL and value >= saturation:
                    odd[i, 0] += 1
            else:
                odd[i, 1] += 1
        for member in range(N_SETS):
            if numbers[member] != 0:
                for k in range(N_COMPARTMENTS):
                    if member >> k & 1:
                        counts[i, k] += numbers[member]
                        added[i, k] += partial[member]
        for k in range(N_COMPARTMENTS):
            if spread >> k & 1 and counts[i, k] > 0:
                mean = np.float64(added[i, k]) / counts[i, k]
                for place in range(first[i], first[i + 1]):
                    value = values[index[place]]
                    if part[place] >> k & 1 and value - value == 0:
                        squares[i, k] += (np.float64(value) - mean) ** 2
        if size == 0 or (middle | upper) == 0:
            continue
        shift = 0
        while np.uint64(largest - smallest) >> np.uint64(shift) >= BINS:
            shift += 1
        for member in range(N_SETS):
            if numbers[member] != 0:
                bins[member] = 0
        for j in range(size):
            bins[bits[j], np.int64(np.uint64(keys[j] - smallest) >> np.uint64(shift))] += 1
        start[0] = 0
        for b in range(BINS):
            start[b + 1] = start[b]
            for member in range(N_SETS):
                if numbers[member] != 0:
                    start[b + 1] += bins[member, b]
        if shift > 0:
            column[:] = start[:BINS]
            for j in range(size):
                bin_ = np.int64(np.uint64(keys[j] - smallest) >> np.uint64(shift))
                binned[column[bin_]], binned_bits[column[bin_]] = keys[j], bits[j]
                column[bin_] += 1
        for k in range(N_COMPARTMENTS):
            m = counts[i, k]
            if m == 0 or not (middle | upper) >> k & 1:
                continue
            column[:] = 0
            for member in range(N_SETS):
                if numbers[member] != 0 and member >> k & 1:
                    for b in range(BINS):
                        column[b] += bins[member, b]
            for q in range(2):
                if (upper if q else middle) >> k & 1 == 0:
                    continue
                below = int((m - 1) * 0.95) if q else (m - 1) // 2
                above = min(below + 1, m - 1) if q else m // 2
                before, low = 0, 0
                while before + column[low] <= below:
                    before += column[low]
                    low += 1
                high, until = low, before + column[low]
                while until <= above:
                    high += 1
                    until += column[high]
                if shift == 0:
                    near[i, k, 2 * q], near[i, k, 2 * q + 1] = smallest + low, smallest + high
                    continue
                found = 0
                for j in range(start[low], start[high + 1]):
                    chosen[found] = binned[j]
                    found += binned_bits[j] >> k & 1
                _select(chosen, found, below - before)
                near[i, k, 2 * q] = near[i, k, 2 * q + 1] = chosen[below - before]
                if above > below:
                    following = chosen[below - before + 1]
                    for j in range(below - before + 2, found):
                        following = min(following, chosen[j])
                    near[i, k, 2 * q + 1] = following
    return counts, added, squares, near, odd


@njit(cache=True)  # type: ignore[untyped-decorator]
def _select(values: NDArray[Any], size: int, rank: int) -> None:  # pragma: no cover
    """Partition the first `size` values so that `values[rank]` is where sorting puts it (Hoare)."""
    left, right = 0, size - 1
    while left < right:
        pivot = values[(left + right) >> 1]
        i, j = left, right
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if rank <= j:
            right = j
        elif rank >= i:
            left = i
        else:
            return
