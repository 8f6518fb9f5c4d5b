"""Second opinions on a cohort's effect: a random-effects meta-analysis and a mixed model. The
primary test is in `mean_effect`.

Both weigh patients by how well each is known, which the primary test does not. Both use Student's t
with patients - 1 degrees of freedom: normal quantiles make them reject a true null too often in
small cohorts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.statistics.cohort.mean_effect import t_interval, t_test_p
from ifquant.statistics.cohort.patients import PatientValue, checked

MOST_CELLS = 2000
"""Cells per slide that enter the mixed model, taken evenly in their order: beyond this only
patients add information."""

BOUNDARY = 1e-3
"""Variance of the slopes, relative to what one patient's cells leave open, below which it counts as
zero."""


@dataclass(frozen=True)
class Opinion:
    """One second opinion: `estimate`, interval and p are None when it could not be computed, and
    `note` says why.

    `heterogeneity` is the standard deviation between patients in the unit of the estimate.
    """

    method: str
    scale: str
    n_patients: int
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    heterogeneity: float | None = None
    note: str | None = None


def hartung_knapp(patients: Sequence[PatientValue]) -> Opinion:
    """Random-effects meta-analysis with the modified Hartung-Knapp interval; between-patient
    variance by Paule and Mandel.

    Computed by statsmodels (`combine_effects`), with the modification that few patients of unequal
    precision need (Roever, Knapp and Friede 2015): the error is never taken smaller than without
    the correction. Source: Hartung and Knapp 2001.
    """
    known = checked(patients)
    method, scale, n = (
        "random-effects meta-analysis (Paule-Mandel, Hartung-Knapp)",
        "Fisher z",
        len(known),
    )
    if n < 2:
        return Opinion(method, scale, n, note="not computed: fewer than two patients")
    from statsmodels.stats.meta_analysis import combine_effects

    values, variances = np.array([p.value for p in known]), np.array([p.se**2 for p in known])
    with np.errstate(
        divide="ignore", invalid="ignore"
    ):  # its I2 divides by zero when all patients are equal
        found = combine_effects(values, variances, method_re="iterated", use_t=True)
    tau2, mean = float(found.tau2), float(found.mean_effect_re)
    error = max(
        float(found.sd_eff_w_re_hksj), float(found.sd_eff_w_re)
    )  # never narrower than without the correction
    low, high = t_interval(mean, error, n - 1)
    return Opinion(
        method, scale, n, mean, low, high, t_test_p(mean, error, n - 1), math.sqrt(max(tau2, 0.0))
    )


@dataclass(frozen=True, eq=False)
class CellPairs:
    """Exposure and response of the cells (or of bins of cells) of one slide, in standard
    deviations, free of covariates; (n,) each.
    """

    patient: str
    exposure: NDArray[np.float64]
    response: NDArray[np.float64]


def random_slope_model(slides: Sequence[CellPairs]) -> Opinion:
    """Mixed model: response ~ exposure, the slope random between patients (statsmodels `MixedLM`,
    REML), t with patients - 1 df.

    Exposure and response are centred within each slide, so that slides and patients have no
    intercepts of their own. A fit that does not converge is reported as such.
    """
    method, scale = "mixed model with a random slope per patient (REML)", "slope in SD per SD"
    data = {
        patient: [_centred(slide) for slide in slides if slide.patient == patient]
        for patient in {s.patient: 0 for s in slides}
    }
    rows = {
        patient: np.concatenate(kept, axis=1)
        for patient, parts in data.items()
        if (kept := [p for p in parts if p is not None])
    }
    n = len(rows)
    if n < 3:
        return Opinion(
            method,
            scale,
            n,
            note="not computed: fewer than three patients cannot show how slopes vary",
        )
    return _fit_slopes(rows, Opinion(method, scale, n))


def _centred(slide: CellPairs) -> NDArray[np.float64] | None:
    x, y = np.asarray(slide.exposure, np.float64), np.asarray(slide.response, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise RequestError(
            f"exposure has shape {x.shape}, response {y.shape}; expected one value each per cell."
        )
    if len(x) > MOST_CELLS:
        kept = np.linspace(0, len(x) - 1, MOST_CELLS).round().astype(int)
        x, y = x[kept], y[kept]
    if len(x) < 3 or x.std() == 0 or y.std() == 0:
        return None
    return np.stack([x - x.mean(), y - y.mean()])


def _fit_slopes(rows: Mapping[str, NDArray[np.float64]], empty: Opinion) -> Opinion:
    from statsmodels.regression.mixed_linear_model import MixedLM

    x, y = np.concatenate(list(rows.values()), axis=1)
    groups = np.repeat(np.arange(len(rows)), [part.shape[1] for part in rows.values()])
    # the default optimizer (BFGS) ends at an infinite likelihood and calls that converged, in every
    # second cohort (statsmodels 0.15)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # what they would say (no convergence, variance at 0) is asked of the fit below
        try:
            fit = MixedLM(y, x[:, None], groups=groups, exog_re=x[:, None]).fit(
                reml=True, method=["powell", "nm"]
            )
        except (np.linalg.LinAlgError, ValueError) as error:
            return replace(empty, note=f"did not converge: {error}")
    ratio = float(np.asarray(fit.cov_re).ravel()[0]) / float(fit.scale)
    if not (fit.converged and math.isfinite(fit.llf) and math.isfinite(ratio) and ratio >= 0):
        return replace(empty, note="did not converge")
    squares = np.array([float((part[0] ** 2).sum()) for part in rows.values()])
    error_of_mean = math.sqrt(
        float(fit.scale) / float((squares / (1 + ratio * squares)).sum())
    )  # GLS: x'V^-1 x per patient, closed form
    mean, df = float(fit.fe_params[0]), len(rows) - 1
    low, high = t_interval(mean, error_of_mean, df)
    note = (
        "the slopes show no more variation between patients than their cells explain"
        if ratio * squares.mean() < BOUNDARY
        else None
    )
    p = t_test_p(mean, error_of_mean, df)
    return replace(
        empty,
        estimate=mean,
        low=low,
        high=high,
        p=p,
        heterogeneity=math.sqrt(ratio * float(fit.scale)),
        note=note,
    )
