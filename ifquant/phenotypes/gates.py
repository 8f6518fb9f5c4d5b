"""Gates: the intensity above which a cell counts as positive for a marker, where it came from, and
whether there is one at all.

Methods: ``value`` (given), ``control`` (a quantile of control cells), ``mixture`` and ``otsu``
(both on log intensities). The automatic two are *callable* only when the distribution holds two
populations; positivity is null otherwise, not invented. Two populations means: a significant valley
between two modes (valley.py has the test and its sources), at most 80 % as dense as the lesser
mode; two fitted components of a Gaussian mixture at least 2 apart in Ashman's D; and at least 1 %
of the cells in the smaller.

The gate of ``mixture`` is the *lowest point of the valley* between the two modes (of the smoothed
histogram of log intensities; the middle of it where it is empty). It is not where the two Gaussians
cross: negative cells have a tail to the right of light that spills over from neighbours, and a
narrow Gaussian beside a wide one then ends far too early. Over skewed populations with such tails
the crossing misplaced cells worth 9 % of the positive ones more than the best possible gate (up to
50 %), the crossing kept on the valley's floor 1.7 %, the lowest point 0.9 %. The gate of ``otsu``
is Otsu's threshold, kept on the floor of the valley.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.filters import threshold_otsu

from ifquant.errors import RequestError
from ifquant.phenotypes.mixture import (
    MIN_SEPARATION,
    MIN_WEIGHT,
    N_BINS,
    LogHistogram,
    Mixture,
    fit_mixture,
    log_histogram,
)
from ifquant.phenotypes.valley import MAX_VALLEY, Valley, critical_score, find_valley
from ifquant.recipe.model import Gate

Floats = NDArray[np.float64]
REPORT_BINS = 128
"""Bins of the histogram kept for the report."""
LARGEST = 1e100
"""Larger values are no intensities (float32 ends at 3.4e38) and count as not finite."""
MIN_BEYOND = 5
"""Control cells that should lie above the control's quantile, or it rests on too few."""


@dataclass(frozen=True)
class FittedGate:
    """A gate and how it came about; plain values, ready for slide.json and the report.

    Attributes
    ----------
    marker, column
        The marker, and the column of cells.parquet the gate is applied to (``value < column``:
        positive).
    value
        Gate in raw intensities; None when not callable.
    callable
        False: positivity is null for every cell.
    method, scope
        ``mixture | otsu | value | control``; ``slide`` or ``cohort`` (one gate shared by all
        slides).
    origin
        One sentence for the report: where the gate came from, or why there is none.
    n_cells, positive_fraction
        Cells the gate was fitted on (finite values), and the fraction of them above it (None when
        not callable).
    edges, counts
        Histogram of the cells: edges in raw intensities, equally wide on the log scale; empty when
        there is nothing to show.
    offset
        Added to intensities before the logarithm (0 unless some are not positive).
    components
        (weight, median intensity, standard deviation of the log) of the two components, the dimmer
        first; empty unless fitted.
    valley, depth, separation, score
        Evidence for two populations: lowest point of the valley in raw intensities, its density
        over the lesser mode's, Ashman's D, score of the scan (needed: `needed`).
    warning
        What the user should know, or None.
    """

    marker: str
    value: float | None
    callable: bool
    origin: str
    column: str = ""
    method: str = ""
    scope: Literal["slide", "cohort"] = "slide"
    n_cells: int = 0
    positive_fraction: float | None = None
    edges: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    offset: float = 0.0
    components: tuple[tuple[float, float, float], ...] = ()
    valley: float | None = None
    depth: float | None = None
    separation: float | None = None
    score: float | None = None
    needed: float | None = None
    warning: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def fit_gate(
    values: ArrayLike | Mapping[str, ArrayLike],
    gate: Gate,
    marker: str,
    *,
    column: str = "",
    min_cells: int = 50,
    control: ArrayLike | None = None,
) -> FittedGate:
    """Fit the gate of one marker.

    Parameters
    ----------
    values
        Intensities of the cells, (n_cells,), raw; or slide > intensities for one gate shared over a
        cohort (all cells pooled, each counts once). NaN and infinite values are left out.
    gate
        Method and parameters, from the recipe.
    marker, column
        Names, for the report and the messages.
    min_cells
        With fewer finite values an automatic gate is not callable.
    control
        method = control: intensities of the control cells (of the control slide or region).

    Raises
    ------
    RequestError
        If method = value comes without value, or method = control without control cells'
        intensities.
    """
    shared = isinstance(values, Mapping)
    pooled = _finite(list(values.values()) if isinstance(values, Mapping) else [values])
    histogram = log_histogram(pooled)
    facts: dict[str, Any] = {
        "marker": marker,
        "column": column,
        "method": gate.method,
        "scope": "cohort" if shared else "slide",
        "n_cells": pooled.size,
        **_shown(histogram),
    }
    slides = f"{len(values)} slides" if isinstance(values, Mapping) else "this slide"
    where = f"{pooled.size:,} cells of {slides}"
    if gate.method == "value":
        if gate.value is None:
            raise RequestError(f'gate of {marker}: method = "value" needs value = ..., found none.')
        doubt = _extreme(pooled, gate.value)
        return _called(facts, pooled, gate.value, "given in the recipe", doubt)
    if gate.method == "control":
        return _from_control(facts, pooled, gate, marker, control, min_cells)
    if pooled.size < min_cells:
        return _refused(facts, f"not callable: {where}, {min_cells} are needed")
    if histogram is None or np.count_nonzero(histogram.counts) < 2:
        return _refused(facts, f"not callable: all {where} have the same value")
    return _from_populations(facts, pooled, gate, histogram, where)


