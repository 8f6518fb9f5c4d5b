"""Every column of pairs.parquet: contacts of responders with sources, as measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ifquant.columns.column_info import columns_of

PAIR_COLUMNS = columns_of("""
[contact]
responder_id | - | uint32 | Cell of the responder phenotype of [priming] (cell_id).
source_id | - | uint32 | Cell of the source phenotype that it touches, corners included (cell_id).
[ligand]
ligand_away_sum | file | float64 | Sum of the ligand over the source's pixels further than away_um
    from this responder.
ligand_away_px | px | int64 | Number of these pixels.
ligand_clear_sum | file | float64 | The same, further than away_um from every responder.
ligand_clear_px | px | int64 | Number of these pixels.
ligand_shared_sum | file | float64 | The same, within away_um of this responder.
ligand_shared_px | px | int64 | Number of these pixels.
[response]
response_eroded_sum | file | float64 | Sum of the response over the responder's pixels further than
    erode_um from its border.
response_eroded_px | px | int64 | Number of these pixels.
own_ligand_eroded_sum | file | float64 | Sum of the ligand over these pixels of the responder.
""")
"""The source's pixels are those of [priming] ligand_compartment, the responder's those of
response_compartment; raw file values."""


def typed_pairs(values: Mapping[str, Any]) -> pd.DataFrame:
    """Make the table with exactly these columns and types; also for no contact."""
    return pd.DataFrame(
        {column.name: np.asarray(values[column.name], column.dtype) for column in PAIR_COLUMNS}
    )
