"""From slides to the cohort's answer: who takes part, guards, verdicts, families, dose-response,
multiverse.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from cohort_results import not_testable, slide_effect
from cohorts import patients
from scipy import stats

from ifquant.errors import RequestError
from ifquant.phenotypes.gate_bootstrap import bootstrap_gate
from ifquant.phenotypes.gates import fit_gate
from ifquant.recipe.model import Gate
from ifquant.statistics.cohort.cohort_test import NO_PATIENTS, SECOND, CohortResult, analyze_cohort
from ifquant.statistics.cohort.mean_effect import cohort_effect, dose_curve
from ifquant.statistics.cohort.members import Member, Plan
from ifquant.statistics.cohort.multiverse import Specification, summarized
from ifquant.statistics.priming.slide_effect import SHARED, DosePoint, SlideEffect, TestResult


def members(slides: list[SlideEffect], groups: int = 1) -> dict[str, Member]:
    return {s.slide: Member(s.slide, f"P{i}", f"G{i % groups}") for i, s in enumerate(slides)}


def cohort_of(
    mean: float, n: int = 8, shares: dict[str, float] | None = None, seed: int = 0
) -> CohortResult:
    rng = np.random.default_rng(seed)
    slides = [
        slide_effect(f"s{i}", mean + 0.05 * rng.standard_normal(), rng, shares) for i in range(n)
    ]
    return analyze_cohort(slides, members(slides))


# ---- verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "shares", "verdict", "says"),
    [
        (0.3, {}, "consistent with priming", "no negative control responds as well"),
        (0.0, {}, "no evidence", "would have been found with 80 % power"),
        (-0.3, {}, "opposite direction", "more ligand goes with less response"),
        (
            0.3,
            {"negative control DAPI": 0.9},
            "not specific (a negative control responds as well)",
            "negative control DAPI gives",
        ),
        (
            -0.3,
            {"negative control DAPI": 0.9},
            "not specific (a negative control responds as well)",
            "",
        ),
        (0.3, {"negative control DAPI": 0.2}, "consistent with priming", ""),
        (
            0.3,
            {"negative control DAPI": -0.9},
            "not specific (a negative control responds as well)",
            "",
        ),
        (
            0.3,
            {"response measured inside": 0.0},
            "explained by spill-over",
            "response measured inside leaves",
        ),
        (0.3, {"response measured inside": 0.7}, "consistent with priming", ""),
        (
            0.3,
            {"without touching pairs": 0.0},
            "consistent with priming",
            "",
        ),  # a sensitivity: contact may be needed
        (
            0.3,
            {"roles swapped": 2.0},
            "consistent with priming",
            "",
        ),  # another question: shown, decides nothing
        (
            0.3,
            {"negative control DAPI": 1.0, "response measured inside": 0.0},
            "not specific (a negative control responds as well)",
            "",
        ),
    ],
)
def test_verdicts(mean: float, shares: dict[str, float], verdict: str, says: str) -> None:
    found = cohort_of(mean, shares=shares)
    assert found.verdict == verdict
    assert says in found.reason
    assert "cause" not in found.reason


@pytest.mark.parametrize(
    ("mean", "shares", "flagged"),
    [
        (0.3, {}, False),
        (
            0.3,
            {"negative control DAPI": 0.25},
            True,
        ),  # too little for the verdict, enough to doubt p
        (0.3, {"negative control DAPI": 0.9}, True),
        (-0.3, {"negative control DAPI": 0.5}, True),
        (0.3, {"without touching pairs": 1.0}, False),  # a sensitivity, no control
    ],
)
def test_p_is_flagged_where_a_control_goes_with_the_response(
    mean: float, shares: dict[str, float], flagged: bool
) -> None:
    reason = cohort_of(mean, shares=shares).test("priming effect").reason
    assert (
        reason is not None
        and reason.startswith("flagged: negative control DAPI goes with the response as well (")
    ) == flagged
    few = cohort_of(mean, n=3, shares=shares).test("priming effect").reason
    assert few is not None
    assert "flagged" not in few  # no p, nothing to flag


def test_an_effect_at_the_shared_border_alone_is_spill_over() -> None:
    found = cohort_of(0.0)
    at_border = [
        dataclasses.replace(
            s,
            guards=tuple(
                dataclasses.replace(g, z=0.3 + s.z) if g.name == SHARED else g for g in s.guards
            ),
        )
        for s in found.slides
    ]
    verdict = analyze_cohort(at_border, dict(found.members))
    assert (found.verdict, verdict.verdict) == ("no evidence", "explained by spill-over")
    assert f"Only {SHARED} goes with the response" in verdict.reason


def test_few_patients_are_not_testable_whatever_their_slides() -> None:
    rng = np.random.default_rng(0)
    slides = [slide_effect(f"s{i}", 0.6, rng, se=0.02) for i in range(40)]
    found = analyze_cohort(
        slides, {s.slide: Member(s.slide, f"P{i % 5}") for i, s in enumerate(slides)}
    )
    assert found.verdict == "not testable"
    assert (
        found.reason
        == "not testable: 5 patients: the smallest two-sided sign-flip p is 0.0625: it cannot reach"
        " 0.05"
    )
    assert (found.effect.n_patients, found.effect.n_slides) == (5, 40)
    alone = analyze_cohort(slides, {s.slide: Member(s.slide, "P") for s in slides})
    assert (alone.verdict, alone.effect.p, alone.tests[0].p) == ("not testable", None, None)


def test_slides_without_patients_are_not_testable() -> None:
    rng = np.random.default_rng(0)
    found = analyze_cohort([slide_effect(f"s{i}", 0.4, rng) for i in range(10)], {})
    assert (found.verdict, found.reason) == ("not testable", NO_PATIENTS)
    assert set(found.excluded.values()) == {"the sample sheet names no patient"}
    assert found.tests[0].p is None


def test_slides_that_cannot_be_tested_are_listed_and_left_out() -> None:
    rng = np.random.default_rng(0)
    slides = [slide_effect(f"s{i}", 0.3, rng) for i in range(7)]
    known = members([*slides, not_testable("bad")])
    with_bad = analyze_cohort([*slides, not_testable("bad")], known)
    without = analyze_cohort(slides, known)
    assert with_bad.excluded == {"bad": "not testable: 12 exposed responders, 60 are needed"}
    assert with_bad.effect.estimate == without.effect.estimate
    assert (with_bad.effect.n_patients, with_bad.effect.n_cells) == (7, 7 * 210)
    with pytest.raises(RequestError, match="given twice"):
        analyze_cohort([*slides, slides[0]], known)
    nothing = analyze_cohort([not_testable("bad")], known)
    assert (nothing.verdict, nothing.reason) == (
        "not testable",
        "not testable: no patient has a slide that can be tested",
    )
    empty = analyze_cohort([], {})
    assert (empty.verdict, empty.dose, empty.guards) == ("not testable", (), ())


def test_guards_are_combined_over_patients() -> None:
    found = cohort_of(0.3)
    by_name = {guard.name: guard for guard in found.guards}
    rows = [
        next(row for row in slide.guards if row.name == "without touching pairs").z
        for slide in found.slides
    ]
    assert by_name["without touching pairs"].effect.estimate == pytest.approx(np.mean(rows))
    assert by_name["without touching pairs"].effect.p == cohort_effect(patients(np.array(rows))).p
    asked_on_half = [
        dataclasses.replace(s, guards=s.guards[:2] if i % 2 else s.guards)
        for i, s in enumerate(found.slides)
    ]
    some = analyze_cohort(asked_on_half, dict(found.members))
    assert {g.name: g.effect.n_patients for g in some.guards}["negative control DAPI"] == 4
    halves = {g.name: g.beside.estimate for g in some.guards if g.beside is not None}
    assert halves["negative control DAPI"] == pytest.approx(
        np.mean([s.z for s in found.slides[::2]])
    )
    assert (some.verdict, some.headline) == (
        "consistent with priming",
        (
            "consistent with priming (no negative control was available; spill-over between"
            " touching cells cannot be excluded here)"
        ),
    )
    none = [
        dataclasses.replace(s, guards=(dataclasses.replace(s.guards[4], z=None, se=None),))
        for s in found.slides
    ]
    assert (
        "Not available in enough patients: negative control DAPI"
        in analyze_cohort(none, dict(found.members)).reason
    )


def test_a_control_too_few_patients_have_lets_nothing_pass() -> None:
    """A control as large as the effect, but in 5 of 8 patients, cannot tell; that stands in the
    verdict's own line.
    """
    found = cohort_of(0.3, shares={"negative control DAPI": 1.0, "negative control PanCK": 1.0})
    assert found.verdict == "not specific (a negative control responds as well)"
    slides = [
        dataclasses.replace(s, guards=s.guards[:4]) if i >= 5 else s
        for i, s in enumerate(found.slides)
    ]
    some = analyze_cohort(slides, dict(found.members))
    assert some.headline == "consistent with priming (no negative control was available)"
    assert "no negative control responds as well" not in some.reason


def test_no_p_stands_beside_not_testable() -> None:
    found = cohort_of(0.3, n=3)
    assert found.verdict == "not testable"
    assert (found.effect.p, found.effect.p_t, [one.p for one in found.opinions]) == (
        None,
        None,
        [None, None],
    )
    assert all(
        one.estimate is not None and "not testable: 3 patients" in (one.note or "")
        for one in found.opinions
    )
    assert all(test.p is None for test in found.tests)


def test_slides_their_own_test_cannot_judge_enter_no_cohort() -> None:
    found = cohort_of(0.3)
    shifts = TestResult(None, "not testable: only 31 usable shifts", 31)
    unjudged = dataclasses.replace(
        found.slides[0], verdict="not testable", reason=shifts.reason, tests={"shift": shifts}
    )
    some = analyze_cohort([unjudged, *found.slides[1:]], dict(found.members))
    assert (some.excluded, some.effect.n_patients) == (
        {"s0": "not testable: only 31 usable shifts"},
        7,
    )


def test_the_flag_stands_with_every_p_of_the_effect() -> None:
    found = cohort_of(0.3, shares={"negative control DAPI": 0.9})
    assert all("flagged: negative control DAPI" in (one.note or "") for one in found.opinions)
    assert (found.test("roles swapped").reason or "").startswith("flagged: light of crowded cells")
    small = cohort_of(0.3, shares={"negative control DAPI": 0.25})
    assert small.headline == "consistent with priming (its p is flagged)"
    gone = cohort_of(0.3, shares={"response measured inside": 0.0})
    assert "flagged: response measured inside leaves" in (gone.test("priming effect").reason or "")


def test_groups_whose_controls_differ_are_flagged() -> None:
    """Stain of one group differs: the effect does, and so does a control."""
    rng = np.random.default_rng(4)
    slides = [
        slide_effect(
            f"s{i}",
            0.1 + 0.4 * (i % 2) + 0.05 * rng.standard_normal(),
            rng,
            {"negative control DAPI": 1.0},
        )
        for i in range(16)
    ]
    (named,) = analyze_cohort(slides, members(slides, 2), Plan((("G0", "G1"),))).comparisons
    assert (named.comparison.note or "").startswith(
        "flagged: negative control DAPI differs as well (p = 0.0"
    )
    honest = [
        dataclasses.replace(
            s, guards=tuple(dataclasses.replace(g, z=0.01 * k) for k, g in enumerate(s.guards))
        )
        for s in slides
    ]
    (named,) = analyze_cohort(honest, members(slides, 2), Plan((("G0", "G1"),))).comparisons
    assert (named.comparison.note, (named.comparison.p or 1) < 0.01) == (None, True)


def test_families_of_a_cohort() -> None:
    rng = np.random.default_rng(0)
    slides = [slide_effect(f"s{i}", 0.3 + 0.2 * (i % 2), rng) for i in range(12)]
    measures = {"touching": {s.slide: float(i) for i, s in enumerate(slides)}}
    found = analyze_cohort(slides, members(slides, 2), Plan((("G0", "G1"),)), measures)
    family = {test.name: test.family.name for test in found.tests}
    assert family["priming effect"] == "primary"
    assert family["priming effect: G1 against G0"] == "comparisons of the effect"
    assert family["touching: G1 against G0"] == "other measures, groups and visits"
    assert family["roles swapped"] == "guards and sensitivities"
    assert (
        found.test("priming effect").adjusted == found.test("priming effect").p == found.effect.p
    )  # groups cost the main test nothing
    assert all(
        test.p is None
        or (test.n_patients >= 1 and (test.smallest_p > 0) != (test.family == SECOND))
        for test in found.tests
    )
    assert family["t-test of patients"] == "second opinions, none decides"
    refused = analyze_cohort(
        slides, members(slides, 2), Plan((("G0", "G1"),), refused="refused: gates"), measures
    )
    assert [c.comparison.p for c in refused.comparisons] == [None, None]
    assert refused.test("touching: G1 against G0").reason == "refused: gates"
    assert refused.effect.p == found.effect.p  # the cohort's own effect compares no slides
    with pytest.raises(KeyError):
        found.test("nothing")


def test_visits_are_paired() -> None:
    rng = np.random.default_rng(0)
    slides = [
        slide_effect(f"{v}{i}", 0.1 * i + (0.2 if v == "post" else 0), rng)
        for v in ("pre", "post")
        for i in range(8)
    ]
    known = {s.slide: Member(s.slide, f"P{s.slide[-1]}", None, s.slide[:-1]) for s in slides}
    found = analyze_cohort(slides, known, Plan(visits=(("pre", "post"),)))
    comparison = found.comparisons[0].comparison
    assert (comparison.kind, comparison.n_patients) == ("paired", (8, 8))
    assert comparison.difference == pytest.approx(0.2)
    assert comparison.p == 2 / 2**8
    assert found.effect.n_patients == 8


def test_shift_null_is_the_mean_over_patients() -> None:
    found = cohort_of(0.3)
    assert found.shift_null == pytest.approx(
        np.mean([slide.tests["shift"].null_z for slide in found.slides], axis=0)
    )


def test_verdicts_on_null_cohorts_hold_their_level() -> None:
    found = [cohort_of(0.0, seed=seed).verdict for seed in range(100)]
    claimed = sum(verdict != "no evidence" for verdict in found)
    assert claimed <= stats.binom.interval(0.999, 100, 0.05)[1]
    assert (
        sum(verdict == "consistent with priming" for verdict in found)
        <= stats.binom.interval(0.999, 100, 0.025)[1]
    )


# ---- dose and response ---------------------------------------------------------------------------


def test_dose_curve_counts_patients_once() -> None:
    def line(slope: float, n: int) -> list[DosePoint]:
        return [DosePoint(x, n, slope * x, 0.0, 0.0) for x in (-1.0, 0.0, 1.0)]

    found = dose_curve([("P", line(1.0, 10)), ("P", line(0.0, 30)), ("Q", line(0.75, 5))])
    assert [p.response for p in found] == pytest.approx(
        [-0.5, 0.0, 0.5]
    )  # P: 0.25 (weighted by cells), Q: 0.75
    interval = stats.t.interval(0.95, 1, loc=0.5, scale=0.25)
    assert (found[2].low, found[2].high) == pytest.approx(interval)
    assert (found[2].n_patients, found[2].n_cells) == (2, 45)
    assert dose_curve([("P", line(1.0, 10)), ("Q", [])])[0].low is None
    assert dose_curve([]) == ()


# ---- multiverse and gates ------------------------------------------------------------------------


def test_multiverse_is_counted() -> None:
    def spec(values: list[float], main: bool = False) -> Specification:
        return Specification({"a": str(values)}, main, cohort_effect(patients(values)))

    strong, weak = list(np.linspace(0.1, 0.3, 8)), [0.1, -0.2, 0.3, -0.1, 0.05, -0.04, 0.2, -0.2]
    found = summarized([spec(strong, main=True), spec(weak), spec([-v for v in strong]), spec([])])
    assert (found.n, found.n_estimated, found.n_same_sign, found.n_below_alpha) == (4, 3, 2, 2)
    assert (found.lowest, found.median, found.highest) == pytest.approx((-0.2, np.mean(weak), 0.2))


def cells(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.exp(np.concatenate([rng.normal(4, 0.4, 2 * n), rng.normal(6, 0.5, n)]))


def test_gate_interval_covers_the_spread_of_gates_of_new_cells() -> None:
    """The interval of one sample must be about as wide as gates of fresh samples really scatter,
    and hold most of them.
    """
    rng = np.random.default_rng(3)
    fresh = [fit_gate(cells(rng, 500), Gate(), "A").value or math.nan for _ in range(60)]
    own = cells(rng, 500)
    value = fit_gate(own, Gate(), "A").value
    found = bootstrap_gate(own, Gate(), "A", value=value, n=100)
    assert found.low is not None
    assert found.high is not None
    assert value is not None
    assert found.low < value < found.high
    low, high = np.quantile(fresh, [0.025, 0.975])
    assert 0.6 < math.log(found.high / found.low) / math.log(high / low) < 2.0
    larger = bootstrap_gate(cells(rng, 5000), Gate(), "A", value=value, n=100)
    assert math.log((larger.high or 1) / (larger.low or 1)) < 0.8 * math.log(found.high / found.low)


def test_interval_of_a_shared_gate_covers_gates_of_other_slides() -> None:
    """Staining differs between slides: gates of fresh sets of slides scatter far more than the
    cells of one set tell.
    """
    rng = np.random.default_rng(6)

    def slides() -> dict[str, np.ndarray]:
        return {str(k): cells(rng, 300) * math.exp(0.15 * rng.standard_normal()) for k in range(8)}

    shared = Gate(shared=True)
    fresh = [fit_gate(slides(), shared, "A").value or math.nan for _ in range(60)]
    low, truth, high = np.quantile(fresh, [0.025, 0.5, 0.975])
    sets = [slides() for _ in range(12)]
    found = [
        bootstrap_gate(own, shared, "A", value=fit_gate(own, shared, "A").value, n=80, seed=k)
        for k, own in enumerate(sets)
    ]
    bounds = [(one.low or math.nan, one.high or math.nan) for one in found]
    assert sum(a <= truth <= b for a, b in bounds) >= 9
    assert 0.5 < np.median([math.log(b / a) for a, b in bounds]) / math.log(high / low) < 1.5


def test_gate_interval_is_seeded_and_shared_gates_draw_within_slides() -> None:
    rng = np.random.default_rng(3)
    slides = {"a": cells(rng, 300), "b": cells(rng, 300)}
    value = fit_gate(slides, Gate(shared=True), "A").value
    one, same, other = (
        bootstrap_gate(slides, Gate(shared=True), "A", value=value, n=40, seed=s) for s in (1, 1, 2)
    )
    assert one == same != other


def test_gates_that_are_not_fitted_have_no_interval() -> None:
    rng = np.random.default_rng(3)
    values = cells(rng, 300)
    assert bootstrap_gate(values, Gate(value=300.0), "A", value=300.0).note == "given, not fitted"
    assert (
        bootstrap_gate(values, Gate(control_slide="c"), "A", value=300.0).note
        == "from control cells"
    )
    assert bootstrap_gate(values, Gate(), "A", value=None).note == "not callable"
    one_mode = bootstrap_gate(rng.lognormal(4, 0.5, 900), Gate(), "A", value=80.0, n=40)
    assert (one_mode.low, one_mode.n_callable < 20) == (None, True)
    assert "callable in only" in one_mode.note
    with pytest.raises(RequestError, match="at least 40"):
        bootstrap_gate(values, Gate(), "A", value=300.0, n=10)
