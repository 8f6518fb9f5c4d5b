"""What goes with the effect: slope, dose-response, fraction, naive tests, bleed-through."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ifquant.statistics.priming.adjusted_association import Association
from ifquant.statistics.priming.exposure import Contacts
from ifquant.statistics.priming.primary_association import Exposure, Primary, stain_columns
from ifquant.statistics.priming.slide_cells import SlideCells
from ifquant.statistics.priming.slide_effect import (
    BleedThrough,
    DosePoint,
    Floored,
    NaiveFraction,
    NaiveRow,
)
from ifquant.statistics.priming.structure import normal_scores, residual

Floats = NDArray[np.float64]

DOSE_BINS = 5
NAIVE_SHUFFLES = 199
MIN_BIN = 5
MIN_FOR_SLOPE = 50


def slope(primary: Primary) -> tuple[float, float]:
    """Rise of response per rise of exposure at all else constant, in SDs of both, and its error.

    Unlike the correlation it does not shrink when structure explains part of the exposure.
    """
    near, basis = primary.near, primary.model.basis
    scores = np.full(len(primary.structure.cells), np.nan)
    scores[primary.sources] = normal_scores(primary.ligand[primary.sources])
    exposure = near.mean(scores[near.sources])
    left_response, left = residual(primary.response, basis), residual(exposure, basis)
    if primary.response.std() <= 0 or exposure.std() <= 0 or left.std() <= 1e-9 * exposure.std():
        return math.nan, math.nan
    scale = exposure.std() / primary.response.std()
    rise = float(left_response @ left / (left @ left)) * scale
    unexplained = float((left_response - rise / scale * left).std())
    degrees = max(primary.association.n_effective - 2, 1)
    return rise, unexplained / float(left.std()) * scale / math.sqrt(degrees)


def dose_response(found: Association) -> tuple[DosePoint, ...]:
    """Mean adjusted response by quantile of adjusted exposure.

    Intervals are those of the effective number of cells in a bin.
    """
    edges = np.quantile(found.exposure, np.linspace(0, 1, DOSE_BINS + 1))
    which = np.clip(np.searchsorted(edges, found.exposure, side="right") - 1, 0, DOSE_BINS - 1)
    points = []
    for number in range(DOSE_BINS):
        members = which == number
        n = int(members.sum())
        if n < MIN_BIN:
            continue
        response = found.response[members]
        independent = max(n * found.n_effective / found.n, 2.0)
        quantile = float(stats.t.ppf(0.975, max(independent - 1, 1.0)))
        half = quantile * float(response.std(ddof=1)) / math.sqrt(independent)
        mean, exposure = float(response.mean()), float(found.exposure[members].mean())
        points.append(DosePoint(exposure, n, mean, mean - half, mean + half))
    return tuple(points)


def naive_fraction(primary: Primary) -> NaiveFraction | None:
    """Count response-positive responders that touch sources above and below the median exposure.

    None where the gate is not callable.
    """
    cells, near = primary.structure.cells, primary.near
    name = f"{cells.question.response}_positive"
    if not cells.has(name):
        return None
    called = cells.table[name].astype("boolean").iloc[near.responders]
    if called.isna().all():
        return None
    known = called.notna().to_numpy()
    positive = called.fillna(False).to_numpy(bool)
    exposure = near.mean(primary.ligand[near.sources])
    high = exposure > np.median(exposure)
    return NaiveFraction(
        int((positive & high & known).sum()),
        int((high & known).sum()),
        int((positive & ~high & known).sum()),
        int((~high & known).sum()),
    )


def naive_tests(primary: Primary, rng: np.random.Generator) -> tuple[NaiveRow, ...]:
    """Run tests that are in use and reject true nulls too often, with what each gets wrong."""
    near, response = primary.near, primary.response
    exposure = near.mean(primary.ligand[near.sources])
    pearson = stats.pearsonr(response, exposure)
    r, n = float(pearson.statistic), len(near)
    responders = exposure[np.argsort(rng.random((NAIVE_SHUFFLES, n)), axis=1)]
    marks = primary.ligand[primary.sources]
    place = np.full(len(primary.structure.cells), -1, np.int64)
    place[primary.sources] = np.arange(len(marks))
    sources = np.stack(
        [near.mean(rng.permutation(marks)[place[near.sources]]) for _ in range(NAIVE_SHUFFLES)]
    )
    return (
        NaiveRow(
            "correlation over cells",
            r,
            float(pearson.pvalue),
            "takes every cell for independent and holds nothing constant: neighbouring cells share"
            " stain, tissue and illumination",
            n,
        ),
        NaiveRow(
            "shuffling responders",
            r,
            _rank_p(r, responders, response),
            "destroys the autocorrelation of the exposure that the real data keep",
            n,
        ),
        NaiveRow(
            "shuffling ligand over sources",
            r,
            _rank_p(r, sources, response),
            "destroys the autocorrelation of the ligand; keeps only that responders share sources",
            n,
        ),
        *_fraction_test(naive_fraction(primary)),
    )


def _fraction_test(fraction: NaiveFraction | None) -> tuple[NaiveRow, ...]:
    """Fisher's test of the published fractions, where both have cells."""
    if fraction is None or min(fraction.high, fraction.low) == 0:
        return ()
    table = [
        [fraction.high_positive, fraction.high - fraction.high_positive],
        [fraction.low_positive, fraction.low - fraction.low_positive],
    ]
    return (
        NaiveRow(
            "Fisher's test of the positive fractions",
            fraction.high_positive / fraction.high - fraction.low_positive / fraction.low,
            float(stats.fisher_exact(table).pvalue),
            "takes every cell for independent, and depends on two gates",
            fraction.high + fraction.low,
        ),
    )


