"""What is measured at contacts: the ligand of a source near to and away from the responder it touches, the response inside the responder.

At half a micrometre per pixel the border that two cells share mixes both cells' light. The ligand that counts is therefore that of the
source's border away from responders, and the response has a version from inside an eroded mask (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.base.pairs_table import typed_pairs
from ifquant.base.runs import CellRuns, paint
from ifquant.base.tiles import Window, cores
from ifquant.cells import contact_kernels as kernels
from ifquant.recipes.recipe import Priming

Ids = NDArray[np.int64]
Read = Callable[[Window], NDArray[Any]]

WINDOW_PX = 1024
"""Side of the windows, whatever the run's tile size: sums of float images are then added in one order."""
PLACES = {"nucleus": kernels.NUCLEUS, "cytoplasm": kernels.CYTOPLASM, "membrane": kernels.MEMBRANE}


def measure_contacts(
    pairs: tuple[Ids, Ids],
    responder: NDArray[np.bool_],
    source: NDArray[np.bool_],
    nuclei: CellRuns,
    cells: CellRuns,
    read: Read,
    *,
    image_shape: tuple[int, int],
    pixel_size_um: float,
    membrane_um: float,
    options: Priming,
    window_px: int = WINDOW_PX,
) -> pd.DataFrame:
    """Measure every contact of a responder with a source.

    Parameters
    ----------
    pairs
        Touching cells (i, j) as rows, each pair once (`proximity.touching_pairs`).
    responder, source : bool (n,)
        Which cells are which.
    nuclei, cells
        Geometry; object `i` is row `i`.
    read
        Gives ligand and response (2, Y, X) of a window.
    membrane_um
        Width of the membrane ring.
    options
        The recipe's section [priming].

    Returns
    -------
    One row per contact, sorted by (responder_id, source_id), with the columns of `pairs_table`; ids are rows + 1.
    """
    rows = _directed(pairs, responder, source)
    n = len(responder)
    by_source = np.lexsort((rows[:, 0], rows[:, 1]))
    ordered = rows[by_source]
    first = np.searchsorted(ordered[:, 1], np.arange(n + 2) - 1).astype(np.int64)  # by label = row + 1
    role = np.zeros(n + 1, np.uint8)
    role[1:][responder], role[1:][source] = kernels.RESPONDER, kernels.SOURCE
    role[1:][~np.isin(np.arange(n), rows)] = 0  # cells without such a contact are not looked at
    edge, away, eroded = (disc(um / pixel_size_um) for um in (membrane_um, options.away_um, options.erode_um))
    halo = int(max(np.abs(each).max(initial=1) for each in (edge, away, eroded)))
    places = np.array(
        [PLACES.get(p or "cell", kernels.WHOLE) for p in (options.response_compartment, options.ligand_compartment)], np.int64
    )
    if places[0] == kernels.MEMBRANE:
        places[0] = kernels.WHOLE  # nothing of a membrane is left after erosion
    sums, counts = np.zeros(len(ordered)), np.zeros(len(ordered), np.int64)
    per_cell, per_cell_px = np.zeros((n + 1, 2)), np.zeros((n + 1, 2), np.int64)
    boxes = cells.bounding_boxes
    band, rows_of_band = -1, np.zeros(0, np.int64)
    for core in cores(image_shape, window_px):
        window = core.grown(halo, image_shape)
        if core.y0 != band:  # a large slide has a million cells and thousands of windows
            band = core.y0
            rows_of_band = np.flatnonzero((boxes[:, 0] < window.y1) & (boxes[:, 2] > window.y0))
        seen = rows_of_band[_overlap(boxes[rows_of_band], window)]
        if not role[seen + 1].any():
            continue
        label = paint(cells.take(seen), seen + 1, window)
        inner = paint(nuclei.take(seen), seen + 1, window)
        image = read(window)
        ligand, response = image[0].astype(np.float64), image[1].astype(np.float64)
        inside = core.slices_in(window)
        rectangle = np.array([inside[0].start, inside[1].start, inside[0].stop, inside[1].stop], np.int64)
        kernels.contact_sums(
            label, inner, ligand, response, np.isfinite(ligand) & np.isfinite(response), rectangle, role, first, ordered[:, 0] + 1,
            places, edge, away, eroded, sums, counts, per_cell, per_cell_px,
        )  # fmt: skip
    table = _table(ordered, sums, counts, per_cell, per_cell_px)
    return table.sort_values(["responder_id", "source_id"], ignore_index=True)


def disc(radius_px: float) -> NDArray[np.int64]:
    """Offsets (2, n) of at most `radius_px`, and at least the eight neighbours' nearest four, without (0, 0)."""
    radius = max(radius_px, 1.0) + 1e-6
    reach = math.floor(radius)
    dy, dx = (each.ravel() for each in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    keep = (np.hypot(dy, dx) <= radius) & ((dy != 0) | (dx != 0))
    return np.stack([dy[keep], dx[keep]]).astype(np.int64)


def _directed(pairs: tuple[Ids, Ids], responder: NDArray[np.bool_], source: NDArray[np.bool_]) -> Ids:
    """Contacts (pairs, 2) as responder, source."""
    i, j = pairs
    forward, backward = responder[i] & source[j], responder[j] & source[i]
    return np.concatenate([np.stack([i[forward], j[forward]], 1), np.stack([j[backward], i[backward]], 1)]).astype(np.int64)


def _overlap(boxes: NDArray[np.int32], window: Window) -> NDArray[np.bool_]:
    meets = (boxes[:, 0] < window.y1) & (boxes[:, 2] > window.y0) & (boxes[:, 1] < window.x1) & (boxes[:, 3] > window.x0)
    return np.asarray(meets)


def _table(ordered: Ids, sums: NDArray[np.float64], counts: Ids, per_cell: NDArray[np.float64], per_cell_px: Ids) -> pd.DataFrame:
    responder, source = ordered[:, 0] + 1, ordered[:, 1] + 1
    return typed_pairs(
        {
            "responder_id": responder,
            "source_id": source,
            "ligand_away_sum": per_cell[source, 0] - sums,
            "ligand_away_px": per_cell_px[source, 0] - counts,
            "ligand_clear_sum": per_cell[source, 1],
            "ligand_clear_px": per_cell_px[source, 1],
            "ligand_shared_sum": sums,
            "ligand_shared_px": counts,
            "response_eroded_sum": per_cell[responder, 0],
            "response_eroded_px": per_cell_px[responder, 0],
            "own_ligand_eroded_sum": per_cell[responder, 1],
        }
    )
