"""Whether groups of patients differ, or the same patients before and after: permutations of whole
patients.

Between groups the labels of patients are permuted and Welch's t compared, which stays valid in
large groups that differ in spread (Janssen 1997) and is flagged where small ones do. Before and
after are compared within patients by the exact sign-flip of the differences. Comparisons of
anything that rests on a gate need the same gate on all slides: gates fitted per slide move with
what is compared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.errors import RequestError
from ifquant.statistics.cohort.mean_effect import ALPHA, cohort_effect, t_interval
from ifquant.statistics.cohort.patients import PatientValue, SlideValue, checked, combine_slides

MOST_ENUMERATED = 200_000
"""Labelings enumerated; more are drawn."""
DRAWS = 99_999
ENOUGH = 8
UNEVEN = (
    "flagged: groups of unequal size, the smaller below 8 patients: should it vary more, which so"
    " few do not show, permutation rejects a true null too often (4 and 8 patients: 10 %); read the"
    " interval"
)
_CHUNK = 8192


@dataclass(frozen=True)
class Comparison:
    """How one group (or visit) differs from another: difference = second less first.

    Attributes
    ----------
    kind
        ``groups`` (different patients) or ``paired`` (the same patients twice).
    n_patients
        Patients per group; for ``paired`` the patients seen at both visits, twice.
    difference, low, high
        Difference of means and its 95 % interval (Welch's t, or Student's on the differences).
    p, smallest_p, exact
        Permutation p over patients, the smallest this design can give, and whether all labelings
        were enumerated.
    testable, reason
        Whether p can fall below 0.05 at all, and why not (then `p` may be None).
    note
        What to read with it: groups of unequal size, the smaller below `ENOUGH`. (Whether the
        smaller varies more cannot be told from the sample: a flag that waits for it misses the
        draws that reject.)
    """

    kind: str
    first: str
    second: str
    n_patients: tuple[int, int]
    n_slides: tuple[int, int]
    n_cells: tuple[int, int]
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    smallest_p: float
    exact: bool
    testable: bool
    reason: str | None
    note: str | None = None


def compare_groups(
    patients: Sequence[PatientValue],
    first: str,
    second: str,
    *,
    refused: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare the patients of two groups.

    Parameters
    ----------
    refused
        Why the comparison must not be made (gates not shared); the result then holds the counts and
        this reason, and no number.

    Raises
    ------
    RequestError
        If something other than patients is given, or a patient twice.
    """
    known = checked(patients)
    a, b = ([patient for patient in known if patient.group == name] for name in (first, second))
    n = len(a), len(b)
    base = _counts("groups", first, second, a, b)
    smallest = smallest_permutation_p(*n)
    reason = refused or _too_few(first, second, n, smallest)
    if refused or min(n) < 1:
        return _result(base, smallest, reason)
    x, y = (np.array([patient.value for patient in own]) for own in (a, b))
    difference = float(y.mean() - x.mean())
    if min(n) < 2:
        return _result(base, smallest, reason, difference=difference)
    variances = x.var(ddof=1) / n[0], y.var(ddof=1) / n[1]
    error = math.sqrt(sum(variances))
    low, high = difference, difference
    if error > 0:
        df = sum(variances) ** 2 / sum(v**2 / (k - 1) for v, k in zip(variances, n, strict=True))
        low, high = t_interval(difference, error, df)
    p, exact = permutation_p(x, y, seed=seed)
    found = _result(
        base, smallest, reason, difference, (low, high), p if reason is None else None, exact
    )
    return replace(found, note=UNEVEN) if n[0] != n[1] and min(n) < ENOUGH else found


