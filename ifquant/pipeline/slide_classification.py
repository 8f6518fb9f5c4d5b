"""The table stage: measured cells > gates > phenotypes > proximity > one `SlideResult`. Runs on
whole tables, in a second or two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.calibration.calibrate import ChannelCalibration
from ifquant.columns import cell_columns
from ifquant.columns.flags import encode_flags
from ifquant.errors import RequestError, SlideError
from ifquant.geometry.runs import CellRuns
from ifquant.notes import grave, gravest_first
from ifquant.phenotypes.classification import (
    classify_cells,
    fit_gates,
    fit_shared_gates,
    gate_column,
    shared_markers,
)
from ifquant.phenotypes.gates import FittedGate
from ifquant.pipeline.contact_pairs import contact_pairs
from ifquant.pipeline.slide_measurement import MeasuredSlide
from ifquant.pipeline.slide_preparation import PreparedSlide
from ifquant.pipeline.tile_plan import open_slide
from ifquant.provenance import digest
from ifquant.proximity import distances
from ifquant.proximity.tumor_region import TumorRegion, tumor_region_of_cells, tumor_region_of_mask
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.recipe.model import Role
from ifquant.results.measured_cells import MeasuredCells
from ifquant.results.slide_result import SlideResult
from ifquant.slides.regions import Regions
from ifquant.slides.slide_names import slide_key

Columns = Mapping[str, NDArray[Any]]

MANY_SATURATED = 0.01
"""Fraction of saturated tissue pixels from which a channel is warned about: its brightest cells
cannot be compared any more."""


class SharedGates:
    """What slides must know of each other: gates shared by all, and the cells of control slides."""

    def __init__(self, recipe: ResolvedRecipe, names: Sequence[str]) -> None:
        """Prepare for the slides of these names.

        Raises
        ------
        RequestError
            If a control slide is not one of them.
        """
        self._recipe = recipe
        gates = {marker: recipe.gate(marker) for marker in cell_columns.gated_markers(recipe)}
        self._control = {
            marker: gate.control_slide
            for marker, gate in gates.items()
            if gate.method == "control" and gate.control_slide
        }
        for marker, control in self._control.items():
            fitting = [name for name in names if name == control] or [
                name for name in names if slide_key(name) == slide_key(control)
            ]
            if len(fitting) != 1:
                known = ", ".join(names)
                raise RequestError(
                    f"gates.markers.{marker}: the control slide {control!r} is not among the slides"
                    f" of this run ({known})."
                )
            self._control[marker] = fitting[0]
        self._columns = {
            marker: gate_column(recipe, marker)
            for marker in {*shared_markers(recipe), *self._control}
        }
        self._slides: dict[str, dict[str, NDArray[Any]]] = {}
        self._shared: dict[str, FittedGate] = {}

    @property
    def needs_all_slides(self) -> bool:
        """Whether no slide can be finished before every slide is measured."""
        return bool(self._columns)

    def add(self, name: str, cells: Columns) -> None:
        """Keep what other slides need of this one."""
        self._slides[name] = {
            column: np.asarray(cells.get(column, np.zeros(0))) for column in self._columns.values()
        }

    def close(self) -> None:
        """Fit the shared gates; all slides have been added."""
        if any(slide not in self._slides for slide in self._control.values()):
            return  # the control slide failed: no slide gets gates, and each says why
        if shared_markers(self._recipe) and self._slides:
            self._shared = fit_shared_gates(
                self._slides, self._recipe, controls=self._controls(None, None)
            )

    def digest(self) -> str:
        """Digest of all that other slides contribute to a slide."""
        controls = {
            m: [float(v) for v in self._slides[s][self._columns[m]]]
            for m, s in self._control.items()
            if s in self._slides
        }
        return digest(
            {"shared": {m: asdict(g) for m, g in self._shared.items()}, "controls": controls}
        )

    def gates(self, cells: Columns, regions: Regions | None) -> dict[str, FittedGate]:
        """Fit the gates of one slide.

        Raises
        ------
        SlideError
            If the control slide of a gate could not be measured.
        """
        for marker, slide in self._control.items():
            if slide not in self._slides:
                raise SlideError(
                    f"the gate of {marker} needs the control slide {slide!r}, which failed; mend"
                    " that first, then run again."
                )
        return fit_gates(
            cells, self._recipe, controls=self._controls(cells, regions), shared=self._shared
        )

    def _controls(self, cells: Columns | None, regions: Regions | None) -> dict[str, NDArray[Any]]:
        controls = {
            marker: self._slides[slide][self._columns[marker]]
            for marker, slide in self._control.items()
        }
        for marker in cell_columns.gated_markers(self._recipe):
            gate = self._recipe.gate(marker)
            if cells is None or gate.method != "control" or marker in controls:
                continue
            if regions is None:
                raise SlideError(
                    f"the gate of {marker} needs the region {gate.control_region!r}, but the slide"
                    " has no regions file (GeoJSON)."
                )
            inside = regions.contains("control", cells["y_px"], cells["x_px"], gate.control_region)
            controls[marker] = cells[gate_column(self._recipe, marker)][inside]
        return controls


def classify_slide(
    prepared: PreparedSlide,
    measured: MeasuredSlide,
    shared: SharedGates,
    digests: Mapping[str, str],
) -> SlideResult:
    """Classify the cells of one slide, place them among each other, and gather everything the
    outputs need; raises `SlideError` if a gate needs a control region the slide does not have.
    """
    slide, recipe = prepared.slide, prepared.slide.recipe
    tissue = measured.calibration.tissue
    chosen = _in_regions(prepared, measured.cells)
    cells = _columns(prepared, chosen)
    outside = ~tissue.contains(cells["y_px"], cells["x_px"])
    cells["flags"] = cells["flags"] | encode_flags(len(chosen.cells), {"outside_tissue": outside})
    gates = shared.gates(cells, prepared.regions)
    classes = classify_cells(cells, recipe, gates)
    codes = _codes(classes["phenotype"], recipe)
    near = distances.proximity(
        cells["x_um"],
        cells["y_um"],
        codes,
        cell_columns.phenotype_names(recipe),
        chosen.cells,
        radii_um=recipe.proximity.radii_um,
        pixel_size_um=slide.pixel_size_um,
        tissue=tissue,
        of=cell_columns.proximity_phenotypes(recipe),
    )
    chosen.scratch.let_go()
    region = _tumor_region(prepared, chosen.cells, codes)
    values = {**cells, **classes, **near, "phenotype": codes}
    return SlideResult(
        slide=slide,
        calibration=measured.calibration,
        table=_table(values, region, recipe),
        nuclei=chosen.nuclei,
        cells=chosen.cells,
        gates=tuple(gates.values()),
        tumor_region=region,
        orphan_px=measured.cells.orphan_px,
        warnings=tuple(_warnings(prepared, measured, gates, len(chosen.cells))),
        pairs=contact_pairs(slide, open_slide(slide.ref).read, codes, chosen.nuclei, chosen.cells),
        overview=measured.overview,
        digests=digests,
        scratch=chosen.scratch,
    )


def _in_regions(prepared: PreparedSlide, cells: MeasuredCells) -> MeasuredCells:
    """Cells whose centroid lies in the regions to analyze."""
    regions = prepared.regions
    if regions is None or not cells.table:
        return cells
    y, x = cells.table["y_px"], cells.table["x_px"]
    keep = ~regions.contains("exclude", y, x)
    if regions.include is not None:
        keep &= regions.contains("include", y, x)
    return cells.take(np.flatnonzero(keep), prepared.folder)


def _columns(prepared: PreparedSlide, cells: MeasuredCells) -> dict[str, NDArray[Any]]:
    """Measured columns; typed also when there is no cell."""
    if cells.table:
        return dict(cells.table)
    kinds = {c.name: c.dtype for c in cell_columns.cell_columns(prepared.slide.recipe)}
    return {
        name: np.zeros(0, "uint8" if kinds[name] == "category" else kinds[name])
        for name in cell_columns.measured_columns(prepared.slide.recipe)
    }


def _codes(phenotype: Any, recipe: ResolvedRecipe) -> NDArray[np.int64]:
    """Phenotype of every cell by its place in `phenotype_names`."""
    names, classes = cell_columns.phenotype_names(recipe), pd.Categorical(phenotype)
    places = np.array([names.index(str(name)) for name in classes.categories], np.int64)
    return np.asarray(places[classes.codes])


def _table(
    values: Mapping[str, NDArray[Any]], region: TumorRegion | None, recipe: ResolvedRecipe
) -> pd.DataFrame:
    n = len(values["phenotype"])
    depth = np.full(n, np.nan)
    if region is not None:
        depth = region.signed_distance_um(values["x_um"], values["y_um"])
    numbers = np.arange(1, n + 1)
    values = {**values, "tumor_region_distance_um": depth, "cell_id": numbers}
    names = {column.name for column in cell_columns.cell_columns(recipe)}
    return cell_columns.typed({k: v for k, v in values.items() if k in names}, recipe)


def _tumor_region(
    prepared: PreparedSlide, outlines: CellRuns, codes: NDArray[np.int64]
) -> TumorRegion | None:
    slide, regions = prepared.slide, prepared.regions
    if regions is not None and regions.tumor is not None:
        step = max(1, round(2.0 / slide.pixel_size_um))
        return tumor_region_of_mask(
            regions.mask("tumor", slide.image_shape, step),
            step_px=step,
            image_shape=slide.image_shape,
            pixel_size_um=slide.pixel_size_um,
        )
    target = cell_columns.proximity_pair(slide.recipe)[1]
    if target is None:
        return None
    return tumor_region_of_cells(
        outlines,
        of=codes == cell_columns.phenotype_names(slide.recipe).index(target),
        image_shape=slide.image_shape,
        pixel_size_um=slide.pixel_size_um,
        options=slide.recipe.proximity,
    )


def _warnings(
    prepared: PreparedSlide,
    measured: MeasuredSlide,
    gates: Mapping[str, FittedGate],
    n_cells: int,
) -> list[str]:
    """Sentences for people, the gravest first."""
    texts = [*prepared.slide.info.warnings, *measured.warnings]
    texts += list(prepared.regions.notes) if prepared.regions is not None else []
    if n_cells == 0:
        texts.append(
            grave(
                "No cells were found; see the thresholds of the nucleus channel and the tissue"
                " mask."
            )
        )
    for channel in measured.calibration.channels:
        texts += _channel_warnings(channel, prepared.slide.recipe.channel(channel.name).role)
    for gate in gates.values():
        if gate.warning:
            text = f"{gate.marker}: {gate.warning}"
            texts.append(grave(gate.warning) if gate.value is None else text)
    return gravest_first(texts)


def _channel_warnings(channel: ChannelCalibration, role: Role) -> Iterator[str]:
    name = channel.name
    if channel.saturated_fraction > MANY_SATURATED:
        yield f"{name}: {channel.saturated_fraction:.1%} of the tissue pixels are saturated."
    if channel.nonfinite_fraction > 0:
        fraction = f"{channel.nonfinite_fraction:.2%}"
        yield grave(f"{name}: {fraction} of the pixels are not finite and were left out.")
    if not channel.stained and role in ("nucleus", "tumor", "myeloid"):
        yield grave(f"{name} shows no stain above its background ({channel.threshold_origin}).")
