"""Compiled statistics per cell and compartment: sums and order statistics; integers sum exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.cells.measurement_kernels import CELL, N_COMPARTMENTS, N_SETS

Bytes = NDArray[np.uint8]
BINS = 64
"""Classes of equal width into which the values of a cell are counted before the ranked ones are
picked."""


class Pixels(NamedTuple):
    """Pixels sorted by cell (`sort_pixels`): those of cell i are ``first[i] : first[i + 1]``."""

    first: NDArray[np.int64]
    indices: NDArray[Any]
    part: Bytes


class Channel(NamedTuple):
    """One channel, flat.

    Attributes
    ----------
    values, words
        Values, and the same memory as unsigned integers.
    flips
        (3,) of the type of `words`: the sign bit, and what to exclusive-or to words with and
        without it so that they sort like the values.
    total
        Empty array of the type to sum in: uint64, int64 or float64.
    saturation
        Cell pixels of at least this value are counted (NaN: none).
    """

    values: NDArray[Any]
    words: NDArray[Any]
    flips: NDArray[Any]
    total: NDArray[Any]
    saturation: float


class _Scratch(NamedTuple):
    """Memory for one cell: sortable words in order and in bins; counts by set of compartments."""

    keys: NDArray[Any]
    bits: Bytes
    binned: NDArray[Any]
    binned_bits: Bytes
    chosen: NDArray[Any]
    numbers: NDArray[np.int64]
    bins: NDArray[np.int64]
    column: NDArray[np.int64]
    start: NDArray[np.int64]


@njit(cache=True)  # type: ignore[untyped-decorator]
def statistics(
    channel: Channel, pixels: Pixels, spread: int, middle: int, upper: int
) -> tuple[
    NDArray[np.int64], NDArray[Any], NDArray[np.float64], NDArray[Any], NDArray[np.int64]
]:  # pragma: no cover
    """Statistics of one channel per cell and compartment; values that are not finite are left out.

    Parameters
    ----------
    spread, middle, upper
        Compartments (bits) whose squared deviations from the mean, median, 95th percentile are
        wanted.

    Returns
    -------
    Number of pixels (n, 5); sums (n, 5); squared deviations (n, 5); sortable words next to the
    median, below and above, and next to the percentile (n, 5, 4); pixels of the cell that are
    saturated, and left out (n, 2).
    """
    n = pixels.first.size - 1
    counts, odd = np.zeros((n, N_COMPARTMENTS), np.int64), np.zeros((n, 2), np.int64)
    added = np.zeros((n, N_COMPARTMENTS), channel.total.dtype)
    squares = np.zeros((n, N_COMPARTMENTS), np.float64)
    near = np.zeros((n, N_COMPARTMENTS, 4), channel.words.dtype)
    scratch = _scratch(channel, pixels)
    numbers, partial = scratch.numbers, np.zeros(N_SETS, channel.total.dtype)
    for i in range(n):
        numbers[:] = 0
        partial[:] = 0
        size, smallest, largest = _collected(channel, pixels, i, scratch, partial, odd)
        for member in range(N_SETS):
            if numbers[member] != 0:
                for k in range(N_COMPARTMENTS):
                    if member >> k & 1:
                        counts[i, k] += numbers[member]
                        added[i, k] += partial[member]
        for k in range(N_COMPARTMENTS):
            if spread >> k & 1 and counts[i, k] > 0:
                mean = np.float64(added[i, k]) / counts[i, k]
                squares[i, k] = _squared(channel, pixels, i, k, mean)
        if size > 0 and (middle | upper) != 0:
            shift = _sort_into_bins(scratch, size, smallest, largest)
            for k in range(N_COMPARTMENTS):
                if counts[i, k] > 0 and (middle | upper) >> k & 1:
                    wanted = (middle >> k & 1) | (upper >> k & 1) << 1
                    _rank(scratch, near[i, k], k, counts[i, k], wanted, shift, smallest)
    return counts, added, squares, near, odd


@njit(cache=True)  # type: ignore[untyped-decorator]
def _scratch(channel: Channel, pixels: Pixels) -> _Scratch:  # pragma: no cover
    longest = 0
    for i in range(pixels.first.size - 1):
        longest = max(longest, pixels.first[i + 1] - pixels.first[i])
    keys, bits = np.empty(longest, channel.words.dtype), np.empty(longest, np.uint8)
    return _Scratch(
        keys,
        bits,
        np.empty_like(keys),
        np.empty_like(bits),
        np.empty(longest + 1, channel.words.dtype),
        np.zeros(N_SETS, np.int64),
        np.zeros((N_SETS, BINS), np.int64),
        np.zeros(BINS, np.int64),
        np.zeros(BINS + 1, np.int64),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def _collected(
    channel: Channel,
    pixels: Pixels,
    i: int,
    scratch: _Scratch,
    partial: NDArray[Any],
    odd: NDArray[np.int64],
) -> tuple[int, Any, Any]:  # pragma: no cover
    """Read the pixels of cell `i`: how many are finite, the smallest and largest sortable word."""
    values, words = channel.values, channel.words
    sign, flip_set, flip_clear = channel.flips
    size = 0
    smallest, largest = ~words.dtype.type(0), words.dtype.type(0)
    for place in range(pixels.first[i], pixels.first[i + 1]):
        value, member = values[pixels.indices[place]], pixels.part[place]
        if value - value == 0:
            scratch.numbers[member] += 1
            partial[member] += value
            word = words[pixels.indices[place]]
            word ^= flip_set if word & sign else flip_clear
            scratch.keys[size], scratch.bits[size] = word, member
            smallest, largest = min(smallest, word), max(largest, word)
            size += 1
            if member & CELL and value >= channel.saturation:
                odd[i, 0] += 1
        else:
            odd[i, 1] += 1
    return size, smallest, largest


@njit(cache=True)  # type: ignore[untyped-decorator]
def _squared(
    channel: Channel, pixels: Pixels, i: int, k: int, mean: float
) -> float:  # pragma: no cover
    """Squared deviations of cell `i` in compartment `k` from its mean."""
    squares = 0.0
    for place in range(pixels.first[i], pixels.first[i + 1]):
        value = channel.values[pixels.indices[place]]
        if pixels.part[place] >> k & 1 and value - value == 0:
            squares += (np.float64(value) - mean) ** 2
    return squares


@njit(cache=True)  # type: ignore[untyped-decorator]
def _sort_into_bins(
    scratch: _Scratch, size: int, smallest: Any, largest: Any
) -> int:  # pragma: no cover
    """Count the words of a cell by bin and sort them by it; how many low bits a bin leaves out."""
    keys, bits, numbers, bins = scratch.keys, scratch.bits, scratch.numbers, scratch.bins
    start, column = scratch.start, scratch.column
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
            scratch.binned[column[bin_]], scratch.binned_bits[column[bin_]] = keys[j], bits[j]
            column[bin_] += 1
    return shift


@njit(cache=True)  # type: ignore[untyped-decorator]
def _rank(
    scratch: _Scratch,
    near: NDArray[Any],
    k: int,
    m: int,
    wanted: int,
    shift: int,
    smallest: Any,
) -> None:  # pragma: no cover
    """Write the words next to median (bit 0 of `wanted`) and percentile (1) of `m` to `near`."""
    column, chosen = scratch.column, scratch.chosen
    column[:] = 0
    for member in range(N_SETS):
        if scratch.numbers[member] != 0 and member >> k & 1:
            for b in range(BINS):
                column[b] += scratch.bins[member, b]
    for q in range(2):
        if wanted >> q & 1 == 0:
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
            near[2 * q], near[2 * q + 1] = smallest + low, smallest + high
            continue
        n = 0
        for j in range(scratch.start[low], scratch.start[high + 1]):
            chosen[n] = scratch.binned[j]
            n += scratch.binned_bits[j] >> k & 1
        _select(chosen, n, below - before)
        near[2 * q] = near[2 * q + 1] = chosen[below - before]
        if above > below:
            following = chosen[below - before + 1]
            for j in range(below - before + 2, n):
                following = min(following, chosen[j])
            near[2 * q + 1] = following


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
