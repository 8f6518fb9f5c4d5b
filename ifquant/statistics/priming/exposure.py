"""Exposure: which sources a responder touches or has near, and the mean of a value over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Sources of each exposed responder, all as rows of the cell table.

    Attributes
    ----------
    responders : (n,)
        Exposed responders, ascending.
    offsets : (n + 1,)
        Responder `i` has the entries ``offsets[i] : offsets[i + 1]``.
    sources, weight, distance_um : (entries,)
        The source, its weight in the mean, and the distance of the centroids.
    """

    responders: Ids
    offsets: Ids
    sources: Ids
    weight: Floats
    distance_um: Floats

    def __len__(self) -> int:
        """Return the number of exposed responders."""
        return len(self.responders)

    @property
    def counts(self) -> Floats:
        """Sources per responder."""
        return np.diff(self.offsets).astype(np.float64)

    @property
    def touched(self) -> Ids:
        """All sources that occur, ascending."""
        return np.unique(self.sources)

    def mean(self, per_entry: Floats) -> Floats:
        """Weighted mean of a value over the sources of each responder."""
        if len(self) == 0:
            return np.zeros(0)
        total = np.add.reduceat(per_entry * self.weight, self.offsets[:-1])
        return np.asarray(total / np.add.reduceat(self.weight, self.offsets[:-1]))


def neighbours(responders: Ids, sources: Ids, weight: Floats, distance_um: Floats) -> Neighbours:
    """Group (responder, source) entries by responder; entries without weight are dropped."""
    order = np.lexsort((sources, responders))
    order = order[weight[order] > 0]
    exposed, first = np.unique(responders[order], return_index=True)
    offsets = np.concatenate([first, [len(order)]]).astype(np.int64)
    return Neighbours(exposed, offsets, sources[order], weight[order], distance_um[order])


def touching(x_um: Floats, y_um: Floats, responder_rows: Ids, source_rows: Ids) -> Neighbours:
    """Group contacts known from outlines."""
    distance = np.hypot(
        x_um[responder_rows] - x_um[source_rows], y_um[responder_rows] - y_um[source_rows]
    )
    return neighbours(responder_rows, source_rows, np.ones(len(distance)), distance)


def within(
    x_um: Floats,
    y_um: Floats,
    responder: Bools,
    source: Bools,
    radius_um: float,
    *,
    weighted: bool = True,
) -> Neighbours:
    """Find sources within `radius_um` of responders (centroids), weighted by ``1 - (d / r)^2`` or
    alike.
    """
    rows, found = np.flatnonzero(responder), np.flatnonzero(source)
    if len(rows) == 0 or len(found) == 0:
        return neighbours(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    points = np.column_stack([x_um, y_um])
    lists = cKDTree(points[found]).query_ball_point(points[rows], radius_um, return_sorted=True)
    i = np.repeat(rows, [len(near) for near in lists])
    j = found[np.concatenate([np.asarray(near, np.int64) for near in lists])]
    distance = np.hypot(x_um[i] - x_um[j], y_um[i] - y_um[j])
    return neighbours(
        i, j, 1 - (distance / radius_um) ** 2 if weighted else np.ones(len(i)), distance
    )


def without(given: Neighbours, left_out: Neighbours) -> Neighbours:
    """Drop the (responder, source) entries that another set holds; responders without any left are
    dropped.
    """
    rows = np.repeat(given.responders, np.diff(given.offsets))
    size = int(max(given.sources.max(initial=0), left_out.sources.max(initial=0))) + 1
    other = np.repeat(left_out.responders, np.diff(left_out.offsets)) * size + left_out.sources
    keep = ~np.isin(rows * size + given.sources, other)
    return neighbours(rows[keep], given.sources[keep], given.weight[keep], given.distance_um[keep])
