"""The tables of an analysis: every CSV beside the cohort's page."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Any

import pandas as pd

from ifquant.report.analysis import Analysis
from ifquant.statistics.cohort.cohort_test import CohortResult
from ifquant.statistics.cohort.members import EFFECT, NamedComparison
from ifquant.statistics.cohort.multiverse import Specification
from ifquant.statistics.cohort.second_opinions import Opinion
from ifquant.statistics.priming.slide_effect import SlideEffect

Row = dict[str, Any]


def cells_of_tests(analysis: Analysis) -> dict[str, int]:
    """Test > cells it rests on: those tested, else all kept cells of slides with the measure."""
    cohort = analysis.cohort
    out = {test.name: test.n_cells for test in cohort.tests}
    for named in cohort.comparisons:
        one = named.comparison
        out[f"{named.measure}: {one.second} against {one.first}"] = sum(
            compared_cells(analysis, named)
        )
    return out | {name: location_cells(analysis) for name in cohort.locations}


def compared_cells(analysis: Analysis, named: NamedComparison) -> tuple[int, int]:
    """Cells on both sides of a comparison.

    For measures other than the effect: all kept cells of the slides that have the measure.
    """
    one = named.comparison
    if named.measure == EFFECT:
        return one.n_cells
    values = analysis.measures.get(named.measure, {})
    known = {
        slide: analysis.cohort.members[slide]
        for slide, value in values.items()
        if math.isfinite(value)
    }
    sides = [
        {
            slide
            for slide, member in known.items()
            if member.patient and (member.visit if one.kind == "paired" else member.group) == name
        }
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
    """Slides and cells behind a second opinion, known where it has the primary test's patients."""
    effect = cohort.effect
    return (
        (effect.n_slides, effect.n_cells)
        if opinion.n_patients == effect.n_patients
        else (None, None)
    )


def _kept(analysis: Analysis, slides: Container[str]) -> int:
    return sum(row.kept for row in analysis.flow if row.slide in slides)


def tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """File name > table of every CSV an analysis leaves."""
    cohort = analysis.cohort
    made: dict[str, Any] = {
        "effects": _effects(cohort),
        "patients": _patients(cohort),
        "slide_guards": [
            {"slide": slide.slide, **vars(row)} for slide in cohort.slides for row in slide.guards
        ],
        "guards": _guards(cohort),
        "tests": _tests(analysis),
        "comparisons": _comparisons(analysis),
        "opinions": opinion_rows(cohort),
        "dose_response": [vars(row) for row in cohort.dose],
        "null": _null(cohort),
        "measures": _measures(analysis),
        "naive": [
            {"slide": slide.slide, **vars(row)} for slide in cohort.slides for row in slide.naive
        ],
        "flow": [vars(row) for row in analysis.flow],
        "proximity": [vars(row) for row in analysis.proximity],
        "proximity_curves": analysis.curves,
        "gates": [
            {"slide": slide, **vars(row)} for slide, own in analysis.gates.items() for row in own
        ],
        "multiverse": _multiverse(analysis.specifications),
    }
    return {f"{name}.csv": pd.DataFrame(rows) for name, rows in made.items() if len(rows)}


def opinion_rows(cohort: CohortResult) -> list[Row]:
    """Second opinions with the slides and cells behind them."""
    rows = []
    for opinion in cohort.opinions:
        n_slides, n_cells = opinion_counts(cohort, opinion)
        rows.append({**vars(opinion), "n_slides": n_slides, "n_cells": n_cells})
    return rows


def _attributes(record: object, *names: str) -> Row:
    return {name: getattr(record, name) for name in names}


def _effects(cohort: CohortResult) -> list[Row]:
    rows = []
    for slide in cohort.slides:
        member = cohort.members[slide.slide]
        counts = ("high", "high_positive", "low", "low_positive")
        rows.append(
            {
                "slide": slide.slide,
                **_attributes(member, "patient", "group", "visit"),
                **_attributes(slide, "verdict", "reason", "z", "se_z", "correlation"),
                "low": slide.interval[0],
                "high": slide.interval[1],
                "p_shift": slide.p,
                **_attributes(slide, "n_effective", "slope", "slope_se", "n_cells"),
                **_attributes(slide, "n_responders", "n_exposed", "n_sources"),
                "n_touched_sources": slide.n_touched_sources,
                **{f"p_{name}": test.p for name, test in slide.tests.items() if name != "shift"},
                **{f"n_touching_{name}": getattr(slide.fraction, name, None) for name in counts},
                **_levels(slide),
                "in_cohort": slide.slide not in cohort.excluded,
            }
        )
    return rows


