"""`ifquant.run`: every slide through the pipeline, then one table, one report and one record of the
run.

A slide that fails is recorded with its reason and the others go on. Slides whose results are
finished are recognised by the digests in their slide.json and left alone; when only gates,
phenotypes or proximity changed, their cells are taken from the finished outputs.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ifquant import notes, provenance
from ifquant.commands.run_folder import CRASH, WRITTEN, check_out, strays
from ifquant.errors import IfquantError, MissingDependency, RequestError, ResourceError
from ifquant.execution.executors import Execution, executor
from ifquant.execution.progress import Reporter
from ifquant.files import ownership, storage
from ifquant.files.run_lock import RunLock
from ifquant.names import alike_warnings
from ifquant.pipeline.model_files import fetch_models, models_used
from ifquant.pipeline.slide_classification import Cohort, finish_slide
from ifquant.pipeline.slide_jobs import SlideJob, find_jobs
from ifquant.pipeline.slide_measurement import worker_start
from ifquant.pipeline.slide_plan import close_slide
from ifquant.pipeline.slide_preparation import Prepared, measured, prepare
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Recipe
from ifquant.recipe.recipe_file import canonical, load_recipe
from ifquant.report import overlay, run_page
from ifquant.results import slide_outputs
from ifquant.results.reuse import REVIEW_FILES, finished, keep_for_resume
from ifquant.results.slide_folder import REVIEWED, WORK, remove_reviewed, restore, set_aside
from ifquant.results.slide_summary import sample_columns
from ifquant.slides.sheet_rows import sheet_warnings
from ifquant.slides.slide_names import identical_warnings, loose_slide_key, slide_key, slide_name
from ifquant.version import __version__

logger = logging.getLogger("ifquant")


@dataclass(frozen=True)
class SlideStatus:
    """How one slide ended; `reused` says how much was taken from earlier results, `warnings` are
    gravest first.
    """

    name: str
    path: str
    status: Literal["done", "failed"]
    error: str | None = None
    bug: bool = False
    seconds: float = 0.0
    reused: Literal["nothing", "cells", "everything"] = "nothing"
    tile_cores: tuple[tuple[int, int, int, int], ...] = ()
    sample: Any = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunResult:
    """How a run ended: the folder of the results, one status per slide in the order of the request,
    and warnings about the run itself.
    """

    out: Path
    slides: tuple[SlideStatus, ...]
    warnings: tuple[str, ...] = ()

    @property
    def n_warnings(self) -> int:
        """Warnings about the run and all slides."""
        return len(self.warnings) + sum(len(slide.warnings) for slide in self.slides)

    @property
    def exit_code(self) -> int:
        """0 all done, 1 a bug of ours, 3 some or all slides failed."""
        if any(slide.bug for slide in self.slides):
            return 1
        return 3 if any(slide.status == "failed" for slide in self.slides) else 0

    def summary_lines(self) -> list[str]:
        """Say what happened: one line per failed slide, and last how many warnings there are, with
        the gravest of each slide.
        """
        failed = [slide for slide in self.slides if slide.status == "failed"]
        lines = [
            f"{len(self.slides) - len(failed)} of {len(self.slides)} slides done; see"
            f" {self.out / 'report.html'}"
        ]
        lines += [f"  failed: {slide.name}: {slide.error}" for slide in failed]
        return lines + notes.summary(
            {slide.name: slide.warnings for slide in self.slides}, self.warnings
        )


def run(
    recipe: Recipe | str | Path,
    images: Sequence[str | Path] | str | Path = (),
    out: str | Path = "results",
    *,
    samples: str | Path | None = None,
    overrides: Sequence[str] = (),
    pixel_size_um: float | None = None,
    execution: Execution | None = None,
) -> RunResult:
    """Segment, measure, classify and report every slide.

    Parameters
    ----------
    recipe
        A `Recipe` or the path of a recipe.toml.
    images
        Slides, folders or globs; may be empty when `samples` names the slides.
    out
        Folder of the results; created.
    samples
        Sample sheet (CSV): slide, path, patient, group and free columns.
    overrides
        ``section.key=value`` strings that override the recipe; recorded.
    pixel_size_um
        Pixel size of files that do not record one.
    execution
        Workers, tile size, scheduler, crop; changes no result.

    Returns
    -------
    RunResult
        Status of every slide; `exit_code` as the command line's.

    Raises
    ------
    RequestError
        If the request itself is wrong; nothing is written then.
    ResourceError
        If disk or memory ran out; finished slides stay valid.
    """
    execution = execution or Execution()
    if isinstance(recipe, Recipe) and overrides:
        raise RequestError(
            "overrides go with a recipe file; a Recipe object is changed with"
            " model_copy(update=...)."
        )
    chosen = resolved(recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides))
    if chosen.table is not None:
        raise RequestError(
            "the recipe has a section [table]: it reads cell tables of another program. Use ifquant"
            " analyze, or remove it."
        )
    paths = [images] if isinstance(images, (str, Path)) else list(images)
    jobs = find_jobs(
        paths,
        samples,
        pixel_size_um=pixel_size_um,
        z=chosen.slide.z,
        allow_lossy=chosen.slide.allow_lossy,
    )
    folder = Path(out)
    files = [
        Path(given)
        for given in (samples, None if isinstance(recipe, Recipe) else recipe)
        if given is not None
    ]
    check_out(folder, jobs, chosen, files)
    Cohort(
        chosen, [job.name for job in jobs]
    )  # a control slide that is not there is a wrong request
    started = time.monotonic()
    reporter = Reporter(quiet=execution.quiet)
    fetch_models(chosen.segmentation, reporter.say)
    models_used(
        chosen.segmentation
    )  # a missing model is one error of the request, not one of every slide
    with (
        RunLock(folder),
        executor(execution, begin=worker_start, inputs=_files(jobs), out=folder) as pool,
    ):
        storage.remove_parts(folder)
        storage.remove(folder / CRASH)
        ownership.mark(folder, [job.name for job in jobs])
        cohort = _Run(chosen, [job.name for job in jobs], folder, execution, pool, reporter)
        statuses = cohort.all_slides(jobs)
        result = RunResult(
            folder, tuple(statuses), tuple(_run_warnings(jobs, folder, cohort.images))
        )
        _write_cohort(result, chosen, overrides, execution, time.monotonic() - started)
        if (
            chosen.priming is not None
        ):  # not asked here: a cohort is tested once, when it is complete, not at every run
            cohort.reporter.say(
                "The slides are measured. Ask the question of the whole cohort with: ifquant"
                f" analyze {folder}"
            )
    return result


def _files(jobs: Sequence[SlideJob]) -> list[str]:
    return [path for job in jobs for path in job.ref.paths]


class _Run:
    """The slides of one run, one after the other; each one's tiles in parallel."""

    def __init__(
        self,
        recipe: Recipe,
        names: Sequence[str],
        folder: Path,
        execution: Execution,
        pool: Executor,
        reporter: Reporter,
    ) -> None:
        self.recipe, self.folder, self.execution, self.pool, self.reporter = (
            recipe,
            folder,
            execution,
            pool,
            reporter,
        )
        self.cohort = Cohort(recipe, names)
        self.images: dict[str, str] = {}
        """Slide > what identifies the pixels it was analyzed from."""
        self._begun = False

    def _begin(self) -> None:
        """Before the first change to a slide: take away the tables and the report of an earlier
        run, which no longer tell the truth.
        """
        if not self._begun:
            self._begun = True
            for name in WRITTEN:
                storage.remove(self.folder / name)
            for name in REVIEW_FILES:
                if ownership.made_here(self.folder / name):
                    storage.remove(self.folder / name)

    def all_slides(self, jobs: Sequence[SlideJob]) -> list[SlideStatus]:
        """Measure (and, where no gate needs the whole cohort, finish) every slide; then finish the
        rest.
        """
        statuses: dict[str, SlideStatus] = {}
        waiting: list[tuple[SlideJob, Prepared]] = []
        for number, job in enumerate(jobs, 1):
            with self.reporter.slide(job.name, number, len(jobs)):
                status, prepared = self._attempt(job, self._first_pass)
                if status is not None:
                    statuses[job.name] = status
                elif prepared is not None:
                    waiting.append((job, prepared))
        self.cohort.close()
        for job, prepared in waiting:
            status, _ = self._attempt(job, lambda job, p=prepared: (self._finish(job, p), None))
            assert status is not None
            statuses[job.name] = status
        return [statuses[job.name] for job in jobs]

    def _attempt(self, job: SlideJob, work: Any) -> tuple[SlideStatus | None, Prepared | None]:
        started = time.monotonic()
        try:
            status, prepared = work(job)
        except (ResourceError, RequestError, MissingDependency):
            raise
        except IfquantError as error:
            status, prepared = (
                SlideStatus(job.name, job.path, "failed", str(error), sample=job.sample),
                None,
            )
        except Exception as error:
            logger.exception("unexpected error on slide %s", job.name)
            text = (
                f"unexpected {type(error).__name__}: {error} (a bug of ifquant: please report it"
                " with the log)"
            )
            storage.write_text(
                self.folder / CRASH,
                f"ifquant {__version__}, slide {job.name}\n{traceback.format_exc()}",
            )
            status, prepared = (
                SlideStatus(job.name, job.path, "failed", text, bug=True, sample=job.sample),
                None,
            )
        finally:
            close_slide()
        if status is not None:
            if status.status == "failed":
                self.reporter.say(f"  failed: {status.error}")
                self._begin()
                if set_aside(self.folder / job.name):
                    self.reporter.say(
                        "  its earlier results are set aside until it can be analyzed again"
                        f" ({job.name}/{WORK})"
                    )
            status = replace(status, seconds=time.monotonic() - started)
        return status, prepared

    def _first_pass(self, job: SlideJob) -> tuple[SlideStatus | None, Prepared | None]:
        storage.remove_parts(self.folder / job.name)
        restore(self.folder / job.name)
        if self.execution.fresh:
            storage.remove(self.folder / job.name / WORK)
        prepared = prepare(job, self.recipe, self.folder / job.name, self.execution)
        self.images[job.name] = f"{prepared.digests['input']} {prepared.plan.ref.crop}"
        if self.cohort.needs_all_slides:
            self.cohort.add(
                job.name,
                measured(prepared, self.execution, self.pool, self.reporter.advance).cells.table,
            )
            return None, prepared
        return self._finish(job, prepared), None

    def _finish(self, job: SlideJob, prepared: Prepared) -> SlideStatus:
        cores = tuple((c.y0, c.x0, c.y1, c.x1) for c in prepared.tile_cores(self.execution))
        digests = {**prepared.digests, "cohort": self.cohort.digest()}
        earlier = None if self.execution.fresh else finished(prepared.folder)
        if (
            earlier is not None
            and earlier["digests"] == digests
            and slide_outputs.whole(prepared.folder, self.recipe)
        ):
            storage.remove(prepared.folder / WORK)
            for folder in (prepared.folder, prepared.folder / REVIEWED):
                slide_outputs.refresh_sample(folder, job.sample, self.recipe)
            told = slide_outputs.warnings_of(earlier)
            return SlideStatus(
                job.name,
                job.path,
                "done",
                reused="everything",
                tile_cores=cores,
                sample=job.sample,
                warnings=told,
            )
        cells = measured(prepared, self.execution, self.pool, self.reporter.advance)
        result = finish_slide(job, prepared, cells, self.cohort, digests)
        self._begin()
        if prepared.earlier is not None:
            keep_for_resume(prepared.folder, prepared.earlier)
        remove_reviewed(prepared.folder)
        slide_outputs.write_slide(result, prepared.folder, overlay, threads=self.execution.workers)
        storage.remove(prepared.folder / WORK)
        reused: Literal["nothing", "cells"] = "cells" if prepared.reusable else "nothing"
        return SlideStatus(
            job.name,
            job.path,
            "done",
            reused=reused,
            tile_cores=cores,
            sample=job.sample,
            warnings=tuple(result.warnings),
        )


