"""Real windows on a screen with OpenGL: open, review by key events, correct, undo, close, reopen;
what is on screen is looked at.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from screens import colorful, key, outlined, press_on, shot, wait, words_on_screen

from ifquant.commands.review_apply import apply_reviews
from ifquant.commands.review_log import read_log

RECIPE = """
[[channels]]
name = "DAPI"
role = "nucleus"
[[channels]]
name = "PanCK"
role = "tumor"
[[channels]]
name = "CD11c"
role = "myeloid"
[[channels]]
name = "TGFB1"
compartment = "membrane"
[[channels]]
name = "IL1B"
compartment = "cytoplasm"
[segmentation]
method = "classical"
"""
"""The recipe of `reviewing.recipe`, as a user writes it."""


def test_a_review_in_a_window(results: Path, viewers: list[Any], tmp_path: Path) -> None:
    from napari_ifquant.launch import open_review

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    viewer.window._qt_window.resize(1300, 850)
    widget.choice.form.order.setCurrentIndex(2)
    widget.choice.form.phenotype.setCurrentText("myeloid")
    widget.start()
    review = widget.review
    first, second, third = (int(i) for i in review.queue.ids[:3])
    start = shot(viewer)
    assert colorful(start) > 0.05
    magenta = (start[..., 0] > 200) & (start[..., 1] < 120) & (start[..., 2] > 200)
    assert magenta.sum() > 20  # the partner's outline

    key(viewer, "N")
    assert review.cell_id == second
    moved = shot(viewer)
    assert np.mean(np.abs(moved - start) > 20) > 0.02  # the picture went with it
    key(viewer, "P")
    key(viewer, "A")
    assert review.cell_id == second
    key(viewer, "1")
    key(viewer, "X")
    key(viewer, "Z", "Control")
    assert review.cell_id == third
    key(viewer, "Z", "Control", "Shift")
    key(viewer, "U")
    key(viewer, "T")
    key(viewer, "S")
    assert review.drawing is not None
    key(viewer, "Escape")
    assert review.drawing is None
    key(viewer, "R")
    key(viewer, "Equal")
    key(viewer, "R")
    assert review.drawing is None, review.message
    assert review.cell_id == len(review.view.subject) + 1
    assert widget.panel.progress.value() == review.progress[0]

    viewer.layers.selection.active = review.layers.named(
        "cells"
    )  # another layer, whose own keys are digits and letters
    viewer.layers.selection.active.visible = False
    key(viewer, "H")
    assert review.layers.named("cells").visible
    key(viewer, "G")
    viewer.layers.selection.active = review.layers.named("cell centers")
    before = len(review.session.decisions)
    key(viewer, "A")
    assert len(review.session.decisions) == before + 1

    review.layers.named("cell centers").selected_data = {4}  # a row of napari's features table
    assert review.cell_id == int(review.view.subject.ids[4])
    widget.panel.table.clicked.emit(widget.panel.model.index(0, 0))
    assert review.cell_id == first
    widget.panel.note.setText("a clear one")
    widget.panel.note.returnPressed.emit()
    window = shot(viewer, canvas_only=False)
    assert colorful(window) > 0.02
    decisions = [d.action for d in review.session.decisions]
    assert decisions[:8] == [
        "accept",
        "phenotype",
        "exclude",
        "undo",
        "redo",
        "undo",
        "not touching",
        "redraw",
    ]
    assert decisions[8:] == ["accept", "note"]
    widget.close_review()
    viewer.close()
    viewers.remove(viewer)
    log = (results / "a" / "review").iterdir()
    kept = {path.name: path.read_bytes() for path in log}

    viewer, widget = open_review(results / "a")
    viewers.append(viewer)
    assert [d.action for d in widget.review.session.decisions] == decisions
    assert widget.review.session.phenotype(second) == "tumor"
    assert {path.name: path.read_bytes() for path in (results / "a" / "review").iterdir()} == kept
    reviewer = widget.review.session.reviewer
    widget.close_review()
    assert [d.action for d in read_log(results / "a", reviewer).decisions] == decisions

    widget.apply()
    wait(lambda: widget.choice.apply_button.isEnabled())
    assert "review.html" in widget.message.text()
    changed = pd.read_parquet(results / "a" / "reviewed" / "cells.parquet").set_index("cell_id")
    original = pd.read_parquet(results / "a" / "cells.parquet").set_index("cell_id")
    assert changed.loc[second, "phenotype"] == "tumor" != original.loc[second, "phenotype"]
    assert third not in changed.index  # redrawn: n + 1 is in its place
    assert len(original) + 1 in changed.index
    counts = [
        pd.read_parquet(folder / "pairs.parquet")["responder_id"].nunique()
        for folder in (results / "a", results / "a" / "reviewed")
    ]
    assert counts[1] < counts[0], "the second is no responder any more"
    for word, n in zip(
        ("before", "after"), counts, strict=True
    ):  # the answer before and after, on screen and in the report
        said = (
            f"not testable: {n} myeloid cells touch tumor cells with a known TGFB1; at least 60 are"
            " needed ([priming] min_exposed)"
        )
        assert f"{word} review: {said}" in widget.message.text()
        assert said in (results / "review.html").read_text()
    assert apply_reviews(results).exit_code == 0


def test_a_folder_of_results_is_dropped_and_reviewed_by_keyboard_alone(
    results: Path, viewers: list[Any]
) -> None:
    import napari
    from qtpy.QtCore import QMimeData, QPointF, Qt, QTimer, QUrl
    from qtpy.QtGui import QDropEvent
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer()
    viewers.append(viewer)
    files = QMimeData()
    files.setUrls([QUrl.fromLocalFile(str(results / "a"))])
    copy, left, nothing = (
        Qt.DropAction.CopyAction,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    timer = QTimer()
    timer.timeout.connect(_choose_ifquant)  # napari's own reader takes folders too: napari asks
    timer.start(50)
    viewer.window._qt_viewer.dropEvent(QDropEvent(QPointF(50, 50), copy, files, left, nothing))
    timer.stop()
    assert {"PanCK", "nuclei", "cells", "tumor region", "cell centers"} <= {
        layer.name for layer in viewer.layers
    }
    assert tuple(map(str, viewer.layers["cells"].units)) == ("micrometer", "micrometer")

    _, widget = viewer.window.add_plugin_dock_widget("napari-ifquant", "Review cells")
    widget.choice.reviewer.setFocus()
    widget.choice.reviewer.selectAll()
    QTest.keyClicks(widget.choice.reviewer, "bo")
    window = (
        viewer.window._qt_window
    )  # without a window manager no window is the active one: its own focus is asked for

    def press(name: str) -> None:
        QTest.keyClick(window.focusWidget() or window, getattr(Qt.Key, f"Key_{name}"))
        QApplication.processEvents()

    for _ in range(90):  # Tab leads to the button that starts
        if window.focusWidget() is widget.choice.start_button:
            break
        press("Tab")
    assert window.focusWidget() is widget.choice.start_button
    press("Space")
    review = widget.review
    assert review is not None, widget.message.text()
    cell = review.cell_id

    for name in ("A", "C"):
        press(name)
    QTest.keyClicks(widget.panel.note, "seen")
    for name in ("Return", "E", "E", "U", "P", "X"):
        press(name)
    made = [(d.action, d.reason) for d in review.session.decisions]
    assert made == [
        ("accept", ""),
        ("note", "seen"),
        ("exclude region", ""),
        ("undo", ""),
        ("exclude", ""),
    ], review.message
    assert review.session.decisions[0].cell.cell_id == cell
    done, total = review.progress
    assert viewer.canvas.overlays.text.text.startswith(f"{done}/{total}")
    assert widget.panel.progress.text() == f"{done}/{total} decided"
    widget.close_review()


def _choose_ifquant() -> None:
    """Answer napari's question for the reader."""
    from qtpy.QtWidgets import QApplication, QRadioButton

    dialog = QApplication.activeModalWidget()
    if dialog is not None:
        next(
            button for button in dialog.findChildren(QRadioButton) if button.text() == "ifquant"
        ).setChecked(True)
        dialog.accept()


