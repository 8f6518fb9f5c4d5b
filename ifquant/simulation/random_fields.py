"""Randomness that depends on a place, never on an order: hashes of (seed, purpose, place), and
smooth random fields made of them.

A window of a slide can be rendered alone only if each random number is a function of what it is
for. So there is no generator with a state: the numbers are SplitMix64 hashes (Steele, Lea and Flood
2014, OOPSLA), and a smooth field is a cubic B-spline whose coefficients are normal numbers hashed
from their lattice node.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Rectangle = tuple[float, float, float, float]
"""First and last y and x of a part of the tissue: y0, x0, y1, x1 (um)."""
RANGE_PER_SPACING = 1.155
"""Distance, in lattice spacings, at which a B-spline field's correlation is 1/e (the spline's
autocorrelation has variance 2/3)."""


class PixelGrid(NamedTuple):
    """Pixels of a window: the first one's place on the slide (px), their number and their size."""

    y0: int
    x0: int
    height: int
    width: int
    pixel_um: float

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width (px)."""
        return self.height, self.width


class Field(NamedTuple):
    """A smooth random field of mean 0 and variance 1, good inside the rectangle it was made for."""

    coefficients: NDArray[np.float64]
    first_y: int
    first_x: int
    spacing_um: float


@njit(cache=True)  # type: ignore[untyped-decorator]
def mix(value: np.uint64) -> np.uint64:
    """One step of SplitMix64."""
    value = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True)  # type: ignore[untyped-decorator]
def key_of(seed: np.uint64, purpose: int, y: int, x: int, index: int) -> np.uint64:
    """Hash of a seed, a purpose and up to three whole numbers, 64 bits."""
    key = mix(np.uint64(seed) ^ mix(np.uint64(np.int64(purpose))))
    key = mix(key ^ np.uint64(np.int64(y)))
    key = mix(key ^ np.uint64(np.int64(x)))
    return np.uint64(mix(key ^ np.uint64(np.int64(index))))


@njit(cache=True)  # type: ignore[untyped-decorator]
def uniform(key: np.uint64, which: int) -> float:
    """Return the `which`-th number in [0, 1) that belongs to a key."""
    number = mix(np.uint64(key) ^ (np.uint64(np.int64(which)) * np.uint64(0xD1342543DE82EF95)))
    return float(number >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True)  # type: ignore[untyped-decorator]
def normal(key: np.uint64, which: int) -> float:
    """Return the `which`-th standard normal number that belongs to a key (Box-Muller)."""
    radius = np.sqrt(-2.0 * np.log(1.0 - uniform(key, 2 * which + 1000)))
    return float(radius * np.cos(2.0 * np.pi * uniform(key, 2 * which + 1001)))


@njit(cache=True)  # type: ignore[untyped-decorator]
def normal_lattice(
    seed: np.uint64, purpose: int, first_y: int, first_x: int, height: int, width: int
) -> NDArray[np.float64]:
    """Draw a standard normal number at each node of a lattice."""
    result = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            result[y, x] = normal(key_of(seed, purpose, first_y + y, first_x + x, 0), 0)
    return result


def make_field(seed: int, purpose: int, range_um: float, rectangle: Rectangle) -> Field:
    """Make a field whose correlation falls to 1/e at `range_um`, for points inside a rectangle."""
    spacing = range_um / RANGE_PER_SPACING
    first_y, first_x = (int(np.floor(edge / spacing)) - 2 for edge in rectangle[:2])
    last_y, last_x = (int(np.floor(edge / spacing)) + 4 for edge in rectangle[2:])
    height, width = last_y - first_y, last_x - first_x
    values = normal_lattice(np.uint64(seed), purpose, first_y, first_x, height, width)
    return Field(values, first_y, first_x, spacing)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _weights(t: float) -> tuple[float, float, float, float, float]:
    """Cubic B-spline weights at phase t in [0, 1), and the root of their sum of squares."""
    s = 1.0 - t
    a, d = s * s * s / 6.0, t * t * t / 6.0
    b = (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0
    c = 1.0 - a - b - d
    return a, b, c, d, np.sqrt(a * a + b * b + c * c + d * d)


@njit(cache=True)  # type: ignore[untyped-decorator]
def field_at(field: Field, y_um: float, x_um: float) -> float:
    """Value of a field at a point (um)."""
    v, u = y_um / field.spacing_um, x_um / field.spacing_um
    row, column = int(np.floor(v)), int(np.floor(u))
    a, b, c, d, norm_y = _weights(v - row)
    e, f, g, h, norm_x = _weights(u - column)
    i, j = row - 1 - field.first_y, column - 1 - field.first_x
    k = field.coefficients
    top = a * (e * k[i, j] + f * k[i, j + 1] + g * k[i, j + 2] + h * k[i, j + 3])
    top += b * (e * k[i + 1, j] + f * k[i + 1, j + 1] + g * k[i + 1, j + 2] + h * k[i + 1, j + 3])
    top += c * (e * k[i + 2, j] + f * k[i + 2, j + 1] + g * k[i + 2, j + 2] + h * k[i + 2, j + 3])
    top += d * (e * k[i + 3, j] + f * k[i + 3, j + 1] + g * k[i + 3, j + 2] + h * k[i + 3, j + 3])
    return float(top / (norm_y * norm_x))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _field_on_pixels(field: Field, grid: PixelGrid) -> NDArray[np.float32]:
    result = np.empty((grid.height, grid.width), np.float32)
    k = field.coefficients
    row_values = np.empty(k.shape[1])
    for y in range(grid.height):
        v = (grid.y0 + y + 0.5) * grid.pixel_um / field.spacing_um
        row = int(np.floor(v))
        a, b, c, d, norm_y = _weights(v - row)
        i = row - 1 - field.first_y
        for j in range(k.shape[1]):
            value = a * k[i, j] + b * k[i + 1, j] + c * k[i + 2, j] + d * k[i + 3, j]
            row_values[j] = value / norm_y
        for x in range(grid.width):
            u = (grid.x0 + x + 0.5) * grid.pixel_um / field.spacing_um
            column = int(np.floor(u))
            e, f, g, h, norm_x = _weights(u - column)
            j = column - 1 - field.first_x
            value = e * row_values[j] + f * row_values[j + 1]
            result[y, x] = (value + g * row_values[j + 2] + h * row_values[j + 3]) / norm_x
    return result


def field_on_pixels(field: Field, grid: PixelGrid) -> NDArray[np.float32]:
    """Values of a field at the centers of a window's pixels, (Y, X) float32."""
    return np.asarray(_field_on_pixels(field, grid))
