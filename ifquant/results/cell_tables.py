"""cells.parquet, cells.csv and pairs.parquet of a slide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ifquant.columns.cell_columns import cell_columns, parquet_metadata
from ifquant.columns.pair_columns import PAIR_COLUMNS
from ifquant.errors import SlideError
from ifquant.files import storage, table_files
from ifquant.results.file_names import CELLS, CELLS_CSV, PAIRS
from ifquant.results.slide_result import SlideResult
from ifquant.results.spreadsheet_text import safe_for_spreadsheets

MAX_CSV_CELLS = 1_000_000
"""cells.csv is left out above this: no spreadsheet opens it."""


def write_cells(result: SlideResult, folder: Path) -> None:
    """Write cells.parquet with unit and meaning of each column and, if wanted, cells.csv."""
    meanings = parquet_metadata(cell_columns(result.recipe))
    metadata = {table_files.SLIDE_KEYS[0]: result.name}
    table_files.write_parquet(
        result.table, folder / CELLS, meanings, metadata, after_block=result.let_go
    )
    csv = folder / CELLS_CSV
    if result.recipe.outputs.csv and len(result.table) <= MAX_CSV_CELLS:
        table_files.write_csv(safe_for_spreadsheets(result.table), csv, after_block=result.let_go)
    else:
        _remove(csv)


def write_pairs(result: SlideResult, folder: Path) -> None:
    """Write pairs.parquet where the recipe has [priming]; take away an older one where it has
    not.
    """
    path = folder / PAIRS
    if result.pairs is None:
        _remove(path)
        return
    metadata = {table_files.SLIDE_KEYS[0]: result.name}
    table_files.write_parquet(result.pairs, path, parquet_metadata(PAIR_COLUMNS), metadata)


def _remove(path: Path) -> None:
    if path.exists():
        with storage.writing(path):
            storage.remove(path)


def read_table(folder: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read cells.parquet, or some of its columns.

    Raises
    ------
    OSError, pyarrow.ArrowException
        If it is not there or damaged.
    """
    chosen = None if columns is None else list(columns)
    table: pa.Table = pq.read_table(folder / CELLS, columns=chosen)
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    return frame


def open_table(folder: Path) -> pq.ParquetFile:
    """Open cells.parquet to read it in parts; a context manager."""
    return pq.ParquetFile(folder / CELLS)


def read_pairs(folder: Path) -> pd.DataFrame:
    """Read the contacts that a run measured.

    Raises
    ------
    SlideError
        If the results were made before the recipe had [priming].
    """
    if not (folder / PAIRS).is_file():
        raise SlideError(
            f"{folder}: no pairs.parquet; run ifquant run again with [priming] in the recipe"
            " (cells are taken over)."
        )
    return pd.read_parquet(folder / PAIRS)


def refuse_other_slide(folder: Path, slide: str) -> None:
    """Refuse a folder that was renamed, or whose table is another slide's than its record.

    Raises
    ------
    SlideError
        Always then.
    """
    stored = table_files.slide_of(folder / CELLS)
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
