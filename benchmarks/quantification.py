"""Time `ifquant.quantify` beside scikit-image's regionprops_table on the same arrays, each in its
own process.

Run as ``python benchmarks/quantification.py [--size 4096] [--repeats 3]``. Arrays are in memory and
kernels compiled before the clock starts. CPU seconds (user + system; best of the repeats) are what
to compare: wall time depends on who else uses the machine. Peak memory is that of the process,
arrays included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

NAMES = ["DAPI", "PanCK", "CD11c", "TGFB1", "IL1B"]
BOTH = ("nucleus", "cell")


def tissue(size: int, seed: int = 20240607) -> dict[str, np.ndarray]:
    """Crowded cells: jittered hexagonal grid (26 px), Voronoi cells within ellipses, 5 channels
    uint16.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(0, size + 26, 26 * np.sqrt(3) / 2)
    grid = np.concatenate(
        [
            np.stack(np.meshgrid([v], np.arange(0, size + 26, 26) + 13 * (i % 2)), -1).reshape(
                -1, 2
            )
            for i, v in enumerate(y)
        ]
    )
    points = grid + rng.normal(0, 3, grid.shape)
    points = points[((points > 0) & (points < size)).all(1)]
    n, tree = len(points), cKDTree(points)
    angle, major, minor = rng.uniform(0, np.pi, n), rng.uniform(9.5, 15, n), rng.uniform(8.5, 12, n)
    cells, nuclei = np.zeros((2, size, size), np.int32)
    for top in range(0, size, 512):
        pixels = (
            np.stack(np.mgrid[top : min(top + 512, size), 0:size], -1).reshape(-1, 2).astype(float)
        )
        i = tree.query(pixels)[1]
        (dy, dx), c, s = (pixels - points[i]).T, np.cos(angle[i]), np.sin(angle[i])
        inside = ((dy * c + dx * s) / major[i]) ** 2 + ((dx * c - dy * s) / minor[i]) ** 2
        cells[top : top + 512] = np.where(inside <= 1, i + 1, 0).reshape(-1, size)
        nuclei[top : top + 512] = np.where(inside <= 0.36, i + 1, 0).reshape(-1, size)
    kind, image = rng.integers(0, 4, n), np.zeros((5, size, size), np.uint16)
    for c in range(5):
        level = np.concatenate([[0], rng.lognormal(7, 0.5, n) * (1.0 if c == 0 else kind == c - 1)])
        blurred = gaussian_filter(level[nuclei if c == 0 else cells].astype(np.float32), 1.0) + 100
        image[c] = np.clip(rng.poisson(blurred) + rng.normal(0, 3, blurred.shape), 0, 65535)
    return {"image": image, "nuclei": nuclei, "cells": cells}


def ours(data: dict[str, np.ndarray], **options: Any) -> Any:
    from ifquant import quantify

    return quantify(
        data["image"],
        nuclei=data["nuclei"],
        cells=data["cells"],
        channels=NAMES,
        pixel_size_um=0.5,
        **options,
    )


def skimage(data: dict[str, np.ndarray], solidity: bool) -> Any:
    from skimage.measure import regionprops_table

    def median(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.median(values[mask], axis=0)

    def total(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
        return values[mask].sum(axis=0)

    shape = (
        "label",
        "area",
        "centroid",
        "axis_major_length",
        "axis_minor_length",
        "eccentricity",
        *(("solidity",) if solidity else ()),
    )
    pixels = np.moveaxis(data["image"], 0, -1)
    return [
        regionprops_table(
            data[labels],
            pixels,
            properties=(*shape, "intensity_mean"),
            extra_properties=(median, total),
        )
        for labels in ("nuclei", "cells")
    ]


_THREE = dict.fromkeys(BOTH, ("mean", "median", "sum"))
JOBS: dict[str, Callable[[dict[str, np.ndarray]], Any]] = {
    "ifquant: nuclei + cells, mean median sum shape": lambda data: ours(
        data, statistics=_THREE, solidity=False
    ),
    "ifquant: the same with solidity": lambda data: ours(data, statistics=_THREE),
    "ifquant: contract, 5 compartments, mean median, shape solidity": lambda data: ours(data),
    "ifquant: contract with all 5 statistics": lambda data: ours(
        data, statistics=("mean", "median", "p95", "sum", "std")
    ),
    "scikit-image: nuclei + cells, mean median sum shape": lambda data: skimage(data, False),
    "scikit-image: the same with solidity": lambda data: skimage(data, True),
}


def measure(name: str, folder: Path, repeats: int) -> dict[str, float]:
    data = {kind: np.load(folder / f"{kind}.npy") for kind in ("image", "nuclei", "cells")}
    job = JOBS[name]
    job(
        {kind: np.ascontiguousarray(array[..., :300, :300]) for kind, array in data.items()}
    )  # compile, import
    cpu, wall = [], []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        job(data)
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )
    return {"cpu_s": round(min(cpu), 3), "wall_s": round(min(wall), 3), "peak_mb": round(peak)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        print(json.dumps(measure(given.job, given.folder, given.repeats)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = tissue(given.size)
        for kind, array in data.items():
            np.save(Path(folder) / f"{kind}.npy", array)
        print(f"{given.size} x {given.size} px, 5 channels, {data['cells'].max():,} cells")
        del data
        environment = os.environ | {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        for name in JOBS:
            repeats = given.repeats if name.startswith("ifquant") else 1
            command = [
                sys.executable,
                __file__,
                "--job",
                name,
                "--folder",
                folder,
                "--repeats",
                str(repeats),
            ]
            result = json.loads(
                subprocess.run(
                    command, env=environment, check=True, capture_output=True, text=True
                ).stdout
            )
            print(
                f"{name:65} {result['cpu_s']:7.2f} CPU s  {result['wall_s']:7.2f} s "
                f" {result['peak_mb']:6.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
