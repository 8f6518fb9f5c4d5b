"""Filters of bounded reach whose result at a pixel does not depend on the window it was computed
in.

Sums are exact integers (running sums of floats would carry rounding from the window's edge),
distances are exact squared integers, and gaussians add their terms in the same order at every
pixel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_TRUNCATE = 3.0


def gaussian(
    values: NDArray[Any], sigma_px: float, radius_px: int | None = None
) -> NDArray[np.float32]:
    """Gaussian of a standard deviation in px, cut off at `radius_px` (default `gaussian_reach`);
    the array's border is repeated outwards.

    The same bits as scipy's ``gaussian_filter`` on float32: sums in double precision, symmetric
    pairs from the outside in, rounded after each axis. Several times faster, because it goes along
    rows only.
    """
    if values.dtype.kind not in "iuf" or values.dtype.itemsize > 4:
        values = values.astype(np.float32)
    out = np.empty(values.shape, np.float32)
    if values.size:
        _gaussian(
            np.ascontiguousarray(values),
            _weights(sigma_px, gaussian_reach(sigma_px) if radius_px is None else radius_px),
            out,
        )
    return out


def _weights(sigma_px: float, radius_px: int) -> NDArray[np.float64]:
    """One side of the kernel, outermost first, and its middle last (computed as scipy does)."""
    offsets = np.arange(-radius_px, radius_px + 1)
    weights = np.exp(-0.5 / (sigma_px * sigma_px) * offsets**2)
    return np.asarray((weights / weights.sum())[: radius_px + 1])


def gaussian_reach(sigma_px: float) -> int:
    """Radius of `gaussian` in px (scipy rounds it likewise)."""
    return int(_TRUNCATE * sigma_px + 0.5)


def opened(values: NDArray[np.int16], radius_px: int) -> NDArray[np.int16]:
    """Background under objects narrower than the box: mean over a box of the smallest value in a
    box around each pixel.

    Both boxes have the side ``2 * radius_px + 1`` and are clipped at the array's border, so that
    the reach is ``2 * radius_px``.
    """
    lowest = np.empty(values.shape, np.int16)
    if values.size:
        _lowest(np.ascontiguousarray(values), radius_px, lowest)
    return box_mean(lowest, np.ones((1, 1), np.bool_), radius_px, lowest)


def blurred(values: NDArray[np.int16], radius_px: int) -> NDArray[np.int16]:
    """Mean of means over boxes of side ``2 * radius_px + 1``: a cheap wide smoothing, of reach ``2
    * radius_px``.
    """
    everywhere = np.ones((1, 1), np.bool_)
    once = box_mean(values, everywhere, radius_px, values)
    return box_mean(once, everywhere, radius_px, once)


def box_mean(
    values: NDArray[np.int16], mask: NDArray[np.bool_], radius_px: int, otherwise: NDArray[np.int16]
) -> NDArray[np.int16]:
    """Mean, rounded down, over the mask's pixels in the box of side ``2 * radius_px + 1`` around
    each pixel.

    Parameters
    ----------
    values : int16 (Y, X)
        What is averaged.
    mask : bool (Y, X)
        Which pixels count; a mask of shape (1, 1) stands for all.
    radius_px
        The box is clipped at the array's border.
    otherwise : int16 (Y, X)
        Result where the box holds no pixel of the mask.
    """
    out = np.empty(values.shape, np.int16)
    _box_mean(np.ascontiguousarray(values), np.ascontiguousarray(mask), radius_px, otherwise, out)
    return out


def bounded_depth(mask: NDArray[np.bool_], cap_px: int) -> NDArray[np.float32]:
    """Distance in px of each mask pixel to the nearest pixel outside the mask, at most `cap_px`.

    What lies beyond the array is unknown, not outside: the border of an image does not make a
    nucleus shallow.
    """
    squared = _squared_depth(np.ascontiguousarray(mask), cap_px)
    roots = np.sqrt(np.arange(cap_px * cap_px + 1)).astype(np.float32)
    return np.asarray(roots[squared])


def box_radius(length_px: float) -> int:
    """Radius of a box that spans at least `length_px` to each side."""
    return max(1, math.ceil(length_px))


@njit(cache=True)
def _gaussian(values, weights, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = values.shape
    radius = weights.size - 1
    sums = np.empty(width, np.float64)
    row = np.empty(width + 2 * radius, np.float64)
    for y in range(height):
        for x in range(width):
            sums[x] = np.float64(np.float32(values[y, x])) * weights[radius]
        for k in range(radius):
            above, below = max(y - radius + k, 0), min(y + radius - k, height - 1)
            weight = weights[k]
            for x in range(width):
                sums[x] += (
                    np.float64(np.float32(values[above, x]))
                    + np.float64(np.float32(values[below, x]))
                ) * weight
        for x in range(width):
            row[radius + x] = np.float64(np.float32(sums[x]))
        for x in range(radius):
            row[x] = row[radius]
            row[radius + width + x] = row[radius + width - 1]
        for x in range(width):
            sums[x] = row[radius + x] * weights[radius]
        for k in range(radius):
            weight = weights[k]
            for x in range(width):
                sums[x] += (row[x + k] + row[x + 2 * radius - k]) * weight
        for x in range(width):
            out[y, x] = np.float32(sums[x])


@njit(cache=True)
def _lowest(values, radius, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Smallest value in the box around each pixel (van Herk 1992 down the columns, doubling along
    the rows).
    """
    height, width = values.shape
    side = 2 * radius + 1
    highest = np.int16(32767)
    n = (
        -(-(height + 2 * radius) // side) * side
    )  # rows above and below the image, up to whole blocks of `side`
    until, since = (
        np.empty((n, width), np.int16),
        np.empty((n, width), np.int16),
    )  # smallest to the end, from the start of a block
    for k in range(n):
        y = k - radius
        for x in range(width):
            value = values[y, x] if 0 <= y < height else highest
            since[k, x] = value if k % side == 0 else min(since[k - 1, x], value)
    for k in range(n - 1, -1, -1):
        y = k - radius
        for x in range(width):
            value = values[y, x] if 0 <= y < height else highest
            until[k, x] = value if k % side == side - 1 else min(until[k + 1, x], value)
    row = np.empty(width + 2 * radius, np.int16)
    for y in range(height):
        row[:radius] = highest
        row[radius + width :] = highest
        for x in range(width):
            row[radius + x] = min(until[y, x], since[y + 2 * radius, x])
        covered = 1
        while 2 * covered <= side:
            for x in range(row.size - covered):
                row[x] = min(row[x], row[x + covered])
            covered *= 2
        for x in range(width):
            out[y, x] = min(row[x], row[x + side - covered])


@njit(cache=True)
def _box_mean(values, mask, radius, otherwise, out):  # type: ignore[no-untyped-def]
    height, width = values.shape
    everywhere = mask.size == 1 and values.size != 1
    column_sum = np.zeros(width, np.int64)
    column_count = np.zeros(width, np.int32)
    totals, counts = np.empty(width, np.float64), np.empty(width, np.float64)
    for y in range(-radius, height):
        new, old = y + radius, y - radius - 1
        if new < height:
            for x in range(width):
                if everywhere or mask[new, x]:
                    column_sum[x] += values[new, x]
                    column_count[x] += 1
        if old >= 0:
            for x in range(width):
                if everywhere or mask[old, x]:
                    column_sum[x] -= values[old, x]
                    column_count[x] -= 1
        if y < 0:
            continue
        total = np.int64(0)
        count = np.int32(0)
        for x in range(min(radius, width)):
            total += column_sum[x]
            count += column_count[x]
        for x in range(width):
            if x + radius < width:
                total += column_sum[x + radius]
                count += column_count[x + radius]
            if x - radius - 1 >= 0:
                total -= column_sum[x - radius - 1]
                count -= column_count[x - radius - 1]
            totals[x], counts[x] = total, count
        for x in range(
            width
            # exact: both are far below 2**53 and quotients lie at least 1 / count from the next
            # integer
        ):
            out[y, x] = (
                np.int16(np.floor(totals[x] / max(counts[x], 1)))
                if counts[x] > 0
                else otherwise[y, x]
            )


@njit(cache=True)
def _squared_depth(mask, cap):  # type: ignore[no-untyped-def]
    height, width = mask.shape
    along = np.empty(
        (height, width), np.int32
    )  # distance to the outside along the row, at most cap
    for y in range(height):
        run = cap
        for x in range(width):
            run = min(run + 1, cap) if mask[y, x] else 0
            along[y, x] = run
        run = cap
        for x in range(width - 1, -1, -1):
            run = min(run + 1, cap) if mask[y, x] else 0
            along[y, x] = min(along[y, x], run)
    squared = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            best = along[y, x] * along[y, x]
            d = 1
            while d * d < best:
                if y >= d:
                    best = min(best, d * d + along[y - d, x] * along[y - d, x])
                if y + d < height:
                    best = min(best, d * d + along[y + d, x] * along[y + d, x])
                d += 1
            squared[y, x] = best
    return squared