def _write_cohort(
    result: RunResult,
    recipe: Recipe,
    overrides: Sequence[str],
    execution: Execution,
    seconds: float,
) -> None:
    """Write slides.csv, report.html and run.json from what the slides' folders hold."""
    slide_outputs.write_slides_csv(result.out, [_row(status) for status in result.slides], recipe)
    run_page.write_report(result.out, recipe, [_row(status) for status in result.slides])
    storage.write_json(
        result.out / "run.json",
        {
            "status": "done" if result.exit_code == 0 else "failed",
            "recipe": canonical(recipe),
            "recipe_digest": provenance.digest(canonical(recipe)),
            "overrides": list(overrides),
            "versions": provenance.versions(),
            "models": models_used(recipe.segmentation),
            "warnings": list(result.warnings),
            "slides": [
                {
                    "slide": s.name,
                    "path": s.path,
                    "status": s.status,
                    "error": s.error,
                    "sample": sample_columns(s.sample),
                    "tile_cores": [list(core) for core in s.tile_cores],
                }
                for s in result.slides
            ],
            "execution": {
                "workers": execution.workers,
                "tile_size_px": execution.tile_size_px,
                "scheduler": execution.scheduler,
                "seconds": seconds,
                "peak_memory_bytes": provenance.peak_memory_bytes(),
                "host": provenance.host(),
                "slides": [
                    {"slide": s.name, "seconds": s.seconds, "reused": s.reused}
                    for s in result.slides
                ],
            },
        },
    )


