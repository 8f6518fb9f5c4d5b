"""Our own results as cell tables, with their tissue."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from ifquant.errors import RequestError
from ifquant.names import name_or_none
from ifquant.results.cell_tables import read_table, refuse_other_slide
from ifquant.results.file_names import CELLS
from ifquant.results.run_record import finished_slides
from ifquant.results.slide_record import SlideRecord
from ifquant.tables.cell_table import CellTable


def read_results(folder: Path) -> dict[str, CellTable]:
    """Read every finished slide of a run (`finished_slides`), in natural order of the names.

    Raises
    ------
    RequestError
        If the folder holds no finished slide, or its run was interrupted.
    SlideError
        If a slide's files do not fit together.
    """
    if not folder.is_dir():
        raise RequestError(
            f"{folder}: a file; a table of another program needs the section [table] (format, unit,"
            " ...)."
        )
    slides = finished_slides(folder)
    if not slides.whole:
        raise RequestError(
            f"{folder}: the run that writes here was interrupted or is going on: its slides may be"
            " of different recipes. Run it again (finished slides are kept), then analyze."
        )
    return {place.name: read_result(place) for place in slides.folders}


def read_result(folder: Path, cells: pd.DataFrame | None = None) -> CellTable:
    """Read one slide of our results; `cells` is its cells.parquet where that was read before."""
    record = SlideRecord(folder, {}) if (found := SlideRecord.find(folder)) is None else found
    slide, sample, region = record.slide, record.sample, record.tissue
    try:
        cells = read_table(folder) if cells is None else cells
        refuse_other_slide(folder, slide)
    except (OSError, pa.ArrowException) as error:
        raise record.damaged(error) from error
    return CellTable(
        slide=slide,
        cells=cells,
        patient=name_or_none(sample.get("patient")),
        group=name_or_none(sample.get("group")),
        region=region,
        pixel_size_um=float(record.summary["pixel_size_um"]),
        folder=str(folder),
        source=f"{folder / CELLS} (ifquant)",
        columns={str(name): str(name) for name in cells.columns},
        warnings=tuple(record.warnings),
    )


def record_of(table: CellTable) -> SlideRecord | None:
    """Record of the slide a table is of; None for other programs' tables.

    Raises
    ------
    SlideError
        If it is gone or damaged.
    """
    return None if table.folder is None else SlideRecord.read(Path(table.folder))
