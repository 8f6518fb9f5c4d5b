"""What a run leaves of a slide: cells.parquet, cells.csv, labels.ome.zarr, overlay.png, detail.png,
and slide.json last.

slide.json is removed first and written last: a folder without it is unfinished, whatever else is
there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant import provenance
from ifquant.columns.cell_columns import cell_columns, parquet_metadata
from ifquant.columns.flags import count_flags, flags_as_json
from ifquant.columns.pair_columns import PAIR_COLUMNS
from ifquant.columns.slide_columns import sample_names, slide_columns
from ifquant.errors import RequestError
from ifquant.files import storage, table_files
from ifquant.files.packed_arrays import packed
from ifquant.geometry.runs import CellRuns, paint
from ifquant.geometry.windows import Window
from ifquant.notes import GRAVE, PLAIN, grave
from ifquant.phenotypes.classification import double_positive_counts
from ifquant.recipe.defaults import channel_colors
from ifquant.recipe.model import Recipe
from ifquant.results.slide_result import SlideResult
from ifquant.results.slide_summary import margin_table, sample_columns, summary_row
from ifquant.slides.overview import Read, Stack, read_stack
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.zarr_reader import CHUNK_MANIFEST
from ifquant.slides.zarr_writer import Display, LabelPyramidWriter

FORMAT = "ifquant slide 1"
SLIDE_FILES = (
    "slide.json",
    "cells.parquet",
    "cells.csv",
    "pairs.parquet",
    "labels.ome.zarr",
    "overlay.png",
    "detail.png",
)
"""Everything in a slide's folder that is written for it, slide.json first."""
MAX_CSV_CELLS = 1_000_000
"""cells.csv is left out above this: no spreadsheet opens it."""
DISPLAY_TEXT = (
    "8-bit picture for display: 0 and 255 are the black and white of each channel's calibrated"
    " range; measure in the original file"
)
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")


class Pictures(Protocol):
    """Who draws the pictures of a slide: `ifquant.report.overlay`."""

    def overlay_png(self, result: SlideResult, stack: Stack) -> bytes:
        """Draw the whole slide."""
        ...

    def detail_png(self, result: SlideResult, read: Read) -> bytes:
        """Draw an enlarged part of it."""
        ...


def write_slide(
    result: SlideResult, folder: Path, pictures: Pictures, *, threads: int = 1
) -> dict[str, Any]:
    """Write everything a finished slide leaves into its folder; returns its row of slides.csv.

    With two `threads` or more tables and pictures are written beside the labels: both are mostly
    compression, outside Python's lock.

    Raises
    ------
    RequestError
        If the table is not the contract's (a bug of the caller).
    ResourceError
        If disk or memory ran out; slide.json is then absent.
    """
    _check(result)
    mark_unfinished(folder)
    channels = result.panel.indices
    with result.ref.open() as slide, ThreadPoolExecutor(1) as beside:

        def read(window: Window) -> NDArray[Any]:
            return slide.read(channels, window)

        overview = result.overview if result.overview is not None else read_overview(result, read)

        def write_others() -> None:
            write_tables(result, folder)
            storage.write_bytes(folder / "overlay.png", pictures.overlay_png(result, overview))
            result.let_go()
            storage.write_bytes(folder / "detail.png", pictures.detail_png(result, read))

        others = beside.submit(write_others) if threads > 1 else None
        if others is None:  # in this thread: a second heap would cost memory
            write_others()
        write_labels(result, folder, overview)
        if others is not None:
            others.result()
    row = summary_row(result)
    storage.write_json(folder / "slide.json", slide_record(result, row, _written(folder)))
    return row


def read_overview(result: SlideResult, read: Read) -> Stack:
    """Read the whole slide for display, once; also what labels.ome.zarr keeps as its display
    pyramid.

    Parameters
    ----------
    read
        Reads a window (C, Y, X) of the channels of ``result.panel``, in its order.
    """
    return read_stack(
        read,
        Window(0, 0, *result.image_shape),
        result.display_ranges,
        result.recipe.picture.max_size_px,
    )


def mark_unfinished(folder: Path) -> None:
    """Take away slide.json: whatever else the folder holds no longer counts as a result."""
    remove_outputs(folder, SLIDE_FILES[:1])


def remove_outputs(folder: Path, names: Sequence[str] = SLIDE_FILES) -> None:
    """Take away a slide's outputs, slide.json first; what else the folder holds (logs of reviews)
    stays.
    """
    with storage.writing(folder):
        for name in names:
            if (folder / name).exists():
                storage.remove(folder / name)


def write_tables(result: SlideResult, folder: Path) -> None:
    """Write the tables of a slide."""
    write_cells(result, folder)
    write_pairs(result, folder)


def write_cells(result: SlideResult, folder: Path) -> None:
    """Write cells.parquet with unit and meaning of each column and, if wanted, cells.csv."""
    columns = cell_columns(result.recipe)
    metadata = {table_files.SLIDE_KEYS[0]: result.name}
    table_files.write_parquet(
        result.table,
        folder / "cells.parquet",
        parquet_metadata(columns),
        metadata,
        after_block=result.let_go,
    )
    csv = folder / "cells.csv"
    if result.recipe.outputs.csv and len(result.table) <= MAX_CSV_CELLS:
        table_files.write_csv(safe_for_spreadsheets(result.table), csv, after_block=result.let_go)
    elif csv.exists():
        with storage.writing(csv):
            storage.remove(csv)


