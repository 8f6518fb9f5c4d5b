from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from ifquant.calibration.tissue import TissueMask
from ifquant.errors import RequestError
from ifquant.geometry.runs import CellRuns, runs_of
from ifquant.proximity.densities import densities, proximity_summary
from ifquant.proximity.distances import (
    count_within,
    nearest_border_px,
    nearest_of,
    proximity,
    tissue_within,
    touching_pairs,
)

DATA = Path(os.environ.get("IFQUANT_DATA", "../shared/data"))
NAMES = ["tumor", "myeloid", "other"]


def random_labels(seed: int, shape: tuple[int, int] = (90, 110), n: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for label in range(1, n + 1):
        y, x = rng.integers(0, shape[0] - 4), rng.integers(0, shape[1] - 4)
        h, w = (
            rng.integers(2, 16, 2) if label % 7 else (3, 60)
        )  # some long ones: boxes overlap without contact
        block = labels[y : y + h, x : x + w]
        block[(block == 0) & (rng.random(block.shape) < 0.9)] = label
    kept = np.unique(labels)
    return np.searchsorted(kept, labels).astype(np.int32)


def measured(labels: np.ndarray) -> tuple[np.ndarray, CellRuns]:
    ids = np.arange(1, labels.max() + 1)
    centers = np.array([np.argwhere(labels == k).mean(axis=0) + 0.5 for k in ids]).reshape(-1, 2)
    return centers[:, ::-1], runs_of(labels, ids)


def square_union(labels: np.ndarray, label: int) -> shapely.Geometry:
    return shapely.union_all(
        [shapely.box(x, y, x + 1, y + 1) for y, x in np.argwhere(labels == label)]
    )


@pytest.mark.parametrize("seed", range(4))
def test_borders_and_contacts_equal_shapely_on_unions_of_pixel_squares(seed: int) -> None:
    labels = random_labels(seed)
    points, runs = measured(labels)
    n, pixel = len(runs), 0.37
    code = np.random.default_rng(seed).integers(0, 3, n)
    shapes = [square_union(labels, k) for k in range(1, n + 1)]
    distance = np.array([[a.distance(b) for b in shapes] for a in shapes])
    np.fill_diagonal(distance, np.inf)
    columns = proximity(
        *(points * pixel).T, code, NAMES, runs, radii_um=[10], pixel_size_um=pixel, tissue=None
    )
    for index, name in enumerate(NAMES):
        to = np.where(code == index, distance, np.inf)
        np.testing.assert_allclose(
            columns[f"nearest_{name}_border_um"], to.min(axis=1) * pixel, atol=1e-9
        )
        assert np.array_equal(columns[f"n_touching_{name}"], (to == 0).sum(axis=1))
        alone = nearest_border_px(
            runs, np.flatnonzero(code == index), np.zeros(n, np.int32), np.full(n, -1)
        )
        np.testing.assert_allclose(
            alone, to.min(axis=1), atol=1e-9
        )  # seeds and contacts only speed it up
    assert np.array_equal(
        np.stack(touching_pairs(runs), axis=1), np.argwhere(np.triu(distance == 0, 1))
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 100_000), n=st.integers(1, 300), ties=st.booleans())
def test_centroid_columns_equal_ckdtree(seed: int, n: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    points = (
        rng.integers(0, 40, (n, 2)) * 5.0
        if ties
        else rng.random((n, 2)) * rng.choice([1.0, 300.0, 20_000.0])
    )
    code = rng.integers(-1, 3, n)
    radii = [5.0, 12.5, 50.0, 1000.0]
    columns = proximity(
        *points.T, code, NAMES, None, radii_um=radii, pixel_size_um=0.5, tissue=None
    )
    for index, name in enumerate(NAMES):
        targets = np.flatnonzero(code == index)
        if len(targets) == 0:
            assert np.isnan(columns[f"nearest_{name}_um"]).all()
            assert not columns[f"n_{name}_within_5um"].any()
            continue
        tree = cKDTree(points[targets])
        for i in range(n):
            others = targets[targets != i]
            expected = np.hypot(*(points[others] - points[i]).T).min() if len(others) else np.nan
            np.testing.assert_allclose(columns[f"nearest_{name}_um"][i], expected, rtol=1e-12)
        for radius in radii:
            expected = tree.query_ball_point(points, radius, return_length=True) - (code == index)
            assert np.array_equal(columns[f"n_{name}_within_{radius:g}um"], expected)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 3000),
    shape=st.sampled_from(["even", "nests", "line", "ties", "far corners"]),
)
def test_nearest_of_equals_ckdtree_to_the_bit(seed: int, n: int, shape: str) -> None:
    rng = np.random.default_rng(seed)
    points = rng.random((n, 2)) * 3000
    if shape == "nests":
        points = rng.random((5, 2))[rng.integers(0, 5, n)] * 9000 + rng.normal(0, 40, (n, 2))
    elif shape == "line":
        points *= [1, 1e-5]
    elif shape == "ties":
        points = np.round(points / 100) * 100
    elif shape == "far corners":
        points = np.where(rng.random((n, 1)) < 0.5, points * 0.01, points * 0.01 + 40_000)
    targets = np.flatnonzero(rng.random(n) < rng.choice([0.002, 0.3, 1.0]))
    distance, nearest = nearest_of(points, targets)
    itself = np.isin(np.arange(n), targets)
    if len(targets) - 1 < 1:
        assert np.isnan(distance[itself]).all()
        assert (nearest[itself] == -1).all()
    for chosen, k in ((~itself, 1), (itself, 2)):
        if len(targets) >= k and chosen.any():
            expected = cKDTree(points[targets]).query(points[chosen], [k])[0][:, 0]
            assert np.array_equal(distance[chosen], expected)
            assert not np.any(nearest[chosen] == np.flatnonzero(chosen))
            assert np.array_equal(
                np.sqrt(((points[chosen] - points[nearest[chosen]]) ** 2).sum(axis=1)), expected
            )


