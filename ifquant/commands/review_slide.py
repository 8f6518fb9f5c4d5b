"""The reviews of one slide applied: its corrected results beside the original ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ifquant.commands.review_decisions import decisions_table
from ifquant.commands.review_effect import priming_answer
from ifquant.commands.review_log import log_path
from ifquant.commands.review_measure import corrected_pairs, measurer
from ifquant.commands.review_subject import load_subject
from ifquant.errors import SlideError
from ifquant.files import storage, table_files
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.report import overlay, review_page
from ifquant.report.review_page import ReviewedSlide
from ifquant.results.file_names import (
    DECISIONS,
    OVERLAY,
    REVIEWED,
)
from ifquant.results.slide_outputs import mark_unfinished, write_slide
from ifquant.results.slide_record import SlideRecord
from ifquant.results.slide_result import SlideResult
from ifquant.results.spreadsheet_text import safe_for_spreadsheets
from ifquant.review.agreement import judgements
from ifquant.review.corrected_results import Corrected, apply_review
from ifquant.review.log_lines import ReadLog
from ifquant.review.subject import Subject
from ifquant.slides.panel import find_panel
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.slide import SlideRef, fingerprint
from ifquant.slides.slide_info import SlideInfo
from ifquant.slides.slide_input import SlideInput, SlideJob


@dataclass(frozen=True)
class ReviewPlan:
    """How reviews are applied to the slides of a run.

    Attributes
    ----------
    reviewer
        Follow only this reviewer; None: all, as far as they agree.
    images
        Folder where the images are now; None: where the run found them.
    """

    recipe: ResolvedRecipe
    reviewer: str | None
    images: str | Path | None


def apply_to_slide(folder: Path, logs: Mapping[str, ReadLog], plan: ReviewPlan) -> ReviewedSlide:
    """Apply the logs of one slide and write what follows.

    Raises
    ------
    SlideError
        If the results are damaged, or the image is not there or changed.
    """
    record, recipe = SlideRecord.read(folder), plan.recipe
    subject = load_subject(folder, recipe)
    corrected, result = _corrected(record, subject, logs, plan)
    target = folder / REVIEWED
    storage.remove_parts(target)
    mark_unfinished(target)
    decided = decisions_table(corrected.outcomes, logs)
    table_files.write_csv(safe_for_spreadsheets(decided), target / DECISIONS)
    after = write_slide(result, target, overlay)
    more_before, more_after = (
        {**priming_answer(place, recipe), **review_page.contact_fractions(table, recipe)}
        for place, table in ((folder, subject.table), (target, corrected.table))
    )
    return ReviewedSlide(
        name=folder.name,
        before={**record.summary, **more_before},
        after={**after.summary, **more_after},
        more=tuple(more_after),
        outcomes=corrected.outcomes,
        problems={name: log.problems for name, log in logs.items() if log.problems},
        judged=tuple(judgements(subject, name, log.decisions) for name, log in logs.items()),
        overlays=(folder / OVERLAY, target / OVERLAY),
        subject=replace(subject, geometry=None),  # the report needs no outlines
    )


def _corrected(
    record: SlideRecord, subject: Subject, logs: Mapping[str, ReadLog], plan: ReviewPlan
) -> tuple[Corrected, SlideResult]:
    ref, calibration = _image(record, plan.images), record.calibration
    decisions = {name: log.decisions for name, log in logs.items()}
    texts = b"".join(log_path(record.folder, name).read_bytes() for name in logs)
    with ref.open() as slide:
        opened = recorded_input(record, ref, slide.info, plan.recipe)
        measure = measurer(slide, opened, calibration)
        corrected = apply_review(subject, decisions, measure=measure, reviewer=plan.reviewer)
        pairs = corrected_pairs(corrected, slide, opened)
    return corrected, SlideResult(
        slide=opened,
        calibration=replace(calibration, tissue=corrected.tissue),
        table=corrected.table,
        nuclei=corrected.nuclei,
        cells=corrected.cells,
        gates=corrected.gates,
        tumor_region=corrected.tumor_region,
        orphan_px=record.orphan_px,
        pairs=pairs,
        warnings=tuple(map(str, record.warnings)),
        digests={**record.digests, "review": hashlib.sha256(texts).hexdigest()},
        review=_facts(corrected, logs, plan.reviewer),
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
    ref = replace(record.ref, paths=tuple(map(str, paths)))
    if fingerprint(ref) != record.digests["input"]:
        raise SlideError(
            f"{paths[0]}: the image changed since slide {record.slide!r} was analysed; run"
            " ifquant run again, then review."
        )
    return ref


def recorded_input(
    record: SlideRecord, ref: SlideRef, info: SlideInfo, recipe: ResolvedRecipe
) -> SlideInput:
    """Return a slide as its results were made from it, in the image where it lies now."""
    regions = None if record.regions is None else Path(record.regions)
    job = SlideJob(record.folder.name, record.path, ref, recorded_sample(record), regions)
    return SlideInput(job, ref, info, find_panel(recipe, info.channels), recipe)


def recorded_sample(record: SlideRecord) -> Sample | None:
    """Return what the sample sheet said of a slide when it was run."""
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
