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
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ifquant.calibration import calibrate
from ifquant.calibration.calibrate import Calibration, HistogramPart, SlideHistogram, TissueMask
from ifquant.execution.executors import Execution, run_tasks
from ifquant.files import storage
from ifquant.geometry.windows import Window, cores
from ifquant.nuclei import label_segmenter
from ifquant.nuclei.segmenter import Segmenter, make_cell_segmenter, make_segmenter
from ifquant.pipeline.mask_files import MaskFiles, Masks, look_at
from ifquant.pipeline.slide_assembly import assemble
from ifquant.pipeline.slide_plan import MapTask, SlidePlan, TileTask, close_slide, open_slide
from ifquant.pipeline.tile import compute_maps, compute_tile
from ifquant.pipeline.tile_parts import TilePart, load_arrays, load_part, save_part
from ifquant.recipe.model import Recipe
from ifquant.results.measured_cells import MeasuredCells
from ifquant.slides.overview import Stack, StackBuilder, reduced, step_for
from ifquant.slides.panel import Panel
from ifquant.slides.slide import SlideRef

T = TypeVar("T")
K = TypeVar("K")

SCAN_BLOCK_PX = 2048
"""Side of the blocks read in pass 1; a matter of memory only, histograms are exact for any block
size."""

Advance = Callable[[str, int, int], None]
"""Progress callback: stage, done, total."""


@dataclass(frozen=True)
class Uncalibrated:
    """One slide that is about to be calibrated.

    Attributes
    ----------
    image_shape
        Height and width (Y, X) in px.
    analysed
        Coarse mask (My, Mx) of the regions the user included; None: everything.
    max_value
        Largest value of the file's stated bit depth, if it states one.
    masks
        Masks made elsewhere, instead of a segmenter.
    """

    ref: SlideRef
    panel: Panel
    recipe: Recipe
    image_shape: tuple[int, int]
    pixel_size_um: float
    analysed: NDArray[np.bool_] | None = None
    max_value: int | None = None
    masks: MaskFiles | None = None


@dataclass(frozen=True)
class ScanTask:
    """One block of pass 1; with `tissue`, only the pixels on it are counted. `shown_step` asks for
    the block's part of the overview.
    """

    ref: SlideRef
    channels: tuple[int, ...]
    window: Window
    step_px: int
    tissue: NDArray[np.bool_] | None = None
    shown_step: int | None = None


def scan(task: ScanTask) -> tuple[HistogramPart, NDArray[Any] | None]:
    """Histogram and coarse sums of one block, and what the overview picture needs of it."""
    pixels = open_slide(task.ref).read(task.channels, task.window)
    part = calibrate.scan_block(pixels, task.window, task.step_px, task.tissue)
    return part, None if task.shown_step is None else reduced(pixels, task.shown_step)


@dataclass(frozen=True)
class Measured:
    """All cells of one slide, before any gate."""

    calibration: Calibration
    cells: MeasuredCells
    tile_cores: tuple[Window, ...]
    warnings: tuple[str, ...] = ()
    overview: Stack | None = None


def worker_start() -> None:
    """Get a worker ready for its first task: this module's libraries are loaded by now; close what
    an earlier run left open.
    """
    close_slide()


