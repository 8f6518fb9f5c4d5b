"""Many tests in one report: each belongs to a declared family and is adjusted within it.

Primary questions are few and controlled strictly (Holm: the chance of any false claim). Screens
(other radii, other measures) are many and explored (Benjamini-Hochberg: the share of false ones
among those reported).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import false_discovery_control

from ifquant.errors import RequestError

FamilyMethod = Literal["holm", "fdr_bh"]
METHOD_TEXT = {"holm": "Holm (family-wise)", "fdr_bh": "Benjamini-Hochberg (false discovery rate)"}


@dataclass(frozen=True)
class Family:
    """A declared set of tests: all of its p-values are adjusted together."""

    name: str
    method: FamilyMethod


PRIMARY = Family("primary", "holm")


@dataclass(frozen=True)
class TestedP:
    """One p-value with all that stands beside it; `p` is None where nothing could be tested (it
    takes no part in the adjustment).

    `reason` says why there is no p, or what must be read with it.
    """

    __test__ = False

    family: Family
    name: str
    p: float | None
    n_patients: int
    n_slides: int
    n_cells: int
    smallest_p: float
    reason: str | None = None
    adjusted: float | None = None

    def __post_init__(self) -> None:
        if self.p is not None and not 0 <= self.p <= 1:
            raise RequestError(f"{self.name}: p is {self.p}; it must lie between 0 and 1.")
        if self.p is not None and self.n_patients < 1:
            raise RequestError(f"{self.name}: a p-value needs the number of patients it rests on.")


def adjusted(tests: Sequence[TestedP]) -> tuple[TestedP, ...]:
    """Fill `adjusted` within each family, in the order given.

    Raises
    ------
    RequestError
        If one family is declared with two methods.
    """
    methods: dict[str, FamilyMethod] = {}
    for test in tests:
        if methods.setdefault(test.family.name, test.family.method) != test.family.method:
            raise RequestError(
                f"family {test.family.name!r} is declared with two methods; name them apart."
            )
    result = list(tests)
    for name, method in methods.items():
        at = [i for i, test in enumerate(tests) if test.family.name == name and test.p is not None]
        if at:
            for i, value in zip(
                at, adjust([float(tests[i].p or 0.0) for i in at], method), strict=True
            ):
                result[i] = replace(tests[i], adjusted=value)
    return tuple(result)


def adjust(p: Sequence[float], method: FamilyMethod) -> list[float]:
    """Adjust p-values: Benjamini and Hochberg 1995 (scipy), or Holm 1979 (statsmodels' collects
    garbage at every call: 50 ms and more).
    """
    values = np.asarray(p, np.float64)
    if method == "fdr_bh":
        return [float(value) for value in false_discovery_control(values)]
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    out = np.empty(len(values))
    out[order] = np.minimum(steps, 1.0)
    return [float(value) for value in out]
