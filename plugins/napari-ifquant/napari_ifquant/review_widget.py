"""The dock of the review: its two tabs, the desk they work at, and what links dock, canvas and napari's own features table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QLabel, QTabWidget, QVBoxLayout, QWidget

from ifquant.errors import IfquantError
from ifquant.pipeline.review_apply import ReviewResult, apply_reviews
from napari_ifquant import describe
from napari_ifquant.binding import Binding
from napari_ifquant.collector import collector_paused
from napari_ifquant.desk import Desk
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

    def __init__(self, napari_viewer: Any, results: Path | None = None, slide: str | None = None) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.desk: Desk | None = None
        self._view: SlideView | None = None
        self.choice = SlideChoice(lambda folder: self._guarded(lambda: self.open_results(folder)), self.start, self.apply)
        self.panel = PairPanel(self._focus_window)
        self.tabs, self.message = QTabWidget(), QLabel()
        self.tabs.addTab(self.choice, "Slide and queue")
        self.tabs.addTab(self.panel, "Review")
        self.message.setStyleSheet("color: #e6b450")
        self.message.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.tabs)
        layout.addWidget(self.message)
        self._binding = Binding(napari_viewer, lambda: self.desk)
        napari_viewer.mouse_drag_callbacks.append(self._on_click)
        found = next((layer.metadata["ifquant"] for layer in napari_viewer.layers if "ifquant" in layer.metadata), None)
        if results is not None:
            self.open_results(results, slide)
        elif found is not None:
            self._view = found
            self.open_results(found.folder.parent, found.folder.name)

    # ---- reviewing -------------------------------------------------------------------------------------------------------------------

    def open_results(self, results: Path, slide: str | None = None) -> None:
        """Offer the slides of a run.

        Raises
        ------
        RequestError
            If there is no finished slide.
        """
        results = Path(results).resolve()
        if (results / "slide.json").is_file():
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
        view = self._open(folder)
        self._remove_layers()
        form = self.choice.form
        form.fill(view.subject)
        self.choice.name_slides()
        self.desk = Desk(self.viewer, view, self.choice.reviewer.text().strip(), form.options(view.subject), limits=limits)
        self.desk.listeners.append(self._show)
        self.panel.set_desk(self.desk, self.choice.describe(view))
        self.desk.screen.named("cell centers").selected_data.events.items_changed.connect(self._on_points)
        self.viewer.title = f"ifquant review: {self.choice.slides.currentText()}"
        self.choice.start_button.setText("Start with these choices")
        self.tabs.setCurrentIndex(1)
        self._show()
        self._focus_window()

    def _limits_on_view(self) -> dict[str, tuple[float, float]]:
        if self._view is None:
            return {}
        layers = [layer for layer in self.viewer.layers if layer.metadata.get(NAME) in self._view.channels]
        return {layer.metadata[NAME]: (float(layer.contrast_limits[0]), float(layer.contrast_limits[1])) for layer in layers}

    def _remove_layers(self) -> None:
        """Take away what a reader or an earlier review put there for a slide."""
        for layer in list(self.viewer.layers):
            if TAG in layer.metadata:
                self.viewer.layers.remove(layer)

    def close_desk(self) -> None:
        """End the review: the log is released, the layers stay until the next one begins."""
        if self.desk is not None:
            self.panel.set_desk(None)
            self.desk.close(remove=False)
            self.desk = None
            self.choice.start_button.setText("Start review")

    def release(self) -> None:
        """Release the log alone: also when the window and all its parts are gone."""
        if self.desk is not None:
            self.desk.release()
            self.desk = None

    def apply(self) -> None:
        """Apply all logs of these results, as ``ifquant review --apply`` does, and say where the report is."""
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
        self._say_applied("\n".join(result.summary_lines(self.choice.shown_names() if self.choice.blinded else None)))

    def _say_applied(self, text: str) -> None:
        self.choice.apply_button.setEnabled(True)
        self.message.setText(text)

    # ---- what links dock, canvas and features table ----------------------------------------------------------------------------------

    def _on_points(self, event: Any = None) -> None:
        """Show the cell that was chosen in napari's features table."""
        if self.desk is None:
            return
        chosen = sorted(self.desk.screen.named("cell centers").selected_data)
        if len(chosen) == 1:
            cell_id = int(self.desk.view.subject.ids[chosen[0]])
            if cell_id != self.desk.cell_id:
                self.desk.show_cell(cell_id)

    def _on_click(self, viewer: Any, event: Any) -> Any:
        """Show the cell that was clicked on; dragging moves the picture as ever."""
        dragged = False
        yield
        while event.type == "mouse_move":
            dragged = True
            yield
        desk = self.desk
        if desk is None or dragged or desk.drawing is not None or getattr(event, "button", 1) != 1:
            return
        size = desk.view.subject.pixel_size_um
        y, x = (float(v) / size + 0.5 for v in event.position[-2:])
        cell_id = desk.view.cells.at(y, x)
        if cell_id and cell_id in desk.session.standing.outlines:
            desk.show_cell(cell_id)

    def _show(self) -> None:
        desk = self.desk
        if desk is None:
            return
        self.panel.refresh()
        self.message.setText(desk.message)
        done, total = desk.progress
        overlay = self.viewer.canvas.overlays.text
        overlay.visible, overlay.position = True, "top_left"
        overlay.text = f"{done}/{total}  {describe.gap_line(desk)}"

    def _focus_window(self) -> None:
        """Give the keyboard to the window the dock is in, or to the dock where it floats: both pass keys on to the canvas."""
        self.window().setFocus()

    def _guarded(self, act: Any) -> None:
        try:
            act()
        except IfquantError as error:
            self.message.setText(str(error))

    def closeEvent(self, event: Any) -> None:
        """Release the log."""
        self.close_desk()
        super().closeEvent(event)
