"""Memory over time and CPU seconds of `ifquant run` on a slide of any size, tissue or mostly glass.

    python benchmarks/whole_slide.py --size 16384 --tissue 0.7
    python benchmarks/whole_slide.py --size 65536 --tissue 0.02 --method classical
    python benchmarks/whole_slide.py --size 40960 --repeat 4096 --method classical  # 16 GB

The slide is simulated window by window (glass is constant) and written as a compressed OME-TIFF; it
is kept with ``--slide``. The run is a process of its own, as a user starts it; the resident memory
of its process tree is sampled ten times a second (pages that processes share count for each).
``<out>.csv`` gets the samples, ``<out>.png`` the plot, beside what the run may need: 2 GB per
worker and 200 bytes per cell.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
import psutil
from matplotlib import pyplot as plt

from ifquant.geometry.windows import Window, cores
from ifquant.simulation.simulated_slides import BITS
from ifquant.simulation.simulated_window import CHANNELS, SimulationOptions, simulate_window
from ifquant.slides.tiff_writer import OmePixels, write_ome_tiff

BLOCK_PX = 1024  # a multiple of the TIFF's tiles
GLASS = 40
"""Raw value of glass."""
BYTES_PER_WORKER, BYTES_PER_CELL = 2e9, 200
RECIPE = """
[[channels]]
name = "DAPI"
role = "nucleus"
[[channels]]
name = "PanCK"
role = "tumor"
[[channels]]
name = "CD11c"
role = "myeloid"
[[channels]]
name = "TGFB1"
compartment = "membrane"
[[channels]]
name = "IL1B"
compartment = "cytoplasm"
[segmentation]
method = "{method}"
[tissue]
enabled = {tissue}
"""
STAGES = ("calibrate", "maps", "tiles", "table and outputs")


def on_tissue(size: int, share: float) -> np.ndarray:
    """Which blocks (n, n) are tissue: one ellipse in the middle, or below a tenth islands of 2 x 2
    blocks spread over the slide.
    """
    n = -(-size // BLOCK_PX)
    y, x = (np.mgrid[:n, :n] + 0.5) / n - 0.5
    if share >= 0.1:
        order = np.argsort((y**2 + x**2).ravel(), kind="stable")
        chosen = np.zeros(n * n, bool)
        chosen[order[: round(share * n * n)]] = True
        return chosen.reshape(n, n)
    mask = np.zeros((n, n), bool)
    side = max(int(np.sqrt(share * n * n / 4)), 1)  # islands per row and column
    for row in range(side):
        for column in range(side):
            at = [int((place + 0.5) / side * n) for place in (row, column)]
            mask[at[0] : at[0] + 2, at[1] : at[1] + 2] = True
    return mask


def write_slide(path: Path, size: int, share: float, seed: int, repeat: int | None = None) -> float:
    """Write the slide, unless it is there; returns the share of its area that is tissue. With
    `repeat` (px) the same tissue comes again.
    """
    mask = on_tissue(size, share)
    side = repeat or size
    options = SimulationOptions(size=(side, side), seed=seed)

    @lru_cache(maxsize=None if repeat else 1)
    def tissue(y: int, x: int) -> np.ndarray:
        return simulate_window(
            options, Window(y, x, min(y + BLOCK_PX, side), min(x + BLOCK_PX, side))
        ).image

    def blocks() -> Iterator[tuple[Window, np.ndarray]]:
        for block in cores((size, size), BLOCK_PX):
            if mask[block.y0 // BLOCK_PX, block.x0 // BLOCK_PX]:
                yield (
                    block,
                    tissue(block.y0 % side, block.x0 % side)[:, : block.shape[0], : block.shape[1]],
                )
            else:
                yield block, np.full((len(CHANNELS), *block.shape), GLASS, np.uint16)

    if not path.exists():
        shape = (len(CHANNELS), size, size)
        image = OmePixels(shape, "uint16", CHANNELS, options.pixel_size_um, BITS)
        write_ome_tiff(path, blocks(), image, pyramid=False)
    return float(mask.mean())


def stage_of(out: Path) -> str:
    """Tell what the run is at from the parts it has left so far."""
    parts = [path.parent.name for path in out.glob("*/.unfinished/*/*/*.npz")]
    if list(out.glob("*/cells.parquet")) or list(out.glob("*/.cells.parquet*")):
        return STAGES[3]
    if "tiles" in parts:
        return STAGES[2]
    return (
        STAGES[1]
        if "maps" in parts or list(out.glob("*/.unfinished/*/calibration.npz"))
        else STAGES[0]
    )


def measured(
    command: list[str], out: Path
) -> tuple[list[tuple[float, float, str]], dict[str, float]]:
    """Run a command; time (s), memory of the process tree (MB) and stage ten times a second, and
    what it took in all.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    running = subprocess.Popen(command)
    samples, last_look, stage = [], 0.0, STAGES[0]
    while running.poll() is None:
        now, total = time.perf_counter() - started, 0
        try:
            own = psutil.Process(running.pid)
            for process in [own, *own.children(recursive=True)]:
                total += process.memory_info().rss
        except psutil.Error:
            continue
        if now - last_look > 1:
            last_look, stage = now, stage_of(out)
        samples.append((now, total / 1e6, stage))
        time.sleep(0.1)
    if running.returncode != 0:
        raise SystemExit(f"the run ended with exit code {running.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return samples, {
        "cpu_s": cpu,
        "wall_s": time.perf_counter() - started,
        "peak_mb": max(mb for _, mb, _ in samples),
    }


