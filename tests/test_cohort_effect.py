"""The patient-level test: agreement with scipy and R, levels on true nulls, and what must not
shrink an interval.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from cohorts import Tissue, cohort, patients, slide_value, slide_values
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ifquant.errors import RequestError
from ifquant.statistics.cohort import sign_flip as sign_flip_module
from ifquant.statistics.cohort.mean_effect import cohort_effect, counts_text
from ifquant.statistics.cohort.patients import PatientValue, SlideValue, combine_slides
from ifquant.statistics.cohort.second_opinions import CellPairs, hartung_knapp, random_slope_model
from ifquant.statistics.cohort.sign_flip import sign_flip, smallest_sign_flip_p

N_NULL = 400
"""Null cohorts per test; at 0.05 the 99.9 % binomial band of rejections is 1.8 to 9.3 %."""


def band(n: int, level: float = 0.999) -> tuple[float, float]:
    low, high = stats.binom.interval(level, n, 0.05)
    return low / n, high / n


# ---- one patient, one value ----------------------------------------------------------------------


def test_slides_are_weighted_by_their_precision() -> None:
    found = combine_slides(
        [
            SlideValue("a", "P", 0.2, 0.1, 50),
            SlideValue("b", "P", 0.5, 0.2, 20),
            SlideValue("c", "Q", 1.0, 0.3, 7),
        ]
    )
    weight = np.array([100.0, 25.0])
    assert found[0] == PatientValue(
        "P", pytest.approx(np.average([0.2, 0.5], weights=weight)), pytest.approx(125**-0.5), 70, 2
    )
    assert found[1] == PatientValue("Q", 1.0, pytest.approx(0.3), 7, 1)


def test_cells_cannot_be_tested_across_patients() -> None:
    slides = cohort(Tissue(75, 1), np.random.default_rng(0), 3)
    for wrong in (np.arange(10.0), slides, [1.0, 2.0], slide_values(slides)):
        with pytest.raises(RequestError, match="cells of one patient are not independent"):
            cohort_effect(wrong)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="cells of one patient are not independent"):
        combine_slides([0.1, 0.2])  # type: ignore[list-item]


def test_a_patient_or_slide_counts_once() -> None:
    one = PatientValue("P", 0.1, 0.1, 10)
    with pytest.raises(RequestError, match="a patient is given twice"):
        cohort_effect([one, one])
    slide = SlideValue("a", "P", 0.1, 0.1, 10)
    with pytest.raises(RequestError, match="a slide is given twice"):
        combine_slides([slide, slide])
    with pytest.raises(RequestError, match="belongs to one"):
        combine_slides([slide, SlideValue("b", "P", 0.1, 0.1, 10, group="x")])
    with pytest.raises(RequestError, match="must be finite"):
        SlideValue("a", "P", math.nan, 0.1, 10)


# ---- the numbers agree with scipy ----------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-2, 2).map(lambda v: round(v, 3)), min_size=2, max_size=9))
def test_agrees_with_scipy(values: list[float]) -> None:
    found = cohort_effect(patients(values))
    exact = stats.permutation_test(
        (np.array(values),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(values).p == pytest.approx(exact.pvalue, abs=1e-12)
    assert found.p == (
        sign_flip(values).p if found.testable else None
    )  # no number beside "not testable"
    if np.std(values) > 1e-9:
        test = stats.ttest_1samp(values, 0)
        interval = test.confidence_interval()
        assert (found.low, found.high) == pytest.approx(
            (interval.low, interval.high), rel=1e-9, abs=1e-12
        )
        assert found.p_t == (
            pytest.approx(test.pvalue, rel=1e-9, abs=1e-12) if found.testable else None
        )


def test_detectable_effect_agrees_with_statsmodels() -> None:
    from statsmodels.stats.power import TTestPower

    values = np.random.default_rng(3).normal(0.2, 0.3, 9)
    found = cohort_effect(patients(values))
    wanted = TTestPower().solve_power(
        effect_size=None, nobs=9, alpha=0.05, power=0.8, alternative="two-sided"
    ) * values.std(ddof=1)
    assert found.detectable == pytest.approx(wanted, rel=1e-4)


def test_leave_one_out_is_the_range_of_means() -> None:
    values = [0.1, 0.5, 0.9, -0.3]
    rest = [np.mean(values[:i] + values[i + 1 :]) for i in range(4)]
    assert cohort_effect(patients(values)).leave_one_out == pytest.approx((min(rest), max(rest)))


def test_drawn_flips_agree_with_enumerated_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(0.25, 0.5, 14)
    exact = sign_flip(values)
    monkeypatch.setattr(sign_flip_module, "MOST_ENUMERATED", 3)
    drawn = sign_flip(values, seed=1)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p / sign_flip_module.DRAWS))
    assert sign_flip(values, seed=1).p == drawn.p != sign_flip(values, seed=2).p
    assert sign_flip(np.full(30, 1.0)).p == pytest.approx(
        1 / (sign_flip_module.DRAWS + 1)
    )  # never 0


# ---- what few patients cannot say ----------------------------------------------------------------


@pytest.mark.parametrize("n", range(2, 9))
def test_smallest_attainable_p_is_attained_and_stated(n: int) -> None:
    values = np.linspace(1, 2, n)
    found = cohort_effect(patients(values))
    assert sign_flip(values).p == found.smallest_p == smallest_sign_flip_p(n) == 2 / 2**n
    assert found.testable == (n >= 6) == (found.p is not None)
    if n == 3:
        assert (
            found.reason
            == "not testable: 3 patients: the smallest two-sided sign-flip p is 0.25: it cannot"
            " reach 0.05"
        )


def test_none_and_one_patient() -> None:
    none, one = cohort_effect([]), cohort_effect(patients([0.5]))
    assert (none.p, none.estimate, none.testable) == (None, None, False)
    assert none.reason == "not testable: no patient has a slide that can be tested"
    assert (one.p, one.low, one.estimate, one.testable) == (None, None, 0.5, False)
    assert "one patient" in (one.reason or "")


def test_counts_stand_beside_every_p() -> None:
    found = cohort_effect(
        combine_slides([SlideValue(f"s{i}", f"P{i // 2}", 0.1 * i, 0.1, 600) for i in range(12)])
    )
    assert found.n_text == counts_text(6, 12, 7200) == "6 patients, 12 slides, 7,200 cells"
    assert counts_text(1, 1, 1) == "1 patient, 1 slide, 1 cell"


# ---- second opinions -----------------------------------------------------------------------------


def test_meta_analysis_agrees_with_metafor() -> None:
    """Values of R 4.2.2, metafor 3.8-1: rma(yi, vi, method = "PM", test = "adhoc");
    BCG trials of Colditz 1994 (dat.bcg), log risk ratios."""
    counts = """4 119 11 128 6 300 29 274 3 231 11 220 62 13536 248 12619 33 5036 47 5761
    180 1361 372 1079 8 2537 10 619 505 87886 499 87892
    29 7470 45 7232 17 1699 65 1600 186 50448 141 27197 5 2493 3 2338 27 16886 29 17825"""
    a, b, c, d = np.array(counts.split(), float).reshape(-1, 4)[:, :].T
    b[2], d[2] = 228, 209
    y, v = np.log(a / (a + b)) - np.log(c / (c + d)), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)
    found = hartung_knapp(
        [PatientValue(str(i), float(y[i]), float(v[i] ** 0.5), 1) for i in range(13)]
    )
    assert found.estimate == pytest.approx(-0.71497040563245, abs=2e-5)
    assert (found.low, found.high) == pytest.approx(
        (-1.10911325430676, -0.32082755695813), abs=2e-4
    )
    assert found.p == pytest.approx(0.00191966702866, rel=2e-3)
    assert (found.heterogeneity or 0) ** 2 == pytest.approx(0.31809371186302, rel=1e-3)
    yi, vi = (0.12, 0.31, 0.05, 0.22, 0.18, 0.27), (0.02, 0.09, 0.015, 0.04, 0.2, 0.03)
    alike = hartung_knapp(
        [PatientValue(str(i), e, s**0.5, 1) for i, (e, s) in enumerate(zip(yi, vi, strict=True))]
    )
    assert (alike.estimate, alike.low, alike.high, alike.p) == pytest.approx(
        (0.1474418604651, -0.0385048353905, 0.3333885563207, 0.0970813271236), rel=1e-6
    )
    assert alike.heterogeneity == 0


def test_mixed_model_finds_the_mean_slope_and_its_spread() -> None:
    rng = np.random.default_rng(2)
    slides = []
    for i in range(60):
        x = rng.standard_normal(400)
        slides.append(
            CellPairs(
                f"P{i}", x, (0.3 + 0.15 * rng.standard_normal()) * x + rng.standard_normal(400)
            )
        )
    found = random_slope_model(slides)
    expected = 0.3
    assert found.low is not None
    assert found.high is not None
    assert found.low < expected < found.high
    assert found.estimate == pytest.approx(expected, abs=0.06)
    assert found.heterogeneity == pytest.approx(0.14, abs=0.04)


def test_mixed_model_says_when_it_cannot() -> None:
    rng = np.random.default_rng(0)
    two = [CellPairs(f"P{i}", rng.standard_normal(50), rng.standard_normal(50)) for i in range(2)]
    assert "fewer than three patients" in (random_slope_model(two).note or "")
    constant = CellPairs("P2", np.ones(50), rng.standard_normal(50))
    assert (
        random_slope_model([*two, constant]).n_patients == 2
    )  # nothing to learn from a slide without variation
    with pytest.raises(RequestError, match="one value each per cell"):
        random_slope_model([CellPairs("P", np.ones(3), np.ones(4))])


def test_mixed_model_reports_that_it_did_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this null the default optimizer of statsmodels ends at an infinite likelihood, says it
    converged, and would give p = 0.05.
    """
    from statsmodels.regression import mixed_linear_model

    slides = cohort(Tissue(75, 7), np.random.default_rng(5), 8)
    assert random_slope_model(slides).p == pytest.approx(0.31, abs=0.01)
    fit = mixed_linear_model.MixedLM.fit
    monkeypatch.setattr(
        mixed_linear_model.MixedLM,
        "fit",
        lambda self, **more: fit(self, **{**more, "method": None}),
    )
    found = random_slope_model(slides)
    assert (found.estimate, found.p, found.note) == (None, None, "did not converge")


