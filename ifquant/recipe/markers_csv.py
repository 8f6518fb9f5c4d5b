"""Read marker files of MCMICRO, nf-core/mcmicro and steinbock, as tolerantly as their own users
write them.

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
from ifquant.recipe.model import Role, name_key
from ifquant.recipe.rules import nearest

MAX_BYTES = 1_000_000
NAME_COLUMNS = ("marker_name", "marker", "name", "channel_name", "biomarker", "target")
CYCLE_COLUMNS = ("cycle_number", "cycle", "round")
NUMBER_COLUMNS = ("channel_number", "channel_index")
_TRUE, _FALSE = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0", ""}
_EMPTY = {"", "na", "n/a", "nan", "none"}


class MarkerName(str):
    """A marker's name that also knows the role its file gives it (``ignore`` or ``background``), or
    None.
    """

    role: Role | None = None


@dataclass(frozen=True)
class _Row:
    line: int
    name: str
    order: tuple[int, int] | None
    ignore: bool
    background: str


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
    if delimiter not in lines[0][1]:
        delimiter = ","
    table = [
        (
            number,
            [
                field.strip().strip("\"'").strip()
                for field in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
            ],
        )
        for number, line in lines
    ]
    problems: list[str] = []
    rows = _rows(path, table, problems)
    markers = _with_roles(rows, problems)
    if problems:
        raise RequestError(
            f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''}\n"
            + "\n".join(f"  {p}" for p in problems)
        )
    return markers


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
    name_at = next((header.index(name) for name in NAME_COLUMNS if name in header), None)
    if name_at is None:
        if max(len(fields) for _, fields in table) > 1:
            raise RequestError(
                f"{path}: the header has columns {', '.join(map(repr, table[0][1]))}, expected one"
                " called marker_name (optional: channel_number, cycle_number, remove, background)."
            )
        return [_Row(number, fields[0], None, False, "") for number, fields in table]

    def column(*names: str) -> int | None:
        return next((header.index(name) for name in names if name in header), None)

    cycle_at, number_at = column(*CYCLE_COLUMNS), column(*NUMBER_COLUMNS)
    remove_at, keep_at, background_at = column("remove"), column("keep"), column("background")
    rows = []
    for number, fields in table[1:]:
        fields = fields + [""] * (len(header) - len(fields))
        if len(fields) > len(header) and any(fields[len(header) :]):
            problems.append(
                f"line {number}: {len(fields)} fields, expected {len(header)} as in the header"
            )
        order = None
        if number_at is not None:
            cycle = (
                _integer(fields[cycle_at], header[cycle_at], number, problems)
                if cycle_at is not None
                else 0
            )
            channel = _integer(fields[number_at], header[number_at], number, problems)
            order = (cycle, channel)
        ignore = (
            _flag(fields[remove_at], "remove", number, problems) if remove_at is not None else False
        )
        if keep_at is not None and fields[keep_at]:
            ignore |= not _flag(fields[keep_at], "keep", number, problems)
        rows.append(
            _Row(
                number,
                fields[name_at],
                order,
                ignore,
                fields[background_at] if background_at is not None else "",
            )
        )
    if not rows:
        problems.append("a header and no marker below it")
    return _ordered(rows, problems)


def _ordered(rows: list[_Row], problems: list[str]) -> list[_Row]:
    """By channel number; by cycle and channel number where the numbers start again in every
    cycle.
    """
    orders = [row.order for row in rows if row.order is not None]
    if len(orders) < len(rows) or problems:
        return rows
    if len({channel for _, channel in orders}) == len(orders):
        return sorted(rows, key=lambda row: row.order[1] if row.order else 0)
    if len(set(orders)) == len(orders):
        return sorted(rows, key=lambda row: row.order or (0, 0))
    seen: dict[tuple[int, int], int] = {}
    for row in rows:
        if row.order is not None:
            if row.order in seen:
                problems.append(
                    f"line {row.line}: channel number {row.order[1]} is already that of line"
                    f" {seen[row.order]}"
                )
            seen.setdefault(row.order, row.line)
    return rows


def _with_roles(rows: list[_Row], problems: list[str]) -> list[MarkerName]:
    names = [row.name for row in rows]
    seen: dict[str, int] = {}
    backgrounds: set[str] = set()
    for row in rows:
        if not row.name:
            problems.append(f"line {row.line}: the marker has no name")
        elif len(row.name) > 64 or any(
            unicodedata.category(letter) in {"Cc", "Cf"} for letter in row.name
        ):
            problems.append(
                f"line {row.line}: {row.name[:70]!r} is no usable name (at most 64 visible"
                " characters)"
            )
        elif name_key(row.name) in seen:
            problems.append(
                f"line {row.line}: {row.name!r} is already the name in line"
                f" {seen[name_key(row.name)]}; names must differ"
            )
        seen.setdefault(name_key(row.name), row.line)
        value = row.background.casefold()
        if value in _TRUE:  # before 2023 the column said TRUE on the background channel itself
            backgrounds.add(row.name)
        elif value not in _FALSE | _EMPTY:
            if row.background in names:
                backgrounds.add(row.background)
            else:
                near = nearest(row.background, names)
                hint = f"; did you mean {near!r}?" if near else ""
                problems.append(
                    f"line {row.line}: background {row.background!r} is no marker of this"
                    f" file{hint}"
                )
    markers = []
    for row in rows:
        marker = MarkerName(row.name)
        marker.role = (
            "background" if row.name in backgrounds else ("ignore" if row.ignore else None)
        )
        markers.append(marker)
    return markers


def _integer(text: str, column: str, line: int, problems: list[str]) -> int:
    digits = text.removesuffix(".0")
    if digits.isdecimal() and len(digits) < 7:
        return int(digits)
    problems.append(f"line {line}: {column} is {text!r}, expected a whole number")
    return 0


def _flag(text: str, column: str, line: int, problems: list[str]) -> bool:
    value = text.casefold()
    if value not in _TRUE | _FALSE | _EMPTY:
        problems.append(f"line {line}: {column} is {text!r}, expected true or false")
    return value in _TRUE
