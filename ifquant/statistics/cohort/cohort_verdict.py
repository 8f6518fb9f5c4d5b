"""What a cohort may be said to show, in one of a few fixed phrases; never that one thing causes
another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ifquant.statistics.cohort.mean_effect import ALPHA, CohortEffect
from ifquant.statistics.priming.slide_effect import SHARED, Verdict

ARTEFACT_Z = 0.04
"""Largest mean effect of a true null under artefacts that change from cell to cell
(docs/statistics.md)."""
ENOUGH = 2 / 3
"""A guard known in a smaller share of the patients says nothing about the cohort."""
HALF = 0.5
"""A control that reaches this share of the effect responds as well; a spill-over guard that keeps
less has explained it."""


@dataclass(frozen=True, eq=False)
class CohortGuard:
    """The cohort's effect under another measurement; `name`, `kind` and `reads_as` as in
    `effect.GuardRow`.

    `beside` is the primary effect over the very slides that have this guard; None: over all.
    """

    name: str
    kind: str
    reads_as: str
    effect: CohortEffect
    beside: CohortEffect | None = None

    def available(self, main: CohortEffect) -> bool:
        """Whether it is known in enough of the patients to stand for the cohort; a control must
        also be able to tell.
        """
        known = (
            self.effect.estimate is not None and self.effect.n_patients >= ENOUGH * main.n_patients
        )
        return known and (self.kind != "negative control" or self.effect.p is not None)

    def primary(self, main: CohortEffect) -> float:
        """Give the primary estimate that this guard is held against."""
        found = (self.beside or main).estimate
        return found if found is not None else 0.0


def cohort_verdict(
    main: CohortEffect, p: float | None, guards: Sequence[CohortGuard]
) -> tuple[Verdict, str]:
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
    size = (
        f"mean effect {main.estimate:+.3f} on Fisher's z over {main.n_patients} patients, p ="
        f" {p:.3g}"
    )
    if p > ALPHA:
        return _no_effect(main, guards, size)
    controls = [guard for guard in guards if guard.kind == "negative control"]
    for guard in controls:
        if _responds(guard.effect, abs(guard.primary(main)), len(controls)):
            return (
                "not specific (a negative control responds as well)",
                f"{_capital(size)}, but {guard.name} gives {_number(guard.effect)} (p ="
                f" {guard.effect.p:.3g}).",
            )
    if main.estimate < 0:
        return "opposite direction", f"{_capital(size)}: more ligand goes with less response."
    spill = [guard for guard in guards if guard.kind == "spill-over"]
    vanished = next((guard for guard in spill if _vanishes(guard, main)), None)
    if vanished is not None:
        return (
            "explained by spill-over",
            f"{_capital(size)}, but {vanished.name} leaves {_number(vanished.effect)}"
            f" ({vanished.reads_as}).",
        )
    missing = [guard.name for guard in (*controls, *spill) if not guard.available(main)]
    rest = f" Not available in enough patients: {', '.join(missing)}." if missing else ""
    said = unguarded(main, guards) or (
        "no negative control responds as well",
        "no spill-over guard removes it",
    )
    return "consistent with priming", f"{_capital(size)}; {'; '.join(said)}.{rest}"


def _no_effect(main: CohortEffect, guards: Sequence[CohortGuard], size: str) -> tuple[Verdict, str]:
    """Verdict where the primary test finds nothing."""
    shared = _only_at_the_border(main, guards)
    if shared is not None:
        reason = (
            f"only {shared.name} goes with the response ({_number(shared.effect)}); away from"
            f" it: {size}."
        )
        return "explained by spill-over", _capital(reason)
    power = ""
    if main.detectable is not None:
        power = f" An effect of {main.detectable:.2f} would have been found with 80 % power."
    return "no evidence", f"{_capital(size)}.{power}"


def unguarded(main: CohortEffect, guards: Sequence[CohortGuard]) -> tuple[str, ...]:
    """Say what an effect was not guarded against; it stands in the verdict's own line."""
    controls, spill = (
        [guard for guard in guards if guard.kind == kind]
        for kind in ("negative control", "spill-over")
    )
    said = (
        ()
        if any(guard.available(main) for guard in controls)
        else ("no negative control was available",)
    )
    if not spill or not all(guard.available(main) for guard in spill):
        said = (*said, "spill-over between touching cells cannot be excluded here")
    return said


