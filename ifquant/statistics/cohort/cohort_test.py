"""From the effects of slides to the answer of a cohort: patients, tests, guards, comparisons,
verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ifquant.errors import RequestError
from ifquant.statistics.cohort.cohort_verdict import CohortGuard, cohort_verdict, flag_of, unguarded
from ifquant.statistics.cohort.mean_effect import (
    CohortEffect,
    CurvePoint,
    cohort_effect,
    dose_curve,
)
from ifquant.statistics.cohort.members import (
    EFFECT,
    MEASURES,
    Member,
    NamedComparison,
    Plan,
    compared_measure,
    comparison_test,
    comparisons_of,
    flagged_by_controls,
    guards_of,
    slide_value,
)
from ifquant.statistics.cohort.multiplicity import PRIMARY, Family, TestedP, adjusted
from ifquant.statistics.cohort.patients import PatientValue, combine_slides
from ifquant.statistics.cohort.second_opinions import (
    CellPairs,
    Opinion,
    hartung_knapp,
    random_slope_model,
)
from ifquant.statistics.priming.slide_effect import SlideEffect, Verdict

SENSITIVITY = Family("guards and sensitivities", "fdr_bh")
SECOND = Family("second opinions, none decides", "holm")
CROWDED = (
    "flagged: light of crowded cells alone gives a small negative value here, whose p is too small"
    " (docs/statistics.md)"
)
NO_PATIENTS = (
    "not testable: the slides have no patients; give a sample sheet with the columns slide and"
    " patient"
)


@dataclass(frozen=True, eq=False)
class CohortResult:
    """Everything a report says about a cohort.

    Attributes
    ----------
    slides, members
        The slides' effects in the order given, and to whom they belong.
    excluded
        Slide > why it takes no part.
    patients
        One value each.
    effect
        The primary test.
    shift_null
        Cohort means under the random shifts of the slides (k-th shift of each), empty where slides
        have none.
    opinions, guards, comparisons, locations, dose
        Second opinions; the effect under other measurements; groups and visits; where cells lie,
        over patients; the dose-response curve.
    tests
        Every p-value of the cohort with its family, adjusted.
    verdict, reason
        The answer, and why.
    """

    slides: tuple[SlideEffect, ...]
    members: Mapping[str, Member]
    excluded: Mapping[str, str]
    patients: tuple[PatientValue, ...]
    effect: CohortEffect
    shift_null: tuple[float, ...]
    opinions: tuple[Opinion, ...]
    guards: tuple[CohortGuard, ...]
    comparisons: tuple[NamedComparison, ...]
    locations: Mapping[str, CohortEffect]
    dose: tuple[CurvePoint, ...]
    tests: tuple[TestedP, ...]
    verdict: Verdict
    reason: str

    @property
    def headline(self) -> str:
        """The verdict and, in its own line, what takes from a positive one: a flag, guards that
        were missing.
        """
        if self.verdict != "consistent with priming":
            return self.verdict
        said = (
            *(("its p is flagged",) if self.tests[0].reason else ()),
            *unguarded(self.effect, self.guards),
        )
        return f"{self.verdict} ({'; '.join(said)})" if said else self.verdict

    def test(self, name: str) -> TestedP:
        """Find a test by name; KeyError when there is none."""
        for test in self.tests:
            if test.name == name:
                return test
        raise KeyError(name)


def analyze_cohort(
    slides: Sequence[SlideEffect],
    members: Mapping[str, Member],
    plan: Plan | None = None,
    measures: Mapping[str, Mapping[str, float]] | None = None,
    locations: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
) -> CohortResult:
    """Combine slides into patients and patients into the cohort's answer.

    Parameters
    ----------
    slides
        One effect per slide; those that are not testable are listed with their reason and take no
        part.
    members
        Slide > to whom it belongs.
    measures
        Further measures to compare between groups and visits: name > slide > value.
    locations
        Further effects to test against 0 over patients: name > slide > (value, standard error).

    Raises
    ------
    RequestError
        If a slide occurs twice or a patient is in two groups.
    """
    plan = plan or Plan()
    if len({slide.slide for slide in slides}) < len(slides):
        raise RequestError("a slide is given twice; each slide counts once.")
    known = {slide.slide: members.get(slide.slide) or Member(slide.slide) for slide in slides}
    reasons = {slide.slide: _why_excluded(slide, known[slide.slide]) for slide in slides}
    excluded = {slide: why for slide, why in reasons.items() if why is not None}
    used = [slide for slide in slides if slide.slide not in excluded]
    values = [
        slide_value(known[slide.slide], slide.z, slide.se_z, slide.n_exposed) for slide in used
    ]
    patients = combine_slides(values)
    effect = cohort_effect(patients, seed=plan.seed)
    if not patients and slides and all(member.patient is None for member in known.values()):
        effect = replace(effect, reason=NO_PATIENTS)
    guards = guards_of(used, known, plan.seed)
    comparisons = [
        *flagged_by_controls(comparisons_of(EFFECT, values, patients, plan), used, known, plan)
    ]
    for name, own in (measures or {}).items():
        comparisons += compared_measure(name, own, known, plan.of(name))
    placed = {name: _location(own, known, plan.seed) for name, own in (locations or {}).items()}
    of_patient = [(str(known[slide.slide].patient), slide) for slide in used]
    bins = [_bins(patient, slide) for patient, slide in of_patient]
    opinions = tuple(
        _in_context(one, effect, guards)
        for one in (hartung_knapp(patients), random_slope_model(bins))
    )
    tests = adjusted(
        [
            *_tests(effect, guards),
            *_second(effect, opinions),
            *(comparison_test(one) for one in comparisons),
            *(_effect_test(MEASURES, name, found) for name, found in placed.items()),
        ]
    )
    verdict, reason = _verdict(effect, tests[0], guards)
    return CohortResult(
        slides=tuple(slides),
        members=known,
        excluded=excluded,
        patients=patients,
        effect=effect,
        shift_null=_shift_null(of_patient),
        opinions=opinions,
        guards=guards,
        comparisons=tuple(comparisons),
        locations=placed,
        dose=dose_curve([(patient, slide.dose_response) for patient, slide in of_patient]),
        tests=tests,
        verdict=verdict,
        reason=reason,
    )


def _verdict(
    effect: CohortEffect, primary: TestedP, guards: Sequence[CohortGuard]
) -> tuple[Verdict, str]:
    verdict, reason = cohort_verdict(effect, primary.adjusted if effect.testable else None, guards)
    if effect.testable and primary.reason:
        reason = f"{reason} {primary.reason[:1].upper()}{primary.reason[1:]}."
    return verdict, reason


def _why_excluded(slide: SlideEffect, member: Member) -> str | None:
    if not slide.testable:
        return slide.reason or "not testable"
    return "the sample sheet names no patient" if member.patient is None else None


def _location(
    values: Mapping[str, tuple[float, float]], members: Mapping[str, Member], seed: int
) -> CohortEffect:
    slides = [
        slide_value(members[slide], value, se, 0)
        for slide, (value, se) in values.items()
        if slide in members and members[slide].patient is not None
    ]
    return cohort_effect(combine_slides(slides), seed=seed)


def _effect_test(family: Family, name: str, found: CohortEffect) -> TestedP:
    return TestedP(
        family,
        name,
        found.p,
        found.n_patients,
        found.n_slides,
        found.n_cells,
        found.smallest_p,
        found.reason,
    )


def _tests(effect: CohortEffect, guards: Sequence[CohortGuard]) -> list[TestedP]:
    first = _effect_test(PRIMARY, EFFECT, effect)
    rows = [replace(first, reason=flag_of(effect, guards)) if effect.testable else first]
    others = [
        (guard.kind, _effect_test(SENSITIVITY, guard.name, guard.effect))
        for guard in guards
        if guard.kind != "main"
    ]
    return rows + [
        replace(test, reason=test.reason or (CROWDED if kind == "direction" else None))
        for kind, test in others
    ]


def _in_context(opinion: Opinion, effect: CohortEffect, guards: Sequence[CohortGuard]) -> Opinion:
    """Take the p away where the cohort is not testable, and let the flag of the primary p stand
    with the others.
    """
    flag = None if opinion.p is None else flag_of(effect, guards)
    notes = "; ".join(note for note in (opinion.note, flag, effect.reason) if note)
    return replace(opinion, p=opinion.p if effect.testable else None, note=notes or None)


def _second(effect: CohortEffect, opinions: Sequence[Opinion]) -> list[TestedP]:
    """Give the other p-values of the effect."""
    n = effect.n_patients, effect.n_slides, effect.n_cells
    rows = [TestedP(SECOND, "t-test of patients", effect.p_t, *n, smallest_p=0.0)]
    return rows + [
        TestedP(SECOND, one.method, one.p, one.n_patients, *n[1:], smallest_p=0.0, reason=one.note)
        for one in opinions
    ]


def _shift_null(slides: Sequence[tuple[str, SlideEffect]]) -> tuple[float, ...]:
    """Mean over patients of their slides' z under the k-th random shift: what a cohort without
    association would show.
    """
    by_patient: dict[str, list[tuple[float, tuple[float, ...]]]] = {}
    for patient, slide in slides:
        null = slide.tests["shift"].null_z if "shift" in slide.tests else ()
        if null:
            by_patient.setdefault(patient, []).append((slide.se_z**-2, null))
    if not by_patient:
        return ()
    length = min(len(null) for own in by_patient.values() for _, null in own)
    means = [
        np.average([null[:length] for _, null in own], axis=0, weights=[w for w, _ in own])
        for own in by_patient.values()
    ]
    return tuple(float(value) for value in np.mean(means, axis=0))


def _bins(patient: str, slide: SlideEffect) -> CellPairs:
    exposure, response = (
        np.array([getattr(point, name) for point in slide.dose_response])
        for name in ("exposure", "response")
    )
    return CellPairs(patient, exposure, response)
