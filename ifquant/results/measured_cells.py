"""All measured cells of a slide, table and outlines, kept on the disk, not in memory; new from
tiles, or taken back from finished results, so that a changed gate never measures again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from ifquant.columns.cell_columns import GROWTH_CLASSES
from ifquant.columns.flags import measured_flags
from ifquant.errors import IfquantError
from ifquant.files.scratch import Scratch, scratch
from ifquant.geometry.runs import CellRuns, put_runs
from ifquant.results.cell_tables import open_table
from ifquant.results.label_images import LabelBands

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


def read_measured_cells(
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
        with open_table(folder) as file:
            n = file.metadata.num_rows
            ids = np.arange(1, n + 1)
            bands = {kind: LabelBands(folder, kind, ids, image_shape) for kind in KINDS}
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
