"""Compiled kernels of region_measures.py: exact distances and areas against a mask of rectangles.

Coordinates are relative to the corner of the mask.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

GAUSSIAN_REACH_SDS = 8


class Runs(NamedTuple):
    """Runs of True cells from `x0` to `x1` in um; ``starts[row] : starts[row + 1]`` are a row's."""

    starts: NDArray[np.int64]
    x0: NDArray[np.float64]
    x1: NDArray[np.float64]
    step_y: float


@njit(cache=True)
def border_distances(x, y, left, right, step_x, step_y):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Distance of each point to the complement of the mask, (n,).

    `left`, `right` (My, Mx): column of the nearest False cell at or before, at or after each cell
    (-1 and Mx: the outside). A row's nearest False cell is one of these two, so rows are visited
    outwards until none can be nearer.
    """
    height, width = left.shape
    out = np.empty(x.size)
    for i in range(x.size):
        row = min(max(math.floor(y[i] / step_y), 0), height - 1)
        column = min(max(math.floor(x[i] / step_x), 0), width - 1)
        best = math.inf
        away = 0
        while True:
            up, down = row - away, row + away
            gap_up = y[i] - (up + 1) * step_y if away else 0.0
            gap_down = down * step_y - y[i] if away else 0.0
            if gap_up >= best and gap_down >= best:
                break
            for side in range(2 if away else 1):
                r, gap = (up, gap_up) if side == 0 else (down, gap_down)
                if gap >= best:
                    continue
                sideways = 0.0
                if 0 <= r < height:
                    to_left = x[i] - (left[r, column] + 1) * step_x
                    sideways = max(min(to_left, right[r, column] * step_x - x[i]), 0.0)
                best = min(best, math.hypot(sideways, gap))
            away += 1
        out[i] = best
    return out


@njit(cache=True)
def _root_integral(t, r):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Antiderivative of sqrt(r2 - t2)."""
    t = min(max(t, -r), r)
    return 0.5 * (t * math.sqrt(max(r * r - t * t, 0.0)) + r * r * math.asin(t / r))


@njit(cache=True)
def _below_left(x, y, r):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Area of the disc around 0 where X <= x and Y <= y."""
    if x <= -r or y <= -r:
        return 0.0
    x, y = min(x, r), min(y, r)
    half = math.sqrt(max(r * r - y * y, 0.0))  # |t| < half: the line Y = y cuts the chord at t
    area = 0.0
    if x > -half:
        end = min(x, half)
        area += y * (end + half) + _root_integral(end, r) - _root_integral(-half, r)
    if y >= 0.0:
        area += 2.0 * (_root_integral(min(x, -half), r) - _root_integral(-r, r))
        if x > half:
            area += 2.0 * (_root_integral(x, r) - _root_integral(half, r))
    return area


@njit(cache=True)
def disc_in_rectangle(x0, x1, y0, y1, r):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Area of the disc of radius r around 0 within a rectangle."""
    return (
        _below_left(x1, y1, r)
        - _below_left(x0, y1, r)
        - _below_left(x1, y0, r)
        + _below_left(x0, y0, r)
    )


@njit(cache=True)
def disc_areas(x, y, border, radii, runs):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Area within the mask of the disc of each radius around each point, (n, radii).

    `border`: distance of each point to the complement of the mask.
    """
    out = np.empty((x.size, radii.size))
    step = runs.step_y
    for i in range(x.size):
        for k in range(radii.size):
            r = radii[k]
            if r <= border[i]:
                out[i, k] = math.pi * r * r
                continue
            area = 0.0
            first = max(math.floor((y[i] - r) / step), 0)
            last = min(math.floor((y[i] + r) / step), runs.starts.size - 2)
            for row in range(first, last + 1):
                y0 = row * step - y[i]
                for j in range(runs.starts[row], runs.starts[row + 1]):
                    x0, x1 = runs.x0[j], runs.x1[j]
                    if x1 > x[i] - r and x0 < x[i] + r:
                        area += disc_in_rectangle(x0 - x[i], x1 - x[i], y0, y0 + step, r)
            out[i, k] = area
    return out


@njit(cache=True)
def gaussian_masses(x, y, sd, runs):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Mass within the mask of a Gaussian kernel around each point, (n,)."""
    out = np.empty(x.size)
    step = runs.step_y
    reach = GAUSSIAN_REACH_SDS * sd
    scale = 1.0 / (sd * math.sqrt(2.0))
    for i in range(x.size):
        mass = 0.0
        first = max(math.floor((y[i] - reach) / step), 0)
        last = min(math.floor((y[i] + reach) / step), runs.starts.size - 2)
        for row in range(first, last + 1):
            across = 0.0
            for j in range(runs.starts[row], runs.starts[row + 1]):
                right = math.erf((runs.x1[j] - x[i]) * scale)
                across += 0.5 * (right - math.erf((runs.x0[j] - x[i]) * scale))
            if across > 0.0:
                below = math.erf(((row + 1) * step - y[i]) * scale)
                mass += across * 0.5 * (below - math.erf((row * step - y[i]) * scale))
        out[i] = mass
    return out
