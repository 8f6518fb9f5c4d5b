"""The dock of the review: its two tabs, and what links it to canvas and napari's features table."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QLabel, QTabWidget, QVBoxLayout, QWidget

from ifquant.commands.review_apply import ReviewResult, apply_reviews
from ifquant.results.slide_record import is_slide_folder
from napari_ifquant.error_guard import error_text
from napari_ifquant.keys import KeyBinding, takes_keys
from napari_ifquant.layers import TAG
from napari_ifquant.open_reviews import review_in
from napari_ifquant.pair_panel import PairPanel
from napari_ifquant.pair_text import gap_line
from napari_ifquant.result import SlideView, open_result
from napari_ifquant.review_layers import channel_limits
from napari_ifquant.slide_choice import SlideChoice
from napari_ifquant.slide_review import SlideReview


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
        self.review: SlideReview | None = None
        self._links = ExitStack()
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
        views = [layer.metadata.get("ifquant") for layer in napari_viewer.layers]
        if results is not None:
            self.open_results(results, slide)
        elif any(views):
            self._view = view = next(filter(None, views))
            self.open_results(view.folder.parent, view.folder.name)

    # ---- reviewing -------------------------------------------------------------------------------

    def open_results(self, results: Path, slide: str | None = None) -> None:
        """Offer the slides of a run; raises RequestError if there is no finished one."""
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
        """Begin, or begin anew with what is chosen now. Contrast is kept from the slide before.

        Without garbage collection: opening makes many objects, all to stay, and each full look
        through those of napari takes 0.4 s.
        """
        was_on = gc.isenabled()
        gc.disable()
        try:
            self._guarded(self._start)
        finally:
            if was_on:
                gc.enable()

    def _start(self) -> None:
        folder = self.choice.folder
        limits = self._limits()
        self.close_review()
        other = review_in(self.viewer)
        if other is not None:  # of another dock: a viewer has one review
            (other.end or other.close)()
        view = self._open(folder)
        self._remove_layers()
        form = self.choice.form
        form.fill(view.subject)
        self.choice.name_slides()
        options = form.options(view.subject)
        reviewer = self.choice.reviewer.text().strip()
        with ExitStack() as links:  # all that a review puts up is taken down, whatever fails
            review = SlideReview(self.viewer, view, reviewer, options, limits=limits)
            links.callback(review.close, remove=False)
            self._link(review, links)
            self.panel.set_review(review, self.choice.title(view))
            links.callback(self.panel.set_review, None)
            self.review, self._links = review, links.pop_all()
        review.end = self.close_review
        review.listeners += [self.panel.refresh, self._show_overlay, self._show_message]
        self.choice.start_button.setText("Start with these choices")
        self.tabs.setCurrentIndex(1)
        self._show_overlay()
        self._show_message()
        self._focus_window()

    def _link(self, review: SlideReview, links: ExitStack) -> None:
        """Link viewer and review until it ends, and leave the viewer as it was."""
        links.callback(KeyBinding(self.viewer, review).release)
        self.viewer.mouse_drag_callbacks.append(self._on_click)
        links.callback(self.viewer.mouse_drag_callbacks.remove, self._on_click)
        rows = review.layers.named("cell centers").selected_data.events.items_changed
        rows.connect(self._on_points)
        links.callback(rows.disconnect, self._on_points)
        overlay, title = self.viewer.canvas.overlays.text, self.viewer.title
        before = {name: getattr(overlay, name) for name in ("visible", "position", "text")}
        links.callback(overlay.update, before)
        links.callback(setattr, self.viewer, "title", title)
        self.viewer.title = f"ifquant review: {self.choice.slides.currentText()}"

    def _limits(self) -> dict[str, tuple[float, float]]:
        """Contrast as it is on view, of the review's layers or a reader's."""
        if self.review is not None:
            return self.review.layers.limits()
        return {} if self._view is None else channel_limits(self.viewer.layers, self._view)

    def _remove_layers(self) -> None:
        """Take away what a reader or an earlier review put there for a slide."""
        for layer in list(self.viewer.layers):
            if TAG in layer.metadata:
                self.viewer.layers.remove(layer)

    def close_review(self) -> None:
        """End the review: the log is released, the layers stay until the next one begins."""
        if self.review is None:
            return
        self.review = None
        try:
            self._links.close()
        finally:
            self.choice.start_button.setText("Start review")
            self.tabs.setCurrentIndex(0)

    def release(self) -> None:
        """Release the log alone: also when the window and all its parts are gone."""
        if self.review is not None:
            self.review.release()
            self.review = None

    def apply(self) -> None:
        """Apply all logs of these results, as ``ifquant review --apply`` does."""
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
        self.worker.errored.connect(lambda error: self._show_applied(str(error)))
        self.worker.start()

    def _applied(self, result: ReviewResult) -> None:
        names = self.choice.display_names() if self.choice.is_blinded else None
        self._show_applied("\n".join(result.summary_lines(names)))

    def _show_applied(self, text: str) -> None:
        self.choice.apply_button.setEnabled(True)
        self.message.setText(text)

    # ---- what links dock, canvas and features table ----------------------------------------------

    def _on_points(self, event: Any = None) -> None:
        """Show the cell that was chosen in napari's features table."""
        if self.review is not None:
            self.review.show_chosen()

    def _on_click(self, viewer: Any, event: Any) -> Any:
        """Show the cell that was clicked on; dragging moves the picture as ever."""
        dragged = False
        yield
        while event.type == "mouse_move":
            dragged = True
            yield
        review = self.review
        if review is None or dragged or getattr(event, "button", 1) != 1:
            return
        if takes_keys(review) and review.drawing is None:
            review.show_at(*(float(v) for v in event.position[-2:]))

    def _show_overlay(self) -> None:
        if self.review is not None:
            done, total = self.review.progress
            overlay = self.viewer.canvas.overlays.text
            overlay.visible, overlay.position = True, "top_left"
            overlay.text = f"{done}/{total}  {gap_line(self.review.state)}"

    def _show_message(self) -> None:
        if self.review is not None:
            self.message.setText(self.review.message)

    def _focus_window(self) -> None:
        """Give the keyboard to the dock's window, which passes keys on to the canvas."""
        self.window().setFocus()

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self.message.setText(error_text(error))

    # ---- the dock's end --------------------------------------------------------------------------

    def hideEvent(self, event: Any) -> None:
        """End the review when the dock is closed or hidden: no decision without it.

        Minimized with its window, it is still there.
        """
        super().hideEvent(event)
        if event.spontaneous():
            return
        top = self
        while top.parentWidget() is not None:
            top = top.parentWidget()
        if top.isVisible():
            # a dock that is torn off or put back is hidden only for a moment
            QTimer.singleShot(0, self._end_if_hidden)
        else:
            self._guarded(self.close_review)

    def _end_if_hidden(self) -> None:
        if not self.isVisible():
            self._guarded(self.close_review)

    def changeEvent(self, event: Any) -> None:
        """End the review when the dock was removed."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parentWidget() is None:
            self._guarded(self.close_review)
