"""Everything held constant on one slide, and the association of a response with an exposure once it
is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree

from ifquant.geometry.region import Region
from ifquant.recipe.model import Priming
from ifquant.statistics.priming.covariance import Kernels, ProjectedKernels
from ifquant.statistics.priming.exposure import Neighbours
from ifquant.statistics.priming.slide_cells import SlideCells
from ifquant.statistics.priming.structure import (
    LocalLevels,
    normal_scores,
    orthonormal,
    residual,
    trend_basis,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ids = NDArray[np.int64]

TREND_UM = 170.0
"""Half-waves of the spatial trend down to this length are taken out, as far as the number of
responders allows."""
MIN_TERMS, MAX_TERMS = 5, 60
RESPONDERS_PER_TERM = 12
BYSTANDER_UM = 18.0
"""Centroid distance to the nearest responder from which a cell shows background of the response
channel only."""
MIN_BYSTANDERS = 30
BORDER = "distance to the tumor border"


@dataclass(frozen=True)
class Association:
    """Partial rank correlation of one response with one exposure.

    Attributes
    ----------
    r, z, se, p, n, n_effective
        Correlation, Fisher's z, its standard error and the analytic p from the effective sample
        size, responders, effective sample size.
    response, exposure : (n,)
        What is left of both, standard deviation 1.
    response_weights, exposure_weights
        Their fitted covariances.
    """

    r: float
    z: float
    se: float
    p: float
    n: int
    n_effective: float
    response: Floats
    exposure: Floats
    response_weights: Floats
    exposure_weights: Floats


@dataclass(eq=False)
class Structure:
    """What is known of every cell's surroundings; made once per slide."""

    cells: SlideCells
    options: Priming
    region: Region | None
    n_exposed: int
    columns: dict[str, Floats] = field(default_factory=dict)
    fields: dict[str, list[Floats]] = field(default_factory=dict)
    frame: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    n_terms: int = MIN_TERMS

    def __post_init__(self) -> None:
        """Compute densities, distances and local staining levels."""
        cells, q = self.cells, self.cells.question
        wide, near = (
            LocalLevels.around(cells.x, cells.y, width)
            for width in (self.options.reference_um, self.options.reference_um / 2)
        )
        everyone = np.ones(len(cells), np.bool_)
        self.columns["density of cells"] = wide.density(everyone)
        self.columns[f"density of {q.source} cells"] = wide.density(cells.source)
        if cells.has("tumor_region_distance_um"):
            distance = cells.table["tumor_region_distance_um"].to_numpy(np.float64)
            if np.isfinite(distance).all():
                self.columns[BORDER] = distance
        bystander = _bystanders(cells)
        if np.count_nonzero(bystander) >= MIN_BYSTANDERS:
            self.fields[q.response] = [
                self._level(levels, q.response_column, bystander) for levels in (wide, near)
            ]
        for marker, column in q.fields.items():
            if cells.has(column):
                own = cells.source if column in q.source_covariates else everyone
                self.fields[marker] = [self._level(levels, column, own) for levels in (wide, near)]
        self.frame = (
            float(cells.x.min()),
            float(cells.y.min()),
            float(cells.x.max()),
            float(cells.y.max()),
        )
        area = self.region.area_um2 if self.region is not None else occupied_um2(cells.x, cells.y)
        wanted = math.pi / 4 * area / TREND_UM**2
        self.n_terms = int(
            np.clip(min(wanted, self.n_exposed / RESPONDERS_PER_TERM), MIN_TERMS, MAX_TERMS)
        )

    def _level(self, levels: LocalLevels, column: str, members: Bools) -> Floats:
        values = self.cells.log_values(column)
        finite = np.isfinite(values)
        return levels.mean(np.where(finite, values, 0.0), members & finite)

    def around(self, rows: Ids, skip: str = "", *, fields: bool = True) -> list[Floats]:
        """Scores of the surroundings of cells `rows`, without the channel `skip`.

        The local level of the response channel is also squared: what adds to the light bends log
        intensities, and a straight line does not take it out. A factor of the light is a straight
        line in them.
        """
        found = [normal_scores(column[rows]) for column in self.columns.values()]
        for marker, columns in self.fields.items():
            if fields and marker != skip:
                scores = [normal_scores(column[rows]) for column in columns]
                found += [
                    *scores,
                    *(score**2 for score in scores if marker == self.cells.question.response),
                ]
        return found

    def trend(self, rows: Ids) -> Floats:
        """Smooth spatial trend at cells `rows`."""
        return trend_basis(self.cells.x[rows], self.cells.y[rows], self.n_terms, self.frame)

    def source_covariates(self, skip: str) -> list[Floats]:
        """Columns of the source cells that are held constant (n_cells,)."""
        wanted = [
            column
            for column in self.cells.question.source_covariates
            if self.cells.marker_of(column) != skip
        ]
        return [
            _filled(self.cells.log_values(column), self.cells.source)
            for column in wanted
            if self.cells.has(column)
        ]

    def source_basis(self, rows: Ids, skip: str = "", *, fields: bool = True) -> Floats:
        """Orthonormal regression of the sources `rows`."""
        held = [normal_scores(values[rows]) for values in self.source_covariates(skip)]
        return orthonormal(
            [*held, *self.around(rows, skip, fields=fields), self.trend(rows)], len(rows)
        )

    def responder_basis(
        self, near: Neighbours, own: list[Floats], skip: str = "", *, fields: bool = True
    ) -> Floats:
        """Orthonormal regression of exposed responders: their neighbours, their `own` scores (as
        given), surroundings, trend.
        """
        columns = [near.counts, near.mean(near.distance_um)]
        columns += [near.mean(values[near.sources]) for values in self.source_covariates(skip)]
        held = [normal_scores(values) for values in columns]
        return orthonormal(
            [
                *held,
                *own,
                *self.around(near.responders, skip, fields=fields),
                self.trend(near.responders),
            ],
            len(near),
        )


