"""Structure held constant: rank scores, local levels, a smooth trend, and regression on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, ndimage, special, stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

GRID_UM = 10.0
"""Grid on which local means and densities are smoothed; below the size of a cell."""
MAX_GRID = 2000
"""Longest side of that grid; larger slides get a coarser one."""
SAME = 1e-10
"""Values closer than this share of the largest are the same."""
NEGLIGIBLE = 1e-8
"""A column whose norm falls to this share when what came before is taken out adds nothing."""


def normal_scores(values: Floats) -> Floats:
    """Van der Waerden scores: ranks as normal quantiles, mean 0, variance 1; zeros if all equal.

    Ranks make the effect blind to units and outliers; on this scale a factor common to several
    log-normal channels is a sum, so that regressing on one channel takes it out of another.
    """
    if len(values) == 0:
        return np.zeros(0)
    largest = float(np.abs(values).max())
    if largest == 0 or np.ptp(values) <= SAME * largest:
        return np.zeros(len(values))
    # differences of rounding are ties, else the order of sums would show
    ranks = stats.rankdata(np.round(values / (SAME * largest)))
    scores = special.ndtri(ranks / (len(values) + 1))
    scores -= scores.mean()
    return np.asarray(scores / scores.std())


@dataclass(frozen=True)
class LocalLevels:
    """Gaussian-weighted means and densities around points, on a grid over all cells of a slide."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    shape: tuple[int, int]
    sigma: float

    @classmethod
    def around(cls, x_um: Floats, y_um: Floats, bandwidth_um: float) -> LocalLevels:
        """Make the grid for all cells; `bandwidth_um` is the Gaussian's standard deviation."""
        x0, y0 = (float(values.min(initial=0.0)) if len(values) else 0.0 for values in (x_um, y_um))
        extent = max(float(np.ptp(x_um)), float(np.ptp(y_um)), GRID_UM) if len(x_um) else GRID_UM
        step = max(GRID_UM, extent / MAX_GRID)
        row, column = ((y_um - y0) // step).astype(np.int64), ((x_um - x0) // step).astype(np.int64)
        shape = (int(row.max(initial=0)) + 1, int(column.max(initial=0)) + 1)
        return cls(row, column, shape, bandwidth_um / step)

    def _smooth(self, weights: Floats) -> Floats:
        """Smoothed sum of weights at each cell."""
        place = self.row * self.shape[1] + self.column
        grid = np.bincount(place, weights, self.shape[0] * self.shape[1]).reshape(self.shape)
        smooth = ndimage.gaussian_filter(grid, self.sigma, mode="constant", truncate=3.0)
        return np.asarray(smooth[self.row, self.column])

    def density(self, members: Bools) -> Floats:
        """Weighted number of `members` around each cell."""
        return self._smooth(members.astype(np.float64))

    def mean(self, values: Floats, members: Bools) -> Floats:
        """Weighted mean of `values` over `members` around each cell; over the slide without any."""
        if not members.any():
            return np.zeros(len(values))
        overall = float(values[members].mean())
        weight = self._smooth(members.astype(np.float64))
        total = self._smooth(np.where(members, values - overall, 0.0))
        known = weight > 1e-6 * weight.max()
        return overall + np.divide(total, weight, out=np.zeros(len(values)), where=known)


def trend_basis(
    x_um: Floats, y_um: Floats, n_terms: int, frame: tuple[float, float, float, float]
) -> Floats:
    """Smooth spatial trend (n, n_terms): two linear terms, then the slowest products of cosines.

    The frame is (x0, y0, x1, y1); the shortest wave of K terms is about twice its side / sqrt(K).
    """
    x0, y0, x1, y1 = frame
    width, height = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    u, v = (x_um - x0) / width, (y_um - y0) / height
    most = int(np.ceil(np.sqrt(4 * n_terms * max(width / height, height / width)))) + 2
    order = sorted(
        ((k / width) ** 2 + (m / height) ** 2, k, m)
        for k in range(most)
        for m in range(most)
        if k + m > 0
    )
    columns = [u - 0.5, v - 0.5]
    columns += [
        np.cos(np.pi * k * u) * np.cos(np.pi * m * v) for _, k, m in order[: max(0, n_terms - 2)]
    ]
    return np.column_stack(columns[:n_terms]) if n_terms else np.zeros((len(x_um), 0))


def orthonormal(columns: Sequence[Floats], n: int) -> Floats:
    """Orthonormal basis (n, k) of a constant and columns ((n,) or (n, m)) that add something."""
    design = np.column_stack([np.ones(n), *columns]) if columns else np.ones((n, 1))
    norms = np.linalg.norm(design, axis=0)
    design = design[:, norms > 0] / norms[norms > 0]
    q, r, _ = linalg.qr(design, mode="economic", pivoting=True)
    return np.asarray(q[:, : int(np.count_nonzero(np.abs(np.diag(r)) > NEGLIGIBLE))])


def residual(values: Floats, basis: Floats) -> Floats:
    """Leave of `values` (n,) or (n, m) what an orthonormal `basis` does not explain."""
    return np.asarray(values - basis @ (basis.T @ values))
