"""Figures of a run's report as SVG: gates, distances, tumor border, contact, slides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ifquant.report.figure_style import FAINT, GATE, INK, STYLE, axes_grid, draw_grid, svg_uri
from ifquant.report.picture import OTHER_COLOR, PHENOTYPE_PALETTE

Floats = NDArray[np.float64]

_ON_PAPER = dict(
    zip(
        PHENOTYPE_PALETTE,
        ("#2b7bba", "#c29200", "#d9771c", "#b2558b", "#00805c", "#c04a00", "#1f5a94", "#444444"),
        strict=True,
    )
)
MAX_POINTS = 400
"""Points drawn per group; more are thinned evenly by rank, so that the shape stays."""


def paper_color(color: str) -> str:
    """Counterpart for white paper of a color made for a dark picture."""
    return _ON_PAPER.get(color, "#7b8190" if color == OTHER_COLOR else color)


def gates_figure(gates: Sequence[Mapping[str, Any]]) -> str:
    """Draw the histogram, fitted components and gate of each marker; empty string without gates."""
    if not gates:
        return ""
    columns = min(4, len(gates))
    rows = math.ceil(len(gates) / columns)
    with rc_context(STYLE):
        figure, axes = axes_grid(rows, columns, width=2.7 * columns, height=2.15 * rows)
        for axis, gate in zip(axes, gates, strict=False):
            _gate(axis, gate)
        for axis in axes[len(gates) :]:
            axis.set_axis_off()
        return svg_uri(figure)


def _gate(axis: Axes, gate: Mapping[str, Any]) -> None:
    axis.set_title(str(gate["marker"]))
    edges, counts = np.asarray(gate["edges"], float), np.asarray(gate["counts"], float)
    offset = float(gate["offset"])
    if len(counts) == 0 or counts.sum() == 0:
        axis.text(0.5, 0.55, "no cells to show", transform=axis.transAxes, ha="center", color=FAINT)
        axis.set_axis_off()
        return
    log = np.log10(edges + offset)
    axis.stairs(counts, log, fill=True, color="#c9d3e0")
    used = np.flatnonzero(counts)
    left, right = log[used[0]], log[used[-1] + 1]
    top = counts.max()
    fine = np.linspace(left, right, 300)
    for (weight, median, sd), style in zip(gate["components"], ("-", "--"), strict=False):
        center, spread = math.log10(max(median + offset, 1e-300)), max(sd / math.log(10), 1e-6)
        density = np.exp(-0.5 * ((fine - center) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
        line: dict[str, Any] = (
            {"color": INK, "lw": 0.9} if gate["callable"] else {"color": FAINT, "lw": 0.7}
        )
        axis.plot(fine, weight * counts.sum() * (log[1] - log[0]) * density, style, **line)
    note = "not callable: no gate"
    if gate["callable"]:
        at = math.log10(max(float(gate["value"]) + offset, 1e-300))
        left, right = min(left, at), max(right, at)
        axis.axvline(at, color=GATE, lw=1.6)
        share = (
            f", {gate['positive_fraction']:.0%} +" if gate["positive_fraction"] is not None else ""
        )
        note = f"gate {_short(gate['value'])}{share}"
    axis.set_title(note, loc="right", color=GATE, fontsize=8)
    pad = 0.03 * max(right - left, 1e-6)
    axis.set(xlim=(left - pad, right + pad), ylim=(0, top * 1.05), xlabel=str(gate["column"]))
    _log_ticks(axis, left, right, offset)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)


def distances_figure(centroid: Floats, border: Floats, source: str, target: str, color: str) -> str:
    """Draw distances of `source` cells to the nearest `target` cell; empty string without any."""
    centroid, border = _finite(centroid), _finite(border)
    if not len(centroid):
        return ""
    with rc_context(STYLE):
        figure, (left, right) = axes_grid(1, 2, width=6.6, height=2.45)
        limit = float(max(np.quantile(centroid, 0.99), 30))
        bins = np.linspace(0, limit, 31).tolist()
        left.hist(np.clip(centroid, 0, limit), bins=bins, color=paper_color(color), alpha=0.75)
        middle = float(np.median(centroid))
        left.axvline(middle, color=INK, lw=1.1)
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
        left.annotate(f"median {middle:.1f} µm", (middle, 1), (4, -2), **where)  # type: ignore[arg-type]
        left.set(xlabel=f"µm to the nearest {target} cell (centroids)", ylabel=f"{source} cells")
        left.set_xlim(0, limit)
        for values, style, label in (
            (centroid, "-", "between centroids"),
            (border, "--", "between borders (0 = touching)"),
        ):
            if len(values):
                x = np.r_[0, np.sort(values)]
                y = np.r_[0, np.arange(1, len(x)) / len(values)]
                ink = paper_color(color)
                right.step(x, y, style, where="post", color=ink, lw=1.4, label=label)
        right.set(xlabel=f"µm to the nearest {target} cell", ylabel=f"fraction of {source} cells")
        right.set(xlim=(0, limit), ylim=(0, 1.02))
        draw_grid(right)
        right.legend(loc="lower right")
        return svg_uri(figure)


def margin_figure(
    bands: Sequence[Mapping[str, Any]], names: Sequence[str], colors: Mapping[str, str]
) -> str:
    """Densities in bands along the border of the tumor region. Empty string without bands."""
    shown = [name for name in names if any(band.get(f"n_{name}") for band in bands)]
    if not shown:
        return ""
    with rc_context(STYLE):
        figure, axes = axes_grid(1, 1, width=6.6, height=2.5)
        axis = axes[0]
        at = np.arange(len(bands), dtype=float)
        width = 0.8 / len(shown)
        for i, name in enumerate(shown):
            heights = [band.get(f"{name}_per_mm2") for band in bands]
            known = [k for k, height in enumerate(heights) if height is not None]
            x = at[known] - 0.4 + (i + 0.5) * width
            axis.bar(
                x,
                [float(heights[k] or 0) for k in known],
                width * 0.92,
                color=paper_color(colors[name]),
                label=name,
            )
        labels = [
            f"{band['from_um']:g} to {band['to_um']:g}"
            + ("\nno tissue" if not band["tissue_mm2"] else "")
            for band in bands
        ]
        axis.set_xticks(at, labels)
        inside = sum(1 for band in bands if band["to_um"] <= 0)
        axis.axvline(inside - 0.5, color=INK, lw=1, ls=(0, (4, 3)))
        where = {
            "xycoords": ("data", "axes fraction"),
            "textcoords": "offset points",
            "va": "top",
            "color": FAINT,
        }
        axis.annotate("inside the tumor region", (inside - 0.5, 1.06), (-6, 0), ha="right", **where)  # type: ignore[arg-type]
        axis.annotate("outside", (inside - 0.5, 1.06), (6, 0), ha="left", **where)  # type: ignore[arg-type]
        axis.set(
            xlabel="µm from the border of the tumor region",
            ylabel="cells per mm² of tissue",
            xlim=(-0.6, len(bands) - 0.4),
        )
        draw_grid(axis, "y")
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return svg_uri(figure)


def contact_figure(
    groups: Mapping[str, tuple[Floats, Floats]],
    gates: Mapping[str, float | None],
    color: str,
    labels: tuple[str, str],
) -> str:
    """Draw markers of cells touching and not touching: points, quartiles, median; else empty.

    Parameters
    ----------
    groups
        Marker > raw intensities of the cells touching, and of the others.
    gates
        Marker > gate in raw intensities, if callable.
    labels
        Names of the two groups.
    """
    shown = {
        marker: pair
        for marker, pair in groups.items()
        if any(len(_finite(values)) for values in pair)
    }
    if not shown:
        return ""
    with rc_context(STYLE):
        columns = min(3, len(shown))
        rows = math.ceil(len(shown) / columns)
        figure, axes = axes_grid(rows, columns, width=2.5 * columns + 0.6, height=2.7 * rows)
        for axis, (marker, pair) in zip(axes, shown.items(), strict=False):
            finite = [_finite(values) for values in pair]
            for at, values in enumerate(finite):
                _strip(axis, at, values, paper_color(color) if at == 0 else "#8b93a1")
            if gates.get(marker) is not None:
                axis.axhline(float(gates[marker] or 0), color=GATE, lw=1, ls=(0, (3, 2)))
            everything = np.concatenate(finite)
            if everything.min() > 0:
                axis.set_yscale("log")
                _plain_log(axis, float(everything.min()), float(everything.max()))
            names = [
                f"{label}\nn = {len(values):,}"
                for label, values in zip(labels, finite, strict=True)
            ]
            axis.set_xticks([0, 1], names)
            axis.set(title=marker, xlim=(-0.6, 1.6))
            draw_grid(axis, "y")
        for axis in axes[len(shown) :]:
            axis.set_axis_off()
        return svg_uri(figure)


def slides_figure(rows: Sequence[Mapping[str, Any]], measures: Sequence[tuple[str, str]]) -> str:
    """Draw one dot per slide and measure (column, label), by group; empty below two slides."""
    measures = [
        (c, label) for c, label in measures if sum(row.get(c) is not None for row in rows) > 1
    ]
    if not measures:
        return ""
    groups = list(dict.fromkeys(str(row.get("group") or "") for row in rows))
    with rc_context(STYLE):
        figure, axes = axes_grid(
            1, len(measures), width=2.75 * len(measures), height=0.9 + 0.34 * max(len(groups), 2)
        )
        for axis, (column, label) in zip(axes, measures, strict=True):
            for k, group in enumerate(groups):
                values = np.array(
                    [
                        float(r[column])
                        for r in rows
                        if str(r.get("group") or "") == group and r.get(column) is not None
                    ]
                )
                spread = (np.arange(len(values)) - (len(values) - 1) / 2) * min(
                    0.08, 0.5 / max(len(values), 1)
                )
                axis.plot(
                    values, k + spread, "o", ms=5, color="#2b7bba", alpha=0.75, mec="white", mew=0.5
                )
                if len(values):
                    axis.plot([np.median(values)] * 2, [k - 0.3, k + 0.3], color=INK, lw=1.6)
            axis.set_yticks(
                range(len(groups)),
                [group or "all slides" for group in groups]
                if axis is axes[0]
                else [""] * len(groups),
            )
            axis.set(xlabel=label, ylim=(len(groups) - 0.4, -0.6))
            axis.set_xlim(left=0)
            draw_grid(axis, "x")
        return svg_uri(figure)


def _strip(axis: Axes, at: int, values: Floats, color: str) -> None:
    if not len(values):
        return
    ranked = np.sort(values)
    shown = (
        ranked
        if len(ranked) <= MAX_POINTS
        else ranked[np.linspace(0, len(ranked) - 1, MAX_POINTS).round().astype(int)]
    )
    golden = (np.arange(len(shown)) * 0.6180339887498949) % 1  # even, without a random number
    axis.plot(at + (golden - 0.5) * 0.55, shown, ".", ms=3, color=color, alpha=0.45, mec="none")
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    axis.plot([at - 0.36, at + 0.36], [middle, middle], color=INK, lw=2)
    axis.fill_between([at - 0.36, at + 0.36], low, high, color=color, alpha=0.22, lw=0.8)


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _log_ticks(axis: Axes, left: float, right: float, offset: float) -> None:
    """Ticks in raw intensities on an axis of log10(intensity + offset)."""
    raw = [
        value
        for value in _round_values(10**left - offset, 10**right - offset)
        if value + offset > 0
    ]
    axis.set_xticks([math.log10(value + offset) for value in raw], [_short(value) for value in raw])


def _plain_log(axis: Axes, low: float, high: float) -> None:
    ticks = list(_round_values(low, high))
    axis.set_yticks(ticks, [_short(value) for value in ticks])
    axis.set_yticks([], minor=True)


def _round_values(low: float, high: float) -> Iterable[float]:
    """1, 2, 5 x 10^k between two values; about two to six of them."""
    lowest = math.floor(math.log10(max(low, high * 1e-6, 1e-300)))
    highest = math.ceil(math.log10(max(high, 1e-300)))
    steps: tuple[float, ...] = (
        (1, 2, 5) if highest - lowest <= 2 else (1, 3) if highest - lowest <= 3 else (1,)
    )
    found = [
        step * 10.0**k
        for k in range(lowest, highest + 1)
        for step in steps
        if low <= step * 10.0**k <= high
    ]
    if len(found) > 1:
        return found
    return [float(value) for value in MaxNLocator(4).tick_values(low, high) if low <= value <= high]


def _short(value: float) -> str:
    if value != 0 and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
