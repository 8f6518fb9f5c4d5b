"""Figures of a cohort: forest, null distribution, dose and response, guards, multiverse.

Each function returns None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ifquant.report.figure_style import FAINT, GATE, GRID, INK, STYLE, axes_grid, draw_grid
from ifquant.statistics.cohort.cohort_test import CohortResult
from ifquant.statistics.cohort.cohort_verdict import CohortGuard
from ifquant.statistics.cohort.mean_effect import ALPHA, CohortEffect
from ifquant.statistics.cohort.multiverse import Specification
from ifquant.statistics.cohort.patients import PatientValue

BLUE, GRAY, _PALE = "#2b7bba", "#8b93a1", "#9aa3b2"
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
    """Draw one row per patient, and the cohort's mean below as a diamond.

    Square: a patient's value, line: 95 % interval from its cells, ticks: its slides.
    """
    if not result.patients:
        return None
    groups = list(dict.fromkeys(patient.group or "" for patient in result.patients))
    patients = sorted(result.patients, key=lambda patient: groups.index(patient.group or ""))
    n = len(patients)
    rows: list[float] = [*range(n), n + 0.6]
    labels = [*(patient.patient for patient in patients), "all patients"]
    with rc_context(STYLE):
        figure, (axis,) = axes_grid(1, 1, width=7.2, height=1.3 + _ROW * (n + 2))
        for row, patient in enumerate(patients):
            color = GROUPS[groups.index(patient.group or "") % len(GROUPS)]
            _draw_patient(axis, row, patient, _slide_effects(result, patient), color)
        _draw_mean(axis, n + 0.6, result.effect)
        meta = result.opinions[0] if result.opinions else None
        interval = None if meta is None else (meta.low, meta.estimate, meta.high)
        if interval is not None and None not in interval:
            low, middle, high = (float(value or 0) for value in interval)
            _draw_diamond(axis, n + 1.6, (low, middle, high), GRAY)
            _annotate(axis, n + 1.6, _numbers(middle, low, high), "second opinion")
            rows.append(n + 1.6)
            labels.append("meta-analysis")
        axis.axvline(0, color=INK, lw=0.8)
        axis.axhline(n - 0.2, color=GRID, lw=0.8)
        _label_rows(axis, rows, labels, margins=(0.8, 0.7))
        axis.set_xlabel("effect (Fisher's z of the partial rank correlation)")
        if len(groups) > 1:
            for k, group in enumerate(groups):
                color = GROUPS[k % len(GROUPS)]
                axis.plot([], [], "s", color=color, label=group or "no group", ms=5)
            axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(groups), title=None)
        return figure


def _slide_effects(result: CohortResult, patient: PatientValue) -> list[float]:
    """Effects (z) of a patient's slides that enter the cohort."""
    slides = {s.slide: s for s in result.slides if s.slide not in result.excluded}
    return [
        slides[name].z
        for name, member in result.members.items()
        if name in slides and member.patient == patient.patient
    ]


def _draw_patient(
    axis: Axes, row: int, patient: PatientValue, slides: Sequence[float], color: str
) -> None:
    if len(slides) > 1:
        axis.plot(slides, [row] * len(slides), "|", ms=7, color=GRAY, mew=0.9, zorder=1)
    low, high = patient.value - Z_95 * patient.se, patient.value + Z_95 * patient.se
    axis.plot([low, high], [row, row], color=color, lw=1.1, zorder=2)
    axis.plot(patient.value, row, "s", ms=5.2, color=color, mec="white", mew=0.6, zorder=3)
    slide = "slide" if patient.n_slides == 1 else "slides"
    counts = f"{patient.n_slides} {slide}, {patient.n_cells:,} cells"
    _annotate(axis, row, _numbers(patient.value, low, high), counts)


def _draw_mean(axis: Axes, row: float, effect: CohortEffect) -> None:
    if effect.estimate is None:
        return
    if effect.low is None or effect.high is None:
        axis.plot(effect.estimate, row, "D", color=INK)
        return
    numbers = _numbers(effect.estimate, effect.low, effect.high)
    _draw_diamond(axis, row, (effect.low, effect.estimate, effect.high), INK)
    _annotate(axis, row, numbers, "mean of patients", weight="bold")


def _draw_diamond(axis: Axes, row: float, effect: tuple[float, float, float], color: str) -> None:
    low, middle, high = effect
    axis.fill([low, middle, high, middle], [row, row - 0.3, row, row + 0.3], color=color, lw=0)


def null_figure(result: CohortResult) -> Figure | None:
    """Draw the observed mean among means under sign flips of patients and shifts of tissue."""
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
        draw_grid(axis)
        return figure


