"""Masks made elsewhere: odd numbers, pieces, sizes, pairs of nuclei and cells, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from test_decode import anchors, interior, random_windows

from ifquant.errors import RequestError, SlideError, UnreadableImage
from ifquant.geometry.windows import Window
from ifquant.nuclei.label_objects import LabelObjects, merge_strips, scan_strip
from ifquant.nuclei.label_segmenter import make, pair_cells
from ifquant.pipeline.label_files import find_label_objects, read_label_image
from ifquant.recipe.model import Segmentation

OPTIONS = Segmentation(method="labels", nuclei="masks.tif")


def foreign(seed: int = 0, shape: tuple[int, int] = (230, 310)) -> NDArray[np.int64]:
    """Boxes with odd label numbers, touching, some cut in pieces by others and some labels used
    twice.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int64)
    for _ in range(250):
        y, x, h, w = (
            rng.integers(0, shape[0]),
            rng.integers(0, shape[1]),
            rng.integers(2, 14),
            rng.integers(2, 14),
        )
        labels[y : y + h, x : x + w] = rng.integers(1, 200) * 7_000_000_001
    return labels


def scanned(labels: NDArray[Any], rows: int) -> LabelObjects:
    return merge_strips(scan_strip(labels[y : y + rows], y) for y in range(0, len(labels), rows))


def brute_force(labels: NDArray[Any]) -> dict[int, set[tuple[int, int]]]:
    """Largest 8-connected piece of each label, by flooding sets of pixels."""
    kept: dict[int, set[tuple[int, int]]] = {}
    for value in np.unique(labels[labels > 0]):
        left = {(int(y), int(x)) for y, x in np.argwhere(labels == value)}
        while left:
            piece, edge = set(), [min(left)]
            while edge:
                y, x = edge.pop()
                if (y, x) in left:
                    left.remove((y, x))
                    piece.add((y, x))
                    edge += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            if len(piece) > len(kept.get(int(value), ())):
                kept[int(value)] = piece
    return kept


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_objects_do_not_depend_on_the_strips(rows: int) -> None:
    labels = foreign()
    expected = brute_force(labels)
    objects = scanned(labels, rows)
    assert sorted(objects.source_label.tolist()) == sorted(expected)
    assert (np.diff(objects.first) > 0).all()
    for source, first, box, area in zip(
        objects.source_label, objects.first, objects.box, objects.area, strict=True
    ):
        pixels = np.array(sorted(expected[int(source)]))
        assert area == len(pixels)
        assert first == pixels[0, 0] * labels.shape[1] + pixels[0, 1]
        assert box.tolist() == [*pixels.min(axis=0), *(pixels.max(axis=0) + 1)]
    assert (objects.components > 1).any()
    assert objects.components.sum() == len(objects.first) + len(objects.fragments)
    assert "in several pieces" in objects.warnings()[0]


def test_windows_give_the_whole_masks_nuclei() -> None:
    labels = foreign(1)
    objects = scanned(labels, 50)
    segmenter = make(OPTIONS, pixel_size_um=0.5, calibration=None, objects=objects)

    def read(window: Window) -> NDArray[Any]:
        return labels[window.y0 : window.y1, window.x0 : window.x1]

    nuclei = segmenter.nuclei(read, None, Window(0, 0, *labels.shape), labels.shape)
    assert nuclei.max() == len(objects.first)
    expected = brute_force(labels)
    index = objects.at(*np.divmod(objects.first, labels.shape[1]))
    for number, k in enumerate(index, start=1):
        assert {(int(y), int(x)) for y, x in np.argwhere(nuclei == number)} == expected[
            int(objects.source_label[k])
        ]
    whole = anchors(nuclei)
    for window in random_windows(np.random.default_rng(3), labels.shape, segmenter.reach_px, 40):
        got = anchors(segmenter.nuclei(read, None, window, labels.shape), window.y0, window.x0)
        inner = interior(window, labels.shape, segmenter.reach_px)
        np.testing.assert_array_equal(
            got[inner.slices_in(window)], whole[inner.y0 : inner.y1, inner.x0 : inner.x1]
        )


