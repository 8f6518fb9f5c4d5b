"""The network's lattice: the same maps and labels in any order, window and process; its reach;
images it never saw.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ifquant.errors import MissingDependency, RequestError, SlideError
from ifquant.geometry.windows import Window, cores
from ifquant.nuclei import unet
from ifquant.nuclei.channel_levels import Levels, levels_of
from ifquant.nuclei.segmenter import ScaleEstimated, segment_image, segment_nuclei
from ifquant.nuclei.working_scale import (
    RATIOS,
    nearest_ratio,
    source_range,
    to_image,
    to_working,
    working_shape,
)
from ifquant.recipe.model import Segmentation

pytest.importorskip("onnxruntime")
needs_model = pytest.mark.skipif(
    not unet.MODEL.exists(), reason="the network is not in this tree yet"
)


def field(shape=(300, 420), *, seed=0, radius=8.0, n=90, top=900.0, floor=100.0):
    """Bright discs of a little varying size on a dark ground with noise, as float."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    image = np.zeros(shape, np.float32)
    centres: list[tuple[float, float]] = []
    for _ in range(4000):
        y, x = rng.uniform(radius, shape[0] - radius), rng.uniform(radius, shape[1] - radius)
        if len(centres) == n:
            break
        if all(np.hypot(y - a, x - b) > 2.3 * radius for a, b in centres):
            centres.append((y, x))
            r = radius * rng.uniform(0.85, 1.15)
            image = np.maximum(
                image, rng.uniform(0.6, 1) * np.clip(r - np.hypot(yy - y, xx - x) + 0.5, 0, 1)
            )
    return floor + top * image + rng.normal(0, 0.02 * top, shape), len(centres)


@pytest.fixture(scope="module")
def segmenter():
    image, _ = field()
    return unet.make(
        Segmentation(method="unet"),
        pixel_size_um=0.5,
        calibration=levels_of(image.astype(np.float32)),
    )


# resampling


@pytest.mark.parametrize("ratio", RATIOS)
def test_resampling_does_not_depend_on_the_window(ratio):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 60_000, (263, 5)).astype(np.uint16)
    size = working_shape(image.shape, ratio)[0]
    whole = to_working(image, 0, 0, size, ratio, image.shape[0], 0)
    for start in range(0, size, 16):
        stop = min(start + 32, size)
        first, last = source_range(start, stop, ratio, image.shape[0])
        part = to_working(image[first:last], first, start, stop, ratio, image.shape[0], 0)
        np.testing.assert_array_equal(part, whole[start:stop])
    assert abs(float(whole.mean()) - float(image.mean())) < 1500


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_ramp_stays_in_place(ratio):
    ramp = np.repeat(np.linspace(0, 240, 241, dtype=np.float32)[:, None], 2, 1)
    size = working_shape(ramp.shape, ratio)[0]
    small = to_working(ramp, 0, 0, size, ratio, 241, 0)
    inside = slice(2, size - 3)
    expected = (np.arange(size) + 0.5) / float(ratio) - 0.5
    np.testing.assert_allclose(small[inside, 0], expected[inside], atol=0.1)
    back = to_image(np.clip(np.rint(small), 0, 255).astype(np.uint8), 0, 0, 241, ratio, 0)
    np.testing.assert_allclose(back[12:-20, 0], ramp[12:-20, 0], atol=1.01)


def test_ratios_near_the_working_scale_are_one():
    assert [nearest_ratio(size / unet.WORKING_UM) for size in (0.42, 0.5, 0.6)] == [1, 1, 1]
    assert nearest_ratio(0.25 / unet.WORKING_UM) == Fraction(1, 2)
    assert nearest_ratio(0.325 / unet.WORKING_UM) == Fraction(2, 3)


# lattice


