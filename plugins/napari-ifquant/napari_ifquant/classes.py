"""Cells and nuclei as class images: each pixel its cell's phenotype, looked up when it is shown.

A label image of 100,000 cells needs a color per cell; napari takes seconds to change one. A class
image needs a color per phenotype, and changing any number of cells is changing a table of one byte
per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.windows import Window
from ifquant.report.picture import rgb
from napari_ifquant.tiled_array import Array, WindowArray, tiled

OUTLINE_FROM_PX = 6.0
"""Median diameter of cells on a level from which they are drawn as outlines; below that they are
filled (as in overlay.png)."""
LEFT_OUT_COLOR = "#b02020"


@dataclass
class Coloring:
    """Class of every cell: 0 background, 1.. the phenotypes in the recipe's order, last those left
    out.

    Attributes
    ----------
    names, colors
        Phenotypes and their colors.
    of_label : uint8 (n + 1,)
        Class by cell id.
    patches
        Windows that edits of outlines changed, with nuclei and cells painted anew.
    """

    names: tuple[str, ...]
    colors: tuple[str, ...]
    of_label: NDArray[np.uint8]
    patches: list[tuple[Window, Array, Array]] = field(default_factory=list)

    @property
    def left_out(self) -> int:
        """Class of cells that are left out."""
        return len(self.names) + 1

    def set_codes(
        self, ids: NDArray[np.int64], codes: NDArray[np.int16], more: dict[int, int] | None = None
    ) -> None:
        """Set phenotypes (position in `names`, negative: left out), `more` of new cells."""
        new = more or {}
        all_ids = np.concatenate([ids, np.array(list(new), np.int64)])
        all_codes = np.concatenate([codes, np.array(list(new.values()), np.int16)])
        self.of_label = np.zeros(int(all_ids.max(initial=0)) + 1, np.uint8)
        self.of_label[all_ids] = np.where(all_codes < 0, self.left_out, all_codes + 1)

    def classes(self, labels: Array) -> NDArray[np.uint8]:
        """Classes of labels; cells this table does not know are background."""
        known = np.minimum(labels, len(self.of_label) - 1)
        out = self.of_label[known]
        return np.where(labels < len(self.of_label), out, np.uint8(0))

    def color_dict(self) -> dict[int | None, Any]:
        """Colors by class as napari's direct colormap wants them."""
        table: dict[int | None, Any] = {None: np.zeros(4), 0: np.zeros(4)}
        for number, color in enumerate((*self.colors, LEFT_OUT_COLOR), 1):
            table[number] = np.array([*(value / 255 for value in rgb(color)), 1.0])
        return table


class LabelPyramid:
    """Levels of one label image of labels.ome.zarr, with the edits of a review painted over."""

    def __init__(self, store: Path, kind: Literal["nuclei", "cells"], coloring: Coloring) -> None:
        import zarr

        group = zarr.open_group(str(store), path=f"labels/{kind}", mode="r")
        datasets: Any = group.attrs["ome"]["multiscales"][0]["datasets"]
        self.kind, self._coloring = kind, coloring
        self._stored = [_stored(group[dataset["path"]]) for dataset in datasets]
        self.levels = [
            WindowArray(level.shape, np.uint32, self._reader(k))
            for k, level in enumerate(self._stored)
        ]

    def _reader(self, k: int) -> Any:
        def read(window: Window) -> Array:
            out = np.asarray(self._stored[k][window.y0 : window.y1, window.x0 : window.x1])
            for changed, nuclei, cells in self._coloring.patches:
                labels = nuclei if self.kind == "nuclei" else cells
                y0, x0 = -(-changed.y0 >> k), -(-changed.x0 >> k)
                small = labels[(y0 << k) - changed.y0 :: 1 << k, (x0 << k) - changed.x0 :: 1 << k]
                here = Window(y0, x0, y0 + small.shape[0], x0 + small.shape[1])
                part = here.intersection(window)
                if part.size_px:
                    out[part.slices_in(window)] = small[part.slices_in(here)]
            return out

        return read

    def at(self, y: float, x: float) -> int:
        """Label at a position in px; 0 outside."""
        height, width = self.levels[0].shape
        return int(self.levels[0][int(y), int(x)]) if 0 <= y < height and 0 <= x < width else 0

    def classes(self, outline_levels: int) -> list[WindowArray]:
        """Class images of all levels, the first `outline_levels` with outlines alone."""
        return [
            WindowArray(level.shape, np.uint8, self._painter(level, k < outline_levels))
            for k, level in enumerate(self.levels)
        ]

    def _painter(self, level: WindowArray, outline: bool) -> Any:
        def paint(window: Window) -> Array:
            if not outline:
                return self._coloring.classes(level[window.y0 : window.y1, window.x0 : window.x1])
            around = window.grown(1, level.shape)
            labels = level[around.y0 : around.y1, around.x0 : around.x1]
            shown = np.where(borders(labels), self._coloring.classes(labels), np.uint8(0))
            return np.ascontiguousarray(shown[window.slices_in(around)])

        return paint


def _stored(array: Any) -> WindowArray:
    shape = int(array.shape[0]), int(array.shape[1])
    return tiled(shape, np.uint32, lambda w: np.asarray(array[w.y0 : w.y1, w.x0 : w.x1]))


def borders(labels: Array) -> NDArray[np.bool_]:
    """Pixels of a label whose left, right, upper or lower neighbor has another value."""
    out = np.zeros(labels.shape, np.bool_)
    for image, edge in ((labels, out), (labels.T, out.T)):
        differs = image[:-1] != image[1:]
        edge[:-1] |= differs
        edge[1:] |= differs
    return out & (labels > 0)


def outline_levels(areas_um2: Sequence[float] | NDArray[np.float64], pixel_size_um: float) -> int:
    """On how many levels cells are large enough for outlines."""
    if not len(areas_um2):
        return 1
    diameter_px = 2 * np.sqrt(float(np.median(areas_um2)) / np.pi) / pixel_size_um
    return max(1, int(np.floor(np.log2(max(diameter_px / OUTLINE_FROM_PX, 1)))) + 1)
