"""What each stain puts into the tissue, before any optics: cytokeratin, CD11c, TGFB1, IL1B, and the
tissue's own light.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulation.background_structures import Grain
from ifquant.simulation.cell_levels import Cells
from ifquant.simulation.cell_placement import KIND
from ifquant.simulation.cell_shapes import BORDER_REACH_PX, Shapes
from ifquant.simulation.options import LYMPHOCYTE, MYELOID, STROMA, TUMOR, SimulationOptions
from ifquant.simulation.random_fields import PixelGrid, normal, uniform

COUNTS = np.array([1000.0, 800.0, 650.0, 420.0, 480.0])
"""Counts of a fully stained pixel of a typical cell, by channel."""
OWN_LIGHT = np.array([22.0, 34.0, 40.0, 48.0, 30.0])
"""Counts of the tissue's own light, by channel; strongest where collagen and formalin glow
(green)."""


class Ground(NamedTuple):
    """What lies between the cells: nest field, tissue (1) or hole (0), collagen fibres, specks of
    debris by channel.
    """

    nest: NDArray[np.float32]
    tissue: NDArray[np.float32]
    fibres: NDArray[np.float32]
    debris: NDArray[np.float32]


class Levels(NamedTuple):
    """Class of each cell, and the counts of its stains when a pixel is fully stained."""

    kind: NDArray[np.int64]
    keratin: NDArray[np.float64]
    cd11c: NDArray[np.float64]
    ligand: NDArray[np.float64]
    response: NDArray[np.float64]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _own_levels(
    keys: NDArray[np.uint64], kinds: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Relative cytokeratin and CD11c of each cell, and the ligand of those that are not tumor."""
    n = keys.shape[0]
    keratin, cd11c, basal = np.zeros(n), np.zeros(n), np.zeros(n)
    for i in range(n):
        if kinds[i] == TUMOR:
            keratin[i] = np.exp(0.38 * normal(keys[i], 300))
        if kinds[i] == MYELOID:
            cd11c[i] = np.exp(0.42 * normal(keys[i], 301))
        if kinds[i] == STROMA and uniform(keys[i], 302) < 0.35:
            basal[i] = 0.35 * np.exp(0.5 * normal(keys[i], 303))
        elif kinds[i] != TUMOR:
            basal[i] = 0.06
    return keratin, cd11c, basal


def levels_of(cells: Cells, options: SimulationOptions) -> Levels:
    """Levels of each cell, as they are true (counts at full staining, before blur)."""
    kinds = cells.geometry[:, KIND].astype(np.int64)
    keratin, cd11c, basal = _own_levels(cells.keys, kinds)
    tumor, myeloid = kinds == TUMOR, kinds == MYELOID
    own_ligand = np.exp(options.ligand_sd * cells.ligand_z + options.ligand_shift)
    own_response = np.exp(options.response_sd * cells.response_z + options.response_shift)
    ligand = np.where(tumor, own_ligand, basal)
    response = np.where(myeloid, own_response, np.where(tumor, 0.05, 0.03))
    levels = zip((keratin, cd11c, ligand, response), COUNTS[1:], strict=True)
    return Levels(kinds, *(level * counts * options.exposure_gain for level, counts in levels))


class _Spot(NamedTuple):
    """What a stain finds at a pixel: grain, membrane (1 at the border), nucleus, nest field."""

    fine: float
    coarse: float
    membrane: float
    in_nucleus: bool
    nest: float


@njit(cache=True)  # type: ignore[untyped-decorator]
def _tumor_stains(levels: Levels, cell: int, at: _Spot) -> tuple[float, float, float, float]:
    """Cytokeratin, CD11c, ligand and response at a pixel of a tumor cell."""
    strands = np.exp(-(at.fine * at.fine) / 0.35)
    outer = np.exp(-max(at.nest, 0.0) / 0.07)
    body = 0.22 + 0.55 * strands + 0.12 * at.coarse + 0.55 * at.membrane + 0.7 * outer * strands
    keratin = levels.keratin[cell] * max(body, 0.08) * (0.16 if at.in_nucleus else 1.0)
    patch = max(1.0 + 0.35 * at.coarse, 0.15)
    inside = 0.04 if at.in_nucleus else 0.10 * max(1.0 + 0.4 * at.fine, 0.1)
    ligand = levels.ligand[cell] * (at.membrane * patch + inside)
    return keratin, 0.0, ligand, levels.response[cell]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _myeloid_stains(levels: Levels, cell: int, at: _Spot) -> tuple[float, float, float, float]:
    """Cytokeratin, CD11c, ligand and response at a pixel of a myeloid cell."""
    body = max(0.55 + 0.22 * at.fine + 0.2 * at.coarse, 0.12) + 0.6 * at.membrane
    cd11c = levels.cd11c[cell] * body * (0.30 if at.in_nucleus else 1.0)
    spots = max(0.0, at.fine - 0.7)
    granular = max(0.75 + 0.30 * at.fine + 0.2 * at.coarse, 0.1) + 0.8 * spots
    response = levels.response[cell] * granular * (0.15 if at.in_nucleus else 1.0)
    return 0.0, cd11c, levels.ligand[cell] * (0.3 + at.membrane), response


