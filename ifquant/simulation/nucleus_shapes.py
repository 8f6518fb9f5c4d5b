"""The pixels of nuclei: outline, chromatin, rim and nucleoli, in focus or not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulation.background_structures import Grain
from ifquant.simulation.cell_placement import BEND, COS, IN_PLANE, KIND, MAJOR, MINOR, SIN, X, Y
from ifquant.simulation.options import LYMPHOCYTE
from ifquant.simulation.random_fields import PixelGrid, normal, uniform

NUCLEUS_SIGNAL = np.array([0.95, 0.97, 1.25, 1.12])
"""Typical DAPI brightness of a nucleus by class: small dense lymphocytes are the brightest
(breast_mif)."""


class _Nucleus(NamedTuple):
    """How one nucleus looks: brightness, softness of its edge (um), grain, tilt, outline, nucleoli.

    `wave` holds the cosine and sine parts of four waves of the outline, `nucleoli` their places (in
    semi-axes) and size; `shift_y` and `shift_x` are the place in the grain.
    """

    kind: int
    blurred: bool
    light: float
    edge_um: float
    fine: float
    coarse: float
    tilt_y: float
    tilt_x: float
    shift_y: int
    shift_x: int
    wave: NDArray[np.float64]
    nucleoli: NDArray[np.float64]


@njit(cache=True)  # type: ignore[untyped-decorator]
def pixel_box(
    y0: float, x0: float, y1: float, x1: float, grid: PixelGrid
) -> tuple[int, int, int, int]:
    """Rows and columns of a rectangle (um) in a grid: top, bottom, left, right."""
    return (
        max(int(np.floor(y0 / grid.pixel_um)) - grid.y0, 0),
        min(int(np.ceil(y1 / grid.pixel_um)) - grid.y0, grid.height),
        max(int(np.floor(x0 / grid.pixel_um)) - grid.x0, 0),
        min(int(np.ceil(x1 / grid.pixel_um)) - grid.x0, grid.width),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def along_across(cell: NDArray[np.float64], y: float, x: float) -> tuple[float, float]:
    """Place (um) relative to a cell's center, along its bent major axis and across it."""
    along = x * cell[COS] + y * cell[SIN]
    bend = cell[BEND] * (along * along - 0.3 * cell[MAJOR] * cell[MAJOR])
    return along, y * cell[COS] - x * cell[SIN] + bend


@njit(cache=True)  # type: ignore[untyped-decorator]
def _contour(u: float, v: float, wave: NDArray[np.float64]) -> float:
    """Radius of a nucleus' outline in the direction (u, v) of its unit circle: 1 plus four waves,
    without a call of a sine.
    """
    length = np.sqrt(u * u + v * v)
    if length < 1e-9:
        return 1.0
    c, s = u / length, v / length
    radius = 1.0
    ck, sk = c, s
    for k in range(4):
        ck, sk = ck * c - sk * s, sk * c + ck * s
        radius += wave[k, 0] * ck + wave[k, 1] * sk
    return radius


