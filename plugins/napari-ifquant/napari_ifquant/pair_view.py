"""The pair on view: a cell of the queue or any other, and its neighbors by the gap of outlines."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.runs import concatenate
from ifquant.proximity.distances import count_touching, nearest_border_px, touching_pairs
from ifquant.review.review_session import ReviewSession

REACH_UM = 60.0
"""Centers further away than this are not offered as neighbors."""
MOST = 16


@dataclass(frozen=True)
class Neighbor:
    """A cell near another one; `gap_um` = 0: they touch."""

    cell_id: int
    phenotype: str
    gap_um: float
    distance_um: float


@dataclass(frozen=True)
class PairView:
    """What is on view.

    Attributes
    ----------
    cell_id
        None: no cell.
    place
        Where the review is in the queue, from 1; 0 before it begins.
    queued
        Whether the cell came from there.
    near
        Its neighbors.
    index
        Which of them is the other cell of the pair.
    """

    cell_id: int | None = None
    place: int = 0
    queued: bool = False
    near: tuple[Neighbor, ...] = ()
    index: int = 0

    @property
    def partner(self) -> Neighbor | None:
        """The other cell of the pair."""
        return self.near[self.index] if self.near else None

    def next_partner(self) -> PairView:
        """Pair of the same cell and its next neighbor."""
        return replace(self, index=(self.index + 1) % len(self.near)) if self.near else self

    def with_neighbors(self, session: ReviewSession, partner: int | None = None) -> PairView:
        """Pair of the same cell with its neighbors now, `partner` being the other if it is one."""
        near = () if self.cell_id is None else tuple(neighbors(session, self.cell_id))
        index = next((k for k, one in enumerate(near) if one.cell_id == partner), 0)
        return replace(self, near=near, index=index)


def neighbors(session: ReviewSession, cell_id: int) -> list[Neighbor]:
    """Neighbors of a cell: those of the pair's other phenotype first, each group by gap."""
    subject, outlines = session.subject, session.standing.outlines
    y, x = outlines.centroid_px(cell_id)
    size = subject.pixel_size_um
    table = subject.table
    away = np.hypot(table["y_px"].to_numpy() - y, table["x_px"].to_numpy() - x)
    ids = [*subject.ids[away <= REACH_UM / size].tolist(), *outlines.parents]
    centers = {i: outlines.centroid_px(i) for i in ids if i != cell_id and i in outlines}
    distance = {i: float(np.hypot(cy - y, cx - x)) * size for i, (cy, cx) in centers.items()}
    source, target = subject.pair
    other = source if session.phenotype(cell_id) == target else target
    kinds = {i: session.phenotype(i) for i in sorted(centers, key=lambda i: (distance[i], i))}
    chosen = [i for i, kind in kinds.items() if kind == other][:MOST]
    chosen += [i for i, kind in kinds.items() if kind != other][:MOST]
    gaps = dict(zip(chosen, (_gaps_px(session, cell_id, chosen) * size).tolist(), strict=True))
    chosen.sort(key=lambda i: (kinds[i] != other, gaps[i], distance[i], i))
    return [Neighbor(i, kinds[i], gaps[i], distance[i]) for i in chosen]


def _gaps_px(session: ReviewSession, cell_id: int, others: list[int]) -> NDArray[np.float64]:
    """Gap between the outlines of a cell and of each other one, by the package's own measure."""
    outlines = session.standing.outlines
    own = outlines.of(cell_id)[1]
    out = np.full(len(others), np.nan)
    target = np.array([1], np.int64)
    for k, other in enumerate(others):
        both = concatenate([own, outlines.of(other)[1]])
        touching = count_touching(touching_pairs(both), target, 2)
        out[k] = nearest_border_px(both, target, touching, np.array([1, -1], np.int64))[0]
    return out
