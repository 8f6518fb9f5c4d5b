"""Summary functions agree with R's spatstat to its printed digits, in rectangles and in a region
with a notch and a hole.
"""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.stats import norm

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.statistics.patterns import region_measures
from ifquant.statistics.patterns.point_patterns import (
    Curve,
    cross_g,
    cross_k,
    cross_k_inhomogeneous,
    cross_l,
    intensity_at,
)

R = np.arange(501) / 20
AT = {5: 100, 10: 200, 20: 400}
DIGITS = 1e-7


def halton(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """The pattern of the reference: points without random numbers, and their marks."""

    def radical_inverse(k: int, base: int) -> float:
        value, digit = 0.0, 1
        while k:
            digit *= base
            value += (k % base) / digit
            k //= base
        return value

    i = np.arange(1, n + 1)
    xy = np.array([[100 * radical_inverse(int(k), 2), 100 * radical_inverse(int(k), 3)] for k in i])
    mark = np.where(
        (xy[:, 0] + 2 * xy[:, 1]) / 300 + 0.25 * np.sin(i) > 0.55,
        "T",
        np.where(i % 3 == 0, "M", "O"),
    )
    return xy, mark


XY, MARK = halton()
M, T = XY[MARK == "M"], XY[MARK == "T"]
RECTANGLE = Region.rectangle(100, 100)
AS_MASK = Region(np.ones((20, 25), np.bool_), (4.0, 5.0), origin="the same rectangle as a grid")
_cells = np.ones((10, 10), np.bool_)
_cells[7:, 6:] = _cells[3:6, 2:4] = False
NOTCHED = Region(_cells, (10.0, 10.0))
OUTLINE = shapely.Polygon(
    [(0, 0), (100, 0), (100, 70), (60, 70), (60, 100), (0, 100)],
    [[(20, 30), (40, 30), (40, 60), (20, 60)]],
)


def close(curve: Curve, at: dict[int, float]) -> None:
    for r, value in at.items():
        assert curve.value[AT[r]] == pytest.approx(value, rel=DIGITS)


# --- spatstat.explore 3.0-6, R 4.2.2 --------------------------------------------------------------

K_SPATSTAT = {
    "none": {5: 11.56738, 10: 53.981107, 20: 310.39136},
    "border": {5: 10.720986, 10: 69.59707, 20: 608.62215},
    "translate": {5: 12.215599, 10: 59.383555, 20: 375.99158},
    "isotropic": {5: 13.613174, 10: 59.378611, 20: 370.31463},
}
G_SPATSTAT = {"none": 0.087719298, "border": 0.073170732, "km": 0.066489362, "hanisch": 0.093230215}


@pytest.mark.parametrize("region", [RECTANGLE, AS_MASK], ids=["rectangle", "mask"])
def test_k_l_and_g_have_spatstats_digits(region: Region) -> None:
    assert [np.count_nonzero(m == MARK) for m in "MOT"] == [57, 52, 91]
    for correction, values in K_SPATSTAT.items():
        close(cross_k(M, T, region, R, correction=correction), values)  # type: ignore[arg-type]
    close(cross_l(M, T, region, R), {10: 4.3476859})
    assert cross_k(XY, XY, region, R).value[200] == pytest.approx(
        260.4525, rel=5e-7
    )  # Kest: no point counts itself
    for correction, value in G_SPATSTAT.items():
        curve = cross_g(M, T, region, R, correction=correction)  # type: ignore[arg-type]
        close(curve, {5: value})
        assert curve.value[50] == 0


@pytest.mark.parametrize("region", [RECTANGLE, AS_MASK], ids=["rectangle", "mask"])
def test_inhomogeneous_k_and_its_intensities_have_spatstats_digits(region: Region) -> None:
    np.testing.assert_allclose(
        intensity_at(T, region, 15.0)[:3], [0.0060755009, 0.010760088, 0.011248538], rtol=DIGITS
    )
    np.testing.assert_allclose(
        intensity_at(M, region, 15.0)[:3], [0.014087131, 0.013162744, 0.01663266], rtol=DIGITS
    )
    curve = cross_k_inhomogeneous(M, T, region, R, bandwidth_um=15.0)
    close(curve, {10: 58.80296})
    assert curve.bandwidth_um == 15
    constant = np.full(len(M), 50 / 1e4), np.full(len(T), 80 / 1e4)
    close(
        cross_k_inhomogeneous(M, T, region, R, bandwidth_um=15.0, intensities=constant),
        {10: 77.005625},
    )


def test_constant_intensities_give_the_homogeneous_k() -> None:
    for correction in ("translate", "border", "none"):
        constant = np.full(len(M), len(M) / 1e4), np.full(len(T), len(T) / 1e4)
        inhomogeneous = cross_k_inhomogeneous(
            M, T, RECTANGLE, R, bandwidth_um=15.0, correction=correction, intensities=constant
        )  # type: ignore[arg-type]
        np.testing.assert_allclose(
            inhomogeneous.value,
            cross_k(M, T, RECTANGLE, R, correction=correction).value,
            rtol=1e-12,
        )  # type: ignore[arg-type]


def test_a_region_with_notch_and_hole_has_spatstats_digits() -> None:
    """Values of tests/spatstat/region_with_hole.R at r = 5, 10, 15."""
    inside = NOTCHED.contains(*XY.T)
    sources, targets = XY[inside & (MARK == "M")], XY[inside & (MARK == "T")]
    assert (NOTCHED.area_um2, len(sources), len(targets)) == (8200, 56, 67)
    r, at = np.arange(401) / 20, [100, 200, 300]
    for correction, values in {
        "none": [13.1130064, 61.19402985, 179.2110874],
        "border": [13.23114159, 93.24804549, 474.2537313],
        "translate": [14.24831505, 70.87366814, 223.7686002],
    }.items():
        np.testing.assert_allclose(
            cross_k(sources, targets, NOTCHED, r, correction=correction).value[at],
            values,
            rtol=1e-9,
        )  # type: ignore[arg-type]
    np.testing.assert_allclose(
        cross_g(sources, targets, NOTCHED, r, correction="border").value[at],
        [0.08108108108, 0.5238095238, 1],
        rtol=1e-9,
    )
    np.testing.assert_allclose(
        cross_g(sources, targets, NOTCHED, r).value[at],
        [0.07196969697, 0.4407220308, 0.7063790662],
        rtol=1e-9,
    )
    head = [11.11111111, 7.777777778, 3.703703704, 14.81481481, 7.407407407, 9.375]
    np.testing.assert_allclose(
        region_measures.border_distance_um(NOTCHED, sources)[:6], head, rtol=1e-9
    )


def test_inhomogeneous_k_in_a_region_with_notch_and_hole_has_spatstats_digits() -> None:
    """Values of tests/spatstat/region_with_hole.R at r = 5, 10, 15; both sides are given the same
    intensities.
    """
    inside = NOTCHED.contains(*XY.T)
    sources, targets = XY[inside & (MARK == "M")], XY[inside & (MARK == "T")]
    given = (
        len(sources) / 8200 * (0.5 + sources[:, 0] / 100),
        len(targets) / 8200 * (0.5 + targets[:, 1] / 100),
    )
    r, at = np.arange(401) / 20, [100, 200, 300]

    def k(correction: str) -> np.ndarray:
        curve = cross_k_inhomogeneous(
            sources,
            targets,
            NOTCHED,
            r,
            bandwidth_um=15.0,
            correction=correction,
            intensities=given,
        )  # type: ignore[arg-type]
        return curve.value[at]

    np.testing.assert_allclose(k("none"), [15.73991569, 71.99396803, 211.4674272], rtol=1e-9)
    np.testing.assert_allclose(k("border"), [13.36973186, 106.9219584, 630.8721929], rtol=1e-9)
    np.testing.assert_allclose(k("translate"), [17.10051092, 83.38593301, 264.1853311], rtol=1e-9)
    np.testing.assert_allclose(
        k("translate"), [17.13055003, 83.39900259, 264.7921846], rtol=3e-3
    )  # its default: covariance on a raster
    with pytest.raises(RequestError, match="isotropic correction is for rectangles"):
        k("isotropic")


def test_intensities_in_a_region_with_notch_and_hole_are_exact_spatstats_on_a_raster() -> None:
    """The mass of the kernel is that of three rectangles; R sums it over a raster (2048 x 2048:
    tests/spatstat/region_with_hole.R).
    """

    def mass(xy: np.ndarray, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        x, y = xy.T
        across, down = (
            norm.cdf(right, x, 15.0) - norm.cdf(left, x, 15.0),
            norm.cdf(bottom, y, 15.0) - norm.cdf(top, y, 15.0),
        )
        return np.asarray(across * down)

    inside = NOTCHED.contains(*XY.T)
    for kind, spatstat in {
        "M": [0.01409060001, 0.01458668471, 0.01669117669],
        "T": [0.006060895751, 0.01158428123, 0.0102240797],
    }.items():
        xy = XY[inside & (kind == MARK)]
        kernels = np.exp(-(cdist(xy, xy) ** 2) / (2 * 15.0**2)) / (2 * np.pi * 15.0**2)
        expected = (kernels.sum(axis=1) - kernels.diagonal()) / (
            mass(xy, 0, 0, 100, 100) - mass(xy, 60, 70, 100, 100) - mass(xy, 20, 30, 40, 60)
        )
        np.testing.assert_allclose(intensity_at(xy, NOTCHED, 15.0), expected, rtol=1e-6)
        np.testing.assert_allclose(intensity_at(xy, NOTCHED, 15.0)[:3], spatstat, rtol=2e-3)


def test_nearest_neighbour_distances_have_spatstats_digits() -> None:
    nearest = cKDTree(T).query(M)[0]
    assert (nearest.mean(), np.median(nearest), nearest.max()) == pytest.approx(
        (18.75792623, 14.11658826, 46.74796863), rel=1e-9
    )


# --- the region's geometry against shapely --------------------------------------------------------


def random_region(seed: int) -> tuple[Region, shapely.Geometry]:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 9, 2)) < 0.7
    mask[0, 0] = True
    step, corner = tuple(rng.uniform(3, 20, 2)), tuple(rng.uniform(-50, 50, 2))
    boxes = [
        shapely.box(
            corner[0] + c * step[0],
            corner[1] + r * step[1],
            corner[0] + (c + 1) * step[0],
            corner[1] + (r + 1) * step[1],
        )
        for r, c in np.argwhere(mask)
    ]
    return Region(mask, step, corner), shapely.union_all(boxes)


