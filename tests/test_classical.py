"""The classical segmenter: tile-invariant to the pixel, and good on crowded nuclei."""

from __future__ import annotations

import csv
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from nuclei_phantom import phantom
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.measure import label
from skimage.segmentation import watershed
from test_decode import anchors, interior, random_windows

from ifquant.errors import RequestError
from ifquant.geometry import filters
from ifquant.geometry.windows import Window
from ifquant.nuclei.channel_levels import Levels, levels_of
from ifquant.nuclei.classical import ClassicalSegmenter, make, refine
from ifquant.nuclei.evaluation import evaluate
from ifquant.nuclei.segmenter import segment_image
from ifquant.recipe.model import Segmentation

SMALL = Segmentation(nucleus_diameter_um=6, max_diameter_um=12, min_area_um2=4)


def segmenter_for(
    image: NDArray[np.generic], options: Segmentation = SMALL, pixel_size_um: float = 0.5
) -> ClassicalSegmenter:
    return make(options, pixel_size_um=pixel_size_um, calibration=levels_of(image))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.float32])
def test_a_window_gives_the_whole_images_labels(dtype: type[np.generic]) -> None:
    raw, _ = phantom(1, (420, 470), diameter_px=12)
    image = (raw / (1 if dtype == np.uint16 else 5)).astype(dtype)
    segmenter = segmenter_for(image)
    assert 60 < segmenter.reach_px < 140
    whole = anchors(segment_image(segmenter, image))
    assert len(np.unique(whole)) > 300
    compared = 0
    for window in random_windows(np.random.default_rng(2), image.shape, segmenter.reach_px, 25):

        def read(part: Window) -> NDArray[np.generic]:
            return image[part.y0 : part.y1, part.x0 : part.x1]

        got = anchors(segmenter.nuclei(read, None, window, image.shape), window.y0, window.x0)
        inner = interior(window, image.shape, segmenter.reach_px)
        part = got[inner.slices_in(window)]
        np.testing.assert_array_equal(part, whole[inner.y0 : inner.y1, inner.x0 : inner.x1])
        compared += int((part >= 0).sum())
    assert compared > 100_000


@pytest.mark.parametrize(
    ("diameter", "crowding", "ap50", "ap70"),
    [(14, 0.35, 0.9, 0.8), (14, 0.6, 0.8, 0.65), (30, 0.5, 0.85, 0.75), (8, 0.4, 0.75, 0.55)],
)
def test_finds_crowded_nuclei(diameter: float, crowding: float, ap50: float, ap70: float) -> None:
    found = []
    for seed in range(2):
        image, truth = phantom(seed, diameter_px=diameter, crowding=crowding, shape=(360, 360))
        options = Segmentation(nucleus_diameter_um=8)
        labels = segment_image(segmenter_for(image, options, 8 / diameter), image)
        found.append(evaluate(labels, truth, [0.5, 0.7])["ap"].to_numpy())
    mean = np.mean(found, axis=0)
    assert mean[0] >= ap50
    assert mean[1] >= ap70


def test_nuclei_of_twice_the_typical_size_stay_whole() -> None:
    image, truth = phantom(6, (400, 300), diameter_px=32, crowding=0.4)
    labels = segment_image(segmenter_for(image, Segmentation(nucleus_diameter_um=8), 0.5), image)
    assert evaluate(labels, truth, [0.7]).ap[0] > 0.9


def test_brightness_units_do_not_matter() -> None:
    image, _ = phantom(3)
    first = segment_image(segmenter_for(image), image)
    doubled = image.astype(np.float32) * 2 + 1000
    second = segment_image(segmenter_for(doubled), doubled)
    assert evaluate(second, first, [0.9]).ap[0] > 0.95


def test_sensitivity_finds_dimmer_nuclei() -> None:
    image, _ = phantom(4, crowding=0.2)
    half = image.shape[1] // 2
    image[:, half:] = (image[:, half:] - 60) // 6 + 60
    counts = [
        int(
            segment_image(
                segmenter_for(image, SMALL.model_copy(update={"sensitivity": s})), image
            ).max()
        )
        for s in (0.5, 1.0, 3.0)
    ]
    assert counts[0] < counts[1] <= counts[2]


def test_no_stain_no_nuclei() -> None:
    flat = np.random.default_rng(0).normal(100, 5, (200, 200)).astype(np.float32)
    assert segment_image(segmenter_for(flat), flat).max() == 0
    nothing = Levels(100.0, 110.0, 100.0, 5.0, None)
    image, _ = phantom(0)
    assert segment_image(make(SMALL, pixel_size_um=0.5, calibration=nothing), image).max() == 0
    with pytest.raises(RequestError, match="no nucleus channel"):
        make(SMALL, pixel_size_um=0.5, calibration=None)


