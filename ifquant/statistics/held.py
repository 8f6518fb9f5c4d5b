"""What was really done to the values of one slide, in words and numbers: what was held constant, what was raised to the floor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ifquant.statistics.effect import Floored
from ifquant.statistics.exposure import Neighbours
from ifquant.statistics.primary import Primary, stain_columns
from ifquant.statistics.slide_cells import SlideCells

Floats = NDArray[np.float64]


def held_constant(primary: Primary) -> tuple[str, ...]:
    """Name everything in the regression of the responders, from the columns that this slide has."""
    structure, data = primary.structure, primary.structure.cells
    q = data.question
    covariates = [data.marker_of(column) for column in q.source_covariates if data.has(column)]
    out = [f"the number of touched {q.source} cells", "their distance", *(f"their {marker}" for marker in covariates)]
    if np.ptp(np.nan_to_num(primary.own[primary.near.responders])) > 0:
        out.append(
            f"the responder's own {q.ligand} (less what goes along with the exposure, cross-fitted between the halves of the tissue)"
        )
    out += [f"the responder's own {marker} (powers up to the fourth)" for marker in stain_columns(data).values()]
    out += [name if name.startswith("distance") else f"local {name}" for name in structure.columns]
    for marker in structure.fields:
        local = f"the local level of {marker}"
        out.append(f"{local} in bystander cells (also squared)" if marker == q.response else local)
    return (*out, "a smooth spatial trend")


def floored(data: SlideCells, near: Neighbours, ligand: Floats) -> dict[str, Floored]:
    """Count the values at the floor of one background SD among those that are ranked: exposed responders, sources with a known ligand."""
    q = data.question
    response = data.log_values(q.response_column)[near.responders]
    known = ligand[data.source & np.isfinite(ligand)]
    return {
        name: Floored(int(data.at_floor(values, marker, column).sum()), len(values))
        for name, values, marker, column in (
            ("response", response, q.response, q.response_column),
            ("ligand", known, q.ligand, q.ligand_column),
        )
    }
