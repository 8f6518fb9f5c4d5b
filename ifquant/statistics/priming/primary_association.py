"""The primary association of one slide: contacts, ligand field of the sources, regression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.statistics.priming.adjusted_association import (
    AdjustedModel,
    Association,
    Structure,
    source_field,
)
from ifquant.statistics.priming.exposure import Contacts, contacts_within, outline_contacts
from ifquant.statistics.priming.slide_cells import SlideCells, clear_ligand, per_responder
from ifquant.statistics.priming.structure import NEGLIGIBLE, normal_scores, residual

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

CURVE = (1, 2, 3, 4)
"""Powers of a score that make its curve."""


@dataclass(frozen=True, eq=False)
class Exposure:
    """Who touches whom on a slide, and the ligand of both (n_cells,)."""

    near: Contacts
    ligand: Floats
    own: Floats


@dataclass(frozen=True, eq=False)
class Primary:
    """The primary association with all that its null models and guards need.

    Attributes
    ----------
    ligand, own : (n_cells,)
        Ligand of the sources, and of the responders themselves.
    sources
        Rows of the sources with a known ligand.
    source_basis
        Their regression.
    field : (n_cells,)
        Ligand of the sources less structure.
    response : (responders,)
        Rank scores.
    """

    structure: Structure
    near: Contacts
    model: AdjustedModel
    ligand: Floats
    own: Floats
    sources: Ids
    source_basis: Floats
    field: Floats
    response: Floats
    association: Association


def exposure_of(cells: SlideCells) -> Exposure:
    """Contacts and ligand of a slide as its pairs tell them, or its cells where it has none."""
    pairs = cells.slide.pairs
    return exposure_from(cells, *ligand_of(cells, pairs), pairs)


def exposure_from(
    cells: SlideCells, ligand: Floats, own: Floats, pairs: pd.DataFrame | None
) -> Exposure:
    """Find the touched sources of every responder whose values are known."""
    if pairs is None:
        near = contacts_within(
            cells.points,
            cells.responder,
            cells.source,
            cells.options.contact_um,
            weighted=False,
        )
    else:
        i, j = (
            cells.rows_of(pairs[name].to_numpy(np.int64)) for name in ("responder_id", "source_id")
        )
        right = cells.responder[i] & cells.source[j]
        near = outline_contacts(cells.x, cells.y, i[right], j[right])
    response = cells.log_values(cells.question.response_column)
    rows = near.rows
    known = np.isfinite(ligand[near.sources]) & np.isfinite(response[rows]) & np.isfinite(own[rows])
    return Exposure(near.where(known), ligand, own)


def ligand_of(cells: SlideCells, pairs: pd.DataFrame | None) -> tuple[Floats, Floats]:
    """Ligand of every source, and the responders' own (n_cells,), both away from contacts.

    Without pairs: as the cell table has them. The responders' own ligand is held constant, so light
    of the touched sources must not be in it: it would tie own ligand and exposure together, and
    through own ligand the response.
    """
    q = cells.question
    own = np.zeros(len(cells))
    if cells.has(q.own_ligand_column):
        own = cells.log_values(q.own_ligand_column)
    if pairs is None:
        return cells.log_values(q.ligand_column), own
    inside = per_responder(cells, pairs, "own_ligand_eroded", q.ligand, q.own_ligand_column)
    return clear_ligand(cells, pairs), np.where(np.isfinite(inside), inside, own)


def primary_association(cells: SlideCells, exposure: Exposure) -> Primary:
    """Associate the response of exposed responders with the ligand of the sources they touch."""
    near, ligand, own = exposure.near, exposure.ligand, exposure.own
    structure = Structure(cells, len(near))
    sources = np.flatnonzero(cells.source & np.isfinite(ligand))
    source_basis = structure.source_basis(sources)
    field = source_field(structure, ligand, sources, source_basis)
    mean = near.mean(field[near.sources])
    model = AdjustedModel.of(structure, near, regression(structure, near, own, mean))
    response = normal_scores(cells.log_values(cells.question.response_column)[near.responders])
    association = model.association(response, mean)
    return Primary(
        structure, near, model, ligand, own, sources, source_basis, field, response, association
    )


def regression(
    structure: Structure,
    near: Contacts,
    own: Floats,
    exposure: Floats,
    skip: str = "",
    *,
    fields: bool = True,
    as_measured: bool = False,
) -> Floats:
    """Orthonormal basis of all that is held constant for the responders of `near`.

    That is structure, the responders' own stains and their own ligand.

    Parameters
    ----------
    own : (n_cells,)
        The responders' own ligand.
    exposure : (responders,)
        What the response is to be associated with.
    skip
        Channel that is not held constant.
    fields
        Whether local staining levels are.
    as_measured
        Whether the own ligand keeps what goes along with the exposure (`less_exposure`).
    """
    stains = _stains(structure.cells, near, skip)
    basis = structure.responder_basis(near, stains, skip, fields=fields)
    scores = normal_scores(np.nan_to_num(own[near.responders]))
    if not as_measured:
        scores = less_exposure(scores, exposure, basis, structure.cells.x[near.responders])
    left = residual(residual(scores, basis), basis)
    norm = float(np.linalg.norm(left))
    if norm <= NEGLIGIBLE * np.sqrt(len(left)):
        return basis
    return np.column_stack([basis, left / norm])


def less_exposure(scores: Floats, exposure: Floats, basis: Floats, x_um: Floats) -> Floats:
    """Take from the own ligand's `scores` what goes along with the exposure at constant `basis`.

    Out-of-focus light of the touched sources lies on the responder, and light of its response
    bleeds into the ligand's channel: the own ligand as measured holds some of both, and holding it
    constant ties the two together (a true null through pixels had a mean effect of -0.04). The
    slope is learnt on one half of the tissue and used on the other, so that no chance association
    is taken out.
    """
    own, field = residual(scores, basis), residual(exposure, basis)
    first = x_um <= np.median(x_um)
    out = own.copy()
    for here, there in ((first, ~first), (~first, first)):
        variance = max(float(field[there] @ field[there]), 1e-300)
        out[here] -= field[here] * (own[there] @ field[there]) / variance
    return out


def stain_columns(cells: SlideCells) -> dict[str, str]:
    """Column > marker of what a responder has none of: the sources' stain, empty channels."""
    question = cells.question
    columns = {column: cells.marker_of(column) for column in question.source_covariates}
    columns |= {
        column: marker for marker, column in question.fields.items() if marker in question.empty
    }
    return {column: marker for column, marker in columns.items() if cells.has(column)}


def _stains(cells: SlideCells, near: Contacts, skip: str) -> list[Floats]:
    """Scores of `stain_columns` in the responders, as curves; without the channel `skip`.

    A responder has no cytokeratin: what it shows of it is light of the sources it touches and the
    tissue's own light, at its very place. The latter adds to the response, which bends its
    logarithm: with a straight line a shared autofluorescence moved a true null's effect by +0.012,
    with the curve by +0.003 +- 0.002 (320 pairs of data sets).
    """
    shown = [
        cells.log_values(column)[near.responders]
        for column, marker in stain_columns(cells).items()
        if marker != skip
    ]
    return [normal_scores(np.nan_to_num(values)) ** power for values in shown for power in CURVE]
