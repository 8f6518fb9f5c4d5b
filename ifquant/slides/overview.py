"""Channels of a whole slide for display: 8 bits in their ranges, reduced by block means.

The blocks are reduced before the ranges are known, so that the pass that calibrates a slide also
gives its overview and glass is read once. Sums of integers are kept exactly: the picture does not
depend on how the slide was cut, nor on when its pixels were read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.geometry.windows import Window

Read = Callable[[Window], NDArray[np.generic]]
"""Read a window (C, Y, X) of the picture's channels."""

READ_BLOCK_PX = 2048


@dataclass(frozen=True, eq=False)
class Stack:
    """Channels of a window for display.

    Attributes
    ----------
    pixels : uint8 (C, h, w)
        0 = black and 255 = white of each channel's display range; means of `step` x `step` image
        pixels (fewer at the far borders).
    """

    pixels: NDArray[np.uint8]
    window: Window
    step: int


class StackBuilder:
    """Collects the blocks of an image, reduced by `reduced`, until the display ranges are known.

    Parameters
    ----------
    image_shape
        Height and width (Y, X) of the image in px; blocks start at multiples of `step`.
    """

    def __init__(self, image_shape: tuple[int, int], step: int) -> None:
        self._shape, self._step = image_shape, step
        self._values: NDArray[Any] | None = None

    def add(self, window: Window, values: NDArray[Any]) -> None:
        """Put in what `reduced` made of one block."""
        step = self._step
        if self._values is None:
            self._values = np.zeros(
                (len(values), *(-(-size // step) for size in self._shape)), values.dtype
            )
        top, left = window.y0 // step, window.x0 // step
        self._values[:, top : top + values.shape[1], left : left + values.shape[2]] = values

    def stack(self, ranges: Sequence[tuple[float, float]]) -> Stack:
        """Give the picture of all blocks with these raw values black and white, per channel."""
        assert self._values is not None, "an image has at least one block"
        height, width = self._shape
        out = np.empty(self._values.shape, np.uint8)
        band = max(256 * self._step, self._step)
        for y in range(0, height, band):  # bands: means are 8 bytes per pixel
            rows = slice(y // self._step, -(-min(y + band, height) // self._step))
            shape = min(y + band, height) - y, width
            out[:, rows] = displayed(_means(self._values[:, rows], shape, self._step), ranges)
        return Stack(out, Window(0, 0, height, width), self._step)


def step_for(shape: tuple[int, int], max_size_px: int) -> int:
    """Reduction that leaves the longest side between `max_size_px` and twice that."""
    return max(max(shape) // max_size_px, 1)


def read_stack(
    read: Read, window: Window, ranges: Sequence[tuple[float, float]], max_size_px: int
) -> Stack:
    """Read a window block by block into a `Stack`; see `step_for`.

    Parameters
    ----------
    ranges
        Raw values shown as black and white, per channel. Pixels that are not finite count as 0.
    """
    height, width = window.shape
    step = step_for(window.shape, max_size_px)
    out = np.zeros((len(ranges), -(-height // step), -(-width // step)), np.uint8)
    block = max(READ_BLOCK_PX // step, 1) * step
    for top in range(0, height, block):
        for left in range(0, width, block):
            y0, x0 = window.y0 + top, window.x0 + left
            pixels = read(Window(y0, x0, min(y0 + block, window.y1), min(x0 + block, window.x1)))
            shown = displayed(block_means(pixels, step), ranges)
            out[
                :,
                top // step : top // step + shown.shape[1],
                left // step : left // step + shown.shape[2],
            ] = shown
    return Stack(out, window, step)


def reduced(pixels: NDArray[Any], step: int) -> NDArray[Any]:
    """Reduce a block (C, Y, X) to exact sums over `step` x `step` pixels; the pixels at step 1.

    Floats become means in single precision, enough for a picture of 256 levels; those that are not
    finite count as 0.
    """
    if pixels.dtype.kind == "f":
        finite = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
        if step > 1:
            finite = _block_sums(np.ascontiguousarray(finite), step) / _areas(
                (pixels.shape[1], pixels.shape[2]), step
            )
        return np.asarray(finite, np.float32)
    if step == 1:
        return pixels
    sums: NDArray[np.float64] = _block_sums(np.ascontiguousarray(pixels), step)
    return (
        sums.astype(np.uint32)
        if pixels.dtype.kind == "u" and np.iinfo(pixels.dtype).max * step**2 < 2**32
        else sums
    )


def block_means(pixels: NDArray[Any], step: int) -> NDArray[np.float64]:
    """Means of `step` x `step` pixels of (C, Y, X), fewer at far borders; NaN counts as 0."""
    return _means(reduced(pixels, step), (pixels.shape[1], pixels.shape[2]), step)


def _means(values: NDArray[Any], shape: tuple[int, int], step: int) -> NDArray[np.float64]:
    """Means of what `reduced` made of (C, *shape)."""
    if values.dtype == np.float32 or step == 1:
        return values.astype(np.float64)
    return np.asarray(values / _areas(shape, step))


def _areas(shape: tuple[int, int], step: int) -> NDArray[np.int64]:
    heights, widths = (np.diff([*range(0, size, step), size]) for size in shape)
    return np.outer(heights, widths)


def displayed(
    pixels: NDArray[np.floating], ranges: Sequence[tuple[float, float]]
) -> NDArray[np.uint8]:
    """Channels (C, h, w) scaled from their display ranges to 0..255, clipped and rounded."""
    out = np.empty(pixels.shape, np.uint8)
    for i, (low, high) in enumerate(ranges):
        _display(np.ascontiguousarray(pixels[i]), float(low), max(high - low, 1e-12), out[i])
    return out


@njit(cache=True)
def _display(values, low, span, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            share = (np.float64(values[y, x]) - low) / span
            out[y, x] = np.uint8(min(max(share, 0.0), 1.0) * 255 + 0.5)


@njit(cache=True)
def _block_sums(pixels, step):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add up `step` x `step` pixels of (C, Y, X), column by column first."""
    channels, height, width = pixels.shape
    sums = np.zeros((channels, -(-height // step), -(-width // step)), np.float64)
    columns = np.empty(width, np.float64)
    for c in range(channels):
        for i in range(sums.shape[1]):
            columns[:] = 0
            for y in range(i * step, min((i + 1) * step, height)):
                for x in range(width):
                    columns[x] += pixels[c, y, x]
            for j in range(sums.shape[2]):
                for x in range(j * step, min((j + 1) * step, width)):
                    sums[c, i, j] += columns[x]
    return sums
