"""Counts, densities and the proximity summary of a slide: the cells' part of its row in
slides.csv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.columns.column_info import um_text


def densities(
    codes: ArrayLike, names: Sequence[str], tissue_area_mm2: float
) -> dict[str, float | int]:
    """Count cells: n_cells, and n_<P>, <P>_per_mm2 of tissue for each phenotype (nan without
    tissue); `codes` index `names`.
    """
    code = np.asarray(codes)
    row: dict[str, float | int] = {"n_cells": len(code)}
    for index, name in enumerate(names):
        n = int(np.count_nonzero(code == index))
        row[f"n_{name}"] = n
        row[f"{name}_per_mm2"] = n / tissue_area_mm2 if tissue_area_mm2 > 0 else float("nan")
    return row


def proximity_summary(
    columns: Mapping[str, NDArray[np.generic]],
    is_from: NDArray[np.bool_],
    to: str,
    radii_um: Sequence[float],
) -> dict[str, float]:
    """Summarise how the `from` cells lie to phenotype `to`.

    Parameters
    ----------
    columns
        What `proximity` returned (or the cell table).
    is_from : bool (n,)
        The cells looked from.
    to
        Phenotype they look to.
    radii_um
        Radii of the counts.

    Returns
    -------
    median_nearest_<to>_um, fraction_touching_<to> (only where outlines were known),
    fraction_<to>_within_<r>um: fractions of the `from` cells with at least one such neighbour. nan
    without `from` cells; the median is nan without `to` cells too.
    """
    nearest = np.asarray(columns[f"nearest_{to}_um"], dtype=np.float64)[is_from]
    nearest = nearest[np.isfinite(nearest)]
    summary = {
        f"median_nearest_{to}_um": float(np.median(nearest)) if len(nearest) else float("nan")
    }
    counts = {f"fraction_touching_{to}": f"n_touching_{to}"}
    counts |= {
        f"fraction_{to}_within_{um_text(r)}um": f"n_{to}_within_{um_text(r)}um" for r in radii_um
    }
    for name, column in counts.items():
        if column in columns:
            having = np.asarray(columns[column], dtype=np.float64)[is_from] > 0
            summary[name] = float(having.mean()) if len(having) else float("nan")
    return summary