def points_in(region: Region, n: int, rng: np.random.Generator) -> np.ndarray:
    cells = np.argwhere(region.mask)[rng.integers(0, region.mask.sum(), n)][:, ::-1]
    return (cells + rng.random((n, 2))) * region.step_um + region.corner_um


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_geometry_of_any_mask_equals_shapely(seed: int) -> None:
    region, shape = random_region(seed)
    rng = np.random.default_rng(seed)
    points = points_in(region, 8, rng)
    assert region.area_um2 == pytest.approx(shape.area, rel=1e-9)
    distance = region_measures.border_distance_um(region, points)
    np.testing.assert_allclose(
        distance, [shape.boundary.distance(shapely.Point(p)) for p in points], atol=1e-6
    )
    shifts = rng.uniform(-40, 40, (8, 2))
    common = [shape.intersection(shapely.affinity.translate(shape, *s)).area for s in shifts]
    np.testing.assert_allclose(
        region_measures.covariogram(region, 40.0).area_um2(*shifts.T), common, atol=1e-6
    )
    radii = np.array([1.0, 7.0, 30.0])
    discs = [
        [shape.intersection(shapely.Point(p).buffer(r, quad_segs=512)).area for r in radii]
        for p in points
    ]
    np.testing.assert_allclose(
        region_measures.disc_areas_um2(region, points, radii), discs, rtol=1e-4, atol=1e-3
    )


