"""Gates of the slide under review: dragged in a histogram while cells change color, then saved."""

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

from napari_ifquant.histogram import Histogram
from napari_ifquant.open_reviews import on_change, review_in
from napari_ifquant.slide_review import SlideReview

NO_REVIEW = (
    "start a review first (Plugins > ifquant > Review cells): gates are saved to the reviewer's log"
)


class GatesWidget(QWidget):
    """Gates of the slide that is being reviewed in this viewer."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.marker, self.histogram = QComboBox(), Histogram()
        self.text, self.reason = QLabel(), QLineEdit()
        self.reason.setPlaceholderText("why (kept in the log)")
        self.save, self.back = QPushButton("Save gate"), QPushButton("Take back")
        self.none = QPushButton("Not callable")
        actions = self.save_gate, self.show_marker, self.set_not_callable
        buttons = QHBoxLayout()
        for button, act in zip((self.save, self.back, self.none), actions, strict=True):
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
        on_change(self.fill)

    @property
    def review(self) -> SlideReview | None:
        """The review in this viewer."""
        review: SlideReview | None = review_in(self.viewer)
        return review

    def fill(self) -> None:
        """Offer the gated markers, but those the review hides."""
        review = self.review
        self.marker.blockSignals(True)
        self.marker.clear()
        if review is not None:
            markers = [gate.marker for gate in review.view.subject.gates]
            self.marker.addItems([name for name in markers if name not in review.options.hidden])
        self.marker.blockSignals(False)
        self.show_marker()

    def show_marker(self, *_: Any) -> None:
        """Draw the chosen marker with its gate as it is now."""
        review = self.review
        for button in (self.save, self.back, self.none):
            button.setEnabled(review is not None)
        if review is None:
            self.histogram.show_values(np.zeros(0), None, 0.0)
            self.text.setText(NO_REVIEW)
            return
        if not self.marker.count():
            self.fill()
            return
        gate = review.view.subject.gate(self.marker.currentText())
        values = review.view.subject.table[gate.column].to_numpy(np.float64, na_value=np.nan)
        self.histogram.show_values(values, review.session.gate(gate.marker), gate.offset)
        review.end_preview()
        self._show_text()

    def _on_moved(self, value: float) -> None:
        if self.review is not None and self.marker.count():
            self.review.preview_gate(self.marker.currentText(), value)
        self._show_text()

    def _show_text(self) -> None:
        review = self.review
        if review is None:
            return
        gate = review.view.subject.gate(self.marker.currentText())
        above = self.histogram.fraction_above
        now = "not callable" if self.histogram.gate is None else f"{self.histogram.gate:.0f}"
        part = "" if math.isnan(above) else f", {100 * above:.1f} % of cells positive"
        self.text.setText(f"{gate.column}: gate {now}{part}\n{gate.origin}")

    def save_gate(self) -> None:
        """Write the gate to the log."""
        if self.histogram.gate is not None:
            self._change_gate(self.histogram.gate)

    def set_not_callable(self) -> None:
        """Write to the log that this slide has no gate for the marker."""
        self._change_gate(None)

    def _change_gate(self, value: float | None) -> None:
        review, marker = self.review, self.marker.currentText()
        if review is not None and review.change_gate(marker, value, self.reason.text()):
            self.reason.clear()
            self.show_marker()
