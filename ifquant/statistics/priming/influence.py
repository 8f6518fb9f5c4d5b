"""How much the effect hangs on single cells: what it would be without each responder.

With Q the orthonormal regression on structure and h_i = |Q_i|^2, leaving out one responder takes
y_i e_i / (1 - h_i) from the sum of products of the residuals y and e after refitting, and likewise
from both sums of squares (Cook and Weisberg 1982, "Residuals and influence in regression", section
2.2; for partial correlations by Frisch, Waugh and Lovell). Exact as long as ranks and the ligand
field of the sources are those of all cells.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ifquant.recipe.model import Priming
from ifquant.statistics.priming.adjusted_association import Association
from ifquant.statistics.priming.primary_association import exposure_of, primary_association
from ifquant.statistics.priming.priming_test import too_little
from ifquant.statistics.priming.question import Question
from ifquant.statistics.priming.slide_cells import SlideCells, SlideData

Floats = NDArray[np.float64]


def leave_one_out(found: Association, basis: Floats) -> Floats:
    """Change of Fisher's z by each responder, (n,): z less the z without it.

    `basis` (n, k) is the orthonormal regression of the association. NaN where it fits a responder
    exactly, because nothing is left of it then.
    """
    y, e = found.response, found.exposure
    left = 1 - np.einsum("ij,ij->i", basis, basis)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(left > 1e-9, 1 / left, np.nan)
        products = found.r * found.n - y * e * share
        r = products / np.sqrt((found.n - y * y * share) * (found.n - e * e * share))
    return np.asarray(found.z - np.arctanh(np.clip(r, -0.9999, 0.9999)))


def leverage(data: SlideData, question: Question, options: Priming) -> Floats:
    """Share of each cell in Fisher's z of the slide's `priming_effect`, (n_cells,).

    NaN for cells that are not in the effect, and for all where the slide cannot be tested.

    Raises
    ------
    RequestError
        As `priming_effect`.
    """
    out = np.full(len(data.cells), np.nan)
    if question.refusal:
        return out
    cells = SlideCells.of(data, question, options)
    exposure = exposure_of(cells)
    if too_little(cells, exposure.near):
        return out
    primary = primary_association(cells, exposure)
    if math.isfinite(primary.association.z):
        changes = leave_one_out(primary.association, primary.model.basis)
        out[exposure.near.responders] = changes
    return out
