"""ifquant beside mcquant, scikit-image, nyxus, cp_measure and squidpy: the same arrays, the same
run, answers compared.

    python benchmarks/peers.py --envs peers/ [--size 4096] [--cost 2048 4096 8192]

Makes the cases, makes an environment for each tool that has none yet in `--envs` (a virtual
environment and pip), runs every job in a process of its own with one thread per library, compares
the answers, and writes docs/peers.json, docs/peers.md and the figures beside it. A tool that could
not be installed or run is listed as missing with its reason; every ratio is between figures of this
run. `--redraw` writes page and figures again from docs/peers.json.

CPU seconds (user + system, with child processes) are what to compare; memory is the peak of the
job's process tree, arrays included.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile
from peer_figures import draw_cost, draw_peers
from peer_page import page
from quantification import tissue

ROOT = Path(__file__).resolve().parents[1]
MCQUANT = "git+https://github.com/labsyspharm/quantification@61a1f53"
PACKAGES = {
    "mcquant": [os.environ.get("MCQUANT_SOURCE", MCQUANT), "psutil"],
    "nyxus": ["nyxus==0.11.0"],
    "cp_measure": ["cp_measure==0.3.0"],
    "squidpy": ["squidpy==1.8.2"],
}
"""What is installed for each tool; mcquant is not in the registry (MCQUANT_SOURCE: a copy of its
repository)."""
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
TIMEOUT_S = 3600


@dataclass(frozen=True)
class Row:
    """One job: who runs it, what it does, and which job of ifquant does the same."""

    job: str
    tool: str
    does: str
    like: str | None = None


QUANTIFICATION = (
    Row("ifquant_lean", "ifquant", "mean, median, sum, shape"),
    Row("ifquant_solidity", "ifquant", "the same with solidity"),
    Row("skimage_lean", "scikit-image", "mean, median, sum, shape", "ifquant_lean"),
    Row("skimage_solidity", "scikit-image", "the same with solidity", "ifquant_solidity"),
    Row(
        "mcquant",
        "mcquant",
        "mean, shape with solidity (its default; files in and out)",
        "ifquant_solidity",
    ),
    Row(
        "mcquant_full",
        "mcquant",
        "mean, median, sum, shape with solidity (files in and out)",
        "ifquant_solidity",
    ),
    Row("nyxus", "nyxus", "mean, median, sum, shape", "ifquant_lean"),
    Row(
        "cp_measure",
        "cp_measure",
        "its intensity group (19 features) and size-shape group",
        "ifquant_solidity",
    ),
    Row("squidpy", "squidpy", "mean, shape (experimental; no median, no sum)", "ifquant_lean"),
)
NEAREST = (
    Row("ifquant_nearest", "ifquant", "nearest tumor cell of every cell"),
    Row("scipy_nearest", "scipy cKDTree", "the same", "ifquant_nearest"),
    Row(
        "squidpy_neighbours",
        "squidpy",
        "graph of the nearest neighbour of every cell",
        "ifquant_nearest",
    ),
    Row("ifquant_counts", "ifquant", "tumor cells within 10, 20, 50, 100 um of every cell"),
    Row("scipy_counts", "scipy cKDTree", "the same", "ifquant_counts"),
)
PERMUTATIONS = (
    Row("ifquant_permutations", "ifquant", "neighbours within 20 um, 1000 label permutations"),
    Row(
        "squidpy_permutations",
        "squidpy",
        "the same (spatial_neighbors, nhood_enrichment)",
        "ifquant_permutations",
    ),
)


# ---- environments and jobs ----


def python_of(tool: str, envs: Path) -> Path | str:
    """Interpreter that has the tool, installed if need be; a text says why there is none."""
    if tool in ("ifquant", "scikit-image", "scipy cKDTree"):
        return Path(sys.executable)
    folder = envs / tool
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    program = folder / "bin" / "mcquant"
    if (program.exists() if tool == "mcquant" else _imports(python, tool)) or _pip(python, tool):
        return python
    return f"pip could not install {' '.join(PACKAGES[tool])}"


def _imports(python: Path, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def _pip(python: Path, tool: str) -> bool:
    return (
        subprocess.run(
            [python, "-m", "pip", "install", "-q", *PACKAGES[tool]], capture_output=True
        ).returncode
        == 0
    )


def run_job(row: Row, folder: Path, envs: Path, answers: Path) -> dict[str, Any]:
    """Run one job in its environment; seconds and peak memory, or why there are none."""
    python = python_of(row.tool, envs)
    if isinstance(python, str):
        return {"missing": python}
    environment = os.environ | ONE_THREAD
    environment.pop("PYTHONPATH", None)
    if row.tool == "ifquant":
        environment["PYTHONPATH"] = str(ROOT)
    command = [python, ROOT / "benchmarks" / "peer_jobs.py", row.job, folder, answers]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [*map(str, command)], env=environment, stdout=out, stderr=err, cwd=folder
        )
        peak = _watch(process)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            said = err.read().strip().splitlines()
            return {
                "missing": (
                    f"it ended with code {process.returncode}: {said[-1] if said else 'no message'}"
                )
            }
        line = next(
            line for line in reversed(out.read().splitlines()) if line.startswith('{"cpu_s"')
        )
    return {**json.loads(line), "peak_mb": peak}


def _watch(process: subprocess.Popen[bytes]) -> float:
    """Peak resident memory of a process tree in MB, sampled every 20 ms until it ends."""
    own, peak, until = psutil.Process(process.pid), 0.0, time.monotonic() + TIMEOUT_S
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            tree = [own, *own.children(recursive=True)]
            total = 0
            for member in tree:
                with contextlib.suppress(psutil.Error):
                    total += member.memory_info().rss
            peak = max(peak, total / 1e6)
        if time.monotonic() > until:
            process.kill()
        time.sleep(0.02)
    return round(peak)


# ---- cases ----


def quantification_case(
    size: int, folder: Path, known: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Crowded cells of 2048 px or `size`, repeated to `size` with labels numbered on; as .npy and
    as TIFF.
    """
    base = known if known is not None else tissue(min(size, 2048))
    times = size // base["cells"].shape[0]
    n = int(base["cells"].max())
    made = {"image": np.tile(base["image"], (1, times, times))}
    for mask in ("nuclei", "cells"):
        made[mask] = np.tile(base[mask], (times, times))
        edge = base[mask].shape[0]
        for i in range(1, times * times):
            y, x = divmod(i, times)
            block = made[mask][y * edge : (y + 1) * edge, x * edge : (x + 1) * edge]
            block[block > 0] += i * n
    folder.mkdir()
    for name, array in made.items():
        np.save(folder / f"{name}.npy", array)
        tifffile.imwrite(
            folder / f"{name}.tif",
            array if name == "image" else array.astype(np.uint32),
            bigtiff=True,
        )
    return base


