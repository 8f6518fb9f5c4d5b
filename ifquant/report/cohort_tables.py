"""The tables of an analysis: every CSV beside the cohort's page."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from typing import Any

import pandas as pd

from ifquant.report.analysis import Analysis
from ifquant.statistics.cohort.cohort_test import CohortResult
from ifquant.statistics.cohort.mean_effect import CohortEffect
from ifquant.statistics.cohort.members import EFFECT, NamedComparison
from ifquant.statistics.cohort.multiverse import Specification
from ifquant.statistics.cohort.second_opinions import Opinion
from ifquant.statistics.priming.slide_effect import SlideEffect


def cells_of_tests(analysis: Analysis) -> dict[str, int]:
    """Test > cells it rests on: those tested for the effect and its guards, else all kept cells of
    the slides that have the measure.
    """
    cohort = analysis.cohort
    out = {test.name: test.n_cells for test in cohort.tests}
    for named in cohort.comparisons:
        one = named.comparison
        out[f"{named.measure}: {one.second} against {one.first}"] = sum(
            compared_cells(analysis, named)
        )
    return out | {name: location_cells(analysis) for name in cohort.locations}


def compared_cells(analysis: Analysis, named: NamedComparison) -> tuple[int, int]:
    """Cells on both sides of a comparison; of measures other than the effect all kept cells of the
    slides that have the measure.
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
    """Slides and cells behind a second opinion: those of the primary test when it rests on the same
    patients; else not known.
    """
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
    made: dict[str, pd.DataFrame] = {
        "effects": _effects(cohort),
        "patients": _patients(cohort),
        "slide_guards": _slide_guards(cohort),
        "guards": _guards(cohort),
        "tests": _tests(analysis),
        "comparisons": _comparisons(analysis),
        "opinions": pd.DataFrame(
            [
                {**vars(one), **dict(zip(_N, opinion_counts(cohort, one), strict=True))}
                for one in cohort.opinions
            ]
        ),
        "dose_response": _frame(cohort.dose),
        "null": _null(cohort),
        "measures": _measures(analysis),
        "naive": pd.DataFrame(
            [{"slide": s.slide, **vars(row)} for s in cohort.slides for row in s.naive]
        ),
        "flow": _frame(analysis.flow),
        "proximity": _frame(analysis.proximity),
        "proximity_curves": analysis.curves,
        "gates": pd.DataFrame(
            [{"slide": slide, **vars(one)} for slide, own in analysis.gates.items() for one in own]
        ),
        "multiverse": _multiverse(analysis.specifications),
    }
    return {f"{name}.csv": table for name, table in made.items() if len(table)}


_N = ("n_slides", "n_cells")


