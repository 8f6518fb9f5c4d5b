"""Every column of cells.parquet: name, unit, meaning and type, declared once.

The Parquet metadata, the glossary of the report and docs/columns.md are generated from the patterns
below. The order of `CELL_PATTERNS` is the order in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ifquant.columns.column_info import ColumnInfo, columns_of, expanded
from ifquant.errors import RequestError
from ifquant.recipe.model import Recipe

OTHER = "other"
"""Phenotype of a cell no rule fits."""
GROWTH_CLASSES = (OTHER, "tumor", "myeloid")
"""What may have shaped a cell (cells/growth.py); the codes are positions here."""

_SHAPE = """
[shape]
<prefix>area_um2 | um2 | float64 | Area of <whose>.
<prefix>axis_major_um | um | float64 | Major axis of the ellipse with the second moments of <whose>.
<prefix>axis_minor_um | um | float64 | Minor axis of the ellipse with the second moments of <whose>.
<prefix>eccentricity | - | float64 | Eccentricity of that ellipse of <whose>: 0 round, near 1
    elongated.
<prefix>solidity | - | float64 | Area of <whose> divided by the area of its convex hull.
"""

CELL_PATTERNS: tuple[ColumnInfo, ...] = (
    *columns_of("""
[identity]
cell_id | - | uint32 | Number of the cell, 1..n in raster order of its anchor pixel; its value in
    labels.ome.zarr.
source_label | - | int64 | Label of the nucleus in the supplied mask (method = labels).
flags | bits | uint32 | Named bits, see the table of flags; 0 = nothing to report.
[place]
anchor_y_px | px | int32 | Row (0-based) of the first nucleus pixel in raster order.
anchor_x_px | px | int32 | Column (0-based) of the first nucleus pixel in raster order.
x_um | um | float64 | Centroid of the cell, to the right of the image's left edge.
y_um | um | float64 | Centroid of the cell, below the image's top edge.
x_px | px | float64 | Centroid of the cell in pixels; the first pixel's center is at 0.5.
y_px | px | float64 | Centroid of the cell in pixels; the first pixel's center is at 0.5.
"""),
    *columns_of(_SHAPE.replace("<prefix>", "").replace("<whose>", "the cell")),
    *columns_of(_SHAPE.replace("<prefix>", "nucleus_").replace("<whose>", "the nucleus")),
    *columns_of("""
[intensity]
<marker>_<compartment>_<statistic> | file | float64 | <Statistic> of <marker> over <where>, raw file
    values.
<marker>_<compartment>_corrected_<statistic> | file | float64 | <Statistic> of <marker> over
    <where>, after the slide's background level was subtracted.
<marker>_saturated_fraction | - | float64 | Fraction of the cell's pixels at the saturation value of
    <marker>.
[class]
<gated marker>_positive | - | boolean | Whether <gated marker> exceeds the slide's gate in the
    compartment of the recipe; empty where the gate is not callable.
growth_class | - | category | Stain that shaped the cell: tumor, myeloid or other; not a phenotype.
phenotype | - | category | First rule of [phenotypes] that fits, or other.
[proximity]
nearest_<phenotype>_um | um | float64 | Distance between centroids to the nearest <phenotype> cell,
    itself excluded; empty if there is none.
nearest_<phenotype>_border_um | um | float64 | Gap between the borders to the nearest <phenotype>
    cell, itself excluded: 0 = touching; empty if there is none.
n_touching_<phenotype> | cells | Int32 | Number of <phenotype> cells that touch this cell, corners
    included.
n_<phenotype>_within_<r>um | cells | Int32 | Number of other <phenotype> cells with centroids within
    <r> um.
tissue_within_<r>um | - | float64 | Fraction of the disc of <r> um around the cell that is tissue
    inside the image.
tumor_region_distance_um | um | float64 | Distance to the border of the tumor region, negative
    inside; empty without one.
"""),
)
"""Columns of cells.parquet in order; patterns with placeholders repeat per marker, phenotype or
radius."""


def measured_markers(recipe: Recipe) -> tuple[str, ...]:
    """Channels that get intensity columns: all but those with role ``ignore``, in recipe order."""
    return tuple(channel.name for channel in recipe.channels if channel.role != "ignore")


def gated_markers(recipe: Recipe) -> tuple[str, ...]:
    """Channels with ``<marker>_positive``: tumor, myeloid, marker, and any with its own gate."""
    gated = {"tumor", "myeloid", "marker"}
    return tuple(
        c.name
        for c in recipe.channels
        if c.role in gated or (c.role != "ignore" and c.name in recipe.gates.markers)
    )


def phenotype_names(recipe: Recipe) -> tuple[str, ...]:
    """Categories of the column ``phenotype``: the recipe's phenotypes in order, then ``other``."""
    return (*(name for name in recipe.phenotypes if name != OTHER), OTHER)


