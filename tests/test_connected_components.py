"""Components of labels, against scipy on random labels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage as ndi

from ifquant.nuclei.connected_components import (
    fill_holes,
    largest_components,
    relabel_without_small,
)


def random_labels(seed: int) -> NDArray[np.int32]:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 30, 2)
    labels = rng.integers(0, rng.integers(2, 4), shape) * (rng.random(shape) < rng.uniform(0.4, 1))
    return np.asarray(np.kron(labels, np.ones((2, 3) if seed % 3 == 0 else (1, 1))), np.int32)


@pytest.mark.parametrize("seed", range(60))
def test_holes_of_one_label_are_filled(seed: int) -> None:
    labels = random_labels(seed)
    expected = labels.copy()
    holes, n = ndi.label(labels == 0)
    for k in range(1, n + 1):
        hole = holes == k
        open_ = hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any()
        around = np.unique(labels[ndi.binary_dilation(hole) & ~hole])
        if not open_ and len(around) == 1:
            expected[hole] = around[0]
    fill_holes(labels)
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("seed", range(30))
def test_the_largest_component_is_kept(seed: int) -> None:
    labels = random_labels(seed)
    out = largest_components(labels)
    for value in range(1, int(labels.max()) + 1):
        components, n = ndi.label(labels == value)
        sizes = np.bincount(components.ravel(), minlength=n + 1)[1:]
        # scipy numbers components in raster order: ties go to the first
        best = components == (int(np.argmax(sizes)) + 1 if n else -1)
        np.testing.assert_array_equal(out == value, best)


def test_small_objects_go_and_numbers_follow_the_raster() -> None:
    labels = np.array([[0, 7, 7, 0], [3, 3, 3, 0], [0, 0, 9, 7]], np.int32)
    assert relabel_without_small(labels, 9, 2) == 2
    assert labels.tolist() == [[0, 1, 1, 0], [2, 2, 2, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1)])
def test_empty_arrays(shape: tuple[int, int]) -> None:
    labels = np.zeros(shape, np.int32)
    fill_holes(labels)
    assert largest_components(labels).shape == shape
    assert relabel_without_small(labels, 0, 1) == 0
