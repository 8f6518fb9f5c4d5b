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

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window
from ifquant.simulation.cell_levels import Cells
from ifquant.simulation.cell_placement import COS, IN_PLANE, KIND, MAJOR, MINOR, SIN, X, Y
from ifquant.simulation.options import CHANNELS, CLASSES, MYELOID, TUMOR, SimulationOptions
from ifquant.simulation.scene import cells_around, make_scene, render
from ifquant.simulation.stains import Levels, levels_of

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


@njit(cache=True)  # type: ignore[untyped-decorator]
def _counted(geometry: NDArray[np.float64], height_um: float, width_um: float) -> NDArray[np.bool_]:
    """Whether cells are in the truth: nucleus in plane, a quarter of it or 8 um2 on the slide."""
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


def simulate_cells(options: SimulationOptions, window: Window | None = None) -> pd.DataFrame:
    """List the true cells without rendering a pixel, hundreds of times faster.

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
    cells, _ = cells_around(options, window)
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


def simulate_field(options: SimulationOptions) -> SimulatedWindow:
    """Render a whole slide at once, with the shapes of its cells in the table (`add_shapes`)."""
    field = simulate_window(options, Window(0, 0, *options.size))
    table = add_shapes(field.table, [label_sums(field)], options.pixel_size_um)
    return replace(field, table=table)


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