def test_hand_phantom() -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[2:4, 2:4] = 1  # tumor
    labels[4:6, 4:6] = 2  # myeloid: corner contact with 1
    labels[4:6, 9:11] = 3  # tumor: 3 columns from 2
    labels[15:16, 14:15] = 4  # tumor: 9 rows and 3 columns from 3
    points, runs = measured(labels)
    code = np.array([0, 1, 0, 0])
    tissue = TissueMask.full((20, 30), 4)
    out = proximity(
        *(points * 2).T,
        code,
        NAMES,
        runs,
        radii_um=[10, 20],
        pixel_size_um=2.0,
        tissue=tissue,
        of=["tumor", "myeloid"],
    )
    assert out["nearest_tumor_border_um"].tolist() == pytest.approx(
        [2 * 5.0, 0.0, 2 * 5.0, 2 * np.hypot(9, 3)]
    )
    assert out["n_touching_tumor"].tolist() == [0, 1, 0, 0]
    assert out["n_touching_myeloid"].tolist() == [1, 0, 0, 0]
    assert np.isnan(out["nearest_myeloid_um"]).tolist() == [
        False,
        True,
        False,
        False,
    ]  # no other myeloid cell: null
    assert np.isnan(out["nearest_myeloid_border_um"]).tolist() == [False, True, False, False]
    assert out["nearest_tumor_um"][1] == pytest.approx(2 * np.hypot(2, 2))
    assert out["n_tumor_within_10um"].tolist() == [0, 2, 0, 0]
    assert out["n_tumor_within_10um"].dtype == np.int32
    assert set(out) == {
        *(f"nearest_{p}_{kind}" for p in ("tumor", "myeloid") for kind in ("um", "border_um")),
        *(f"n_touching_{p}" for p in ("tumor", "myeloid")),
        *(f"n_{p}_within_{r}um" for p in ("tumor", "myeloid") for r in (10, 20)),
        "tissue_within_10um",
        "tissue_within_20um",
    }


def test_distances_scale_with_the_pixel_size_and_do_not_move_with_the_origin() -> None:
    labels = random_labels(11)
    points, runs = measured(labels)
    code = np.arange(len(runs)) % 3
    one = proximity(*points.T, code, NAMES, runs, radii_um=[8], pixel_size_um=1.0, tissue=None)
    moved = proximity(
        *((points + np.array([3000, 700])) * 0.25).T,
        code,
        NAMES,
        runs.shifted(700, 3000),
        radii_um=[2],
        pixel_size_um=0.25,
        tissue=None,
    )
    for name in NAMES:
        for column in (f"nearest_{name}_um", f"nearest_{name}_border_um"):
            np.testing.assert_allclose(moved[column], one[column] * 0.25, rtol=1e-9)
        assert np.array_equal(moved[f"n_{name}_within_2um"], one[f"n_{name}_within_8um"])
        assert np.array_equal(moved[f"n_touching_{name}"], one[f"n_touching_{name}"])


