"""The cohort's page: report.html of an analysis, its figures and tables, and cohort.json.

The page loads nothing from anywhere; the same analysis gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ifquant import provenance
from ifquant.errors import RequestError
from ifquant.files import storage, table_files
from ifquant.files.ownership import is_system_file
from ifquant.report import cohort_sentences as text
from ifquant.report.analysis import Analysis
from ifquant.report.cohort_figures import (
    dose_figure,
    forest_figure,
    guards_figure,
    multiverse_figure,
    null_figure,
)
from ifquant.report.cohort_methods import cohort_methods
from ifquant.report.cohort_tables import (
    cells_of_tests,
    compared_cells,
    location_cells,
    opinion_counts,
    opinion_rows,
    tables,
)
from ifquant.report.figure_style import figure_bytes, uri
from ifquant.report.page import environment
from ifquant.results.spreadsheet_text import safe_for_spreadsheets
from ifquant.statistics.cohort.cohort_test import CohortResult
from ifquant.statistics.cohort.mean_effect import CohortEffect
from ifquant.statistics.cohort.members import EFFECT
from ifquant.statistics.cohort.multiverse import summarized

RECORD = "cohort.json"
FORMAT = "ifquant analysis 1"


def write_analysis(analysis: Analysis, out: Path) -> None:
    """Write an analysis into `out`, whole or not at all; an earlier one there is replaced.

    Raises
    ------
    RequestError
        If `out` holds anything but an earlier analysis.
    """
    refuse_foreign(out)
    with storage.atomic_folder(out) as folder:
        figures = {
            name: {kind: figure_bytes(figure, kind) for kind in ("svg", "pdf")}
            for name, figure in drawn(analysis).items()
        }
        for name, made in figures.items():
            for kind, content in made.items():
                storage.write_bytes(folder / "figures" / f"{name}.{kind}", content)
        for name, table in tables(analysis).items():
            table_files.write_csv(safe_for_spreadsheets(table), folder / name)
        storage.write_text(
            folder / "report.html",
            page(analysis, {name: uri(made["svg"]) for name, made in figures.items()}),
        )
        files = sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )
        storage.write_json(folder / RECORD, {**record(analysis), "files": files})


def refuse_foreign(out: Path) -> None:
    """Refuse to replace anything but an earlier analysis and the files that it wrote."""
    if not out.exists():
        return
    found = storage.read_json(out / RECORD) if out.is_dir() else None
    every = out.rglob("*") if out.is_dir() else ()
    files = [
        path
        for path in every
        if (path.is_symlink() or not path.is_dir()) and not is_system_file(path.name)
    ]
    present = {path.relative_to(out).as_posix() for path in files}
    if not out.is_dir() or (
        present and not (isinstance(found, dict) and found.get("format") == FORMAT)
    ):
        raise RequestError(
            f"{out}: holds something else than an earlier analysis, which would be replaced; choose"
            " another folder (-o)."
        )
    own = found.get("files") if isinstance(found, dict) else None
    written = (
        set(own) if isinstance(own, list) else {name for name in present if _looks_written(name)}
    )
    if strange := sorted(present - written - {RECORD}):
        raise RequestError(
            f"{out / strange[0]}: not written by the analysis there, which would be replaced; move"
            " it, or choose another folder."
        )


TABLE_NAMES = (
    "effects",
    "patients",
    "slide_guards",
    "guards",
    "tests",
    "comparisons",
    "opinions",
    "dose_response",
    "null",
    "measures",
    "naive",
    "flow",
    "proximity",
    "proximity_curves",
    "gates",
    "multiverse",
)
_FIGURES = ("forest", "dose_response", "null", "guards", "multiverse")
_TABLES = tuple(f"{name}.csv" for name in TABLE_NAMES)


def _looks_written(name: str) -> bool:
    """Whether an analysis that kept no list of its files may have written this one."""
    return name in (
        "report.html",
        *_TABLES,
        *(f"figures/{figure}.{kind}" for figure in _FIGURES for kind in ("svg", "pdf")),
    )


def drawn(analysis: Analysis) -> dict[str, Figure]:
    """Name > figure; those with nothing to show are left out."""
    cohort, question = analysis.cohort, analysis.question
    made = {
        "forest": forest_figure(cohort),
        "dose_response": dose_figure(cohort, question.ligand, question.response),
        "null": null_figure(cohort),
        "guards": guards_figure(cohort.effect, cohort.guards),
        "multiverse": multiverse_figure(analysis.specifications),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def page(analysis: Analysis, figures: Mapping[str, str]) -> str:
    """Text of report.html; `figures`: name > data URI."""
    cohort, question = analysis.cohort, analysis.question
    compared = [
        named for named in cohort.comparisons if not (question.refusal and named.measure == EFFECT)
    ]
    return (
        environment()
        .get_template("analysis.html.j2")
        .render(
            a=analysis,
            c=cohort,
            e=cohort.effect,
            question=question,
            figures=figures,
            sentence=text.question_sentence(question),
            p_sentence=text.p_sentence(cohort.effect),
            multiverse=text.multiverse_sentence(summarized(analysis.specifications)),
            bleed=text.bleed_sentence(cohort, question),
            curves=text.curves_sentence(analysis),
            methods=cohort_methods(analysis),
            limits=text.cohort_limits(analysis),
            settings=text.settings_rows(analysis),
            visits=any(member.visit for member in cohort.members.values()),
            refused=_refused(cohort),
            reason=_sentence(cohort.reason),
            flag=cohort.effect.testable and bool(cohort.tests[0].reason),
            grouped=any(member.group for member in cohort.members.values()),
            cells_of_tests=cells_of_tests(analysis),
            located=location_cells(analysis),
            opinions=[(opinion, *opinion_counts(cohort, opinion)) for opinion in cohort.opinions],
            comparisons=[(named, compared_cells(analysis, named)) for named in compared],
            numbered=_numbered(
                [named.comparison.reason or named.comparison.note or "" for named in compared]
            ),
            adjusted={test.name: test.adjusted for test in cohort.tests},
            recipe_digest=provenance.digest(analysis.recipe.model_dump(mode="json", by_alias=True)),
        )
    )


def _numbered(notes: Sequence[str]) -> dict[str, int]:
    """Note > its number, in the order of first appearance."""
    return {
        note: number for number, note in enumerate(dict.fromkeys(note for note in notes if note), 1)
    }


def _sentence(reason: str) -> str:
    """Reason without the verdict's words before it, with a capital."""
    short = reason.removeprefix("not testable: ")
    return short[:1].upper() + short[1:]


