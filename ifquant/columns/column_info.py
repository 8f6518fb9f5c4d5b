"""Columns as tables declare them: name, unit, type and meaning; patterns and how they are filled.

A pattern's placeholders (``<marker>``, ``<gated marker>`` = one with a gate, ``<phenotype>``,
``<r>``) are filled with the recipe's own names, so a marker may hold underscores or spaces without
ambiguity: columns are never parsed, they are generated and looked up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from ifquant.recipe.model import Compartment, Statistic

COMPARTMENTS: tuple[str, ...] = get_args(Compartment)
"""All compartments; whatever numbers them derives from this order."""
STATISTICS: tuple[str, ...] = get_args(Statistic)

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
_PLACEHOLDERS = ("sample column", "phenotype", "to", "gated marker", "marker")


@dataclass(frozen=True)
class ColumnInfo:
    """One column: its name (or pattern), unit ("" = none), meaning, pandas type and group."""

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


def columns_of(table: str) -> tuple[ColumnInfo, ...]:
    """Columns of a table of text: lines ``name | unit | type | meaning`` under ``[group]`` lines.

    Indented lines continue the one above; the unit ``-`` stands for none.
    """
    columns, group = [], ""
    for line in table.strip().replace("\n    ", " ").splitlines():
        if line.startswith("["):
            group = line.strip("[]")
        else:
            name, unit, dtype, meaning = line.split(" | ")
            columns.append(ColumnInfo(name, unit.replace("-", ""), meaning, dtype, group))
    return tuple(columns)


def expanded(
    patterns: Iterable[ColumnInfo],
    names: Mapping[str, Sequence[str]],
    radii_um: Sequence[float],
    statistics: Sequence[str] = (),
    corrected: bool = False,
) -> list[ColumnInfo]:
    """Fill placeholders; neighbouring patterns with the same one repeat together, name by name.

    Patterns of `statistics` repeat over all compartments; those of background-corrected values
    are left out unless `corrected`.
    """
    out: list[ColumnInfo] = []
    for key, block in itertools.groupby(patterns, key=_placeholder):
        members = list(block)
        for name in names.get(key, ()) if key else ("",):
            for pattern in members:
                if "<statistic>" in pattern.name:
                    if corrected or "_corrected_" not in pattern.name:
                        out.extend(_intensity(pattern, name, statistics))
                elif "<r>" in pattern.name:
                    out.extend(pattern.filled(r=um_text(r), **{key: name}) for r in radii_um)
                else:
                    out.append(pattern.filled(**{key: name}))
    return out


def _placeholder(pattern: ColumnInfo) -> str:
    return next((key for key in _PLACEHOLDERS if f"<{key}>" in pattern.name), "")


def _intensity(pattern: ColumnInfo, marker: str, statistics: Sequence[str]) -> list[ColumnInfo]:
    return [
        pattern.filled(
            statistic=statistic,
            compartment=compartment,
            Statistic=STATISTIC_TEXT[statistic],
            where=COMPARTMENT_TEXT[compartment],
            marker=marker,
        )
        for compartment in COMPARTMENTS
        for statistic in statistics
    ]


def um_text(value: float) -> str:
    """Write a length as it appears in column names: 10 for 10.0, 12.5 for 12.5."""
    return f"{value:g}"
