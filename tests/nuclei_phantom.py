"""Crowded textured nuclei with known outlines, for tests of segmentation only (`ifquant simulate`
makes tissue).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi


def phantom(
    seed: int,
    shape: tuple[int, int] = (300, 340),
    *,
    diameter_px: float = 14.0,
    crowding: float = 0.55,
    noise: float = 8.0,
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """Image and true labels: ellipses of log-normal size and brightness that may touch, on an
    uneven background.
    """
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.int32)
    light = np.zeros(shape)
    n = round(crowding * shape[0] * shape[1] / (np.pi * diameter_px**2 / 4))
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    label = 0
    for _ in range(3 * n):
        y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        a = diameter_px / 2 * rng.lognormal(0, 0.15) * rng.uniform(1, 1.35)
        b = a / rng.uniform(1, 1.7)
        turn = rng.uniform(0, np.pi)
        box = (
            slice(max(int(y - a) - 1, 0), int(y + a) + 2),
            slice(max(int(x - a) - 1, 0), int(x + a) + 2),
        )
        dy, dx = rows[box[0], None] - y, columns[None, box[1]] - x
        inside = ((dy * np.cos(turn) + dx * np.sin(turn)) / a) ** 2 + (
            (dx * np.cos(turn) - dy * np.sin(turn)) / b
        ) ** 2 <= 1
        if inside.sum() < 20 or (truth[box][inside] > 0).mean() > 0.05:
            continue
        label += 1
        truth[box][inside & (truth[box] == 0)] = label
        light[box][inside] += 400 * rng.lognormal(0, 0.3)
        if label == n:
            break
    texture = 1 + 0.5 * ndi.gaussian_filter(rng.normal(size=shape), diameter_px / 8)
    image = (
        ndi.gaussian_filter(light * texture, diameter_px / 14)
        + 60
        + 40 * np.linspace(0, 1, shape[0])[:, None]
    )
    image = rng.poisson(np.maximum(image, 0)) + rng.normal(0, noise, shape)
    _, compact = np.unique(truth, return_inverse=True)
    return np.clip(image, 0, 65535).astype(np.uint16), compact.reshape(shape).astype(np.int32)
