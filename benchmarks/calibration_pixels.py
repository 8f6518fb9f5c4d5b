"""The same through pixels: tissues segmented once, ligand and response redrawn, photographed and measured many times each.

    python benchmarks/calibration_pixels.py --out pixels.jsonl [--tissues 25 --draws 40 --effect-draws 8]

Everything between truth and p-value is in it: optics, light that crosses contacts, camera, bleed-through, segmentation errors, wrong
phenotypes, the calibrated background, contacts measured at their pixels. Intervals are over tissues (t): the draws of a tissue share its
cells. The first draws of each tissue are analysed with their guards.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
from fixed_tissue import FixedTissue
from scipy import stats

from ifquant.statistics.primary import contacts, measured
from ifquant.statistics.priming import analyse_slide
from ifquant.statistics.slide_cells import SlideCells
from ifquant.statistics.structure import normal_scores

SCENARIOS = {"range 20 um": (20.0, 0.0), "range 50 um": (50.0, 0.0), "range 150 um": (150.0, 0.0), "effect 0.5": (50.0, 0.5)}
TESTS = ("naive", "shift", "clifford_dutilleul", "surrogate")


def analysed(tissue: FixedTissue, name: str, number: int, guards: bool) -> dict[str, object]:
    """Draw and analyse data set `number` of a scenario on this tissue."""
    started = time.process_time()
    cells, pairs = tissue.redrawn(*SCENARIOS[name], number)
    drawn = time.process_time()
    effect = analyse_slide(
        cells, slide=f"{tissue.options.seed} {name} {number}", question=tissue.question, options=tissue.asked, tissue=tissue.region,
        pairs=pairs, backgrounds=tissue.backgrounds, with_guards=guards,
    )  # fmt: skip
    spent = time.process_time() - drawn
    row: dict[str, object] = {"scenario": name, "tissue": tissue.options.seed, "number": number, "guarded": guards}
    row |= {"verdict": effect.verdict, "reason": effect.reason, "z": effect.z, "se": effect.se_z, "n": effect.n_exposed}
    row |= {"n_effective": effect.n_effective}
    row |= {test: effect.tests[test].p if test in effect.tests else None for test in TESTS[1:]}
    row |= {"naive": naive_p(tissue, cells, pairs), "guards": {g.name: [g.z, g.se, g.p] for g in effect.guards}}
    return row | {"draw_s": drawn - started, "analysis_s": spent}


def naive_p(tissue: FixedTissue, cells, pairs) -> float:  # type: ignore[no-untyped-def]
    """Correlate rank scores over the same cells, nothing held constant, and give the p-value."""
    data = SlideCells.of(cells, tissue.question, tissue.backgrounds)
    ligand, own = measured(data, pairs)
    near = contacts(data, ligand, own, pairs, tissue.asked)
    response = normal_scores(data.log_values(tissue.question.response_column)[near.responders])
    return float(stats.pearsonr(response, near.mean(ligand[near.sources])).pvalue)


def clustered(values: list[list[float]]) -> tuple[float, float]:
    """Mean over tissues and half the 99 % interval (t over the tissues' means)."""
    means = np.array([np.mean(own) for own in values if own])
    if len(means) < 2:
        return float(means.mean()), math.nan
    return float(means.mean()), float(stats.t.ppf(0.995, len(means) - 1) * means.std(ddof=1) / math.sqrt(len(means)))


def table(rows: list[dict]) -> str:  # type: ignore[type-arg]
    head = ["scenario", "tissues x draws", "not testable", *TESTS, "coverage of 0", "mean z", "sd of z", "mean se"]
    lines = ["| " + " | ".join([*head, "consistent with priming"]) + " |", "|---" * (len(head) + 1) + "|"]
    for name in SCENARIOS:
        own = [row for row in rows if row["scenario"] == name]
        tested = [row for row in own if row["shift"] is not None]
        if not tested:
            continue
        tissues = sorted({row["tissue"] for row in own})

        def of_tissues(value, chosen=tested, tissues=tissues) -> tuple[float, float]:  # type: ignore[no-untyped-def]
            return clustered([[value(row) for row in chosen if row["tissue"] == tissue] for tissue in tissues])

        cells = [name, f"{len(tissues)} x {len(own) / len(tissues):.0f}", f"{1 - len(tested) / len(own):.1%}"]
        for test in TESTS:
            rate, half = of_tissues(lambda row, test=test: row[test] <= 0.05)
            cells.append(f"{rate:.3f} ± {half:.3f}")
        z, se, size = (np.array([row[key] for row in tested]) for key in ("z", "se", "n_effective"))
        covered = np.abs(z) <= stats.t.ppf(0.975, size - 2) * se
        mean, half = of_tissues(lambda row: row["z"])
        cells += [f"{covered.mean():.3f}", f"{mean:+.4f} ± {half:.4f}", f"{z.std():.4f}", f"{math.sqrt((se**2).mean()):.4f}"]
        guarded = [row for row in tested if row["guarded"]]
        said, half = of_tissues(lambda row: row["verdict"] == "consistent with priming", guarded) if guarded else (math.nan, math.nan)
        lines.append("| " + " | ".join([*cells, f"{said:.3f} ± {half:.3f} ({len(guarded)} sets)"]) + " |")
    return "\n".join(lines)


def guard_table(rows: list[dict]) -> str:  # type: ignore[type-arg]
    """Rejection rate, over all null draws with guards, of the p that each guard prints."""
    null = [row for row in rows if row["guards"] and SCENARIOS[row["scenario"]][1] == 0]
    names = list(dict.fromkeys(name for row in null for name in row["guards"]))
    lines = ["| guard | sets | rejected | mean z |", "|---|---|---|---|"]
    for name in names:
        by: dict[int, list[tuple[float, float]]] = {}
        for row in null:
            z, _, p = row["guards"].get(name, (None, None, None))
            if p is not None:
                by.setdefault(row["tissue"], []).append((float(p <= 0.05), z))
        if by:
            rate, half = clustered([[p for p, _ in own] for own in by.values()])
            mean, half_z = clustered([[z for _, z in own] for own in by.values()])
            lines.append(f"| {name} | {sum(map(len, by.values()))} | {rate:.3f} ± {half:.3f} | {mean:+.4f} ± {half_z:.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tissues", type=int, default=25)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--effect-draws", type=int, default=8)
    parser.add_argument("--guarded", type=int, default=8, help="draws of a tissue and scenario that are analysed with guards")
    parser.add_argument("--method", default="classical")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {(row["scenario"], row["tissue"], row["number"]) for row in rows}
    most = {name: options.effect_draws if beta else options.draws for name, (_, beta) in SCENARIOS.items()}
    if not options.table:
        with options.out.open("a") as file:
            for seed in range(100, 100 + options.tissues):
                wanted = [(name, k) for k in range(max(most.values())) for name in SCENARIOS if k < most[name]]
                wanted = [(name, k) for name, k in wanted if (name, seed, k) not in done]
                if not wanted:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    tissue = FixedTissue(seed, options.method, Path(folder))
                for name, number in wanted:
                    rows.append(analysed(tissue, name, number, number < options.guarded))
                    file.write(json.dumps(rows[-1]) + "\n")
                    file.flush()
    print(table(rows), guard_table(rows), sep="\n\n")
    draw, analysis = (np.mean([row[key] for row in rows]) for key in ("draw_s", "analysis_s"))
    print(f"\n{draw:.2f} CPU seconds to draw and measure, {analysis:.2f} to analyse (shared machine)")


if __name__ == "__main__":
    main()
