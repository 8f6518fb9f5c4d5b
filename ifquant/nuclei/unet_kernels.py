"""Compiled arithmetic around the network: pixels to its input, its output to quantised maps. Single
precision, in a fixed order.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def normalised(pixels, low, scale, least, most):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Give pixels (Y, X) the range the network was trained on; float32."""
    out = np.empty(pixels.shape, np.float32)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = min(max((np.float32(pixels[y, x]) - low) * scale, least), most)
    return out


@njit(cache=True)
def lowered(distance, contact, strength):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Distance lowered by the contact map; float32 (Y, X)."""
    out = np.empty(distance.shape, np.float32)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = distance[y, x] * (np.float32(1) - strength * contact[y, x])
    return out


@njit(cache=True)
def quantised(values, most):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Give 0..1 as 0..255, rounded, cut off at `most`; uint8 (Y, X)."""
    out = np.empty(values.shape, np.uint8)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = np.uint8(min(values[y, x] * np.float32(255) + np.float32(0.5), most))
    return out