@njit(cache=True)  # type: ignore[untyped-decorator]
def _draw_nucleus(
    kind: int, key: np.uint64, blurred: bool, grain_px: int, pixel_um: float
) -> _Nucleus:
    """Draw how a nucleus looks."""
    wave = np.empty((4, 2))
    rough = 1.0 if kind != LYMPHOCYTE else 0.6
    for k in range(4):
        wave[k, 0] = rough * 0.075 / (1.0 + 0.8 * k) * normal(key, 200 + 2 * k)
        wave[k, 1] = rough * 0.075 / (1.0 + 0.8 * k) * normal(key, 201 + 2 * k)
    light = NUCLEUS_SIGNAL[kind] * np.exp(0.21 * normal(key, 210))
    if blurred:
        light *= 0.08 + 0.42 * uniform(key, 31) ** 1.5
        edge_um = 1.2 + 2.2 * uniform(key, 32)
    else:
        light *= 1.0 - 0.55 * max(0.0, uniform(key, 34) - 0.9) / 0.1
        edge_um = 0.35 + 0.5 * uniform(key, 30) ** 2
    nucleoli = np.empty((int(3.2 * uniform(key, 37)), 3))
    for k in range(nucleoli.shape[0]):
        nucleoli[k, 0] = 0.6 * (uniform(key, 120 + k) - 0.5) * 2.0
        nucleoli[k, 1] = 0.6 * (uniform(key, 123 + k) - 0.5) * 2.0
        nucleoli[k, 2] = (0.35 + 0.35 * uniform(key, 126 + k)) / pixel_um * 0.5
    return _Nucleus(
        kind,
        blurred,
        light,
        edge_um,
        (0.14, 0.16, 0.19, 0.13)[kind],
        (0.14, 0.14, 0.17, 0.11)[kind],
        0.12 * normal(key, 220),
        0.12 * normal(key, 221),
        int(uniform(key, 35) * grain_px),
        int(uniform(key, 36) * grain_px),
        wave,
        nucleoli,
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def _nucleus_at(
    nucleus: _Nucleus, cell: NDArray[np.float64], y: float, x: float, grain: tuple[float, float]
) -> tuple[float, float]:
    """Light of a nucleus at a place (um from its center), and how deep inside that is.

    Depth is the share of the radius: 1 on the outline; infinite where there is no light. `grain` is
    the fine and coarse grain there.
    """
    major, minor = cell[MAJOR], cell[MINOR]
    along, across = along_across(cell, y, x)
    u, v = along / major, across / minor
    if u * u + v * v > 9.0 + 40.0 * nucleus.blurred:
        return 0.0, np.inf
    rho = np.sqrt(u * u + v * v) / max(_contour(u, v, nucleus.wave), 0.4)
    depth = (1.0 - rho) * minor
    if rho >= 1e-6:
        square = u * u * minor * minor / (major * major) + v * v + 1e-12
        depth *= np.sqrt((u * u + v * v) / square)
    cover = min(0.5 + 0.5 * depth / nucleus.edge_um, 1.0)
    if cover <= 0.0:
        return 0.0, np.inf
    value = 1.0 + nucleus.tilt_y * u + nucleus.tilt_x * v
    if not nucleus.blurred:
        value += nucleus.fine * grain[0] + nucleus.coarse * grain[1]
        if nucleus.kind != LYMPHOCYTE:
            value += 0.22 * np.exp(-((rho - 0.86) ** 2) / 0.012) - 0.08
            for k in range(nucleus.nucleoli.shape[0]):
                dy, dx, size = nucleus.nucleoli[k]
                gap = (u - dy) ** 2 * major * major + (v - dx) ** 2 * minor * minor
                value -= 0.45 * np.exp(-0.5 * (gap / (size * size)))
    smooth = cover * cover * (3.0 - 2.0 * cover)
    return nucleus.light * smooth * max(value, 0.12), rho


@njit(cache=True)  # type: ignore[untyped-decorator]
def _paint_nuclei(
    geometry: NDArray[np.float64],
    keys: NDArray[np.uint64],
    soft: bool,
    grid: PixelGrid,
    grain: Grain,
    dapi: NDArray[np.float32],
    owner: NDArray[np.int32],
) -> None:
    side = grain.fine.shape[0]
    nearness = np.full(owner.shape, np.inf, np.float32)
    for n in range(geometry.shape[0]):
        cell, key = geometry[n], keys[n]
        blurred = soft or cell[IN_PLANE] <= 0.5
        reach = 1.35 * cell[MAJOR] + (8.0 if blurred else 1.5)
        top, bottom, left, right = pixel_box(
            cell[Y] - reach, cell[X] - reach, cell[Y] + reach, cell[X] + reach, grid
        )
        if top >= bottom or left >= right:
            continue
        if blurred and not soft and uniform(key, 33) < 0.4:
            continue
        nucleus = _draw_nucleus(int(cell[KIND]), key, blurred, side, grid.pixel_um)
        for row in range(top, bottom):
            y = (grid.y0 + row + 0.5) * grid.pixel_um - cell[Y]
            ty = (row + grid.y0 + nucleus.shift_y) % side
            for column in range(left, right):
                x = (grid.x0 + column + 0.5) * grid.pixel_um - cell[X]
                tx = (column + grid.x0 + nucleus.shift_x) % side
                here = grain.fine[ty, tx], grain.coarse[ty, tx]
                light, rho = _nucleus_at(nucleus, cell, y, x, here)
                if light > 0.0:
                    dapi[row, column] += light
                if not blurred and rho <= 1.0 and rho < nearness[row, column]:
                    nearness[row, column] = rho
                    owner[row, column] = n + 1


def paint_nuclei(
    geometry: NDArray[np.float64],
    keys: NDArray[np.uint64],
    grid: PixelGrid,
    grain: Grain,
    dapi: NDArray[np.float32],
    *,
    out_of_focus: bool = False,
) -> NDArray[np.int32]:
    """Add the light of nuclei to `dapi`; return which row (+1) owns each pixel, in focus only.

    Overlapping nuclei add their light; the pixel belongs to the nucleus in whose outline it lies
    deepest (as a share of its radius), which cuts an overlap along the line an annotator would
    draw.
    """
    owner = np.zeros(grid.shape, np.int32)
    _paint_nuclei(geometry, keys, out_of_focus, grid, grain, dapi, owner)
    return owner
