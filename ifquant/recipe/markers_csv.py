"""Marker files of MCMICRO, nf-core/mcmicro and steinbock, as their users write them.

Understood: a byte order mark, UTF-16, Latin-1; commas, semicolons, tabs; spaces around fields,
quotes, blank lines; columns in any order and case; the legacy form with one column and no header.
Column names seen in the wild: ``channel_number, cycle_number, marker_name`` (nf-core), ``cycle,
marker_name`` (MCMICRO), ``channel, name, keep`` (steinbock), with ``remove`` and ``background`` of
MCMICRO's background subtraction.
"""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from ifquant.errors import RequestError
from ifquant.recipe.model import Role
from ifquant.recipe.rules import suggestion
from ifquant.recipe.section import name_key

MAX_BYTES = 1_000_000
NAME_COLUMNS = ("marker_name", "marker", "name", "channel_name", "biomarker", "target")
CYCLE_COLUMNS = ("cycle_number", "cycle", "round")
NUMBER_COLUMNS = ("channel_number", "channel_index")
_TRUE, _FALSE = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0", ""}
_EMPTY = {"", "na", "n/a", "nan", "none"}


class MarkerName(str):
    """A marker's name with the role its file gives it (``ignore``, ``background``) or None."""

    role: Role | None = None


@dataclass(frozen=True)
class _Row:
    line: int
    name: str
    order: tuple[int, int] = (0, 0)
    ignore: bool = False
    background: str = ""


def read_markers(path: str | Path) -> list[MarkerName]:
    """Read the names of the channels in a marker file, in the order of the channels.

    Returns
    -------
    Names (text) with an attribute `role`: ``ignore`` for rows marked ``remove`` (or ``keep = 0``),
    ``background`` for channels that other rows name in their column ``background``, else None.

    Raises
    ------
    RequestError
        With all problems and their lines.
    """
    path = Path(path)
    text = _text(path)
    lines = [
        (number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip(" ,;\t\"'")
    ]
    if not lines:
        raise RequestError(f"{path}: empty; expected a marker file with a column marker_name.")
    delimiter = max(",;\t|", key=lambda letter: (lines[0][1].count(letter), letter == ","))
    table = [(number, _fields(line, delimiter)) for number, line in lines]
    problems: list[str] = []
    markers = _with_roles(_rows(path, table, problems), problems)
    if problems:
        raise RequestError(
            f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''}\n"
            + "\n".join(f"  {p}" for p in problems)
        )
    return markers


def _fields(line: str, delimiter: str) -> list[str]:
    fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
    return [field.strip().strip("\"'").strip() for field in fields]


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RequestError(
                f"{path}: {path.stat().st_size:,} bytes; a marker file has at most {MAX_BYTES:,}."
                " Is this another file?"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror or error}).") from error
    for encoding in (
        ["utf-16"] if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "cp1252"]
    ):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise RequestError(
        f"{path}: not a text file; expected a marker file (CSV) with a column marker_name."
    )


def _rows(path: Path, table: list[tuple[int, list[str]]], problems: list[str]) -> list[_Row]:
    header = [field.casefold().replace(" ", "_").replace("-", "_") for field in table[0][1]]

    def column(*names: str) -> str | None:
        return next((name for name in names if name in header), None)

    name_column = column(*NAME_COLUMNS)
    if name_column is None:
        if max(len(fields) for _, fields in table) > 1:
            raise RequestError(
                f"{path}: the header has columns {', '.join(map(repr, table[0][1]))}, expected one"
                " called marker_name (optional: channel_number, cycle_number, remove, background)."
            )
        return [_Row(number, fields[0]) for number, fields in table]
    cycle_column, number_column = column(*CYCLE_COLUMNS), column(*NUMBER_COLUMNS)
    rows = []
    for line, fields in table[1:]:
        if any(fields[len(header) :]):
            problems.append(
                f"line {line}: {len(fields)} fields, expected {len(header)} as in the header"
            )
        values = {name: fields[at] for at, name in reversed([*enumerate(header[: len(fields)])])}
        cycle = channel = 0
        if number_column is not None:
            if cycle_column is not None:
                cycle = _integer(values, cycle_column, line, problems)
            channel = _integer(values, number_column, line, problems)
        ignore = _flag(values, "remove", line, problems)
        if values.get("keep"):
            ignore |= not _flag(values, "keep", line, problems)
        name, background = values.get(name_column, ""), values.get("background", "")
        rows.append(_Row(line, name, (cycle, channel), ignore, background))
    if not rows:
        problems.append("a header and no marker below it")
    return rows if number_column is None or problems else _ordered(rows, problems)


def _ordered(rows: list[_Row], problems: list[str]) -> list[_Row]:
    """Sort by channel number, or by cycle and channel number where each cycle starts anew."""
    if len({row.order[1] for row in rows}) == len(rows):
        return sorted(rows, key=lambda row: row.order[1])
    first: dict[tuple[int, int], int] = {}
    for row in rows:
        if row.order in first:
            problems.append(
                f"line {row.line}: channel number {row.order[1]} is already that of line"
                f" {first[row.order]}"
            )
        first.setdefault(row.order, row.line)
    return sorted(rows, key=lambda row: row.order)


def _with_roles(rows: list[_Row], problems: list[str]) -> list[MarkerName]:
    names = {row.name for row in rows}
    first: dict[str, int] = {}
    backgrounds: set[str] = set()
    for row in rows:
        key = name_key(row.name)
        if not row.name:
            problems.append(f"line {row.line}: the marker has no name")
        elif len(row.name) > 64 or any(unicodedata.category(c) in {"Cc", "Cf"} for c in row.name):
            problems.append(
                f"line {row.line}: {row.name[:70]!r} is no usable name (at most 64 visible"
                " characters)"
            )
        elif key in first:
            problems.append(
                f"line {row.line}: {row.name!r} is already the name in line {first[key]}; names"
                " must differ"
            )
        first.setdefault(key, row.line)
        value = row.background.casefold()
        if value in _TRUE:  # before 2023 the column said TRUE on the background channel itself
            backgrounds.add(row.name)
        elif value in _FALSE | _EMPTY:
            pass
        elif row.background in names:
            backgrounds.add(row.background)
        else:
            problems.append(
                f"line {row.line}: background {row.background!r} is no marker of this file"
                + suggestion(row.background, [row.name for row in rows])
            )
    markers = [MarkerName(row.name) for row in rows]
    for marker, row in zip(markers, rows, strict=True):
        if row.name in backgrounds:
            marker.role = "background"
        elif row.ignore:
            marker.role = "ignore"
    return markers


def _integer(values: dict[str, str], column: str, line: int, problems: list[str]) -> int:
    text = values.get(column, "")
    digits = text.removesuffix(".0")
    if digits.isdecimal() and len(digits) < 7:
        return int(digits)
    problems.append(f"line {line}: {column} is {text!r}, expected a whole number")
    return 0


def _flag(values: dict[str, str], column: str, line: int, problems: list[str]) -> bool:
    text = values.get(column, "")
    value = text.casefold()
    if value not in _TRUE | _FALSE | _EMPTY:
        problems.append(f"line {line}: {column} is {text!r}, expected true or false")
    return value in _TRUE
