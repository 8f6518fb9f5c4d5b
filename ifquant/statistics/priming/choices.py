"""The choices of the multiverse on one slide: gates moved within their intervals, other contacts,
other compartments; one estimate each.

Only estimates are made (no null models): the multiverse shows how effects move, the primary
analysis tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.geometry.region import Region
from ifquant.recipe.model import Priming
from ifquant.statistics.priming.primary_association import build_primary, contacts, measured
from ifquant.statistics.priming.priming_test import MIN_EFFECTIVE, too_little
from ifquant.statistics.priming.question import Background, Question
from ifquant.statistics.priming.slide_cells import SlideCells

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
AWAY = "away from the contact"
TOUCHING = "touching"


@dataclass(frozen=True)
class Choice:
    """One combination as the slide's analysis takes it.

    Attributes
    ----------
    gates
        Marker > ``estimate``, ``lower`` or ``upper``.
    contact
        ``touching`` (outlines), or the largest distance of centroids in um, as text of the column
        names.
    ligand, response
        Columns of the cell table.
    away
        Whether the ligand leaves out the shared border (only with ``touching`` and the gates as
        estimated: it was measured there).
    """

    gates: tuple[tuple[str, str], ...]
    contact_um: float | None
    ligand: str
    response: str
    away: bool


@dataclass(frozen=True)
class Estimate:
    """Effect of one slide under one choice."""

    z: float
    se: float
    n: int


def estimate(
    cells: pd.DataFrame,
    phenotype: NDArray[np.object_],
    choice: Choice,
    *,
    question: Question,
    options: Priming,
    tissue: Region | None,
    backgrounds: Mapping[str, Background] | None,
    measured_pairs: pd.DataFrame | None,
    touching: Pairs | None,
) -> Estimate | None:
    """Estimate the effect of one slide under one choice; None where it cannot be tested.

    Parameters
    ----------
    phenotype
        Phenotype of each cell under the choice's gates.
    measured_pairs
        The run's contacts, for `Choice.away`.
    touching
        Rows of all cells that touch each other (i, j), for contacts under other gates.
    """
    own_column = f"{question.ligand}_{_place(choice.response)}_mean"
    asked = replace(
        question,
        ligand_column=choice.ligand,
        response_column=choice.response,
        own_ligand_column=own_column,
    )
    data = SlideCells.of(cells.assign(phenotype=phenotype), asked, backgrounds)
    ligand, own = measured(data, measured_pairs if choice.away else None)
    pairs = measured_pairs
    if not choice.away:
        pairs = (
            touching_pairs_table(data, touching)
            if choice.contact_um is None and touching is not None
            else None
        )
    radius = (
        options
        if choice.contact_um is None
        else options.model_copy(update={"contact_um": choice.contact_um})
    )
    near = contacts(data, ligand, own, pairs, radius)
    if too_little(data, near, options, tissue):
        return None
    found = build_primary(data, near, ligand, own, radius, tissue).found
    if not (
        math.isfinite(found.z) and math.isfinite(found.se) and found.n_effective >= MIN_EFFECTIVE
    ):
        return None
    return Estimate(found.z, found.se, found.n)


def touching_pairs_table(data: SlideCells, touching: Pairs) -> pd.DataFrame:
    """List the contacts of responders with sources by their ids, as pairs.parquet does."""
    i, j = (np.concatenate(both) for both in (touching, touching[::-1]))
    chosen = data.responder[i] & data.source[j]
    ids = data.table["cell_id"].to_numpy(np.int64)
    return pd.DataFrame({"responder_id": ids[i[chosen]], "source_id": ids[j[chosen]]}).sort_values(
        ["responder_id", "source_id"]
    )


def labels(choice: Choice, dimensions: Sequence[str]) -> dict[str, str]:
    """Name the choice's options for the picture."""
    gates = dict(choice.gates)
    contact = TOUCHING if choice.contact_um is None else f"within {choice.contact_um:g} µm"
    named = {
        "contact": contact,
        "ligand": _place(choice.ligand) + (f", {AWAY}" if choice.away else ""),
        "response": _place(choice.response),
    }
    named |= {f"{marker} gate": option for marker, option in gates.items()}
    return {name: named[name] for name in dimensions if name in named}


def _place(column: str) -> str:
    return column.rsplit("_", 2)[1]
