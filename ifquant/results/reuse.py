"""Finished results as input: cells and calibration of a slide taken back from its own outputs, so
that a changed gate never re-measures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ifquant.columns.cell_columns import GROWTH_CLASSES
from ifquant.columns.flags import measured_flags
from ifquant.errors import IfquantError
from ifquant.files import storage
from ifquant.geometry.runs import CellRuns, put_runs, runs_of
from ifquant.geometry.windows import Window
from ifquant.results.measured_cells import KINDS, MeasuredCells
from ifquant.results.slide_folder import WORK
from ifquant.slides.slide import open_labels

BAND_PX = 1024
KEPT = "earlier.json"
REVIEW_FILES = ("slides_reviewed.csv", "review.csv", "review.html")
"""What applied reviews leave beside the slides' folders; it speaks of the results that were
reviewed."""


def finished(folder: Path) -> dict[str, Any] | None:
    """Content of a finished slide's slide.json; None when the slide is not finished or the file is
    not ours.
    """
    try:
        content = json.loads((folder / "slide.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "digests" in content else None


def keep_for_resume(folder: Path, record: Mapping[str, Any]) -> None:
    """Keep what makes finished cells reusable while their outputs are rewritten: a run killed
    meanwhile need not measure them again.
    """
    storage.write_json(
        folder / WORK / KEPT,
        {name: record[name] for name in ("digests", "calibration_arrays", "orphan_px")},
    )


def interrupted(folder: Path) -> dict[str, Any] | None:
    """Return what `keep_for_resume` kept, if outputs of finished cells were being rewritten when a
    run ended.
    """
    content = storage.read_json(folder / WORK / KEPT)
    return content if isinstance(content, dict) and "digests" in content else None


def cells_of(
    folder: Path, columns: tuple[str, ...], image_shape: tuple[int, int], orphan_px: int
) -> MeasuredCells | None:
    """Measured cells of a finished slide, or None when they are not there whole (then they are
    measured again).

    Parameters
    ----------
    columns
        Columns to take from cells.parquet: those measured, not those a gate decides.
    """
    try:
        with pq.ParquetFile(folder / "cells.parquet") as file:
            n = file.metadata.num_rows
            ids = np.arange(1, n + 1)
            bands = {
                kind: _Bands(folder / "labels.ome.zarr", kind, ids, image_shape) for kind in KINDS
            }
            kinds = {
                name: column.dtype
                for name, column in _measured(file.schema_arrow.empty_table(), columns).items()
            }
            whole = MeasuredCells.room(
                folder, kinds, {kind: found.lengths for kind, found in bands.items()}, orphan_px
            )
            start = 0
            for batch in file.iter_batches(columns=list(columns)):
                for name, values in _measured(pa.Table.from_batches([batch]), columns).items():
                    whole.table[name][start : start + len(batch)] = values
                start += len(batch)
                whole.scratch.let_go()
    except (OSError, ValueError, KeyError, IfquantError):
        return None
    bands["nuclei"].put(whole.nuclei)
    bands["cells"].put(whole.cells)
    whole.scratch.let_go()
    return whole


def _measured(table: pa.Table, columns: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Columns of a part of cells.parquet as a tile gives them: flags of measuring alone, codes
    instead of names.
    """
    frame = table.to_pandas()
    values = {name: frame[name].to_numpy() for name in columns if name != "growth_class"}
    values["flags"] = measured_flags(values["flags"])
    values["growth_class"] = (
        frame["growth_class"]
        .cat.set_categories(GROWTH_CLASSES)
        .cat.codes.to_numpy()
        .astype(np.uint8)
    )
    return values


def runs_of_labels(
    store: Path, kind: str, ids: NDArray[np.int64], image_shape: tuple[int, int]
) -> CellRuns:
    """Outlines of the objects `ids` of labels.ome.zarr."""
    bands = _Bands(store, kind, ids, image_shape)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(bands.lengths)))
    whole = CellRuns(offsets, *(np.empty(offsets[-1], np.int32) for _ in range(3)))
    bands.put(whole)
    return whole


class _Bands:
    """Runs of the objects of a label image, found band by band: how many each has, then the runs
    themselves.
    """

    def __init__(
        self, store: Path, kind: str, ids: NDArray[np.int64], image_shape: tuple[int, int]
    ) -> None:
        height, width = image_shape
        self.lengths = np.zeros(len(ids), np.int64)
        self._found: list[tuple[NDArray[np.int64], CellRuns]] = []
        with open_labels(store, kind) as labels:
            for y in range(0, height, BAND_PX):
                runs = runs_of(
                    labels.read([0], Window(y, 0, min(y + BAND_PX, height), width))[0], ids, (y, 0)
                )
                here = np.flatnonzero(np.diff(runs.offsets))
                self.lengths[here] += np.diff(runs.offsets)[here]
                self._found.append(
                    (
                        here,
                        CellRuns(
                            np.append(runs.offsets[here], runs.offsets[-1]),
                            runs.y,
                            runs.x0,
                            runs.x1,
                        ),
                    )
                )

    def put(self, target: CellRuns) -> None:
        """Put the runs into `target`, which has room for `lengths`; they are given up here."""
        before = np.zeros(len(self.lengths), np.int64)
        for here, runs in self._found:
            put_runs(target, here, runs, before[here])
            before[here] += np.diff(runs.offsets)
        self._found.clear()