# ---- true nulls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("slope_sd", [0.0, 0.2])
def test_levels_on_true_nulls_where_pooled_cells_fail(slope_sd: float) -> None:
    """Exposure and response are smooth but independent (or vary in sign between patients): reject
    at 0.05 in 5 % of cohorts.
    """
    tissue, rng = Tissue(75, 7), np.random.default_rng(11)
    rejected = {"sign flip": 0, "t": 0, "meta": 0, "covered": 0, "pooled": 0, "fixed effect": 0}
    for _ in range(N_NULL):
        slides = cohort(tissue, rng, 8, slope_sd=slope_sd)
        own = combine_slides(slide_values(slides))
        found, meta = cohort_effect(own), hartung_knapp(own)
        assert found.low is not None
        assert found.high is not None
        rejected["sign flip"] += found.p is not None and found.p <= 0.05
        rejected["t"] += found.p_t is not None and found.p_t <= 0.05
        rejected["covered"] += not found.low <= 0 <= found.high
        rejected["meta"] += meta.p is not None and meta.p <= 0.05
        x, y = (
            np.concatenate([getattr(slide, name) for slide in slides])
            for name in ("exposure", "response")
        )
        rejected["pooled"] += stats.pearsonr(x, y).pvalue <= 0.05
        centred = [
            np.concatenate([getattr(s, name) - getattr(s, name).mean() for s in slides])
            for name in ("exposure", "response")
        ]
        rejected["fixed effect"] += stats.pearsonr(*centred).pvalue <= 0.05
    low, high = band(N_NULL)
    for name in ("sign flip", "t", "meta", "covered"):
        assert rejected[name] / N_NULL < high, name
    for name in ("sign flip", "t", "covered"):
        assert rejected[name] / N_NULL > low, name
    assert (
        rejected["pooled"] / N_NULL > 0.6
    )  # the controls: what a cell-level test makes of the same nulls
    assert rejected["fixed effect"] / N_NULL > band(N_NULL)[1]


