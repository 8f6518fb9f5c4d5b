"""One tile: nuclei > cells > measurements of the objects it owns. A pure function of a `TileTask`,
run by any executor.

Each stage works on the window it needs: nuclei on the core plus the reaches of all stages, so that
every owned object, its cell and everything that shaped it lies inside; cells on the owned nuclei
plus the reach of growth; measurements on the owned cells. An owned object that still meets an inner
border is an error, never half a cell (design, section 4). Of a core that is partly glass only the
tissue counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.calibration.calibrate import Calibration
from ifquant.cells import growth as cell_model
from ifquant.cells import measurement
from ifquant.columns.flags import MEASURED_FLAGS, SATURATED_FRACTION, encode_flags
from ifquant.errors import TileError
from ifquant.geometry.runs import CellRuns, anchors, bounds, runs_of
from ifquant.geometry.windows import Window
from ifquant.nuclei.label_segmenter import pair_cells
from ifquant.nuclei.lattice import LatticeMaps
from ifquant.nuclei.segmenter import Segmenter, find_objects, overlap_px
from ifquant.pipeline import tile_parts
from ifquant.pipeline.tile_parts import TilePart, load_part, save_part
from ifquant.pipeline.tile_plan import MapTask, TilePlan, TileTask, load_calibration, open_slide
from ifquant.recipe.model import Recipe
from ifquant.slides.slide_input import SlideInput


def compute_maps(task: MapTask) -> Window:
    """Compute and keep a segmenter's maps of one lattice cell (`task.core`)."""
    plan = task.plan
    path = tile_parts.path_of(Path(plan.work), task.core, task.kind)
    if load_part(path) is None:
        read = _nucleus_reader(plan) if task.kind == "maps" else _cell_reader(plan)
        tile_parts.save(
            path, plan.map_makers[task.kind].core_maps(read, task.core, plan.slide.image_shape)
        )
    return task.core


def compute_tile(task: TileTask) -> Window:
    """Compute and keep the part of one tile."""
    path = task.plan.part_path(task.core)
    task.plan.segmenter.release()
    if not path.exists():
        save_part(path, tile_part(task).to_arrays())
    return task.core


def tile_part(task: TileTask) -> TilePart:
    """Segment, grow and measure the objects that a tile owns.

    Raises
    ------
    TileError
        If an owned cell meets the inner border of the window: the halo is too small for it.
    """
    plan, core = task.plan, task.core
    calibration = load_calibration(plan.work)
    tissue = calibration.tissue
    inside = core if plan.masks is not None else tissue.bounds(core)
    if inside is None:
        return TilePart.empty(core)
    nuclei, seams, owned, window = _owned_nuclei(plan, inside, calibration)
    grown, uncertain = _cells(plan, nuclei, window, calibration)
    _refuse_cut(grown.labels, owned, window, plan)
    orphan = grown.orphan_mask[inside.slices_in(window)] & tissue.pixels(inside)
    found = bounds(grown.labels, owned, (window.y0, window.x0))
    if found is None:
        return TilePart(core, {}, CellRuns.empty(), CellRuns.empty(), int(np.count_nonzero(orphan)))
    small = found.grown(plan.compartments_px, plan.slide.image_shape).intersection(window)
    nuclei, cells = (
        np.ascontiguousarray(labels[small.slices_in(window)]) for labels in (nuclei, grown.labels)
    )
    image = open_slide(plan.slide.ref).read(plan.slide.panel.indices, small)
    table = measure_rows(plan.slide, calibration, image, nuclei, cells, owned, small)
    table["growth_class"] = grown.growth_class[owned]
    table["flags"] |= encode_flags(
        len(owned), {"lattice_seam": seams[owned] | np.isin(owned, uncertain)}
    )
    if plan.masks is not None:
        known = plan.masks.columns(table["anchor_y_px"], table["anchor_x_px"])
        table["source_label"] = known["source_label"]
        table["flags"] |= known["flags"]
    nucleus_runs, cell_runs = (
        runs_of(labels, owned, (small.y0, small.x0)) for labels in (nuclei, cells)
    )
    return TilePart(core, table, nucleus_runs, cell_runs, int(np.count_nonzero(orphan)))


