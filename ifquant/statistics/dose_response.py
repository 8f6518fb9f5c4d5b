"""The dose-response curve of a cohort: bins of exposure per slide > per patient > mean over patients with a t interval at each bin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ifquant.statistics.cohort_effect import t_interval
from ifquant.statistics.effect import DosePoint


@dataclass(frozen=True)
class CurvePoint:
    """Mean exposure and response of one bin over patients (standard deviations); the interval is pointwise, None below two patients."""

    exposure: float
    response: float
    low: float | None
    high: float | None
    n_patients: int
    n_cells: int


def dose_curve(slides: Sequence[tuple[str, Sequence[DosePoint]]]) -> tuple[CurvePoint, ...]:
    """Average the curves of slides, given as (patient, bins of increasing exposure); every patient counts once.

    Bins are matched by their rank, so slides with fewer bins than the commonest number are left out.
    """
    numbers = [len(points) for _, points in slides if points]
    if not numbers:
        return ()
    bins = max(sorted(set(numbers)), key=numbers.count)
    patients: dict[str, list[Sequence[DosePoint]]] = {}
    for patient, points in slides:
        if len(points) == bins:
            patients.setdefault(patient, []).append(points)
    return tuple(_point(patients, k) for k in range(bins))


def _point(patients: Mapping[str, Sequence[Sequence[DosePoint]]], k: int) -> CurvePoint:
    of_bin = [[points[k] for points in slides] for slides in patients.values()]
    exposure, response = (
        np.array([np.average([getattr(p, name) for p in own], weights=[max(p.n, 1) for p in own]) for own in of_bin])
        for name in ("exposure", "response")
    )
    n = len(of_bin)
    mean = float(response.mean())
    low, high = t_interval(mean, float(response.std(ddof=1)) / math.sqrt(n), n - 1) if n > 1 else (None, None)
    return CurvePoint(float(exposure.mean()), mean, low, high, n, sum(p.n for own in of_bin for p in own))
