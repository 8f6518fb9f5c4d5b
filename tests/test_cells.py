"""The cell model: phantoms with answers worked out by hand, invariants, and independence of the
window.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import ifquant.cells.growth_kernel as growth_kernel
import ifquant.recipe.model as recipe
from ifquant.cells.growth import (
    GROWTH_CLASSES,
    grow_cells,
    numbered_by_anchor,
    reach_px,
    segment_cells,
)
from ifquant.errors import RequestError

UM = 0.5  # um per px
# stained pixels; thresholds are half of it, so that smoothing leaves straight edges where they are
STAIN = 1000
EIGHT = np.ones((3, 3), bool)
OPTIONS = recipe.Cells(
    other_um=2.5, tumor_um=8, myeloid_soma_um=3, myeloid_process_um=15, intrusion_um=1, ring_um=2
)


def grown(
    nuclei,
    tumor=None,
    myeloid=None,
    options=OPTIONS,
    pixel_size_um=UM,
    thresholds=(STAIN / 2, STAIN / 2),
):
    blank = np.zeros(nuclei.shape, np.uint16)
    markers = np.stack([blank if tumor is None else tumor, blank if myeloid is None else myeloid])
    return grow_cells(
        nuclei,
        markers,
        roles=["tumor", "myeloid"],
        thresholds=thresholds,
        pixel_size_um=pixel_size_um,
        options=options,
    )


def square(shape, *centers, half=2):
    """Nuclei of (2 half + 1) px squares."""
    nuclei = np.zeros(shape, np.int32)
    for label, (y, x) in enumerate(centers, 1):
        nuclei[y - half : y + half + 1, x - half : x + half + 1] = label
    return nuclei


def stained(shape, *boxes, value=STAIN):
    image = np.zeros(shape, np.uint16)
    for y0, y1, x0, x1 in boxes:
        image[y0:y1, x0:x1] = value
    return image


def path_length(nuclei):
    """Length in tenths of px of the shortest path of straight (10) and diagonal (14) steps from any
    nucleus pixel.
    """
    y, x = np.mgrid[: nuclei.shape[0], : nuclei.shape[1]]
    best = np.full(nuclei.shape, 10**6)
    for ny, nx in np.argwhere(nuclei):
        dy, dx = abs(y - ny), abs(x - nx)
        best = np.minimum(best, 10 * np.maximum(dy, dx) + 4 * np.minimum(dy, dx))
    return best


def test_unstained_nucleus_is_dilated_by_other_um():
    y, x = np.mgrid[:41, :41]
    nuclei = (np.hypot(y - 20, x - 18) <= 6).astype(np.int32)
    result = grown(nuclei)
    np.testing.assert_array_equal(result.labels, path_length(nuclei) <= 50)  # 2.5 um = 5 px
    true = ndimage.distance_transform_edt(nuclei == 0)
    assert true[result.labels > 0].max() <= 5
    assert (
        true[result.labels == 0].min() > 4.5
    )  # an octagon is within half a pixel of the disc here
    assert result.growth_class.tolist() == [0, 0]
    assert not result.orphan_mask.any()


def test_two_tumor_cells_meet_in_the_middle_and_ties_go_to_the_smaller_label():
    shape = (41, 60)
    for gap, middle in (
        (10, 27),
        (11, 28),
    ):  # free columns between nuclei; last column of the left cell in their rows
        nuclei = square(shape, (20, 20), (20, 20 + 5 + gap))
        result = grown(nuclei, tumor=np.full(shape, STAIN, np.uint16))
        assert result.growth_class.tolist() == [0, 1, 1]
        assert (result.labels[20, : middle + 1] == 1).sum() == middle - (
            18 - 16
        ) + 1  # 16 px to the left, up to the middle
        assert result.labels[20, middle] == 1
        assert result.labels[20, middle + 1] == 2


def test_tumor_cell_stops_at_the_edge_of_its_stain():
    shape = (60, 60)
    nuclei = square(shape, (30, 30))
    result = grown(nuclei, tumor=stained(shape, (0, 60, 0, 40)))
    rows = slice(28, 33)
    assert (result.labels[rows, :40] > 0).sum(1).tolist() == [
        40 - 28 + 16
    ] * 5  # 8 um = 16 px to the left
    assert not result.labels[:, 40:].any()
    # an unstained gap closer than other_um is entered up to other_um
    result = grown(nuclei, tumor=stained(shape, (0, 60, 0, 35)))
    assert (
        34 <= np.flatnonzero(result.labels[30])[-1] <= 32 + 5
    )  # less the cost of crossing the edge


def test_other_cells_enter_tumor_stain_only_so_far():
    shape = (50, 60)
    nuclei = square(shape, (25, 20))
    options = OPTIONS.model_copy(update={"other_um": 5.0})
    for intrusion, deep in ((0.0, 0), (0.5, 0), (1.0, 1), (5.0, 7), (9.0, 7)):
        # 3 free px, then stain from column 26: 10 px in all; each step inside costs other_um /
        # intrusion_um steps
        result = grown(
            nuclei,
            tumor=stained(shape, (0, 50, 26, 60)),
            options=options.model_copy(update={"intrusion_um": intrusion}),
        )
        assert result.growth_class[1] == 0
        assert (result.labels[25, 26:] > 0).sum() == deep
    # a lymphocyte inside a nest is surrounded by stain: 1 um of its own; its nucleus is in a hole
    # of the stain
    tumor = np.full(shape, STAIN, np.uint16)
    tumor[19:32, 14:27] = 0
    result = grown(nuclei, tumor=tumor)
    assert result.growth_class[1] == 0
    assert (result.labels[25] > 0).sum() == 5 + 2 * 4 + 0


def test_myeloid_cell_has_a_soma_and_connected_processes():
    shape = (121, 121)
    nuclei = square(shape, (60, 60))
    arms = [
        (54, 67, 54, 67),
        (57, 64, 5, 60),
        (60, 116, 57, 64),
    ]  # stained soma, an arm to the left, one down
    island = (57, 64, 80, 95)
    myeloid = stained(shape, *arms, island)
    result = grown(nuclei, myeloid=myeloid)
    assert GROWTH_CLASSES[result.growth_class[1]] == "myeloid"
    cell = result.labels == 1
    assert np.flatnonzero(cell[60])[0] == 58 - 36  # soma 3 um + process 15 um = 36 px
    assert np.flatnonzero(cell[:, 60])[-1] == 62 + 36
    assert (
        np.flatnonzero(cell[60])[-1] == 68
    )  # stain ends at 66, but the soma is 6 px all around the nucleus
    assert cell[60 - 2 - 6, 60]
    assert not cell[60 - 2 - 7, 60]
    _, pieces = ndimage.label(cell, EIGHT)
    assert pieces == 1
    # the island and the arm beyond its bound belong to nobody
    assert result.orphan_mask[60, 85]
    assert result.orphan_mask[60, 10]
    assert not (result.orphan_mask & cell).any()


def test_processes_are_not_cut_by_neighbours():
    shape = (81, 121)
    arm = (38, 43, 40, 70)  # 5 px high
    nuclei = square(shape, (40, 40), (46, 55))  # the second nucleus touches the arm from below
    nuclei[:, :][(nuclei == 2)] = 2
    myeloid = stained(shape, (32, 49, 32, 49), arm)
    result = grown(nuclei, myeloid=myeloid)
    assert [GROWTH_CLASSES[k] for k in result.growth_class[1:]] == ["myeloid", "other"]
    assert (result.labels[40, 49:70] == 1).all()
    assert result.labels[46, 60] == 2


def test_myeloid_stain_without_a_nucleus_is_area_unless_a_cell_covers_it():
    shape = (60, 60)
    nuclei = square(shape, (30, 30))
    myeloid = stained(
        shape, (25, 36, 34, 50)
    )  # 2 px right of the nucleus (columns 28-32), not half of its ring
    result = grown(nuclei, myeloid=myeloid)
    assert result.growth_class[1] == 0
    assert (
        np.flatnonzero(result.labels[30])[-1] == 32 + 5
    )  # takes what nobody claims, like unstained tissue
    np.testing.assert_array_equal(np.flatnonzero(result.orphan_mask[30]), np.arange(38, 50))


def test_the_stronger_stain_relative_to_its_threshold_owns_an_overlap():
    shape = (80, 120)
    nuclei = square(shape, (40, 30), (40, 75))
    soma, arm = (32, 49, 22, 39), (37, 44, 30, 60)
    for strength, owner in ((4 * STAIN, 1), (STAIN, 2)):
        tumor = stained(shape, (20, 60, 50, 100), value=2 * STAIN)
        myeloid = stained(shape, soma, arm, value=strength)
        result = grown(nuclei, tumor, myeloid)
        assert [GROWTH_CLASSES[k] for k in result.growth_class[1:]] == ["myeloid", "tumor"]
        assert (result.labels[40, 54:58] == (owner if owner == 1 else 0)).all() or (
            result.labels[40, 57] == owner
        )


def test_walled_in_nucleus_is_judged_on_itself():
    nuclei = np.ones((30, 30), np.int32)
    nuclei[10:20, 10:20] = 2
    result = grown(nuclei, tumor=np.full(nuclei.shape, STAIN, np.uint16))
    assert result.growth_class.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(result.labels, nuclei)


def scene(seed, shape=(150, 170), n=60):
    """Crowded nuclei and patchy stains; nuclei numbered by anchor."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    field = np.zeros(shape, np.int32)
    for cy, cx, r in zip(
        rng.uniform(0, shape[0], n),
        rng.uniform(0, shape[1], n),
        rng.uniform(1.5, 4.5, n),
        strict=True,
    ):
        disc = np.hypot(y - cy, x - cx) <= r
        if not ndimage.binary_dilation(disc, EIGHT)[field > 0].any() or rng.random() < 0.3:
            field[disc & (field == 0)] = field.max() + 1
    pieces = np.zeros(shape, np.int32)
    for label in range(
        1, field.max() + 1
    ):  # an overlap may have cut a nucleus in two: number pieces
        found, count = ndimage.label(field == label, EIGHT)
        pieces[found > 0] = found[found > 0] + pieces.max()
        assert count > 0 or not (field == label).any()
    stains = [ndimage.gaussian_filter(rng.normal(0, 1, shape), s) for s in (7, 2.5, 4)]
    markers = np.stack([np.clip(1000 * s / s.std(), 0, 65535) for s in stains]).astype(np.uint16)
    return numbered_by_anchor(pieces)[0], markers


