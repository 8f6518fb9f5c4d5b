"""Compiled sums over pairs of points closer than a reach, found in buckets (pair_sums.py)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ifquant.statistics.buckets import bucket_window

NONE, BORDER, TRANSLATE, ISOTROPIC = 0, 1, 2, 3


@njit(cache=True)
def outside_fraction(west, east, north, south, d):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Share of a circle of radius d outside a rectangle, from the distances of its sides.

    d must be below half the sides.
    """
    sides = (west, north, east, south)
    total = 0.0
    for k in range(4):
        near, following = sides[k], sides[(k + 1) % 4]
        if near < d:
            half = math.acos(near / d)
            total += 2.0 * half
            if near * near + following * following < d * d:
                # the arcs beyond both sides overlap in the corner
                total -= half + math.acos(following / d) - 0.5 * math.pi
    return total / (2.0 * math.pi)


@njit(cache=True, inline="always")
def _translation_weight(edge, dx, dy):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Area of the region over its area in common with itself shifted by (dx, dy)."""
    counts = edge.counts
    u = dx / edge.step[0] + counts.shape[1] // 2
    v = dy / edge.step[1] + counts.shape[0] // 2
    a, b = math.floor(v), math.floor(u)
    f, g = v - a, u - b
    low = (1.0 - g) * counts[a, b] + g * counts[a, b + 1]
    high = (1.0 - g) * counts[a + 1, b] + g * counts[a + 1, b + 1]
    return edge.area / (((1.0 - f) * low + f * high) * edge.step[0] * edge.step[1])


@njit(cache=True)
def pair_histogram(sources, targets, t_weight, r, edge):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Histogram over the radii `r` (sorted) of the weights of pairs; its cumulative sum is K's.

    With mode BORDER a pair counts only at radii up to the source's distance to the border.
    """
    out = np.zeros(r.size + 1)
    reach = r[-1]
    for i in range(sources.x.size):
        x, y = sources.x[i], sources.y[i]
        top, bottom, left, right = bucket_window(targets, x, y, reach)
        seen = r.size
        if edge.mode == BORDER:
            seen = np.searchsorted(r, sources.border[i], side="right")
        for row in range(top, bottom):
            start = row * targets.columns
            for j in range(targets.starts[start + left], targets.starts[start + right]):
                dx, dy = targets.x[j] - x, targets.y[j] - y
                d2 = dx * dx + dy * dy
                if d2 > reach * reach or targets.order[j] == sources.ids[i]:
                    continue
                d = math.sqrt(d2)
                k = _first_at_or_above(r, d)
                if k >= seen:
                    continue
                weight = sources.weight[i] * t_weight[j]
                if edge.mode == TRANSLATE:
                    weight *= _translation_weight(edge, dx, dy)
                elif edge.mode == ISOTROPIC:
                    width, height = edge.size
                    weight /= 1.0 - outside_fraction(x, width - x, y, height - y, d)
                out[k] += weight
                if edge.mode == BORDER:
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


@njit(cache=True)
def kernel_sums(points, sd, reach):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Sum of a Gaussian kernel over other points within `reach`, (n,) in the order of buckets."""
    out = np.empty(points.x.size)
    norm = 1.0 / (2.0 * math.pi * sd * sd)
    for i in range(points.x.size):
        x, y = points.x[i], points.y[i]
        top, bottom, left, right = bucket_window(points, x, y, reach)
        total = 0.0
        for row in range(top, bottom):
            start = row * points.columns
            for j in range(points.starts[start + left], points.starts[start + right]):
                d2 = (points.x[j] - x) ** 2 + (points.y[j] - y) ** 2
                if d2 <= reach * reach and i != j:
                    total += math.exp(-0.5 * d2 / (sd * sd))
        out[i] = total * norm
    return out
