"""Primary null model: variance-corrected random shifts of the residual ligand field within the
tissue.

The field moves as a whole, so its autocorrelation stays; the responders and who touches whom stay
as observed; every touched place takes the residual of the source nearest to where the shift brings
it. A shift loses the neighbours that leave the tissue or meet no source, so each statistic is
divided by the standard deviation it has under independence, given the responders it kept (Mrkvicka
et al. 2021, Spat Stat 42; their factor, the square root of the number kept, is too small a
correction where what is kept is thinned out, not cut off).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ifquant.geometry.region import Region
from ifquant.statistics.priming.adjusted_association import Adjusted, Association
from ifquant.statistics.priming.slide_cells import SlideCells
from ifquant.statistics.priming.slide_effect import TestResult

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

MIN_USABLE = 100
MIN_KEPT = 0.15
"""Share of the responders (and at least `MIN_KEPT_CELLS`) that a shift must keep to be usable."""
MIN_KEPT_CELLS = 30
NEGLIGIBLE = 0.1
"""Beyond the range the field's autocorrelation is below this."""
TRIES_PER_SHIFT = 8
MAX_CHUNK = 4_000_000


@dataclass(frozen=True)
class Shifts:
    """Random displacements (n, 2) in um as x, y, all longer than `beyond_um`."""

    moves: Floats
    beyond_um: float


def draw_shifts(
    rng: np.random.Generator, n: int, extent_um: tuple[float, float], beyond_um: float
) -> Shifts:
    """Draw displacements within half the extent in each direction, longer than the correlation
    range.
    """
    moves = rng.uniform(-0.5, 0.5, (TRIES_PER_SHIFT * n, 2)) * np.asarray(extent_um)
    return Shifts(moves[np.hypot(moves[:, 0], moves[:, 1]) > beyond_um], beyond_um)


def correlation_range(model: Adjusted, found: Association) -> float:
    """Distance from which the exposure's fitted autocorrelation is negligible, in um."""
    distance = np.arange(0.0, 4 * model.kernels.points.ranges_um[-1], 5.0)
    above = np.flatnonzero(
        model.kernels.correlogram(found.exposure_weights, distance) >= NEGLIGIBLE
    )
    return float(distance[above[-1]] + 5.0) if len(above) else 5.0


def shift_test(
    cells: SlideCells,
    model: Adjusted,
    found: Association,
    field: Floats,
    sources: Ids,
    *,
    n_shifts: int,
    snap_um: float,
    region: Region | None,
    extent_um: tuple[float, float],
    rng: np.random.Generator,
) -> TestResult:
    """Test an association against random shifts of the field (n_cells,) of the `sources` (rows)."""
    beyond = correlation_range(model, found)
    shifts = draw_shifts(rng, n_shifts, extent_um, beyond)
    if len(shifts.moves) == 0:
        return TestResult(
            None,
            f"not testable: the ligand is correlated over {beyond:.0f} um, as far as the tissue"
            " reaches",
        )
    standardised = _replicates(
        cells, model, found, field, sources, shifts, n_shifts, snap_um, region
    )
    if len(standardised) < MIN_USABLE:
        why = (
            f"not testable: only {len(standardised)} usable shifts, at least {MIN_USABLE} are"
            " needed (too little tissue with sources)"
        )
        return TestResult(None, why, len(standardised))
    scale = np.sqrt(
        max(
            model.kernels.correlation_variance(found.response_weights, found.exposure_weights),
            1 / found.n,
        )
    )
    observed = abs(found.r) / scale
    p = (1 + int(np.count_nonzero(np.abs(standardised) >= observed))) / (1 + len(standardised))
    return TestResult(
        p, "", len(standardised), tuple(float(value) for value in standardised * found.se)
    )


