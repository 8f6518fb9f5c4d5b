"""Text of docs/peers.md from what `benchmarks/peers.py` measured."""

from __future__ import annotations

from typing import Any

import numpy as np

PAGE = """# Beside other tools

`{command}` on {machine}, {date}; {note}

CPU seconds (user + system, with child processes) are what to compare. Every job ran in a process
of its own with one thread per library, on
the same arrays; libraries were imported and compiled before the clock started. Memory is the peak
of the process tree, arrays included. The
ratio is CPU seconds over those of the ifquant job that answers the same. Differences are the
largest relative differences of any cell's
value from ifquant's (of z: the largest absolute difference; both are random).

![CPU seconds, wall time and memory beside other tools](figures/peers.png)

## Quantification: {size} x {size} px, 5 channels, nuclei and cells ({cells:,} cells)

{quantification}

Definitions follow scikit-image. nyxus adds 1/12 px to second moments, as MATLAB does, so its axes
and eccentricities differ slightly; its
solidity (0.11.0) is wrong (a square has 0.73) and left out. squidpy's table is float32, and it
offers neither median nor sum. mcquant reads
and writes files and is timed with that. cp_measure has its features in groups and cannot be asked
for less.

## Cells in space: {n_nearest:,} cells, and permutations on {n_permuted:,}

{spatial}
"""
COST = """
## Cost and size

![CPU seconds against the size of the image](figures/cost.png)

{cost}
"""


def page(record: dict[str, Any]) -> str:
    """Write the whole page."""
    tables = {name: "\n".join(_table(record[name])) for name in ("quantification", "spatial")}
    text = PAGE.format(**{**record, **tables})
    return text + (
        COST.format(cost="\n".join(_cost_table(record["cost"]))) if record.get("cost") else ""
    )


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| tool | job | CPU s | wall s | peak MB | ratio | differences |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "missing" in row:
            lines.append(f"| {row['tool']} | {row['does']} | missing: {row['missing']} | | | | |")
            continue
        ratio = f"{row['ratio']:.1f}" if "ratio" in row else ""
        found = row.get("differences", {}).items()
        differences = "; ".join(
            f"{name} {value:.0e}" if value else f"{name} 0" for name, value in found
        )
        figures = f"{row['cpu_s']:.2f} | {row['wall_s']:.2f} | {row['peak_mb']:,.0f}"
        lines.append(f"| {row['tool']} | {row['does']} | {figures} | {ratio} | {differences} |")
    return lines


def _cost_table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        (
            "| side, px | job | CPU s | peak MB | exponent since the size before (1: linear in"
            " pixels) |"
        ),
        "|---|---|---|---|---|",
    ]
    for job in dict.fromkeys(row["job"] for row in rows):
        before = None
        for row in (row for row in rows if row["job"] == job and "cpu_s" in row):
            slope = ""
            if before is not None:
                more_work = np.log(row["cpu_s"] / before["cpu_s"])
                slope = f"{more_work / (2 * np.log(row['size'] / before['size'])):.2f}"
            lines.append(
                f"| {row['size']:,} | {row['tool']}: {row['does']} | {row['cpu_s']:.2f} |"
                f" {row['peak_mb']:,.0f} | {slope} |"
            )
            before = row
    return lines
