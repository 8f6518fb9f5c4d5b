"""From the effects of slides to the answer of a cohort: patients, tests, guards, comparisons, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ifquant.errors import RequestError
from ifquant.statistics.cohort_effect import CohortEffect, cohort_effect
from ifquant.statistics.cohort_verdict import CohortGuard, cohort_verdict, flag_of
from ifquant.statistics.dose_response import CurvePoint, dose_curve
from ifquant.statistics.effect import SlideEffect, Verdict
from ifquant.statistics.groups import Comparison, compare_groups, compare_visits
from ifquant.statistics.multiplicity import PRIMARY, Family, TestedP, adjusted
from ifquant.statistics.patients import PatientValue, SlideValue, combine_slides
from ifquant.statistics.second_opinions import CellPairs, Opinion, hartung_knapp, random_slope_model

SENSITIVITY = Family("guards and sensitivities", "fdr_bh")
COMPARED = Family("comparisons of the effect", "holm")
MEASURES = Family("other measures, groups and visits", "fdr_bh")
NO_PATIENTS = "not testable: the slides have no patients; give a sample sheet with the columns slide and patient"
EFFECT = "priming effect"


@dataclass(frozen=True)
class Member:
    """To whom a slide belongs; `patient` is None when nobody said."""

    slide: str
    patient: str | None = None
    group: str | None = None
    visit: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is compared besides the cohort's effect: pairs of groups, pairs of visits, and why they must not be.

    `refused_measures`: measure > why it alone must not be compared (shares of positive cells, whose gates may differ between slides).
    """

    groups: tuple[tuple[str, str], ...] = ()
    visits: tuple[tuple[str, str], ...] = ()
    refused: str | None = None
    seed: int = 0
    refused_measures: Mapping[str, str] = field(default_factory=dict)

    def of(self, measure: str) -> Plan:
        """Give the plan of one measure, which may be refused where others are not."""
        return replace(self, refused=self.refused or self.refused_measures.get(measure))


@dataclass(frozen=True)
class NamedComparison:
    """One comparison and of what."""

    measure: str
    comparison: Comparison


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
        Cohort means under the random shifts of the slides (k-th shift of each), empty where slides have none.
    opinions, guards, comparisons, locations, dose
        Second opinions; the effect under other measurements; groups and visits; where cells lie, over patients; the dose-response curve.
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
        One effect per slide; those that are not testable are listed with their reason and take no part.
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
    excluded = {slide.slide: why for slide in slides if (why := _why_excluded(slide, known[slide.slide])) is not None}
    used = [slide for slide in slides if slide.slide not in excluded]
    values = [_value(known[slide.slide], slide.z, slide.se_z, slide.n_exposed) for slide in used]
    patients = combine_slides(values)
    effect = cohort_effect(patients, seed=plan.seed)
    if not patients and slides and all(member.patient is None for member in known.values()):
        effect = replace(effect, reason=NO_PATIENTS)
    guards = _guards(used, known, plan.seed)
    comparisons = [
        *_comparisons(EFFECT, values, patients, plan),
        *(c for name, own in (measures or {}).items() for c in _compared_measure(name, own, known, plan.of(name))),
    ]
    placed = {name: _location(own, known, plan.seed) for name, own in (locations or {}).items()}
    located = [_effect_test(MEASURES, name, found) for name, found in placed.items()]
    tests = adjusted([*_tests(effect, guards), *(_comparison_test(one) for one in comparisons), *located])
    verdict, reason = cohort_verdict(effect, tests[0].adjusted if effect.testable else None, guards)
    if effect.testable and tests[0].reason:
        reason = f"{reason} {tests[0].reason[:1].upper()}{tests[0].reason[1:]}."
    of_patient = [(str(known[slide.slide].patient), slide) for slide in used]
    return CohortResult(
        slides=tuple(slides),
        members=known,
        excluded=excluded,
        patients=patients,
        effect=effect,
        shift_null=_shift_null(of_patient),
        opinions=(hartung_knapp(patients), random_slope_model([_bins(patient, slide) for patient, slide in of_patient])),
        guards=guards,
        comparisons=tuple(comparisons),
        locations=placed,
        dose=dose_curve([(patient, slide.dose_response) for patient, slide in of_patient]),
        tests=tests,
        verdict=verdict,
        reason=reason,
    )


