"""What is measured at contacts: the ligand of a source near to and away from the responder it
touches, the response inside the responder.

At half a micrometre per pixel the border that two cells share mixes both cells' light. The ligand
that counts is therefore that of the source's border away from responders, and the response has a
version from inside an eroded mask (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from ifquant.columns.pair_columns import typed_pairs
from ifquant.geometry.runs import CellRuns, paint
from ifquant.geometry.windows import Window, cores
from ifquant.recipe.model import Priming

Ids = NDArray[np.int64]
Read = Callable[[Window], NDArray[Any]]

NUCLEUS, CYTOPLASM, WHOLE, MEMBRANE = range(4)
"""Which pixels of a cell count."""
RESPONDER, SOURCE = 1, 2
MANY = 16
"""More responders than this are never within reach of one pixel."""
WINDOW_PX = 1024
"""Side of the windows, whatever the run's tile size: sums of float images are then added in one
order."""
PLACES = {"nucleus": NUCLEUS, "cytoplasm": CYTOPLASM, "membrane": MEMBRANE}


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
        Touching cells (i, j) as rows, each pair once (`touching_pairs`).
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
    One row per contact, sorted by (responder_id, source_id), with the columns of `pair_columns`;
    ids are rows + 1.
    """
    rows = _directed(pairs, responder, source)
    n = len(responder)
    by_source = np.lexsort((rows[:, 0], rows[:, 1]))
    ordered = rows[by_source]
    first = np.searchsorted(ordered[:, 1], np.arange(n + 2) - 1).astype(
        np.int64
    )  # by label = row + 1
    role = np.zeros(n + 1, np.uint8)
    role[1:][responder], role[1:][source] = RESPONDER, SOURCE
    role[1:][~np.isin(np.arange(n), rows)] = 0  # cells without such a contact are not looked at
    edge, away, eroded = (
        disc(um / pixel_size_um) for um in (membrane_um, options.away_um, options.erode_um)
    )
    halo = int(max(np.abs(each).max(initial=1) for each in (edge, away, eroded)))
    places = np.array(
        [
            PLACES.get(p or "cell", WHOLE)
            for p in (options.response_compartment, options.ligand_compartment)
        ],
        np.int64,
    )
    if places[0] == MEMBRANE:
        places[0] = WHOLE  # nothing of a membrane is left after erosion
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
        rectangle = np.array(
            [inside[0].start, inside[1].start, inside[0].stop, inside[1].stop], np.int64
        )
        contact_sums(
            label,
            inner,
            ligand,
            response,
            np.isfinite(ligand) & np.isfinite(response),
            rectangle,
            role,
            first,
            ordered[:, 0] + 1,
            places,
            edge,
            away,
            eroded,
            sums,
            counts,
            per_cell,
            per_cell_px,
        )
    table = _table(ordered, sums, counts, per_cell, per_cell_px)
    return table.sort_values(["responder_id", "source_id"], ignore_index=True)


def disc(radius_px: float) -> NDArray[np.int64]:
    """Offsets (2, n) of at most `radius_px`, and at least the eight neighbours' nearest four,
    without (0, 0).
    """
    radius = max(radius_px, 1.0) + 1e-6
    reach = math.floor(radius)
    dy, dx = (each.ravel() for each in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    keep = (np.hypot(dy, dx) <= radius) & ((dy != 0) | (dx != 0))
    return np.stack([dy[keep], dx[keep]]).astype(np.int64)


def _directed(
    pairs: tuple[Ids, Ids], responder: NDArray[np.bool_], source: NDArray[np.bool_]
) -> Ids:
    """Contacts (pairs, 2) as responder, source."""
    i, j = pairs
    forward, backward = responder[i] & source[j], responder[j] & source[i]
    return np.concatenate(
        [np.stack([i[forward], j[forward]], 1), np.stack([j[backward], i[backward]], 1)]
    ).astype(np.int64)


def _overlap(boxes: NDArray[np.int32], window: Window) -> NDArray[np.bool_]:
    meets = (
        (boxes[:, 0] < window.y1)
        & (boxes[:, 2] > window.y0)
        & (boxes[:, 1] < window.x1)
        & (boxes[:, 3] > window.x0)
    )
    return np.asarray(meets)


def _table(
    ordered: Ids,
    sums: NDArray[np.float64],
    counts: Ids,
    per_cell: NDArray[np.float64],
    per_cell_px: Ids,
) -> pd.DataFrame:
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


@njit(cache=True)
def _counts(cells, nuclei, y, x, place, near_edge):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether a pixel belongs to the compartment `place` of its cell."""
    if place == NUCLEUS:
        return nuclei[y, x] == cells[y, x]
    if place == CYTOPLASM:
        return nuclei[y, x] != cells[y, x]
    return place == WHOLE or near_edge


@njit(cache=True)
def _meets(cells, y, x, dy, dx):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether another label (or background) lies at one of the offsets; outside the window there is
    no border.
    """
    own = cells[y, x]
    for k in range(len(dy)):
        v, u = y + dy[k], x + dx[k]
        if 0 <= v < cells.shape[0] and 0 <= u < cells.shape[1] and cells[v, u] != own:
            return True
    return False


@njit(cache=True)
def contact_sums(  # type: ignore[no-untyped-def]  # pragma: no cover
    cells,
    nuclei,
    ligand,
    response,
    finite,
    core,
    role,
    first,
    touching,
    places,
    edge,
    away,
    eroded,
    sums,
    counts,
    per_cell,
    per_cell_px,
):
    """Add the pixels of the core rectangle (y0, x0, y1, x1, in the window) to the sums.

    Pairs of source `s` are ``first[s] : first[s + 1]``, their responders in `touching`. `sums`,
    `counts` (pairs): ligand shared with the responder. `per_cell`, `per_cell_px` (cells + 1, 3):
    sources: ligand in all, ligand away from every responder; responders: response and ligand in the
    eroded mask. `edge`, `away`, `eroded` are discs as (2, n) offsets.
    """
    near = np.empty(MANY, np.int64)
    for y in range(core[0], core[2]):
        for x in range(core[1], core[3]):
            label = cells[y, x]
            if label == 0 or role[label] == 0 or not finite[y, x]:
                continue
            if role[label] == RESPONDER:
                if _counts(cells, nuclei, y, x, places[0], True) and not _meets(
                    cells, y, x, eroded[0], eroded[1]
                ):
                    per_cell[label, 0] += response[y, x]
                    per_cell[label, 1] += ligand[y, x]
                    per_cell_px[label, 0] += 1
                continue
            if first[label] == first[label + 1]:
                continue
            if not _counts(
                cells,
                nuclei,
                y,
                x,
                places[1],
                places[1] == MEMBRANE and _meets(cells, y, x, edge[0], edge[1]),
            ):
                continue
            found = 0
            for k in range(away.shape[1]):
                v, u = y + away[0, k], x + away[1, k]
                if v < 0 or u < 0 or v >= cells.shape[0] or u >= cells.shape[1]:
                    continue
                other = cells[v, u]
                if other == 0 or role[other] != RESPONDER:
                    continue
                known = False
                for m in range(found):
                    known = known or near[m] == other
                if not known and found < MANY:
                    near[found] = other
                    found += 1
            per_cell[label, 0] += ligand[y, x]
            per_cell_px[label, 0] += 1
            if found == 0:
                per_cell[label, 1] += ligand[y, x]
                per_cell_px[label, 1] += 1
            for m in range(found):
                for k in range(first[label], first[label + 1]):
                    if touching[k] == near[m]:
                        sums[k] += ligand[y, x]
                        counts[k] += 1
