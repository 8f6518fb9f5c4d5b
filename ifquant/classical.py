"""Nuclei without a network: smoothing, a local threshold of bounded reach, distance and brightness as relief, and the shared decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage as ndi

from ifquant.decode import DecodeOptions, decode
from ifquant.errors import RequestError
from ifquant.levels import ChannelLevels
from ifquant.recipe import Segmentation
from ifquant.tiles import Window

_TRUNCATE = 3.0


@dataclass(frozen=True)
class ClassicalSegmenter:
    """Filters and thresholds in px and raw values; made by `make`.

    Attributes
    ----------
    floor
        Smoothed raw value below which nothing is foreground.
    scale
        Raw value > integer in units of 1/64 of the background's spread, or finer.
    """

    floor: float
    span: float
    smooth_px: float
    box_px: int
    cap_px: int
    options: DecodeOptions
    name: str = "classical"
    lattice_px: None = None

    @property
    def reach_px(self) -> int:
        """Reach of the decoder plus that of the filters before it."""
        return self.options.reach_px + self.cap_px + 2 * math.ceil(_TRUNCATE * self.smooth_px) + self.box_px + 2

    def cell_maps(self, read: Any, cell: Window, image_shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Never called: `lattice_px` is None."""
        raise NotImplementedError

    def nuclei(self, read: Any, read_maps: Any, window: Window, image_shape: tuple[int, int]) -> NDArray[np.int32]:
        """Labels (Y, X) of a window."""
        foreground, relief = self.maps(np.asarray(read(window)))
        return decode(foreground, relief, self.options)

    def maps(self, pixels: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        """Foreground (0 or 255) and relief of raw pixels (Y, X)."""
        smooth = ndi.gaussian_filter(pixels.astype(np.float32), self.smooth_px, truncate=_TRUNCATE, mode="nearest")
        level = np.clip((smooth - self.floor) * (1000.0 / self.span), -1000, 30_000).astype(np.int16)
        foreground = np.where(level > np.maximum(box_mean(np.maximum(level, 0), self.box_px), 0), 255, 0).astype(np.uint8)
        depth = bounded_depth(foreground > 0, self.cap_px)
        rounded = ndi.gaussian_filter(depth, self.smooth_px, truncate=_TRUNCATE, mode="nearest")
        return foreground, np.minimum(rounded * 16, 32_000).astype(np.int16)


def make(options: Segmentation, *, pixel_size_um: float, calibration: ChannelLevels | None) -> ClassicalSegmenter:
    """Make the segmenter from the recipe and the nucleus channel's levels.

    Raises
    ------
    RequestError
        If there is no nucleus channel.
    """
    if calibration is None:
        raise RequestError('found no nucleus channel; method "classical" needs one: give a channel the role "nucleus"')
    diameter = options.nucleus_diameter_um / pixel_size_um
    largest = options.max_diameter_um / pixel_size_um
    threshold = calibration.threshold if calibration.threshold is not None else calibration.high
    floor = calibration.background + (threshold - calibration.background) / options.sensitivity
    return ClassicalSegmenter(
        floor=float(floor),
        span=float(max(calibration.high - floor, 1e-6 * max(abs(floor), 1e-6))),
        smooth_px=max(0.06 * diameter, 0.7),
        box_px=math.ceil(1.5 * diameter),
        cap_px=math.ceil(0.75 * diameter),
        options=DecodeOptions(
            min_peak=16,
            merge_ratio=0.85,
            chain_px=math.ceil(largest / 2) + 2,
            merge_px=math.ceil(0.35 * largest),
            min_area_px=max(1, math.ceil(options.min_area_um2 / pixel_size_um**2)),
        ),
    )


def box_mean(values: NDArray[np.int16], radius: int) -> NDArray[np.int32]:
    """Mean over the box of side ``2 * radius + 1``, clipped at the array's border, rounded down: exact integer sums."""
    height, width = values.shape
    sums = np.zeros((height + 1, width + 1), np.int64)
    np.cumsum(values, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    y0, y1 = np.maximum(np.arange(height) - radius, 0), np.minimum(np.arange(height) + radius + 1, height)
    x0, x1 = np.maximum(np.arange(width) - radius, 0), np.minimum(np.arange(width) + radius + 1, width)
    rows = sums[y1] - sums[y0]
    total = rows[:, x1] - rows[:, x0]
    return np.asarray(total // ((y1 - y0)[:, None] * (x1 - x0)[None, :]), np.int32)


def bounded_depth(mask: NDArray[np.bool_], cap_px: int) -> NDArray[np.float32]:
    """Distance of each foreground pixel to the nearest background pixel, at most `cap_px`; what lies outside the array is not background."""
    return np.sqrt(_squared_depth(np.ascontiguousarray(mask), cap_px)).astype(np.float32)


@njit(cache=True)
def _squared_depth(mask, cap):  # type: ignore[no-untyped-def]
    height, width = mask.shape
    along = np.empty((height, width), np.int32)  # distance to background along the row, at most cap
    for y in range(height):
        run = cap
        for x in range(width):
            run = min(run + 1, cap) if mask[y, x] else 0
            along[y, x] = run
        run = cap
        for x in range(width - 1, -1, -1):
            run = min(run + 1, cap) if mask[y, x] else 0
            along[y, x] = min(along[y, x], run)
    squared = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            best = along[y, x] * along[y, x]
            d = 1
            while d * d < best:
                if y >= d:
                    best = min(best, d * d + along[y - d, x] * along[y - d, x])
                if y + d < height:
                    best = min(best, d * d + along[y + d, x] * along[y + d, x])
                d += 1
            squared[y, x] = best
    return squared
