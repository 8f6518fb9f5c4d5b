"""The tissue mask: where there is tissue, on a coarse grid of block means.

Glass is only what is clearly glass: large areas in which no channel rises above the darkest level
of the slide, next to tissue that does. A field full of tissue therefore gives a full mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.calibration import stain
from ifquant.calibration.histogram import SlideHistogram, grid_shape
from ifquant.geometry import coarse_masks
from ifquant.geometry.windows import Window
from ifquant.recipe.model import TissueOptions

# a block is stained when one channel exceeds the glass level by this many sd of glass blocks
_GLASS_SDS = 6.0
# ... and by this share of the channel's range, so that haze beside bright tissue stays glass
_GLASS_RANGE = 0.02
# a gap between glass and tissue holds fewer blocks than this share of what lies on either side
_GAP_DEPTH = 0.2
# tissue interiors darker than this share look like glass: the two are not separated
_MAX_DARK_INSIDE = 0.5


@dataclass(frozen=True, eq=False)
class TissueMask:
    """Tissue (My, Mx) on a grid of `step_px` px; the image border cuts the last row and column."""

    mask: NDArray[np.bool_]
    step_px: int
    image_shape: tuple[int, int]
    origin: str

    @classmethod
    def full(
        cls, image_shape: tuple[int, int], step_px: int, origin: str = "whole image"
    ) -> TissueMask:
        """Make a mask that covers the whole image."""
        mask = np.ones(grid_shape(image_shape, step_px), np.bool_)
        return cls(mask, step_px, image_shape, origin)

    @property
    def fraction(self) -> float:
        """Share of the image's pixels that are tissue."""
        return self.area_px() / max(1, self.image_shape[0] * self.image_shape[1])

    def area_px(self, window: Window | None = None) -> int:
        """Tissue pixels in a window (default: the whole image)."""
        area = window or Window(0, 0, *self.image_shape)
        heights = self._overlap(self.mask.shape[0], area.y0, min(area.y1, self.image_shape[0]))
        widths = self._overlap(self.mask.shape[1], area.x0, min(area.x1, self.image_shape[1]))
        # whole slides: not all rows at once
        blocks = np.array_split(np.arange(len(heights)), -(-len(heights) // 1024))
        return sum(
            int(heights[rows] @ self.mask[rows[0] : rows[-1] + 1].astype(np.int64) @ widths)
            for rows in blocks
        )

    def contains(self, y_px: ArrayLike, x_px: ArrayLike) -> NDArray[np.bool_]:
        """Whether points (px; pixel (0, 0) covers 0 to 1) lie in tissue, inside the image."""
        row = np.floor(np.asarray(y_px, dtype=np.float64) / self.step_px).astype(np.int64)
        column = np.floor(np.asarray(x_px, dtype=np.float64) / self.step_px).astype(np.int64)
        height, width = self.mask.shape
        inside = (row >= 0) & (column >= 0) & (row < height) & (column < width)
        return np.asarray(inside & self.mask[np.where(inside, row, 0), np.where(inside, column, 0)])

    def any(self, window: Window) -> bool:
        """Whether a window holds tissue."""
        return bool(self._squares(window).any())

    def bounds(self, window: Window) -> Window | None:
        """Smallest part of a window that holds all its tissue; None when it is all glass."""
        inside = self._squares(window)
        rows = np.flatnonzero(inside.any(axis=1)) + window.y0 // self.step_px
        columns = np.flatnonzero(inside.any(axis=0)) + window.x0 // self.step_px
        if not len(rows):
            return None
        corners = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]) * self.step_px
        return Window(*corners.tolist()).intersection(window)

    def pixels(self, window: Window) -> NDArray[np.bool_]:
        """Expand the mask to full resolution in a window inside the image, bool (Y, X)."""
        rows = np.arange(window.y0, window.y1) // self.step_px
        columns = np.arange(window.x0, window.x1) // self.step_px
        return np.asarray(self.mask[rows[:, None], columns[None, :]])

    def _squares(self, window: Window) -> NDArray[np.bool_]:
        """Grid squares that meet a window."""
        step = self.step_px
        rows = slice(window.y0 // step, -(-window.y1 // step))
        return self.mask[rows, window.x0 // step : -(-window.x1 // step)]

    def _overlap(self, squares: int, start: int, stop: int) -> NDArray[np.int64]:
        """Pixels of each square along an axis that lie in start..stop."""
        edges = np.clip(np.arange(squares + 1, dtype=np.int64) * self.step_px, start, stop)
        return np.asarray(np.diff(edges))


def find_tissue(
    histogram: SlideHistogram,
    *,
    pixel_size_um: float,
    options: TissueOptions,
    restrict: NDArray[np.bool_] | None = None,
) -> TissueMask:
    """Tissue mask of a slide from the block means of its channels in the first pass.

    `restrict` (My, Mx), the regions included by the user, cuts the mask.
    """
    step = histogram.step_px
    mask, origin = None, "whole image (tissue.enabled is false)"
    if options.enabled:
        mask, origin = _detect(histogram.means, step * pixel_size_um, options)
    if mask is None:
        mask = np.ones(histogram.means.shape[1:], np.bool_)
    if restrict is not None:
        mask, origin = mask & restrict, f"{origin}, within regions"
    return TissueMask(mask, step, histogram.image_shape, origin)


def _detect(
    means: NDArray[np.float64], step_um: float, options: TissueOptions
) -> tuple[NDArray[np.bool_] | None, str]:
    """Mask of the tissue, None where glass cannot be told from it; and the reason in words."""
    stained = np.zeros(means.shape[1:], np.bool_)
    for channel in means:
        values, counts = np.unique(channel, return_counts=True)
        gap = stain.valley(values, counts, _GAP_DEPTH)
        dark = values <= min(gap, stain.quantile(values, counts, 0.5))
        level, spread = stain.background(values[dark], counts[dark])
        span = stain.quantile(values, counts, 0.99) - level
        limit = level + max(_GLASS_SDS * spread, _GLASS_RANGE * span)
        if np.isfinite(gap):
            # all of a population that stands apart, however uneven its illumination
            below = values <= gap
            limit = max(limit, stain.quantile(values[below], counts[below], 0.99))
        stained |= channel > limit
    if not stained.any():
        return None, "whole image (no stained area found)"
    min_squares = options.min_area_um2 / step_um**2
    mask = coarse_masks.closed(stained, options.close_um / 2 / step_um)
    mask = coarse_masks.without_small(mask, min_squares)
    mask = coarse_masks.filled_small(mask, min_squares)
    glass = 1 - float(mask.mean())
    if not mask.any() or glass < 0.01:
        return None, "whole image (no glass found)"
    interior = coarse_masks.eroded(mask, options.close_um / step_um)
    dark_inside = 1 - float(stained[interior].mean()) if interior.any() else 1.0
    if dark_inside > _MAX_DARK_INSIDE:
        reason = f"{dark_inside:.0%} of the area between stained blocks is as dark"
        return None, f"whole image (glass not separable: {reason})"
    return mask, f"found: {glass:.0%} of the image is glass"
