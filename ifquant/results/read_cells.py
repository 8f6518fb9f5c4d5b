"""All cells of all slides of a run as one table, with the sample sheet's columns; read slide by
slide, only the columns asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ifquant.errors import RequestError, UnreadableImage
from ifquant.results.cell_tables import open_table
from ifquant.results.file_names import CELLS
from ifquant.results.run_record import finished_slides


def read_cells(
    results: str | Path | Sequence[str | Path], columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read the cells of every finished slide of a run, or of several, into one table.

    Parameters
    ----------
    results
        Folder that `ifquant run` wrote, or several (a job array's). After an interrupted run, the
        slides finished so far.
    columns
        Columns of cells.parquet to read; None: all. A million cells take about 700 MB with all
        columns of a five-channel panel, so name what you need of a large cohort.

    Returns
    -------
    pandas.DataFrame
        ``slide``, then the sample sheet's columns (``patient``, ``group``, ...; those whose name a
        column of cells.parquet has are called ``sample_<name>``), all as categories, then the
        columns of cells.parquet. Rows in the order of the run, then by ``cell_id``.

    Raises
    ------
    RequestError
        If a folder holds no finished slide, two folders the same slide, or a slide has no such
        column.

    Examples
    --------
    >>> cells = ifquant.read_cells("results", ["phenotype", "nearest_tumor_um"])  # doctest: +SKIP
    >>> patients = cells.groupby("patient", observed=True)  # doctest: +SKIP
    >>> patients["nearest_tumor_um"].median()  # doctest: +SKIP
    """
    folders = [results] if isinstance(results, (str, Path)) else list(results)
    slides: dict[str, Mapping[str, str]] = {}
    tables = []
    for folder in folders:
        own = finished_slides(folder).samples
        if twice := sorted(own.keys() & slides.keys()):
            raise RequestError(
                f"{folder}: {', '.join(twice)} is also in a folder before; read each slide once"
            )
        slides |= own
        tables += list(cell_tables(folder, columns))
    told_of = {name for sample in slides.values() for name in sample}
    described = [
        "slide",
        *(name for name in ("patient", "group") if name in told_of),
        *sorted(told_of - {"patient", "group"}),
    ]
    taken = {name for table in tables for name in table.column_names}
    parts = []
    for (slide, sample), table in zip(slides.items(), tables, strict=True):
        values = {"slide": slide, **sample}
        told = [_repeated(values.get(name), len(table)) for name in described]
        names = [f"sample_{name}" if name in taken else name for name in described]
        parts.append(pa.table([*told, *table.columns], names=[*names, *table.column_names]))
    whole = pa.concat_tables(parts, promote_options="default").unify_dictionaries()
    metadata = tables[0].schema.metadata or {}
    # which columns are nullable in pandas
    known = {b"pandas": metadata[b"pandas"]} if b"pandas" in metadata else None
    frame: pd.DataFrame = whole.replace_schema_metadata(known).to_pandas(split_blocks=True)
    return frame


def cell_tables(results: str | Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the cells of one finished slide after the other, in the order of the run; memory is
    that of one slide.
    """
    for slide in finished_slides(results).samples:
        path = Path(results) / slide / CELLS
        try:
            file = open_table(path.parent)
        except (OSError, pa.ArrowInvalid) as error:
            raise UnreadableImage(
                f"{path}: it cannot be read ({error}); run ifquant again, it makes what is missing"
            ) from error
        with file:
            missing = [name for name in columns or () if name not in file.schema_arrow.names]
            if missing:
                known = ", ".join(file.schema_arrow.names[:12])
                raise RequestError(
                    f"{path} has no column {', '.join(map(repr, missing))}; it has {known}, ..."
                    " (docs/columns.md lists all)"
                )
            yield file.read(columns=None if columns is None else list(columns))


def _repeated(value: str | None, n: int) -> pa.DictionaryArray:
    """Make a column that says the same of every cell; it takes one byte a row."""
    known = value is not None
    codes = pa.repeat(pa.scalar(0 if known else None, pa.int16()), n)
    return pa.DictionaryArray.from_arrays(codes, pa.array([value] if known else [], pa.string()))