@dataclass(frozen=True, eq=False)
class Adjusted:
    """The regression of one set of responders, ready for any response and exposure."""

    near: Neighbours
    basis: Floats
    kernels: ProjectedKernels

    @classmethod
    def of(cls, structure: Structure, near: Neighbours, basis: Floats) -> Adjusted:
        """Prepare the pair sums of these responders."""
        rows = near.responders
        return cls(
            near,
            basis,
            ProjectedKernels.of(
                Kernels.at(structure.cells.x[rows], structure.cells.y[rows]), basis
            ),
        )

    def with_basis(self, basis: Floats) -> Adjusted:
        """Hold other things constant for the same responders."""
        return Adjusted(self.near, basis, ProjectedKernels.of(self.kernels.points, basis))

    def association(self, response: Floats, exposure: Floats) -> Association:
        """Correlate what is left of a response and an exposure (n,) after regression."""
        y, e = residual(response, self.basis), residual(exposure, self.basis)
        n, k = self.basis.shape
        spread_y, spread_e = float(y.std()), float(e.std())
        if spread_y <= 1e-9 * max(float(np.abs(response).max()), 1e-300) or spread_e <= 1e-9 * max(
            float(np.abs(exposure).max()), 1e-300
        ):
            none = np.zeros(n)
            return Association(
                math.nan, math.nan, math.nan, math.nan, n, math.nan, none, none, none, none
            )
        y, e = y / spread_y, e / spread_e
        r = float(np.clip(y @ e / n, -0.9999, 0.9999))
        a, b = self.kernels.weights(y), self.kernels.weights(e)
        variance = max(self.kernels.correlation_variance(a, b), 1 / (n - k))
        size = 1 + 1 / variance
        df = max(size - 2, 1.0)
        p = float(2 * stats.t.sf(abs(r) * math.sqrt(df / (1 - r * r)), df))
        return Association(
            r, math.atanh(r), 1 / math.sqrt(max(size - 3, 1.0)), p, n, size, y, e, a, b
        )


def source_field(structure: Structure, values: Floats, rows: Ids, basis: Floats) -> Floats:
    """Rank scores of a value among the sources `rows`, less structure; (n_cells,), NaN
    elsewhere.
    """
    left = residual(normal_scores(values[rows]), basis)
    out = np.full(len(structure.cells), np.nan)
    spread = left.std()
    out[rows] = left / spread if spread > 0 else left
    return out


def _bystanders(cells: SlideCells) -> Bools:
    """Cells that are neither responder nor source, out of reach of the responders' light.

    What they show in the response channel is background that varies over the tissue. Sources would
    not do: where light bleeds through or spills over, their response channel holds both ligand and
    response, and holding that constant ties the two together.
    """
    chosen = ~cells.responder & ~cells.source
    if cells.responder.any() and chosen.any():
        tree = cKDTree(np.column_stack([cells.x, cells.y])[cells.responder])
        rows = np.flatnonzero(chosen)
        distance, _ = tree.query(
            np.column_stack([cells.x[rows], cells.y[rows]]), distance_upper_bound=BYSTANDER_UM
        )
        chosen[rows] = np.isinf(distance)
    return chosen


def occupied_um2(x: Floats, y: Floats, step: float = 50.0) -> float:
    """Area of the squares of `step` um, counted from the first cells in x and y, that hold a cell:
    the same wherever the origin is.
    """
    if len(x) == 0:
        return 0.0
    return float(
        len(np.unique(np.stack([(x - x.min()) // step, (y - y.min()) // step], axis=1), axis=0))
        * step**2
    )


def _filled(values: Floats, members: Bools) -> Floats:
    """Replace missing values by the members' median."""
    known = members & np.isfinite(values)
    return np.where(np.isfinite(values), values, np.median(values[known]) if known.any() else 0.0)
