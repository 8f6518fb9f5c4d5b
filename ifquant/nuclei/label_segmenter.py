"""Masks made elsewhere as nuclei and cells: the same objects in every tile, a cell per nucleus.

In a tile, `LabelsSegmenter` finds the components that `label_objects` found in the whole mask and
knows by their first pixel which to drop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.errors import RequestError, SlideError
from ifquant.geometry.runs import anchors
from ifquant.geometry.windows import Window
from ifquant.nuclei.channel_levels import ChannelLevels
from ifquant.nuclei.label_objects import (
    Ints,
    LabelObjects,
    check_labels,
    label_components,
)
from ifquant.recipe.model import Segmentation


@dataclass(frozen=True, eq=False)
class LabelsSegmenter:
    """Nuclei from a mask; `nuclei` must be given a `read` of the mask, not of the slide.

    Attributes
    ----------
    reach_px
        Extent of the largest object.
    fragments : int64 (m,)
        First pixels of the components to leave out, as ``y * width + x``, ascending.
    """

    reach_px: int
    fragments: Ints
    name: str = "labels"
    lattice_px: None = None

    def core_maps(self, read: Any, core: Window, image_shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Never called: `lattice_px` is None."""
        raise NotImplementedError

    def release(self) -> None:
        """No network to free."""

    def nuclei(
        self, read: Any, read_maps: Any, window: Window, image_shape: tuple[int, int]
    ) -> NDArray[np.int32]:
        """Labels (Y, X) 1..n of a window, in raster order of first pixels."""
        component = label_components(np.asarray(read(window)))
        y, x = anchors(component).T
        is_object = ~np.isin((y + window.y0) * image_shape[1] + x + window.x0, self.fragments)
        number = np.zeros(len(is_object) + 1, np.int32)
        number[1:][is_object] = np.arange(1, np.count_nonzero(is_object) + 1)
        return number[component]


def pair_cells(nuclei: NDArray[np.int32], cells: NDArray[Any]) -> NDArray[np.int32]:
    """Relabel a mask of cells (Y, X), any labels, by the nuclei 1..n (Y, X) in them.

    A nucleus goes with the cell that covers most of it; a cell with several such nuclei goes to the
    one it shares most pixels with (ties: the first nucleus, the smaller cell label). Pixels of a
    nucleus belong to its own cell, whatever the mask of cells says. A nucleus without a cell is its
    cell; a cell without a nucleus is none.
    """
    if nuclei.shape != cells.shape:
        raise RequestError(
            f"found nuclei of {nuclei.shape} and cells of {cells.shape} px; both masks must cover"
            " the same image"
        )
    ids, index = np.unique(check_labels(cells), return_inverse=True)
    index = index.reshape(cells.shape)
    both = (nuclei > 0) & (cells > 0)
    code = nuclei[both].astype(np.int64) * len(ids) + index[both]
    pair, shared = np.unique(code, return_counts=True)
    nucleus, cell = np.divmod(pair, max(len(ids), 1))
    best = np.lexsort((cell, -shared, nucleus))
    best = best[np.diff(nucleus[best], prepend=0) != 0]  # the cell that covers most of each nucleus
    nucleus, cell, shared = nucleus[best], cell[best], shared[best]
    owner = np.lexsort((nucleus, -shared, cell))
    owner = owner[np.diff(cell[owner], prepend=0 if 0 in ids else -1) != 0]
    of_cell = np.zeros(len(ids), np.int32)
    of_cell[cell[owner]] = nucleus[owner]
    return np.where(nuclei > 0, nuclei, of_cell[index]) if ids.size else nuclei.copy()


def make(
    options: Segmentation,
    *,
    pixel_size_um: float,
    calibration: ChannelLevels | None,
    objects: LabelObjects | None = None,
) -> LabelsSegmenter:
    """Make the segmenter of the objects of a mask, none above ``max_diameter_um``."""
    if objects is None:
        raise RequestError(
            'method "labels" takes masks you already have; expected [segmentation] nuclei ='
            ' "masks/{slide}.tif" in the recipe'
        )
    limit = options.max_diameter_um / pixel_size_um
    extent = (objects.box[:, 2:] - objects.box[:, :2]).max(axis=1, initial=0)
    n_too_large = np.count_nonzero(extent > limit)
    if n_too_large:
        worst = np.argmax(extent)
        y0, x0, _, _ = objects.box[worst]
        raise SlideError(
            f"label {objects.source_label[worst]} at y={y0}, x={x0} is {extent[worst]} px"
            f" ({extent[worst] * pixel_size_um:.0f} um) across, {n_too_large} labels are above"
            f" segmentation.max_diameter_um = {options.max_diameter_um:g}. Is 0 the background of"
            " this mask? Raise max_diameter_um if these are nuclei"
        )
    return LabelsSegmenter(objects.max_extent_px + 1, objects.fragments)
