"""What one tile leaves for the assembly: rows and geometry of the cells it owns, as one .npz file (zip members carry a CRC)."""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.base.runs import CellRuns, empty_runs, put_runs
from ifquant.base.tiles import Window
from ifquant.errors import TileError
from ifquant.files import storage

logger = logging.getLogger("ifquant")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class TilePart:
    """Rows (columns of equal length, not yet sorted), geometry and orphan myeloid area (px) of one tile's core."""

    core: Window
    table: Mapping[str, NDArray[Any]]
    nuclei: CellRuns
    cells: CellRuns
    orphan_px: int

    @classmethod
    def empty(cls, core: Window) -> TilePart:
        """Return a part without cells; it has no columns, other parts or the empty table define them."""
        return cls(core, {}, CellRuns.empty(), CellRuns.empty(), 0)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Flatten into named arrays."""
        arrays = {f"table/{name}": np.asarray(column) for name, column in self.table.items()}
        for kind, runs in (("nuclei", self.nuclei), ("cells", self.cells)):
            arrays |= {f"{kind}/{field}": getattr(runs, field) for field in ("offsets", "y", "x0", "x1")}
        arrays["core"] = np.array([self.core.y0, self.core.x0, self.core.y1, self.core.x1])
        arrays["orphan_px"] = np.array(self.orphan_px)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> TilePart:
        """Inverse of `to_arrays`."""
        table = {name.removeprefix("table/"): column for name, column in arrays.items() if name.startswith("table/")}
        runs = {kind: CellRuns(*(arrays[f"{kind}/{field}"] for field in ("offsets", "y", "x0", "x1"))) for kind in ("nuclei", "cells")}
        return cls(Window(*(int(v) for v in arrays["core"])), table, runs["nuclei"], runs["cells"], int(arrays["orphan_px"]))


def save_part(path: Path, arrays: Arrays) -> None:
    """Write arrays whole or not at all, into a folder that exists.

    Raises
    ------
    TileError
        If the folder has gone: the run that asked for this part has ended, and a later one finished the slide.
    """
    if not path.parent.is_dir():
        raise TileError(f"the folder of unfinished parts {path.parent} has gone; another run has finished or removed this slide.")
    storage.write_npz(path, arrays)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a part; a damaged file raises (zip CRC)."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def load_part(path: Path) -> dict[str, NDArray[Any]] | None:
    """Read the arrays of a part; None, and the file is removed, when the disk has damaged it since it was written."""
    try:
        return load_arrays(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("%s is damaged (%s); it is computed again", path, error)
        storage.remove(path)
        return None


@dataclass(frozen=True)
class Assembled:
    """All cells of a slide in the order of their ids (raster order of anchors)."""

    table: dict[str, NDArray[Any]]
    nuclei: CellRuns
    cells: CellRuns
    orphan_px: int


def assemble(parts: Sequence[TilePart]) -> Assembled:
    """Put the parts of all tiles together; the result does not depend on their order.

    Parameters
    ----------
    parts
        Gone through twice, one at a time: a sequence that reads them from disk keeps one in memory beside the result.

    Raises
    ------
    TileError
        If two tiles own the same cell: a bug, never silently merged.
    """
    orphan_px, kinds = 0, {}
    anchors: list[NDArray[np.int64]] = []
    lengths: dict[str, list[NDArray[np.int64]]] = {"nuclei": [], "cells": []}
    for part in parts:
        orphan_px += part.orphan_px
        if len(part.cells):
            kinds = {name: column.dtype for name, column in part.table.items()}
            anchors.append(np.asarray(part.table["anchor_y_px"], np.int64) << 32 | np.asarray(part.table["anchor_x_px"], np.int64))
            lengths["nuclei"].append(np.diff(part.nuclei.offsets))
            lengths["cells"].append(np.diff(part.cells.offsets))
    if not anchors:
        return Assembled({}, CellRuns.empty(), CellRuns.empty(), orphan_px)
    order = np.argsort(np.concatenate(anchors), kind="stable")
    if (np.diff(np.concatenate(anchors)[order]) == 0).any():
        raise TileError("two tiles own the same cell; please report this with the slide's size and the tile size used.")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    table = {name: np.empty(len(order), kind) for name, kind in kinds.items()}
    nuclei, cells = (empty_runs(np.concatenate(lengths[kind])[order]) for kind in ("nuclei", "cells"))
    start = 0
    for part in parts:
        here = places[start : start + len(part.cells)]
        start += len(here)
        for name, column in part.table.items() if len(here) else ():
            table[name][here] = column
        put_runs(nuclei, here, part.nuclei)
        put_runs(cells, here, part.cells)
    return Assembled(table, nuclei, cells, orphan_px)
