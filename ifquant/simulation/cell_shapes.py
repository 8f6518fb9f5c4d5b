"""The pixels of cells: territories and branches.

As in `nucleus_shapes`, cells are painted in the order of their blocks and a pixel is computed from
its place in the slide, so that its value is the same in every window that holds it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulation.background_structures import Grain
from ifquant.simulation.cell_levels import Cells
from ifquant.simulation.cell_placement import KIND, MAJOR, MINOR, REACH, X, Y
from ifquant.simulation.nucleus_shapes import along_across, paint_nuclei, pixel_box
from ifquant.simulation.options import LYMPHOCYTE, MYELOID, STROMA, TUMOR
from ifquant.simulation.random_fields import PixelGrid, normal, uniform

BORDER_REACH_PX = 4
"""Distances from a cell's border are known up to this many px."""


class Shapes(NamedTuple):
    """Rows of the cell list (+1, 0 = none) that own each pixel, the light of the nuclei, and the
    distance (px) of pixels in cells from the nearest pixel outside, at most BORDER_REACH_PX.
    """

    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    dapi: NDArray[np.float32]
    border: NDArray[np.float32]


class Surroundings(NamedTuple):
    """What shapes territories: the nest field (positive inside), and how far places are shifted."""

    nest: NDArray[np.float32]
    warp_y: NDArray[np.float32]
    warp_x: NDArray[np.float32]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _territory(kind: int, key: np.uint64) -> tuple[float, float, float]:
    """How far a cell reaches beyond its nucleus, its advantage over others (um), its warp."""
    if kind == TUMOR:
        return 6.0 + 3.0 * uniform(key, 130), 0.7 * normal(key, 230), 1.0
    if kind == MYELOID:
        return 1.6 + 1.6 * uniform(key, 130), 0.0, 2.2
    if kind == LYMPHOCYTE:
        return 0.7 + 0.6 * uniform(key, 130), 0.0, 0.5
    return 0.6 + 0.5 * uniform(key, 130), 0.0, 1.0


@njit(cache=True)  # type: ignore[untyped-decorator]
def _paint_territories(
    geometry: NDArray[np.float64],
    keys: NDArray[np.uint64],
    grid: PixelGrid,
    around: Surroundings,
    owner: NDArray[np.int32],
    distance: NDArray[np.float32],
) -> None:
    """Give each pixel to the cell whose nucleus is nearest (um, on warped coordinates) and whose
    territory reaches it.
    """
    for n in range(geometry.shape[0]):
        cell, key = geometry[n], keys[n]
        kind, major, minor = int(cell[KIND]), cell[MAJOR], cell[MINOR]
        box = min(cell[REACH], 1.2 * major + 10.0) + 2.0
        top, bottom, left, right = pixel_box(
            cell[Y] - box, cell[X] - box, cell[Y] + box, cell[X] + box, grid
        )
        if top >= bottom or left >= right:
            continue
        half = major - minor
        reach, weight, warp = _territory(kind, key)
        tail = min(major * (1.5 + 0.9 * uniform(key, 131)), cell[REACH])
        for row in range(top, bottom):
            for column in range(left, right):
                if kind == TUMOR and around.nest[row, column] <= 0.0:
                    continue
                y = (grid.y0 + row + 0.5) * grid.pixel_um - cell[Y]
                x = (grid.x0 + column + 0.5) * grid.pixel_um - cell[X]
                y += warp * around.warp_y[row, column]
                x += warp * around.warp_x[row, column]
                along, across = along_across(cell, y, x)
                beyond = along - min(max(along, -half), half)
                d = np.sqrt(beyond * beyond + across * across) - minor
                if kind == STROMA:
                    taper = 1.0 - (along / tail) ** 2
                    if taper > 0.0:
                        d = min(d, abs(across) - (minor + 0.5) * taper + 0.5)
                if d <= reach and d - weight < distance[row, column]:
                    distance[row, column] = d - weight
                    owner[row, column] = n + 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def _paint_branches(
    segments: NDArray[np.float64],
    owners: NDArray[np.int64],
    grid: PixelGrid,
    nuclei: NDArray[np.int32],
    owner: NDArray[np.int32],
    distance: NDArray[np.float32],
) -> None:
    """Give pixels near a branch of a myeloid cell to it: over any cytoplasm, under any nucleus."""
    for n in range(segments.shape[0]):
        ay, ax, by, bx, wide, narrow = segments[n]
        box = max(wide, narrow) + grid.pixel_um
        top, bottom, left, right = pixel_box(
            min(ay, by) - box, min(ax, bx) - box, max(ay, by) + box, max(ax, bx) + box, grid
        )
        dy, dx = by - ay, bx - ax
        square = dy * dy + dx * dx
        for row in range(top, bottom):
            y = (grid.y0 + row + 0.5) * grid.pixel_um - ay
            for column in range(left, right):
                if nuclei[row, column] != 0:
                    continue
                x = (grid.x0 + column + 0.5) * grid.pixel_um - ax
                t = min(max((y * dy + x * dx) / square, 0.0), 1.0)
                ey, ex = y - t * dy, x - t * dx
                d = np.sqrt(ey * ey + ex * ex) / (wide + (narrow - wide) * t)
                if d <= 1.0 and d - 100.0 < distance[row, column]:
                    distance[row, column] = d - 100.0
                    owner[row, column] = owners[n] + 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def _border_distance(
    owner: NDArray[np.int32], offsets: NDArray[np.int64], reach: int
) -> NDArray[np.float32]:
    height, width = owner.shape
    result = np.zeros((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            mine = owner[y, x]
            if mine == 0:
                continue
            result[y, x] = reach
            for k in range(offsets.shape[0]):
                v, u = y + offsets[k, 1], x + offsets[k, 2]
                if 0 <= v < height and 0 <= u < width and owner[v, u] != mine:
                    result[y, x] = np.sqrt(offsets[k, 0])
                    break
    return result


def paint_shapes(cells: Cells, grid: PixelGrid, around: Surroundings, grain: Grain) -> Shapes:
    """Paint nuclei, territories and branches of cells."""
    dapi = np.zeros(grid.shape, np.float32)
    nuclei = paint_nuclei(cells.geometry, cells.keys, grid, grain, dapi)
    owner = np.zeros(grid.shape, np.int32)
    distance = np.full(grid.shape, np.inf, np.float32)
    _paint_territories(cells.geometry, cells.keys, grid, around, owner, distance)
    _paint_branches(cells.branches, cells.branch_owner, grid, nuclei, owner, distance)
    np.copyto(owner, nuclei, where=nuclei > 0)
    r = BORDER_REACH_PX
    around_px = [(dy * dy + dx * dx, dy, dx) for dy in range(-r, r + 1) for dx in range(-r, r + 1)]
    offsets = np.array(sorted(place for place in around_px if 0 < place[0] < r * r), np.int64)
    return Shapes(nuclei, owner, dapi, np.asarray(_border_distance(owner, offsets, r)))
