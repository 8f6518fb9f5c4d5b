"""What each stain puts into the tissue, before any optics: cytokeratin, CD11c, TGFB1, IL1B, and the
tissue's own light.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.simulation.cell_places import KIND
from ifquant.simulation.cell_shapes import BORDER_REACH_PX, Shapes, border_distance
from ifquant.simulation.cell_states import Cells
from ifquant.simulation.options import LYMPHOCYTE, MYELOID, STROMA, TUMOR, SimulationOptions
from ifquant.simulation.place_random import normal, uniform

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
    """Counts of each cell's stains when a pixel is fully stained."""

    keratin: NDArray[np.float64]
    cd11c: NDArray[np.float64]
    ligand: NDArray[np.float64]
    response: NDArray[np.float64]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _own_levels(
    keys: NDArray[np.uint64], kinds: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
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
    """Return the true levels (counts at full staining, before blur) of each cell."""
    kinds = cells.geometry[:, KIND].astype(np.int64)
    keratin, cd11c, basal = _own_levels(cells.keys, kinds)
    tumor, myeloid = kinds == TUMOR, kinds == MYELOID
    ligand = np.where(
        tumor, np.exp(options.ligand_sd * cells.ligand_z + options.ligand_shift), basal
    )
    response = np.where(
        myeloid,
        np.exp(options.response_sd * cells.response_z + options.response_shift),
        np.where(tumor, 0.05, 0.03),
    )
    gain = options.exposure_gain
    return Levels(
        keratin * COUNTS[1] * gain,
        cd11c * COUNTS[2] * gain,
        ligand * COUNTS[3] * gain,
        response * COUNTS[4] * gain,
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def _stain(
    nuclei: NDArray[np.int32],
    cells: NDArray[np.int32],
    dapi: NDArray[np.float32],
    border: NDArray[np.float32],
    ground: Ground,
    levels: Levels,
    kinds: NDArray[np.int64],
    fine: NDArray[np.float32],
    coarse: NDArray[np.float32],
    origin: tuple[int, int],
    pixel_size_um: float,
    own_light: float,
    gain: float,
) -> NDArray[np.float32]:
    height, width = nuclei.shape
    side = fine.shape[0]
    result = np.empty((5, height, width), np.float32)
    for row in range(height):
        ty = (row + origin[0]) % side
        for column in range(width):
            tx = (column + origin[1]) % side
            who = cells[row, column] - 1
            in_nucleus = nuclei[row, column] > 0
            tissue = ground.tissue[row, column]
            rough = 1.0 + 0.30 * coarse[ty, tx] + 0.12 * fine[ty, tx]
            collagen = ground.fibres[row, column]
            glow = (
                own_light
                * gain
                * tissue
                * (max(rough, 0.2) + (1.6 * collagen if who < 0 else 0.5 * collagen))
            )
            keratin = cd11c = ligand = response = 0.0
            if who >= 0:
                kind = kinds[who]
                deep = border[row, column] * pixel_size_um
                membrane = (
                    np.exp(-0.5 * ((deep - 0.5 * pixel_size_um) / 0.55) ** 2)
                    if deep < BORDER_REACH_PX * pixel_size_um
                    else 0.0
                )
                grain, lump = fine[ty, tx], coarse[ty, tx]
                if kind == TUMOR:
                    strands = np.exp(-(grain * grain) / 0.35)
                    outer = np.exp(-max(ground.nest[row, column], 0.0) / 0.07)
                    body = (
                        0.22
                        + 0.55 * strands
                        + 0.12 * lump
                        + 0.55 * membrane
                        + 0.7 * outer * strands
                    )
                    keratin = levels.keratin[who] * max(body, 0.08) * (0.16 if in_nucleus else 1.0)
                    patch = max(1.0 + 0.35 * lump, 0.15)
                    ligand = levels.ligand[who] * (
                        membrane * patch
                        + (0.04 if in_nucleus else 0.10 * max(1.0 + 0.4 * grain, 0.1))
                    )
                    response = levels.response[who]
                elif kind == MYELOID:
                    body = max(0.55 + 0.22 * grain + 0.2 * lump, 0.12) + 0.6 * membrane
                    cd11c = levels.cd11c[who] * body * (0.30 if in_nucleus else 1.0)
                    spots = max(0.0, grain - 0.7)
                    response = (
                        levels.response[who]
                        * (max(0.75 + 0.30 * grain + 0.2 * lump, 0.1) + 0.8 * spots)
                        * (0.15 if in_nucleus else 1.0)
                    )
                    ligand = levels.ligand[who] * (0.3 + membrane)
                else:
                    share = 0.25 if in_nucleus else 1.0
                    ligand = levels.ligand[who] * (0.35 + 0.8 * membrane) * share
                    response = levels.response[who] * share
                    if kind == LYMPHOCYTE:
                        cd11c = 0.02 * COUNTS[2] * gain * membrane
                glow *= 1.0 + (0.25 if not in_nucleus else 0.0)
            elif ground.nest[row, column] > 0.0:
                ligand = 0.05 * COUNTS[3] * gain * tissue
            else:
                ligand = 0.06 * COUNTS[3] * gain * tissue * max(rough, 0.2) * (1.0 + collagen)
            result[0, row, column] = COUNTS[0] * gain * dapi[row, column] + OWN_LIGHT[0] * glow
            result[1, row, column] = keratin + OWN_LIGHT[1] * glow
            result[2, row, column] = cd11c + OWN_LIGHT[2] * glow
            result[3, row, column] = ligand + OWN_LIGHT[3] * glow
            result[4, row, column] = response + OWN_LIGHT[4] * glow
            for channel in range(5):
                result[channel, row, column] += (
                    COUNTS[channel] * gain * ground.debris[channel, row, column]
                )
    return result


def stain(
    cells: Cells,
    shapes: Shapes,
    levels: Levels,
    ground: Ground,
    texture: tuple[NDArray[np.float32], NDArray[np.float32]],
    origin_px: tuple[int, int],
    options: SimulationOptions,
) -> NDArray[np.float32]:
    """Light of the five channels (counts, float32, (C, Y, X)) as a perfect microscope would see
    it.
    """
    kinds = cells.geometry[:, KIND].astype(np.int64)
    border = border_distance(shapes.cells)
    return np.asarray(
        _stain(
            shapes.nuclei,
            shapes.cells,
            shapes.dapi,
            border,
            ground,
            levels,
            kinds,
            *texture,
            origin_px,
            options.pixel_size_um,
            options.autofluorescence,
            options.exposure_gain,
        )
    )
