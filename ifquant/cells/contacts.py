"""What is measured at contacts: ligand of the source near and away from the responder; response.

At half a micrometre per pixel the border that two cells share mixes both cells' light. The ligand
that counts is therefore that of the source's border away from responders, and the response has a
version from inside an eroded mask (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from ifquant.cells.measurement_kernels import CELL, CYTOPLASM, MEMBRANE, NUCLEUS
from ifquant.columns.pair_columns import typed_pairs
from ifquant.geometry.runs import CellRuns, paint
from ifquant.geometry.windows import Window, cores
from ifquant.recipe.model import Priming

Ids = NDArray[np.int64]
Read = Callable[[Window], NDArray[Any]]

RESPONDER, SOURCE = 1, 2
MANY = 16
"""More responders than this are never within reach of one pixel."""
WINDOW_PX = 1024
"""Side of the windows, whatever the run's tile size: sums of float images are then added in one
order."""


class Layers(NamedTuple):
    """A window (Y, X) of contacts: labels of cells and nuclei, both stains, which pixels count."""

    cells: NDArray[np.uint32]
    nuclei: NDArray[np.uint32]
    ligand: NDArray[np.float64]
    response: NDArray[np.float64]
    finite: NDArray[np.bool_]


class Rules(NamedTuple):
    """Who is measured where.

    Attributes
    ----------
    role
        `RESPONDER`, `SOURCE` or 0 by label.
    first, touching
        Pairs of source ``s`` are ``first[s] : first[s + 1]``, their responders in `touching`.
    response_place, ligand_place
        Compartments (bits of `measurement_kernels`).
    edge, away, eroded
        Discs as (2, n) offsets.
    """

    role: NDArray[np.uint8]
    first: Ids
    touching: Ids
    response_place: int
    ligand_place: int
    edge: Ids
    away: Ids
    eroded: Ids


class Sums(NamedTuple):
    """What is added up.

    Attributes
    ----------
    shared, shared_px
        Per pair: ligand shared with the responder, and number of pixels.
    per_cell, per_cell_px
        (labels, 2). Sources: ligand in all, and away from every responder; responders: response and
        ligand in the eroded mask.
    """

    shared: NDArray[np.float64]
    shared_px: Ids
    per_cell: NDArray[np.float64]
    per_cell_px: Ids


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
    ordered = rows[np.lexsort((rows[:, 0], rows[:, 1]))]
    n = len(responder)
    um = membrane_um, options.away_um, options.erode_um
    rules = _rules(ordered, responder, source, [disc(each / pixel_size_um) for each in um], options)
    discs = rules.edge, rules.away, rules.eroded
    halo = int(max(np.abs(each).max(initial=1) for each in discs))
    sums = Sums(
        np.zeros(len(ordered)),
        np.zeros(len(ordered), np.int64),
        np.zeros((n + 1, 2)),
        np.zeros((n + 1, 2), np.int64),
    )
    boxes = cells.bounding_boxes
    band, rows_of_band = -1, np.zeros(0, np.int64)
    for core in cores(image_shape, window_px):
        window = core.grown(halo, image_shape)
        if core.y0 != band:  # a large slide has a million cells and thousands of windows
            band = core.y0
            rows_of_band = np.flatnonzero((boxes[:, 0] < window.y1) & (boxes[:, 2] > window.y0))
        seen = rows_of_band[_overlap(boxes[rows_of_band], window)]
        if not rules.role[seen + 1].any():
            continue
        label, inner = (paint(runs.take(seen), seen + 1, window) for runs in (cells, nuclei))
        ligand, response = (channel.astype(np.float64) for channel in read(window))
        finite = np.isfinite(ligand) & np.isfinite(response)
        y, x = core.slices_in(window)
        rectangle = y.start, x.start, y.stop, x.stop
        contact_sums(Layers(label, inner, ligand, response, finite), rectangle, rules, sums)
    table = _table(ordered, sums)
    return table.sort_values(["responder_id", "source_id"], ignore_index=True)


def _rules(
    ordered: Ids,
    responder: NDArray[np.bool_],
    source: NDArray[np.bool_],
    discs: Sequence[Ids],
    options: Priming,
) -> Rules:
    """Rules of the contacts (pairs, 2), sorted by source."""
    n = len(responder)
    first = np.searchsorted(ordered[:, 1], np.arange(n + 2) - 1).astype(np.int64)  # by row + 1
    role = np.zeros(n + 1, np.uint8)
    role[1:][responder], role[1:][source] = RESPONDER, SOURCE
    role[1:][~np.isin(np.arange(n), ordered)] = 0  # cells without such a contact are not looked at
    places = {"nucleus": NUCLEUS, "cytoplasm": CYTOPLASM, "membrane": MEMBRANE}
    response, ligand = (
        places.get(name or "cell", CELL)
        for name in (options.response_compartment, options.ligand_compartment)
    )
    if response == MEMBRANE:
        response = CELL  # nothing of a membrane is left after erosion
    return Rules(role, first, ordered[:, 0] + 1, response, ligand, *discs)


def disc(radius_px: float) -> NDArray[np.int64]:
    """Offsets (2, n) of at most `radius_px`, without (0, 0); at least the 4 nearest pixels."""
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


def _table(ordered: Ids, sums: Sums) -> pd.DataFrame:
    responder, source = ordered[:, 0] + 1, ordered[:, 1] + 1
    shared, shared_px, per_cell, per_cell_px = sums
    return typed_pairs(
        {
            "responder_id": responder,
            "source_id": source,
            "ligand_away_sum": per_cell[source, 0] - shared,
            "ligand_away_px": per_cell_px[source, 0] - shared_px,
            "ligand_clear_sum": per_cell[source, 1],
            "ligand_clear_px": per_cell_px[source, 1],
            "ligand_shared_sum": shared,
            "ligand_shared_px": shared_px,
            "response_eroded_sum": per_cell[responder, 0],
            "response_eroded_px": per_cell_px[responder, 0],
            "own_ligand_eroded_sum": per_cell[responder, 1],
        }
    )


@njit(cache=True)
def _counts(layers, y, x, place, near_edge):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether a pixel belongs to the compartment `place` of its cell."""
    if place == NUCLEUS:
        return layers.nuclei[y, x] == layers.cells[y, x]
    if place == CYTOPLASM:
        return layers.nuclei[y, x] != layers.cells[y, x]
    return place == CELL or near_edge


