"""One slide from file to measured cells: calibrate (pass 1) > tiles (pass 2) > assemble.

The unfinished work of a slide lives in one folder named by its `cells` digest and tile size; every
part in it is whole or absent, so a run that was killed at any moment goes on with the tiles that
are missing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ifquant.calibration import calibrate
from ifquant.calibration.calibrate import Calibration, HistogramPart, SlideHistogram, TissueMask
from ifquant.columns.cell_columns import measured_columns
from ifquant.execution.executors import Execution, run_tasks
from ifquant.files import storage
from ifquant.geometry.windows import Window, cores
from ifquant.nuclei import label_segmenter
from ifquant.nuclei.segmenter import make_cell_segmenter, make_segmenter
from ifquant.pipeline.mask_files import scan_masks
from ifquant.pipeline.slide_assembly import assemble
from ifquant.pipeline.slide_preparation import PreparedSlide
from ifquant.pipeline.tile import compute_maps, compute_tile
from ifquant.pipeline.tile_parts import TilePart, load_arrays, load_part, save_part
from ifquant.pipeline.tile_plan import MapTask, TilePlan, TileTask, close_slide, open_slide
from ifquant.results.measured_cells import MeasuredCells, read_measured_cells
from ifquant.slides.overview import Stack, StackBuilder, reduced, step_for
from ifquant.slides.slide import SlideRef

T = TypeVar("T")
K = TypeVar("K")

SCAN_BLOCK_PX = 2048
"""Side of the blocks read in pass 1; a matter of memory only, histograms are exact for any block
size."""


@dataclass(frozen=True)
class Workers:
    """Who does the tasks of a slide, and who hears how far they are.

    Attributes
    ----------
    advance
        Progress callback: stage, tasks done, tasks in all.
    """

    pool: Executor
    execution: Execution
    advance: Callable[[str, int, int], None]

    def results(self, stage: str, function: Callable[[K], T], tasks: Sequence[K]) -> Iterator[T]:
        """Results of all tasks, as they arrive."""
        for result in run_tasks(self.pool, function, tasks, in_flight=self.execution.in_flight):
            self.advance(stage, 1, len(tasks))
            yield result


@dataclass(frozen=True)
class MeasuredSlide:
    """All cells of one slide, before any gate.

    Attributes
    ----------
    overview
        The whole slide for display; None where the picture is read at the end.
    """

    calibration: Calibration
    cells: MeasuredCells
    warnings: tuple[str, ...] = ()
    overview: Stack | None = None


@dataclass(frozen=True)
class ScanTask:
    """One block of pass 1; with `tissue`, only the pixels on it are counted. `overview_step` asks
    for the block's part of the overview.
    """

    ref: SlideRef
    channels: tuple[int, ...]
    window: Window
    step_px: int
    tissue: NDArray[np.bool_] | None = None
    overview_step: int | None = None


def scan(task: ScanTask) -> tuple[HistogramPart, NDArray[Any] | None]:
    """Histogram and coarse sums of one block, and what the overview picture needs of it."""
    pixels = open_slide(task.ref).read(task.channels, task.window)
    part = calibrate.scan_block(pixels, task.window, task.step_px, task.tissue)
    return part, None if task.overview_step is None else reduced(pixels, task.overview_step)


def worker_start() -> None:
    """Get a worker ready for its first task: this module's libraries are loaded by now; close what
    an earlier run left open.
    """
    close_slide()


def measure_or_reuse(prepared: PreparedSlide, workers: Workers) -> MeasuredSlide:
    """Cells of a slide: from finished results where their measurements are still valid, else
    measured.
    """
    earlier = prepared.earlier
    if earlier is not None:
        cells = read_measured_cells(
            prepared.folder,
            measured_columns(prepared.slide.recipe),
            prepared.slide.image_shape,
            earlier.orphan_px,
        )
        if cells is not None:
            return MeasuredSlide(earlier.calibration, cells)
    return measure_slide(prepared, workers)


def measure_slide(
    prepared: PreparedSlide, workers: Workers, calibration: Calibration | None = None
) -> MeasuredSlide:
    """Calibrate, segment and measure one slide, reusing the parts its folder already holds.

    Parameters
    ----------
    calibration
        Use this calibration instead of the slide's own (a crop analyzed as part of its slide).

    Raises
    ------
    SlideError
        If the slide's content cannot be used; finished parts stay.
    """
    # workers may have another working folder
    paths = map(os.path.abspath, prepared.slide.ref.paths)
    prepared = replace(
        prepared, work=prepared.work.absolute(), slide=prepared.slide.with_paths(*paths)
    )
    for folder in (prepared.work, prepared.work / "tiles"):
        storage.make_folder(folder)
    calibration, overview = _calibrated(prepared, calibration, workers)
    plan = tile_plan(prepared, calibration)
    tiles = cores(prepared.slide.image_shape, workers.execution.tile_size_px)
    if plan.map_makers:
        for kind in plan.map_makers:
            storage.make_folder(prepared.work / kind)
        _finish(workers.results("maps", compute_maps, list(_map_tasks(plan, calibration))))
    _finish(workers.results("tiles", compute_tile, [TileTask(plan, core) for core in tiles]))
    close_slide()
    warnings = plan.masks.objects.warnings() if plan.masks is not None else ()
    cells = assemble(_Parts(plan, tiles), prepared.work)
    return MeasuredSlide(calibration, cells, warnings, overview)


def _finish(results: Iterable[object]) -> None:
    for _ in results:
        pass


def tile_plan(prepared: PreparedSlide, calibration: Calibration) -> TilePlan:
    """Make what all tiles share: segmenters for this slide, or masks that were looked at once."""
    slide, work = prepared.slide, str(prepared.work)
    options, size = slide.recipe.segmentation, slide.pixel_size_um
    if prepared.masks is not None:
        masks = scan_masks(prepared.masks, prepared.work, slide.image_shape, slide.ref.crop)
        segmenter = label_segmenter.make(
            options, pixel_size_um=size, calibration=None, objects=masks.objects
        )
        return TilePlan(slide, work, segmenter, masks)
    nucleus = slide.nucleus_channel
    levels = calibration[slide.panel.names[nucleus]] if nucleus is not None else None
    guides = [calibration[slide.panel.names[i]] for i in slide.panel.positions("tumor", "myeloid")]
    return TilePlan(
        slide,
        work,
        make_segmenter(options, pixel_size_um=size, calibration=levels),
        cell_segmenter=make_cell_segmenter(
            options, pixel_size_um=size, calibration=levels, guides=guides
        ),
    )


def calibrate_slide(prepared: PreparedSlide, workers: Workers) -> tuple[Calibration, Stack]:
    """Calibrate one slide from whole-slide histograms (pass 1, and pass 1b over tissue where much
    is glass); also its overview picture.
    """
    slide, shape = prepared.slide, prepared.slide.image_shape
    step = calibrate.grid_step_px(slide.recipe.tissue.step_um, slide.pixel_size_um)
    overview_step = step_for(shape, slide.recipe.picture.max_size_px)
    both = math.lcm(step, overview_step)
    windows = cores(shape, -(-SCAN_BLOCK_PX // both) * both)
    picture = StackBuilder(shape, overview_step)

    def count(stage: str, tissue: TissueMask | None) -> SlideHistogram:
        on_tissue = [window for window in windows if tissue is None or tissue.any(window)]
        mask, shown = (None, overview_step) if tissue is None else (tissue.mask, None)
        tasks = [
            ScanTask(slide.ref, slide.panel.indices, window, step, mask, shown)
            for window in on_tissue
        ]
        parts = _collected(workers.results(stage, scan, tasks), picture)
        return calibrate.merge(parts, shape)

    counted = count("calibrate", None)
    tissue = calibrate.find_tissue(
        counted,
        pixel_size_um=slide.pixel_size_um,
        options=slide.recipe.tissue,
        restrict=prepared.included,
    )
    if calibrate.needs_second_pass(tissue) and bool(tissue.mask.any()):
        del counted  # block means of a large slide: not twice in memory
        counted = count("calibrate tissue", tissue)
    calibration = calibrate.calibrate(
        counted, tissue, slide.panel.names, max_value=slide.info.max_value
    )
    return calibration, picture.stack([channel.display for channel in calibration.channels])


def _collected(
    scanned: Iterable[tuple[HistogramPart, NDArray[Any] | None]], picture: StackBuilder
) -> Iterator[HistogramPart]:
    for part, shown in scanned:
        if shown is not None:
            picture.add(part.window, shown)
        yield part


def _calibrated(
    prepared: PreparedSlide, given: Calibration | None, workers: Workers
) -> tuple[Calibration, Stack | None]:
    """Calibration and overview of a slide: those in its folder of unfinished parts, or made and put
    there.
    """
    levels_path, overview_path = (
        prepared.work / f"{name}.npz" for name in ("calibration", "overview")
    )
    levels = load_part(levels_path)
    if levels is not None:
        shown = load_part(overview_path)
        if shown is None:
            return Calibration.from_arrays(levels), None
        whole = Window(0, 0, *prepared.slide.image_shape)
        return Calibration.from_arrays(levels), Stack(shown["pixels"], whole, int(shown["step"]))
    calibration, overview = (given, None) if given else calibrate_slide(prepared, workers)
    if overview is not None:
        save_part(overview_path, {"pixels": overview.pixels, "step": np.array(overview.step)})
    save_part(levels_path, calibration.to_arrays())
    return calibration, overview


class _Parts(Sequence[TilePart]):
    """The parts of all tiles, each read when it is looked at; computed again if the disk has
    damaged it.
    """

    def __init__(self, plan: TilePlan, tiles: Sequence[Window]) -> None:
        self._plan, self._tiles = plan, tiles

    def __len__(self) -> int:
        return len(self._tiles)

    def __getitem__(self, index: Any) -> Any:
        core = self._tiles[index]
        arrays = load_part(self._plan.part_path(core))
        if arrays is None:
            compute_tile(TileTask(self._plan, core))
            arrays = load_arrays(self._plan.part_path(core))
        return TilePart.from_arrays(arrays)


def _map_tasks(plan: TilePlan, calibration: Calibration) -> Iterator[MapTask]:
    """Lattice windows whose maps are computed."""
    for kind, segmenter in plan.map_makers.items():
        for window in cores(plan.slide.image_shape, segmenter.lattice_px or 0):
            if plan.needs_maps(kind, window, calibration.tissue):
                yield MapTask(plan, window, kind)
