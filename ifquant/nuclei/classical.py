"""Nuclei without a network: local contrast of bounded reach, then the shared decoder.

1. Smooth, subtract the local background (an opening: haze and glow go, gaps between crowded nuclei
   stay visible).
2. Foreground: sharpened contrast above a fraction of the mean contrast of the bright pixels around.
3. Relief: bounded depth in the foreground; the shared decoder turns both into nuclei.
4. Each nucleus ends where it falls to a fraction of its own brightness.

All lengths scale with the typical nucleus diameter, all levels come from the whole slide's
calibration. Constants were tuned on training images of DSB2018 and on simulated tissue
(``benchmarks/nuclei_accuracy.py`` scores them on others).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry import filters
from ifquant.geometry.windows import Window
from ifquant.nuclei import classical_kernels as kernels
from ifquant.nuclei.channel_levels import ChannelLevels, nucleus_levels
from ifquant.nuclei.connected_components import (
    fill_holes,
    largest_components,
    relabel_without_small,
)
from ifquant.nuclei.decoder import DecodeOptions, decode
from ifquant.recipe.model import Segmentation

_UNITS = 4000  # integer levels between background and the slide's 99.8 % quantile
_LIMIT = 28_000
_RELIEF_UNITS = 1000  # relief units of a depth of one nucleus diameter


def refine(
    labels: NDArray[np.int32],
    contrast: NDArray[np.int16],
    *,
    fraction: float,
    quantile: float,
    min_contrast: int,
    min_area_px: int,
) -> NDArray[np.int32]:
    """Cut each object back to the pixels above a fraction of its own brightness.

    The brightness of an object 1..n is a `quantile` of its pixels' `contrast`, their height above
    the local background. Objects less bright than `min_contrast` or in the end smaller than
    `min_area_px` are dropped. Returned is the largest 4-connected component of each object, holes
    filled, numbered in raster order of their first pixel.
    """
    n = int(labels.max(initial=0))
    if n == 0:
        return np.zeros_like(labels)
    bright = kernels.cut_back(labels, contrast, n, fraction, quantile, min_contrast)
    out = largest_components(bright)
    fill_holes(out)
    relabel_without_small(out, n, min_area_px)
    return out


@dataclass(frozen=True)
class Tuning:
    """Constants; lengths in nucleus diameters, levels as fractions of the stain level (`make`).

    Attributes
    ----------
    smooth, soft, min_sigma_px
        Standard deviations of the smoothings for outlines and for the foreground, and their least
        value in px.
    opening
        Half side of the boxes of the background opening: nuclei up to twice this are no background.
    bright, floor
        Contrast that makes a pixel count as bright, and below which nothing is foreground.
    around, ground
        Half sides of the boxes in which bright pixels, and those beside the nuclei, are averaged.
    crown
        Nothing counts as brighter than this many times the mean of the bright pixels around: bright
        specks inside nuclei are no peaks.
    sharpen, sharpen_scale
        How much what is brighter than its blurred surroundings is raised before the threshold, and
        the half side of the boxes of that blur: opens the dim lines between touching nuclei.
    share
        A pixel is foreground above this fraction of the mean of the bright pixels around.
    depth_cap, relief_smooth
        Largest depth, and its smoothing.
    min_peak, merge_ratio, merge_depth
        Decoder: least relief of a seed, and the saddle at which seeds join; in depths of a
        diameter.
    outline, level_quantile, min_contrast
        A nucleus ends at this fraction of its brightness above the ground, which is this quantile
        of its pixels, and is dropped if less bright than this.
    min_area
        Smallest area in squared diameters.
    """

    smooth: float = 0.03
    soft: float = 0.055
    min_sigma_px: float = 0.55
    opening: float = 1.0
    bright: float = 0.4
    floor: float = 0.35
    around: float = 0.6
    ground: float = 0.7
    crown: float = 1.2
    sharpen: float = 1.8
    sharpen_scale: float = 0.5
    share: float = 0.58
    depth_cap: float = 0.75
    relief_smooth: float = 0.08
    min_peak: float = 0.14
    merge_ratio: float = 0.95
    merge_depth: float = 0.001
    outline: float = 0.4
    level_quantile: float = 0.85
    min_contrast: float = 0.65
    min_area: float = 0.045


@dataclass(frozen=True)
class ClassicalSegmenter:
    """Made by `make`; lengths in px, `levels` in raw values.

    Attributes
    ----------
    background, span
        Raw value of unstained tissue, and how far the slide's bright nuclei are above it.
    stain
        Contrast of clear stain, in units of span / 4000.
    diameter_px
        Typical nucleus diameter.
    """

    background: float
    span: float
    stain: float
    diameter_px: float
    options: DecodeOptions
    tuning: Tuning = Tuning()
    name: str = "classical"
    lattice_px: None = None

    @property
    def reach_px(self) -> int:
        """Reach of the decoder plus that of the filters before it; the outlines add none."""
        t, d = self.tuning, self.diameter_px
        level = filters.gaussian_reach(self._sigma_px(t.smooth))
        contrast = level + 2 * filters.box_radius(t.opening * d)
        beside = contrast + filters.box_radius(max(t.around, t.ground) * d)
        soft = filters.gaussian_reach(self._sigma_px(t.soft))
        crisp = max(beside, soft) + 2 * filters.box_radius(t.sharpen_scale * d)
        smoothing = filters.gaussian_reach(self._sigma_px(t.relief_smooth))
        depth = filters.box_radius(t.depth_cap * d) + smoothing
        return self.options.reach_px + crisp + depth

    def core_maps(self, read: Any, core: Window, image_shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Never called: `lattice_px` is None."""
        raise NotImplementedError

    def release(self) -> None:
        """No network to free."""

    def nuclei(
        self, read: Any, read_maps: Any, window: Window, image_shape: tuple[int, int]
    ) -> NDArray[np.int32]:
        """Labels (Y, X) of a window."""
        pixels = np.asarray(read(window))
        if not math.isfinite(self.stain):
            return np.zeros(pixels.shape, np.int32)
        foreground, relief, height = self.maps(pixels)
        return refine(
            decode(foreground, relief, self.options),
            height,
            fraction=self.tuning.outline,
            quantile=self.tuning.level_quantile,
            min_contrast=math.ceil(min(self.tuning.min_contrast * self.stain, _LIMIT)),
            min_area_px=self.options.min_area_px,
        )

    def maps(
        self, pixels: NDArray[Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int16], NDArray[np.int16]]:
        """Foreground (0 or 255), relief, and height above the ground of raw pixels (Y, X)."""
        t, d = self.tuning, self.diameter_px
        floor, single = t.floor * self.stain, np.float32
        level = self._levels(pixels, t.smooth)
        behind = filters.opened(level, filters.box_radius(t.opening * d))
        contrast, is_bright = kernels.contrast_of(level, behind, t.bright * self.stain)
        around_px = filters.box_radius(t.around * d)
        bright = filters.box_mean(contrast, is_bright, around_px, np.zeros_like(level))
        ground = filters.box_mean(level, ~is_bright, filters.box_radius(t.ground * d), behind)
        even, whole = kernels.limited_height(
            self._levels(pixels, t.soft), behind, bright, single(t.crown), single(floor)
        )
        blurred = filters.blurred(whole, filters.box_radius(t.sharpen_scale * d))
        inside = kernels.foreground_of(
            even, blurred, bright, contrast, single(t.sharpen), single(t.share), floor
        )
        depth = filters.bounded_depth(inside, filters.box_radius(t.depth_cap * d))
        relief = filters.gaussian(depth, self._sigma_px(t.relief_smooth))
        relief *= single(_RELIEF_UNITS / d)
        height = kernels.above_ground(level, ground, behind)
        return inside.view(np.uint8) * np.uint8(255), relief.astype(np.int16), height

    def _sigma_px(self, diameters: float) -> float:
        """Return the standard deviation in px of a smoothing given in diameters."""
        return max(diameters * self.diameter_px, self.tuning.min_sigma_px)

    def _levels(self, pixels: NDArray[Any], smooth: float) -> NDArray[np.int16]:
        """Smoothed pixels in integer levels above the background."""
        values = filters.gaussian(pixels, self._sigma_px(smooth))
        bounds = self.background, _UNITS / self.span, -_UNITS, _LIMIT
        return np.asarray(kernels.to_levels(values, *map(np.float32, bounds)))


