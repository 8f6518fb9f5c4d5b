"""The verdict on one slide, in words a reader can trust; never that one thing causes another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ifquant.statistics.effect import GuardRow, SlideEffect, Verdict

ALPHA = 0.05
REMAINS = 0.5
"""A spill-over guard must leave this share of the effect."""
SHARED = "ligand at the shared border"


def verdict_of(effect: SlideEffect) -> tuple[Verdict, str]:
    """Read the primary test and the guards."""
    main = effect.tests.get("shift")
    if main is None or main.p is None:
        return "not testable", main.reason if main is not None else "not testable: no test was made"
    size = f"partial rank correlation {effect.correlation:+.2f} ({effect.interval[0]:+.2f} to {effect.interval[1]:+.2f}), p = {main.p:.3g}"
    if main.p > ALPHA:
        shared = next((row for row in effect.guards if row.name == SHARED), None)
        if shared is not None and shared.p is not None and shared.z is not None and shared.p <= ALPHA / 2 and effect.z < REMAINS * shared.z:
            return "explained by spill-over", f"only the ligand at the shared border goes with the response; away from it: {size}"
        return "no evidence", size
    for row in _going_along(effect.guards):
        if row.z is not None and abs(row.z) >= REMAINS * abs(effect.z):
            return "not specific (a negative control responds as well)", f"{size}; but {row.name}: z = {row.z:+.2f}, p = {row.p:.3g}"
    if effect.z < 0:
        return "opposite direction", size
    for row in effect.guards:
        if row.kind == "spill-over" and row.z is not None and row.z < REMAINS * effect.z:
            return "explained by spill-over", f"{size}; but {row.name} leaves z = {row.z:+.2f} of {effect.z:+.2f}"
    missing = [row.name for row in effect.guards if row.kind in ("spill-over", "negative control") and row.z is None]
    note = f"; not available: {', '.join(missing)}" if missing else ""
    return "consistent with priming", size + note


def _going_along(guards: Sequence[GuardRow]) -> list[GuardRow]:
    """Negative controls whose p passes Holm's correction over the controls, smallest p first.

    Of several true controls one falls below 0.05 by chance too often, which would condemn real effects.
    """
    controls = sorted((row for row in guards if row.kind == "negative control" and row.p is not None), key=lambda row: row.p or 0.0)
    passed = itertools.takewhile(lambda item: (item[1].p or 0.0) * (len(controls) - item[0]) <= ALPHA, enumerate(controls))
    return [row for _, row in passed]
