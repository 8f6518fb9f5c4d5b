"""CPU seconds of proximity columns and of proximity statistics, for 100,000 and 1,000,000 cells.

    python benchmarks/spatial.py columns [n ...]
    python benchmarks/spatial.py statistics [n ...]

Columns: discs of 25 to 33 px on a jittered lattice of 28 px pitch at 0.5 um/px (5,000 cells per
mm2, many touch; overlaps do not matter here). Statistics: 5,000 cells per mm2 in a square of tissue
on a grid of 8 um with round holes. Half of the cells are tumor, in nests.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from ifquant.calibration.tissue import TissueMask
from ifquant.geometry.region import Region
from ifquant.geometry.runs import CellRuns
from ifquant.proximity.distances import (
    count_within,
    nearest_border_px,
    nearest_of,
    proximity,
    tissue_within,
    touching_pairs,
)
from ifquant.statistics.patterns import region_measures
from ifquant.statistics.patterns.enrichment import enrichment, neighbours_within
from ifquant.statistics.patterns.point_patterns import cross_g, cross_k, cross_k_inhomogeneous
from ifquant.statistics.patterns.proximity_tests import labelling_test, shift_test

PIXEL_UM = 0.5
R = np.arange(1, 51) * 1.0
NAMES = ["tumor", "myeloid", "a", "b", "c", "d"]
WARM_UP = 3_000
"""Cells of the first case, which only compiles."""


class Clock:
    """CPU seconds from mark to mark."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.last = quiet, time.process_time()

    def mark(self, job: str) -> None:
        """Print what a job took."""
        if not self.quiet:
            print(f"  {job:68s} {time.process_time() - self.last:7.2f} CPU s", flush=True)
        self.last = time.process_time()


def cells(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, CellRuns, tuple[int, int]]:
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n)))
    pitch = 28
    row, column = np.divmod(np.arange(n), side)
    cy = (row * pitch + 30 + rng.integers(-4, 5, n)).astype(np.int64)
    cx = (column * pitch + (row % 2) * pitch // 2 + 30 + rng.integers(-4, 5, n)).astype(np.int64)
    heights = rng.integers(12, 17, n)
    counts = 2 * heights + 1
    offsets = np.concatenate(([0], np.cumsum(counts)))
    dy = np.arange(offsets[-1]) - np.repeat(offsets[:-1] + heights, counts)
    radius = np.repeat(heights, counts)
    half = np.sqrt(np.maximum((radius + 0.5) ** 2 - dy**2, 1)).astype(np.int64)
    y, x = np.repeat(cy, counts) + dy, np.repeat(cx, counts)
    runs = CellRuns(
        offsets, y.astype(np.int32), (x - half).astype(np.int32), (x + half).astype(np.int32)
    )
    shape = (int(cy.max()) + 60, int(cx.max()) + 60)
    nest = np.sin(cx / 400) + np.sin(cy / 300) > 0
    draw = rng.random(n)
    code = np.where(nest, np.where(draw < 0.9, 0, 1), np.where(draw < 0.3, 1, 2))
    return np.stack((cx, cy), axis=1) * PIXEL_UM, code, runs, shape


def columns(size: int, quiet: bool) -> None:
    """Time the proximity columns of `size` cells."""
    points, code, runs, shape = cells(size)
    radii = np.array([10.0, 20.0, 50.0, 100.0])
    tissue_mask, targets = TissueMask.full(shape, 16), np.flatnonzero(code == 0)
    kinds, of = ["tumor", "myeloid", "other"], ["tumor", "myeloid"]
    clock = Clock(quiet)
    _, nearest = nearest_of(points, targets)
    clock.mark("nearest centroid (tumor)")
    touching_pairs(runs)
    clock.mark("touching pairs")
    nearest_border_px(runs, targets, np.zeros(size, np.int32), nearest)
    clock.mark("nearest border (tumor), contacts not given")
    count_within(points, targets, radii)
    clock.mark("counts within 10, 20, 50, 100 um (tumor)")
    tissue_within(points, radii, tissue_mask, PIXEL_UM)
    clock.mark("tissue within 10, 20, 50, 100 um")
    more = {"pixel_size_um": PIXEL_UM, "tissue": tissue_mask, "of": of}
    proximity(*points.T, code, kinds, runs, radii_um=radii.tolist(), **more)
    clock.mark("all columns, tumor and myeloid")


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


def statistics(size: int, quiet: bool) -> None:
    """Time the proximity statistics of `size` cells."""
    region, points, code = tissue(size, np.random.default_rng(0))
    myeloid, tumor = points[code == 1], points[code == 0]
    clock = Clock(quiet)
    region_measures.border_distance_um(region, points)
    clock.mark("border distance of every cell, holes included")
    cross_k(myeloid, tumor, region, R)
    clock.mark("cross K to 50 um, translation correction")
    cross_k(myeloid, tumor, region, R, correction="border")
    clock.mark("cross K to 50 um, border correction")
    cross_g(myeloid, tumor, region, R)
    clock.mark("cross G, Kaplan-Meier")
    cross_k_inhomogeneous(myeloid, tumor, region, R, bandwidth_um=50.0)
    clock.mark("inhomogeneous K, bandwidth 50 um (both intensities)")
    neighbours = neighbours_within(points, 15.0)
    clock.mark("neighbours within 15 um")
    enrichment(code, NAMES, neighbours, n_permutations=1000)
    clock.mark("enrichment, 1,000 label permutations")
    labelling_test(points, code == 1, code == 0, region, R, n_permutations=499)
    clock.mark("random labelling of L, 499 permutations (of at most 100,000 cells)")
    shift_test(myeloid, tumor, region, R, n_shifts=499)
    clock.mark("random shift of L, 499 shifts (at most 20,000 sources)")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in ("columns", "statistics"):
        raise SystemExit(__doc__)
    job = {"columns": columns, "statistics": statistics}[sys.argv[1]]
    job(WARM_UP, quiet=True)
    for size in [int(word) for word in sys.argv[2:]] or [100_000, 1_000_000]:
        print(f"{size:,} cells")
        job(size, quiet=False)


if __name__ == "__main__":
    main()
