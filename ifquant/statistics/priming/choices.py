"""The choices of the multiverse on one slide: one estimate each, under other gates or contacts.

Gates are moved within their intervals; other contacts and compartments are taken. Only estimates
are made (no null models): the multiverse shows how effects move, the primary analysis tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.recipe.model import Priming
from ifquant.statistics.priming.primary_association import (
    exposure_from,
    ligand_of,
    primary_association,
)
from ifquant.statistics.priming.priming_test import MIN_EFFECTIVE, too_little
from ifquant.statistics.priming.question import Question
from ifquant.statistics.priming.slide_cells import SlideCells, SlideData

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
    data: SlideData,
    phenotype: NDArray[np.object_],
    choice: Choice,
    question: Question,
    options: Priming,
    touching: Pairs | None,
) -> Estimate | None:
    """Estimate the effect of one slide under one choice; None where it cannot be tested.

    Parameters
    ----------
    data
        Its pairs are the run's contacts, for `Choice.away`.
    phenotype
        Phenotype of each cell under the choice's gates.
    touching
        Rows of all cells that touch each other (i, j), for contacts under other gates.
    """
    chosen = replace(
        question,
        ligand_column=choice.ligand,
        response_column=choice.response,
        own_ligand_column=f"{question.ligand}_{_place(choice.response)}_mean",
    )
    if choice.contact_um is not None:
        options = options.model_copy(update={"contact_um": choice.contact_um})
    relabeled = replace(data, cells=data.cells.assign(phenotype=phenotype))
    cells = SlideCells.of(relabeled, chosen, options)
    ligand, own = ligand_of(cells, data.pairs if choice.away else None)
    pairs = data.pairs if choice.away else None
    if not choice.away and choice.contact_um is None and touching is not None:
        pairs = _pairs_table(cells, touching)
    exposure = exposure_from(cells, ligand, own, pairs)
    if too_little(cells, exposure.near):
        return None
    found = primary_association(cells, exposure).association
    if not math.isfinite(found.z) or not math.isfinite(found.se):
        return None
    return Estimate(found.z, found.se, found.n) if found.n_effective >= MIN_EFFECTIVE else None


def _pairs_table(cells: SlideCells, touching: Pairs) -> pd.DataFrame:
    """List the contacts of responders with sources by their ids, as pairs.parquet does."""
    i, j = (np.concatenate(both) for both in (touching, touching[::-1]))
    chosen = cells.responder[i] & cells.source[j]
    ids = cells.table["cell_id"].to_numpy(np.int64)
    return pd.DataFrame({"responder_id": ids[i[chosen]], "source_id": ids[j[chosen]]}).sort_values(
        ["responder_id", "source_id"]
    )


def labels(choice: Choice, dimensions: Sequence[str]) -> dict[str, str]:
    """Name the choice's options for the picture."""
    gates = dict(choice.gates)
    contact = TOUCHING if choice.contact_um is None else f"within {choice.contact_um:g} µm"
    texts = {
        "contact": contact,
        "ligand": _place(choice.ligand) + (f", {AWAY}" if choice.away else ""),
        "response": _place(choice.response),
    }
    texts |= {f"{marker} gate": option for marker, option in gates.items()}
    return {name: texts[name] for name in dimensions if name in texts}


def _place(column: str) -> str:
    """Compartment in the name of a column."""
    return column.rsplit("_", 2)[1]
