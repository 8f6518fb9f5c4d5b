"""The dock of the review: its two tabs, the desk they work at, and what links dock, canvas and
napari's own features table.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QLabel, QTabWidget, QVBoxLayout, QWidget

from ifquant.commands.review_apply import ReviewResult, apply_reviews
from ifquant.results.slide_record import is_slide_folder
from napari_ifquant import describe
from napari_ifquant.binding import Binding
from napari_ifquant.collector import collector_paused
from napari_ifquant.desk import Desk, desk_of
from napari_ifquant.guard import told
from napari_ifquant.layers import NAME, TAG
from napari_ifquant.pair_panel import PairPanel
from napari_ifquant.result import SlideView, open_result
from napari_ifquant.slide_choice import SlideChoice


class ReviewWidget(QWidget):
    """Review of the cells of a run.

    Parameters
    ----------
    napari_viewer
        The napari viewer (napari knows the parameter by this name).
    results
        Folder of a run; None: that of the layers in the viewer, or chosen with the button.
    slide
        Begin with this slide; None: the first.
    """

    def __init__(
        self, napari_viewer: Any, results: Path | None = None, slide: str | None = None
    ) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.desk: Desk | None = None
        self._review = ExitStack()
        self._view: SlideView | None = None
        self.choice = SlideChoice(
            lambda folder: self._guarded(lambda: self.open_results(folder)), self.start, self.apply
        )
        self.panel = PairPanel(self._focus_window)
        self.tabs, self.message = QTabWidget(), QLabel()
        self.tabs.addTab(self.choice, "Slide and queue")
        self.tabs.addTab(self.panel, "Review")
        self.message.setStyleSheet("color: #e6b450")
        self.message.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.tabs)
        layout.addWidget(self.message)
        found = next(
            (
                layer.metadata["ifquant"]
                for layer in napari_viewer.layers
                if "ifquant" in layer.metadata
            ),
            None,
        )
        if results is not None:
            self.open_results(results, slide)
        elif found is not None:
            self._view = found
            self.open_results(found.folder.parent, found.folder.name)

    # ---- reviewing -------------------------------------------------------------------------------

    def open_results(self, results: Path, slide: str | None = None) -> None:
        """Offer the slides of a run.

        Raises
        ------
        RequestError
            If there is no finished slide.
        """
        results = Path(results).resolve()
        if is_slide_folder(results):
            results, slide = results.parent, slide or results.name
        self.choice.offer(results, slide)
        self.choice.form.fill(self._open(self.choice.folder).subject)

    def _open(self, folder: Path) -> SlideView:
        if self._view is None or self._view.folder != folder:
            self._view = open_result(folder)
        return self._view

    def start(self) -> None:
        """Begin, or begin anew with what is chosen now. Contrast is kept from the slide before."""
        with collector_paused():
            self._guarded(self._start)

    def _start(self) -> None:
        folder = self.choice.folder
        limits = self.desk.screen.limits() if self.desk is not None else self._limits_on_view()
        self.close_desk()
        other = desk_of(self.viewer)
        if other is not None:  # of another dock: a viewer has one review
            (other.end or other.close)()
        view = self._open(folder)
        self._remove_layers()
        form = self.choice.form
        form.fill(view.subject)
        self.choice.name_slides()
        options = form.options(view.subject)
        with (
            ExitStack() as review
        ):  # all that a review puts up is taken down at its end, whatever fails
            desk = Desk(
                self.viewer, view, self.choice.reviewer.text().strip(), options, limits=limits
            )
            review.callback(desk.close, remove=False)
            self._link(desk, review)
            self.panel.set_desk(desk, self.choice.describe(view))
            review.callback(self.panel.set_desk, None)
            self.desk, self._review = desk, review.pop_all()
        desk.end = self.close_desk
        desk.listeners += [self.panel.refresh, self._show_overlay, self._show_message]
        self.choice.start_button.setText("Start with these choices")
        self.tabs.setCurrentIndex(1)
        self._show_overlay()
        self._show_message()
        self._focus_window()

    def _link(self, desk: Desk, review: ExitStack) -> None:
        """Link viewer and desk until the review ends, and leave the viewer as it was."""
        review.callback(Binding(self.viewer, desk).release)
        self.viewer.mouse_drag_callbacks.append(self._on_click)
        review.callback(self.viewer.mouse_drag_callbacks.remove, self._on_click)
        rows = desk.screen.named("cell centers").selected_data.events.items_changed
        rows.connect(self._on_points)
        review.callback(rows.disconnect, self._on_points)
        overlay, title = self.viewer.canvas.overlays.text, self.viewer.title
        review.callback(
            overlay.update,
            {name: getattr(overlay, name) for name in ("visible", "position", "text")},
        )
        review.callback(setattr, self.viewer, "title", title)
        self.viewer.title = f"ifquant review: {self.choice.slides.currentText()}"

    def _limits_on_view(self) -> dict[str, tuple[float, float]]:
        if self._view is None:
            return {}
        layers = [
            layer for layer in self.viewer.layers if layer.metadata.get(NAME) in self._view.channels
        ]
        return {
            layer.metadata[NAME]: (float(layer.contrast_limits[0]), float(layer.contrast_limits[1]))
            for layer in layers
        }

    def _remove_layers(self) -> None:
        """Take away what a reader or an earlier review put there for a slide."""
        for layer in list(self.viewer.layers):
            if TAG in layer.metadata:
                self.viewer.layers.remove(layer)

    def close_desk(self) -> None:
        """End the review: the log is released, the layers stay until the next one begins."""
        if self.desk is None:
            return
        self.desk = None
        try:
            self._review.close()
        finally:
            self.choice.start_button.setText("Start review")
            self.tabs.setCurrentIndex(0)

    def release(self) -> None:
        """Release the log alone: also when the window and all its parts are gone."""
        if self.desk is not None:
            self.desk.release()
            self.desk = None

    def apply(self) -> None:
        """Apply all logs of these results, as ``ifquant review --apply`` does, and say where the
        report is.
        """
        self._guarded(self._apply)

    def _apply(self) -> None:
        if not self.choice.folders:
            self.message.setText("no results are open")
            return
        from napari.qt.threading import create_worker

        self.choice.apply_button.setEnabled(False)
        self.message.setText("applying the reviews...")
        self.worker = create_worker(apply_reviews, self.choice.folders[0].parent)
        self.worker.returned.connect(self._applied)
        self.worker.errored.connect(lambda error: self._say_applied(str(error)))
        self.worker.start()

    def _applied(self, result: ReviewResult) -> None:
        self._say_applied(
            "\n".join(
                result.summary_lines(self.choice.shown_names() if self.choice.blinded else None)
            )
        )

    def _say_applied(self, text: str) -> None:
        self.choice.apply_button.setEnabled(True)
        self.message.setText(text)

    # ---- what links dock, canvas and features table ----------------------------------------------

    def _on_points(self, event: Any = None) -> None:
        """Show the cell that was chosen in napari's features table."""
        if self.desk is not None:
            self.desk.show_chosen()

    def _on_click(self, viewer: Any, event: Any) -> Any:
        """Show the cell that was clicked on; dragging moves the picture as ever."""
        dragged = False
        yield
        while event.type == "mouse_move":
            dragged = True
            yield
        desk = self.desk
        if (
            desk is not None
            and desk.listens
            and desk.drawing is None
            and not dragged
            and getattr(event, "button", 1) == 1
        ):
            desk.show_at(*(float(v) for v in event.position[-2:]))

    def _show_overlay(self) -> None:
        if self.desk is not None:
            done, total = self.desk.progress
            overlay = self.viewer.canvas.overlays.text
            overlay.visible, overlay.position = True, "top_left"
            overlay.text = f"{done}/{total}  {describe.gap_line(self.desk)}"

    def _show_message(self) -> None:
        if self.desk is not None:
            self.message.setText(self.desk.message)

    def _focus_window(self) -> None:
        """Give the keyboard to the window the dock is in, or to the dock where it floats: both pass
        keys on to the canvas.
        """
        self.window().setFocus()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self.message.setText(told(error))

    # ---- the dock's end --------------------------------------------------------------------------

    def hideEvent(self, event: Any) -> None:
        """End the review when the dock is closed or hidden: no decision without it. Minimized with
        its window, it is still there.
        """
        super().hideEvent(event)
        if event.spontaneous():
            return
        top = self
        while top.parentWidget() is not None:
            top = top.parentWidget()
        if top.isVisible():
            QTimer.singleShot(
                0, self._end_if_hidden
            )  # a dock that is torn off or put back is hidden only for a moment
        else:
            self._guarded(self.close_desk)

    def _end_if_hidden(self) -> None:
        if not self.isVisible():
            self._guarded(self.close_desk)

    def changeEvent(self, event: Any) -> None:
        """End the review when the dock was removed."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parentWidget() is None:
            self._guarded(self.close_desk)
