"""What an analysis found, as one value, and its tables: everything the cohort's page prints and every CSV beside it comes from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ifquant.classes.gate_bootstrap import GateInterval
from ifquant.recipes.recipe import Recipe
from ifquant.statistics.cohort import CohortResult
from ifquant.statistics.multiverse import Specification
from ifquant.statistics.question import Question


@dataclass(frozen=True)
class FlowRow:
    """How many cells of one slide came how far: detected > in tissue and measured > typed > responders > exposed > tested."""

    slide: str
    detected: int
    kept: int
    typed: int
    responders: int
    exposed: int
    tested: int
    reason: str = ""


@dataclass(frozen=True)
class ProximityRow:
    """One proximity test of one slide; `p` None with the reason where it could not be made."""

    slide: str
    null: str
    question: str
    p: float | None
    n_null: int
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything an analysis found.

    Attributes
    ----------
    recipe, question
        As resolved.
    cohort
        The answer and all it rests on.
    measures
        Name > slide > value: what is compared besides the effect.
    flow, proximity, curves, gates
        Per slide; `gates`: slide (or "all slides") > intervals.
    specifications
        The multiverse; empty when switched off.
    sources
        Slide > file and program, in words.
    versions
        Of ifquant and the packages results depend on.
    warnings
        Sentences for people.
    """

    recipe: Recipe
    question: Question
    cohort: CohortResult
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    flow: tuple[FlowRow, ...] = ()
    proximity: tuple[ProximityRow, ...] = ()
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    gates: Mapping[str, tuple[GateInterval, ...]] = field(default_factory=dict)
    specifications: tuple[Specification, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """File name > table of every CSV an analysis leaves."""
    cohort = analysis.cohort
    made: dict[str, pd.DataFrame] = {
        "effects": _effects(cohort),
        "patients": _patients(cohort),
        "slide_guards": _slide_guards(cohort),
        "guards": _guards(cohort),
        "tests": _tests(cohort),
        "comparisons": _comparisons(cohort),
        "opinions": _frame(cohort.opinions),
        "dose_response": _frame(cohort.dose),
        "null": _null(cohort),
        "measures": _measures(analysis),
        "naive": pd.DataFrame([{"slide": s.slide, **vars(row)} for s in cohort.slides for row in s.naive]),
        "flow": _frame(analysis.flow),
        "proximity": _frame(analysis.proximity),
        "proximity_curves": analysis.curves,
        "gates": pd.DataFrame([{"slide": slide, **vars(one)} for slide, own in analysis.gates.items() for one in own]),
        "multiverse": _multiverse(analysis.specifications),
    }
    return {f"{name}.csv": table for name, table in made.items() if len(table)}


def _frame(rows: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame([vars(row) for row in rows])


def _effects(cohort: CohortResult) -> pd.DataFrame:
    rows = []
    for slide in cohort.slides:
        member = cohort.members[slide.slide]
        fraction = slide.fraction
        rows.append(
            {
                "slide": slide.slide, "patient": member.patient, "group": member.group, "visit": member.visit, "verdict": slide.verdict,
                "reason": slide.reason, "z": slide.z, "se_z": slide.se_z, "correlation": slide.correlation, "low": slide.interval[0],
                "high": slide.interval[1], "p_shift": slide.p, "n_effective": slide.n_effective, "slope": slide.slope,
                "slope_se": slide.slope_se, "n_cells": slide.n_cells, "n_responders": slide.n_responders, "n_exposed": slide.n_exposed,
                "n_sources": slide.n_sources, "n_touched_sources": slide.n_touched_sources,
                **{f"p_{name}": test.p for name, test in slide.tests.items() if name != "shift"},
                "n_touching_high": None if fraction is None else fraction.high,
                "n_touching_high_positive": None if fraction is None else fraction.high_positive,
                "n_touching_low": None if fraction is None else fraction.low,
                "n_touching_low_positive": None if fraction is None else fraction.low_positive,
                "in_cohort": slide.slide not in cohort.excluded,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _patients(cohort: CohortResult) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"patient": p.patient, "group": p.group, "z": p.value, "se_z": p.se, "n_slides": p.n_slides, "n_exposed": p.n_cells}
            for p in cohort.patients
        ]
    )


def _slide_guards(cohort: CohortResult) -> pd.DataFrame:
    return pd.DataFrame([{"slide": slide.slide, **vars(row)} for slide in cohort.slides for row in slide.guards])


def _guards(cohort: CohortResult) -> pd.DataFrame:
    rows = []
    for guard in cohort.guards:
        e = guard.effect
        counts = {"n_patients": e.n_patients, "n_slides": e.n_slides, "n_cells": e.n_cells}
        numbers = {"z": e.estimate, "low": e.low, "high": e.high, "p": e.p, "smallest_p": e.smallest_p}
        rows.append({"name": guard.name, "kind": guard.kind, **numbers, **counts, "reads_as": guard.reads_as})
    return pd.DataFrame(rows)


def _tests(cohort: CohortResult) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "family": t.family.name, "method": t.family.method, "name": t.name, "p": t.p, "p_adjusted": t.adjusted,
                "smallest_p": t.smallest_p, "n_patients": t.n_patients, "n_slides": t.n_slides, "n_cells": t.n_cells, "reason": t.reason,
            }
            for t in cohort.tests
        ]
    )  # fmt: skip


def _comparisons(cohort: CohortResult) -> pd.DataFrame:
    rows = []
    for named in cohort.comparisons:
        one = named.comparison
        values = {name: value for name, value in vars(one).items() if not name.startswith("n_")}
        for name, pair in (("n_patients", one.n_patients), ("n_slides", one.n_slides), ("n_cells", one.n_cells)):
            values |= {f"{name}_first": pair[0], f"{name}_second": pair[1]}
        rows.append({"measure": named.measure, **values})
    return pd.DataFrame(rows)


def _measures(analysis: Analysis) -> pd.DataFrame:
    members = analysis.cohort.members
    rows = []
    for name, values in analysis.measures.items():
        own = [(slide, members[slide]) for slide in values]
        rows += [{"slide": slide, "patient": m.patient, "group": m.group, "measure": name, "value": values[slide]} for slide, m in own]
    return pd.DataFrame(rows)


def _null(cohort: CohortResult) -> pd.DataFrame:
    """Quantiles of both null distributions (a file of a million sign patterns helps nobody)."""
    steps = [i / 200 for i in range(201)]
    made: dict[str, list[float]] = {"sign_flip": cohort.effect.null.tolist(), "shift": list(cohort.shift_null)}
    columns = {name: pd.Series(values).quantile(steps).to_numpy() for name, values in made.items() if len(values)}
    return pd.DataFrame({"quantile": steps, **columns}) if columns else pd.DataFrame()


def _multiverse(specifications: Sequence[Specification]) -> pd.DataFrame:
    rows = []
    for spec in specifications:
        e = spec.effect
        numbers = {"z": e.estimate, "low": e.low, "high": e.high, "p": e.p}
        rows.append(
            {**spec.choices, "main": spec.main, **numbers, "n_patients": e.n_patients, "n_slides_not_testable": spec.n_not_testable}
        )
    return pd.DataFrame(rows)
