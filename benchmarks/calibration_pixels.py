"""The same through pixels: tissues segmented once, ligand and response redrawn, photographed and
measured many times each.

    python benchmarks/calibration_pixels.py --out pixels.jsonl [--tissues 34 --draws 30
    --effect-draws 8]

Everything between truth and p-value is in it: optics, light that crosses contacts, camera,
bleed-through, segmentation errors, wrong phenotypes, the calibrated background, contacts measured
at their pixels. Intervals are over tissues (t): the draws of a tissue share its cells.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import rows_in
from fixed_tissue import FixedTissue
from rates import Mean, Number, Table, of_clusters
from scipy import stats

from ifquant.statistics.priming.primary_association import exposure_of
from ifquant.statistics.priming.priming_test import priming_effect
from ifquant.statistics.priming.slide_cells import SlideCells, SlideData
from ifquant.statistics.priming.structure import normal_scores

SCENARIOS = {
    "range 20 um": (20.0, 0.0),
    "range 50 um": (50.0, 0.0),
    "range 150 um": (150.0, 0.0),
    "effect 0.5": (50.0, 0.5),
}
Row = dict[str, Any]
Rows = list[Row]
TESTS = ("naive", "shift", "clifford_dutilleul", "surrogate")


def analysed(tissue: FixedTissue, name: str, number: int) -> dict[str, object]:
    """Draw and analyse data set `number` of a scenario on this tissue."""
    started = time.process_time()
    cells, pairs, true_slope = tissue.redrawn(*SCENARIOS[name], number)
    drawn = time.process_time()
    data = SlideData(cells, pairs, tissue.region, tissue.backgrounds)
    slide = f"{tissue.options.seed} {name} {number}"
    effect = priming_effect(data, tissue.question, tissue.asked, slide=slide)
    spent = time.process_time() - drawn
    row: dict[str, object] = {"scenario": name, "tissue": tissue.options.seed, "number": number}
    row |= {
        "verdict": effect.verdict,
        "reason": effect.reason,
        "z": effect.z,
        "se": effect.se_z,
        "n": effect.n_exposed,
    }
    row |= {
        "n_effective": effect.n_effective,
        "slope": effect.slope,
        "slope_se": effect.slope_se,
        "true_slope": true_slope,
    }
    row |= {test: effect.tests[test].p if test in effect.tests else None for test in TESTS[1:]}
    row |= {
        "naive": naive_p(tissue, cells, pairs),
        "guards": {g.name: [g.z, g.se, g.p] for g in effect.guards},
    }
    return row | {"draw_s": drawn - started, "analysis_s": spent}


def naive_p(tissue: FixedTissue, cells, pairs) -> float:  # type: ignore[no-untyped-def]
    """Correlate rank scores over the same cells, nothing held constant, and give the p-value."""
    slide = SlideData(cells, pairs, backgrounds=tissue.backgrounds)
    data = SlideCells.of(slide, tissue.question, tissue.asked)
    exposure = exposure_of(data)
    near, ligand = exposure.near, exposure.ligand
    response = normal_scores(data.log_values(tissue.question.response_column)[near.responders])
    return float(stats.pearsonr(response, near.mean(ligand[near.sources])).pvalue)


def table(rows: Rows) -> Table:
    """Rejection, coverage, spread of z, and the slope against the one that was put in; intervals
    over tissues.
    """
    head = [
        "scenario",
        "tissues x draws",
        "not testable",
        *TESTS,
        "coverage of 0",
        "mean z",
        "sd of z",
        "mean se",
    ]
    lines = []
    for name in SCENARIOS:
        every = [row for row in rows if row["scenario"] == name]
        own = [row for row in every if row["shift"] is not None]
        if own:
            tissues = sorted({row["tissue"] for row in every})

            def over(
                value: Callable[[Row], float],
                shown: str = ".3f",
                own: Rows = own,
                tissues: list[int] = tissues,
            ) -> Mean:
                return of_clusters(
                    [[value(row) for row in own if row["tissue"] == tissue] for tissue in tissues],
                    shown,
                )

            size = f"{len(tissues)} x {len(every) / len(tissues):.0f}"
            cells: list[object] = [name, size, Number(1 - len(own) / len(every), ".1%")]
            cells += [over(lambda row, test=test: row[test] <= 0.05) for test in TESTS]
            cells += [
                over(
                    lambda row: (
                        abs(row["z"]) <= stats.t.ppf(0.975, row["n_effective"] - 2) * row["se"]
                    )
                )
            ]
            z, se = (np.array([row[key] for row in own]) for key in ("z", "se"))
            cells += [
                over(lambda row: row["z"], "+.4f"),
                Number(z.std(), ".4f"),
                Number(math.sqrt((se**2).mean()), ".4f"),
            ]
            cells += [
                over(lambda row: row["slope"], "+.3f"),
                over(lambda row: row["true_slope"], "+.3f"),
            ]
            lines.append([*cells, over(lambda row: row["verdict"] == "consistent with priming")])
    return Table("pixels", [*head, "slope", "slope put in", "consistent with priming"], lines)


def guard_table(rows: Rows) -> Table:
    """Rejection rate, over all null draws, of the p that each guard prints."""
    null = [row for row in rows if row["guards"] and SCENARIOS[row["scenario"]][1] == 0]
    lines = []
    for name in dict.fromkeys(name for row in null for name in row["guards"]):
        by: dict[int, list[tuple[bool, float]]] = {}
        for row in null:
            z, _, p = row["guards"].get(name, (None, None, None))
            if p is not None:
                by.setdefault(row["tissue"], []).append((p <= 0.05, z))
        if by:
            rejected, effect = ([[pair[k] for pair in own] for own in by.values()] for k in (0, 1))
            lines.append(
                [
                    name,
                    sum(map(len, by.values())),
                    of_clusters(rejected),
                    of_clusters(effect, "+.4f"),
                ]
            )
    return Table("pixels_guards", ["guard", "sets", "rejected", "mean z"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tissues", type=int, default=34)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--effect-draws", type=int, default=8)
    parser.add_argument("--method", default="classical")
    parser.add_argument(
        "--table", action="store_true", help="draw nothing, make the tables from what is there"
    )
    parser.add_argument("--csv", type=Path, help="folder for the tables")
    options = parser.parse_args()
    rows = rows_in(options.out)
    done = {(row["scenario"], row["tissue"], row["number"]) for row in rows}
    most = {
        name: options.effect_draws if beta else options.draws
        for name, (_, beta) in SCENARIOS.items()
    }
    if not options.table:
        with options.out.open("a") as file:
            for seed in range(100, 100 + options.tissues):
                wanted = [
                    (name, k)
                    for k in range(max(most.values()))
                    for name in SCENARIOS
                    if k < most[name]
                ]
                wanted = [(name, k) for name, k in wanted if (name, seed, k) not in done]
                if not wanted:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    tissue = FixedTissue(seed, options.method, Path(folder))
                for name, number in wanted:
                    rows.append(analysed(tissue, name, number))
                    file.write(json.dumps(rows[-1]) + "\n")
                    file.flush()
    for found in (table(rows), guard_table(rows)):
        found.show(options.csv)
    draw, analysis = (np.mean([row[key] for row in rows]) for key in ("draw_s", "analysis_s"))
    print(f"{draw:.2f} CPU seconds to draw and measure, {analysis:.2f} to analyse (shared machine)")


if __name__ == "__main__":
    main()
