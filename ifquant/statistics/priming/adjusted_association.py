"""Everything held constant on one slide, and the association of response and exposure then."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import cKDTree

from ifquant.statistics.priming.covariance import Kernels, ProjectedKernels
from ifquant.statistics.priming.exposure import Contacts
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
    """What is known of every cell's surroundings; made once per slide.

    Attributes
    ----------
    columns : name > (n_cells,)
        Densities, and the distance to the tumor border.
    fields : marker > [(n_cells,), ...]
        Local staining levels, wide and near.
    frame
        Smallest and largest x and y of the cells: x0, y0, x1, y1.
    n_terms
        Of the spatial trend.
    """

    cells: SlideCells
    n_exposed: int
    columns: dict[str, Floats] = field(default_factory=dict)
    fields: dict[str, list[Floats]] = field(default_factory=dict)
    frame: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    n_terms: int = MIN_TERMS

    def __post_init__(self) -> None:
        """Compute densities, distances and local staining levels."""
        cells, q = self.cells, self.cells.question
        width = cells.options.reference_um
        wide, near = (LocalLevels.around(cells.x, cells.y, sd) for sd in (width, width / 2))
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
        x, y = cells.x, cells.y
        self.frame = float(x.min()), float(y.min()), float(x.max()), float(y.max())
        tissue = cells.slide.tissue
        area = occupied_um2(x, y) if tissue is None else tissue.area_um2
        waves = min(math.pi / 4 * area / TREND_UM**2, self.n_exposed / RESPONDERS_PER_TERM)
        self.n_terms = int(np.clip(waves, MIN_TERMS, MAX_TERMS))

    def _level(self, levels: LocalLevels, column: str, members: Bools) -> Floats:
        """Local mean of a column over those of the members that have a value."""
        values = self.cells.log_values(column)
        finite = np.isfinite(values)
        return levels.mean(np.where(finite, values, 0.0), members & finite)

    def around(self, rows: Ids, skip: str = "", *, fields: bool = True) -> list[Floats]:
        """Scores of the surroundings of cells `rows`, without the channel `skip`.

        The local level of the response channel is also squared: what adds to the light bends log
        intensities, and a straight line does not take it out. A factor of the light is a straight
        line in them.
        """
        out = [normal_scores(column[rows]) for column in self.columns.values()]
        for marker, columns in self.fields.items():
            if fields and marker != skip:
                scores = [normal_scores(column[rows]) for column in columns]
                out += scores
                if marker == self.cells.question.response:
                    out += [score**2 for score in scores]
        return out

    def trend(self, rows: Ids) -> Floats:
        """Smooth spatial trend at cells `rows`."""
        return trend_basis(self.cells.x[rows], self.cells.y[rows], self.n_terms, self.frame)

    def source_covariates(self, skip: str) -> list[Floats]:
        """Columns of the source cells that are held constant (n_cells,)."""
        cells = self.cells
        return [
            _filled(cells.log_values(column), cells.source)
            for column in cells.question.source_covariates
            if cells.marker_of(column) != skip and cells.has(column)
        ]

    def source_basis(self, rows: Ids, skip: str = "", *, fields: bool = True) -> Floats:
        """Orthonormal regression of the sources `rows`."""
        covariates = [normal_scores(values[rows]) for values in self.source_covariates(skip)]
        around = self.around(rows, skip, fields=fields)
        return orthonormal([*covariates, *around, self.trend(rows)], len(rows))

    def responder_basis(
        self, near: Contacts, own: list[Floats], skip: str = "", *, fields: bool = True
    ) -> Floats:
        """Orthonormal regression of exposed responders on contacts, `own` scores, surroundings."""
        columns = [near.counts, near.mean(near.distance_um)]
        columns += [near.mean(values[near.sources]) for values in self.source_covariates(skip)]
        contacts = [normal_scores(values) for values in columns]
        around = self.around(near.responders, skip, fields=fields)
        trend = self.trend(near.responders)
        return orthonormal([*contacts, *own, *around, trend], len(near))


@dataclass(frozen=True, eq=False)
class AdjustedModel:
    """The regression of one set of responders, ready for any response and exposure."""

    near: Contacts
    basis: Floats
    kernels: ProjectedKernels

    @classmethod
    def of(cls, structure: Structure, near: Contacts, basis: Floats) -> AdjustedModel:
        """Prepare the pair sums of these responders."""
        rows = near.responders
        kernels = Kernels.at(structure.cells.x[rows], structure.cells.y[rows])
        return cls(near, basis, ProjectedKernels.of(kernels, basis))

    def with_basis(self, basis: Floats) -> AdjustedModel:
        """Hold other things constant for the same responders."""
        return AdjustedModel(self.near, basis, ProjectedKernels.of(self.kernels.points, basis))

    def association(self, response: Floats, exposure: Floats) -> Association:
        """Correlate what is left of a response and an exposure (n,) after regression."""
        y, e = residual(response, self.basis), residual(exposure, self.basis)
        n, k = self.basis.shape
        if _is_constant(y, response) or _is_constant(e, exposure):
            none = np.zeros(n)
            nan = math.nan
            return Association(nan, nan, nan, nan, n, nan, none, none, none, none)
        y, e = y / float(y.std()), e / float(e.std())
        r = float(np.clip(y @ e / n, -0.9999, 0.9999))
        a, b = self.kernels.weights(y), self.kernels.weights(e)
        variance = max(self.kernels.correlation_variance(a, b), 1 / (n - k))
        size = 1 + 1 / variance
        df = max(size - 2, 1.0)
        p = float(2 * stats.t.sf(abs(r) * math.sqrt(df / (1 - r * r)), df))
        se = 1 / math.sqrt(max(size - 3, 1.0))
        return Association(r, math.atanh(r), se, p, n, size, y, e, a, b)


def _is_constant(left: Floats, values: Floats) -> bool:
    """Whether regression left nothing of the values but rounding."""
    return float(left.std()) <= 1e-9 * max(float(np.abs(values).max()), 1e-300)


def source_field(structure: Structure, values: Floats, rows: Ids, basis: Floats) -> Floats:
    """Rank scores of a value among the sources `rows` less structure: (n_cells,), NaN elsewhere."""
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
        tree = cKDTree(cells.points[cells.responder])
        distance, _ = tree.query(cells.points[chosen], distance_upper_bound=BYSTANDER_UM)
        chosen[chosen] = np.isinf(distance)
    return chosen


def occupied_um2(x: Floats, y: Floats, step: float = 50.0) -> float:
    """Area of the squares of `step` um that hold a cell, the same wherever the origin is."""
    if len(x) == 0:
        return 0.0
    squares = np.stack([(x - x.min()) // step, (y - y.min()) // step], axis=1)
    return float(len(np.unique(squares, axis=0)) * step**2)


def _filled(values: Floats, members: Bools) -> Floats:
    """Replace missing values by the members' median."""
    known = members & np.isfinite(values)
    return np.where(np.isfinite(values), values, np.median(values[known]) if known.any() else 0.0)
