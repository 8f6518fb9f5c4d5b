"""Parts of a cohort's answer: to whom slides belong, guards over patients, comparisons of groups
and visits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ifquant.statistics.cohort.cohort_verdict import CohortGuard
from ifquant.statistics.cohort.group_comparison import Comparison, compare_groups, compare_visits
from ifquant.statistics.cohort.mean_effect import ALPHA, cohort_effect
from ifquant.statistics.cohort.multiplicity import Family, TestedP
from ifquant.statistics.cohort.patients import PatientValue, SlideValue, combine_slides
from ifquant.statistics.priming.slide_effect import GuardRow, SlideEffect

COMPARED = Family("comparisons of the effect", "holm")
MEASURES = Family("other measures, groups and visits", "fdr_bh")
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
    """What is compared besides the cohort's effect: pairs of groups, pairs of visits, and why they
    must not be.

    `refused_measures`: measure > why it alone must not be compared (shares of positive cells, whose
    gates may differ between slides).
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


def slide_value(member: Member, value: float, se: float, n_cells: int) -> SlideValue:
    """Name the patient, group and visit of a slide's value."""
    return SlideValue(
        member.slide, str(member.patient), value, se, n_cells, member.group, member.visit
    )


def guards_of(
    slides: Sequence[SlideEffect], members: Mapping[str, Member], seed: int
) -> tuple[CohortGuard, ...]:
    """Combine each guard over the slides that have it, in the order of their first appearance."""
    first = {row.name: row for slide in reversed(slides) for row in reversed(slide.guards)}
    out = []
    for name in dict.fromkeys(row.name for slide in slides for row in slide.guards):
        known = [(slide, row) for slide in slides if (row := _known(slide, name)) is not None]
        effect = cohort_effect(
            combine_slides([_of_guard(members[slide.slide], row) for slide, row in known]),
            seed=seed,
        )
        main = combine_slides(
            [
                slide_value(members[slide.slide], slide.z, slide.se_z, slide.n_exposed)
                for slide, _ in known
            ]
        )
        out.append(
            CohortGuard(
                name, first[name].kind, first[name].reads_as, effect, cohort_effect(main, seed=seed)
            )
        )
    return tuple(out)


def _known(slide: SlideEffect, name: str) -> GuardRow | None:
    found = next((row for row in slide.guards if row.name == name), None)
    return (
        found
        if found is not None and found.z is not None and found.se is not None and found.se > 0
        else None
    )


def _of_guard(member: Member, row: GuardRow) -> SlideValue:
    return slide_value(member, row.z or 0.0, row.se or 0.0, row.n)


def comparisons_of(
    name: str, values: Sequence[SlideValue], patients: Sequence[PatientValue], plan: Plan
) -> list[NamedComparison]:
    """Compare groups and visits as planned."""
    groups = [
        NamedComparison(name, compare_groups(patients, a, b, refused=plan.refused, seed=plan.seed))
        for a, b in plan.groups
    ]
    visits = [
        NamedComparison(name, compare_visits(values, a, b, refused=plan.refused, seed=plan.seed))
        for a, b in plan.visits
    ]
    return groups + visits


def compared_measure(
    name: str, values: Mapping[str, float], members: Mapping[str, Member], plan: Plan
) -> list[NamedComparison]:
    """Compare a measure that has no error of its own: the slides of a patient count alike."""
    slides = [
        slide_value(members[slide], value, 1.0, 0)
        for slide, value in values.items()
        if slide in members and members[slide].patient is not None and np.isfinite(value)
    ]
    return comparisons_of(name, slides, combine_slides(slides), plan)


def flagged_by_controls(
    compared: Sequence[NamedComparison],
    slides: Sequence[SlideEffect],
    members: Mapping[str, Member],
    plan: Plan,
) -> list[NamedComparison]:
    """Flag comparisons of the effect in which a negative control differs as well: a difference of
    staining may be all there is.
    """
    controls = list(
        dict.fromkeys(
            row.name for slide in slides for row in slide.guards if row.kind == "negative control"
        )
    )
    out = list(compared)
    for name in controls:
        values = [
            _of_guard(members[slide.slide], row)
            for slide in slides
            if (row := _known(slide, name)) is not None
        ]
        for k, other in enumerate(comparisons_of(name, values, combine_slides(values), plan)):
            found = other.comparison
            if found.p is not None and found.p <= max(ALPHA / len(controls), found.smallest_p):
                said = (
                    f"flagged: {name} differs as well (p = {found.p:.3g}); a difference of staining"
                    " may be all there is"
                )
                notes = [note for note in (out[k].comparison.note, said) if note]
                out[k] = replace(
                    out[k], comparison=replace(out[k].comparison, note="; ".join(notes))
                )
    return out


def comparison_test(named: NamedComparison) -> TestedP:
    """Give the p of a comparison with all that stands beside it."""
    found = named.comparison
    patients = found.n_patients[0] if found.kind == "paired" else sum(found.n_patients)
    name = f"{named.measure}: {found.second} against {found.first}"
    family = COMPARED if named.measure == EFFECT else MEASURES
    return TestedP(
        family,
        name,
        found.p,
        patients,
        sum(found.n_slides),
        sum(found.n_cells),
        found.smallest_p,
        found.reason or found.note,
    )