def test_mixed_model_holds_its_level_and_fixed_slopes_do_not() -> None:
    tissue, rng, n = Tissue(75, 7), np.random.default_rng(5), 120
    random_slopes = common_slope = 0
    for _ in range(n):
        slides = cohort(tissue, rng, 8)
        found = random_slope_model(slides)
        random_slopes += found.p is not None and found.p <= 0.05
        x, y = (
            np.concatenate([(v - v.mean()) / v.std() for s in slides for v in [getattr(s, name)]])
            for name in ("exposure", "response")
        )
        common_slope += stats.linregress(x, y).pvalue <= 0.05
    worst = 0.0
    for _ in range(
        3
    ):  # patients of equal weight: the model must agree with the t-test of their slopes
        slides = cohort(tissue, rng, 8)
        slopes = [float(np.corrcoef(s.exposure, s.response)[0, 1]) for s in slides]
        found = random_slope_model(slides)
        if found.note is None and found.heterogeneity:
            worst = max(worst, abs((found.p or 0) - float(stats.ttest_1samp(slopes, 0).pvalue)))
    assert worst < 0.01
    assert random_slopes / n < band(n)[1]
    assert common_slope / n > band(n)[1]  # the control: cells as the unit


def test_power_grows_with_patients_and_effect() -> None:
    tissue, rng = Tissue(75, 7), np.random.default_rng(3)
    rate = {}
    for n, slope in itertools.product((6, 12), (0.15, 0.4)):
        found = [
            cohort_effect(combine_slides(slide_values(cohort(tissue, rng, n, slope)))).p or 0.0
            for _ in range(60)
        ]
        rate[n, slope] = np.mean(np.array(found) <= 0.05)
    assert rate[12, 0.4] > 0.9
    assert rate[6, 0.15] < rate[12, 0.15] < rate[12, 0.4]
    assert rate[6, 0.15] < rate[6, 0.4]