ROLES, THRESHOLDS = ("tumor", "myeloid", "marker"), (400.0, 600.0, 100.0)
SMALL = recipe.Cells(
    other_um=2,
    tumor_um=4,
    myeloid_soma_um=2,
    myeloid_process_um=5,
    intrusion_um=1,
    ring_um=2,
    min_stained_fraction=0.4,
)


def test_neighbourhood_does_not_depend_on_the_window_given_enough_halo():
    nuclei, markers = scene(1, (230, 260), 160)
    more = {"roles": ROLES, "thresholds": THRESHOLDS, "pixel_size_um": 1.0, "options": SMALL}
    whole = grow_cells(nuclei, markers, **more)
    assert set(whole.growth_class[1:]) == {0, 1, 2}
    assert whole.orphan_mask.any()
    boxes = ndimage.find_objects(nuclei)
    largest = max(max(s.stop - s.start for s in box) for box in boxes)
    rng = np.random.default_rng(0)

    def differing(halo, rounds):
        compared = differences = 0
        for _ in range(rounds):
            y0, x0 = rng.integers(0, 90), rng.integers(0, 90)
            y1, x1 = rng.integers(y0 + 110, 231), rng.integers(x0 + 110, 261)
            window = slice(y0, y1), slice(x0, x1)
            local, names = numbered_by_anchor(nuclei[window])
            part = grow_cells(local, markers[(slice(None), *window)], **more)
            for new, old in enumerate(names[1:], 1):
                (ys, xs) = boxes[old - 1]
                inner = (ys.start - y0 >= halo or y0 == 0, y1 - ys.stop >= halo or y1 == 230)
                inner += (xs.start - x0 >= halo or x0 == 0, x1 - xs.stop >= halo or x1 == 260)
                if all(inner):
                    compared += 1
                    inside = np.zeros_like(nuclei, dtype=bool)
                    inside[window] = part.labels == new
                    same = np.array_equal(inside, whole.labels == old)
                    differences += not (same and part.growth_class[new] == whole.growth_class[old])
        return compared, differences

    compared, differences = differing(reach_px(SMALL, 1.0, max_nucleus_um=largest), 25)
    assert compared > 100
    assert differences == 0
    assert differing(2, 6)[1] > 0  # the control: too small a halo