def _frame(rows: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame([vars(row) for row in rows])


def _effects(cohort: CohortResult) -> pd.DataFrame:
    rows = []
    for slide in cohort.slides:
        member = cohort.members[slide.slide]
        fraction = slide.fraction
        rows.append(
            {
                "slide": slide.slide,
                "patient": member.patient,
                "group": member.group,
                "visit": member.visit,
                "verdict": slide.verdict,
                "reason": slide.reason,
                "z": slide.z,
                "se_z": slide.se_z,
                "correlation": slide.correlation,
                "low": slide.interval[0],
                "high": slide.interval[1],
                "p_shift": slide.p,
                "n_effective": slide.n_effective,
                "slope": slide.slope,
                "slope_se": slide.slope_se,
                "n_cells": slide.n_cells,
                "n_responders": slide.n_responders,
                "n_exposed": slide.n_exposed,
                "n_sources": slide.n_sources,
                "n_touched_sources": slide.n_touched_sources,
                **{f"p_{name}": test.p for name, test in slide.tests.items() if name != "shift"},
                "n_touching_high": None if fraction is None else fraction.high,
                "n_touching_high_positive": None if fraction is None else fraction.high_positive,
                "n_touching_low": None if fraction is None else fraction.low,
                "n_touching_low_positive": None if fraction is None else fraction.low_positive,
                **_levels(slide),
                "in_cohort": slide.slide not in cohort.excluded,
            }
        )
    return pd.DataFrame(rows)


def _levels(slide: SlideEffect) -> dict[str, Any]:
    """Background, its SD, and how many values lay at the floor of one SD, for response and ligand;
    bleed-through between them.
    """
    out: dict[str, Any] = {}
    for name, marker in (("response", slide.question.response), ("ligand", slide.question.ligand)):
        level, floor = slide.backgrounds.get(marker), slide.floored.get(name)
        out[f"{name}_background"] = None if level is None else level.level
        out[f"{name}_background_sd"] = None if level is None else level.sd
        out[f"{name}_background_origin"] = None if level is None else level.origin
        out[f"n_{name}_floored"] = None if floor is None else floor.n_floored
        out[f"n_{name}_ranked"] = None if floor is None else floor.n
    bleed = slide.bleed_through
    out["bleed_ligand_into_response"] = None if bleed is None else bleed.ligand_into_response
    out["bleed_response_into_ligand"] = None if bleed is None else bleed.response_into_ligand
    return out


def _patients(cohort: CohortResult) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "patient": p.patient,
                "group": p.group,
                "z": p.value,
                "se_z": p.se,
                "n_slides": p.n_slides,
                "n_exposed": p.n_cells,
            }
            for p in cohort.patients
        ]
    )


def _slide_guards(cohort: CohortResult) -> pd.DataFrame:
    return pd.DataFrame(
        [{"slide": slide.slide, **vars(row)} for slide in cohort.slides for row in slide.guards]
    )


def _counts(e: CohortEffect) -> dict[str, int]:
    return {"n_patients": e.n_patients, "n_slides": e.n_slides, "n_cells": e.n_cells}


def _guards(cohort: CohortResult) -> pd.DataFrame:
    rows = []
    for guard in cohort.guards:
        e = guard.effect
        numbers = {
            "z": e.estimate,
            "low": e.low,
            "high": e.high,
            "p": e.p,
            "smallest_p": e.smallest_p,
        }
        rows.append(
            {
                "name": guard.name,
                "kind": guard.kind,
                **numbers,
                **_counts(e),
                "reads_as": guard.reads_as,
            }
        )
    return pd.DataFrame(rows)


def _tests(analysis: Analysis) -> pd.DataFrame:
    cells = cells_of_tests(analysis)
    return pd.DataFrame(
        [
            {
                "family": t.family.name,
                "method": t.family.method,
                "name": t.name,
                "p": t.p,
                "p_adjusted": t.adjusted,
                "smallest_p": t.smallest_p,
                "n_patients": t.n_patients,
                "n_slides": t.n_slides,
                "n_cells": cells[t.name],
                "reason": t.reason,
            }
            for t in analysis.cohort.tests
        ]
    )


def _comparisons(analysis: Analysis) -> pd.DataFrame:
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
    return pd.DataFrame(rows)


def _measures(analysis: Analysis) -> pd.DataFrame:
    members = analysis.cohort.members
    rows = []
    for name, values in analysis.measures.items():
        own = [(slide, members[slide]) for slide in values]
        rows += [
            {
                "slide": slide,
                "patient": m.patient,
                "group": m.group,
                "measure": name,
                "value": values[slide],
            }
            for slide, m in own
        ]
    return pd.DataFrame(rows)


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


def _multiverse(specifications: Sequence[Specification]) -> pd.DataFrame:
    rows = []
    for spec in specifications:
        e = spec.effect
        numbers = {"z": e.estimate, "low": e.low, "high": e.high, "p": e.p}
        rows.append(
            {
                **spec.choices,
                "main": spec.main,
                **numbers,
                **_counts(e),
                "n_slides_not_testable": spec.n_not_testable,
            }
        )
    return pd.DataFrame(rows)
