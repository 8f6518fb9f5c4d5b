"""Form for what the queue holds: order, which cells, and what is hidden."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from ifquant.columns.cell_columns import phenotype_names
from ifquant.columns.flags import FLAGS
from ifquant.commands.review_effect import LEVERAGE
from ifquant.errors import RequestError
from ifquant.review.review_queue import QueueOptions, blindable_markers
from ifquant.review.subject import Subject

ORDERS = (
    ("uncertain first", "uncertain"),
    ("random (for error rates)", "random"),
    ("by a column", "table"),
)
ALL = "all"
ANY = "any"


class QueueForm(QWidget):
    """Choices of `QueueOptions`."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.order, self.phenotype, self.sort_by = QComboBox(), QComboBox(), QComboBox()
        for text, value in ORDERS:
            self.order.addItem(text, value)
        self.phenotype.addItem(ALL)
        self.flag, self.within, self.low, self.high = (
            QComboBox(),
            QComboBox(),
            QLineEdit(),
            QLineEdit(),
        )
        self.flag.addItems([ANY, *(flag.name for flag in FLAGS)])
        self.low.setPlaceholderText("from")
        self.high.setPlaceholderText("to")
        bounds = QWidget()
        row = QHBoxLayout(bounds)
        row.setContentsMargins(0, 0, 0, 0)
        for field in (self.within, self.low, self.high):
            row.addWidget(field)
        self.seed, self.limit = QSpinBox(), QSpinBox()
        self.seed.setRange(0, 999_999)
        self.limit.setRange(1, 1_000_000)
        self.limit.setValue(200)
        self.descending = QCheckBox("highest first")
        self.blind = QCheckBox("hide ligand and response")
        self.hide_sample = QCheckBox("hide slide, patient and group")
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for name, field in (
            ("order", self.order),
            ("seed", self.seed),
            ("column", self.sort_by),
            ("", self.descending),
            ("cells", self.phenotype),
            ("flag", self.flag),
            ("only where", bounds),
            ("at most", self.limit),
            ("blinded", self.blind),
            ("", self.hide_sample),
        ):
            layout.addRow(name, field)
        self.order.currentIndexChanged.connect(self._enable)
        self._enable()

    def _enable(self) -> None:
        order = self.order.currentData()
        self.seed.setEnabled(order == "random")
        self.sort_by.setEnabled(order == "table")
        self.descending.setEnabled(order == "table")

    def fill(self, subject: Subject) -> None:
        """Offer this slide's phenotypes and columns, keeping what is chosen where it exists."""
        names = [ALL, *phenotype_names(subject.recipe)]
        columns = [
            *subject.columns,
            *(name for name in subject.table.columns if name != "source_label"),
        ]
        for field, texts in (
            (self.phenotype, names),
            (self.sort_by, columns),
            (self.within, [ANY, *columns]),
        ):
            now = field.currentText()
            field.clear()
            field.addItems(texts)
            field.setCurrentIndex(max(field.findText(now), 0))
        markers = blindable_markers(subject)
        self.blind.setText(
            f"hide {' and '.join(markers)}" if markers else "no marker can be hidden"
        )
        self.blind.setEnabled(bool(markers))

    def options(self, subject: Subject) -> QueueOptions:
        """Give the options as chosen.

        Raises
        ------
        RequestError
            If a bound is no number.
        """
        order = self.order.currentData()
        chosen, flag, within = (
            field.currentText() for field in (self.phenotype, self.flag, self.within)
        )
        hidden = blindable_markers(subject) if self.blind.isChecked() else ()
        return QueueOptions(
            order=order,
            seed=self.seed.value(),
            phenotypes=() if chosen == ALL else (chosen,),
            flags=() if flag == ANY else (flag,),
            ranges=() if within == ANY else ((within, _bound(self.low), _bound(self.high)),),
            leverage=LEVERAGE if LEVERAGE in subject.columns else None,
            sort_by=self.sort_by.currentText() if order == "table" else None,
            descending=self.descending.isChecked(),
            limit=self.limit.value(),
            hidden=hidden,
            hide_sample=self.hide_sample.isChecked(),
        )


def _bound(field: QLineEdit) -> float | None:
    text = field.text().strip()
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise RequestError(f"found {text!r} as a bound; expected a number, or nothing") from error
