"""Every column of cells.parquet: name, unit, meaning and type, declared once (slides.csv:
slide_columns.py).

The Parquet metadata, the glossary of the report and docs/columns.md are generated from the patterns
below. A pattern's placeholders (``<marker>``, ``<gated marker>`` = one with a gate,
``<phenotype>``, ``<r>``) are filled with the recipe's own names, so a marker may hold underscores
or spaces without ambiguity: columns are never parsed, they are generated and looked up. The order
of `CELL_PATTERNS` is the order in the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import pandas as pd

from ifquant.errors import RequestError
from ifquant.recipe.model import Compartment, Recipe, Statistic

COMPARTMENTS: tuple[str, ...] = get_args(Compartment)
STATISTICS: tuple[str, ...] = get_args(Statistic)
OTHER = "other"
"""Phenotype of a cell no rule fits."""
GROWTH_CLASSES = (OTHER, "tumor", "myeloid")
"""What may have shaped a cell (cells/growth.py); the codes are positions here."""

COMPARTMENT_TEXT = {
    "nucleus": "the nucleus",
    "cytoplasm": "the cell without its nucleus",
    "membrane": "the ring inside the cell border ([measure] membrane_um wide)",
    "cell": "the whole cell",
    "soma": "the nucleus plus [measure] soma_um, less pixels within soma_clear_um of another cell",
}
STATISTIC_TEXT = {
    "mean": "Mean",
    "median": "Median",
    "p95": "95th percentile",
    "sum": "Sum",
    "std": "Standard deviation (population)",
}


@dataclass(frozen=True)
class ColumnInfo:
    """One column: its name (or name pattern), unit ("" = none), meaning in one sentence, pandas
    type and group.
    """

    name: str
    unit: str
    meaning: str
    dtype: str
    group: str

    def filled(self, **values: str) -> ColumnInfo:
        """Replace placeholders in name and meaning."""
        name, meaning = self.name, self.meaning
        for key, value in values.items():
            name, meaning = name.replace(f"<{key}>", value), meaning.replace(f"<{key}>", value)
        return replace(self, name=name, meaning=meaning)


def _shape(prefix: str, whose: str) -> tuple[ColumnInfo, ...]:
    group = "shape of the nucleus" if prefix else "shape"
    return (
        ColumnInfo(f"{prefix}area_um2", "um2", f"Area of {whose}.", "float64", group),
        ColumnInfo(
            f"{prefix}axis_major_um",
            "um",
            f"Major axis of the ellipse with the second moments of {whose}.",
            "float64",
            group,
        ),
        ColumnInfo(
            f"{prefix}axis_minor_um",
            "um",
            f"Minor axis of the ellipse with the second moments of {whose}.",
            "float64",
            group,
        ),
        ColumnInfo(
            f"{prefix}eccentricity",
            "",
            f"Eccentricity of that ellipse of {whose}: 0 round, near 1 elongated.",
            "float64",
            group,
        ),
        ColumnInfo(
            f"{prefix}solidity",
            "",
            f"Area of {whose} divided by the area of its convex hull.",
            "float64",
            group,
        ),
    )


_INTENSITY = (
    ColumnInfo(
        "<marker>_<compartment>_<statistic>",
        "file",
        "<Statistic> of <marker> over <where>, raw file values.",
        "float64",
        "intensity",
    ),
    ColumnInfo(
        "<marker>_<compartment>_corrected_<statistic>",
        "file",
        "<Statistic> of <marker> over <where>, after the slide's background level was subtracted.",
        "float64",
        "intensity",
    ),
)

_PLACEHOLDERS = ("sample column", "phenotype", "to", "gated marker", "marker")

CELL_PATTERNS: tuple[ColumnInfo, ...] = (
    ColumnInfo(
        "cell_id",
        "",
        "Number of the cell, 1..n in raster order of its anchor pixel; its value in"
        " labels.ome.zarr.",
        "uint32",
        "identity",
    ),
    ColumnInfo(
        "source_label",
        "",
        "Label of the nucleus in the supplied mask (method = labels).",
        "int64",
        "identity",
    ),
    ColumnInfo(
        "flags",
        "bits",
        "Named bits, see the table of flags; 0 = nothing to report.",
        "uint32",
        "identity",
    ),
    ColumnInfo(
        "anchor_y_px",
        "px",
        "Row (0-based) of the first nucleus pixel in raster order.",
        "int32",
        "place",
    ),
    ColumnInfo(
        "anchor_x_px",
        "px",
        "Column (0-based) of the first nucleus pixel in raster order.",
        "int32",
        "place",
    ),
    ColumnInfo(
        "x_um",
        "um",
        "Centroid of the cell, to the right of the image's left edge.",
        "float64",
        "place",
    ),
    ColumnInfo(
        "y_um", "um", "Centroid of the cell, below the image's top edge.", "float64", "place"
    ),
    ColumnInfo(
        "x_px",
        "px",
        "Centroid of the cell in pixels; the first pixel's center is at 0.5.",
        "float64",
        "place",
    ),
    ColumnInfo(
        "y_px",
        "px",
        "Centroid of the cell in pixels; the first pixel's center is at 0.5.",
        "float64",
        "place",
    ),
    *_shape("", "the cell"),
    *_shape("nucleus_", "the nucleus"),
    *_INTENSITY,
    ColumnInfo(
        "<marker>_saturated_fraction",
        "",
        "Fraction of the cell's pixels at the saturation value of <marker>.",
        "float64",
        "intensity",
    ),
    ColumnInfo(
        "<gated marker>_positive",
        "",
        "Whether <gated marker> exceeds the slide's gate in the compartment of the recipe; empty"
        " where the gate is not callable.",
        "boolean",
        "class",
    ),
    ColumnInfo(
        "growth_class",
        "",
        "Stain that shaped the cell: tumor, myeloid or other; not a phenotype.",
        "category",
        "class",
    ),
    ColumnInfo(
        "phenotype", "", "First rule of [phenotypes] that fits, or other.", "category", "class"
    ),
    ColumnInfo(
        "nearest_<phenotype>_um",
        "um",
        "Distance between centroids to the nearest <phenotype> cell, itself excluded; empty if"
        " there is none.",
        "float64",
        "proximity",
    ),
    ColumnInfo(
        "nearest_<phenotype>_border_um",
        "um",
        "Gap between the borders to the nearest <phenotype> cell, itself excluded: 0 = touching;"
        " empty if there is none.",
        "float64",
        "proximity",
    ),
    ColumnInfo(
        "n_touching_<phenotype>",
        "cells",
        "Number of <phenotype> cells that touch this cell, corners included.",
        "Int32",
        "proximity",
    ),
    ColumnInfo(
        "n_<phenotype>_within_<r>um",
        "cells",
        "Number of other <phenotype> cells with centroids within <r> um.",
        "Int32",
        "proximity",
    ),
    ColumnInfo(
        "tissue_within_<r>um",
        "",
        "Fraction of the disc of <r> um around the cell that is tissue inside the image.",
        "float64",
        "proximity",
    ),
    ColumnInfo(
        "tumor_region_distance_um",
        "um",
        "Distance to the border of the tumor region, negative inside; empty without one.",
        "float64",
        "proximity",
    ),
)
"""Columns of cells.parquet in the order of the file; patterns with placeholders repeat per marker,
phenotype or radius."""


def um_text(value: float) -> str:
    """Write a length as it appears in column names: 10 for 10.0, 12.5 for 12.5."""
    return f"{value:g}"


def measured_markers(recipe: Recipe) -> tuple[str, ...]:
    """Channels that get intensity columns: all but those with role ``ignore``, in the recipe's
    order.
    """
    return tuple(channel.name for channel in recipe.channels if channel.role != "ignore")


def gated_markers(recipe: Recipe) -> tuple[str, ...]:
    """Channels that get a gate and ``<marker>_positive``: tumor, myeloid and marker channels, and
    any with a gate of its own.
    """
    gated = {"tumor", "myeloid", "marker"}
    return tuple(
        c.name
        for c in recipe.channels
        if c.role in gated or (c.role != "ignore" and c.name in recipe.gates.markers)
    )


def phenotype_names(recipe: Recipe) -> tuple[str, ...]:
    """Phenotypes in the recipe's order, then ``other``: the categories of the column
    ``phenotype``.
    """
    return (*(name for name in recipe.phenotypes if name != OTHER), OTHER)


def proximity_pair(recipe: Recipe) -> tuple[str | None, str | None]:
    """Return the phenotypes ``from`` and ``to`` of [proximity]; defaults: myeloid and tumor where
    the recipe has them.
    """
    source, target = recipe.proximity.from_, recipe.proximity.to
    if source is None and "myeloid" in recipe.phenotypes:
        source = "myeloid"
    if target is None and "tumor" in recipe.phenotypes:
        target = "tumor"
    return source, target


def proximity_phenotypes(recipe: Recipe) -> tuple[str, ...]:
    """Phenotypes that get proximity columns: ``to``, then ``from``, each once."""
    source, target = proximity_pair(recipe)
    return tuple(dict.fromkeys(name for name in (target, source) if name is not None))


def expanded(
    patterns: Iterable[ColumnInfo],
    names: Mapping[str, Sequence[str]],
    radii_um: Sequence[float],
    statistics: Sequence[str],
    corrected: bool,
) -> list[ColumnInfo]:
    """Fill placeholders; neighbouring patterns with the same placeholder repeat together, name by
    name.
    """
    out: list[ColumnInfo] = []
    for key, block in itertools.groupby(patterns, key=_placeholder):
        members = list(block)
        for name in names.get(key, ()) if key else ("",):
            for pattern in members:
                if pattern is _INTENSITY[0] or (pattern is _INTENSITY[1] and corrected):
                    out.extend(_intensity(pattern, name, statistics))
                elif "<r>" in pattern.name:
                    out.extend(pattern.filled(r=um_text(r), **{key: name}) for r in radii_um)
                elif pattern is not _INTENSITY[1]:
                    out.append(pattern.filled(**{key: name}))
    return out


def _placeholder(pattern: ColumnInfo) -> str:
    return next((key for key in _PLACEHOLDERS if f"<{key}>" in pattern.name), "")


def _intensity(pattern: ColumnInfo, marker: str, statistics: Sequence[str]) -> list[ColumnInfo]:
    return [
        pattern.filled(
            statistic=statistic,
            compartment=place,
            Statistic=STATISTIC_TEXT[statistic],
            where=COMPARTMENT_TEXT[place],
            marker=marker,
        )
        for place in COMPARTMENTS
        for statistic in statistics
    ]


def cell_columns(recipe: Recipe) -> tuple[ColumnInfo, ...]:
    """Exactly the columns a run with this recipe writes to cells.parquet, in order.

    Raises
    ------
    RequestError
        If two columns would get the same name (e.g. a marker named so that it collides with
        another's).
    """
    names = {
        "marker": measured_markers(recipe),
        "gated marker": gated_markers(recipe),
        "phenotype": proximity_phenotypes(recipe),
    }
    measure = recipe.measure
    columns = expanded(
        CELL_PATTERNS,
        names,
        recipe.proximity.radii_um,
        measure.statistics,
        measure.background != "none",
    )
    columns = [
        c for c in columns if c.name != "source_label" or recipe.segmentation.method == "labels"
    ]
    refuse_collisions(columns)
    return tuple(columns)


def refuse_collisions(columns: Iterable[ColumnInfo]) -> None:
    """Raise RequestError if two columns share a name."""
    seen: set[str] = set()
    twice = [c.name for c in columns if c.name in seen or seen.add(c.name)]  # type: ignore[func-returns-value]
    if twice:
        names = ", ".join(map(repr, twice))
        raise RequestError(
            f"two columns of cells.parquet would be called {names}; rename the channel or phenotype"
            " in the recipe."
        )


def describe(
    column: str, markers: Sequence[str], phenotypes: Sequence[str], radii_um: Sequence[float] = ()
) -> ColumnInfo:
    """Say what a column of cells.parquet means, for these markers, phenotypes and radii.

    Raises
    ------
    RequestError
        If no pattern gives this name.
    """
    found = _lookup(markers, phenotypes, radii_um).get(column)
    if found is None:
        raise RequestError(
            f"{column!r} is no column of cells.parquet for markers {list(markers)} and phenotypes"
            f" {list(phenotypes)}."
        )
    return found


def column_order(
    columns: Iterable[str],
    markers: Sequence[str],
    phenotypes: Sequence[str],
    radii_um: Sequence[float] = (),
) -> list[str]:
    """`columns` in canonical order; names no pattern gives come last, in their own order."""
    given = list(columns)
    known = [name for name in _lookup(markers, phenotypes, radii_um) if name in set(given)]
    return known + [name for name in given if name not in set(known)]


def _lookup(
    markers: Sequence[str], phenotypes: Sequence[str], radii_um: Sequence[float]
) -> dict[str, ColumnInfo]:
    names = {"marker": markers, "gated marker": markers, "phenotype": phenotypes}
    return {
        column.name: column for column in expanded(CELL_PATTERNS, names, radii_um, STATISTICS, True)
    }


def parquet_metadata(columns: Iterable[ColumnInfo]) -> dict[str, dict[str, str]]:
    """Per column: ``unit`` and ``meaning``, as written into the Parquet field metadata."""
    return {column.name: {"unit": column.unit, "meaning": column.meaning} for column in columns}


def categories(column: str, recipe: Recipe) -> tuple[str, ...]:
    """Categories of a column of type category."""
    return GROWTH_CLASSES if column == "growth_class" else phenotype_names(recipe)


def typed(values: Mapping[str, Any] | pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Make a table with exactly the contract's columns and types for this recipe, in order; also
    for no cells.

    Parameters
    ----------
    values
        Columns (n,) by name; numbers may be NaN where the type allows empty cells. ``growth_class``
        and ``phenotype`` may be names or codes (positions in `categories`).

    Raises
    ------
    RequestError
        If a column of the contract is missing or one that is not in it is present: a bug of the
        caller.
    """
    columns = cell_columns(recipe)
    given, wanted = set(map(str, values.keys())), {column.name for column in columns}
    if given != wanted:
        raise RequestError(
            f"cell table: missing columns {sorted(wanted - given)}, unexpected columns"
            f" {sorted(given - wanted)}."
        )
    data = {}
    for column in columns:
        series = pd.Series(values[column.name], copy=False).reset_index(drop=True)
        kind: Any = column.dtype
        data[column.name] = (
            _as_category(series, categories(column.name, recipe))
            if kind == "category"
            else series.astype(kind)
        )
    return pd.DataFrame(
        data, copy=False
    )  # the measured columns themselves: most of a large slide's memory


def _as_category(series: pd.Series, names: Sequence[str]) -> pd.Series:
    kind = pd.CategoricalDtype(list(names))
    if pd.api.types.is_integer_dtype(series.dtype):
        return pd.Series(pd.Categorical.from_codes(series.to_numpy(), dtype=kind))
    return series.astype(kind)


def empty_table(recipe: Recipe) -> pd.DataFrame:
    """Make the typed table of a slide without cells."""
    return typed({column.name: [] for column in cell_columns(recipe)}, recipe)
