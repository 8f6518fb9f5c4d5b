"""Keys reach the review wherever its dock is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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
    review = widget.review

    def press(*names: str) -> None:
        for name in names:
            press_on(dock.focusWidget() or dock, name)

    first = review.cell_id
    press("N")
    assert review.cell_id == int(review.queue.ids[1])
    press("Right", "P", "Left")
    assert review.cell_id == first
    press("A", "C")
    assert dock.focusWidget() is widget.panel.note
    QTest.keyClicks(widget.panel.note, "seen and nax")  # letters are text here, not actions
    press("Return", "X", "U", "1")
    made = [(d.action, d.reason) for d in review.session.decisions]
    assert made == [
        ("accept", ""),
        ("note", "seen and nax"),
        ("exclude", ""),
        ("undo", ""),
        ("phenotype", ""),
    ], review.message

    widget.panel.table.clicked.emit(widget.panel.model.index(0, 0))
    assert review.cell_id == first
    press("R")
    assert review.drawing is not None
    press_on(dock, "Equal")
    press("R")
    assert review.session.decisions[-1].action == "redraw", review.message
    key(viewer, "N")  # and napari's own window takes them as ever
    assert widget.panel.progress.value() == review.progress[0]

    dock.setFloating(False)
    QApplication.processEvents()
    shown = review.cell_id
    press_on(widget.panel.progress, "P")
    assert review.cell_id != shown
    widget.close_review()


def test_ones_own_layers_keep_their_keys(results: Path, viewers: list[Any]) -> None:
    import napari
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer()
    viewers.append(viewer)
    viewer.open(str(results / "a"), plugin="napari-ifquant")
    _, widget = viewer.window.add_plugin_dock_widget("napari-ifquant", "Review cells")
    um = {"scale": (0.5, 0.5), "units": ("um", "um")}
    labels = viewer.add_labels(np.zeros((40, 40), np.uint8), name="my labels", **um)
    shapes = viewer.add_shapes(name="my shapes", **um)
    pressed: list[str] = []
    viewer.bind_key("G", lambda _: pressed.append("viewer"))
    labels.bind_key("T", lambda _: pressed.append("layer"))
    classes = {
        owner: dict(owner.class_keymap)
        for owner in (type(labels), type(shapes), napari.Viewer, napari.layers.Vectors)
    }

    def own_keys_work() -> None:
        pressed.clear()
        viewer.layers.selection.active = labels
        labels.selected_label = 1
        for name in ("X", "G", "T", "3", "M", "U", "S", "F"):
            key(viewer, name)
        assert pressed == ["viewer", "layer"]
        assert labels.mode == "fill"
        viewer.layers.selection.active = shapes
        for name, mode in (
            ("R", "add_rectangle"),
            ("E", "add_ellipse"),
            ("P", "add_polygon"),
            ("X", "vertex_remove"),
            ("S", "select"),
        ):
            press_on(widget.panel.progress, name)
            assert shapes.mode == mode
        shapes.mode = "pan_zoom"
        assert {owner: dict(owner.class_keymap) for owner in classes} == classes, (
            "nothing is bound to a class"
        )

    own_keys_work()  # before a review
    widget.start()
    review = widget.review
    viewer.layers.selection.active = labels
    labels.selected_label = 1
    key(viewer, "X")
    assert labels.selected_label == 0, "napari swaps with the background"
    own_keys_work()
    shown, canvas = review.cell_id, viewer.window._qt_viewer.canvas.native
    for x in range(20, canvas.width(), 60):  # nor does a click on one's own layer choose a cell
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=QPoint(x, canvas.height() // 2))
        QApplication.processEvents()
    assert review.cell_id == shown
    assert viewer.layers.selection.active is shapes
    assert not review.session.decisions
    copy = napari.layers.Layer.create(
        *review.layers.named("cells").as_layer_data_tuple()
    )  # one's own too
    viewer.add_layer(copy)
    for name in ("A", "X", "N"):
        key(viewer, name)
    assert not review.session.decisions
    assert review.cell_id == shown

    viewer.layers.selection.clear()  # no layer: the review's again
    for name in ("A", "G"):
        key(viewer, name)
    assert [d.action for d in review.session.decisions] == ["accept"]
    assert not pressed[2:], "G is the review's here"
    key(viewer, "U")
    widget.close_review()
    own_keys_work()


def test_a_layer_that_is_drawn_on_keeps_the_keys_of_its_brushes(
    results: Path, viewers: list[Any]
) -> None:
    from napari_ifquant.launch import open_review

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    review = widget.review
    key(viewer, "A")
    assert "<b>A</b>" in widget.panel.keys.text()
    key(viewer, "R")
    layer = review.drawing.layer
    assert viewer.layers.selection.active is layer
    help_text = widget.panel.keys.text()
    assert "<b>A</b>" not in help_text
    for name, meaning in (
        ("R", "redraw (twice)"),
        ("2", "paint"),
        ("1", "erase"),
        ("5", "pick a label"),
        ("Control-Z", "take a stroke back"),
    ):
        assert f"<td><b>{name}</b>&nbsp;</td><td>{meaning}" in help_text
    for name, mode in (
        ("1", "erase"),
        ("2", "paint"),
        ("5", "pick"),
        ("P", "paint"),
        ("E", "erase"),
    ):
        key(viewer, name)
        assert layer.mode == mode
    before = np.array(layer.data)
    layer.selected_label = 1
    layer.paint((3, 3), 1)
    assert not np.array_equal(layer.data, before)
    key(viewer, "Z", "Control")
    assert np.array_equal(layer.data, before), "a stroke is taken back, no decision"
    for name in ("A", "X", "U", "S", "N", "T"):
        key(viewer, name)
    assert review.drawing is not None
    key(viewer, "Equal")
    assert (np.asarray(layer.data) > 0).sum() > (before > 0).sum()
    key(viewer, "Minus")
    key(viewer, "Minus")
    assert (np.asarray(layer.data) > 0).sum() < (before > 0).sum()
    key(viewer, "Escape")
    assert "<b>A</b>" in widget.panel.keys.text()

    key(viewer, "S")
    line = np.array(review.drawing.layer.data[0])
    key(viewer, "Equal")
    turned = np.array(review.drawing.layer.data[0])
    assert not np.allclose(line, turned)
    key(viewer, "Minus")
    assert np.allclose(review.drawing.layer.data[0], line)
    viewer.layers.remove(
        review.drawing.layer
    )  # deleted in the layer list: the next S proposes a cut anew
    viewer.layers.selection.active = review.layers.named("pair")
    key(viewer, "S")
    assert review.drawing.on_view
    key(viewer, "Escape")

    key(viewer, "E")
    review.drawing.layer.add(
        [[[0, 0], [9, 9], [0, 9], [9, 0]]], shape_type="polygon"
    )  # crosses itself
    key(viewer, "E")
    assert "crosses itself" in widget.message.text()
    review.drawing.layer.data = [
        review.drawing.layer.data[0],
        [[0, 0], [0, 9], [9, 9]],
        [[30, 30], [30, 39], [39, 39]],
    ]
    key(viewer, "E")
    assert review.drawing is None, widget.message.text()
    assert [d.action for d in review.session.decisions] == [
        "accept",
        "exclude region",
        "exclude region",
    ]
    widget.close_review()
