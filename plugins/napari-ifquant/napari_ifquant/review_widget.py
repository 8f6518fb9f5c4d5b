"""The dock of the review: slide and reviewer, queue, the pair on view, keys. It shows what the desk says and passes on what is pressed."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QTableView,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from ifquant.errors import IfquantError
from ifquant.pipeline.review_apply import apply_reviews
from ifquant.pipeline.review_subject import finished_slides
from ifquant.review.queue import blind_names
from napari_ifquant import describe
from napari_ifquant.binding import Binding
from napari_ifquant.collector import collector_paused
from napari_ifquant.desk import Desk
from napari_ifquant.keys import help_text
from napari_ifquant.layers import NAME, TAG
from napari_ifquant.queue_form import QueueForm
from napari_ifquant.queue_table import QueueModel
from napari_ifquant.result import SlideView, open_result


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
        self._folders: list[Path] = []
        self._build()
        self._binding = Binding(napari_viewer, lambda: self.desk)
        napari_viewer.mouse_drag_callbacks.append(self._on_click)
        found = next((layer.metadata["ifquant"] for layer in napari_viewer.layers if "ifquant" in layer.metadata), None)
        if results is not None:
            self.open_results(results, slide)
        elif found is not None:
            self._view = found
            self.open_results(found.folder.parent, found.folder.name)
        self._show()

    # ---- parts -----------------------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.slides, self.reviewer, self.form = QComboBox(), QLineEdit(_user()), QueueForm()
        choose, self.start_button = QPushButton("Open results..."), QPushButton("Start review")
        choose.clicked.connect(self._choose)
        self.start_button.clicked.connect(self.start)
        self.progress = QProgressBar()
        self.progress.setFormat("%v/%m decided")
        self.pair, self.why, self.values, self.message = QLabel(), QLabel(), QLabel(), QLabel()
        self.values.setTextFormat(Qt.TextFormat.RichText)
        self.message.setStyleSheet("color: #e6b450")
        self.note = QLineEdit()
        self.note.setPlaceholderText("note (C), Enter saves it")
        self.note.returnPressed.connect(self._save_note)
        self.model = QueueModel(self)
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.clicked.connect(lambda index: self._go(index.row() + 1))
        self.keys = QLabel()
        self.keys.setTextFormat(Qt.TextFormat.RichText)
        self.apply_button = QPushButton("Apply all reviews of these results")
        self.apply_button.clicked.connect(self.apply)
        choice, review = QWidget(), QWidget()
        top = QFormLayout()
        top.addRow("results", choose)
        top.addRow("slide", self.slides)
        top.addRow("reviewer", self.reviewer)
        layout = QVBoxLayout(choice)
        layout.addLayout(top)
        for part in (self.form, self.start_button, self.apply_button):
            layout.addWidget(part)
        layout.addStretch(1)
        layout = QVBoxLayout(review)
        for part in (self.progress, self.pair, self.why, self.values, self.note):
            layout.addWidget(part)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.keys)
        self.tabs = QTabWidget()
        self.tabs.addTab(choice, "Slide and queue")
        self.tabs.addTab(review, "Review")
        layout = QVBoxLayout(self)
        layout.addWidget(self.tabs)
        layout.addWidget(self.message)
        for label in (self.pair, self.why, self.message):
            label.setWordWrap(True)

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of results")
        if folder:
            self._guarded(lambda: self.open_results(Path(folder)))

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
        self._folders = finished_slides(results)
        self._name_slides()
        names = [folder.name for folder in self._folders]
        if slide is not None and slide in names:
            self.slides.setCurrentIndex(names.index(slide))
        folder = self._folders[self.slides.currentIndex()]
        if self._view is None or self._view.folder != folder:
            self._view = open_result(folder)
        self.form.fill(self._view.subject)

    def _name_slides(self) -> None:
        at = max(self.slides.currentIndex(), 0)
        names = [folder.name for folder in self._folders]
        shown = blind_names(names, self.form.seed.value()) if self.form.hide_sample.isChecked() else {name: name for name in names}
        self.slides.clear()
        self.slides.addItems([shown[name] for name in names])
        self.slides.setCurrentIndex(at)

    # ---- reviewing -------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, or begin anew with what is chosen now. Contrast is kept from the slide before."""
        with collector_paused():
            self._guarded(self._start)

    def _start(self) -> None:
        if not self._folders:
            raise IfquantError("no results are open; press 'Open results...' or drag a folder of results into the window.")
        folder = self._folders[self.slides.currentIndex()]
        limits = self.desk.screen.limits() if self.desk is not None else self._limits_on_view()
        self.close_desk()
        if self._view is None or self._view.folder != folder:
            self._view = open_result(folder)
        self._remove_layers()
        self.form.fill(self._view.subject)
        self._name_slides()
        self.desk = Desk(self.viewer, self._view, self.reviewer.text().strip(), self.form.options(self._view.subject), limits=limits)
        self.desk.listeners.append(self._show)
        self.desk.ask_note_of = self.note.setFocus
        self.model.set_desk(self.desk)
        self.table.resizeColumnsToContents()
        centers = self.desk.screen.named("cell centers")
        centers.selected_data.events.items_changed.connect(self._on_points)
        self.viewer.title = f"ifquant review: {self.slides.currentText()}"
        self.keys.setText(_key_table(help_text(self.desk.names)))
        self.tabs.setCurrentIndex(1)
        self._show()
        self._focus_canvas()

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
            self.model.set_desk(None)
            self.desk.close(remove=False)
            self.desk = None

    def apply(self) -> None:
        """Apply all logs of these results, as ``ifquant review --apply`` does, and say where the report is."""
        if not self._folders:
            self.message.setText("no results are open")
            return
        from napari.qt.threading import create_worker

        results = self._folders[0].parent
        self.apply_button.setEnabled(False)
        self.message.setText("applying the reviews...")
        self.worker = create_worker(apply_reviews, results)
        self.worker.returned.connect(lambda result: self._applied("\n".join(result.summary_lines())))
        self.worker.errored.connect(lambda error: self._applied(str(error)))
        self.worker.start()

    def _applied(self, text: str) -> None:
        self.apply_button.setEnabled(True)
        self.message.setText(text)

    def _go(self, place: int) -> None:
        if self.desk is not None:
            self.desk.go(place)
            self._focus_canvas()

    def _save_note(self) -> None:
        if self.desk is not None:
            self.desk.note(self.note.text())
        self.note.clear()
        self._focus_canvas()

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

    # ---- showing ---------------------------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        desk = self.desk
        self.start_button.setText("Start review" if desk is None else "Start with these choices")
        if desk is None:
            return
        done, total = desk.progress
        self.progress.setUpdatesEnabled(False)  # Qt would draw the whole window at once, and once more at the end
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)
        self.progress.setUpdatesEnabled(True)
        self.pair.setText(describe.pair_line(desk))
        why = describe.why(desk)
        self.why.setText(f"{desk.place} of {total}" + (f": {why}" if why else ""))
        rows = [("", "white", "magenta", "gate"), *describe.intensities(desk)]
        lines = ("".join(f"<td>{text}&nbsp;&nbsp;</td>" for text in row) for row in rows)
        self.values.setText(f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>")
        self.message.setText(desk.message)
        overlay = self.viewer.canvas.overlays.text
        overlay.visible, overlay.position = True, "top_left"
        overlay.text = f"{done}/{total}  {describe.gap_line(desk)}"
        self.model.refresh()
        if desk.place:
            self.table.selectRow(desk.place - 1)

    def _focus_canvas(self) -> None:
        """Give the keyboard to the main window, which passes keys on to the canvas."""
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


def _key_table(rows: list[tuple[str, str]], columns: int = 3) -> str:
    """Keys and their meanings in columns."""
    high = -(-len(rows) // columns)
    lines = ("".join(f"<td><b>{key}</b>&nbsp;</td><td>{text}&nbsp;&nbsp;</td>" for key, text in rows[i::high]) for i in range(high))
    return f'<table style="font-size: small">{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no user name in this container
        return "reviewer"
