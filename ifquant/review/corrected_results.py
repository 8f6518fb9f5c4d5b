"""The corrected results: decisions that hold (`standing`) put into table, gates and outlines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from ifquant.calibration.tissue import TissueMask
from ifquant.columns import cell_columns
from ifquant.columns.flags import encode_flags, flag_value, measured_flags
from ifquant.errors import RequestError
from ifquant.geometry.runs import CellRuns
from ifquant.phenotypes.assignment import Assignment
from ifquant.phenotypes.classification import classify_cells, growth_mismatch
from ifquant.phenotypes.gates import FittedGate
from ifquant.proximity.distances import proximity, touching_pairs
from ifquant.proximity.tumor_region import TumorRegion, tumor_region_of_cells
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.review.decisions import ChangeGate, Decision, ExcludeCell
from ifquant.review.outlines import Outlines
from ifquant.review.standing import Outcome, Standing, standing
from ifquant.review.subject import Subject

Measure = Callable[[NDArray[np.int64], Outlines], Mapping[str, NDArray[Any]]]
"""Measures cells by id in edited outlines: columns of `measured_columns`, but growth class, source
label and id."""


@dataclass(frozen=True, eq=False)
class Corrected:
    """A slide's results after review.

    Attributes
    ----------
    table
        The contract's columns; ``cell_id`` ascends, with gaps where cells were left out or
        replaced, new cells from n + 1.
    gates, nuclei, cells, tissue, tumor_region
        As in the original results; object `i` is row `i`.
    outcomes
        One per decision.
    apart
        Pairs of cells that reviewers say do not touch (`cell_id`).
    """

    table: pd.DataFrame
    gates: tuple[FittedGate, ...]
    nuclei: CellRuns
    cells: CellRuns
    tissue: TissueMask
    tumor_region: TumorRegion | None
    outcomes: tuple[Outcome, ...]
    apart: tuple[tuple[int, int], ...] = ()


def apply_review(
    subject: Subject,
    logs: Mapping[str, Sequence[Decision]],
    *,
    measure: Measure | None = None,
    reviewer: str | None = None,
) -> Corrected:
    """Apply the logs of reviewers to a slide's results. Nothing given is changed.

    Parameters
    ----------
    subject
        The results, with outlines.
    logs
        Reviewer > decisions in the order of the log.
    measure
        Measures edited cells; None: edits of outlines are refused, line by line.
    reviewer
        Follow only this one.

    Raises
    ------
    RequestError
        If the outlines were not loaded, or `reviewer` has no log.
    """
    holds = standing(subject, logs, reviewer=reviewer, geometry=measure is not None)
    ids, nuclei, cells = holds.outlines.objects()
    columns = _measured(subject, holds.outlines, ids, measure)
    left_out = in_regions(holds, columns["x_px"], columns["y_px"])
    left_out |= np.isin(ids, [i for i, v in holds.verdicts.items() if isinstance(v, ExcludeCell)])
    kept = np.flatnonzero(~left_out)
    ids, nuclei, cells = ids[kept], nuclei.take(kept), cells.take(kept)
    columns = {name: column[kept] for name, column in columns.items()}
    tissue = _tissue(subject.tissue, holds)
    gates = gates_after(subject.gates, holds.gates)
    classes = _classes(subject.recipe, columns, gates, ids, holds, tissue)
    codes = classes["phenotype"]
    near, region = _near(subject, columns, codes, cells, tissue)
    _deny_contacts(near, holds.apart, ids, cells, codes, subject)
    values = {**columns, **classes, **near, "cell_id": ids}
    names = [column.name for column in cell_columns.cell_columns(subject.recipe)]
    final = cell_columns.typed(
        {name: values[name] for name in names if name in values}, subject.recipe
    )
    return Corrected(final, gates, nuclei, cells, tissue, region, holds.outcomes, holds.apart)


def gates_after(
    gates: Sequence[FittedGate], changes: Mapping[str, ChangeGate]
) -> tuple[FittedGate, ...]:
    """Gates of a slide with the reviewers' put in."""
    return tuple(
        _changed_gate(gate, changes[gate.marker]) if gate.marker in changes else gate
        for gate in gates
    )


def _changed_gate(gate: FittedGate, change: ChangeGate) -> FittedGate:
    when = change.time_utc.strftime("%Y-%m-%d")
    before = "not callable" if gate.value is None else f"{gate.value:.6g}"
    warning = f"{gate.marker}: set not callable by {change.reviewer}"
    return replace(
        gate,
        value=change.new,
        callable=change.new is not None,
        origin=f"set by {change.reviewer} on {when} (before review: {before})",
        positive_fraction=None,
        warning=warning if change.new is None else None,
    )


def _classes(
    recipe: ResolvedRecipe,
    columns: Mapping[str, NDArray[Any]],
    gates: Sequence[FittedGate],
    ids: NDArray[np.int64],
    holds: Standing,
    tissue: TissueMask,
) -> dict[str, Any]:
    """Positivity by the gates, phenotypes by the rules and then by the verdicts, and flags."""
    classes = classify_cells(columns, recipe, {gate.marker: gate for gate in gates})
    names = cell_columns.phenotype_names(recipe)
    codes = np.array(classes["phenotype_code"], np.int16)
    verdicts = {i: v.new for i, v in holds.verdicts.items() if not isinstance(v, ExcludeCell)}
    settled = np.isin(ids, list(verdicts))
    codes[settled] = [names.index(verdicts[i]) for i in ids[settled].tolist()]
    flags = np.array(classes["flags"], np.uint32)
    doubt = flag_value("several_phenotypes") | flag_value("phenotype_uncertain")
    flags[settled] &= ~np.uint32(doubt)
    uncertain = (flags & np.uint32(flag_value("phenotype_uncertain"))) != 0
    assignment = Assignment(names, codes, settled, uncertain)
    flags &= ~np.uint32(flag_value("growth_mismatch"))
    flags |= encode_flags(
        len(ids),
        {
            "growth_mismatch": growth_mismatch(columns["growth_class"], assignment, recipe),
            "outside_tissue": ~tissue.contains(columns["y_px"], columns["x_px"]),
            "reviewed": np.isin(ids, list(holds.reviewed)),
        },
    )
    return {**classes, "phenotype": codes.astype(np.int64), "flags": flags}


