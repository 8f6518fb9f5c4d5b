"""Where cells sit: tissue regions from smooth fields, and nuclei thrown into blocks until they are
as crowded as tissue.

Blocks are filled in four colors, like a chessboard of four: a block of a later color sees the
finished blocks of earlier colors around it, and blocks of one color never touch. So what stands in
a block depends on blocks at most three away, and on nothing else: any window of an unbounded tissue
can be made alone and fits its neighbours without a seam.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtri

from ifquant.simulation.options import (
    BLOCK_UM,
    LYMPHOCYTE,
    MYELOID,
    STROMA,
    TUMOR,
    SimulationOptions,
)
from ifquant.simulation.random_fields import (
    Field,
    Rectangle,
    field_at,
    key_of,
    make_field,
    normal,
    uniform,
)

Blocks = tuple[int, int, int, int]
"""First and last block in y and x: the blocks [y0, y1) x [x0, x1)."""
CAPACITY = 64
"""Most cells in one block of 32 x 32 um (16 um2 each; the smallest nucleus covers about 20)."""
TRIES = 150
"""Nuclei thrown at each block."""
OVERLAP_TRIES = 50
"""Only among the first so many of them may a nucleus overlap others: later ones would fit nowhere
else and pile up."""
COLOR_REACH = 3
"""A block depends on blocks at most this many away."""

Y, X, MAJOR, MINOR, COS, SIN, BEND, GAP, KIND, IN_PLANE, REACH = range(11)
"""Columns of a cell: center (um), semi-axes (um), direction of the major axis, bend (1/um), gap to
others (um), class index, whether its nucleus lies in the section, and how far from the center
anything of it may reach (um)."""
N_COLUMNS = 11

_PLACE, _NEST, _LOBE, _FOLLICLE, _HOLE, _FLOW_Y, _FLOW_X, _CROWD = range(1, 9)


class Tissue(NamedTuple):
    """The fields that decide what grows where, and their thresholds."""

    nest: Field
    lobe: Field
    follicle: Field
    hole: Field
    flow_y: Field
    flow_x: Field
    crowd: Field
    nest_level: float
    follicle_level: float
    hole_level: float
    crowding: float
    overlap: float
    myeloid: float
    without_nucleus: float


class Population(NamedTuple):
    """Cells of a rectangle of blocks: `cells` (blocks y, blocks x, CAPACITY, columns), how many
    each block holds, and their keys.
    """

    cells: NDArray[np.float64]
    counts: NDArray[np.int64]
    keys: NDArray[np.uint64]
    first_y: int
    first_x: int


def _level_above(share: float) -> float:
    """Threshold that a standard normal field exceeds on this share of the area."""
    return float(ndtri(1 - min(max(share, 1e-9), 1 - 1e-9)))


def make_tissue(options: SimulationOptions, rectangle: Rectangle) -> Tissue:
    """Make the tissue's fields, good inside a rectangle."""
    y0, x0, y1, x1 = rectangle
    wide = (y0 - 8, x0 - 8, y1 + 8, x1 + 8)

    def field(purpose: int, range_um: float) -> Field:
        return make_field(options.seed, purpose, range_um, wide)

    return Tissue(
        field(_NEST, options.nest_range_um),
        field(_LOBE, 0.3 * options.nest_range_um),
        field(_FOLLICLE, 90.0),
        field(_HOLE, 30.0),
        field(_FLOW_Y, 90.0),
        field(_FLOW_X, 90.0),
        field(_CROWD, 30.0),
        _level_above(options.nest_fraction),
        _level_above(options.follicle_fraction),
        _level_above(options.hole_fraction),
        options.crowding,
        options.overlap,
        options.myeloid_fraction,
        options.without_nucleus,
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def nest_at(tissue: Tissue, y: float, x: float) -> float:
    """How far inside a tumor nest a point lies: positive inside, about 1 per `nest_range_um`."""
    return float(
        0.9 * field_at(tissue.nest, y, x) + 0.436 * field_at(tissue.lobe, y, x) - tissue.nest_level
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def flow_at(tissue: Tissue, y: float, x: float) -> float:
    """Direction of fibres (radians, from x towards y): along nests' borders, else wandering."""
    step = 3.0
    gy = field_at(tissue.nest, y + step, x) - field_at(tissue.nest, y - step, x)
    gx = field_at(tissue.nest, y, x + step) - field_at(tissue.nest, y, x - step)
    scale = tissue.nest.spacing_um / (2.0 * step)
    vy = 1.2 * gx * scale + 0.55 * field_at(tissue.flow_y, y, x)
    vx = -1.2 * gy * scale + 0.55 * field_at(tissue.flow_x, y, x)
    return float(np.arctan2(vy, vx))


@njit(cache=True)  # type: ignore[untyped-decorator]
def segment_distance(y: float, x: float, cell: NDArray[np.float64]) -> float:
    """Distance (um) of a point from the middle line of a nucleus."""
    half = cell[MAJOR] - cell[MINOR]
    dy, dx = y - cell[Y], x - cell[X]
    along = min(max(dx * cell[COS] + dy * cell[SIN], -half), half)
    ey, ex = dy - along * cell[SIN], dx - along * cell[COS]
    return float(np.sqrt(ey * ey + ex * ex))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _line_gap(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """Distance (um) between the middle lines of two nuclei, from their ends and centers.

    Lines that cross get the distance of the nearest end, which is small then.
    """
    best = 1e9
    for side in range(-1, 2):
        a, b = side * (one[MAJOR] - one[MINOR]), side * (two[MAJOR] - two[MINOR])
        best = min(best, segment_distance(one[Y] + a * one[SIN], one[X] + a * one[COS], two))
        best = min(best, segment_distance(two[Y] + b * two[SIN], two[X] + b * two[COS], one))
    return best


@njit(cache=True)  # type: ignore[untyped-decorator]
def draw_kind(tissue: Tissue, y: float, x: float, key: np.uint64) -> int:
    """Draw the class of a cell thrown at a point, or -1 where nothing grows."""
    if field_at(tissue.hole, y, x) > tissue.hole_level:
        return -1
    nest, pick, myeloid = nest_at(tissue, y, x), uniform(key, 3), tissue.myeloid
    if nest > 0.02:
        if pick < 0.030 * myeloid:
            return MYELOID
        return LYMPHOCYTE if pick > 0.992 else TUMOR
    if nest > -0.02:
        return -1
    if field_at(tissue.follicle, y, x) > tissue.follicle_level:
        if pick < 0.035 * myeloid:
            return MYELOID
        return STROMA if pick > 0.98 else LYMPHOCYTE
    rim = np.exp(nest / 0.35)
    if pick < (0.015 + 0.017 * rim) * myeloid:
        return MYELOID
    loose = np.exp(0.45 * field_at(tissue.crowd, y, x))
    edge = 0.029 + 0.039 * loose
    if pick < edge:
        return STROMA
    return LYMPHOCYTE if pick < edge + 0.026 + 0.034 * rim else -1


@njit(cache=True)  # type: ignore[untyped-decorator]
def draw_shape(tissue: Tissue, kind: int, key: np.uint64, cell: NDArray[np.float64]) -> None:
    """Size, direction and spacing of a nucleus whose place is known."""
    angle = np.pi * uniform(key, 4)
    bend = 0.0
    crowd = field_at(tissue.crowd, cell[Y], cell[X])
    if kind == TUMOR:
        radius = 4.2 * np.exp(0.18 * normal(key, 0) - 0.04 * crowd)
        aspect = 1.05 + 0.6 * uniform(key, 5) ** 1.3
        gap = 2.3 * np.exp(0.38 * normal(key, 1) - 0.55 * crowd)
        reach = 9.5
    elif kind == MYELOID:
        radius = 3.7 * np.exp(0.15 * normal(key, 0))
        aspect = 1.25 + 0.7 * uniform(key, 5)
        gap = 1.0
        bend = 0.07 * uniform(key, 6)
        reach = 24.0
    elif kind == LYMPHOCYTE:
        radius = 2.95 * np.exp(0.09 * normal(key, 0))
        aspect = 1.0 + 0.25 * uniform(key, 5) ** 2
        gap = 1.0 * np.exp(0.5 * normal(key, 1))
        reach = 2.0
    else:
        radius = 3.15 * np.exp(0.16 * normal(key, 0))
        aspect = 1.7 + 2.4 * uniform(key, 5)
        gap = 1.0
        angle = flow_at(tissue, cell[Y], cell[X]) + 0.22 * normal(key, 2)
        bend = 0.05 * (uniform(key, 6) - 0.5)
        reach = 12.0
    radius = min(max(radius, 2.2), 6.5)
    aspect = min(aspect, 4.5)
    root = np.sqrt(aspect)
    if uniform(key, 7) < tissue.overlap:
        gap = -radius * (0.1 + 0.65 * uniform(key, 8))
    cell[MAJOR], cell[MINOR] = radius * root, radius / root
    cell[COS], cell[SIN], cell[BEND] = np.cos(angle), np.sin(angle), bend
    cell[GAP] = gap / tissue.crowding if gap > 0 else gap
    cell[KIND] = kind
    cell[IN_PLANE] = 0.0 if kind <= MYELOID and uniform(key, 9) < tissue.without_nucleus else 1.0
    cell[REACH] = cell[MAJOR] * (1.5 if kind != STROMA else 1.2) + reach


@njit(cache=True)  # type: ignore[untyped-decorator]
def _fits(
    cell: NDArray[np.float64],
    cells: NDArray[np.float64],
    counts: NDArray[np.int64],
    row: int,
    column: int,
) -> bool:
    """Whether a cell keeps its gap to the cells of its block and of the blocks around it."""
    for i in range(max(row - 1, 0), min(row + 2, counts.shape[0])):
        for j in range(max(column - 1, 0), min(column + 2, counts.shape[1])):
            for k in range(counts[i, j]):
                other = cells[i, j, k]
                gap = min(cell[GAP], other[GAP])
                if gap > 0.0:
                    gap = 0.5 * (cell[GAP] + other[GAP])
                need = cell[MINOR] + other[MINOR] + gap
                far = cell[MAJOR] + other[MAJOR] + gap
                dy, dx = cell[Y] - other[Y], cell[X] - other[X]
                square = dy * dy + dx * dx
                if square >= far * far:
                    continue
                if square < 0.3 * need * need or _line_gap(cell, other) < need:
                    return False
    return True


@njit(cache=True)  # type: ignore[untyped-decorator]
def _fill(seed: np.uint64, tissue: Tissue, blocks: Blocks) -> Population:
    """Throw cells into the blocks, color by color."""
    first_y, first_x, last_y, last_x = blocks
    height, width = last_y - first_y, last_x - first_x
    cells = np.zeros((height, width, CAPACITY, N_COLUMNS))
    counts = np.zeros((height, width), np.int64)
    keys = np.zeros((height, width, CAPACITY), np.uint64)
    cell = np.zeros(N_COLUMNS)
    for color in range(4):
        for row in range(height):
            for column in range(width):
                block_y, block_x = first_y + row, first_x + column
                if (block_y & 1) * 2 + (block_x & 1) != color:
                    continue
                for attempt in range(TRIES):
                    key = key_of(seed, _PLACE, block_y, block_x, attempt)
                    cell[Y] = (block_y + uniform(key, 0)) * BLOCK_UM
                    cell[X] = (block_x + uniform(key, 1)) * BLOCK_UM
                    kind = draw_kind(tissue, cell[Y], cell[X], key)
                    if kind < 0:
                        continue
                    draw_shape(tissue, kind, key, cell)
                    if attempt >= OVERLAP_TRIES and cell[GAP] < 0.0:
                        continue
                    if _fits(cell, cells, counts, row, column):
                        k = counts[row, column]
                        cells[row, column, k] = cell
                        keys[row, column, k] = key
                        counts[row, column] = k + 1
                        if k + 1 == CAPACITY:
                            break
    return Population(cells, counts, keys, first_y, first_x)


def populate(options: SimulationOptions, tissue: Tissue, blocks: Blocks) -> Population:
    """Place the cells of blocks; `tissue` must cover them grown by COLOR_REACH blocks."""
    r = COLOR_REACH
    y0, x0, y1, x1 = blocks
    wide = _fill(np.uint64(options.seed), tissue, (y0 - r, x0 - r, y1 + r, x1 + r))
    cells, counts, keys = (array[r:-r, r:-r].copy() for array in wide[:3])
    return Population(cells, counts, keys, y0, x0)
