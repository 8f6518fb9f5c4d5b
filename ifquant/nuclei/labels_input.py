"""Masks made elsewhere, turned into nuclei and cells: any numbers, any gaps, any size.

A label image is looked at once in strips of rows (`scan_strip`, `find_objects`): that gives every label's pieces, sizes and places, so that
the halo of a tile is known before the first tile. Of a label in several pieces the largest one is kept; the others are dropped and counted.
Pieces are 8-connected. In a tile, `LabelsSegmenter` finds the same pieces again and knows which to drop by their first pixel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ifquant.base.tiles import Window
from ifquant.errors import RequestError, SlideError
from ifquant.nuclei.levels import ChannelLevels
from ifquant.recipes.recipe import Segmentation

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelStrip:
    """Pieces of labels in whole rows ``y0 <= y < y1``: label, first pixel, box (y0, x0, y1, x1), area; piece numbers along the edges."""

    y0: int
    y1: int
    source_label: Ints
    first: Ints
    box: Ints
    area: Ints
    top: NDArray[np.int32]
    bottom: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class LabelObjects:
    """The objects of a label image, in raster order of their first pixel.

    Attributes
    ----------
    source_label : int64 (n,)
        Label in the file, each once.
    first : int64 (n,)
        First pixel in raster order, as ``y * width + x``.
    box : int64 (n, 4)
        Half-open ``y0, x0, y1, x1`` in px.
    area : int64 (n,)
        Pixels of the piece that was kept.
    pieces : int64 (n,)
        Pieces the label was in.
    dropped : int64 (m,)
        First pixels of the pieces that were left out, ascending.
    width : int
        Width of the label image in px.
    """

    source_label: Ints
    first: Ints
    box: Ints
    area: Ints
    pieces: Ints
    dropped: Ints
    width: int

    @property
    def max_extent_px(self) -> int:
        """Largest height or width of an object."""
        return int(max((self.box[:, 2:] - self.box[:, :2]).max(initial=0), 0))

    def at(self, anchor_y_px: NDArray[Any], anchor_x_px: NDArray[Any]) -> Ints:
        """Index of the objects with these first pixels.

        Raises
        ------
        RequestError
            If a pixel is not the first of an object.
        """
        wanted = np.asarray(anchor_y_px, np.int64) * self.width + np.asarray(anchor_x_px, np.int64)
        index = np.searchsorted(self.first, wanted)
        if wanted.size and not np.array_equal(self.first[np.minimum(index, len(self.first) - 1)], wanted):
            raise RequestError("found a nucleus that is none of the mask's objects; expected anchors of nuclei made from this mask")
        return index

    def warnings(self) -> tuple[str, ...]:
        """Say what a user should know of these masks."""
        split = np.flatnonzero(self.pieces > 1)
        if len(split) == 0:
            return ()
        some = ", ".join(map(str, self.source_label[split][:5])) + (", ..." if len(split) > 5 else "")
        return (f"{len(split)} labels of the mask are in several pieces ({some}): the largest of each stays, {len(self.dropped)} dropped",)


def scan_strip(labels: NDArray[Any], y0: int) -> LabelStrip:
    """Find the pieces of labels in a strip of rows.

    Parameters
    ----------
    labels : integers (rows, X)
        Whole rows of the label image, 0 is background.
    y0
        First row of the strip in the image.

    Raises
    ------
    SlideError
        If a label is negative.
    """
    piece = _pieces(labels)
    n = int(piece.max(initial=0))
    width = labels.shape[1]
    _, index = np.unique(piece, return_index=True)
    index = index[-n:] if n else index[:0]
    boxes = [(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in ndi.find_objects(piece)]
    shift = np.array([y0, 0, y0, 0])
    return LabelStrip(
        y0,
        y0 + labels.shape[0],
        labels.ravel()[index].astype(np.int64),
        index.astype(np.int64) + y0 * width,
        np.array(boxes, np.int64).reshape(n, 4) + shift,
        np.bincount(piece.ravel(), minlength=n + 1)[1:].astype(np.int64),
        piece[0],
        piece[-1],
    )


def find_objects(strips: Iterable[LabelStrip]) -> LabelObjects:
    """Put the pieces of consecutive strips together and keep the largest piece of each label (of equal ones the first in raster order).

    Raises
    ------
    RequestError
        If there is no strip, or strips do not follow each other.
    """
    parts = list(strips)
    if not parts or parts[0].y0 != 0 or any(a.y1 != b.y0 or len(a.top) != len(b.top) for a, b in pairwise(parts)):
        raise RequestError("strips of a label image must follow each other from row 0 on, all of one width")
    label, first, box, area = (np.concatenate([getattr(part, key) for part in parts]) for key in ("source_label", "first", "box", "area"))
    starts = np.cumsum([0] + [len(part.area) for part in parts])
    links = [_touching(a, b, int(i), int(j)) for (a, b), (i, j) in zip(pairwise(parts), pairwise(starts[:-1]), strict=True)]
    link = np.concatenate([np.zeros((0, 2), np.int64), *links])
    link = link[label[link[:, 0]] == label[link[:, 1]]]
    graph = coo_array((np.ones(len(link)), (link[:, 0], link[:, 1])), shape=(len(label),) * 2)
    group = connected_components(graph, directed=False)[1]
    n = int(group.max(initial=-1)) + 1
    whole_first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(whole_first, group, first)
    whole_box = np.tile(np.array([2**62, 2**62, 0, 0]), (n, 1))
    np.minimum.at(whole_box[:, :2], group, box[:, :2])
    np.maximum.at(whole_box[:, 2:], group, box[:, 2:])
    whole_area = np.bincount(group, weights=area, minlength=n).astype(np.int64)  # exact below 2**53
    whole_label = np.zeros(n, np.int64)
    whole_label[group] = label
    order = np.lexsort((whole_first, -whole_area, whole_label))
    chosen = np.diff(whole_label[order], prepend=-1) != 0
    pieces = np.diff(np.append(np.flatnonzero(chosen), n))
    kept = order[chosen]
    raster = np.argsort(whole_first[kept])
    kept, pieces = kept[raster], pieces[raster]
    dropped = np.sort(whole_first[order[~chosen]])
    return LabelObjects(
        whole_label[kept], whole_first[kept], whole_box[kept], whole_area[kept], pieces.astype(np.int64), dropped, len(parts[0].top)
    )


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

    def nuclei(self, read: Any, read_maps: Any, window: Window, image_shape: tuple[int, int]) -> NDArray[np.int32]:
        """Labels (Y, X) 1..n of a window, in raster order of first pixels."""
        piece = _pieces(np.asarray(read(window)))
        values, index = np.unique(piece, return_index=True)
        width = window.shape[1]
        first = (index // max(width, 1) + window.y0) * image_shape[1] + index % max(width, 1) + window.x0
        keep = (values > 0) & ~np.isin(first, self.dropped)
        number = np.zeros(len(values), np.int32)
        number[keep] = np.arange(1, np.count_nonzero(keep) + 1)
        return number[np.searchsorted(values, piece)] if values.size else piece


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

    A nucleus goes with the cell that covers most of it; a cell with several such nuclei goes to the one it shares most pixels with (ties:
    the first nucleus, the smaller cell label). Pixels of a nucleus belong to its own cell, whatever the mask of cells says.

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
        raise RequestError(f"found nuclei of {nuclei.shape} and cells of {cells.shape} px; both masks must cover the same image")
    ids, index = np.unique(_checked(cells), return_inverse=True)
    index = index.reshape(cells.shape)
    n = int(nuclei.max(initial=0))
    both = (nuclei > 0) & (cells > 0)
    pair, shared = np.unique(nuclei[both].astype(np.int64) * len(ids) + index[both], return_counts=True)
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
    return PairedCells(labels.astype(np.int32), without_cell, ids[(of_cell == 0) & (ids > 0)].astype(np.int64))


def make(
    options: Segmentation, *, pixel_size_um: float, calibration: ChannelLevels | None, objects: LabelObjects | None = None
) -> LabelsSegmenter:
    """Make the segmenter for a mask that was looked at by `find_objects`.

    Raises
    ------
    RequestError
        Without `objects`.
    SlideError
        If an object is larger than ``[segmentation] max_diameter_um``, naming it.
    """
    if objects is None:
        raise RequestError(
            'method "labels" takes masks you already have; expected [segmentation] nuclei = "masks/{slide}.tif" in the recipe'
        )
    limit = options.max_diameter_um / pixel_size_um
    extent = (objects.box[:, 2:] - objects.box[:, :2]).max(axis=1, initial=0)
    too_large = np.flatnonzero(extent > limit)
    if len(too_large):
        worst = too_large[np.argmax(extent[too_large])]
        y0, x0, _, _ = objects.box[worst]
        raise SlideError(
            f"label {objects.source_label[worst]} at y={y0}, x={x0} is {extent[worst]} px ({extent[worst] * pixel_size_um:.0f} um) across, "
            f"{len(too_large)} labels are above segmentation.max_diameter_um = {options.max_diameter_um:g}. "
            "Is 0 the background of this mask? Raise max_diameter_um if these are nuclei"
        )
    return LabelsSegmenter(objects.max_extent_px + 1, objects.dropped)


def _pieces(labels: NDArray[Any]) -> NDArray[np.int32]:
    """8-connected pieces of equal labels, numbered 1..n in raster order of their first pixel."""
    from skimage.measure import label

    checked = _checked(labels)
    if checked.size == 0:
        return np.zeros(checked.shape, np.int32)
    return np.asarray(label(checked, background=0, connectivity=2), np.int32)


def _touching(above: LabelStrip, below: LabelStrip, start_above: int, start_below: int) -> Ints:
    """Pairs of pieces that meet across the border of two strips, diagonals included; labels may differ."""
    upper, lower = above.bottom, below.top
    pairs = []
    for shift in (-1, 0, 1):
        u = upper[max(shift, 0) : len(upper) + min(shift, 0)]
        v = lower[max(-shift, 0) : len(lower) + min(-shift, 0)]
        met = (u > 0) & (v > 0)
        pairs.append(np.stack([u[met] - 1 + start_above, v[met] - 1 + start_below], axis=1).astype(np.int64))
    return np.unique(np.concatenate(pairs), axis=0)


def _checked(labels: NDArray[Any]) -> NDArray[Any]:
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise SlideError(f"found a mask of shape {labels.shape} and type {labels.dtype}; expected integers (Y, X), one per object")
    if labels.size and labels.min() < 0:
        raise SlideError(f"found the label {labels.min()} in a mask; expected 0 for background and positive numbers for objects")
    return labels
