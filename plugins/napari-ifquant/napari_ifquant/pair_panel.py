"""The tab of the review: progress, the pair on view in words, a note, the queue, and the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QLineEdit, QProgressBar, QTableView, QVBoxLayout, QWidget

from napari_ifquant.keys import help_text
from napari_ifquant.pair_text import intensities, pair_line, reason_line
from napari_ifquant.slide_review import SlideReview

HEADER = ("", "cell", "phenotype", "doubt", "why")
DONE_COLOR = "#3fb950"


class PairPanel(QWidget):
    """What a reviewer reads beside the picture.

    Parameters
    ----------
    refocus
        Gives the keyboard back to the window.
    """

    def __init__(self, refocus: Callable[[], None], parent: Any = None) -> None:
        super().__init__(parent)
        self._review: SlideReview | None = None
        self._refocus = refocus
        self.progress = QProgressBar()
        self.progress.setFormat("%v/%m decided")
        self.slide, self.pair, self.why = QLabel(), QLabel(), QLabel()
        self.values, self.keys = QLabel(), QLabel()
        self.values.setTextFormat(Qt.TextFormat.RichText)
        self.keys.setTextFormat(Qt.TextFormat.RichText)
        self.note = QLineEdit()
        self.note.setPlaceholderText("note (C), Enter saves it")
        self.note.returnPressed.connect(self._save_note)
        self.model = QueueModel(self)
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.clicked.connect(lambda index: self._go(index.row() + 1))
        layout = QVBoxLayout(self)
        for part in (self.slide, self.progress, self.pair, self.why, self.values, self.note):
            layout.addWidget(part)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.keys)
        for label in (self.slide, self.pair, self.why):
            label.setWordWrap(True)

    def set_review(self, review: SlideReview | None, slide: str = "") -> None:
        """Show another review, of the slide called `slide` on screen."""
        self._review = review
        self.model.set_review(review)
        if review is not None:
            review.focus_note = self.note.setFocus
            self.slide.setText(slide)
            self.table.resizeColumnsToContents()
            self.refresh()

    def refresh(self) -> None:
        """Show what is on view now."""
        review = self._review
        if review is None:
            return
        state, (done, total) = review.state, review.progress
        # else Qt would draw the whole window at once, and once more at the end
        self.progress.setUpdatesEnabled(False)
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)
        self.progress.setUpdatesEnabled(True)
        self._show_keys(review)
        self.pair.setText(pair_line(state) or review.message)
        why = reason_line(state)
        self.why.setText(f"{review.place} of {total}" + (f": {why}" if why else ""))
        rows = [("", "white", "magenta", "gate"), *intensities(state)]
        self.values.setText(
            _table("".join(f"<td>{text}&nbsp;&nbsp;</td>" for text in row) for row in rows)
        )
        self.model.refresh()
        if review.place:
            self.table.selectRow(review.place - 1)

    def _show_keys(self, review: SlideReview) -> None:
        """Show what keys do now: while a layer is drawn on, most of them are napari's."""
        drawing = review.drawing
        rows = help_text(review.names, None if drawing is None else drawing.methods)
        text = _key_table([*rows, *(() if drawing is None else drawing.keys)])
        if text != self.keys.text():
            self.keys.setText(text)

    def _go(self, place: int) -> None:
        if self._review is not None:
            self._review.go(place)
            self._refocus()

    def _save_note(self) -> None:
        if self._review is None or self._review.note(self.note.text()):
            self.note.clear()
            self._refocus()


class QueueModel(QAbstractTableModel):
    """Rows of the queue, looked up when they are drawn: a queue of 100,000 cells costs nothing."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._review: SlideReview | None = None
        self._decided: frozenset[int] = frozenset()

    def set_review(self, review: SlideReview | None) -> None:
        """Show another queue."""
        self.beginResetModel()
        self._review = review
        self._decided = frozenset() if review is None else review.session.decided(review.queue)
        self.endResetModel()

    def refresh(self) -> None:
        """Take over what was decided."""
        if self._review is not None:
            self._decided = self._review.session.decided(self._review.queue)
            rows = self.rowCount()
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(rows - 1, len(HEADER) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of cells."""
        return 0 if self._review is None else len(self._review.queue)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return len(HEADER)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return names of columns and places of rows."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return HEADER[section] if orientation == Qt.Orientation.Horizontal else str(section + 1)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a field shows."""
        review, row = self._review, index.row()
        if review is None or row >= len(review.queue):
            return None
        cell_id = int(review.queue.ids[row])
        if role == Qt.ItemDataRole.ForegroundRole and cell_id in self._decided:
            return QColor(DONE_COLOR)
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        code = int(review.session.codes[review.view.subject.row(cell_id)])
        uncertain = review.options.order == "uncertain"
        return (
            "✓" if cell_id in self._decided else "",
            str(cell_id),
            "left out" if code < 0 else review.names[code],
            f"{review.queue.scores[row]:.2f}" if uncertain else "",
            ", ".join(review.queue.reasons[row]),
        )[index.column()]


def _key_table(rows: list[tuple[str, str]], columns: int = 3) -> str:
    """Keys and their meanings in columns."""
    high = -(-len(rows) // columns)
    cells = [f"<td><b>{key}</b>&nbsp;</td><td>{text}&nbsp;&nbsp;</td>" for key, text in rows]
    return _table(("".join(cells[i::high]) for i in range(high)), ' style="font-size: small"')


def _table(rows: Iterable[str], style: str = "") -> str:
    return f"<table{style}>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
