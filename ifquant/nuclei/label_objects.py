"""The objects of a mask made elsewhere: where they are, how large, in how many components.

A label image of any size is scanned in strips of rows (`scan_strip`) that are then merged
(`merge_strips`): the halo of a tile is known before the first tile. Of a label in several
8-connected components the largest is kept; the others, its fragments, are dropped and counted.
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
    """Components of labels in the rows ``y0 <= y < y1``; their numbers along the two edges."""

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
        Pixels of the largest component.
    components : int64 (n,)
        Components of the label.
    fragments : int64 (m,)
        First pixels of the smaller components, which are left out, ascending.
    width : int
        Width of the label image in px.
    """

    source_label: Ints
    first: Ints
    box: Ints
    area: Ints
    components: Ints
    fragments: Ints
    width: int

    @property
    def max_extent_px(self) -> int:
        """Largest height or width of an object."""
        return int(max((self.box[:, 2:] - self.box[:, :2]).max(initial=0), 0))

    def at(self, anchor_y_px: NDArray[Any], anchor_x_px: NDArray[Any]) -> Ints:
        """Index of the objects with these first pixels; any other pixel is refused."""
        first = np.asarray(anchor_y_px, np.int64) * self.width + np.asarray(anchor_x_px, np.int64)
        index = np.searchsorted(self.first, first)
        nearest = np.minimum(index, len(self.first) - 1)
        if first.size and not np.array_equal(self.first[nearest], first):
            raise RequestError(
                "found a nucleus that is none of the mask's objects; expected anchors of nuclei"
                " made from this mask"
            )
        return index

    def warnings(self) -> tuple[str, ...]:
        """List what a user should know of these masks."""
        split = self.source_label[self.components > 1]
        if len(split) == 0:
            return ()
        some = ", ".join(map(str, split[:5])) + (", ..." if len(split) > 5 else "")
        message = (
            f"{len(split)} labels of the mask are in several pieces ({some}): the largest of each"
            f" stays, {len(self.fragments)} dropped"
        )
        return (message,)


def scan_strip(labels: NDArray[Any], y0: int) -> LabelStrip:
    """Find the components of labels (rows, X) in whole rows of the image from row `y0` on."""
    component = label_components(labels)
    n = int(component.max(initial=0))
    height, width = labels.shape
    index = anchors(component) @ np.array([width, 1])
    boxes = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndi.find_objects(component)
    ]
    return LabelStrip(
        y0,
        y0 + height,
        source_label=labels.ravel()[index].astype(np.int64),
        first=index.astype(np.int64) + y0 * width,
        box=np.array(boxes, np.int64).reshape(n, 4) + np.array([y0, 0, y0, 0]),
        area=np.bincount(component.ravel(), minlength=n + 1)[1:].astype(np.int64),
        top=component[0],
        bottom=component[-1],
    )


def merge_strips(strips: Iterable[LabelStrip]) -> LabelObjects:
    """Merge consecutive strips and keep the largest, first component of each label."""
    parts = list(strips)
    pairs = list(pairwise(parts))
    is_gapless = all(a.y1 == b.y0 and len(a.top) == len(b.top) for a, b in pairs)
    if not parts or parts[0].y0 != 0 or not is_gapless:
        raise RequestError(
            "strips of a label image must follow each other from row 0 on, all of one width"
        )
    label, first, box, area = (
        np.concatenate([getattr(part, key) for part in parts])
        for key in ("source_label", "first", "box", "area")
    )
    starts = np.cumsum([0] + [len(part.area) for part in parts])
    links = [
        _adjacent(a, b) + np.array(start)
        for (a, b), start in zip(pairs, pairwise(starts), strict=False)
    ]
    link = np.concatenate([np.zeros((0, 2), np.int64), *links])
    link = link[label[link[:, 0]] == label[link[:, 1]]]
    graph = coo_array((np.ones(len(link)), (link[:, 0], link[:, 1])), shape=(len(label),) * 2)
    component = connected_components(graph, directed=False)[1]
    return _largest_components(component, label, first, box, area, len(parts[0].top))


def _largest_components(
    component: NDArray[np.int32], label: Ints, first: Ints, box: Ints, area: Ints, width: int
) -> LabelObjects:
    """Sum the parts of each component, and keep the largest component of each label."""
    n = int(component.max(initial=-1)) + 1
    whole_first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(whole_first, component, first)
    whole_box = np.tile(np.array([2**62, 2**62, 0, 0]), (n, 1))
    np.minimum.at(whole_box[:, :2], component, box[:, :2])
    np.maximum.at(whole_box[:, 2:], component, box[:, 2:])
    # exact below 2**53
    whole_area = np.bincount(component, weights=area, minlength=n).astype(np.int64)
    whole_label = np.zeros(n, np.int64)
    whole_label[component] = label
    order = np.lexsort((whole_first, -whole_area, whole_label))
    is_largest = np.diff(whole_label[order], prepend=-1) != 0
    components = np.diff(np.append(np.flatnonzero(is_largest), n))
    largest = order[is_largest]
    raster = np.argsort(whole_first[largest])
    largest = largest[raster]
    return LabelObjects(
        whole_label[largest],
        whole_first[largest],
        whole_box[largest],
        whole_area[largest],
        components[raster].astype(np.int64),
        fragments=np.sort(whole_first[order[~is_largest]]),
        width=width,
    )


def label_components(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Label the 8-connected components of equal labels 1..n in raster order."""
    from skimage.measure import label

    checked = check_labels(labels)
    if checked.size == 0:
        return np.zeros(checked.shape, np.int32)
    return np.asarray(label(checked, background=0, connectivity=2), np.int32)


def check_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels unchanged, refused unless they are integers (Y, X), none negative."""
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


def _adjacent(above: LabelStrip, below: LabelStrip) -> Ints:
    """Pairs (n, 2) of components (0-based) that meet across the border, diagonals included."""
    pairs = []
    for shift in (-1, 0, 1):
        upper = above.bottom[max(shift, 0) : len(above.bottom) + min(shift, 0)]
        lower = below.top[max(-shift, 0) : len(below.top) + min(-shift, 0)]
        both = (upper > 0) & (lower > 0)
        pairs.append(np.stack([upper[both] - 1, lower[both] - 1], axis=1).astype(np.int64))
    return np.unique(np.concatenate(pairs), axis=0)
