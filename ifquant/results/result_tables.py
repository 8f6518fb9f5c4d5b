"""The tables of our own results, with their tissue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ifquant.errors import RequestError, SlideError
from ifquant.files import storage
from ifquant.files.packed_arrays import unpacked
from ifquant.files.table_files import slide_of
from ifquant.geometry.region import Region
from ifquant.names import name_or_none
from ifquant.results.finished_slides import finished_slides
from ifquant.slides.slide_names import natural_order
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
    found = finished_slides(folder)
    if not found.whole:
        raise RequestError(
            f"{folder}: the run that writes here was interrupted or is going on: its slides may be"
            " of different recipes. Run it again (finished slides are kept), then analyze."
        )
    slides = sorted(found.samples, key=natural_order)
    return {slide: read_result(folder / slide) for slide in slides}


def read_result(folder: Path, cells: pd.DataFrame | None = None) -> CellTable:
    """Read one slide of our results; `cells` is its cells.parquet where that was read before."""
    record = storage.read_json(folder / "slide.json")
    try:
        summary, sample = record["summary"], record["sample"]
        arrays = unpacked(record["calibration_arrays"])
        cells = pq.read_table(folder / "cells.parquet").to_pandas() if cells is None else cells
        pixel_um = float(summary["pixel_size_um"])
        _same_slide(folder, str(record["slide"]))
        region = _region(arrays, pixel_um)
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise SlideError(f"{folder}: damaged results ({error!r}); run the slide again.") from error
    return CellTable(
        slide=str(record["slide"]),
        cells=cells,
        patient=_named(sample, "patient"),
        group=_named(sample, "group"),
        region=region,
        pixel_size_um=pixel_um,
        folder=str(folder),
        source=f"{folder / 'cells.parquet'} (ifquant)",
        columns={str(name): str(name) for name in cells.columns},
        warnings=tuple(record.get("warnings", ())),
    )


def _named(sample: dict[str, Any], what: str) -> str | None:
    value = sample.get(what)
    return name_or_none(None if value is None else str(value))


def _same_slide(folder: Path, slide: str) -> None:
    """Refuse a folder that was renamed, or whose table is another slide's.

    Raises
    ------
    SlideError
        Always then.
    """
    stored = slide_of(folder / "cells.parquet")
    if stored not in (None, slide):
        raise SlideError(
            f"{folder}: cells.parquet is of slide {stored!r}, slide.json of {slide!r}: files were"
            " mixed up; run it again."
        )
    # the parent's: corrected results lie a folder deeper
    if slide not in (folder.name, folder.parent.name):
        raise SlideError(
            f"{folder}: its slide.json is of slide {slide!r}: the folder was renamed or copied;"
            " give it its name back."
        )


def _region(arrays: dict[str, Any], pixel_um: float) -> Region | None:
    step, height, width = (int(v) for v in arrays["tissue_geometry"])
    mask = np.asarray(arrays["tissue_mask"], np.bool_)
    if not mask[: height // step, : width // step].any():
        return None
    return Region.of_tissue(mask, step, (height, width), pixel_um, str(arrays["tissue_origin"]))
