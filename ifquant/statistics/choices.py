"""The choices of the multiverse on one slide: gates moved within their intervals, other contacts, other compartments; one estimate each.

Only estimates are made (no null models): the multiverse shows how effects move, the primary analysis tests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.base.region import Region
from ifquant.recipes.recipe import Priming
from ifquant.statistics.primary import build_primary, contacts
from ifquant.statistics.priming import MIN_EFFECTIVE, MIN_SOURCES
from ifquant.statistics.question import Background, Question
from ifquant.statistics.slide_cells import SlideCells, clear_ligand

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
AWAY, WHOLE = "away from the contact", "whole border"
TOUCHING = "touching"
_PRETEND_PX = 1000.0
"""A border value that no pixel count limits."""


@dataclass(frozen=True)
class Choice:
    """One combination as the slide's analysis takes it.

    Attributes
    ----------
    gates
        Marker > ``estimate``, ``lower`` or ``upper``.
    contact
        ``touching`` (outlines), or the largest distance of centroids in um, as text of the column names.
    ligand, response
        Columns of the cell table.
    away
        Whether the ligand leaves out the shared border (only with ``touching`` and the gates as estimated: it was measured there).
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
    own = f"{question.ligand}_{_place(choice.response)}_mean"
    asked = replace(question, ligand_column=choice.ligand, response_column=choice.response, own_ligand_column=own)
    table = cells.assign(phenotype=phenotype)
    pairs = None
    if choice.away:
        pairs = measured_pairs
    elif choice.contact_um is None and touching is not None:
        pairs = whole_border_pairs(table, asked, touching)
    radius = options if choice.contact_um is None else options.model_copy(update={"contact_um": choice.contact_um})
    data = SlideCells.of(table, asked, backgrounds)
    ligand = clear_ligand(data, pairs) if pairs is not None else data.log_values(asked.ligand_column)
    near = contacts(data, ligand, pairs, radius)
    if len(near) < options.min_exposed or len(near.touched) < MIN_SOURCES // 2 or data.source.sum() < MIN_SOURCES:
        return None
    found = build_primary(data, near, ligand, radius, tissue).found
    if not (math.isfinite(found.z) and math.isfinite(found.se) and found.n_effective >= MIN_EFFECTIVE):
        return None
    return Estimate(found.z, found.se, found.n)


def whole_border_pairs(table: pd.DataFrame, question: Question, touching: Pairs) -> pd.DataFrame:
    """Make contacts of responders and sources whose ligand is that of the source's whole border, shared or not."""
    phenotype = table["phenotype"].to_numpy()
    i, j = (np.concatenate(both) for both in (touching, touching[::-1]))
    chosen = (phenotype[i] == question.responder) & (phenotype[j] == question.source)
    ids, ligand = table["cell_id"].to_numpy(np.int64), table[question.ligand_column].to_numpy(np.float64)
    known = np.isfinite(ligand[j[chosen]])
    i, j = i[chosen][known], j[chosen][known]
    order = np.lexsort((j, i))
    i, j = i[order], j[order]
    sums: dict[str, NDArray[np.float64]] = {}
    for name in ("ligand_away", "ligand_clear", "ligand_shared"):
        sums |= {f"{name}_sum": ligand[j] * _PRETEND_PX, f"{name}_px": np.full(len(j), _PRETEND_PX)}
    return pd.DataFrame({"responder_id": ids[i], "source_id": ids[j], **sums})


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
