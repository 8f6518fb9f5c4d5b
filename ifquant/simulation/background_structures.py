"""What is not a cell of the truth: collagen fibres, debris, nuclei out of focus, and the grain that
textures everything.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ifquant.simulation.cell_placement import (
    N_COLUMNS,
    Blocks,
    Tissue,
    X,
    Y,
    draw_kind,
    draw_shape,
    flow_at,
    nest_at,
)
from ifquant.simulation.options import BLOCK_UM, STROMA
from ifquant.simulation.random_fields import (
    PixelGrid,
    field_at,
    key_of,
    normal,
    normal_lattice,
    uniform,
)

GRAIN_SIDE_PX = 512
"""The grain repeats after this many px; each nucleus reads it at a place of its own."""

_GRAIN, _FIBRE, _DEBRIS, _SOFT = 61, 62, 63, 64


class Grain(NamedTuple):
    """Two periodic noise tiles of variance 1: fine (about 0.5 um) and coarse (about 1.2 um)."""

    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]


@lru_cache(maxsize=8)
def grain_of(seed: int, pixel_um: float) -> Grain:
    """Make the grain of a slide; its tiles cannot be written to."""
    tiles = []
    for number, (narrow_um, wide_um) in enumerate(((0.36, 1.1), (0.95, 3.0))):
        purpose = _GRAIN + 100 * number
        noise = normal_lattice(np.uint64(seed), purpose, 0, 0, GRAIN_SIDE_PX, GRAIN_SIDE_PX)
        narrow = gaussian_filter(noise, narrow_um / pixel_um, mode="wrap")
        band = narrow - gaussian_filter(noise, wide_um / pixel_um, mode="wrap")
        tile = (band / band.std()).astype(np.float32)
        tile.flags.writeable = False
        tiles.append(tile)
    return Grain(*tiles)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _add_line(
    image: NDArray[np.float32],
    grid: PixelGrid,
    line: tuple[float, float, float, float],
    sigma: float,
    light: float,
) -> None:
    """Raise `image` to a soft line's light (maximum, so that joints do not show)."""
    ay, ax, by, bx = line
    box, pixel_um = 2.5 * sigma, grid.pixel_um
    dy, dx = by - ay, bx - ax
    square = dy * dy + dx * dx + 1e-12
    top = max(int((min(ay, by) - box) / pixel_um) - grid.y0, 0)
    bottom = min(int((max(ay, by) + box) / pixel_um) + 1 - grid.y0, grid.height)
    left = max(int((min(ax, bx) - box) / pixel_um) - grid.x0, 0)
    right = min(int((max(ax, bx) + box) / pixel_um) + 1 - grid.x0, grid.width)
    for row in range(top, bottom):
        for column in range(left, right):
            y = (grid.y0 + row + 0.5) * pixel_um - ay
            x = (grid.x0 + column + 0.5) * pixel_um - ax
            t = min(max((y * dy + x * dx) / square, 0.0), 1.0)
            gap = (y - t * dy) ** 2 + (x - t * dx) ** 2
            value = light * np.exp(-0.5 * gap / (sigma * sigma))
            if value > image[row, column]:
                image[row, column] = value


@njit(cache=True)  # type: ignore[untyped-decorator]
def _place_in(key: np.uint64, block_y: int, block_x: int, which: int) -> tuple[float, float]:
    """Draw a place (um) in a block, by the numbers `which` and `which` + 1 of a key."""
    y = (block_y + uniform(key, which)) * BLOCK_UM
    return y, (block_x + uniform(key, which + 1)) * BLOCK_UM


@njit(cache=True)  # type: ignore[untyped-decorator]
def paint_fibres(
    seed: np.uint64, tissue: Tissue, blocks: Blocks, grid: PixelGrid, image: NDArray[np.float32]
) -> None:
    """Collagen fibres of the stroma, along the flow of the tissue; within 30 um of their block."""
    for block_y in range(blocks[0], blocks[2]):
        for block_x in range(blocks[1], blocks[3]):
            for number in range(14):
                key = key_of(seed, _FIBRE, block_y, block_x, number)
                y, x = _place_in(key, block_y, block_x, 0)
                light = 0.55 * np.exp(0.7 * normal(key, 0))
                sigma = 0.35 + 0.9 * uniform(key, 2) ** 2
                steps = 3 + int(6 * uniform(key, 3))
                offset = 0.25 * normal(key, 1)
                for _ in range(steps):
                    if nest_at(tissue, y, x) > -0.03:
                        break
                    if field_at(tissue.hole, y, x) > tissue.hole_level:
                        break
                    angle = flow_at(tissue, y, x) + offset
                    ny, nx = y + 3.0 * np.sin(angle), x + 3.0 * np.cos(angle)
                    _add_line(image, grid, (y, x, ny, nx), sigma, light)
                    y, x = ny, nx


@njit(cache=True)  # type: ignore[untyped-decorator]
def paint_debris(
    seed: np.uint64, blocks: Blocks, grid: PixelGrid, image: NDArray[np.float32]
) -> None:
    """Specks: clumps of antibody in one channel, and fragments of dead nuclei in DAPI.

    `image` is (C, Y, X).
    """
    for block_y in range(blocks[0], blocks[2]):
        for block_x in range(blocks[1], blocks[3]):
            for number in range(2):
                key = key_of(seed, _DEBRIS, block_y, block_x, number)
                nuclear = uniform(key, 0) < 0.16
                if not nuclear and uniform(key, 1) > 0.30:
                    continue
                y, x = _place_in(key, block_y, block_x, 2)
                channel = 0 if nuclear else 1 + int(4.0 * uniform(key, 4))
                fragments = 1 + int(3.0 * uniform(key, 5) ** 2) if nuclear else 1
                for k in range(fragments):
                    if nuclear:
                        sigma = 0.35 + 0.65 * uniform(key, 6 + k)
                    else:
                        sigma = 0.2 + 0.35 * uniform(key, 6) ** 2
                    light = (0.9 if nuclear else 0.7) * np.exp(0.6 * normal(key, k))
                    ay, ax = y + 1.2 * normal(key, 10 + k), x + 1.2 * normal(key, 20 + k)
                    line = (ay, ax, ay + 0.5 * sigma, ax + sigma * normal(key, 30))
                    _add_line(image[channel], grid, line, sigma, light)


@njit(cache=True)  # type: ignore[untyped-decorator]
def soft_nuclei(
    seed: np.uint64, tissue: Tissue, blocks: Blocks, frequency: float
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Nuclei out of focus, thrown without regard to each other: their columns and keys."""
    tries = 7
    most = (blocks[2] - blocks[0]) * (blocks[3] - blocks[1]) * tries
    geometry, keys = np.empty((most, N_COLUMNS)), np.empty(most, np.uint64)
    n = 0
    for block_y in range(blocks[0], blocks[2]):
        for block_x in range(blocks[1], blocks[3]):
            for number in range(tries):
                key = key_of(seed, _SOFT, block_y, block_x, number)
                if uniform(key, 20) > 0.55 * frequency:
                    continue
                y, x = _place_in(key, block_y, block_x, 0)
                kind = draw_kind(tissue, y, x, key)
                if kind < 0:
                    if uniform(key, 21) > 0.25 or field_at(tissue.hole, y, x) > tissue.hole_level:
                        continue
                    kind = STROMA
                geometry[n, Y], geometry[n, X] = y, x
                draw_shape(tissue, kind, key, geometry[n])
                keys[n] = key
                n += 1
    return geometry[:n], keys[:n]