def test_blinded_queues_and_filters(results: Path, viewers: list[Any]) -> None:
    from napari_ifquant.launch import open_review

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    form = widget.choice.form
    form.blind.setChecked(True)
    form.hide_sample.setChecked(True)
    widget.start()
    assert widget.review.options.hidden == ("TGFB1", "IL1B")
    assert [widget.choice.slides.itemText(i) for i in range(widget.choice.slides.count())] == [
        "slide 1"
    ]
    shown = words_on_screen(viewer, without=form)  # which offers what can be hidden
    assert not [text for text in shown if "IL1B" in text or "TGFB1" in text]
    form.order.setCurrentIndex(2)
    form.sort_by.setCurrentText("IL1B_cytoplasm_mean")
    widget.start()
    assert "tells of TGFB1 and IL1B" in widget.message.text()
    form.blind.setChecked(False)
    widget.start()
    table = widget._view.subject.table.set_index("cell_id")
    values = table.loc[widget.review.queue.ids, "IL1B_cytoplasm_mean"]
    assert values.is_monotonic_increasing
    form.within.setCurrentText("area_um2")
    form.low.setText("80")
    form.high.setText("120")
    form.flag.setCurrentText("touches_border")
    widget.start()
    chosen = table.loc[widget.review.queue.ids]
    border = table["flags"] % 2 == 1
    assert set(chosen.index) == set(table.index[border & table["area_um2"].between(80, 120)])
    assert len(chosen)
    form.low.setText("many")
    widget.start()
    assert "found 'many' as a bound" in widget.message.text()
    widget.close_review()


