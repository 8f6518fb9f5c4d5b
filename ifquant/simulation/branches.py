"""The branches of myeloid cells: wandering paths from the nucleus outwards that keep between the
nuclei of other cells.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulation.cell_placement import MINOR, Population, X, Y, segment_distance
from ifquant.simulation.options import BLOCK_UM
from ifquant.simulation.random_fields import normal, uniform

BRANCH_REACH_UM = 22.0
"""A branch of a myeloid cell stays this close to the center of its nucleus."""
MOST_SEGMENTS = 160
"""Most segments of the branches of one cell."""

_STEP_UM = 1.5
_FREE_UM = 1.6


class _Branch(NamedTuple):
    """Where a branch begins (um), its direction (radians), width and length (um), and its number
    among the cell's branches.
    """

    y: float
    x: float
    heading: float
    width: float
    length_um: float
    number: int


@njit(cache=True)  # type: ignore[untyped-decorator]
def _free_distance(population: Population, y: float, x: float, cell: NDArray[np.float64]) -> float:
    """Distance (um) of a point from the nearest nucleus but the cell's own, at most _FREE_UM;
    negative inside one.
    """
    best = _FREE_UM
    row = int(np.floor(y / BLOCK_UM)) - population.first_y
    column = int(np.floor(x / BLOCK_UM)) - population.first_x
    for i in range(row - 1, row + 2):
        for j in range(column - 1, column + 2):
            for k in range(population.counts[i, j]):
                other = population.cells[i, j, k]
                if abs(other[Y] - y) > 14.0 or abs(other[X] - x) > 14.0:
                    continue
                if other[Y] == cell[Y] and other[X] == cell[X]:
                    continue
                best = min(best, segment_distance(y, x, other) - other[MINOR])
    return best


@njit(cache=True)  # type: ignore[untyped-decorator]
def _turn(
    population: Population,
    cell: NDArray[np.float64],
    key: np.uint64,
    at: tuple[float, float, float],
    first_random: int,
) -> tuple[float, float]:
    """Score and direction of the best of seven next steps from (y, x, heading)."""
    y, x, heading = at
    best, best_heading = -1e9, heading
    for option in range(-3, 4):
        toward = heading + 0.3 * option
        free = _free_distance(
            population, y + _STEP_UM * np.sin(toward), x + _STEP_UM * np.cos(toward), cell
        )
        score = free - 0.105 * abs(option) + 0.5 * uniform(key, first_random + option)
        if score > best:
            best, best_heading = score, toward
    return best, best_heading


@njit(cache=True)  # type: ignore[untyped-decorator]
def _grow(
    population: Population,
    cell: NDArray[np.float64],
    key: np.uint64,
    branch: _Branch,
    segments: NDArray[np.float64],
    n: int,
) -> int:
    """Append a branch's segments (y0, x0, y1, x1, half-width at both ends) to the `n` there are;
    return their number.
    """
    steps = int(branch.length_um / _STEP_UM)
    y, x, heading, before = branch.y, branch.x, branch.heading, branch.width
    for step in range(steps):
        first_random = 5000 + 1000 * branch.number + 10 * step
        best, heading = _turn(population, cell, key, (y, x, heading), first_random)
        ny, nx = y + _STEP_UM * np.sin(heading), x + _STEP_UM * np.cos(heading)
        away = (ny - cell[Y]) ** 2 + (nx - cell[X]) ** 2
        if best < -0.9 or away > BRANCH_REACH_UM * BRANCH_REACH_UM or n == MOST_SEGMENTS:
            break
        knot = max(0.0, normal(key, 5000 + 100 * branch.number + step))
        taper = max(0.38, branch.width * (1.0 - 0.55 * (step + 1.0) / steps))
        after = taper * (1.0 + 0.5 * knot)
        segments[n, 0], segments[n, 1] = y, x
        segments[n, 2], segments[n, 3] = ny, nx
        segments[n, 4], segments[n, 5] = before, after
        n += 1
        y, x, before = ny, nx, after
    return n


@njit(cache=True)  # type: ignore[untyped-decorator]
def _main_branch(
    cell: NDArray[np.float64], key: np.uint64, main: int, mains: int, number: int
) -> _Branch:
    """Begin the `main`-th of the branches that leave the nucleus."""
    place = main + 0.5 * (uniform(key, 60 + main) - 0.5)
    heading = 2.0 * np.pi * uniform(key, 51) + place * 2.0 * np.pi / mains
    width = 1.1 + 0.7 * uniform(key, 80 + main)
    return _Branch(cell[Y], cell[X], heading, width, _length_um(key, main), number)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _side_branch(parent: NDArray[np.float64], key: np.uint64, main: int, number: int) -> _Branch:
    """Begin a branch that leaves its parent somewhere behind the fourth segment."""
    middle = parent[4 + int((parent.shape[0] - 5) * uniform(key, 100 + main))]
    side = 0.8 if uniform(key, 110 + main) < 0.5 else -0.8
    heading = np.arctan2(middle[2] - middle[0], middle[3] - middle[1]) + side
    return _Branch(middle[2], middle[3], heading, 0.65, 0.6 * _length_um(key, main), number)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _length_um(key: np.uint64, main: int) -> float:
    return float(6.0 + min(20.0, 9.0 * np.exp(0.5 * normal(key, 70 + main))))


@njit(cache=True)  # type: ignore[untyped-decorator]
def grow_branches(
    population: Population,
    geometry: NDArray[np.float64],
    keys: NDArray[np.uint64],
    segments: NDArray[np.float64],
    lengths: NDArray[np.int64],
) -> None:
    """Fill `segments` (cells, MOST_SEGMENTS, 6) and `lengths` (cells) for the myeloid cells
    `geometry` of a population.
    """
    for one in range(geometry.shape[0]):
        cell, key, mine = geometry[one], keys[one], segments[one]
        mains = 2 + int(4.0 * uniform(key, 50))
        n = number = 0
        for main in range(mains):
            start = n
            n = _grow(population, cell, key, _main_branch(cell, key, main, mains, number), mine, n)
            number += 1
            if n - start > 6 and uniform(key, 90 + main) < 0.6:
                side = _side_branch(mine[start:n], key, main, number)
                n = _grow(population, cell, key, side, mine, n)
                number += 1
        lengths[one] = n
