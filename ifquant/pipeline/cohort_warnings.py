"""What must be known of a cohort's slides before they are tested: names easily confused, one slide twice, rows without a slide."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ifquant.base.names import alike_warnings
from ifquant.files import storage
from ifquant.slides.samples import Sample, rows_of, sheet_warnings
from ifquant.slides.slide_names import identical_warnings, slide_key
from ifquant.tables.cell_table import CellTable
from ifquant.tables.finished import finished_slides


def cohort_warnings(places: Sequence[Path], tables: Mapping[str, CellTable], sheet: Sequence[Sample]) -> list[str]:
    """Say what somebody may not have meant, gravest first.

    Parameters
    ----------
    places
        Folders of results and tables, as given.
    tables
        Slide > its cells.
    sheet
        Rows of the sample sheet.
    """
    said = identical_warnings({slide: _identity(table) for slide, table in tables.items()})
    for place in places:
        if any(table.folder is not None and Path(table.folder).parent == place for table in tables.values()):
            said += finished_slides(place).warnings()
    said += _unmatched(tables, sheet)
    said += sheet_warnings(sheet)
    said += alike_warnings("slide", tables, slide_key)
    said += alike_warnings("patient", [table.patient for table in tables.values() if table.patient])
    said += alike_warnings("group", [table.group for table in tables.values() if table.group])
    said += [text for table in tables.values() if table.folder is None for text in table.warnings]
    return list(dict.fromkeys(said))


def _unmatched(tables: Mapping[str, CellTable], sheet: Sequence[Sample]) -> list[str]:
    if not sheet:
        return []
    rows = rows_of(sheet, tables)
    without = [slide for slide in tables if slide not in rows]
    unused = [row.written or row.slide for row in sheet if all(row is not used for used in rows.values())]
    said = [f"the sample sheet has no row for {_few(without)}; patient and group are as the results or tables say"] if without else []
    return said + ([f"rows of the sample sheet without a slide here: {_few(unused)}"] if unused else [])


def _identity(table: CellTable) -> str:
    """Identify what a slide's cells were measured on: the image (our results), else places and values of the cells."""
    if table.folder is not None:
        record = storage.read_json(Path(table.folder) / "slide.json")
        if isinstance(record, dict):
            return f"{record['digests']['input']} {record['input']['crop']}"
    numbers = table.cells.select_dtypes("number")
    digest = hashlib.sha256(pd.util.hash_pandas_object(numbers, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _few(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:5]))
    return listed + (f" and {len(names) - 5} more" if len(names) > 5 else "")
