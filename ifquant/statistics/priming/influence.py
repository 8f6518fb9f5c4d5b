"""How much the effect hangs on single cells: what it would be without each responder.

With Q the orthonormal regression on structure and h_i = |Q_i|^2, leaving out one responder takes
y_i e_i / (1 - h_i) from the sum of products of the residuals y and e after refitting, and likewise
from both sums of squares (Cook and Weisberg 1982, "Residuals and influence in regression", section
2.2; for partial correlations by Frisch, Waugh and Lovell). Exact as long as ranks and the ligand
field of the sources are those of all cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.geometry.region import Region
from ifquant.recipe.model import Priming
from ifquant.statistics.priming.adjusted_association import Association
from ifquant.statistics.priming.primary_association import build_primary, contacts, measured
from ifquant.statistics.priming.priming_test import too_little
from ifquant.statistics.priming.question import Background, Question
from ifquant.statistics.priming.slide_cells import SlideCells

Floats = NDArray[np.float64]


def leave_one_out(found: Association, basis: Floats) -> Floats:
    """Give what each responder adds to Fisher's z: z less the z without it.

    Parameters
    ----------
    found
        The association.
    basis : (n, k)
        The orthonormal regression it was made with.

    Returns
    -------
    (n,); NaN where the regression fits a responder exactly, because nothing is left of it then.
    """
    y, e = found.response, found.exposure
    left = 1 - np.einsum("ij,ij->i", basis, basis)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(left > 1e-9, 1 / left, np.nan)
        products, yy, ee = (
            found.r * found.n - y * e * share,
            found.n - y * y * share,
            found.n - e * e * share,
        )
        r = products / np.sqrt(yy * ee)
    return np.asarray(found.z - np.arctanh(np.clip(r, -0.9999, 0.9999)))


def leverage(
    cells: pd.DataFrame,
    *,
    question: Question,
    options: Priming,
    tissue: Region | None = None,
    pairs: pd.DataFrame | None = None,
    backgrounds: Mapping[str, Background] | None = None,
) -> Floats:
    """Give every cell's part in the slide's effect, as `analyse_slide` finds it.

    Returns
    -------
    (n_cells,) what the cell adds to Fisher's z; NaN for cells that are not in the effect, and for
    all where the slide cannot be tested.

    Raises
    ------
    RequestError
        As `analyse_slide`.
    """
    out = np.full(len(cells), np.nan)
    if question.refusal:
        return out
    data = SlideCells.of(cells, question, backgrounds)
    ligand, own = measured(data, pairs)
    near = contacts(data, ligand, own, pairs, options)
    if too_little(data, near, options, tissue):
        return out
    primary = build_primary(data, near, ligand, own, options, tissue)
    if math.isfinite(primary.found.z):
        out[near.responders] = leave_one_out(primary.found, primary.model.basis)
    return out