def compare_visits(
    slides: Sequence[SlideValue],
    first: str,
    second: str,
    *,
    refused: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two visits (before, after) within the patients that have slides of both; others are
    left out.

    The slides of a patient and visit are averaged with weights 1 / se^2 first. `refused` as in
    `compare_groups`.
    """
    a, b = (
        {
            patient.patient: patient
            for patient in combine_slides([slide for slide in slides if slide.visit == name])
        }
        for name in (first, second)
    )
    both = [name for name in a if name in b]
    base = _counts("paired", first, second, [a[name] for name in both], [b[name] for name in both])
    changes = [
        PatientValue(
            name,
            b[name].value - a[name].value,
            math.hypot(a[name].se, b[name].se),
            a[name].n_cells + b[name].n_cells,
        )
        for name in both
    ]
    found = cohort_effect(changes, seed=seed)
    if refused:
        return _result(base, found.smallest_p, refused)
    reason = found.reason
    if reason is not None and len(both) < 2:
        reason = (
            f"not testable: {len(both)} patient{'' if len(both) == 1 else 's'} with slides of both"
            f" {first!r} and {second!r}"
        )
    interval = None if found.low is None or found.high is None else (found.low, found.high)
    return _result(base, found.smallest_p, reason, found.estimate, interval, found.p, found.exact)


def smallest_permutation_p(n_first: int, n_second: int) -> float:
    """Smallest two-sided p of a permutation of patients: with equal groups every labeling has a
    mirror image.
    """
    if min(n_first, n_second) < 1:
        return 1.0
    labelings = math.comb(n_first + n_second, n_first)
    if labelings > MOST_ENUMERATED:
        return 1 / (DRAWS + 1)
    return min(1.0, (2 if n_first == n_second else 1) / labelings)


def permutation_p(first: ArrayLike, second: ArrayLike, *, seed: int = 0) -> tuple[float, bool]:
    """Two-sided p of Welch's t under permutation of patients, and whether all labelings were
    enumerated.
    """
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    pooled = np.concatenate([x, y])
    pooled = (pooled - pooled.mean()) / (pooled.std() or 1.0)
    n, size = len(pooled), len(x)
    labelings = math.comb(n, size)
    observed = float(_welch(pooled[None, :size], pooled)[0])
    bar = observed - 1e-9 * max(1.0, observed)  # the same labeling in another order of summation
    if labelings <= MOST_ENUMERATED:
        chosen = itertools.combinations(range(n), size)
        above = 0
        while chunk := list(itertools.islice(chosen, _CHUNK)):
            above += int(np.count_nonzero(_welch(pooled[np.array(chunk)], pooled) >= bar))
        return above / labelings, True
    rng = np.random.default_rng(seed)
    above = 0
    for start in range(0, DRAWS, _CHUNK):
        keys = rng.random((min(_CHUNK, DRAWS - start), n))
        above += int(
            np.count_nonzero(_welch(pooled[np.argsort(keys, axis=1)[:, :size]], pooled) >= bar)
        )
    return (above + 1) / (DRAWS + 1), False


def _welch(first: NDArray[np.float64], pooled: NDArray[np.float64]) -> NDArray[np.float64]:
    """|Welch's t| per row of `first` (labelings, n) against the rest of `pooled`."""
    size = first.shape[1]
    rest = len(pooled) - size
    total, squares = first.sum(axis=1), (first**2).sum(axis=1)
    mean_a, mean_b = total / size, (pooled.sum() - total) / rest
    spread_a = np.maximum(squares - size * mean_a**2, 0) / (size - 1)
    spread_b = np.maximum((pooled**2).sum() - squares - rest * mean_b**2, 0) / (rest - 1)
    error = np.sqrt(np.maximum(spread_a / size + spread_b / rest, 1e-24))
    result: NDArray[np.float64] = np.abs(mean_a - mean_b) / error
    return result


def _too_few(first: str, second: str, n: tuple[int, int], smallest: float) -> str | None:
    for name, count in zip((first, second), n, strict=True):
        if count < 2:
            return (
                f"not testable: {count or 'no'} patient{'' if count == 1 else 's'} in group"
                f" {name!r}; two are needed to know how they vary"
            )
    if smallest > ALPHA:
        return (
            f"not testable: {n[0]} and {n[1]} patients: the smallest permutation p is"
            f" {smallest:.3g}: it cannot reach {ALPHA:g}"
        )
    return None


def _counts(
    kind: str, first: str, second: str, a: Sequence[PatientValue], b: Sequence[PatientValue]
) -> Mapping[str, object]:
    return {
        "kind": kind,
        "first": first,
        "second": second,
        "n_patients": (len(a), len(b)),
        "n_slides": (sum(p.n_slides for p in a), sum(p.n_slides for p in b)),
        "n_cells": (sum(p.n_cells for p in a), sum(p.n_cells for p in b)),
    }


def _result(
    base: Mapping[str, object],
    smallest: float,
    reason: str | None,
    difference: float | None = None,
    interval: tuple[float, float] | None = None,
    p: float | None = None,
    exact: bool = True,
) -> Comparison:
    low, high = interval if interval is not None else (None, None)
    return Comparison(
        **base,  # type: ignore[arg-type]
        difference=difference,
        low=low,
        high=high,
        p=p,
        smallest_p=smallest,
        exact=exact,
        testable=reason is None,
        reason=reason,
    )


def why_not_comparable(gates: Mapping[str, Sequence[str]]) -> str | None:
    """Say why groups must not be compared: a marker whose gate was fitted per slide; None when all
    gates are shared.

    Parameters
    ----------
    gates
        Marker > the scope of its gate on each slide: ``cohort``, ``value`` (both the same on all
        slides), ``slide`` or ``none``.

    Raises
    ------
    RequestError
        If a scope is none of these.
    """
    known = {"cohort", "value", "slide", "none"}
    for marker, scopes in gates.items():
        if not set(scopes) <= known:
            raise RequestError(
                f"gate of {marker}: scope {sorted(set(scopes) - known)}; expected one of"
                f" {sorted(known)}."
            )
    loose = [marker for marker, scopes in gates.items() if set(scopes) & {"slide", "none"}]
    if not loose:
        return None
    sections = ", ".join(f"[gates.markers.{marker}] shared = true" for marker in loose)
    return (
        f"refused: the gates of {', '.join(loose)} were fitted slide by slide, so a difference"
        f" between groups could be one of gates. Set {sections} and run again."
    )
