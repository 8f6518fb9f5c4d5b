"""Reviews applied to results: ``<slide>/reviewed/`` for every slide with logs, slides_reviewed.csv
and review.html. Originals stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ifquant.commands.review_effect import REASON
from ifquant.commands.review_log import read_logs
from ifquant.commands.review_slide import ReviewPlan, apply_to_slide, recorded_sample
from ifquant.errors import IfquantError, RequestError, ResourceError
from ifquant.execution.threads import one_thread
from ifquant.files import table_files
from ifquant.files.ownership import refuse_foreign
from ifquant.files.run_lock import RunLock
from ifquant.report import review_page
from ifquant.report.review_page import ReviewedSlide
from ifquant.results.file_names import (
    REVIEW,
    REVIEW_FILES,
    REVIEW_TABLE,
    REVIEWED,
    SLIDES_REVIEWED_TABLE,
)
from ifquant.results.run_record import finished_slides, run_recipe
from ifquant.results.slide_folder import foreign_reviewed_file, remove_reviewed
from ifquant.results.slide_record import SlideRecord
from ifquant.results.slides_table import SlideStatus, write_slides_table


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

    Raises
    ------
    RequestError
        If the folder holds no results, or no slide in question has a log.
    ResourceError
        If disk or memory ran out.
    """
    out = Path(results)
    folders = {folder.name: folder for folder in finished_slides(out).folders}
    _check(out, folders, slides)
    plan = ReviewPlan(run_recipe(out), reviewer, images)
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
                done.append(apply_to_slide(folders[name], logs, plan))
            except (ResourceError, RequestError):
                raise
            except IfquantError as error:
                failed[name] = str(error)
                remove_reviewed(folders[name])
        if not done and not failed:
            raise RequestError(
                f"{out}: no slide has a review log; review some with: ifquant review {out}"
            )
        report = _write_cohort(out, plan, folders, done, failed)
    logged = {path.parent.parent.name for path in out.glob(f"*/{REVIEW}/*.jsonl")}
    return ReviewResult(report, tuple(done), failed, tuple(sorted(logged - set(folders))))


def _check(out: Path, folders: Mapping[str, Path], slides: Sequence[str]) -> None:
    """Refuse slides that are not there, and files that applying would replace and are not ours."""
    if unknown := [name for name in slides if name not in folders]:
        raise RequestError(
            f"{out}: no finished slide {unknown[0]!r}; there are {', '.join(folders)}"
        )
    for name in REVIEW_FILES:
        refuse_foreign(out / name)
    for name in slides or folders:
        strange = foreign_reviewed_file(folders[name])
        if strange is not None and read_logs(folders[name]):
            raise RequestError(
                f"{strange}: exists and was not made by ifquant; it is left as it is. Move it away"
            )


def _write_cohort(
    out: Path,
    plan: ReviewPlan,
    folders: Mapping[str, Path],
    done: Sequence[ReviewedSlide],
    failed: Mapping[str, str],
) -> Path:
    """Write what applied reviews leave beside the slides' folders; returns the report's path."""
    statuses = [_status(folder, failed.get(name)) for name, folder in folders.items()]
    write_slides_table(out, statuses, plan.recipe, SLIDES_REVIEWED_TABLE)
    table_files.write_csv(review_page.numbers(plan.recipe, done), out / REVIEW_TABLE)
    return review_page.write_review_report(out, plan.recipe, done, failed, plan.reviewer)


def _status(folder: Path, error: str | None) -> SlideStatus:
    """Row of slides.csv, corrected where a review is applied, failed where it could not be."""
    record, reviewed = SlideRecord.read(folder), folder / REVIEWED
    error = error if read_logs(folder) else None
    return SlideStatus(
        folder.name,
        str(record.summary["path"]),
        "done" if error is None else "failed",
        error,
        sample=recorded_sample(record),
        folder=reviewed if SlideRecord.find(reviewed) is not None else folder,
    )
