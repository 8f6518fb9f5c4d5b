"""The decoder: bounded reach, exact to the pixel, and what it does to single shapes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.measure import label
from skimage.segmentation import watershed

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window
from ifquant.nuclei.decoder import DecodeOptions, decode


def relief_of(
    kind: str, seed: int, shape: tuple[int, int] = (420, 500)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A foreground of many clumps and a relief; `plateaus` has few levels, `noise` a maximum at
    every fifth pixel.
    """
    rng = np.random.default_rng(seed)
    z = ndi.gaussian_filter(rng.normal(size=shape), 4.0)
    z = (z - z.min()) / np.ptp(z)
    noise = ndi.gaussian_filter(rng.normal(size=shape), 0.7)
    if kind == "noise":
        z = z + 0.1 * noise
    relief = np.clip(z * 255, 0, 255)
    if kind == "plateaus":
        relief = relief // 24 * 24
    return np.where(z > 0.42, 255, 0).astype(np.uint8), relief.astype(np.uint8)


def anchors(
    labels: NDArray[np.int32], y0: int = 0, x0: int = 0, width: int = 1 << 20
) -> NDArray[np.int64]:
    """Per pixel the global raster index of its object's first pixel (-1: background): what must not
    depend on the window.
    """
    first = np.full(int(labels.max()) + 1, -1, np.int64)
    values, index = np.unique(labels, return_index=True)
    first[values] = (index // labels.shape[1] + y0) * width + index % labels.shape[1] + x0
    first[0] = -1
    return first[labels]


def random_windows(
    rng: np.random.Generator, shape: tuple[int, int], reach: int, n: int
) -> list[Window]:
    """Windows whose interior (further than `reach` from an inner border) is not empty; some touch
    the image border.
    """
    found: list[Window] = []
    while len(found) < n:
        y = np.sort(rng.integers(-60, shape[0] + 60, 2)).clip(0, shape[0])
        x = np.sort(rng.integers(-60, shape[1] + 60, 2)).clip(0, shape[1])
        window = Window(int(y[0]), int(x[0]), int(y[1]), int(x[1]))
        inner = interior(window, shape, reach)
        if inner.y1 > inner.y0 and inner.x1 > inner.x0:
            found.append(window)
    return found


def interior(window: Window, shape: tuple[int, int], reach: int) -> Window:
    """The part of a window further than `reach` from its borders inside the image."""
    return Window(
        window.y0 + reach * (window.y0 > 0),
        window.x0 + reach * (window.x0 > 0),
        window.y1 - reach * (window.y1 < shape[0]),
        window.x1 - reach * (window.x1 < shape[1]),
    )


@pytest.mark.parametrize("kind", ["smooth", "plateaus", "noise"])
def test_a_window_gives_the_whole_images_labels(kind: str) -> None:
    options = DecodeOptions(min_peak=20, merge_ratio=0.9, chain_px=14, merge_px=10, min_area_px=15)
    rng = np.random.default_rng(5)
    compared = 0
    for seed in range(3):
        fg, relief = relief_of(kind, seed)
        whole = anchors(decode(fg, relief, options))
        assert whole.max() > 0
        for window in random_windows(rng, fg.shape, options.reach_px, 25):
            part = (slice(window.y0, window.y1), slice(window.x0, window.x1))
            got = anchors(decode(fg[part], relief[part], options), window.y0, window.x0)
            inner = interior(window, fg.shape, options.reach_px)
            view = inner.slices_in(window)
            np.testing.assert_array_equal(
                got[view], whole[inner.y0 : inner.y1, inner.x0 : inner.x1]
            )
            compared += got[view].size
    assert compared > 1_000_000


def test_control_watershed_in_windows_differs() -> None:
    """The same maps, thresholds and halo with a flood instead of the bounded decoder: the test
    above would fail.
    """
    options = DecodeOptions(min_peak=20, chain_px=14, merge_px=10)

    def flood(fg: NDArray[np.uint8], relief: NDArray[np.uint8]) -> NDArray[np.int32]:
        seeds = label((relief == ndi.maximum_filter(relief, 7)) & (fg > 0))
        return np.asarray(watershed(-relief.astype(np.int16), seeds, mask=fg > 0), np.int32)

    differing = 0
    rng = np.random.default_rng(5)
    for seed in range(3):
        fg, relief = relief_of("plateaus", seed)
        whole = anchors(flood(fg, relief))
        for window in random_windows(rng, fg.shape, options.reach_px, 10):
            part = (slice(window.y0, window.y1), slice(window.x0, window.x1))
            got = anchors(flood(fg[part], relief[part]), window.y0, window.x0)
            inner = interior(window, fg.shape, options.reach_px)
            differing += int(
                not np.array_equal(
                    got[inner.slices_in(window)], whole[inner.y0 : inner.y1, inner.x0 : inner.x1]
                )
            )
    assert differing > 0


def test_reach_is_needed() -> None:
    """With a tenth of the stated reach some window differs: the test of exactness has teeth."""
    options = DecodeOptions(min_peak=20, merge_ratio=0.8, chain_px=14, merge_px=10, min_area_px=15)
    fg, relief = relief_of("plateaus", 0)
    whole = anchors(decode(fg, relief, options))
    short = options.reach_px // 10
    differing = 0
    for window in random_windows(np.random.default_rng(1), fg.shape, options.reach_px, 20):
        part = (slice(window.y0, window.y1), slice(window.x0, window.x1))
        got = anchors(decode(fg[part], relief[part], options), window.y0, window.x0)
        inner = interior(window, fg.shape, short)
        differing += int(
            not np.array_equal(
                got[inner.slices_in(window)], whole[inner.y0 : inner.y1, inner.x0 : inner.x1]
            )
        )
    assert differing > 0


def test_labels_are_in_raster_order_connected_and_without_holes() -> None:
    fg, relief = relief_of("noise", 3)
    fg[100:104, 100:104] = 0
    labels = decode(
        fg, relief, DecodeOptions(min_peak=20, chain_px=14, merge_px=10, min_area_px=15)
    )
    values, index = np.unique(labels, return_index=True)
    assert values.tolist() == list(range(labels.max() + 1))
    assert (np.diff(index[1:]) > 0).all()
    for i, box in enumerate(ndi.find_objects(labels), start=1):
        mask = np.pad(labels[box] == i, 1)
        assert ndi.label(mask)[1] == 1
        assert mask.sum() >= 15
        holes = ndi.binary_fill_holes(mask) & ~mask
        if holes.any():  # only another nucleus may lie inside
            assert (np.pad(labels[box], 1)[holes] > 0).any()


def two_peaks(saddle: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A bar with relief 100 at one end, 80 at the other and `saddle` between."""
    relief = np.zeros((9, 31), np.uint8)
    relief[2:7, 2:29] = np.minimum(
        np.interp(np.arange(2, 29), [2, 8, 15, 22, 28], [40, 100, saddle, 80, 40]), 255
    ).astype(np.uint8)
    return np.where(relief > 0, 255, 0).astype(np.uint8), relief


@pytest.mark.parametrize(
    ("saddle", "depth", "expected"), [(75, 0, 1), (70, 0, 2), (70, 10, 1), (40, 10, 2), (71, 0, 2)]
)
def test_basins_join_over_a_high_saddle_only(saddle: int, depth: int, expected: int) -> None:
    fg, relief = two_peaks(saddle)
    labels = decode(
        fg,
        relief,
        DecodeOptions(merge_ratio=0.9, merge_depth=depth, chain_px=20, merge_px=20, min_area_px=1),
    )
    assert labels.max() == expected
    assert (labels > 0).sum() == (fg > 0).sum()


def test_a_flat_disc_is_one_nucleus_and_weak_seeds_are_dropped() -> None:
    yy, xx = np.mgrid[:40, :40]
    disc = (yy - 20) ** 2 + (xx - 20) ** 2 < 150
    fg = np.where(disc, 255, 0).astype(np.uint8)
    relief = np.where(disc, 7, 0).astype(np.uint8)
    options = DecodeOptions(min_peak=7, chain_px=40, merge_px=28, min_area_px=1)
    assert decode(fg, relief, options).max() == 1
    assert (decode(fg, relief, options) > 0).sum() == disc.sum()
    assert decode(fg, relief, DecodeOptions(min_peak=8)).max() == 0


def test_holes_are_filled_but_not_another_nucleus() -> None:
    relief = np.full((21, 21), 50, np.uint8)
    relief[4, 4] = 90
    fg = np.full((21, 21), 255, np.uint8)
    fg[8:11, 8:11] = 0
    labels = decode(fg, relief, DecodeOptions(chain_px=40, merge_px=40))
    assert (labels == 1).all()
    fg[8:11, 8:11] = [[0, 0, 0], [0, 255, 0], [0, 0, 0]]
    labels = decode(fg, relief, DecodeOptions(chain_px=40, merge_px=40, min_area_px=1))
    assert labels[9, 9] == 2
    assert labels[8, 8] == 0  # enclosed by two labels together: stays background


def test_small_objects_go_after_filling() -> None:
    fg = np.zeros((12, 12), np.uint8)
    fg[2:6, 2:6] = 255
    fg[3:5, 3:5] = 0
    relief = np.where(fg > 0, 9, 0).astype(np.uint8)
    assert (decode(fg, relief, DecodeOptions(min_area_px=16)) > 0).sum() == 16
    assert decode(fg, relief, DecodeOptions(min_area_px=17)).max() == 0


def test_empty_maps_and_refusals() -> None:
    empty = np.zeros((0, 5), np.uint8)
    assert decode(empty, empty, DecodeOptions()).shape == (0, 5)
    blank = np.zeros((5, 5), np.uint8)
    assert decode(blank, blank.astype(np.int16), DecodeOptions()).max() == 0
    with pytest.raises(RequestError, match="one \\(Y, X\\) shape"):
        decode(blank, np.zeros((5, 6), np.uint8), DecodeOptions())
    with pytest.raises(RequestError, match="quantise"):
        decode(blank, np.zeros((5, 5), np.float32), DecodeOptions())  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="out of range"):
        DecodeOptions(chain_px=0)
