"""The guards table: the effect under other measurements, with controls as ligand, roles swapped."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.statistics.priming.adjusted_association import (
    AdjustedModel,
    Association,
    source_field,
)
from ifquant.statistics.priming.exposure import Contacts, contacts_within
from ifquant.statistics.priming.primary_association import Primary, regression
from ifquant.statistics.priming.question import Control
from ifquant.statistics.priming.slide_cells import per_responder, shared_ligand
from ifquant.statistics.priming.slide_effect import SHARED, GuardRow
from ifquant.statistics.priming.structure import normal_scores, residual

Floats = NDArray[np.float64]

MIN_CELLS = 40
DISTANT_UM = 50.0
"""Reach of the guard without touching pairs where the recipe names no radii."""
NO_PIXELS = (
    "not available: needs the pixels at the contacts (pairs.parquet of a run with [priming])"
)


def guard_rows(primary: Primary) -> tuple[GuardRow, ...]:
    """Make the guards table of one slide; p-values are analytic (effective sample size)."""
    cells = primary.structure.cells
    pairs, q = cells.slide.pairs, cells.question
    controls = [
        _row(
            f"negative control: {control.marker} as ligand",
            "negative control",
            _control(primary, control),
            "must show nothing of this size",
        )
        for control in q.controls
        if cells.has(control.column)
    ]
    return (
        *(_rows_without_pixels(primary) if pairs is None else _pixel_rows(primary, pairs)),
        *_distance_rows(primary),
        *controls,
        _row(
            "roles swapped",
            "direction",
            _swapped(primary),
            f"{q.ligand} of the responders against {q.response} of the sources at equal {q.ligand}"
            " of these; a small negative value is light of crowded cells",
        ),
        _row(
            "without local staining levels",
            "sensitivity",
            _unadjusted(primary),
            "far from the primary: a field shared by channels (section thickness, autofluorescence)"
            " is present",
        ),
        _row(
            f"own {q.ligand} as measured held constant",
            "spill-over",
            _own_as_measured(primary),
            f"must stay; else light of the touched cells, a niche that raises {q.ligand} in both,"
            f" or a way through the own {q.ligand}: not told apart",
        ),
    )


def _rows_without_pixels(primary: Primary) -> Iterator[GuardRow]:
    """Rows of tables without outlines, whose ligand is that of the whole border."""
    yield _row(
        "ligand of the whole border",
        "main",
        primary.association,
        "the primary effect; light of the responder itself may be in it",
    )
    for name in ("ligand away from the contact", "eroded response mask"):
        yield GuardRow(name, "spill-over", None, None, None, 0, NO_PIXELS)


def _pixel_rows(primary: Primary, pairs: pd.DataFrame) -> Iterator[GuardRow]:
    """Rows that need the pixels at the contacts."""
    cells = primary.structure.cells
    q, erode_um = cells.question, cells.options.erode_um
    yield _row(
        "ligand away from the contact",
        "main",
        primary.association,
        "the primary effect: source border not shared with responders",
    )
    yield _row(
        "all pairs, whole border",
        "sensitivity",
        _with_ligand(primary, cells.log_values(q.ligand_column)),
        "larger than the primary: light crosses the contact",
    )
    yield _row(
        SHARED,
        "sensitivity",
        _with_ligand(primary, shared_ligand(cells, pairs)),
        "the border where both cells' light mixes; only this one large: spill-over",
    )
    eroded = per_responder(cells, pairs, "response_eroded", q.response, q.response_column)
    own = per_responder(cells, pairs, "own_ligand_eroded", q.ligand, q.ligand_column)
    yield _row(
        "eroded response mask",
        "spill-over",
        _with_response(primary, eroded, own),
        f"{q.response} only from {erode_um:g} um inside the responder; must stay",
    )


def _distance_rows(primary: Primary) -> Iterator[GuardRow]:
    """Rows whose exposure is weighted by distance."""
    cells = primary.structure.cells

    def around(radius: float) -> Contacts:
        return contacts_within(cells.points, cells.responder, cells.source, radius)

    widest = max(cells.options.radii_um, default=DISTANT_UM)
    yield _row(
        f"without touching pairs (within {widest:g} um)",
        "sensitivity",
        _with_contacts(primary, around(widest).without(primary.near)),
        "sources near but not touched: as large as the primary means that contact is not what"
        " matters",
    )
    for radius in cells.options.radii_um:
        yield _row(
            f"within {radius:g} um",
            "sensitivity",
            _with_contacts(primary, around(radius)),
            "exposure weighted by distance, not by contact",
        )


def _row(name: str, kind: str, found: Association | None, reads_as: str) -> GuardRow:
    """One line of the table; without numbers where nothing could be estimated."""
    if found is not None and math.isfinite(found.z):
        return GuardRow(name, kind, found.z, found.se, found.p, found.n, reads_as)
    n = 0 if found is None else found.n
    why = f"not available: too few cells or no variation; {reads_as}"
    return GuardRow(name, kind, None, None, None, n, why)


def _with_ligand(primary: Primary, ligand: Floats) -> Association:
    """Take the same contacts with the ligand measured elsewhere on the sources."""
    finite = np.where(np.isfinite(ligand), ligand, np.nan)
    field = source_field(primary.structure, finite, primary.sources, primary.source_basis)
    exposure = primary.near.mean(field[primary.near.sources])
    return primary.model.association(primary.response, exposure)


def _with_response(primary: Primary, response: Floats, own: Floats) -> Association | None:
    """Take the same exposure with response and own ligand measured in the eroded mask."""
    rows = primary.near.rows
    near = primary.near.where(np.isfinite(response[rows]) & np.isfinite(own[rows]))
    if len(near) < MIN_CELLS:
        return None
    structure = primary.structure
    exposure = near.mean(primary.field[near.sources])
    basis = regression(structure, near, own, exposure)
    model = (
        AdjustedModel.of(structure, near, basis)
        if len(near) < len(primary.near)
        else primary.model.with_basis(basis)
    )
    return model.association(normal_scores(response[near.responders]), exposure)


def _with_contacts(primary: Primary, near: Contacts) -> Association | None:
    """Take other sources for those of the responders."""
    structure = primary.structure
    response = structure.cells.log_values(structure.cells.question.response_column)
    known = np.isfinite(primary.field[near.sources]) & np.isfinite(response[near.rows])
    near = near.where(known)
    if len(near) < MIN_CELLS:
        return None
    exposure = near.mean(primary.field[near.sources])
    model = AdjustedModel.of(structure, near, regression(structure, near, primary.own, exposure))
    return model.association(normal_scores(response[near.responders]), exposure)


def _control(primary: Primary, control: Control) -> Association | None:
    """Take another channel of the sources as ligand; it is then no covariate."""
    structure, near = primary.structure, primary.near
    values = structure.cells.log_values(control.column)
    if not np.isfinite(values[primary.sources]).all():
        return None
    basis = structure.source_basis(primary.sources, skip=control.marker)
    exposure = near.mean(source_field(structure, values, primary.sources, basis)[near.sources])
    basis = regression(structure, near, primary.own, exposure, control.marker)
    return primary.model.with_basis(basis).association(primary.response, exposure)


def _swapped(primary: Primary) -> Association | None:
    """Ligand of the responder as response, response channel of the touched sources as exposure.

    At equal ligand of these sources. The sources' ligand bleeds into their response channel, and
    its light lies on the responder; the responder's response lies on the sources, and bleeds into
    its own ligand channel. Both are held constant as measured, else the two go together in every
    picture. What is left where cells crowd is negative (docs/statistics.md). Taking out the light
    of all responders that touch a source made it 0 in tables and doubled it through pixels, where
    an outline that gives light to one cell takes it from the other.
    """
    structure, near = primary.structure, primary.near
    response = structure.cells.log_values(structure.cells.question.response_column)
    if not np.isfinite(response[primary.sources]).all():
        return None
    basis = _joined(primary.source_basis, primary.field[primary.sources])
    exposure = near.mean(source_field(structure, response, primary.sources, basis)[near.sources])
    basis = regression(structure, near, response, exposure, as_measured=True)
    basis = _joined(basis, near.mean(primary.field[near.sources]))
    scores = normal_scores(primary.own[near.responders])
    return primary.model.with_basis(basis).association(scores, exposure)


def _joined(basis: Floats, values: Floats) -> Floats:
    """Add to an orthonormal basis what a column adds to it."""
    left = residual(residual(values, basis), basis)
    return np.column_stack([basis, left / max(float(np.linalg.norm(left)), 1e-300)])


def _unadjusted(primary: Primary) -> Association:
    """Leave out the local staining levels."""
    structure, near, sources = primary.structure, primary.near, primary.sources
    basis = structure.source_basis(sources, fields=False)
    exposure = near.mean(source_field(structure, primary.ligand, sources, basis)[near.sources])
    basis = regression(structure, near, primary.own, exposure, fields=False)
    return primary.model.with_basis(basis).association(primary.response, exposure)


def _own_as_measured(primary: Primary) -> Association:
    """Hold the responders' own ligand constant as it was measured, whatever light is in it."""
    near = primary.near
    exposure = near.mean(primary.field[near.sources])
    basis = regression(primary.structure, near, primary.own, exposure, as_measured=True)
    return primary.model.with_basis(basis).association(primary.response, exposure)