def test_gates_and_readers_in_a_window(results: Path, viewers: list[Any]) -> None:
    import napari
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    viewer = napari.Viewer()
    viewers.append(viewer)
    viewer.open(str(results / "a"), plugin="napari-ifquant")
    _, dock = viewer.window.add_plugin_dock_widget("napari-ifquant", "Review cells")
    _, gates = viewer.window.add_plugin_dock_widget("napari-ifquant", "Gates")
    assert "start a review" in gates.text.text()
    dock.start()
    shown_first = dock.review.cell_id
    QTest.keyClick(dock.panel.progress, Qt.Key.Key_N)  # keys reach the review wherever the focus is
    assert dock.review.cell_id != shown_first
    gates.fill()
    gates.marker.setCurrentText("PanCK")
    viewer.reset_view()
    shown = shot(viewer)
    histogram = gates.histogram
    y = histogram.height() // 2
    QTest.mousePress(
        histogram, Qt.MouseButton.LeftButton, pos=QPoint(round(histogram.to_x(340.0)), y)
    )
    QTest.mouseMove(histogram, QPoint(histogram.width() - 2, y))
    histogram._move(histogram._value(histogram.width() - 2))
    dragged = shot(viewer)
    assert outlined(shown) > 0.01
    assert outlined(dragged) < outlined(shown) / 4  # tumor cells lost their color
    assert not dock.review.session.decisions
    press_on(histogram, "Escape")
    back = shot(viewer)
    assert outlined(back) == pytest.approx(outlined(shown), rel=0.15)
    press_on(histogram, "Right")
    assert histogram.gate > 340.0
    gates.reason.setText("foot of the negative peak")
    gates.save_gate()
    decision = dock.review.session.decisions[0]
    assert (decision.action, decision.marker, decision.reason) == (
        "gate",
        "PanCK",
        "foot of the negative peak",
    )
    dock.close_review()


def test_preview_run_and_cancel(results: Path, viewers: list[Any], tmp_path: Path) -> None:
    import json

    import napari
    from reviewing import GATES

    from napari_ifquant.run_widget import PREVIEW

    slide = json.loads((results / "a" / "slide.json").read_text())["input"]["path"]
    (tmp_path / "recipe.toml").write_text(
        RECIPE
        + "".join(f'[gates.markers.{m}]\nmethod = "value"\nvalue = {v}\n' for m, v in GATES.items())
    )
    viewer = napari.Viewer()
    viewers.append(viewer)
    viewer.open(slide, plugin="napari-ifquant")
    assert [layer.name for layer in viewer.layers] == ["DAPI", "PanCK", "CD11c", "TGFB1", "IL1B"]
    _, widget = viewer.window.add_plugin_dock_widget("napari-ifquant", "Run a recipe")
    widget.run()
    assert "no such recipe" in widget.text.text()
    widget.recipe.setText(str(tmp_path / "recipe.toml"))
    widget.out.setText(str(tmp_path / "new"))
    viewer.scene.camera.center, viewer.scene.camera.zoom = (60.0, 60.0), 8.0
    codes: list[int] = []
    widget.finished.connect(codes.append)
    widget.preview()
    wait(lambda: codes)
    assert codes == [0], widget.text.text()
    preview = viewer.layers[PREVIEW]
    assert np.asarray(preview.data).max() > 0
    assert max(preview.data.shape) < 420
    assert "cells in this view" in widget.text.text()

    widget.run()
    widget.process.waitForStarted()
    widget.cancel()
    wait(lambda: len(codes) == 2)
    assert "stopped" in widget.text.text()
    assert not (tmp_path / "new" / "a" / "slide.json").exists()
    widget.run()
    wait(lambda: len(codes) == 3)
    assert codes[2] == 0, widget.text.text()
    assert widget.bar.value() == widget.bar.maximum()
    made, before = (
        pd.read_parquet(folder / "a" / "cells.parquet") for folder in (tmp_path / "new", results)
    )
    pd.testing.assert_frame_equal(made, before)
    assert "cells" in [layer.name for layer in viewer.layers]


def test_qt_keeps_none_alive(display: str) -> None:
    """PySide6 6.12.0 lost a reference to None per call: before Python 3.12 a long review ended in
    an abort.
    """
    from qtpy.QtWidgets import QApplication, QWidget

    app = QApplication.instance() or QApplication([])
    widget, before = QWidget(), sys.getrefcount(None)
    for _ in range(1000):
        widget.update()
    assert sys.getrefcount(None) > before - 500
    assert app is not None


def test_wrong_results_are_told(viewers: list[Any], tmp_path: Path) -> None:
    from ifquant.errors import RequestError
    from napari_ifquant.launch import open_review

    with pytest.raises(RequestError, match="no finished slide"):
        open_review(tmp_path)


if sys.platform == "linux":

    def test_without_opengl_the_look_at_the_canvas_fails() -> None:
        """The control: what a black canvas gives is told from a picture."""
        assert colorful(np.zeros((100, 100, 3), int)) == 0
        assert shutil.which("Xvfb") is not None