@pytest.mark.parametrize("seed", [2, 4])  # in 4 leftovers go on behind the border of a block
def test_blocks_do_not_show(monkeypatch, seed):
    nuclei, markers = scene(seed)
    more = {"roles": ROLES, "thresholds": THRESHOLDS, "pixel_size_um": 0.5, "options": OPTIONS}
    whole = grow_cells(nuclei, markers, **more)
    monkeypatch.setattr(growth_kernel, "BLOCK_PX", 23)
    monkeypatch.setattr(growth_kernel, "BLOCK_REACHES", 0)
    blocks = grow_cells(nuclei, markers, **more)
    np.testing.assert_array_equal(whole.labels, blocks.labels)
    np.testing.assert_array_equal(whole.orphan_mask, blocks.orphan_mask)


def test_only_roles_matter_not_names_or_order_of_channels():
    nuclei, markers = scene(3)
    first = grow_cells(
        nuclei, markers, roles=ROLES, thresholds=THRESHOLDS, pixel_size_um=1.0, options=SMALL
    )
    for order in ([2, 0, 1], [1, 2, 0]):
        changed = markers[order].copy()
        changed[order.index(2)] = np.random.default_rng(9).integers(
            0, 60000, nuclei.shape
        )  # ligand, response: no influence
        again = grow_cells(
            nuclei,
            changed,
            roles=[ROLES[i] for i in order],
            thresholds=[THRESHOLDS[i] for i in order],
            pixel_size_um=1.0,
            options=SMALL,
        )
        np.testing.assert_array_equal(first.labels, again.labels)
        np.testing.assert_array_equal(first.growth_class, again.growth_class)
        np.testing.assert_array_equal(first.orphan_mask, again.orphan_mask)
    as_float = grow_cells(
        nuclei,
        markers.astype(np.float32),
        roles=ROLES,
        thresholds=THRESHOLDS,
        pixel_size_um=1.0,
        options=SMALL,
    )
    np.testing.assert_array_equal(first.labels, as_float.labels)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0.25, 2.0), st.floats(0, 3), st.floats(0.1, 1))
