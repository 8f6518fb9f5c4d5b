"""What a run leaves of a slide: tables, label images, pictures, and the record last.

The record is removed first and written last: a folder without it is unfinished, whatever else is
there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ifquant.columns.cell_columns import cell_columns
from ifquant.errors import RequestError
from ifquant.files import storage
from ifquant.geometry.windows import Window
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.results.cell_tables import MAX_CSV_CELLS, write_cells, write_pairs
from ifquant.results.file_names import (
    CELLS,
    CELLS_CSV,
    DETAIL,
    DIGESTED_FILES,
    OVERLAY,
    PAIRS,
    SLIDE_FILES,
)
from ifquant.results.label_images import labels_are_whole, write_labels
from ifquant.results.slide_record import SlideRecord, slide_record
from ifquant.results.slide_result import SlideResult
from ifquant.results.slide_summary import summary_row
from ifquant.slides.overview import Read, Stack, read_stack


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
) -> SlideRecord:
    """Write everything a finished slide leaves into its folder; returns its record.

    With two `threads` or more tables and pictures are written beside the labels: both are mostly
    compression, outside Python's lock.

    Raises
    ------
    RequestError
        If the table is not the contract's (a bug of the caller).
    ResourceError
        If disk or memory ran out; the record is then absent.
    """
    _check(result)
    mark_unfinished(folder)
    channels = result.panel.indices
    with result.slide.ref.open() as slide, ThreadPoolExecutor(1) as beside:

        def read(window: Window) -> NDArray[Any]:
            return slide.read(channels, window)

        overview = result.overview if result.overview is not None else read_overview(result, read)

        def write_others() -> None:
            write_cells(result, folder)
            write_pairs(result, folder)
            storage.write_bytes(folder / OVERLAY, pictures.overlay_png(result, overview))
            result.let_go()
            storage.write_bytes(folder / DETAIL, pictures.detail_png(result, read))

        others = beside.submit(write_others) if threads > 1 else None
        if others is None:  # in this thread: a second heap would cost memory
            write_others()
        write_labels(result, folder, overview)
        if others is not None:
            others.result()
    record = slide_record(result, folder, summary_row(result), _digests(folder))
    record.write()
    return record


def read_overview(result: SlideResult, read: Read) -> Stack:
    """Read the whole slide for display, once; also what the display pyramid is made of.

    Parameters
    ----------
    read
        Reads a window (C, Y, X) of the channels of ``result.panel``, in its order.
    """
    whole = Window(0, 0, *result.image_shape)
    return read_stack(read, whole, result.display_ranges, result.recipe.picture.max_size_px)


def mark_unfinished(folder: Path) -> None:
    """Take away the record: whatever else the folder holds no longer counts as a result."""
    remove_outputs(folder, SLIDE_FILES[:1])


def remove_outputs(folder: Path, names: Sequence[str] = SLIDE_FILES) -> None:
    """Take away a slide's outputs, the record first; what else the folder holds (logs of reviews)
    stays.
    """
    with storage.writing(folder):
        for name in names:
            if (folder / name).exists():
                storage.remove(folder / name)


def is_whole(record: SlideRecord, recipe: ResolvedRecipe) -> bool:
    """Whether all outputs of a finished slide are there as its record says: files by digest, label
    chunks by presence.
    """
    files = record.files
    if not record.is_ours or files is None:
        return False
    needed = {CELLS, OVERLAY, DETAIL}
    if recipe.priming is not None:
        needed.add(PAIRS)
    if recipe.outputs.csv and record.summary.get("n_cells", 0) <= MAX_CSV_CELLS:
        needed.add(CELLS_CSV)
    return (
        needed <= set(files)
        and all(is_file_of(record.folder / name, known) for name, known in files.items())
        and labels_are_whole(record.folder)
    )


def is_file_of(path: Path, known: Mapping[str, Any]) -> bool:
    """Whether a file is the one of this size and digest."""
    return (
        path.is_file()
        and path.stat().st_size == known.get("bytes")
        and _sha256(path) == known.get("sha256")
    )


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    paths = {name: folder / name for name in DIGESTED_FILES if (folder / name).exists()}
    return {
        name: {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for name, path in paths.items()
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check(result: SlideResult) -> None:
    columns = [column.name for column in cell_columns(result.recipe)]
    if list(result.table.columns) != columns:
        raise RequestError(
            f"slide {result.name!r}: the table's columns are not the contract's; make it with"
            " table.typed."
        )
    n = len(result.table)
    ids = result.table["cell_id"].to_numpy(np.int64)
    if result.review is None:
        in_order = np.array_equal(ids, np.arange(1, n + 1))
    else:
        in_order = bool(np.all(np.diff(ids, prepend=0) > 0))
    if len(result.nuclei) != n or len(result.cells) != n or not in_order:
        raise RequestError(
            f"slide {result.name!r}: {n} rows, {len(result.nuclei)} nuclei,"
            f" {len(result.cells)} cells; they must be one to one."
        )