def write_samples(path: Path, samples: list[tuple[float, float, str]]) -> None:
    """Write what `measured` saw."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("seconds", "memory_mb", "stage"))
        writer.writerows((f"{at:.1f}", f"{mb:.0f}", stage) for at, mb, stage in samples)


def draw(samples: list[tuple[float, float, str]], limit_mb: float, title: str, path: Path) -> None:
    """Draw memory against time, colored by stage, with the limit."""
    time_s, memory = np.array([s[0] for s in samples]), np.array([s[1] for s in samples])
    stages = np.array([s[2] for s in samples])
    with plt.rc_context(
        {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 160}
    ):
        figure, axis = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
        for stage, color in zip(STAGES, ("#999999", "#0072B2", "#009E73", "#D55E00"), strict=True):
            if (stages == stage).any():
                axis.fill_between(
                    time_s,
                    0,
                    np.where(stages == stage, memory, np.nan),
                    color=color,
                    alpha=0.75,
                    lw=0,
                    label=stage,
                )
        axis.axhline(limit_mb, color="#22262e", ls="--", lw=0.8)
        axis.annotate(
            f"{limit_mb:,.0f} MB",
            (0, limit_mb),
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=7,
        )
        axis.set(xlabel="seconds", ylabel="memory of the process tree, MB", xlim=(0, time_s[-1]))
        axis.set_ylim(0, 1.15 * max(limit_mb, memory.max()))
        axis.set_title(title, loc="left", fontweight="bold", fontsize=9)
        axis.legend(frameon=False, fontsize=7, ncols=4, loc="upper right")
        figure.savefig(path)
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=16384)
    parser.add_argument(
        "--tissue", type=float, default=1.0, help="share of the area that is tissue"
    )
    parser.add_argument("--method", default="unet")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--no-mask",
        action="store_true",
        help="tissue.enabled = false: glass is computed like tissue",
    )
    parser.add_argument(
        "--repeat",
        type=int,
        help="simulate only this many px a side, a multiple of 1024, and repeat them",
    )
    parser.add_argument(
        "--slide", type=Path, help="make the slide here and keep it; used as it is when it exists"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("memory"),
        help="start of the names of the table and the plot",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        slide = options.slide or root / "slide.ome.tif"
        started = time.process_time()
        share = write_slide(slide, options.size, options.tissue, seed=7, repeat=options.repeat)
        print(
            f"{slide.name}: {options.size} x {options.size} x 5 px, {share:.1%} tissue,"
            f" {slide.stat().st_size / 1e9:.2f} GB on disk",
            flush=True,
        )
        print(f"  making it took {time.process_time() - started:.0f} CPU s", flush=True)
        recipe = root / "recipe.toml"
        recipe.write_text(
            RECIPE.format(method=options.method, tissue=str(not options.no_mask).lower())
        )
        code = "from ifquant.cli import main; main()"
        command = [
            sys.executable,
            "-c",
            code,
            "run",
            "-q",
            "-r",
            str(recipe),
            str(slide),
            "-o",
            str(root / "out"),
        ]
        samples, total = measured([*command, "--workers", str(options.workers)], root / "out")
        cells = int(pd.read_csv(root / "out" / "slides.csv")["n_cells"].iloc[0])
        tissue = json.loads(next((root / "out").glob("*/slide.json")).read_text())["calibration"][
            "tissue"
        ]["fraction"]
    limit = (options.workers * BYTES_PER_WORKER + cells * BYTES_PER_CELL) / 1e6
    print(
        f"  {cells:,} cells, tissue mask {tissue:.1%}, method {options.method}, {options.workers}"
        " worker(s)"
    )
    print(
        f"  {total['cpu_s']:.1f} CPU s, {total['wall_s']:.0f} s wall, peak {total['peak_mb']:,.0f}"
        f" MB (aimed at: {limit:,.0f} MB)"
    )
    for stage in STAGES:
        here = [(at, mb) for at, mb, name in samples if name == stage]
        if here:
            print(
                f"    {stage:<20} {here[-1][0] - here[0][0]:7.0f} s wall, peak"
                f" {max(mb for _, mb in here):7,.0f} MB"
            )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_samples(options.out.with_suffix(".csv"), samples)
    title = (
        f"{options.size:,} x {options.size:,} x 5 px, {share:.0%} tissue, {cells:,} cells,"
        f" {options.method}, {options.workers} worker(s)"
    )
    draw(samples, limit, title, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
