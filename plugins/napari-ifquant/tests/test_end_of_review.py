"""However the dock goes, the review goes with it: no key, no callback, no text of it stays, and its
log is free.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from screens import dock_of, key

from ifquant.commands.review_log import ReviewLog, read_log
from ifquant.errors import RequestError

TITLE, MENU = "Review cells (ifquant)", "napari-ifquant.review"


def by_menu() -> None:
    """Choose the entry of the plugins menu: it opens the dock, or hides and shows it."""
    from napari._app_model import get_app_model
    from qtpy.QtWidgets import QApplication

    get_app_model().commands.execute_command(MENU).result()
    QApplication.processEvents()


def x_of_the_dock(viewer: Any, dock: Any) -> None:
    dock.title.close_button.click()


def hide_button(viewer: Any, dock: Any) -> None:
    dock.title.hide_button.click()


def menu(viewer: Any, dock: Any) -> None:
    by_menu()


def removed(viewer: Any, dock: Any) -> None:
    viewer.window.remove_dock_widget(dock.inner_widget())


def all_removed(viewer: Any, dock: Any) -> None:
    viewer.window.remove_dock_widget("all")


def x_while_it_floats(viewer: Any, dock: Any) -> None:
    dock.setFloating(True)
    dock.title.close_button.click()


def window_of_the_floating_dock(viewer: Any, dock: Any) -> None:
    dock.setFloating(True)
    dock.close()


def viewer_closed(viewer: Any, dock: Any) -> None:
    viewer.close()


def window_closed(viewer: Any, dock: Any) -> None:
    viewer.window._qt_window.close()


AT_ONCE = (x_of_the_dock, removed, all_removed, viewer_closed, window_closed)
"""These free the log before they return. Qt hides a dock for a moment when it is torn off: hiding
takes one turn of its loop."""
WINDOW_GOES = (viewer_closed, window_closed)


def bound(viewer: Any) -> list[dict[Any, Any]]:
    return [dict(owner.keymap) for owner in (viewer, *viewer.layers)]


def linked(viewer: Any) -> list[Any]:
    """What of ours listens to the viewer."""
    events = (viewer.layers.selection.events.active, viewer.scene.camera.events.zoom)
    found = [callback for event in events for callback in event.callbacks]
    alive = [getattr(one[0](), one[1], None) if isinstance(one, tuple) else one for one in found]
    return [
        one
        for one in (*alive, *viewer.mouse_drag_callbacks)
        if getattr(one, "__module__", "").startswith("napari_ifquant")
    ]


@pytest.mark.parametrize(
    "close", [*AT_ONCE, hide_button, menu, x_while_it_floats, window_of_the_floating_dock]
)
def test_the_review_ends_with_its_dock(
    close: Callable[[Any, Any], None], results: Path, viewers: list[Any]
) -> None:
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer()
    viewers.append(viewer)
    viewer.open(str(results / "a"), plugin="napari-ifquant")
    viewer.bind_key("A", lambda _: None)  # one's own
    before = bound(viewer)
    overlay, title = viewer.canvas.overlays.text, viewer.title
    shown = overlay.visible, overlay.position, overlay.text
    by_menu()
    widget = viewer.window.dock_widgets[TITLE]
    dock = dock_of(widget)
    assert bound(viewer) == before, "no key is bound before a review"
    reviewer = widget.choice.reviewer.text()
    widget.start()
    review = widget.review
    key(viewer, "A")
    key(viewer, "S")
    assert review.drawing is not None
    assert bound(viewer) != before
    assert overlay.visible
    assert len(linked(viewer)) == 3
    with pytest.raises(RequestError, match="open in another"):
        ReviewLog(results / "a", reviewer)

    close(viewer, dock)
    if close not in AT_ONCE:
        QApplication.processEvents()
    ReviewLog(results / "a", reviewer).close()
    assert widget.review is None
    assert review.drawing is None
    assert bound(viewer)[0] == before[0]
    assert not any(layer.keymap for layer in viewer.layers)
    assert not linked(viewer)
    assert (overlay.visible, overlay.position, overlay.text, viewer.title) == (*shown, title)
    assert not review.accept(), "what still has the review decides nothing with it"
    if close in WINDOW_GOES:
        if close is viewer_closed:
            viewers.remove(viewer)
        return
    for name in ("A", "X", "U", "M", "S"):
        key(viewer, name)
    assert [d.action for d in read_log(results / "a", reviewer).decisions] == ["accept"]

    by_menu()  # opened or shown again
    again = viewer.window.dock_widgets[TITLE]
    assert again.isVisible()
    again.start()
    assert again.review is not None, again.message.text()
    assert [d.action for d in again.review.session.decisions] == ["accept"]
    key(viewer, "X")
    again.close_review()
    assert [d.action for d in read_log(results / "a", reviewer).decisions] == ["accept", "exclude"]


def test_what_only_looks_like_the_end_is_none(results: Path, viewers: list[Any]) -> None:
    from qtpy.QtWidgets import QApplication, QLabel

    from napari_ifquant.launch import open_review

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    review, dock = widget.review, dock_of(widget)
    for floating in (True, False, True, False):  # torn off and put back: Qt hides and shows it
        dock.setFloating(floating)
        QApplication.processEvents()
        assert widget.review is review
    other = viewer.window.add_dock_widget(QLabel("other"), area="right", tabify=True)
    QApplication.processEvents()
    other.raise_()
    QApplication.processEvents()
    assert widget.review is review, "behind another tab"
    viewer.window._qt_window.showMinimized()
    QApplication.processEvents()
    viewer.window._qt_window.showNormal()
    QApplication.processEvents()
    assert widget.review is review
    key(viewer, "A")
    assert [d.action for d in review.session.decisions] == ["accept"]
    widget.close_review()


def test_another_process_may_go_on(results: Path, viewers: list[Any]) -> None:
    from napari_ifquant.launch import open_review

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    reviewer = widget.choice.reviewer.text()
    code = (
        "import sys; from ifquant.commands.review_log import ReviewLog;"
        " ReviewLog(*sys.argv[1:]).close()"
    )

    def other() -> int:
        return subprocess.run(
            [sys.executable, "-c", code, str(results / "a"), reviewer], capture_output=True
        ).returncode

    assert other() != 0
    dock_of(widget).title.close_button.click()
    assert other() == 0


def test_a_review_that_cannot_begin_leaves_nothing(
    results: Path, viewers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_ifquant.launch import open_review
    from napari_ifquant.pair_panel import PairPanel

    viewer, widget = open_review(results, "a")
    viewers.append(viewer)
    widget.close_review()
    before = bound(viewer)
    reviewer = widget.choice.reviewer.text()
    other = ReviewLog(results / "a", reviewer)
    widget.start()
    assert "open in another window" in widget.message.text()
    other.close()

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("in the panel")

    with monkeypatch.context() as patch:
        patch.setattr(PairPanel, "set_review", broken)
        widget.start()
    assert widget.review is None
    assert "unexpected ZeroDivisionError: in the panel" in widget.message.text()
    assert bound(viewer)[0] == before[0]
    assert not linked(viewer)
    ReviewLog(results / "a", reviewer).close()
    widget.start()
    assert widget.review is not None
    widget.close_review()


def test_a_viewer_has_one_review(results: Path, viewers: list[Any]) -> None:
    from napari_ifquant.launch import open_review

    viewer, first = open_review(results, "a")
    viewers.append(viewer)
    by_menu()  # a dock of its own: the first has another name
    second = viewer.window.dock_widgets[TITLE]
    assert second is not first
    second.start()
    assert second.review is not None, second.message.text()
    assert first.review is None
    key(viewer, "A")
    assert [d.action for d in second.review.session.decisions] == ["accept"]
    second.close_review()
    assert not linked(viewer)
    assert not any(map(len, bound(viewer)))