def _why_excluded(slide: SlideEffect, member: Member) -> str | None:
    if not slide.testable:
        return slide.reason or "not testable"
    return "the sample sheet names no patient" if member.patient is None else None


def _value(member: Member, value: float, se: float, n_cells: int) -> SlideValue:
    return SlideValue(member.slide, str(member.patient), value, se, n_cells, member.group, member.visit)


def _guards(slides: Sequence[SlideEffect], members: Mapping[str, Member], seed: int) -> tuple[CohortGuard, ...]:
    """Combine each guard over the slides that have it, in the order of their first appearance."""
    first = {row.name: row for slide in reversed(slides) for row in reversed(slide.guards)}
    order = list(dict.fromkeys(row.name for slide in slides for row in slide.guards))
    out = []
    for name in order:
        values = [
            _value(members[slide.slide], row.z, row.se, row.n)
            for slide in slides
            for row in slide.guards
            if row.name == name and row.z is not None and row.se is not None and row.se > 0
        ]
        out.append(CohortGuard(name, first[name].kind, first[name].reads_as, cohort_effect(combine_slides(values), seed=seed)))
    return tuple(out)


def _comparisons(name: str, values: Sequence[SlideValue], patients: Sequence[PatientValue], plan: Plan) -> list[NamedComparison]:
    groups = [NamedComparison(name, compare_groups(patients, a, b, refused=plan.refused, seed=plan.seed)) for a, b in plan.groups]
    visits = [NamedComparison(name, compare_visits(values, a, b, refused=plan.refused, seed=plan.seed)) for a, b in plan.visits]
    return groups + visits


def _compared_measure(name: str, values: Mapping[str, float], members: Mapping[str, Member], plan: Plan) -> list[NamedComparison]:
    """Compare a measure that has no error of its own: the slides of a patient count alike."""
    slides = [
        _value(members[slide], value, 1.0, 0)
        for slide, value in values.items()
        if slide in members and members[slide].patient is not None and np.isfinite(value)
    ]
    return _comparisons(name, slides, combine_slides(slides), plan)


def _location(values: Mapping[str, tuple[float, float]], members: Mapping[str, Member], seed: int) -> CohortEffect:
    slides = [
        _value(members[slide], value, se, 0)
        for slide, (value, se) in values.items()
        if slide in members and members[slide].patient is not None
    ]
    return cohort_effect(combine_slides(slides), seed=seed)


def _effect_test(family: Family, name: str, found: CohortEffect) -> TestedP:
    return TestedP(family, name, found.p, found.n_patients, found.n_slides, found.n_cells, found.smallest_p, found.reason)


def _tests(effect: CohortEffect, guards: Sequence[CohortGuard]) -> list[TestedP]:
    first = _effect_test(PRIMARY, EFFECT, effect)
    rows = [replace(first, reason=flag_of(effect, guards)) if effect.testable else first]
    return rows + [_effect_test(SENSITIVITY, guard.name, guard.effect) for guard in guards if guard.kind != "main"]


def _comparison_test(named: NamedComparison) -> TestedP:
    found = named.comparison
    patients = found.n_patients[0] if found.kind == "paired" else sum(found.n_patients)
    name = f"{named.measure}: {found.second} against {found.first}"
    family = COMPARED if named.measure == EFFECT else MEASURES
    return TestedP(family, name, found.p, patients, sum(found.n_slides), sum(found.n_cells), found.smallest_p, found.reason or found.note)


def _shift_null(slides: Sequence[tuple[str, SlideEffect]]) -> tuple[float, ...]:
    """Mean over patients of their slides' z under the k-th random shift: what a cohort without association would show."""
    by_patient: dict[str, list[tuple[float, tuple[float, ...]]]] = {}
    for patient, slide in slides:
        null = slide.tests["shift"].null_z if "shift" in slide.tests else ()
        if null:
            by_patient.setdefault(patient, []).append((slide.se_z**-2, null))
    if not by_patient or len(by_patient) < len({patient for patient, _ in slides}):
        return ()
    length = min(len(null) for own in by_patient.values() for _, null in own)
    means = [np.average([null[:length] for _, null in own], axis=0, weights=[w for w, _ in own]) for own in by_patient.values()]
    return tuple(float(value) for value in np.mean(means, axis=0))


def _bins(patient: str, slide: SlideEffect) -> CellPairs:
    exposure, response = (np.array([getattr(point, name) for point in slide.dose_response]) for name in ("exposure", "response"))
    return CellPairs(patient, exposure, response)
