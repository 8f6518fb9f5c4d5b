"""Masks made elsewhere as nuclei and cells: the same objects in every tile, and one cell for each
nucleus.

In a tile, `LabelsSegmenter` finds the pieces that `label_objects` found in the whole mask and knows
by their first pixel which to drop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.errors import RequestError, SlideError
from ifquant.geometry.runs import anchors
from ifquant.geometry.windows import Window
from ifquant.nuclei.channel_levels import ChannelLevels
from ifquant.nuclei.label_objects import Ints, LabelObjects, checked_labels, pieces_of
from ifquant.recipe.model import Segmentation


@dataclass(frozen=True, eq=False)
class LabelsSegmenter:
    """Nuclei from a mask; `nuclei` must be given a `read` of the mask, not of the slide.

    Attributes
    ----------
    reach_px
        Extent of the largest object.
    dropped : int64 (m,)
        First pixels of the pieces to leave out, as ``y * width + x``, ascending.
    """

    reach_px: int
    dropped: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    name: str = "labels"
    lattice_px: None = None

    def cell_maps(self, read: Any, cell: Window, image_shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Never called: `lattice_px` is None."""
        raise NotImplementedError

    def nuclei(
        self, read: Any, read_maps: Any, window: Window, image_shape: tuple[int, int]
    ) -> NDArray[np.int32]:
        """Labels (Y, X) 1..n of a window, in raster order of first pixels."""
        piece = pieces_of(np.asarray(read(window)))
        y, x = anchors(piece).T
        keep = ~np.isin((y + window.y0) * image_shape[1] + x + window.x0, self.dropped)
        number = np.zeros(len(keep) + 1, np.int32)
        number[1:][keep] = np.arange(1, np.count_nonzero(keep) + 1)
        return number[piece]


@dataclass(frozen=True, eq=False)
class PairedCells:
    """Cells of a window, each with the label of its nucleus.

    Attributes
    ----------
    labels : int32 (Y, X)
        Every nucleus lies in its cell.
    without_cell : bool (n + 1,)
        Nuclei that no cell of the mask belongs to: their cell is the nucleus.
    without_nucleus : (m,)
        Labels of the cells of the mask that no nucleus belongs to: they are no cells.
    """

    labels: NDArray[np.int32]
    without_cell: NDArray[np.bool_]
    without_nucleus: Ints


def pair_cells(nuclei: NDArray[np.int32], cells: NDArray[Any]) -> PairedCells:
    """Give each nucleus its cell.

    A nucleus goes with the cell that covers most of it; a cell with several such nuclei goes to the
    one it shares most pixels with (ties: the first nucleus, the smaller cell label). Pixels of a
    nucleus belong to its own cell, whatever the mask of cells says.

    Parameters
    ----------
    nuclei : int32 (Y, X)
        Labels 1..n.
    cells : integers (Y, X)
        Cell mask, any labels, 0 is background.

    Raises
    ------
    RequestError
        If the shapes differ.
    SlideError
        If a label is negative.
    """
    if nuclei.shape != cells.shape:
        raise RequestError(
            f"found nuclei of {nuclei.shape} and cells of {cells.shape} px; both masks must cover"
            " the same image"
        )
    ids, index = np.unique(checked_labels(cells), return_inverse=True)
    index = index.reshape(cells.shape)
    n = int(nuclei.max(initial=0))
    both = (nuclei > 0) & (cells > 0)
    pair, shared = np.unique(
        nuclei[both].astype(np.int64) * len(ids) + index[both], return_counts=True
    )
    nucleus, cell = pair // max(len(ids), 1), pair % max(len(ids), 1)
    best = np.lexsort((cell, -shared, nucleus))
    best = best[np.diff(nucleus[best], prepend=0) != 0]  # the cell that covers most of each nucleus
    nucleus, cell, shared = nucleus[best], cell[best], shared[best]
    owner = np.lexsort((nucleus, -shared, cell))
    owner = owner[np.diff(cell[owner], prepend=0 if 0 in ids else -1) != 0]
    of_cell = np.zeros(len(ids), np.int32)
    of_cell[cell[owner]] = nucleus[owner]
    without_cell = np.ones(n + 1, np.bool_)
    without_cell[nucleus[owner]] = False
    without_cell[0] = False
    labels = np.where(nuclei > 0, nuclei, of_cell[index]) if ids.size else nuclei.copy()
    return PairedCells(
        labels.astype(np.int32), without_cell, ids[(of_cell == 0) & (ids > 0)].astype(np.int64)
    )


def make(
    options: Segmentation,
    *,
    pixel_size_um: float,
    calibration: ChannelLevels | None,
    objects: LabelObjects | None = None,
) -> LabelsSegmenter:
    """Make the segmenter for a mask that was looked at by `label_objects.find_objects`.

    Raises
    ------
    RequestError
        Without `objects`.
    SlideError
        If an object is larger than ``[segmentation] max_diameter_um``, naming it.
    """
    if objects is None:
        raise RequestError(
            'method "labels" takes masks you already have; expected [segmentation] nuclei ='
            ' "masks/{slide}.tif" in the recipe'
        )
    limit = options.max_diameter_um / pixel_size_um
    extent = (objects.box[:, 2:] - objects.box[:, :2]).max(axis=1, initial=0)
    too_large = np.flatnonzero(extent > limit)
    if len(too_large):
        worst = too_large[np.argmax(extent[too_large])]
        y0, x0, _, _ = objects.box[worst]
        raise SlideError(
            f"label {objects.source_label[worst]} at y={y0}, x={x0} is {extent[worst]} px"
            f" ({extent[worst] * pixel_size_um:.0f} um) across, {len(too_large)} labels are above"
            f" segmentation.max_diameter_um = {options.max_diameter_um:g}. Is 0 the background of"
            " this mask? Raise max_diameter_um if these are nuclei"
        )
    return LabelsSegmenter(objects.max_extent_px + 1, objects.dropped)
