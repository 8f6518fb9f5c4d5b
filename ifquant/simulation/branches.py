"""The branches of myeloid cells: wandering paths from the nucleus outwards that keep between the
nuclei of other cells.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulation.cell_places import MINOR, X, Y, segment_distance
from ifquant.simulation.options import BLOCK_UM
from ifquant.simulation.place_random import normal, uniform

BRANCH_REACH_UM = 22.0
"""A branch of a myeloid cell stays this close to the center of its nucleus."""
MOST_SEGMENTS = 160
"""Most pieces of the branches of one cell."""

_STEP_UM = 1.5
_ROOM_UM = 1.6


@njit(cache=True)  # type: ignore[untyped-decorator]
def _room(
    cells: NDArray[np.float64],
    counts: NDArray[np.int64],
    first_y: int,
    first_x: int,
    y: float,
    x: float,
    cell: NDArray[np.float64],
) -> float:
    """Distance (um) of a point from the nearest nucleus but the cell's own, at most _ROOM_UM;
    negative inside one.
    """
    best = _ROOM_UM
    row, column = int(np.floor(y / BLOCK_UM)) - first_y, int(np.floor(x / BLOCK_UM)) - first_x
    for i in range(row - 1, row + 2):
        for j in range(column - 1, column + 2):
            for k in range(counts[i, j]):
                other = cells[i, j, k]
                if (
                    abs(other[Y] - y) > 14.0
                    or abs(other[X] - x) > 14.0
                    or (other[Y] == cell[Y] and other[X] == cell[X])
                ):
                    continue
                best = min(best, segment_distance(y, x, other) - other[MINOR])
    return best


@njit(cache=True)  # type: ignore[untyped-decorator]
def _grow(
    cells: NDArray[np.float64],
    counts: NDArray[np.int64],
    first_y: int,
    first_x: int,
    cell: NDArray[np.float64],
    key: np.uint64,
    y: float,
    x: float,
    heading: float,
    width: float,
    number: int,
    length_um: float,
    segments: NDArray[np.float64],
    n: int,
) -> int:
    """Append a branch's segments (y0, x0, y1, x1, half-width at both ends) and return how many
    there are then.
    """
    steps = int(length_um / _STEP_UM)
    before = width
    for step in range(steps):
        best, best_heading = -1e9, heading
        for option in range(-3, 4):
            toward = heading + 0.3 * option
            room = _room(
                cells,
                counts,
                first_y,
                first_x,
                y + _STEP_UM * np.sin(toward),
                x + _STEP_UM * np.cos(toward),
                cell,
            )
            score = (
                room
                - 0.105 * abs(option)
                + 0.5 * uniform(key, 5000 + 1000 * number + 10 * step + option)
            )
            if score > best:
                best, best_heading = score, toward
        heading = best_heading
        ny, nx = y + _STEP_UM * np.sin(heading), x + _STEP_UM * np.cos(heading)
        away = (ny - cell[Y]) ** 2 + (nx - cell[X]) ** 2
        if best < -0.9 or away > BRANCH_REACH_UM * BRANCH_REACH_UM or n == MOST_SEGMENTS:
            break
        after = max(0.38, width * (1.0 - 0.55 * (step + 1.0) / steps)) * (
            1.0 + 0.5 * max(0.0, normal(key, 5000 + 100 * number + step))
        )
        segments[n, 0] = y
        segments[n, 1] = x
        segments[n, 2] = ny
        segments[n, 3] = nx
        segments[n, 4] = before
        segments[n, 5] = after
        n += 1
        y, x, before = ny, nx, after
    return n


@njit(cache=True)  # type: ignore[untyped-decorator]
def grow_branches(
    cells: NDArray[np.float64],
    counts: NDArray[np.int64],
    first_y: int,
    first_x: int,
    geometry: NDArray[np.float64],
    keys: NDArray[np.uint64],
    segments: NDArray[np.float64],
    lengths: NDArray[np.int64],
) -> None:
    """Fill `segments` (cells, MOST_SEGMENTS, 6) and `lengths` (cells) for the myeloid cells
    `geometry` among all `cells` of the blocks.
    """
    for one in range(geometry.shape[0]):
        cell, key, mine = geometry[one], keys[one], segments[one]
        n = 0
        number = 0
        primaries = 2 + int(4.0 * uniform(key, 50))
        turn = 2.0 * np.pi * uniform(key, 51)
        for task in range(2 * primaries):
            branch = task // 2
            length = 6.0 + min(20.0, 9.0 * np.exp(0.5 * normal(key, 70 + branch)))
            if task % 2 == 0:
                start = n
                y, x = cell[Y], cell[X]
                heading = (
                    turn
                    + (branch + 0.5 * (uniform(key, 60 + branch) - 0.5)) * 2.0 * np.pi / primaries
                )
                width = 1.1 + 0.7 * uniform(key, 80 + branch)
            elif n - start > 6 and uniform(key, 90 + branch) < 0.6:
                middle = start + 4 + int((n - start - 5) * uniform(key, 100 + branch))
                y, x = mine[middle, 2], mine[middle, 3]
                side = 0.8 if uniform(key, 110 + branch) < 0.5 else -0.8
                heading = np.arctan2(y - mine[middle, 0], x - mine[middle, 1]) + side
                width, length = 0.65, 0.6 * length
            else:
                continue
            n = _grow(
                cells,
                counts,
                first_y,
                first_x,
                cell,
                key,
                y,
                x,
                heading,
                width,
                number,
                length,
                mine,
                n,
            )
            number += 1
        lengths[one] = n