def _run_warnings(jobs: Sequence[SlideJob], folder: Path, images: Mapping[str, str]) -> list[str]:
    """Say what concerns several slides: names easily confused, one image under two names, folders
    of slides that are not of this run.
    """
    said = alike_warnings(
        "slide",
        [", ".join(map(os.path.basename, job.ref.paths)) for job in jobs],
        slide_key,
        loose_slide_key,
    )
    numbered = [
        job for job in jobs if job.sample is None and job.name != slide_name(job.ref.paths[0])
    ]
    said += [
        f"{job.path} is called {job.name}: an image before it is called"
        f" {slide_name(job.ref.paths[0])} already"
        for job in numbered
    ]
    said += sheet_warnings([job.sample for job in jobs if job.sample is not None])
    said += identical_warnings(images)
    if other := strays(folder, jobs):
        listed = ", ".join(other[:5]) + (f" and {len(other) - 5} more" if len(other) > 5 else "")
        said.append(
            f"{folder} also holds results of slides that are not of this run: {listed}; they are in"
            " no table of it"
        )
    return list(dict.fromkeys(said))


def _row(status: SlideStatus) -> dict[str, Any]:
    return {
        "slide": status.name,
        "path": status.path,
        "status": status.status,
        "error": status.error,
        "sample": status.sample,
    }
