from __future__ import annotations

import numpy as np
import pytest
import shapely
from scipy import ndimage
from scipy.spatial import cKDTree

from ifquant.calibration.tissue import TissueMask
from ifquant.errors import RequestError
from ifquant.geometry.runs import CellRuns, runs_of
from ifquant.geometry.signed_distance import _feet, _number_border, signed_distance
from ifquant.proximity.tumor_region import (
    TumorRegion,
    margin_bands,
    tumor_region_of_cells,
    tumor_region_of_mask,
)
from ifquant.recipe.model import Proximity

PIXEL = 0.5
SHAPE = (1203, 1501)


def polygons_um(region: TumorRegion) -> list[shapely.Polygon]:
    """Polygons with holes: each outline switches inside and outside, outer ones first."""
    shapes = [
        shapely.make_valid(shapely.Polygon(ring)) for ring in region.rings_um if len(ring) > 3
    ]
    merged = shapely.GeometryCollection()
    for polygon in sorted(shapes, key=lambda shape: -shape.area):
        merged = shapely.symmetric_difference(merged, polygon)
    return [
        part for part in shapely.get_parts(merged) if part.geom_type == "Polygon" and part.area > 0
    ]


def region_of(mask: np.ndarray, **options: float) -> TumorRegion | None:
    return tumor_region_of_cells(
        runs_of(mask.astype(np.int32), [1]),
        image_shape=mask.shape,
        pixel_size_um=PIXEL,
        options=Proximity(**options),
    )


