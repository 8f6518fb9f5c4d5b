"""All cells of a slide in the order of their ids, put together from the parts of its tiles; kept on
the disk, not in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifquant.errors import TileError
from ifquant.geometry.runs import put_runs
from ifquant.pipeline.tile_parts import TilePart
from ifquant.results.measured_cells import KINDS, MeasuredCells


def assemble(parts: Sequence[TilePart], folder: Path) -> MeasuredCells:
    """Put the parts of all tiles together; the result does not depend on their order.

    Parameters
    ----------
    parts
        Gone through twice, one at a time: a sequence that reads them from disk keeps one in memory.
    folder
        The result is kept on its disk, without a name.

    Raises
    ------
    TileError
        If two tiles own the same cell: a bug, never silently merged.
    ResourceError
        If the disk has no room.
    """
    orphan_px, columns = 0, {}
    anchors = [np.zeros(0, np.int64)]
    lengths: dict[str, list[NDArray[np.int64]]] = {kind: [np.zeros(0, np.int64)] for kind in KINDS}
    for part in parts:
        orphan_px += part.orphan_px
        if len(part.cells):
            columns = {name: column.dtype for name, column in part.table.items()}
            y, x = (np.asarray(part.table[f"anchor_{axis}_px"], np.int64) for axis in "yx")
            anchors.append(y << 32 | x)
            lengths["nuclei"].append(np.diff(part.nuclei.offsets))
            lengths["cells"].append(np.diff(part.cells.offsets))
    order = _order(np.concatenate(anchors))
    runs = {kind: np.concatenate(lengths[kind])[order] for kind in KINDS}
    whole = MeasuredCells.room(folder, columns, runs, orphan_px)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    start = 0
    for part in parts:
        here = places[start : start + len(part.cells)]
        start += len(here)
        for name, column in part.table.items() if len(here) else ():
            whole.table[name][here] = column
        put_runs(whole.nuclei, here, part.nuclei)
        put_runs(whole.cells, here, part.cells)
        whole.scratch.let_go()
    return whole


def _order(anchors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cells in raster order of their anchors.

    Raises
    ------
    TileError
        If two have the same.
    """
    order = np.argsort(anchors, kind="stable")
    if (np.diff(anchors[order]) == 0).any():
        raise TileError(
            "two tiles own the same cell; please report this with the slide's size and the tile"
            " size used."
        )
    return order
