"""What a cohort may be said to show, in one of a few fixed phrases; never that one thing causes another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ifquant.statistics.cohort_effect import ALPHA, CohortEffect
from ifquant.statistics.effect import Verdict
from ifquant.statistics.verdict import SHARED

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
        shared = _only_at_the_border(main, guards)
        if shared is not None:
            reason = f"only {shared.name} goes with the response ({_number(shared.effect)}); away from it: {size}."
            return "explained by spill-over", _capital(reason)
        found = f" An effect of {main.detectable:.2f} would have been found with 80 % power." if main.detectable is not None else ""
        return "no evidence", f"{_capital(size)}.{found}"
    if main.estimate < 0:
        return "opposite direction", f"{_capital(size)}: more ligand goes with less response."
    controls = [guard for guard in guards if guard.kind == "negative control"]
    for guard in controls:
        if _responds(guard.effect, main.estimate, len(controls)):
            return (
                "not specific (a negative control responds as well)",
                f"{_capital(size)}, but {guard.name} gives {_number(guard.effect)} (p = {guard.effect.p:.3g}).",
            )
    for guard in guards:
        if guard.kind == "spill-over" and _vanishes(guard.effect, main.estimate):
            return "explained by spill-over", f"{_capital(size)}, but {guard.name} leaves {_number(guard.effect)}."
    asked = {kind: [g for g in guards if g.kind == kind and g.effect.estimate is not None] for kind in ("negative control", "spill-over")}
    controls_say = "no negative control responds as well" if asked["negative control"] else "no negative control was available"
    spill_says = "no spill-over guard removes it" if asked["spill-over"] else "spill-over between touching cells cannot be excluded here"
    missing = [guard.name for guard in guards if guard.kind in asked and guard.effect.estimate is None]
    rest = f" Not available: {', '.join(missing)}." if missing else ""
    return "consistent with priming", f"{_capital(size)}; {controls_say}; {spill_says}.{rest}"


def _responds(control: CohortEffect, main: float, n_controls: int) -> bool:
    """As large as the effect, and no chance finding: Bonferroni over the controls as far as the number of patients allows that."""
    if control.estimate is None or control.p is None:
        return False
    bar = max(ALPHA / n_controls, control.smallest_p)
    return control.p <= bar and abs(control.estimate) >= HALF * main


def _only_at_the_border(main: CohortEffect, guards: Sequence[CohortGuard]) -> CohortGuard | None:
    """Find the shared border, if it alone goes with the response, and clearly more than the border away from the contact."""
    shared = next((guard for guard in guards if guard.name == SHARED), None)
    if shared is None or shared.effect.p is None or shared.effect.low is None or main.estimate is None:
        return None
    return shared if shared.effect.p <= ALPHA and shared.effect.low > max(main.estimate, 0.0) else None


def _vanishes(guard: CohortEffect, main: float) -> bool:
    return guard.estimate is not None and guard.estimate < HALF * main


def _number(effect: CohortEffect) -> str:
    if effect.estimate is None:
        return "no number"
    interval = f" ({effect.low:+.3f} to {effect.high:+.3f})" if effect.low is not None else ""
    return f"{effect.estimate:+.3f}{interval}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
