"""Primary null model: variance-corrected random shifts of the residual ligand field in the tissue.

The field moves as a whole, so its autocorrelation stays; the responders and who touches whom stay
as observed; every touched place takes the residual of the source nearest to where the shift brings
it. A shift loses the neighbors that leave the tissue or meet no source, so each statistic is
divided by the standard deviation it has under independence, given the responders it kept (Mrkvicka
et al. 2021, Spat Stat 42; their factor, the square root of the number kept, is too small a
correction where what is kept is thinned out, not cut off).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.statistics.buckets import nearest_in_buckets, sort_into_buckets
from ifquant.statistics.priming.adjusted_association import AdjustedModel, Association
from ifquant.statistics.priming.primary_association import Primary
from ifquant.statistics.priming.slide_effect import TestResult

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

MIN_USABLE = 100
MIN_SHARE = 0.15
"""Share of the responders (and at least `MIN_RESPONDERS`) that a shift must keep to be usable."""
MIN_RESPONDERS = 30
NEGLIGIBLE = 0.1
"""Beyond the range the field's autocorrelation is below this."""
TRIES_PER_SHIFT = 8
MAX_CHUNK = 4_000_000


class Places(NamedTuple):
    """Sources that responders touch: responder i has ``member[offsets[i] : offsets[i + 1]]``.

    `member` counts the touched sources, which lie at `x`, `y`; `weight` belongs to the entries.
    """

    offsets: Ids
    member: Ids
    weight: Floats
    x: Floats
    y: Floats


def field_shift_test(primary: Primary, rng: np.random.Generator) -> TestResult:
    """Test the primary association against random shifts of the sources' ligand field."""
    model, found = primary.model, primary.association
    n = primary.structure.cells.options.permutations
    beyond = correlation_range(model, found)
    x0, y0, x1, y1 = primary.structure.frame
    moves = rng.uniform(-0.5, 0.5, (TRIES_PER_SHIFT * n, 2)) * np.array([x1 - x0, y1 - y0])
    moves = moves[np.hypot(moves[:, 0], moves[:, 1]) > beyond]
    if len(moves) == 0:
        return TestResult(
            None,
            f"not testable: the ligand is correlated over {beyond:.0f} um, as far as the tissue"
            " reaches",
        )
    null = _standardized_null(primary, moves, n)
    if len(null) < MIN_USABLE:
        why = (
            f"not testable: only {len(null)} usable shifts, at least {MIN_USABLE} are"
            " needed (too little tissue with sources)"
        )
        return TestResult(None, why, len(null))
    weights = found.response_weights, found.exposure_weights
    scale = np.sqrt(max(model.kernels.correlation_variance(*weights), 1 / found.n))
    observed = abs(found.r) / scale
    p = (1 + int(np.count_nonzero(np.abs(null) >= observed))) / (1 + len(null))
    return TestResult(p, "", len(null), tuple(float(value) for value in null * found.se))


def correlation_range(model: AdjustedModel, association: Association) -> float:
    """Distance from which the exposure's fitted autocorrelation is negligible, in um."""
    distance = np.arange(0.0, 4 * model.kernels.points.ranges_um[-1], 5.0)
    fitted = model.kernels.correlogram(association.exposure_weights, distance)
    above = np.flatnonzero(fitted >= NEGLIGIBLE)
    return float(distance[above[-1]] + 5.0) if len(above) else 5.0


def _standardized_null(primary: Primary, moves: Floats, n: int) -> Floats:
    """Correlations over their standard deviation under the first `n` usable moves."""
    model, found = primary.model, primary.association
    products = model.kernels.product_matrix(found.response_weights, found.exposure_weights)
    chunk = max(1, min(n, MAX_CHUNK // max(len(primary.near), 1)))
    out: list[Floats] = []
    for exposure in _shifted_exposures(primary, moves, chunk):
        out.append(_standardized(exposure, found.response, products, model.kernels.points.subset))
        if sum(map(len, out)) >= n:
            break
    return np.concatenate(out)[:n]


def _shifted_exposures(primary: Primary, moves: Floats, chunk: int) -> Iterator[Floats]:
    """Exposure of every responder under `chunk` moves at a time: (moves, responders)."""
    near, cells = primary.near, primary.structure.cells
    reach, region = cells.options.snap_um, cells.slide.tissue
    sources = primary.sources[np.isfinite(primary.field[primary.sources])]
    touched, points = near.touched, cells.points
    low = points[sources].min(axis=0)
    width, height = np.ptp(points[sources], axis=0).tolist()
    buckets = sort_into_buckets(points[sources] - low, reach, (width, height))
    member = np.searchsorted(touched, near.sources)
    x, y = (points[touched] - low).T
    places = Places(near.offsets, member, near.weight, x.copy(), y.copy())
    value = primary.field[sources[buckets.order]]
    for start in range(0, len(moves), chunk):
        some = moves[start : start + chunk]
        inside = np.ones((len(some), len(touched)), np.bool_)
        if region is not None and not region.is_rectangle:
            moved = points[touched] + some[:, None]
            inside = region.contains(moved[..., 0], moved[..., 1])
        yield shifted_exposure(some, places, inside, buckets, value, reach)


def _standardized(exposure: Floats, response: Floats, products: Floats, subset: Ids) -> Floats:
    """Correlation of each usable shift over its standard deviation given the responders in it."""
    known = np.isfinite(exposure)
    n = exposure.shape[1]
    usable = known.sum(axis=1) >= max(MIN_SHARE * n, MIN_RESPONDERS)
    known, exposure = known[usable], exposure[usable]
    if len(known) == 0:
        return np.zeros(0)
    count = known.sum(axis=1)
    values = np.where(known, exposure, 0.0)
    values = np.where(known, values - (values.sum(axis=1) / count)[:, None], 0.0)
    squares = (values**2).sum(axis=1) * (known @ response**2)
    correlation = (values @ response) / np.sqrt(np.maximum(squares, 1e-300))
    part = known[:, subset].astype(np.float64)
    factor = n / len(subset)
    diagonal = part @ np.diag(products)
    pairs = np.einsum("ij,ij->i", part @ products, part) - diagonal
    sums = np.maximum(factor * diagonal + factor**2 * pairs, 0.1 * count)
    return np.asarray(correlation / np.sqrt(sums / count.astype(np.float64) ** 2))


@njit(cache=True)
def shifted_exposure(moves, places, inside, sources, value, reach):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Exposure (moves, responders) under each move; nan where no touched place keeps a value.

    A place takes the `value` of the nearest of the `sources` (buckets) within `reach` of where it
    moves; if that is not `inside` (moves, places) the tissue, it keeps none.
    """
    out = np.full((len(moves), len(places.offsets) - 1), np.nan)
    nearest = np.empty(len(places.x), np.int64)
    for s in range(len(moves)):
        for m in range(len(places.x)):
            nearest[m] = -1
            if inside[s, m]:
                x, y = places.x[m] + moves[s, 0], places.y[m] + moves[s, 1]
                nearest[m] = nearest_in_buckets(sources, x, y, reach)
        for i in range(len(places.offsets) - 1):
            total, weights = 0.0, 0.0
            for k in range(places.offsets[i], places.offsets[i + 1]):
                source = nearest[places.member[k]]
                if source >= 0:
                    total += places.weight[k] * value[source]
                    weights += places.weight[k]
            if weights > 0:
                out[s, i] = total / weights
    return out