def calibrate_slide(
    plan: Uncalibrated, *, pool: Executor, in_flight: int, advance: Advance
) -> tuple[Calibration, Stack]:
    """Calibrate one slide from whole-slide histograms (pass 1, and pass 1b over tissue where much
    is glass); also its overview picture.
    """
    step = calibrate.grid_step_px(plan.recipe.tissue.step_um, plan.pixel_size_um)
    shown_step = step_for(plan.image_shape, plan.recipe.picture.max_size_px)
    both = math.lcm(step, shown_step)
    windows = cores(plan.image_shape, -(-SCAN_BLOCK_PX // both) * both)
    picture = StackBuilder(plan.image_shape, shown_step)

    def count(stage: str, tissue: TissueMask | None) -> SlideHistogram:
        wanted = [window for window in windows if tissue is None or tissue.any(window)]
        mask, shown = (None, shown_step) if tissue is None else (tissue.mask, None)
        tasks = [
            ScanTask(plan.ref, plan.panel.indices, window, step, mask, shown) for window in wanted
        ]
        parts = run_tasks(pool, scan, tasks, in_flight=in_flight)
        return calibrate.merge(
            _collected(_counted(parts, stage, len(tasks), advance), picture), plan.image_shape
        )

    counted = count("calibrate", None)
    tissue = calibrate.find_tissue(
        counted,
        pixel_size_um=plan.pixel_size_um,
        options=plan.recipe.tissue,
        restrict=plan.analysed,
    )
    if calibrate.needs_second_pass(tissue) and bool(tissue.mask.any()):
        del counted  # block means of a large slide: not twice in memory
        counted = count("calibrate tissue", tissue)
    calibration = calibrate.calibrate(counted, tissue, plan.panel.names, max_value=plan.max_value)
    return calibration, picture.stack([channel.display for channel in calibration.channels])


def _collected(
    scanned: Iterable[tuple[HistogramPart, NDArray[Any] | None]], picture: StackBuilder
) -> Iterator[HistogramPart]:
    for part, shown in scanned:
        if shown is not None:
            picture.add(part.window, shown)
        yield part


def _counted(results: Iterable[T], stage: str, total: int, advance: Advance) -> Iterator[T]:
    for result in results:
        advance(stage, 1, total)
        yield result


def measure_slide(
    plan: Uncalibrated,
    *,
    work: Path,
    execution: Execution,
    pool: Executor,
    advance: Advance,
    calibration: Calibration | None = None,
) -> Measured:
    """Calibrate, segment and measure one slide, reusing the parts that `work` already holds.

    Parameters
    ----------
    work
        Folder of the unfinished parts; created.
    calibration
        Use this calibration instead of the slide's own (a crop analysed as part of its slide).

    Raises
    ------
    SlideError
        If the slide's content cannot be used; finished parts stay.
    """
    in_flight = execution.in_flight
    work = work.absolute()  # workers may have another working folder
    plan = replace(
        plan, ref=replace(plan.ref, paths=tuple(os.path.abspath(path) for path in plan.ref.paths))
    )
    for folder in (work, work / "tiles"):
        storage.make_folder(folder)
    calibration, overview = _calibrated(
        plan, work, calibration, pool=pool, in_flight=in_flight, advance=advance
    )
    masks = (
        look_at(plan.masks, work, plan.image_shape, plan.ref.crop)
        if plan.masks is not None
        else None
    )
    segmenter = _segmenter(plan, calibration, masks)
    found = _cell_segmenter(plan, calibration) if masks is None else None
    shared = SlidePlan(
        plan.ref,
        str(work),
        plan.recipe,
        plan.panel,
        segmenter,
        plan.image_shape,
        plan.pixel_size_um,
        masks,
        found,
    )
    tiles = cores(plan.image_shape, execution.tile_size_px)

    def stage(name: str, function: Callable[[K], Window], tasks: list[K]) -> None:
        for _ in _counted(
            run_tasks(pool, function, tasks, in_flight=in_flight), name, len(tasks), advance
        ):
            pass

    for kind in shared.map_makers:
        storage.make_folder(work / kind)
    if shared.map_makers:
        stage("maps", compute_maps, list(_maps_needed(shared, calibration)))
    stage("tiles", compute_tile, [TileTask(shared, core) for core in tiles])
    close_slide()
    warnings = masks.objects.warnings() if masks is not None else ()
    return Measured(
        calibration, assemble(_Parts(shared, tiles), work), tuple(tiles), warnings, overview
    )


def _calibrated(
    plan: Uncalibrated,
    work: Path,
    given: Calibration | None,
    *,
    pool: Executor,
    in_flight: int,
    advance: Advance,
) -> tuple[Calibration, Stack | None]:
    """Calibration and overview of a slide: those kept in `work`, or made and kept. Without an
    overview the picture is read at the end.
    """
    stored, shown = work / "calibration.npz", work / "overview.npz"
    kept = load_part(stored)
    if kept is not None:
        seen = load_part(shown)
        whole = Window(0, 0, *plan.image_shape)
        return Calibration.from_arrays(kept), None if seen is None else Stack(
            seen["pixels"], whole, int(seen["step"])
        )
    calibration, overview = (
        (given, None)
        if given
        else calibrate_slide(plan, pool=pool, in_flight=in_flight, advance=advance)
    )
    if overview is not None:
        save_part(shown, {"pixels": overview.pixels, "step": np.array(overview.step)})
    save_part(stored, calibration.to_arrays())
    return calibration, overview


class _Parts(Sequence[TilePart]):
    """The parts of all tiles, each read when it is looked at; computed again if the disk has
    damaged it.
    """

    def __init__(self, plan: SlidePlan, tiles: Sequence[Window]) -> None:
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


def _segmenter(plan: Uncalibrated, calibration: Calibration, masks: Masks | None) -> Segmenter:
    options = plan.recipe.segmentation
    if masks is not None:
        return label_segmenter.make(
            options, pixel_size_um=plan.pixel_size_um, calibration=None, objects=masks.objects
        )
    nucleus = plan.panel.nucleus(options.channel)
    levels = calibration[plan.panel.names[nucleus]] if nucleus is not None else None
    return make_segmenter(options, pixel_size_um=plan.pixel_size_um, calibration=levels)


def _cell_segmenter(plan: Uncalibrated, calibration: Calibration) -> Segmenter | None:
    options = plan.recipe.segmentation
    nucleus = plan.panel.nucleus(options.channel)
    return make_cell_segmenter(
        options,
        pixel_size_um=plan.pixel_size_um,
        calibration=calibration[plan.panel.names[nucleus]] if nucleus is not None else None,
        guides=[calibration[plan.panel.names[i]] for i in plan.panel.positions("tumor", "myeloid")],
    )


def _maps_needed(plan: SlidePlan, calibration: Calibration) -> Iterator[MapTask]:
    """Lattice cells whose maps are computed."""
    for kind, segmenter in plan.map_makers.items():
        for cell in cores(plan.image_shape, segmenter.lattice_px or 0):
            if plan.needs_maps(kind, cell, calibration.tissue):
                yield MapTask(plan, cell, kind)
