"""The multiverse: the cohort's effect under every reasonable choice of gate, exposure, compartment
and segmentation, side by side.

It answers whether the result hangs on one choice. It is no test: the specifications share their
cells, so their p-values are not independent and none is adjusted or reported as a finding.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ifquant.statistics.cohort.mean_effect import ALPHA, CohortEffect


@dataclass(frozen=True, eq=False)
class Specification:
    """One combination of choices, and the cohort's effect under it.

    Attributes
    ----------
    choices
        Dimension > option.
    main
        Whether these are the choices of the primary analysis.
    effect
        The cohort's effect.
    n_not_testable
        Slides that could not be tested with these choices.
    """

    choices: Mapping[str, str]
    main: bool
    effect: CohortEffect
    n_not_testable: int = 0


@dataclass(frozen=True)
class Multiverse:
    """What the specifications show together: how many there are, in how many the sign and p agree
    with the main one, and their range.
    """

    n: int
    n_estimated: int
    n_same_sign: int
    n_below_alpha: int
    lowest: float | None
    highest: float | None
    median: float | None


def summarized(specifications: Sequence[Specification]) -> Multiverse:
    """Count how far the specifications agree with the main one."""
    main = next((s.effect.estimate for s in specifications if s.main), None)
    found = sorted(s.effect.estimate for s in specifications if s.effect.estimate is not None)
    same = sum(value * main > 0 for value in found) if main is not None else 0
    below = sum(
        s.effect.testable and s.effect.p is not None and s.effect.p <= ALPHA for s in specifications
    )
    median = statistics.median(found) if found else None
    lowest, highest = (found[0], found[-1]) if found else (None, None)
    return Multiverse(len(specifications), len(found), same, below, lowest, highest, median)