def _from_populations(
    facts: dict[str, Any], pooled: Floats, gate: Gate, histogram: LogHistogram, where: str
) -> FittedGate:
    """Gate between two populations of cells, if there are two."""
    valley, needed = find_valley(histogram.counts), critical_score(pooled.size)
    mixture = fit_mixture(histogram, valley.bin if valley is not None else None)
    facts["components"] = tuple(
        (w, histogram.raw(m), s)
        for w, m, s in zip(mixture.weights, mixture.means, mixture.sds, strict=True)
    )
    facts |= {
        "separation": mixture.separation,
        "needed": needed,
        "score": valley.score if valley is not None else 0.0,
    }
    if valley is not None:
        facts |= {"valley": histogram.raw(histogram.centers[valley.bin]), "depth": valley.depth}
    doubt = _one_mode(valley, needed) or _one_component(mixture)
    if doubt is not None or valley is None:
        return _refused(facts, f"not callable: {where} do not show two populations ({doubt})")
    log_gate, how = _between(gate, histogram, valley)
    value, more = histogram.raw(log_gate), _further(histogram, valley)
    return _called(facts, pooled, value, f"{how}, {where}", more)


def _one_mode(valley: Valley | None, needed: float) -> str | None:
    if valley is None:
        return "one mode"
    if valley.score < needed:
        return f"one mode as far as can be told: score {valley.score:.1f}, {needed:.1f} is needed"
    if valley.depth > MAX_VALLEY:
        return (
            f"the valley reaches {valley.depth:.0%} of the lesser mode, at most {MAX_VALLEY:.0%}"
            " would do"
        )
    return None


def _one_component(mixture: Mixture) -> str | None:
    if mixture.separation < MIN_SEPARATION:
        return f"Ashman's D is {mixture.separation:.1f}, {MIN_SEPARATION:g} is needed"
    if min(mixture.weights) < MIN_WEIGHT:
        return (
            f"the smaller component holds {min(mixture.weights):.1%} of the cells,"
            f" {MIN_WEIGHT:.0%} are needed"
        )
    return None


