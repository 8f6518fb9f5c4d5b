"""The tumor region: where tumor cells form tissue, its outline, and distances to its border.

The region lives on a grid of about 4 um. Its border is where the signed distance, interpolated
between grid centers, is 0; outline, distances and density bands all use that one field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage import measure

from ifquant.calibration.histogram import grid_shape, grid_step_px
from ifquant.calibration.tissue import TissueMask
from ifquant.errors import RequestError
from ifquant.geometry import coarse_masks
from ifquant.geometry.runs import CellRuns
from ifquant.geometry.signed_distance import NOWHERE, Field, closed_level, signed_distance
from ifquant.recipe.model import Proximity

GRID_UM = 4.0
"""Step of the region's grid in um: half the tissue grid, a third of a tumor cell."""
_COVERED = 0.5  # share of a square that tumor cells must cover
_SUBSAMPLES = 4  # points per square and axis for band areas

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TumorRegion:
    """A region on a grid of `step_px` px, never empty.

    Attributes
    ----------
    field_um : float32 (My, Mx)
        Signed distance of each grid center to the border in um, negative inside (-0.0 included);
        the border runs between centers, where it interpolates to 0. Nothing else is kept: on whole
        slides each array of this size takes hundreds of megabytes.
    step_px, image_shape, pixel_size_um
        The grid; its last row and column are cut by the image border (Y, X).
    origin
        "tumor cells" or "regions".
    """

    field_um: Field
    step_px: int
    image_shape: tuple[int, int]
    pixel_size_um: float
    origin: str

    @classmethod
    def within(
        cls,
        level: Field,
        step_px: int,
        image_shape: tuple[int, int],
        pixel_size_um: float,
        origin: str,
    ) -> TumorRegion | None:
        """Make the region where `level` (My, Mx) is positive; None where it nowhere is."""
        if not (level > 0).any():
            return None
        field = signed_distance(level)
        field *= np.float32(step_px * pixel_size_um)
        return cls(field, step_px, image_shape, pixel_size_um, origin)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Squares of the grid whose center is inside, bool (My, Mx)."""
        return np.asarray(np.signbit(self.field_um))

    @cached_property
    def fills_image(self) -> bool:
        """Whether the region has no border."""
        return bool(self.mask.all())

    @property
    def area_mm2(self) -> float:
        """Area inside the image in mm2."""
        return (
            TissueMask(self.mask, self.step_px, self.image_shape, self.origin).area_px()
            * self.pixel_size_um**2
            / 1e6
        )

    def area_within_mm2(self, tissue: TissueMask) -> float:
        """Area inside the tissue mask in mm2 (exact: both grids are cut into common rectangles)."""
        spans = [
            np.unique(np.r_[0 : n : self.step_px, 0 : n : tissue.step_px, n])
            for n in self.image_shape
        ]
        y, x = (edges[:-1] for edges in spans)
        heights, widths, area_px = np.diff(spans[0]), np.diff(spans[1]), 0
        for rows in np.array_split(
            np.arange(len(y)), -(-len(y) // 1024)
        ):  # whole slides: not all rows at once
            own = self.mask[np.ix_(y[rows] // self.step_px, x // self.step_px)]
            both = own & tissue.mask[np.ix_(y[rows] // tissue.step_px, x // tissue.step_px)]
            area_px += int(heights[rows] @ both.astype(np.int64) @ widths)
        return area_px * self.pixel_size_um**2 / 1e6

    def signed_distance_um(self, x_um: ArrayLike, y_um: ArrayLike) -> Floats:
        """Distance of points (um) to the region's border, negative inside; nan when the region
        fills the image (it has no border there).
        """
        x, y = np.asarray(x_um, dtype=np.float64), np.asarray(y_um, dtype=np.float64)
        if self.fills_image:
            return np.full(x.shape, np.nan)
        step_um = self.step_px * self.pixel_size_um
        return np.asarray(
            ndimage.map_coordinates(
                self.field_um, [y / step_um - 0.5, x / step_um - 0.5], order=1, mode="nearest"
            )
        )

    @cached_property
    def rings_um(self) -> tuple[Floats, ...]:
        """Closed outlines (k, 2) as x, y in um, of the region and of its holes, closed along the
        image border.
        """
        height_um, width_um = (v * self.pixel_size_um for v in self.image_shape)
        step_um = self.step_px * self.pixel_size_um
        if self.fills_image:
            corners = [
                (0.0, 0.0),
                (width_um, 0.0),
                (width_um, height_um),
                (0.0, height_um),
                (0.0, 0.0),
            ]
            return (np.array(corners),)
        rings = []
        islands, _ = ndimage.label(
            ndimage.binary_dilation(self.mask, np.ones((3, 3))), np.ones((3, 3))
        )
        for k, box in enumerate(
            ndimage.find_objects(islands), 1
        ):  # one by one: contours of a whole slide at once take gigabytes
            around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
            own = np.where(islands[around] == k, self.field_um[around], np.float32(NOWHERE))
            for contour in _closed_contours(own):
                xy = (contour + [side.start for side in around])[:, ::-1] * step_um
                rings.append(np.clip(xy, 0.0, [width_um, height_um]))
        return tuple(rings)


def tumor_region_of_cells(
    runs: CellRuns,
    *,
    of: NDArray[np.bool_] | None = None,
    image_shape: tuple[int, int],
    pixel_size_um: float,
    options: Proximity | None = None,
) -> TumorRegion | None:
    """Find the region that tumor cells form: squares they cover to half, less gaps and small parts.

    Parameters
    ----------
    runs
        Geometry of n cells.
    of : bool (n,)
        Which of them are tumor cells; default all.
    image_shape
        (Y, X) in px.
    pixel_size_um
        um per px.
    options
        ``recipe.proximity``: ``region_close_um``, ``region_min_area_um2``.

    Returns
    -------
    None when there is no tumor, or every island is smaller than ``region_min_area_um2``.
    """
    options = options or Proximity()
    step = grid_step_px(GRID_UM, pixel_size_um)
    level = np.zeros(grid_shape(image_shape, step), np.float32)
    chosen = np.ones(len(runs), np.bool_) if of is None else np.ascontiguousarray(of)
    _cover(chosen, runs.offsets, runs.y, runs.x0, runs.x1, step, level)
    for axis, size in enumerate(level.shape):
        edges = np.minimum(np.arange(size + 1) * step, image_shape[axis])
        level /= np.expand_dims(np.diff(edges).astype(np.float32), 1 - axis)
    level -= np.float32(_COVERED)
    if not (level > 0).any():
        return None
    step_um = step * pixel_size_um
    level = closed_level(level, options.region_close_um / 2 / step_um)
    level = _without_small_parts(level, options.region_min_area_um2 / step_um**2)
    return TumorRegion.within(level, step, image_shape, pixel_size_um, "tumor cells")


def tumor_region_of_mask(
    mask: NDArray[np.bool_],
    *,
    step_px: int,
    image_shape: tuple[int, int],
    pixel_size_um: float,
    origin: str = "regions",
) -> TumorRegion | None:
    """Take the user's tumor polygons, drawn on a grid of `step_px` px, as they are; None when they
    cover nothing.

    Raises
    ------
    RequestError
        If the mask's shape is not that of the grid.
    """
    if mask.shape != grid_shape(image_shape, step_px):
        raise RequestError(
            f"tumor mask has shape {mask.shape}; expected {grid_shape(image_shape, step_px)} for a"
            f" grid of {step_px} px."
        )
    level = ndimage.gaussian_filter(
        mask.astype(np.float32), 1.0, mode="nearest", truncate=4.0
    )  # without the stairs of the grid
    level -= np.float32(0.5)
    return TumorRegion.within(level, step_px, image_shape, pixel_size_um, origin)


def _closed_contours(field: Field) -> list[Floats]:
    """Zero contours (k, 2) as y, x in grid steps of a field, its first center at 0.5.

    They are closed along the border of the field.
    """
    padded = np.pad(field, 1, mode="edge")
    edge = np.ones(padded.shape, np.bool_)
    edge[1:-1, 1:-1] = False
    # mirrored: the outline closes half a step out, on the image border
    padded[edge] = np.abs(padded[edge])
    return [contour - 0.5 for contour in measure.find_contours(padded, 0.0) if len(contour) >= 4]


def margin_bands(
    region: TumorRegion,
    tissue: TissueMask,
    x_um: ArrayLike,
    y_um: ArrayLike,
    codes: ArrayLike,
    names: Sequence[str],
    edges_um: Sequence[float],
) -> pd.DataFrame:
    """Densities in bands along the region's border.

    Parameters
    ----------
    region, tissue
        Tumor region and tissue mask of the slide.
    x_um, y_um, codes : (n,)
        Cell centroids and phenotypes (indices into `names`, -1 for none). Cells outside the tissue
        mask are left out, as their area is.
    edges_um
        Ascending signed distances, negative inside; band k is ``edges[k] <= distance < edges[k +
        1]``.

    Returns
    -------
    One row per band: from_um, to_um, tissue_mm2, and per phenotype n_<P>, <P>_per_mm2 (nan where
    the band has no tissue).
    """
    edges = np.asarray(edges_um, dtype=np.float64)
    if len(edges) < 2 or np.any(np.diff(edges) <= 0):
        raise RequestError(
            f"margin_um is {list(edges_um)}; expected at least two ascending distances in um."
        )
    table = pd.DataFrame({"from_um": edges[:-1], "to_um": edges[1:]})
    if region.fills_image:
        area_mm2 = np.zeros(len(edges) - 1)
    else:
        area_px = _band_areas(
            region.field_um,
            region.step_px,
            *region.image_shape,
            tissue.mask,
            tissue.step_px,
            edges,
            _SUBSAMPLES,
        )
        area_mm2 = area_px * region.pixel_size_um**2 / 1e6
    table["tissue_mm2"] = area_mm2
    x, y, code = (
        np.asarray(x_um, dtype=np.float64),
        np.asarray(y_um, dtype=np.float64),
        np.asarray(codes),
    )
    distance = region.signed_distance_um(x, y)
    use = tissue.contains(y / region.pixel_size_um, x / region.pixel_size_um) & np.isfinite(
        distance
    )
    band = np.searchsorted(edges, distance, side="right") - 1
    for index, name in enumerate(names):
        chosen = band[use & (code == index)]
        n = np.bincount(chosen[(chosen >= 0) & (chosen < len(edges) - 1)], minlength=len(edges) - 1)
        table[f"n_{name}"] = n
        table[f"{name}_per_mm2"] = np.where(
            area_mm2 > 0, n / np.where(area_mm2 > 0, area_mm2, 1.0), np.nan
        )
    return table


def _without_small_parts(level: Field, min_squares: float) -> Field:
    """Switch, in place, the sign of islands and holes of fewer than `min_squares` squares."""
    mask = coarse_masks.without_small(level > 0, min_squares)
    mask = coarse_masks.filled_small(mask, min_squares) if mask.any() else mask
    np.abs(level, out=level)
    np.negative(level, out=level, where=~mask)
    return level


@njit(cache=True, nogil=True)
def _cover(chosen, offsets, y, x0, x1, step, covered):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add the pixels of the chosen objects' runs to the squares they lie in."""
    for k in range(len(chosen)):
        if chosen[k]:
            for i in range(offsets[k], offsets[k + 1]):
                row = y[i] // step
                for column in range(x0[i] // step, (x1[i] - 1) // step + 1):
                    covered[row, column] += min(x1[i], (column + 1) * step) - max(
                        x0[i], column * step
                    )


@njit(cache=True)
def _band_areas(field, step, height, width, tissue, tissue_step, edges, points):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Tissue pixels per band, sampled at `points`^2 points of each square on the bilinear field."""
    rows, columns = field.shape
    areas = np.zeros(len(edges) - 1, np.float64)
    for row in range(rows):
        tall = min((row + 1) * step, height) - row * step
        for column in range(columns):
            wide = min((column + 1) * step, width) - column * step
            share = tall * wide / (points * points)
            for i in range(points):
                y = row * step + (i + 0.5) * tall / points
                v = min(max(y / step - 0.5, 0.0), rows - 1.0)
                r = min(int(v), max(rows - 2, 0))
                r1 = min(r + 1, rows - 1)
                for j in range(points):
                    x = column * step + (j + 0.5) * wide / points
                    if not tissue[int(y) // tissue_step, int(x) // tissue_step]:
                        continue
                    u = min(max(x / step - 0.5, 0.0), columns - 1.0)
                    c = min(int(u), max(columns - 2, 0))
                    c1 = min(c + 1, columns - 1)
                    fy, fx = v - r, u - c
                    upper = field[r, c] * (1 - fx) + field[r, c1] * fx
                    lower = field[r1, c] * (1 - fx) + field[r1, c1] * fx
                    value = upper * (1 - fy) + lower * fy
                    if value < edges[0] or value >= edges[-1]:
                        continue
                    areas[np.searchsorted(edges, value, side="right") - 1] += share
    return areas
