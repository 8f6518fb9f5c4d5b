"""Every column of slides.csv, declared once like those of cells.parquet (cell_columns.py), and the
docs page of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ifquant.columns.cell_columns import (
    CELL_PATTERNS,
    COMPARTMENT_TEXT,
    COMPARTMENTS,
    STATISTIC_TEXT,
    STATISTICS,
    ColumnInfo,
    expanded,
    gated_markers,
    measured_markers,
    phenotype_names,
    proximity_pair,
)
from ifquant.columns.flags import FLAGS
from ifquant.columns.pair_columns import PAIR_COLUMNS
from ifquant.recipe.model import Recipe

SLIDE_PATTERNS: tuple[ColumnInfo, ...] = (
    ColumnInfo("slide", "", "Name of the slide = its folder in the results.", "str", "identity"),
    ColumnInfo("path", "", "Image file, as given.", "str", "identity"),
    ColumnInfo("status", "", "done or failed.", "str", "identity"),
    ColumnInfo("error", "", "Why the slide failed; empty otherwise.", "str", "identity"),
    ColumnInfo(
        "<sample column>",
        "",
        "Columns of the sample sheet, unchanged (prefixed sample_ where the name is taken).",
        "str",
        "sample sheet",
    ),
    ColumnInfo("tissue_area_mm2", "mm2", "Area of the tissue mask.", "float64", "area"),
    ColumnInfo(
        "tumor_region_area_mm2",
        "mm2",
        "Area of the tumor region inside the tissue.",
        "float64",
        "area",
    ),
    ColumnInfo("n_cells", "cells", "Number of cells.", "Int64", "counts"),
    ColumnInfo("n_<phenotype>", "cells", "Number of <phenotype> cells.", "Int64", "counts"),
    ColumnInfo(
        "<phenotype>_per_mm2",
        "cells/mm2",
        "<phenotype> cells per mm2 of tissue.",
        "float64",
        "counts",
    ),
    ColumnInfo(
        "median_nearest_<to>_um",
        "um",
        "Median over the `from` cells of the centroid distance to the nearest <to> cell.",
        "float64",
        "proximity",
    ),
    ColumnInfo(
        "fraction_touching_<to>",
        "",
        "Fraction of the `from` cells that touch at least one <to> cell.",
        "float64",
        "proximity",
    ),
    ColumnInfo(
        "fraction_<to>_within_<r>um",
        "",
        "Fraction of the `from` cells with at least one <to> cell within <r> um.",
        "float64",
        "proximity",
    ),
    ColumnInfo(
        "gate_<gated marker>",
        "file",
        "Gate of <gated marker>, raw file values; empty = not callable.",
        "float64",
        "gates",
    ),
    ColumnInfo("gate_<gated marker>_origin", "", "Where that gate came from.", "str", "gates"),
    ColumnInfo("pixel_size_um", "um", "Edge of a pixel.", "float64", "quality"),
    ColumnInfo("width_px", "px", "Width of the analyzed image.", "Int64", "quality"),
    ColumnInfo("height_px", "px", "Height of the analyzed image.", "Int64", "quality"),
    ColumnInfo(
        "fraction_flagged", "", "Fraction of the cells with any flag.", "float64", "quality"
    ),
    ColumnInfo(
        "orphan_myeloid_area_mm2",
        "mm2",
        "Area of myeloid stain that belongs to no nucleus in the section.",
        "float64",
        "quality",
    ),
    ColumnInfo(
        "background_<marker>", "file", "Background level of <marker>.", "float64", "quality"
    ),
    ColumnInfo(
        "saturated_fraction_<marker>",
        "",
        "Fraction of the tissue pixels saturated in <marker>.",
        "float64",
        "quality",
    ),
    ColumnInfo(
        "n_warnings",
        "",
        "Number of warnings; the texts are in slide.json and the report.",
        "Int64",
        "quality",
    ),
)
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
    return tuple(expanded(SLIDE_PATTERNS, names, recipe.proximity.radii_um, (), False))


def sample_names(recipe: Recipe, sample_columns: Sequence[str]) -> dict[str, str]:
    """Column of the sample sheet > its name in slides.csv: ``sample_`` is put before names that
    slides.csv uses itself.
    """
    own = {column.name for column in slide_columns(recipe)} if sample_columns else set()
    return {
        name: f"sample_{name}" if name in own else name
        for name in sample_columns
        if name not in ("slide", "path")
    }


def documentation() -> str:
    """Text of docs/columns.md."""

    def rows(patterns: Iterable[ColumnInfo]) -> list[str]:
        head = ["| column | unit | type | meaning |", "|---|---|---|---|"]
        generic = {"Statistic": "Statistic", "where": "the compartment"}
        return head + [
            f"| `{p.name}` | {p.unit} | {p.dtype} | {p.filled(**generic).meaning} |"
            for p in patterns
        ]

    lines = [
        "# Columns",
        "",
        (
            "Generated from `cell_columns.py`, `slide_columns.py` and `flags.py` of"
            " `ifquant/columns/`; do not edit."
        ),
        "",
    ]
    lines += [
        (
            "`file` = the unit of the image file's values. Names use markers and phenotypes exactly"
            " as the recipe writes them."
        ),
        "",
    ]
    lines += ["## cells.parquet, cells.csv", "", *rows(CELL_PATTERNS), ""]
    lines += [
        "Compartments:",
        "",
        *(f"- `{name}`: {COMPARTMENT_TEXT[name]}" for name in COMPARTMENTS),
        "",
    ]
    lines += [
        "Statistics:",
        "",
        *(f"- `{name}`: {STATISTIC_TEXT[name].lower()}" for name in STATISTICS),
        "",
    ]
    lines += ["## Flags", "", "| value | flag | meaning |", "|---|---|---|"]
    lines += [f"| {flag.value} | `{flag.name}` | {flag.meaning} |" for flag in FLAGS]
    lines += [
        "",
        "## pairs.parquet",
        "",
        "Written where the recipe has `[priming]`; one row per contact.",
        "",
        *rows(PAIR_COLUMNS),
    ]
    lines += ["", "## slides.csv", "", *rows(SLIDE_PATTERNS), ""]
    return "\n".join(lines)
