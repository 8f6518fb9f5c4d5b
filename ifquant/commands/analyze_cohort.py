"""The slides of a cohort analyzed in any number of workers, and put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import pandas as pd

from ifquant import provenance
from ifquant.commands.analyze_members import members_of, plan_of
from ifquant.commands.analyze_multiverse import Grid, specifications, wanted
from ifquant.commands.analyze_question import analysis_question
from ifquant.commands.analyze_slide import (
    SlideFinding,
    SlideTask,
    analyze_slide,
    gate_markers,
    seed_of,
)
from ifquant.execution.executors import run_tasks
from ifquant.names import few
from ifquant.phenotypes.classification import gate_column
from ifquant.phenotypes.gate_bootstrap import GateInterval, bootstrap_gate
from ifquant.phenotypes.gates import FittedGate
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.report.analysis import Analysis, FlowRow
from ifquant.results.result_tables import record_of
from ifquant.slides.sample_sheet import Sample
from ifquant.statistics.cohort.cohort_test import CohortResult, analyze_cohort
from ifquant.statistics.priming.question import Question
from ifquant.tables.cell_table import CellTable

ALL_SLIDES = "all slides"


@dataclass(frozen=True)
class CohortTables:
    """The cell tables of a cohort.

    Attributes
    ----------
    slides
        Slide > its cells.
    segmentations
        Name > the same slides, segmented otherwise.
    sheet
        Rows of the sample sheet.
    """

    slides: Mapping[str, CellTable]
    segmentations: Mapping[str, Mapping[str, CellTable]]
    sheet: Sequence[Sample]


def analyze_tables(
    tables: CohortTables, recipe: ResolvedRecipe, pool: Executor, *, in_flight: int
) -> Analysis:
    """Analyze tables already read; writes nothing."""
    question, options = analysis_question(recipe)
    members = members_of(tables.slides, tables.sheet, recipe)
    shared = _shared_gates(tables.slides, recipe)
    grid = Grid((), (), ())
    if recipe.cohort.multiverse and not question.refusal:
        grid = wanted(recipe, question, options, tables.slides, gate_markers(recipe))
    tasks = _tasks(tables, recipe, grid, shared)
    findings = {
        (one.segmentation, one.slide): one
        for one in run_tasks(pool, analyze_slide, tasks, in_flight=in_flight)
    }
    slides = [findings["", slide] for slide in tables.slides]
    measures = _by_name(slides)
    cohort = analyze_cohort(
        [one.effect for one in slides if one.effect is not None],
        members,
        plan_of(members, tables.slides, recipe),
        measures,
        _enrichment(slides, question),
    )
    entering = [name for name in tables.slides if name not in cohort.excluded]
    curves = [one.curves for one in slides]
    return Analysis(
        recipe=recipe,
        question=question,
        cohort=cohort,
        measures=measures,
        flow=tuple(_entering(one.flow, cohort.excluded) for one in slides if one.flow is not None),
        proximity=tuple(row for one in slides for row in one.proximity),
        curves=pd.concat(curves, ignore_index=True) if any(map(len, curves)) else pd.DataFrame(),
        gates=_gates(slides, shared),
        specifications=specifications(
            grid, findings, entering, tuple(tables.segmentations), members
        ),
        sources={slide: table.source for slide, table in tables.slides.items()},
        versions=provenance.versions(),
        warnings=(*_warnings(tables.slides), *_slide_warnings(cohort)),
    )


def _tasks(
    tables: CohortTables, recipe: ResolvedRecipe, grid: Grid, shared: tuple[GateInterval, ...]
) -> list[SlideTask]:
    tasks = [SlideTask(table, recipe, grid.choices, shared) for table in tables.slides.values()]
    for name, others in tables.segmentations.items():
        gates = _shared_gates(others, recipe)
        tasks += [SlideTask(one, recipe, grid.choices, gates, name) for one in others.values()]
    return tasks


def _shared_gates(
    tables: Mapping[str, CellTable], recipe: ResolvedRecipe
) -> tuple[GateInterval, ...]:
    """Bootstrap the gates that all slides share, on the cells of all of them."""
    first: dict[str, FittedGate] = {}
    for table in tables.values():
        if (record := record_of(table)) is not None:
            first = {**record.gates, **first}
    out = []
    for marker in gate_markers(recipe):
        gate = first.get(marker)
        if gate is None or gate.scope != "cohort":
            continue
        column = gate_column(recipe, marker)
        values = {
            slide: table.cells[column].to_numpy()
            for slide, table in tables.items()
            if column in table.cells
        }
        out.append(
            bootstrap_gate(
                values,
                recipe.gate(marker),
                marker,
                value=gate.value,
                min_cells=recipe.gates.min_cells,
                n=recipe.cohort.gate_replicates,
                seed=seed_of(recipe.seed, ALL_SLIDES, f"gate {marker}"),
            )
        )
    return tuple(out)


def _entering(row: FlowRow, excluded: Mapping[str, str]) -> FlowRow:
    """Count the cells of a slide as tested only where the cohort takes it."""
    return replace(row, tested=0, reason=excluded[row.slide]) if row.slide in excluded else row


def _by_name(slides: Sequence[SlideFinding]) -> dict[str, dict[str, float]]:
    """Measure > slide > value."""
    names = list(dict.fromkeys(name for one in slides for name in one.measures))
    return {
        name: {one.slide: one.measures[name] for one in slides if name in one.measures}
        for name in names
    }


def _enrichment(
    slides: Sequence[SlideFinding], question: Question
) -> dict[str, dict[str, tuple[float, float]]]:
    """Measure > slide > enrichment and its standard error; empty where no slide has one."""
    values = {one.slide: one.enrichment for one in slides if one.enrichment is not None}
    name = f"log2 enrichment of {question.source} among neighbors of {question.responder}"
    return {name: values} if values else {}


def _gates(
    slides: Sequence[SlideFinding], shared: tuple[GateInterval, ...]
) -> dict[str, tuple[GateInterval, ...]]:
    together = {ALL_SLIDES: shared} if shared else {}
    own = {one.slide: tuple(gate for gate in one.gates if gate not in shared) for one in slides}
    return together | {slide: gates for slide, gates in own.items() if gates}


def _slide_warnings(cohort: CohortResult) -> tuple[str, ...]:
    """Say what could not be held constant, and on which slides."""
    said: dict[str, list[str]] = {}
    for slide in cohort.slides:
        for text in slide.warnings:
            said.setdefault(text, []).append(slide.slide)
    return tuple(f"{few(slides)}: {text}" for text, slides in said.items())


def _warnings(tables: Mapping[str, CellTable]) -> tuple[str, ...]:
    """Say what the tables lack, once each."""
    said = dict.fromkeys(
        text for table in tables.values() if table.folder is None for text in table.unknown.values()
    )
    return tuple(
        f"{text[:1].upper()}{text[1:]}." if not text.endswith(".") else text for text in said
    )
