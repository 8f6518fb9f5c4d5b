"""Text tables (CSV, TSV) of spreadsheet programs: encoding, separator, header, rows with lines.

Understood: byte-order marks, UTF-16, UTF-8 and Windows-1252; commas, semicolons, tabs; Excel's
first line ``sep=;``; blank lines; short rows. Refused with the line, because columns would shift or
text would be lost without a word: rows with more values than the header, line breaks inside quotes,
quotes that never close, a last line that was cut off.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SEPARATORS = ",;\t"
_SEP_LINE = re.compile(r"sep=(.)\1*", re.IGNORECASE)


class TableProblem(ValueError):
    """What is wrong with a text table, with its line and what to do; the caller names the file."""


@dataclass(frozen=True)
class TextTable:
    """A text table on disk; its header stands in `header_line` (1 is the first line)."""

    path: Path
    encoding: str
    separator: str
    header: tuple[str, ...]
    header_line: int

    def opened(self) -> io.TextIOWrapper:
        """Open the text from its first line; only line feeds and carriage returns end lines."""
        return io.TextIOWrapper(_binary(self.path), encoding=self.encoding)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines below the header with their numbers."""
        with self.opened() as text:
            for number, line in enumerate(text, 1):
                if "\0" in line:
                    raise TableProblem(_no_text(number))
                if number > self.header_line:
                    yield number, line

    def values(self, line: str, number: int) -> list[str]:
        """Split a line into its values, less blanks around them.

        Raises
        ------
        TableProblem
            If it has more values than the header or ends inside quotes.
        """
        values = _split(line, self.separator, number)
        if len(values) > len(self.header) and any(values[len(self.header) :]):
            raise TableProblem(
                f"line {number}: {len(values)} values for {len(self.header)} columns, so that it is"
                " not known which is which; is a value with the separator in it unquoted (a"
                " decimal comma?), or does the header lack a name (row names)?"
            )
        return values[: len(self.header)]

    def checked(self) -> tuple[list[int], int]:
        """Check every line; returns the numbers of blank lines, and the most values of a row.

        Raises
        ------
        TableProblem
            As `values`, and if the last line was cut off.
        """
        blank, width, widest, number = [], len(self.header), 0, self.header_line
        for number, line in self.lines():
            if (
                '"' not in line and line.count(self.separator) + 1 == width
            ):  # the common case, in a tenth of the time
                widest = width
                continue
            if is_blank(line):
                blank.append(number)
                continue
            n = len(self.values(line, number))
            widest = max(widest, n)
            if n < width and not line.endswith("\n"):
                raise TableProblem(
                    f"line {number}: fewer than {width} values and no line end: the file was"
                    " cut off"
                )
        named = max((place for place, name in enumerate(self.header, 1) if name), default=0)
        if 0 < widest < named:
            raise TableProblem(
                f"line {number}: the header has {named} names, and no row more than {widest}"
                " values; name what is there"
            )
        return blank, widest


def open_text_table(
    path: Path, separator: str | None = None, *, remarks: bool = False
) -> TextTable:
    """Look at encoding, separator and header of a text table (also .gz).

    Parameters
    ----------
    separator
        Default: what a first line ``sep=;`` says, else the commonest of comma, semicolon and tab in
        the header.
    remarks
        Lines before the header that begin with # are passed over.

    Raises
    ------
    TableProblem
        If there is no header or the file is no text.
    OSError, EOFError
        If it cannot be read.
    """
    encoding = _encoding(path)
    stated = None
    with io.TextIOWrapper(_binary(path), encoding=encoding) as text:
        for number, line in enumerate(text, 1):
            if "\0" in line:
                raise TableProblem(_no_text(number))
            if stated is None and (found := _SEP_LINE.fullmatch(line.strip("\r\n\ufeff\"'"))):
                stated = found[1]
                continue
            if not line.strip() or (remarks and is_remark(line, "")):
                continue
            chosen = separator or stated or max(SEPARATORS, key=line.count)
            return TextTable(path, encoding, chosen, tuple(_split(line, chosen, number)), number)
    raise TableProblem("its first line is no header; expected the names of the columns")


def _no_text(number: int) -> str:
    return f"line {number} is not text; save the table as CSV (UTF-8)"


def is_blank(line: str) -> bool:
    """Whether a line holds nothing; DOS ends a text with a sign of its own."""
    return not line.strip().strip("\x1a")


def is_remark(line: str, separator: str) -> bool:
    """Whether a line begins with # (below the header: # and a blank; ``#12`` may be a name)."""
    return re.match(r"#" if not separator else r"#(\s|$)", line.lstrip(" \ufeff")) is not None


def _split(line: str, separator: str, number: int) -> list[str]:
    if '"' not in line:
        return [value.strip().strip("\ufeff") for value in line.rstrip("\r\n").split(separator)]
    tight = re.sub(
        rf'"[^\S\t]+(?={re.escape(separator)}|$)', '"', line.rstrip("\r\n")
    )  # blanks behind a closing quote
    try:
        values = next(csv.reader([tight], delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error as error:
        if "end of data" in str(error):
            raise TableProblem(
                f"line {number}: a quoted value has a line break in it, or its quote is never"
                " closed; put every row on one line"
            ) from error
        raise TableProblem(
            f"line {number}: a value goes on after its closing quote; double the quotes inside a"
            " quoted value"
        ) from error
    return [value.strip().strip("\ufeff") for value in values]


def _encoding(path: Path) -> str:
    """UTF-16 by its mark; UTF-8 where all of the file is that; else Windows-1252."""
    with _binary(path) as file:
        head = file.read(2)
        if head in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
    try:
        with io.TextIOWrapper(_binary(path), encoding="utf-8") as text:
            while text.read(1 << 20):
                pass
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _binary(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")
