"""Objects found window by window where windows overlap: which of them stay, by one fixed rule.

A network whose output depends on its whole window (attention, its own tiling) sees a nucleus at a
seam twice, and not alike. Every window of the lattice reports the whole objects that have a pixel
in its cell, the core of the window; it *owns* those whose anchor (first pixel in raster order) lies
there. Two objects of different windows are *the same nucleus* when they share more than half of the
smaller one.

1. An owned object stays unless it is the same nucleus as an owned object with an earlier anchor.
2. Each of two windows may place the anchor in the other's cell, so that nobody owns the nucleus. An
   object that is not owned is *adopted*, unless it is the same nucleus as one that stays, or as
   another such object with an earlier anchor.
3. Where two of those that stay still share pixels, these go to the owned one, then to the earlier
   anchor; of the other its largest piece stays (4-connected; of equal ones the first), if that is
   large enough.

Each step looks at pairs that overlap and never further, so what happens to an object depends on
objects at most four extents away. Objects are marked as *seam* when two windows disagreed about
them: adopted, trimmed, preferred over another window's owned object, or reaching over the border of
their cell without a counterpart of IoU 0.75 in the other window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.windows import Window
from ifquant.nuclei.connected_pieces import drop_small_and_number, largest_piece

SAME = 0.5
"""Share of the smaller object above which two objects are the same nucleus."""
AGREE = 0.75
"""IoU from which two windows are said to agree on an object."""
HOPS = 4
"""Extents of objects between a pixel and the furthest object its label can depend on."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class WindowObjects:
    """What one window of the lattice reports: labels 1..n (0 background), each 4-connected, of all
    that its maps cover.
    """

    cell: Window
    covered: Window
    labels: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _Candidates:
    """All objects of all windows, one entry each; entry 0 is the background."""

    area: Ints
    owned: NDArray[np.bool_]
    outside: NDArray[np.bool_]  # some pixel beyond its window's cell
    order: Ints  # position by (owned first, anchor, window)