def test_results_do_not_depend_on_the_order_of_the_cells() -> None:
    labels = random_labels(5)
    points, runs = measured(labels)
    code = np.arange(len(runs)) % 3
    tissue = TissueMask.full(labels.shape, 8)
    shuffle = np.random.default_rng(0).permutation(len(runs))
    options = {"radii_um": [10, 30], "pixel_size_um": 0.5, "tissue": tissue}
    one = proximity(*(points * 0.5).T, code, NAMES, runs, **options)
    two = proximity(*(points[shuffle] * 0.5).T, code[shuffle], NAMES, runs.take(shuffle), **options)
    for name, values in one.items():
        assert np.array_equal(values[shuffle], two[name], equal_nan=True), name


@pytest.mark.parametrize("n", [0, 1])
def test_no_cell_and_one_cell(n: int) -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[4:6, 4:6] = n
    points, runs = measured(labels) if n else (np.zeros((0, 2)), CellRuns.empty())
    out = proximity(
        *points.T,
        [0] * n,
        NAMES,
        runs,
        radii_um=[10],
        pixel_size_um=0.5,
        tissue=TissueMask.full((9, 9), 4),
    )
    assert all(len(values) == n for values in out.values())
    assert np.isnan(out["nearest_tumor_um"]).all()
    assert np.isnan(out["nearest_tumor_border_um"]).all()
    assert not out["n_tumor_within_10um"].any()
    assert [len(part) for part in touching_pairs(runs)] == [0, 0]


def test_only_tumor_and_objects_without_pixels() -> None:
    labels = random_labels(2)
    points, runs = measured(labels)
    out = proximity(
        *points.T,
        np.zeros(len(runs), int),
        NAMES,
        runs,
        radii_um=[10],
        pixel_size_um=1.0,
        tissue=None,
    )
    assert np.isnan(out["nearest_myeloid_border_um"]).all()
    assert np.isfinite(out["nearest_tumor_border_um"]).all()
    nothing = proximity(
        *points.T,
        np.zeros(len(runs), int),
        NAMES,
        CellRuns.empty(len(runs)),
        radii_um=[10],
        pixel_size_um=1.0,
        tissue=None,
    )
    assert np.isnan(nothing["nearest_tumor_border_um"]).all()
    assert np.array_equal(nothing["nearest_tumor_um"], out["nearest_tumor_um"])


def test_wrong_requests_are_named() -> None:
    with pytest.raises(RequestError, match="one of each per cell"):
        proximity([1.0], [1.0], [0, 1], NAMES, None, radii_um=[1], pixel_size_um=1, tissue=None)
    with pytest.raises(RequestError, match="'immune' is not one of"):
        proximity(
            [1.0],
            [1.0],
            [0],
            NAMES,
            None,
            radii_um=[1],
            pixel_size_um=1,
            tissue=None,
            of=["immune"],
        )


def test_far_partners_and_many_cells_agree_with_brute_force() -> None:
    rng = np.random.default_rng(1)
    n = 3000
    y, x = rng.integers(0, 30_000, n), rng.integers(0, 500, n)
    width = rng.integers(1, 40, n)
    runs = CellRuns(
        np.arange(n + 1), y.astype(np.int32), x.astype(np.int32), (x + width).astype(np.int32)
    )
    targets = np.flatnonzero(np.arange(n) % 100 == 0)
    gap_x = np.maximum(
        np.maximum(x[:, None] - (x + width)[targets], x[targets] - (x + width)[:, None]), 0
    )
    gap_y = np.maximum(np.abs(y[:, None] - y[targets]) - 1, 0)
    gap = np.hypot(gap_x, gap_y)
    gap[targets, np.arange(len(targets))] = np.inf
    found = nearest_border_px(runs, targets, np.zeros(n, np.int32), np.full(n, -1))
    np.testing.assert_allclose(found, gap.min(axis=1), rtol=1e-12)


