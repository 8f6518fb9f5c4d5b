"""Whatever goes wrong in an action ends in the dock: the key was handled, once, and log, session
and screen say the same.
"""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from screens import dock_of, key, press_on

from ifquant.commands.review_log import read_log
from ifquant.errors import ResourceError
from napari_ifquant.pair_view import neighbors

FOCI = ("canvas", "dock", "floating")


@pytest.fixture(params=FOCI)
def keyboard(
    request: pytest.FixtureRequest, results: Path, viewers: list[Any]
) -> Iterator[tuple[Any, Callable[..., None]]]:
    """A review, and how to press keys where the focus is."""
    from qtpy.QtWidgets import QApplication

    from napari_ifquant.launch import open_review

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    places = {
        "canvas": viewer.window._qt_viewer.canvas.native,
        "dock": widget.panel.progress,
        "floating": dock_of(widget),
    }
    if request.param == "floating":
        dock_of(widget).setFloating(True)
        QApplication.processEvents()
    yield widget, lambda name, *held: press_on(places[request.param], name, *held)
    widget.close_review()


def logged(widget: Any) -> list[str]:
    return [
        d.action for d in read_log(widget.choice.folder, widget.choice.reviewer.text()).decisions
    ]


def to_touching(widget: Any) -> None:
    review = widget.review
    places = range(1, len(review.queue) + 1)
    near = (neighbors(review.session, int(review.queue.ids[k - 1])) for k in places)
    review.go(next(k for k, others in enumerate(near, 1) if others[0].gap_um == 0))


def test_outlines_are_undone_and_redone_in_any_depth(
    keyboard: tuple[Any, Callable[..., None]],
) -> None:
    widget, press = keyboard
    press("A")
    to_touching(widget)
    review = widget.review
    n, cell, other = len(review.view.subject), review.cell_id, review.partner.cell_id
    labels = np.asarray(review.view.cells.levels[0])
    press("M")
    assert review.cell_id == n + 1
    press("R")
    press("Equal")
    press("R")  # the merged cell, redrawn
    assert review.cell_id == n + 2
    press("S")
    for _ in range(12):
        press("S")
        if review.drawing is None:
            break
        press("Equal")
    assert logged(widget) == ["accept", "merge", "redraw", "split"], review.message
    assert review.cell_id == n + 3
    for left, shown in ((2, n + 2), (1, n + 1), (0, cell)):
        press("Z", "Control")
        assert review.cell_id == shown
        assert str(shown) in widget.panel.pair.text()
        assert len(review.session.standing.outlines.changed) == left
    assert np.array_equal(np.asarray(review.view.cells.levels[0]), labels)
    assert {cell, other} <= set(np.unique(labels))
    for shown in (n + 1, n + 2, n + 3):
        press("Z", "Control", "Shift")
        assert review.cell_id == shown
    for _ in range(3):
        press("U")
    press("E")
    assert review.drawing is not None
    press("Escape")
    assert logged(widget) == [
        "accept",
        "merge",
        "redraw",
        "split",
        *["undo"] * 3,
        *["redo"] * 3,
        *["undo"] * 3,
    ]


