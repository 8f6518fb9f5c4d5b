"""CPU seconds of the proximity columns for 100,000 and 1,000,000 cells: ``python
benchmarks/proximity.py [n ...]``.

Discs of 25 to 33 px on a jittered lattice of 28 px pitch at 0.5 um/px (5,000 cells per mm2, many
touch; overlaps do not matter here); half of them tumor, in nests.
"""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np

from ifquant.calibration.tissue import TissueMask
from ifquant.geometry.runs import CellRuns
from ifquant.proximity.distances import (
    count_within,
    nearest_border_px,
    nearest_of,
    proximity,
    tissue_within,
    touching_pairs,
)

PIXEL_UM = 0.5


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


def main() -> None:
    sizes = [int(a) for a in sys.argv[1:]] or [100_000, 1_000_000]
    radii = np.array([10.0, 20.0, 50.0, 100.0])
    for size in [2_000, *sizes]:  # the first run only compiles
        points, code, runs, shape = cells(size)
        tissue = TissueMask.full(shape, 16)
        targets = np.flatnonzero(code == 0)
        marks: list[tuple[str, float]] = [("", time.process_time())]
        _, nearest = nearest_of(points, targets)
        marks.append(("nearest centroid (tumor)", time.process_time()))
        pairs = touching_pairs(runs)
        marks.append(("touching pairs", time.process_time()))
        nearest_border_px(runs, targets, np.zeros(size, np.int32), nearest)
        marks.append(("nearest border (tumor), contacts not given", time.process_time()))
        count_within(points, targets, radii)
        marks.append(("counts within 10, 20, 50, 100 um (tumor)", time.process_time()))
        tissue_within(points, radii, tissue, PIXEL_UM)
        marks.append(("tissue within 10, 20, 50, 100 um", time.process_time()))
        proximity(
            points[:, 0],
            points[:, 1],
            code,
            ["tumor", "myeloid", "other"],
            runs,
            radii_um=radii.tolist(),
            pixel_size_um=PIXEL_UM,
            tissue=tissue,
            of=["tumor", "myeloid"],
        )
        marks.append(("all columns, tumor and myeloid", time.process_time()))
        if size != 2_000:
            print(f"{size:,} cells, {len(pairs[0]):,} contacts, {len(runs.y):,} runs")
            for (_, before), (name, after) in itertools.pairwise(marks):
                print(f"  {name:45s} {after - before:7.2f} CPU s")


if __name__ == "__main__":
    main()