# ---- what must not shrink the interval -----------------------------------------------------------


def width(values: list[SlideValue]) -> float:
    found = cohort_effect(combine_slides(values))
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def test_more_cells_or_images_of_the_same_patients_do_not_shrink_the_interval() -> None:
    tissue, rng = Tissue(75, 7), np.random.default_rng(21)
    slides = cohort(tissue, rng, 10, slope=0.2, slope_sd=0.1)
    once = width(slide_values(slides))
    twice = [CellPairs(s.patient, np.tile(s.exposure, 2), np.tile(s.response, 2)) for s in slides]
    assert width(slide_values(twice)) == pytest.approx(once, rel=1e-9)
    quarters = [
        slide_value(s.exposure[q::4], s.response[q::4], f"{s.patient}-{q}", s.patient)
        for s in slides
        for q in range(4)
    ]
    assert width(quarters) > 0.9 * once
    pretended = [
        slide_value(s.exposure[q::4], s.response[q::4], f"{s.patient}-{q}", f"{s.patient}-{q}")
        for s in slides
        for q in range(4)
    ]
    assert width(pretended) < 0.75 * once  # the control: images passed off as patients do shrink it


def test_order_of_patients_changes_nothing() -> None:
    values = patients([0.1, 0.25, -0.4, 0.33, 0.5, 0.11, 0.7])
    one, other = cohort_effect(values), cohort_effect(values[::-1])
    assert (one.estimate, one.low, one.high, one.p, one.p_t) == pytest.approx(
        (other.estimate, other.low, other.high, other.p, other.p_t)
    )
