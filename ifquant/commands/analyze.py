"""`ifquant analyze`: results of runs, or cell tables of other programs, become the answer of a
cohort and its report.

Slides are analyzed in any number of workers; each one's random numbers derive from its name, so the
answer does not depend on them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ifquant.commands.analyze_cohort import CohortTables, analyze_tables
from ifquant.commands.analyze_members import members_of
from ifquant.commands.analyze_question import analysis_recipe
from ifquant.commands.analyze_tables import read_cell_tables
from ifquant.commands.analyze_warnings import cohort_warnings, identity
from ifquant.errors import RequestError
from ifquant.execution.executors import Execution, executor
from ifquant.execution.progress import Reporter
from ifquant.files import storage
from ifquant.files.ownership import inside, same_place
from ifquant.pipeline.slide_measurement import worker_start
from ifquant.recipe.defaults import ResolvedRecipe, resolved
from ifquant.recipe.model import Recipe
from ifquant.recipe.recipe_file import canonical, load_recipe
from ifquant.report.cohort_page import refuse_foreign, write_analysis
from ifquant.results.file_names import REPORT
from ifquant.results.run_record import RunRecord
from ifquant.slides.sample_sheet import Sample, read_samples
from ifquant.statistics.cohort.cohort_test import CohortResult
from ifquant.tables.cell_table import CellTable

FREE = ("priming", "cohort", "picture", "outputs", "proximity", "table", "seed")
"""Sections that analyze may have otherwise than the run: nothing in cells.parquet that it reads
depends on them."""
AT_CONTACTS = ("responder", "response", "source", "ligand", "away_um", "erode_um")
"""What pairs.parquet was measured with: of [priming], these must be the run's."""
Path_ = str | Path


@dataclass(frozen=True)
class AnalysisResult:
    """How an analysis ended: the folder it wrote, and what it found."""

    out: Path
    cohort: CohortResult
    warnings: tuple[str, ...] = ()

    def summary_lines(self, most: int = 8) -> list[str]:
        """Say what was found, in a few lines, and last the first `most` warnings."""
        n = len(self.warnings)
        if not n:
            return self._found()
        more = [f"  ... and {n - most} more in the report"] if n > most else []
        return [
            *self._found(),
            f"{n} warning{'s' if n > 1 else ''}:",
            *(f"  {text}" for text in self.warnings[:most]),
            *more,
        ]

    def _found(self) -> list[str]:
        found = self.cohort
        if all(slide.question.ligand == "" for slide in found.slides):
            return [f"where cells lie, of {len(found.slides)} slides; see {self.out / REPORT}"]
        lines = [
            f"{found.headline}: {found.reason.removeprefix(f'{found.verdict}: ')}",
            f"{found.effect.n_text}; see {self.out / REPORT}",
        ]
        return lines + [
            f"  not in the cohort: {slide}: {why}" for slide, why in found.excluded.items()
        ]


def analyze(
    sources: Path_ | Sequence[Path_],
    recipe: Recipe | Path_ | None = None,
    out: Path_ = "analysis",
    *,
    samples: Path_ | None = None,
    overrides: Sequence[str] = (),
    execution: Execution | None = None,
) -> AnalysisResult:
    """Ask the question of [priming] of a cohort; without that section, only how two phenotypes lie
    to each other.

    Parameters
    ----------
    sources
        Folders that ``ifquant run`` wrote, or cell tables (with a section [table] in the recipe).
        Of several, those that hold other slides add to the cohort; those that hold the same slides
        are other segmentations of them, compared in the multiverse.
    recipe
        A `Recipe` or the path of a recipe.toml; None: the recipe of the first results.
    out
        Folder of the analysis; it appears whole or not at all, and replaces an earlier analysis.
    samples
        Sample sheet (CSV): slide, patient, group and free columns; wins over what the results say.
    overrides
        ``section.key=value`` strings that override the recipe.
    execution
        Workers; changes no result.

    Raises
    ------
    RequestError
        If the request is wrong: a recipe that asks nothing or is other than the results', a sheet
        that fits no slide.
    SlideError
        If a table is damaged.
    """
    places = list(map(Path, [sources] if isinstance(sources, (str, Path)) else sources))
    if not places:
        raise RequestError(
            "nothing to analyze; give the folder of a run's results, or cell tables."
        )
    chosen = _recipe(recipe, places[0], overrides)
    sheet = read_samples(samples, folders=False) if samples is not None else []
    given = [path for path in (samples, recipe) if isinstance(path, (str, Path))]
    folder = _out_folder(Path(out), [*places, *given])
    tables = _tables(places, chosen, sheet)
    members = members_of(tables.slides, sheet, chosen)
    warnings = cohort_warnings(places, tables.slides, sheet, members)
    execution = execution or Execution()
    for text in warnings:  # before a test is made of them
        Reporter(quiet=False).say(f"warning: {text}")
    with executor(execution, begin=worker_start) as pool:
        analysis = analyze_tables(tables, chosen, pool, in_flight=2 * execution.workers)
    analysis = replace(analysis, warnings=(*warnings, *analysis.warnings))
    storage.make_folder(folder.parent)
    write_analysis(analysis, folder)
    return AnalysisResult(folder, analysis.cohort, analysis.warnings)


