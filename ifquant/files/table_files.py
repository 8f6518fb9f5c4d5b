"""Tables on disk: Parquet with the unit and meaning of each column, and CSV for spreadsheets. Written through `storage`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ifquant.files.csv_text import csv_text
from ifquant.files.storage import PathLike, atomic_path, write_blocks

SLIDE_KEYS = ("ifquant.slide", "ifquant.slides.slide")
"""Keys under which Parquet files say of which slide they are: the one that is written, and one that was for a time."""
_ROWS = 1 << 17
"""Rows of a row group: what is turned into Arrow at once."""


def write_parquet(
    table: pd.DataFrame,
    final: PathLike,
    columns: Mapping[str, Mapping[str, str]] | None = None,
    metadata: Mapping[str, str] | None = None,
    *,
    after_block: Callable[[], object] | None = None,
) -> None:
    """Write a table atomically and check its row count.

    Parameters
    ----------
    table : the index is not kept. Equal tables give equal bytes.
    columns : per column name, key > text (unit, meaning) for the field's Parquet metadata.
    metadata : key > text for the file.
    after_block : called after each block of rows (to let go of its memory).
    """
    columns = columns or {}
    blocks = [table.iloc[start : start + _ROWS] for start in range(0, max(len(table), 1), _ROWS)]
    found = pa.Table.from_pandas(blocks[0], preserve_index=False).schema
    fields = [
        field.with_metadata({**(field.metadata or {}), **_encoded(columns[field.name])}) if field.name in columns else field
        for field in found
    ]
    schema = pa.schema(fields, metadata={**(found.metadata or {}), **_encoded(metadata or {})})
    with atomic_path(final) as part:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for block in blocks:
                writer.write_table(pa.Table.from_pandas(block, preserve_index=False).cast(schema))
                if after_block is not None:
                    after_block()
        rows = pq.read_metadata(part).num_rows
        if rows != len(table):
            raise OSError(f"{rows} of {len(table)} rows arrived")


def slide_of(path: PathLike) -> str | None:
    """Read of which slide a Parquet file says that it is; None where it does not say."""
    metadata = pq.read_schema(path).metadata or {}
    return next((metadata[key.encode()].decode() for key in SLIDE_KEYS if key.encode() in metadata), None)


def column_metadata(path: PathLike) -> dict[str, dict[str, str]]:
    """Read what `write_parquet` was told about each column."""
    return {
        field.name: {key.decode(): value.decode() for key, value in (field.metadata or {}).items() if not key.startswith(b"PARQUET:")}
        for field in pq.read_schema(path)
    }


def write_csv(table: pd.DataFrame, final: PathLike, *, after_block: Callable[[], object] | None = None) -> None:
    """Write a table as CSV atomically: UTF-8, Unix line ends, full precision, empty for missing. `after_block` as in `write_parquet`."""

    def blocks() -> Iterator[bytes]:
        for text in csv_text(table):
            yield text.encode()
            if after_block is not None:
                after_block()

    write_blocks(final, blocks())


def _encoded(texts: Mapping[str, str]) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in texts.items()}
