"""The package's own filters against scipy's, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from ifquant.geometry import filters


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    ("sigma", "radius"), [(0.6, 2), (0.3, 1), (0.55, None), (3.3, None), (12.0, None)]
)
def test_gaussian_has_the_bits_of_scipys(dtype: type, sigma: float, radius: int | None) -> None:
    values = (np.random.default_rng(0).random((83, 61)) * 100_000).astype(dtype)
    how = {"truncate": 3.0} if radius is None else {"radius": radius}
    expected = ndi.gaussian_filter(values.astype(np.float32), sigma, mode="nearest", **how)
    np.testing.assert_array_equal(filters.gaussian(values, sigma, radius), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 2), (0, 7)])
def test_gaussian_of_small_images(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).random(shape, np.float32)
    expected = ndi.gaussian_filter(values, 2.0, truncate=3.0, mode="nearest")
    np.testing.assert_array_equal(filters.gaussian(values, 2.0), expected)


@pytest.mark.parametrize("shape", [(60, 81), (1, 1), (3, 50), (40, 2)])
@pytest.mark.parametrize("radius", [1, 4, 16, 30])
def test_opening_is_the_mean_of_the_smallest(shape: tuple[int, int], radius: int) -> None:
    values = np.random.default_rng(radius).integers(-4000, 28_000, shape).astype(np.int16)
    lowest = ndi.minimum_filter(values, 2 * radius + 1, mode="nearest").astype(np.int64)
    area = ndi.convolve(
        np.ones(shape, np.int64), np.ones((2 * radius + 1,) * 2, np.int64), mode="constant"
    )
    sums = ndi.convolve(lowest, np.ones((2 * radius + 1,) * 2, np.int64), mode="constant")
    np.testing.assert_array_equal(filters.opened(values, radius), sums // area)