def resolve(
    windows: Sequence[WindowObjects], wanted: Window, min_area_px: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Apply the rule.

    Parameters
    ----------
    windows
        In raster order of their cells; all whose cover meets `wanted` grown by `HOPS` extents of
        the largest object.
    wanted
        Window the labels are wanted for.
    min_area_px
        Objects below this after trimming are dropped.

    Returns
    -------
    int32 (Y, X) labels 1..n of `wanted` in raster order of first pixels, and the seam mark of each
    (n + 1,).
    """
    offsets = np.cumsum([0, *(int(window.labels.max(initial=0)) for window in windows)])
    candidates = _candidates(windows, offsets)
    first, second, shared = _pairs(windows, offsets)
    stays, adopted, beaten = _choose(candidates, first, second, shared)
    both = stays[first] & stays[second]
    earlier = candidates.order[first] < candidates.order[second]
    trimmed = np.zeros(len(stays), np.bool_)
    trimmed[np.where(earlier, second, first)[both]] = True
    marks = (
        adopted
        | trimmed
        | beaten
        | (_without_counterpart(candidates, first, second, shared) & stays)
    )
    canvas = _paint(windows, offsets, wanted, np.where(stays, candidates.order, len(stays)))
    by_order = np.zeros(len(stays) + 1, np.int64)  # the last entry, no object, is 0
    by_order[candidates.order] = np.arange(len(stays))
    objects = by_order[canvas].astype(np.int32)
    labels = np.zeros_like(objects)
    largest_piece(objects, len(stays), labels)
    n = drop_small_and_number(labels, len(stays), min_area_px)
    values, index = np.unique(labels, return_index=True)
    marked = np.zeros(n + 1, np.bool_)
    marked[values] = marks[objects.ravel()[index]]
    marked[0] = False
    return labels, marked


def _candidates(windows: Sequence[WindowObjects], offsets: Ints) -> _Candidates:
    n = int(offsets[-1]) + 1
    area, anchors = np.zeros(n, np.int64), np.zeros((n, 2), np.int64)
    owned, inside = np.zeros(n, np.bool_), np.zeros(n, np.int64)
    for window, offset in zip(windows, offsets, strict=False):
        count = int(window.labels.max(initial=0))
        mine = slice(offset + 1, offset + count + 1)
        flat = window.labels.ravel()
        area[mine] = np.bincount(flat, minlength=count + 1)[1:]
        values, index = np.unique(flat, return_index=True)
        index = index[values > 0]
        width = window.labels.shape[1]
        y, x = index // width + window.covered.y0, index % width + window.covered.x0
        anchors[mine] = np.stack([y, x], axis=1)
        cell = window.cell
        owned[mine] = (y >= cell.y0) & (y < cell.y1) & (x >= cell.x0) & (x < cell.x1)
        core = window.labels[cell.slices_in(window.covered)]
        inside[mine] = np.bincount(core.ravel(), minlength=count + 1)[1:]
    order = np.empty(n, np.int64)
    order[np.lexsort((np.arange(n), anchors[:, 1], anchors[:, 0], ~owned))] = np.arange(n)
    return _Candidates(area, owned, inside < area, order)


def _pairs(windows: Sequence[WindowObjects], offsets: Ints) -> tuple[Ints, Ints, Ints]:
    """Pairs of objects of different windows that share pixels, and how many."""
    found: list[tuple[Ints, Ints, Ints]] = []
    n = int(offsets[-1]) + 1
    for i, a in enumerate(windows):
        for j in range(i + 1, len(windows)):
            b = windows[j]
            common = a.covered.intersection(b.covered)
            if not common.size_px:
                continue
            left, right = (
                a.labels[common.slices_in(a.covered)],
                b.labels[common.slices_in(b.covered)],
            )
            both = (left > 0) & (right > 0)
            code, shared = np.unique(
                (left[both] + offsets[i]) * n + right[both] + offsets[j], return_counts=True
            )
            found.append((code // n, code % n, shared.astype(np.int64)))
    if not found:
        none = np.zeros(0, np.int64)
        return none, none, none
    first, second, shared = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return first, second, shared


def _choose(
    candidates: _Candidates, first: Ints, second: Ints, shared: Ints
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which objects stay, which of them are adopted, and which were preferred over an owned object
    of another window.
    """
    same = shared > SAME * np.minimum(candidates.area[first], candidates.area[second])
    first, second = first[same], second[same]
    swap = candidates.order[first] > candidates.order[second]
    better, worse = np.where(swap, second, first), np.where(swap, first, second)
    owned = candidates.owned
    stays = owned.copy()
    stays[0] = False
    beaten = np.zeros(len(owned), np.bool_)
    rivals = owned[better] & owned[worse]
    stays[worse[rivals]] = False
    beaten[better[rivals]] = True
    open_ = ~owned
    open_[0] = False
    open_[worse[stays[better]]] = (
        # owned objects come first in the order, so the better one of a mixed pair is the owned one
        False
    )
    adopted = open_.copy()
    adopted[worse[open_[better] & open_[worse]]] = False
    return stays | adopted, adopted, beaten & stays


def _without_counterpart(
    candidates: _Candidates, first: Ints, second: Ints, shared: Ints
) -> NDArray[np.bool_]:
    """Objects reaching over the border of their cell that no other window saw alike."""
    area = candidates.area
    alike = shared >= AGREE * (area[first] + area[second] - shared)
    matched = np.zeros(len(area), np.bool_)
    matched[first[alike]] = True
    matched[second[alike]] = True
    return candidates.outside & ~matched


def _paint(windows: Sequence[WindowObjects], offsets: Ints, wanted: Window, order: Ints) -> Ints:
    """Smallest order of the objects that cover each pixel; ``len(order)`` where there is none."""
    canvas = np.full(wanted.shape, len(order), np.int64)
    for window, offset in zip(windows, offsets, strict=False):
        common = window.covered.intersection(wanted)
        if common.size_px:
            labels = window.labels[common.slices_in(window.covered)].astype(np.int64)
            ranks = np.where(labels > 0, order[labels + offset], len(order))
            part = canvas[common.slices_in(wanted)]
            np.minimum(part, ranks, out=part)
    return canvas
