"""Real windows under test: keys as a user presses them, and what is on screen, as pixels and as
words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

TEXTS = ("text", "placeholderText", "currentText")


def key(viewer: Any, name: str, *modifiers: str) -> None:
    """Press a key on the canvas, as a user does."""
    press_on(viewer.window._qt_viewer.canvas.native, name, *modifiers)


def dock_of(widget: Any) -> Any:
    """Give the dock a widget is in."""
    from qtpy.QtWidgets import QDockWidget

    dock = widget.parent()
    while not isinstance(dock, QDockWidget):
        dock = dock.parent()
    return dock


def shot(viewer: Any, canvas_only: bool = True) -> np.ndarray:
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()
    return np.asarray(viewer.screenshot(canvas_only=canvas_only, flash=False))[..., :3].astype(int)


def colorful(image: np.ndarray) -> float:
    """Share of pixels that are neither black nor gray: 0 on a canvas without OpenGL."""
    return float(np.mean((image.max(axis=2) - image.min(axis=2)) > 25))


def outlined(image: np.ndarray) -> float:
    """Share of pixels in the color of tumor cells' outlines, sky blue."""
    red, green, blue = (image[..., i] for i in range(3))
    return float(np.mean((green > red + 50) & (blue > green + 25) & (green > 130)))


def press_on(widget: Any, name: str, *modifiers: str) -> None:
    """Press a key on a widget."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    held = Qt.KeyboardModifier.NoModifier
    for modifier in modifiers:
        held |= getattr(Qt.KeyboardModifier, f"{modifier}Modifier")
    QTest.keyClick(widget, getattr(Qt.Key, f"Key_{name}"), held)
    QApplication.processEvents()


def wait(done: Any, seconds: float = 600) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while not done():
        QApplication.processEvents()
        time.sleep(0.02)
        assert time.monotonic() < end, "nothing happened"


def words_on_screen(viewer: Any, without: Any = None) -> list[str]:
    """Everything a reviewer may read in a viewer's windows: labels, fields, lists, tables, tips,
    titles, overlays, layers, features.

    What stands in the widget `without` is left out.
    """
    from qtpy.QtWidgets import QAbstractItemView, QApplication, QWidget

    QApplication.processEvents()
    window = viewer.window._qt_window
    found = [viewer.title, str(viewer.status), viewer.canvas.overlays.text.text]
    for widget in (window, *window.findChildren(QWidget)):
        if without is not None and _stands_in(widget, without):
            continue
        found += [widget.windowTitle(), widget.toolTip()]
        found += [
            str(getattr(widget, name)()) for name in TEXTS if callable(getattr(widget, name, None))
        ]
        if hasattr(widget, "itemText"):
            found += [widget.itemText(i) for i in range(widget.count())]
        if isinstance(widget, QAbstractItemView) and widget.model() is not None:
            found += list(_cells(widget.model()))
    for layer in viewer.layers:
        found += [layer.name, str(layer.source), *map(str, getattr(layer, "features", ()))]
    return [text for text in found if text]


def _stands_in(widget: Any, owner: Any) -> bool:
    """Whether a widget is a part of another, lists that pop up included."""
    while widget is not None and widget is not owner:
        widget = widget.parent()
    return widget is owner


def _cells(model: Any, most: int = 400) -> Iterator[str]:
    """Texts of a table or list, of its first rows."""
    from qtpy.QtCore import QAbstractTableModel, QModelIndex

    columns = model.columnCount(QModelIndex()) if isinstance(model, QAbstractTableModel) else 1
    for row in range(min(model.rowCount(QModelIndex()), most)):
        for column in range(columns):
            yield str(model.data(model.index(row, column)))
