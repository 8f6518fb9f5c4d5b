"""Tables on disk: Parquet with unit and meaning of each column, and CSV for spreadsheets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ifquant.files.storage import PathLike, atomic_path, write_blocks

_CSV_ROWS = 1 << 16
"""Rows turned into text at once: a matter of memory only."""
_PLAIN = (1e-4, 1e10)
"""Arrow and Python print numbers of this size alike, but for the ``.0`` of whole ones; the few
others are printed by Python."""


def csv_text(table: pd.DataFrame) -> Iterator[str]:
    """Header and rows (without the index) as blocks of text with Unix line ends.

    pandas' `to_csv` makes the same bytes in four times the CPU time (60,000 rows of 23 columns:
    1.15 against 0.27 s); pyarrow's `write_csv` quotes all text.

    Raises
    ------
    TypeError
        If a column holds anything but numbers, booleans, categories and text.
    """
    yield ",".join(_quoted(str(name)) for name in table.columns) + "\n"
    for start in range(0, len(table), _CSV_ROWS):
        block = table.iloc[start : start + _CSV_ROWS]
        cells = [_as_text(block.iloc[:, i]) for i in range(block.shape[1])]
        lines = pc.binary_join_element_wise(
            *cells, ",", null_handling="replace", null_replacement=""
        )
        yield "\n".join(lines.to_pylist()) + "\n"


def _as_text(column: pd.Series[Any]) -> Any:
    """One column as an Arrow array of text, null where the value is missing."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        names = pa.array([_quoted(str(name)) for name in kind.categories], pa.string())
        codes = column.cat.codes.to_numpy()
        return names.take(pa.array(codes, mask=codes < 0))
    if pd.api.types.is_bool_dtype(kind):
        values = pa.array(column)
        return pc.if_else(values, "True", "False")
    if pd.api.types.is_float_dtype(kind):
        return _floats_as_text(
            column.to_numpy(np.float32 if kind == np.float32 else np.float64, na_value=np.nan)
        )
    if pd.api.types.is_integer_dtype(kind):
        return pa.array(column).cast(pa.string())
    texts = [
        None if missing else value for value, missing in zip(column, column.isna(), strict=True)
    ]
    wrong = next(
        (value for value in texts if value is not None and not isinstance(value, str)), None
    )
    if wrong is not None:
        raise TypeError(
            f"column {column.name!r} holds a {type(wrong).__name__}; a CSV table has numbers,"
            " booleans, categories and text"
        )
    return pa.array([None if value is None else _quoted(value) for value in texts], pa.string())


def _floats_as_text(values: NDArray[np.floating]) -> Any:
    size = np.abs(values)
    plain = (size < _PLAIN[1]) & ((size >= _PLAIN[0]) | (size == 0))
    whole = plain & (values == np.trunc(values))
    text = pa.array(values).cast(pa.string())
    text = pc.binary_join_element_wise(text, pc.if_else(pa.array(whole), ".0", ""), "")
    missing = np.isnan(values)
    rare = ~plain & ~missing
    if rare.any():
        text = pc.replace_with_mask(
            text, pa.array(rare), pa.array([str(value) for value in values[rare]], pa.string())
        )
    return (
        pc.if_else(pa.array(missing), pa.scalar(None, pa.string()), text) if missing.any() else text
    )


def _quoted(text: str) -> str:
    """Text as it stands, or in quotes where it would be read as several cells."""
    return (
        '"' + text.replace('"', '""') + '"'
        if any(character in text for character in ',"\r\n')
        else text
    )


SLIDE_KEYS = ("ifquant.slide", "ifquant.slides.slide")
"""Keys under which Parquet files say of which slide they are: the one that is written, and one that
was for a time."""
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
        (
            field.with_metadata({**(field.metadata or {}), **_encoded(columns[field.name])})
            if field.name in columns
            else field
        )
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
    return next(
        (metadata[key.encode()].decode() for key in SLIDE_KEYS if key.encode() in metadata), None
    )


def column_metadata(path: PathLike) -> dict[str, dict[str, str]]:
    """Read what `write_parquet` was told about each column."""
    return {
        field.name: {
            key.decode(): value.decode()
            for key, value in (field.metadata or {}).items()
            if not key.startswith(b"PARQUET:")
        }
        for field in pq.read_schema(path)
    }


def write_csv(
    table: pd.DataFrame, final: PathLike, *, after_block: Callable[[], object] | None = None
) -> None:
    """Write UTF-8 CSV atomically: Unix line ends, full precision, empty for missing."""

    def blocks() -> Iterator[bytes]:
        for text in csv_text(table):
            yield text.encode()
            if after_block is not None:
                after_block()

    write_blocks(final, blocks())


def _encoded(texts: Mapping[str, str]) -> dict[bytes, bytes]:
    return {key.encode(): value.encode() for key, value in texts.items()}
