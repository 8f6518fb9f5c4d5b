"""What each cell is, beyond its place: levels of ligand and response, the exposure to tumor neighbours, the branches of myeloid cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulate_options import BLOCK_UM, EXPOSURE_CELLS, EXPOSURE_UM, MYELOID, TUMOR, SimulationOptions
from ifquant.simulate_places import CAPACITY, KIND, MINOR, N_COLUMNS, Population, X, Y, segment_distance
from ifquant.simulate_random import Field, field_at, make_field, normal, uniform

BRANCH_REACH_UM = 22.0
"""A branch of a myeloid cell stays this close to the center of its nucleus."""
NEIGHBOUR_REACH = 2
"""Levels and branches of a cell depend on cells of blocks at most this many away."""

_LIGAND, _RESPONSE, _COMMON = 21, 22, 23
_KEY_LIGAND, _KEY_RESPONSE = 40, 41
_STEP_UM = 1.5
_ROOM_UM = 1.6


class Cells(NamedTuple):
    """Cells in the order of their blocks: what they are made of, one row each."""

    geometry: NDArray[np.float64]
    keys: NDArray[np.uint64]
    ids: NDArray[np.int64]
    ligand_z: NDArray[np.float64]
    response_z: NDArray[np.float64]
    exposure: NDArray[np.float64]
    branches: NDArray[np.float64]
    branch_owner: NDArray[np.int64]


class Levels(NamedTuple):
    """The smooth fields behind the levels, and the shares of variance."""

    ligand: Field
    response: Field
    common: Field
    smooth: float
    confounding: float
    effect: float


def make_levels(options: SimulationOptions, rectangle_um: tuple[float, float, float, float]) -> Levels:
    """The fields of ligand and response, good inside the rectangle (um)."""
    return Levels(
        make_field(options.seed, _LIGAND, options.ligand_range_um, rectangle_um),
        make_field(options.seed, _RESPONSE, options.response_range_um, rectangle_um),
        make_field(options.seed, _COMMON, options.confounding_range_um, rectangle_um),
        options.smooth_share,
        options.confounding,
        options.effect,
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def _level(field: Field, levels: Levels, y: float, x: float, key: np.uint64, which: int) -> float:
    """A standardised log level: smooth in space, plus the cell's own part, plus what both stains share."""
    own = np.sqrt(levels.smooth) * field_at(field, y, x) + np.sqrt(1.0 - levels.smooth) * normal(key, which)
    return float(np.sqrt(1.0 - levels.confounding) * own + np.sqrt(levels.confounding) * field_at(levels.common, y, x))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _exposure(
    levels: Levels,
    cells: NDArray[np.float64],
    counts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    row: int,
    column: int,
    y: float,
    x: float,
) -> float:
    """Mean standardised ligand level of the nearest tumor cells, NaN without any."""
    distance = np.full(EXPOSURE_CELLS, 1e18)
    level = np.zeros(EXPOSURE_CELLS)
    for i in range(row - 1, row + 2):
        for j in range(column - 1, column + 2):
            for k in range(counts[i, j]):
                if cells[i, j, k, KIND] != TUMOR:
                    continue
                dy, dx = cells[i, j, k, Y] - y, cells[i, j, k, X] - x
                square = dy * dy + dx * dx
                if square > EXPOSURE_UM * EXPOSURE_UM or square >= distance[-1]:
                    continue
                at = EXPOSURE_CELLS - 1
                while at > 0 and distance[at - 1] > square:
                    distance[at], level[at] = distance[at - 1], level[at - 1]
                    at -= 1
                distance[at] = square
                level[at] = _level(levels.ligand, levels, cells[i, j, k, Y], cells[i, j, k, X], keys[i, j, k], _KEY_LIGAND)
    n = (distance < 1e17).sum()
    return float(level[:n].sum() / n) if n else np.nan


@njit(cache=True)  # type: ignore[untyped-decorator]
def _room(
    cells: NDArray[np.float64], counts: NDArray[np.int64], first_y: int, first_x: int, y: float, x: float, self_y: float, self_x: float
) -> float:
    """Distance (um) of a point from the nearest nucleus but its own, at most _ROOM_UM; negative inside one."""
    best = _ROOM_UM
    row, column = int(np.floor(y / BLOCK_UM)) - first_y, int(np.floor(x / BLOCK_UM)) - first_x
    for i in range(row - 1, row + 2):
        for j in range(column - 1, column + 2):
            for k in range(counts[i, j]):
                other = cells[i, j, k]
                if abs(other[Y] - y) > 14.0 or abs(other[X] - x) > 14.0 or (other[Y] == self_y and other[X] == self_x):
                    continue
                best = min(best, segment_distance(y, x, other) - other[MINOR])
    return best


