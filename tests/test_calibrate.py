from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from calibrated_arrays import calibrate_array
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ifquant.calibration import stain
from ifquant.calibration.calibrate import (
    Calibration,
    calibrate,
    find_tissue,
    merge,
    needs_second_pass,
    scan_block,
)
from ifquant.calibration.histogram import HistogramPart, SlideHistogram, grid_step_px, key_values
from ifquant.calibration.tissue import TissueMask
from ifquant.errors import RequestError
from ifquant.geometry.windows import Window
from ifquant.recipe.model import TissueOptions

DATA = Path(os.environ.get("IFQUANT_DATA", "../shared/data"))
SIDE = 400


def stained_image(
    fraction: float,
    *,
    level: float = 100,
    offset: float = 100,
    noise: float = 5,
    amplitude: float = 1000,
    seed: int = 0,
):
    """Blurred stain of varying strength on shot and read noise; also the true mask."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 10)
    mask = field > np.quantile(field, 1 - fraction) if fraction else np.zeros((SIDE, SIDE), bool)
    strength = np.kron(
        np.exp(0.5 * rng.standard_normal((SIDE // 16, SIDE // 16))), np.ones((16, 16))
    )
    image = level + ndimage.gaussian_filter(mask * strength * amplitude, 1.5)
    noisy = rng.poisson(image) + offset + noise * rng.standard_normal((SIDE, SIDE))
    return np.clip(np.rint(noisy), 0, 65535).astype(np.uint16), mask


def parts_of(
    image: np.ndarray, block: int, step: int, mask: np.ndarray | None = None
) -> list[HistogramPart]:
    _, height, width = image.shape
    parts = []
    for y in range(0, height, block):
        for x in range(0, width, block):
            window = Window(y, x, min(y + block, height), min(x + block, width))
            parts.append(scan_block(image[:, y : window.y1, x : window.x1], window, step, mask))
    return parts


def same(a: SlideHistogram, b: SlideHistogram) -> bool:
    fields = ("counts", "means", "maxima", "at_maximum", "nonfinite")
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in fields) and (
        a.kind,
        a.step_px,
    ) == (b.kind, b.step_px)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 50), st.integers(1, 60)),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    step=st.integers(1, 9),
    blocks=st.tuples(st.integers(2, 5), st.integers(3, 12)),
)
def test_any_blocks_in_any_order_give_the_same_bits(
    seed: int, shape: tuple[int, int, int], dtype: str, step: int, blocks: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    image = (rng.gamma(1, 60, shape) - (30 if dtype == "float32" else 0)).astype(dtype)
    whole = merge([scan_block(image, Window(0, 0, *shape[1:]), step)], shape[1:])
    for block in blocks:
        parts = parts_of(image, block * step, step)
        rng.shuffle(parts)
        assert same(merge(parts, shape[1:]), whole)
    for channel, counts in zip(image, whole.counts, strict=True):
        assert counts.sum() == channel.size
        if dtype != "float32":
            assert np.array_equal(counts, np.bincount(channel.ravel(), minlength=len(counts)))


def test_float_keys_keep_order_and_precision() -> None:
    values = key_values()
    assert np.all(np.diff(values) >= 0)
    numbers = np.array(
        [-3.4e38, -1000.0, -1.0, -0.1, -1e-30, 0.0, 1e-30, 0.1, 1.0, 777.7, 3.4e38], np.float32
    )
    part = merge(
        [scan_block(numbers.reshape(1, 1, -1), Window(0, 0, 1, len(numbers)), 4)], (1, len(numbers))
    )
    found = np.repeat(part.values, part.counts[0])
    np.testing.assert_allclose(found, numbers, rtol=0.005, atol=1e-35)


def test_floats_that_are_not_numbers_are_counted_apart() -> None:
    image = np.ones((1, 20, 20), np.float32)
    image[0, 0, :3] = [np.nan, np.inf, -np.inf]
    image[0, 5, 5] = 9.0
    histogram = merge([scan_block(image, Window(0, 0, 20, 20), 8)], (20, 20))
    assert histogram.nonfinite.tolist() == [3]
    assert histogram.counts.sum() == 397
    assert (histogram.maxima[0], histogram.at_maximum[0]) == (9.0, 1)
    channel = calibrate(histogram, TissueMask.full((20, 20), 8), ["a"]).channels[0]
    assert channel.nonfinite_fraction == 3 / 400
    nothing = calibrate_array(np.full((1, 20, 20), np.nan, np.float32), ["a"], pixel_size_um=1.0)
    assert nothing.channels[0].threshold is None
    assert json.loads(json.dumps(nothing.to_dict(), allow_nan=False))["channels"][0]["low"] is None


def test_quantiles_are_numpys_inverted_cdf() -> None:
    rng = np.random.default_rng(0)
    image = rng.gamma(2, 200, (1, 50, 60)).astype(np.uint16)
    histogram = merge(parts_of(image, 16, 8), (50, 60))
    for q in (0.0, 0.01, 0.31, 0.5, 0.998, 1.0):
        assert stain.quantile(histogram.values, histogram.counts[0], q) == np.quantile(
            image, q, method="inverted_cdf"
        )
    channel = calibrate_array(
        image, ["a"], pixel_size_um=1.0, options=TissueOptions(enabled=False)
    ).channels[0]
    assert channel.low == np.quantile(image, 0.01, method="inverted_cdf")
    assert channel.high == np.quantile(image, 0.998, method="inverted_cdf")


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.4, 0.9, 0.94])
@pytest.mark.parametrize(
    "options", [{}, {"amplitude": 250}, {"amplitude": 20_000}, {"level": 2000, "amplitude": 5000}]
)
def test_threshold_finds_the_stain_from_1_to_94_percent(
    fraction: float, options: dict[str, float]
) -> None:
    image, mask = stained_image(fraction, **options)
    channel = calibrate_array(image[None], ["a"], pixel_size_um=0.5).channels[0]
    assert channel.stained
    assert channel.threshold is not None
    found = image > channel.threshold
    assert (found & mask).sum() > 0.95 * mask.sum()
    grown = ndimage.binary_dilation(mask, iterations=4)  # what blur makes of the true mask
    assert (found & ~grown).sum() < 0.02 * found.sum() + 0.002 * found.size
    level = 100 + options.get("level", 100)
    assert channel.background == pytest.approx(level, abs=0.4 * np.sqrt(level) + 5)
    assert channel.background_sd == pytest.approx(np.sqrt(level - 100 + 25), rel=0.35)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["noise", "autofluorescence", "few counts", "uint8", "float"])
def test_unstained_channels_say_so(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    if kind == "autofluorescence":
        texture = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 5)
        image = rng.poisson(100 * np.exp(0.3 * texture / texture.std())) + 100.0
    elif kind == "few counts":
        image = rng.poisson(2.0, (SIDE, SIDE)).astype(float)
    elif kind == "uint8":
        image = np.rint(10 + 2 * rng.standard_normal((SIDE, SIDE)))
    else:
        image = 200 + 10 * rng.standard_normal((SIDE, SIDE))
    typed = image.astype({"uint8": np.uint8, "float": np.float32}.get(kind, np.uint16))
    channel = calibrate_array(typed[None], ["a"], pixel_size_um=0.5).channels[0]
    assert not channel.stained
    assert channel.threshold is not None
    assert not (typed >= channel.threshold).any()
    assert channel.threshold_origin.startswith("no stain found")


def test_clipped_background_and_constant_channels() -> None:
    rng = np.random.default_rng(0)
    image, mask = stained_image(0.1, level=50, offset=0, amplitude=3000)
    clipped = np.maximum(image.astype(int) - 60, 0).astype(np.uint16)
    channel = calibrate_array(clipped[None], ["a"], pixel_size_um=0.5).channels[0]
    found = clipped > channel.threshold
    assert (found & mask).sum() > 0.9 * mask.sum()
    assert found.sum() < 1.6 * mask.sum()
    ideal = np.where(mask, rng.integers(90, 110, mask.shape), 0).astype(np.uint8)
    noiseless = calibrate_array(ideal[None], ["a"], pixel_size_um=0.5).channels[0]
    assert np.array_equal(ideal > noiseless.threshold, mask)
    for value in (0, 255):
        constant = calibrate_array(
            np.full((1, 40, 40), value, np.uint8), ["a"], pixel_size_um=0.5
        ).channels[0]
        assert not constant.stained
        assert constant.threshold > value
        assert constant.display[1] > constant.display[0]


def test_saturation_from_the_file_a_pile_up_or_the_type() -> None:
    image, _ = stained_image(0.3, amplitude=3000)

    def saturation(pixels: np.ndarray, max_value: int | None = None) -> tuple[float | None, float]:
        channel = calibrate_array(
            pixels[None], ["a"], pixel_size_um=0.5, max_value=max_value
        ).channels[0]
        return channel.saturation, channel.saturated_fraction

    assert saturation(image) == (65535.0, 0.0)
    piled = np.minimum(image, 4095)
    assert saturation(piled) == (4095.0, np.mean(image >= 4095))
    assert saturation(np.minimum(image, 3000), 4095) == (4095.0, 0.0)
    assert saturation(piled, 4095) == (4095.0, np.mean(image >= 4095))
    assert saturation(np.minimum(image // 4, 255).astype(np.uint8))[0] == 255.0
    assert saturation(image.astype(np.float32)) == (None, 0.0)
    assert saturation(np.minimum(image / 7, 100).astype(np.float32)) == (
        100.0,
        np.mean(image / 7 >= 100),
    )


def nuclei_field(
    shape: tuple[int, int], per_mm2: float, seed: int, amplitude: float = 800
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = np.zeros(shape)
    n = int(per_mm2 * shape[0] * shape[1] * 0.25e-6)
    points[rng.integers(0, shape[0], n), rng.integers(0, shape[1], n)] = 1
    return amplitude * np.minimum(ndimage.gaussian_filter(points, 5.0) * 150, 1.0)


def test_a_field_full_of_tissue_has_no_glass() -> None:
    shape = (800, 800)
    rng = np.random.default_rng(0)
    for seed, per_mm2 in enumerate((6000, 2500, 1200)):
        dapi = nuclei_field(shape, per_mm2, seed)
        panck = np.where(np.arange(800) < 300, 900.0, 0.0) * np.ones(
            (800, 1)
        )  # a tumor half and a dim stroma
        image = rng.poisson(np.stack([dapi + 150, panck + 120])).astype(np.uint16)
        tissue = calibrate_array(image, ["DAPI", "PanCK"], pixel_size_um=0.5).tissue
        assert tissue.fraction == 1.0, (per_mm2, tissue.origin)


@pytest.mark.parametrize(("glass", "auto"), [(100, 60), (0, 0), (100, 0)])
def test_glass_is_found_beside_tissue(glass: float, auto: float) -> None:
    shape = (1000, 1100)
    yy, xx = np.ogrid[: shape[0], : shape[1]]
    true = (yy - 450) ** 2 + (xx - 400) ** 2 < 380**2
    true &= (yy - 450) ** 2 + (xx - 400) ** 2 > 160**2  # a lumen 160 um wide
    rng = np.random.default_rng(1)
    light = 1 + 0.1 * (yy / shape[0] - 0.5)
    dapi = (nuclei_field(shape, 4000, 3) + auto) * true + glass
    marker = (
        (ndimage.gaussian_filter(rng.standard_normal(shape), 8) > 0) * true * 500
        + auto * true
        + glass
    )
    image = rng.poisson(np.stack([dapi, marker]) * light).astype(np.uint16)
    image[:, 900:906, 900:906] = 3000  # debris
    calibration = calibrate_array(image, ["DAPI", "CK"], pixel_size_um=0.5)
    tissue = calibration.tissue
    found = tissue.pixels(Window(0, 0, *shape))
    assert (found & true).sum() > 0.97 * true.sum()
    assert (found & ~ndimage.binary_dilation(true, iterations=30)).sum() < 0.01 * true.sum()
    assert needs_second_pass(tissue)
    assert tissue.area_px() == found.sum()
    inside = calibration["CK"]
    assert inside.low == np.quantile(image[1][found], 0.01, method="inverted_cdf")
    assert (
        find_tissue(
            merge(parts_of(image, 160, 16), shape),
            pixel_size_um=0.5,
            options=TissueOptions(enabled=False),
        ).fraction
        == 1.0
    )


def test_second_pass_counts_tissue_pixels_exactly_for_any_blocks() -> None:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 4000, (2, 130, 170)).astype(np.uint16)
    mask = rng.random((17, 22)) < 0.5
    pixels = TissueMask(mask, 8, (130, 170), "test").pixels(Window(0, 0, 130, 170))
    for block in (8, 40, 1000):
        histogram = merge(parts_of(image, block, 8, mask), (130, 170))
        for channel in range(2):
            assert np.array_equal(
                histogram.counts[channel], np.bincount(image[channel][pixels], minlength=65536)
            )


def test_tissue_mask_geometry() -> None:
    rng = np.random.default_rng(3)
    mask = rng.random((4, 5)) < 0.5
    tissue = TissueMask(mask, 8, (29, 37), "test")
    full = tissue.pixels(Window(0, 0, 29, 37))
    for window in (
        Window(0, 0, 29, 37),
        Window(3, 5, 17, 36),
        Window(8, 8, 16, 16),
        Window(28, 36, 29, 37),
    ):
        assert tissue.area_px(window) == full[window.y0 : window.y1, window.x0 : window.x1].sum()
        assert tissue.any(window) or not full[window.y0 : window.y1, window.x0 : window.x1].any()
    y, x = rng.random(200) * 40 - 5, rng.random(200) * 50 - 5
    inside = (y >= 0) & (x >= 0) & (y < 32) & (x < 40)
    expected = (
        inside
        & mask[np.where(inside, y // 8, 0).astype(int), np.where(inside, x // 8, 0).astype(int)]
    )
    assert np.array_equal(tissue.contains(y, x), expected)
    restricted = find_tissue(
        merge(parts_of(rng.integers(0, 9, (1, 29, 37)).astype(np.uint8), 8, 8), (29, 37)),
        pixel_size_um=1.0,
        options=TissueOptions(),
        restrict=mask,
    )
    assert np.array_equal(restricted.mask, mask)
    assert "regions" in restricted.origin


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (17, 16)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int32", "float64"])
def test_tiny_images_and_every_type(shape: tuple[int, int], dtype: str) -> None:
    image = np.arange(2 * shape[0] * shape[1]).reshape(2, *shape).astype(dtype)
    calibration = calibrate_array(image, ["a", "b"], pixel_size_um=0.5)
    json.dumps(calibration.to_dict(), allow_nan=False)
    assert calibration.tissue.area_px() == shape[0] * shape[1]


def test_calibration_survives_npz_exactly(tmp_path: Path) -> None:
    image, _ = stained_image(0.2)
    calibration = calibrate_array(
        np.stack([image, image // 7]), ["PanCK", "TGFβ 1"], pixel_size_um=0.5
    )
    np.savez(tmp_path / "calibration.npz", **calibration.to_arrays())
    with np.load(tmp_path / "calibration.npz", allow_pickle=False) as arrays:
        back = Calibration.from_arrays(arrays)
    assert back.channels == calibration.channels
    assert np.array_equal(back.tissue.mask, calibration.tissue.mask)
    assert (back.tissue.step_px, back.tissue.image_shape, back.tissue.origin) == (
        16,
        (SIDE, SIDE),
        calibration.tissue.origin,
    )
    assert json.dumps(back.to_dict()) == json.dumps(calibration.to_dict())
    with pytest.raises(KeyError, match="PanCK, TGFβ 1"):
        back["CD8"]


def test_wrong_requests_are_named() -> None:
    image = np.zeros((1, 32, 32), np.uint8)
    with pytest.raises(RequestError, match="multiples of 8"):
        scan_block(image, Window(4, 0, 36, 32), 8)
    with pytest.raises(RequestError, match="expected \\(C, 16, 32\\)"):
        scan_block(image, Window(0, 0, 16, 32), 8)
    part = scan_block(image, Window(0, 0, 32, 32), 8)
    with pytest.raises(RequestError, match="overlaps another block"):
        merge([part, part], (64, 64))
    with pytest.raises(RequestError, match="overlaps another block or leaves"):
        merge([part], (24, 24))
    with pytest.raises(RequestError, match="no histogram blocks"):
        merge([], (24, 24))
    with pytest.raises(RequestError, match="must agree"):
        merge([part, scan_block(image.astype(np.uint16), Window(32, 0, 64, 32), 8)], (64, 32))
    with pytest.raises(RequestError, match="2 channel names for 1 channels"):
        calibrate(merge([part], (32, 32)), TissueMask.full((32, 32), 8), ["a", "b"])
    assert grid_step_px(8.0, 0.5) == 16
    assert grid_step_px(8.0, 20.0) == 1


def test_real_tissue_masks_are_sane() -> None:
    tifffile = pytest.importorskip("tifffile")
    breast, core = (
        DATA / "breast_mif" / "ABCM22001_B09_MiniCrop.ome.tif",
        DATA / "examples" / "small_vectra.qptiff",
    )
    if not breast.exists() or not core.exists():
        pytest.skip(f"{DATA} is not there (shared data)")
    image = tifffile.imread(breast, series=0)
    calibration = calibrate_array(image, [str(i) for i in range(7)], pixel_size_um=0.5)
    assert calibration.tissue.fraction == 1.0
    for index, low, high in ((0, 0.15, 0.35), (4, 0.2, 0.4)):  # nuclei, cytokeratin
        assert low < np.mean(image[index] > calibration.channels[index].threshold) < high
    core_image = tifffile.imread(core, series=0)
    tissue = calibrate_array(core_image, ["DAPI", "570", "690"], pixel_size_um=0.4965).tissue
    assert 0.48 < tissue.fraction < 0.56  # a tissue core on glass
