"""Does a histogram hold two populations? A scan for a valley that one population does not have.

**Which densities count as one population.** Let V be an interval and M a mode further out. If a
density has one mode and that mode lies on the near side of V, it falls from V on: the mean density
over M is at most that over V, whatever the two widths. Given how many cells V and M hold together,
those in M are then binomial with p = w_M / (w_V + w_M) at worst. A valley must be poorer than a
mode on *both* sides, and what speaks for it is the poorer of the two comparisons: the signed root
of the binomial deviance, less what the best of many comparisons reaches by chance, sqrt(2 log(e N /
(n_V + n_M))), N being all cells from V outwards (as for the multiscale tests of Dümbgen & Spokoiny
2001, Ann. Statist. 29:124, and Dümbgen & Walther 2008, Ann. Statist. 36:1758). The widths of V, of
the mode on the left and of the one on the right are independent, so a broad population beside a
narrow one counts as a whole.

Few positive cells with a wide spread beside a narrow peak of negative ones are a shelf as much as a
hill, and then "falling" is too weak a demand on one population. Where V has at most a quarter of
the near mode's density (`TAIL_STARTS`), the tail of one population is also taken to be *convex*, to
fall ever more slowly: true of normal, log-normal, skew-normal, t, gamma and exponential ones. If f
is convex and reaches 0 at E, then f(x) / (E - x) falls, so that the same binomial comparison holds
with the integral of E - x in place of the width. A valley found this way must be visible too: V at
most `VISIBLE` of the far mode's density.

**How often one population is called.** `CRITICAL` is the 99.5 % quantile of the comparison with one
side over 8000 readings of uniform samples (tools/calibrate_valley.py), the least favourable falling
density; a false call needs a false rise in one of the two flanks, so at most one in a hundred is
called. That holds for every density with one mode that stays above a quarter of its peak (such as
the uniform one, with both sides needed well under 1 %), and for every one with convex tails.
**Where it does not hold:** a narrow peak on a *flat* shelf or pedestal that ends abruptly has one
mode, yet is called more often than not once the shelf has 150 cells: at a glance nobody could tell
it from a wide second population, and a test that protects it cannot find rare positive cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

WIDTHS = (8, 12, 18, 27, 41, 61, 91, 137)
"""Widths of the intervals in bins."""
CRITICAL_N = (50, 100, 200, 400, 1600, 6400)
CRITICAL = (2.9, 3.0, 3.0, 3.1, 3.15, 3.15)
"""Score needed among so many cells (tools/calibrate_valley.py; between: linear in log n; beyond:
the nearest)."""
MAX_VALLEY = 0.8
"""Density of the valley over that of the lesser mode; above it two populations overlap too much for
any gate between them to mean much."""
VISIBLE = 0.6
"""The same where the tail is asked to be convex."""
TAIL_STARTS = 0.25
"""Density over the mode's below which one population has a convex tail: normal ones from 0.61 (the
inflection), Gumbel's from 0.52."""
_BEYOND = 1 / 16
"""Tails end (E) so far beyond the histogram, in units of its width: the last cells are never
exactly the end."""
MIN_FRACTION = 0.01
"""At least this fraction of the cells lies on either side of a valley."""
SMOOTHING = 12.0
"""Standard deviation in bins of the Gaussian that smooths the histogram before its lowest point is
looked up."""
FLOOR = 0.2
"""Height of the valley's floor, between the lowest point (0) and the lesser mode (1)."""


@dataclass(frozen=True)
class Valley:
    """The most significant valley of a histogram.

    Attributes
    ----------
    bin
        Its lowest point (of the smoothed histogram).
    score, depth
        How clearly it speaks against one population; density of the valley over that of the lesser
        mode (0 = empty).
    floor
        First and last bin of its floor: as poor as the lowest point, up to a fifth of the way to
        the lesser mode.
    left_mode, right_mode
        Bins of the modes on either side.
    """

    bin: int
    score: float
    depth: float
    floor: tuple[int, int]
    left_mode: int
    right_mode: int


def critical_score(n: int) -> float:
    """Score a valley needs among `n` cells."""
    return float(np.interp(np.log(max(n, 1)), np.log(CRITICAL_N), CRITICAL))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _rises(
    sums: Floats, measure: Floats, widths: Integers, mirrored: bool
) -> tuple[Floats, Integers, Integers]:
    """Per V (row: width; column: first bin) the best score of a mode further right, and that mode's
    first and last + 1 bin.

    V starts at multiples of an eighth of its width, counted from the last bin where the counts are
    mirrored.
    """
    n, k = sums.size - 1, widths.size
    richest = np.full(
        (k, n + 1), -1, np.int64
    )  # first bin of the densest interval that starts here or later
    for i in range(k):
        best = -1.0
        at = -1
        for first in range(n - widths[i], -1, -1):
            density = (sums[first + widths[i]] - sums[first]) / (
                measure[first + widths[i]] - measure[first]
            )
            if density >= best:
                best, at = density, first
            richest[i, first] = at
    scores = np.zeros((k, n + 1))
    begin = np.zeros((k, n + 1), np.int64)
    end = np.zeros((k, n + 1), np.int64)
    for i in range(k):
        step = max(widths[i] // 8, 1)
        for first in range((n - widths[i]) % step if mirrored else 0, n - widths[i] + 1, step):
            last = first + widths[i]
            v, size_v = sums[last] - sums[first], measure[last] - measure[first]
            outwards = sums[n] - sums[first]
            for j in range(k):
                at = richest[j, last]
                if at < 0:
                    continue
                m, size_m = sums[at + widths[j]] - sums[at], measure[at + widths[j]] - measure[at]
                if m * size_v <= v * size_m:
                    continue
                p = size_m / (size_m + size_v)
                # the deviance is at most chi-square, the allowance for chance at least sqrt(2):
                # most pairs need no logarithm
                chi_square = (m - (m + v) * p) ** 2 / ((m + v) * p * (1 - p))
                if 2 * chi_square <= (scores[i, first] + np.sqrt(2.0)) ** 2:
                    continue
                deviance = m * np.log(m / ((m + v) * p))
                if v > 0:
                    deviance += v * np.log(v / ((m + v) * (1 - p)))
                score = np.sqrt(2 * max(deviance, 0.0)) - np.sqrt(
                    2 + 2 * np.log(max(outwards / (m + v), 1.0))
                )
                if score > scores[i, first]:
                    scores[i, first], begin[i, first], end[i, first] = score, at, at + widths[j]
    return scores, begin, end


def _sums(counts: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(counts)])


