"""Reviews applied to results: ``<slide>/reviewed/`` for every slide with logs, slides_reviewed.csv
and review.html. Originals stay.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ifquant.commands.review_effect import REASON, priming_answer
from ifquant.commands.review_log import log_path, read_logs
from ifquant.commands.review_measure import corrected_pairs, measurer
from ifquant.commands.review_subject import load_subject
from ifquant.errors import IfquantError, RequestError, ResourceError, SlideError
from ifquant.execution.executors import one_thread
from ifquant.files import storage, table_files
from ifquant.files.ownership import refuse_foreign
from ifquant.files.run_lock import RunLock
from ifquant.recipe.model import Recipe
from ifquant.report import overlay, review_page
from ifquant.report.review_page import ReviewedSlide
from ifquant.results.file_names import (
    DECISIONS,
    OVERLAY,
    REVIEW,
    REVIEW_FILES,
    REVIEW_TABLE,
    REVIEWED,
    SLIDES_REVIEWED_TABLE,
)
from ifquant.results.run_record import finished_slides, run_recipe
from ifquant.results.slide_folder import foreign_reviewed_file, remove_reviewed
from ifquant.results.slide_outputs import mark_unfinished, write_slide
from ifquant.results.slide_record import SlideRecord
from ifquant.results.slide_result import SlideResult
from ifquant.results.slides_table import SlideStatus, write_slides_table
from ifquant.results.spreadsheet_text import safe_for_spreadsheets
from ifquant.review.agreement import judgements
from ifquant.review.corrected_results import Corrected, apply_review
from ifquant.review.decisions import cells_of
from ifquant.review.log_lines import ReadLog
from ifquant.review.standing import Outcome
from ifquant.slides.panel import find_panel
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.slide import SlideInfo, SlideRef, fingerprint
from ifquant.slides.slide_input import SlideInput, SlideJob

Effect = Callable[[Path, Recipe], Mapping[str, Any]]
"""Further answers about a slide from its folder (original or reviewed; both hold cells.parquet,
labels.ome.zarr and slide.json)."""


@dataclass(frozen=True)
class ReviewResult:
    """How applying ended: slides with logs that are done, those that failed (name > reason), and
    where the report is.

    `left_out` are slides with logs that failed in the latest run, or are not of it.
    """

    report: Path
    slides: tuple[ReviewedSlide, ...]
    failed: Mapping[str, str]
    left_out: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 all done, 3 some slides failed."""
        return 3 if self.failed else 0

    def summary_lines(self, names: Mapping[str, str] | None = None) -> list[str]:
        """Say what happened, one line per slide; to the blinded with these `names`, and without
        reasons that hold the slides' own.
        """
        lines = []
        for slide in self.slides:
            counts = {
                s: sum(o.status == s for o in slide.outcomes)
                for s in ("applied", "superseded", "undone", "not used", "refused")
            }
            lost = sum(p.refused for problems in slide.problems.values() for p in problems)
            words = [f"{n} {status}" for status, n in counts.items() if n] + (
                [f"{lost} lines unreadable"] if lost else []
            )
            lines.append(
                f"{slide.name if names is None else names[slide.name]}:"
                f" {', '.join(words) or 'no decision'}"
            )
            if REASON in slide.after:
                lines += [
                    f"  before review: {slide.before[REASON]}",
                    f"  after review: {slide.after[REASON]}",
                ]
        for name, reason in self.failed.items():
            lines.append(
                f"  failed: {name}: {reason}" if names is None else f"  failed: {names[name]}"
            )
        if self.left_out and names is None:
            lines.append(
                "not of the latest run, so that their logs were not applied:"
                f" {', '.join(self.left_out)}"
            )
        return [*lines, f"see {self.report}"]


