"""Every column of slides.csv, declared once like those of cells.parquet (cell_columns.py)."""

from __future__ import annotations

from collections.abc import Sequence

from ifquant.columns.cell_columns import (
    gated_markers,
    measured_markers,
    phenotype_names,
    proximity_pair,
)
from ifquant.columns.column_info import ColumnInfo, columns_of, expanded
from ifquant.recipe.model import Recipe

SLIDE_PATTERNS = columns_of("""
[identity]
slide | - | str | Name of the slide = its folder in the results.
path | - | str | Image file, as given.
status | - | str | done or failed.
error | - | str | Why the slide failed; empty otherwise.
[sample sheet]
<sample column> | - | str | Columns of the sample sheet, unchanged (prefixed sample_ where the name
    is taken).
[area]
tissue_area_mm2 | mm2 | float64 | Area of the tissue mask.
tumor_region_area_mm2 | mm2 | float64 | Area of the tumor region inside the tissue.
[counts]
n_cells | cells | Int64 | Number of cells.
n_<phenotype> | cells | Int64 | Number of <phenotype> cells.
<phenotype>_per_mm2 | cells/mm2 | float64 | <phenotype> cells per mm2 of tissue.
[proximity]
median_nearest_<to>_um | um | float64 | Median over the `from` cells of the centroid distance to the
    nearest <to> cell.
fraction_touching_<to> | - | float64 | Fraction of the `from` cells that touch at least one <to>
    cell.
fraction_<to>_within_<r>um | - | float64 | Fraction of the `from` cells with at least one <to> cell
    within <r> um.
[gates]
gate_<gated marker> | file | float64 | Gate of <gated marker>, raw file values; empty = not
    callable.
gate_<gated marker>_origin | - | str | Where that gate came from.
[quality]
pixel_size_um | um | float64 | Edge of a pixel.
width_px | px | Int64 | Width of the analyzed image.
height_px | px | Int64 | Height of the analyzed image.
fraction_flagged | - | float64 | Fraction of the cells with any flag.
orphan_myeloid_area_mm2 | mm2 | float64 | Area of myeloid stain that belongs to no nucleus in the
    section.
background_<marker> | file | float64 | Background level of <marker>.
saturated_fraction_<marker> | - | float64 | Fraction of the tissue pixels saturated in <marker>.
n_warnings | - | Int64 | Number of warnings; the texts are in slide.json and the report.
""")
"""Columns of slides.csv in the order of the file."""


def slide_columns(recipe: Recipe, sample_columns: Sequence[str] = ()) -> tuple[ColumnInfo, ...]:
    """Columns of slides.csv for this recipe and the sample sheet's further columns, in order."""
    source, target = proximity_pair(recipe)
    names = {
        "sample column": list(sample_names(recipe, sample_columns).values()),
        "phenotype": phenotype_names(recipe),
        "to": [target] if target and source else [],
        "gated marker": gated_markers(recipe),
        "marker": measured_markers(recipe),
    }
    return tuple(expanded(SLIDE_PATTERNS, names, recipe.proximity.radii_um))


def sample_names(recipe: Recipe, sample_columns: Sequence[str]) -> dict[str, str]:
    """Column of the sample sheet > its name in slides.csv, prefixed ``sample_`` where taken."""
    own = {column.name for column in slide_columns(recipe)} if sample_columns else set()
    return {
        name: f"sample_{name}" if name in own else name
        for name in sample_columns
        if name not in ("slide", "path")
    }
