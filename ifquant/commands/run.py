"""`ifquant.run`: every slide through the pipeline, then one table, one report and one record of the
run.

A slide that fails is recorded with its reason and the others go on. Slides whose results are
finished are recognized by the digests in their records and left alone; when only gates, phenotypes
or proximity changed, their cells are taken from the finished outputs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ifquant import notes, provenance
from ifquant.commands.run_folder import check_out, strays
from ifquant.commands.run_slides import RunSlides
from ifquant.errors import RequestError
from ifquant.execution.executors import Execution, executor
from ifquant.execution.progress import Reporter
from ifquant.files import ownership, storage
from ifquant.files.run_lock import RunLock
from ifquant.names import alike_warnings, few
from ifquant.pipeline.model_files import fetch_models, models_used
from ifquant.pipeline.slide_classification import SharedGates
from ifquant.pipeline.slide_jobs import find_jobs
from ifquant.pipeline.slide_measurement import Workers, worker_start
from ifquant.recipe.defaults import ResolvedRecipe, resolved
from ifquant.recipe.model import Recipe
from ifquant.recipe.recipe_file import canonical, load_recipe
from ifquant.report import run_page
from ifquant.results.file_names import CRASH, REPORT
from ifquant.results.run_record import RunRecord
from ifquant.results.slide_summary import sample_columns
from ifquant.results.slides_table import SlideStatus, write_slides_table
from ifquant.slides.sheet_rows import sheet_warnings
from ifquant.slides.slide_input import SlideJob
from ifquant.slides.slide_names import identical_warnings, loose_slide_key, slide_key, slide_name


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
            f" {self.out / REPORT}"
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
    chosen = _recipe(recipe, overrides)
    jobs = find_jobs(
        [images] if isinstance(images, (str, Path)) else list(images),
        samples,
        pixel_size_um=pixel_size_um,
        z=chosen.slide.z,
        allow_lossy=chosen.slide.allow_lossy,
    )
    folder, names = Path(out), [job.name for job in jobs]
    sheet_and_recipe = (samples, None if isinstance(recipe, Recipe) else recipe)
    check_out(
        folder, jobs, chosen, [Path(given) for given in sheet_and_recipe if given is not None]
    )
    SharedGates(chosen, names)  # a control slide that is not there is a wrong request
    started = time.monotonic()
    reporter = Reporter(quiet=execution.quiet)
    fetch_models(chosen.segmentation, reporter.say)
    # a missing model is one error of the request, not one of every slide
    models_used(chosen.segmentation)
    files = [path for job in jobs for path in job.ref.paths]
    with (
        RunLock(folder),
        executor(execution, begin=worker_start, inputs=files, out=folder) as pool,
    ):
        storage.remove_parts(folder)
        storage.remove(folder / CRASH)
        ownership.mark(folder, names)
        workers = Workers(pool, execution, reporter.advance)
        slides = RunSlides(chosen, names, folder, workers, reporter)
        statuses = slides.all_slides(jobs)
        warnings = tuple(_run_warnings(jobs, folder, slides.images))
        result = RunResult(folder, tuple(statuses), warnings)
        write_slides_table(folder, statuses, chosen)
        run_page.write_report(folder, chosen, statuses)
        _record(result, chosen, overrides, execution, time.monotonic() - started).write()
        # not asked here: a cohort is tested once, when it is complete, not at every run
        if chosen.priming is not None:
            reporter.say(
                "The slides are measured. Ask the question of the whole cohort with: ifquant"
                f" analyze {folder}"
            )
    return result


def _recipe(recipe: Recipe | str | Path, overrides: Sequence[str]) -> ResolvedRecipe:
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
    return chosen


def _record(
    result: RunResult,
    recipe: Recipe,
    overrides: Sequence[str],
    execution: Execution,
    seconds: float,
) -> RunRecord:
    content: dict[str, Any] = {
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
                {"slide": s.name, "seconds": s.seconds, "reused": s.reused} for s in result.slides
            ],
        },
    }
    return RunRecord(result.out, content)


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
        said.append(
            f"{folder} also holds results of slides that are not of this run: {few(other)}; they"
            " are in no table of it"
        )
    return list(dict.fromkeys(said))
