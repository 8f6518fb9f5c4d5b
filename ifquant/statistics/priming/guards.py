"""The guards table: the same effect under other measurements, with negative controls as ligand, and
with roles swapped.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.statistics.priming.adjusted_association import Adjusted, Association, source_field
from ifquant.statistics.priming.exposure import Neighbours, neighbours, within, without
from ifquant.statistics.priming.primary_association import Primary, regression
from ifquant.statistics.priming.question import Control
from ifquant.statistics.priming.slide_cells import per_responder, shared_ligand
from ifquant.statistics.priming.slide_effect import SHARED, GuardRow
from ifquant.statistics.priming.structure import normal_scores, residual

Floats = NDArray[np.float64]

MIN_CELLS = 40
NO_PIXELS = (
    "not available: needs the pixels at the contacts (pairs.parquet of a run with [priming])"
)


def guard_rows(primary: Primary, pairs: pd.DataFrame | None) -> tuple[GuardRow, ...]:
    """Make the guards table of one slide; p-values are analytic (effective sample size)."""
    data = primary.structure.cells
    q, options = data.question, primary.structure.options
    whole = data.log_values(q.ligand_column)
    rows = [
        (
            _row(
                "ligand away from the contact",
                "main",
                primary.found,
                "the primary effect: source border not shared with responders",
            )
            if pairs is not None
            else _row(
                "ligand of the whole border",
                "main",
                primary.found,
                "the primary effect; light of the responder itself may be in it",
            )
        ),
    ]
    if pairs is not None:
        rows += [
            _row(
                "all pairs, whole border",
                "sensitivity",
                _with_ligand(primary, whole),
                "larger than the primary: light crosses the contact",
            ),
            _row(
                SHARED,
                "sensitivity",
                _with_ligand(primary, shared_ligand(data, pairs)),
                "the border where both cells' light mixes; only this one large: spill-over",
            ),
        ]
        eroded = per_responder(data, pairs, "response_eroded", q.response, q.response_column)
        own = per_responder(data, pairs, "own_ligand_eroded", q.ligand, q.ligand_column)
        rows.append(
            _row(
                "eroded response mask",
                "spill-over",
                _with_response(primary, eroded, own),
                f"{q.response} only from {options.erode_um:g} um inside the responder; must stay",
            )
        )
    else:
        rows += [
            _missing(name, "spill-over")
            for name in ("ligand away from the contact", "eroded response mask")
        ]
    radius = max(options.radii_um, default=50.0)
    apart = without(within(data.x, data.y, data.responder, data.source, radius), primary.near)
    rows.append(
        _row(
            f"without touching pairs (within {radius:g} um)",
            "sensitivity",
            _near(primary, apart),
            "sources near but not touched: as large as the primary means that contact is not what"
            " matters",
        )
    )
    for radius in options.radii_um:
        around = within(data.x, data.y, data.responder, data.source, radius)
        rows.append(
            _row(
                f"within {radius:g} um",
                "sensitivity",
                _near(primary, around),
                "exposure weighted by distance, not by contact",
            )
        )
    rows += [
        _row(
            f"negative control: {control.marker} as ligand",
            "negative control",
            _control(primary, control),
            "must show nothing of this size",
        )
        for control in q.controls
        if data.has(control.column)
    ]
    rows.append(
        _row(
            "roles swapped",
            "direction",
            _swapped(primary),
            f"{q.ligand} of the responders against {q.response} of the sources at equal {q.ligand}"
            " of these; a small negative value is light of crowded cells",
        )
    )
    rows.append(
        _row(
            "without local staining levels",
            "sensitivity",
            _unadjusted(primary),
            "far from the primary: a field shared by channels (section thickness, autofluorescence)"
            " is present",
        )
    )
    rows.append(
        _row(
            f"own {q.ligand} as measured held constant",
            "spill-over",
            _own_as_measured(primary),
            f"must stay; else light of the touched cells, a niche that raises {q.ligand} in both,"
            f" or a way through the own {q.ligand}: not told apart",
        )
    )
    return tuple(rows)


def _row(name: str, kind: str, found: Association | None, reads_as: str) -> GuardRow:
    if found is None or not math.isfinite(found.z):
        return GuardRow(
            name,
            kind,
            None,
            None,
            None,
            0 if found is None else found.n,
            f"not available: too few cells or no variation; {reads_as}",
        )
    return GuardRow(name, kind, found.z, found.se, found.p, found.n, reads_as)


def _missing(name: str, kind: str) -> GuardRow:
    return GuardRow(name, kind, None, None, None, 0, NO_PIXELS)


def _with_ligand(primary: Primary, ligand: Floats) -> Association | None:
    """Take the same contacts with the ligand measured elsewhere on the sources."""
    field = source_field(
        primary.structure,
        np.where(np.isfinite(ligand), ligand, np.nan),
        primary.sources,
        primary.source_basis,
    )
    return primary.model.association(
        primary.response, primary.near.mean(field[primary.near.sources])
    )


def _with_response(primary: Primary, response: Floats, own: Floats) -> Association | None:
    """Take the same exposure with response and own ligand measured in the eroded mask."""
    keep = np.isfinite(response[primary.near.responders]) & np.isfinite(
        own[primary.near.responders]
    )
    near = _subset(primary.near, keep)
    if len(near) < MIN_CELLS:
        return None
    structure = primary.structure
    exposure = near.mean(primary.field[near.sources])
    basis = regression(structure, near, own, exposure)
    model = (
        Adjusted.of(structure, near, basis)
        if len(near) < len(primary.near)
        else primary.model.with_basis(basis)
    )
    return model.association(normal_scores(response[near.responders]), exposure)


def _near(primary: Primary, near: Neighbours) -> Association | None:
    """Take other neighbours of the responders."""
    structure = primary.structure
    data = structure.cells
    response = data.log_values(data.question.response_column)
    known = np.isfinite(primary.field[near.sources]) & np.isfinite(
        response[np.repeat(near.responders, np.diff(near.offsets))]
    )
    rows = np.repeat(near.responders, np.diff(near.offsets))
    near = neighbours(rows[known], near.sources[known], near.weight[known], near.distance_um[known])
    if len(near) < MIN_CELLS:
        return None
    exposure = near.mean(primary.field[near.sources])
    model = Adjusted.of(structure, near, regression(structure, near, primary.own, exposure))
    return model.association(normal_scores(response[near.responders]), exposure)


def _control(primary: Primary, control: Control) -> Association | None:
    """Take another channel of the sources as ligand; it is then no covariate."""
    structure, near = primary.structure, primary.near
    values = structure.cells.log_values(control.column)
    if not np.isfinite(values[primary.sources]).all():
        return None
    basis = structure.source_basis(primary.sources, skip=control.marker)
    exposure = near.mean(source_field(structure, values, primary.sources, basis)[near.sources])
    model = primary.model.with_basis(
        regression(structure, near, primary.own, exposure, control.marker)
    )
    return model.association(primary.response, exposure)


def _swapped(primary: Primary) -> Association | None:
    """Ligand of the responder as response, response channel of the touched sources as exposure, at
    equal ligand of these sources.

    The sources' ligand bleeds into their response channel, and its light lies on the responder; the
    responder's response lies on the sources, and bleeds into its own ligand channel. Both are held
    constant as measured, else the two go together in every picture. What is left where cells crowd
    is negative (docs/statistics.md). Taking out the light of all responders that touch a source
    made it 0 in tables and doubled it through pixels, where an outline that gives light to one cell
    takes it from the other.
    """
    structure, near = primary.structure, primary.near
    data = structure.cells
    response = data.log_values(data.question.response_column)
    if not np.isfinite(response[primary.sources]).all():
        return None
    basis = _joined(primary.source_basis, primary.field[primary.sources])
    exposure = near.mean(source_field(structure, response, primary.sources, basis)[near.sources])
    basis = _joined(
        regression(structure, near, response, exposure, freed=False),
        near.mean(primary.field[near.sources]),
    )
    return primary.model.with_basis(basis).association(
        normal_scores(primary.own[near.responders]), exposure
    )


def _joined(basis: Floats, values: Floats) -> Floats:
    """Add to an orthonormal basis what a column adds to it."""
    left = residual(residual(values, basis), basis)
    return np.column_stack([basis, left / max(float(np.linalg.norm(left)), 1e-300)])


def _unadjusted(primary: Primary) -> Association:
    """Leave out the local staining levels."""
    structure, near = primary.structure, primary.near
    basis = structure.source_basis(primary.sources, fields=False)
    exposure = near.mean(
        source_field(structure, primary.ligand, primary.sources, basis)[near.sources]
    )
    model = primary.model.with_basis(
        regression(structure, near, primary.own, exposure, fields=False)
    )
    return model.association(primary.response, exposure)


def _own_as_measured(primary: Primary) -> Association:
    """Hold the responders' own ligand constant as it was measured, whatever light is in it."""
    exposure = primary.near.mean(primary.field[primary.near.sources])
    basis = regression(primary.structure, primary.near, primary.own, exposure, freed=False)
    return primary.model.with_basis(basis).association(primary.response, exposure)


def _subset(near: Neighbours, keep: NDArray[np.bool_]) -> Neighbours:
    entries = np.repeat(keep, np.diff(near.offsets))
    rows = np.repeat(near.responders, np.diff(near.offsets))
    return neighbours(
        rows[entries], near.sources[entries], near.weight[entries], near.distance_um[entries]
    )
