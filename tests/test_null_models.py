"""The parts of the tests of one slide, each against brute force or an independent library."""

from __future__ import annotations

import numpy as np
import pytest
from point_tissue import PointOptions, gaussian_field, point_tissue
from scipy import stats
from scipy.spatial import cKDTree

from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Recipe
from ifquant.statistics.buckets import sort_into_buckets
from ifquant.statistics.priming.covariance import Kernels, ProjectedKernels
from ifquant.statistics.priming.exposure import Contacts, contacts_within, outline_contacts
from ifquant.statistics.priming.field_shifts import Places, shifted_exposure
from ifquant.statistics.priming.primary_association import (
    Primary,
    exposure_of,
    less_exposure,
    primary_association,
    regression,
)
from ifquant.statistics.priming.question import question_of
from ifquant.statistics.priming.slide_cells import SlideCells, SlideData
from ifquant.statistics.priming.structure import (
    LocalLevels,
    normal_scores,
    orthonormal,
    residual,
    trend_basis,
)
from ifquant.statistics.priming.surrogates import gaussian_surrogates


def places(n: int, seed: int = 0, size: float = 600.0) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(seed).uniform(0, size, (2, n))
    return x, y


@pytest.fixture(scope="module")
def drawn() -> Primary:
    tissue = point_tissue(PointOptions(size_um=(500, 500), autofluorescence=0.3), 4)
    roles = {"DAPI": "nucleus", "PanCK": "tumor", "CD11c": "myeloid"}
    channels = [
        {"name": name, "role": roles.get(name, "marker")}
        for name in ("DAPI", "PanCK", "CD11c", "TGFB1", "IL1B")
    ]
    channels[4]["compartment"] = "cytoplasm"
    asked, options = question_of(
        resolved(
            Recipe.model_validate(
                {"channels": channels, "priming": {"response": "IL1B", "ligand": "TGFB1"}}
            )
        )
    )
    data = SlideCells.of(SlideData(tissue.cells, tissue.pairs), asked, options)
    return primary_association(data, exposure_of(data))


def test_scores_are_van_der_waerden() -> None:
    values = np.array([3.0, 1.0, 1.0, 10.0, -2.0])
    expected = stats.norm.ppf(stats.rankdata(values) / 6)
    assert np.corrcoef(normal_scores(values), expected)[0, 1] == pytest.approx(1)
    assert normal_scores(values).std() == pytest.approx(1)
    assert (normal_scores(np.ones(4)) == 0).all()
    np.testing.assert_allclose(normal_scores(np.exp(values)), normal_scores(values))


def test_residuals_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(1)
    a, y = rng.standard_normal((50, 3)), rng.standard_normal(50)
    basis = orthonormal([a, a[:, 0] * 2 + 1, np.zeros(50)], 50)
    assert basis.shape == (50, 4), "columns that add nothing are left out"
    design = np.column_stack([np.ones(50), a])
    expected = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(residual(y, basis), expected, atol=1e-12)


def test_trend_terms_are_smooth_and_independent() -> None:
    x, y = places(400)
    basis = trend_basis(x, y, 20, (0, 0, 600, 600))
    assert basis.shape == (400, 20)
    assert orthonormal([basis], 400).shape[1] == 21
    plane = 3 * x - 2 * y
    assert np.abs(residual(plane, orthonormal([basis], 400))).max() < 1e-9 * np.abs(plane).max()


def test_local_levels_are_gaussian_means() -> None:
    x, y = places(3000)
    rng = np.random.default_rng(2)
    values, members = rng.standard_normal(3000) + x / 100, rng.random(3000) < 0.3
    found = LocalLevels.around(x, y, 40.0).mean(values, members)
    weight = np.exp(
        -((x[:, None] - x[members]) ** 2 + (y[:, None] - y[members]) ** 2) / (2 * 40.0**2)
    )
    expected = weight @ values[members] / weight.sum(axis=1)
    assert np.abs(found - expected).max() < 0.25
    assert np.corrcoef(found, expected)[0, 1] > 0.998


def test_shifted_exposure_is_the_nearest_source_within_reach() -> None:
    x, y = places(500)
    value = np.random.default_rng(3).standard_normal(500)
    responders, sources = np.repeat(np.arange(20), 3), np.arange(100, 160)
    near = outline_contacts(x, y, responders, sources)
    member = np.searchsorted(near.touched, near.sources)
    moves = np.array([[0.0, 0.0], [35.0, -80.0], [5000.0, 0.0]])
    buckets = sort_into_buckets(np.column_stack([x, y]), 15.0, (600.0, 600.0))
    inside = np.ones((3, len(near.touched)), bool)
    mx, my = x[near.touched], y[near.touched]
    touched = Places(near.offsets, member, near.weight, mx, my)
    found = shifted_exposure(moves, touched, inside, buckets, value[buckets.order], 15.0)
    tree = cKDTree(np.column_stack([x, y]))
    for s, move in enumerate(moves):
        distance, nearest = tree.query(np.column_stack([mx, my]) + move)
        taken = np.where(distance < 15.0, value[nearest], np.nan)[member].reshape(20, 3)
        kept = np.isfinite(taken)
        expected = np.where(
            kept.any(axis=1), np.nansum(taken, axis=1) / np.maximum(kept.sum(axis=1), 1), np.nan
        )
        np.testing.assert_allclose(found[s], expected)
    np.testing.assert_allclose(found[0], near.mean(value[near.sources]))
    outside = shifted_exposure(moves, touched, ~inside, buckets, value[buckets.order], 15.0)
    assert np.isnan(outside).all()


