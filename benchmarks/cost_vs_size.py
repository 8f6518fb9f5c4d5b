"""What `ifquant run` costs from 2048 to 16,384 px: CPU seconds, wall seconds and memory, as a table and a log-log plot.

    python benchmarks/cost_vs_size.py --slides slides/ --out docs/cost.jsonl [--sizes 2048 4096 8192 16384] [--methods classical unet]

Slides are simulated with the same share of tissue at every size (three quarters) and kept in `--slides`. Every run is a process of its
own, as a user starts it; one on a slide of 64 px tells what a run costs before it has anything to do. `--two-workers SIZE` also runs that
size with two workers. Runs that `--out` already lists are not repeated; table and plot are made from all of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from whole_slide import RECIPE, measured, write_samples, write_slide

TISSUE = 0.75
EMPTY_PX = 64
COLORS = {"unet": "#D55E00", "classical": "#0072B2"}


def run_once(slide: Path, method: str, workers: int, samples: Path | None) -> dict[str, Any]:
    """Run one slide; what it took, and how many cells it had."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        recipe = root / "recipe.toml"
        recipe.write_text(RECIPE.format(method=method, tissue="true"))
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
            "--workers",
            str(workers),
        ]
        seen, total = measured(command, root / "out")
        cells = int(pd.read_csv(root / "out" / "slides.csv")["n_cells"].iloc[0])
    if samples is not None:
        write_samples(samples, seen)
    return {"cells": cells, **{key: round(value, 2) for key, value in total.items()}}


def table(rows: list[dict[str, Any]]) -> str:
    """CPU seconds by size, without what an empty slide costs, and how they grow from one size to the next."""
    lines = ["| method | side, px | cells | CPU s | wall s | peak MB | growth per pixel since the size before |", "|---" * 7 + "|"]
    for method in COLORS:
        own = sorted((r for r in rows if r["method"] == method and r["workers"] == 1), key=lambda r: r["size"])
        fixed = next((r["cpu_s"] for r in own if r["size"] == EMPTY_PX), 0.0)
        before = None
        for row in own:
            growth = ""
            if before is not None and before["size"] > EMPTY_PX:
                slope = np.log((row["cpu_s"] - fixed) / (before["cpu_s"] - fixed)) / np.log(row["size"] ** 2 / before["size"] ** 2)
                growth = f"slope {slope:.2f}"
            lines.append(_line(method, row, growth))
            before = row
        for row in (r for r in rows if r["method"] == method and r["workers"] > 1):
            one = next((r for r in own if r["size"] == row["size"]), None)
            share = f"wall {row['wall_s'] / one['wall_s']:.2f} of one worker's" if one else ""
            lines.append(_line(f"{method}, {row['workers']} workers", row, share))
    return "\n".join(lines)


def _line(name: str, row: dict[str, Any], more: str) -> str:
    cost = f"{row['cpu_s']:.1f} | {row['wall_s']:.1f} | {row['peak_mb']:,.0f}"
    return f"| {name} | {row['size']:,} | {row['cells']:,} | {cost} | {more} |"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """CPU seconds against megapixels on log scales, with the fitted slope and a dotted line of slope 1."""
    with plt.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 160}):
        figure, panel = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
        for method, color in COLORS.items():
            own = sorted((r["size"], r["cpu_s"]) for r in rows if r["method"] == method and r["workers"] == 1)
            fixed = dict(own).get(EMPTY_PX, 0.0)
            sizes = np.array([size for size, _ in own if size > EMPTY_PX])
            if len(sizes) < 2:
                continue
            x, y = sizes**2 / 1e6, np.array([cpu for size, cpu in own if size > EMPTY_PX]) - fixed
            slope = np.polyfit(np.log(x), np.log(y), 1)[0]
            panel.plot(x, y, "o-", color=color, label=f"{method}: slope {slope:.2f}, {y[-1] / x[-1]:.2f} s per Mpx, and {fixed:.1f} s")
            panel.plot(x, y[0] * x / x[0], color=color, lw=0.6, ls=":")
        panel.set(xscale="log", yscale="log", xlabel="megapixels (5 channels)", ylabel="CPU s of a whole run")
        panel.set_title("ifquant run, 75 % tissue, less what an empty slide costs", fontsize=8, loc="left", fontweight="bold")
        panel.legend(frameon=False)
        figure.savefig(path)
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2048, 4096, 8192, 16384])
    parser.add_argument("--methods", nargs="*", default=["classical", "unet"], choices=list(COLORS))
    parser.add_argument("--two-workers", type=int, nargs="*", default=[])
    parser.add_argument("--plot", type=Path, help="default: beside the list")
    options = parser.parse_args()
    options.slides.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {(row["size"], row["method"], row["workers"]) for row in rows}
    wanted = [(size, method, 1) for size in [EMPTY_PX, *options.sizes] for method in options.methods]
    wanted += [(size, method, 2) for size in options.two_workers for method in options.methods]
    for size, method, workers in wanted:
        if (size, method, workers) in done:
            continue
        slide = options.slides / f"s{size}.ome.tif"
        write_slide(slide, size, TISSUE if size > 1024 else 1.0, seed=1)
        samples = options.slides / f"memory_{size}_{method}_{workers}.csv"
        row = {"size": size, "method": method, "workers": workers} | run_once(slide, method, workers, samples)
        rows.append(row)
        with options.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
    print(table(rows))
    draw(rows, options.plot or options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
