"""Cross-type G, K and L: how many cells of one kind lie near cells of another, with the edges of
the tissue taken into account.

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
from ifquant.statistics.patterns import pair_kernels as kernels
from ifquant.statistics.patterns import region_measures
from ifquant.statistics.patterns.pair_grid import Grid, pair_sums

Floats = NDArray[np.float64]
KCorrection = Literal["translate", "border", "isotropic", "seen", "none"]
GCorrection = Literal["km", "border", "hanisch", "none"]
_MODES = {
    "none": kernels.NONE,
    "seen": kernels.NONE,
    "border": kernels.BORDER,
    "translate": kernels.TRANSLATE,
    "isotropic": kernels.ISOTROPIC,
}
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
    n_from, n_to
        Number of cells looked from and to.
    bandwidth_um
        Of the intensities (inhomogeneous K only).
    """

    r_um: Floats
    value: Floats
    theoretical: Floats
    statistic: str
    correction: str
    n_from: int
    n_to: int
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
    sources, targets, r = _points(source), _points(target), _radii(r_um)
    _refuse_empty(sources, targets)
    ones = np.ones(len(sources)), np.ones(len(targets))
    border = (
        region_measures.border_distance_um(region, sources)
        if correction in ("border", "seen")
        else np.zeros(len(sources))
    )
    total = _summed(sources, targets, region, r, correction, *ones, border)
    per_um2 = (len(targets) - _same(sources, targets)) / region.area_um2
    if correction == "border":
        value = _ratio(total, _at_least(border, r)) / per_um2
    elif correction == "seen":
        value = _per_seen_area(total, sources, region, r, border) / per_um2
    else:
        value = total / len(sources) / per_um2
    return Curve(r, value, np.pi * r**2, "K", correction, len(sources), len(targets))


def seen_k(sources: Floats, grid: Grid, region: Region, r: Floats) -> Floats:
    """K with correction ``seen`` to targets that were put on a grid once (for many sets of
    sources), (k,).
    """
    border = region_measures.border_distance_um(region, sources)
    total = pair_sums(
        sources,
        grid,
        region,
        r,
        kernels.NONE,
        np.ones(len(sources)),
        np.ones(len(grid.ids)),
        border,
        np.zeros((1, 1)),
    )
    return _per_seen_area(total, sources, region, r, border) * (region.area_um2 / len(grid.ids))


def _per_seen_area(
    total: Floats, sources: Floats, region: Region, r: Floats, border: Floats
) -> Floats:
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
    """Cross-type L = sqrt(K / pi), in um; r when both kinds lie independently. Parameters as for
    `cross_k`.
    """
    return as_l(cross_k(source, target, region, r_um, correction=correction))


def as_l(k: Curve) -> Curve:
    """Turn a K curve into its L curve."""
    return replace(
        k,
        value=np.sqrt(np.maximum(k.value, 0.0) / np.pi),
        theoretical=k.r_um,
        statistic=k.statistic.replace("K", "L"),
    )


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
    """Cross-type K with intensities that vary in space: what clustering remains beyond both kinds'
    own densities.

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
    sources, targets, r = _points(source), _points(target), _radii(r_um)
    _refuse_empty(sources, targets)
    if intensities is None:
        at_source = intensity_at(sources, region, bandwidth_um)
        at_target = intensity_at(targets, region, bandwidth_um)
    else:
        at_source, at_target = (np.asarray(v, np.float64) for v in intensities)
    if not (at_source > 0).all() or not (at_target > 0).all():
        raise RequestError(
            f"a cell has no other of its kind within 6 bandwidths of {bandwidth_um:g} um; take a"
            " larger bandwidth_um."
        )
    border = (
        region_measures.border_distance_um(region, sources)
        if correction == "border"
        else np.zeros(len(sources))
    )
    total = _summed(sources, targets, region, r, correction, 1 / at_source, 1 / at_target, border)
    if correction == "border":
        order = np.argsort(border)
        left = np.concatenate((np.cumsum((1 / at_source)[order][::-1])[::-1], [0.0]))
        value = _ratio(total, left[np.searchsorted(border[order], r)])
    else:
        value = total / region.area_um2
    return Curve(
        r, value, np.pi * r**2, "K_inhom", correction, len(sources), len(targets), bandwidth_um
    )


def intensity_at(points: ArrayLike, region: Region, bandwidth_um: float) -> Floats:
    """Cells per um2 at each cell (n,) from all others of its kind: Gaussian kernel, divided by the
    kernel's mass in the region there.
    """
    xy = _points(points)
    if not bandwidth_um > 0:
        raise RequestError(f"bandwidth_um is {bandwidth_um}; it must be above 0.")
    reach = _KERNEL_REACH_SDS * bandwidth_um
    grid = Grid(xy, np.arange(len(xy)), reach, region)
    out = np.empty(len(xy))
    at = xy - np.asarray(region.corner_um)
    kernels.kernel_sums(
        at[:, 0], at[:, 1], np.arange(len(xy)), *grid.arguments(), bandwidth_um, reach, out
    )
    return np.asarray(out / region_measures.gaussian_mass(region, xy, bandwidth_um))


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
        the eroded area; normalised to 1 at the largest r), ``none`` (biased).
    """
    sources, targets, r = _points(source), _points(target), _radii(r_um)
    _refuse_empty(sources, targets)
    nearest = (
        cKDTree(targets).query(sources)[0]
        if not _same(sources, targets)
        else cKDTree(targets).query(sources, k=2)[0][:, 1]
    )
    border = (
        np.full(len(sources), np.inf)
        if correction == "none"
        else region_measures.border_distance_um(region, sources)
    )
    if correction in ("km", "none"):
        value = kaplan_meier(nearest, border, r)
    elif correction == "border":
        met = nearest <= border  # counts at radii from its nearest target up to its border
        begin = np.bincount(np.searchsorted(r, nearest[met], side="left"), minlength=len(r) + 1)
        end = np.bincount(np.searchsorted(r, border[met], side="right"), minlength=len(r) + 1)
        value = _ratio(np.cumsum(begin - end)[:-1].astype(np.float64), _at_least(border, r))
    else:
        uncensored = nearest[(nearest <= border) & (nearest <= r[-1])]
        steps = np.bincount(np.searchsorted(r, uncensored), minlength=len(r))[: len(r)]
        area = region_measures.eroded_area_um2(region, r)
        summed = np.cumsum(np.where(steps > 0, steps / np.maximum(area, np.finfo(float).tiny), 0.0))
        value = summed / summed[-1] if summed[-1] > 0 else np.full(len(r), np.nan)
    per_um2 = len(targets) / region.area_um2
    return Curve(
        r, value, 1 - np.exp(-per_um2 * np.pi * r**2), "G", correction, len(sources), len(targets)
    )


