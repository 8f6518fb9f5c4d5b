"""How many cells, slides and patients stand beside every p-value of the cohort's page and tables."""

from __future__ import annotations

import math
from collections.abc import Container

from ifquant.reports.analysis import Analysis
from ifquant.statistics.cohort import CohortResult
from ifquant.statistics.cohort_parts import EFFECT, NamedComparison
from ifquant.statistics.second_opinions import Opinion


def cells_of_tests(analysis: Analysis) -> dict[str, int]:
    """Test > cells it rests on: those tested for the effect and its guards, else all kept cells of the slides that have the measure."""
    cohort = analysis.cohort
    out = {test.name: test.n_cells for test in cohort.tests}
    for named in cohort.comparisons:
        one = named.comparison
        out[f"{named.measure}: {one.second} against {one.first}"] = sum(compared_cells(analysis, named))
    return out | {name: location_cells(analysis) for name in cohort.locations}


def compared_cells(analysis: Analysis, named: NamedComparison) -> tuple[int, int]:
    """Cells on both sides of a comparison; of measures other than the effect all kept cells of the slides that have the measure."""
    one = named.comparison
    if named.measure == EFFECT:
        return one.n_cells
    values = analysis.measures.get(named.measure, {})
    known = {slide: analysis.cohort.members[slide] for slide, value in values.items() if math.isfinite(value)}
    sides = [
        {slide for slide, member in known.items() if member.patient and (member.visit if one.kind == "paired" else member.group) == name}
        for name in (one.first, one.second)
    ]
    if one.kind == "paired":
        both = set.intersection(*({known[slide].patient for slide in side} for side in sides))
        sides = [{slide for slide in side if known[slide].patient in both} for side in sides]
    return _kept(analysis, sides[0]), _kept(analysis, sides[1])


def location_cells(analysis: Analysis) -> int:
    """All kept cells of the slides of patients whose proximity was tested."""
    members = analysis.cohort.members
    return _kept(analysis, {row.slide for row in analysis.proximity if members[row.slide].patient})


def opinion_counts(cohort: CohortResult, opinion: Opinion) -> tuple[int | None, int | None]:
    """Slides and cells behind a second opinion: those of the primary test when it rests on the same patients; else not known."""
    effect = cohort.effect
    return (effect.n_slides, effect.n_cells) if opinion.n_patients == effect.n_patients else (None, None)


def _kept(analysis: Analysis, slides: Container[str]) -> int:
    return sum(row.kept for row in analysis.flow if row.slide in slides)
