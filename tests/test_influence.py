"""What the effect would be without each responder: against refitting, and against the whole
analysis made anew.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from point_tissue import PointOptions, PointTissue, point_tissue
from scipy import stats
from test_priming import BACKGROUNDS, asked

from ifquant.geometry.region import Region
from ifquant.statistics.priming.adjusted_association import Association
from ifquant.statistics.priming.influence import leave_one_out, leverage
from ifquant.statistics.priming.primary_association import exposure_of, primary_association
from ifquant.statistics.priming.slide_cells import SlideCells, SlideData
from ifquant.statistics.priming.structure import orthonormal, residual


@pytest.fixture(scope="module")
def tissue() -> PointTissue:
    return point_tissue(PointOptions(beta=0.5), 31)


def weights(tissue: PointTissue, **priming: object) -> np.ndarray:
    question, options = asked(**priming)
    region = Region(tissue.tissue, (tissue.step_um, tissue.step_um))
    return leverage(SlideData(tissue.cells, tissue.pairs, region, BACKGROUNDS), question, options)


def partial_z(y: np.ndarray, e: np.ndarray, design: np.ndarray) -> float:
    """Fisher's z of a partial correlation by two regressions from scratch."""
    left = [v - design @ np.linalg.lstsq(design, v, rcond=None)[0] for v in (y, e)]
    return math.atanh(float(np.corrcoef(*left)[0, 1]))


@pytest.mark.parametrize("rank", [0, 1, 7])
def test_leaving_out_one_is_refitting_without_it(rank: int) -> None:
    rng = np.random.default_rng(rank)
    n = 40
    design = np.column_stack([np.ones(n), rng.normal(size=(n, rank))])
    y, e = rng.normal(size=(2, n)) + design.sum(axis=1)
    y[3], e[3] = y[3] + 6, e[3] + 6  # one that carries the effect
    basis = orthonormal(list(design[:, 1:].T), n)
    left = [residual(v, basis) for v in (y, e)]
    left = [v / v.std() for v in left]
    r = float(left[0] @ left[1] / n)
    nothing = np.zeros(n)
    found = Association(r, math.atanh(r), 0.1, 0.1, n, 30.0, left[0], left[1], nothing, nothing)
    assert found.z == pytest.approx(partial_z(y, e, design))
    without = [
        partial_z(np.delete(y, i), np.delete(e, i), np.delete(design, i, axis=0)) for i in range(n)
    ]
    changes = leave_one_out(found, basis)
    np.testing.assert_allclose(changes, found.z - np.array(without), rtol=1e-9, atol=1e-12)
    assert np.argmax(np.abs(changes)) == 3
    first_order = (left[0] * left[1] - r * (left[0] ** 2 + left[1] ** 2) / 2) / n / (1 - r * r)
    assert np.abs(changes - first_order).max() > 0.01, (
        "the control: the influence function alone is not exact"
    )


def test_a_responder_that_the_regression_fits_exactly_has_no_weight() -> None:
    n = 12
    alone = np.zeros(n)
    alone[4] = 1.0
    basis = orthonormal([alone], n)
    y, e = (residual(v, basis) for v in np.random.default_rng(0).normal(size=(2, n)))
    y, e = y / y.std(), e / e.std()
    r = float(y @ e / n)
    nothing = np.zeros(n)
    changes = leave_one_out(
        Association(r, math.atanh(r), 0.1, 0.1, n, 8.0, y, e, nothing, nothing), basis
    )
    assert list(np.flatnonzero(np.isnan(changes))) == [4]


def test_it_foretells_what_the_whole_analysis_says_without_the_cell(tissue: PointTissue) -> None:
    question, options = asked()
    region = Region(tissue.tissue, (tissue.step_um, tissue.step_um))

    def z(without: int | None) -> float:
        cells, pairs = tissue.cells, tissue.pairs
        if without is not None:
            cells = cells[cells["cell_id"] != without].reset_index(drop=True)
            pairs = pairs[pairs["responder_id"] != without].reset_index(drop=True)
        data = SlideCells.of(SlideData(cells, pairs, region, BACKGROUNDS), question, options)
        return primary_association(data, exposure_of(data)).association.z

    weight = weights(tissue)
    exposed = np.flatnonzero(np.isfinite(weight))
    order = exposed[np.argsort(weight[exposed])]
    chosen = [*order[:5], *order[:: len(order) // 6], *order[-5:]]
    whole = z(None)
    changes = np.array([whole - z(int(tissue.cells["cell_id"].iloc[row])) for row in chosen])
    assert np.corrcoef(changes, weight[chosen])[0, 1] > 0.97
    assert np.abs(changes - weight[chosen]).max() < 0.25 * np.abs(changes).max()
    largest = np.abs(changes) > 0.4 * np.abs(changes).max()
    assert largest.sum() >= 5
    assert (np.sign(changes) == np.sign(weight[chosen]))[largest].all()


def test_only_cells_of_the_effect_have_leverage(tissue: PointTissue) -> None:
    weight = weights(tissue)
    known = np.isfinite(weight)
    assert set(tissue.cells["phenotype"][known]) == {"myeloid"}
    assert set(tissue.cells["cell_id"][known]) <= set(tissue.pairs["responder_id"])
    assert known.sum() > 100
    assert stats.skew(np.abs(weight[known])) > 1, (
        "a few cells carry more than the rest: what a reviewer should see"
    )
    assert np.isnan(weights(tissue, min_exposed=10_000)).all(), "a slide that cannot be tested"
