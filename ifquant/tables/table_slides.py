"""Which slide each row of a foreign table belongs to, and what may not be in one slide."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ifquant.errors import RequestError
from ifquant.tables.columns_file import SUFFIXES, ColumnsFile
from ifquant.tables.table_layout import Layout

JOINT = "_"
"""Between the names of several columns that together name a slide."""


def slides_of(raw: pd.DataFrame, file: ColumnsFile, layout: Layout) -> pd.Series:
    """Name the slide of every row by the table's columns, else by the file; or missing."""
    if not layout.slide:
        return pd.Series(table_name(file.path), index=raw.index, dtype="string")
    return _joined(raw[list(layout.slide)])


def check_slides(cells: pd.DataFrame, slides: pd.Series, file: ColumnsFile, layout: Layout) -> None:
    """Check that every cell has a slide, and every slide one image.

    Raises
    ------
    RequestError
        With the line, if a cell has no slide, or a slide holds several of the images that the table
        itself tells apart: their cells lie in coordinates of their own, and distances between them
        would mean nothing.
    """
    listed = " and ".join(map(repr, layout.slide))
    if len(lost := slides.index[slides.isna()]):
        raise RequestError(
            f"{file.place(int(lost[0]))}: no slide in column {listed} ({len(lost)} such rows); fill"
            " it in."
        )
    if len(layout.slide) > 1:
        _refuse_several(
            slides, _joined(cells[list(layout.slide)], "\0"), file, f"combinations of {listed}"
        )
    for image in layout.images:
        if image not in layout.slide:
            remedy = (
                f'; name the slide by both columns, e.g. slide = ["{image}", "{layout.slide[-1]}"]'
                if layout.slide
                else ""
            )
            _refuse_several(slides, cells[image], file, f"images (column {image!r})", remedy)


def table_name(path: Path) -> str:
    """Name of a table: its file's without suffix."""
    suffix = next(
        s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)
    )
    return path.name[: -len(suffix)] or "slide"


def the_only(values: pd.Series, slide: str, what: str) -> str | None:
    """Return what all cells of a slide say of it, e.g. its patient; None where none says it.

    Raises
    ------
    RequestError
        If they say different things.
    """
    known = values.dropna().unique()
    if len(known) > 1:
        raise RequestError(
            f"slide {slide!r} belongs to {len(known)} values of {what} ({', '.join(known[:3])});"
            " one is expected."
        )
    return str(known[0]) if len(known) else None


def _joined(parts: pd.DataFrame, joint: str = JOINT) -> pd.Series:
    first: pd.Series = parts.iloc[:, 0]
    return first if parts.shape[1] == 1 else first.str.cat(parts.iloc[:, 1:], sep=joint)


def _refuse_several(
    slides: pd.Series, told: pd.Series, file: ColumnsFile, what: str, remedy: str = ""
) -> None:
    """Refuse a slide whose rows differ in `told`; the message names the first line that does."""
    pairs = pd.DataFrame({"slide": slides, "told": told}).drop_duplicates()
    twice = pairs[pairs["slide"].duplicated()]
    if len(twice):
        line, slide = int(twice.index[0]), twice["slide"].iloc[0]
        own = pairs["told"][pairs["slide"] == slide]
        names = [
            repr(name.replace("\0", JOINT)) if isinstance(name, str) else "none" for name in own
        ]
        listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise RequestError(
            f"{file.place(line)}: slide {slide!r} holds several {what}: {listed}. Each has"
            f" coordinates of its own, so that distances between their cells mean nothing{remedy}."
        )
