"""Every column of pairs.parquet: contacts between responders and sources, and what was measured at
them, declared once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ifquant.columns.cell_columns import ColumnInfo

PAIR_COLUMNS: tuple[ColumnInfo, ...] = (
    ColumnInfo(
        "responder_id",
        "",
        "Cell of the responder phenotype of [priming] (cell_id).",
        "uint32",
        "contact",
    ),
    ColumnInfo(
        "source_id",
        "",
        "Cell of the source phenotype that it touches, corners included (cell_id).",
        "uint32",
        "contact",
    ),
    ColumnInfo(
        "ligand_away_sum",
        "file",
        "Sum of the ligand over the source's pixels further than away_um from this responder.",
        "float64",
        "ligand",
    ),
    ColumnInfo("ligand_away_px", "px", "Number of these pixels.", "int64", "ligand"),
    ColumnInfo(
        "ligand_clear_sum",
        "file",
        "The same, further than away_um from every responder.",
        "float64",
        "ligand",
    ),
    ColumnInfo("ligand_clear_px", "px", "Number of these pixels.", "int64", "ligand"),
    ColumnInfo(
        "ligand_shared_sum",
        "file",
        "The same, within away_um of this responder.",
        "float64",
        "ligand",
    ),
    ColumnInfo("ligand_shared_px", "px", "Number of these pixels.", "int64", "ligand"),
    ColumnInfo(
        "response_eroded_sum",
        "file",
        "Sum of the response over the responder's pixels further than erode_um from its border.",
        "float64",
        "response",
    ),
    ColumnInfo("response_eroded_px", "px", "Number of these pixels.", "int64", "response"),
    ColumnInfo(
        "own_ligand_eroded_sum",
        "file",
        "Sum of the ligand over these pixels of the responder.",
        "float64",
        "response",
    ),
)
"""The source's pixels are those of [priming] ligand_compartment, the responder's those of
response_compartment; raw file values."""


def typed_pairs(values: Mapping[str, Any]) -> pd.DataFrame:
    """Make the table with exactly these columns and types; also for no contact."""
    return pd.DataFrame(
        {column.name: np.asarray(values[column.name], column.dtype) for column in PAIR_COLUMNS}
    )