def test_neighbours_and_their_means() -> None:
    x, y = np.array([0.0, 5.0, 9.0, 30.0]), np.zeros(4)
    responder, source = np.array([True, False, False, False]), np.array([False, True, True, True])
    points = np.column_stack([x, y])
    near = contacts_within(points, responder, source, 10.0)
    assert near.sources.tolist() == [1, 2]
    np.testing.assert_allclose(near.weight, [0.75, 0.19])
    assert near.mean(np.array([1.0, 2.0])) == pytest.approx([(0.75 + 0.38) / 0.94])
    apart = near.without(Contacts.of(np.array([0]), np.array([1]), np.ones(1), np.zeros(1)))
    assert apart.sources.tolist() == [2]
    assert len(contacts_within(points, responder, ~source & ~responder, 10.0)) == 0


@pytest.mark.parametrize("terms", [3, 16])
def test_the_variance_of_a_correlation_is_that_of_independent_fields(terms: int) -> None:
    """400 pairs of independent fields through one regression: the formula gives the spread, the
    naive 1/n misses it.
    """
    x, y = places(250, 4)
    basis = orthonormal([trend_basis(x, y, terms, (0, 0, 600, 600))], 250)
    kernels = ProjectedKernels.of(Kernels.at(x, y), basis)
    at, size = np.column_stack([x, y]), (600.0, 600.0)
    rng = np.random.default_rng(5)
    found, given = [], []
    for _ in range(400):
        a, b = (
            residual(gaussian_field(rng, size, 60.0, at) + 0.5 * rng.standard_normal(250), basis)
            for _ in range(2)
        )
        found.append(a @ b / np.sqrt((a @ a) * (b @ b)))
        given.append(
            kernels.correlation_variance(kernels.weights(a / a.std()), kernels.weights(b / b.std()))
        )
    spread = np.var(found)
    assert np.mean(given) == pytest.approx(spread, rel=0.2)
    assert 1 / (250 - terms) < 0.8 * spread


def test_pair_sums_of_a_subset_are_scaled_up() -> None:
    x, y = places(600, 6)
    basis = orthonormal([trend_basis(x, y, 8, (0, 0, 600, 600))], 600)
    values = gaussian_field(np.random.default_rng(7), (600.0, 600.0), 60.0, np.column_stack([x, y]))
    whole, part = (
        ProjectedKernels.of(Kernels.at(x, y), basis),
        ProjectedKernels.of(Kernels.at(x, y, 300), basis),
    )
    weights = whole.weights(residual(values, basis))
    assert part.correlation_variance(weights, weights) == pytest.approx(
        whole.correlation_variance(weights, weights), rel=0.15
    )


def test_surrogates_have_the_covariance_they_were_given() -> None:
    x, y = places(400, 8)
    weights, ranges = np.array([0.3, 0.0, 0.3, 0.4]), np.array([12.0, 40.0, 90.0])
    fields = gaussian_surrogates(np.random.default_rng(9), x, y, weights, ranges, 1500)
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    found = fields @ fields.T / fields.shape[1]
    assert np.diag(found).mean() == pytest.approx(1, abs=0.02)
    for low, high in ((20, 30), (75, 85), (250, 270)):
        pairs = (distance > low) & (distance < high)
        expected = 0.3 * np.exp(-(distance[pairs] ** 2) / 3200) + 0.4 * np.exp(
            -(distance[pairs] ** 2) / 16200
        )
        assert found[pairs].mean() == pytest.approx(expected.mean(), abs=0.03)


def test_own_ligand_is_freed_of_the_light_of_touched_cells() -> None:
    """Light of the exposure and of the response in the own ligand ties the two together when it is
    held constant as measured.
    """
    rng, n, sets = np.random.default_rng(6), 200, 400
    x = rng.uniform(0, 500, n)
    basis = orthonormal([x], n)
    found: dict[str, list[float]] = {"as measured": [], "freed": []}
    rejected = 0
    for _ in range(sets):
        exposure, response = rng.standard_normal((2, n))
        own = normal_scores(0.6 * exposure + 0.5 * response + rng.standard_normal(n))
        for name, held in (("as measured", own), ("freed", less_exposure(own, exposure, basis, x))):
            whole = orthonormal([x, held], n)
            left = residual(response, whole), residual(exposure, whole)
            found[name].append(float(np.corrcoef(*left)[0, 1]))
        rejected += abs(found["freed"][-1]) * np.sqrt(n - 4) > stats.t.ppf(0.975, n - 4)
    error = 1 / np.sqrt(n * sets)
    assert abs(np.mean(found["freed"])) < 4 * error
    assert np.mean(found["as measured"]) < -0.1, "the control: it must fail"
    assert rejected <= stats.binom.ppf(0.999, sets, 0.05), (
        "no chance association is taken out either"
    )


def test_stains_of_the_responders_are_held_constant_as_curves(drawn: Primary) -> None:
    """Autofluorescence adds to the response, whose logarithm it bends: a straight line in its score
    is not enough.
    """
    near, data = drawn.near, drawn.structure.cells
    score = normal_scores(data.log_values("PanCK_cytoplasm_mean")[near.responders])
    for power in (1, 2, 3, 4):
        left = residual(score**power, drawn.model.basis)
        assert np.abs(left).max() < 1e-6 * np.abs(score**power).max()
    skipped = regression(
        drawn.structure, near, drawn.own, near.mean(drawn.field[near.sources]), skip="PanCK"
    )
    assert residual(score, skipped).std() > 0.3
