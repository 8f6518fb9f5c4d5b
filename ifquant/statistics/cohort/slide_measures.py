"""What else a cohort compares between patients: where both kinds of cells lie, how dense they are,
how strongly they are stained.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ifquant.geometry.region import Region
from ifquant.statistics.priming.question import Background, Question
from ifquant.statistics.priming.slide_cells import substitute_background


def slide_measures(
    cells: pd.DataFrame, region: Region | None, responder: str, source: str, contact_um: float
) -> dict[str, float]:
    """Measure one slide; measures that cannot be told are left out.

    Parameters
    ----------
    cells
        One row per cell: ``x_um``, ``y_um``, ``phenotype``; contacts come from
        ``n_touching_<source>`` where the table has it.
    region
        Tissue, for densities.
    contact_um
        Tables without outlines: centroids this close count as touching.
    """
    phenotype = cells["phenotype"].astype(str).to_numpy()
    near, far = phenotype == responder, phenotype == source
    found: dict[str, float] = {}
    if near.any() and far.any():
        distance = _nearest_um(cells, near, far)
        found[f"median µm from {responder} to nearest {source}"] = float(np.median(distance))
        found[f"fraction of {responder} touching {source}"] = _touching(
            cells, near, source, distance, contact_um
        )
    if region is not None:
        area = region.area_um2 / 1e6
        found[f"{responder} per mm²"] = float(near.sum()) / area
        found[f"{source} per mm²"] = float(far.sum()) / area
    return found


def stain_measures(
    cells: pd.DataFrame, question: Question, backgrounds: Mapping[str, Background] | None
) -> dict[str, float]:
    """Describe ligand on sources and response in responders: medians above background, and the
    share called positive.

    Given also where the question is refused: it is what such slides support.
    """
    found: dict[str, float] = {}
    phenotype = cells["phenotype"].astype(str).to_numpy()
    for marker, column, kind in (
        (question.ligand, question.ligand_column, question.source),
        (question.response, question.response_column, question.responder),
    ):
        own = phenotype == kind
        if not marker or column not in cells or not own.any():
            continue
        values = cells[column].to_numpy(np.float64)
        level = (backgrounds or {}).get(marker) or substitute_background(values)
        if np.isfinite(values[own]).any():
            found[f"median {marker} of {kind} above background"] = (
                float(np.nanmedian(values[own])) - level.level
            )
        if f"{marker}_positive" in cells:
            called = cells.loc[own, f"{marker}_positive"].astype("boolean")
            if called.notna().any():
                found[positive_share(marker, kind)] = float(called.dropna().mean())
    return found


def positive_share(marker: str, kind: str) -> str:
    """Name of the measure that rests on the gate of a marker."""
    return f"fraction {marker}+ of {kind}"


def _nearest_um(
    cells: pd.DataFrame, near: NDArray[np.bool_], far: NDArray[np.bool_]
) -> NDArray[np.float64]:
    points = cells[["x_um", "y_um"]].to_numpy(np.float64)
    distance, _ = cKDTree(points[far]).query(points[near])
    return np.asarray(distance, np.float64)


def _touching(
    cells: pd.DataFrame,
    near: NDArray[np.bool_],
    source: str,
    distance: NDArray[np.float64],
    contact_um: float,
) -> float:
    column = f"n_touching_{source}"
    if column in cells and cells[column][near].notna().all():
        return float((cells[column][near] > 0).mean())
    return float((distance <= contact_um).mean())
