"""Shapes on a coarse grid: distances, closing gaps, dropping small areas; lengths in grid steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

_COUNTED = 1 << 23
"""Squares counted at once: counting takes 8 bytes each."""


def within(mask: Mask, radius: float) -> Mask:
    """Squares whose center is at most `radius` from the center of a True square."""
    if not mask.any():
        return mask.copy()
    return np.asarray(ndimage.distance_transform_edt(~mask) <= radius)


def eroded(mask: Mask, radius: float) -> Mask:
    """Squares further than `radius` from every False one; the border of the grid does not erode."""
    return ~within(~mask, radius)


def closed(mask: Mask, radius: float) -> Mask:
    """Close with a disc; the image continues by reflection, so gaps at its border close, too."""
    pad = int(np.ceil(radius)) + 1
    pad_y, pad_x = min(pad, mask.shape[0]), min(pad, mask.shape[1])
    padded = np.pad(mask, ((pad_y, pad_y), (pad_x, pad_x)), mode="symmetric")
    result = eroded(within(padded, radius), radius) | padded
    return np.asarray(result[pad_y : pad_y + mask.shape[0], pad_x : pad_x + mask.shape[1]])


def without_small(mask: Mask, min_squares: float) -> Mask:
    """Drop 8-connected areas of fewer than `min_squares` squares."""
    labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
    blocks = np.array_split(labels, -(-labels.size // _COUNTED))
    keep = (
        np.sum([np.bincount(block.ravel(), minlength=n + 1) for block in blocks], axis=0)
        >= min_squares
    )
    keep[0] = False
    return np.asarray(keep[labels])


def filled_small(mask: Mask, min_squares: float) -> Mask:
    """Fill 8-connected holes of fewer than `min_squares` squares."""
    return ~without_small(~mask, min_squares)
