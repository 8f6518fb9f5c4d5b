"""The slides of one run, one after the other; each one's tiles in parallel."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ifquant.errors import IfquantError, MissingDependency, RequestError, ResourceError
from ifquant.execution.progress import Reporter
from ifquant.files import ownership, storage
from ifquant.geometry.windows import cores
from ifquant.pipeline.slide_classification import SharedGates, classify_slide
from ifquant.pipeline.slide_measurement import Workers, measure_or_reuse
from ifquant.pipeline.slide_preparation import PreparedSlide, prepare
from ifquant.pipeline.tile_plan import close_slide
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.report import overlay
from ifquant.results.file_names import CRASH, REVIEW_FILES, WORK
from ifquant.results.run_record import remove_run_files
from ifquant.results.slide_folder import remove_reviewed, restore, set_aside
from ifquant.results.slide_outputs import is_whole, write_slide
from ifquant.results.slide_record import SlideRecord, refresh_sample
from ifquant.results.slides_table import SlideStatus
from ifquant.slides.slide_input import SlideJob
from ifquant.version import __version__

logger = logging.getLogger("ifquant")


class RunSlides:
    """The slides of one run, one after the other; each one's tiles in parallel.

    Attributes
    ----------
    images
        Slide > what identifies the pixels it was analyzed from.
    """

    def __init__(
        self,
        recipe: ResolvedRecipe,
        names: Sequence[str],
        folder: Path,
        workers: Workers,
        reporter: Reporter,
    ) -> None:
        self.recipe, self.folder, self.workers, self.reporter = recipe, folder, workers, reporter
        self.execution, self.shared = workers.execution, SharedGates(recipe, names)
        self.images: dict[str, str] = {}
        self._begun = False

    def all_slides(self, jobs: Sequence[SlideJob]) -> list[SlideStatus]:
        """Measure (and, where no gate needs the whole cohort, finish) every slide; then finish the
        rest.
        """
        statuses: dict[str, SlideStatus] = {}
        waiting: list[PreparedSlide] = []
        for number, job in enumerate(jobs, 1):
            with self.reporter.slide(job.name, number, len(jobs)):
                outcome = self._attempt(job, lambda job=job: self._measure(job))  # type: ignore[misc]
            if isinstance(outcome, SlideStatus):
                statuses[job.name] = outcome
            else:
                waiting.append(outcome)
        self.shared.close()
        for prepared in waiting:
            job = prepared.slide.job
            outcome = self._attempt(job, lambda p=prepared: self._finish(p))  # type: ignore[misc]
            assert isinstance(outcome, SlideStatus)
            statuses[job.name] = outcome
        return [statuses[job.name] for job in jobs]

    def _attempt(
        self, job: SlideJob, work: Callable[[], SlideStatus | PreparedSlide]
    ) -> SlideStatus | PreparedSlide:
        """Do one piece of work on a slide; what goes wrong with the slide becomes its status."""
        started = time.monotonic()
        outcome, error, bug = None, "", False
        try:
            outcome = work()
        except (ResourceError, RequestError, MissingDependency):
            raise
        except IfquantError as problem:
            error = str(problem)
        except Exception as problem:
            logger.exception("unexpected error on slide %s", job.name)
            trace = f"ifquant {__version__}, slide {job.name}\n{traceback.format_exc()}"
            storage.write_text(self.folder / CRASH, trace)
            bug, error = (
                True,
                f"unexpected {type(problem).__name__}: {problem} (a bug of ifquant: please report"
                " it with the log)",
            )
        finally:
            close_slide()
        if outcome is None:
            outcome = replace(self._failed(job, error), bug=bug)
        if isinstance(outcome, SlideStatus):
            return replace(outcome, seconds=time.monotonic() - started)
        return outcome

    def _failed(self, job: SlideJob, error: str) -> SlideStatus:
        self.reporter.say(f"  failed: {error}")
        self._begin()
        if set_aside(self.folder / job.name):
            self.reporter.say(
                "  its earlier results are set aside until it can be analyzed again"
                f" ({job.name}/{WORK})"
            )
        return SlideStatus(job.name, job.path, "failed", error, sample=job.sample)

    def _begin(self) -> None:
        """Before the first change to a slide: take away the tables and the report of an earlier
        run, which no longer tell the truth.
        """
        if not self._begun:
            self._begun = True
            remove_run_files(self.folder)
            for name in REVIEW_FILES:
                if ownership.made_here(self.folder / name):
                    storage.remove(self.folder / name)

    def _measure(self, job: SlideJob) -> SlideStatus | PreparedSlide:
        folder = self.folder / job.name
        storage.remove_parts(folder)
        restore(folder)
        if self.execution.fresh:
            storage.remove(folder / WORK)
        prepared = prepare(job, self.recipe, folder, self.execution)
        self.images[job.name] = f"{prepared.digests['input']} {prepared.slide.ref.crop}"
        if self.shared.needs_all_slides:
            self.shared.add(job.name, measure_or_reuse(prepared, self.workers).cells.table)
            return prepared
        return self._finish(prepared)

    def _finish(self, prepared: PreparedSlide) -> SlideStatus:
        job, folder = prepared.slide.job, prepared.folder
        tiles = cores(prepared.slide.image_shape, self.execution.tile_size_px)
        status = SlideStatus(
            job.name,
            job.path,
            "done",
            tile_cores=tuple((c.y0, c.x0, c.y1, c.x1) for c in tiles),
            sample=job.sample,
        )
        digests = {**prepared.digests, "cohort": self.shared.digest()}
        earlier = None if self.execution.fresh else SlideRecord.finished(folder)
        if earlier is not None and earlier.digests == digests and is_whole(earlier, self.recipe):
            storage.remove(folder / WORK)
            refresh_sample(folder, job.sample, self.recipe)
            return replace(status, reused="everything", warnings=earlier.warnings)
        measured = measure_or_reuse(prepared, self.workers)
        result = classify_slide(prepared, measured, self.shared, digests)
        self._begin()
        if prepared.earlier is not None:
            prepared.earlier.keep_for_resume()
        remove_reviewed(folder)
        write_slide(result, folder, overlay, threads=self.execution.workers)
        storage.remove(folder / WORK)
        status = replace(status, warnings=tuple(result.warnings))
        return status if prepared.earlier is None else replace(status, reused="cells")
