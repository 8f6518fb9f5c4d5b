"""Tests of proximity between two kinds of cells: one p-value per curve, under one of two nulls that
answer different questions.

*Random shift*: "do the two kinds lie independently of each other, each with its own clustering?"
Sources are moved together as a block. *Random labelling*: "given where cells are, does the kind
matter?" Labels are exchanged among all cells. Tumor nests reject it even when myeloid cells ignore
tumor cells, because each kind clusters; a shift keeps that clustering.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.statistics.patterns import label_kernels, region_measures
from ifquant.statistics.patterns.enrichment import neighbours_within
from ifquant.statistics.patterns.envelopes import (
    Alternative,
    GlobalEnvelope,
    Method,
    global_envelope,
)
from ifquant.statistics.patterns.pair_grid import Grid
from ifquant.statistics.patterns.point_patterns import (
    Curve,
    as_l,
    cross_g,
    cross_k,
    kaplan_meier,
    seen_k,
)

Floats = NDArray[np.float64]
Statistic = Literal["L", "G"]
MIN_CELLS = 20
"""Fewer cells of either kind: a curve says nothing."""
MIN_SHIFTS = 100
"""Fewer usable shifts: the tissue is too small or too scattered for this null."""
MIN_KEPT = 0.5
"""A shift is usable when at least this share of the sources lands in tissue."""
BEYOND_UM = 20.0
"""Two cell diameters: up to here the packing of cells decides, whatever their kinds; the shift test
sets it aside."""
MAX_SOURCES = 20_000
"""Above this the shift test looks from a random sample of the sources (K does not change when
sources are thinned)."""
MAX_CELLS = 100_000
"""Above this the labelling test works on a random sample of all cells: the null holds for it too, K
does not change, G is the sample's."""
QUESTIONS = {
    "random shift": (
        "Do {source} and {target} cells lie independently of each other, each kind with its own"
        " clustering?"
    ),
    "random labelling": (
        "Given where the cells are, does it matter which are {source} and which {target}?"
    ),
}


@dataclass(frozen=True, eq=False)
class ProximityTest:
    """A proximity curve against a null.

    Attributes
    ----------
    question
        What the p-value answers.
    curve
        The observed curve; for the random shift of L with the correction that holds for shifted
        cells too (``seen``).
    envelope
        Null band and p; None when not testable.
    n_null
        Usable shifts, or permutations.
    reason
        Why it is not testable; None when it is.
    """

    question: str
    null: Literal["random shift", "random labelling"]
    curve: Curve | None
    envelope: GlobalEnvelope | None
    n_null: int
    seed: int
    reason: str | None = None

    @property
    def p(self) -> float | None:
        """One p-value for the whole curve; None when not testable. It describes one slide: combine
        patients, never cells.
        """
        return None if self.envelope is None else self.envelope.p


def labelling_test(
    points: ArrayLike,
    is_source: ArrayLike,
    is_target: ArrayLike,
    region: Region,
    r_um: ArrayLike,
    *,
    statistic: Statistic = "L",
    n_permutations: int = 499,
    seed: int = 0,
    method: Method = "erl",
    alternative: Alternative = "two-sided",
    names: tuple[str, str] = ("source", "target"),
) -> ProximityTest:
    """Test whether the kind of a cell matters, given where cells are: labels are exchanged among
    all `points`.

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
    statistic
        ``L`` (numbers within r) or ``G`` (nearest within r).
    n_permutations
        Permutation i depends on (`seed`, i) only.
    method, alternative
        Of the `global_envelope`.
    names
        For the question in words.
    """
    xy, source, target = (
        np.asarray(points, np.float64),
        np.asarray(is_source, np.bool_),
        np.asarray(is_target, np.bool_),
    )
    if (source & target).any() or len(source) != len(xy) or len(target) != len(xy):
        raise RequestError(
            "each cell is source, target or neither; give one value of both per cell."
        )
    question = QUESTIONS["random labelling"].format(source=names[0], target=names[1])
    if len(xy) > MAX_CELLS:
        sample = np.sort(np.random.default_rng(seed).choice(len(xy), MAX_CELLS, replace=False))
        xy, source, target = xy[sample], source[sample], target[sample]
    if reason := _too_few(source, target, names):
        return ProximityTest(question, "random labelling", None, None, 0, seed, reason)
    r = np.asarray(r_um, np.float64)
    estimate = cross_k if statistic == "L" else cross_g
    curve = _linear(estimate(xy[source], xy[target], region, r))
    pairs = neighbours_within(xy, float(r[-1]))
    first = np.repeat(np.arange(len(xy)), np.diff(pairs.starts))
    delta = xy[pairs.order[pairs.neighbours]] - xy[pairs.order[first]]
    distance = np.hypot(delta[:, 0], delta[:, 1])
    roles = (source + 2 * target).astype(np.uint8)[pairs.order]
    if statistic == "L":
        weight = region.area_um2 / region_measures.covariogram(region, float(r[-1])).area_um2(
            delta[:, 0], delta[:, 1]
        )
        bins = np.searchsorted(r, distance).clip(max=len(r) - 1)
        found = label_kernels.labelled_pair_histograms(
            roles,
            pairs.starts,
            pairs.neighbours,
            bins,
            weight,
            len(r),
            np.uint64(seed),
            0,
            n_permutations,
        )
        k = np.cumsum(found, axis=1) / source.sum() * (region.area_um2 / target.sum())
        null = np.sqrt(k / np.pi)
    else:
        border = region_measures.border_distance_um(region, xy)[pairs.order]
        null = np.empty((n_permutations, len(r)))
        for number in range(n_permutations):
            nearest = label_kernels.labelled_nearest(
                roles, pairs.starts, pairs.neighbours, distance, np.uint64(seed), number
            )
            sources = ~np.isnan(nearest)
            null[number] = kaplan_meier(nearest[sources], border[sources], r)
    envelope = global_envelope(curve.value, null, method=method, alternative=alternative)
    return ProximityTest(question, "random labelling", curve, envelope, n_permutations, seed)