@needs_model
@pytest.mark.parametrize("ratio", [Fraction(1), Fraction(1, 2), Fraction(2, 3), Fraction(2)])
def test_maps_are_the_same_in_any_order_and_on_any_lattice(segmenter, ratio):
    image, _ = field((330, 437), radius=8 / float(ratio), n=40)
    small = dataclasses.replace(segmenter, ratio=ratio, core_px=128)
    large = dataclasses.replace(segmenter, ratio=ratio, core_px=2048)
    assert small.lattice_px < 330 < large.lattice_px * 2

    def read(window):
        return image[window.y0 : window.y1, window.x0 : window.x1]

    whole = (
        large.core_maps(read, Window(0, 0, *image.shape), image.shape)
        if large.lattice_px >= 437
        else None
    )
    cells = cores(image.shape, small.lattice_px)
    forward = [small.core_maps(read, cell, image.shape) for cell in cells]
    backward = [small.core_maps(read, cell, image.shape) for cell in reversed(cells)][::-1]
    for cell, one, other in zip(cells, forward, backward, strict=True):
        assert one.dtype == np.uint8
        assert one.shape == (2, *cell.shape)
        np.testing.assert_array_equal(one, other)
        if whole is not None:
            np.testing.assert_array_equal(one, whole[:, cell.y0 : cell.y1, cell.x0 : cell.x1])


@needs_model
def test_a_cell_reads_no_more_than_its_halo(segmenter):
    image = np.full((900, 900), np.nan, np.float32)  # whatever is read beyond the reach would show
    small = dataclasses.replace(segmenter, core_px=256)
    cell = Window(256, 256, 512, 512)
    near = cell.grown(unet.HALO_PX + 1, image.shape)
    pixels, _ = field((900, 900), n=150)
    image[near.y0 : near.y1, near.x0 : near.x1] = pixels[near.y0 : near.y1, near.x0 : near.x1]

    def maps_of(source):
        return small.core_maps(lambda w: source[w.y0 : w.y1, w.x0 : w.x1], cell, image.shape)

    np.testing.assert_array_equal(maps_of(image), maps_of(pixels))


@needs_model
def test_the_networks_reach_is_what_is_stated(segmenter):
    rng = np.random.default_rng(2)
    image = rng.uniform(-0.2, 1.2, (512, 512)).astype(np.float32)
    base = unet.probabilities(segmenter.model, segmenter.card.sha256, image)
    for y, x in (
        (255, 255),
        (256, 256),
        (263, 248),
    ):  # both sides of a pooling grid line and its middle
        other = image.copy()
        other[y, x] = np.nan
        changed = np.argwhere(
            np.isnan(unet.probabilities(segmenter.model, segmenter.card.sha256, other)).any(0)
            | (base[0] != base[0])
        )
        reach = np.abs(changed - (y, x)).max()
        assert 80 < reach <= unet.REACH_PX
    smoothing = int(2 * segmenter.card.smooth_px + 0.5)
    assert unet.REACH_PX + smoothing <= unet.HALO_PX


@needs_model
def test_labels_do_not_depend_on_windows(segmenter):
    image, n = field((700, 700), n=260)
    small = dataclasses.replace(
        segmenter,
        core_px=256,
        options=dataclasses.replace(segmenter.options, chain_px=20, merge_px=10),
    )
    whole = segment_image(small, image)
    assert whole.max() > 0.9 * n
    maps = np.zeros((2, *image.shape), np.uint8)
    for cell in cores(image.shape, small.lattice_px):
        part = small.core_maps(lambda w: image[w.y0 : w.y1, w.x0 : w.x1], cell, image.shape)
        maps[:, cell.y0 : cell.y1, cell.x0 : cell.x1] = part
    for window in (Window(0, 0, 400, 380), Window(123, 211, 577, 640)):
        labels = small.nuclei(
            None, lambda w: maps[:, w.y0 : w.y1, w.x0 : w.x1], window, image.shape
        )
        reach = small.reach_px
        inner = Window(
            window.y0 + reach if window.y0 else 0,
            window.x0 + reach if window.x0 else 0,
            window.y1 - reach,
            window.x1 - reach,
        )
        part, full = (
            labels[inner.slices_in(window)],
            whole[inner.y0 : inner.y1, inner.x0 : inner.x1],
        )
        pairs = np.unique(np.stack([part.ravel(), full.ravel()]), axis=1)
        assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@needs_model