def apply_reviews(
    results: str | Path,
    slides: Sequence[str] = (),
    *,
    reviewer: str | None = None,
    images: str | Path | None = None,
    effect: Effect = priming_answer,
) -> ReviewResult:
    """Apply the logs of all slides of a results folder.

    Parameters
    ----------
    results
        Folder of a run.
    slides
        Only these slides; default: all that have logs.
    reviewer
        Follow only this reviewer; default: all, as far as they agree.
    images
        Folder where the images are now, if they are no longer where the run found them.
    effect
        Answers to compare before and after review, beside those of slides.csv; default: that to
        [priming].

    Raises
    ------
    RequestError
        If the folder holds no results, or no slide in question has a log.
    ResourceError
        If disk or memory ran out.
    """
    out = Path(results)
    folders = {folder.name: folder for folder in finished_slides(out).folders}
    if unknown := [name for name in slides if name not in folders]:
        raise RequestError(
            f"{out}: no finished slide {unknown[0]!r}; there are {', '.join(folders)}"
        )
    for name in REVIEW_FILES:
        refuse_foreign(out / name)
    for name in slides or folders:
        if (strange := foreign_reviewed_file(folders[name])) is not None and read_logs(
            folders[name]
        ):
            raise RequestError(
                f"{strange}: exists and was not made by ifquant; it is left as it is. Move it away"
            )
    recipe = run_recipe(out)
    done: list[ReviewedSlide] = []
    failed: dict[str, str] = {}
    with RunLock(out), one_thread():
        for name in slides or folders:
            logs = read_logs(folders[name])
            if not logs:
                if slides:
                    failed[name] = f"no log in {folders[name] / REVIEW}; review it first"
                continue
            try:
                done.append(_apply(folders[name], recipe, logs, reviewer, images, effect))
            except (ResourceError, RequestError):
                raise
            except IfquantError as error:
                failed[name] = str(error)
                remove_reviewed(folders[name])
        if not done and not failed:
            raise RequestError(
                f"{out}: no slide has a review log; review some with: ifquant review {out}"
            )
        _write_cohort(out, recipe, folders, failed)
        table_files.write_csv(review_page.numbers(recipe, done), out / REVIEW_TABLE)
        report = review_page.write_review_report(out, recipe, done, failed, reviewer)
    logged = {path.parent.parent.name for path in out.glob(f"*/{REVIEW}/*.jsonl")}
    return ReviewResult(report, tuple(done), failed, tuple(sorted(logged - set(folders))))


def _apply(
    folder: Path,
    recipe: Recipe,
    logs: Mapping[str, ReadLog],
    reviewer: str | None,
    images: str | Path | None,
    effect: Effect,
) -> ReviewedSlide:
    """Apply the logs of one slide and write what follows."""
    record = SlideRecord.read(folder)
    subject, calibration = load_subject(folder, recipe), record.calibration
    ref = _image(record, images)
    decisions = {name: log.decisions for name, log in logs.items()}
    with ref.open() as slide:
        opened = _input(record, ref, slide.info, recipe)
        measure = measurer(slide, opened, calibration)
        corrected = apply_review(subject, decisions, measure=measure, reviewer=reviewer)
        digest = hashlib.sha256(
            b"".join(log_path(folder, name).read_bytes() for name in logs)
        ).hexdigest()
        result = SlideResult(
            slide=opened,
            calibration=dataclasses.replace(calibration, tissue=corrected.tissue),
            table=corrected.table,
            nuclei=corrected.nuclei,
            cells=corrected.cells,
            gates=corrected.gates,
            tumor_region=corrected.tumor_region,
            orphan_px=record.orphan_px,
            pairs=corrected_pairs(corrected, slide, opened),
            warnings=tuple(map(str, record.warnings)),
            digests={**record.digests, "review": digest},
            review=_facts(corrected, logs, reviewer),
        )
    target = folder / REVIEWED
    storage.remove_parts(target)
    mark_unfinished(target)
    decided = _decisions_table(corrected.outcomes, logs)
    table_files.write_csv(safe_for_spreadsheets(decided), target / DECISIONS)
    after = write_slide(result, target, overlay)
    before_more, after_more = (
        review_page.contact_fractions(table, recipe) for table in (subject.table, corrected.table)
    )
    before_more, after_more = (
        {**effect(folder, recipe), **before_more},
        {**effect(target, recipe), **after_more},
    )
    return ReviewedSlide(
        name=folder.name,
        before={**record.summary, **before_more},
        after={**after.summary, **after_more},
        more=tuple(after_more),
        outcomes=corrected.outcomes,
        problems={name: log.problems for name, log in logs.items() if log.problems},
        judged=tuple(judgements(subject, name, log) for name, log in decisions.items()),
        overlays=(folder / OVERLAY, target / OVERLAY),
        subject=dataclasses.replace(subject, geometry=None),  # the report needs no outlines
    )