def proximity_pair(recipe: Recipe) -> tuple[str | None, str | None]:
    """Phenotypes ``from`` and ``to`` of [proximity]; else myeloid and tumor where they exist."""
    default = {name: name for name in ("myeloid", "tumor") if name in recipe.phenotypes}
    options = recipe.proximity
    source = default.get("myeloid") if options.from_ is None else options.from_
    return source, default.get("tumor") if options.to is None else options.to


def proximity_phenotypes(recipe: Recipe) -> tuple[str, ...]:
    """Phenotypes that get proximity columns: ``to``, then ``from``, each once."""
    source, target = proximity_pair(recipe)
    return tuple(dict.fromkeys(name for name in (target, source) if name is not None))


def cell_columns(recipe: Recipe) -> tuple[ColumnInfo, ...]:
    """Exactly the columns a run with this recipe writes to cells.parquet, in order.

    Raises
    ------
    RequestError
        If two columns would get the same name (a marker may be named like another's column).
    """
    names = {
        "marker": measured_markers(recipe),
        "gated marker": gated_markers(recipe),
        "phenotype": proximity_phenotypes(recipe),
    }
    measure, radii_um = recipe.measure, recipe.proximity.radii_um
    columns = expanded(
        CELL_PATTERNS, names, radii_um, measure.statistics, measure.background != "none"
    )
    if recipe.segmentation.method != "labels":
        columns = [column for column in columns if column.name != "source_label"]
    seen: set[str] = set()
    twice = [c.name for c in columns if c.name in seen or seen.add(c.name)]  # type: ignore[func-returns-value]
    if twice:
        names_twice = ", ".join(map(repr, twice))
        raise RequestError(
            f"two columns of cells.parquet would be called {names_twice}; rename the channel or"
            " phenotype in the recipe."
        )
    return tuple(columns)


def parquet_metadata(columns: Iterable[ColumnInfo]) -> dict[str, dict[str, str]]:
    """Per column: ``unit`` and ``meaning``, as written into the Parquet field metadata."""
    return {column.name: {"unit": column.unit, "meaning": column.meaning} for column in columns}


def categories(column: str, recipe: Recipe) -> tuple[str, ...]:
    """Categories of a column of type category."""
    return GROWTH_CLASSES if column == "growth_class" else phenotype_names(recipe)


def measured_columns(recipe: Recipe) -> tuple[str, ...]:
    """Columns that measuring gives: no gate, phenotype or neighbor decides them."""
    groups, others = ("place", "shape", "intensity"), ("source_label", "growth_class", "flags")
    columns = cell_columns(recipe)
    return tuple(c.name for c in columns if c.group in groups or c.name in others)


def typed(values: Mapping[str, Any] | pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Make a table with exactly the columns and types of this recipe, in order; also of no cells.

    Parameters
    ----------
    values
        Columns (n,) by name; numbers may be NaN where the type allows empty cells. ``growth_class``
        and ``phenotype`` may be names or codes (positions in `categories`).

    Raises
    ------
    RequestError
        If columns are missing or unexpected: a bug of the caller.
    """
    columns = cell_columns(recipe)
    given, expected = set(map(str, values.keys())), {column.name for column in columns}
    if given != expected:
        raise RequestError(
            f"cell table: missing columns {sorted(expected - given)}, unexpected columns"
            f" {sorted(given - expected)}."
        )
    data = {}
    for column in columns:
        series = pd.Series(values[column.name], copy=False).reset_index(drop=True)
        dtype: Any = column.dtype
        if dtype == "category":
            data[column.name] = _as_category(series, categories(column.name, recipe))
        else:
            data[column.name] = series.astype(dtype)
    # without a copy: the measured columns are most of a large slide's memory
    return pd.DataFrame(data, copy=False)


def _as_category(series: pd.Series, names: Sequence[str]) -> pd.Series:
    dtype = pd.CategoricalDtype(list(names))
    if pd.api.types.is_integer_dtype(series.dtype):
        return pd.Series(pd.Categorical.from_codes(series.to_numpy(), dtype=dtype))
    return series.astype(dtype)
