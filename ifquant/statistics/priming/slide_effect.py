"""Values that the analysis of one slide returns: all that a report prints about its effect."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ifquant.statistics.priming.question import Background, Question

Verdict = Literal[
    "consistent with priming",
    "explained by spill-over",
    "not specific (a negative control responds as well)",
    "opposite direction",
    "no evidence",
    "not testable",
]
"""What a slide may be said to show; never that one thing causes another."""

NullModel = Literal["shift", "clifford_dutilleul", "surrogate"]
"""Random shifts (primary), effective sample size (analytic check), variogram-matched surrogates
(third opinion)."""


@dataclass(frozen=True)
class TestResult:
    """Result of one null model; where it could not test, `p` is None and `reason` says why."""

    __test__ = False  # not a test class

    p: float | None
    reason: str = ""
    n_replicates: int = 0
    null_z: tuple[float, ...] = ()


@dataclass(frozen=True)
class GuardRow:
    """One line of the guards table: the same effect under another measurement.

    Attributes
    ----------
    name
        E.g. ``ligand away from the contact`` or ``negative control DAPI``.
    kind
        "main", "spill-over", "negative control", "direction" or "sensitivity".
    z, se, p
        Effect on Fisher z, its standard error and p; None when not available.
    n
        Responders in it.
    reads_as
        What this line says, in words.
    """

    name: str
    kind: str
    z: float | None
    se: float | None
    p: float | None
    n: int
    reads_as: str


@dataclass(frozen=True)
class NaiveRow:
    """One test as the field runs it, on `n` cells, for comparison only, with what it gets wrong."""

    name: str
    estimate: float
    p: float
    wrong: str
    n: int = 0


@dataclass(frozen=True)
class DosePoint:
    """Mean response (SDs, adjusted) of the responders in a bin of exposure, with 95 % interval."""

    exposure: float
    n: int
    response: float
    lower: float
    upper: float


@dataclass(frozen=True)
class NaiveFraction:
    """The published readout: response-positive responders by ligand of their sources.

    `high` and `low` count responders on both sides of the median of that ligand.
    """

    high_positive: int
    high: int
    low_positive: int
    low: int


@dataclass(frozen=True)
class BleedThrough:
    """Estimated share of one channel's light that arrives in the other; NaN when unknown."""

    ligand_into_response: float
    response_into_ligand: float
    origin: str


@dataclass(frozen=True)
class Floored:
    """How many of `n` ranked values lay below the floor of one background SD above background."""

    n_floored: int
    n: int


@dataclass(frozen=True)
class SlideEffect:
    """The priming effect of one slide.

    Attributes
    ----------
    slide
        Name of the slide.
    verdict, reason
        The verdict and the sentence that explains it.
    z, se_z
        Partial rank correlation on Fisher's z and its standard error from the effective sample
        size; NaN when not testable.
    correlation, interval
        The same as a correlation, and its 95 % interval.
    n_effective
        Number of independent responders that the exposed ones are worth.
    tests
        Null model > result; "shift" is the primary one.
    n_cells, n_responders, n_exposed, n_sources, n_touched_sources
        Cells in all, responders, responders in contact with a source and used in the test, sources,
        sources touched by them.
    slope, slope_se
        Standard deviations of response per standard deviation of exposure, adjusted like the
        effect.
    fraction
        Response-positive among responders touching ligand-high and ligand-low sources; None where
        the response has no gate.
    guards, naive, dose_response
        Tables of the report.
    bleed_through
        Between the two channels.
    backgrounds
        Marker > background level used, also where nothing could be tested.
    floored
        "response" > among the exposed responders, "ligand" > among the sources with a known ligand;
        empty where no value was ranked.
    held
        What was really held constant, in words; empty where nothing was estimated.
    settings
        Everything else that was chosen: options, trend terms, ranges, seeds.
    warnings
        Sentences for people.
    """

    slide: str
    question: Question
    verdict: Verdict
    reason: str
    z: float = math.nan
    se_z: float = math.nan
    correlation: float = math.nan
    interval: tuple[float, float] = (math.nan, math.nan)
    n_effective: float = math.nan
    tests: Mapping[NullModel, TestResult] = field(default_factory=dict)
    n_cells: int = 0
    n_responders: int = 0
    n_exposed: int = 0
    n_sources: int = 0
    n_touched_sources: int = 0
    slope: float = math.nan
    slope_se: float = math.nan
    fraction: NaiveFraction | None = None
    guards: tuple[GuardRow, ...] = ()
    naive: tuple[NaiveRow, ...] = ()
    dose_response: tuple[DosePoint, ...] = ()
    bleed_through: BleedThrough | None = None
    backgrounds: Mapping[str, Background] = field(default_factory=dict)
    floored: Mapping[str, Floored] = field(default_factory=dict)
    held: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def testable(self) -> bool:
        """Whether the slide has an effect that its own primary test could judge.

        Only such effects enter a cohort.
        """
        return math.isfinite(self.z) and math.isfinite(self.se_z) and self.p is not None

    @property
    def p(self) -> float | None:
        """p-value of the primary null model, or None."""
        return self.tests["shift"].p if "shift" in self.tests else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain


def _plain(value: Any) -> Any:
    """Value of JSON for a value of a record."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


ALPHA = 0.05
REMAINS = 0.5
"""A spill-over guard must leave this share of the effect."""
SHARED = "ligand at the shared border"


def verdict_of(effect: SlideEffect) -> tuple[Verdict, str]:
    """Read the primary test and the guards."""
    main = effect.tests.get("shift")
    if main is None or main.p is None:
        return "not testable", main.reason if main is not None else "not testable: no test was made"
    size = (
        f"partial rank correlation {effect.correlation:+.2f} ({effect.interval[0]:+.2f} to"
        f" {effect.interval[1]:+.2f}), p = {main.p:.3g}"
    )
    if main.p > ALPHA:
        if _is_only_at_the_border(effect):
            return (
                "explained by spill-over",
                "only the ligand at the shared border goes with the response; away from it:"
                f" {size}",
            )
        return "no evidence", size
    for row in _controls_that_respond(effect.guards):
        if row.z is not None and abs(row.z) >= REMAINS * abs(effect.z):
            return (
                "not specific (a negative control responds as well)",
                f"{size}; but {row.name}: z = {row.z:+.2f}, p = {row.p:.3g}",
            )
    if effect.z < 0:
        return "opposite direction", size
    for row in effect.guards:
        if row.kind == "spill-over" and row.z is not None and row.z < REMAINS * effect.z:
            return (
                "explained by spill-over",
                f"{size}; but {row.name} leaves z = {row.z:+.2f} of {effect.z:+.2f}",
            )
    missing = [
        row.name
        for row in effect.guards
        if row.kind in ("spill-over", "negative control") and row.z is None
    ]
    note = f"; not available: {', '.join(missing)}" if missing else ""
    return "consistent with priming", size + note


def _is_only_at_the_border(effect: SlideEffect) -> bool:
    """Whether the ligand at the shared border goes with the response, and clearly more so."""
    row = next((row for row in effect.guards if row.name == SHARED), None)
    if row is None or row.p is None or row.z is None:
        return False
    return row.p <= ALPHA / 2 and effect.z < REMAINS * row.z


def _controls_that_respond(guards: Sequence[GuardRow]) -> list[GuardRow]:
    """Negative controls whose p passes Holm's correction over the controls, smallest p first.

    Of several true controls one falls below 0.05 by chance too often, which would condemn real
    effects.
    """
    controls = sorted(
        (row for row in guards if row.kind == "negative control" and row.p is not None),
        key=lambda row: row.p or 0.0,
    )
    passed = itertools.takewhile(
        lambda item: (item[1].p or 0.0) * (len(controls) - item[0]) <= ALPHA, enumerate(controls)
    )
    return [row for _, row in passed]
