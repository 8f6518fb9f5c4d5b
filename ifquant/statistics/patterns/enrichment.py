"""Neighborhood enrichment: two kinds of cells as neighbors, against what their numbers explain.

The null is random labeling within the slide: positions and neighbors stay, phenotypes are exchanged
among all cells. Any structure rejects it (tumor nests alone do), so that a slide's p-value
describes the slide; what is compared over patients is the effect, the log2 of observed over
expected neighbors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifquant.errors import RequestError
from ifquant.statistics.buckets import neighbor_lists, sort_into_buckets
from ifquant.statistics.cohort.patients import SlideValue
from ifquant.statistics.patterns import label_kernels as kernels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_BUCKETS = 8192
"""Along the longer side of the slide, whatever the radius."""


@dataclass(frozen=True, eq=False)
class NeighborPairs:
    """Pairs of neighboring cells, each once.

    `order` (n,): the cells in the order of the lists (near cells near each other in memory); the
    neighbors of cell ``order[i]`` are ``order[neighbors[starts[i] : starts[i + 1]]]``.
    """

    order: Ints
    starts: Ints
    neighbors: NDArray[np.int32]

    @property
    def first(self) -> Ints:
        """Place in `order` of the first cell of each pair; the second's is in `neighbors`."""
        return np.repeat(np.arange(len(self.order)), np.diff(self.starts))

    @property
    def n_pairs(self) -> int:
        """Number of neighboring pairs."""
        return len(self.neighbors)


@dataclass(frozen=True, eq=False)
class Enrichment:
    """Neighbors between kinds of cells on one slide.

    Attributes
    ----------
    names
        The k kinds.
    observed : int64 (k, k)
        Neighboring pairs between two kinds (symmetric; the diagonal counts pairs within a kind).
    expected, sd : float (k, k)
        Mean under random labeling (exact) and standard deviation over the permutations.
    p : float (k, k)
        Two-sided, (as far from the mean as observed + 1) / (permutations + 1); describes this
        slide, not patients.
    n : int64 (k,)
        Cells of each kind.
    """

    names: tuple[str, ...]
    observed: Ints
    expected: Floats
    sd: Floats
    p: Floats
    n: Ints

    @property
    def z(self) -> Floats:
        """Observed less expected, in standard deviations; nan where nothing varies."""
        none = np.full(self.sd.shape, np.nan)
        away = self.observed - self.expected
        return np.asarray(np.divide(away, self.sd, out=none, where=self.sd > 0))

    @property
    def log2_ratio(self) -> Floats:
        """log2 of observed over expected, half a pair added to both; blind to numbers of cells."""
        return np.asarray(np.log2((self.observed + 0.5) / (self.expected + 0.5)))

    def slide_value(
        self, first: str, second: str, *, slide: str, patient: str, group: str | None = None
    ) -> SlideValue:
        """Effect of one pair of kinds as a slide's value, for `combine_slides` and `cohort_effect`.

        log2 of the ratio, plus what the logarithm of a count that varies is too low on average (the
        mean of a logarithm lies below that of the mean): small, but many patients would find it.

        Raises
        ------
        RequestError
            If a kind has no cell on the slide or nothing varies.
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
        value = self.log2_ratio[a, b] + np.log(2) / 2 * error**2
        cells = int(self.n[a] + (self.n[b] if a != b else 0))
        return SlideValue(slide, patient, float(value), float(error), cells, group)


def neighbors_within(points: ArrayLike, radius_um: float) -> NeighborPairs:
    """Pairs of cells whose centroids are at most `radius_um` apart; points (n, 2) in um."""
    xy = np.asarray(points, np.float64)
    if not radius_um > 0:
        raise RequestError(f"radius_um is {radius_um}; it must be above 0.")
    if len(xy) == 0:
        none = np.zeros(0, np.int64)
        return NeighborPairs(none, np.zeros(1, np.int64), none.astype(np.int32))
    low = xy.min(axis=0)
    width, height = np.maximum(xy.max(axis=0) - low, 1e-9).tolist()
    side = max(radius_um / 2, max(width, height) / MOST_BUCKETS)
    buckets = sort_into_buckets(xy - low, side, (width, height))
    return NeighborPairs(buckets.order, *neighbor_lists(buckets, float(radius_um)))


def neighbors_of_pairs(first: ArrayLike, second: ArrayLike, n_cells: int) -> NeighborPairs:
    """Take given pairs of cells (indices below `n_cells`), e.g. `touching_pairs` of outlines."""
    i, j = (np.asarray(v, np.int64) for v in (first, second))
    by_first = np.argsort(i, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(i, minlength=n_cells))))
    return NeighborPairs(np.arange(n_cells), starts, j[by_first].astype(np.int32))


def enrichment(
    codes: ArrayLike,
    names: Sequence[str],
    pairs: NeighborPairs,
    *,
    n_permutations: int = 1000,
    seed: int = 0,
) -> Enrichment:
    """Count neighbors between kinds of cells and compare with random labeling.

    Parameters
    ----------
    codes : integer (n,)
        Kind of each cell, an index into `names`; every cell has one.
    n_permutations
        Labels are exchanged this many times; permutation i depends on (`seed`, i) only.

    Raises
    ------
    RequestError
        If the lengths differ, a code is out of range, or there are too many kinds (255).
    """
    code = np.asarray(codes, np.int64)
    if len(code) != len(pairs.order):
        raise RequestError(
            f"{len(code)} phenotypes for {len(pairs.order)} cells; give one per cell."
        )
    if len(names) > 255 or (len(code) and (code.min() < 0 or code.max() >= len(names))):
        raise RequestError(f"phenotype codes must be 0 to {len(names) - 1} (at most 254).")
    labels = code[pairs.order].astype(np.uint8)
    k = len(names)
    kinds = labels[pairs.first].astype(np.int64) * k + labels[pairs.neighbors]
    observed = _symmetric(np.bincount(kinds, minlength=k * k).reshape(1, k, k))[0]
    counts = _symmetric(
        kernels.label_pair_counts(
            labels, k, pairs.starts, pairs.neighbors, np.uint64(seed), 0, n_permutations
        )
    )
    n = np.bincount(code, minlength=k)
    expected = expected_pairs(n, pairs.n_pairs)
    away = np.abs(counts - expected) >= np.abs(observed - expected) - 1e-9
    p = (1 + away.sum(axis=0)) / (n_permutations + 1)
    return Enrichment(tuple(names), observed, expected, counts.std(axis=0), p, n)


def expected_pairs(n: ArrayLike, n_pairs: int) -> Floats:
    """Neighboring pairs between kinds under random labeling, (k, k): exact means."""
    cells = np.asarray(n, np.float64)
    total = cells.sum()
    if total < 2:
        return np.zeros((len(cells), len(cells)))
    ways = 2 * np.outer(cells, cells)
    np.fill_diagonal(ways, cells * (cells - 1))
    return np.asarray(ways / (total * (total - 1)) * n_pairs)


def _symmetric(counts: Ints) -> Ints:
    """Count (m, k, k) pairs whichever of the two comes first."""
    both = counts + counts.transpose(0, 2, 1)
    diagonal = np.arange(counts.shape[1])
    both[:, diagonal, diagonal] //= 2
    return np.asarray(both)