def test_kernel_mass_equals_counting_on_a_fine_lattice() -> None:
    rng = np.random.default_rng(2)
    points = points_in(NOTCHED, 20, rng)
    fine = (np.argwhere(np.kron(NOTCHED.mask, np.ones((40, 40)))) + 0.5)[:, ::-1] / 4
    for sd in (4.0, 15.0):
        mass = (
            np.exp(-(cdist(points, fine) ** 2) / (2 * sd**2)).sum(axis=1) / 16 / (2 * np.pi * sd**2)
        )
        np.testing.assert_allclose(
            region_measures.gaussian_mass(NOTCHED, points, sd), mass, rtol=2e-3
        )


def test_eroded_areas_of_a_mask_approach_the_polygons() -> None:
    for r in (0.0, 3.03, 8.07):
        assert region_measures.eroded_area_um2(NOTCHED, np.array([r]))[0] == pytest.approx(
            OUTLINE.buffer(-r, quad_segs=64).area, rel=0.01
        )
    np.testing.assert_allclose(
        region_measures.eroded_area_um2(RECTANGLE, R), np.maximum(100 - 2 * R, 0) ** 2
    )


# --- properties -----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_correction_equals_the_definition_on_all_pairs(seed: int) -> None:
    region, _ = random_region(seed)
    rng = np.random.default_rng(seed)
    a, b = (
        points_in(region, int(rng.integers(1, 30)), rng),
        points_in(region, int(rng.integers(1, 60)), rng),
    )
    r = np.sort(rng.uniform(0.5, 40, 9))
    distance, delta = cdist(a, b), b[None] - a[:, None]
    border = region_measures.border_distance_um(region, a)
    common = (
        region_measures.covariogram(region, 40.0)
        .area_um2(*np.clip(delta, -40, 40).reshape(-1, 2).T)
        .reshape(distance.shape)
    )
    near = distance[..., None] <= r
    area, seen = region.area_um2, region_measures.disc_areas_um2(region, a, r)
    weights = np.divide(
        area, common, out=np.zeros_like(common), where=(common > 0) & (distance <= r[-1])
    )
    expected = {
        "none": area / (len(a) * len(b)) * near.sum(axis=(0, 1)),
        "translate": area / (len(a) * len(b)) * (near * weights[..., None]).sum(axis=(0, 1)),
        "seen": area / len(b) * near.sum(axis=(0, 1)) * np.pi * r**2 / seen.sum(axis=0),
    }
    usable = (border[:, None] >= r).sum(axis=0)
    counted = (near.sum(axis=1) * (border[:, None] >= r)).sum(axis=0)
    expected["border"] = np.divide(
        area / len(b) * counted, usable, out=np.full(len(r), np.nan), where=usable > 0
    )
    for correction, values in expected.items():
        np.testing.assert_allclose(
            cross_k(a, b, region, r, correction=correction).value, values, rtol=1e-9
        )  # type: ignore[arg-type]


