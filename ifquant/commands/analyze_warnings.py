"""What must be known of a cohort's slides before they are tested: names easily confused, one slide
twice, rows without a slide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ifquant.files import storage
from ifquant.names import alike_warnings
from ifquant.results.finished_slides import finished_slides
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.sheet_rows import match_warnings, rows_of, sheet_warnings
from ifquant.slides.slide_names import identical_warnings, loose_slide_key, slide_key
from ifquant.statistics.cohort.members import Member
from ifquant.tables.cell_table import CellTable


def cohort_warnings(
    places: Sequence[Path],
    tables: Mapping[str, CellTable],
    sheet: Sequence[Sample],
    members: Mapping[str, Member],
) -> list[str]:
    """Say what somebody may not have meant, gravest first.

    Parameters
    ----------
    places
        Folders of results and tables, as given.
    tables
        Slide > its cells.
    sheet
        Rows of the sample sheet.
    members
        Slide > patient, group and visit.
    """
    said = identical_warnings({slide: identity(table) for slide, table in tables.items()})
    for place in places:
        if (place / "run.json").exists():
            said += finished_slides(place).warnings()
    said += _unmatched(tables, sheet)
    said += sheet_warnings(sheet)
    said += alike_warnings("slide", tables, slide_key, loose_slide_key)
    for what in ("patient", "group", "visit"):
        said += alike_warnings(
            what, [name for one in members.values() if (name := getattr(one, what)) is not None]
        )
    said += [text for table in tables.values() if table.folder is None for text in table.warnings]
    return list(dict.fromkeys(said))


def _unmatched(tables: Mapping[str, CellTable], sheet: Sequence[Sample]) -> list[str]:
    if not sheet:
        return []
    rows = rows_of(
        sheet, tables, [slide for slide, table in tables.items() if table.folder is not None]
    )
    without = [slide for slide in tables if slide not in rows]
    unused = [
        row.written or row.slide for row in sheet if all(row is not used for used in rows.values())
    ]
    said = (
        [
            f"the sample sheet has no row for {_few(without)}; patient and group are as the results"
            " or tables say"
        ]
        if without
        else []
    )
    for what in ("patient", "group"):
        other = [
            s
            for s, row in rows.items()
            if (mine := _recorded(tables[s], what)) and (new := getattr(row, what)) and mine != new
        ]
        said += (
            [
                f"the sample sheet's {what} is not the one recorded in the results of"
                f" {_few(other)}; the sheet's is taken"
            ]
            if other
            else []
        )
    said += match_warnings(rows)
    return said + (
        [f"rows of the sample sheet without a slide here: {_few(unused)}"] if unused else []
    )


def identity(table: CellTable) -> str:
    """Identify what a slide's cells were measured on: the image (our results), else places and
    values of the cells.
    """
    if table.folder is not None:
        record = storage.read_json(Path(table.folder) / "slide.json")
        if isinstance(record, dict):
            return f"{record['digests']['input']} {record['input']['crop']}"
    numbers = table.cells.select_dtypes("number")
    digest = hashlib.sha256(pd.util.hash_pandas_object(numbers, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _recorded(table: CellTable, what: str) -> str | None:
    record = (
        storage.read_json(Path(table.folder) / "slide.json") if table.folder is not None else None
    )
    value = record.get("sample", {}).get(what) if isinstance(record, dict) else None
    return None if value is None else str(value)


def _few(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:5]))
    return listed + (f" and {len(names) - 5} more" if len(names) > 5 else "")
