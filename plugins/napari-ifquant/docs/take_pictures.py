"""Take the pictures of the README: ``python take_pictures.py RESULTS`` (a copy: decisions are logged). Needs a screen, e.g. xvfb-run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_ifquant.gates_widget import GatesWidget
from napari_ifquant.launch import open_review

HERE = Path(__file__).parent


def keep(name: str, pixels: Any, width: int = 1300) -> None:
    """Write a picture as JPEG."""
    image = Image.fromarray(np.asarray(pixels)[..., :3])
    size = min(width, image.width), round(image.height * min(width / image.width, 1))
    image.resize(size, Image.Resampling.LANCZOS).save(HERE / name, quality=80, optimize=True)


def press(viewer: Any, name: str) -> None:
    """Press a key on the canvas."""
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, getattr(Qt.Key, f"Key_{name}"))
    QApplication.processEvents()


def main() -> None:
    """Open, review a pair, move a gate."""
    viewer, widget = open_review(Path(sys.argv[1]))
    viewer.window._qt_window.resize(1500, 950)
    widget.form.order.setCurrentIndex(2)
    widget.form.phenotype.setCurrentText("myeloid")
    widget.form.sort_by.setCurrentText("nearest_tumor_border_um")
    widget.reviewer.setText("anna")
    widget.start()
    QApplication.processEvents()
    for _ in range(6):
        press(viewer, "N")
    keep("review.jpg", viewer.screenshot(canvas_only=False, flash=False))
    strip = []
    for names in ((), ("K",), ("S",), ("Escape", "R", "Equal"), ("Escape", "1", "P")):
        for name in names:
            press(viewer, name)
        shot = viewer.screenshot(flash=False)[..., :3]
        side = min(shot.shape[:2])
        y, x = (shot.shape[0] - side) // 2, (shot.shape[1] - side) // 2
        strip.append(np.asarray(Image.fromarray(shot[y : y + side, x : x + side]).resize((320, 320))))
    keep("strip.jpg", np.concatenate([np.pad(part, [(0, 0), (2, 2), (0, 0)], constant_values=255) for part in strip], axis=1), 1640)
    gates = GatesWidget(viewer)
    viewer.window.add_dock_widget(gates, name="Gates", area="right", tabify=True)
    gates.marker.setCurrentText("CD11c")
    viewer.reset_view()
    gates.histogram._move(420.0)
    QApplication.processEvents()
    keep("gates.jpg", viewer.screenshot(canvas_only=False, flash=False))
    widget.close_desk()
    viewer.close()


if __name__ == "__main__":
    main()
