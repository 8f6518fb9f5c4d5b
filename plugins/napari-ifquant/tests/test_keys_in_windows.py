"""Keys reach the review wherever its dock is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from screens import dock_of, key, press_on


def test_keys_work_while_the_dock_floats(results: Path, viewers: list[Any]) -> None:
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from napari_ifquant.launch import open_review

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    dock = dock_of(widget)
    dock.setFloating(True)
    QApplication.processEvents()
    assert dock.isWindow(), "a window of its own, outside of napari's"
    assert widget.window() is dock
    desk = widget.desk

    def press(*names: str) -> None:
        for name in names:
            press_on(dock.focusWidget() or dock, name)

    first = desk.cell_id
    press("N")
    assert desk.cell_id == int(desk.queue.ids[1])
    press("Right", "P", "Left")
    assert desk.cell_id == first
    press("A", "C")
    assert dock.focusWidget() is widget.panel.note
    QTest.keyClicks(widget.panel.note, "seen and nax")  # letters are text here, not actions
    press("Return", "X", "U", "1")
    made = [(d.action, d.reason) for d in desk.session.decisions]
    assert made == [("accept", ""), ("note", "seen and nax"), ("exclude", ""), ("undo", ""), ("phenotype", "")], desk.message

    widget.panel.table.clicked.emit(widget.panel.model.index(0, 0))
    assert desk.cell_id == first
    press("R")
    assert desk.drawing is not None
    press_on(dock, "Equal")
    press("R")
    assert desk.session.decisions[-1].action == "redraw", desk.message
    key(viewer, "N")  # and napari's own window takes them as ever
    assert widget.panel.progress.value() == desk.progress[0]

    dock.setFloating(False)
    QApplication.processEvents()
    shown = desk.cell_id
    press_on(widget.panel.progress, "P")
    assert desk.cell_id != shown
    widget.close_desk()
