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
class Contacts:
    """Sources touched by, or near, each exposed responder, all as rows of the cell table.

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

    @classmethod
    def of(cls, rows: Ids, sources: Ids, weight: Floats, distance_um: Floats) -> Contacts:
        """Group (responder, source) entries by responder; entries without weight are dropped."""
        order = np.lexsort((sources, rows))
        order = order[weight[order] > 0]
        exposed, first = np.unique(rows[order], return_index=True)
        offsets = np.concatenate([first, [len(order)]]).astype(np.int64)
        return cls(exposed, offsets, sources[order], weight[order], distance_um[order])

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

    @property
    def rows(self) -> Ids:
        """Responder of each entry."""
        return np.repeat(self.responders, np.diff(self.offsets))

    def where(self, entries: Bools) -> Contacts:
        """Contacts of some of the entries; responders without any left are dropped."""
        return Contacts.of(
            self.rows[entries],
            self.sources[entries],
            self.weight[entries],
            self.distance_um[entries],
        )

    def without(self, other: Contacts) -> Contacts:
        """Contacts less the (responder, source) entries of another set."""
        size = int(max(self.sources.max(initial=0), other.sources.max(initial=0))) + 1
        shared = np.isin(self.rows * size + self.sources, other.rows * size + other.sources)
        return self.where(~shared)

    def mean(self, per_entry: Floats) -> Floats:
        """Weighted mean of a value over the sources of each responder."""
        if len(self) == 0:
            return np.zeros(0)
        total = np.add.reduceat(per_entry * self.weight, self.offsets[:-1])
        return np.asarray(total / np.add.reduceat(self.weight, self.offsets[:-1]))


def outline_contacts(x_um: Floats, y_um: Floats, rows: Ids, sources: Ids) -> Contacts:
    """Group contacts (responder rows, source rows) known from outlines."""
    distance = np.hypot(x_um[rows] - x_um[sources], y_um[rows] - y_um[sources])
    return Contacts.of(rows, sources, np.ones(len(distance)), distance)


def contacts_within(
    points: Floats, responder: Bools, source: Bools, radius_um: float, *, weighted: bool = True
) -> Contacts:
    """Find sources within `radius_um` of responders, weighted by ``1 - (d / r)^2`` or alike.

    `points` (n, 2) are the centroids of all cells in um.
    """
    rows, others = np.flatnonzero(responder), np.flatnonzero(source)
    if len(rows) == 0 or len(others) == 0:
        none = np.zeros(0, np.int64)
        return Contacts.of(none, none, np.zeros(0), np.zeros(0))
    lists = cKDTree(points[others]).query_ball_point(points[rows], radius_um, return_sorted=True)
    i = np.repeat(rows, [len(near) for near in lists])
    j = others[np.concatenate([np.asarray(near, np.int64) for near in lists])]
    distance = np.hypot(points[i, 0] - points[j, 0], points[i, 1] - points[j, 1])
    weight = 1 - (distance / radius_um) ** 2 if weighted else np.ones(len(i))
    return Contacts.of(i, j, weight, distance)
