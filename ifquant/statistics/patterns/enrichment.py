"""Neighbourhood enrichment: do two kinds of cells neighbour each other more often than their
numbers explain? Patients are the unit.

The null is random labelling within the slide: positions and neighbours stay, phenotypes are
exchanged among all cells. Any structure rejects it (tumor nests alone do), so that a slide's
p-value describes the slide; what is compared over patients is the effect, the log2 of observed over
expected neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.errors import RequestError
from ifquant.statistics.cohort.patients import SlideValue
from ifquant.statistics.patterns import label_kernels as kernels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Pairs of neighbouring cells, each once.

    `order` (n,): the cells in the order of the lists (near cells near each other in memory); the
    neighbours of cell ``order[i]`` are ``order[neighbours[starts[i] : starts[i + 1]]]``.
    """

    order: Ints
    starts: Ints
    neighbours: NDArray[np.int32]
    rule: str

    @property
    def n_pairs(self) -> int:
        """Number of neighbouring pairs."""
        return len(self.neighbours)


@dataclass(frozen=True, eq=False)
class Enrichment:
    """Neighbours between kinds of cells on one slide.

    Attributes
    ----------
    names
        The k kinds.
    observed : int64 (k, k)
        Neighbouring pairs between two kinds (symmetric; the diagonal counts pairs within a kind).
    expected, sd : float (k, k)
        Mean under random labelling (exact) and standard deviation over the permutations.
    p : float (k, k)
        Two-sided, (as far from the mean as observed + 1) / (permutations + 1); describes this
        slide, not patients.
    n : int64 (k,)
        Cells of each kind.
    rule
        What makes two cells neighbours.
    """

    names: tuple[str, ...]
    observed: Ints
    expected: Floats
    sd: Floats
    p: Floats
    n: Ints
    n_permutations: int
    rule: str

    @property
    def z(self) -> Floats:
        """Observed less expected, in standard deviations; nan where nothing varies."""
        return np.asarray(
            np.divide(
                self.observed - self.expected,
                self.sd,
                out=np.full(self.sd.shape, np.nan),
                where=self.sd > 0,
            )
        )

    @property
    def log2_ratio(self) -> Floats:
        """log2 of observed over expected, half a pair added to both: the effect that does not grow
        with the number of cells.
        """
        return np.asarray(np.log2((self.observed + 0.5) / (self.expected + 0.5)))

    def slide_value(
        self, first: str, second: str, *, slide: str, patient: str, group: str | None = None
    ) -> SlideValue:
        """Give the effect of one pair of kinds as one value of one slide, for `combine_slides` and
        `cohort_effect`.

        log2 of the ratio, plus what the logarithm of a count that varies is too low on average:
        small, but many patients would find it.

        Raises
        ------
        RequestError
            If a kind has no cell on the slide or nothing varies: then the slide says nothing on
            this pair.
        """
        for name in (first, second):
            if name not in self.names:
                raise RequestError(
                    f"no phenotype is called {name!r}; known are {', '.join(self.names)}."
                )
        a, b = self.names.index(first), self.names.index(second)
        if self.sd[a, b] <= 0:
            raise RequestError(
                f"slide {slide!r}: {self.n[a]} {first} and {self.n[b]} {second} cells; neighbours"
                " between them do not vary."
            )
        error = self.sd[a, b] / ((self.expected[a, b] + 0.5) * np.log(2))
        value = (
            self.log2_ratio[a, b] + np.log(2) / 2 * error**2
        )  # the mean of a logarithm lies below the logarithm of the mean
        cells = int(self.n[a] + (self.n[b] if a != b else 0))
        return SlideValue(slide, patient, float(value), float(error), cells, group)


