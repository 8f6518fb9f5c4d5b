"""Comparisons of groups and visits: exact permutations, their levels, refusals; families of
tests.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from cohorts import patients
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ifquant.errors import RequestError
from ifquant.statistics.cohort import group_comparison as groups_module
from ifquant.statistics.cohort.group_comparison import (
    compare_groups,
    compare_visits,
    permutation_p,
    smallest_permutation_p,
    why_not_comparable,
)
from ifquant.statistics.cohort.multiplicity import (
    PRIMARY,
    Family,
    FamilyMethod,
    TestedP,
    adjust,
    adjusted,
)
from ifquant.statistics.cohort.patients import PatientValue, SlideValue


def two(a: list[float] | np.ndarray, b: list[float] | np.ndarray) -> list[PatientValue]:
    return patients(a, "A", "a") + patients(b, "B", "b")


def welch(x: np.ndarray, y: np.ndarray) -> float:
    return abs(float(stats.ttest_ind(x, y, equal_var=False).statistic))


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 5), st.integers(3, 5), st.integers(0, 1000))
def test_agrees_with_scipy(n_a: int, n_b: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 1, n_a), rng.normal(0.8, 2, n_b)
    found = compare_groups(two(a, b), "A", "B")
    exact = stats.permutation_test(
        (a, b), welch, permutation_type="independent", alternative="greater", n_resamples=np.inf
    )
    assert permutation_p(a, b)[0] == pytest.approx(exact.pvalue, abs=1e-12)
    assert found.p == (
        permutation_p(a, b)[0] if found.testable else None
    )  # no number beside "not testable"
    interval = stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(b.mean() - a.mean())


def test_drawn_labelings_agree_with_enumerated_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(0, 1, 7), rng.normal(1.2, 1, 6)
    p, exact = permutation_p(a, b)
    monkeypatch.setattr(groups_module, "MOST_ENUMERATED", 10)
    drawn, enumerated = permutation_p(a, b, seed=3)
    assert exact
    assert not enumerated
    assert drawn == pytest.approx(p, abs=4 * math.sqrt(p / groups_module.DRAWS))
    assert permutation_p(a, b, seed=3)[0] == drawn


@pytest.mark.parametrize("n", [(2, 2), (3, 3), (4, 4), (3, 5), (2, 6)])
def test_smallest_p_is_attained(n: tuple[int, int]) -> None:
    low, high = np.linspace(0, 0.1, n[0]), np.linspace(9, 9.1, n[1])
    found = compare_groups(two(low, high), "A", "B")
    assert (
        permutation_p(low, high)[0]
        == pytest.approx(found.smallest_p)
        == pytest.approx(smallest_permutation_p(*n))
    )
    assert found.testable == (found.smallest_p <= 0.05) == (found.p is not None)
    if n == (3, 3):
        assert (
            found.reason
            == "not testable: 3 and 3 patients: the smallest permutation p is 0.1: it cannot reach"
            " 0.05"
        )


def test_one_patient_per_group_is_not_testable() -> None:
    found = compare_groups(two([0.1], [0.7]), "A", "B")
    assert (found.p, found.low, found.testable) == (None, None, False)
    assert (
        found.reason == "not testable: 1 patient in group 'A'; two are needed to know how they vary"
    )
    assert "no patients in group 'C'" in (compare_groups(two([0.1], [0.7]), "C", "B").reason or "")


def test_many_slides_of_one_patient_are_one() -> None:
    slides = [SlideValue(f"s{i}", "only", 0.1 * i, 0.1, 100, group="A") for i in range(20)]
    from ifquant.statistics.cohort.patients import combine_slides

    assert not compare_groups(
        [*combine_slides(slides), *patients([0.3, 0.4, 0.5], "B")], "A", "B"
    ).testable


@pytest.mark.parametrize(
    ("sizes", "spreads"), [((6, 6), (1, 1)), ((5, 9), (1, 1)), ((6, 6), (1, 3))]
)
def test_level_on_true_nulls(sizes: tuple[int, int], spreads: tuple[float, float]) -> None:
    rng, n = np.random.default_rng(1), 400
    rejected = sum(
        (
            compare_groups(
                two(rng.normal(0, spreads[0], sizes[0]), rng.normal(0, spreads[1], sizes[1])),
                "A",
                "B",
            ).p
            or 0
        )
        <= 0.05
        for _ in range(n)
    )
    low, high = stats.binom.interval(0.999, n, 0.05)
    assert low <= rejected <= high


def test_slides_passed_off_as_patients_reject_true_nulls() -> None:
    """The control: four images of each patient, differing little, make a null look significant."""
    rng, n, rejected = np.random.default_rng(1), 200, 0
    for _ in range(n):
        a, b = (np.repeat(rng.normal(0, 1, 5), 4) + rng.normal(0, 0.3, 20) for _ in range(2))
        rejected += stats.ttest_ind(a, b, equal_var=False).pvalue <= 0.05
    assert rejected / n > 0.2


# ---- visits --------------------------------------------------------------------------------------


def visits(before: np.ndarray, after: np.ndarray) -> list[SlideValue]:
    return [
        SlideValue(f"{name}{i}", f"P{i}", float(value), 0.1, 100, visit=name)
        for name, values in (("pre", before), ("post", after))
        for i, value in enumerate(values)
    ]


def test_visits_are_compared_within_patients() -> None:
    rng = np.random.default_rng(8)
    before = rng.normal(0, 2, 8)
    after = before + rng.normal(0.4, 0.2, 8)
    found = compare_visits(visits(before, after), "pre", "post")
    exact = stats.permutation_test(
        (after - before,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert found.p == pytest.approx(exact.pvalue)
    assert (found.kind, found.n_patients, found.n_slides) == ("paired", (8, 8), (8, 8))
    assert (
        found.p <= 0.01 < (permutation_p(before, after)[0])
    )  # unpaired, the same data show nothing


def test_patients_without_both_visits_are_left_out() -> None:
    found = compare_visits(visits(np.zeros(8), np.ones(6)), "pre", "post")
    assert found.n_patients == (6, 6)
    none = compare_visits(visits(np.zeros(1), np.ones(6)), "pre", "post")
    assert none.reason == "not testable: 1 patient with slides of both 'pre' and 'post'"
    assert none.p is None


# ---- shared gates --------------------------------------------------------------------------------


def test_gates_must_be_shared() -> None:
    assert (
        why_not_comparable({"PanCK": ["cohort"] * 3, "CD11c": ["value", "value", "cohort"]}) is None
    )
    reason = why_not_comparable(
        {"PanCK": ["cohort", "slide"], "CD11c": ["cohort"], "IL1B": ["none"]}
    )
    assert reason is not None
    assert "PanCK, IL1B were fitted slide by slide" in reason
    assert "[gates.markers.PanCK] shared = true" in reason
    found = compare_groups(two([0, 1, 2, 3], [9, 8, 7, 6]), "A", "B", refused=reason)
    assert (found.p, found.difference, found.testable, found.reason) == (None, None, False, reason)
    assert found.n_patients == (4, 4)
    assert compare_visits(visits(np.zeros(8), np.ones(8)), "pre", "post", refused=reason).p is None
    with pytest.raises(RequestError, match="scope"):
        why_not_comparable({"PanCK": ["everywhere"]})


# ---- families ------------------------------------------------------------------------------------


def one_p(family: Family, name: str, p: float | None) -> TestedP:
    return TestedP(family, name, p, 8, 8, 800, 2 / 2**8)


def test_families_are_adjusted_apart() -> None:
    screen = Family("radii", "fdr_bh")
    found = adjusted(
        [
            one_p(PRIMARY, "effect", 0.01),
            one_p(screen, "10", 0.01),
            one_p(screen, "20", 0.02),
            one_p(screen, "50", 0.5),
            one_p(PRIMARY, "groups", 0.04),
            one_p(PRIMARY, "untestable", None),
        ]
    )
    by_name = {test.name: test.adjusted for test in found}
    assert by_name["effect"] == pytest.approx(0.02)  # Holm over two: 2 x 0.01, max(that, 0.04)
    assert by_name["groups"] == pytest.approx(0.04)
    assert by_name["untestable"] is None
    wanted = stats.false_discovery_control([0.01, 0.02, 0.5])
    assert [by_name[name] for name in ("10", "20", "50")] == pytest.approx(list(wanted))


@pytest.mark.parametrize("method", ["holm", "fdr_bh"])
def test_adjustment_agrees_with_statsmodels(method: FamilyMethod) -> None:
    from statsmodels.stats.multitest import multipletests

    for p in (
        np.random.default_rng(0).random(12) ** 3,
        [0.01, 0.01, 0.04, 0.9, 1.0],
        [0.3],
        [0.0, 1.0],
    ):
        assert adjust(list(p), method) == pytest.approx(
            list(multipletests(p, method=method)[1]), abs=1e-15
        )


def test_families_hold_their_level_and_raw_p_do_not() -> None:
    rng, n = np.random.default_rng(2), 1000
    raw = holm = 0
    for _ in range(n):
        tests = [one_p(PRIMARY, str(i), float(p)) for i, p in enumerate(rng.random(8))]
        raw += any((test.p or 0) <= 0.05 for test in tests)
        holm += any((test.adjusted or 0) <= 0.05 for test in adjusted(tests))
    assert raw / n > 0.25
    assert holm / n <= stats.binom.interval(0.999, n, 0.05)[1] / n


def test_impossible_tests_are_refused() -> None:
    with pytest.raises(RequestError, match="between 0 and 1"):
        one_p(PRIMARY, "x", 1.2)
    with pytest.raises(RequestError, match="number of patients"):
        TestedP(PRIMARY, "x", 0.2, 0, 0, 0, 1)
    with pytest.raises(RequestError, match="two methods"):
        adjusted([one_p(PRIMARY, "a", 0.1), one_p(Family("primary", "fdr_bh"), "b", 0.1)])


def test_a_small_group_beside_a_larger_one_is_flagged_however_the_sample_varies() -> None:
    wide, narrow = [-0.9, 0.8, 0.5, -0.6], [0.1, -0.1, 0.05, 0.0, -0.05, 0.1, -0.1, 0.02]
    for first, second in ((wide, narrow), (narrow[:4], [*wide, *wide]), (wide, narrow[:5])):
        flagged = compare_groups(
            [*patients(first, "a", "A"), *patients(second, "b", "B")], "a", "b"
        )
        assert flagged.note is not None
        assert "groups of unequal size, the smaller below 8" in flagged.note
        assert flagged.testable, "the interval can still be read"
    for first, second in ((wide, narrow[:4]), ([*wide, *wide], [*narrow, 0.3])):
        assert (
            compare_groups([*patients(first, "a", "A"), *patients(second, "b", "B")], "a", "b").note
            is None
        )
