"""Exact intensity histograms of a slide, block by block, and the coarse grid of block means.

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
    """Counts of one block of pixels.

    Attributes
    ----------
    kind
        "uint8", "uint16" or "float32".
    window
        The block.
    step_px
        Edge of a grid square.
    counts : uint32 (C, keys)
        From the key `first_key` on, the smallest with a count.
    sums : float64 (C, my, mx)
        Sum of finite values per grid square (exact for integers).
    maxima, at_maximum : float64, int64 (C,)
        Largest finite value, -inf without any, and pixels of that value.
    nonfinite : int64 (C,)
        NaN and infinite pixels, which are not counted elsewhere.
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
    """Merged counts (C, keys) and block means (C, My, Mx) of the coarse grid."""

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
        if self.kind == "float32":
            return key_values()
        return np.arange(self.counts.shape[1], dtype=np.float64)


def grid_shape(image_shape: tuple[int, int], step_px: int) -> tuple[int, int]:
    """Shape (My, Mx) of the coarse grid; the image border may cut its last row and column."""
    return -(-image_shape[0] // step_px), -(-image_shape[1] // step_px)


def grid_step_px(step_um: float, pixel_size_um: float) -> int:
    """Edge of a grid square in px, at least 1."""
    return max(1, round(step_um / pixel_size_um))


def key_values() -> NDArray[np.float64]:
    """Middle of each of the 65,536 float32 bins; the largest finite value for NaN and infinity."""
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
        Where the block lies. Its origin must be a multiple of `step_px`, the edge of a grid square,
        and its end too unless it is the image's border.
    tissue : bool (My, Mx), optional
        Mask over the coarse grid of the whole image: only pixels inside are counted.
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
    use = np.ones((rows, columns), np.bool_)
    if tissue is not None:
        top, left = window.y0 // step_px, window.x0 // step_px
        use = np.ascontiguousarray(tissue[top : top + rows, left : left + columns])
    kind = str(pixels.dtype) if pixels.dtype in (np.uint8, np.uint16) else "float32"
    counts = np.zeros((len(pixels), 256 if kind == "uint8" else _KEYS), np.uint32)
    if kind == "float32":
        floats = np.ascontiguousarray(pixels, dtype=np.float32)
        sums, maxima, at_maximum, nonfinite = _count_floats(
            floats, floats.view(np.uint32), step_px, use, counts
        )
    else:
        sums = _count_integers(np.ascontiguousarray(pixels), step_px, use, counts)
        highest = [int(np.append(0, row.nonzero()[0])[-1]) for row in counts]
        at_maximum = counts[np.arange(len(counts)), highest].astype(np.int64)
        maxima = np.where(at_maximum > 0, np.array(highest, np.float64), -np.inf)
        nonfinite = np.zeros(len(counts), np.int64)
    occupied = np.flatnonzero(counts.any(axis=0))
    first, last = (int(occupied[0]), int(occupied[-1]) + 1) if len(occupied) else (0, 1)
    counts = counts[:, first:last].copy()
    return HistogramPart(kind, window, step_px, first, counts, sums, maxima, at_maximum, nonfinite)


def merge(parts: Iterable[HistogramPart], image_shape: tuple[int, int]) -> SlideHistogram:
    """Merge the parts of a slide, in any order; grid squares no part covers have mean 0."""
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
        at_maximum[part.maxima > maxima] = 0
        maxima = np.maximum(maxima, part.maxima)
        at_maximum += np.where(part.maxima == maxima, part.at_maximum, 0)
        nonfinite += part.nonfinite
    if counts is None:
        raise RequestError("no histogram blocks; a slide needs at least one.")
    heights = np.diff(np.minimum(np.arange(rows + 1) * step, image_shape[0]))
    widths = np.diff(np.minimum(np.arange(columns + 1) * step, image_shape[1]))
    areas = heights[:, None] * widths[None, :]
    for channel in sums:  # in place: on a slide of 65,000 px the grid of five channels takes 0.7 GB
        channel /= areas
    return SlideHistogram(kind, image_shape, step, counts, sums, maxima, at_maximum, nonfinite)


@njit(cache=True)
def _count_integers(pixels, step, use, counts):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Count values, and sum them per grid square in use, float64 (C, my, mx)."""
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
    """Count keys; also sums per grid square in use, maxima, pixels there, pixels without value."""
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
