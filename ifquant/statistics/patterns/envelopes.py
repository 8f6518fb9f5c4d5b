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
    n_null
        Number of curves of the null.
    used : bool (k,)
        Distances where every curve has a value; the others were left out.
    """

    p: float
    low: Floats
    high: Floats
    center: Floats
    alpha: float
    method: Method
    alternative: Alternative
    n_null: int
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
    observed : float (k,)
        The curve.
    null : float (m, k)
        Curves of the null.
    method
        ``erl``: extreme rank length, curves are ordered by their most extreme ranks, then the next
        ones (needs no scale; the default). ``mad``: largest deviation from the mean in units of the
        standard deviation at each distance.
    alternative
        Whether large, small or both kinds of values are extreme.
    alpha
        Level of the band.

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
    kept = curves[:, used]
    order = _extremeness(kept, alternative) if method == "erl" else -_deviation(kept, alternative)
    p = float(np.count_nonzero(order <= order[0])) / n
    # The smallest order that at most alpha of the curves do not exceed: those are cut off, the band
    # holds the rest.
    ranked = np.sort(order)
    limit = ranked[min(int(alpha * n + 1e-9), n - 1)]
    inside = kept[order >= limit]
    low, high = (np.full(k, np.nan) for _ in range(2))
    if method == "erl":
        low[used], high[used] = inside.min(axis=0), inside.max(axis=0)
    else:
        mean, sd = kept.mean(axis=0), kept.std(axis=0)
        low[used], high[used] = mean + limit * sd, mean - limit * sd
    if alternative == "greater":
        low[used] = -np.inf
    if alternative == "less":
        high[used] = np.inf
    return GlobalEnvelope(
        p, low, high, curves.mean(axis=0), alpha, method, alternative, n - 1, used
    )


def _extremeness(curves: Floats, alternative: Alternative) -> NDArray[np.int64]:
    """Order curves (n, k) from the most extreme (0) by extreme rank length; equal curves are
    equal.
    """
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
    """Largest standardised deviation of each curve from the mean of all (the observed one included:
    exchangeable).
    """
    mean, sd = curves.mean(axis=0), curves.std(axis=0)
    away = np.divide(curves - mean, sd, out=np.zeros_like(curves), where=sd > 0)
    away = {"two-sided": np.abs(away), "greater": away, "less": -away}[alternative]
    return np.asarray(np.round(away.max(axis=1), 10))
