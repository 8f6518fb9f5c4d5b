"""Chosen columns of a text or Parquet table: names as text, values as numbers, or a refusal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ifquant.errors import SlideError
from ifquant.files.text_table import TableProblem, TextTable, open_text_table
from ifquant.names import MISSING_NAMES

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet")
_NO_NUMBER = (
    *("", "NA", "N/A", "#N/A", "NaN", "nan", "<NA>", "null", "NULL", "None", "#DIV/0!"),
    *("∞", "-∞", "inf", "-inf"),
)
_EXACT = {pa.float16(): 2.0**11, pa.float32(): 2.0**24, pa.float64(): 2.0**53}
"""From here on a float no longer tells whole numbers apart."""


@dataclass(frozen=True)
class ColumnsFile:
    """A table on disk and the names of its columns, in order; `text` is None for Parquet."""

    path: Path
    names: tuple[str, ...]
    text: TextTable | None = None
    decimal: str = "."

    def read(self, wanted: Sequence[str], names: Iterable[str] = ()) -> pd.DataFrame:
        """Read columns by name.

        Parameters
        ----------
        wanted
            Columns, numbers unless they are among `names`.
        names
            Columns that name something (ids, slides, patients, phenotypes, classes): text as
            written, missing where nothing is named.

        Returns
        -------
        DataFrame whose index is the row's line in the file (Parquet: the row, from 1)

        Raises
        ------
        SlideError
            If the file is damaged, or a row does not fit the header (with its line).
        """
        columns, named = list(dict.fromkeys(wanted)), set(names)
        try:
            return (
                self._read_parquet(columns, named)
                if self.text is None
                else self._read_text(self.text, columns, named)
            )
        except TableProblem as error:
            raise SlideError(f"{self.path}: {error}") from error
        except (OSError, EOFError, ValueError, pa.ArrowException) as error:  # pandas: ValueErrors
            raise SlideError(
                f"{self.path}: cannot be read as a table ({error}); export it again."
            ) from error

    def _read_text(self, text: TextTable, columns: list[str], named: set[str]) -> pd.DataFrame:
        blank, widest = text.checked()
        at = {self.names.index(name): name for name in columns}
        texts: Any = {place: str for place, name in at.items() if name in named}
        numbers: Any = {place: list(_NO_NUMBER) for place, name in at.items() if name not in named}
        places = list(range(max(widest, 1 + max(at))))
        with text.opened() as file:
            table = pd.read_csv(
                file,
                sep=text.separator,
                decimal=self.decimal,
                header=None,
                skiprows=text.header_line,
                names=places,
                usecols=list(at),
                dtype=texts,
                na_values=numbers,
                keep_default_na=False,
                index_col=False,
                low_memory=False,
                skipinitialspace=True,
                skip_blank_lines=False,
            )
        table.index = pd.RangeIndex(text.header_line + 1, text.header_line + 1 + len(table))
        table.columns = pd.Index([at[int(place)] for place in table.columns])
        for name in named & set(columns):
            table[name] = _names(table[name])
        return (table.drop(index=blank, errors="ignore") if blank else table)[columns]

    def _read_parquet(self, columns: list[str], named: set[str]) -> pd.DataFrame:
        stored = pq.read_table(self.path, columns=columns)
        made = {
            name: (
                _names(_as_text(stored[name], name)) if name in named else stored[name].to_pandas()
            )
            for name in columns
        }
        table = pd.DataFrame(made)
        table.index = pd.RangeIndex(1, 1 + len(table))
        return table

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.path}: {'row' if self.text is None else 'line'} {row}"


def open_columns(path: Path, separator: str | None = None, decimal: str = ".") -> ColumnsFile:
    """Look at a table's header.

    Parameters
    ----------
    path
        CSV, TSV or TXT (also .gz), or Parquet.
    separator, decimal
        Of a text table; the separator defaults to the commonest of comma, semicolon and tab in the
        header.

    Raises
    ------
    SlideError
        If the file cannot be read, has no header or names two columns alike.
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise SlideError(
            f"{path}: not a cell table; expected a name ending in {', '.join(SUFFIXES)}."
        )
    try:
        if name.endswith(".parquet"):
            return ColumnsFile(path, _unique(path, pq.read_schema(path).names))
        text = open_text_table(path, separator)
    except TableProblem as error:
        raise SlideError(f"{path}: {error}") from error
    except (OSError, EOFError, ValueError) as error:
        raise SlideError(f"{path}: cannot be read as a table ({error}).") from error
    return ColumnsFile(path, _unique(path, text.header), text, decimal)


def _unique(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Refuse two columns of one name; nameless ones (an index, a last separator) get a number."""
    filled = [str(name) or f"unnamed {place + 1}" for place, name in enumerate(names)]
    twice = [name for place, name in enumerate(filled) if name in filled[:place]]
    if twice:
        raise SlideError(
            f"{path}: two columns are called {twice[0]!r}; rename one of them in the table."
        )
    return tuple(filled)


def _names(values: pd.Series) -> pd.Series:
    """Names as `name_or_none` gives them: as written, missing where nothing is named."""
    text = values.astype("string").str.strip()
    return pd.Series(text.mask(text.str.lower().isin(MISSING_NAMES)))


def _as_text(column: pa.ChunkedArray, name: str) -> pd.Series:
    """Text of a Parquet column; whole numbers stored as floats (one is missing) are whole.

    Raises
    ------
    ValueError
        If a float is too large to be an exact id.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind):
        exact, number = _EXACT[kind], np.dtype(kind.to_pandas_dtype()).type
        return pd.Series(
            [_float_text(value, number, exact, name) for value in column.to_pylist()], dtype=object
        )
    if pa.types.is_nested(kind):
        raise ValueError(f"column {name!r} holds lists or records where names are expected")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        column = column.cast(pa.string())
    # as pandas writes them into a text table
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        return pd.Series(column.to_pandas().astype("string"), dtype=object)
    text: Any = pc.cast(column, pa.string())
    return pd.Series(text.to_pylist(), dtype=object)


def _float_text(value: float | None, number: Any, exact: float, name: str) -> str | None:
    """Write a float as the whole number it is, else with the fewest digits that tell it apart."""
    if value is None or math.isnan(value):
        return None
    if not float(value).is_integer():
        return str(number(value))
    if abs(value) >= exact:
        raise ValueError(
            f"column {name!r} holds the id {value:.0f} as a floating-point number, which is not"
            " exact; store ids as text"
        )
    return str(int(value))