def test_rigid_motion_scale_and_the_order_of_cells_change_nothing() -> None:
    rng = np.random.default_rng(4)
    inside = NOTCHED.contains(*XY.T)
    a, b, r = XY[inside & (MARK == "M")], XY[inside & (MARK == "T")], np.arange(1, 16.0)
    k = cross_k(a, b, NOTCHED, r).value
    shuffled = cross_k(a[rng.permutation(len(a))], b[rng.permutation(len(b))], NOTCHED, r).value
    np.testing.assert_allclose(shuffled, k, rtol=1e-12)
    turned = Region(
        np.ascontiguousarray(np.rot90(NOTCHED.mask)), (10.0, 10.0), (500.0, -300.0)
    )  # y up: a quarter turn of the grid

    def turn(p: np.ndarray) -> np.ndarray:
        return np.stack((p[:, 1] + 500, 100 - p[:, 0] - 300), axis=1)

    np.testing.assert_allclose(cross_k(turn(a), turn(b), turned, r).value, k, rtol=1e-9)
    larger = Region(NOTCHED.mask, (25.0, 25.0))
    np.testing.assert_allclose(
        cross_k(a * 2.5, b * 2.5, larger, r * 2.5).value, k * 2.5**2, rtol=1e-9
    )


def test_estimates_are_unbiased_under_independence_where_uncorrected_counts_are_not() -> None:
    rng = np.random.default_rng(7)
    r = np.array([5.0, 10.0, 15.0])
    means = {}
    for correction in ("translate", "border", "seen", "none"):
        curves = [
            cross_k(
                points_in(NOTCHED, 60, rng),
                points_in(NOTCHED, 80, rng),
                NOTCHED,
                r,
                correction=correction,
            ).value
            for _ in range(300)
        ]  # type: ignore[arg-type]
        means[correction] = np.mean(curves, axis=0) / (np.pi * r**2)
    for correction in ("translate", "border", "seen"):
        np.testing.assert_allclose(means[correction], 1, atol=0.06)
    assert (means["none"][1:] < 0.9).all()


def test_a_region_made_from_cells_holds_all_of_them_and_leaves_large_gaps_out() -> None:
    rng = np.random.default_rng(3)
    cells = rng.random((6000, 2)) * 1000 + 5000
    cells = cells[np.hypot(*(cells - 5500).T) > 150]
    region = region_measures.region_around(cells)
    assert region.contains(*cells.T).all()
    assert region.area_um2 == pytest.approx(1e6 - np.pi * 150**2, rel=0.04)
    assert not region.contains(5500.0, 5500.0)


def test_what_cannot_be_computed_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(RequestError, match="lie outside the region"):
        cross_k(M, T, NOTCHED, R[1:200])
    with pytest.raises(RequestError, match="isotropic correction is for rectangles"):
        cross_k(
            points_in(NOTCHED, 5, rng),
            points_in(NOTCHED, 5, rng),
            NOTCHED,
            R,
            correction="isotropic",
        )
    with pytest.raises(RequestError, match="both kinds need some"):
        cross_g(M, T[:0], RECTANGLE, R)
    with pytest.raises(RequestError, match="sorted"):
        cross_k(M, T, RECTANGLE, [5.0, 3.0])
    with pytest.raises(RequestError, match="finite numbers"):
        cross_k(M * np.nan, T, RECTANGLE, R)
    with pytest.raises(RequestError, match="larger bandwidth_um"):
        cross_k_inhomogeneous(M, T, RECTANGLE, R, bandwidth_um=0.5)
    with pytest.raises(RequestError, match="half the shorter side"):
        cross_k(M, T, RECTANGLE, [60.0], correction="isotropic")
    with pytest.raises(RequestError, match="something in it"):
        Region(np.zeros((3, 3), np.bool_), (1.0, 1.0))
