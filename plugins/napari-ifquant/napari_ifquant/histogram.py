"""A marker's histogram with its gate, to be dragged with the mouse or moved with the arrow keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QWidget

BINS = 120
RANGE = (0.1, 99.9)
"""Percentiles of the cells between which the histogram is drawn."""
_BARS, _ABOVE, _GATE, _SAVED, _TEXT = "#6e7681", "#58a6ff", "#ffa657", "#8b949e", "#c9d1d9"


class Histogram(QWidget):
    """Histogram of intensities on a log scale.

    Signals
    -------
    moved
        The gate, while it moves.
    """

    moved = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setMinimumHeight(150)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._logs: NDArray[np.float64] = np.zeros(0)
        self._offset = 0.0
        self._edges = np.linspace(0.0, 1.0, BINS + 1)
        self._counts = np.zeros(BINS)
        self.gate: float | None = None
        self._saved: float | None = None

    def show_values(self, values: NDArray[np.float64], gate: float | None, offset: float) -> None:
        """Draw the cells' intensities; `offset` is what the gate's scale adds before the log."""
        fine = values[np.isfinite(values) & (values + offset > 0)]
        self._offset = offset
        self._logs = np.log(fine + offset)
        if len(fine):
            low, high = np.percentile(self._logs, RANGE)
            if gate is not None and gate + offset > 0:
                low, high = min(low, np.log(gate + offset)), max(high, np.log(gate + offset))
            pad = max((high - low) * 0.03, 1e-3)
            self._edges = np.linspace(low - pad, high + pad, BINS + 1)
            self._counts = np.histogram(self._logs, self._edges)[0].astype(float)
        else:
            self._counts = np.zeros(BINS)
        self.gate = self._saved = gate
        self.update()

    @property
    def fraction_above(self) -> float:
        """Fraction of cells above the gate; nan without one."""
        if self.gate is None or not len(self._logs):
            return float("nan")
        return float(np.mean(self._logs > np.log(max(self.gate + self._offset, 1e-12))))

    def to_x(self, value: float) -> float:
        """Horizontal position of an intensity."""
        low, high = self._edges[0], self._edges[-1]
        return float((np.log(max(value + self._offset, 1e-12)) - low) / (high - low) * self.width())

    def _value(self, x: float) -> float:
        low, high = self._edges[0], self._edges[-1]
        part = min(max(x / max(self.width(), 1), 0.0), 1.0)
        return float(np.exp(low + part * (high - low)) - self._offset)

    def _move(self, value: float) -> None:
        self.gate = value
        self.update()
        self.moved.emit(value)

    def mousePressEvent(self, event: Any) -> None:
        """Take the gate here."""
        self._move(self._value(event.position().x()))

    def mouseMoveEvent(self, event: Any) -> None:
        """Drag the gate."""
        self._move(self._value(event.position().x()))

    def keyPressEvent(self, event: Any) -> None:
        """Move the gate by a bin (left, right), or take it back (Escape)."""
        key = event.key()
        if key in (Qt.Key.Key_Left, Qt.Key.Key_Right) and self.gate is not None:
            step = self.width() / BINS * (1 if key == Qt.Key.Key_Right else -1)
            self._move(self._value(self.to_x(self.gate) + step))
        elif key == Qt.Key.Key_Escape and self._saved is not None:
            self._move(self._saved)
        else:
            super().keyPressEvent(event)

    def sizeHint(self) -> QSize:
        """Return the size asked for."""
        return QSize(380, 180)

    def paintEvent(self, event: Any) -> None:
        """Draw bars (those above the gate in color), the saved gate, and the gate."""
        painter = QPainter(self)
        height, bottom = self.height(), self.height() - 18
        top = max(float(self._counts.max(initial=0)), 1.0)
        width = self.width() / BINS
        gate = None if self.gate is None else np.log(max(self.gate + self._offset, 1e-12))
        for i, count in enumerate(self._counts):
            # square root: a rare positive population must be seen beside the negative one
            tall = np.sqrt(count / top) * (bottom - 6)
            above = gate is not None and self._edges[i] >= gate
            bar = QRectF(i * width, bottom - tall, width, tall)
            painter.fillRect(bar, QColor(_ABOVE if above else _BARS))
        for value, color, style in (
            (self._saved, _SAVED, Qt.PenStyle.DashLine),
            (self.gate, _GATE, Qt.PenStyle.SolidLine),
        ):
            if value is not None:
                pen = QPen(QColor(color))
                pen.setWidth(2)
                pen.setStyle(style)
                painter.setPen(pen)
                x = round(self.to_x(value))
                painter.drawLine(x, 0, x, bottom)
        painter.setPen(QColor(_TEXT))
        for part in (0.02, 0.5, 0.9):
            x_px = part * self.width()
            painter.drawText(round(x_px), height - 4, f"{self._value(x_px):.0f}")
        painter.end()
