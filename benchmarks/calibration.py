"""How often the tests of one slide reject when nothing is there, how often their intervals hold the
truth, and what effects they find.

    python benchmarks/calibration.py --out calibration.jsonl  # 1,000 data sets per null
    python benchmarks/calibration.py --out calibration.jsonl --table    --csv docs/calibration

Point-level tissue with known truth (`tests/point_tissue.py`). Data sets are seeded by
scenario and number, so that a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import rows_in
from point_tissue import (
    BACKGROUND,
    BACKGROUND_SD,
    CHANNELS,
    PointOptions,
    PointTissue,
    point_tissue,
)
from rates import Mean, Number, Rate, Table
from scipy import stats

from ifquant.geometry.region import Region
from ifquant.recipe.defaults import resolved
from ifquant.recipe.model import Priming, Recipe
from ifquant.statistics.priming.primary_association import exposure_of, primary_association
from ifquant.statistics.priming.priming_test import priming_effect
from ifquant.statistics.priming.question import Background, Question, question_of
from ifquant.statistics.priming.slide_cells import SlideCells, SlideData

SMALL = "small tissue (0.18 mm2), range 50 um"
NULLS = {
    "independent": PointOptions(ligand_range_um=0, response_range_um=0),
    "range 20 um": PointOptions(ligand_range_um=20, response_range_um=20),
    "range 50 um": PointOptions(ligand_range_um=50, response_range_um=50),
    "range 150 um": PointOptions(ligand_range_um=150, response_range_um=150),
    "density gradient": PointOptions(gradient=2.0),
    "shared autofluorescence": PointOptions(autofluorescence=0.3),
    "shared multiplicative field": PointOptions(multiplicative=0.35),
    "bleed-through 2 %": PointOptions(bleed=0.02),
    "crowded contact": PointOptions(spill=0.15, activation=0.5, spacing_um=10.0),
    "response in sources, too": PointOptions(source_response=0.3),
    SMALL: PointOptions(size_um=(420.0, 420.0)),
}
"""Nothing is there: no ligand reaches any response."""
HARD = {
    "short multiplicative field (25 um)": PointOptions(multiplicative=0.35, artefact_range_um=25.0),
    "short autofluorescence (20 um)": PointOptions(autofluorescence=0.3, artefact_range_um=20.0),
    "the same, with an empty channel": PointOptions(
        autofluorescence=0.3, artefact_range_um=20.0, background_channel=True
    ),
    "autofluorescence, no bystanders": PointOptions(autofluorescence=0.3, tumor_share=0.99),
    "own ligand raised by the same niche": PointOptions(niche=0.6, activation=0.5),
}
"""Nulls that are known to stay difficult: what the guards make of them is what counts."""
EFFECTS = {
    **{f"effect {beta:g}": PointOptions(beta=beta) for beta in (0.1, 0.2, 0.3, 0.4, 0.6)},
    "effect 0.4, multiplicative field": PointOptions(beta=0.4, multiplicative=0.35),
    "effect 0.4, crowded": PointOptions(beta=0.4, spill=0.15, activation=0.5, spacing_um=10.0),
}
SCENARIOS = {**NULLS, **HARD, **EFFECTS}
Rows = list[dict[str, Any]]
TESTS = ("naive", "shift", "clifford_dutilleul", "surrogate")


def question(empty: bool) -> tuple[Question, Priming]:
    roles = {"DAPI": "nucleus", "PanCK": "tumor", "CD11c": "myeloid", "AF": "background"}
    names = ("DAPI", "PanCK", "CD11c", "TGFB1", "IL1B", *(("AF",) if empty else ()))
    channels = [{"name": name, "role": roles.get(name, "marker")} for name in names]
    channels[4]["compartment"] = "cytoplasm"
    asked = {"response": "IL1B", "ligand": "TGFB1", "permutations": 199}
    return question_of(resolved(Recipe.model_validate({"channels": channels, "priming": asked})))


BACKGROUNDS = {channel: Background(BACKGROUND, BACKGROUND_SD, "simulated") for channel in CHANNELS}


def analysed(
    options: PointOptions, name: str, number: int, guards: bool, foreign: bool = False
) -> dict[str, object]:
    """Draw and analyse data set `number` of a scenario; `foreign`: as another program's table, with
    centroids and whole cells only.
    """
    seed = (zlib.crc32(name.encode()), number)
    tissue = point_tissue(options, seed)
    asked, priming = question(options.background_channel)
    data = SlideData(tissue.cells, tissue.pairs, region_of(tissue), BACKGROUNDS)
    if foreign:
        data = SlideData(tissue.cells.drop(columns="tumor_region_distance_um"))
    started = time.process_time()
    effect = priming_effect(data, asked, priming, slide=f"{name} {number}", with_guards=guards)
    row: dict[str, object] = {
        "scenario": name,
        "number": number,
        "cpu_s": round(time.process_time() - started, 3),
    }
    row |= {
        "z": effect.z,
        "se": effect.se_z,
        "n_effective": effect.n_effective,
        "n": effect.n_exposed,
        "verdict": effect.verdict,
    }
    row |= {test: effect.tests[test].p if test in effect.tests else None for test in TESTS[1:]}
    row |= {
        "slope": effect.slope,
        "slope_se": effect.slope_se,
        "true_slope": true_slope(tissue.cells, tissue.pairs, options.beta),
    }
    if options.beta:
        row["true_z"] = true_z(
            replace(options, multiplicative=0.0, autofluorescence=0.0, spill=0.0, bleed=0.0), seed
        )
    row["guards"] = [[g.name, g.kind, g.z, g.se, g.p] for g in effect.guards]
    return row | {"naive": naive_p(tissue.cells, tissue.pairs)}


def region_of(tissue: PointTissue) -> Region:
    return Region(tissue.tissue, (tissue.step_um, tissue.step_um))


def true_z(clean: PointOptions, seed: tuple[int, int]) -> float:
    """Give the effect that the same cells show without any artefact: their ligand and response are
    drawn before these.
    """
    tissue = point_tissue(clean, seed)
    asked, priming = question(clean.background_channel)
    data = SlideData(tissue.cells, tissue.pairs, region_of(tissue), BACKGROUNDS)
    cells = SlideCells.of(data, asked, priming)
    return primary_association(cells, exposure_of(cells)).association.z


def true_slope(cells, pairs, beta: float) -> float:  # type: ignore[no-untyped-def]
    """Give the rise of response that was put in, in standard deviations of the cells drawn."""
    rows, where = np.unique(pairs["responder_id"].to_numpy() - 1, return_inverse=True)
    exposure = np.bincount(
        where, cells["true_ligand"].to_numpy()[pairs["source_id"].to_numpy() - 1]
    ) / np.bincount(where)
    return float(beta * exposure.std() / cells["true_response"].to_numpy()[rows].std())


def naive_p(cells, pairs) -> float:  # type: ignore[no-untyped-def]
    """Correlate over cells, log intensities, nothing held constant, and give the p-value."""
    ligand = np.log(np.maximum(cells["TGFB1_membrane_mean"].to_numpy() - BACKGROUND, BACKGROUND_SD))
    response = np.log(
        np.maximum(cells["IL1B_cytoplasm_mean"].to_numpy() - BACKGROUND, BACKGROUND_SD)
    )
    rows, where = np.unique(pairs["responder_id"].to_numpy() - 1, return_inverse=True)
    exposure = np.bincount(where, ligand[pairs["source_id"].to_numpy() - 1]) / np.bincount(where)
    return float(stats.pearsonr(exposure, response[rows]).pvalue)


def tested(rows: Rows, name: str) -> Rows:
    return [row for row in rows if row["scenario"] == name and row["shift"] is not None]


def null_table(rows: Rows, title: str = "points_nulls") -> Table:
    """Rejection, coverage of 0 and spread of z, scenario by scenario."""
    head = [
        "scenario",
        "sets",
        "not testable",
        *TESTS,
        "coverage of 0",
        "mean z",
        "sd of z",
        "mean se",
        "consistent with priming",
    ]
    lines = []
    for name in (*NULLS, *HARD):
        every, own = [row for row in rows if row["scenario"] == name], tested(rows, name)
        if own:
            z, se, size = (
                np.array([row[key] for row in own]) for key in ("z", "se", "n_effective")
            )
            covered = np.abs(z) <= stats.t.ppf(0.975, size - 2) * se
            said = Rate(
                sum(row["verdict"] == "consistent with priming" for row in every), len(every)
            )
            rates = [Rate(sum(row[test] <= 0.05 for row in own), len(own)) for test in TESTS]
            spread = [
                Number(z.mean(), "+.4f"),
                Number(z.std(), ".4f"),
                Number(math.sqrt((se**2).mean()), ".4f"),
            ]
            share = Number(1 - len(own) / len(every), ".1%")
            lines.append(
                [name, len(every), share, *rates, Rate(int(covered.sum()), len(own)), *spread, said]
            )
    return Table(title, head, lines)


def guard_tables(rows: Rows) -> list[Table]:
    """Rejection of the p that each guard prints: every number, and a page-sized table of the rates
    alone.
    """
    lines = []
    rates: dict[str, dict[str, Rate]] = {}
    for name in (*NULLS, *HARD):
        own = [
            guard for row in tested(rows, name) for guard in row["guards"] if guard[4] is not None
        ]
        for guard in dict.fromkeys(g[0] for g in own):
            z, se, p = (np.array([g[k] for g in own if g[0] == guard]) for k in (2, 3, 4))
            rate = Rate(int((p <= 0.05).sum()), len(p))
            rates.setdefault(guard, {})[name] = rate
            spread = [
                Number(z.mean(), "+.4f"),
                Number(z.std(), ".4f"),
                Number(math.sqrt((se**2).mean()), ".4f"),
            ]
            lines.append([name, guard, rate, *spread])
    names = [name for name in NULLS if any(name in own for own in rates.values())]
    short = [
        [guard, *(_rate_alone(own.get(name)) for name in names)] for guard, own in rates.items()
    ]
    return [
        Table(
            "points_guards",
            ["scenario", "guard", "rejected", "mean z", "sd of z", "mean se"],
            lines,
        ),
        Table("", ["guard", *names], short),
    ]


def _rate_alone(rate: Rate | None) -> str:
    """Show a rate without its interval; bold where the interval lies above 0.05, a dash where too
    few sets could be tested.
    """
    if rate is None or rate.n < 300:
        return "-"
    return f"**{rate.value:.3f}**" if rate.interval[0] > 0.05 else f"{rate.value:.3f}"


def effect_table(rows: Rows) -> Table:
    """Power, coverage of the mean effect, and the slope against the one that was put in."""
    head = [
        "effect (beta)",
        "sets",
        "power (shift)",
        "consistent with priming",
        "mean z",
        "true z",
        "coverage of it",
        "mean se / sd of z",
    ]
    lines = []
    for name in EFFECTS:
        own = tested(rows, name)
        if own:
            z, se, size, slope, slope_se, truth, true = (
                np.array([row[key] for row in own])
                for key in ("z", "se", "n_effective", "slope", "slope_se", "true_slope", "true_z")
            )
            t = stats.t.ppf(0.975, size - 2)
            said = [Rate(sum(row["shift"] <= 0.05 for row in own), len(own))]
            said += [
                Rate(sum(row["verdict"] == "consistent with priming" for row in own), len(own))
            ]
            held = [
                Rate(int((np.abs(a - b) <= t * c).sum()), len(own))
                for a, b, c in ((z, true.mean(), se), (slope, truth, slope_se))
            ]
            means = [
                Mean(x.mean(), 2.58 * x.std() / math.sqrt(len(own)), "+.3f") for x in (z, slope)
            ]
            about_z = [
                means[0],
                Number(true.mean(), "+.3f"),
                held[0],
                Number(math.sqrt((se**2).mean()) / z.std(), ".3f"),
            ]
            lines.append(
                [
                    name.removeprefix("effect "),
                    len(own),
                    *said,
                    *about_z,
                    means[1],
                    Number(truth.mean(), "+.3f"),
                    held[1],
                ]
            )
    return Table(
        "points_effects", [*head, "slope", "slope put in", "coverage of it (slope)"], lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--effect-sets", type=int, default=400)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS))
    parser.add_argument(
        "--foreign",
        action="store_true",
        help="the nulls as tables of another program, without guards",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="draw nothing, make the tables of docs/statistics.md from what is there",
    )
    parser.add_argument("--csv", type=Path, help="folder for the tables")
    options = parser.parse_args()
    rows = rows_in(options.out)
    if not options.table:
        done = {(row["scenario"], row["number"]) for row in rows}
        wanted = options.scenario or list(NULLS if options.foreign else SCENARIOS)
        numbers = dict.fromkeys((*NULLS, *HARD), options.sets) | dict.fromkeys(
            EFFECTS, options.effect_sets
        )
        numbers[SMALL] = options.sets * 3 // 2  # a third of them is not testable
        most = {name: numbers[name] for name in wanted}
        with options.out.open("a") as file:
            for start in range(
                0, max(most.values()), 50
            ):  # all scenarios grow together, so that an interrupted run is of use
                for name in wanted:
                    for number in range(start, min(start + 50, most[name])):
                        if (name, number) not in done:
                            row = analysed(
                                SCENARIOS[name], name, number, not options.foreign, options.foreign
                            )
                            rows.append(row)
                            file.write(json.dumps(row) + "\n")
                    file.flush()
    tables = (
        [null_table(rows, "foreign_nulls")]
        if options.foreign
        else [null_table(rows), *guard_tables(rows), effect_table(rows)]
    )
    for table in tables:
        table.show(options.csv)
    print(
        f"{len(rows)} data sets, {np.mean([row['cpu_s'] for row in rows]):.3f} CPU seconds per"
        " analysis (shared machine)"
    )


if __name__ == "__main__":
    main()