def spatial_case(n: int, folder: Path) -> None:
    """`n` cells on a jittered lattice of 14 um, half of them tumor, in nests."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n)))
    row, column = np.divmod(np.arange(n), side)
    points = np.stack((column * 14.0 + (row % 2) * 7, row * 14.0), axis=1) + rng.uniform(
        -2, 2, (n, 2)
    )
    nest = np.sin(points[:, 0] / 200) + np.sin(points[:, 1] / 150) > 0
    draw = rng.random(n)
    folder.mkdir()
    np.save(folder / "points.npy", points)
    np.save(
        folder / "codes.npy", np.where(nest, np.where(draw < 0.9, 0, 1), np.where(draw < 0.3, 1, 2))
    )


# ---- agreement ----


def agreement(ours: Path, theirs: Path) -> dict[str, float]:
    """Largest relative difference per answer that both give (z: largest absolute difference)."""
    with np.load(ours) as mine, np.load(theirs) as other:
        found: dict[str, float] = {}
        for name in other.files:
            if name not in mine.files:
                continue
            a, b = mine[name].astype(np.float64), other[name].astype(np.float64)
            if a.shape != b.shape:
                raise ValueError(f"{name}: {a.shape} here, {b.shape} there")
            scale = 1.0 if name == "z" else np.maximum(np.abs(a), 1e-9)
            key = name.split("/")[-1]
            found[key] = max(found.get(key, 0.0), float(np.max(np.abs(a - b) / scale, initial=0.0)))
    return found


def run_group(rows: tuple[Row, ...], folder: Path, envs: Path) -> list[dict[str, Any]]:
    """Run the jobs of one case, print them, and compare their answers with ifquant's."""
    results: list[dict[str, Any]] = []
    by_job: dict[str, dict[str, Any]] = {}
    for row in rows:
        found = run_job(row, folder, envs, folder / f"{row.job}.npz")
        found |= {"job": row.job, "tool": row.tool, "does": row.does}
        if row.like is not None and "cpu_s" in found and "cpu_s" in by_job[row.like]:
            found["ratio"] = found["cpu_s"] / by_job[row.like]["cpu_s"]
            found["like"] = row.like
            found["differences"] = agreement(folder / f"{row.like}.npz", folder / f"{row.job}.npz")
        by_job[row.job] = found
        results.append(found)
        print(
            " ".join(
                f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
                for key, value in found.items()
            ),
            flush=True,
        )
    return results


