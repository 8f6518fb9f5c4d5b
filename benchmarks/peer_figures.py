"""Figures of `benchmarks/peers.py`: bars per tool on log scales, and cost against size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

OURS, OTHERS = "#0072B2", "#999999"
MEASURES = (("cpu_s", "CPU s"), ("wall_s", "wall s"), ("peak_mb", "peak memory, MB"))
STYLE = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 160}


def draw_peers(record: dict[str, Any], path: Path) -> None:
    """Draw one row of panels per group: CPU seconds with the ratio, wall seconds, memory."""
    groups = [
        (
            (
                f"Quantification, {record['size']} x {record['size']} px x 5 channels,"
                f" {record['cells']:,} cells"
            ),
            record["quantification"],
        ),
        (
            (
                f"Cells in space, {record['n_nearest']:,} cells (permutations:"
                f" {record['n_permuted']:,})"
            ),
            record["spatial"],
        ),
    ]
    heights = [len(rows) + 2 for _, rows in groups]
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(
            2, 3, figsize=(11, 0.27 * sum(heights)), height_ratios=heights, layout="constrained"
        )
        for axes, (title, rows) in zip(grid, groups, strict=True):
            names = [f"{row['tool']}: {_short(row['does'])}" for row in rows]
            y = np.arange(len(rows))[::-1]
            for panel, (key, label) in zip(axes, MEASURES, strict=True):
                values = [row.get(key, np.nan) for row in rows]
                colors = [OURS if row["tool"] == "ifquant" else OTHERS for row in rows]
                panel.barh(y, values, color=colors, height=0.7)
                panel.set_xscale("log")
                panel.set_xlim(max(1e-3, 0.4 * np.nanmin(values)), 4 * np.nanmax(values))
                panel.set_xlabel(label)
                panel.set_yticks(y, names if key == "cpu_s" else [""] * len(rows))
                for at, row, value in zip(y, rows, values, strict=True):
                    if np.isfinite(value):
                        ratio = (
                            f"  ({row['ratio']:.0f}x)"
                            if key == "cpu_s" and row.get("ratio", 0) >= 10
                            else ""
                        )
                        ratio = (
                            f"  ({row['ratio']:.1f}x)"
                            if key == "cpu_s" and 0 < row.get("ratio", 0) < 10
                            else ratio
                        )
                        number = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
                        panel.text(value, at, f" {number}{ratio}", va="center", fontsize=7)
                    elif key == "cpu_s":
                        panel.text(
                            panel.get_xlim()[0],
                            at,
                            " missing",
                            va="center",
                            fontsize=7,
                            color="#B00000",
                        )
            axes[0].set_title(title, loc="left", fontweight="bold", fontsize=9)
        figure.savefig(path)
        plt.close(figure)


def _short(text: str) -> str:
    return text.split(" (")[0]


def draw_cost(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw CPU seconds against megapixels on log scales, with the fitted slope of each job and the
    line of slope 1.
    """
    with plt.rc_context(STYLE):
        figure, panel = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
        for job, color, marker in zip(
            dict.fromkeys(row["job"] for row in rows),
            (OURS, OTHERS, "#D55E00"),
            "osd",
            strict=False,
        ):
            own = [row for row in rows if row["job"] == job and "cpu_s" in row]
            x, y = (
                np.array([row["size"] ** 2 / 1e6 for row in own]),
                np.array([row["cpu_s"] for row in own]),
            )
            slope = f", slope {np.polyfit(np.log(x), np.log(y), 1)[0]:.2f}" if len(x) > 1 else ""
            panel.plot(x, y, marker=marker, color=color, label=f"{own[0]['tool']}{slope}")
            panel.plot(x, y[0] * x / x[0], color=color, lw=0.6, ls=":")
        panel.set(xscale="log", yscale="log", xlabel="megapixels (5 channels)", ylabel="CPU s")
        panel.set_title("Quantification: nuclei + cells, mean, median, sum, shape", fontsize=8)
        panel.legend(frameon=False)
        figure.savefig(path)
        plt.close(figure)
