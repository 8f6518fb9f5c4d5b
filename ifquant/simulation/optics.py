"""From light to counts: uneven illumination, blur, haze, bleed-through, noise and digitisation."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ifquant.simulation.options import SimulationOptions
from ifquant.simulation.random_fields import PixelGrid, field_on_pixels, key_of, make_field, mix

OFFSET = 100.0
"""Counts of the camera without light."""
FULL = 4095
"""Largest count (12 bits)."""
BLEED = np.array(
    [
        [0.000, 0.010, 0.004, 0.000, 0.000],
        [0.012, 0.000, 0.015, 0.004, 0.000],
        [0.000, 0.020, 0.000, 0.012, 0.003],
        [0.000, 0.004, 0.025, 0.000, 0.015],
        [0.000, 0.000, 0.004, 0.025, 0.000],
    ]
)
"""Share of the light of a channel (column) that another one (row) sees: neighbours in the spectrum,
more to the red than to the blue."""
BLUR_BY_CHANNEL = (1.15, 1.0, 0.95, 0.95, 1.0)
HAZE_UM = 3.0
FIELD_OF_VIEW_PX = 1000
"""A slide is stitched from fields of view of this side; each is darker in its corners."""

_LIGHT, _NOISE = 81, 82
_STEP = 4  # haze is blurred on means of 4 x 4 px
_TRUNCATE = 3.0


def reach_px(options: SimulationOptions) -> int:
    """How far outside a window its pixels look (px), a multiple of 4."""
    blur = int(_TRUNCATE * 1.15 * options.blur_um / options.pixel_size_um + 0.5) + 1
    haze = _STEP * (int(_TRUNCATE * HAZE_UM / options.pixel_size_um / _STEP + 0.5) + 3)
    return -(-max(blur, haze) // _STEP) * _STEP + _STEP


def _coarse(light: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    total = np.zeros((light.shape[0] // _STEP, light.shape[1] // _STEP), np.float32)
    for dy in range(_STEP):
        for dx in range(_STEP):
            total += light[dy::_STEP, dx::_STEP]
    return np.asarray(gaussian_filter(total / np.float32(_STEP * _STEP), sigma, truncate=_TRUNCATE))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _shine(
    light: NDArray[np.float32],
    coarse: NDArray[np.float32],
    haze: float,
    lamp: NDArray[np.float32],
    depth: float,
    grid: PixelGrid,
) -> None:
    """Mix in the haze (bilinear between its 4 x 4 cells) and shade fields of view, in place."""
    half = FIELD_OF_VIEW_PX / 2
    for row in range(grid.height):
        v = (row + 0.5) / _STEP - 0.5
        i = min(max(int(np.floor(v)), 0), coarse.shape[0] - 2)
        t = min(max(v - i, 0.0), 1.0)
        fy = ((grid.y0 + row) % FIELD_OF_VIEW_PX - half) / half
        for column in range(grid.width):
            u = (column + 0.5) / _STEP - 0.5
            j = min(max(int(np.floor(u)), 0), coarse.shape[1] - 2)
            s = min(max(u - j, 0.0), 1.0)
            fx = ((grid.x0 + column) % FIELD_OF_VIEW_PX - half) / half
            above = (1.0 - s) * coarse[i, j] + s * coarse[i, j + 1]
            below = (1.0 - s) * coarse[i + 1, j] + s * coarse[i + 1, j + 1]
            glow = (1.0 - t) * above + t * below
            shade = 1.0 + depth * (0.35 * lamp[row, column] - 0.3 * (fy * fy + fx * fx) * 0.5)
            light[row, column] = ((1.0 - haze) * light[row, column] + haze * glow) * shade


@njit(cache=True)  # type: ignore[untyped-decorator]
def _digitise(
    light: NDArray[np.float32],
    matrix: NDArray[np.float64],
    seed: np.uint64,
    grid: PixelGrid,
    shot: float,
    read: float,
) -> NDArray[np.uint16]:
    """Mix the channels, add noise, digitise. The noise of a pixel is a sum of four 16-bit parts of
    its hash: normal within 4 sd.
    """
    channels = light.shape[0]
    result = np.empty((channels, grid.height, grid.width), np.uint16)
    low = np.uint64(0xFFFF)
    for row in range(grid.height):
        row_key = key_of(seed, _NOISE, grid.y0 + row, 0, 0)
        for column in range(grid.width):
            key = mix(row_key ^ np.uint64(np.int64(grid.x0 + column)))
            for channel in range(channels):
                value = 0.0
                for other in range(channels):
                    value += matrix[channel, other] * light[other, row, column]
                key = mix(key)
                lower = (key & low) + ((key >> np.uint64(16)) & low)
                total = float(lower + ((key >> np.uint64(32)) & low) + (key >> np.uint64(48)))
                unit = (total / 65536.0 - 2.0) * 1.7320508075688772
                noisy = OFFSET + value + unit * np.sqrt(shot * max(value, 0.0) + read * read)
                counts = min(max(np.floor(noisy + 0.5), 0.0), float(FULL))
                result[channel, row, column] = np.uint16(counts)
    return result


def illumination(channel: int, grid: PixelGrid, options: SimulationOptions) -> NDArray[np.float32]:
    """Slow unevenness of the lamp in one channel over a window (Y, X)."""
    y0, x0, pixel = grid.y0, grid.x0, grid.pixel_um
    rectangle = (y0 * pixel, x0 * pixel, (y0 + grid.height) * pixel, (x0 + grid.width) * pixel)
    field = make_field(options.seed, _LIGHT + 10 * channel, 350.0, rectangle)
    return field_on_pixels(field, grid)


def through_lens(
    light: NDArray[np.float32],
    channel: int,
    lamp: NDArray[np.float32],
    grid: PixelGrid,
    options: SimulationOptions,
) -> NDArray[np.float32]:
    """Blur one channel's light (Y, X), add its haze and darken it as `lamp` and the field of view
    do; linear in the light.
    """
    coarse = _coarse(light, HAZE_UM / grid.pixel_um / _STEP)
    blurred = np.empty_like(light)
    sigma = BLUR_BY_CHANNEL[channel] * options.blur_um / grid.pixel_um
    gaussian_filter(light, sigma, output=blurred, truncate=_TRUNCATE)
    _shine(blurred, coarse, options.haze, lamp, options.uneven, grid)
    return blurred


def crosstalk(options: SimulationOptions) -> NDArray[np.float64]:
    """Share of the light of each channel (column) that each channel (row) records."""
    return np.asarray(np.eye(len(BLEED)) + options.bleed * BLEED)


def camera(
    light: NDArray[np.float32],
    matrix: NDArray[np.float64],
    seed: int,
    grid: PixelGrid,
    options: SimulationOptions,
) -> NDArray[np.uint16]:
    """Mix the channels by `matrix`, add noise and digitise: counts (C, Y, X)."""
    shot, read = options.shot_noise, options.read_noise
    return np.asarray(_digitise(light, matrix, np.uint64(seed), grid, shot, read))


def expose(
    light: NDArray[np.float32], grid: PixelGrid, options: SimulationOptions
) -> NDArray[np.uint16]:
    """Turn a window of light into counts (C, Y, X).

    Its first pixel and its shape are multiples of 4 px; a rim of `reach_px` is not valid.
    """
    blurred = np.empty_like(light)
    for channel in range(light.shape[0]):
        lamp = illumination(channel, grid, options)
        blurred[channel] = through_lens(light[channel], channel, lamp, grid, options)
    return camera(blurred, crosstalk(options), options.seed, grid, options)
