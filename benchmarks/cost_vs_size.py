"""What `ifquant run` costs from 2048 to 16,384 px: CPU seconds, wall seconds and memory, as a table
and a log-log plot.

    python benchmarks/cost_vs_size.py --slides slides/ --out docs/cost.jsonl [--sizes 2048 4096 8192
    16384] [--methods classical unet]

Slides are simulated with the same share of tissue at every size (three quarters) and kept in
`--slides`. Every run is a process of its own, as a user starts it; one on a slide of 64 px tells
what a run costs before it has anything to do. `--two-workers SIZE` also runs that size with two
workers. Runs that `--out` already lists are not repeated; table and plot are made from all of them.
Cost is taken to be linear, what a run costs whatever its size and so much for each megapixel: the
table compares the megapixels of each doubling.
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


def linear(own: list[dict[str, Any]]) -> tuple[float, float]:
    """CPU s whatever the size, and CPU s per megapixel, of the line through the smallest and the
    largest slide.
    """
    first, last = own[0], own[-1]
    per_mpx = (last["cpu_s"] - first["cpu_s"]) / (megapixels(last) - megapixels(first))
    return first["cpu_s"] - per_mpx * megapixels(first), per_mpx


def megapixels(row: dict[str, Any]) -> float:
    return float(row["size"] ** 2 / 1e6)


def table(rows: list[dict[str, Any]]) -> str:
    """CPU seconds by size; what each megapixel more cost since the size before, also as a share of
    that of the whole range.
    """
    lines = [
        "| method | side, px | cells | CPU s | wall s | peak MB | CPU s for each Mpx more |",
        "|---" * 7 + "|",
    ]
    for method in COLORS:
        every = sorted(
            (r for r in rows if r["method"] == method and r["workers"] == 1),
            key=lambda r: r["size"],
        )
        own = [row for row in every if row["size"] > EMPTY_PX]
        if not own:
            continue
        fixed, per_mpx = linear(own) if len(own) > 1 else (0.0, 0.0)
        before = None
        for row in every:
            growth = ""
            if before is not None:
                slope = (row["cpu_s"] - before["cpu_s"]) / (megapixels(row) - megapixels(before))
                growth = f"{slope:.2f} ({slope / per_mpx - 1:+.0%})"
            lines.append(_line(method, row, growth))
            before = row if row in own else None
        if len(own) > 1:
            lines.append(f"| {method}: {fixed:.1f} CPU s, and {per_mpx:.2f} per Mpx |||||||")
        for row in (r for r in rows if r["method"] == method and r["workers"] > 1):
            one = next((r for r in own if r["size"] == row["size"]), None)
            share = f"wall {row['wall_s'] / one['wall_s']:.2f} of one worker's" if one else ""
            lines.append(_line(f"{method}, {row['workers']} workers", row, share))
    return "\n".join(lines)


def _line(name: str, row: dict[str, Any], more: str) -> str:
    cost = f"{row['cpu_s']:.1f} | {row['wall_s']:.1f} | {row['peak_mb']:,.0f}"
    return f"| {name} | {row['size']:,} | {row['cells']:,} | {cost} | {more} |"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """CPU seconds against megapixels on log scales: measured, and the line of `linear`; slopes of
    the logarithms at each doubling.
    """
    with plt.rc_context(
        {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 160}
    ):
        figure, panel = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        for method, color in COLORS.items():
            own = sorted(
                (
                    r
                    for r in rows
                    if r["method"] == method and r["workers"] == 1 and r["size"] > EMPTY_PX
                ),
                key=lambda r: r["size"],
            )
            if len(own) < 2:
                continue
            fixed, per_mpx = linear(own)
            x, y = (
                np.array([megapixels(row) for row in own]),
                np.array([row["cpu_s"] for row in own]),
            )
            panel.plot(
                x,
                y,
                "o",
                color=color,
                label=f"{method}: {fixed:.1f} s, and {per_mpx:.2f} s per Mpx",
            )
            grid = np.geomspace(x[0], x[-1], 100)
            panel.plot(grid, fixed + per_mpx * grid, color=color, lw=0.8)
            slopes = np.diff(np.log(y)) / np.diff(np.log(x))
            for slope, at_x, at_y in zip(
                slopes, np.sqrt(x[1:] * x[:-1]), np.sqrt(y[1:] * y[:-1]), strict=True
            ):
                panel.annotate(
                    f"{slope:.2f}",
                    (at_x, at_y),
                    xytext=(6, -9),
                    textcoords="offset points",
                    color=color,
                    fontsize=7,
                )
        panel.set(
            xscale="log",
            yscale="log",
            xlabel="megapixels (5 channels)",
            ylabel="CPU s of a whole run",
        )
        panel.set_title(
            "ifquant run, 75 % tissue; small figures: slopes at each doubling",
            fontsize=8,
            loc="left",
            fontweight="bold",
        )
        if panel.lines:
            panel.legend(frameon=False)
        figure.savefig(path)
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2048, 4096, 8192, 16384])
    parser.add_argument("--methods", nargs="*", default=["classical", "unet"], choices=list(COLORS))
    parser.add_argument("--two-workers", type=int, nargs="*", default=[])
    parser.add_argument("--plot", type=Path, help="default: beside the list")
    options = parser.parse_args()
    options.slides.mkdir(parents=True, exist_ok=True)
    rows = (
        [json.loads(line) for line in options.out.read_text().splitlines()]
        if options.out.exists()
        else []
    )
    done = {(row["size"], row["method"], row["workers"]) for row in rows}
    wanted = [
        (size, method, 1) for size in [EMPTY_PX, *options.sizes] for method in options.methods
    ]
    wanted += [(size, method, 2) for size in options.two_workers for method in options.methods]
    for size, method, workers in wanted:
        if (size, method, workers) in done:
            continue
        slide = options.slides / f"s{size}.ome.tif"
        write_slide(slide, size, TISSUE if size > 1024 else 1.0, seed=1)
        samples = options.slides / f"memory_{size}_{method}_{workers}.csv"
        row = {"size": size, "method": method, "workers": workers} | run_once(
            slide, method, workers, samples
        )
        rows.append(row)
        with options.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)
    print(table(rows))
    draw(rows, options.plot or options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
