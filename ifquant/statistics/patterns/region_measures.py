"""Geometry of a region that edge corrections need, exact for any mask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ifquant.errors import RequestError
from ifquant.geometry import coarse_masks
from ifquant.geometry.region import Region
from ifquant.statistics.patterns import region_kernels as kernels

Floats = NDArray[np.float64]
_SUBSAMPLED = 1_000_000
"""Points at which the border distance of a mask is looked up for eroded areas."""
STEP_UM = 10.0
CLOSED_UM = 60.0
"""Grid step of a region made from cells; gaps between cells up to this width count as tissue."""


def border_distance_um(region: Region, points: Floats) -> Floats:
    """Distance (n,) of points (n, 2) inside a region to where it ends, holes included: exact."""
    x, y = _local(region, points)
    return np.asarray(kernels.border_distances(x, y, *_walls(region), *region.step_um))


@dataclass(frozen=True, eq=False)
class Covariogram:
    """Area of a region that stays in it when shifted by (dx, dy): exact up to the reach given.

    `counts` (2 Ny + 3, 2 Nx + 3): grid cells in common at whole lags -Ny-1..Ny+1, Nx likewise;
    between lags the area is bilinear.
    """

    counts: Floats
    step_um: tuple[float, float]

    def area_um2(self, dx_um: Floats, dy_um: Floats) -> Floats:
        """Area (n,) in common with the region shifted by each (dx, dy)."""
        u = dx_um / self.step_um[0] + self.counts.shape[1] // 2
        v = dy_um / self.step_um[1] + self.counts.shape[0] // 2
        i, j = np.floor(v).astype(np.int64), np.floor(u).astype(np.int64)
        f, g = v - i, u - j
        c = self.counts
        above = (1 - g) * c[i, j] + g * c[i, j + 1]
        below = (1 - g) * c[i + 1, j] + g * c[i + 1, j + 1]
        return np.asarray(((1 - f) * above + f * below) * self.step_um[0] * self.step_um[1])


def covariogram(region: Region, reach_um: float) -> Covariogram:
    """Set covariance of a region for shifts of up to `reach_um` along each axis."""
    mask = region.mask.astype(np.float64)
    height, width = mask.shape
    full = np.rint(signal.fftconvolve(mask, mask[::-1, ::-1]))  # counts: rounding makes them exact
    lags = [int(np.ceil(reach_um / step)) + 2 for step in region.step_um[::-1]]
    counts = np.zeros((2 * lags[0] + 1, 2 * lags[1] + 1))
    rows, columns = min(lags[0], height - 1), min(lags[1], width - 1)
    inner = full[height - 1 - rows : height + rows, width - 1 - columns : width + columns]
    counts[lags[0] - rows : lags[0] + rows + 1, lags[1] - columns : lags[1] + columns + 1] = inner
    return Covariogram(counts, region.step_um)


def disc_areas_um2(
    region: Region, points: Floats, radii_um: Floats, border_um: Floats | None = None
) -> Floats:
    """Area within the region of the disc of each radius around each point: exact, (n, radii)."""
    x, y = _local(region, points)
    border = border_distance_um(region, points) if border_um is None else border_um
    radii = np.asarray(radii_um, np.float64)
    return np.asarray(kernels.disc_areas(x, y, border, radii, _runs(region)))


def gaussian_mass(region: Region, points: Floats, sd_um: float) -> Floats:
    """Share within the region of a Gaussian kernel around each point: exact, (n,)."""
    return np.asarray(kernels.gaussian_masses(*_local(region, points), sd_um, _runs(region)))


def eroded_area_um2(region: Region, radii_um: Floats) -> Floats:
    """Area further than each radius from where the region ends.

    Exact for rectangles; for masks counted at about a million points of a regular lattice.
    """
    radii = np.asarray(radii_um, np.float64)
    if region.is_rectangle:
        width, height = region.extent_um
        return np.asarray(np.maximum(width - 2 * radii, 0) * np.maximum(height - 2 * radii, 0))
    rows, columns = np.nonzero(region.mask)
    per_side = int(np.clip(np.sqrt(_SUBSAMPLED / len(rows)), 1, 64))
    at = (np.arange(per_side) + 0.5) / per_side
    x = (columns[:, None, None] + at[None, None, :]) * region.step_um[0] + region.corner_um[0]
    y = (rows[:, None, None] + at[None, :, None]) * region.step_um[1] + region.corner_um[1]
    lattice = np.stack([values.ravel() for values in np.broadcast_arrays(x, y)], axis=1)
    away = np.sort(border_distance_um(region, lattice))
    return np.asarray((len(away) - np.searchsorted(away, radii)) / len(away) * region.area_um2)


def region_around(points: Floats) -> Region:
    """Make a region from cells alone, for tables without a tissue mask: their places, gaps closed.

    `points` (n, 2) are all cells of the slide, not only those studied; every one lies in the
    region. Cells draw its outline, so that a tissue edge that truly holds no cells is lost: prefer
    a tissue mask where there is one.
    """
    if len(points) == 0:
        raise RequestError("no cells to make a region from.")
    low = points.min(axis=0) - STEP_UM / 2
    at = np.floor((points - low) / STEP_UM).astype(np.int64)
    columns, rows = (at.max(axis=0) + 1).tolist()
    occupied = np.zeros((rows, columns), np.bool_)
    occupied[at[:, 1], at[:, 0]] = True
    radius = CLOSED_UM / 2 / STEP_UM
    pad = int(np.ceil(radius)) + 1
    wide = np.pad(occupied, pad)
    closed = coarse_masks.eroded(coarse_masks.within(wide, radius), radius) | wide
    return Region(
        np.ascontiguousarray(closed[pad:-pad, pad:-pad]),
        (STEP_UM, STEP_UM),
        (float(low[0]), float(low[1])),
        f"cells, gaps up to {CLOSED_UM:g} um closed",
    )


def _local(region: Region, points: Floats) -> tuple[Floats, Floats]:
    """Coordinates relative to the grid's corner; points must lie in the region."""
    outside = ~region.contains(points[:, 0], points[:, 1])
    if outside.any():
        raise RequestError(
            f"{np.count_nonzero(outside)} of {len(points)} points lie outside the region; leave"
            " them out."
        )
    return points[:, 0] - region.corner_um[0], points[:, 1] - region.corner_um[1]


@lru_cache(maxsize=2)  # tests ask for the same region hundreds of times
def _walls(region: Region) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Column of the last False cell up to each cell and of the first from it on; else -1 and Mx."""
    mask, width = region.mask, region.mask.shape[1]
    columns = np.broadcast_to(np.arange(width, dtype=np.int32), mask.shape)
    left = np.maximum.accumulate(np.where(mask, np.int32(-1), columns), axis=1)
    right = np.minimum.accumulate(np.where(mask, np.int32(width), columns)[:, ::-1], axis=1)
    return np.ascontiguousarray(left), np.ascontiguousarray(right[:, ::-1])


@lru_cache(maxsize=2)
def _runs(region: Region) -> kernels.Runs:
    """List the runs of True cells in each row of a region's mask."""
    change = np.diff(np.pad(region.mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, begin = np.nonzero(change == 1)
    end = np.nonzero(change == -1)[1]
    starts = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=len(region.mask)))))
    x0, x1 = (np.asarray(edge * region.step_um[0], np.float64) for edge in (begin, end))
    return kernels.Runs(starts.astype(np.int64), x0, x1, float(region.step_um[1]))