def shift_test(
    source: ArrayLike,
    target: ArrayLike,
    region: Region,
    r_um: ArrayLike,
    *,
    statistic: Statistic = "L",
    beyond_um: float = BEYOND_UM,
    n_shifts: int = 499,
    min_shift_um: float | None = None,
    seed: int = 0,
    alternative: Alternative = "two-sided",
    names: tuple[str, str] = ("source", "target"),
) -> ProximityTest:
    """Test whether two kinds lie independently of each other, each with its own clustering: sources
    are moved together.

    Shifted cells that leave the tissue are dropped, so that shifts rest on fewer cells and vary
    more; deviations from the mean curve are scaled by the root of the share kept (variance
    correction of Mrkvicka et al., Spat. Stat. 42 (2021) 100430). Nothing wraps around: tissue has
    no opposite edge. The null needs both kinds to be stationary in the tissue; compartments (tumor
    and stroma) break that, and then the answer is about the compartments.

    The envelope is MAD, on K where L is asked for: scaling leaves no shift at K = 0, so that
    ordering by ranks called every observed 0 extreme (24 % of true nulls rejected, L 9 %; MAD on K
    3 to 5 %: docs/proximity_tests.md).

    Parameters
    ----------
    source, target : float (n, 2), (m, 2)
        Cells moved and cells that stay, x and y in um, in the region.
    region, r_um, statistic, seed, alternative, names
        As for `labelling_test`. G is Kaplan-Meier; L divides by the area of the discs that is
        tissue: both hold for any set of positions.
    beyond_um
        What happens up to here is set aside: cells cannot overlap, shifted cells can, and so every
        dense tissue would reject. Tested is K(r) - K(beyond_um), or G given no target within
        beyond_um, at the distances above it.
    n_shifts
        Usable shifts wanted: those that keep at least half of the sources. Up to ten times as many
        are tried.
    min_shift_um
        Shifts are at least this long; default the largest r.
    """
    sources, targets, r = (
        np.asarray(source, np.float64),
        np.asarray(target, np.float64),
        np.asarray(r_um, np.float64),
    )
    question = QUESTIONS["random shift"].format(source=names[0], target=names[1])
    if min(len(sources), len(targets)) < MIN_CELLS:
        return ProximityTest(
            question,
            "random shift",
            None,
            None,
            0,
            seed,
            _few_text(len(sources), len(targets), names),
        )
    rng = np.random.default_rng(seed)
    if len(sources) > MAX_SOURCES:
        sources = sources[np.sort(rng.choice(len(sources), MAX_SOURCES, replace=False))]
    far = r > beyond_um
    if not far.any():
        raise RequestError(f"no distance above beyond_um ({beyond_um:g} um); give larger r_um.")
    start = np.array([beyond_um]) if beyond_um > 0 else np.zeros(0)
    looked = np.concatenate((start, r[far]))
    grid, tree = Grid(targets, np.arange(len(targets)), float(r[-1]), region), cKDTree(targets)

    def value(moved: Floats) -> Floats:
        if statistic == "L":
            k = seen_k(moved, grid, region, looked)
            return k[1:] - k[0] if len(start) else k
        g = kaplan_meier(
            tree.query(moved)[0], region_measures.border_distance_um(region, moved), looked
        )
        return _given_none(g[1:], g[0]) if len(start) else g

    observed = value(sources)
    estimate = (
        cross_k(sources, targets, region, r, correction="seen")
        if statistic == "L"
        else cross_g(sources, targets, region, r)
    )
    curve = _linear(estimate)
    if statistic == "G":
        free = (
            np.minimum(tree.query(sources)[0], region_measures.border_distance_um(region, sources))
            > beyond_um
        )
        if np.count_nonzero(free) < MIN_CELLS:
            few = (
                f"{np.count_nonzero(free)} {names[0]} cells are known to have no {names[1]} cell"
                f" within {beyond_um:g} um"
            )
            return ProximityTest(
                question,
                "random shift",
                curve,
                None,
                0,
                seed,
                f"not testable: {few}; {MIN_CELLS} are needed",
            )
    curves: list[Floats] = []
    kept: list[float] = []
    tried = 0
    for shift in _shifts(
        rng, region, 10 * n_shifts, float(r[-1]) if min_shift_um is None else min_shift_um
    ):
        if len(curves) == n_shifts:
            break
        tried += 1
        moved = sources + shift
        moved = moved[region.contains(moved[:, 0], moved[:, 1])]
        if len(moved) >= MIN_KEPT * len(sources):
            shifted = value(moved)
            if np.isfinite(
                shifted
                # G: where all moved cells found a target within beyond_um, nothing is left to
                # compare
            ).all():
                curves.append(shifted)
                kept.append(len(moved) / len(sources))
    if len(curves) < MIN_SHIFTS:
        few = (
            f"{len(curves)} of {tried} shifts keep half of the {names[0]} cells in the tissue and"
            f" give a curve; {MIN_SHIFTS} are needed"
        )
        return ProximityTest(
            question, "random shift", curve, None, len(curves), seed, f"not testable: {few}"
        )
    mean = np.vstack((observed[None], curves)).mean(axis=0)
    scaled = mean + (np.array(curves) - mean) * np.sqrt(kept)[:, None]
    envelope = global_envelope(observed, scaled, method="mad", alternative=alternative)
    return ProximityTest(
        question,
        "random shift",
        curve,
        _shown(envelope, estimate, observed, far),
        len(curves),
        seed,
    )


