"""One slide from file to measured cells: calibrate (pass 1) > tiles (pass 2) > assemble.

The unfinished work of a slide lives in one folder named by its `cells` digest and tile size; every part in it is whole or absent, so a run
that was killed at any moment goes on with the tiles that are missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifquant import calibrate, storage
from ifquant.calibrate import Calibration, HistogramPart
from ifquant.execution import Execution, run_tasks
from ifquant.panel import Panel
from ifquant.parts import Assembled, TilePart, assemble, load_arrays, save_part
from ifquant.recipe import Recipe
from ifquant.segment import make_segmenter
from ifquant.slide import SlideRef
from ifquant.tile import SlidePlan, TileTask, compute_maps, compute_tile, open_slide
from ifquant.tiles import Window, cores

SCAN_BLOCK_PX = 2048
"""Side of the blocks read in pass 1; a matter of memory only, histograms are exact for any block size."""

Advance = Callable[[str, int, int], None]
"""Progress callback: stage, done, total."""


@dataclass(frozen=True)
class ScanTask:
    """One block of pass 1; with `tissue`, only the pixels on it are counted."""

    ref: SlideRef
    channels: tuple[int, ...]
    window: Window
    step_px: int
    tissue: NDArray[np.bool_] | None = None


def scan(task: ScanTask) -> HistogramPart:
    """Histogram and coarse sums of one block."""
    pixels = open_slide(task.ref).read(task.channels, task.window)
    return calibrate.scan_block(pixels, task.window, task.step_px, tissue=task.tissue)


@dataclass(frozen=True)
class Measured:
    """All cells of one slide, before any gate."""

    calibration: Calibration
    cells: Assembled
    tile_cores: tuple[Window, ...]


def calibrate_slide(
    ref: SlideRef,
    panel: Panel,
    recipe: Recipe,
    *,
    image_shape: tuple[int, int],
    pixel_size_um: float,
    pool: Executor,
    in_flight: int,
    advance: Advance,
    analysed: NDArray[np.bool_] | None = None,
) -> Calibration:
    """Calibrate one slide from whole-slide histograms.

    Parameters
    ----------
    analysed
        Coarse mask (My, Mx) of the regions the user included; None: everything.
    """
    step = calibrate.step_px(recipe.tissue, pixel_size_um)
    windows = cores(image_shape, -(-SCAN_BLOCK_PX // step) * step)

    def passes(tissue: NDArray[np.bool_] | None) -> HistogramPart:
        parts: list[HistogramPart] = []
        tasks = [ScanTask(ref, panel.indices, window, step, _block_mask(tissue, window, step)) for window in windows]
        tasks = [task for task in tasks if task.tissue is None or task.tissue.any()]

        def collect(part: HistogramPart) -> None:
            parts[:] = [functools.reduce(calibrate.merge, [*parts, part])]
            advance("calibrate", 1, len(tasks))

        run_tasks(pool, scan, tasks, in_flight=in_flight, done=collect)
        return parts[0]

    first = passes(None)
    tissue = calibrate.find_tissue(first, recipe.tissue, image_shape=image_shape, pixel_size_um=pixel_size_um, analysed=analysed)
    counted = first if tissue.fraction >= calibrate.ENOUGH_TISSUE or not tissue.mask.any() else passes(tissue.mask)
    return calibrate.calibrate(counted, tissue, channels=panel.channels)


def _block_mask(tissue: NDArray[np.bool_] | None, window: Window, step: int) -> NDArray[np.bool_] | None:
    if tissue is None:
        return None
    return tissue[window.y0 // step : -(-window.y1 // step), window.x0 // step : -(-window.x1 // step)]


def measure_slide(
    ref: SlideRef,
    panel: Panel,
    recipe: Recipe,
    *,
    image_shape: tuple[int, int],
    pixel_size_um: float,
    work: Path,
    execution: Execution,
    pool: Executor,
    advance: Advance,
    analysed: NDArray[np.bool_] | None = None,
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
    in_flight = 2 * execution.workers if execution.scheduler is None else 64
    stored = work / "calibration.npz"
    if calibration is None and stored.exists():
        calibration = Calibration.from_arrays(load_arrays(stored))
    elif calibration is None:
        calibration = calibrate_slide(
            ref,
            panel,
            recipe,
            image_shape=image_shape,
            pixel_size_um=pixel_size_um,
            pool=pool,
            in_flight=in_flight,
            advance=advance,
            analysed=analysed,
        )
    storage.make_folder(work)
    save_part(stored, calibration.to_arrays())
    nucleus = panel.nucleus(recipe.segmentation.channel)
    segmenter = make_segmenter(
        recipe.segmentation,
        pixel_size_um=pixel_size_um,
        calibration=calibration.channel(panel.names[nucleus]) if nucleus is not None else None,
    )
    plan = SlidePlan(ref, str(work), recipe, panel, segmenter, image_shape, pixel_size_um)
    tiles = cores(image_shape, execution.tile_size_px)
    if segmenter.lattice_px is not None:
        lattice = _cells_needed(cores(image_shape, segmenter.lattice_px), tiles, plan, calibration)
        run_tasks(
            pool, compute_maps, [TileTask(plan, c) for c in lattice], in_flight=in_flight, done=lambda _: advance("maps", 1, len(lattice))
        )
    run_tasks(pool, compute_tile, [TileTask(plan, core) for core in tiles], in_flight=in_flight, done=lambda _: advance("tiles", 1, len(tiles)))
    parts = [TilePart.from_arrays(load_arrays(plan.part_path(core))) for core in tiles]
    return Measured(calibration, assemble(parts), tuple(tiles))


def _cells_needed(lattice: list[Window], tiles: list[Window], plan: SlidePlan, calibration: Calibration) -> list[Window]:
    """Lattice cells that some tile with tissue looks at."""
    looked_at = [core.grown(plan.halo_px, plan.image_shape) for core in tiles if calibration.tissue.any(core)]
    return [cell for cell in lattice if any(cell.intersection(window).size_px for window in looked_at)]
