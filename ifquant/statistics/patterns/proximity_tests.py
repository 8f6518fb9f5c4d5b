"""Tests of proximity between two kinds of cells: one p-value per curve, under one of two nulls.

They answer different questions. *Random shift* (random_shift.py): "do the two kinds lie
independently of each other, each with its own clustering?" Sources are moved together as a block.
*Random labeling*: "given where cells are, does the kind matter?" Labels are exchanged among all
cells. Tumor nests reject it even when myeloid cells ignore tumor cells, because each kind clusters;
a shift keeps that clustering.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.statistics.patterns import label_kernels, region_measures
from ifquant.statistics.patterns.enrichment import neighbors_within
from ifquant.statistics.patterns.envelopes import (
    Alternative,
    GlobalEnvelope,
    Method,
    global_envelope,
)
from ifquant.statistics.patterns.point_patterns import Curve, cross_g, cross_l, kaplan_meier

Floats = NDArray[np.float64]
Statistic = Literal["L", "G"]
Null = Literal["random shift", "random labelling"]
MIN_CELLS = 20
"""Fewer cells of either kind: a curve says nothing."""
MAX_CELLS = 100_000
"""Above this the labeling test works on a random sample of all cells: the null holds for it too, K
does not change, G is the sample's."""
QUESTIONS: dict[Null, str] = {
    "random shift": (
        "Do {source} and {target} cells lie independently of each other, each kind with its own"
        " clustering?"
    ),
    "random labelling": (
        "Given where the cells are, does it matter which are {source} and which {target}?"
    ),
}


@dataclass(frozen=True)
class NullDesign:
    """What a proximity test compares, and with how many draws of its null.

    Attributes
    ----------
    statistic
        ``L`` (numbers within r) or ``G`` (nearest within r).
    n_null
        Permutations, or usable shifts wanted.
    seed
        All random numbers derive from it; permutation i depends on (`seed`, i) only.
    alternative
        Of the `global_envelope`.
    names
        Source and target, for the question in words.
    """

    statistic: Statistic = "L"
    n_null: int = 499
    seed: int = 0
    alternative: Alternative = "two-sided"
    names: tuple[str, str] = ("source", "target")


@dataclass(frozen=True, eq=False)
class ProximityTest:
    """A proximity curve against a null.

    Attributes
    ----------
    question
        What the p-value answers.
    n_null
        Usable shifts, or permutations.
    curve
        The observed curve; for the random shift of L with the correction that holds for shifted
        cells too (``seen``).
    envelope
        Null band and p; None when not testable.
    reason
        Why it is not testable; None when it is.
    """

    question: str
    null: Null
    n_null: int = 0
    curve: Curve | None = None
    envelope: GlobalEnvelope | None = None
    reason: str | None = None

    @classmethod
    def of(cls, null: Null, names: tuple[str, str]) -> ProximityTest:
        """Test of one null without a result."""
        return cls(QUESTIONS[null].format(source=names[0], target=names[1]), null)

    @property
    def p(self) -> float | None:
        """One p-value for the whole curve; None when not testable.

        It describes one slide: combine patients, never cells.
        """
        return None if self.envelope is None else self.envelope.p


def too_few_cells(n_source: int, n_target: int, names: tuple[str, str]) -> str | None:
    """Why so few cells of either kind cannot be tested; None when they can."""
    if min(n_source, n_target) >= MIN_CELLS:
        return None
    return (
        f"not testable: {n_source} {names[0]} and {n_target} {names[1]} cells; at least {MIN_CELLS}"
        " of each are needed"
    )


def random_labeling_test(
    points: ArrayLike,
    is_source: ArrayLike,
    is_target: ArrayLike,
    region: Region,
    r_um: ArrayLike,
    design: NullDesign,
    *,
    method: Method = "erl",
) -> ProximityTest:
    """Test whether the kind of a cell matters, given where cells are: labels are exchanged.

    Parameters
    ----------
    points : float (n, 2)
        All cells whose labels may be exchanged, x and y in um, in the region.
    is_source, is_target : bool (n,)
        The two kinds; no cell is both.
    region
        Tissue, for edge correction (L: translation; G: Kaplan-Meier).
    r_um : float (k,)
        Distances, sorted.
    method
        Of the `global_envelope`.
    """
    xy = np.asarray(points, np.float64)
    source, target = (np.asarray(kind, np.bool_) for kind in (is_source, is_target))
    if (source & target).any() or len(source) != len(xy) or len(target) != len(xy):
        raise RequestError(
            "each cell is source, target or neither; give one value of both per cell."
        )
    blank = ProximityTest.of("random labelling", design.names)
    if len(xy) > MAX_CELLS:
        rng = np.random.default_rng(design.seed)
        sample = np.sort(rng.choice(len(xy), MAX_CELLS, replace=False))
        xy, source, target = xy[sample], source[sample], target[sample]
    if reason := too_few_cells(int(source.sum()), int(target.sum()), design.names):
        return replace(blank, reason=reason)
    r = np.asarray(r_um, np.float64)
    estimate, relabeled = (
        (cross_l, _relabeled_l) if design.statistic == "L" else (cross_g, _relabeled_g)
    )
    curve = estimate(xy[source], xy[target], region, r)
    null = relabeled(xy, (source + 2 * target).astype(np.uint8), region, r, design)
    envelope = global_envelope(curve.value, null, method=method, alternative=design.alternative)
    return replace(blank, n_null=design.n_null, curve=curve, envelope=envelope)


def _relabeled_l(
    xy: Floats, roles: NDArray[np.uint8], region: Region, r: Floats, design: NullDesign
) -> Floats:
    """L (translation) under permutations of the roles (bit 1 source, bit 2 target), (n_null, k)."""
    pairs = neighbors_within(xy, float(r[-1]))
    delta = xy[pairs.order[pairs.neighbors]] - xy[pairs.order[pairs.first]]
    common = region_measures.covariogram(region, float(r[-1])).area_um2(delta[:, 0], delta[:, 1])
    bins = np.searchsorted(r, np.hypot(delta[:, 0], delta[:, 1])).clip(max=len(r) - 1)
    counts = label_kernels.labeled_pair_histograms(
        roles[pairs.order],
        pairs.starts,
        pairs.neighbors,
        bins,
        region.area_um2 / common,
        len(r),
        np.uint64(design.seed),
        design.n_null,
    )
    n_source, n_target = (int(np.count_nonzero(roles == role)) for role in (1, 2))
    k = np.cumsum(counts, axis=1) / n_source * (region.area_um2 / n_target)
    return np.asarray(np.sqrt(k / np.pi))


def _relabeled_g(
    xy: Floats, roles: NDArray[np.uint8], region: Region, r: Floats, design: NullDesign
) -> Floats:
    """G (Kaplan-Meier) under permutations of the roles, (n_null, k)."""
    pairs = neighbors_within(xy, float(r[-1]))
    delta = xy[pairs.order[pairs.neighbors]] - xy[pairs.order[pairs.first]]
    distance = np.hypot(delta[:, 0], delta[:, 1])
    border = region_measures.border_distance_um(region, xy)[pairs.order]
    null = np.empty((design.n_null, len(r)))
    for number in range(design.n_null):
        nearest = label_kernels.labeled_nearest(
            roles[pairs.order],
            pairs.starts,
            pairs.neighbors,
            distance,
            np.uint64(design.seed),
            number,
        )
        sources = ~np.isnan(nearest)
        null[number] = kaplan_meier(nearest[sources], border[sources], r)
    return null
