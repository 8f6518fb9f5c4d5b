"""The rule for objects that two windows of a lattice saw: hand-derived cases, and the same answer
for any wanted window.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuclei_phantom import phantom
from numpy.typing import NDArray
from scipy import ndimage as ndi

from ifquant.geometry.windows import Window, cores
from ifquant.nuclei.cellpose import CellposeSegmenter
from ifquant.nuclei.lattice_seams import HOPS, WindowObjects, resolve

WHOLE = Window(0, 0, 40, 80)
LEFT = Window(0, 0, 40, 40)
RIGHT = Window(0, 40, 40, 80)
Box = tuple[int, int, int, int]


def windows(left: list[Box], right: list[Box]) -> list[WindowObjects]:
    """Two cores side by side, both seeing everything, each with its rectangles (y0, x0, y1, x1)."""
    found = []
    for core, boxes in ((LEFT, left), (RIGHT, right)):
        labels = np.zeros(WHOLE.shape, np.int32)
        for number, (y0, x0, y1, x1) in enumerate(boxes, 1):
            labels[y0:y1, x0:x1] = number
        found.append(WindowObjects(core, WHOLE, labels))
    return found


def resolved(left: list[Box], right: list[Box], min_area: int = 1) -> tuple[list[Box], list[bool]]:
    labels, seams = resolve(windows(left, right), WHOLE, min_area)
    boxes = [(y.start, x.start, y.stop, x.stop) for y, x in ndi.find_objects(labels)]
    for number, (y0, x0, y1, x1) in enumerate(boxes, 1):
        assert (labels[y0:y1, x0:x1] == number).all(), "expected rectangles"
    return boxes, seams[1:].tolist()


def test_an_object_that_both_see_alike_belongs_to_the_owner_of_its_anchor() -> None:
    assert resolved([(5, 35, 15, 45)], [(5, 35, 15, 45)]) == ([(5, 35, 15, 45)], [False])
    # a pixel column of difference: the owner's shape stands, the windows still agree
    assert resolved([(5, 35, 15, 45)], [(5, 36, 15, 46)]) == ([(5, 35, 15, 45)], [False])


def test_an_object_that_both_own_stays_once_and_is_marked() -> None:
    """The left window puts its anchor at x = 39, the right one at x = 40: each owns its version;
    the earlier anchor stays.
    """
    assert resolved([(5, 39, 15, 49)], [(5, 40, 15, 49)]) == ([(5, 39, 15, 49)], [True])
    assert resolved([(6, 39, 15, 49)], [(5, 40, 15, 49)]) == ([(5, 40, 15, 49)], [True])


def test_an_object_that_nobody_owns_is_adopted_once() -> None:
    """Left: anchor at x = 40, so the right window's. Right: anchor at x = 39, so the left window's.
    Nobody owns it.
    """
    boxes, seams = resolved([], [(5, 39, 15, 49)])
    assert (boxes, seams) == ([(5, 39, 15, 49)], [True])
    # both report a version that is the other's: the earlier anchor is adopted
    odd = np.zeros(WHOLE.shape, np.int32)
    odd[5, 41] = odd[6:15, 36:46] = 1  # anchor in the right core, pixels in the left one
    odd[5, 40:46] = 1
    right = np.zeros(WHOLE.shape, np.int32)
    right[6:15, 38:47] = 1
    labels, marks = resolve(
        [WindowObjects(LEFT, WHOLE, odd), WindowObjects(RIGHT, WHOLE, right)], WHOLE, 1
    )
    assert labels.max() == 1
    assert np.array_equal(labels > 0, odd > 0)
    assert marks.tolist() == [False, True]


def test_one_window_merges_what_the_other_splits() -> None:
    """Left owns a nucleus and sees its neighbour; right sees both as one object, which it does not
    own: the left window's two stay.
    """
    boxes, seams = resolved([(5, 32, 15, 41), (5, 41, 15, 50)], [(5, 32, 15, 50)])
    # the second of the left window has its anchor in the right core and no pixel in the left one:
    # it would not have been reported; here it was, and is adopted because the merged object gave
    # way to the owned first one
    assert boxes == [(5, 32, 15, 41), (5, 41, 15, 50)]
    assert seams == [True, True]


def test_small_overlaps_go_to_the_earlier_anchor_and_the_other_is_trimmed() -> None:
    labels, seams = resolve(windows([(5, 30, 15, 42)], [(6, 40, 16, 52)]), WHOLE, 1)
    expected = np.zeros(WHOLE.shape, np.int32)
    expected[6:16, 40:52] = 2
    expected[5:15, 30:42] = 1
    np.testing.assert_array_equal(labels, expected)
    assert seams.tolist() == [
        False,
        True,
        True,
    ]  # the first reaches into the right core, where nobody saw it


@pytest.mark.parametrize("min_area", [1, 30])
def test_what_is_left_of_a_trimmed_object_is_one_piece(min_area: int) -> None:
    """A bar of the left window cuts a column of the right one in two; the larger piece stays if it
    is large enough.
    """
    labels, seams = resolve(windows([(20, 30, 23, 60)], [(21 - 11, 44, 31, 47)]), WHOLE, min_area)
    column = labels == labels[12, 45]
    assert labels[12, 45] > 0
    assert column.sum() == 21 * 3  # the column has the earlier anchor: it is whole
    assert not seams[labels[12, 45]]
    bar = (labels > 0) & ~column
    assert bar.sum() == (3 * 14 if min_area <= 42 else 0)
    assert bar[:, :44].sum() == bar.sum()


def seen(truth: NDArray[np.int32], core: Window, window: Window, seed: int) -> NDArray[np.int32]:
    """What an unreliable window sees: shapes shifted by a pixel, some nuclei missing, some merged
    with a neighbour.
    """
    rng = np.random.default_rng([seed, core.y0, core.x0])
    labels = truth[window.y0 : window.y1, window.x0 : window.x1].copy()
    number = rng.permutation(truth.max() + 1)[:8]
    labels[np.isin(labels, number)] = 0
    for _ in range(6):
        touching = np.argwhere(
            (labels[:, 1:] > 0) & (labels[:, :-1] > 0) & (labels[:, 1:] != labels[:, :-1])
        )
        if len(touching):
            y, x = touching[rng.integers(len(touching))]
            labels[labels == labels[y, x]] = labels[y, x + 1]
    return np.roll(labels, rng.integers(-1, 2, 2), axis=(0, 1))


LARGEST = 48
SEGMENTER = CellposeSegmenter("", "", (), 18, LARGEST, 20, 0.0, 0.4, 100, LARGEST + 16)


@settings(max_examples=6, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 150),
    st.integers(0, 150),
    st.integers(60, 200),
    st.integers(60, 200),
)
def test_any_wanted_window_gives_the_same_objects(
    seed: int, y: int, x: int, height: int, width: int
) -> None:
    shape = (300, 300)
    _, truth = phantom(seed, shape, diameter_px=18, crowding=0.5)
    lattice, overlap = 100, LARGEST + 16

    def found(wanted: Window) -> list[WindowObjects]:
        near = wanted.grown(HOPS * LARGEST + overlap, shape)
        result = []
        for core in cores(shape, lattice):
            if core.intersection(near).size_px:
                window = core.grown(overlap, shape)
                masks = seen(truth, core, window, seed)
                objects = SEGMENTER.whole_objects(masks, core, window, shape)
                result.append(WindowObjects(core, window, objects))
        return result

    whole_image = Window(0, 0, *shape)
    everything, marks = resolve(found(whole_image), whole_image, 20)
    assert ndi.label(everything > 0)[1] <= everything.max()
    assert marks.any()
    assert not marks.all()
    wanted = Window(y, x, min(y + height, 300), min(x + width, 300))
    labels, seams = resolve(found(wanted), wanted, 20)
    part = everything[y : wanted.y1, x : wanted.x1]
    edge = np.unique(np.concatenate([part[0], part[-1], part[:, 0], part[:, -1]]))
    for number in np.setdiff1d(np.unique(part), edge):
        mine = np.unique(labels[part == number])
        assert len(mine) == 1
        assert mine[0] > 0
        assert ((labels == mine[0]) == (part == number)).all()
        assert seams[mine[0]] == marks[number]


@given(st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_windows_that_agree_leave_no_trace(seed: int) -> None:
    """All windows see the truth: every nucleus once, whole, none marked. Cut at the lattice
    instead, they would not be (the control).
    """
    shape = (300, 300)
    _, truth = phantom(seed, shape, diameter_px=18, crowding=0.4)
    whole = Window(0, 0, *shape)
    expected = SEGMENTER.whole_objects(truth, whole, whole, shape)
    found = []
    cut = np.zeros(shape, np.int32)
    for i, core in enumerate(cores(shape, 100)):
        window = core.grown(LARGEST + 16, shape)
        labels = truth[window.y0 : window.y1, window.x0 : window.x1]
        objects = SEGMENTER.whole_objects(labels, core, window, shape)
        found.append(WindowObjects(core, window, objects))
        inner = truth[core.y0 : core.y1, core.x0 : core.x1]
        cut[core.y0 : core.y1, core.x0 : core.x1] = np.where(inner > 0, inner + i * 1000, 0)
    labels, marks = resolve(found, whole, 20)
    np.testing.assert_array_equal(labels, expected)
    assert not marks.any()
    assert len(np.unique(cut)) - 1 > labels.max()
