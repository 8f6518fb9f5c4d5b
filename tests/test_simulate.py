"""Simulated tissue: any window alone is the same, the truth is consistent, the effect is in it, and
it is hard.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window
from ifquant.simulation.simulated_window import (
    CHANNELS,
    CLASSES,
    SimulatedWindow,
    SimulationOptions,
    add_shapes,
    label_sums,
    simulate_cells,
    simulate_field,
    simulate_window,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
OPTIONS = SimulationOptions(size=(420, 500), seed=11)


@pytest.fixture(scope="module")
def field() -> SimulatedWindow:
    return simulate_field(OPTIONS)


@pytest.mark.parametrize(
    "window",
    [
        Window(0, 0, 420, 500),
        Window(0, 0, 97, 101),
        Window(131, 203, 260, 499),
        Window(419, 0, 420, 500),
    ],
)
def test_any_window_alone_is_the_same(field: SimulatedWindow, window: Window) -> None:
    part = simulate_window(OPTIONS, window)
    inside = window.slices_in(field.window)
    np.testing.assert_array_equal(part.image, field.image[(slice(None), *inside)])
    np.testing.assert_array_equal(part.nuclei, field.nuclei[inside])
    np.testing.assert_array_equal(part.cells, field.cells[inside])
    expected = field.table[field.table["id"].isin(np.unique(part.cells))].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.table, expected[part.table.columns])


def test_windows_of_a_large_slide_fit_far_from_its_corner() -> None:
    options = SimulationOptions(size=(16_384, 16_384), seed=5)
    whole = simulate_window(options, Window(9_000, 12_000, 9_200, 12_250))
    part = simulate_window(options, Window(9_100, 12_100, 9_200, 12_250))
    np.testing.assert_array_equal(part.image, whole.image[:, 100:, 100:])
    np.testing.assert_array_equal(part.cells, whole.cells[100:, 100:])
    assert len(whole.table) > 50


def test_a_slide_is_a_cut_of_one_tissue(field: SimulatedWindow) -> None:
    """The pixels do not depend on the size of the slide, only the truth at its cut does."""
    larger = simulate_window(SimulationOptions(size=(900, 900), seed=11), Window(0, 0, 420, 500))
    np.testing.assert_array_equal(larger.image, field.image)


def test_seeds_differ(field: SimulatedWindow) -> None:
    other = simulate_window(SimulationOptions(size=(420, 500), seed=12), Window(0, 0, 420, 500))
    assert np.mean(other.image != field.image) > 0.9


def test_image_is_twelve_bits(field: SimulatedWindow) -> None:
    assert field.image.shape == (len(CHANNELS), 420, 500)
    assert field.image.dtype == np.uint16
    assert field.image.max() <= 4095
    assert 80 < np.percentile(field.image, 1) < 200


def test_truth_is_consistent(field: SimulatedWindow) -> None:
    nuclei, cells, table = field.nuclei, field.cells, field.table
    np.testing.assert_array_equal(cells[nuclei > 0], nuclei[nuclei > 0])
    assert set(np.unique(cells)) - {0} == set(table["id"])
    assert table["id"].is_unique
    assert set(table["class"].unique()) == set(CLASSES)
    assert (table["nucleus_area_um2"] <= table["area_um2"]).all()
    assert (table["nucleus_area_um2"] > 0).mean() > 0.995
    one = table.iloc[len(table) // 2]
    mask = cells == one["id"]
    y, x = np.nonzero(mask)
    assert one["area_um2"] == mask.sum() * 0.25
    assert one["x_um"] == pytest.approx((x.mean() + 0.5) * 0.5)
    assert one["y_um"] == pytest.approx((y.mean() + 0.5) * 0.5)


def test_shapes_add_up_over_windows(field: SimulatedWindow) -> None:
    windows = [Window(0, 0, 200, 500), Window(200, 0, 420, 230), Window(200, 230, 420, 500)]
    parts = [label_sums(simulate_window(OPTIONS, window)) for window in windows]
    bare = field.table.drop(columns=["x_um", "y_um", "area_um2", "nucleus_area_um2"])
    pd.testing.assert_frame_equal(add_shapes(bare, parts, 0.5), field.table)


def test_stains_are_where_they_belong(field: SimulatedWindow) -> None:
    class_of = field.table.set_index("id")["class"]
    names = np.concatenate((["none"], class_of.to_numpy(str)))
    index = np.searchsorted(class_of.index.to_numpy(), field.cells) + 1
    kind = names[np.where(field.cells > 0, index, 0)]
    cytoplasm = field.nuclei != field.cells
    means = {
        (c, k): field.image[CHANNELS.index(c)][(kind == k) & cytoplasm].mean()
        for c in CHANNELS
        for k in ("tumor", "myeloid", "stroma")
    }
    assert means["PanCK", "tumor"] > 2 * means["PanCK", "stroma"]
    assert means["CD11c", "myeloid"] > 2 * means["CD11c", "tumor"]
    assert means["TGFB1", "tumor"] > 1.3 * means["TGFB1", "stroma"]
    assert means["IL1B", "myeloid"] > 1.7 * means["IL1B", "tumor"]
    dapi = field.image[0]
    assert dapi[field.nuclei > 0].mean() > 2 * dapi[field.nuclei == 0].mean()


def _slope(effect: float) -> tuple[float, float]:
    options = SimulationOptions(
        size=(4000, 4000), seed=1, effect=effect, ligand_range_um=15, response_range_um=15
    )
    table = simulate_cells(options).dropna(subset=["exposure", "il1b_z"])
    x, y = table["exposure"].to_numpy(), table["il1b_z"].to_numpy()
    slope, level = np.polyfit(x, y, 1)
    error = np.sqrt(
        np.sum((y - slope * x - level) ** 2) / (len(x) - 2) / np.sum((x - x.mean()) ** 2)
    )
    return float(slope), float(error)


@pytest.mark.parametrize("effect", [0.0, 0.8])
def test_the_effect_is_in_the_truth(effect: float) -> None:
    slope, error = _slope(effect)
    assert error < 0.1
    assert slope == pytest.approx(effect, abs=3.5 * error)


def test_threshold_and_watershed_find_it_hard() -> None:
    from truth import average_precision, threshold_and_watershed

    field = simulate_window(SimulationOptions(size=(700, 700), seed=4), Window(0, 0, 700, 700))
    half, strict = average_precision(threshold_and_watershed(field.image[0]), field.nuclei)
    assert 0.70 < half < 0.93
    assert strict < min(half - 0.05, 0.8)


def test_exposure_is_what_the_table_says() -> None:
    table = simulate_cells(SimulationOptions(size=(1200, 1200), seed=3, ligand_range_um=30))
    middle = table[table["nucleus_x_um"].between(40, 560) & table["nucleus_y_um"].between(40, 560)]
    tumor = table[table["class"] == "tumor"]
    myeloid = middle[(middle["class"] == "myeloid") & middle["exposure"].notna()]
    assert len(myeloid) > 20
    for _, one in myeloid.iterrows():
        distance = np.hypot(
            tumor["nucleus_x_um"] - one["nucleus_x_um"], tumor["nucleus_y_um"] - one["nucleus_y_um"]
        )
        near = tumor.assign(distance=distance).nsmallest(5, "distance")
        assert one["exposure"] == pytest.approx(near[near["distance"] <= 30]["tgfb1_z"].mean())
    np.testing.assert_allclose(tumor["tgfb1_level"], 420 * np.exp(0.6 * tumor["tgfb1_z"]))


def test_cells_without_pixels_are_the_same_cells(field: SimulatedWindow) -> None:
    light = simulate_cells(OPTIONS)
    both = light.merge(field.table, on="id", suffixes=("", "_full"))
    assert len(both) > 0.98 * len(light)
    np.testing.assert_array_equal(both["il1b_level"], both["il1b_level_full"])


def test_bad_requests_are_refused() -> None:
    with pytest.raises(RequestError, match=r"crowding is 9.*seed is -1|seed is -1.*crowding is 9"):
        SimulationOptions(crowding=9, seed=-1)
    with pytest.raises(RequestError, match="leaves the slide"):
        simulate_window(OPTIONS, Window(0, 0, 421, 500))
