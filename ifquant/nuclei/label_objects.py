"""Masks made elsewhere, looked at once: what objects they hold, where, how large, in how many
pieces.

A label image of any size is scanned in strips of rows (`scan_strip`) that are then put together
(`find_objects`): the halo of a tile is known before the first tile. Of a label in several pieces
the largest is kept; the others are dropped and counted. Pieces are 8-connected.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ifquant.errors import RequestError, SlideError
from ifquant.geometry.runs import anchors

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LabelStrip:
    """Pieces of labels in whole rows ``y0 <= y < y1``: label, first pixel, box (y0, x0, y1, x1),
    area; piece numbers along the edges.
    """

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
        if wanted.size and not np.array_equal(
            self.first[np.minimum(index, len(self.first) - 1)], wanted
        ):
            raise RequestError(
                "found a nucleus that is none of the mask's objects; expected anchors of nuclei"
                " made from this mask"
            )
        return index

    def warnings(self) -> tuple[str, ...]:
        """Say what a user should know of these masks."""
        split = np.flatnonzero(self.pieces > 1)
        if len(split) == 0:
            return ()
        some = ", ".join(map(str, self.source_label[split][:5])) + (
            ", ..." if len(split) > 5 else ""
        )
        return (
            (
                f"{len(split)} labels of the mask are in several pieces ({some}): the largest of"
                f" each stays, {len(self.dropped)} dropped"
            ),
        )


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
    piece = pieces_of(labels)
    n = int(piece.max(initial=0))
    width = labels.shape[1]
    index = anchors(piece) @ np.array([width, 1])
    boxes = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndi.find_objects(piece)
    ]
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
    """Put the pieces of consecutive strips together and keep the largest piece of each label (of
    equal ones the first in raster order).

    Raises
    ------
    RequestError
        If there is no strip, or strips do not follow each other.
    """
    parts = list(strips)
    if (
        not parts
        or parts[0].y0 != 0
        or any(a.y1 != b.y0 or len(a.top) != len(b.top) for a, b in pairwise(parts))
    ):
        raise RequestError(
            "strips of a label image must follow each other from row 0 on, all of one width"
        )
    label, first, box, area = (
        np.concatenate([getattr(part, key) for part in parts])
        for key in ("source_label", "first", "box", "area")
    )
    starts = np.cumsum([0] + [len(part.area) for part in parts])
    links = [
        _touching(a, b, int(i), int(j))
        for (a, b), (i, j) in zip(pairwise(parts), pairwise(starts[:-1]), strict=True)
    ]
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
        whole_label[kept],
        whole_first[kept],
        whole_box[kept],
        whole_area[kept],
        pieces.astype(np.int64),
        dropped,
        len(parts[0].top),
    )


def pieces_of(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Find 8-connected pieces of equal labels, numbered 1..n in raster order of their first
    pixel.
    """
    from skimage.measure import label

    checked = checked_labels(labels)
    if checked.size == 0:
        return np.zeros(checked.shape, np.int32)
    return np.asarray(label(checked, background=0, connectivity=2), np.int32)


def checked_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels unchanged.

    Raises
    ------
    SlideError
        If they are not integers (Y, X), or one is negative.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise SlideError(
            f"found a mask of shape {labels.shape} and type {labels.dtype}; expected integers (Y,"
            " X), one per object"
        )
    if labels.size and labels.min() < 0:
        raise SlideError(
            f"found the label {labels.min()} in a mask; expected 0 for background and positive"
            " numbers for objects"
        )
    return labels


def _touching(above: LabelStrip, below: LabelStrip, start_above: int, start_below: int) -> Ints:
    """Pairs of pieces that meet across the border of two strips, diagonals included; labels may
    differ.
    """
    upper, lower = above.bottom, below.top
    pairs = []
    for shift in (-1, 0, 1):
        u = upper[max(shift, 0) : len(upper) + min(shift, 0)]
        v = lower[max(-shift, 0) : len(lower) + min(-shift, 0)]
        met = (u > 0) & (v > 0)
        pairs.append(
            np.stack([u[met] - 1 + start_above, v[met] - 1 + start_below], axis=1).astype(np.int64)
        )
    return np.unique(np.concatenate(pairs), axis=0)