def neighbours_within(points: ArrayLike, radius_um: float) -> Neighbours:
    """Neighbours are cells whose centroids are at most `radius_um` apart; points (n, 2) in um."""
    xy = np.asarray(points, np.float64)
    if not radius_um > 0:
        raise RequestError(f"radius_um is {radius_um}; it must be above 0.")
    if len(xy) == 0:
        return Neighbours(
            np.zeros(0, np.int64),
            np.zeros(1, np.int64),
            np.zeros(0, np.int32),
            f"centroids within {radius_um:g} um",
        )
    low = xy.min(axis=0)
    extent = np.maximum(xy.max(axis=0) - low, 1e-9)
    cell = max(radius_um / 2, float(extent.max()) / 8192)
    columns, rows = (int(v) for v in np.floor(extent / cell) + 1)
    at = np.floor((xy - low) / cell).astype(np.int64)
    index = at[:, 1] * columns + at[:, 0]
    order = np.argsort(index, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(index, minlength=columns * rows))))
    x, y = (np.ascontiguousarray(v) for v in (xy - low)[order].T)
    offsets, found = kernels.neighbour_lists(x, y, starts, columns, rows, cell, float(radius_um))
    return Neighbours(order, offsets, found, f"centroids within {radius_um:g} um")


def neighbours_of_pairs(
    first: ArrayLike, second: ArrayLike, n_cells: int, rule: str = "touching"
) -> Neighbours:
    """Neighbours are given pairs of cells (indices below `n_cells`), e.g. `touching_pairs` of their
    outlines.
    """
    i, j = (np.asarray(v, np.int64) for v in (first, second))
    by_first = np.argsort(i, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(i, minlength=n_cells))))
    return Neighbours(np.arange(n_cells), starts, j[by_first].astype(np.int32), rule)


def enrichment(
    codes: ArrayLike,
    names: Sequence[str],
    neighbours: Neighbours,
    *,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Enrichment:
    """Count neighbours between kinds of cells and compare with random labelling.

    Parameters
    ----------
    codes : integer (n,)
        Kind of each cell, an index into `names`; every cell has one.
    names
        The kinds.
    neighbours
        Who neighbours whom.
    n_permutations
        Labels are exchanged this many times; permutation i depends on (`seed`, i) only.

    Raises
    ------
    RequestError
        If the lengths differ, a code is out of range, or there are too many kinds (255).
    """
    code = np.asarray(codes, np.int64)
    if len(code) != len(neighbours.order):
        raise RequestError(
            f"{len(code)} phenotypes for {len(neighbours.order)} cells; give one per cell."
        )
    if len(names) > 255 or (len(code) and (code.min() < 0 or code.max() >= len(names))):
        raise RequestError(f"phenotype codes must be 0 to {len(names) - 1} (at most 254).")
    labels = code[neighbours.order].astype(np.uint8)
    k = len(names)
    observed = _symmetric(_counted(labels, k, neighbours)[None])[0]
    counts = _symmetric(
        kernels.label_pair_counts(
            labels, k, neighbours.starts, neighbours.neighbours, np.uint64(seed), 0, n_permutations
        )
    )
    n = np.bincount(code, minlength=k)
    expected = expected_pairs(n, neighbours.n_pairs)
    away = np.abs(counts - expected) >= np.abs(observed - expected) - 1e-9
    p = (1 + away.sum(axis=0)) / (n_permutations + 1)
    sd = counts.std(axis=0)
    return Enrichment(tuple(names), observed, expected, sd, p, n, n_permutations, neighbours.rule)


def expected_pairs(n: ArrayLike, n_pairs: int) -> Floats:
    """Neighbouring pairs between kinds expected when labels are exchanged at random: exact, (k,
    k).
    """
    cells = np.asarray(n, np.float64)
    total = cells.sum()
    if total < 2:
        return np.zeros((len(cells), len(cells)))
    ways = 2 * np.outer(cells, cells)
    np.fill_diagonal(ways, cells * (cells - 1))
    return np.asarray(ways / (total * (total - 1)) * n_pairs)


def _counted(labels: NDArray[np.uint8], k: int, neighbours: Neighbours) -> Ints:
    first = np.repeat(np.arange(len(labels)), np.diff(neighbours.starts))
    pair = labels[first].astype(np.int64) * k + labels[neighbours.neighbours]
    return np.bincount(pair, minlength=k * k).reshape(k, k)


def _symmetric(counts: Ints) -> Ints:
    """Count (m, k, k) pairs whichever of the two comes first."""
    both = counts + counts.transpose(0, 2, 1)
    diagonal = np.arange(counts.shape[1])
    both[:, diagonal, diagonal] //= 2
    return np.asarray(both)
