"""One slide of an analysis: the question, its flow of cells, proximity, gates, and the estimates of
the multiverse. Runs in any worker.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.columns.flags import flag_value
from ifquant.commands.analyze_question import analysis_question
from ifquant.phenotypes.classification import classify_cells, gate_column
from ifquant.phenotypes.gate_bootstrap import GateInterval, bootstrap_gate
from ifquant.provenance import digest
from ifquant.proximity.distances import touching_pairs
from ifquant.recipe.defaults import ResolvedRecipe, parsed_phenotypes
from ifquant.recipe.rules import markers
from ifquant.report.analysis import FlowRow, ProximityRow
from ifquant.results.cell_tables import read_pairs
from ifquant.results.label_images import runs_of_labels
from ifquant.results.result_tables import record_of
from ifquant.results.slide_record import SlideRecord
from ifquant.statistics.cohort.slide_measures import slide_measures, stain_measures
from ifquant.statistics.patterns.slide_proximity import (
    LabeledCells,
    ProximityOptions,
    slide_proximity,
)
from ifquant.statistics.priming import choices
from ifquant.statistics.priming.choices import Choice, Estimate
from ifquant.statistics.priming.priming_test import priming_effect
from ifquant.statistics.priming.question import Background
from ifquant.statistics.priming.slide_cells import SlideData
from ifquant.statistics.priming.slide_effect import SlideEffect
from ifquant.tables.cell_table import CellTable

RADII_UM = np.arange(2.5, 100.1, 2.5)
NEIGHBOR_UM = 20.0


@dataclass(frozen=True, eq=False)
class SlideTask:
    """What one worker gets: a table, the resolved recipe, the choices to estimate, and gates shared
    by all slides (with intervals).
    """

    table: CellTable
    recipe: ResolvedRecipe
    choices: tuple[Choice, ...]
    shared: tuple[GateInterval, ...] = ()
    segmentation: str = ""


@dataclass(frozen=True, eq=False)
class SlideFinding:
    """What comes back. For another `segmentation` of a slide (its name; empty: the one analyzed)
    only `estimates` are made.
    """

    slide: str
    segmentation: str
    effect: SlideEffect | None
    flow: FlowRow | None
    measures: Mapping[str, float]
    enrichment: tuple[float, float] | None
    proximity: tuple[ProximityRow, ...]
    curves: pd.DataFrame
    gates: tuple[GateInterval, ...]
    estimates: tuple[Estimate | None, ...]


def analyze_slide(task: SlideTask) -> SlideFinding:
    """Analyze one slide; what cannot be tested says so in the values."""
    recipe, table = task.recipe, task.table
    question, options = analysis_question(recipe)
    record = record_of(table)
    cells, kept = cells_in_tissue(table)
    pairs = None if question.refusal else contacts_of(table, cells)
    backgrounds = backgrounds_of(record)
    data = SlideData(cells, pairs, table.region, backgrounds)
    gates = (*_own_gates(cells, record, recipe, table.slide), *task.shared)
    estimates: tuple[Estimate | None, ...] = ()
    if task.choices and not question.refusal:
        estimates = _estimates(task.choices, data, record, recipe, table, gates)
    blank = SlideFinding(
        table.slide, task.segmentation, None, None, {}, None, (), pd.DataFrame(), gates, estimates
    )
    if task.segmentation:
        return blank
    effect = priming_effect(data, question, options, slide=table.slide, seed=recipe.seed)
    responder, source = question.responder, question.source
    near, enrichment, curves = _proximity(cells, table, recipe, source=responder, target=source)
    phenotype = cells["phenotype"].astype(str)
    flow = FlowRow(
        table.slide,
        len(table.cells) + table.n_dropped,
        kept,
        int((phenotype != "other").sum()),
        int((phenotype == responder).sum()),
        effect.n_exposed,
        effect.n_exposed if effect.testable else 0,
        "" if effect.testable else effect.reason,
    )
    measures = slide_measures(
        cells, table.region, responder, source, options.contact_um
    ) | stain_measures(cells, question, backgrounds)
    return replace(
        blank,
        effect=effect,
        flow=flow,
        measures=measures,
        enrichment=enrichment,
        proximity=near,
        curves=curves,
    )


def gate_markers(recipe: ResolvedRecipe) -> tuple[str, ...]:
    """Markers whose gates decide who is responder and who is source."""
    options = recipe.priming
    assert options is not None
    rules = parsed_phenotypes(recipe)
    return tuple(
        dict.fromkeys(
            m.name
            for p in (options.source, options.responder)
            if p in rules
            for m in markers(rules[p])
        )
    )


def contacts_of(table: CellTable, cells: pd.DataFrame) -> pd.DataFrame | None:
    """Contacts that the run measured, between cells that are kept; None for tables without
    outlines.

    Raises
    ------
    SlideError
        If the results were made before the recipe had [priming].
    """
    if table.folder is None:
        return None
    pairs = read_pairs(Path(table.folder))
    ids = cells["cell_id"].to_numpy()
    both = np.isin(pairs["responder_id"], ids) & np.isin(pairs["source_id"], ids)
    return pairs[both].reset_index(drop=True)


def cells_in_tissue(table: CellTable) -> tuple[pd.DataFrame, int]:
    """Cells with a position inside the tissue (tables without a tissue mask: with a position), and
    their number.
    """
    cells = table.cells
    if "flags" in cells:
        cells = cells[(cells["flags"].to_numpy() & flag_value("outside_tissue")) == 0].reset_index(
            drop=True
        )
    return cells, len(cells)


def backgrounds_of(record: SlideRecord | None) -> dict[str, Background] | None:
    """Give the background of every channel as the slide was calibrated."""
    if record is None:
        return None
    return {
        channel["name"]: Background(
            float(channel["background"]),
            max(float(channel["background_sd"]), 1e-9),
            "calibration of the slide",
        )
        for channel in record.channel_levels
    }


def _own_gates(
    cells: pd.DataFrame, record: SlideRecord | None, recipe: ResolvedRecipe, slide: str
) -> tuple[GateInterval, ...]:
    """Bootstrap the gates that were fitted on this slide alone."""
    if record is None:
        return ()
    out = []
    for marker in gate_markers(recipe):
        gate = record.gates.get(marker)
        if gate is None or gate.scope == "cohort":
            continue
        out.append(
            bootstrap_gate(
                cells[gate_column(recipe, marker)].to_numpy(),
                recipe.gate(marker),
                marker,
                value=gate.value,
                min_cells=recipe.gates.min_cells,
                n=recipe.cohort.gate_replicates,
                seed=seed_of(recipe.seed, slide, f"gate {marker}"),
            )
        )
    return tuple(out)


def seed_of(seed: int, slide: str, purpose: str) -> int:
    """Derive the seed of one purpose on one slide, whatever else runs and where."""
    return int(digest([seed, slide, purpose])[:15], 16)


def _estimates(
    wanted: Sequence[Choice],
    data: SlideData,
    record: SlideRecord | None,
    recipe: ResolvedRecipe,
    table: CellTable,
    gates: Sequence[GateInterval],
) -> tuple[Estimate | None, ...]:
    """Estimate every choice, in order; cells are classified once per setting of the gates."""
    cells = data.cells
    question, options = analysis_question(recipe)
    touching = (
        touching_rows(table, cells)
        if table.folder is not None and any(c.contact_um is None and not c.away for c in wanted)
        else None
    )
    out: dict[int, Estimate | None] = {}
    order = sorted(range(len(wanted)), key=lambda i: wanted[i].gates)
    for setting, members in itertools.groupby(order, key=lambda i: wanted[i].gates):
        phenotype = _phenotypes(cells, dict(setting), record, recipe, gates)
        for i in members:
            choice = wanted[i]
            missing = any(column not in cells for column in (choice.ligand, choice.response))
            out[i] = None
            if phenotype is not None and not missing:
                out[i] = choices.estimate(data, phenotype, choice, question, options, touching)
    return tuple(out[i] for i in range(len(wanted)))


def _phenotypes(
    cells: pd.DataFrame,
    setting: Mapping[str, str],
    record: SlideRecord | None,
    recipe: ResolvedRecipe,
    gates: Sequence[GateInterval],
) -> NDArray[np.object_] | None:
    """Classify the cells with some gates moved to an end of their interval; None where a gate to be
    moved has none.
    """
    if record is None or all(option == "estimate" for option in setting.values()):
        return np.asarray(cells["phenotype"].astype(object).to_numpy())
    interval = {gate.marker: gate for gate in gates}
    fitted = {}
    for gate in record.gates.values():
        option = setting.get(gate.marker, "estimate")
        if option != "estimate":
            own = interval.get(gate.marker)
            end = None if own is None else own.low if option == "lower" else own.high
            if end is None:
                return None
            gate = replace(gate, value=end)
        fitted[gate.marker] = gate
    return np.asarray(
        pd.Categorical(classify_cells(cells, recipe, fitted)["phenotype"]).astype(object)
    )


def touching_rows(table: CellTable, cells: pd.DataFrame) -> choices.Pairs:
    """Rows of all cells that touch each other, from the label image of the results."""
    record = SlideRecord.read(Path(str(table.folder)))
    ids = table.cells["cell_id"].to_numpy(np.int64)
    i, j = touching_pairs(runs_of_labels(record.folder, "cells", ids, record.image_shape))
    row = np.full(len(table.cells) + 1, -1, np.int64)
    row[cells["cell_id"].to_numpy(np.int64)] = np.arange(len(cells))
    first, second = row[i + 1], row[j + 1]
    inside = (first >= 0) & (second >= 0)
    return first[inside], second[inside]


def _proximity(
    cells: pd.DataFrame, table: CellTable, recipe: ResolvedRecipe, *, source: str, target: str
) -> tuple[tuple[ProximityRow, ...], tuple[float, float] | None, pd.DataFrame]:
    """Test the proximity of responders to sources; nothing where it is switched off or a kind is
    missing.
    """
    names = tuple(map(str, cells["phenotype"].cat.categories))
    n = recipe.cohort.proximity_shifts
    if n == 0 or source not in names or target not in names or not len(cells):
        return (), None, pd.DataFrame()
    labeled = LabeledCells(
        cells[["x_um", "y_um"]].to_numpy(np.float64),
        cells["phenotype"].cat.codes.to_numpy(),
        names,
    )
    seed = seed_of(recipe.seed, table.slide, "proximity")
    design = ProximityOptions(RADII_UM, neighbor_um=NEIGHBOR_UM, n_null=n, seed=seed)
    found = slide_proximity(labeled, table.region, source, target, design)
    rows = tuple(
        ProximityRow(
            table.slide,
            f"{statistic}, {null}",
            question,
            None if pd.isna(p) else float(p),
            int(n_null),
            "" if pd.isna(reason) else reason,
            found.n_source,
            found.n_target,
        )
        for statistic, null, question, p, n_null, reason in found.p_values().itertuples(index=False)
    )
    curves = found.table()
    curves.insert(0, "slide", table.slide)
    value = None
    if found.enrichment is not None:
        a, b = names.index(source), names.index(target)
        if found.enrichment.sd[a, b] > 0:
            one = found.enrichment.slide_value(source, target, slide=table.slide, patient="")
            value = (one.value, one.se)
    return rows, value, curves
