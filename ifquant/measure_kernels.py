"""Compiled part of the measurement: pixels sorted by cell once, then sums and order statistics per cell and compartment.

`part` is a byte per pixel of a cell whose bits say which compartments it belongs to; bit k stands for position k of `table.COMPARTMENTS`.
Pixels of a cell stay in raster order, so sums do not depend on the window; integer images are summed exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

NUCLEUS, CYTOPLASM, MEMBRANE, CELL, SOMA = 1, 2, 4, 8, 16
NEAR_EDGE, NEAR_OTHER, NEAR_OTHER_CLEAR, NEAR_NUCLEUS = 1, 2, 4, 8
"""What `mark_edges` and `mark_nuclei` say of a pixel of a cell."""
SHORT = 48
"""Up to this many pixels an insertion sort beats counting."""

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
def mark_edges(marks: Bytes, cells: Ints, dy: Ints, dx: Ints, from_ground: Bytes, from_cell: Bytes) -> None:  # pragma: no cover
    """Mark the pixels of cells that lie within given offsets (dy, dx) of a pixel outside their cell.

    The nearest such pixel always has one of its 4 neighbours inside the cell, so only those stamp their surroundings: with `from_ground`
    (per offset) where the outside is background, with `from_cell` where it is another cell.
    """
    height, width = cells.shape
    reach = max(np.abs(dy).max(), np.abs(dx).max())
    for y in range(height):
        for x in range(width):
            own = cells[y, x]
            edge = (
                (y > 0 and cells[y - 1, x] != own)
                or (y + 1 < height and cells[y + 1, x] != own)
                or (x > 0 and cells[y, x - 1] != own)
                or (x + 1 < width and cells[y, x + 1] != own)
            )
            if not edge:
                continue
            inner = reach <= y < height - reach and reach <= x < width - reach
            stamp = from_ground if own == 0 else from_cell
            for k in range(dy.size):
                v, u = y + dy[k], x + dx[k]
                if inner or (0 <= v < height and 0 <= u < width):
                    other = cells[v, u]
                    if other != 0 and other != own:
                        marks[v, u] |= stamp[k]


@njit(cache=True)  # type: ignore[untyped-decorator]
def mark_nuclei(marks: Bytes, cells: Ints, nuclei: Ints, dy: Ints, dx: Ints) -> None:  # pragma: no cover
    """Mark the pixels of cells that lie within given offsets of their own nucleus."""
    height, width = cells.shape
    reach = max(np.abs(dy).max(), np.abs(dx).max())
    for y in range(height):
        for x in range(width):
            own = nuclei[y, x]
            if own == 0:
                continue
            edge = (
                (y > 0 and nuclei[y - 1, x] != own)
                or (y + 1 < height and nuclei[y + 1, x] != own)
                or (x > 0 and nuclei[y, x - 1] != own)
                or (x + 1 < width and nuclei[y, x + 1] != own)
            )
            if not edge:
                continue
            inner = reach <= y < height - reach and reach <= x < width - reach
            for k in range(dy.size):
                v, u = y + dy[k], x + dx[k]
                if (inner or (0 <= v < height and 0 <= u < width)) and cells[v, u] == own:
                    marks[v, u] |= NEAR_NUCLEUS


@njit(cache=True)  # type: ignore[untyped-decorator]
def sort_pixels(  # pragma: no cover
    cells: Ints, nuclei: Ints, marks: Bytes, row: Ints, n: int, shared_membrane: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], Bytes, NDArray[np.bool_]]:
    """Sort the pixels of the wanted cells by cell, in raster order within each.

    Parameters
    ----------
    cells, nuclei
        int32 (Y, X); a nucleus pixel outside its cell counts for the nucleus only.
    marks
        uint8 (Y, X), or (1, 1) when neither membrane nor soma are wanted.
    row
        int32 (largest label + 1,): position of each label in the result, -1 = not wanted.

    Returns
    -------
    first (n + 1,) into the pixels; flat pixel index and part (both: pixels); whether the soma had to fall back on the nucleus (n,).
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
    index = np.empty(first[n + 1], np.int64)
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
def sums(  # pragma: no cover
    values: NDArray[Any],
    first: NDArray[np.int64],
    index: NDArray[np.int64],
    part: Bytes,
    saturation: float,
    spread: int,
    total: NDArray[Any],
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float64], NDArray[np.int64]]:
    """Add up one channel per cell and compartment.

    Parameters
    ----------
    values
        Flat channel. Values that are not finite are left out.
    saturation
        Cell pixels of at least this value are counted (NaN: none).
    spread
        Compartments (bits) whose squared deviations from the mean are wanted.
    total
        Empty array of the type to sum in: uint64, int64 or float64.

    Returns
    -------
    Number of pixels (n, 5); sums (n, 5); squared deviations (n, 5); pixels of the cell that are saturated, and left out (n, 2).
    """
    n = first.size - 1
    counts = np.zeros((n, 5), np.int64)
    added = np.zeros((n, 5), total.dtype)
    squares = np.zeros((n, 5), np.float64)
    odd = np.zeros((n, 2), np.int64)
    numbers, partial = np.zeros(32, np.int64), np.zeros(32, total.dtype)
    for i in range(n):
        numbers[:] = 0
        partial[:] = 0
        for place in range(first[i], first[i + 1]):
            value, bits = values[index[place]], part[place]
            if value - value == 0:
                numbers[bits] += 1
                partial[bits] += value
                if bits & CELL and value >= saturation:
                    odd[i, 0] += 1
            else:
                odd[i, 1] += 1
        for bits in range(32):
            if numbers[bits] != 0:
                for k in range(5):
                    if bits >> k & 1:
                        counts[i, k] += numbers[bits]
                        added[i, k] += partial[bits]
        for k in range(5):
            if spread >> k & 1 and counts[i, k] > 0:
                mean = np.float64(added[i, k]) / counts[i, k]
                for place in range(first[i], first[i + 1]):
                    value = values[index[place]]
                    if part[place] >> k & 1 and value - value == 0:
                        squares[i, k] += (np.float64(value) - mean) ** 2
    return counts, added, squares, odd