def _between(gate: Gate, histogram: LogHistogram, valley: Valley) -> tuple[float, str]:
    lowest = float(histogram.centers[valley.bin])
    if gate.method != "otsu":
        return lowest, (
            "lowest point of the valley between two populations of log intensities"
            " (two-component mixture)"
        )
    low, high = (float(histogram.centers[at]) for at in valley.floor)
    found = float(threshold_otsu(hist=(histogram.counts, histogram.centers)))
    how = "Otsu's threshold on log intensities"
    if low <= found <= high:
        return found, how
    if histogram.centers[valley.left_mode] < found < histogram.centers[valley.right_mode]:
        found = float(np.clip(found, low, high))
        return found, f"{how}, kept on the floor of the valley between the two modes"
    return lowest, "valley between the two modes of log intensities (otsu gave no gate there)"


def _further(histogram: LogHistogram, valley: Valley) -> str | None:
    """Warn when either side of the valley holds two populations itself."""
    for side, counts in (
        ("below", histogram.counts[: valley.bin]),
        ("above", histogram.counts[valley.bin :]),
    ):
        again = find_valley(counts)
        n = int(counts.sum())
        if again is not None and again.score >= critical_score(n) and again.depth <= MAX_VALLEY:
            return (
                f"the cells {side} the gate show two populations themselves: three or more in all;"
                " look at the histogram"
            )
    return None


def _from_control(
    facts: dict[str, Any],
    pooled: Floats,
    gate: Gate,
    marker: str,
    control: ArrayLike | None,
    min_cells: int,
) -> FittedGate:
    source = (
        f"control slide {gate.control_slide!r}"
        if gate.control_slide is not None
        else f"control region {gate.control_region!r}"
    )
    if control is None:
        raise RequestError(
            f'gate of {marker}: method = "control" needs the intensities of the cells of {source},'
            " found none."
        )
    cells = _finite([control])
    if cells.size < min_cells:
        return _refused(
            facts, f"not callable: {cells.size:,} cells in {source}, {min_cells} are needed"
        )
    value = float(np.quantile(cells, gate.control_quantile))
    beyond = cells.size * (1 - gate.control_quantile)
    warning = None
    if beyond < MIN_BEYOND:
        warning = (
            f"the {gate.control_quantile:g} quantile of {cells.size:,} control cells rests on"
            f" {beyond:.1f} cells above it"
        )
    return _called(
        facts,
        pooled,
        value,
        f"{gate.control_quantile:g} quantile of {cells.size:,} cells of {source}",
        warning,
    )


def _extreme(pooled: Floats, value: float) -> str | None:
    if pooled.size == 0:
        return None
    if value >= pooled.max():
        return (
            f"the gate {value:g} lies above every cell (largest {pooled.max():g}): no cell is"
            " positive"
        )
    if value < pooled.min():
        return (
            f"the gate {value:g} lies below every cell (smallest {pooled.min():g}): all cells are"
            " positive"
        )
    return None


def _called(
    facts: dict[str, Any], pooled: Floats, value: float, origin: str, warning: str | None
) -> FittedGate:
    fraction = float(np.count_nonzero(pooled > value) / pooled.size) if pooled.size else None
    return FittedGate(
        value=float(value),
        callable=True,
        origin=origin,
        positive_fraction=fraction,
        warning=warning,
        **facts,
    )


def _refused(facts: dict[str, Any], why: str) -> FittedGate:
    return FittedGate(
        value=None,
        callable=False,
        origin=why,
        warning=f"{facts['marker']}: no gate, positivity is left empty",
        **facts,
    )


def _finite(arrays: list[ArrayLike]) -> Floats:
    parts = [np.asarray(array, np.float64).ravel() for array in arrays]
    joined = np.concatenate(parts) if parts else np.empty(0)
    return joined[np.abs(joined) < LARGEST]  # NaN compares false


def _shown(histogram: LogHistogram | None) -> dict[str, Any]:
    if histogram is None:
        return {}
    factor = N_BINS // REPORT_BINS
    edges = np.exp(histogram.edges[::factor]) - histogram.offset
    counts = histogram.counts.reshape(-1, factor).sum(axis=1)
    return {
        "edges": tuple(edges.tolist()),
        "counts": tuple(counts.tolist()),
        "offset": histogram.offset,
    }