def _levels(slide: SlideEffect) -> Row:
    """Background, its SD, values at the floor of one SD, and bleed-through of the two channels."""
    out: Row = {}
    for name, marker in (("response", slide.question.response), ("ligand", slide.question.ligand)):
        level, floor = slide.backgrounds.get(marker), slide.floored.get(name)
        out[f"{name}_background"] = getattr(level, "level", None)
        out[f"{name}_background_sd"] = getattr(level, "sd", None)
        out[f"{name}_background_origin"] = getattr(level, "origin", None)
        out[f"n_{name}_floored"] = getattr(floor, "n_floored", None)
        out[f"n_{name}_ranked"] = getattr(floor, "n", None)
    for name in ("ligand_into_response", "response_into_ligand"):
        out[f"bleed_{name}"] = getattr(slide.bleed_through, name, None)
    return out


def _patients(cohort: CohortResult) -> list[Row]:
    return [
        {
            **_attributes(patient, "patient", "group"),
            "z": patient.value,
            "se_z": patient.se,
            "n_slides": patient.n_slides,
            "n_exposed": patient.n_cells,
        }
        for patient in cohort.patients
    ]


_COUNTS = ("n_patients", "n_slides", "n_cells")


def _guards(cohort: CohortResult) -> list[Row]:
    return [
        {
            **_attributes(guard, "name", "kind"),
            "z": guard.effect.estimate,
            **_attributes(guard.effect, "low", "high", "p", "smallest_p", *_COUNTS),
            "reads_as": guard.reads_as,
        }
        for guard in cohort.guards
    ]


def _tests(analysis: Analysis) -> list[Row]:
    cells = cells_of_tests(analysis)
    return [
        {
            "family": test.family.name,
            "method": test.family.method,
            **_attributes(test, "name", "p"),
            "p_adjusted": test.adjusted,
            **_attributes(test, "smallest_p", "n_patients", "n_slides"),
            "n_cells": cells[test.name],
            "reason": test.reason,
        }
        for test in analysis.cohort.tests
    ]


def _comparisons(analysis: Analysis) -> list[Row]:
    rows = []
    for named in analysis.cohort.comparisons:
        one = named.comparison
        values = {name: value for name, value in vars(one).items() if not name.startswith("n_")}
        for name, pair in (
            ("n_patients", one.n_patients),
            ("n_slides", one.n_slides),
            ("n_cells", compared_cells(analysis, named)),
        ):
            values |= {f"{name}_first": pair[0], f"{name}_second": pair[1]}
        rows.append({"measure": named.measure, **values})
    return rows


def _measures(analysis: Analysis) -> list[Row]:
    return [
        {
            "slide": slide,
            **_attributes(analysis.cohort.members[slide], "patient", "group"),
            "measure": name,
            "value": value,
        }
        for name, values in analysis.measures.items()
        for slide, value in values.items()
    ]


def _null(cohort: CohortResult) -> pd.DataFrame:
    """Quantiles of both null distributions (a file of a million sign patterns helps nobody)."""
    steps = [i / 200 for i in range(201)]
    made: dict[str, list[float]] = {
        "sign_flip": cohort.effect.null.tolist(),
        "shift": list(cohort.shift_null),
    }
    columns = {
        name: pd.Series(values).quantile(steps).to_numpy()
        for name, values in made.items()
        if len(values)
    }
    return pd.DataFrame({"quantile": steps, **columns}) if columns else pd.DataFrame()


def _multiverse(specifications: Sequence[Specification]) -> list[Row]:
    return [
        {
            **spec.choices,
            "main": spec.main,
            "z": spec.effect.estimate,
            **_attributes(spec.effect, "low", "high", "p", *_COUNTS),
            "n_slides_not_testable": spec.n_not_testable,
        }
        for spec in specifications
    ]