def _refused(cohort: CohortResult) -> str:
    """Why groups and visits were not compared at all; "" when they were."""
    reasons = [named.comparison.reason or "" for named in cohort.comparisons]
    return next(
        (
            f"Refused:{reason.removeprefix('refused:').rstrip('.')}."
            for reason in reasons
            if reason.startswith("refused:")
        ),
        "",
    )


def record(analysis: Analysis) -> dict[str, Any]:
    """Content of cohort.json."""
    cohort = analysis.cohort
    return {
        "format": FORMAT,
        "question": {
            **asdict(analysis.question),
            "sentence": text.question_sentence(analysis.question),
        },
        "verdict": cohort.verdict,
        "headline": cohort.headline,
        "reason": cohort.reason,
        "effect": _numbers(cohort.effect),
        "patients": [vars(patient) for patient in cohort.patients],
        "excluded": dict(cohort.excluded),
        "opinions": opinion_rows(cohort),
        "guards": [
            {"name": guard.name, "kind": guard.kind, **_numbers(guard.effect)}
            for guard in cohort.guards
        ],
        "comparisons": [
            {
                "measure": named.measure,
                **vars(named.comparison),
                "n_cells": compared_cells(analysis, named),
            }
            for named in cohort.comparisons
        ],
        "tests": [
            {**asdict(test), "n_cells": cells_of_tests(analysis)[test.name]}
            for test in cohort.tests
        ],
        "multiverse": vars(summarized(analysis.specifications)),
        "slides": [slide.to_dict() for slide in cohort.slides],
        "members": {name: vars(member) for name, member in cohort.members.items()},
        "gates": {slide: [vars(gate) for gate in own] for slide, own in analysis.gates.items()},
        "sources": dict(analysis.sources),
        "recipe": analysis.recipe.model_dump(mode="json", by_alias=True),
        "versions": dict(analysis.versions),
        "warnings": list(analysis.warnings),
    }


def _numbers(effect: CohortEffect) -> dict[str, Any]:
    """Record an effect without its null distribution."""
    return {name: value for name, value in vars(effect).items() if name != "null"}
