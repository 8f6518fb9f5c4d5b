"""Finished results as input: cells and calibration of a slide taken back from its own outputs, so that a changed gate never re-measures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.base.flags import measured_flags
from ifquant.base.runs import CellRuns, concatenate, runs_of
from ifquant.base.tiles import Window
from ifquant.errors import IfquantError
from ifquant.files import storage
from ifquant.pipeline.parts import Assembled
from ifquant.slides.omezarr import read_labels

BAND_PX = 1024
WORK = ".unfinished"
"""Folder of a slide's parts, inside the slide's folder; removed when the slide is finished."""
KEPT = "earlier.json"


def finished(folder: Path) -> dict[str, Any] | None:
    """Content of a finished slide's slide.json; None when the slide is not finished or the file is not ours."""
    try:
        content = json.loads((folder / "slide.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "digests" in content else None


def keep_for_resume(folder: Path, record: Mapping[str, Any]) -> None:
    """Keep what makes finished cells reusable while their outputs are rewritten: a run killed meanwhile need not measure them again."""
    storage.write_json(folder / WORK / KEPT, {name: record[name] for name in ("digests", "calibration_arrays", "orphan_px")})


def interrupted(folder: Path) -> dict[str, Any] | None:
    """Return what `keep_for_resume` kept, if outputs of finished cells were being rewritten when a run ended."""
    content = storage.read_json(folder / WORK / KEPT)
    return content if isinstance(content, dict) and "digests" in content else None


def cells_of(folder: Path, columns: tuple[str, ...], image_shape: tuple[int, int], orphan_px: int) -> Assembled | None:
    """Measured cells of a finished slide, or None when they are not there whole (then they are measured again).

    Parameters
    ----------
    columns
        Columns to take from cells.parquet: those measured, not those a gate decides.
    """
    try:
        table = pd.read_parquet(folder / "cells.parquet", columns=list(columns))
        ids = np.arange(1, len(table) + 1)
        nuclei, cells = (runs_of_labels(folder / "labels.ome.zarr", kind, ids, image_shape) for kind in ("nuclei", "cells"))
    except (OSError, ValueError, KeyError, IfquantError):
        return None
    values = {name: table[name].to_numpy() for name in columns if name != "growth_class"}
    values["flags"] = measured_flags(values["flags"])
    values["growth_class"] = table["growth_class"].cat.codes.to_numpy().astype(np.uint8)
    return Assembled(values, nuclei, cells, orphan_px)


def runs_of_labels(store: Path, kind: str, ids: NDArray[np.int64], image_shape: tuple[int, int]) -> CellRuns:
    """Outlines of the objects `ids` of labels.ome.zarr."""
    height, width = image_shape
    bands = []
    for y in range(0, height, BAND_PX):
        window = Window(y, 0, min(y + BAND_PX, height), width)
        bands.append(runs_of(read_labels(store, kind, window), ids, (y, 0)))
    whole = concatenate(bands)
    n = len(ids)
    order = (np.arange(len(bands))[None, :] * n + np.arange(n)[:, None]).ravel()  # object 0 of every band, object 1 of every band, ...
    pieces = whole.take(order)
    return CellRuns(pieces.offsets[:: len(bands)], pieces.y, pieces.x0, pieces.x1)
