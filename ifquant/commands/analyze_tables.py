"""Read cell tables into one common value per slide: our results, QuPath, mcquant, inForm, HALO, or
any table whose columns are named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ifquant.errors import RequestError, SlideError
from ifquant.names import alike_warnings
from ifquant.recipe.rules import nearest
from ifquant.recipe.table_mapping import TableMapping
from ifquant.results import result_tables
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.sheet_rows import rows_of
from ifquant.slides.slide_names import loose_slide_key, natural_order, slide_key
from ifquant.tables import table_formats
from ifquant.tables.cell_table import CellTable
from ifquant.tables.columns_file import SUFFIXES, ColumnsFile, open_columns
from ifquant.tables.phenotype_words import phenotypes_of, positivity
from ifquant.tables.table_layout import Layout, layout_of
from ifquant.tables.table_slides import check_slides, slides_of, the_only

_NO_OUTLINES = "contacts and border distances cannot be told; distances are between centroids"
_NO_REGION = "where tissue ends is not known; windows are made from the cells themselves"
_CELL_OBJECTS = ("cell", "detection")


def read_cell_tables(
    path: str | os.PathLike[str],
    mapping: TableMapping | None = None,
    *,
    samples: Sequence[Sample] = (),
) -> dict[str, CellTable]:
    """Read every slide of a folder of results, of a table, or of a folder of tables.

    Parameters
    ----------
    path
        A folder ``ifquant run`` wrote (`mapping` None or format ``ifquant``), a table (CSV, TSV,
        TXT, also .gz; Parquet), or a folder of tables of one kind.
    mapping
        The section ``[table]``; needed for every table but our own.
    samples
        Rows of a sample sheet: patient and group of each slide, by the slide's name, where the
        table does not say them.

    Returns
    -------
    dict : slide > `CellTable`, in natural order of the names (s2 before s10)

    Raises
    ------
    RequestError
        If the mapping does not fit: a column that is not there, a unit that is not given or that
        the table's header contradicts, a phenotype that no cell has, a slide in two files or of two
        patients.
    SlideError
        If a file is damaged or holds no cell.
    """
    place = Path(path)
    if not place.exists():
        raise RequestError(
            f"{place}: no such file or folder; give the results of a run or a cell table."
        )
    if mapping is None or mapping.format == "ifquant":
        return _with_samples(result_tables.read_results(place), samples)
    return _with_samples(_read_files(_files(place), mapping), samples)


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = sorted(
        (
            f
            for f in place.iterdir()
            if f.name.lower().endswith(SUFFIXES) and not f.name.startswith(".")
        ),
        key=_by_name,
    )
    if not found:
        raise RequestError(
            f"{place}: no cell tables in this folder (looked for {', '.join(SUFFIXES)})."
        )
    return found


def _by_name(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    return natural_order(str(path))


def _read_files(files: Sequence[Path], mapping: TableMapping) -> dict[str, CellTable]:
    found: dict[str, CellTable] = {}
    values: set[str] = set()
    for path in files:
        file = open_columns(path, mapping.separator, mapping.decimal)
        for slide, table in _read_file(file, layout_of(file, mapping), mapping, values).items():
            if slide in found:
                raise RequestError(
                    f"slide {slide!r} is in {found[slide].source} and in {path}; name the slide"
                    " column or the files apart."
                )
            found[slide] = table
    _refuse_unmet(values, mapping)
    return _with_alike({slide: found[slide] for slide in sorted(found, key=natural_order)})


def _with_alike(tables: dict[str, CellTable]) -> dict[str, CellTable]:
    """Say in every table which names of slides, patients, groups and phenotypes are easily
    confused.
    """
    every = tables.values()
    said = (
        *alike_warnings("slide", tables, slide_key, loose_slide_key),
        *alike_warnings("patient", [table.patient for table in every if table.patient]),
        *alike_warnings("group", [table.group for table in every if table.group]),
        *alike_warnings("phenotype", [name for table in every for name in table.phenotypes]),
    )
    return (
        {
            slide: replace(table, warnings=(*table.warnings, *said))
            for slide, table in tables.items()
        }
        if said
        else tables
    )


def _read_file(
    file: ColumnsFile, layout: Layout, mapping: TableMapping, values: set[str]
) -> dict[str, CellTable]:
    """Read the slides of one file; the phenotypes it names are added to `values`."""
    raw = file.read(layout.wanted, layout.names)
    if layout.phenotype is not None:
        values |= set(raw[layout.phenotype].dropna())
    slides = slides_of(raw, file, layout)
    cells, warnings = _cells(raw, file, layout, mapping)
    own = slides[cells.index]
    check_slides(raw.loc[cells.index], own, file, layout)
    if layout.cell_id is None:
        cells.insert(0, "cell_id", cells.groupby(own.to_numpy(object)).cumcount() + 1)
    n_all = slides.value_counts()
    found = {}
    for slide, rows in cells.groupby(own.to_numpy(object), sort=False):
        name = str(slide)
        repeated = int(rows["cell_id"].dropna().duplicated().sum())
        said = (
            f"{repeated} cell id{' occurs' if repeated == 1 else 's occur'} more than once: are"
            " several slides or fields in one? Then name "
        )
        mixed = (f"{said}the column slide.",) * (repeated > 0)
        found[name] = CellTable(
            slide=name,
            cells=rows.reset_index(drop=True),
            patient=_said(raw, rows.index, mapping.patient, name, "patient"),
            group=_said(raw, rows.index, mapping.group, name, "group"),
            pixel_size_um=mapping.pixel_size_um,
            source=f"{file.path} ({mapping.format})",
            columns=layout.origin,
            unknown=_unknown(cells),
            n_dropped=int(n_all[name]) - len(rows),
            warnings=(*warnings, *mixed),
        )
    if not found:
        raise SlideError(f"{file.path}: no cell with a position among {len(raw)} rows.")
    return found


def _numbers(column: pd.Series, file: ColumnsFile) -> pd.Series:
    """Return a column as float64; what is not finite is missing.

    Raises
    ------
    RequestError
        If a value is no number.
    """
    numbers = column
    if not pd.api.types.is_numeric_dtype(column):
        numbers = pd.to_numeric(column, errors="coerce")
        bad = column[numbers.isna() & column.notna()]
        if len(bad):
            text = str(bad.iloc[0])
            comma = re.fullmatch(r"[-+]?\d+,\d+(e.*)?", text)
            hint = ' If the decimal sign is a comma, set decimal = ",".' if comma else ""
            raise RequestError(
                f"{file.place(int(bad.index[0]))}: column {column.name!r} holds {text!r} where a"
                f" number is expected.{hint}"
            )
    return numbers.astype("float64").replace([np.inf, -np.inf], np.nan)


def _cells(
    raw: pd.DataFrame, file: ColumnsFile, layout: Layout, mapping: TableMapping
) -> tuple[pd.DataFrame, list[str]]:
    """Return the cells in our columns (index = line of the file) and what people should know."""
    warnings = list(layout.warnings)

    def number(name: str) -> pd.Series:
        return _numbers(raw[name], file)

    def position(names: tuple[str, ...]) -> pd.Series:
        middle = sum((number(name) for name in names[1:]), number(names[0])) / len(names)
        return (middle + 0.5 - layout.center) * layout.um_per_unit if layout.in_px else middle

    cells = pd.DataFrame({"x_um": position(layout.x), "y_um": position(layout.y)}, index=raw.index)
    kept = cells.notna().all(axis=1)
    if layout.object_type is not None:
        kept &= raw[layout.object_type].str.casefold().isin(_CELL_OBJECTS).fillna(False)
    for ours, theirs in layout.areas.items():
        cells[ours] = number(theirs) * layout.um2_per_unit
    for ours, theirs in layout.intensities.items():
        cells[ours] = number(theirs)
    for marker, theirs in layout.positive.items():
        cells[f"{marker}_positive"] = positivity(
            raw[theirs].astype("string"), f"{file.path}: column {theirs!r}"
        )
    for marker, gate in mapping.gates.items():
        cells[f"{marker}_positive"] = (
            (cells[layout.gated[marker]] > gate)
            .astype("boolean")
            .mask(cells[layout.gated[marker]].isna())
        )
    for ours, theirs in mapping.extra.items():
        found = str(table_formats.find(file.names, theirs))
        cells[ours] = raw[found] if found in layout.names else number(found)
    cells = cells[kept].copy()
    if layout.cell_id is not None:
        cells.insert(0, "cell_id", raw.loc[kept, layout.cell_id])
    phenotype = phenotypes_of(
        cells,
        None if layout.phenotype is None else raw.loc[kept, layout.phenotype],
        mapping,
        str(file.path),
    )
    if phenotype is not None:
        cells["phenotype"] = phenotype
    return cells, warnings


def _said(
    raw: pd.DataFrame, rows: pd.Index, column: str | None, slide: str, what: str
) -> str | None:
    return (
        None
        if column is None
        else the_only(
            raw.loc[rows, str(table_formats.find(list(raw.columns), column))], slide, what
        )
    )


def _unknown(cells: pd.DataFrame) -> dict[str, str]:
    unknown = {"outlines": _NO_OUTLINES, "region": _NO_REGION}
    if "phenotype" not in cells:
        unknown["phenotype"] = (
            "no column says it; name one (phenotype) or give rules over markers with positivity or"
            " gates"
        )
    return unknown


def _refuse_unmet(met: set[str], mapping: TableMapping) -> None:
    """Refuse phenotype values that no cell of any slide has: a slip of the pen, not an empty
    phenotype.
    """
    for ours, theirs in mapping.phenotypes.items():
        for value in theirs:
            if value not in met:
                near = nearest(value, sorted(met))
                listed = ", ".join(map(repr, sorted(met)[:20])) or "no phenotypes at all"
                hint = f"did you mean {near!r}?" if near else f"found {listed}."
                raise RequestError(f"phenotypes.{ours}: no cell is called {value!r}; {hint}")


def _with_samples(
    tables: Mapping[str, CellTable], samples: Sequence[Sample]
) -> dict[str, CellTable]:
    sheet = rows_of(
        samples, tables, [slide for slide, table in tables.items() if table.folder is not None]
    )
    out = {}
    for slide, table in tables.items():
        row = sheet.get(slide)
        if row is None:
            out[slide] = table
            continue
        for what, ours, theirs in (
            ("patient", table.patient, row.patient),
            ("group", table.group, row.group),
        ):
            if ours is not None and theirs is not None and ours != theirs and table.folder is None:
                raise RequestError(
                    f"slide {slide!r}: {what} is {ours!r} in the table and {theirs!r} in the sample"
                    " sheet; correct one."
                )
        out[slide] = replace(
            table, patient=row.patient or table.patient, group=row.group or table.group
        )
    return out
