"""The distribution of intensities: a histogram on the log scale and a mixture of two Gaussians on
it. Whether there are two: valley.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

N_BINS = 512
_MIN_STEPS = 5
"""Tied values lie at least this many of their steps above zero, or the log would make modes of the
steps."""
_MERGED = 4
"""Bins merged for the mixture, which needs no finer ones."""
MIN_SEPARATION = 2.0
"""Ashman's D of the two components: below 2 two Gaussians do not separate (Ashman, Bird & Zepf
1994, Astron. J. 108:2348)."""
MIN_WEIGHT = 0.01
"""Least fraction of cells in the smaller component."""
TAIL = 0.01
"""The histogram reaches from this quantile to its complement, and as far again beyond each as it is
from the median."""


@dataclass(frozen=True)
class LogHistogram:
    """Counts over equal bins of ``log(intensity + offset)``.

    Attributes
    ----------
    edges
        Bin edges on the log scale, (n_bins + 1,).
    counts
        Cells per bin, (n_bins,); fractional where tied values were spread over their grid step.
    offset
        Added before the logarithm; 0 unless there are values at or below zero.
    n
        Finite values, inside the edges or not.
    """

    edges: Floats
    counts: Floats
    offset: float
    n: int

    def raw(self, log_value: float) -> float:
        """Intensity at a place on the log scale."""
        return float(np.exp(log_value) - self.offset)

    @property
    def centers(self) -> Floats:
        """Bin centers on the log scale."""
        return (self.edges[1:] + self.edges[:-1]) / 2


@dataclass(frozen=True)
class Mixture:
    """Two Gaussians on the log scale, the dimmer first: weights, means, standard deviations."""

    weights: tuple[float, float]
    means: tuple[float, float]
    sds: tuple[float, float]

    @property
    def separation(self) -> float:
        """Ashman's D: distance of the means in units of the root mean square of the standard
        deviations.
        """
        return float(
            abs(self.means[1] - self.means[0]) / np.sqrt((self.sds[0] ** 2 + self.sds[1] ** 2) / 2)
        )

    def crossing(self) -> float | None:
        """Where both components are equally likely, between the means; None where they do not cross
        there.
        """
        (w0, w1), (m0, m1), (s0, s1) = self.weights, self.means, self.sds
        a = 1 / s1**2 - 1 / s0**2
        b = 2 * (m0 / s0**2 - m1 / s1**2)
        c = m1**2 / s1**2 - m0**2 / s0**2 + 2 * np.log((w0 * s1) / (w1 * s0))
        roots = np.roots([a, b, c]) if abs(a) > 1e-9 * abs(b) else np.array([-c / b])
        inside = [
            float(root.real) for root in roots if abs(root.imag) < 1e-9 and m0 < root.real < m1
        ]
        return inside[0] if len(inside) == 1 else None


def log_histogram(values: Floats, n_bins: int = N_BINS) -> LogHistogram | None:
    """Histogram of finite intensities on the log scale; None when they do not vary.

    Where more than one value in a thousand is not positive, an offset is added to all: minus the
    least value plus the range up to the 90 % (99 %, 100 %) quantile, so that clipped values do not
    become a population of their own. Heavily tied values (medians of integer images) are spread
    evenly over their grid step, and shifted where the log would tear the steps apart. The order of
    the values does not matter.
    """
    values = np.sort(values[np.isfinite(values)])
    if values.size == 0 or values[-1] - values[0] < 1e-100:  # less has no inverse
        return None
    offset = 0.0
    unique, n_each = np.unique(values, return_counts=True)
    gap = float(np.diff(unique).min()) if unique.size * 2 < values.size else 0.0
    gap = gap if gap > 1e-12 * (values[-1] - values[0]) else 0.0  # rounding, not a grid
    if np.quantile(values, 0.001) <= 0:
        tops = np.quantile(values, [0.9, 0.99, 1.0])
        span = next(top - values[0] for top in tops if top > values[0])
        offset = float(span - values[0])
    offset = max(offset, float(_MIN_STEPS * gap - values[0])) if gap > 0 else offset
    least = float(unique[unique + offset > 0].min()) + offset
    low_q, middle, high_q = np.log(
        np.maximum(np.quantile(values, [TAIL, 0.5, 1 - TAIL]) + offset, least)
    )
    low = max(np.log(max(unique[0] + offset - gap / 2, least / 2)), 2 * low_q - middle)
    high = min(np.log(unique[-1] + offset + gap / 2), 2 * high_q - middle)
    if not high > low:  # 99 % of the values are one and the same
        low, high = np.log(least), np.log(unique[-1] + offset)
    edges = np.linspace(low, high, n_bins + 1)
    at = np.exp(edges) - offset
    if gap > 0:
        below = np.concatenate([[0.0], np.cumsum(n_each)])
        steps = np.stack([unique - gap / 2, unique + gap / 2], axis=1).ravel()
        heights = np.stack([below[:-1], below[1:]], axis=1).ravel()
        cumulative = np.interp(at, steps, heights)
    else:
        cumulative = np.searchsorted(values, at, side="right").astype(np.float64)
        cumulative[0] = np.searchsorted(values, at[0], side="left")
    return LogHistogram(edges, np.diff(cumulative), offset, values.size)


def fit_mixture(
    histogram: LogHistogram, split: int | None = None, max_iterations: int = 200
) -> Mixture:
    """Fit two Gaussians to a histogram by expectation maximisation: deterministic, independent of
    the order of cells.

    Parameters
    ----------
    histogram
        With at least two filled bins.
    split
        Bin at which the two components start apart (the valley); default: the median.
    """
    y = histogram.centers.reshape(-1, _MERGED).mean(axis=1)
    counts = histogram.counts.reshape(-1, _MERGED).sum(axis=1)
    total = counts.sum()
    if split is None:
        split = (int(np.searchsorted(np.cumsum(counts), total / 2)) + 1) * _MERGED
    step = float(y[1] - y[0])
    dim = (y < histogram.edges[min(split, histogram.counts.size)]).astype(np.float64)
    previous = -np.inf
    weights = means = sds = np.zeros(2)
    for _ in range(max_iterations):
        shares = np.stack([dim, 1 - dim]) * counts
        mass = np.maximum(shares.sum(axis=1), 1e-9 * total)
        weights = mass / total
        means = (shares @ y) / mass
        sds = np.sqrt(np.maximum((shares * (y - means[:, None]) ** 2).sum(axis=1) / mass, step**2))
        logs = np.log(weights / sds)[:, None] - 0.5 * ((y - means[:, None]) / sds[:, None]) ** 2
        either = np.logaddexp(logs[0], logs[1])
        dim = np.exp(logs[0] - either)
        likelihood = float(counts @ either)
        if likelihood - previous < 1e-6 * total:
            break
        previous = likelihood
    first, second = (0, 1) if means[0] <= means[1] else (1, 0)
    return Mixture(
        (float(weights[first]), float(weights[second])),
        (float(means[first]), float(means[second])),
        (float(sds[first]), float(sds[second])),
    )
