"""Lazy arrays give the pixels that the whole array would."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifquant.geometry.windows import Window
from napari_ifquant.classes import Coloring, borders, outline_levels
from napari_ifquant.tiled_array import TILE_PX, TileCache, WindowArray, halved, pyramid, tiled

WHOLE = np.arange(1300 * 900, dtype=np.uint32).reshape(1300, 900)


def lazy() -> WindowArray:
    return WindowArray(WHOLE.shape, WHOLE.dtype, lambda w: WHOLE[w.y0 : w.y1, w.x0 : w.x1])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_window_is_that_of_the_whole(data: st.DataObject) -> None:
    y0, y1 = sorted(data.draw(st.tuples(st.integers(0, 1300), st.integers(0, 1300))))
    x0, x1 = sorted(data.draw(st.tuples(st.integers(0, 900), st.integers(0, 900))))
    step = data.draw(st.integers(1, 3))
    for array in (
        lazy(),
        tiled(WHOLE.shape, WHOLE.dtype, lambda w: WHOLE[w.y0 : w.y1, w.x0 : w.x1], TileCache()),
    ):
        assert np.array_equal(array[y0:y1:step, x0:x1], WHOLE[y0:y1:step, x0:x1])


def test_single_positions_and_ends() -> None:
    array = lazy()
    assert array[5, 7] == WHOLE[5, 7]
    assert array[-1, -1] == WHOLE[-1, -1]
    assert np.array_equal(array[3], WHOLE[3])
    assert np.array_equal(array[..., 4], WHOLE[:, 4])
    assert np.array_equal(np.asarray(array), WHOLE)
    with pytest.raises(IndexError):
        array[1300, 0]
    with pytest.raises(IndexError):
        array[::-1]


def test_a_tile_is_made_once_and_the_cache_stays_below_its_limit() -> None:
    made: list[Window] = []

    def make(window: Window) -> np.ndarray:
        made.append(window)
        return WHOLE[window.y0 : window.y1, window.x0 : window.x1]

    cache = TileCache(limit_bytes=2 * TILE_PX * TILE_PX * 4)
    array = tiled(WHOLE.shape, WHOLE.dtype, make, cache)
    assert np.array_equal(array[:100, :100], WHOLE[:100, :100])
    assert np.array_equal(array[:100, :100], WHOLE[:100, :100])
    assert len(made) == 1
    assert np.array_equal(array[:, :], WHOLE)
    assert cache._bytes <= 2 * TILE_PX * TILE_PX * 4


def test_halved_levels_are_means_of_four() -> None:
    small = halved(lazy())
    assert small.shape == (650, 450)
    mean = WHOLE.reshape(650, 2, 450, 2).mean(axis=(1, 3))
    assert np.array_equal(small[:, :], mean.astype(np.uint32))


def test_a_pyramid_ends_small_and_has_no_gaps() -> None:
    big = WindowArray((40_000, 30_000), np.uint16, lambda w: np.zeros(w.shape, np.uint16))
    far = WindowArray((5_000, 3_750), np.uint16, lambda w: np.zeros(w.shape, np.uint16))
    sizes = [max(level.shape) for level in pyramid([big, far])]
    assert sizes[0] == 40_000
    assert 5_000 in sizes
    assert sizes[-1] <= 1024
    assert all(a / b <= 3 for a, b in pairwise(sizes))


def test_outlines_keep_touching_cells_apart() -> None:
    labels = np.zeros((6, 8), np.uint32)
    labels[1:5, 1:4], labels[1:5, 4:7] = 1, 2
    found = borders(labels)
    assert found[2, 3]
    assert found[2, 4]  # the border between two cells, which one class for both would hide
    assert not found[2, 2]
    assert not found[0].any()


def test_classes_follow_the_codes_at_once() -> None:
    coloring = Coloring(
        ("tumor", "myeloid", "other"), ("#56b4e9", "#f0e442", "#8a8a92"), np.zeros(1, np.uint8)
    )
    ids = np.array([1, 2, 5])
    coloring.set_codes(ids, np.array([0, 1, -1], np.int16), {7: 2})
    labels = np.array([[0, 1, 2], [5, 7, 999]])
    assert coloring.classes(labels).tolist() == [[0, 1, 2], [4, 3, 0]]


def test_outlines_only_where_cells_are_large_enough() -> None:
    area = np.full(10, 100.0)  # um2: 11.3 um across, 22.6 px
    assert outline_levels(area, 0.5) == 2
    assert outline_levels(area, 4.0) == 1
    assert outline_levels(np.zeros(0), 0.5) == 1
