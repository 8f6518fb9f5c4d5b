"""Quantiles, background, saturation and stain threshold of an intensity histogram.

All functions take ascending `values` and integer `counts` of the pixels with these values, so that
they see the whole slide at once and give the same answer whatever the blocks were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Values = NDArray[np.float64]
Counts = NDArray[np.int64]

_ONE_SD_BELOW = 0.3173  # share of a half-normal further than one sd from its mode
_QUARTER_HALF_NORMAL = 0.3186  # quarter quantile of a half-normal, in sd


@dataclass(frozen=True)
class StainThreshold:
    """A pixel above `value` is stained; `stained` is false where nothing lies above it."""

    value: float
    stained: bool
    origin: str


def quantile(values: Values, counts: Counts, q: float) -> float:
    """Smallest value with the fraction `q` of pixels at or below it (``inverted_cdf``), or nan."""
    cumulative = np.cumsum(counts)
    total = int(cumulative[-1]) if len(cumulative) else 0
    if total == 0:
        return float("nan")
    rank = max(1, int(np.ceil(q * total)))
    return float(values[int(np.searchsorted(cumulative, rank))])


def mode(values: Values, counts: Counts) -> float:
    """Half-sample mode, the middle of the densest half of the densest half ...; nan without pixels.

    Bickel & Fruehwirth 2006.
    """
    occupied = counts > 0
    points, weights = values[occupied], counts[occupied]
    if len(points) == 0:
        return float("nan")
    while len(points) > 2:
        edges = np.concatenate(([0], np.cumsum(weights)))
        need = -(-int(edges[-1]) // 2)
        stop = np.searchsorted(edges, edges[:-1] + need)  # points[i : stop[i]] hold at least half
        valid = stop < len(edges)
        starts = np.flatnonzero(valid)
        widths = points[stop[valid] - 1] - points[starts]
        pixels = edges[stop[valid]] - edges[starts]
        best = np.lexsort((-pixels, widths))[0]
        first, last = int(starts[best]), int(stop[valid][best])
        if (first, last) == (0, len(points)):
            break
        points, weights = points[first:last], weights[first:last]
    return float(points[int(np.argmax(weights))])


def background(values: Values, counts: Counts) -> tuple[float, float]:
    """Level and standard deviation of the background: the mode, and the spread below it.

    Stain only widens the upper side. The spread is the distance from the mode down to the 31.7 %
    quantile of the pixels below it (one sd of a Gaussian). Where values are clipped at the mode
    (nothing lies below it) it comes from the lower quarter of the pixels above. It is never below
    half the step between values.
    """
    level = mode(values, counts)
    if not np.isfinite(level):
        return float("nan"), float("nan")
    quantum = _quantum(values, counts)
    edges, cumulative = _continuous(values, counts)
    below = float(np.interp(level, edges, cumulative))
    if counts[values < level].sum() > 0:
        spread = level - float(np.interp(_ONE_SD_BELOW * below, cumulative, edges))
    else:
        above = np.where(values > level, counts, 0)
        spread = 0.0
        if above.sum():
            edges, cumulative = _continuous(values, above)
            quarter = float(np.interp(0.25 * cumulative[-1], cumulative, edges))
            spread = (quarter - level) / _QUARTER_HALF_NORMAL
    return level, max(spread, 0.5 * quantum)


def saturation(
    values: Values,
    counts: Counts,
    *,
    maximum: float,
    at_maximum: int,
    type_maximum: float | None,
    stated_maximum: float | None,
) -> float | None:
    """Find the value from which pixels count as saturated, None for floats without a pile-up.

    It is the file's stated depth, a pile-up at the top, or the type's maximum. A pile-up is at
    least 20 pixels at the largest value, and ten times as many as the mean count of the 16 values
    below it that occur.
    """
    if stated_maximum is not None and maximum <= stated_maximum:
        return float(stated_maximum)
    occupied = np.flatnonzero(counts)
    if len(occupied) > 1 and at_maximum >= 20:
        neighbours = counts[occupied[max(0, len(occupied) - 17) : -1]]
        top_bin_apart = type_maximum is None or counts[occupied[-1]] == at_maximum
        if (
            top_bin_apart
            and at_maximum >= 10 * float(neighbours.mean())
            and maximum > quantile(values, counts, 0.5)
        ):
            return maximum
    return type_maximum


def stain_threshold(values: Values, counts: Counts) -> StainThreshold:
    """Pixel threshold that separates stain from background.

    Otsu's threshold on ``asinh((value - level) / (2 sd))`` with level and sd of the background:
    linear inside the noise, logarithmic above, so that the threshold lies at the geometric middle
    between background and stain; at least `level + 4 sd`, and at least a tenth of the way to the
    median of the stain (else the blur around very bright stain counts as stained). Background is
    what lies below the deepest valley of the histogram (this holds up to 94 % stained pixels), or
    without a valley the darker half of the pixels (down to 0.05 %).

    The channel counts as unstained when what lies above the threshold is no population of its own:
    less than 0.05 % of the pixels, or a median less than 6 sd or 1.2 times above the background
    (skewed autofluorescence stays below 6). Where many pixels share the smallest value (background
    was subtracted and clipped) that spike is left aside first, unless nothing is found without it.
    """
    occupied = counts > 0
    points, weights = values[occupied], counts[occupied]
    if len(points) == 0:
        return StainThreshold(float(values[-1]), False, "no pixels: nothing counts as stained")
    nothing = float(points[-1]) + max(1.0, abs(float(points[-1])) * 0.01)
    if len(points) < 3:
        return StainThreshold(nothing, False, "no stain found: constant channel")
    method = "Otsu on log intensity above background"
    total = float(weights.sum())
    if len(points) > 20 and weights[0] > max(0.05 * total, 10 * weights[1:6].max()):
        value, reason = _split(points[1:], weights[1:], total)
        if value is not None:
            return StainThreshold(value, True, f"{method}; {reason}; clipped pixels left aside")
    value, reason = _split(points, weights, total)
    if value is None:
        return StainThreshold(nothing, False, f"no stain found: {reason}")
    return StainThreshold(value, True, f"{method}; {reason}")


def _split(points: Values, weights: Counts, total: float) -> tuple[float | None, str]:
    """Threshold of occupied `points`, or None where there is no stain; and the reason in words."""
    dark = points <= min(quantile(points, weights, 0.5), valley(points, weights, 0.65))
    level, spread = background(points[dark], weights[dark])
    split = _otsu(np.arcsinh((points - level) / (2 * spread)), weights.astype(np.float64))
    level, spread = background(points[: split + 1], weights[: split + 1])
    bright = quantile(points[split + 1 :], weights[split + 1 :], 0.5)
    value = max(float(points[split]), level + 4 * spread, level + 0.1 * (bright - level))
    above = points > value
    fraction = float(weights[above].sum()) / total
    if fraction < 5e-4:
        return None, f"{fraction:.3%} of tissue pixels clearly above background"
    stain = quantile(points[above], weights[above], 0.5)
    floor = min(0.0, float(points[0]))
    if stain - level < 6 * spread or stain - floor < 1.2 * (level - floor):
        return None, f"brightest part {(stain - level) / spread:.1f} sd above background"
    return value, f"{fraction:.1%} of tissue pixels stained"


def valley(points: Values, weights: Counts, depth: float) -> float:
    """Find the deepest valley on a log scale, below `depth` times both its banks, else infinity."""
    low = quantile(points, weights, 0.001)
    scale = max(quantile(points, weights, 0.02) - low, _quantum(points, weights))
    edges, cumulative = _continuous(points, weights)
    bins = np.linspace(0.0, float(np.arcsinh((edges[-1] - low) / scale)), 97)
    density = np.diff(np.interp(low + scale * np.sinh(bins), edges, cumulative))
    density = ndimage.gaussian_filter1d(density, 1.5, mode="nearest")
    banks = np.minimum(np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1])
    share = np.cumsum(density) / density.sum()
    height = np.where((share > 0.01) & (share < 0.99), density / np.maximum(banks, 1e-12), 1.0)
    deepest = int(np.argmin(height))
    if not height[deepest] < depth:
        return float("inf")
    return float(low + scale * np.sinh((bins[deepest] + bins[deepest + 1]) / 2))


def _continuous(values: Values, counts: Counts) -> tuple[Values, Values]:
    """Edges between neighbouring values, and cumulative counts there: each value fills its bin."""
    points, weights = values[counts > 0], counts[counts > 0]
    middle = (points[1:] + points[:-1]) / 2
    first = points[0] - (middle[0] - points[0] if len(middle) else 0.5)
    last = points[-1] + (points[-1] - middle[-1] if len(middle) else 0.5)
    cumulative = np.concatenate(([0.0], np.cumsum(weights, dtype=np.float64)))
    return np.concatenate(([first], middle, [last])), cumulative


def _quantum(values: Values, counts: Counts) -> float:
    """Smallest step between values that occur, among the lower half of the pixels."""
    points = values[(counts > 0) & (values <= quantile(values, counts, 0.5))]
    upper = values[counts > 0]
    steps = np.diff(points) if len(points) > 1 else np.diff(upper[:2])
    return float(steps.min()) if len(steps) else 1.0


def _otsu(z: Values, weights: Values) -> int:
    """Index of the last point of the lower class that maximises the variance between classes."""
    p0, m0 = np.cumsum(weights)[:-1], np.cumsum(weights * z)[:-1]
    total, moment = float(weights.sum()), float((weights * z).sum())
    return int(np.argmax((m0 / p0 - (moment - m0) / (total - p0)) ** 2 * p0 * (total - p0)))