def _owned_nuclei(
    plan: TilePlan, inside: Window, calibration: Calibration
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int32], Window]:
    """Nuclei of the window that decides the cells of those with their anchor in `inside`.

    Labels (Y, X), which of them (n + 1,) lie at a seam of the lattice, labels of the owned, the
    window. The first window is large enough for nuclei of the stated largest diameter; where an
    owned one is larger, it is enlarged.
    """
    window = inside.grown(plan.halo_px, plan.slide.image_shape)
    while True:
        nuclei, seams = _nuclei(plan, window, calibration)
        y, x = (anchors(nuclei) + np.array([window.y0, window.x0])).T
        here = (y >= inside.y0) & (y < inside.y1) & (x >= inside.x0) & (x < inside.x1)
        owned = np.flatnonzero(here).astype(np.int32) + np.int32(1)
        found = bounds(nuclei, owned, (window.y0, window.x0))
        needed = (inside if found is None else inside.hull(found)).grown(
            plan.cells_px, plan.slide.image_shape
        )
        exact = needed.grown(plan.segmenter.reach_px, plan.slide.image_shape)
        if exact.intersection(window) == exact:
            return np.ascontiguousarray(nuclei[needed.slices_in(window)]), seams, owned, needed
        window = window.hull(exact)


def measure_rows(
    slide: SlideInput,
    calibration: Calibration,
    image: NDArray[Any],
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
    chosen: NDArray[np.int32],
    window: Window,
) -> dict[str, NDArray[Any]]:
    """Measure cells of a window as every tile does (and a review, after it edited outlines); with
    the flags that measuring gives.
    """
    table = measurement.measure_cells(
        image,
        nuclei,
        cells,
        labels_wanted=chosen,
        names=slide.panel.names,
        pixel_size_um=slide.pixel_size_um,
        options=slide.recipe.measure,
        saturation=[calibration[name].saturation for name in slide.panel.names],
        background=[calibration[name].background for name in slide.panel.names],
        origin=(window.y0, window.x0),
    )
    table["flags"] = _flags(table, slide.panel.names)
    return table


def _flags(table: dict[str, NDArray[Any]], names: Sequence[str]) -> NDArray[np.uint32]:
    """Move the conditions that measuring found into the column ``flags``."""
    marks = {name: table.pop(name) for name in MEASURED_FLAGS if name in table}
    marks["saturated"] = np.any(
        [table[f"{name}_saturated_fraction"] > SATURATED_FRACTION for name in names], axis=0
    )
    return encode_flags(len(table["anchor_y_px"]), marks)