def _given_none(g: Floats, at_start: float) -> Floats:
    """G among the cells without a target up to the start; nan when there are none."""
    return np.asarray(1 - (1 - g) / (1 - at_start)) if at_start < 1 else np.full(len(g), np.nan)


def _shown(
    envelope: GlobalEnvelope, estimate: Curve, observed: Floats, far: NDArray[np.bool_]
) -> GlobalEnvelope:
    """Put the band of what was tested around the curve as it is shown: L or G from 0, nan where
    nothing was tested.
    """
    whole = estimate.value[far]

    def back(values: Floats) -> Floats:
        out = np.full(len(far), np.nan)
        if estimate.statistic == "K":
            out[far] = np.sqrt(np.maximum(values + (whole - observed), 0) / np.pi)
        else:
            with np.errstate(divide="ignore", invalid="ignore"):  # all cells reached: no band there
                survived = (1 - whole) / (1 - observed)
            out[far] = np.clip(1 - (1 - values) * survived, 0, 1)
        return out

    used = np.zeros(len(far), np.bool_)
    used[far] = envelope.used
    return replace(
        envelope,
        low=back(envelope.low),
        high=back(envelope.high),
        center=back(envelope.center),
        used=used,
    )


def _shifts(rng: np.random.Generator, region: Region, n: int, at_least: float) -> Floats:
    """Draw shifts up to half the region's extent along each axis, not shorter than asked; fewer
    where the region is too small.
    """
    half = np.array(region.extent_um) / 2
    drawn = rng.uniform(-half, half, (4 * n, 2))
    return np.asarray(drawn[np.hypot(drawn[:, 0], drawn[:, 1]) >= at_least][:n])


def _linear(curve: Curve) -> Curve:
    return as_l(curve) if curve.statistic == "K" else curve


def _too_few(
    source: NDArray[np.bool_], target: NDArray[np.bool_], names: tuple[str, str]
) -> str | None:
    n = int(source.sum()), int(target.sum())
    return _few_text(*n, names) if min(n) < MIN_CELLS else None


def _few_text(n_source: int, n_target: int, names: tuple[str, str]) -> str:
    return (
        f"not testable: {n_source} {names[0]} and {n_target} {names[1]} cells; at least {MIN_CELLS}"
        " of each are needed"
    )
