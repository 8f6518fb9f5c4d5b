"""Cores partition every image exactly once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window, cores


@given(st.integers(1, 700), st.integers(1, 700), st.integers(64, 400))
def test_cores_cover_each_pixel_once(height: int, width: int, tile: int) -> None:
    count = np.zeros((height, width), np.uint8)
    whole = Window(0, 0, height, width)
    for core in cores((height, width), tile):
        count[core.slices_in(whole)] += 1
    assert (count == 1).all()


def test_cores_refuses_tiny_tiles() -> None:
    with pytest.raises(RequestError, match="at least 64"):
        cores((100, 100), 10)


def test_grown_is_clipped_and_indexes_its_core() -> None:
    core = Window(0, 90, 50, 100)
    grown = core.grown(20, (60, 100))
    assert grown == Window(0, 70, 60, 100)
    image = np.arange(6000).reshape(60, 100)
    part = image[grown.slices_in(Window(0, 0, 60, 100))]
    assert (part[core.slices_in(grown)] == image[0:50, 90:100]).all()


def test_intersection_of_distant_windows_is_empty() -> None:
    assert Window(0, 0, 5, 5).intersection(Window(10, 10, 20, 20)).size_px == 0


def test_contains_is_half_open() -> None:
    window = Window(2, 3, 5, 6)
    assert window.contains(2, 3)
    assert not window.contains(5, 3)
    assert not window.contains(2, 6)
