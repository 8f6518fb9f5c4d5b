"""The short version of benchmarks/calibration.py: true nulls are rejected as often as said, effects
are found, naive tests fail.

Bands are binomial: with 60 data sets a test that rejects 5 % lies at or below 9 rejections in 99.9
% of cases. Everything is seeded.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import calibration

SETS = 60
TESTS = ("shift", "clifford_dutilleul", "surrogate")


@cache
def drawn(scenario: str, sets: int = SETS) -> list[dict[str, Any]]:
    return [
        calibration.analysed(calibration.SCENARIOS[scenario], scenario, number, guards=False)
        for number in range(sets)
    ]


def rejected(rows: list[dict[str, Any]], test: str) -> int:
    return sum(row[test] <= 0.05 for row in rows)


def test_true_nulls_are_rejected_as_often_as_said() -> None:
    """Scenario by scenario within what chance allows, and over all of them (at most 48 of 600),
    where a rate of 10 % would show.
    """
    names = [name for name in calibration.NULLS if name != calibration.SMALL]
    total = dict.fromkeys(TESTS, 0)
    for name in names:
        rows = drawn(name)
        assert all(row["shift"] is not None for row in rows)
        counts = {test: rejected(rows, test) for test in TESTS}
        assert all(count <= stats.binom.ppf(0.999, SETS, 0.05) for count in counts.values()), (
            name,
            counts,
        )
        z, se, size = (np.array([row[key] for row in rows]) for key in ("z", "se", "n_effective"))
        assert (np.abs(z) <= stats.t.ppf(0.975, size - 2) * se).mean() >= 0.87, (
            name
        )  # 95 %, less 3 binomial standard errors
        assert abs(z.mean()) < 4 * z.std() / np.sqrt(SETS), name
        assert min(row["shift"] for row in rows) >= 1 / 200
        total = {test: total[test] + counts[test] for test in TESTS}
    most = stats.binom.ppf(0.999, SETS * len(names), 0.05)
    assert all(count <= most for count in total.values()), total


@pytest.mark.parametrize("scenario", ["range 150 um", "shared multiplicative field"])
def test_the_naive_correlation_fails_here(scenario: str) -> None:
    """The control: a scenario that naive tests pass would prove nothing."""
    assert rejected(drawn(scenario), "naive") >= 0.4 * SETS


def test_an_effect_is_found_where_there_is_one() -> None:
    rows = drawn("effect 0.6", 12)
    assert rejected(rows, "shift") >= 10
    assert all(row["z"] > 0 for row in rows)