def _measured(
    subject: Subject, outlines: Outlines, ids: NDArray[np.int64], measure: Measure | None
) -> dict[str, NDArray[Any]]:
    """Measured columns of the cells `ids`: from the table, and anew near edits."""
    names = cell_columns.measured_columns(subject.recipe)
    parents = np.array([outlines.parents.get(int(i), int(i)) for i in ids], np.int64)
    rows = np.searchsorted(subject.ids, parents)
    columns: dict[str, NDArray[Any]] = {}
    for name in names:
        column = subject.table[name]
        values = column.cat.codes.to_numpy() if name == "growth_class" else column.to_numpy()
        columns[name] = values[rows].copy()
    columns["growth_class"] = columns["growth_class"].astype(np.uint8)
    columns["flags"] = measured_flags(columns["flags"])
    if not outlines.changed:
        return columns
    if measure is None:
        raise RequestError(
            "outlines were edited but nothing can measure them; this is a bug of the caller."
        )
    options = subject.recipe.measure
    reach_um = max(options.membrane_um, options.soma_clear_um)
    reach_px = int(np.ceil(reach_um / subject.pixel_size_um)) + 1
    again = np.intersect1d(outlines.near_changes(reach_px), ids)
    at = np.searchsorted(ids, again)
    split = np.uint32(flag_value("split_source_label"))
    split_flag = columns["flags"][at] & split  # a fact about the mask, not about pixels
    fresh = measure(again, outlines)
    for name in set(names) - {"growth_class", "source_label"}:
        columns[name][at] = fresh[name]
    columns["flags"][at] |= split_flag
    return columns


def in_regions(
    holds: Standing, x_px: NDArray[np.float64], y_px: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether points lie in an area that is left out."""
    inside = np.zeros(len(x_px), np.bool_)
    for region, (dy, dx) in holds.regions:
        inside |= shapely.contains_xy(shapely.Polygon(region.new), x_px - dx, y_px - dy)
    return inside


def _tissue(tissue: TissueMask, holds: Standing) -> TissueMask:
    """Tissue less the grid cells whose part inside the image has its center in a region."""
    if not holds.regions:
        return tissue
    step = tissue.step_px
    y, x = (
        (np.arange(n) * step + np.minimum((np.arange(n) + 1) * step, size)) / 2
        for n, size in zip(tissue.mask.shape, tissue.image_shape, strict=True)
    )
    mask = tissue.mask.copy()
    for region, (dy, dx) in holds.regions:
        mask &= ~shapely.contains_xy(shapely.Polygon(region.new), x[None, :] - dx, y[:, None] - dy)
    return replace(tissue, mask=mask, origin=f"{tissue.origin}, less regions excluded by review")


def _near(
    subject: Subject,
    columns: Mapping[str, NDArray[Any]],
    codes: NDArray[np.int64],
    cells: CellRuns,
    tissue: TissueMask,
) -> tuple[dict[str, NDArray[Any]], TumorRegion | None]:
    """Proximity columns by corrected phenotypes, and the tumor region they rest on."""
    recipe, target = subject.recipe, subject.pair[1]
    names = cell_columns.phenotype_names(recipe)
    near: dict[str, NDArray[Any]] = dict(
        proximity(
            columns["x_um"],
            columns["y_um"],
            codes,
            names,
            cells,
            radii_um=recipe.proximity.radii_um,
            pixel_size_um=subject.pixel_size_um,
            tissue=tissue,
            of=cell_columns.proximity_phenotypes(recipe),
        )
    )
    region = subject.drawn_region
    if region is None and target is not None:
        region = tumor_region_of_cells(
            cells.take(codes == names.index(target)),
            image_shape=subject.image_shape,
            pixel_size_um=subject.pixel_size_um,
            options=recipe.proximity,
        )
    if region is None:
        depth_um = np.full(len(codes), np.nan)
    else:
        depth_um = region.signed_distance_um(columns["x_um"], columns["y_um"])
    return {**near, "tumor_region_distance_um": depth_um}, region


def _deny_contacts(
    near: dict[str, NDArray[Any]],
    apart: Sequence[tuple[int, int]],
    ids: NDArray[np.int64],
    cells: CellRuns,
    codes: NDArray[np.int64],
    subject: Subject,
) -> None:
    """Take contacts that reviewers deny out of the proximity columns, in place.

    Such a pair counts as one pixel apart: the smallest gap there is, since how wide it is in truth
    nobody measured.
    """
    names = cell_columns.phenotype_names(subject.recipe)
    row = {cell_id: k for k, cell_id in enumerate(ids.tolist())}
    pairs = [(row[i], row[j]) for i, j in apart if i in row and j in row]
    if not pairs:
        return
    touching = set(zip(*(part.tolist() for part in touching_pairs(cells)), strict=True))
    for i, j in pairs:
        if (i, j) not in touching:
            continue
        for cell, other in ((i, j), (j, i)):
            name = names[codes[other]]
            if f"n_touching_{name}" in near:
                near[f"n_touching_{name}"][cell] -= 1
                if near[f"n_touching_{name}"][cell] == 0:
                    near[f"nearest_{name}_border_um"][cell] = subject.pixel_size_um