def rises(
    counts: Floats, *, convex: bool = False, mirrored: bool = False
) -> tuple[Floats, Integers, Integers]:
    """Scores of all intervals V against the densest mode further right.

    Parameters
    ----------
    counts
        Histogram with equal bins, (n,).
    convex
        Test against tails that are convex and not only falling.
    mirrored
        Modes further left instead.

    Returns
    -------
    scores, begin, end
        (n_widths, n + 1): per width and first bin of V the best score (0 where there is none), and
        bins begin..end - 1 of that mode.
    """
    x = np.arange(counts.size + 1.0)
    far = counts.size * (1 + _BEYOND)
    measure = (far**2 - (far - x) ** 2) / (2 * far) if convex else x
    scores, begin, end = _rises(
        _sums(counts[::-1] if mirrored else counts), measure, np.array(WIDTHS), mirrored
    )
    return _turned(scores, begin, end) if mirrored else (scores, begin, end)


def _turned(scores: Floats, begin: Integers, end: Integers) -> tuple[Floats, Integers, Integers]:
    """From the bins of reversed counts to those of the counts themselves."""
    n = scores.shape[1] - 1
    turned = np.zeros_like(scores), np.zeros_like(begin), np.zeros_like(end)
    for i, width in enumerate(WIDTHS):
        if width <= n:
            used = slice(0, n - width + 1)
            turned[0][i, used], turned[1][i, used], turned[2][i, used] = (
                scores[i, used][::-1],
                n - end[i, used][::-1],
                n - begin[i, used][::-1],
            )
    return turned


def find_valley(counts: Floats) -> Valley | None:
    """Scan for the valley that speaks most clearly against one population; None where no interval
    is poorer than both its sides.

    At least `MIN_FRACTION` of the counts lie on either side: a few odd cells far out do not hide
    the valley that matters.
    """
    counts = np.asarray(counts, np.float64)
    n, sums = counts.size, _sums(counts)
    spread = _sums(
        np.minimum(counts, np.maximum(np.append(counts[1:], 0), np.append(0, counts[:-1])))
    )  # without piles at one value
    right, r0, r1 = rises(counts)
    left, l0, l1 = rises(counts, mirrored=True)
    first = np.arange(n + 1)
    widths = np.array(WIDTHS)[:, None]
    valley = (sums[np.minimum(first + widths, n)] - sums[first]) / widths
    on_left, on_right = _density(sums, l0, l1), _density(sums, r0, r1)
    below = sums[np.minimum(first + widths // 2, n)]
    balanced = (below >= MIN_FRACTION * sums[-1]) & (below <= (1 - MIN_FRACTION) * sums[-1])
    score = np.where(balanced, np.minimum(left, right), 0)
    for mirrored, near, far, near_density, far_density in (
        (False, left, right, _density(spread, l0, l1), on_right),
        (True, right, left, _density(spread, r0, r1), on_left),
    ):
        tail = (
            balanced
            & (near > score.max())
            & (far > 0)
            & (valley <= TAIL_STARTS * near_density)
            & (valley <= VISIBLE * far_density)
        )
        if tail.any():
            score = np.where(
                tail,
                np.maximum(
                    score, np.minimum(near, rises(counts, convex=True, mirrored=mirrored)[0])
                ),
                score,
            )
    at = np.unravel_index(int(score.argmax()), score.shape)
    if score[at] == 0:
        return None
    lesser = float(min(on_left[at], on_right[at]))
    modes = int(l0[at] + l1[at]) // 2, int(r0[at] + r1[at]) // 2
    lowest, floor = _floor(counts, modes)
    return Valley(lowest, float(score[at]), float(valley[at]) / lesser, floor, *modes)


def _density(sums: Floats, begin: Integers, end: Integers) -> Floats:
    density: Floats = (sums[end] - sums[begin]) / np.maximum(end - begin, 1)
    return density


def _floor(counts: Floats, modes: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Lowest point of the smoothed histogram between the modes, and the floor around it."""
    smooth = gaussian_filter1d(counts, SMOOTHING, mode="constant")
    between = smooth[modes[0] : modes[1] + 1]
    flat = np.flatnonzero(between <= between.min() * (1 + 1e-9) + 1e-12)
    lowest = modes[0] + int(flat[flat.size // 2])
    height = between.min() + FLOOR * (min(between[0], between[-1]) - between.min())
    first = last = lowest
    while first > modes[0] and smooth[first - 1] <= height:
        first -= 1
    while last < modes[1] and smooth[last + 1] <= height:
        last += 1
    return lowest, (first, last)
