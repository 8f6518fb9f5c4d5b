"""What each cell is, beyond its place: its id, its levels of ligand and response, its exposure to
tumor neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulation.branches import MOST_SEGMENTS, grow_branches
from ifquant.simulation.cell_places import CAPACITY, IN_PLANE, KIND, Population, X, Y
from ifquant.simulation.options import (
    BLOCK_UM,
    EXPOSURE_CELLS,
    EXPOSURE_UM,
    MYELOID,
    TUMOR,
    SimulationOptions,
)
from ifquant.simulation.place_random import Field, field_at, make_field, normal

NEIGHBOUR_REACH = 2
"""Levels and branches of a cell depend on cells of blocks at most this many away."""

_LIGAND, _RESPONSE, _COMMON = 21, 22, 23
_KEY_LIGAND, _KEY_RESPONSE = 40, 41


class Cells(NamedTuple):
    """Cells in the order of their blocks: what they are made of, one row each; branches by the row
    of their owner.
    """

    geometry: NDArray[np.float64]
    keys: NDArray[np.uint64]
    ids: NDArray[np.int64]
    ligand_z: NDArray[np.float64]
    response_z: NDArray[np.float64]
    exposure: NDArray[np.float64]
    branches: NDArray[np.float64]
    branch_owner: NDArray[np.int64]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _level(
    geometry: NDArray[np.float64],
    keys: NDArray[np.uint64],
    which: int,
    own: Field,
    common: Field,
    smooth: float,
    shared: float,
) -> NDArray[np.float64]:
    """Standardised log levels: smooth in space, plus the cell's own part, plus what both stains
    share.
    """
    result = np.empty(geometry.shape[0])
    for i in range(geometry.shape[0]):
        y, x = geometry[i, Y], geometry[i, X]
        value = np.sqrt(smooth) * field_at(own, y, x) + np.sqrt(1.0 - smooth) * normal(
            keys[i], which
        )
        result[i] = np.sqrt(1.0 - shared) * value + np.sqrt(shared) * field_at(common, y, x)
    return result


@njit(cache=True)  # type: ignore[untyped-decorator]
def _exposure(
    cells: NDArray[np.float64],
    counts: NDArray[np.int64],
    level: NDArray[np.float64],
    first_y: int,
    first_x: int,
    geometry: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Average the standardised `level` (blocks y, blocks x, CAPACITY) of each cell's nearest tumor
    cells; NaN without any.
    """
    result = np.empty(geometry.shape[0])
    distance, nearest = np.empty(EXPOSURE_CELLS), np.empty(EXPOSURE_CELLS)
    for one in range(geometry.shape[0]):
        y, x = geometry[one, Y], geometry[one, X]
        row, column = int(np.floor(y / BLOCK_UM)) - first_y, int(np.floor(x / BLOCK_UM)) - first_x
        n = 0
        for i in range(row - 1, row + 2):
            for j in range(column - 1, column + 2):
                for k in range(counts[i, j]):
                    if cells[i, j, k, KIND] != TUMOR or cells[i, j, k, IN_PLANE] < 0.5:
                        continue
                    square = (cells[i, j, k, Y] - y) ** 2 + (cells[i, j, k, X] - x) ** 2
                    if square > EXPOSURE_UM * EXPOSURE_UM or (
                        n == EXPOSURE_CELLS and square >= distance[n - 1]
                    ):
                        continue
                    n = min(n + 1, EXPOSURE_CELLS)
                    at = n - 1
                    while at > 0 and distance[at - 1] > square:
                        distance[at], nearest[at] = distance[at - 1], nearest[at - 1]
                        at -= 1
                    distance[at], nearest[at] = square, level[i, j, k]
        total = 0.0
        for at in range(n):
            total += nearest[at]
        result[one] = total / n if n > 0 else np.nan
    return result


def blocks_across(options: SimulationOptions) -> int:
    """Blocks in a row of the id grid: the slide's width in blocks and eight to spare on either
    side.
    """
    return int(np.ceil(options.size[1] * options.pixel_size_um / BLOCK_UM)) + 16


def describe(
    options: SimulationOptions,
    population: Population,
    rectangle_um: tuple[float, float, float, float],
) -> Cells:
    """Describe the cells of a population less NEIGHBOUR_REACH blocks at its borders, in the order
    of their blocks.

    The id of a cell is `((block y + 8) * blocks_across + block x + 8) * 64 + place in the block +
    1`: the same in every window. `rectangle_um` (y0, x0, y1, x1) holds the whole population.
    """
    cells, counts, all_keys, first_y, first_x = population
    ligand_field = make_field(options.seed, _LIGAND, options.ligand_range_um, rectangle_um)
    response_field = make_field(options.seed, _RESPONSE, options.response_range_um, rectangle_um)
    common = make_field(options.seed, _COMMON, options.confounding_range_um, rectangle_um)
    shares = options.smooth_share, options.confounding
    taken = np.arange(CAPACITY) < counts[:, :, None]
    ligand = np.zeros(taken.shape)
    ligand[taken] = _level(
        cells[taken], all_keys[taken], _KEY_LIGAND, ligand_field, common, *shares
    )
    r = NEIGHBOUR_REACH
    inner = np.zeros_like(taken)
    inner[r:-r, r:-r] = taken[r:-r, r:-r]
    row, column, place = np.nonzero(inner)
    geometry, keys = cells[inner], all_keys[inner]
    response = _level(geometry, keys, _KEY_RESPONSE, response_field, common, *shares)
    myeloid = np.flatnonzero(geometry[:, KIND] == MYELOID)
    exposure = np.full(len(geometry), np.nan)
    exposure[myeloid] = _exposure(cells, counts, ligand, first_y, first_x, geometry[myeloid])
    response += options.effect * np.nan_to_num(exposure)
    segments = np.empty((len(myeloid), MOST_SEGMENTS, 6))
    lengths = np.zeros(len(myeloid), np.int64)
    grow_branches(
        cells, counts, first_y, first_x, geometry[myeloid], keys[myeloid], segments, lengths
    )
    ids = (
        ((row + first_y + 8) * blocks_across(options) + column + first_x + 8) * CAPACITY + place + 1
    )
    used = np.arange(MOST_SEGMENTS) < lengths[:, None]
    return Cells(
        geometry,
        keys,
        ids,
        ligand[inner],
        response,
        exposure,
        segments[used],
        np.repeat(myeloid, lengths),
    )