def kaplan_meier(distance: Floats, border: Floats, r: Floats) -> Floats:
    """Fraction of distances up to each r (k,) when those beyond the border's distance are censored
    there.
    """
    observed, event = np.minimum(distance, border), distance <= border
    order = np.argsort(observed, kind="stable")
    observed, event = observed[order], event[order]
    times, first = np.unique(observed, return_index=True)
    deaths = np.add.reduceat(event.astype(np.float64), first)
    left = len(observed) - first
    alive = np.concatenate(([1.0], np.cumprod(1 - deaths / left)))
    return np.asarray(1 - alive[np.searchsorted(times, r, side="right")])


def _summed(
    sources: Floats,
    targets: Floats,
    region: Region,
    r: Floats,
    correction: str,
    w_source: Floats,
    w_target: Floats,
    border: Floats,
) -> Floats:
    """Sum over pairs up to each r of both weights and the edge correction's, (k,)."""
    if correction not in _MODES:
        raise RequestError(
            f"correction {correction!r} is not known; use one of {', '.join(_MODES)}."
        )
    counts = np.zeros((1, 1))
    width, height = region.extent_um
    if correction == "translate":
        counts = region_measures.covariogram(region, float(r[-1])).counts
    if correction == "isotropic":
        if not region.is_rectangle:
            raise RequestError(
                "isotropic correction is for rectangles; in a tissue mask use translate or border."
            )
        if r[-1] > min(width, height) / 2:
            raise RequestError(
                "isotropic correction needs r up to half the shorter side"
                f" ({min(width, height) / 2:g} um)."
            )
    if not region.contains(*targets.T).all() or not region.contains(*sources.T).all():
        raise RequestError("some points lie outside the region; leave them out.")
    grid = Grid(targets, np.arange(len(targets)), float(r[-1]), region)
    own = np.arange(len(sources)) if _same(sources, targets) else None
    return pair_sums(
        sources, grid, region, r, _MODES[correction], w_source, w_target, border, counts, own
    )


def _points(values: ArrayLike) -> Floats:
    xy = np.asarray(values, dtype=np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2 or not np.isfinite(xy).all():
        raise RequestError(f"points must be finite numbers (n, 2), found shape {xy.shape}.")
    return xy


def _radii(r_um: ArrayLike) -> Floats:
    r = np.asarray(r_um, dtype=np.float64)
    if (
        r.ndim != 1
        or len(r) == 0
        or r[0] < 0
        or (np.diff(r) <= 0).any()
        or not np.isfinite(r).all()
        or r[-1] <= 0
    ):
        raise RequestError("r_um must be finite distances from 0 upwards, sorted, each once.")
    return r


def _refuse_empty(sources: Floats, targets: Floats) -> None:
    if len(sources) == 0 or len(targets) == 0 or (_same(sources, targets) and len(sources) < 2):
        raise RequestError(
            f"{len(sources)} cells to look from and {len(targets)} to look to; both kinds need"
            " some."
        )


def _same(sources: Floats, targets: Floats) -> bool:
    return sources is targets or (
        sources.shape == targets.shape and np.array_equal(sources, targets)
    )


def _at_least(border: Floats, r: Floats) -> Floats:
    """Count the cells at least each r from the edge."""
    return (len(border) - np.searchsorted(np.sort(border), r)).astype(np.float64)


def _ratio(value: Floats, by: Floats) -> Floats:
    return np.asarray(np.divide(value, by, out=np.full(len(value), np.nan), where=by > 0))
