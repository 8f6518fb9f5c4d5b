"""A scene: what stands in a window of a simulated slide before anything is stained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.windows import Window
from ifquant.simulation.background_structures import (
    Grain,
    grain_of,
    paint_debris,
    paint_fibres,
    soft_nuclei,
)
from ifquant.simulation.cell_levels import NEIGHBOUR_REACH, Cells, describe_cells
from ifquant.simulation.cell_placement import COLOR_REACH, Blocks, Tissue, make_tissue, populate
from ifquant.simulation.cell_shapes import Shapes, Surroundings, paint_shapes
from ifquant.simulation.nucleus_shapes import paint_nuclei
from ifquant.simulation.optics import expose, reach_px
from ifquant.simulation.options import BLOCK_UM, CHANNELS, SimulationOptions
from ifquant.simulation.random_fields import PixelGrid, Rectangle, field_on_pixels, make_field
from ifquant.simulation.stains import Ground, Levels, stain

_WARP_Y, _WARP_X, _SLOW_Y, _SLOW_X = 91, 92, 93, 94
_CELL_REACH_BLOCKS = 1


class Scene(NamedTuple):
    """Cells, their shapes, and the ground of a window with its rim.

    `frame` is the window with its rim, `grid` the same as a grid of pixels.
    """

    frame: Window
    grid: PixelGrid
    cells: Cells
    shapes: Shapes
    ground: Ground
    grain: Grain


def _blocks(window: Window, pixel_um: float, margin: int) -> Blocks:
    y0, x0 = (int(np.floor(a * pixel_um / BLOCK_UM)) - margin for a in (window.y0, window.x0))
    y1, x1 = (int(np.ceil(b * pixel_um / BLOCK_UM)) + margin for b in (window.y1, window.x1))
    return y0, x0, y1, x1


def _rectangle(blocks: Blocks) -> Rectangle:
    y0, x0, y1, x1 = blocks
    return y0 * BLOCK_UM, x0 * BLOCK_UM, y1 * BLOCK_UM, x1 * BLOCK_UM


def cells_around(options: SimulationOptions, window: Window) -> tuple[Cells, Tissue]:
    """Every cell that may show in a window, and the tissue's fields around it."""
    pixel, inner = options.pixel_size_um, _CELL_REACH_BLOCKS + NEIGHBOUR_REACH
    tissue = make_tissue(options, _rectangle(_blocks(window, pixel, inner + COLOR_REACH)))
    blocks = _blocks(window, pixel, inner)
    return describe_cells(options, populate(options, tissue, blocks), _rectangle(blocks)), tissue


def _frame(window: Window, options: SimulationOptions) -> Window:
    """Grow the window by what its pixels depend on, to multiples of 4 px, even off the slide."""
    reach = reach_px(options) + 8
    y0, x0 = ((edge - reach) // 4 * 4 for edge in (window.y0, window.x0))
    y1, x1 = (-(-(edge + reach) // 4) * 4 for edge in (window.y1, window.x1))
    return Window(y0, x0, y1, x1)


def make_scene(options: SimulationOptions, window: Window) -> Scene:
    """Place and shape everything that shows in a window."""
    frame = _frame(window, options)
    grid = PixelGrid(frame.y0, frame.x0, *frame.shape, options.pixel_size_um)
    cells, tissue = cells_around(options, frame)
    blocks = _blocks(frame, grid.pixel_um, _CELL_REACH_BLOCKS)
    grain = grain_of(options.seed, grid.pixel_um)

    def on_pixels(purpose: int, range_um: float) -> NDArray[np.float32]:
        field = make_field(options.seed, purpose, range_um, _rectangle(blocks))
        return field_on_pixels(field, grid)

    warp_y = 0.45 * on_pixels(_WARP_Y, 3.5) + 0.5 * on_pixels(_SLOW_Y, 11.0)
    warp_x = 0.45 * on_pixels(_WARP_X, 3.5) + 0.5 * on_pixels(_SLOW_X, 11.0)
    nest, tissue_share = _regions(tissue, grid, warp_y)
    shapes = paint_shapes(cells, grid, Surroundings(nest, warp_y, warp_x), grain)
    seed = np.uint64(options.seed)
    soft, keys = soft_nuclei(seed, tissue, blocks, options.out_of_focus)
    paint_nuclei(soft, keys, grid, grain, shapes.dapi, out_of_focus=True)
    fibres = np.zeros(grid.shape, np.float32)
    paint_fibres(seed, tissue, blocks, grid, fibres)
    debris = np.zeros((len(CHANNELS), *grid.shape), np.float32)
    paint_debris(seed, blocks, grid, debris)
    ground = Ground(nest, tissue_share, fibres, debris)
    return Scene(frame, grid, cells, shapes, ground, grain)


def _regions(
    tissue: Tissue, grid: PixelGrid, warp: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Nest field on the pixels (positive inside), and the share of tissue (0 in holes)."""
    lobe = 0.436 * field_on_pixels(tissue.lobe, grid)
    nest = 0.9 * field_on_pixels(tissue.nest, grid) + lobe
    nest = (nest - tissue.nest_level + 0.03 + 0.02 * warp).astype(np.float32)
    hole = field_on_pixels(tissue.hole, grid)
    share = np.clip((tissue.hole_level + 0.25 - hole) / 0.15, 0.06, 1.0).astype(np.float32)
    return nest, share


def render(scene: Scene, levels: Levels, options: SimulationOptions) -> NDArray[np.uint16]:
    """Stain and expose a scene: counts (5, Y, X) of its frame, whose rim is not valid."""
    light = stain(scene.shapes, levels, scene.ground, scene.grain, scene.grid, options)
    return expose(light, scene.grid, options)