def test_a_foreign_window_is_refused(segmenter):
    with pytest.raises(RequestError, match="lattice"):
        segmenter.core_maps(lambda w: np.zeros(w.shape), Window(5, 0, 50, 50), (400, 400))


@needs_model
def test_it_can_be_sent_to_a_worker(segmenter):
    assert pickle.loads(pickle.dumps(segmenter)) == segmenter


# images


@needs_model
@pytest.mark.parametrize(
    ("dtype", "top", "floor"),
    [(np.uint8, 200, 12), (np.uint16, 3500, 130), (np.float32, 0.7, 0.01), (np.float64, 5e4, -3.0)],
)
def test_any_brightness(dtype, top, floor):
    image, n = field(top=top, floor=floor)
    image = np.clip(image, 0, None) if np.issubdtype(dtype, np.integer) else image
    labels = segment_nuclei(image.astype(dtype), pixel_size_um=0.5, method="unet")
    assert labels.shape == image.shape
    assert abs(labels.max() - n) <= 0.1 * n


@needs_model
@pytest.mark.parametrize("radius", [4.0, 8.0, 22.0, 50.0])
def test_any_size_without_a_pixel_size(radius):
    image, n = field((int(40 * radius), int(40 * radius)), radius=radius, n=60)
    with pytest.warns(ScaleEstimated):
        labels = segment_nuclei(image, method="unet")
    assert abs(labels.max() - n) <= 0.15 * n


@needs_model
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (15, 17), (16, 16), (33, 7)])
def test_tiny_images(shape):
    image = np.random.default_rng(0).exponential(20, shape).astype(np.uint16)
    assert segment_nuclei(image, pixel_size_um=0.5, method="unet").shape == shape


@needs_model
def test_inverted_contrast_is_refused():
    image, _ = field()
    with pytest.raises(SlideError, match="bright on dark"):
        segment_nuclei(1200 - image, pixel_size_um=0.5, method="unet")


def test_a_missing_nucleus_channel_is_refused():
    with pytest.raises(RequestError, match="nucleus"):
        unet.make(Segmentation(method="unet"), pixel_size_um=0.5, calibration=None)


def test_a_missing_or_damaged_model_is_named(tmp_path):
    levels = Levels(0, 1, 0.1, 0.01, 0.5)
    missing = tmp_path / "nuclei.onnx"
    with pytest.raises(MissingDependency, match=r"nuclei\.onnx"):
        unet.make(Segmentation(method="unet"), pixel_size_um=0.5, calibration=levels, model=missing)
    if unet.MODEL.exists():
        missing.write_bytes(unet.MODEL.read_bytes()[:-1])
        missing.with_suffix(".json").write_text(unet.MODEL.with_suffix(".json").read_text())
        damaged = unet.make(
            Segmentation(method="unet"), pixel_size_um=0.5, calibration=levels, model=missing
        )
        with pytest.raises(MissingDependency, match="SHA-256"):
            damaged.working_maps(np.zeros((32, 32), np.float32))


# real images


@needs_model
def test_accuracy_on_some_validation_images():
    folder = Path(os.environ.get("IFQUANT_DATA", "../shared/data")) / "nuclei_dsb2018"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: set IFQUANT_DATA to run this on real images")
    import csv

    import tifffile

    with open(folder / "manifest.csv", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["split"] == "val" and int(row["h"]) * int(row["w"]) < 150_000
        ][::3]
    scores = []
    for row in rows:
        image = tifffile.imread(folder / "images" / f"{row['id']}.tif")
        truth = tifffile.imread(folder / "masks" / f"{row['id']}.tif").astype(np.int64)
        with pytest.warns(ScaleEstimated):
            labels = segment_nuclei(image, method="unet").astype(np.int64)
        n = int(truth.max()) + 1
        shared = np.bincount(
            (labels * n + truth).ravel(), minlength=(int(labels.max()) + 1) * n
        ).reshape(-1, n)
        iou = shared / (shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared)
        hits = int((iou[1:, 1:] > 0.5).sum())
        scores.append(
            hits / max(int((shared.sum(1) > 0)[1:].sum() + (shared.sum(0) > 0)[1:].sum()) - hits, 1)
        )
    assert np.mean(scores) > 0.72
