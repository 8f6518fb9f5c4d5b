"""slides.csv: one row per slide, finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from ifquant.columns.slide_columns import sample_names, slide_columns
from ifquant.files import table_files
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.results.file_names import SLIDES_TABLE
from ifquant.results.slide_record import SlideRecord
from ifquant.results.slide_summary import sample_columns
from ifquant.results.spreadsheet_text import safe_for_spreadsheets
from ifquant.slides.sample_sheet import Sample


@dataclass(frozen=True)
class SlideStatus:
    """How one slide of a run, or of a review, ended.

    Attributes
    ----------
    bug
        It failed by a bug of ifquant's.
    reused
        How much was taken from earlier results.
    tile_cores
        Cores (y0, x0, y1, x1) of its tiles.
    sample
        What the sample sheet says of it.
    warnings
        Sentences for people, gravest first.
    folder
        Folder of its results, if they are not in ``results/<slide>``.
    """

    name: str
    path: str
    status: Literal["done", "failed"]
    error: str | None = None
    bug: bool = False
    seconds: float = 0.0
    reused: Literal["nothing", "cells", "everything"] = "nothing"
    tile_cores: tuple[tuple[int, int, int, int], ...] = ()
    sample: Sample | None = None
    warnings: tuple[str, ...] = ()
    folder: Path | None = None


def write_slides_table(
    out: Path, statuses: Sequence[SlideStatus], recipe: ResolvedRecipe, name: str = SLIDES_TABLE
) -> pd.DataFrame:
    """Write one row per slide, in the order given; what is not in its status is read from its
    record.

    Parameters
    ----------
    out
        Folder of the results.
    name
        Name of the file.
    """
    table = slides_table(out, statuses, recipe)
    table_files.write_csv(safe_for_spreadsheets(table), out / name)
    return table


def slides_table(
    out: Path, statuses: Sequence[SlideStatus], recipe: ResolvedRecipe
) -> pd.DataFrame:
    """Make the table of `write_slides_table`, typed as `slide_columns` declares."""
    samples = [sample_columns(status.sample) for status in statuses]
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    columns, renamed = slide_columns(recipe, names), sample_names(recipe, names)
    rows = []
    for status, sample in zip(statuses, samples, strict=True):
        place = out / status.name if status.folder is None else status.folder
        record = SlideRecord.find(place) if status.status == "done" else None
        row = {} if record is None else dict(record.summary)
        row |= {renamed[name]: text for name, text in sample.items() if name in renamed}
        row |= {"slide": status.name, "path": status.path}
        rows.append(row | {"status": status.status, "error": status.error})
    data = {c.name: pd.Series([row.get(c.name) for row in rows], dtype=c.dtype) for c in columns}
    return pd.DataFrame(data)
