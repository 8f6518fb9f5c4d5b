"""Take the pictures of the README: ``python take_pictures.py RESULTS`` (a copy: decisions are
logged).

Needs a screen, e.g. xvfb-run, and for the picture of the report chromium.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from ifquant.commands.review_apply import apply_reviews
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


def inside(review: Any) -> bool:
    """Whether the cell on view lies away from the border of the slide and touches its partner."""
    row = review.view.subject.table.iloc[review.view.subject.row(review.cell_id)]
    height, width = review.view.subject.image_shape
    far = 90 < row["y_px"] < height - 90 and 90 < row["x_px"] < width - 90
    return bool(far and review.partner is not None and review.partner.gap_um == 0)


def page(report: Path) -> Any:
    """Top of review.html as pixels."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        subprocess.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--hide-scrollbars",
                "--window-size=1000,900",
                f"--screenshot={shot}",
                str(report),
            ],
            check=True,
            capture_output=True,
        )
        return np.asarray(Image.open(shot).convert("RGB"))


def main() -> None:
    """Open, review a pair, move a gate."""
    viewer, widget = open_review(Path(sys.argv[1]))
    viewer.window._qt_window.resize(1500, 950)
    widget.choice.form.order.setCurrentIndex(0)
    widget.choice.form.phenotype.setCurrentText("myeloid")
    widget.choice.reviewer.setText("anna")
    widget.start()
    QApplication.processEvents()
    for name in ("A", "A", "X", "A", "1", "A"):
        press(viewer, name)
    while not inside(widget.review):
        press(viewer, "N")
    keep("review.jpg", viewer.screenshot(canvas_only=False, flash=False))
    strip = []
    for names in ((), ("K",), ("S",), ("Escape", "R", "Equal"), ("Escape", "1", "P")):
        for name in names:
            press(viewer, name)
        shot = viewer.screenshot(flash=False)[..., :3]
        side = min(shot.shape[:2])
        y, x = (shot.shape[0] - side) // 2, (shot.shape[1] - side) // 2
        strip.append(
            np.asarray(Image.fromarray(shot[y : y + side, x : x + side]).resize((320, 320)))
        )
    keep(
        "strip.jpg",
        np.concatenate(
            [np.pad(part, [(0, 0), (2, 2), (0, 0)], constant_values=255) for part in strip], axis=1
        ),
        1640,
    )
    gates = GatesWidget(viewer)
    viewer.window.add_dock_widget(gates, name="Gates", area="right", tabify=True)
    gates.marker.setCurrentText("CD11c")
    viewer.reset_view()
    gates.histogram._move(420.0)
    QApplication.processEvents()
    keep("gates.jpg", viewer.screenshot(canvas_only=False, flash=False))
    widget.close_review()
    viewer.close()
    keep("before_after.jpg", page(apply_reviews(Path(sys.argv[1])).report), 1000)


if __name__ == "__main__":
    main()
