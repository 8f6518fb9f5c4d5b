"""Random shift: do two kinds lie independently of each other, each with its own clustering.

Shifted cells that leave the tissue are dropped, so that shifts rest on fewer cells and vary more;
deviations from the mean curve are scaled by the root of the share that stays (variance correction
of Mrkvicka et al., Spat. Stat. 42 (2021) 100430). Nothing wraps around: tissue has no opposite
edge. The null needs both kinds to be stationary in the tissue; compartments (tumor and stroma)
break that, and then the answer is about the compartments.

The envelope is MAD, on K for statistic L: scaling leaves no shift at K = 0, so that ordering by
ranks called every observed 0 extreme (24 % of true nulls rejected, L 9 %; MAD on K 3 to 5 %:
docs/proximity_tests.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.statistics.buckets import Buckets
from ifquant.statistics.patterns import region_measures
from ifquant.statistics.patterns.envelopes import GlobalEnvelope, global_envelope
from ifquant.statistics.patterns.pair_sums import region_buckets
from ifquant.statistics.patterns.point_patterns import (
    Curve,
    as_l,
    cross_g,
    cross_k,
    kaplan_meier,
    seen_k,
)
from ifquant.statistics.patterns.proximity_tests import (
    MIN_CELLS,
    NullDesign,
    ProximityTest,
    Statistic,
    too_few_cells,
)

Floats = NDArray[np.float64]
MIN_SHIFTS = 100
"""Fewer usable shifts: the tissue is too small or too scattered for this null."""
MIN_INSIDE = 0.5
"""A shift is usable when at least this share of the sources lands in tissue."""
TRIES_PER_SHIFT = 10
BEYOND_UM = 20.0
"""Two cell diameters: up to here the packing of cells decides, whatever their kinds; the shift test
sets it aside."""
MAX_SOURCES = 20_000
"""Above this the shift test looks from a random sample of the sources (K does not change when
sources are thinned)."""


@dataclass(frozen=True, eq=False)
class _Tail:
    """What is tested: K(r) - K(beyond_um), or G given no target within beyond_um, (k,)."""

    statistic: Statistic
    region: Region
    radii: Floats
    beyond_um: float
    buckets: Buckets
    tree: cKDTree

    def value(self, sources: Floats) -> Floats:
        """Evaluate the statistic of sources at any place; the targets stay."""
        if self.statistic == "L":
            k = seen_k(sources, self.buckets, self.region, self.radii)
            return k[1:] - k[0] if self.beyond_um > 0 else k
        g = kaplan_meier(*self.distances(sources), self.radii)
        if self.beyond_um <= 0:
            return g
        left = 1 - g[0]
        return np.asarray(1 - (1 - g[1:]) / left) if left > 0 else np.full(len(g) - 1, np.nan)

    def distances(self, sources: Floats) -> tuple[Floats, Floats]:
        """Distance of each source to the nearest target and to where the region ends."""
        border = region_measures.border_distance_um(self.region, sources)
        return np.asarray(self.tree.query(sources)[0]), border


def random_shift_test(
    source: ArrayLike,
    target: ArrayLike,
    region: Region,
    r_um: ArrayLike,
    design: NullDesign,
    *,
    beyond_um: float = BEYOND_UM,
) -> ProximityTest:
    """Test whether two kinds lie independently of each other: sources are moved together.

    Parameters
    ----------
    source, target : float (n, 2), (m, 2)
        Cells moved and cells that stay, x and y in um, in the region.
    region, r_um, design
        As for `random_labeling_test`. G is Kaplan-Meier; L divides by the area of the discs that is
        tissue: both hold for any set of positions. Usable shifts keep at least half of the sources
        and are at least as long as the largest r; up to ten times as many are tried.
    beyond_um
        What happens up to here is set aside: cells cannot overlap, shifted cells can, and so every
        dense tissue would reject.
    """
    sources, targets, r = (np.asarray(values, np.float64) for values in (source, target, r_um))
    blank = ProximityTest.of("random shift", design.names)
    if reason := too_few_cells(len(sources), len(targets), design.names):
        return replace(blank, reason=reason)
    rng = np.random.default_rng(design.seed)
    if len(sources) > MAX_SOURCES:
        sources = sources[np.sort(rng.choice(len(sources), MAX_SOURCES, replace=False))]
    far = r > beyond_um
    if not far.any():
        raise RequestError(f"no distance above beyond_um ({beyond_um:g} um); give larger r_um.")
    radii = np.concatenate(([beyond_um] if beyond_um > 0 else [], r[far]))
    buckets = region_buckets(targets, float(r[-1]), region)
    tail = _Tail(design.statistic, region, radii, beyond_um, buckets, cKDTree(targets))
    estimate = (
        cross_k(sources, targets, region, r, correction="seen")
        if design.statistic == "L"
        else cross_g(sources, targets, region, r)
    )
    curve = as_l(estimate) if design.statistic == "L" else estimate
    return _against_shifts(replace(blank, curve=curve), tail, sources, estimate, rng, design)


def _against_shifts(
    blank: ProximityTest,
    tail: _Tail,
    sources: Floats,
    estimate: Curve,
    rng: np.random.Generator,
    design: NullDesign,
) -> ProximityTest:
    """Complete a test of sources at their places by the same sources shifted."""
    if reason := _too_few_free(tail, sources, design.names):
        return replace(blank, reason=reason)
    null, reason = _shifted_values(tail, sources, rng, design)
    if reason:
        return replace(blank, n_null=len(null), reason=reason)
    observed = tail.value(sources)
    envelope = global_envelope(
        observed, _rescaled(observed, null), method="mad", alternative=design.alternative
    )
    band = _around(estimate, envelope, observed, estimate.r_um > tail.beyond_um)
    return replace(blank, n_null=len(null), envelope=band)


def _too_few_free(tail: _Tail, sources: Floats, names: tuple[str, str]) -> str | None:
    """Why G cannot be tested: too few sources known to have no target within beyond_um."""
    if tail.statistic == "L":
        return None
    free = np.count_nonzero(np.minimum(*tail.distances(sources)) > tail.beyond_um)
    if free >= MIN_CELLS:
        return None
    return (
        f"not testable: {free} {names[0]} cells are known to have no {names[1]} cell within"
        f" {tail.beyond_um:g} um; {MIN_CELLS} are needed"
    )


def _shifted_values(
    tail: _Tail, sources: Floats, rng: np.random.Generator, design: NullDesign
) -> tuple[list[tuple[Floats, float]], str | None]:
    """List the statistic and share of sources of each usable shift; or why there are too few.

    Where all moved cells have a target within beyond_um, G leaves nothing to compare.
    """
    null: list[tuple[Floats, float]] = []
    tried = 0
    for shift in _shifts(rng, tail.region, TRIES_PER_SHIFT * design.n_null, float(tail.radii[-1])):
        if len(null) == design.n_null:
            break
        tried += 1
        moved = sources + shift
        moved = moved[tail.region.contains(moved[:, 0], moved[:, 1])]
        if len(moved) >= MIN_INSIDE * len(sources):
            value = tail.value(moved)
            if np.isfinite(value).all():
                null.append((value, len(moved) / len(sources)))
    if len(null) >= MIN_SHIFTS:
        return null, None
    return null, (
        f"not testable: {len(null)} of {tried} shifts keep half of the {design.names[0]} cells in"
        f" the tissue and give a curve; {MIN_SHIFTS} are needed"
    )


def _rescaled(observed: Floats, null: list[tuple[Floats, float]]) -> Floats:
    """Shifted curves, deviations from the mean of all scaled by the root of the sources' share."""
    curves, shares = np.array([value for value, _ in null]), np.array([share for _, share in null])
    mean = np.vstack((observed[None], curves)).mean(axis=0)
    return np.asarray(mean + (curves - mean) * np.sqrt(shares)[:, None])


def _around(
    estimate: Curve, envelope: GlobalEnvelope, observed: Floats, far: NDArray[np.bool_]
) -> GlobalEnvelope:
    """Band of what was tested around the curve as it is shown: L or G from 0.

    nan where nothing was tested.
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
    low, high, center = (back(end) for end in (envelope.low, envelope.high, envelope.center))
    return GlobalEnvelope(envelope.p, low, high, center, used)


def _shifts(rng: np.random.Generator, region: Region, n: int, at_least: float) -> Floats:
    """Draw up to n shifts of at least a length, within half the region's extent on each axis."""
    half = np.array(region.extent_um) / 2
    drawn = rng.uniform(-half, half, (4 * n, 2))
    return np.asarray(drawn[np.hypot(drawn[:, 0], drawn[:, 1]) >= at_least][:n])
