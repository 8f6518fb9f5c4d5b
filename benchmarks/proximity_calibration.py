"""How often the proximity tests reject a true null at 0.05: ``python
benchmarks/proximity_calibration.py [data sets] [shipped]``.

1 mm2 of tissue with a hole and a corner missing; 60 source and 120 target cells (and 60 others), 15
distances up to 60 um, 99 permutations, 119 shifts. Scenarios whose null is false for a test are
listed to show what the test then answers. Controls that must fail, and the scenario in which every
null is false, get at most 200 data sets. Three scenarios are tested again by what every run calls,
at its defaults ("as shipped"); with the word shipped only these, other rows are kept. Writes
docs/proximity_calibration.csv.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial import cKDTree

from ifquant.commands.analyze_slide import NEIGHBOR_UM, RADII_UM
from ifquant.files import table_files
from ifquant.geometry.region import Region
from ifquant.recipe.model import CohortOptions
from ifquant.statistics.patterns.enrichment import enrichment, neighbors_within
from ifquant.statistics.patterns.envelopes import global_envelope
from ifquant.statistics.patterns.point_patterns import cross_l
from ifquant.statistics.patterns.proximity_tests import NullDesign, random_labeling_test
from ifquant.statistics.patterns.random_shift import random_shift_test
from ifquant.statistics.patterns.slide_proximity import (
    STATISTICS,
    LabeledCells,
    ProximityOptions,
    slide_proximity,
)

_mask = np.ones((25, 25), np.bool_)
_mask[8:14, 9:15] = _mask[20:, 21:] = False
TISSUE = Region(_mask, (40.0, 40.0))
R = np.linspace(4, 60, 15)
KINDS = np.repeat([0, 1, 2], [60, 120, 60])
Draw = Callable[[np.random.Generator], np.ndarray]
ILLUSTRATIONS = 200
"""Data sets for what is no error rate: controls that must fail, and a scenario in which every null
is false."""
SHIPPED_NULLS: int = CohortOptions.model_fields["proximity_shifts"].default
SHIPPED = (
    f"as shipped: {len(RADII_UM)} distances to {RADII_UM[-1]:g} um, {SHIPPED_NULLS} shifts and"
    " labellings"
)
OUT = Path(__file__).parents[1] / "docs" / "proximity_calibration.csv"


def uniform(rng: np.random.Generator, n: int) -> np.ndarray:
    drawn = rng.random((4 * n, 2)) * 1000
    return drawn[TISSUE.contains(*drawn.T)][:n]


def clustered(rng: np.random.Generator, n: int, per_mm2: float) -> np.ndarray:
    parents = rng.random((int(per_mm2 * 1.96), 2)) * 1400 - 200
    drawn = parents[rng.integers(0, len(parents), 40 * n)] + rng.normal(0, 25, (40 * n, 2))
    return drawn[TISSUE.contains(*drawn.T)][:n]


def independent(rng: np.random.Generator, per_mm2: float) -> np.ndarray:
    return np.vstack([clustered(rng, int(n), per_mm2) for n in np.bincount(KINDS)])


def crowded(rng: np.random.Generator, n: int = 3500, apart_um: float = 9.0) -> np.ndarray:
    """Draw cells that cannot overlap (random sequential adsorption)."""
    kept = np.empty((0, 2))
    while len(kept) < n:
        drawn = uniform(rng, n)
        if len(kept):
            drawn = drawn[cKDTree(kept).query(drawn)[0] >= apart_um]
        dropped: set[int] = set()
        for i, j in sorted(cKDTree(drawn).query_pairs(apart_um)):
            if i not in dropped:
                dropped.add(j)
        kept = np.vstack((kept, np.delete(drawn, list(dropped), axis=0)))
    return kept[:n]


def overlapping(rng: np.random.Generator, seed: int) -> dict[str, bool]:
    """Test crowded cells whose kinds are given at random, with and without (the control that fails)
    setting small distances aside.
    """
    kind, cells = rng.permutation(np.repeat([0, 1, 2], [400, 1500, 1600])), crowded(rng)
    found = {}
    ways = [("", 20.0), (", small distances not set aside (control that must fail)", 0.0)][
        : 2 if seed < ILLUSTRATIONS else 1
    ]
    for statistic in STATISTICS:
        design = NullDesign(statistic, 119, seed)
        for words, beyond_um in ways:
            p = random_shift_test(
                cells[kind == 0], cells[kind == 1], TISSUE, R, design, beyond_um=beyond_um
            ).p
            found[f"shift {statistic}{words}"] = p is not None and p <= 0.05
    return found


def compartments(rng: np.random.Generator) -> np.ndarray:
    """Draw sources and targets independent of each other, but both four times denser on the left
    half.
    """
    drawn = uniform(rng, 2000)
    kept = drawn[rng.random(len(drawn)) < np.where(drawn[:, 0] < 500, 1.0, 0.25)][:180]
    return np.vstack((kept[rng.permutation(180)], uniform(rng, 60)))


SCENARIOS: dict[str, Draw] = {
    "uniform, kinds at random": lambda rng: uniform(rng, 240),
    "clusters, kinds at random within them": lambda rng: rng.permutation(clustered(rng, 240, 25)),
    "each kind in its own clusters, 10 per mm2": lambda rng: independent(rng, 10),
    "each kind in its own clusters, 25 per mm2": lambda rng: independent(rng, 25),
    "each kind in its own clusters, 50 per mm2": lambda rng: independent(rng, 50),
    "both kinds in the same half of the tissue": compartments,
}
AS_SHIPPED = (
    "uniform, kinds at random",
    "clusters, kinds at random within them",
    "each kind in its own clusters, 25 per mm2",
)
FALSE_NULLS = {  # scenario > tests whose null it does not meet
    "clusters, kinds at random within them": {"shift"},
    "each kind in its own clusters, 10 per mm2": {"labelling", "enrichment"},
    "each kind in its own clusters, 25 per mm2": {"labelling", "enrichment"},
    "each kind in its own clusters, 50 per mm2": {"labelling", "enrichment"},
    "both kinds in the same half of the tissue": {"shift", "labelling", "enrichment"},
}


def tested(cells: np.ndarray, seed: int) -> dict[str, bool]:
    source, target = cells[KINDS == 0], cells[KINDS == 1]
    found: dict[str, float | None] = {}
    for statistic in STATISTICS:
        design = NullDesign(statistic, 119, seed)
        found[f"shift {statistic}"] = random_shift_test(source, target, TISSUE, R, design).p
        design = NullDesign(statistic, 99, seed)
        found[f"labelling {statistic}"] = random_labeling_test(
            cells, KINDS == 0, KINDS == 1, TISSUE, R, design
        ).p
    found["enrichment (within 25 um)"] = float(
        enrichment(KINDS, "abc", neighbors_within(cells, 25.0), n_permutations=99, seed=seed).p[
            0, 1
        ]
    )
    return {name: p is not None and p <= 0.05 for name, p in found.items()}


def tested_as_shipped(cells: np.ndarray, seed: int) -> dict[str, bool | None]:
    """Test as every run does, with its defaults; None where it says "not testable"."""
    labeled = LabeledCells(cells, KINDS, ("source", "target", "other"))
    options = ProximityOptions(RADII_UM, neighbor_um=NEIGHBOR_UM, n_null=SHIPPED_NULLS, seed=seed)
    found = slide_proximity(labeled, TISSUE, "source", "target", options)
    p = {
        f"{kind} {name}": test.p
        for kind, tests in (("shift", found.shift), ("labelling", found.labeling))
        for name, test in tests.items()
    }
    assert found.enrichment is not None
    p[f"enrichment (within {NEIGHBOR_UM:g} um)"] = float(found.enrichment.p[0, 1])
    return {name: None if value is None else value <= 0.05 for name, value in p.items()}


def pointwise(rng: np.random.Generator) -> dict[str, bool]:
    """Test L of uniform cells against a pointwise band (the control that fails) and the global
    envelope of the same curves.
    """
    curves = np.array(
        [cross_l(uniform(rng, 60), uniform(rng, 120), TISSUE, R).value for _ in range(100)]
    )
    low, high = np.quantile(curves[1:], [0.025, 0.975], axis=0)
    return {
        "pointwise band of L (control that must fail)": bool(
            ((curves[0] < low) | (curves[0] > high)).any()
        ),
        "global envelope of the same curves": global_envelope(curves[0], curves[1:]).p <= 0.05,
    }


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    only_shipped = sys.argv[2:] == ["shipped"]
    rows = []

    def add(scenario: str, results: pd.DataFrame, false: set[str] | None = None) -> None:
        for test in results:
            known = results[test].dropna()
            low, high = stats.binomtest(int(known.sum()), len(known)).proportion_ci(0.99)
            true_null = "false" if str(test).split()[0] in (false or set()) else "true"
            rows.append([scenario, test, true_null, len(known), float(known.mean()), low, high])

    for scenario, draw in () if only_shipped else SCENARIOS.items():
        false = FALSE_NULLS.get(scenario, set())
        most = min(n, ILLUSTRATIONS) if {"shift", "labelling", "enrichment"} <= false else n
        add(
            scenario,
            pd.DataFrame(
                [
                    tested(draw(np.random.default_rng([seed, len(scenario)])), seed)
                    for seed in range(most)
                ]
            ),
            false,
        )
    if not only_shipped:
        crowd = [overlapping(np.random.default_rng([seed, 98]), seed) for seed in range(n)]
        add("3,500 crowded cells per mm2, kinds at random", pd.DataFrame(crowd))
        control = [
            pointwise(np.random.default_rng([seed, 99])) for seed in range(min(n, ILLUSTRATIONS))
        ]
        add("uniform, kinds at random", pd.DataFrame(control))
    for scenario in AS_SHIPPED:
        draws = (
            SCENARIOS[scenario](np.random.default_rng([seed, len(scenario)])) for seed in range(n)
        )
        results = pd.DataFrame([tested_as_shipped(cells, seed) for seed, cells in enumerate(draws)])
        add(f"{scenario} ({SHIPPED})", results, FALSE_NULLS.get(scenario))
    table = pd.DataFrame(
        rows, columns=["scenario", "test", "null", "data_sets", "rejected", "low_99", "high_99"]
    ).round(4)
    if only_shipped:
        kept = pd.read_csv(OUT, dtype={"null": str})
        table = pd.concat(
            (kept[~kept["scenario"].str.contains("(as shipped", regex=False)], table),
            ignore_index=True,
        )
    table_files.write_csv(table, OUT)
    print(table.to_string(index=False), f"\n{time.process_time():.0f} CPU s")


if __name__ == "__main__":
    main()
