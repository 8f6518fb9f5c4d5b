"""What each cell is, beyond its place: its id, its levels of ligand and response, its exposure to
tumor neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulation.branches import MOST_SEGMENTS, grow_branches
from ifquant.simulation.cell_placement import CAPACITY, IN_PLANE, KIND, Population, X, Y
from ifquant.simulation.options import (
    BLOCK_UM,
    EXPOSURE_CELLS,
    EXPOSURE_UM,
    MYELOID,
    TUMOR,
    SimulationOptions,
)
from ifquant.simulation.random_fields import Field, Rectangle, field_at, make_field, normal

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


class _Mixture(NamedTuple):
    """Fields of a stain's level and their shares of its variance (see `SimulationOptions`)."""

    own: Field
    common: Field
    smooth: float
    shared: float


@njit(cache=True)  # type: ignore[untyped-decorator]
def _level(
    geometry: NDArray[np.float64], keys: NDArray[np.uint64], which: int, mixture: _Mixture
) -> NDArray[np.float64]:
    """Standardised log levels: smooth in space, the cell's own part, and what both stains share."""
    smooth, shared = mixture.smooth, mixture.shared
    result = np.empty(geometry.shape[0])
    for i in range(geometry.shape[0]):
        y, x = geometry[i, Y], geometry[i, X]
        own = np.sqrt(1.0 - smooth) * normal(keys[i], which)
        value = np.sqrt(smooth) * field_at(mixture.own, y, x) + own
        common = np.sqrt(shared) * field_at(mixture.common, y, x)
        result[i] = np.sqrt(1.0 - shared) * value + common
    return result


@njit(cache=True)  # type: ignore[untyped-decorator]
def _exposure(
    population: Population, level: NDArray[np.float64], geometry: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean standardised `level` (blocks y, blocks x, CAPACITY) of each cell's nearest tumor cells;
    NaN without any.
    """
    cells, counts = population.cells, population.counts
    result = np.empty(geometry.shape[0])
    distance, nearest = np.empty(EXPOSURE_CELLS), np.empty(EXPOSURE_CELLS)
    for one in range(geometry.shape[0]):
        y, x = geometry[one, Y], geometry[one, X]
        row = int(np.floor(y / BLOCK_UM)) - population.first_y
        column = int(np.floor(x / BLOCK_UM)) - population.first_x
        n = 0
        for i in range(row - 1, row + 2):
            for j in range(column - 1, column + 2):
                for k in range(counts[i, j]):
                    if cells[i, j, k, KIND] != TUMOR or cells[i, j, k, IN_PLANE] < 0.5:
                        continue
                    square = (cells[i, j, k, Y] - y) ** 2 + (cells[i, j, k, X] - x) ** 2
                    if square > EXPOSURE_UM * EXPOSURE_UM:
                        continue
                    if n == EXPOSURE_CELLS and square >= distance[n - 1]:
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


def _blocks_across(options: SimulationOptions) -> int:
    """Blocks in a row of the id grid: the slide's width and eight to spare on either side."""
    return int(np.ceil(options.size[1] * options.pixel_size_um / BLOCK_UM)) + 16


def describe_cells(
    options: SimulationOptions, population: Population, rectangle: Rectangle
) -> Cells:
    """Describe the cells of a population less NEIGHBOUR_REACH blocks at its borders, in the order
    of their blocks.

    The id of a cell is `((block y + 8) * blocks across + block x + 8) * 64 + place in the block +
    1`: the same in every window. `rectangle` holds the whole population.
    """
    common = make_field(options.seed, _COMMON, options.confounding_range_um, rectangle)

    def mixture(purpose: int, range_um: float) -> _Mixture:
        own = make_field(options.seed, purpose, range_um, rectangle)
        return _Mixture(own, common, options.smooth_share, options.confounding)

    cells, counts, all_keys, first_y, first_x = population
    taken = np.arange(CAPACITY) < counts[:, :, None]
    ligand = np.zeros(taken.shape)
    ligand_mixture = mixture(_LIGAND, options.ligand_range_um)
    ligand[taken] = _level(cells[taken], all_keys[taken], _KEY_LIGAND, ligand_mixture)
    r = NEIGHBOUR_REACH
    inner = np.zeros_like(taken)
    inner[r:-r, r:-r] = taken[r:-r, r:-r]
    row, column, place = np.nonzero(inner)
    geometry, keys = cells[inner], all_keys[inner]
    response_mixture = mixture(_RESPONSE, options.response_range_um)
    response = _level(geometry, keys, _KEY_RESPONSE, response_mixture)
    myeloid = np.flatnonzero(geometry[:, KIND] == MYELOID)
    exposure = np.full(len(geometry), np.nan)
    exposure[myeloid] = _exposure(population, ligand, geometry[myeloid])
    response += options.effect * np.nan_to_num(exposure)
    segments = np.empty((len(myeloid), MOST_SEGMENTS, 6))
    lengths = np.zeros(len(myeloid), np.int64)
    grow_branches(population, geometry[myeloid], keys[myeloid], segments, lengths)
    block = (row + first_y + 8) * _blocks_across(options) + column + first_x + 8
    ids = block * CAPACITY + place + 1
    branches = segments[np.arange(MOST_SEGMENTS) < lengths[:, None]]
    owners = np.repeat(myeloid, lengths)
    return Cells(geometry, keys, ids, ligand[inner], response, exposure, branches, owners)
