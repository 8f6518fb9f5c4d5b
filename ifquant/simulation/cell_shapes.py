"""The pixels of nuclei and cells: contours, chromatin, territories, branches.

Every function here works through cells in the order of their blocks and computes a pixel from its
place in the slide, so that a pixel's value is the same in every window that holds it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulation.cell_places import BEND, COS, IN_PLANE, KIND, MAJOR, MINOR, REACH, SIN, X, Y
from ifquant.simulation.cell_states import Cells
from ifquant.simulation.options import LYMPHOCYTE, MYELOID, STROMA, TUMOR
from ifquant.simulation.place_random import normal, uniform

NUCLEUS_SIGNAL = np.array([0.95, 0.97, 1.25, 1.12])
"""Typical DAPI brightness of a nucleus by class: small dense lymphocytes are the brightest
(breast_mif)."""
BORDER_REACH_PX = 4
"""Distances from a cell's border are known up to this many px."""


class Shapes(NamedTuple):
    """Rows of the cell list (+1, 0 = none) that own each pixel, and the light of the nuclei."""

    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    dapi: NDArray[np.float32]


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
def paint_nuclei(
    geometry: NDArray[np.float64],
    keys: NDArray[np.uint64],
    y0: int,
    x0: int,
    pixel_size_um: float,
    texture: NDArray[np.float32],
    coarse: NDArray[np.float32],
    soft: bool,
    owner: NDArray[np.int32],
    nearness: NDArray[np.float32],
    dapi: NDArray[np.float32],
) -> None:
    """Add the light of nuclei to `dapi` and, unless they are `soft` (out of focus), give pixels to
    the nearest one.

    Overlapping nuclei add their light; the pixel belongs to the nucleus in whose outline it lies
    deepest (as a share of its radius), which cuts an overlap along the line an annotator would
    draw.
    """
    height, width = owner.shape
    side = texture.shape[0]
    wave = np.empty((4, 2))
    spots = np.empty((3, 3))
    for n in range(geometry.shape[0]):
        cell, key = geometry[n], keys[n]
        kind, major, minor = int(cell[KIND]), cell[MAJOR], cell[MINOR]
        in_plane = cell[IN_PLANE] > 0.5
        blurred = soft or not in_plane
        box = 1.35 * major + (8.0 if blurred else 1.5)
        top, bottom = (
            max(int(np.floor((cell[Y] - box) / pixel_size_um)) - y0, 0),
            min(int(np.ceil((cell[Y] + box) / pixel_size_um)) - y0, height),
        )
        left, right = (
            max(int(np.floor((cell[X] - box) / pixel_size_um)) - x0, 0),
            min(int(np.ceil((cell[X] + box) / pixel_size_um)) - x0, width),
        )
        if top >= bottom or left >= right:
            continue
        rough = 1.0 if kind != LYMPHOCYTE else 0.6
        for k in range(4):
            wave[k, 0] = rough * 0.075 / (1.0 + 0.8 * k) * normal(key, 200 + 2 * k)
            wave[k, 1] = rough * 0.075 / (1.0 + 0.8 * k) * normal(key, 201 + 2 * k)
        light = NUCLEUS_SIGNAL[kind] * np.exp(0.21 * normal(key, 210))
        edge = 0.35 + 0.5 * uniform(key, 30) ** 2
        if blurred:
            light *= 0.08 + 0.42 * uniform(key, 31) ** 1.5
            edge = 1.2 + 2.2 * uniform(key, 32)
            if not soft and uniform(key, 33) < 0.4:
                continue
        else:
            light *= 1.0 - 0.55 * max(0.0, uniform(key, 34) - 0.9) / 0.1
        grain = (0.14, 0.16, 0.19, 0.13)[kind]
        lumps = (0.14, 0.14, 0.17, 0.11)[kind]
        tilt_y, tilt_x = 0.12 * normal(key, 220), 0.12 * normal(key, 221)
        shift_y, shift_x = int(uniform(key, 35) * side), int(uniform(key, 36) * side)
        n_spots = 0 if blurred or kind == LYMPHOCYTE else int(3.2 * uniform(key, 37))
        for k in range(n_spots):
            spots[k, 0] = 0.6 * (uniform(key, 120 + k) - 0.5) * 2.0
            spots[k, 1] = 0.6 * (uniform(key, 123 + k) - 0.5) * 2.0
            spots[k, 2] = (0.35 + 0.35 * uniform(key, 126 + k)) / pixel_size_um * 0.5
        for row in range(top, bottom):
            y = (y0 + row + 0.5) * pixel_size_um - cell[Y]
            for column in range(left, right):
                x = (x0 + column + 0.5) * pixel_size_um - cell[X]
                along = x * cell[COS] + y * cell[SIN]
                across = (
                    y * cell[COS]
                    - x * cell[SIN]
                    + cell[BEND] * (along * along - 0.3 * major * major)
                )
                u, v = along / major, across / minor
                if u * u + v * v > 9.0 + 40.0 * blurred:
                    continue
                outline = _contour(u, v, wave)
                rho = np.sqrt(u * u + v * v) / max(outline, 0.4)
                depth = (
                    (1.0 - rho)
                    * minor
                    * (
                        1.0
                        if rho < 1e-6
                        else np.sqrt(
                            (u * u + v * v)
                            / (u * u * minor * minor / (major * major) + v * v + 1e-12)
                        )
                    )
                )
                cover = 0.5 + 0.5 * depth / edge
                if cover <= 0.0:
                    continue
                cover = min(cover, 1.0)
                cover = cover * cover * (3.0 - 2.0 * cover)
                ty, tx = (row + y0 + shift_y) % side, (column + x0 + shift_x) % side
                value = 1.0 + tilt_y * u + tilt_x * v
                if not blurred:
                    value += grain * texture[ty, tx] + lumps * coarse[ty, tx]
                    if kind != LYMPHOCYTE:
                        value += 0.22 * np.exp(-((rho - 0.86) ** 2) / 0.012) - 0.08
                    for k in range(n_spots):
                        gap = (
                            (u - spots[k, 0]) ** 2 * major * major
                            + (v - spots[k, 1]) ** 2 * minor * minor
                        ) / (spots[k, 2] * spots[k, 2])
                        value -= 0.45 * np.exp(-0.5 * gap)
                dapi[row, column] += light * cover * max(value, 0.12)
                if not blurred and rho <= 1.0 and rho < nearness[row, column]:
                    nearness[row, column] = rho
                    owner[row, column] = n + 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def paint_cells(
    geometry: NDArray[np.float64],
    keys: NDArray[np.uint64],
    y0: int,
    x0: int,
    pixel_size_um: float,
    nest: NDArray[np.float32],
    warp_y: NDArray[np.float32],
    warp_x: NDArray[np.float32],
    owner: NDArray[np.int32],
    distance: NDArray[np.float32],
) -> None:
    """Give each pixel to the cell whose nucleus is nearest (um, on warped coordinates) and whose
    territory reaches it.
    """
    height, width = owner.shape
    for n in range(geometry.shape[0]):
        cell, key = geometry[n], keys[n]
        kind, major, minor = int(cell[KIND]), cell[MAJOR], cell[MINOR]
        box = min(cell[REACH], 1.2 * major + 10.0) + 2.0
        top, bottom = (
            max(int(np.floor((cell[Y] - box) / pixel_size_um)) - y0, 0),
            min(int(np.ceil((cell[Y] + box) / pixel_size_um)) - y0, height),
        )
        left, right = (
            max(int(np.floor((cell[X] - box) / pixel_size_um)) - x0, 0),
            min(int(np.ceil((cell[X] + box) / pixel_size_um)) - x0, width),
        )
        if top >= bottom or left >= right:
            continue
        half = major - minor
        weight, warp = 0.0, 1.0
        if kind == TUMOR:
            reach, weight = 6.0 + 3.0 * uniform(key, 130), 0.7 * normal(key, 230)
        elif kind == MYELOID:
            reach, warp = 1.6 + 1.6 * uniform(key, 130), 2.2
        elif kind == LYMPHOCYTE:
            reach, warp = 0.7 + 0.6 * uniform(key, 130), 0.5
        else:
            reach = 0.6 + 0.5 * uniform(key, 130)
        tail = major * (1.5 + 0.9 * uniform(key, 131))
        tail = min(tail, cell[REACH])
        for row in range(top, bottom):
            for column in range(left, right):
                if kind == TUMOR and nest[row, column] <= 0.0:
                    continue
                y = (y0 + row + 0.5) * pixel_size_um - cell[Y] + warp * warp_y[row, column]
                x = (x0 + column + 0.5) * pixel_size_um - cell[X] + warp * warp_x[row, column]
                along = x * cell[COS] + y * cell[SIN]
                across = (
                    y * cell[COS]
                    - x * cell[SIN]
                    + cell[BEND] * (along * along - 0.3 * major * major)
                )
                beyond = along - min(max(along, -half), half)
                d = np.sqrt(beyond * beyond + across * across) - minor
                limit = reach
                if kind == STROMA:
                    taper = 1.0 - (along / tail) ** 2
                    if taper > 0.0:
                        d = min(d, abs(across) - (minor + 0.5) * taper + 0.5)
                if d > limit:
                    continue
                d -= weight
                if d < distance[row, column]:
                    distance[row, column] = d
                    owner[row, column] = n + 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def paint_branches(
    segments: NDArray[np.float64],
    owners: NDArray[np.int64],
    y0: int,
    x0: int,
    pixel_size_um: float,
    nuclei: NDArray[np.int32],
    owner: NDArray[np.int32],
    distance: NDArray[np.float32],
) -> None:
    """Give pixels near a branch of a myeloid cell to that cell: over any cytoplasm, under any
    nucleus.
    """
    height, width = owner.shape
    for n in range(segments.shape[0]):
        ay, ax, by, bx, wide, narrow = segments[n]
        box = max(wide, narrow) + pixel_size_um
        top, bottom = (
            max(int(np.floor((min(ay, by) - box) / pixel_size_um)) - y0, 0),
            min(int(np.ceil((max(ay, by) + box) / pixel_size_um)) - y0, height),
        )
        left, right = (
            max(int(np.floor((min(ax, bx) - box) / pixel_size_um)) - x0, 0),
            min(int(np.ceil((max(ax, bx) + box) / pixel_size_um)) - x0, width),
        )
        dy, dx = by - ay, bx - ax
        square = dy * dy + dx * dx
        for row in range(top, bottom):
            y = (y0 + row + 0.5) * pixel_size_um - ay
            for column in range(left, right):
                if nuclei[row, column] != 0:
                    continue
                x = (x0 + column + 0.5) * pixel_size_um - ax
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