def _out_folder(out: Path, inputs: Sequence[Path_]) -> Path:
    """Folder of the analysis, which may replace nothing but an earlier analysis."""
    folder = Path(os.path.realpath(out)) if os.path.islink(out) else out
    if same_place(folder, "."):
        raise RequestError(
            f"{out}: the analysis replaces its folder as a whole, which cannot be the one you are"
            " in; choose another (-o)."
        )
    for given in inputs:
        if inside(given, folder):
            raise RequestError(
                f"{folder}: the analysis would replace this folder, which holds the input {given};"
                " choose another one (-o)."
            )
    refuse_foreign(folder)
    return folder


def _recipe(recipe: Recipe | Path_ | None, place: Path, overrides: Sequence[str]) -> ResolvedRecipe:
    if isinstance(recipe, Recipe):
        if overrides:
            raise RequestError(
                "overrides go with a recipe file; a Recipe object is changed with"
                " model_copy(update=...)."
            )
        chosen = recipe
    elif recipe is not None:
        chosen = load_recipe(recipe, overrides)
    else:
        record = RunRecord.find(place) if place.is_dir() else None
        if record is None or not record.has_recipe:
            raise RequestError(
                f"{place}: no run.json with a recipe in it; give the recipe: -r recipe.toml"
            )
        chosen = record.recipe_with(overrides)
    return analysis_recipe(chosen)


def _tables(places: Sequence[Path], recipe: Recipe, sheet: Sequence[Sample]) -> CohortTables:
    """Read everything; folders with the slides of an earlier one are other segmentations, by the
    name of their folder.
    """
    main: dict[str, CellTable] = {}
    others: dict[str, dict[str, CellTable]] = {}
    for place in places:
        found = read_cell_tables(place, recipe.table, samples=sheet)
        if recipe.table is None or recipe.table.format == "ifquant":
            _refuse_other_recipe(place, recipe, same_cells=not set(found) & set(main))
        if not set(found) & set(main):
            main |= found
        elif set(found) <= set(main):
            _refuse_others(place, found, main)
            name = place.name if place.name not in others else str(place)
            others[name] = found
        else:
            raise RequestError(
                f"{place}: holds some slides that earlier folders hold too, and others. Give either"
                " further slides, or the same slides measured otherwise."
            )
    return CohortTables(main, others, sheet)


def _refuse_others(
    place: Path, found: Mapping[str, CellTable], main: Mapping[str, CellTable]
) -> None:
    """Refuse slides of the same names that are other images, or the same folder twice: neither is
    another segmentation.
    """
    for slide, table in found.items():
        first = main[slide]
        if table.folder is None or first.folder is None:
            continue
        if same_place(table.folder, first.folder):
            raise RequestError(
                f"{place}: given twice; another segmentation of the same slides lies in a folder of"
                " its own."
            )
        if identity(table) != identity(first):
            raise RequestError(
                f"{place}: its slide {slide!r} is another image than {first.folder}. Slides of a"
                " cohort need names of their own: run one of them under another name."
            )


def _refuse_other_recipe(place: Path, recipe: Recipe, *, same_cells: bool) -> None:
    """Refuse results that were made with another recipe than the analysis would describe.

    Another segmentation may differ in how cells are found; gates and phenotypes must agree.
    """
    record = RunRecord.find(place) if place.is_dir() else None
    if record is None or not record.has_recipe:
        return
    made, ours = canonical(resolved(record.recipe_with(()))), canonical(recipe)
    skipped = FREE if same_cells else (*FREE, "segmentation", "cells", "tissue", "slide")
    differing = [name for name in ours if name not in skipped and ours[name] != made.get(name)]
    asked, measured = ours.get("priming") or {}, made.get("priming") or {}
    changed = [
        name
        for name in AT_CONTACTS
        if same_cells and asked and measured and asked.get(name) != measured.get(name)
    ]
    if changed:
        was = ", ".join(f"{name} = {measured.get(name)!r}" for name in changed)
        raise RequestError(
            f"{place}: its contacts were measured with [priming] {was}; the recipe asks otherwise."
            " Run ifquant run again with it: cells are kept, only the contacts are measured anew."
        )
    if differing:
        listed = ", ".join(f"[{name}]" for name in differing)
        raise RequestError(
            f"{place}: these results were made with another {listed} than the recipe has; run"
            " ifquant run again with it."
        )