def _replicates(
    cells: SlideCells,
    model: Adjusted,
    found: Association,
    field: Floats,
    sources: Ids,
    shifts: Shifts,
    wanted: int,
    snap_um: float,
    region: Region | None,
) -> Floats:
    near = model.near
    sources = sources[np.isfinite(field[sources])]
    touched = near.touched
    member = np.searchsorted(touched, near.sources)
    order, first, x0, y0, columns, rows = bucket_sources(
        cells.x[sources], cells.y[sources], snap_um
    )
    ordered = sources[order]
    mx, my = cells.x[touched], cells.y[touched]
    products = model.kernels.product_matrix(found.response_weights, found.exposure_weights)
    chunk = max(1, min(wanted, MAX_CHUNK // max(len(near), 1)))
    out: list[Floats] = []
    total = 0
    for start in range(0, len(shifts.moves), chunk):
        moves = shifts.moves[start : start + chunk]
        inside = np.ones((len(moves), len(touched)), np.bool_)
        if region is not None and not region.is_rectangle:
            inside = region.contains(mx + moves[:, :1], my + moves[:, 1:])
        exposure = shifted_exposure(
            moves,
            near.offsets,
            member,
            near.weight,
            mx,
            my,
            inside,
            cells.x[ordered],
            cells.y[ordered],
            field[ordered],
            first,
            x0,
            y0,
            columns,
            rows,
            snap_um,
        )
        values = _standardised(exposure, found.response, products, model.kernels.points.used)
        out.append(values)
        total += len(values)
        if total >= wanted:
            break
    return np.concatenate(out)[:wanted]


def _standardised(exposure: Floats, response: Floats, products: Floats, used: Ids) -> Floats:
    """Correlation of each usable shift over its standard deviation given the responders it kept."""
    kept = np.isfinite(exposure)
    n = exposure.shape[1]
    usable = kept.sum(axis=1) >= max(MIN_KEPT * n, MIN_KEPT_CELLS)
    kept, exposure = kept[usable], exposure[usable]
    if len(kept) == 0:
        return np.zeros(0)
    count = kept.sum(axis=1)
    values = np.where(kept, exposure, 0.0)
    values = np.where(kept, values - (values.sum(axis=1) / count)[:, None], 0.0)
    squares = (values**2).sum(axis=1) * (kept @ response**2)
    correlation = (values @ response) / np.sqrt(np.maximum(squares, 1e-300))
    subset = kept[:, used].astype(np.float64)
    factor = n / len(used)
    diagonal = subset @ np.diag(products)
    pairs = np.einsum("ij,ij->i", subset @ products, subset) - diagonal
    variance = (
        np.maximum(factor * diagonal + factor**2 * pairs, 0.1 * count)
        / count.astype(np.float64) ** 2
    )
    return np.asarray(correlation / np.sqrt(variance))


def bucket_sources(x: Floats, y: Floats, side: float) -> tuple[Ids, Ids, float, float, int, int]:
    """Sort points into square buckets: order (by bucket), first point of each bucket, origin and
    number of columns and rows.
    """
    x0, y0 = float(x.min()), float(y.min())
    column, row = ((x - x0) // side).astype(np.int64), ((y - y0) // side).astype(np.int64)
    columns, rows = int(column.max()) + 1, int(row.max()) + 1
    bucket = row * columns + column
    order = np.argsort(bucket, kind="stable")
    first = np.concatenate(
        [np.zeros(1, np.int64), np.cumsum(np.bincount(bucket, minlength=columns * rows))]
    )
    return order, first, x0, y0, columns, rows


@njit(cache=True)
def nearest_in_buckets(px, py, x, y, first, x0, y0, columns, rows, side):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Index of the nearest point within `side` of (px, py), the first of equals; -1 if there is
    none. Points are sorted by bucket.
    """
    column, row = int(np.floor((px - x0) / side)), int(np.floor((py - y0) / side))
    best, found = side * side, -1
    for r in range(max(row - 1, 0), min(row + 2, rows)):
        for c in range(max(column - 1, 0), min(column + 2, columns)):
            for k in range(first[r * columns + c], first[r * columns + c + 1]):
                gap = (x[k] - px) ** 2 + (y[k] - py) ** 2
                if gap < best:
                    best, found = gap, k
    return found


@njit(cache=True)
def shifted_exposure(  # type: ignore[no-untyped-def]
    shifts, offsets, member, weight, mx, my, inside, x, y, value, first, x0, y0, columns, rows, side
):  # pragma: no cover
    """Exposure (shifts, responders) under each shift; nan where no neighbour keeps a value.

    Responder `i` has the neighbours ``offsets[i] : offsets[i + 1]`` at `mx`, `my` (indexed by
    `member`), each with a `weight`. A neighbour whose shifted place is not `inside` (shifts,
    members) the tissue keeps no value.
    """
    out = np.full((len(shifts), len(offsets) - 1), np.nan)
    taken = np.empty(len(mx), np.int64)
    for s in range(len(shifts)):
        for m in range(len(mx)):
            taken[m] = -1
            if inside[s, m]:
                taken[m] = nearest_in_buckets(
                    mx[m] + shifts[s, 0],
                    my[m] + shifts[s, 1],
                    x,
                    y,
                    first,
                    x0,
                    y0,
                    columns,
                    rows,
                    side,
                )
        for i in range(len(offsets) - 1):
            total, weights = 0.0, 0.0
            for k in range(offsets[i], offsets[i + 1]):
                source = taken[member[k]]
                if source >= 0:
                    total += weight[k] * value[source]
                    weights += weight[k]
            if weights > 0:
                out[s, i] = total / weights
    return out
