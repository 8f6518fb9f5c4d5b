"""What goes with the effect: slope, dose-response, the published fraction, naive tests for
comparison, bleed-through.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ifquant.statistics.priming.adjusted_association import Association
from ifquant.statistics.priming.exposure import Neighbours
from ifquant.statistics.priming.primary_association import Primary, stain_columns
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
    """Give the rise of response per rise of exposure with all else held constant, in standard
    deviations of both, and its standard error.

    Unlike the correlation it does not shrink when structure explains part of the exposure.
    """
    found, near = primary.found, primary.near
    scores = np.full(len(primary.structure.cells), np.nan)
    scores[primary.sources] = normal_scores(primary.ligand[primary.sources])
    exposure = near.mean(scores[near.sources])
    left_response, left = (
        residual(primary.response, primary.model.basis),
        residual(exposure, primary.model.basis),
    )
    if primary.response.std() <= 0 or exposure.std() <= 0 or left.std() <= 1e-9 * exposure.std():
        return math.nan, math.nan
    scale = exposure.std() / primary.response.std()
    rise = float(left_response @ left / (left @ left)) * scale
    unexplained = float((left_response - rise / scale * left).std())
    return rise, unexplained / float(left.std()) * scale / math.sqrt(max(found.n_effective - 2, 1))


def dose_response(found: Association) -> tuple[DosePoint, ...]:
    """Mean adjusted response by quantile of adjusted exposure; intervals from the effective number
    of cells in a bin.
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
        half = (
            float(stats.t.ppf(0.975, max(independent - 1, 1.0)))
            * float(response.std(ddof=1))
            / math.sqrt(independent)
        )
        mean = float(response.mean())
        points.append(
            DosePoint(float(found.exposure[members].mean()), n, mean, mean - half, mean + half)
        )
    return tuple(points)


def naive_fraction(primary: Primary) -> NaiveFraction | None:
    """Count response-positive responders that touch sources above and below the median exposure;
    None where the gate is not callable.
    """
    data, near = primary.structure.cells, primary.near
    name = f"{data.question.response}_positive"
    if not data.has(name):
        return None
    called = data.table[name].astype("boolean").iloc[near.responders]
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
    near = primary.near
    exposure = near.mean(primary.ligand[near.sources])
    response = primary.response
    pearson = stats.pearsonr(response, exposure)
    rows = [
        NaiveRow(
            "correlation over cells",
            float(pearson.statistic),
            float(pearson.pvalue),
            "takes every cell for independent and holds nothing constant: neighbouring cells share"
            " stain, tissue and illumination",
            len(near),
        )
    ]
    exposures = exposure[np.argsort(rng.random((NAIVE_SHUFFLES, len(near))), axis=1)]
    rows.append(
        NaiveRow(
            "shuffling responders",
            float(pearson.statistic),
            _rank_p(float(pearson.statistic), exposures, response),
            "destroys the autocorrelation of the exposure that the real data keep",
            len(near),
        )
    )
    marks = primary.ligand[primary.sources]
    place = np.full(len(primary.structure.cells), -1, np.int64)
    place[primary.sources] = np.arange(len(primary.sources))
    shuffled = np.stack(
        [near.mean(rng.permutation(marks)[place[near.sources]]) for _ in range(NAIVE_SHUFFLES)]
    )
    rows.append(
        NaiveRow(
            "shuffling ligand over sources",
            float(pearson.statistic),
            _rank_p(float(pearson.statistic), shuffled, response),
            "destroys the autocorrelation of the ligand; keeps only that responders share sources",
            len(near),
        )
    )
    fraction = naive_fraction(primary)
    if fraction is not None and min(fraction.high, fraction.low) > 0:
        table = [
            [fraction.high_positive, fraction.high - fraction.high_positive],
            [fraction.low_positive, fraction.low - fraction.low_positive],
        ]
        difference = fraction.high_positive / fraction.high - fraction.low_positive / fraction.low
        rows.append(
            NaiveRow(
                "Fisher's test of the positive fractions",
                difference,
                float(stats.fisher_exact(table).pvalue),
                "takes every cell for independent, and depends on two gates",
                fraction.high + fraction.low,
            )
        )
    return tuple(rows)


def _rank_p(observed: float, null: Floats, response: Floats) -> float:
    centred = null - null.mean(axis=1, keepdims=True)
    y = response - response.mean()
    r = centred @ y / np.maximum(np.linalg.norm(centred, axis=1) * np.linalg.norm(y), 1e-300)
    return (1 + int(np.count_nonzero(np.abs(r) >= abs(observed)))) / (1 + len(null))


def bleed_through(data: SlideCells, near: Neighbours) -> BleedThrough:
    """Estimate the share of each channel's light in the other from cells that should carry only one
    of the two.

    Ligand into response: slope of the response channel on the ligand channel over sources that
    touch no tested responder. Response into ligand: slope over responders in contact with no
    source. Where these cells make both together, or share other light, the slope is an upper bound;
    where one protein excludes the other, it is too small.
    """
    q = data.question
    alone = data.source.copy()
    alone[near.touched] = False
    apart = data.responder.copy()
    apart[near.responders] = False
    ligand = q.own_ligand_column if data.has(q.own_ligand_column) else q.ligand_column
    raw = {name: data.table[name].to_numpy(np.float64) for name in (ligand, q.response_column)}
    return BleedThrough(
        _slope(raw[ligand][alone], raw[q.response_column][alone]),
        _slope(raw[q.response_column][apart], raw[ligand][apart]),
        f"slopes over {q.source} cells and {q.responder} cells that do not touch each other (same"
        " compartment)",
    )


def _slope(x: Floats, y: Floats) -> float:
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < MIN_FOR_SLOPE or np.ptp(x) == 0:
        return math.nan
    step = -(-len(x) // 400)  # Theil-Sen looks at all pairs
    return float(stats.theilslopes(y[::step], x[::step]).slope)


def held_constant(primary: Primary) -> tuple[str, ...]:
    """Name everything in the regression of the responders, from the columns that this slide has."""
    structure, data = primary.structure, primary.structure.cells
    q = data.question
    covariates = [data.marker_of(column) for column in q.source_covariates if data.has(column)]
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
        for marker in stain_columns(data).values()
    ]
    out += [name if name.startswith("distance") else f"local {name}" for name in structure.columns]
    for marker in structure.fields:
        local = f"the local level of {marker}"
        out.append(f"{local} in bystander cells (also squared)" if marker == q.response else local)
    return (*out, "a smooth spatial trend")


def floored(data: SlideCells, near: Neighbours, ligand: Floats) -> dict[str, Floored]:
    """Count the values at the floor of one background SD among those that are ranked: exposed
    responders, sources with a known ligand.
    """
    q = data.question
    response = data.log_values(q.response_column)[near.responders]
    known = ligand[data.source & np.isfinite(ligand)]
    return {
        name: Floored(int(data.at_floor(values, marker, column).sum()), len(values))
        for name, values, marker, column in (
            ("response", response, q.response, q.response_column),
            ("ligand", known, q.ligand, q.ligand_column),
        )
    }
