"""Exact intensity histograms of a whole slide, block by block, and the coarse grid of block means.

Integers are counted by value. float32 is counted by an order-preserving 16-bit key: the upper half
of its bits, with the sign folded so that keys ascend with the value (7 bits of mantissa: a bin is
at most 0.8 % wide). Counts are integers and every grid cell lies in exactly one block, so that
merging in any order, from any workers, gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window

_KEYS = 65536


@dataclass(frozen=True, eq=False)
class HistogramPart:
    """Counts of one block of pixels, (C, keys) from key `first_key` on, and the sums over its grid
    cells.

    Attributes
    ----------
    kind : "uint8", "uint16" or "float32"
    window : the block
    step_px : edge of a grid cell
    first_key : smallest key with a count
    counts : uint32 (C, keys)
    sums : float64 (C, my, mx), sum of finite values per grid cell (exact for integers)
    maxima : float64 (C,), largest finite value, -inf without any
    at_maximum : int64 (C,), pixels of that value
    nonfinite : int64 (C,), NaN and infinite pixels, which are not counted elsewhere
    """

    kind: str
    window: Window
    step_px: int
    first_key: int
    counts: NDArray[np.uint32]
    sums: NDArray[np.float64]
    maxima: NDArray[np.float64]
    at_maximum: NDArray[np.int64]
    nonfinite: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SlideHistogram:
    """Merged counts int64 (C, keys), ascending `values` (keys,) of the keys, and block means
    float64 (C, My, Mx) of the coarse grid.
    """

    kind: str
    image_shape: tuple[int, int]
    step_px: int
    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    maxima: NDArray[np.float64]
    at_maximum: NDArray[np.int64]
    nonfinite: NDArray[np.int64]

    @property
    def values(self) -> NDArray[np.float64]:
        """Value of each key: the integer itself, or the middle of a float bin."""
        return (
            np.arange(self.counts.shape[1], dtype=np.float64)
            if self.kind != "float32"
            else key_values()
        )


def grid_shape(image_shape: tuple[int, int], step_px: int) -> tuple[int, int]:
    """Cells of the coarse grid (My, Mx); the last row and column may be cut by the image border."""
    return -(-image_shape[0] // step_px), -(-image_shape[1] // step_px)


def grid_step_px(step_um: float, pixel_size_um: float) -> int:
    """Edge of a grid cell in px, at least 1."""
    return max(1, round(step_um / pixel_size_um))


def key_values() -> NDArray[np.float64]:
    """Middle of each of the 65,536 float32 bins; keys of NaN and infinity give the largest finite
    value.
    """
    middle = (np.arange(_KEYS, dtype=np.uint32) << np.uint32(16)) | np.uint32(0x8000)
    bits = np.where(middle >= 0x80000000, middle ^ np.uint32(0x80000000), ~middle)
    finite = (bits & np.uint32(0x7F800000)) != 0x7F800000
    limit = float(np.finfo(np.float32).max)
    values = np.where(np.arange(_KEYS) >= _KEYS // 2, limit, -limit)
    values[finite] = bits[finite].view(np.float32)
    values[_KEYS // 2] = 0.0  # the bin of +0 and subnormal numbers
    values[_KEYS // 2 - 1] = 0.0
    return np.asarray(values)


def scan_block(
    pixels: NDArray[np.generic],
    window: Window,
    step_px: int,
    tissue: NDArray[np.bool_] | None = None,
) -> HistogramPart:
    """Histogram and grid sums of one block.

    Parameters
    ----------
    pixels : (C, Y, X)
        Raw values of the block. uint8 and uint16 are exact; other types are counted as float32.
    window
        Where the block lies. Its origin must be a multiple of `step_px`, and its end too unless it
        is the image's border.
    step_px
        Edge of a grid cell.
    tissue : bool (My, Mx), optional
        Mask over the coarse grid of the whole image: only pixels inside are counted.

    Raises
    ------
    RequestError
        If the shapes do not fit or the window is not aligned to the grid.
    """
    if pixels.ndim != 3 or pixels.shape[1:] != window.shape:
        raise RequestError(
            f"pixels have shape {pixels.shape}; expected (C, {window.shape[0]}, {window.shape[1]})."
        )
    if window.y0 % step_px or window.x0 % step_px:
        raise RequestError(
            f"the block starts at ({window.y0}, {window.x0}); histogram blocks must start at"
            f" multiples of {step_px} px."
        )
    rows, columns = grid_shape(window.shape, step_px)
    if tissue is None:
        use = np.ones((rows, columns), np.bool_)
    else:
        top, left = window.y0 // step_px, window.x0 // step_px
        use = np.ascontiguousarray(tissue[top : top + rows, left : left + columns])
    if pixels.dtype in (np.uint8, np.uint16):
        data = np.ascontiguousarray(pixels)
        full = np.zeros((data.shape[0], 256 if data.dtype == np.uint8 else _KEYS), np.uint32)
        sums = _count_integers(data, step_px, use, full)
        kind = str(data.dtype)
        maxima = np.array(
            [float(np.flatnonzero(row)[-1]) if row.any() else -np.inf for row in full]
        )
        at_maximum = np.array(
            [row[np.flatnonzero(row)[-1]] if row.any() else 0 for row in full], np.int64
        )
        nonfinite = np.zeros(len(full), np.int64)
    else:
        floats = np.ascontiguousarray(pixels, dtype=np.float32)
        full = np.zeros((floats.shape[0], _KEYS), np.uint32)
        sums, maxima, at_maximum, nonfinite = _count_floats(
            floats, floats.view(np.uint32), step_px, use, full
        )
        kind = "float32"
    occupied = np.flatnonzero(full.any(axis=0))
    first, last = (int(occupied[0]), int(occupied[-1]) + 1) if len(occupied) else (0, 1)
    return HistogramPart(
        kind,
        window,
        step_px,
        first,
        full[:, first:last].copy(),
        sums,
        maxima,
        at_maximum,
        nonfinite,
    )


def merge(parts: Iterable[HistogramPart], image_shape: tuple[int, int]) -> SlideHistogram:
    """Merge the parts of a slide, in any order; grid cells no part covers have mean 0.

    Raises
    ------
    RequestError
        If there is no part, parts differ in type or grid, or two parts cover the same grid cell.
    """
    counts = None
    for part in parts:
        if counts is None:
            kind, step, channels = part.kind, part.step_px, len(part.counts)
            counts = np.zeros((channels, 256 if kind == "uint8" else _KEYS), np.int64)
            rows, columns = grid_shape(image_shape, step)
            sums = np.zeros((channels, rows, columns))
            covered = np.zeros((rows, columns), np.bool_)
            maxima = np.full(channels, -np.inf)
            at_maximum, nonfinite = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
        if (part.kind, part.step_px, len(part.counts)) != (kind, step, channels):
            raise RequestError(
                "histogram parts differ in data type, grid or channels; all blocks of a slide must"
                " agree."
            )
        counts[:, part.first_key : part.first_key + part.counts.shape[1]] += part.counts
        top, left = part.window.y0 // step, part.window.x0 // step
        place = (slice(top, top + part.sums.shape[1]), slice(left, left + part.sums.shape[2]))
        if covered[place].any() or covered[place].shape != part.sums.shape[1:]:
            raise RequestError(
                f"block {part.window} overlaps another block or leaves the image; blocks must"
                " partition the image."
            )
        covered[place] = True
        sums[(slice(None), *place)] = part.sums
        higher, equal = part.maxima > maxima, part.maxima == maxima
        at_maximum = np.where(
            higher, part.at_maximum, at_maximum + np.where(equal, part.at_maximum, 0)
        )
        maxima = np.maximum(maxima, part.maxima)
        nonfinite += part.nonfinite
    if counts is None:
        raise RequestError("no histogram blocks; a slide needs at least one.")
    heights = np.minimum(np.arange(1, rows + 1) * step, image_shape[0]) - np.arange(rows) * step
    widths = (
        np.minimum(np.arange(1, columns + 1) * step, image_shape[1]) - np.arange(columns) * step
    )
    areas = heights[:, None] * widths[None, :]
    for channel in sums:  # in place: on a slide of 65,000 px the grid of five channels takes 0.7 GB
        channel /= areas
    return SlideHistogram(kind, image_shape, step, counts, sums, maxima, at_maximum, nonfinite)


@njit(cache=True)
def _count_integers(pixels, step, use, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
    channels, height, width = pixels.shape
    rows, columns = use.shape
    sums = np.zeros((channels, rows, columns), np.float64)
    for c in range(channels):
        bins = counts[c]
        for y in range(height):
            row = y // step
            line = pixels[c, y]
            for column in range(columns):
                if not use[row, column]:
                    continue
                total = np.uint64(0)
                for x in range(column * step, min((column + 1) * step, width)):
                    value = line[x]
                    bins[value] += np.uint32(1)
                    total += np.uint64(value)
                sums[c, row, column] += np.float64(total)
    return sums


@njit(cache=True)
def _count_floats(pixels, bits, step, use, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
    channels, height, width = pixels.shape
    rows, columns = use.shape
    sums = np.zeros((channels, rows, columns), np.float64)
    maxima = np.full(channels, -np.inf)
    at_maximum = np.zeros(channels, np.int64)
    nonfinite = np.zeros(channels, np.int64)
    for c in range(channels):
        bins = counts[c]
        for y in range(height):
            row = y // step
            for column in range(columns):
                if not use[row, column]:
                    continue
                total = 0.0
                for x in range(column * step, min((column + 1) * step, width)):
                    value = np.float64(pixels[c, y, x])
                    if not np.isfinite(value):
                        nonfinite[c] += 1
                        continue
                    word = bits[c, y, x]
                    word = ~word if word & np.uint32(0x80000000) else word ^ np.uint32(0x80000000)
                    bins[word >> np.uint32(16)] += np.uint32(1)
                    total += value
                    if value > maxima[c]:
                        maxima[c] = value
                        at_maximum[c] = 1
                    elif value == maxima[c]:
                        at_maximum[c] += 1
                sums[c, row, column] += total
    return sums, maxima, at_maximum, nonfinite
