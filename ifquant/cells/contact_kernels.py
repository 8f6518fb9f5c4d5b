"""Compiled: sums over the pixels of sources and responders, by how near the other is."""

from __future__ import annotations

import numpy as np
from numba import njit

NUCLEUS, CYTOPLASM, WHOLE, MEMBRANE = range(4)
"""Which pixels of a cell count."""
RESPONDER, SOURCE = 1, 2
MANY = 16
"""More responders than this are never within reach of one pixel."""


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
    """Whether another label (or background) lies at one of the offsets; outside the window there is no border."""
    own = cells[y, x]
    for k in range(len(dy)):
        v, u = y + dy[k], x + dx[k]
        if 0 <= v < cells.shape[0] and 0 <= u < cells.shape[1] and cells[v, u] != own:
            return True
    return False


@njit(cache=True)
def contact_sums(  # type: ignore[no-untyped-def]  # pragma: no cover
    cells, nuclei, ligand, response, finite, core, role, first, touching, places, edge, away, eroded, sums, counts, per_cell, per_cell_px
):
    """Add the pixels of the core rectangle (y0, x0, y1, x1, in the window) to the sums.

    Pairs of source `s` are ``first[s] : first[s + 1]``, their responders in `touching`. `sums`, `counts` (pairs): ligand shared with the
    responder. `per_cell`, `per_cell_px` (cells + 1, 3): sources: ligand in all, ligand away from every responder; responders: response
    and ligand in the eroded mask. `edge`, `away`, `eroded` are discs as (2, n) offsets.
    """
    near = np.empty(MANY, np.int64)
    for y in range(core[0], core[2]):
        for x in range(core[1], core[3]):
            label = cells[y, x]
            if label == 0 or role[label] == 0 or not finite[y, x]:
                continue
            if role[label] == RESPONDER:
                if _counts(cells, nuclei, y, x, places[0], True) and not _meets(cells, y, x, eroded[0], eroded[1]):
                    per_cell[label, 0] += response[y, x]
                    per_cell[label, 1] += ligand[y, x]
                    per_cell_px[label, 0] += 1
                continue
            if first[label] == first[label + 1]:
                continue
            if not _counts(cells, nuclei, y, x, places[1], places[1] == MEMBRANE and _meets(cells, y, x, edge[0], edge[1])):
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