def test_invariants(seed, pixel_size_um, intrusion_um, fraction):
    nuclei, markers = scene(seed, (70, 80), 25)
    options = recipe.Cells(
        other_um=2,
        tumor_um=4,
        myeloid_process_um=6,
        intrusion_um=intrusion_um,
        min_stained_fraction=fraction,
    )
    result = grow_cells(
        nuclei,
        markers,
        roles=ROLES,
        thresholds=THRESHOLDS,
        pixel_size_um=pixel_size_um,
        options=options,
    )
    labels, n = result.labels, int(nuclei.max())
    assert (
        labels[nuclei > 0] == nuclei[nuclei > 0]
    ).all()  # every cell contains its nucleus and no other
    assert result.growth_class.shape == (n + 1,)
    assert not (result.orphan_mask & (labels > 0)).any()
    for label in range(1, n + 1):
        assert ndimage.label(labels == label, EIGHT)[1] == 1
        away = (
            ndimage.distance_transform_edt(nuclei != label)[labels == label].max() * pixel_size_um
        )
        assert (
            away <= {0: 2, 1: 4, 2: 9}[result.growth_class[label]] * 1.011
        )  # 14 / 10 is 1 % short of the diagonal


def test_no_stain_no_threshold_no_nuclei():
    nuclei, markers = scene(4)
    plain = grown(nuclei)
    same = grow_cells(
        nuclei,
        markers,
        roles=ROLES,
        thresholds=[None, None, None],
        pixel_size_um=UM,
        options=OPTIONS,
    )
    np.testing.assert_array_equal(plain.labels, same.labels)
    empty = grown(np.zeros((20, 30), np.int32), myeloid=stained((20, 30), (0, 20, 0, 10)))
    assert not empty.labels.any()
    assert empty.growth_class.shape == (1,)
    assert empty.orphan_mask[:, :10].all()
    assert not empty.orphan_mask[:, 10:].any()