def flag_of(main: CohortEffect, guards: Sequence[CohortGuard]) -> str | None:
    """Say that the primary p may be too small: a negative control goes with the response, or the
    effect may be as small as an artefact's.

    An artefact that changes from cell to cell is beyond any local adjustment; on every slide of
    twelve patients it makes the primary test reject up to 41 % of true nulls (docs/cohort.md, which
    also tells how few of these are left without a flag).
    """
    if not main.testable or main.estimate is None or main.low is None or main.high is None:
        return None
    controls = [guard for guard in guards if guard.kind == "negative control"]
    found = next((guard for guard in controls if _goes_along(guard.effect, len(controls))), None)
    vanished = next(
        (guard for guard in guards if guard.kind == "spill-over" and _vanishes(guard, main)), None
    )
    if (
        found is None
        and vanished is not None
        and main.p is not None
        and main.p <= ALPHA
        and main.estimate > 0
    ):
        return (
            f"flagged: {vanished.name} leaves {_number(vanished.effect)} of it"
            f" ({vanished.reads_as}); read the verdict, not p alone"
        )
    if found is None:
        near = min(abs(main.low), abs(main.high)) if main.low * main.high > 0 else 0.0
        if main.p is None or main.p > ALPHA or near >= ARTEFACT_Z:
            return None
        return (
            "flagged: artefacts that change from cell to cell gave mean effects of up to"
            f" {ARTEFACT_Z:g} in calibration, and this interval does not exclude so small an"
            " effect; p alone does not tell it from one"
        )
    return (
        f"flagged: {found.name} goes with the response as well ({_number(found.effect)}, p ="
        f" {found.effect.p:.3g}), so that an artefact which changes from cell to cell may make this"
        " p too small; read the verdict, not p alone"
    )


def _goes_along(control: CohortEffect, n_controls: int) -> bool:
    """Whether a control is no chance finding: Bonferroni over the controls as far as the number of
    patients allows that.
    """
    return (
        control.estimate is not None
        and control.p is not None
        and control.p <= max(ALPHA / n_controls, control.smallest_p)
    )


def _responds(control: CohortEffect, main: float, n_controls: int) -> bool:
    """As large as half the effect, and no chance finding."""
    return (
        _goes_along(control, n_controls)
        and control.estimate is not None
        and abs(control.estimate) >= HALF * main
    )


def _only_at_the_border(main: CohortEffect, guards: Sequence[CohortGuard]) -> CohortGuard | None:
    """Find the shared border, if it alone goes with the response, and clearly more than the border
    away from the contact.
    """
    shared = next((guard for guard in guards if guard.name == SHARED), None)
    if (
        shared is None
        or shared.effect.p is None
        or shared.effect.low is None
        or main.estimate is None
    ):
        return None
    return (
        shared if shared.effect.p <= ALPHA and shared.effect.low > max(main.estimate, 0.0) else None
    )


def _vanishes(guard: CohortGuard, main: CohortEffect) -> bool:
    """Whether less than half the effect is left, in enough patients to say so."""
    left = guard.effect.estimate
    return left is not None and guard.available(main) and left < HALF * guard.primary(main)


def _number(effect: CohortEffect) -> str:
    if effect.estimate is None:
        return "no number"
    interval = f" ({effect.low:+.3f} to {effect.high:+.3f})" if effect.low is not None else ""
    return f"{effect.estimate:+.3f}{interval}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
