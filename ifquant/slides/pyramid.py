"""Smaller copies of an image, each of half the size of the one before, as all writers make them."""

from __future__ import annotations

import numpy as np

from ifquant.slides.image_reader import Array


def level_shapes(shape: tuple[int, int], largest_px: int) -> list[tuple[int, int]]:
    """Shapes (Y, X) of an image and its copies, down to a longest side of at most `largest_px`."""
    shapes = [shape]
    while max(shapes[-1]) > largest_px:
        height, width = shapes[-1]
        shapes.append((-(-height // 2), -(-width // 2)))
    return shapes


def halved(pixels: Array) -> Array:
    """Means of 2 x 2 pixels of (..., Y, X) with edges repeated, in the pixels' type."""
    odd = [(0, 0)] * (pixels.ndim - 2) + [(0, size % 2) for size in pixels.shape[-2:]]
    full = np.pad(pixels, odd, mode="edge").astype(np.float32)
    top, bottom = full[..., ::2, :], full[..., 1::2, :]
    mean = (top[..., ::2] + bottom[..., ::2] + top[..., 1::2] + bottom[..., 1::2]) / 4
    return (mean if pixels.dtype.kind == "f" else np.rint(mean)).astype(pixels.dtype)