def guards_figure(main: CohortEffect, guards: Sequence[CohortGuard]) -> Figure | None:
    """Draw the effect under other measurements, one row each, beside the primary one."""
    rows = [("primary", "main", main)]
    rows += [
        (guard.name, guard.kind, guard.effect)
        for guard in guards
        if guard.effect.estimate is not None and guard.kind != "main"
    ]
    if main.estimate is None or len(rows) < 2:
        return None
    with rc_context(STYLE):
        figure, (axis,) = axes_grid(1, 1, width=7.2, height=0.9 + _ROW * (len(rows) + 0.5))
        for at, (_, kind, effect) in enumerate(rows):
            color, estimate = KINDS.get(kind, GRAY), effect.estimate or 0.0
            marker = "D" if kind == "main" else "o"
            if effect.low is not None and effect.high is not None:
                axis.plot([effect.low, effect.high], [at, at], color=color, lw=1.3)
            axis.plot(estimate, at, marker, color=color, ms=5, mec="white", mew=0.6)
            many = f"{effect.n_patients} patient{'' if effect.n_patients == 1 else 's'}"
            _annotate(axis, at, _numbers(estimate, effect.low, effect.high), many)
        axis.axvline(0, color=INK, lw=0.8)
        axis.axvline(main.estimate, color=INK, lw=0.7, ls=(0, (3, 3)))
        _label_rows(axis, range(len(rows)), [name for name, _, _ in rows], margins=(0.6, 0.6))
        axis.set_xlabel("mean effect over patients (Fisher's z) with 95 % interval")
        for kind in dict.fromkeys(kind for _, kind, _ in rows[1:]):
            axis.plot([], [], "o", color=KINDS.get(kind, GRAY), label=kind, ms=5)
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4)
        return figure


def multiverse_figure(specifications: Sequence[Specification]) -> Figure | None:
    """Draw effects sorted by size, and the choices behind each below (a specification curve).

    Simonsohn, Simmons and Nelson 2020, Specification curve analysis.
    """
    shown = sorted(
        (spec for spec in specifications if spec.effect.estimate is not None),
        key=lambda spec: spec.effect.estimate or 0.0,
    )
    if len(shown) < 2:
        return None
    choices: dict[str, list[str]] = {}
    for name in shown[0].choices:
        options = list(dict.fromkeys(spec.choices[name] for spec in specifications))
        if len(options) > 1:
            choices[name] = options
    n_rows = sum(map(len, choices.values()))
    heights = [2.2, max(0.19 * (n_rows + 0.85 * len(choices)), 0.4)]
    ratios = {"height_ratios": heights}
    with rc_context(STYLE):
        figure, (top, bottom) = axes_grid(
            2, 1, width=7.2, height=sum(heights) + 0.5, sharex=True, gridspec_kw=ratios
        )
        _draw_specifications(top, shown)
        _draw_choices(bottom, shown, choices)
        return figure


def _draw_specifications(axis: Axes, specifications: Sequence[Specification]) -> None:
    size = max(2.2, min(5.0, 160 / len(specifications)))
    for at, spec in enumerate(specifications):
        effect = spec.effect
        small_p = effect.testable and effect.p is not None and effect.p <= ALPHA
        color = GATE if spec.main else INK if small_p else _PALE
        width, alpha, marker = (1.6, 1, "D") if spec.main else (0.9, 0.55, "o")
        if effect.low is not None and effect.high is not None:
            axis.plot([at, at], [effect.low, effect.high], color=color, lw=width, alpha=alpha)
        ms = size + 2 if spec.main else size
        axis.plot(at, effect.estimate or 0.0, marker, ms=ms, color=color, mec="none")
    axis.axhline(0, color=INK, lw=0.8)
    axis.set(ylabel="mean effect over\npatients (Fisher's z)")
    axis.grid(axis="y", color=GRID, lw=0.6)
    for label, marker, color in (
        ("primary analysis", "D", GATE),
        (f"sign-flip p ≤ {ALPHA:g}", "o", INK),
        ("larger p, or too few patients", "o", _PALE),
    ):
        axis.plot([], [], marker, color=color, label=label, ms=4.5)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)


def _draw_choices(
    axis: Axes, specifications: Sequence[Specification], choices: Mapping[str, Sequence[str]]
) -> None:
    """Mark which option of each choice every specification took; `choices`: name > options."""
    n, height = len(specifications), 0.0
    x, width = np.arange(n), max(0.7, min(2.0, 90 / n))
    primary = np.array([spec.main for spec in specifications])
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
    ticks: dict[float, str] = {}
    for name, options in choices.items():
        height += 0.85
        at = (0, height - 0.75)
        axis.annotate(name, at, (2, 0), fontsize=7.5, color=FAINT, **where)  # type: ignore[arg-type]
        for option in options:
            chosen = np.array([spec.choices[name] == option for spec in specifications])
            main = chosen & primary
            axis.plot(x[chosen], np.full(chosen.sum(), height), "|", ms=6, mew=width, color=INK)
            axis.plot(x[main], np.full(main.sum(), height), "|", ms=8, mew=2, color=GATE)
            ticks[height] = option
            height += 1.0
    axis.set_yticks(list(ticks), list(ticks.values()))
    axis.tick_params(axis="y", length=0, labelcolor=INK, labelsize=7.5)
    axis.set(ylim=(height - 0.3, -0.4), xlim=(-0.8, n - 0.2))
    axis.set(xlabel=f"{n} specifications, sorted by effect")
    axis.set_xticks([])
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)


def _label_rows(
    axis: Axes, rows: Sequence[float], labels: Sequence[str], *, margins: tuple[float, float]
) -> None:
    """Label rows from top to bottom, with `margins` above the first and below the last."""
    axis.set_yticks(rows, labels)
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    axis.set_ylim(rows[-1] + margins[1], rows[0] - margins[0])
    axis.spines["left"].set_visible(False)
    draw_grid(axis, "x")


def _annotate(axis: Axes, row: float, first: str, second: str, weight: str = "normal") -> None:
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
