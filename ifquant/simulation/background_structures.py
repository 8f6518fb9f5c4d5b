"""What is not a cell of the truth: collagen fibres, debris, nuclei out of focus, and the grain that
textures everything.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ifquant.simulation.cell_places import (
    KIND,
    N_COLUMNS,
    Tissue,
    X,
    Y,
    _draw_kind,
    _draw_shape,
    flow_at,
    nest_at,
)
from ifquant.simulation.options import BLOCK_UM, STROMA
from ifquant.simulation.place_random import _coefficients, field_at, key_of, normal, uniform

GRAIN_SIDE_PX = 512
"""The grain repeats after this many px; each nucleus reads it at a place of its own."""

_GRAIN, _FIBRE, _DEBRIS, _SOFT = 61, 62, 63, 64


@lru_cache(maxsize=8)
def grain(seed: int, pixel_size_um: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two periodic noise tiles of variance 1: fine (about 0.5 um) and coarse (about 1.2 um). Do not
    write to them.
    """
    tiles = []
    for number, (narrow_um, wide_um) in enumerate(((0.36, 1.1), (0.95, 3.0))):
        noise = _coefficients(
            np.uint64(seed), _GRAIN + 100 * number, 0, 0, GRAIN_SIDE_PX, GRAIN_SIDE_PX
        )
        band = gaussian_filter(noise, narrow_um / pixel_size_um, mode="wrap") - gaussian_filter(
            noise, wide_um / pixel_size_um, mode="wrap"
        )
        tile = (band / band.std()).astype(np.float32)
        tile.flags.writeable = False
        tiles.append(tile)
    return tiles[0], tiles[1]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _add_line(
    image: NDArray[np.float32],
    y0: int,
    x0: int,
    pixel_um: float,
    line: tuple[float, float, float, float],
    sigma: float,
    light: float,
) -> None:
    """Raise `image` to a soft line's light (maximum, so that joints do not show)."""
    ay, ax, by, bx = line
    box = 2.5 * sigma
    dy, dx = by - ay, bx - ax
    square = dy * dy + dx * dx + 1e-12
    for row in range(
        max(int((min(ay, by) - box) / pixel_um) - y0, 0),
        min(int((max(ay, by) + box) / pixel_um) + 1 - y0, image.shape[0]),
    ):
        for column in range(
            max(int((min(ax, bx) - box) / pixel_um) - x0, 0),
            min(int((max(ax, bx) + box) / pixel_um) + 1 - x0, image.shape[1]),
        ):
            y, x = (y0 + row + 0.5) * pixel_um - ay, (x0 + column + 0.5) * pixel_um - ax
            t = min(max((y * dy + x * dx) / square, 0.0), 1.0)
            gap = (y - t * dy) ** 2 + (x - t * dx) ** 2
            value = light * np.exp(-0.5 * gap / (sigma * sigma))
            if value > image[row, column]:
                image[row, column] = value


@njit(cache=True)  # type: ignore[untyped-decorator]
def paint_fibres(
    seed: np.uint64,
    tissue: Tissue,
    blocks: tuple[int, int, int, int],
    y0: int,
    x0: int,
    pixel_um: float,
    image: NDArray[np.float32],
) -> None:
    """Collagen fibres of the stroma, along the flow of the tissue; each stays within 30 um of its
    block.
    """
    for block_y in range(blocks[0], blocks[2]):
        for block_x in range(blocks[1], blocks[3]):
            for number in range(14):
                key = key_of(seed, _FIBRE, block_y, block_x, number)
                y, x = (
                    (block_y + uniform(key, 0)) * BLOCK_UM,
                    (block_x + uniform(key, 1)) * BLOCK_UM,
                )
                light = 0.55 * np.exp(0.7 * normal(key, 0))
                sigma = 0.35 + 0.9 * uniform(key, 2) ** 2
                steps = 3 + int(6 * uniform(key, 3))
                offset = 0.25 * normal(key, 1)
                for _ in range(steps):
                    if (
                        nest_at(tissue, y, x) > -0.03
                        or field_at(tissue.hole, y, x) > tissue.hole_level
                    ):
                        break
                    angle = flow_at(tissue, y, x) + offset
                    ny, nx = y + 3.0 * np.sin(angle), x + 3.0 * np.cos(angle)
                    _add_line(image, y0, x0, pixel_um, (y, x, ny, nx), sigma, light)
                    y, x = ny, nx


@njit(cache=True)  # type: ignore[untyped-decorator]
def paint_debris(
    seed: np.uint64,
    blocks: tuple[int, int, int, int],
    y0: int,
    x0: int,
    pixel_um: float,
    image: NDArray[np.float32],
) -> None:
    """Specks: clumps of antibody in one or two channels, and fragments of dead nuclei in DAPI.
    `image` is (C, Y, X).
    """
    for block_y in range(blocks[0], blocks[2]):
        for block_x in range(blocks[1], blocks[3]):
            for number in range(2):
                key = key_of(seed, _DEBRIS, block_y, block_x, number)
                nuclear = uniform(key, 0) < 0.16
                if not nuclear and uniform(key, 1) > 0.30:
                    continue
                y, x = (
                    (block_y + uniform(key, 2)) * BLOCK_UM,
                    (block_x + uniform(key, 3)) * BLOCK_UM,
                )
                channel = 0 if nuclear else 1 + int(4.0 * uniform(key, 4))
                pieces = 1 + int(3.0 * uniform(key, 5) ** 2) if nuclear else 1
                for piece in range(pieces):
                    sigma = (
                        0.35 + 0.65 * uniform(key, 6 + piece)
                        if nuclear
                        else 0.2 + 0.35 * uniform(key, 6) ** 2
                    )
                    light = (0.9 if nuclear else 0.7) * np.exp(0.6 * normal(key, piece))
                    py, px = y + 1.2 * normal(key, 10 + piece), x + 1.2 * normal(key, 20 + piece)
                    _add_line(
                        image[channel],
                        y0,
                        x0,
                        pixel_um,
                        (py, px, py + 0.5 * sigma, px + sigma * normal(key, 30)),
                        sigma,
                        light,
                    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def soft_nuclei(
    seed: np.uint64, tissue: Tissue, blocks: tuple[int, int, int, int], frequency: float
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Nuclei out of focus: as many again as would grow there, thrown without regard to each
    other.
    """
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
                y, x = (
                    (block_y + uniform(key, 0)) * BLOCK_UM,
                    (block_x + uniform(key, 1)) * BLOCK_UM,
                )
                kind = _draw_kind(tissue, y, x, key)
                if kind < 0:
                    if uniform(key, 21) > 0.25 or field_at(tissue.hole, y, x) > tissue.hole_level:
                        continue
                    kind = STROMA
                geometry[n, Y], geometry[n, X] = y, x
                _draw_shape(tissue, kind, key, geometry[n])
                geometry[n, KIND] = kind
                keys[n] = key
                n += 1
    return geometry[:n], keys[:n]