def test_clean_and_empty_masks() -> None:
    clean = np.kron(np.array([[0, 3], [9, 0]], np.uint16), np.ones((4, 4), np.uint16))
    objects = scanned(clean, 3)
    assert objects.source_label.tolist() == [3, 9]
    assert objects.warnings() == ()
    empty = scanned(np.zeros((5, 6), np.uint8), 2)
    assert (len(empty.first), empty.max_extent_px) == (0, 0)
    segmenter = make(OPTIONS, pixel_size_um=0.5, calibration=None, objects=empty)
    assert (
        segmenter.nuclei(
            lambda w: np.zeros(w.shape, np.uint8), None, Window(0, 0, 5, 6), (5, 6)
        ).max()
        == 0
    )


def test_nuclei_and_cells_are_paired_one_to_one() -> None:
    nuclei = np.array([[1, 1, 0, 2, 0, 3, 3, 3, 0, 4, 0, 0]], np.int32)
    cells = np.array([[7, 7, 7, 7, 0, 8, 9, 9, 9, 0, 0, 5]])
    paired = pair_cells(nuclei, cells)
    # 7 holds nuclei 1 (2 px) and 2 (1 px): it goes to 1; 3 lies in 9 (2 px) and 8 (1 px): 9; 4 has
    # none; 5 and 8 have no nucleus
    assert paired.tolist() == [[1, 1, 1, 2, 0, 3, 3, 3, 3, 4, 0, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_every_nucleus_lies_in_its_own_cell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nuclei = np.kron(np.arange(1, 65).reshape(8, 8), np.pad(np.ones((4, 4), np.int32), 2)).astype(
        np.int32
    )
    cells = np.roll(
        np.kron(rng.permutation(64).reshape(8, 8), np.ones((8, 8), np.int64)),
        int(rng.integers(0, 4)),
        axis=1,
    )
    paired = pair_cells(nuclei, cells)
    assert (paired[nuclei > 0] == nuclei[nuclei > 0]).all()
    assert set(np.unique(paired)) - {0} == set(range(1, 65))


def test_no_cells_and_no_nuclei() -> None:
    nuclei = np.array([[0, 1]], np.int32)
    alone = pair_cells(nuclei, np.zeros((1, 2), int))
    assert alone.tolist() == [[0, 1]]
    none = pair_cells(0 * nuclei, np.array([[4, 4]]))
    assert none.max() == 0


def test_refusals() -> None:
    with pytest.raises(SlideError, match="label -1"):
        scan_strip(np.array([[-1, 0]]), 0)
    with pytest.raises(SlideError, match="type float32"):
        scan_strip(np.zeros((2, 2), np.float32), 0)
    with pytest.raises(RequestError, match="follow each other"):
        merge_strips([scan_strip(np.zeros((2, 2), int), 4)])
    with pytest.raises(RequestError, match="same image"):
        pair_cells(np.zeros((2, 2), np.int32), np.zeros((2, 3), int))
    with pytest.raises(RequestError, match="nuclei ="):
        make(OPTIONS, pixel_size_um=0.5, calibration=None)
    huge = scanned(np.ones((300, 300), int), 100)
    with pytest.raises(SlideError, match="label 1 at y=0, x=0 is 300 px \\(150 um\\)"):
        make(OPTIONS, pixel_size_um=0.5, calibration=None, objects=huge)
    with pytest.raises(RequestError, match="none of the mask's objects"):
        huge.at(np.array([1]), np.array([1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.float32])
def test_label_files(tmp_path: Path, dtype: type[np.generic]) -> None:
    labels = (foreign(2) // 7_000_000_001).astype(dtype)
    path = str(tmp_path / "mask.tif")
    tifffile.imwrite(path, labels)
    read = read_label_image(path)
    assert read.dtype.kind in "iu"
    np.testing.assert_array_equal(read, labels)
    objects = find_label_objects(path, image_shape=labels.shape)
    assert objects.first.tolist() == scanned(labels.astype(np.int64), 40).first.tolist()
    with pytest.raises(SlideError, match="the slide has 10 x 10 px"):
        find_label_objects(path, image_shape=(10, 10))


def test_files_that_hold_no_labels(tmp_path: Path) -> None:
    for name, content, message in [
        ("fractions", np.full((20, 20), 0.5, np.float32), "fractions"),
        ("negative", np.full((20, 20), -3, np.int16), "label -3"),
        ("several", np.zeros((3, 20, 20), np.uint16), "one label image"),
    ]:
        path = str(tmp_path / f"{name}.tif")
        tifffile.imwrite(path, content, photometric="minisblack")
        with pytest.raises(SlideError, match=message):
            read_label_image(path)
    with pytest.raises(UnreadableImage):
        read_label_image(str(tmp_path / "absent.tif"))
