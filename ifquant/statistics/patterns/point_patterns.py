"""Cross-type G, K and L: how many cells of one kind lie near cells of another, edges corrected.

Estimators as in Baddeley, Rubak and Turner, "Spatial Point Patterns" (2015), chapters 7, 8 and 14.
Translation and border correction hold in any region, holes included, and are exact for the grid it
is given on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.statistics.buckets import Buckets
from ifquant.statistics.patterns import region_measures
from ifquant.statistics.patterns.pair_kernels import kernel_sums
from ifquant.statistics.patterns.pair_sums import (
    KCorrection,
    edge_correction,
    pair_sums,
    region_buckets,
    sources_of,
)

Floats = NDArray[np.float64]
GCorrection = Literal["km", "border", "hanisch", "none"]
_KERNEL_REACH_SDS = 6.0  # what a Gaussian kernel holds further out is 1.5e-8 of it


@dataclass(frozen=True, eq=False)
class Curve:
    """A summary function of distance.

    Attributes
    ----------
    r_um, value : float (k,)
        Distances and estimates; nan where no cell could be used.
    theoretical : float (k,)
        Value when both kinds lie independently of each other (and, for G and the inhomogeneous K,
        as a Poisson process).
    statistic, correction
        What it is.
    bandwidth_um
        Of the intensities (inhomogeneous K only).
    """

    r_um: Floats
    value: Floats
    theoretical: Floats
    statistic: str
    correction: str
    bandwidth_um: float | None = None


def cross_k(
    source: ArrayLike,
    target: ArrayLike,
    region: Region,
    r_um: ArrayLike,
    *,
    correction: KCorrection = "translate",
) -> Curve:
    """Cross-type K: targets within r of a source, divided by the targets per um2; in um2.

    Parameters
    ----------
    source, target : float (n, 2), (m, 2)
        Cells looked from and to, x and y in um, all in the region. The same array twice gives the K
        of one kind (no cell counts itself).
    region
        Tissue, or a rectangle.
    r_um : float (k,)
        Distances, sorted.
    correction
        ``translate`` (weights by the set covariance), ``border`` (only sources further than r from
        the edge), ``isotropic`` (rectangles only), ``seen`` (counts divided by the area of the
        discs that lies in the region: a ratio estimator), ``none`` (biased).

    Raises
    ------
    RequestError
        If points lie outside the region, a kind has no cell, radii are not sorted, or the
        correction does not fit the region.
    """
    sources, targets, r = _checked(source, target, r_um)
    ones = np.ones(len(sources)), np.ones(len(targets))
    total, border = _corrected_sums(sources, targets, region, r, correction, ones)
    per_um2 = (len(targets) - _same(sources, targets)) / region.area_um2
    if correction == "border":
        value = _ratio(total, _at_least(border, r)) / per_um2
    elif correction == "seen":
        value = _per_seen_area(total, sources, region, r, border) / per_um2
    else:
        value = total / len(sources) / per_um2
    return Curve(r, value, np.pi * r**2, "K", correction)


def seen_k(sources: Floats, targets: Buckets, region: Region, r: Floats) -> Floats:
    """K with correction ``seen`` to targets sorted once, for many sets of sources: (k,)."""
    border = region_measures.border_distance_um(region, sources)
    ones = np.ones(len(sources)), np.ones(len(targets.order))
    edge = edge_correction(region, "seen", float(r[-1]))
    total = pair_sums(sources_of(sources, region, ones[0], border), targets, ones[1], r, edge)
    return _per_seen_area(total, sources, region, r, border) * (region.area_um2 / len(ones[1]))


def _per_seen_area(
    total: Floats, sources: Floats, region: Region, r: Floats, border: Floats
) -> Floats:
    """K from counts by the area of the discs that lies in the region."""
    seen = region_measures.disc_areas_um2(region, sources, r, border).sum(axis=0)
    return np.asarray(np.where(r > 0, _ratio(total, seen) * np.pi * r**2, 0.0))


def cross_l(
    source: ArrayLike,
    target: ArrayLike,
    region: Region,
    r_um: ArrayLike,
    *,
    correction: KCorrection = "translate",
) -> Curve:
    """Cross-type L = sqrt(K / pi), in um; r when both kinds lie independently.

    Parameters as for `cross_k`.
    """
    return as_l(cross_k(source, target, region, r_um, correction=correction))


def as_l(k: Curve) -> Curve:
    """Turn a K curve into its L curve."""
    value = np.sqrt(np.maximum(k.value, 0.0) / np.pi)
    return replace(k, value=value, theoretical=k.r_um, statistic="L")


def cross_k_inhomogeneous(
    source: ArrayLike,
    target: ArrayLike,
    region: Region,
    r_um: ArrayLike,
    *,
    bandwidth_um: float,
    correction: Literal["translate", "border", "isotropic", "none"] = "translate",
    intensities: tuple[ArrayLike, ArrayLike] | None = None,
) -> Curve:
    """Cross-type K with intensities that vary in space: clustering beyond both kinds' densities.

    Parameters
    ----------
    source, target, region, r_um, correction
        As for `cross_k`.
    bandwidth_um
        Standard deviation of the Gaussian kernel of both intensities (leave-one-out,
        edge-corrected). There is no neutral choice: what varies more slowly than this counts as
        density, what varies faster as interaction. State it.
    intensities
        Instead: intensity per um2 at each source (n,) and target (m,).

    Raises
    ------
    RequestError
        As `cross_k`; or if an intensity is 0 (a cell further than 6 bandwidths from any other of
        its kind).
    """
    sources, targets, r = _checked(source, target, r_um)
    at_source, at_target = (
        (intensity_at(points, region, bandwidth_um) for points in (sources, targets))
        if intensities is None
        else (np.asarray(values, np.float64) for values in intensities)
    )
    if not (at_source > 0).all() or not (at_target > 0).all():
        raise RequestError(
            f"a cell has no other of its kind within 6 bandwidths of {bandwidth_um:g} um; take a"
            " larger bandwidth_um."
        )
    weights = 1 / at_source, 1 / at_target
    total, border = _corrected_sums(sources, targets, region, r, correction, weights)
    value = total / region.area_um2
    if correction == "border":
        order = np.argsort(border)
        left = np.concatenate((np.cumsum(weights[0][order][::-1])[::-1], [0.0]))
        value = _ratio(total, left[np.searchsorted(border[order], r)])
    return Curve(r, value, np.pi * r**2, "K_inhom", correction, bandwidth_um)


def intensity_at(points: ArrayLike, region: Region, bandwidth_um: float) -> Floats:
    """Cells per um2 at each cell (n,) from all others of its kind, by a Gaussian kernel.

    Divided by the mass of the kernel that lies in the region there.
    """
    xy = _points(points)
    if not bandwidth_um > 0:
        raise RequestError(f"bandwidth_um is {bandwidth_um}; it must be above 0.")
    reach = _KERNEL_REACH_SDS * bandwidth_um
    buckets = region_buckets(xy, reach, region)
    total = np.empty(len(xy))
    total[buckets.order] = kernel_sums(buckets, bandwidth_um, reach)
    return np.asarray(total / region_measures.gaussian_mass(region, xy, bandwidth_um))


def cross_g(
    source: ArrayLike,
    target: ArrayLike,
    region: Region,
    r_um: ArrayLike,
    *,
    correction: GCorrection = "km",
) -> Curve:
    """Cross-type G: the fraction of sources whose nearest target is within r.

    Parameters
    ----------
    source, target, region, r_um
        As for `cross_k`.
    correction
        ``km`` (Kaplan-Meier: a nearest target beyond the edge's distance is censored), ``border``
        (only sources further than r from the edge), ``hanisch`` (uncensored sources, weighted by
        the eroded area; normalized to 1 at the largest r), ``none`` (biased).
    """
    sources, targets, r = _checked(source, target, r_um)
    tree = cKDTree(targets)
    nearest = (
        tree.query(sources, k=2)[0][:, 1] if _same(sources, targets) else tree.query(sources)[0]
    )
    border = np.full(len(sources), np.inf)
    if correction != "none":
        border = region_measures.border_distance_um(region, sources)
    if correction in ("km", "none"):
        value = kaplan_meier(nearest, border, r)
    elif correction == "border":
        met = nearest <= border  # counts at radii from its nearest target up to its border
        begin = np.bincount(np.searchsorted(r, nearest[met], side="left"), minlength=len(r) + 1)
        end = np.bincount(np.searchsorted(r, border[met], side="right"), minlength=len(r) + 1)
        value = _ratio(np.cumsum(begin - end)[:-1].astype(np.float64), _at_least(border, r))
    else:
        uncensored = nearest[(nearest <= border) & (nearest <= r[-1])]
        value = _hanisch(uncensored, region_measures.eroded_area_um2(region, r), r)
    theoretical = 1 - np.exp(-len(targets) / region.area_um2 * np.pi * r**2)
    return Curve(r, value, theoretical, "G", correction)


def _hanisch(uncensored: Floats, area_um2: Floats, r: Floats) -> Floats:
    """G from uncensored distances, each weighted by the eroded area (k,) at its radius."""
    steps = np.bincount(np.searchsorted(r, uncensored), minlength=len(r))[: len(r)]
    weighted = np.where(steps > 0, steps / np.maximum(area_um2, np.finfo(float).tiny), 0.0)
    summed = np.cumsum(weighted)
    return summed / summed[-1] if summed[-1] > 0 else np.full(len(r), np.nan)


def kaplan_meier(distance: Floats, border: Floats, r: Floats) -> Floats:
    """Fraction of distances up to each r (k,) when those beyond the border's are censored there."""
    observed, event = np.minimum(distance, border), distance <= border
    order = np.argsort(observed, kind="stable")
    observed, event = observed[order], event[order]
    times, first = np.unique(observed, return_index=True)
    deaths = np.add.reduceat(event.astype(np.float64), first)
    left = len(observed) - first
    alive = np.concatenate(([1.0], np.cumprod(1 - deaths / left)))
    return np.asarray(1 - alive[np.searchsorted(times, r, side="right")])


def _corrected_sums(
    sources: Floats,
    targets: Floats,
    region: Region,
    r: Floats,
    correction: str,
    weights: tuple[Floats, Floats],
) -> tuple[Floats, Floats]:
    """Sum over pairs up to each r of both weights and the correction's, and borders of sources.

    The distance to the border is 0 where the correction needs none.
    """
    border = np.zeros(len(sources))
    if correction in ("border", "seen"):
        border = region_measures.border_distance_um(region, sources)
    edge = edge_correction(region, correction, float(r[-1]))
    if not region.contains(*targets.T).all() or not region.contains(*sources.T).all():
        raise RequestError("some points lie outside the region; leave them out.")
    looked = sources_of(sources, region, weights[0], border, own=_same(sources, targets))
    buckets = region_buckets(targets, float(r[-1]), region)
    return pair_sums(looked, buckets, weights[1], r, edge), border


def _checked(
    source: ArrayLike, target: ArrayLike, r_um: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Both kinds' points and the radii as arrays, if they can make a curve."""
    sources, targets, r = _points(source), _points(target), np.asarray(r_um, dtype=np.float64)
    is_row = r.ndim == 1 and len(r) > 0 and np.isfinite(r).all()
    if not is_row or r[0] < 0 or (np.diff(r) <= 0).any() or r[-1] <= 0:
        raise RequestError("r_um must be finite distances from 0 upwards, sorted, each once.")
    if len(sources) == 0 or len(targets) == 0 or (_same(sources, targets) and len(sources) < 2):
        raise RequestError(
            f"{len(sources)} cells to look from and {len(targets)} to look to; both kinds need"
            " some."
        )
    return sources, targets, r


def _points(values: ArrayLike) -> Floats:
    """Points (n, 2), if they are finite."""
    xy = np.asarray(values, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
        raise RequestError(f"points must be finite numbers (n, 2), found shape {xy.shape}.")
    return xy


def _same(sources: Floats, targets: Floats) -> bool:
    """Whether both kinds are the same cells."""
    return sources is targets or np.array_equal(sources, targets)


def _at_least(border: Floats, r: Floats) -> Floats:
    """Count the cells at least each r from the edge."""
    return (len(border) - np.searchsorted(np.sort(border), r)).astype(np.float64)


def _ratio(value: Floats, by: Floats) -> Floats:
    """Quotient, nan where the divisor is 0."""
    return np.asarray(np.divide(value, by, out=np.full(len(value), np.nan), where=by > 0))