# ---- all of it ----


def cost(
    sizes: list[int], envs: Path, root: Path, base: dict[str, np.ndarray] | None
) -> list[dict[str, Any]]:
    """Run ifquant at every size, scikit-image up to 4096 px."""
    results = []
    for size in sizes:
        folder = root / f"cost{size}"
        base = quantification_case(size, folder, base)
        rows = QUANTIFICATION[:1] if size > 4096 else (QUANTIFICATION[0], QUANTIFICATION[2])
        results += [row | {"size": size} for row in run_group(rows, folder, envs)]
        for file in folder.iterdir():
            file.unlink()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size",
        type=int,
        default=4096,
        help="side of the quantification case, px (a multiple of 2048, or less)",
    )
    parser.add_argument(
        "--cost", type=int, nargs="*", default=[], help="sides for cost against size, px"
    )
    parser.add_argument(
        "--cells",
        type=int,
        nargs=2,
        default=[1_000_000, 100_000],
        help="cells in space; cells permuted",
    )
    parser.add_argument(
        "--envs", type=Path, default=ROOT / "peers", help="folder of the tools' environments"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs", help="where peers.json, peers.md and figures/ go"
    )
    parser.add_argument(
        "--note",
        default="the machine did nothing else.",
        help="what else the machine did, for the page",
    )
    parser.add_argument(
        "--redraw", action="store_true", help="only page and figures, from peers.json"
    )
    options = parser.parse_args()
    stored = options.out / "peers.json"
    if not options.redraw:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            base = quantification_case(options.size, root / "quantification")
            n = int(np.load(root / "quantification" / "cells.npy", mmap_mode="r").max())
            spatial_case(options.cells[0], root / "nearest")
            spatial_case(options.cells[1], root / "permuted")
            record = {
                "command": " ".join(
                    [
                        "python benchmarks/peers.py",
                        f"--size {options.size}",
                        "--cost",
                        *map(str, options.cost),
                    ]
                ),
                "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
                "machine": (
                    f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python"
                    f" {platform.python_version()}"
                ),
                "note": options.note,
                "size": options.size,
                "cells": n,
                "n_nearest": options.cells[0],
                "n_permuted": options.cells[1],
                "quantification": run_group(QUANTIFICATION, root / "quantification", options.envs),
                "spatial": (
                    run_group(NEAREST, root / "nearest", options.envs)
                    + run_group(PERMUTATIONS, root / "permuted", options.envs)
                ),
                "cost": cost(
                    options.cost, options.envs, root, base if options.size >= 2048 else None
                ),
            }
        stored.write_text(json.dumps(record, indent=1) + "\n")
    record = json.loads(stored.read_text())
    (options.out / "peers.md").write_text(page(record))
    (options.out / "figures").mkdir(exist_ok=True)
    draw_peers(record, options.out / "figures" / "peers.png")
    if record.get("cost"):
        draw_cost(record["cost"], options.out / "figures" / "cost.png")


if __name__ == "__main__":
    main()
