"""Gates of the slide under review: the histogram of a marker, its gate to be dragged while the
cells change color, saved to the log.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ifquant.desk import Desk, desk_of
from napari_ifquant.histogram import Histogram
from napari_ifquant.walk import watch_reviews

NO_REVIEW = (
    "start a review first (Plugins > ifquant > Review cells): gates are saved to the reviewer's log"
)


class GatesWidget(QWidget):
    """Gates of the slide that is being reviewed in this viewer."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.marker, self.histogram, self.text, self.reason = (
            QComboBox(),
            Histogram(),
            QLabel(),
            QLineEdit(),
        )
        self.reason.setPlaceholderText("why (kept in the log)")
        self.save, self.back, self.none = (
            QPushButton("Save gate"),
            QPushButton("Take back"),
            QPushButton("Not callable"),
        )
        buttons = QHBoxLayout()
        for button, act in (
            (self.save, self.save_gate),
            (self.back, self.show_marker),
            (self.none, self.set_not_callable),
        ):
            buttons.addWidget(button)
            button.clicked.connect(act)
        layout = QVBoxLayout(self)
        for part in (self.marker, self.histogram, self.text, self.reason):
            layout.addWidget(part)
        layout.addLayout(buttons)
        layout.addStretch(1)
        self.text.setWordWrap(True)
        self.histogram.moved.connect(self._on_moved)
        self.marker.currentIndexChanged.connect(lambda _: self.show_marker())
        self.fill()
        watch_reviews(self.fill)

    @property
    def desk(self) -> Desk | None:
        """The review in this viewer."""
        return desk_of(self.viewer)

    def fill(self) -> None:
        """Offer the gated markers, but those the review hides."""
        desk = self.desk
        self.marker.blockSignals(True)
        self.marker.clear()
        if desk is not None:
            self.marker.addItems(
                [
                    gate.marker
                    for gate in desk.view.subject.gates
                    if gate.marker not in desk.options.hidden
                ]
            )
        self.marker.blockSignals(False)
        self.show_marker()

    def show_marker(self, *_: Any) -> None:
        """Draw the chosen marker with its gate as it is now."""
        desk = self.desk
        for button in (self.save, self.back, self.none):
            button.setEnabled(desk is not None)
        if desk is None:
            self.histogram.show_values(np.zeros(0), None, 0.0)
            self.text.setText(NO_REVIEW)
            return
        if not self.marker.count():
            self.fill()
            return
        gate = desk.view.subject.gate(self.marker.currentText())
        values = desk.view.subject.table[gate.column].to_numpy(np.float64, na_value=np.nan)
        self.histogram.show_values(values, desk.session.gate(gate.marker), gate.offset)
        desk.end_preview()
        self._say()

    def _on_moved(self, value: float) -> None:
        if self.desk is not None and self.marker.count():
            self.desk.preview_gate(self.marker.currentText(), value)
        self._say()

    def _say(self) -> None:
        desk = self.desk
        if desk is None:
            return
        gate, above = (
            desk.view.subject.gate(self.marker.currentText()),
            self.histogram.fraction_above,
        )
        now = "not callable" if self.histogram.gate is None else f"{self.histogram.gate:.0f}"
        part = "" if math.isnan(above) else f", {100 * above:.1f} % of cells positive"
        self.text.setText(f"{gate.column}: gate {now}{part}\n{gate.origin}")

    def save_gate(self) -> None:
        """Write the gate to the log."""
        if self.histogram.gate is not None:
            self._change_gate(self.histogram.gate)

    def set_not_callable(self) -> None:
        """Say in the log that this slide has no gate for the marker."""
        self._change_gate(None)

    def _change_gate(self, value: float | None) -> None:
        if self.desk is not None and self.desk.change_gate(
            self.marker.currentText(), value, self.reason.text()
        ):
            self.reason.clear()
            self.show_marker()
