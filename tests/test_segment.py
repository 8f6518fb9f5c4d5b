"""The public function for arrays, the registry, the estimate of scale."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import numpy as np
import pytest
from nuclei_phantom import phantom
from numpy.typing import NDArray

import ifquant
from ifquant import registry
from ifquant.errors import MissingDependency, RequestError, SlideError
from ifquant.geometry.windows import Window
from ifquant.nuclei.channel_levels import levels_of
from ifquant.nuclei.evaluation import evaluate
from ifquant.nuclei.nucleus_size import estimate_nucleus_diameter_px
from ifquant.nuclei.segmenter import ScaleEstimated, Segmenter, make_segmenter, segment_nuclei
from ifquant.recipe.model import Segmentation

METHODS = pytest.mark.parametrize("method", ["classical", "unet"])


@METHODS
@pytest.mark.parametrize("diameter", [6.0, 12.0, 30.0, 60.0, 120.0])
def test_nuclei_of_any_size_without_a_pixel_size(diameter: float, method: str) -> None:
    side = max(300, int(diameter * 9))
    image, truth = phantom(0, (side, side), diameter_px=diameter, crowding=0.3)
    areas = np.bincount(truth.ravel())[1:]
    estimate = estimate_nucleus_diameter_px(image)
    assert 0.7 < estimate / (2 * np.sqrt(np.median(areas) / np.pi)) < 1.4
    with pytest.warns(ScaleEstimated, match="no pixel size given"):
        labels = segment_nuclei(image, method=method)
    assert labels.dtype == np.int32
    assert evaluate(labels, truth, [0.5]).ap[0] > 0.7


def test_with_a_pixel_size_nothing_is_estimated() -> None:
    image, truth = phantom(1, diameter_px=16, crowding=0.4)
    assert evaluate(ifquant.segment_nuclei(image, pixel_size_um=0.5), truth, [0.5]).ap[0] > 0.8


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@METHODS
def test_any_numeric_type_gives_about_the_same(dtype: type[np.generic], method: str) -> None:
    image, truth = phantom(2, diameter_px=16, crowding=0.3)
    scaled = np.clip(image / 6, 0, 255).astype(dtype)
    assert (
        evaluate(segment_nuclei(scaled, pixel_size_um=0.5, method=method), truth, [0.5]).ap[0] > 0.8
    )


@METHODS
@pytest.mark.parametrize(
    "change",
    [
        lambda v: v * 1e30,
        lambda v: v * 1e-30,
        lambda v: v.astype(int) - 30_000,
        lambda v: v.astype(int) * 10**12,
    ],
)
def test_odd_ranges(change: Callable[[NDArray[Any]], NDArray[Any]], method: str) -> None:
    image, truth = phantom(2, diameter_px=16, crowding=0.3)
    labels = segment_nuclei(change(image.astype(float)), pixel_size_um=0.5, method=method)
    assert evaluate(labels, truth, [0.5]).ap[0] > 0.8
    with pytest.warns(ScaleEstimated):
        assert (
            evaluate(segment_nuclei(change(image.astype(float)), method=method), truth, [0.5]).ap[0]
            > 0.8
        )


@METHODS
def test_a_saturated_image_of_two_values(method: str) -> None:
    image, truth = phantom(2, diameter_px=16, crowding=0.2)
    labels = segment_nuclei(
        np.where(image > 200, 65535, 0).astype(np.uint16), pixel_size_um=0.5, method=method
    )
    assert evaluate(labels, truth, [0.5]).ap[0] > 0.7


def test_constant_and_empty_images_have_no_nuclei() -> None:
    for image in (np.full((20, 30), 7), np.zeros((0, 5)), np.ones((1, 1))):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            labels = segment_nuclei(image)
        assert labels.shape == image.shape
        assert labels.max(initial=0) == 0


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 3, 4)), "shape \\(2, 3, 4\\)"),
        (np.zeros((3, 4), bool), "type bool"),
        (np.zeros((3, 4), complex), "type complex"),
        (np.array([["a"]]), "type <U1"),
        (np.array([[np.nan, 1.0]]), "NaN"),
        (np.array([[np.inf, 1.0]]), "NaN or infinite"),
    ],
)
def test_refuses_what_is_no_image(image: NDArray[Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        segment_nuclei(image, pixel_size_um=0.5)


@METHODS
def test_dark_nuclei_on_bright_ground_are_refused(method: str) -> None:
    image, _ = phantom(0, crowding=0.3)
    with pytest.raises(SlideError, match="invert"):
        segment_nuclei(image.max() - image, pixel_size_um=0.5, method=method)


@pytest.mark.parametrize("size", [0.0, -1.0, np.nan, np.inf])
def test_refuses_impossible_pixel_sizes(size: float) -> None:
    with pytest.raises(RequestError, match="pixel_size_um"):
        segment_nuclei(np.eye(5), pixel_size_um=size)


def test_unknown_methods_name_the_nearest() -> None:
    with pytest.raises(RequestError, match='did you mean "classical"'):
        segment_nuclei(np.eye(5), pixel_size_um=0.5, method="clasical")
    with pytest.raises(RequestError, match="masks you already have"):
        segment_nuclei(np.eye(5), pixel_size_um=0.5, method="labels")


def test_a_missing_package_is_an_error_never_another_method(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(registry.SEGMENTERS, "broken", "ifquant_package_that_is_not_there:make")
    with pytest.raises(MissingDependency, match='"broken" cannot be loaded'):
        segment_nuclei(np.eye(5), pixel_size_um=0.5, method="broken")


class Halves:
    """A segmenter of a third party that works on a lattice: the maps say which pixels are
    bright.
    """

    name = "halves"
    reach_px = 0
    lattice_px = 64

    def core_maps(self, read: Any, core: Window, image_shape: tuple[int, int]) -> NDArray[np.uint8]:
        assert core.y0 % 64 == core.x0 % 64 == 0
        return np.asarray(read(core) > 5, np.uint8)[None]

    def release(self) -> None:
        pass

    def nuclei(
        self, read: Any, read_maps: Any, window: Window, image_shape: tuple[int, int]
    ) -> NDArray[np.int32]:
        return read_maps(window)[0].astype(np.int32)


def make_halves(options: Segmentation, *, pixel_size_um: float, calibration: Any) -> Halves:
    assert calibration.high >= calibration.low
    return Halves()


def test_a_plugin_is_one_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("halves", "test_segment:make_halves", "ifquant.segmenters")
    monkeypatch.setattr(
        registry, "entry_points", lambda **query: EntryPoints([point]).select(**query)
    )
    image = np.add.outer(np.arange(100), np.arange(130)) % 11
    np.testing.assert_array_equal(
        segment_nuclei(image, pixel_size_um=0.5, method="halves"), image > 5
    )
    assert registry.segmenter_names()[-1] == "halves"
    segmenter: Segmenter = make_segmenter(
        Segmentation(method="halves"), pixel_size_um=0.5, calibration=levels_of(image)
    )
    assert segmenter.name == "halves"
    assert registry.segmenter_identity("halves") == [["test_segment:make_halves", None]]
    assert registry.segmenter_identity("classical") == []


def test_levels_are_exact_order_statistics() -> None:
    image = np.random.default_rng(0).integers(0, 4000, (50, 60)).astype(np.uint16)
    levels = levels_of(image)
    assert levels.low == np.quantile(image, 0.01, method="inverted_cdf")
    assert levels.high == np.quantile(image, 0.998, method="inverted_cdf")


def test_the_package_stays_light() -> None:
    heavy = ("torch", "matplotlib", "onnxruntime", "skimage")
    code = (
        f"import ifquant, sys; ifquant.segment_nuclei; print([m for m in {heavy} if m in"
        " sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
