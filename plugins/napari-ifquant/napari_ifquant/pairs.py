"""The other cell of a pair: neighbors of a cell by the gap of their outlines, as the package
measures it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifquant.proximity.distances import count_touching, nearest_border_px, touching_pairs
from ifquant.review.review_session import ReviewSession

REACH_UM = 60.0
"""Centers further away than this are not offered as neighbors."""
MOST = 16


@dataclass(frozen=True)
class Neighbour:
    """A cell near another one; `gap_um` = 0: they touch."""

    cell_id: int
    phenotype: str
    gap_um: float
    distance_um: float


def neighbours(session: ReviewSession, cell_id: int) -> list[Neighbour]:
    """Find the neighbors of a cell: those of the other phenotype of the pair first, by gap, then
    all others.
    """
    subject = session.subject
    outlines = session.standing.outlines
    y, x = outlines.centroid_px(cell_id)
    size = subject.pixel_size_um
    table = subject.table
    away = np.hypot(table["y_px"].to_numpy() - y, table["x_px"].to_numpy() - x)
    near = subject.ids[away <= REACH_UM / size]
    made = [i for i in outlines.parents if i in outlines]
    candidates = [int(i) for i in (*near, *made) if int(i) != cell_id and int(i) in outlines]
    centers = {i: outlines.centroid_px(i) for i in candidates}
    distance = {i: float(np.hypot(cy - y, cx - x)) * size for i, (cy, cx) in centers.items()}
    candidates = sorted(candidates, key=lambda i: (distance[i], i))
    wanted = _other(session, cell_id)
    kinds = {i: session.phenotype(i) for i in candidates}
    chosen = [i for i in candidates if kinds[i] == wanted][:MOST] + [
        i for i in candidates if kinds[i] != wanted
    ][:MOST]
    gaps = dict(zip(chosen, _gaps_px(session, cell_id, chosen) * size, strict=True))
    chosen.sort(key=lambda i: (kinds[i] != wanted, gaps[i], distance[i], i))
    return [Neighbour(i, kinds[i], float(gaps[i]), distance[i]) for i in chosen]


def _other(session: ReviewSession, cell_id: int) -> str | None:
    source, target = session.subject.pair
    return source if session.phenotype(cell_id) == target else target


def _gaps_px(session: ReviewSession, cell_id: int, others: list[int]) -> NDArray[np.float64]:
    """Gap between the outlines of a cell and of each other one, in px, by the package's own
    measure.
    """
    from ifquant.geometry.runs import concatenate

    outlines = session.standing.outlines
    own = outlines.of(cell_id)[1]
    out = np.full(len(others), np.nan)
    target = np.array([1], np.int64)
    for k, other in enumerate(others):
        both = concatenate([own, outlines.of(other)[1]])
        touching = count_touching(touching_pairs(both), target, 2)
        out[k] = nearest_border_px(both, target, touching, np.array([1, -1], np.int64))[0]
    return out
