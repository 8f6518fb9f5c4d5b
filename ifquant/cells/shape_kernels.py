"""Compiled shapes of objects: area, centroid, second moments and convex hull, as scikit-image 0.26
defines them, in integers.

Axes are those of the ellipse with the same second central moments of pixel centers (no 1/12 for the
pixel's own extent). The convex hull is that of the middles of the four sides of every pixel, and
its area the number of pixel centers in it, border included
(`skimage.morphology.convex_hull_image`); here all its corners are integers in half pixels, so no
rounding decides.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Longs = NDArray[np.int64]
EXACT_PX = 500_000
"""Moments of larger objects are computed in floating point: their integers might not fit into 64
bits."""


@njit(cache=True)  # type: ignore[untyped-decorator]
def shapes(  # pragma: no cover
    first: Longs,
    index: Longs,
    part: NDArray[np.uint8],
    bit: int,
    shape: tuple[int, int],
    hulls: bool,
) -> tuple[Longs, NDArray[np.float64]]:
    """Shape of the pixels with `bit` of every object (pixels sorted by object and in raster order,
    see `measurement_kernels.sort_pixels`).

    Parameters
    ----------
    shape
        (Y, X) of the window.
    hulls
        Whether the convex hull is wanted.

    Returns
    -------
    int64 (n, 6): area in px, pixels in the hull, y and x of the first pixel, whether the object
    touches the border of the window, 0; float64 (n, 5): centroid y and x relative to the first
    pixel, major and minor axis in px, eccentricity (all NaN without pixels).
    """
    n = first.size - 1
    height, width = shape
    whole = np.zeros((n, 6), np.int64)
    real = np.full((n, 5), np.nan)
    left, right = np.empty(height, np.int64), np.empty(height, np.int64)
    corner_y, corner_x = np.empty(2 * height + 3, np.int64), np.empty(2 * height + 3, np.int64)
    bound = np.empty(height, np.int64)
    for i in range(n):
        area, top, y, y0, x0 = 0, 0, 0, 0, 0
        end = -1
        sy, sx, syy, sxx, sxy = 0, 0, 0, 0, 0
        touches = False
        place = first[i]
        while place < first[i + 1]:
            if not part[place] & bit:
                place += 1
                continue
            p = index[place]
            if end < 0:
                y, x0 = p // width, p % width
                top, y0, end = y, y, (y + 1) * width
                left[0], right[0] = width, -1
                whole[i, 2], whole[i, 3] = y, x0
            while p >= end:
                y += 1
                end += width
                left[y - top], right[y - top] = width, -1
            length = 1  # of the run of pixels that begins here
            place += 1
            while (
                place < first[i + 1]
                and index[place] == p + length
                and p + length < end
                and part[place] & bit
            ):
                length += 1
                place += 1
            x = p - (end - width)
            left[y - top], right[y - top] = (
                min(left[y - top], x),
                max(right[y - top], x + length - 1),
            )
            touches |= x == 0 or x + length == width
            dy, dx, rest = y - y0, x - x0, length - 1
            sum_x = length * dx + rest * length // 2
            area += length
            sy += dy * length
            sx += sum_x
            syy += dy * dy * length
            sxx += length * dx * dx + dx * rest * length + rest * length * (2 * rest + 1) // 6
            sxy += dy * sum_x
        if area == 0:
            continue
        whole[i, 0] = area
        whole[i, 4] = touches or top == 0 or y == height - 1
        real[i, 0], real[i, 1] = sy / area, sx / area
        if area <= EXACT_PX:
            yy, xx, xy = (
                float(area * syy - sy * sy),
                float(area * sxx - sx * sx),
                float(area * sxy - sx * sy),
            )
        else:
            yy, xx, xy = (
                float(area) * syy - float(sy) * sy,
                float(area) * sxx - float(sx) * sx,
                float(area) * sxy - float(sx) * sy,
            )
        root = np.sqrt((yy - xx) ** 2 + 4 * xy * xy)
        scale = 2 * float(area) * float(area)
        large, small = (yy + xx + root) / scale, max((yy + xx - root) / scale, 0.0)
        real[i, 2], real[i, 3] = 4 * np.sqrt(large), 4 * np.sqrt(small)
        real[i, 4] = np.sqrt(1 - small / large) if large > 0 else 0.0
        if hulls:
            whole[i, 1] = _hull_pixels(left, right, y - top + 1, corner_y, corner_x, bound)
    return whole, real


@njit(cache=True)  # type: ignore[untyped-decorator]
def _hull_pixels(
    left: Longs, right: Longs, rows: int, corner_y: Longs, corner_x: Longs, bound: Longs
) -> int:  # pragma: no cover
    """Count the pixel centers in the convex hull; `left`, `right` = first and last column per row
    (right < left: none).
    """
    _left_bounds(left, right, rows, 1, corner_y, corner_x, bound)
    pixels = 0
    for y in range(rows):
        pixels -= bound[y]
    _left_bounds(left, right, rows, -1, corner_y, corner_x, bound)
    for y in range(rows):
        pixels += 1 - bound[y]
    return pixels


@njit(cache=True)  # type: ignore[untyped-decorator]
def _left_bounds(
    left: Longs, right: Longs, rows: int, sign: int, corner_y: Longs, corner_x: Longs, bound: Longs
) -> None:  # pragma: no cover
    """First column of the hull per row (sign 1), or minus the last one (sign -1: the same for the
    mirrored object).
    """
    corners = 0
    for half in range(
        -1, 2 * rows
    ):  # rows of corners in half pixels: even = through pixel centers, odd = between rows
        reach = 2**62
        for y in range((half - 1) >> 1, ((half + 1) >> 1) + 1):
            if 0 <= y < rows and abs(2 * y - half) <= 1 and right[y] >= left[y]:
                column = left[y] if sign == 1 else -right[y]
                reach = min(reach, 2 * column - (1 if 2 * y == half else 0))
        if reach == 2**62:
            continue
        while corners >= 2 and (corner_x[corners - 1] - corner_x[corners - 2]) * (
            half - corner_y[corners - 2]
        ) >= (reach - corner_x[corners - 2]) * (corner_y[corners - 1] - corner_y[corners - 2]):
            corners -= 1
        corner_y[corners], corner_x[corners] = half, reach
        corners += 1
    side = 0
    for y in range(rows):
        while corner_y[side + 1] < 2 * y:
            side += 1
        dy, dx = corner_y[side + 1] - corner_y[side], corner_x[side + 1] - corner_x[side]
        numerator = corner_x[side] * dy + dx * (2 * y - corner_y[side])
        bound[y] = -((-numerator) // (2 * dy))  # rounded up
