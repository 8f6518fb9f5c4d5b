"""The multiverse as one picture: effects sorted by size above, the choices behind each below (a
specification curve).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from ifquant.report.figure_style import FAINT, GATE, GRID, INK, STYLE, axes_grid
from ifquant.statistics.cohort.mean_effect import ALPHA
from ifquant.statistics.cohort.multiverse import Specification

# Simonsohn, Simmons and Nelson 2020, Specification curve analysis


def multiverse_figure(specifications: Sequence[Specification]) -> Figure | None:
    """Draw the specification curve; None with fewer than two specifications that have an
    estimate.
    """
    shown = sorted(
        (s for s in specifications if s.effect.estimate is not None),
        key=lambda s: s.effect.estimate or 0.0,
    )
    if len(shown) < 2:
        return None
    rows: list[tuple[str, str]] = []
    for name in shown[0].choices:
        options = list(dict.fromkeys(s.choices[name] for s in specifications))
        rows += [(name, option) for option in options] if len(options) > 1 else []
    with rc_context(STYLE):
        heights = [2.2, max(0.19 * (len(rows) + 0.85 * len(dict(rows))), 0.4)]
        figure, (top, bottom) = axes_grid(
            2,
            1,
            width=7.2,
            height=sum(heights) + 0.5,
            sharex=True,
            gridspec_kw={"height_ratios": heights},
        )
        x = np.arange(len(shown))
        size = max(2.2, min(5.0, 160 / len(shown)))
        for at, spec in enumerate(shown):
            effect = spec.effect
            found = effect.testable and effect.p is not None and effect.p <= ALPHA
            color = GATE if spec.main else INK if found else "#9aa3b2"
            if effect.low is not None and effect.high is not None:
                top.plot(
                    [at, at],
                    [effect.low, effect.high],
                    color=color,
                    lw=1.6 if spec.main else 0.9,
                    alpha=1 if spec.main else 0.55,
                )
            top.plot(
                at,
                effect.estimate or 0.0,
                "D" if spec.main else "o",
                ms=size + 2 if spec.main else size,
                color=color,
                mec="none",
            )
        top.axhline(0, color=INK, lw=0.8)
        top.set(ylabel="mean effect over\npatients (Fisher's z)")
        top.grid(axis="y", color=GRID, lw=0.6)
        for label, marker, color in (
            ("primary analysis", "D", GATE),
            (f"sign-flip p ≤ {ALPHA:g}", "o", INK),
            ("larger p, or too few patients", "o", "#9aa3b2"),
        ):
            top.plot([], [], marker, color=color, label=label, ms=4.5)
        top.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)
        height, ticks, labels = 0.0, [], []
        for k, (name, option) in enumerate(rows):
            if k == 0 or rows[k - 1][0] != name:
                height += 0.85
                bottom.annotate(
                    name,
                    (0, height - 0.75),
                    (2, 0),
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    va="center",
                    fontsize=7.5,
                    color=FAINT,
                )
            chosen = np.array([spec.choices[name] == option for spec in shown])
            bottom.plot(
                x[chosen],
                np.full(chosen.sum(), height),
                "|",
                ms=6,
                mew=max(0.7, min(2.0, 90 / len(shown))),
                color=INK,
            )
            main = np.array([spec.main for spec in shown]) & chosen
            bottom.plot(x[main], np.full(main.sum(), height), "|", ms=8, mew=2, color=GATE)
            ticks.append(height)
            labels.append(option)
            height += 1.0
        bottom.set_yticks(ticks, labels)
        bottom.tick_params(axis="y", length=0, labelcolor=INK, labelsize=7.5)
        bottom.set(
            ylim=(height - 0.3, -0.4),
            xlim=(-0.8, len(shown) - 0.2),
            xlabel=f"{len(shown)} specifications, sorted by effect",
        )
        bottom.set_xticks([])
        for side in ("left", "bottom"):
            bottom.spines[side].set_visible(False)
        return figure
