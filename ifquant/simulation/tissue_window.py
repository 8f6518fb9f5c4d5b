"""Tissue with known truth: any window of a simulated slide, rendered alone and always the same.

`simulate_window` is a pure function of the options and the window. The slide is cut out of an
unbounded tissue, so its border is a cut like any other. Truth: a nucleus counts when its own plane
is in focus and in the section, and at least a quarter of it (or 8 um2) lies on the slide; nuclei
out of focus and stained cells without a nucleus in the section are in the pixels but not in the
truth. Each pixel of the truth belongs to at most one nucleus and one cell; a cell contains its
nucleus and has its label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window
from ifquant.simulation.background_structures import grain, paint_debris, paint_fibres, soft_nuclei
from ifquant.simulation.cell_places import (
    COLOR_REACH,
    COS,
    IN_PLANE,
    KIND,
    MAJOR,
    MINOR,
    SIN,
    Tissue,
    X,
    Y,
    make_tissue,
    populate,
)
from ifquant.simulation.cell_shapes import Shapes, paint, paint_nuclei
from ifquant.simulation.cell_states import NEIGHBOUR_REACH, Cells, describe
from ifquant.simulation.optics import expose, reach_px
from ifquant.simulation.options import (
    BLOCK_UM,
    CHANNELS,
    CLASSES,
    MYELOID,
    TUMOR,
    SimulationOptions,
)
from ifquant.simulation.place_random import field_on_pixels, make_field
from ifquant.simulation.stains import Ground, Levels, levels_of, stain

__all__ = [
    "CHANNELS",
    "CLASSES",
    "SimulatedWindow",
    "SimulationOptions",
    "add_shapes",
    "label_sums",
    "simulate_cells",
    "simulate_field",
    "simulate_window",
]

_WARP_Y, _WARP_X, _SLOW_Y, _SLOW_X = 91, 92, 93, 94
_CELL_REACH_BLOCKS = 1


@dataclass(frozen=True)
class SimulatedWindow:
    """One window of a simulated slide and its truth.

    Attributes
    ----------
    window : Window
        The pixels of the slide that it covers.
    image : ndarray of uint16
        Counts, (5, Y, X), channels in the order of `CHANNELS`; camera offset 100, at most 4095.
    nuclei, cells : ndarray of int32
        True labels (Y, X); the cell of a nucleus has the nucleus' label. Labels are the same in
        every window of the slide.
    table : DataFrame
        One row per true cell that shows in the window, by `id`: `class`, `nucleus_x_um`,
        `nucleus_y_um` (center of its outline), `tgfb1_level`, `il1b_level` (counts at full
        staining, before blur), `tgfb1_z`, `il1b_z` (the same, standardised logarithm; the slope of
        `il1b_z` on `exposure` is the option `effect`), `exposure` (mean `tgfb1_z` of the at most 5
        nearest tumor cells within 30 um with a nucleus in the section, on the slide or beyond its
        edge; missing without any, and in classes other than myeloid).
    """

    window: Window
    image: NDArray[np.uint16]
    nuclei: NDArray[np.int32]
    cells: NDArray[np.int32]
    table: pd.DataFrame


def _blocks(window: Window, pixel_um: float, margin: int) -> tuple[int, int, int, int]:
    first = (int(np.floor(edge * pixel_um / BLOCK_UM)) - margin for edge in (window.y0, window.x0))
    last = (int(np.ceil(edge * pixel_um / BLOCK_UM)) + margin for edge in (window.y1, window.x1))
    y0, x0 = first
    y1, x1 = last
    return y0, x0, y1, x1


def _rectangle(blocks: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    y0, x0, y1, x1 = blocks
    return y0 * BLOCK_UM, x0 * BLOCK_UM, y1 * BLOCK_UM, x1 * BLOCK_UM


def _cells_around(options: SimulationOptions, window: Window) -> tuple[Cells, Tissue]:
    """Every cell that may show in a window, and the tissue's fields around it."""
    inner = _CELL_REACH_BLOCKS + NEIGHBOUR_REACH
    tissue = make_tissue(
        options, _rectangle(_blocks(window, options.pixel_size_um, inner + COLOR_REACH))
    )
    blocks = _blocks(window, options.pixel_size_um, inner)
    return describe(options, populate(options, tissue, blocks), _rectangle(blocks)), tissue


@njit(cache=True)  # type: ignore[untyped-decorator]
def _counted(geometry: NDArray[np.float64], height_um: float, width_um: float) -> NDArray[np.bool_]:
    """Which cells are in the truth: nucleus in plane, and a quarter of it, or 8 um2, on the
    slide.
    """
    result = np.zeros(geometry.shape[0], np.bool_)
    n = 12
    for i in range(geometry.shape[0]):
        cell = geometry[i]
        if cell[IN_PLANE] < 0.5:
            continue
        inside = total = 0
        for a in range(n):
            for b in range(n):
                u, v = (a + 0.5) * 2.0 / n - 1.0, (b + 0.5) * 2.0 / n - 1.0
                if u * u + v * v > 1.0:
                    continue
                total += 1
                x = cell[X] + u * cell[MAJOR] * cell[COS] - v * cell[MINOR] * cell[SIN]
                y = cell[Y] + u * cell[MAJOR] * cell[SIN] + v * cell[MINOR] * cell[COS]
                inside += 0.0 <= y < height_um and 0.0 <= x < width_um
        share = inside / total
        result[i] = share >= 0.25 or share * np.pi * cell[MAJOR] * cell[MINOR] >= 8.0
    return result


