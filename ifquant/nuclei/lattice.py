"""Maps on the fixed lattice of a segmenter, read back window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.windows import Window


@dataclass(frozen=True)
class LatticeMaps:
    """Stored maps of lattice cells.

    Attributes
    ----------
    step_px
        Side of a lattice cell; the lattice is anchored at (0, 0).
    overlap_px
        The maps of a cell cover the cell grown by this.
    image_shape
        Height and width (Y, X) of the image in px.
    load
        Cell > its maps (K, Y, X).
    needed
        Cell > whether there are maps; those of the others count as empty, whatever window is asked
        for.
    """

    step_px: int
    overlap_px: int
    image_shape: tuple[int, int]
    load: Callable[[Window], NDArray[Any]]
    needed: Callable[[Window], bool] = lambda cell: True

    def cells(self, window: Window) -> Iterator[Window]:
        """Lattice cells with maps that meet a window, in raster order."""
        height, width = self.image_shape
        step = self.step_px
        for y in range(window.y0 // step * step, window.y1, step):
            for x in range(window.x0 // step * step, window.x1, step):
                cell = Window(y, x, min(y + step, height), min(x + step, width))
                if self.needed(cell):
                    yield cell

    def covered(self, cell: Window) -> Window:
        """Return what the maps of a cell cover."""
        return cell.grown(self.overlap_px, self.image_shape)

    def __call__(self, window: Window) -> NDArray[Any]:
        """Return the maps (K, Y, X) of a window, each pixel from the cell it lies in."""
        out: NDArray[Any] | None = None
        for cell in self.cells(window):
            maps = self.load(cell)
            if out is None:
                out = np.zeros((maps.shape[0], *window.shape), maps.dtype)
            common = cell.intersection(window)
            out[(slice(None), *common.slices_in(window))] = maps[
                (slice(None), *common.slices_in(self.covered(cell)))
            ]
        assert out is not None, "a window without any tissue is never looked at"
        return out
