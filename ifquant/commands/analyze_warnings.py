"""What must be known of a cohort's slides before they are tested: names easily confused, one slide
twice, rows without a slide.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ifquant.names import alike_warnings, few
from ifquant.results.run_record import finished_slides, is_run_folder
from ifquant.results.slide_record import SlideRecord
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
        if is_run_folder(place):
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
    texts = []
    if without := [slide for slide in tables if slide not in rows]:
        texts.append(
            f"the sample sheet has no row for {few(without, quoted=True)}; patient and group are as"
            " the results or tables say"
        )
    for what in ("patient", "group"):
        stated = {
            slide: (_recorded(tables[slide], what), getattr(rows[slide], what)) for slide in rows
        }
        other = [slide for slide, (mine, new) in stated.items() if mine and new and mine != new]
        if other:
            texts.append(
                f"the sample sheet's {what} is not the one recorded in the results of"
                f" {few(other, quoted=True)}; the sheet's is taken"
            )
    texts += match_warnings(rows)
    unused = [row for row in sheet if all(row is not used for used in rows.values())]
    if unused:
        names = few([row.written or row.slide for row in unused], quoted=True)
        texts.append(f"rows of the sample sheet without a slide here: {names}")
    return texts


def identity(table: CellTable) -> str:
    """Identify what a slide's cells were measured on: the image (our results), else places and
    values of the cells.
    """
    if table.folder is not None:
        record = SlideRecord.find(Path(table.folder))
        if record is not None:
            return record.image_identity
    numbers = table.cells.select_dtypes("number")
    digest = hashlib.sha256(pd.util.hash_pandas_object(numbers, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _recorded(table: CellTable, what: str) -> str | None:
    record = SlideRecord.find(Path(table.folder)) if table.folder is not None else None
    value = record.sample.get(what) if record is not None else None
    return None if value is None else str(value)
