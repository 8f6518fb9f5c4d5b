"""Global envelopes: one p-value for a whole curve.

A pointwise envelope asks at each distance whether the curve lies outside; over 50 distances a true
null leaves it somewhere far more often than 5 % of the time. A global envelope holds the whole
curve in 95 % of nulls. Sources: Myllymaki et al., J. R. Stat. Soc. B 79 (2017) 381 (extreme rank
length); Baddeley et al., Ecol. Monogr. 84 (2014) 477 (MAD).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ifquant.errors import RequestError

Floats = NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]
Method = Literal["erl", "mad"]


@dataclass(frozen=True, eq=False)
class GlobalEnvelope:
    """How extreme a curve is among curves of the null.

    Attributes
    ----------
    p
        (curves at least as extreme, the observed one included) / (all curves): never 0.
    low, high : float (k,)
        The observed curve leaves this band somewhere when p <= alpha. Unbounded sides are infinite.
    center : float (k,)
        Mean of all curves.
    used : bool (k,)
        Distances where every curve has a value; the others were left out.
    """

    p: float
    low: Floats
    high: Floats
    center: Floats
    used: NDArray[np.bool_]


def global_envelope(
    observed: ArrayLike,
    null: ArrayLike,
    *,
    method: Method = "erl",
    alternative: Alternative = "two-sided",
    alpha: float = 0.05,
) -> GlobalEnvelope:
    """Compare a curve with curves of the null, exchangeable with it under the null.

    Parameters
    ----------
    observed, null : float (k,), (m, k)
        The curve, and curves of the null.
    method
        ``erl``: extreme rank length, curves are ordered by their most extreme ranks, then the next
        ones (needs no scale). ``mad``: largest deviation from the mean in units of the standard
        deviation at each distance.
    alternative
        Whether large, small or both kinds of values are extreme.

    Raises
    ------
    RequestError
        If fewer than 1 / alpha - 1 curves are given (no curve could be called extreme), or no
        distance has values in all curves.
    """
    curves = np.vstack((np.asarray(observed, np.float64)[None], np.asarray(null, np.float64)))
    n, k = curves.shape
    if n < round(1 / alpha):
        raise RequestError(
            f"{n - 1} curves of the null cannot reach p = {alpha:g}; make at least"
            f" {round(1 / alpha) - 1}."
        )
    used: NDArray[np.bool_] = np.asarray(np.isfinite(curves).all(axis=0))
    if not used.any():
        raise RequestError("no distance at which all curves have a value; take smaller distances.")
    shared = curves[:, used]
    order = (
        _extremeness(shared, alternative) if method == "erl" else -_deviation(shared, alternative)
    )
    p = float(np.count_nonzero(order <= order[0])) / n
    low, high = np.full(k, np.nan), np.full(k, np.nan)
    low[used], high[used] = _band(shared, order, method, alpha)
    if alternative == "greater":
        low[used] = -np.inf
    if alternative == "less":
        high[used] = np.inf
    return GlobalEnvelope(p, low, high, curves.mean(axis=0), used)


def _band(
    curves: Floats, order: NDArray[np.generic], method: Method, alpha: float
) -> tuple[Floats, Floats]:
    """Lower and upper end of the band that holds all but the most extreme `alpha` of the curves."""
    n = len(curves)
    limit = np.sort(order)[min(int(alpha * n + 1e-9), n - 1)]  # not exceeded by alpha of the curves
    if method == "erl":
        inside = curves[order >= limit]
        return inside.min(axis=0), inside.max(axis=0)
    mean, sd = curves.mean(axis=0), curves.std(axis=0)
    return mean + limit * sd, mean - limit * sd


def _extremeness(curves: Floats, alternative: Alternative) -> NDArray[np.int64]:
    """Order of curves (n, k) from the most extreme (0) by extreme rank length; equals share it."""
    up = stats.rankdata(curves, axis=0)  # 1 = the lowest; ties share their mean rank
    down = len(curves) + 1 - up
    ranks = {"two-sided": np.minimum(up, down), "greater": down, "less": up}[alternative]
    ranks = np.sort(ranks, axis=1)
    order = np.lexsort(ranks.T[::-1])
    differs = (ranks[order[1:]] != ranks[order[:-1]]).any(axis=1)
    place = np.empty(len(curves), np.int64)
    place[order] = np.concatenate(([0], np.cumsum(differs)))
    return place


def _deviation(curves: Floats, alternative: Alternative) -> Floats:
    """Largest deviation of each curve from the mean of all, the observed one included, in SDs."""
    mean, sd = curves.mean(axis=0), curves.std(axis=0)
    away = np.divide(curves - mean, sd, out=np.zeros_like(curves), where=sd > 0)
    away = {"two-sided": np.abs(away), "greater": away, "less": -away}[alternative]
    return np.asarray(np.round(away.max(axis=1), 10))