def _rank_p(observed: float, null: Floats, response: Floats) -> float:
    """Rank of a correlation among those of the response with exposures (m, n) of the null."""
    centered = null - null.mean(axis=1, keepdims=True)
    y = response - response.mean()
    r = centered @ y / np.maximum(np.linalg.norm(centered, axis=1) * np.linalg.norm(y), 1e-300)
    return (1 + int(np.count_nonzero(np.abs(r) >= abs(observed)))) / (1 + len(null))


def bleed_through(cells: SlideCells, near: Contacts) -> BleedThrough:
    """Estimate the share of each channel's light in the other from cells that carry only one.

    Ligand into response: slope of the response channel on the ligand channel over sources that
    touch no tested responder. Response into ligand: slope over responders in contact with no
    source. Where these cells make both together, or share other light, the slope is an upper bound;
    where one protein excludes the other, it is too small.
    """
    q = cells.question
    alone, apart = cells.source.copy(), cells.responder.copy()
    alone[near.touched] = False
    apart[near.responders] = False
    ligand, response = (
        cells.table[column].to_numpy(np.float64)
        for column in (
            q.own_ligand_column if cells.has(q.own_ligand_column) else q.ligand_column,
            q.response_column,
        )
    )
    return BleedThrough(
        _slope(ligand[alone], response[alone]),
        _slope(response[apart], ligand[apart]),
        f"slopes over {q.source} cells and {q.responder} cells that do not touch each other (same"
        " compartment)",
    )


def _slope(x: Floats, y: Floats) -> float:
    """Theil and Sen's slope of y on x; nan where there are too few values."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < MIN_FOR_SLOPE or np.ptp(x) == 0:
        return math.nan
    step = -(-len(x) // 400)  # Theil-Sen looks at all pairs
    return float(stats.theilslopes(y[::step], x[::step]).slope)


def held_constant(primary: Primary) -> tuple[str, ...]:
    """Name everything in the regression of the responders, from the columns that this slide has."""
    structure, cells = primary.structure, primary.structure.cells
    q = cells.question
    covariates = [cells.marker_of(column) for column in q.source_covariates if cells.has(column)]
    out = [
        f"the number of touched {q.source} cells",
        "their distance",
        *(f"their {marker}" for marker in covariates),
    ]
    if np.ptp(np.nan_to_num(primary.own[primary.near.responders])) > 0:
        out.append(
            f"the responder's own {q.ligand} (less what goes along with the exposure, cross-fitted"
            " between the halves of the tissue)"
        )
    out += [
        f"the responder's own {marker} (powers up to the fourth)"
        for marker in stain_columns(cells).values()
    ]
    out += [name if name.startswith("distance") else f"local {name}" for name in structure.columns]
    for marker in structure.fields:
        local = f"the local level of {marker}"
        out.append(f"{local} in bystander cells (also squared)" if marker == q.response else local)
    return (*out, "a smooth spatial trend")


def floored(cells: SlideCells, exposure: Exposure) -> dict[str, Floored]:
    """Count the ranked values at the floor of one background SD.

    Ranked are the exposed responders and the sources with a known ligand.
    """
    q = cells.question
    response = cells.log_values(q.response_column)[exposure.near.responders]
    known = exposure.ligand[cells.source & np.isfinite(exposure.ligand)]
    return {
        name: Floored(int(cells.at_floor(values, marker, column).sum()), len(values))
        for name, values, marker, column in (
            ("response", response, q.response, q.response_column),
            ("ligand", known, q.ligand, q.ligand_column),
        )
    }
