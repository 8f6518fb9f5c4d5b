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
    """Stored maps of a lattice.

    Attributes
    ----------
    step_px
        Side of a lattice core; the lattice is anchored at (0, 0).
    overlap_px
        The maps of a core cover its window, the core grown by this.
    image_shape
        Height and width (Y, X) of the image in px.
    load
        Core > its maps (K, Y, X).
    has_maps
        Core > whether there are maps; those of the others count as empty in every window.
    """

    step_px: int
    overlap_px: int
    image_shape: tuple[int, int]
    load: Callable[[Window], NDArray[Any]]
    has_maps: Callable[[Window], bool] = lambda core: True

    def cores(self, window: Window) -> Iterator[Window]:
        """Lattice cores with maps that meet a window, in raster order."""
        height, width = self.image_shape
        step = self.step_px
        for y in range(window.y0 // step * step, window.y1, step):
            for x in range(window.x0 // step * step, window.x1, step):
                core = Window(y, x, min(y + step, height), min(x + step, width))
                if self.has_maps(core):
                    yield core

    def window_of(self, core: Window) -> Window:
        """Return what the maps of a core cover."""
        return core.grown(self.overlap_px, self.image_shape)

    def __call__(self, window: Window) -> NDArray[Any]:
        """Return the maps (K, Y, X) of a window, each pixel from the core it lies in."""
        out: NDArray[Any] | None = None
        for core in self.cores(window):
            maps = self.load(core)
            if out is None:
                out = np.zeros((maps.shape[0], *window.shape), maps.dtype)
            common = core.intersection(window)
            y, x = common.slices_in(self.window_of(core))
            out[(slice(None), *common.slices_in(window))] = maps[:, y, x]
        assert out is not None, "a window without any tissue is never looked at"
        return out
