"""The primary association of one slide: contacts, the ligand field of the sources, the responders'
regression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.geometry.region import Region
from ifquant.recipe.model import Priming
from ifquant.statistics.priming.adjusted_association import (
    Adjusted,
    Association,
    Structure,
    source_field,
)
from ifquant.statistics.priming.exposure import Neighbours, neighbours, touching, within
from ifquant.statistics.priming.slide_cells import SlideCells, clear_ligand, per_responder
from ifquant.statistics.priming.structure import NEGLIGIBLE, normal_scores, residual

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

CURVE = (1, 2, 3, 4)
"""Powers of a score that make its curve."""


@dataclass(frozen=True, eq=False)
class Primary:
    """The primary association with all that its null models and guards need."""

    structure: Structure
    near: Neighbours
    model: Adjusted
    ligand: Floats
    own: Floats
    sources: Ids
    source_basis: Floats
    field: Floats
    response: Floats
    found: Association


def measured(data: SlideCells, pairs: pd.DataFrame | None) -> tuple[Floats, Floats]:
    """Return the ligand of every source and the responders' own ligand (n_cells,), both away from
    contacts where pixels were measured.

    The responders' own ligand is held constant, so light of the touched sources must not be in it:
    it would tie own ligand and exposure together, and through own ligand the response.
    """
    q = data.question
    own = (
        data.log_values(q.own_ligand_column)
        if data.has(q.own_ligand_column)
        else np.zeros(len(data))
    )
    if pairs is None:
        return data.log_values(q.ligand_column), own
    inside = per_responder(data, pairs, "own_ligand_eroded", q.ligand, q.own_ligand_column)
    return clear_ligand(data, pairs), np.where(np.isfinite(inside), inside, own)


def contacts(
    data: SlideCells, ligand: Floats, own: Floats, pairs: pd.DataFrame | None, options: Priming
) -> Neighbours:
    """Find the touched sources of every responder whose values are known."""
    if pairs is None:
        near = within(
            data.x, data.y, data.responder, data.source, options.contact_um, weighted=False
        )
    else:
        i, j = (
            data.rows_of(pairs[name].to_numpy(np.int64)) for name in ("responder_id", "source_id")
        )
        right = data.responder[i] & data.source[j]
        near = touching(data.x, data.y, i[right], j[right])
    rows = np.repeat(near.responders, np.diff(near.offsets))
    response = data.log_values(data.question.response_column)
    known = np.isfinite(ligand[near.sources]) & np.isfinite(response[rows]) & np.isfinite(own[rows])
    return neighbours(rows[known], near.sources[known], near.weight[known], near.distance_um[known])


def build_primary(
    data: SlideCells,
    near: Neighbours,
    ligand: Floats,
    own: Floats,
    options: Priming,
    tissue: Region | None,
) -> Primary:
    """Associate the response of the exposed responders with the ligand of the sources they
    touch.
    """
    structure = Structure(data, options, tissue, len(near))
    sources = np.flatnonzero(data.source & np.isfinite(ligand))
    source_basis = structure.source_basis(sources)
    field = source_field(structure, ligand, sources, source_basis)
    exposure = near.mean(field[near.sources])
    model = Adjusted.of(structure, near, regression(structure, near, own, exposure))
    response = normal_scores(data.log_values(data.question.response_column)[near.responders])
    found = model.association(response, exposure)
    return Primary(
        structure, near, model, ligand, own, sources, source_basis, field, response, found
    )


def regression(
    structure: Structure,
    near: Neighbours,
    own: Floats,
    exposure: Floats,
    skip: str = "",
    *,
    fields: bool = True,
    freed: bool = True,
) -> Floats:
    """Orthonormal basis of all that is held constant for the responders of `near`: structure, their
    own stains, their own ligand.

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
    freed
        Whether the own ligand is freed of what comes with the exposure (`freed_of`).
    """
    basis = structure.responder_basis(
        near, _stains(structure.cells, near, skip), skip, fields=fields
    )
    scores = normal_scores(np.nan_to_num(own[near.responders]))
    left = (
        freed_of(exposure, scores, basis, structure.cells.x[near.responders]) if freed else scores
    )
    left = residual(residual(left, basis), basis)
    norm = float(np.linalg.norm(left))
    return (
        basis if norm <= NEGLIGIBLE * np.sqrt(len(left)) else np.column_stack([basis, left / norm])
    )


def freed_of(exposure: Floats, scores: Floats, basis: Floats, x_um: Floats) -> Floats:
    """Take out of the own ligand's `scores` what goes along with the exposure once the `basis` is
    held constant.

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
        out[here] -= (
            field[here]
            * (own[there] @ field[there])
            / max(float(field[there] @ field[there]), 1e-300)
        )
    return out


def stain_columns(data: SlideCells) -> dict[str, str]:
    """Column > marker of what a responder does not have itself, as far as the table holds it: the
    sources' stain, empty channels.
    """
    question = data.question
    columns = {column: data.marker_of(column) for column in question.source_covariates}
    columns |= {
        column: marker for marker, column in question.fields.items() if marker in question.empty
    }
    return {column: marker for column, marker in columns.items() if data.has(column)}


def _stains(data: SlideCells, near: Neighbours, skip: str) -> list[Floats]:
    """Scores of the sources' stain and of empty channels in the responders themselves, as curves;
    without the channel `skip`.

    A responder has no cytokeratin: what it shows of it is light of the sources it touches and the
    tissue's own light, at its very place. The latter adds to the response, which bends its
    logarithm: with a straight line a shared autofluorescence moved a true null's effect by +0.012,
    with the curve by +0.003 +- 0.002 (320 pairs of data sets).
    """
    shown = [
        data.log_values(column)[near.responders]
        for column, marker in stain_columns(data).items()
        if marker != skip
    ]
    return [normal_scores(np.nan_to_num(values)) ** power for values in shown for power in CURVE]