@njit(cache=True)  # type: ignore[untyped-decorator]
def ranked(  # pragma: no cover
    words: NDArray[Any],
    first: NDArray[np.int64],
    index: NDArray[np.int64],
    part: Bytes,
    low: NDArray[Any],
    high: NDArray[Any],
    middle: int,
    p95: int,
) -> NDArray[Any]:
    """Find the words between which the median and the 95th percentile of one channel lie, per cell and compartment.

    Parameters
    ----------
    words
        Flat channel as unsigned integers in the order of its values.
    low, high
        Smallest and largest word of a finite value (arrays of one, of the type of `words`); others are left out.
    middle, p95
        Compartments (bits) whose median, 95th percentile are wanted.

    Returns
    -------
    (n, 5, 4) words: those next to the median, below and above, and those next to the percentile; 0 where a compartment is empty.
    """
    n = first.size - 1
    out = np.zeros((n, 5, 4), words.dtype)
    longest = 0
    for i in range(n):
        longest = max(longest, first[i + 1] - first[i])
    keys, spare = np.empty(longest, words.dtype), np.empty(longest, words.dtype)
    bits, spare_bits = np.empty(longest, np.uint8), np.empty(longest, np.uint8)
    bins = np.empty(257, np.int64)
    counts = np.empty(5, np.int64)
    for i in range(n):
        size = 0
        smallest, largest = high[0], low[0]
        counts[:] = 0
        for place in range(first[i], first[i + 1]):
            word = words[index[place]]
            if low[0] <= word <= high[0]:
                keys[size] = word
                bits[size] = part[place]
                size += 1
                smallest, largest = min(smallest, word), max(largest, word)
                for k in range(5):
                    counts[k] += part[place] >> k & 1
        if size <= SHORT:
            _insertion_sort(keys, bits, size)
        else:
            _radix_sort(keys, bits, size, smallest, largest, spare, spare_bits, bins)
        for k in range(5):
            m = counts[k]
            if m == 0:
                continue
            if middle >> k & 1:
                seen = 0
                for j in range(size):
                    if bits[j] >> k & 1:
                        if seen == (m - 1) // 2:
                            out[i, k, 0] = keys[j]
                        if seen == m // 2:
                            out[i, k, 1] = keys[j]
                            break
                        seen += 1
            if p95 >> k & 1:
                below = np.int64((m - 1) * 0.95)
                above = min(below + 1, m - 1)
                seen = m
                for j in range(size - 1, -1, -1):
                    if bits[j] >> k & 1:
                        seen -= 1
                        if seen == above:
                            out[i, k, 3] = keys[j]
                        if seen == below:
                            out[i, k, 2] = keys[j]
                            break
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _insertion_sort(keys: NDArray[Any], bits: Bytes, size: int) -> None:  # pragma: no cover
    for j in range(1, size):
        key, bit = keys[j], bits[j]
        hole = j
        while hole > 0 and keys[hole - 1] > key:
            keys[hole], bits[hole] = keys[hole - 1], bits[hole - 1]
            hole -= 1
        keys[hole], bits[hole] = key, bit


@njit(cache=True)  # type: ignore[untyped-decorator]
def _radix_sort(  # pragma: no cover
    keys: NDArray[Any], bits: Bytes, size: int, smallest: Any, largest: Any, spare: NDArray[Any], spare_bits: Bytes, bins: NDArray[np.int64]
) -> None:
    """Sort `keys` and move `bits` along; as few counting passes of at most 8 bits as the range needs."""
    width = 0
    while width < 64 and np.uint64(largest - smallest) >> np.uint64(width) != 0:
        width += 1
    if width == 0:
        return
    passes = (width + 7) // 8
    digit = (width + passes - 1) // passes
    mask = np.uint64((1 << digit) - 1)
    source, source_bits, target, target_bits = keys, bits, spare, spare_bits
    for k in range(passes):
        shift = np.uint64(k * digit)
        bins[: (1 << digit) + 1] = 0
        for j in range(size):
            bins[np.int64(np.uint64(source[j] - smallest) >> shift & mask) + 1] += 1
        for b in range(1 << digit):
            bins[b + 1] += bins[b]
        for j in range(size):
            b = np.int64(np.uint64(source[j] - smallest) >> shift & mask)
            target[bins[b]] = source[j]
            target_bits[bins[b]] = source_bits[j]
            bins[b] += 1
        source, source_bits, target, target_bits = target, target_bits, source, source_bits
    if passes % 2 == 1:
        keys[:size] = spare[:size]
        bits[:size] = spare_bits[:size]
