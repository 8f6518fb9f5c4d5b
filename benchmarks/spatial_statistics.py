"""CPU seconds of the proximity statistics for 100,000 and 1,000,000 cells: ``python
benchmarks/spatial_statistics.py [n ...]``.

5,000 cells per mm2 in a square of tissue on a grid of 8 um with round holes; half of the cells
tumor, in nests, a tenth myeloid. The first, small run only compiles.
"""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np

from ifquant.geometry.region import Region
from ifquant.statistics.patterns import region_measures
from ifquant.statistics.patterns.enrichment import enrichment, neighbors_within
from ifquant.statistics.patterns.point_patterns import cross_g, cross_k, cross_k_inhomogeneous
from ifquant.statistics.patterns.proximity_tests import NullDesign, random_labeling_test
from ifquant.statistics.patterns.random_shift import random_shift_test

R = np.arange(1, 51) * 1.0
NAMES = ["tumor", "myeloid", "a", "b", "c", "d"]


def tissue(n: int, rng: np.random.Generator) -> tuple[Region, np.ndarray, np.ndarray]:
    side = int(np.ceil(np.sqrt(n / 0.005 / 0.9) / 8))
    row, column = np.mgrid[:side, :side]
    holes = rng.random((max(1, side * side // 6000), 2)) * side
    mask = np.ones((side, side), np.bool_)
    for y, x in holes:
        mask &= (row - y) ** 2 + (column - x) ** 2 > 14**2
    region = Region(mask, (8.0, 8.0))
    cells = rng.random((2 * n, 2)) * side * 8
    cells = cells[region.contains(*cells.T)][:n]
    nest = np.sin(cells[:, 0] / 150) + np.sin(cells[:, 1] / 120) > 0
    draw = rng.random(len(cells))
    other = rng.integers(2, 6, len(cells))
    code = np.where(
        nest,
        np.where(draw < 0.85, 0, np.where(draw < 0.93, 1, other)),
        np.where(draw < 0.12, 1, other),
    )
    return region, cells, code


def main() -> None:
    sizes = [int(a) for a in sys.argv[1:]] or [100_000, 1_000_000]
    for size in [3_000, *sizes]:
        region, cells, code = tissue(size, np.random.default_rng(0))
        myeloid, tumor = cells[code == 1], cells[code == 0]
        marks = [("", time.process_time())]

        def mark(name: str, marks: list[tuple[str, float]] = marks) -> None:
            marks.append((name, time.process_time()))

        region_measures.border_distance_um(region, cells)
        mark("border distance of every cell, holes included")
        cross_k(myeloid, tumor, region, R)
        mark("cross K to 50 um, translation correction")
        cross_k(myeloid, tumor, region, R, correction="border")
        mark("cross K to 50 um, border correction")
        cross_g(myeloid, tumor, region, R)
        mark("cross G, Kaplan-Meier")
        cross_k_inhomogeneous(myeloid, tumor, region, R, bandwidth_um=50.0)
        mark("inhomogeneous K, bandwidth 50 um (both intensities)")
        neighbours = neighbors_within(cells, 15.0)
        mark("neighbours within 15 um")
        enrichment(code, NAMES, neighbours, n_permutations=1000)
        mark("enrichment, 1,000 label permutations")
        random_labeling_test(cells, code == 1, code == 0, region, R, NullDesign())
        mark("random labelling of L, 499 permutations (of at most 100,000 cells)")
        random_shift_test(myeloid, tumor, region, R, NullDesign())
        mark("random shift of L, 499 shifts (at most 20,000 sources)")
        if size != 3_000:
            per_cell = neighbours.n_pairs * 2 / len(cells)
            print(
                f"{size:,} cells ({len(myeloid):,} myeloid, {len(tumor):,} tumor, {per_cell:.1f}"
                " neighbours per cell)"
            )
            for (_, before), (name, after) in itertools.pairwise(marks):
                print(f"  {name:68s} {after - before:7.2f} CPU s")


if __name__ == "__main__":
    main()