@njit(cache=True)
def _meets(cells, y, x, offsets):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Whether another label (or background) lies at one of the offsets, inside the window."""
    own = cells[y, x]
    for k in range(offsets.shape[1]):
        v, u = y + offsets[0, k], x + offsets[1, k]
        if 0 <= v < cells.shape[0] and 0 <= u < cells.shape[1] and cells[v, u] != own:
            return True
    return False


@njit(cache=True)
def _responders_near(cells, y, x, rules, near):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Write the responders within the disc `away` of a pixel to `near`; how many they are."""
    n = 0
    for k in range(rules.away.shape[1]):
        v, u = y + rules.away[0, k], x + rules.away[1, k]
        if v < 0 or u < 0 or v >= cells.shape[0] or u >= cells.shape[1]:
            continue
        other = cells[v, u]
        if other == 0 or rules.role[other] != RESPONDER:
            continue
        known = False
        for m in range(n):
            known = known or near[m] == other
        if not known and n < MANY:
            near[n] = other
            n += 1
    return n


@njit(cache=True)
def contact_sums(layers, core, rules, sums):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add the pixels of the core rectangle (y0, x0, y1, x1, in the window) to the sums."""
    near = np.empty(MANY, np.int64)
    cells, role, first = layers.cells, rules.role, rules.first
    per_cell, per_cell_px = sums.per_cell, sums.per_cell_px
    for y in range(core[0], core[2]):
        for x in range(core[1], core[3]):
            label = cells[y, x]
            if label == 0 or role[label] == 0 or not layers.finite[y, x]:
                continue
            ligand = layers.ligand[y, x]
            if role[label] == RESPONDER:
                inside = _counts(layers, y, x, rules.response_place, True)
                if inside and not _meets(cells, y, x, rules.eroded):
                    per_cell[label, 0] += layers.response[y, x]
                    per_cell[label, 1] += ligand
                    per_cell_px[label, 0] += 1
                continue
            place = rules.ligand_place
            near_edge = place == MEMBRANE and _meets(cells, y, x, rules.edge)
            if first[label] == first[label + 1] or not _counts(layers, y, x, place, near_edge):
                continue
            n = _responders_near(cells, y, x, rules, near)
            per_cell[label, 0] += ligand
            per_cell_px[label, 0] += 1
            if n == 0:
                per_cell[label, 1] += ligand
                per_cell_px[label, 1] += 1
            for m in range(n):
                for k in range(first[label], first[label + 1]):
                    if rules.touching[k] == near[m]:
                        sums.shared[k] += ligand
                        sums.shared_px[k] += 1