def disc(y: float, x: float, radius: float, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    yy, xx = np.ogrid[: shape[0], : shape[1]]
    return (yy + 0.5 - y) ** 2 + (xx + 0.5 - x) ** 2 < radius**2


def test_disc_with_hole_area_outline_and_distance() -> None:
    region = region_of(disc(600, 700, 450) & ~disc(600, 700, 150))
    assert region is not None
    true_mm2 = np.pi * (450**2 - 150**2) * PIXEL**2 / 1e6
    assert region.area_mm2 == pytest.approx(true_mm2, rel=0.02)
    assert sum(p.area for p in polygons_um(region)) / 1e6 == pytest.approx(true_mm2, rel=0.01)
    assert len(polygons_um(region)) == 1
    assert len(polygons_um(region)[0].interiors) == 1
    angle = np.linspace(0, 2 * np.pi, 400)
    for radius in (20, 100, 140, 160, 250, 440, 460, 550):
        x, y = 700 + radius * np.cos(angle), 600 + radius * np.sin(angle)
        expected = PIXEL * max(radius - 450, 150 - radius)
        found = region.signed_distance_um(x * PIXEL, y * PIXEL)
        assert np.abs(found - expected).max() < 1.5, radius
        assert abs(found.mean() - expected) < 0.6, radius
        outline = shapely.union_all([p.boundary for p in polygons_um(region)])
        by_outline = shapely.distance(outline, shapely.points(x * PIXEL, y * PIXEL))
        np.testing.assert_allclose(np.abs(found), by_outline, atol=1.0)


def test_distance_to_straight_borders_is_right_below_the_grid_step() -> None:
    for edge in (400, 403, 405, 407):
        mask = np.zeros(SHAPE, bool)
        mask[:, :edge] = True
        region = region_of(mask)
        assert region is not None
        x = np.array([5.0, 100.0, 300.0, 399.0, 405.0, 700.0, 1400.0])
        np.testing.assert_allclose(
            region.signed_distance_um(x * PIXEL, np.full(7, 300.0)), (x - edge) * PIXEL, atol=0.5
        )
        assert region.area_mm2 == pytest.approx(edge * SHAPE[0] * PIXEL**2 / 1e6, rel=0.01)


def test_gaps_close_small_parts_vanish() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[100:500, 100:500] = True
    mask[100:500, 550:900] = True  # 25 um gap: closed
    mask[100:500, 1000:1400] = True  # 50 um gap: stays
    mask[900:920, 200:220] = True  # 100 um2
    mask[200:300, 1100:1200] = False  # hole of 2,500 um2: ignored
    region = region_of(mask, region_close_um=30, region_min_area_um2=5000)
    assert region is not None
    assert len(polygons_um(region)) == 2
    assert all(len(p.interiors) == 0 for p in polygons_um(region))
    distance = region.signed_distance_um(
        [525 * PIXEL, 950 * PIXEL, 210 * PIXEL], [300 * PIXEL, 300 * PIXEL, 910 * PIXEL]
    )
    assert distance[0] < 0 < distance[1]
    assert distance[2] > 100
    holes = region_of(mask, region_close_um=4, region_min_area_um2=2000)
    assert holes is not None
    assert len(polygons_um(holes)) == 3
    assert sum(len(p.interiors) for p in polygons_um(holes)) == 1


def test_scattered_tumor_cells_form_one_region_and_gaps_at_the_image_border_close() -> None:
    mask = np.zeros((800, 800), bool)
    for y in range(10, 800, 40):
        for x in range(10, 400, 40):
            mask[y : y + 20, x : x + 20] = True  # 10 um cells, 10 um apart
    region = region_of(mask)
    assert region is not None
    assert len(polygons_um(region)) == 1
    assert region.area_mm2 == pytest.approx(390 * 800 * PIXEL**2 / 1e6, rel=0.05)
    assert region.signed_distance_um([2.0], [2.0])[0] < 0


def test_no_tumor_only_tumor_and_debris() -> None:
    assert tumor_region_of_cells(CellRuns.empty(), image_shape=SHAPE, pixel_size_um=PIXEL) is None
    assert region_of(disc(300, 300, 20)) is None
    whole = region_of(np.ones(SHAPE, bool))
    assert whole is not None
    assert whole.area_mm2 == pytest.approx(SHAPE[0] * SHAPE[1] * PIXEL**2 / 1e6)
    assert np.isnan(whole.signed_distance_um([10.0], [10.0])).all()
    assert len(polygons_um(whole)) == 1
    bands = margin_bands(
        whole, TissueMask.full(SHAPE, 16), [10.0], [10.0], [0], ["tumor"], [-10, 0, 10]
    )
    assert bands["n_tumor"].tolist() == [0, 0]
    assert bands["tumor_per_mm2"].isna().all()


def test_region_from_polygons() -> None:
    step = 16
    grid = disc(600 / step, 700 / step, 400 / step, (76, 94))
    region = tumor_region_of_mask(grid, step_px=step, image_shape=SHAPE, pixel_size_um=PIXEL)
    assert region is not None
    assert region.origin == "regions"
    assert region.area_mm2 == pytest.approx(np.pi * 400**2 * PIXEL**2 / 1e6, rel=0.02)
    assert region.signed_distance_um([500.0, 600.0], [300.0, 300.0]) == pytest.approx(
        [-50, 50], abs=2
    )
    assert (
        tumor_region_of_mask(
            np.zeros((76, 94), bool), step_px=step, image_shape=SHAPE, pixel_size_um=PIXEL
        )
        is None
    )
    with pytest.raises(RequestError, match="expected \\(76, 94\\)"):
        tumor_region_of_mask(grid[1:], step_px=step, image_shape=SHAPE, pixel_size_um=PIXEL)


def test_bands_hold_the_true_area_and_the_planted_densities() -> None:
    region = region_of(disc(600, 700, 300))
    assert region is not None
    edges = [-100, -50, -20, 0, 20, 50, 100]
    tissue = TissueMask.full(SHAPE, 16)
    rng = np.random.default_rng(0)
    n = 40_000
    x, y = rng.random(n) * SHAPE[1] * PIXEL, rng.random(n) * SHAPE[0] * PIXEL
    code = rng.integers(0, 2, n)
    bands = margin_bands(region, tissue, x, y, code, ["tumor", "myeloid"], edges)
    radii = 150 + np.array(edges, float)
    expected = np.pi * np.diff(radii**2) / 1e6
    np.testing.assert_allclose(bands["tissue_mm2"], expected, rtol=0.04)
    density = n / 2 / (SHAPE[0] * SHAPE[1] * PIXEL**2 / 1e6)
    error = 4 / np.sqrt(bands["n_tumor"])
    assert np.all(np.abs(bands["tumor_per_mm2"] / density - 1) < error + 0.01)
    assert list(bands) == [
        "from_um",
        "to_um",
        "tissue_mm2",
        "n_tumor",
        "tumor_per_mm2",
        "n_myeloid",
        "myeloid_per_mm2",
    ]
    half = tissue.mask.copy()
    half[:, :44] = False
    left_out = margin_bands(
        region, TissueMask(half, 16, SHAPE, "half"), x, y, code, ["tumor", "myeloid"], edges
    )
    assert np.all(left_out["tissue_mm2"] < 0.6 * bands["tissue_mm2"])
    assert np.all(
        np.abs(left_out["tumor_per_mm2"] / density - 1) < 6 / np.sqrt(left_out["n_tumor"])
    )
    assert region.area_within_mm2(tissue) == pytest.approx(region.area_mm2)
    assert region.area_within_mm2(TissueMask(half, 16, SHAPE, "half")) < 0.6 * region.area_mm2
    with pytest.raises(RequestError, match="ascending"):
        margin_bands(region, tissue, x, y, code, ["tumor"], [0, 0])


def test_signed_distance_of_a_field_without_zero_level() -> None:
    assert (signed_distance(np.ones((3, 4))) < -1e8).all()
    assert (signed_distance(-np.ones((3, 4))) > 1e8).all()
    plane = np.add.outer(np.zeros(30), np.arange(40) - 17.3)
    np.testing.assert_allclose(signed_distance(-plane), plane, atol=1e-5)


def test_signed_distance_is_that_to_the_nearest_point_of_the_outline() -> None:
    rng = np.random.default_rng(3)
    yx = np.stack(np.mgrid[:260, :310], axis=-1).reshape(-1, 2)
    for sigma in (2, 5, 12):
        level = ndimage.gaussian_filter(rng.normal(size=(260, 310)), sigma)
        level = (level / level.std() - 0.8).astype(np.float32)
        feet, _, _ = _feet(level, *_number_border(level))
        expected = cKDTree(feet).query(yx)[0].reshape(level.shape)
        found = signed_distance(level)
        assert np.array_equal(found < 0, (level > 0) & (found != 0))
        error = np.abs(found) - expected
        assert error.min() > -1e-4
        assert np.mean(error > 1e-3) < 0.005
        assert error.max() < 1.0
        # the control: the nearest grid center beside the outline instead of the nearest point of it
        centers = ndimage.distance_transform_edt(_number_border(level)[0] < 0)
        assert np.mean(np.abs(centers - expected) > 1e-3) > 0.5