def make(
    options: Segmentation,
    *,
    pixel_size_um: float,
    calibration: ChannelLevels | None,
) -> ClassicalSegmenter:
    """Make the segmenter from the recipe and the nucleus channel's levels."""
    levels = nucleus_levels(calibration, "classical")
    tuning = Tuning()
    diameter = options.nucleus_diameter_um / pixel_size_um
    largest = max(options.max_diameter_um / pixel_size_um, diameter)
    span = max(levels.high - levels.background, 4 * levels.background_sd) or 1.0
    stain = math.inf  # no pixel to learn from: nothing is a nucleus
    if levels.threshold is not None:
        # between the dimmest stain and the brightest nuclei, on a logarithmic scale
        height = math.sqrt(max(levels.threshold - levels.background, 0) / span)
        stain = max(height * _UNITS / options.sensitivity, 1.0)
    min_area = max(options.min_area_um2 / pixel_size_um**2, tuning.min_area * diameter**2, 4)
    return ClassicalSegmenter(
        background=float(levels.background),
        span=float(span),
        stain=stain,
        diameter_px=diameter,
        options=DecodeOptions(
            min_peak=max(1, round(tuning.min_peak * _RELIEF_UNITS)),
            merge_ratio=tuning.merge_ratio,
            merge_depth=round(tuning.merge_depth * _RELIEF_UNITS),
            chain_px=math.ceil(largest / 2) + 2,
            merge_px=math.ceil(largest / 4),
            min_area_px=math.ceil(min_area),
        ),
    )
