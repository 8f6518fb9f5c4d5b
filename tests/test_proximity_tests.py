"""Nulls reject as often as they should, a pointwise envelope does not, and each null answers its
own question.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.statistics.cohort.mean_effect import cohort_effect
from ifquant.statistics.cohort.patients import combine_slides
from ifquant.statistics.patterns import label_kernels
from ifquant.statistics.patterns.enrichment import (
    enrichment,
    expected_pairs,
    neighbors_of_pairs,
    neighbors_within,
)
from ifquant.statistics.patterns.envelopes import global_envelope
from ifquant.statistics.patterns.point_patterns import cross_g, cross_l
from ifquant.statistics.patterns.proximity_tests import NullDesign, random_labeling_test
from ifquant.statistics.patterns.random_shift import random_shift_test
from ifquant.statistics.patterns.slide_proximity import (
    LabeledCells,
    ProximityOptions,
    slide_proximity,
)

_mask = np.ones((25, 25), np.bool_)
_mask[8:14, 9:15] = _mask[20:, 21:] = False
TISSUE = Region(_mask, (40.0, 40.0))  # 1 mm across, with a hole and a corner missing
R = np.linspace(4, 60, 15)


def uniform(rng: np.random.Generator, n: int) -> np.ndarray:
    drawn = rng.random((4 * n, 2)) * 1000
    return drawn[TISSUE.contains(*drawn.T)][:n]


def clustered(rng: np.random.Generator, n: int) -> np.ndarray:
    """Thomas process: about 50 parents, cells scattered by 25 um; stationary over the tissue."""
    parents = rng.random((50, 2)) * 1400 - 200
    drawn = parents[rng.integers(0, 50, 20 * n)] + rng.normal(0, 25, (20 * n, 2))
    return drawn[TISSUE.contains(*drawn.T)][:n]


def at_most(rejections: int, n: int, level: float = 0.05) -> bool:
    """Whether so many rejections are within, or below, the 99 % binomial band of the level."""
    return rejections <= stats.binom.ppf(0.995, n, level)


# --- global envelopes -----------------------------------------------------------------------------


def brute_force_order(curves: np.ndarray, i: int) -> int:
    """Number of curves at least as extreme as curve i: sorted two-sided ranks, compared as
    words.
    """
    n = len(curves)
    words = []
    for row in curves:
        up = [
            (curves[:, k] < v).sum() + ((curves[:, k] == v).sum() + 1) / 2
            for k, v in enumerate(row)
        ]
        words.append(tuple(sorted(min(u, n + 1 - u) for u in up)))
    return sum(word <= words[i] for word in words)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_extreme_rank_length_equals_its_definition(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    curves = rng.normal(size=(25, 4)) if not ties else rng.integers(0, 3, (25, 4)).astype(float)
    assert global_envelope(curves[0], curves[1:]).p == brute_force_order(curves, 0) / 25


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    method=st.sampled_from(["erl", "mad"]),
    side=st.sampled_from(["two-sided", "greater", "less"]),
)
def test_the_curve_leaves_the_band_exactly_when_p_is_small(
    seed: int, method: str, side: str
) -> None:
    rng = np.random.default_rng(seed)
    curves = np.cumsum(rng.normal(size=(100, 12)), axis=1)
    curves[0] *= rng.choice([1.0, 1.6])
    found = global_envelope(curves[0], curves[1:], method=method, alternative=side)  # type: ignore[arg-type]
    outside = ((curves[0] < found.low - 1e-9) | (curves[0] > found.high + 1e-9)).any()
    assert outside == (found.p <= 0.05)
    assert 0.01 <= found.p <= 1
    if method == "mad":
        away = (curves - curves.mean(0)) / curves.std(0)
        away = {"two-sided": np.abs(away), "greater": away, "less": -away}[side].max(axis=1)
        assert found.p == (away >= away[0] - 1e-9).mean()


@pytest.mark.parametrize("method", ["erl", "mad"])
def test_a_true_null_is_rejected_5_percent_of_the_time_and_far_more_often_pointwise(
    method: str,
) -> None:
    rng = np.random.default_rng(1)
    n, whole, pointwise = 600, 0, 0
    for _ in range(n):
        curves = np.cumsum(rng.normal(size=(100, 20)), axis=1)
        whole += global_envelope(curves[0], curves[1:], method=method).p <= 0.05  # type: ignore[arg-type]
        low, high = np.quantile(curves[1:], [0.025, 0.975], axis=0)
        pointwise += bool(((curves[0] < low) | (curves[0] > high)).any())
    assert at_most(whole, n)
    assert whole > stats.binom.ppf(0.005, n, 0.05)  # exact, not merely conservative
    assert pointwise / n > 0.15


def test_envelopes_refuse_what_cannot_be_extreme_and_skip_distances_without_values() -> None:
    rng = np.random.default_rng(0)
    curves = rng.normal(size=(40, 5))
    with pytest.raises(
        RequestError, match=r"18 curves of the null cannot reach p = 0\.05; make at least 19"
    ):
        global_envelope(curves[0], curves[1:19])
    curves[3, 1] = np.nan
    found = global_envelope(curves[0], curves[1:])
    assert found.used.tolist() == [True, False, True, True, True]
    assert found.p == global_envelope(np.delete(curves[0], 1), np.delete(curves[1:], 1, axis=1)).p
    with pytest.raises(RequestError, match="no distance at which all curves have a value"):
        global_envelope(np.full(5, np.nan), curves[1:])


# --- the two nulls --------------------------------------------------------------------------------

N = 150


def rejected(tests: list[float | None]) -> int:
    assert all(p is not None for p in tests)
    return sum(p <= 0.05 for p in tests if p is not None)


@pytest.mark.parametrize("statistic", ["L", "G"])
def test_labels_without_meaning_on_clustered_cells_are_rejected_at_the_level(
    statistic: str,
) -> None:
    found: list[float | None] = []
    for seed in range(N):
        rng = np.random.default_rng([seed, 1])
        cells = clustered(rng, 240)
        kind = rng.permutation(np.repeat([0, 1, 2], 80))
        found.append(
            random_labeling_test(
                cells, kind == 0, kind == 1, TISSUE, R, NullDesign(statistic, 59, seed)
            ).p
        )
    assert at_most(rejected(found), N)


@pytest.mark.parametrize("statistic", ["L", "G"])
def test_independent_clusters_pass_the_shift_and_fail_the_labelling(statistic: str) -> None:
    """The same data: independent of each other (shift: level) but each kind clusters (labelling:
    rejected). Two questions.
    """
    shifted: list[float | None] = []
    labelled: list[float | None] = []
    for seed in range(N):
        rng = np.random.default_rng([seed, 2])
        source, target = clustered(rng, 60), clustered(rng, 120)
        design = NullDesign(statistic, 119, seed)
        shifted.append(random_shift_test(source, target, TISSUE, R, design).p)
        if seed < 20:
            everything, first = np.vstack((source, target)), np.arange(180) < 60
            design = NullDesign(statistic, 59, seed)
            labelled.append(random_labeling_test(everything, first, ~first, TISSUE, R, design).p)
    assert at_most(rejected(shifted), N)
    assert rejected(labelled) >= 18


def test_cells_that_cannot_overlap_pass_the_shift_only_because_small_distances_are_set_aside() -> (
    None
):
    """Crowded cells, kinds at random: shifted cells may overlap, real ones cannot, so that
    distances from 0 reject every time.
    """
    set_aside, from_zero = [], []
    for seed in range(30):
        rng = np.random.default_rng([seed, 6])
        cells = uniform(rng, 1)
        while len(cells) < 1500:  # random sequential adsorption, at least 11 um apart
            more = uniform(rng, 300)
            more = more[cdist(more, cells).min(axis=1) >= 11]
            near = np.tril(cdist(more, more) < 11, -1).any(axis=1)
            cells = np.vstack((cells, more[~near]))
        kind = rng.permutation(np.arange(len(cells)) % 4)
        given = cells[kind == 0], cells[kind == 1], TISSUE, np.arange(3, 61, 3.0)
        design = NullDesign(n_null=100, seed=seed)
        set_aside.append(random_shift_test(*given, design).p)
        if seed < 8:
            from_zero.append(random_shift_test(*given, design, beyond_um=0.0).p)
    assert at_most(rejected(set_aside), 30)
    assert rejected(from_zero) == 8


@pytest.mark.parametrize("null", ["shift", "labelling"])
def test_attraction_is_found(null: str) -> None:
    found: list[float | None] = []
    for seed in range(20):
        rng = np.random.default_rng([seed, 3])
        target = clustered(rng, 150)
        near = target[:60] + rng.normal(0, 12, (60, 2))
        source = near[TISSUE.contains(*near.T)]
        if null == "shift":
            design = NullDesign("L", 119, seed, "greater")
            found.append(random_shift_test(source, target, TISSUE, R, design).p)
        else:
            other = clustered(rng, 300)
            cells = np.vstack((source, target, other))
            kind = np.repeat([0, 1, 2], [len(source), len(target), len(other)])
            design = NullDesign("L", 59, seed, "greater")
            found.append(random_labeling_test(cells, kind == 0, kind == 1, TISSUE, R, design).p)
    assert rejected(found) >= 18


@pytest.mark.parametrize("statistic", ["L", "G"])
def test_relabelled_curves_are_those_of_the_estimators(statistic: str) -> None:
    """Permutation by permutation the fast path gives what the estimator gives for the shuffled
    labels.
    """
    rng = np.random.default_rng(5)
    cells = uniform(rng, 120)
    roles = np.repeat(np.array([1, 2, 0], np.uint8), 40)
    pairs = neighbors_within(cells, float(R[-1]))
    in_order = roles[pairs.order]
    design = NullDesign(statistic, 30, 9)
    test = random_labeling_test(cells, roles == 1, roles == 2, TISSUE, R, design)
    assert test.envelope is not None
    curves = [test.curve.value] if test.curve is not None else []
    for number in range(30):
        shuffled = in_order.copy()
        label_kernels.shuffle(shuffled, np.uint64(9), number)
        own = np.empty_like(roles)
        own[pairs.order] = shuffled
        estimate = cross_l if statistic == "L" else cross_g
        curves.append(estimate(cells[own == 1], cells[own == 2], TISSUE, R).value)
    np.testing.assert_allclose(np.mean(curves, axis=0), test.envelope.center, rtol=1e-9, atol=1e-12)
    assert global_envelope(curves[0], curves[1:]).p == test.p


def test_what_cannot_be_tested_says_so() -> None:
    rng = np.random.default_rng(0)
    named = NullDesign(names=("myeloid", "tumor"))
    few = random_shift_test(uniform(rng, 8), uniform(rng, 100), TISSUE, R, named)
    assert (few.p, few.reason) == (
        None,
        "not testable: 8 myeloid and 100 tumor cells; at least 20 of each are needed",
    )
    small = Region.rectangle(70, 70)
    crowded = rng.random((2, 40, 2)) * 70
    cramped = random_shift_test(*crowded, small, np.linspace(5, 60, 5), NullDesign())
    assert cramped.p is None
    assert "shifts keep half of the source cells" in str(cramped.reason)
    many = np.vstack([uniform(rng, 900) for _ in range(5)])
    dense = random_shift_test(uniform(rng, 100), many, TISSUE, R, NullDesign("G"))
    assert dense.p is None
    assert "known to have no target cell within 20 um; 20 are needed" in str(dense.reason)
    with pytest.raises(RequestError, match="no distance above beyond_um"):
        random_shift_test(uniform(rng, 50), uniform(rng, 50), TISSUE, [5.0, 15.0], NullDesign())
    both = np.ones(50, bool)
    with pytest.raises(RequestError, match="source, target or neither"):
        random_labeling_test(uniform(rng, 50), both, both, TISSUE, R, NullDesign())


# --- neighborhood enrichment ---------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 120))
def test_neighbours_equal_all_pairs_within_the_radius(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.random((n, 2)) * [300, 30] + rng.uniform(-1e4, 1e4, 2)
    code = rng.integers(0, 4, n)
    pairs = neighbors_within(cells, 12.0)
    near = np.triu(cdist(cells, cells) <= 12, 1) if n else np.zeros((0, 0), bool)
    assert pairs.n_pairs == near.sum()
    i, j = np.nonzero(near)
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (code[i], code[j]), 1)
    expected = expected + expected.T - np.diag(np.diag(expected))
    for listed in (pairs, neighbors_of_pairs(i, j, n)):
        found = enrichment(code, list("abcd"), listed, n_permutations=3)
        assert np.array_equal(found.observed, expected)
        assert found.expected.sum() + np.diag(found.expected).sum() == pytest.approx(
            2 * near.sum() if n > 1 else 0
        )


def test_permutations_have_the_exact_mean_and_depend_on_seed_and_number_only() -> None:
    rng = np.random.default_rng(1)
    cells = uniform(rng, 400)
    code = np.sort(rng.choice(3, 400, p=[0.7, 0.2, 0.1]))
    pairs = neighbors_within(cells, 40.0)
    found = enrichment(code, list("abc"), pairs, n_permutations=2000, seed=3)
    counts = label_kernels.label_pair_counts(
        code[pairs.order].astype(np.uint8), 3, pairs.starts, pairs.neighbors, np.uint64(3), 0, 2000
    )
    upper = counts + counts.transpose(0, 2, 1)
    upper[:, range(3), range(3)] //= 2
    error = upper.std(axis=0) / np.sqrt(2000)
    assert (
        np.abs(upper.mean(axis=0) - expected_pairs(np.bincount(code), pairs.n_pairs)) < 4 * error
    ).all()
    labels = code[pairs.order].astype(np.uint8)
    split = [
        label_kernels.label_pair_counts(
            labels, 3, pairs.starts, pairs.neighbors, np.uint64(3), a, b
        )
        for a, b in ((0, 1), (1, 700), (700, 2000))
    ]
    assert np.array_equal(np.concatenate(split), counts)
    assert len(np.unique(counts.reshape(2000, -1), axis=0)) > 1500
    again = enrichment(code, list("abc"), pairs, n_permutations=2000, seed=3)
    assert np.array_equal(again.p, found.p)
    assert not np.array_equal(
        enrichment(code, list("abc"), pairs, n_permutations=2000, seed=4).sd, found.sd
    )


def test_shuffles_are_uniform() -> None:
    """Every arrangement of 4 letters is as frequent as every other; neighbouring seeds and numbers
    give unrelated ones.
    """
    for draw in (lambda k: (7, k), lambda k: (k, 0)):
        counts: dict[tuple[int, ...], int] = {}
        for k in range(12_000):
            values = np.arange(4, dtype=np.uint8)
            seed, number = draw(k)
            label_kernels.shuffle(values, np.uint64(seed), number)
            counts[tuple(values.tolist())] = counts.get(tuple(values.tolist()), 0) + 1
        assert len(counts) == 24
        assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_labels_without_meaning_are_enriched_at_the_level() -> None:
    p = []
    for seed in range(300):
        rng = np.random.default_rng([seed, 4])
        cells = clustered(rng, 200)
        found = enrichment(
            rng.integers(0, 3, 200),
            list("abc"),
            neighbors_within(cells, 25.0),
            n_permutations=99,
            seed=seed,
        )
        p.append(found.p[0, 1])
    assert at_most(int(np.sum(np.array(p) <= 0.05)), 300)


def test_patients_are_the_unit_of_enrichment() -> None:
    """Eight patients without enrichment: hundreds of cells each do not make it significant; with
    it, the exact sign-flip finds it.
    """

    def effect(pull: float) -> tuple[float | None, float | None]:
        values = []
        for patient in range(8):
            for slide in range(2):
                rng = np.random.default_rng([patient, slide, 5])
                tumor, other = uniform(rng, 150), uniform(rng, 300)
                beside = tumor[: int(60 * pull)] + rng.normal(0, 8, (int(60 * pull), 2))
                myeloid = np.vstack((beside, uniform(rng, 60 - len(beside))))
                cells = np.vstack((tumor, myeloid, other))
                code = np.repeat([0, 1, 2], [150, 60, 300])
                found = enrichment(
                    code,
                    ["tumor", "myeloid", "other"],
                    neighbors_within(cells, 20.0),
                    n_permutations=99,
                    seed=slide,
                )
                values.append(
                    found.slide_value(
                        "myeloid", "tumor", slide=f"{patient}.{slide}", patient=str(patient)
                    )
                )
        result = cohort_effect(combine_slides(values))
        assert (result.n_patients, result.n_slides) == (8, 16)
        return result.p, result.estimate

    p, estimate = effect(0.0)
    assert p is not None
    assert p > 0.05
    p, estimate = effect(0.5)
    assert p == pytest.approx(2 / 2**8)  # the smallest possible with eight patients
    assert estimate is not None
    assert estimate > 1


def test_enrichment_refuses_what_it_cannot_count() -> None:
    pairs = neighbors_within(uniform(np.random.default_rng(0), 50), 30.0)
    with pytest.raises(RequestError, match="3 phenotypes for 50 cells"):
        enrichment([0, 1, 2], list("abc"), pairs)
    with pytest.raises(RequestError, match="codes must be 0 to 1"):
        enrichment(np.full(50, 2), list("ab"), pairs)
    alone = enrichment(np.zeros(50, int), list("ab"), pairs, n_permutations=19)
    with pytest.raises(RequestError, match="neighbours between them do not vary"):
        alone.slide_value("a", "b", slide="s", patient="p")
    with pytest.raises(RequestError, match="above 0"):
        neighbors_within(np.zeros((2, 2)), 0.0)


# --- a whole slide --------------------------------------------------------------------------------


def test_a_slide_gives_curves_tests_and_neighbours_and_says_what_it_left_out() -> None:
    rng = np.random.default_rng(8)
    target, other = uniform(rng, 200), uniform(rng, 200)
    source = np.vstack((target[:40] + rng.normal(0, 10, (40, 2)), uniform(rng, 60)))
    cells = np.vstack((source, target, other))
    code = np.repeat([1, 0, 2], [100, 200, 200])
    labeled = LabeledCells(cells, code, ("tumor", "myeloid", "other"))
    options = ProximityOptions(R, n_null=119, seed=1)
    found = slide_proximity(labeled, TISSUE, "myeloid", "tumor", options)
    assert found.n_outside == np.count_nonzero(~TISSUE.contains(*cells.T))
    assert [c.statistic for c in found.curves] == ["L", "G", "K_inhom"]
    rows = found.p_values()
    assert rows[["statistic", "null"]].to_numpy().tolist() == [
        ["L", "random shift"],
        ["G", "random shift"],
        ["L", "random labelling"],
        ["G", "random labelling"],
    ]
    assert rows["question"].str.contains("myeloid").all()
    table = found.table()
    assert len(table) == 7 * len(R)
    assert (table.dtypes.iloc[3:] == np.float64).all()
    assert set(table.loc[table["statistic"] == "K_inhom", "bandwidth_um"]) == {100.0}
    assert table.loc[table["statistic"] != "K_inhom", "bandwidth_um"].isna().all()
    assert not found.notes
    small = replace(options, bandwidth_um=0.1)
    narrow = slide_proximity(labeled, TISSUE, "myeloid", "tumor", small)
    assert "take a larger bandwidth_um" in narrow.notes[0]
    tested = table[
        (table["null"] == "random labelling")
        | ((table["null"] == "random shift") & (table["r_um"] > 20))
    ]
    open_ = tested[
        (tested["statistic"] == "L") | (tested["observed"] < 1)
    ]  # where every cell has been reached no band is left
    assert not open_[["observed", "low", "high", "p"]].isna().any().any()
    assert (rows.loc[rows["null"] == "random labelling", "p"] <= 0.05).all()
    assert table[(table["null"] == "random shift") & (table["r_um"] <= 20)]["low"].isna().all()
    for _, rows in table[table["null"] != "none"].groupby(
        ["statistic", "null"]
    ):  # the curve leaves its band exactly when p is small
        assert ((rows["observed"] < rows["low"]) | (rows["observed"] > rows["high"])).any() == (
            rows["p"].iloc[0] <= 0.05
        )
    assert found.enrichment is not None
    assert found.enrichment.log2_ratio[0, 1] > 0.5
    again = slide_proximity(labeled, TISSUE, "myeloid", "tumor", options)
    assert again.table().equals(table)
    from_cells = slide_proximity(labeled, None, "myeloid", "tumor", options)
    assert "cells, gaps up to" in from_cells.region.origin
    assert from_cells.n_outside == 0
    few = LabeledCells(cells[:70], code[:70], labeled.names)
    empty = slide_proximity(few, TISSUE, "myeloid", "tumor", options)
    assert not empty.curves
    assert empty.p_values()["reason"].str.startswith("not testable").all()
    assert len(empty.table()) == 0
    with pytest.raises(RequestError, match="no phenotype is called 'T cell'"):
        slide_proximity(labeled, TISSUE, "T cell", "tumor", options)


def test_mean_enrichment_of_kinds_at_random_is_zero() -> None:
    """The logarithm of a count lies too low on average; over many slides that would pass for
    avoidance.
    """
    rng = np.random.default_rng(8)
    corrected, plain = [], []
    for _ in range(300):
        kinds = rng.permutation(np.repeat([0, 1, 2], [15, 60, 45]))
        found = enrichment(
            kinds, "abc", neighbors_within(400 * rng.random((120, 2)), 20.0), n_permutations=40
        )
        corrected.append(found.slide_value("a", "b", slide="s", patient="p").value)
        plain.append(found.log2_ratio[0, 1])
    error = np.std(corrected) / np.sqrt(300)
    assert abs(np.mean(corrected)) < 3 * error
    assert np.mean(plain) < -3 * error, "the control: it must fail"