def test_tissue_discs_equal_shapely() -> None:
    rng = np.random.default_rng(0)
    shape, step = (203, 175), 10
    mask = rng.random((21, 18)) < 0.6
    tissue = TissueMask(mask, step, shape, "test")
    squares = shapely.union_all(
        [
            shapely.box(
                c * step, r * step, min((c + 1) * step, shape[1]), min((r + 1) * step, shape[0])
            )
            for r, c in np.argwhere(mask)
        ]
    )
    points = np.concatenate(
        (
            rng.random((25, 2)) * [175, 203],
            [[0.0, 0.0], [175.0, 203.0], [80.0, 100.0], [-40.0, 5.0]],
        )
    )
    radii = np.array([3.0, 25.0, 400.0])
    found = tissue_within(points * 0.5, radii * 0.5, tissue, 0.5)
    for i, point in enumerate(points):
        for k, radius in enumerate(radii):
            disc = shapely.Point(*point).buffer(radius, quad_segs=4096)
            assert found[i, k] == pytest.approx(
                disc.intersection(squares).area / disc.area, abs=2e-6
            )
    full = TissueMask.full(shape, step)
    assert tissue_within(np.array([[80.0, 100.0]]), np.array([50.0]), full, 1.0)[0, 0] == 1.0
    corner = tissue_within(np.array([[0.0, 0.0], [0.0, 100.0]]), np.array([50.0]), full, 1.0)
    np.testing.assert_allclose(corner[:, 0], [0.25, 0.5], rtol=1e-12)


def test_summary_of_a_slide() -> None:
    columns = {
        "nearest_tumor_um": np.array([5.0, np.nan, 15.0, 7.0]),
        "n_touching_tumor": np.array([1, 0, 0, 3]),
        "n_tumor_within_10um": np.array([1, 0, 0, 2]),
    }
    is_from = np.array([True, True, True, False])
    summary = proximity_summary(columns, is_from, "tumor", [10.0])
    assert summary == {
        "median_nearest_tumor_um": 10.0,
        "fraction_touching_tumor": pytest.approx(1 / 3),
        "fraction_tumor_within_10um": pytest.approx(1 / 3),
    }
    assert all(
        np.isnan(v) for v in proximity_summary(columns, np.zeros(4, bool), "tumor", [10.0]).values()
    )
    row = densities([0, 0, 1, -1], NAMES, 0.5)
    assert (row["n_cells"], row["n_tumor"], row["tumor_per_mm2"], row["n_other"]) == (4, 2, 4.0, 0)
    assert np.isnan(densities([0], NAMES, 0.0)["tumor_per_mm2"])


def test_keren_macrophage_to_tumor_distances() -> None:
    path = DATA / "cell_tables" / "keren_tnbc_DEV_11patients.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there (shared data)")
    table = pd.read_csv(path)
    medians = {}
    for patient, cells in table.groupby("patient"):
        points = cells[["x_um", "y_um"]].to_numpy()
        is_tumor, is_macrophage = (
            (cells["phenotype"] == "Tumor").to_numpy(),
            (cells["phenotype"] == "Macrophage").to_numpy(),
        )
        codes = np.where(is_tumor, 0, np.where(is_macrophage, 1, 2))
        columns = proximity(
            *points.T,
            codes,
            NAMES,
            None,
            radii_um=[10, 20, 50, 100],
            pixel_size_um=0.39,
            tissue=None,
        )
        expected, _ = cKDTree(points[is_tumor]).query(points[is_macrophage])
        np.testing.assert_allclose(columns["nearest_tumor_um"][is_macrophage], expected, rtol=1e-12)
        medians[patient] = np.median(expected)
        assert proximity_summary(columns, is_macrophage, "tumor", [10])[
            "median_nearest_tumor_um"
        ] == pytest.approx(medians[patient])
    classes = table.groupby("patient")["class_0mixed_1compartmentalized"].first()
    mixed = np.median([medians[p] for p in classes.index[classes == 0]])
    apart = np.median([medians[p] for p in classes.index[classes == 1]])
    assert mixed < apart


def test_helpers_refuse_nothing_empty() -> None:
    points = np.zeros((0, 2))
    none = np.zeros(0, np.int64)
    assert nearest_of(points, none)[0].shape == (0,)
    assert count_within(points, none, np.array([1.0])).shape == (0, 1)