@njit(cache=True)  # type: ignore[untyped-decorator]
def _other_stains(
    levels: Levels, cell: int, at: _Spot, gain: float
) -> tuple[float, float, float, float]:
    """Cytokeratin, CD11c, ligand and response at a pixel of a lymphocyte or a stroma cell."""
    share = 0.25 if at.in_nucleus else 1.0
    lymphocyte = levels.kind[cell] == LYMPHOCYTE
    cd11c = 0.02 * COUNTS[2] * gain * at.membrane if lymphocyte else 0.0
    ligand = levels.ligand[cell] * (0.35 + 0.8 * at.membrane) * share
    return 0.0, cd11c, ligand, levels.response[cell] * share


@njit(cache=True)  # type: ignore[untyped-decorator]
def _cell_stains(
    levels: Levels, cell: int, at: _Spot, gain: float
) -> tuple[float, float, float, float]:
    """Cytokeratin, CD11c, ligand and response at a pixel of a cell."""
    if levels.kind[cell] == TUMOR:
        keratin, cd11c, ligand, response = _tumor_stains(levels, cell, at)
    elif levels.kind[cell] == MYELOID:
        keratin, cd11c, ligand, response = _myeloid_stains(levels, cell, at)
    else:
        keratin, cd11c, ligand, response = _other_stains(levels, cell, at, gain)
    return keratin, cd11c, ligand, response


@njit(cache=True)  # type: ignore[untyped-decorator]
def _stain(
    shapes: Shapes,
    levels: Levels,
    ground: Ground,
    grain: Grain,
    grid: PixelGrid,
    own_light: float,
    gain: float,
) -> NDArray[np.float32]:
    side = grain.fine.shape[0]
    result = np.empty((5, grid.height, grid.width), np.float32)
    for row in range(grid.height):
        ty = (row + grid.y0) % side
        for column in range(grid.width):
            tx = (column + grid.x0) % side
            fine, coarse = grain.fine[ty, tx], grain.coarse[ty, tx]
            cell = shapes.cells[row, column] - 1
            in_nucleus = shapes.nuclei[row, column] > 0
            tissue, nest = ground.tissue[row, column], ground.nest[row, column]
            collagen = ground.fibres[row, column]
            rough = 1.0 + 0.30 * coarse + 0.12 * fine
            matter = max(rough, 0.2) + (1.6 * collagen if cell < 0 else 0.5 * collagen)
            glow = own_light * gain * tissue * matter
            keratin = cd11c = ligand = response = 0.0
            if cell >= 0:
                deep, membrane = shapes.border[row, column] * grid.pixel_um, 0.0
                if deep < BORDER_REACH_PX * grid.pixel_um:
                    membrane = np.exp(-0.5 * ((deep - 0.5 * grid.pixel_um) / 0.55) ** 2)
                at = _Spot(fine, coarse, membrane, in_nucleus, nest)
                keratin, cd11c, ligand, response = _cell_stains(levels, cell, at, gain)
                glow *= 1.0 if in_nucleus else 1.25
            elif nest > 0.0:
                ligand = 0.05 * COUNTS[3] * gain * tissue
            else:
                ligand = 0.06 * COUNTS[3] * gain * tissue * max(rough, 0.2) * (1.0 + collagen)
            light = (COUNTS[0] * gain * shapes.dapi[row, column], keratin, cd11c, ligand, response)
            for channel in range(5):
                specks = COUNTS[channel] * gain * ground.debris[channel, row, column]
                result[channel, row, column] = light[channel] + OWN_LIGHT[channel] * glow
                result[channel, row, column] += specks
    return result


def stain(
    shapes: Shapes,
    levels: Levels,
    ground: Ground,
    grain: Grain,
    grid: PixelGrid,
    options: SimulationOptions,
) -> NDArray[np.float32]:
    """Light of the five channels, (C, Y, X) counts, as a perfect microscope would see it."""
    own_light, gain = options.autofluorescence, options.exposure_gain
    return np.asarray(_stain(shapes, levels, ground, grain, grid, own_light, gain))
