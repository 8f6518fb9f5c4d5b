"""Signed distance to the zero level of a field on a grid, exact below the grid's step, and closing by it.

A level field is positive inside; its outline runs between grid centers where it interpolates to 0. Everything is in grid steps.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float64]
NOWHERE = 1e9
"""Distance where a field has no zero level."""


def signed_distance(level: Field) -> Field:
    """Distance of each grid center to the zero level, negative inside (-/+ `NOWHERE` when all is inside or outside).

    Centers beside the zero level are moved onto it along the gradient. The exact Euclidean feature transform finds for every center the
    nearest of them, and the nearest of the moved points around it gives the distance.
    """
    inside = level > 0
    border = np.zeros(inside.shape, np.bool_)
    rows, columns = np.diff(inside, axis=0), np.diff(inside, axis=1)
    border[:-1] |= rows
    border[1:] |= rows
    border[:, :-1] |= columns
    border[:, 1:] |= columns
    if not border.any():
        return np.where(inside, -NOWHERE, NOWHERE)
    nearest = ndimage.distance_transform_edt(~border, return_distances=False, return_indices=True)
    return np.asarray(_distance_to_feet(np.ascontiguousarray(level, dtype=np.float64), inside, border, nearest))


def closed_level(level: Field, radius: float) -> Field:
    """Close gaps up to twice `radius` wide: the level field of the outline moved out by `radius` and back in.

    The image continues by reflection, so that gaps towards its border close as well.
    """
    pad = [min(int(np.ceil(radius)) + 2, n) for n in level.shape]
    padded = np.pad(level, [(p, p) for p in pad], mode="symmetric")
    back = -radius - signed_distance(radius - signed_distance(padded))
    return np.asarray(back[pad[0] : pad[0] + level.shape[0], pad[1] : pad[1] + level.shape[1]])


@njit(cache=True)
def _slope(here, before, after):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Slope of the field along one axis: towards the zero level where it lies next door, else central."""
    crosses_before, crosses_after = (here > 0) != (before > 0), (here > 0) != (after > 0)
    if crosses_after and (not crosses_before or abs(after - here) >= abs(here - before)):
        return after - here
    if crosses_before:
        return here - before
    return 0.5 * (after - before)


@njit(cache=True)
def _distance_to_feet(level, inside, border, nearest):  # type: ignore[no-untyped-def]  # pragma: no cover
    rows, columns = level.shape
    foot_y, foot_x = np.empty(level.shape, np.float32), np.empty(level.shape, np.float32)
    for row in range(rows):
        for column in range(columns):
            if not border[row, column]:
                continue
            here = level[row, column]
            gy = _slope(here, level[max(row - 1, 0), column], level[min(row + 1, rows - 1), column])
            gx = _slope(here, level[row, max(column - 1, 0)], level[row, min(column + 1, columns - 1)])
            steep = np.sqrt(gy * gy + gx * gx)
            length = min(abs(here) / steep, 1.0) if steep > 0 else 0.0
            scale = length / steep if steep > 0 else 0.0
            if here > 0:
                scale = -scale
            foot_y[row, column] = row + gy * scale
            foot_x[row, column] = column + gx * scale
    field = np.empty(level.shape, np.float64)
    for row in range(rows):
        for column in range(columns):
            r, c = nearest[0, row, column], nearest[1, row, column]
            best = np.inf
            for i in range(max(r - 2, 0), min(r + 3, rows)):
                for j in range(max(c - 2, 0), min(c + 3, columns)):
                    if border[i, j]:
                        best = min(best, (foot_y[i, j] - row) ** 2 + (foot_x[i, j] - column) ** 2)
            field[row, column] = -np.sqrt(best) if inside[row, column] else np.sqrt(best)
    return field
