"""Pixels to the network's working scale and maps back, by one ratio of small integers.

With the ratio a / b, `b` image pixels become `a` working pixels, and the pattern repeats from the
image's first pixel on: which pixels make a working pixel, and with what weights, follows from
integers alone. Every sum runs in the same order at every pixel, so a window changes nothing, not
even a rounding.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATIOS = tuple(
    Fraction(ratio)
    for ratio in ("1/8", "1/6", "1/5", "1/4", "1/3", "1/2", "2/3", "1", "3/2", "2", "3", "4")
)
"""Working pixels per image pixel; the network tolerates what lies between two of them."""


def nearest_ratio(scale: float) -> Fraction:
    """Return the ratio of `RATIOS` nearest to `scale` by quotient; 1 for about 0.82 to 1.22."""
    return min(RATIOS, key=lambda ratio: abs(float(np.log(scale / float(ratio)))))


def working_shape(image_shape: tuple[int, int], ratio: Fraction) -> tuple[int, int]:
    """Height and width of an image at the working scale; the last pixel may reach beyond it."""
    height, width = (-(-size * ratio.numerator // ratio.denominator) for size in image_shape)
    return height, width


def source_range(start: int, stop: int, ratio: Fraction, size: int) -> tuple[int, int]:
    """Image pixels of the working pixels start..stop along an axis, and one more at each end."""
    a, b = ratio.numerator, ratio.denominator
    first, last = start * b // a, -(-stop * b // a)
    return max(first - 1, 0), min(last + 1, size)


def to_working(
    pixels: NDArray[Any], origin: int, start: int, stop: int, ratio: Fraction, size: int, axis: int
) -> NDArray[np.float32]:
    """Resample one axis: working pixels start..stop from image pixels origin..origin + n.

    Fewer pixels: the mean over the image pixels that a working pixel covers, those cut counted by
    their share. More pixels: linear interpolation between pixel centers. Pixels beyond the image
    (of `size` pixels) repeat the last one.
    """
    values = np.moveaxis(np.asarray(pixels), axis, 0).astype(np.float32)
    a, b = ratio.numerator, ratio.denominator
    target = np.arange(start, stop, dtype=np.int64)

    def at(index: NDArray[np.int64]) -> NDArray[np.float32]:
        return values[np.clip(index, 0, size - 1) - origin]

    if a == b:
        result = values[start - origin : stop - origin]
    elif a > b:
        below, parts = np.divmod((2 * target + 1) * b - a, 2 * a)  # from the center of pixel 0
        weight = (parts / (2 * a)).astype(np.float32)[:, None]
        result = at(below) * (1 - weight) + at(below + 1) * weight
    else:
        left = target * b  # edges in units of 1 / a image pixel
        result = np.zeros((target.size, values.shape[1]), np.float32)
        for k in range(-(-b // a) + 1):
            index = left // a + k
            share = np.clip(
                np.minimum((index + 1) * a, left + b) - np.maximum(index * a, left), 0, None
            )
            result += at(index) * (share / b).astype(np.float32)[:, None]
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))


def to_image(
    maps: NDArray[np.uint8], origin: int, start: int, stop: int, ratio: Fraction, axis: int
) -> NDArray[np.uint8]:
    """Interpolate one axis in integers: image pixels start..stop from working pixels origin..n."""
    values = np.moveaxis(maps, axis, 0)
    a, b = ratio.numerator, ratio.denominator
    if a == b:
        return np.ascontiguousarray(np.moveaxis(values[start - origin : stop - origin], 0, axis))
    target = np.arange(start, stop, dtype=np.int64)
    below, parts = np.divmod((2 * target + 1) * a - b, 2 * b)
    last = values.shape[0] - 1
    weight = parts.astype(np.uint16).reshape(-1, *[1] * (values.ndim - 1))
    lower = values[np.clip(below - origin, 0, last)]
    upper = values[np.clip(below + 1 - origin, 0, last)]
    whole = np.uint16(2 * b)
    mixed = (lower * (whole - weight) + upper * weight + np.uint16(b)) // whole
    return np.ascontiguousarray(np.moveaxis(mixed.astype(np.uint8), 0, axis))
