"""Figures of a cohort: forest, null distribution, dose and response, guards. Each returns a
matplotlib figure, or None without anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ifquant.report.figure_style import FAINT, GATE, GRID, INK, STYLE, axes_grid
from ifquant.statistics.cohort.cohort_test import CohortResult
from ifquant.statistics.cohort.cohort_verdict import CohortGuard
from ifquant.statistics.cohort.mean_effect import CohortEffect

BLUE, GRAY = "#2b7bba", "#8b93a1"
GROUPS = ("#2b7bba", "#d9771c", "#00805c", "#b2558b", "#c29200", "#444444")
KINDS = {
    "main": INK,
    "spill-over": "#d9771c",
    "negative control": "#b2558b",
    "direction": "#00805c",
    "sensitivity": BLUE,
}
"""Color of a guard by its kind."""
_ROW = 0.23
Z_95 = 1.959963984540054


def forest_figure(result: CohortResult) -> Figure | None:
    """One row per patient (square: value, line: 95 % interval from its cells, ticks: its slides),
    the cohort's mean below as a diamond.
    """
    patients = result.patients
    if not patients:
        return None
    groups = list(dict.fromkeys(p.group or "" for p in patients))
    ordered = [
        patient for group in groups for patient in patients if (patient.group or "") == group
    ]
    n = len(ordered)
    with rc_context(STYLE):
        figure, axes = axes_grid(1, 1, width=7.2, height=1.3 + _ROW * (n + 2))
        axis = axes[0]
        slides = {s.slide: s for s in result.slides if s.slide not in result.excluded}
        labels = []
        for row, patient in enumerate(ordered):
            color = GROUPS[groups.index(patient.group or "") % len(GROUPS)]
            own = [
                slides[name].z
                for name, member in result.members.items()
                if name in slides and member.patient == patient.patient
            ]
            if len(own) > 1:
                axis.plot(own, [row] * len(own), "|", ms=7, color=GRAY, mew=0.9, zorder=1)
            half = Z_95 * patient.se
            axis.plot(
                [patient.value - half, patient.value + half],
                [row, row],
                color=color,
                lw=1.1,
                zorder=2,
            )
            axis.plot(patient.value, row, "s", ms=5.2, color=color, mec="white", mew=0.6, zorder=3)
            counts = (
                f"{patient.n_slides} slide{'' if patient.n_slides == 1 else 's'},"
                f" {patient.n_cells:,} cells"
            )
            _right(
                axis,
                row,
                _numbers(patient.value, patient.value - half, patient.value + half),
                counts,
            )
            labels.append(patient.patient)
        _summary(axis, n + 0.6, result.effect, "mean of patients", INK)
        labels_at = [*range(n), n + 0.6]
        labels.append("all patients")
        meta = result.opinions[0] if result.opinions else None
        if (
            meta is not None
            and meta.estimate is not None
            and meta.low is not None
            and meta.high is not None
        ):
            _diamond(axis, n + 1.6, meta.estimate, meta.low, meta.high, GRAY)
            _right(axis, n + 1.6, _numbers(meta.estimate, meta.low, meta.high), "second opinion")
            labels_at.append(n + 1.6)
            labels.append("meta-analysis")
        axis.axvline(0, color=INK, lw=0.8)
        axis.axhline(n - 0.2, color=GRID, lw=0.8)
        axis.set_yticks(labels_at, labels)
        axis.tick_params(axis="y", length=0, labelcolor=INK)
        axis.set(
            ylim=(labels_at[-1] + 0.7, -0.8),
            xlabel="effect (Fisher's z of the partial rank correlation)",
        )
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", color=GRID, lw=0.6)
        axis.set_axisbelow(True)
        if len(groups) > 1:
            for k, group in enumerate(groups):
                axis.plot(
                    [], [], "s", color=GROUPS[k % len(GROUPS)], label=group or "no group", ms=5
                )
            axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(groups), title=None)
        return figure


def null_figure(result: CohortResult) -> Figure | None:
    """Show where the observed mean lies among the means under sign flips of patients and under
    random shifts of the tissue.
    """
    observed = result.effect.estimate
    panels = [(np.asarray(result.effect.null), _flip_title(result.effect))]
    if result.shift_null:
        shift = f"{len(result.shift_null):,} random shifts of the ligand within each slide"
        panels.append((np.asarray(result.shift_null), shift))
    panels = [(values, title) for values, title in panels if len(values) > 1]
    if observed is None or not panels:
        return None
    with rc_context(STYLE):
        figure, axes = axes_grid(1, len(panels), width=3.6 * len(panels) + 0.2, height=2.4)
        limit = 1.08 * max(abs(observed), *(float(np.abs(values).max()) for values, _ in panels))
        for axis, (values, title) in zip(axes, panels, strict=True):
            axis.hist(
                values,
                bins=np.linspace(-limit, limit, 42).tolist(),
                color="#c9d3e0",
                edgecolor="white",
                lw=0.3,
            )
            axis.axvline(observed, color=GATE, lw=1.8)
            axis.axvline(-observed, color=GATE, lw=1.0, ls=(0, (3, 2)))
            side = "left" if observed <= 0 else "right"
            axis.annotate(
                f"observed {observed:+.3f}".replace("-", "−"),
                (observed, 1),
                (-4 if side == "right" else 4, -3),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                ha=side,
                color=GATE,
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0},
            )
            axis.set_title(title, fontsize=8.5, fontweight="normal")
            axis.set(xlim=(-limit, limit), xlabel="mean effect (Fisher's z) without association")
            axis.set_yticks([])
            axis.spines["left"].set_visible(False)
        return figure


def _flip_title(effect: CohortEffect) -> str:
    how = (
        f"all {len(effect.null):,} sign patterns"
        if effect.exact
        else f"{len(effect.null):,} random sign patterns"
    )
    return f"{how} of {effect.n_patients} patients"


def dose_figure(result: CohortResult, ligand: str, response: str) -> Figure | None:
    """Response by exposure: mean over patients with its interval, patients' slides behind it."""
    if len(result.dose) < 2:
        return None
    with rc_context(STYLE):
        figure, axes = axes_grid(1, 1, width=4.6, height=3.1)
        axis = axes[0]
        for slide in result.slides:
            if slide.slide not in result.excluded and slide.dose_response:
                points = slide.dose_response
                axis.plot(
                    [p.exposure for p in points],
                    [p.response for p in points],
                    color=BLUE,
                    alpha=0.16,
                    lw=0.8,
                )
        x = np.array([p.exposure for p in result.dose])
        y = np.array([p.response for p in result.dose])
        if all(p.low is not None for p in result.dose):
            low, high = (
                np.array([getattr(p, name) for p in result.dose], float) for name in ("low", "high")
            )
            axis.fill_between(x, low, high, color=BLUE, alpha=0.22, lw=0)
            span = max(float(np.abs([low, high]).max()) * 1.3, 0.2)
            axis.set_ylim(-span, span)
        axis.plot(x, y, "o-", color=BLUE, ms=4.5, lw=1.5, mec="white", mew=0.6)
        axis.axhline(0, color=INK, lw=0.7)
        axis.set(
            xlabel=f"{ligand} of the touched cells, adjusted (SD)",
            ylabel=f"{response}, adjusted (SD)",
        )
        axis.grid(color=GRID, lw=0.6)
        axis.set_axisbelow(True)
        return figure