def write_pairs(result: SlideResult, folder: Path) -> None:
    """Write pairs.parquet where the recipe has [priming]; take away an older one where it has
    not.
    """
    path = folder / "pairs.parquet"
    if result.pairs is not None:
        table_files.write_parquet(
            result.pairs,
            path,
            parquet_metadata(PAIR_COLUMNS),
            {table_files.SLIDE_KEYS[0]: result.name},
        )
    elif path.exists():
        with storage.writing(path):
            storage.remove(path)


def write_labels(result: SlideResult, folder: Path, overview: Stack) -> None:
    """Paint labels.ome.zarr from the runs, window by window, with the overview as its display
    pyramid.
    """
    ids = result.table["cell_id"].to_numpy(np.uint32)
    names = result.panel.names
    shown = channel_colors(result.recipe)
    with LabelPyramidWriter(
        folder / "labels.ome.zarr",
        shape=result.image_shape,
        pixel_size_um=result.pixel_size_um,
        creator=f"ifquant {provenance.versions()['ifquant']}",
    ) as writer:
        for name, runs in (("nuclei", result.nuclei), ("cells", result.cells)):
            painter = _Painter(runs, ids, result.let_go)
            writer.write(name, painter.paint)
        colors = tuple(shown.get(name, "#808080") for name in names)
        writer.write_display(
            Display(
                overview.pixels,
                float(overview.step),
                names,
                colors,
                ((0.0, 255.0),) * len(names),
                DISPLAY_TEXT,
            )
        )


class _Painter:
    """Paints windows in raster order, looking only at objects near the window's rows."""

    def __init__(
        self, runs: CellRuns, ids: NDArray[np.uint32], after_band: Callable[[], object]
    ) -> None:
        self._runs, self._ids, self._after_band = runs, ids, after_band
        self._boxes = runs.bounding_boxes
        after_band()
        self._band = (-1, -1)

    def paint(self, window: Window) -> NDArray[np.uint32]:
        """Labels (Y, X) of a window."""
        if self._band != (window.y0, window.y1):
            self._band = (window.y0, window.y1)
            near = np.flatnonzero((self._boxes[:, 0] < window.y1) & (self._boxes[:, 2] > window.y0))
            self._near, self._near_ids = self._runs.take(near), self._ids[near]
            self._after_band()
        return paint(self._near, self._near_ids, window)


def slide_record(
    result: SlideResult, row: Mapping[str, Any], files: Mapping[str, Any]
) -> dict[str, Any]:
    """Content of slide.json."""
    crop = result.ref.crop
    opened = {name: value for name, value in asdict(result.ref).items() if name != "crop"}
    return {
        "format": FORMAT,
        "slide": result.name,
        "input": {
            **asdict(result.info),
            "crop": None if crop is None else [crop.y0, crop.x0, crop.y1, crop.x1],
            "opened": opened,
            "regions": result.regions,
        },
        "sample": sample_columns(result.sample),
        "digests": dict(result.digests),
        "versions": provenance.versions(),
        "calibration": result.calibration.to_dict(),
        "calibration_arrays": packed(result.calibration.to_arrays()),
        "orphan_px": result.orphan_px,
        "gates": [gate.to_dict() for gate in result.gates],
        "summary": dict(row),
        "flags": count_flags(result.table["flags"].to_numpy()),
        "flag_meanings": flags_as_json(),
        "margin": margin_table(result),
        "double_positives": [
            counts.to_dict() for counts in double_positive_counts(result.table, result.recipe)
        ],
        "tumor_region": (
            None if result.tumor_region is None else {"origin": result.tumor_region.origin}
        ),
        "display_ranges": dict(
            zip(result.panel.names, map(list, result.display_ranges), strict=True)
        ),
        "display": DISPLAY_TEXT,
        "warnings": list(result.warnings),
        "grave_warnings": sum(getattr(text, "level", PLAIN) == GRAVE for text in result.warnings),
        "files": dict(files),
        **({} if result.review is None else {"review": dict(result.review)}),
    }


def refresh_sample(folder: Path, sample: Sample | None, recipe: Recipe) -> None:
    """Put what the sample sheet says now into a finished slide's slide.json: a sheet may change,
    the cells do not.
    """
    record = storage.read_json(folder / "slide.json")
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return
    before, now = record["sample"], sample_columns(sample)
    if before == now:
        return
    for name in sample_names(recipe, list(before)).values():
        del record["summary"][name]
    record["summary"] |= {new: now[given] for given, new in sample_names(recipe, list(now)).items()}
    storage.write_json(folder / "slide.json", record | {"sample": now})