def test_pixels_that_are_not_finite_are_unstained():
    shape = (40, 40)
    tumor = np.full(shape, np.nan, np.float32)
    tumor[:, ::2] = np.inf
    markers = np.stack([tumor, np.zeros(shape, np.float32)])
    result = grow_cells(
        square(shape, (20, 20)),
        markers,
        roles=["tumor", "myeloid"],
        thresholds=[1.0, 1.0],
        pixel_size_um=UM,
        options=OPTIONS,
    )
    assert result.growth_class[1] == 0


def test_segment_cells_keeps_labels_and_types():
    shape = (60, 80)
    nuclei = square(shape, (20, 20), (40, 60))
    labels = np.array([0, 70_000_000_000, 5])[nuclei]
    membrane = np.full((1, *shape), 10.0)
    membrane[0, 5:35, 5:35] = 500
    cells = segment_cells(labels, membrane, pixel_size_um=UM)
    assert cells.dtype == labels.dtype
    assert set(np.unique(cells)) == {0, 5, 70_000_000_000}
    assert (cells == 70_000_000_000).sum() > 2 * (cells == 5).sum()
    assert not cells[36:, :35].any()
    assert (cells[15:25, 8:33] == 70_000_000_000).all()
    plain = segment_cells(nuclei.astype(np.uint16), np.zeros((0, *shape)), pixel_size_um=UM)
    np.testing.assert_array_equal(plain, grown(nuclei).labels)
    ignored = segment_cells(nuclei, membrane, pixel_size_um=UM, roles=["marker"])
    np.testing.assert_array_equal(ignored, grown(nuclei).labels)


def test_wrong_requests_say_what_is_wrong():
    nuclei = square((20, 20), (10, 10))
    markers = np.zeros((1, 20, 20))
    with pytest.raises(RequestError, match="one of each per channel"):
        grow_cells(
            nuclei,
            markers,
            roles=["tumor", "myeloid"],
            thresholds=[1.0],
            pixel_size_um=1,
            options=OPTIONS,
        )
    with pytest.raises(RequestError, match="same Y, X"):
        segment_cells(nuclei, markers[:, 1:], pixel_size_um=1)
    with pytest.raises(RequestError, match="integer labels"):
        segment_cells(nuclei * 1.0, markers, pixel_size_um=1)
    with pytest.raises(RequestError, match="positive"):
        segment_cells(nuclei, markers, pixel_size_um=float("nan"))
