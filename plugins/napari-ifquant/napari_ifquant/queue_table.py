"""The queue as a table: one row per cell, in the order it is shown; a click shows the cell."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QColor

from napari_ifquant.desk import Desk

HEADER = ("", "cell", "phenotype", "doubt", "why")
DONE_COLOR = "#3fb950"


class QueueModel(QAbstractTableModel):
    """Rows of the desk's queue, looked up when they are drawn: a queue of 100,000 cells costs
    nothing.
    """

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._desk: Desk | None = None
        self._decided: frozenset[int] = frozenset()

    def set_desk(self, desk: Desk | None) -> None:
        """Show another queue."""
        self.beginResetModel()
        self._desk = desk
        self._decided = frozenset() if desk is None else desk.session.decided(desk.queue)
        self.endResetModel()

    def refresh(self) -> None:
        """Take over what was decided."""
        if self._desk is not None:
            self._decided = self._desk.session.decided(self._desk.queue)
            rows = self.rowCount()
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(rows - 1, len(HEADER) - 1))

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of cells."""
        return 0 if self._desk is None else len(self._desk.queue)

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
        desk = self._desk
        if desk is None or index.row() >= len(desk.queue):
            return None
        cell_id = int(desk.queue.ids[index.row()])
        if role == Qt.ItemDataRole.ForegroundRole and cell_id in self._decided:
            return QColor(DONE_COLOR)
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        column = index.column()
        if column == 0:
            return "✓" if cell_id in self._decided else ""
        if column == 1:
            return str(cell_id)
        if column == 2:
            code = int(desk.session.codes[desk.view.subject.row(cell_id)])
            return "left out" if code < 0 else desk.names[code]
        if column == 3:
            return (
                f"{desk.queue.scores[index.row()]:.2f}" if desk.options.order == "uncertain" else ""
            )
        return ", ".join(desk.queue.reasons[index.row()])
