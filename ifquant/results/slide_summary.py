"""A slide in numbers: its row of slides.csv and densities along the tumor border."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.columns.cell_columns import (
    gated_markers,
    measured_markers,
    phenotype_names,
    proximity_pair,
)
from ifquant.columns.slide_columns import sample_names, slide_columns
from ifquant.proximity.densities import densities, proximity_summary
from ifquant.proximity.tumor_region import margin_bands
from ifquant.results.slide_result import SlideResult
from ifquant.slides.sample_sheet import Sample


def summary_row(result: SlideResult) -> dict[str, Any]:
    """Row of slides.csv of a finished slide: the columns of `slide_columns`, None where there is
    nothing to say.
    """
    recipe, table, calibration = result.recipe, result.table, result.calibration
    mm2_per_px = result.pixel_size_um**2 / 1e6
    tissue_mm2 = calibration.tissue.area_px() * mm2_per_px
    region = result.tumor_region
    row: dict[str, Any] = {
        "slide": result.name,
        "path": result.slide.info.path,
        "status": "done",
        "error": None,
        "tissue_area_mm2": tissue_mm2,
        "tumor_region_area_mm2": (
            0.0 if region is None else region.area_within_mm2(calibration.tissue)
        ),
        "pixel_size_um": result.pixel_size_um,
        "width_px": result.image_shape[1],
        "height_px": result.image_shape[0],
        "fraction_flagged": float((table["flags"] != 0).mean()) if len(table) else None,
        "orphan_myeloid_area_mm2": result.orphan_px * mm2_per_px,
        "n_warnings": len(result.warnings),
    }
    row |= densities(_codes(table), phenotype_names(recipe), tissue_mm2)
    source, target = proximity_pair(recipe)
    if source is not None and target is not None:
        columns: dict[str, NDArray[Any]] = {
            str(name): table[name].to_numpy(np.float64, na_value=np.nan)
            for name in table
            if _is_proximity(str(name), target)
        }
        row |= proximity_summary(columns, _is(table, source), target, recipe.proximity.radii_um)
    gates = {gate.marker: gate for gate in result.gates}
    for marker in gated_markers(recipe):
        gate = gates.get(marker)
        row[f"gate_{marker}"] = gate.value if gate is not None and gate.callable else None
        row[f"gate_{marker}_origin"] = gate.origin if gate is not None else "not fitted"
    for marker in measured_markers(recipe):
        row[f"background_{marker}"] = calibration[marker].background
        row[f"saturated_fraction_{marker}"] = calibration[marker].saturated_fraction
    sample = sample_columns(result.slide.job.sample)
    row |= {name: sample[given] for given, name in sample_names(recipe, list(sample)).items()}
    return {
        column.name: _known(row.get(column.name)) for column in slide_columns(recipe, list(sample))
    }


def sample_columns(sample: Sample | None) -> dict[str, str]:
    """Give what the sample sheet says of a slide, in the sheet's order: patient, group and the free
    columns.
    """
    if sample is None:
        return {}
    given = {"patient": sample.patient, "group": sample.group, **dict(sample.columns)}
    return {name: str(value) for name, value in given.items() if value is not None}


def margin_table(result: SlideResult) -> list[dict[str, Any]]:
    """Densities in bands along the border of the tumor region; empty without a region."""
    if result.tumor_region is None:
        return []
    table, recipe = result.table, result.recipe
    bands = margin_bands(
        result.tumor_region,
        result.calibration.tissue,
        table["x_um"].to_numpy(),
        table["y_um"].to_numpy(),
        _codes(table),
        phenotype_names(recipe),
        recipe.proximity.margin_um,
    )
    return [
        {str(name): _known(value) for name, value in band.items()}
        for band in bands.to_dict("records")
    ]


def _codes(table: pd.DataFrame) -> NDArray[np.int64]:
    return np.asarray(table["phenotype"].cat.codes, np.int64)


def _is(table: pd.DataFrame, phenotype: str) -> NDArray[np.bool_]:
    return (table["phenotype"] == phenotype).to_numpy(np.bool_)


def _is_proximity(name: str, target: str) -> bool:
    return name in (f"nearest_{target}_um", f"n_touching_{target}") or name.startswith(
        f"n_{target}_within_"
    )


def _known(value: Any) -> Any:
    """None for nan, plain Python for numpy scalars."""
    if value is None or (isinstance(value, (float, np.floating)) and not np.isfinite(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