def _frame(window: Window, options: SimulationOptions) -> Window:
    """Grow the window by what its pixels look at, to multiples of 4 px; it may leave the slide."""
    reach = reach_px(options) + 8
    y0, x0 = ((edge - reach) // 4 * 4 for edge in (window.y0, window.x0))
    y1, x1 = (-(-(edge + reach) // 4) * 4 for edge in (window.y1, window.x1))
    return Window(y0, x0, y1, x1)


def simulate_window(options: SimulationOptions, window: Window) -> SimulatedWindow:
    """Render one window of a simulated slide.

    Parameters
    ----------
    options : SimulationOptions
        The slide.
    window : Window
        Half-open rectangle of its pixels.

    Returns
    -------
    SimulatedWindow
        Pixels, true labels and true cells; the same as in any other window, bit for bit.

    Raises
    ------
    RequestError
        If the window is empty or leaves the slide.
    """
    if not (
        0 <= window.y0 < window.y1 <= options.size[0]
        and 0 <= window.x0 < window.x1 <= options.size[1]
    ):
        raise RequestError(
            f"window {window} is empty or leaves the slide of {options.size} px (Y, X); ask for a"
            " part of the slide."
        )
    scene = make_scene(options, window)
    levels = levels_of(scene.cells, options)
    image = render(scene, levels, options)
    inner = window.slices_in(scene.frame)
    pixel = options.pixel_size_um
    counted = _counted(scene.cells.geometry, options.size[0] * pixel, options.size[1] * pixel)
    ids = np.concatenate(([0], np.where(counted, scene.cells.ids, 0))).astype(np.int32)
    nuclei, territory = ids[scene.shapes.nuclei[inner]], ids[scene.shapes.cells[inner]]
    table = _table(scene.cells, levels, counted & np.isin(scene.cells.ids, np.unique(territory)))
    return SimulatedWindow(
        window, np.ascontiguousarray(image[(slice(None), *inner)]), nuclei, territory, table
    )


class Scene(NamedTuple):
    """What stands in a window before anything is stained: cells, their shapes, the ground; `frame`
    is the window with its rim.
    """

    frame: Window
    cells: Cells
    shapes: Shapes
    ground: Ground
    texture: tuple[NDArray[np.float32], NDArray[np.float32]]


def make_scene(options: SimulationOptions, window: Window) -> Scene:
    """Place and shape everything that shows in a window."""
    pixel = options.pixel_size_um
    frame = _frame(window, options)
    cells, tissue = _cells_around(options, frame)
    blocks = _blocks(frame, pixel, _CELL_REACH_BLOCKS)
    rectangle = _rectangle(blocks)
    shape, origin = frame.shape, (frame.y0, frame.x0)
    texture = grain(options.seed, pixel)

    def on_pixels(purpose: int, range_um: float) -> NDArray[np.float32]:
        return np.asarray(
            field_on_pixels(
                make_field(options.seed, purpose, range_um, rectangle), *origin, *shape, pixel
            )
        )

    warp_y = 0.45 * on_pixels(_WARP_Y, 3.5) + 0.5 * on_pixels(_SLOW_Y, 11.0)
    warp_x = 0.45 * on_pixels(_WARP_X, 3.5) + 0.5 * on_pixels(_SLOW_X, 11.0)
    nest, tissue_share = _regions(tissue, origin, shape, pixel, warp_y)
    shapes = paint(cells, origin, pixel, nest=nest, warp=(warp_y, warp_x), texture=texture)
    soft, soft_keys = soft_nuclei(np.uint64(options.seed), tissue, blocks, options.out_of_focus)
    nowhere = np.zeros(shape, np.int32)
    paint_nuclei(
        soft,
        soft_keys,
        *origin,
        pixel,
        *texture,
        True,
        nowhere,
        np.zeros(shape, np.float32),
        shapes.dapi,
    )
    fibres, debris = np.zeros(shape, np.float32), np.zeros((len(CHANNELS), *shape), np.float32)
    paint_fibres(np.uint64(options.seed), tissue, blocks, *origin, pixel, fibres)
    paint_debris(np.uint64(options.seed), blocks, *origin, pixel, debris)
    return Scene(frame, cells, shapes, Ground(nest, tissue_share, fibres, debris), texture)


def render(
    scene: Scene, levels: Levels, options: SimulationOptions, exposure_seed: int | None = None
) -> NDArray[np.uint16]:
    """Stain and expose a scene: counts (5, Y, X) of its frame, whose rim is not valid.

    `exposure_seed` draws noise and illumination anew; None: those of the slide.
    """
    origin = (scene.frame.y0, scene.frame.x0)
    light = stain(scene.cells, scene.shapes, levels, scene.ground, scene.texture, origin, options)
    return expose(
        light, origin, options if exposure_seed is None else replace(options, seed=exposure_seed)
    )


def simulate_cells(options: SimulationOptions, window: Window | None = None) -> pd.DataFrame:
    """List the true cells without rendering a pixel: the table of `simulate_window`, hundreds of
    times faster.

    Parameters
    ----------
    options : SimulationOptions
        The slide.
    window : Window, optional
        Cells whose nucleus has its center in this window; the whole slide by default.

    Returns
    -------
    DataFrame
        As `SimulatedWindow.table`.
    """
    window = window or Window(0, 0, *options.size)
    pixel = options.pixel_size_um
    cells, _ = _cells_around(options, window)
    y, x = cells.geometry[:, Y] / pixel, cells.geometry[:, X] / pixel
    inside = (y >= window.y0) & (y < window.y1) & (x >= window.x0) & (x < window.x1)
    counted = _counted(cells.geometry, options.size[0] * pixel, options.size[1] * pixel)
    return _table(cells, levels_of(cells, options), counted & inside)


def _table(cells: Cells, levels: Levels, chosen: NDArray[np.bool_]) -> pd.DataFrame:
    rows = np.flatnonzero(chosen)
    kinds = cells.geometry[rows, KIND].astype(int)
    table = pd.DataFrame(
        {
            "id": cells.ids[rows].astype(np.int32),
            "class": pd.Categorical(np.array(CLASSES)[kinds], categories=list(CLASSES)),
            "nucleus_x_um": cells.geometry[rows, X],
            "nucleus_y_um": cells.geometry[rows, Y],
            "tgfb1_level": levels.ligand[rows],
            "il1b_level": levels.response[rows],
            "tgfb1_z": np.where(kinds == TUMOR, cells.ligand_z[rows], np.nan),
            "il1b_z": np.where(kinds == MYELOID, cells.response_z[rows], np.nan),
            "exposure": cells.exposure[rows],
        }
    )
    return table.sort_values("id", ignore_index=True)


def _regions(
    tissue: Tissue,
    origin: tuple[int, int],
    shape: tuple[int, int],
    pixel: float,
    warp: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the nest field on the pixels (positive inside), and the share of tissue (0 in
    holes).
    """
    nest = 0.9 * field_on_pixels(tissue.nest, *origin, *shape, pixel) + 0.436 * field_on_pixels(
        tissue.lobe, *origin, *shape, pixel
    )
    nest = (nest - tissue.nest_level + 0.03 + 0.02 * warp).astype(np.float32)
    hole = field_on_pixels(tissue.hole, *origin, *shape, pixel)
    share = np.clip((tissue.hole_level + 0.25 - hole) / 0.15, 0.06, 1.0).astype(np.float32)
    return nest, share


def simulate_field(options: SimulationOptions) -> SimulatedWindow:
    """Render a whole slide at once and add the shapes of its cells to the table (see
    `simulate_window`, `add_shapes`).
    """
    field = simulate_window(options, Window(0, 0, *options.size))
    table = add_shapes(field.table, [label_sums(field)], options.pixel_size_um)
    return SimulatedWindow(field.window, field.image, field.nuclei, field.cells, table)


def add_shapes(
    table: pd.DataFrame, parts: list[pd.DataFrame], pixel_size_um: float
) -> pd.DataFrame:
    """Add `x_um`, `y_um` (centroid of the cell), `area_um2` and `nucleus_area_um2` from the
    `label_sums` of windows that do not overlap.
    """
    sums = pd.concat(parts).groupby(level=0).sum()
    sums = sums.reindex(table["id"].to_numpy()).reset_index(drop=True)
    return table.assign(
        x_um=(sums["x"] / sums["area"] + 0.5) * pixel_size_um,
        y_um=(sums["y"] / sums["area"] + 0.5) * pixel_size_um,
        area_um2=sums["area"] * pixel_size_um**2,
        nucleus_area_um2=sums["nucleus_area"] * pixel_size_um**2,
    )


def label_sums(part: SimulatedWindow) -> pd.DataFrame:
    """Per cell (index `id`) the pixel count, nucleus pixel count and sums of whole pixel
    coordinates; they add up over windows.
    """
    ids, flat = np.unique(part.cells, return_inverse=True)
    flat = flat.ravel()
    y, x = np.indices(part.cells.shape).reshape(2, -1)
    area = np.bincount(flat)
    nucleus = np.bincount(flat, weights=(part.nuclei > 0).ravel()).astype(np.int64)
    sums = pd.DataFrame(
        {
            "area": area,
            "nucleus_area": nucleus,
            "y": np.bincount(flat, weights=y).astype(np.int64) + area * part.window.y0,
            "x": np.bincount(flat, weights=x).astype(np.int64) + area * part.window.x0,
        },
        index=pd.Index(ids, name="id"),
    )
    return sums.drop(index=0, errors="ignore")