@njit(cache=True)  # type: ignore[untyped-decorator]
def _grow_branch(
    cells: NDArray[np.float64],
    counts: NDArray[np.int64],
    first_y: int,
    first_x: int,
    cell: NDArray[np.float64],
    key: np.uint64,
    start: tuple[float, float, float, float],
    number: int,
    length_um: float,
    segments: NDArray[np.float64],
    n: int,
) -> int:
    """Append a branch's segments (y0, x0, y1, x1, half-width at both ends): a wandering path that keeps between the nuclei."""
    y, x, heading, width = start
    steps = int(length_um / _STEP_UM)
    for step in range(steps):
        best, best_heading = -1e9, heading
        for option in range(-3, 4):
            turn = 0.3 * option
            ny, nx = y + _STEP_UM * np.sin(heading + turn), x + _STEP_UM * np.cos(heading + turn)
            room = _room(cells, counts, first_y, first_x, ny, nx, cell[Y], cell[X])
            score = room - 0.35 * abs(turn) + 0.5 * uniform(key, 5000 + 1000 * number + 10 * step + option)
            if score > best:
                best, best_heading = score, heading + turn
        heading = best_heading
        ny, nx = y + _STEP_UM * np.sin(heading), x + _STEP_UM * np.cos(heading)
        away = (ny - cell[Y]) ** 2 + (nx - cell[X]) ** 2
        if best < -0.9 or away > BRANCH_REACH_UM * BRANCH_REACH_UM or n == segments.shape[0]:
            break
        share = (step + 1.0) / steps
        next_width = max(0.38, width * (1.0 - 0.55 * share))
        swell = 1.0 + 0.5 * max(0.0, normal(key, 5000 + 100 * number + step))
        segments[n, 0], segments[n, 1], segments[n, 2], segments[n, 3] = y, x, ny, nx
        segments[n, 4] = width if step == 0 else segments[n - 1, 5]
        segments[n, 5] = next_width * swell
        n += 1
        y, x = ny, nx
    return n


@njit(cache=True)  # type: ignore[untyped-decorator]
def _branches_of(
    cells: NDArray[np.float64],
    counts: NDArray[np.int64],
    first_y: int,
    first_x: int,
    cell: NDArray[np.float64],
    key: np.uint64,
    segments: NDArray[np.float64],
) -> int:
    n = 0
    number = 0
    primaries = 2 + int(4.0 * uniform(key, 50))
    turn = 2.0 * np.pi * uniform(key, 51)
    for branch in range(primaries):
        heading = turn + (branch + 0.5 * (uniform(key, 60 + branch) - 0.5)) * 2.0 * np.pi / primaries
        length = 6.0 + min(20.0, 9.0 * np.exp(0.5 * normal(key, 70 + branch)))
        width = 1.1 + 0.7 * uniform(key, 80 + branch)
        start = n
        n = _grow_branch(cells, counts, first_y, first_x, cell, key, (cell[Y], cell[X], heading, width), number, length, segments, n)
        number += 1
        if n - start > 6 and uniform(key, 90 + branch) < 0.6:
            middle = start + 4 + int((n - start - 5) * uniform(key, 100 + branch))
            side = 0.8 if uniform(key, 110 + branch) < 0.5 else -0.8
            y, x = segments[middle, 2], segments[middle, 3]
            along = np.arctan2(y - segments[middle, 0], x - segments[middle, 1])
            n = _grow_branch(cells, counts, first_y, first_x, cell, key, (y, x, along + side, 0.65), number, 0.6 * length, segments, n)
            number += 1
    return n


@njit(cache=True)  # type: ignore[untyped-decorator]
def _describe(
    cells: NDArray[np.float64],
    counts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    first_y: int,
    first_x: int,
    levels: Levels,
    margin: int,
    blocks_x: int,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.uint64],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int64],
]:
    height, width = counts.shape
    total = counts[margin : height - margin, margin : width - margin].sum()
    geometry = np.empty((total, N_COLUMNS))
    out_keys = np.empty(total, np.uint64)
    ids = np.empty(total, np.int64)
    ligand, response, exposure = np.empty(total), np.empty(total), np.full(total, np.nan)
    segments = np.empty((256, 6))
    pieces = np.empty((1024, 6))
    owner = np.empty(1024, np.int64)
    n_pieces = 0
    n = 0
    for row in range(margin, height - margin):
        for column in range(margin, width - margin):
            for k in range(counts[row, column]):
                cell, key = cells[row, column, k], keys[row, column, k]
                y, x = cell[Y], cell[X]
                geometry[n] = cell
                out_keys[n] = key
                ids[n] = ((row + first_y + 8) * blocks_x + column + first_x + 8) * CAPACITY + k + 1
                ligand[n] = _level(levels.ligand, levels, y, x, key, _KEY_LIGAND)
                response[n] = _level(levels.response, levels, y, x, key, _KEY_RESPONSE)
                if cell[KIND] == MYELOID:
                    exposure[n] = _exposure(levels, cells, counts, keys, row, column, y, x)
                    if not np.isnan(exposure[n]):
                        response[n] += levels.effect * exposure[n]
                    m = _branches_of(cells, counts, first_y, first_x, cell, key, segments)
                    while n_pieces + m > pieces.shape[0]:
                        more = np.empty((2 * pieces.shape[0], 6))
                        more[:n_pieces] = pieces[:n_pieces]
                        pieces = more
                        more_owner = np.empty(2 * owner.shape[0], np.int64)
                        more_owner[:n_pieces] = owner[:n_pieces]
                        owner = more_owner
                    pieces[n_pieces : n_pieces + m] = segments[:m]
                    owner[n_pieces : n_pieces + m] = n
                    n_pieces += m
                n += 1
    return geometry, out_keys, ids, ligand, response, exposure, pieces[:n_pieces].copy(), owner[:n_pieces].copy()


def blocks_across(options: SimulationOptions) -> int:
    """Blocks in a row of the id grid: the slide's width in blocks and eight to spare on either side."""
    return int(np.ceil(options.size[1] * options.pixel_size_um / BLOCK_UM)) + 16


def describe(options: SimulationOptions, population: Population, levels: Levels) -> Cells:
    """The cells of a population less NEIGHBOUR_REACH blocks at its borders, in the order of their blocks.

    The id of a cell is `((block y + 8) * blocks_across + block x + 8) * 64 + place in the block + 1`: the same in every window.
    """
    return Cells(*_describe(*population, levels, NEIGHBOUR_REACH, blocks_across(options)))
