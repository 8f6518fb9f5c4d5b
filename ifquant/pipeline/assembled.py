"""All cells of a slide in the order of their ids, put together from the parts of its tiles; kept on the disk, not in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ifquant.base.runs import CellRuns, put_runs
from ifquant.errors import TileError
from ifquant.files.scratch import Scratch, scratch
from ifquant.pipeline.parts import TilePart

KINDS = ("nuclei", "cells")
_BLOCK = 1 << 16  # cells copied at once: a matter of memory only


@dataclass(frozen=True)
class Assembled:
    """All cells of a slide in the order of their ids (raster order of anchors).

    Attributes
    ----------
    table
        Columns (n,).
    nuclei, cells
        Geometry of the n objects.
    orphan_px
        Pixels of myeloid stain that belong to no nucleus in the section.
    scratch
        Holds table and geometry; alive as long as they are.
    """

    table: dict[str, NDArray[Any]]
    nuclei: CellRuns
    cells: CellRuns
    orphan_px: int
    scratch: Scratch

    @classmethod
    def room(
        cls, folder: Path, columns: Mapping[str, DTypeLike], lengths: Mapping[str, NDArray[np.integer]], orphan_px: int = 0
    ) -> Assembled:
        """Make room on the disk of `folder` for cells with these columns and, of ``nuclei`` and ``cells``, these numbers of runs (n,)."""
        n = len(lengths["cells"])
        wanted: dict[str, tuple[int, DTypeLike]] = {f"table/{name}": (n, kind) for name, kind in columns.items()}
        for kind in KINDS:
            wanted[f"{kind}/offsets"] = (n + 1, np.int64)
            wanted |= {f"{kind}/{field}": (int(lengths[kind].sum()), np.int32) for field in ("y", "x0", "x1")}
        made = scratch(folder, wanted)
        for kind in KINDS:
            np.cumsum(lengths[kind], out=made.arrays[f"{kind}/offsets"][1:])
        runs = {kind: CellRuns(*(made.arrays[f"{kind}/{field}"] for field in ("offsets", "y", "x0", "x1"))) for kind in KINDS}
        return cls({name: made.arrays[f"table/{name}"] for name in columns}, runs["nuclei"], runs["cells"], orphan_px, made)

    def take(self, chosen: NDArray[np.integer], folder: Path) -> Assembled:
        """Select the cells `chosen` (ascending), kept on the disk of `folder`."""
        lengths = {kind: np.diff(runs.offsets)[chosen] for kind, runs in (("nuclei", self.nuclei), ("cells", self.cells))}
        taken = Assembled.room(folder, {name: column.dtype for name, column in self.table.items()}, lengths, self.orphan_px)
        for places in _blocks(len(chosen)):
            for name, column in self.table.items():
                taken.table[name][places] = column[chosen[places]]
            put_runs(taken.nuclei, places, self.nuclei.take(chosen[places]))
            put_runs(taken.cells, places, self.cells.take(chosen[places]))
            self.scratch.let_go()
            taken.scratch.let_go()
        return taken


def assemble(parts: Sequence[TilePart], folder: Path) -> Assembled:
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
            anchors.append(np.asarray(part.table["anchor_y_px"], np.int64) << 32 | np.asarray(part.table["anchor_x_px"], np.int64))
            lengths["nuclei"].append(np.diff(part.nuclei.offsets))
            lengths["cells"].append(np.diff(part.cells.offsets))
    order = np.argsort(np.concatenate(anchors), kind="stable")
    if (np.diff(np.concatenate(anchors)[order]) == 0).any():
        raise TileError("two tiles own the same cell; please report this with the slide's size and the tile size used.")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    whole = Assembled.room(folder, columns, {kind: np.concatenate(lengths[kind])[order] for kind in KINDS}, orphan_px)
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


def _blocks(n: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, n))