def _image(record: SlideRecord, images: str | Path | None) -> SlideRef:
    """Find the image the results were made from, and make sure that it is that image.

    Raises
    ------
    SlideError
        If it is not there, or another one now.
    """
    paths = [
        Path(path) if images is None else Path(images) / Path(path).name
        for path in record.ref.paths
    ]
    if missing := [path for path in paths if not path.exists()]:
        raise SlideError(
            f"{missing[0]}: the image of slide {record.slide!r} is not there; say where it is"
            " with --images FOLDER."
        )
    ref = dataclasses.replace(record.ref, paths=tuple(map(str, paths)))
    if fingerprint(ref) != record.digests["input"]:
        raise SlideError(
            f"{paths[0]}: the image changed since slide {record.slide!r} was analysed; run"
            " ifquant run again, then review."
        )
    return ref


def _input(record: SlideRecord, ref: SlideRef, info: SlideInfo, recipe: Recipe) -> SlideInput:
    regions = None if record.regions is None else Path(record.regions)
    job = SlideJob(record.folder.name, record.path, ref, _sample(record), regions)
    return SlideInput(job, ref, info, find_panel(recipe, info.channels), recipe)


def _sample(record: SlideRecord) -> Sample | None:
    columns = dict(record.sample)
    if not columns:
        return None
    patient, group = columns.pop("patient", None), columns.pop("group", None)
    return Sample(record.slide, patient=patient, group=group, columns=columns)


def _facts(
    corrected: Corrected, logs: Mapping[str, ReadLog], reviewer: str | None
) -> dict[str, Any]:
    """Give what slide.json of the corrected results says about the review."""
    statuses = [outcome.status for outcome in corrected.outcomes]
    return {
        "followed": reviewer or "all reviewers, as far as they agree",
        "reviewers": {name: len(log.decisions) for name, log in logs.items()},
        "decisions": {status: statuses.count(status) for status in sorted(set(statuses))},
        "unreadable_lines": sum(
            problem.refused for log in logs.values() for problem in log.problems
        ),
    }


def _decisions_table(outcomes: Sequence[Outcome], logs: Mapping[str, ReadLog]) -> pd.DataFrame:
    """Every decision with what became of it, and every line that is none."""
    rows = []
    lines = {
        (d.reviewer, d.number): line
        for log in logs.values()
        for d, line in zip(log.decisions, log.lines, strict=True)
    }
    for outcome in outcomes:
        decision = outcome.decision
        rows.append(
            {
                "reviewer": decision.reviewer,
                "line": lines[decision.reviewer, decision.number],
                "number": decision.number,
                "time_utc": decision.time_utc.isoformat().replace("+00:00", "Z"),
                "action": decision.action,
                "cells": " ".join(str(ref.cell_id) for ref in cells_of(decision)),
                "old": _text(getattr(decision, "old", None)),
                "new": _text(getattr(decision, "new", getattr(decision, "of", None))),
                "status": outcome.status,
                "why": outcome.reason,
                "cells_now": " ".join(map(str, outcome.cell_ids)),
                "said": decision.reason,
            }
        )
    for name, log in logs.items():
        rows += [
            {
                "reviewer": name,
                "line": p.line,
                "action": "unreadable",
                "status": "refused",
                "why": p.reason,
            }
            for p in log.problems
            if p.refused
        ]
    columns = [
        "reviewer",
        "line",
        "number",
        "time_utc",
        "action",
        "cells",
        "old",
        "new",
        "status",
        "why",
        "cells_now",
        "said",
    ]
    table = (
        pd.DataFrame(rows, columns=columns)
        .sort_values(["reviewer", "line"], kind="stable")
        .reset_index(drop=True)
    )
    return table.astype({"number": "Int64", "line": "Int64"})


def _text(value: str | float | tuple[Any, ...] | None) -> str:
    """Write a value of a decision; outlines are in the log."""
    if value is None:
        return ""
    return (
        "drawn" if isinstance(value, tuple) else value if isinstance(value, str) else f"{value:g}"
    )


def _write_cohort(
    out: Path, recipe: Recipe, folders: Mapping[str, Path], failed: Mapping[str, str]
) -> None:
    """Write slides_reviewed.csv: the rows of slides.csv, corrected where a review is applied,
    failed where it could not be.
    """
    statuses = []
    for name, folder in folders.items():
        record = SlideRecord.read(folder)
        reviewed = folder / REVIEWED
        error = failed.get(name) if read_logs(folder) else None
        statuses.append(
            SlideStatus(
                name,
                str(record.summary["path"]),
                "done" if error is None else "failed",
                error,
                sample=_sample(record),
                folder=reviewed if SlideRecord.find(reviewed) is not None else folder,
            )
        )
    write_slides_table(out, statuses, recipe, SLIDES_REVIEWED_TABLE)