def guards_figure(main: CohortEffect, guards: Sequence[CohortGuard]) -> Figure | None:
    """Show the effect under other measurements, one row each, beside the primary one."""
    shown = [
        guard for guard in guards if guard.effect.estimate is not None and guard.kind != "main"
    ]
    if main.estimate is None or not shown:
        return None
    with rc_context(STYLE):
        rows = [
            ("primary", "main", main),
            *((guard.name, guard.kind, guard.effect) for guard in shown),
        ]
        figure, axes = axes_grid(1, 1, width=7.2, height=0.9 + _ROW * (len(rows) + 0.5))
        axis = axes[0]
        for at, (_, kind, effect) in enumerate(rows):
            color = KINDS.get(kind, GRAY)
            if effect.low is not None and effect.high is not None:
                axis.plot([effect.low, effect.high], [at, at], color=color, lw=1.3)
            axis.plot(
                effect.estimate or 0.0,
                at,
                "D" if kind == "main" else "o",
                color=color,
                ms=5,
                mec="white",
                mew=0.6,
            )
            many = f"{effect.n_patients} patient{'' if effect.n_patients == 1 else 's'}"
            _right(axis, at, _numbers(effect.estimate or 0.0, effect.low, effect.high), many)
        axis.axvline(0, color=INK, lw=0.8)
        axis.axvline(main.estimate, color=INK, lw=0.7, ls=(0, (3, 3)))
        axis.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axis.tick_params(axis="y", length=0, labelcolor=INK)
        axis.set(
            ylim=(len(rows) - 0.4, -0.6),
            xlabel="mean effect over patients (Fisher's z) with 95 % interval",
        )
        axis.spines["left"].set_visible(False)
        axis.grid(axis="x", color=GRID, lw=0.6)
        axis.set_axisbelow(True)
        for kind in dict.fromkeys(kind for _, kind, _ in rows[1:]):
            axis.plot([], [], "o", color=KINDS.get(kind, GRAY), label=kind, ms=5)
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4)
        return figure


def _summary(axis: Axes, row: float, effect: CohortEffect, label: str, color: str) -> None:
    if effect.estimate is None:
        return
    if effect.low is None or effect.high is None:
        axis.plot(effect.estimate, row, "D", color=color)
        return
    low, high = effect.low, effect.high
    _diamond(axis, row, effect.estimate, low, high, color)
    _right(axis, row, _numbers(effect.estimate, low, high), label, weight="bold")


def _diamond(axis: Axes, row: float, middle: float, low: float, high: float, color: str) -> None:
    axis.fill([low, middle, high, middle], [row, row - 0.3, row, row + 0.3], color=color, lw=0)


def _right(axis: Axes, row: float, first: str, second: str, weight: str = "normal") -> None:
    """Two columns of text to the right of the axes."""
    where = {
        "xycoords": ("axes fraction", "data"),
        "textcoords": "offset points",
        "va": "center",
        "fontsize": 8,
    }
    axis.annotate(first, (1, row), (8, 0), fontweight=weight, **where)  # type: ignore[arg-type]
    axis.annotate(second, (1, row), (116, 0), color=FAINT, **where)  # type: ignore[arg-type]


def _numbers(value: float, low: float | None, high: float | None) -> str:
    """Write an effect and its interval, with a real minus."""
    interval = f"  ({low:+.2f}, {high:+.2f})" if low is not None and high is not None else ""
    return f"{value:+.2f}{interval}".replace("-", "−")
