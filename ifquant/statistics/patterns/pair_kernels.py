"""Compiled kernels over pairs of points closer than a reach, found on a grid: time grows with the
number of pairs, not of cells squared.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

NONE, BORDER, TRANSLATE, ISOTROPIC = 0, 1, 2, 3


@njit(cache=True)
def outside_fraction(west, east, north, south, d):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Fraction of a circle of radius d outside a rectangle whose sides lie this far from its center
    (d below half the sides).
    """
    sides = (west, north, east, south)
    total = 0.0
    for k in range(4):
        near, following = sides[k], sides[(k + 1) % 4]
        if near < d:
            half = math.acos(near / d)
            total += 2.0 * half
            if (
                near * near + following * following < d * d
            ):  # the arcs beyond both sides overlap in the corner
                total -= half + math.acos(following / d) - 0.5 * math.pi
    return total / (2.0 * math.pi)


@njit(cache=True)
def pair_histogram(  # type: ignore[no-untyped-def]
    sx,
    sy,
    s_id,
    s_weight,
    s_border,
    tx,
    ty,
    t_id,
    t_weight,
    starts,
    columns,
    rows,
    cell,
    r,
    mode,
    counts,
    step_x,
    step_y,
    size,
    area,
):  # pragma: no cover
    """Histogram over the radii `r` (sorted) of the weights of pairs (source, target): its
    cumulative sum is the sum over pairs up to r.

    Targets are sorted by the cells of a grid (`starts` into them, `columns` x `rows` cells of size
    `cell`, corner 0); ids tell who is the same cell. With mode BORDER a pair counts only at radii
    up to the source's distance to the border.
    """
    out = np.zeros(r.size + 1)
    reach = r[-1]
    middle_y, middle_x = counts.shape[0] // 2, counts.shape[1] // 2
    for i in range(sx.size):
        c0 = max(math.floor((sx[i] - reach) / cell), 0)
        c1 = min(math.floor((sx[i] + reach) / cell), columns - 1)
        r0 = max(math.floor((sy[i] - reach) / cell), 0)
        r1 = min(math.floor((sy[i] + reach) / cell), rows - 1)
        seen = r.size
        if mode == BORDER:
            seen = _first_above(r, s_border[i])
        for row in range(r0, r1 + 1):
            if c1 < c0:
                break
            for j in range(starts[row * columns + c0], starts[row * columns + c1 + 1]):
                dx, dy = tx[j] - sx[i], ty[j] - sy[i]
                d2 = dx * dx + dy * dy
                if d2 > reach * reach or t_id[j] == s_id[i]:
                    continue
                d = math.sqrt(d2)
                k = _first_at_or_above(r, d)
                if k >= seen:
                    continue
                weight = s_weight[i] * t_weight[j]
                if mode == TRANSLATE:
                    u, v = dx / step_x + middle_x, dy / step_y + middle_y
                    a, b = math.floor(v), math.floor(u)
                    f, g = v - a, u - b
                    low = (1.0 - g) * counts[a, b] + g * counts[a, b + 1]
                    high = (1.0 - g) * counts[a + 1, b] + g * counts[a + 1, b + 1]
                    weight *= area / (((1.0 - f) * low + f * high) * step_x * step_y)
                elif mode == ISOTROPIC:
                    weight /= 1.0 - outside_fraction(
                        sx[i], size[0] - sx[i], sy[i], size[1] - sy[i], d
                    )
                out[k] += weight
                if mode == BORDER:
                    out[seen] -= weight
    return out


@njit(cache=True, inline="always")
def _first_at_or_above(r, d):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Index of the first radius >= d (r.size if none)."""
    low, high = 0, r.size
    while low < high:
        middle = (low + high) // 2
        if r[middle] < d:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, inline="always")
def _first_above(r, d):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Index of the first radius > d (r.size if none)."""
    low, high = 0, r.size
    while low < high:
        middle = (low + high) // 2
        if r[middle] <= d:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def kernel_sums(x, y, own, tx, ty, t_id, starts, columns, rows, cell, sd, reach, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum at each point of a Gaussian kernel over all targets but itself within `reach`."""
    norm = 1.0 / (2.0 * math.pi * sd * sd)
    for i in range(x.size):
        c0 = max(math.floor((x[i] - reach) / cell), 0)
        c1 = min(math.floor((x[i] + reach) / cell), columns - 1)
        total = 0.0
        if c1 >= c0:
            for row in range(
                max(math.floor((y[i] - reach) / cell), 0),
                min(math.floor((y[i] + reach) / cell), rows - 1) + 1,
            ):
                for j in range(starts[row * columns + c0], starts[row * columns + c1 + 1]):
                    d2 = (tx[j] - x[i]) ** 2 + (ty[j] - y[i]) ** 2
                    if d2 <= reach * reach and t_id[j] != own[i]:
                        total += math.exp(-0.5 * d2 / (sd * sd))
        out[i] = total * norm