def _nuclei(
    plan: TilePlan, window: Window, calibration: Calibration
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    found = find_objects(
        plan.segmenter,
        _nucleus_reader(plan),
        _lattice_maps(plan, "maps", plan.segmenter, calibration),
        window,
        plan.slide.image_shape,
    )
    return found if plan.masks is not None else _on_tissue(*found, window, calibration)


def _cells(
    plan: TilePlan, nuclei: NDArray[np.int32], window: Window, calibration: Calibration
) -> tuple[cell_model.GrownCells, NDArray[np.int32]]:
    """Grow the cells of a window, or take those of the mask or of the cell segmenter; also the
    labels of cells at a seam of its lattice.
    """
    paired = plan.masks.pair(nuclei, window) if plan.masks is not None else None
    uncertain = np.zeros(0, np.int32)
    if plan.cell_segmenter is not None:
        lattice = _lattice_maps(plan, "cell_maps", plan.cell_segmenter, calibration)
        found, seams = find_objects(
            plan.cell_segmenter, _cell_reader(plan), lattice, window, plan.slide.image_shape
        )
        paired = pair_cells(nuclei, found)
        uncertain = np.unique(paired[seams[found] & (nuclei == 0)])
    if paired is not None:
        none = np.zeros(nuclei.shape, np.bool_)
        return (
            cell_model.GrownCells(paired, np.zeros(int(nuclei.max(initial=0)) + 1, np.uint8), none),
            uncertain,
        )
    panel = plan.slide.panel
    guides = panel.positions("tumor", "myeloid")
    grown = cell_model.grow_cells(
        nuclei,
        open_slide(plan.slide.ref).read([panel.indices[i] for i in guides], window),
        roles=[panel.channels[i].role for i in guides],
        thresholds=[
            _threshold(plan.slide.recipe, calibration, plan.slide.panel.names[i]) for i in guides
        ],
        pixel_size_um=plan.slide.pixel_size_um,
        options=plan.slide.recipe.cells,
    )
    return grown, uncertain


def _on_tissue(
    nuclei: NDArray[np.int32], seams: NDArray[np.bool_], window: Window, calibration: Calibration
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Drop nuclei whose anchor is on glass: a property of the nucleus, so tiles may skip glass
    without changing any result.
    """
    y, x = anchors(nuclei).T
    keep = calibration.tissue.contains(y + window.y0, x + window.x0)
    if keep.all():
        return nuclei, seams
    new = np.zeros(len(keep) + 1, np.int32)
    new[1:][keep] = np.arange(1, np.count_nonzero(keep) + 1)
    return new[nuclei], seams[np.concatenate([[True], keep])]


def _threshold(recipe: Recipe, calibration: Calibration, name: str) -> float | None:
    given = recipe.cells.thresholds.get(name)
    return given if given is not None else calibration[name].threshold


def _refuse_cut(
    cells: NDArray[np.int32], owned: NDArray[np.int32], window: Window, plan: TilePlan
) -> None:
    height, width = plan.slide.image_shape
    edges = [
        cells[0] if window.y0 > 0 else None,
        cells[-1] if window.y1 < height else None,
        cells[:, 0] if window.x0 > 0 else None,
        cells[:, -1] if window.x1 < width else None,
    ]
    met = np.intersect1d(
        np.unique(
            np.concatenate([np.zeros(1, np.int32), *(edge for edge in edges if edge is not None)])
        ),
        owned,
    )
    if met.size:
        y, x = np.argwhere(cells == met[0])[0] + (window.y0, window.x0)
        raise TileError(
            f"a cell at y={y}, x={x} px is larger than the halo of {plan.halo_px} px. Raise"
            " segmentation.max_diameter_um (or the growth distances in [cells]) above the size of"
            " your largest objects."
        )


def _nucleus_reader(plan: TilePlan) -> Callable[[Window], NDArray[Any]]:
    if plan.masks is not None:
        return plan.masks.nuclei.read
    index = plan.slide.nucleus_channel
    position = plan.slide.panel.indices[index] if index is not None else 0
    return lambda window: open_slide(plan.slide.ref).read([position], window)[0]


def _cell_reader(plan: TilePlan) -> Callable[[Window], NDArray[Any]]:
    """Read the channels that may shape cells, then the nuclei, as (C, Y, X)."""
    nucleus = plan.slide.panel.nucleus(plan.slide.recipe.segmentation.channel)
    wanted = [
        *plan.slide.panel.positions("tumor", "myeloid"),
        *([nucleus] if nucleus is not None else []),
    ]
    return lambda window: open_slide(plan.slide.ref).read(
        [plan.slide.panel.indices[i] for i in wanted], window
    )


def _lattice_maps(
    plan: TilePlan, kind: str, segmenter: Segmenter, calibration: Calibration
) -> LatticeMaps:
    """Give access to the stored maps of a segmenter; none is ever loaded for a method without a
    lattice.
    """
    work, tissue = Path(plan.work), calibration.tissue
    return LatticeMaps(
        step_px=segmenter.lattice_px or 1,
        overlap_px=overlap_px(segmenter),
        image_shape=plan.slide.image_shape,
        load=lambda cell: tile_parts.load(tile_parts.path_of(work, cell, kind)),
        has_maps=lambda cell: plan.needs_maps(kind, cell, tissue),
    )