def warnings_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the warnings that a slide.json holds, gravest first, with their gravity."""
    graver = int(record.get("grave_warnings", 0))
    return tuple(
        grave(str(text)) if place < graver else str(text)
        for place, text in enumerate(record.get("warnings", ()))
    )


def whole(folder: Path, recipe: Recipe) -> bool:
    """Whether all outputs of a finished slide are there as slide.json says: files by hash, label
    chunks by presence.
    """
    record = storage.read_json(folder / "slide.json")
    if (
        not isinstance(record, dict)
        or record.get("format") != FORMAT
        or not isinstance(record.get("files"), dict)
    ):
        return False
    files = record["files"]
    needed = {"cells.parquet", "overlay.png", "detail.png"}
    if recipe.priming is not None:
        needed.add("pairs.parquet")
    if recipe.outputs.csv and (record.get("summary") or {}).get("n_cells", 0) <= MAX_CSV_CELLS:
        needed.add("cells.csv")
    return (
        needed <= set(files)
        and all(_matches(folder / name, known) for name, known in files.items())
        and _labels_whole(folder)
    )


def _written(folder: Path) -> dict[str, Any]:
    names = ("cells.parquet", "cells.csv", "pairs.parquet", "overlay.png", "detail.png")
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _sha256(folder / name)}
        for name in names
        if (folder / name).exists()
    }


def _matches(path: Path, known: Mapping[str, Any]) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == known["bytes"]
        and _sha256(path) == known["sha256"]
    )


def _labels_whole(folder: Path) -> bool:
    store = folder / "labels.ome.zarr"
    manifest = storage.read_json(store / CHUNK_MANIFEST)
    if not isinstance(manifest, dict) or not (store / "zarr.json").is_file():
        return False
    return all(
        (store / name / "c" / chunk).is_file()
        for name, chunks in manifest["chunks"].items()
        for chunk in chunks
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(result: SlideResult) -> None:
    wanted = [column.name for column in cell_columns(result.recipe)]
    if list(result.table.columns) != wanted:
        raise RequestError(
            f"slide {result.name!r}: the table's columns are not the contract's; make it with"
            " table.typed."
        )
    n = len(result.table)
    ids = result.table["cell_id"].to_numpy(np.int64)
    in_order = (
        bool(np.all(np.diff(ids, prepend=0) > 0))
        if result.review is not None
        else np.array_equal(ids, np.arange(1, n + 1))
    )
    if len(result.nuclei) != n or len(result.cells) != n or not in_order:
        raise RequestError(
            f"slide {result.name!r}: {n} rows, {len(result.nuclei)} nuclei, {len(result.cells)}"
            " cells; they must be one to one."
        )


def write_slides_csv(
    out: Path, rows: Sequence[Mapping[str, Any]], recipe: Recipe, name: str = "slides.csv"
) -> pd.DataFrame:
    """Write slides.csv: one row per slide, finished or not, in the order given.

    Parameters
    ----------
    out
        Folder of the results.
    rows
        Per slide ``slide``, ``path``, ``status`` (done or failed), ``error`` and ``sample``; the
        rest is read from the slide's slide.json (in ``folder`` inside the slide's folder, if the
        row names one).
    name
        Name of the file.
    """
    table = slides_table(out, rows, recipe)
    table_files.write_csv(safe_for_spreadsheets(table), out / name)
    return table


def slides_table(out: Path, rows: Sequence[Mapping[str, Any]], recipe: Recipe) -> pd.DataFrame:
    """Make the table of `write_slides_csv`, typed as `slide_columns` declares."""
    samples = list(
        dict.fromkeys(name for row in rows for name in sample_columns(row.get("sample")))
    )
    columns = slide_columns(recipe, samples)
    renamed = sample_names(recipe, samples)
    records = []
    for row in rows:
        record = (
            storage.read_json(out / str(row["slide"]) / str(row.get("folder") or "") / "slide.json")
            if row["status"] == "done"
            else None
        )
        values = dict(record["summary"]) if isinstance(record, dict) else {}
        values |= {
            renamed[name]: text
            for name, text in sample_columns(row.get("sample")).items()
            if name in renamed
        }
        records.append(values | {key: row.get(key) for key in ("slide", "path", "status", "error")})
    data = {
        c.name: pd.Series([record.get(c.name) for record in records], dtype=c.dtype)
        for c in columns
    }
    return pd.DataFrame(data)


def safe_for_spreadsheets(table: pd.DataFrame) -> pd.DataFrame:
    """Put ``'`` before texts (and column names) that a spreadsheet would run as a formula; numbers
    stay as they are.
    """
    out = table.copy(deep=False)
    for name in out.columns:
        if isinstance(out[name].dtype, pd.CategoricalDtype):
            out[name] = out[name].cat.rename_categories(safe_text)
        elif not pd.api.types.is_numeric_dtype(out[name].dtype):
            out[name] = out[name].map(
                lambda value: safe_text(value) if isinstance(value, str) else value,
                na_action="ignore",
            )
    return out.rename(columns=safe_text)


def safe_text(text: str) -> str:
    """Return a text no spreadsheet takes for a formula (OWASP: cells that start with = + - @, tab
    or a line break).
    """
    return (
        f"'{text}"
        if text.lstrip(" \u00a0").startswith(_DANGEROUS) or text.startswith(_DANGEROUS)
        else text
    )
