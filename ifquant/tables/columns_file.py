"""Read chosen columns of a text or Parquet table. Spreadsheet programs write many kinds of CSV; what is unclear is asked, not guessed."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from ifquant.errors import SlideError

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".parquet")
_MISSING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "#DIV/0!", "∞", "-∞", "inf", "-inf")


@dataclass(frozen=True)
class ColumnsFile:
    """A table on disk and the names of its columns, in order."""

    path: Path
    names: tuple[str, ...]
    separator: str = ","
    encoding: str = ""
    decimal: str = "."

    def read(self, wanted: Sequence[str]) -> pd.DataFrame:
        """Read columns by name.

        Raises
        ------
        SlideError
            If the file is damaged.
        """
        names = list(dict.fromkeys(wanted))
        try:
            if not self.encoding:
                frame: pd.DataFrame = pq.read_table(self.path, columns=names).to_pandas()
                return frame
            with _opened(self.path, self.encoding) as text:
                table = pd.read_csv(
                    text,
                    sep=self.separator,
                    decimal=self.decimal,
                    header=0,
                    names=list(range(len(self.names))),
                    usecols=[self.names.index(name) for name in names],
                    index_col=False,
                    na_values=list(_MISSING),
                    keep_default_na=False,
                    low_memory=False,
                    skipinitialspace=True,
                )
        except (OSError, EOFError, ValueError, UnicodeError) as error:  # pandas' and pyarrow's parser errors are ValueErrors
            raise SlideError(f"{self.path}: cannot be read as a table ({error}); export it again.") from error
        table.columns = pd.Index([self.names[int(index)] for index in table.columns])
        return table[names]


def open_columns(path: Path, separator: str | None = None, decimal: str = ".") -> ColumnsFile:
    """Look at a table's header.

    Parameters
    ----------
    path
        CSV, TSV or TXT (also .gz), or Parquet.
    separator, decimal
        Of a text table; the separator defaults to the commonest of comma, semicolon and tab in the header.

    Raises
    ------
    SlideError
        If the file cannot be read, has no header or names two columns alike.
    """
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise SlideError(f"{path}: not a cell table; expected a name ending in {', '.join(SUFFIXES)}.")
    try:
        if name.endswith(".parquet"):
            return ColumnsFile(path, _unique(path, pq.read_schema(path).names))
        encoding = _encoding(path)
        with _opened(path, encoding) as text:
            line = text.readline()
    except (OSError, EOFError, ValueError, UnicodeError) as error:
        raise SlideError(f"{path}: cannot be read as a table ({error}).") from error
    if not line.strip() or "\0" in line:
        raise SlideError(f"{path}: its first line is no header; expected the names of the columns.")
    chosen = separator or max(",;\t", key=line.count)
    header = next(csv.reader([line], delimiter=chosen, skipinitialspace=True))
    return ColumnsFile(path, _unique(path, [cell.strip().strip("\ufeff") for cell in header]), chosen, encoding, decimal)


def _unique(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Refuse two columns of one name; nameless ones (an index, a trailing separator) get a number."""
    filled = [str(name) or f"unnamed {place + 1}" for place, name in enumerate(names)]
    twice = [name for place, name in enumerate(filled) if name in filled[:place]]
    if twice:
        raise SlideError(f"{path}: two columns are called {twice[0]!r}; rename one of them in the table.")
    return tuple(filled)


def _encoding(path: Path) -> str:
    with _binary(path) as file:
        head = file.read(1 << 16)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not merely a letter cut at the end
            return "cp1252"
    return "utf-8-sig"


def _binary(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def _opened(path: Path, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(_binary(path), encoding=encoding, newline="")
