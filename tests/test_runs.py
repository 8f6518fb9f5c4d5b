from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifquant.errors import RequestError
from ifquant.geometry.runs import CellRuns, anchors, concatenate, paint, runs_of
from ifquant.geometry.windows import Window


def random_labels(seed: int, shape: tuple[int, int] = (60, 70), n: int = 25) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for label in range(1, n + 1):
        y, x = rng.integers(0, shape[0] - 2), rng.integers(0, shape[1] - 2)
        h, w = rng.integers(1, 14, 2)
        block = labels[y : y + h, x : x + w]
        block[(block == 0) & (rng.random(block.shape) < 0.85)] = label
    return labels


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), dy=st.integers(0, 40), dx=st.integers(0, 40))
def test_runs_give_the_labels_back_areas_and_boxes(seed: int, dy: int, dx: int) -> None:
    labels = random_labels(seed)
    ids = np.random.default_rng(seed).permutation(25) + 1
    runs = runs_of(labels, ids, (100, 200))
    window = Window(100 + dy, 200 + dx, 160, 270)
    assert np.array_equal(paint(runs, ids, window), labels[dy:, dx:])
    assert np.array_equal(runs.areas_px, np.bincount(labels.ravel(), minlength=26)[ids])
    for k, label in enumerate(ids):
        where = np.argwhere(labels == label)
        if len(where) == 0:
            assert np.array_equal(runs.bounding_boxes[k], [0, 0, 0, 0])
            continue
        expected = np.concatenate((where.min(axis=0), where.max(axis=0) + 1)) + np.array(
            [100, 200, 100, 200]
        )
        assert np.array_equal(runs.bounding_boxes[k], expected)
        mine = runs.take([k])
        assert np.all(np.diff(mine.y.astype(np.int64) * 10_000 + mine.x0) > 0)


def test_take_concatenate_and_shift_agree_with_painting() -> None:
    labels = random_labels(3)
    ids = np.arange(1, 26)
    runs = runs_of(labels, ids)
    chosen = np.isin(ids, [2, 5, 17])
    window = Window(0, 0, 60, 70)
    assert np.array_equal(
        paint(runs.take(chosen), [2, 5, 17], window),
        np.where(np.isin(labels, [2, 5, 17]), labels, 0),
    )
    both = concatenate([runs.take(chosen), runs.take(~chosen)])
    assert np.array_equal(paint(both, np.concatenate((ids[chosen], ids[~chosen])), window), labels)
    moved = paint(runs.shifted(10, -5), ids, Window(10, 0, 70, 65))
    assert np.array_equal(moved, labels[:, 5:])
    assert runs.nbytes == 8 * 26 + 12 * len(runs.y)


def test_tiles_together_paint_the_whole_image() -> None:
    labels = random_labels(9)
    runs = runs_of(labels, np.arange(1, 26))
    pieces = np.zeros_like(labels)
    for y in range(0, 60, 17):
        for x in range(0, 70, 23):
            window = Window(y, x, min(y + 17, 60), min(x + 23, 70))
            pieces[y : window.y1, x : window.x1] = paint(runs, np.arange(1, 26), window)
    assert np.array_equal(pieces, labels)


def test_empty_and_odd_inputs() -> None:
    none = runs_of(np.zeros((5, 6), np.uint32), [])
    assert len(none) == 0
    assert none.areas_px.shape == (0,)
    assert none.bounding_boxes.shape == (0, 4)
    assert not paint(CellRuns.empty(3), [1, 2, 3], Window(0, 0, 4, 4)).any()
    assert len(concatenate([])) == 0
    large = np.zeros((4, 4), np.uint32)
    large[1, 1:3] = 4_000_000_000
    assert runs_of(large, [4_000_000_000]).areas_px.tolist() == [2]
    with pytest.raises(RequestError, match="repeated or 0"):
        runs_of(large, [3, 3])
    with pytest.raises(RequestError, match="one value per object"):
        paint(CellRuns.empty(2), [1], Window(0, 0, 4, 4))


def test_anchors_are_the_first_pixels_in_raster_order() -> None:
    labels = np.array([[0, 0, 1, 0], [2, 1, 1, 3], [2, 0, 3, 3]], np.int32)
    assert anchors(labels).tolist() == [[0, 2], [1, 0], [1, 3]]
    assert anchors(np.zeros((3, 4), np.int32)).shape == (0, 2)
    random = np.random.default_rng(3).integers(0, 5, (40, 30)).astype(np.int32)
    first = [np.argwhere(random == label)[0].tolist() for label in range(1, 5)]
    assert anchors(random).tolist() == first
