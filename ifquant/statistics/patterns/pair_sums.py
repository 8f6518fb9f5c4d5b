"""Sums over pairs of near points in a region, weighted for what its edges hide.

Time grows with the number of pairs closer than the largest distance.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.statistics.buckets import Buckets, sort_into_buckets
from ifquant.statistics.patterns import pair_kernels as kernels
from ifquant.statistics.patterns import region_measures

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
KCorrection = Literal["translate", "border", "isotropic", "seen", "none"]
_MODES = {
    "none": kernels.NONE,
    "seen": kernels.NONE,
    "border": kernels.BORDER,
    "translate": kernels.TRANSLATE,
    "isotropic": kernels.ISOTROPIC,
}
MOST_BUCKETS = 8192
"""Along the longer side of a region, whatever the reach."""


class Sources(NamedTuple):
    """Points looked from: coordinates relative to the corner of the region, one value each (n,).

    `ids` tells which target is the same cell (-1: none); `border` is the distance to the border.
    """

    x: Floats
    y: Floats
    ids: Ids
    weight: Floats
    border: Floats


class EdgeCorrection(NamedTuple):
    """How a pair is weighted for what the region hides: `mode`, and what the modes need.

    `counts` are those of the covariogram (TRANSLATE), `size` is the rectangle's (ISOTROPIC).
    """

    mode: int
    counts: Floats
    step: tuple[float, float]
    size: tuple[float, float]
    area: float


def pair_sums(
    sources: Sources, targets: Buckets, weight: Floats, r: Floats, edge: EdgeCorrection
) -> Floats:
    """Sum over pairs up to each r of the weights of both and of the edge correction, (k,).

    `weight` (m,) is that of the targets in the order in which they were sorted into buckets.
    """
    walk = np.lexsort((sources.x, np.floor(sources.y / targets.side)))  # near ones near in memory
    walked = Sources(*[values[walk] for values in sources])  # type: ignore[arg-type]
    found = kernels.pair_histogram(walked, targets, weight[targets.order], r, edge)
    return np.asarray(np.cumsum(found[:-1]))


def region_buckets(points: Floats, reach_um: float, region: Region) -> Buckets:
    """Sort points of a region into buckets in which to look for pairs up to `reach_um` apart."""
    width, height = region.extent_um
    per_point = float(np.sqrt(width * height / max(len(points), 1)))
    side = max(reach_um / 3, per_point, max(width, height) / MOST_BUCKETS)
    return sort_into_buckets(points - np.asarray(region.corner_um), side, (width, height))


def sources_of(
    points: Floats, region: Region, weight: Floats, border: Floats, *, own: bool = False
) -> Sources:
    """Points (n, 2) as the kernels look from them; `own`: they are the targets themselves."""
    at = points - np.asarray(region.corner_um)
    ids = np.arange(len(points)) if own else np.full(len(points), -1)
    return Sources(at[:, 0], at[:, 1], ids, weight, border)


def edge_correction(region: Region, correction: str, reach_um: float) -> EdgeCorrection:
    """Prepare the weights of pairs up to `reach_um` apart, if the correction fits the region."""
    if correction not in _MODES:
        raise RequestError(
            f"correction {correction!r} is not known; use one of {', '.join(_MODES)}."
        )
    counts = np.zeros((1, 1))
    if correction == "translate":
        counts = region_measures.covariogram(region, reach_um).counts
    width, height = region.extent_um
    if correction == "isotropic":
        if not region.is_rectangle:
            raise RequestError(
                "isotropic correction is for rectangles; in a tissue mask use translate or border."
            )
        if reach_um > min(width, height) / 2:
            raise RequestError(
                "isotropic correction needs r up to half the shorter side"
                f" ({min(width, height) / 2:g} um)."
            )
    step = float(region.step_um[0]), float(region.step_um[1])
    return EdgeCorrection(
        _MODES[correction], counts, step, (float(width), float(height)), region.area_um2
    )
