"""Proximity of two kinds of cells on one slide: curves, both tests, neighborhood enrichment.

Patients are combined later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.statistics.patterns.enrichment import Enrichment, enrichment, neighbors_within
from ifquant.statistics.patterns.point_patterns import (
    Curve,
    cross_g,
    cross_k_inhomogeneous,
    cross_l,
)
from ifquant.statistics.patterns.proximity_tests import (
    MIN_CELLS,
    NullDesign,
    ProximityTest,
    Statistic,
    random_labeling_test,
)
from ifquant.statistics.patterns.random_shift import random_shift_test
from ifquant.statistics.patterns.region_measures import region_around

STATISTICS: tuple[Statistic, ...] = ("L", "G")
_COLUMNS = [
    "statistic",
    "correction",
    "null",
    "bandwidth_um",
    "r_um",
    "observed",
    "low",
    "high",
    "theoretical",
    "p",
]


@dataclass(frozen=True, eq=False)
class LabeledCells:
    """Cells of a slide: places (n, 2) in um, and kinds as indices (n,) into their names."""

    points: ArrayLike
    codes: ArrayLike
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ProximityOptions:
    """How proximity is analyzed.

    Attributes
    ----------
    r_um : float (k,)
        Distances of the curves, sorted.
    bandwidth_um
        Of the intensities of the inhomogeneous K; stated with it.
    neighbor_um
        Centroids this close are neighbors in the enrichment.
    n_null
        Shifts and permutations of each test.
    seed
        All random numbers derive from it.
    """

    r_um: ArrayLike
    bandwidth_um: float = 100.0
    neighbor_um: float = 20.0
    n_null: int = 499
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SlideProximity:
    """How two kinds of cells lie to each other on one slide.

    Attributes
    ----------
    n_source, n_target, n_outside
        Cells of both kinds, and cells left out because they lie outside the region.
    region
        Where cells could have been seen; its `origin` says where it comes from.
    curves
        L and G with their edge corrections, and the inhomogeneous K with its bandwidth; empty when
        a kind has too few cells.
    shift, labeling
        The tests by statistic ("L", "G").
    enrichment
        Of all pairs of kinds as neighbors; None without cells.
    notes
        What could not be computed, and why.
    """

    n_source: int
    n_target: int
    n_outside: int
    region: Region
    curves: tuple[Curve, ...]
    shift: Mapping[str, ProximityTest]
    labeling: Mapping[str, ProximityTest]
    enrichment: Enrichment | None
    notes: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """Every curve, one row per distance.

        `bandwidth_um` belongs to K_inhom, and p (one per curve) to curves with a null.
        """
        rows = [_rows(curve, "none", None) for curve in self.curves]
        rows += [
            _rows(test.curve, test.null, test)
            for tests in (self.shift, self.labeling)
            for test in tests.values()
            if test.curve is not None and test.envelope is not None
        ]
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=_COLUMNS)

    def p_values(self) -> pd.DataFrame:
        """List the tests, one per row. They describe this slide, not patients."""
        fields = [
            (name, test.null, test.question, test.p, test.n_null, test.reason)
            for tests in (self.shift, self.labeling)
            for name, test in tests.items()
        ]
        return pd.DataFrame(
            fields, columns=["statistic", "null", "question", "p", "n_null", "reason"]
        )


def slide_proximity(
    cells: LabeledCells, region: Region | None, source: str, target: str, options: ProximityOptions
) -> SlideProximity:
    """Analyze the proximity of `source` to `target` cells on one slide.

    `region` is the tissue; None: it is made from the cells (`region_around`), as its `origin` says.

    Raises
    ------
    RequestError
        If a phenotype is not known, source and target are the same, or there are no cells.
    """
    names = cells.names
    for name in (source, target):
        if name not in names:
            raise RequestError(f"no phenotype is called {name!r}; known are {', '.join(names)}.")
    if source == target:
        raise RequestError(f"proximity of {source!r} to itself: give two kinds.")
    points, codes = np.asarray(cells.points, np.float64), np.asarray(cells.codes, np.int64)
    where = region_around(points) if region is None else region
    inside = where.contains(points[:, 0], points[:, 1])
    points, codes = points[inside], codes[inside]
    r = np.asarray(options.r_um, np.float64)
    is_source, is_target = (codes == names.index(name) for name in (source, target))
    sources, targets = points[is_source], points[is_target]
    designs = {
        s: NullDesign(s, options.n_null, options.seed, names=(source, target)) for s in STATISTICS
    }
    curves, notes = _curves(sources, targets, where, r, options.bandwidth_um)
    neighbors = None
    if len(points):
        pairs = neighbors_within(points, options.neighbor_um)
        neighbors = enrichment(codes, names, pairs, seed=options.seed)
    return SlideProximity(
        len(sources),
        len(targets),
        int(np.count_nonzero(~inside)),
        where,
        curves,
        {s: random_shift_test(sources, targets, where, r, d) for s, d in designs.items()},
        {
            s: random_labeling_test(points, is_source, is_target, where, r, d)
            for s, d in designs.items()
        },
        neighbors,
        notes,
    )


def _curves(
    sources: NDArray[np.float64],
    targets: NDArray[np.float64],
    region: Region,
    r: NDArray[np.float64],
    bandwidth_um: float,
) -> tuple[tuple[Curve, ...], tuple[str, ...]]:
    """L, G and the inhomogeneous K where there are enough cells, and why one is missing."""
    if min(len(sources), len(targets)) < MIN_CELLS:
        return (), ()
    curves = cross_l(sources, targets, region, r), cross_g(sources, targets, region, r)
    try:
        varying = cross_k_inhomogeneous(sources, targets, region, r, bandwidth_um=bandwidth_um)
    except RequestError as error:  # a cell alone within 6 bandwidths has no density of its own
        return curves, (f"no inhomogeneous K: {error}",)
    return (*curves, varying), ()


def _rows(curve: Curve, null: str, test: ProximityTest | None) -> pd.DataFrame:
    """One curve as rows of `SlideProximity.table`."""
    envelope = None if test is None else test.envelope
    none = np.full(len(curve.r_um), np.nan)
    bandwidth = none if curve.bandwidth_um is None else np.full(len(none), curve.bandwidth_um)
    values = {
        "statistic": curve.statistic,
        "correction": curve.correction,
        "null": null,
        "bandwidth_um": bandwidth,
        "r_um": curve.r_um,
        "observed": curve.value,
        "low": none if envelope is None else envelope.low,
        "high": none if envelope is None else envelope.high,
        "theoretical": curve.theoretical,
        "p": none if envelope is None else np.full(len(none), envelope.p),
    }
    return pd.DataFrame(values, columns=_COLUMNS)