def test_what_fails_before_the_log_is_written_changes_nothing(
    keyboard: tuple[Any, Callable[..., None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    widget, press = keyboard
    review = widget.review
    press("A")
    calls = []

    def broken(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise ZeroDivisionError("nobody expected this")

    before = (review.cell_id, review.place, review.partner, widget.panel.pair.text())
    for name, owner, method in (
        ("A", review.session, "accept"),
        ("2", review.session, "change_phenotype"),
        ("X", review.session, "exclude"),
        ("U", review.session, "undo"),
        ("N", review.layers, "show_pair"),
        ("H", review.layers, "named"),
        ("S", review.viewer, "add_layer"),
        ("C", review, "focus_note"),
    ):
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, broken) if owner is not review.viewer else patch.setattr(
                type(owner), method, broken
            )
            press(name)
        assert calls, name
        assert len(calls) <= 2, f"{name} was done again"
        assert "unexpected ZeroDivisionError: nobody expected this" in widget.message.text()
        assert logged(widget) == ["accept"]
        if (
            name in "NH"
            # not even the cell from before could be shown: then none is on view, and nothing can be
            # decided
        ):
            assert review.cell_id is None
            press("X")
            assert logged(widget) == ["accept"]
            assert widget.message.text() == "no cell is on view"
            review.go(before[1])
        assert (review.cell_id, review.place, review.partner, widget.panel.pair.text()) == before, (
            name
        )
        assert review.drawing is None
    press("X")
    assert logged(widget) == ["accept", "exclude"]


def test_a_key_that_failed_is_not_offered_again_in_the_running_loop(
    results: Path, viewers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only there PySide6 tells Qt that nobody wanted a key whose handler raised, and Qt hands it
    from the canvas on to the window.
    """
    from qtpy.QtCore import QEvent, QEventLoop, Qt, QTimer
    from qtpy.QtGui import QKeyEvent
    from qtpy.QtWidgets import QApplication

    from napari_ifquant.launch import open_review

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    canvas, calls, loop = viewer.window._qt_viewer.canvas.native, [], QEventLoop()

    def broken(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise ZeroDivisionError("nobody expected this")

    with monkeypatch.context() as patch:
        patch.setattr(widget.review.session, "exclude", broken)
        for pressed in (Qt.Key.Key_A, Qt.Key.Key_X, Qt.Key.Key_U):
            for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
                QApplication.postEvent(
                    canvas, QKeyEvent(kind, pressed, Qt.KeyboardModifier.NoModifier, "")
                )
        QTimer.singleShot(200, loop.quit)
        loop.exec()
    assert calls == [1]
    assert logged(widget) == ["accept", "undo"]
    widget.close_review()


def test_what_fails_after_the_log_is_written_is_said_and_stands(
    keyboard: tuple[Any, Callable[..., None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    widget, press = keyboard
    review = widget.review

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("nobody expected this")

    with monkeypatch.context() as patch:  # a listener of the review: all others still show what is
        patch.setattr(widget.panel.model, "refresh", broken)
        press("A")
    assert logged(widget) == ["accept"]
    assert "accept of cell" in widget.message.text()
    assert "the dock shows only a part: unexpected ZeroDivisionError" in widget.message.text()
    assert review.place == 2
    assert review.viewer.canvas.overlays.text.text.startswith("1/")

    shown = review.cell_id
    with monkeypatch.context() as patch:
        patch.setattr(review.layers, "recolor", broken)
        press("X")
    assert logged(widget) == ["accept", "exclude"]
    assert "2: exclude is in the log, but: unexpected" in widget.message.text()
    assert review.cell_id in (None, shown)
    press("U")
    assert logged(widget) == ["accept", "exclude", "undo"]
    assert review.cell_id == shown
    assert review.session.decided() == {int(review.queue.ids[0])}


def test_a_failed_save_is_no_decision(
    keyboard: tuple[Any, Callable[..., None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    widget, press = keyboard
    review = widget.review
    press("A")
    shown = review.cell_id

    def full(_: Any) -> None:
        raise ResourceError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(review.state.log, "append", full)
        for name in ("A", "X", "T", "U"):
            press(name)
            assert widget.message.text() == "the disk is full"
        widget.panel.note.setText("kept")
        press_on(widget.panel.note, "Return")
        assert widget.panel.note.text() == "kept", "the words are not lost"
    assert logged(widget) == ["accept"]
    assert [d.action for d in review.session.decisions] == ["accept"]
    assert review.cell_id == shown
    press_on(widget.panel.note, "Return")
    press("X")
    assert logged(widget) == ["accept", "note", "exclude"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of files there")
def test_a_disk_that_takes_half_a_line(results: Path, viewers: list[Any]) -> None:
    """A true failure of the system within a line: what was written counts as torn, the decision
    does not stand, and one goes on.
    """
    from napari_ifquant.launch import open_review

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    review = widget.review
    key(viewer, "A")
    path = results / "a" / "review" / f"{widget.choice.reviewer.text()}.jsonl"
    limits, ignored = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, limits[1]))
    try:
        key(viewer, "X")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert "writing failed" in widget.message.text()
    assert path.read_bytes().count(b"\n") == 1, "half a line more"
    assert [d.action for d in review.session.decisions] == ["accept"]
    assert not review.state.log.closed, "open again"
    key(viewer, "X")
    key(viewer, "U")
    widget.close_review()
    assert logged(widget) == ["accept", "exclude", "undo"]


def test_buttons_clicks_and_rows_are_guarded_as_keys_are(
    results: Path, viewers: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QApplication

    from napari_ifquant.classes import LabelPyramid
    from napari_ifquant.gates_widget import GatesWidget
    from napari_ifquant.launch import open_review
    from napari_ifquant.slide_choice import SlideChoice

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    gates = GatesWidget(viewer)
    viewer.window.add_dock_widget(gates, name="Gates", area="right", tabify=True)
    review, canvas = widget.review, viewer.window._qt_viewer.canvas.native
    shown = review.cell_id

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("nobody expected this")

    def told(act: Callable[[], None], owner: Any, name: str) -> None:
        widget.message.setText("")
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)
            act()
            QApplication.processEvents()
        assert "unexpected ZeroDivisionError: nobody expected this" in widget.message.text(), name

    def click() -> None:
        QTest.mouseClick(
            canvas, Qt.MouseButton.LeftButton, pos=QPoint(canvas.width() // 2, canvas.height() // 2)
        )

    centers = review.layers.named("cell centers")
    told(click, LabelPyramid, "at")
    told(lambda: setattr(centers, "selected_data", {7}), type(review.state), "show_cell")
    fourth = widget.panel.model.index(3, 0)
    told(lambda: widget.panel.table.clicked.emit(fourth), type(review.state), "go")
    told(gates.save.click, type(review.session), "change_gate")
    told(gates.none.click, type(review.session), "change_gate")
    told(lambda: gates.histogram.moved.emit(300.0), type(review.session), "preview")
    assert review.cell_id == shown
    told(gates.back.click, type(review.layers), "recolor")
    told(widget.choice.apply_button.click, widget, "_apply")
    told(widget.choice.start_button.click, SlideChoice, "title")
    assert widget.review is None
    assert not review.session.decisions
    widget.choice._chosen(tmp_path)
    assert "no finished slide" in widget.message.text()
    widget.start()
    assert widget.review is not None
    centers = widget.review.layers.named("cell centers")
    centers.add([[5.0, 5.0]])  # a point of one's own is no cell
    centers.selected_data = {len(widget.review.view.subject)}
    assert widget.review.cell_id is not None
    widget.close_review()
