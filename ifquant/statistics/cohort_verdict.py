"""What a cohort may be said to show, in one of a few fixed phrases; never that one thing causes another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ifquant.statistics.cohort_effect import ALPHA, CohortEffect
from ifquant.statistics.effect import Verdict

HALF = 0.5
"""A control that reaches this share of the effect responds as well; a spill-over guard that keeps less has explained it."""


@dataclass(frozen=True, eq=False)
class CohortGuard:
    """The cohort's effect under another measurement; `name`, `kind` and `reads_as` as in `effect.GuardRow`."""

    name: str
    kind: str
    reads_as: str
    effect: CohortEffect


def cohort_verdict(main: CohortEffect, p: float | None, guards: Sequence[CohortGuard]) -> tuple[Verdict, str]:
    """Choose the verdict and say why.

    Parameters
    ----------
    main
        The primary effect.
    p
        Its p-value, adjusted within the primary family.
    guards
        Rows of kind ``spill-over`` and ``negative control`` decide; others are only shown.
    """
    if not main.testable or main.estimate is None or p is None:
        return "not testable", main.reason or "not testable"
    size = f"mean effect {main.estimate:+.3f} on Fisher's z over {main.n_patients} patients, p = {p:.3g}"
    if p > ALPHA:
        found = f" An effect of {main.detectable:.2f} would have been found with 80 % power." if main.detectable is not None else ""
        return "no evidence", f"{_capital(size)}.{found}"
    if main.estimate < 0:
        return "opposite direction", f"{_capital(size)}: more ligand goes with less response."
    for guard in guards:
        if guard.kind == "negative control" and _responds(guard.effect, main.estimate):
            return (
                "not specific (a negative control responds as well)",
                f"{_capital(size)}, but {guard.name} gives {_number(guard.effect)} (p = {guard.effect.p:.3g}).",
            )
    for guard in guards:
        if guard.kind == "spill-over" and _vanishes(guard.effect, main.estimate):
            return "explained by spill-over", f"{_capital(size)}, but {guard.name} leaves {_number(guard.effect)}."
    unasked = [guard.name for guard in guards if guard.kind in ("spill-over", "negative control") and guard.effect.estimate is None]
    rest = f" Not asked: {', '.join(unasked)}." if unasked else ""
    return "consistent with priming", f"{_capital(size)}; no negative control responds as well and no spill-over guard removes it.{rest}"


def _responds(control: CohortEffect, main: float) -> bool:
    return control.estimate is not None and control.p is not None and control.p <= ALPHA and control.estimate >= HALF * main


def _vanishes(guard: CohortEffect, main: float) -> bool:
    if guard.estimate is None or guard.low is None:
        return False
    return guard.estimate < HALF * main and guard.low <= 0


def _number(effect: CohortEffect) -> str:
    if effect.estimate is None:
        return "no number"
    interval = f" ({effect.low:+.3f} to {effect.high:+.3f})" if effect.low is not None else ""
    return f"{effect.estimate:+.3f}{interval}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
