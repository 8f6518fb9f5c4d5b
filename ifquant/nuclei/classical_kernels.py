"""Compiled arithmetic of the classical method in single precision and 16-bit integers."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def to_levels(smooth, background, scale, least, most):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Integer levels of raw values above the background, clipped; int16 (Y, X)."""
    out = np.empty(smooth.shape, np.int16)
    flat, target = smooth.ravel(), out.ravel()
    for i in range(flat.size):
        target[i] = np.int16(min(max((flat[i] - background) * scale, least), most))
    return out


@njit(cache=True)
def contrast_of(level, behind, limit):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Height above what lies behind, at least 0, int16 (Y, X), and where it exceeds a limit."""
    contrast, bright = np.empty(level.shape, np.int16), np.empty(level.shape, np.bool_)
    a, b, c, d = level.ravel(), behind.ravel(), contrast.ravel(), bright.ravel()
    for i in range(a.size):
        c[i] = max(a[i] - b[i], 0)
        d[i] = c[i] > limit
    return contrast, bright


@njit(cache=True)
def limited_height(soft, behind, bright, crown, floor):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Height above what lies behind, at most `crown` times the brightness around, or the floor's.

    float32 and int16 (Y, X).
    """
    even, whole = np.empty(soft.shape, np.float32), np.empty(soft.shape, np.int16)
    a, b, c, d, e = soft.ravel(), behind.ravel(), bright.ravel(), even.ravel(), whole.ravel()
    for i in range(a.size):
        d[i] = min(np.float32(max(a[i] - b[i], 0)), crown * max(np.float32(c[i]), floor))
        e[i] = np.int16(d[i])
    return even, whole


@njit(cache=True)
def foreground_of(even, blurred, bright, contrast, sharpen, share, floor):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Where clear contrast, sharpened, exceeds a share of the brightness around; bool (Y, X)."""
    inside = np.empty(even.shape, np.bool_)
    a, b, c, d, e = even.ravel(), blurred.ravel(), bright.ravel(), contrast.ravel(), inside.ravel()
    for i in range(a.size):
        crisp = a[i] + sharpen * (a[i] - np.float32(b[i]))
        e[i] = crisp > share * np.float32(c[i]) and d[i] > floor
    return inside


@njit(cache=True)
def above_ground(level, ground, behind):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Height above the higher of two grounds, at least 0; int16 (Y, X)."""
    out = np.empty(level.shape, np.int16)
    a, b, c, d = level.ravel(), ground.ravel(), behind.ravel(), out.ravel()
    for i in range(a.size):
        d[i] = max(a[i] - max(b[i], c[i]), 0)
    return out


@njit(cache=True)
def cut_back(labels, contrast, n, fraction, quantile, min_contrast):  # type: ignore[no-untyped-def]
    """Objects 1..n without the pixels below a fraction of their own brightness (see `refine`)."""
    out = np.zeros_like(labels)
    height, width = labels.shape
    area = np.zeros(n + 2, np.int64)
    for y in range(height):
        for x in range(width):
            area[labels[y, x] + 1] += 1
    area[1] = 0
    start = np.cumsum(area)  # pixels of object k: start[k] : start[k + 1]
    place = start.copy()
    values = np.empty(start[n + 1], np.int16)
    for y in range(height):
        for x in range(width):
            k = labels[y, x]
            if k:
                values[place[k]] = contrast[y, x]
                place[k] += 1
    limit = np.empty(n + 1, np.float64)
    for k in range(1, n + 1):
        own = np.sort(values[start[k] : start[k + 1]])
        level = own[int(quantile * (own.size - 1))] if own.size else np.int16(0)
        limit[k] = fraction * level if level >= min_contrast else 1e9
    for y in range(height):
        for x in range(width):
            k = labels[y, x]
            if k and contrast[y, x] > limit[k]:
                out[y, x] = k
    return out
