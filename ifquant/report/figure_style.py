"""How figures look, and how they become bytes: SVG and PDF, as files or inside a page.

The same input gives the same bytes: ids of SVG elements are salted with a constant, no date is
written, text is drawn as paths.
"""

from __future__ import annotations

import base64
import io
import warnings
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, FAINT, GRID = "#22262e", "#6b7280", "#e4e6ea"
GATE = "#c2410c"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "ifquant",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def axes_grid(
    rows: int, columns: int, *, width: float, height: float, **more: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure (inches) and its axes, row by row. `more` goes to ``Figure.subplots``."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", wspace=0.07, hspace=0.07)
    FigureCanvasSVG(figure)
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False, **more)))


def draw_grid(axis: Axes, direction: Literal["both", "x", "y"] = "both") -> None:
    """Draw grid lines below the data."""
    axis.grid(axis=direction, color=GRID, lw=0.6)
    axis.set_axisbelow(True)


def svg_uri(figure: Figure) -> str:
    """Write the figure as a data URI."""
    return uri(figure_bytes(figure, "svg"))


def uri(svg: bytes) -> str:
    """Write an SVG as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Write the figure as ``svg`` or ``pdf``, without a date."""
    stream = io.BytesIO()
    dates: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from"
        )  # a name in a script the font lacks: drawn as boxes
        figure.savefig(stream, format=kind, metadata=dates[kind])
    return stream.getvalue()
