"""Objects of overlapping lattice windows: which of them stay, by one fixed rule.

A network whose output depends on its whole window (attention, its own tiling) sees a nucleus at a
seam twice, and not alike. Every window of the lattice reports the whole objects that have a pixel
in its core; it *owns* those whose anchor (first pixel in raster order) lies there. Two objects of
different windows are *the same nucleus* when they share more than half of the smaller one.

1. An owned object stays unless it is the same nucleus as an owned object with an earlier anchor.
2. Each of two windows may place the anchor in the other's core, so that nobody owns the nucleus. An
   object that is not owned is *adopted*, unless it is the same nucleus as one that stays, or as
   another such object with an earlier anchor.
3. Where two of those that stay still share pixels, these go to the owned one, then to the earlier
   anchor; of the other its largest component stays (4-connected; of equal ones the first), if that
   is large enough.

Each step looks at pairs that overlap and never further, so what happens to an object depends on
objects at most four extents away. Objects are marked as *seam* when two windows disagreed about
them: adopted, trimmed, preferred over another window's owned object, or reaching over the border of
their core without a counterpart of IoU 0.75 in the other window.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.runs import anchors
from ifquant.geometry.windows import Window
from ifquant.nuclei.connected_components import largest_components, relabel_without_small

SAME = 0.5
"""Share of the smaller object above which two objects are the same nucleus."""
AGREE = 0.75
"""IoU from which two windows are said to agree on an object."""
HOPS = 4
"""Extents of objects between a pixel and the furthest object its label can depend on."""

Ints = NDArray[np.int64]


class WindowObjects(NamedTuple):
    """Labels 1..n (0 background) of one lattice window, each 4-connected."""

    core: Window
    window: Window
    labels: NDArray[np.int32]


class _Candidates(NamedTuple):
    """All objects of all windows, one entry each; entry 0 is the background."""

    area: Ints
    is_owned: NDArray[np.bool_]
    leaves_core: NDArray[np.bool_]
    order: Ints  # position by (owned first, anchor, window)


class _Pairs(NamedTuple):
    """Objects of different windows that share pixels, and how many."""

    first: Ints
    second: Ints
    shared: Ints


def resolve(
    windows: Sequence[WindowObjects], target: Window, min_area_px: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Apply the rule: labels (Y, X) 1..n of `target` in raster order, seam mark of each (n + 1,).

    `windows` come in raster order of their cores: all that meet `target` grown by `HOPS` extents of
    the largest object. Objects below `min_area_px` after trimming are dropped.
    """
    offsets = np.cumsum([0, *(int(window.labels.max(initial=0)) for window in windows)])
    candidates = _candidates(windows, offsets)
    pairs = _pairs(windows, offsets)
    stays, is_seam = _choose(candidates, pairs)
    both = stays[pairs.first] & stays[pairs.second]
    is_earlier = candidates.order[pairs.first] < candidates.order[pairs.second]
    is_seam[np.where(is_earlier, pairs.second, pairs.first)[both]] = True  # trimmed
    canvas = _paint(windows, offsets, target, np.where(stays, candidates.order, len(stays)))
    by_order = np.zeros(len(stays) + 1, np.int32)  # the last entry, no object, is 0
    by_order[candidates.order] = np.arange(len(stays))
    objects = by_order[canvas]
    labels = largest_components(objects)
    n = relabel_without_small(labels, len(stays), min_area_px)
    values, index = np.unique(labels, return_index=True)
    marks = np.zeros(n + 1, np.bool_)
    marks[values] = is_seam[objects.ravel()[index]]
    marks[0] = False
    return labels, marks


def _candidates(windows: Sequence[WindowObjects], offsets: Ints) -> _Candidates:
    """Describe every object of every window."""
    n = int(offsets[-1]) + 1
    area, inside = np.zeros(n, np.int64), np.zeros(n, np.int64)
    anchor, is_owned = np.zeros((n, 2), np.int64), np.zeros(n, np.bool_)
    for (core, window, labels), start, stop in zip(windows, offsets, offsets[1:], strict=False):
        own = slice(start + 1, stop + 1)
        area[own] = np.bincount(labels.ravel(), minlength=stop - start + 1)[1:]
        inner = labels[core.slices_in(window)].ravel()
        inside[own] = np.bincount(inner, minlength=stop - start + 1)[1:]
        anchor[own] = anchors(labels) + np.array([window.y0, window.x0])
        y, x = anchor[own].T
        is_owned[own] = (y >= core.y0) & (y < core.y1) & (x >= core.x0) & (x < core.x1)
    order = np.empty(n, np.int64)
    order[np.lexsort((anchor[:, 1], anchor[:, 0], ~is_owned))] = np.arange(n)
    return _Candidates(area, is_owned, inside < area, order)


def _pairs(windows: Sequence[WindowObjects], offsets: Ints) -> _Pairs:
    """Find the pairs of objects of different windows that share pixels."""
    n = int(offsets[-1]) + 1
    codes, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for (a, start_a), (b, start_b) in combinations(zip(windows, offsets, strict=False), 2):
        common = a.window.intersection(b.window)
        if common.size_px:
            first = a.labels[common.slices_in(a.window)]
            second = b.labels[common.slices_in(b.window)]
            both = (first > 0) & (second > 0)
            code = (first[both] + start_a) * n + second[both] + start_b
            code, shared = np.unique(code, return_counts=True)
            codes.append(code)
            counts.append(shared)
    return _Pairs(*np.divmod(np.concatenate(codes), n), np.concatenate(counts))


def _choose(candidates: _Candidates, pairs: _Pairs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which objects stay, and on which of them two windows disagreed (before trimming)."""
    area, is_owned, leaves_core, order = candidates
    first, second, shared = pairs
    is_same = shared > SAME * np.minimum(area[first], area[second])
    is_earlier = order[first] < order[second]
    better = np.where(is_earlier, first, second)[is_same]
    worse = np.where(is_earlier, second, first)[is_same]
    stays = is_owned.copy()
    rivals = is_owned[better] & is_owned[worse]
    stays[worse[rivals]] = False
    is_preferred = np.zeros(len(area), np.bool_)
    is_preferred[better[rivals]] = True
    is_open = ~is_owned
    is_open[0] = False
    # owned objects come first in the order, so the better one of a mixed pair is the owned one
    is_open[worse[stays[better]]] = False
    is_adopted = is_open.copy()
    is_adopted[worse[is_open[better] & is_open[worse]]] = False
    stays |= is_adopted
    is_alike = shared >= AGREE * (area[first] + area[second] - shared)
    is_matched = np.zeros(len(area), np.bool_)
    is_matched[first[is_alike]] = True
    is_matched[second[is_alike]] = True
    return stays, is_adopted | (stays & (is_preferred | (leaves_core & ~is_matched)))


def _paint(windows: Sequence[WindowObjects], offsets: Ints, target: Window, order: Ints) -> Ints:
    """Smallest order of the objects that cover each pixel; ``len(order)`` where there is none."""
    canvas = np.full(target.shape, len(order), np.int64)
    for (_, window, labels), offset in zip(windows, offsets, strict=False):
        common = window.intersection(target)
        if common.size_px:
            inner = labels[common.slices_in(window)].astype(np.int64)
            ranks = np.where(inner > 0, order[inner + offset], len(order))
            part = canvas[common.slices_in(target)]
            np.minimum(part, ranks, out=part)
    return canvas
