"""Proximity of two kinds of cells on one slide: curves, both tests, neighbourhood enrichment.
Patients are combined later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ifquant.errors import RequestError
from ifquant.geometry.region import Region
from ifquant.statistics.patterns.enrichment import Enrichment, enrichment, neighbours_within
from ifquant.statistics.patterns.point_patterns import (
    Curve,
    cross_g,
    cross_k_inhomogeneous,
    cross_l,
)
from ifquant.statistics.patterns.proximity_tests import (
    MIN_CELLS,
    ProximityTest,
    Statistic,
    labelling_test,
    shift_test,
)
from ifquant.statistics.patterns.region_measures import region_around

STATISTICS: tuple[Statistic, ...] = ("L", "G")


@dataclass(frozen=True, eq=False)
class SlideProximity:
    """How two kinds of cells lie to each other on one slide.

    Attributes
    ----------
    source, target
        The kinds.
    n_source, n_target, n_cells, n_outside
        Cells of both kinds, of all kinds, and cells left out because they lie outside the region.
    region
        Where cells could have been seen; its `origin` says how it was found.
    curves
        L and G with their edge corrections, and the inhomogeneous K with its bandwidth; empty when
        a kind has too few cells.
    shift, labelling
        The tests by statistic ("L", "G").
    neighbours
        Enrichment of all pairs of kinds; None without cells.
    notes
        What could not be computed, and why.
    """

    source: str
    target: str
    n_source: int
    n_target: int
    n_cells: int
    n_outside: int
    region: Region
    curves: tuple[Curve, ...]
    shift: dict[str, ProximityTest]
    labelling: dict[str, ProximityTest]
    neighbours: Enrichment | None
    notes: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """Give every curve as rows, one per distance; `bandwidth_um` belongs to K_inhom, and p (one
        per curve) to curves with a null.
        """
        rows = [_rows(curve, "none", None) for curve in self.curves]
        for tests in (self.shift, self.labelling):
            rows += [
                _rows(test.curve, test.null, test)
                for test in tests.values()
                if test.curve is not None and test.envelope is not None
            ]
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=_COLUMNS)

    def p_values(self) -> pd.DataFrame:
        """Give the tests as rows: statistic, null, question, p, n_null, reason. They describe this
        slide, not patients.
        """
        both = [
            (name, test) for tests in (self.shift, self.labelling) for name, test in tests.items()
        ]
        fields = [(name, t.null, t.question, t.p, t.n_null, t.reason) for name, t in both]
        return pd.DataFrame(
            fields, columns=["statistic", "null", "question", "p", "n_null", "reason"]
        )


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


def slide_proximity(
    x_um: ArrayLike,
    y_um: ArrayLike,
    codes: ArrayLike,
    names: Sequence[str],
    region: Region | None,
    *,
    source: str,
    target: str,
    r_um: ArrayLike,
    bandwidth_um: float = 100.0,
    neighbour_um: float = 20.0,
    n_null: int = 499,
    seed: int = 0,
) -> SlideProximity:
    """Analyse the proximity of `source` to `target` cells on one slide.

    Parameters
    ----------
    x_um, y_um : float (n,)
        All cells.
    codes : integer (n,)
        Phenotype of each cell, an index into `names`.
    region
        Tissue; None: made from the cells (`region_around`), which is said in its `origin`.
    r_um : float (k,)
        Distances of the curves, sorted.
    bandwidth_um
        Of the intensities of the inhomogeneous K; stated with it.
    neighbour_um
        Centroids this close are neighbours in the enrichment.
    n_null
        Shifts and permutations of each test.
    seed
        All random numbers derive from it.

    Raises
    ------
    RequestError
        If a phenotype is not known, source and target are the same, or there are no cells.
    """
    for name in (source, target):
        if name not in names:
            raise RequestError(f"no phenotype is called {name!r}; known are {', '.join(names)}.")
    if source == target:
        raise RequestError(f"proximity of {source!r} to itself: give two kinds.")
    points = np.stack((np.asarray(x_um, np.float64), np.asarray(y_um, np.float64)), axis=1)
    code = np.asarray(codes, np.int64)
    where = region_around(points) if region is None else region
    inside = where.contains(points[:, 0], points[:, 1])
    points, code = points[inside], code[inside]
    r = np.asarray(r_um, np.float64)
    is_source, is_target = code == list(names).index(source), code == list(names).index(target)
    sources, targets = points[is_source], points[is_target]
    curves: list[Curve] = []
    notes: list[str] = []
    if min(len(sources), len(targets)) >= MIN_CELLS:
        curves = [cross_l(sources, targets, where, r), cross_g(sources, targets, where, r)]
        try:
            curves.append(
                cross_k_inhomogeneous(sources, targets, where, r, bandwidth_um=bandwidth_um)
            )
        except RequestError as error:  # a cell alone within 6 bandwidths has no density of its own
            notes.append(f"no inhomogeneous K: {error}")
    pair = (source, target)
    return SlideProximity(
        source=source,
        target=target,
        n_source=len(sources),
        n_target=len(targets),
        n_cells=len(points),
        n_outside=int(np.count_nonzero(~inside)),
        region=where,
        curves=tuple(curves),
        notes=tuple(notes),
        shift={
            s: shift_test(
                sources, targets, where, r, statistic=s, n_shifts=n_null, seed=seed, names=pair
            )
            for s in STATISTICS
        },
        labelling={
            s: labelling_test(
                points,
                is_source,
                is_target,
                where,
                r,
                statistic=s,
                n_permutations=n_null,
                seed=seed,
                names=pair,
            )
            for s in STATISTICS
        },
        neighbours=enrichment(code, names, neighbours_within(points, neighbour_um), seed=seed)
        if len(points)
        else None,
    )


def _rows(curve: Curve, null: str, test: ProximityTest | None) -> pd.DataFrame:
    envelope = None if test is None else test.envelope
    none = np.full(len(curve.r_um), np.nan)
    values = {
        "statistic": curve.statistic,
        "correction": curve.correction,
        "null": null,
        "bandwidth_um": none
        if curve.bandwidth_um is None
        else np.full(len(none), curve.bandwidth_um),
        "r_um": curve.r_um,
        "observed": curve.value,
        "low": none if envelope is None else envelope.low,
        "high": none if envelope is None else envelope.high,
        "theoretical": curve.theoretical,
        "p": none if envelope is None else np.full(len(none), envelope.p),
    }
    return pd.DataFrame(values, columns=_COLUMNS)