def border_distance(owner: NDArray[np.int32]) -> NDArray[np.float32]:
    """Distance (px) from each pixel's center to the nearest pixel of another owner, at most
    BORDER_REACH_PX; 0 outside cells.
    """
    r = BORDER_REACH_PX
    around = [(dy * dy + dx * dx, dy, dx) for dy in range(-r, r + 1) for dx in range(-r, r + 1)]
    offsets = np.array(sorted(place for place in around if 0 < place[0] < r * r), np.int64)
    return np.asarray(_border_distance(owner, offsets, r))


def paint(
    cells: Cells,
    origin_px: tuple[int, int],
    pixel_size_um: float,
    *,
    nest: NDArray[np.float32],
    warp: tuple[NDArray[np.float32], NDArray[np.float32]],
    texture: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> Shapes:
    """Owners of pixels and the light of the nuclei in the window of `nest` whose first pixel is
    `origin_px`.
    """
    shape = nest.shape
    nuclei, nearness = np.zeros(shape, np.int32), np.full(shape, np.inf, np.float32)
    dapi = np.zeros(shape, np.float32)
    y0, x0 = origin_px
    paint_nuclei(
        cells.geometry, cells.keys, y0, x0, pixel_size_um, *texture, False, nuclei, nearness, dapi
    )
    owner, distance = np.zeros(shape, np.int32), np.full(shape, np.inf, np.float32)
    paint_cells(cells.geometry, cells.keys, y0, x0, pixel_size_um, nest, *warp, owner, distance)
    paint_branches(
        cells.branches, cells.branch_owner, y0, x0, pixel_size_um, nuclei, owner, distance
    )
    np.copyto(owner, nuclei, where=nuclei > 0)
    return Shapes(nuclei, owner, dapi)
