"""All measured cells of a slide, table and outlines, kept on the disk, not in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ifquant.files.scratch import Scratch, scratch
from ifquant.geometry.runs import CellRuns, put_runs

KINDS = ("nuclei", "cells")
_BLOCK = 1 << 16  # cells copied at once: a matter of memory only


@dataclass(frozen=True)
class MeasuredCells:
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
        cls,
        folder: Path,
        columns: Mapping[str, DTypeLike],
        lengths: Mapping[str, NDArray[np.integer]],
        orphan_px: int = 0,
    ) -> MeasuredCells:
        """Make room on the disk of `folder` for cells with these columns and, of ``nuclei`` and
        ``cells``, these numbers of runs (n,).
        """
        n = len(lengths["cells"])
        wanted: dict[str, tuple[int, DTypeLike]] = {
            f"table/{name}": (n, kind) for name, kind in columns.items()
        }
        for kind in KINDS:
            wanted[f"{kind}/offsets"] = (n + 1, np.int64)
            wanted |= {
                f"{kind}/{field}": (int(lengths[kind].sum()), np.int32)
                for field in ("y", "x0", "x1")
            }
        made = scratch(folder, wanted)
        for kind in KINDS:
            np.cumsum(lengths[kind], out=made.arrays[f"{kind}/offsets"][1:])
        runs = {
            kind: CellRuns(
                *(made.arrays[f"{kind}/{field}"] for field in ("offsets", "y", "x0", "x1"))
            )
            for kind in KINDS
        }
        return cls(
            {name: made.arrays[f"table/{name}"] for name in columns},
            runs["nuclei"],
            runs["cells"],
            orphan_px,
            made,
        )

    def take(self, chosen: NDArray[np.integer], folder: Path) -> MeasuredCells:
        """Select the cells `chosen` (ascending), kept on the disk of `folder`."""
        lengths = {
            kind: np.diff(runs.offsets)[chosen]
            for kind, runs in (("nuclei", self.nuclei), ("cells", self.cells))
        }
        taken = MeasuredCells.room(
            folder,
            {name: column.dtype for name, column in self.table.items()},
            lengths,
            self.orphan_px,
        )
        for places in _blocks(len(chosen)):
            for name, column in self.table.items():
                taken.table[name][places] = column[chosen[places]]
            put_runs(taken.nuclei, places, self.nuclei.take(chosen[places]))
            put_runs(taken.cells, places, self.cells.take(chosen[places]))
            self.scratch.let_go()
            taken.scratch.let_go()
        return taken


def _blocks(n: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, n))