def test_it_is_a_value_that_travels_to_workers() -> None:
    segmenter = segmenter_for(phantom(0)[0])
    assert pickle.loads(pickle.dumps(segmenter)) == segmenter
    assert replace(segmenter, diameter_px=99.0).reach_px > segmenter.reach_px


def test_bounded_depth_is_the_capped_distance_transform() -> None:
    rng = np.random.default_rng(0)
    mask = np.kron(rng.random((60, 70)) < 0.8, np.ones((4, 4))) > 0
    expected = np.minimum(ndi.distance_transform_edt(mask), 7)
    np.testing.assert_allclose(filters.bounded_depth(mask, 7), expected, atol=1e-6)
    assert (filters.bounded_depth(np.ones((9, 9), bool), 7) == 7).all()


@pytest.mark.parametrize("radius", [1, 4, 60])
def test_box_means_are_exact(radius: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-4000, 28_000, (40, 53)).astype(np.int16)
    mask = rng.random(values.shape) < 0.6
    mask[:, 50:] = False
    otherwise = np.full(values.shape, -7, np.int16)
    mean = filters.box_mean(values, mask, radius, otherwise)
    for y, x in [(0, 0), (39, 48), (11, 30), (20, 0), (39, 52)]:
        box = (slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1))
        chosen = values[box][mask[box]].astype(int)
        assert mean[y, x] == (chosen.sum() // chosen.size if chosen.size else -7)


def test_outlines_at_a_fraction_of_each_objects_own_brightness() -> None:
    contrast = np.zeros((20, 40), np.int16)
    contrast[2:18, 2:18] = 30
    contrast[5:15, 5:15] = 100
    contrast[4:12, 24:32] = 1000
    contrast[7, 27] = 100  # a hole, filled
    contrast[4:12, 34:36] = 900  # a second, smaller piece of the same object
    contrast[15:19, 30:34] = 20  # too dim
    labels = np.zeros(contrast.shape, np.int32)
    labels[2:18, 2:18], labels[4:12, 22:38], labels[15:19, 30:34] = 1, 2, 3
    got = refine(labels, contrast, fraction=0.5, quantile=0.8, min_contrast=25, min_area_px=5)
    expected = np.zeros_like(labels)
    expected[5:15, 5:15] = 2
    expected[4:12, 24:32] = 1
    np.testing.assert_array_equal(got, expected)


def test_real_nuclei_in_windows_and_the_control(data_dir: Path) -> None:
    """Four fields of DSB2018 side by side: the decoder is exact in every window, a watershed on the
    same maps is not.
    """
    folder = data_dir / "nuclei_dsb2018"
    with open(folder / "manifest.csv", newline="") as file:
        fields = [
            row["id"]
            for row in csv.DictReader(file)
            if row["split"] == "train" and (row["h"], row["w"]) == ("520", "696")
        ]
    image = np.block(
        [
            [tifffile.imread(folder / "images" / f"{fields[2 * i + j]}.tif") for j in range(2)]
            for i in range(2)
        ]
    )
    options = Segmentation(nucleus_diameter_um=8, max_diameter_um=14, min_area_um2=4)
    segmenter = segmenter_for(image, options, 8 / 16)

    def read(part: Window) -> NDArray[np.generic]:
        return image[part.y0 : part.y1, part.x0 : part.x1]

    def flood(window: Window) -> NDArray[np.int64]:
        foreground, relief, _ = segmenter.maps(read(window))
        seeds = label((relief == ndi.maximum_filter(relief, 9)) & (foreground > 0))
        return anchors(
            watershed(-relief, seeds, mask=foreground > 0).astype(np.int32), window.y0, window.x0
        )

    everything = Window(0, 0, *image.shape)
    whole, flooded = anchors(segment_image(segmenter, image)), flood(everything)
    assert len(np.unique(whole)) > 300
    differing = 0
    for window in random_windows(np.random.default_rng(4), image.shape, segmenter.reach_px, 20):
        inner = interior(window, image.shape, segmenter.reach_px)
        global_view = (slice(inner.y0, inner.y1), slice(inner.x0, inner.x1))
        got = anchors(segmenter.nuclei(read, None, window, image.shape), window.y0, window.x0)
        np.testing.assert_array_equal(got[inner.slices_in(window)], whole[global_view])
        differing += int(
            not np.array_equal(flood(window)[inner.slices_in(window)], flooded[global_view])
        )
    assert differing > 0
