"""The tab of the review: how far it is, the pair on view in words, the note, the queue as a table,
and the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QLineEdit, QProgressBar, QTableView, QVBoxLayout, QWidget

from napari_ifquant import describe
from napari_ifquant.desk import Desk
from napari_ifquant.keys import help_text
from napari_ifquant.queue_table import QueueModel


class PairPanel(QWidget):
    """What a reviewer reads beside the picture.

    Parameters
    ----------
    refocus
        Gives the keyboard back to the window.
    """

    def __init__(self, refocus: Callable[[], None], parent: Any = None) -> None:
        super().__init__(parent)
        self._desk: Desk | None = None
        self._refocus = refocus
        self.progress = QProgressBar()
        self.progress.setFormat("%v/%m decided")
        self.slide, self.pair, self.why, self.values, self.keys = (
            QLabel(),
            QLabel(),
            QLabel(),
            QLabel(),
            QLabel(),
        )
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

    def set_desk(self, desk: Desk | None, slide: str = "") -> None:
        """Show another review, of the slide called `slide` on screen."""
        self._desk = desk
        self.model.set_desk(desk)
        if desk is not None:
            desk.ask_note_of = self.note.setFocus
            self.slide.setText(slide)
            self.table.resizeColumnsToContents()
            self.refresh()

    def refresh(self) -> None:
        """Show what the desk says now."""
        desk = self._desk
        if desk is None:
            return
        done, total = desk.progress
        self.progress.setUpdatesEnabled(
            False
        )  # Qt would draw the whole window at once, and once more at the end
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)
        self.progress.setUpdatesEnabled(True)
        self._show_keys(desk)
        self.pair.setText(describe.pair_line(desk))
        why = describe.why(desk)
        self.why.setText(f"{desk.place} of {total}" + (f": {why}" if why else ""))
        rows = [("", "white", "magenta", "gate"), *describe.intensities(desk)]
        lines = ("".join(f"<td>{text}&nbsp;&nbsp;</td>" for text in row) for row in rows)
        self.values.setText(f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>")
        self.model.refresh()
        if desk.place:
            self.table.selectRow(desk.place - 1)

    def _show_keys(self, desk: Desk) -> None:
        """Say what keys do now: while a layer is drawn on, most of them are napari's."""
        drawing = desk.drawing
        rows = (
            help_text(desk.names)
            if drawing is None
            else [*help_text(desk.names, drawing.methods), *drawing.keys]
        )
        text = _key_table(rows)
        if text != self.keys.text():
            self.keys.setText(text)

    def _go(self, place: int) -> None:
        if self._desk is not None:
            self._desk.go(place)
            self._refocus()

    def _save_note(self) -> None:
        if self._desk is None or self._desk.note(self.note.text()):
            self.note.clear()
            self._refocus()


def _key_table(rows: list[tuple[str, str]], columns: int = 3) -> str:
    """Keys and their meanings in columns."""
    high = -(-len(rows) // columns)
    lines = (
        "".join(
            f"<td><b>{key}</b>&nbsp;</td><td>{text}&nbsp;&nbsp;</td>" for key, text in rows[i::high]
        )
        for i in range(high)
    )
    return (
        f'<table style="font-size: small">{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'
    )
