"""Run a recipe on the open slide, or try it on what the view shows.

The run is a process of its own: cancelling it leaves napari alone.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import QProcess, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ifquant.errors import IfquantError, RequestError
from ifquant.geometry.windows import Window
from ifquant.results.run_record import finished_slides
from ifquant.slides.slide import SlideRef
from napari_ifquant.layers import spatial
from napari_ifquant.result import SlideView, layers_of, open_result

PREVIEW = "preview: cells"
MAX_PX = 2048
"""Longest side of a preview: larger views are cut to their middle, so that it takes seconds."""
MIN_PX = 128
_SLIDE = re.compile(r"\[(\d+)/(\d+)\] (.*)")
_PART = re.compile(r"\s+(\S.*?) (\d+)/(\d+)$")


class RunWidget(QWidget):
    """Recipe and results folder in, progress out."""

    finished = Signal(int)

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.recipe, self.out = QLineEdit("recipe.toml"), QLineEdit("results")
        self.preview_button, self.run_button = QPushButton("Preview this view"), QPushButton("Run")
        self.cancel_button = QPushButton("Cancel")
        self.bar, self.text = QProgressBar(), QLabel()
        self.text.setWordWrap(True)
        self.bar.setRange(0, 1000)
        form, buttons, layout = QFormLayout(), QHBoxLayout(), QVBoxLayout(self)
        form.addRow("recipe", self._with_button(self.recipe, self._choose_recipe))
        form.addRow("results", self._with_button(self.out, self._choose_out))
        for button, act in (
            (self.preview_button, self.preview),
            (self.run_button, self.run),
            (self.cancel_button, self.cancel),
        ):
            button.clicked.connect(act)
            buttons.addWidget(button)
        layout.addLayout(form)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.text)
        layout.addStretch(1)
        self.process: QProcess | None = None
        self._errors = ""
        self._folder: Path | None = None
        self._crop: tuple[int, int] | None = None
        self._cancelled = False
        self._idle(True)

    # ---- choosing --------------------------------------------------------------------------------

    def _with_button(self, field: QLineEdit, choose: Any) -> QWidget:
        row, button = QWidget(), QPushButton("...")
        button.clicked.connect(choose)
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(field)
        layout.addWidget(button)
        return row

    def _choose_recipe(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Recipe", filter="Recipe (*.toml)")
        if path:
            self.recipe.setText(path)

    def _choose_out(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of the results")
        if path:
            self.out.setText(path)

    def slide(self) -> SlideRef | None:
        """Slide in the viewer that was opened with ifquant, the active layer's first."""
        active = self.viewer.layers.selection.active
        layers = [layer for layer in (active, *self.viewer.layers) if layer is not None]
        slides = (layer.metadata.get("ifquant_slide") for layer in layers)
        return next((slide for slide in slides if slide is not None), None)

    # ---- running ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Run the recipe on the whole slide."""
        self._crop = None
        self._start(Path(self.out.text()), [])

    def preview(self) -> None:
        """Run the recipe on what the view shows, into a temporary folder."""
        slide = self.slide()
        if slide is None:
            self._start(Path(), [])
            return
        try:
            window = view_window(self.viewer, slide)
        except IfquantError as error:
            self.text.setText(str(error))
            return
        self._crop = window.y0, window.x0
        folder = Path(tempfile.mkdtemp(prefix="ifquant-preview-"))
        height, width = window.shape
        self._start(folder, ["--crop", f"{window.x0},{window.y0},{width},{height}"])

    def _start(self, out: Path, more: list[str]) -> None:
        slide = self.slide()
        if slide is None:
            self.text.setText("no slide is open; open one with File > Open, reader 'ifquant'")
            return
        if not Path(self.recipe.text()).is_file():
            self.text.setText(
                f"{self.recipe.text()}: no such recipe; make one with: ifquant init SLIDE >"
                " recipe.toml"
            )
            return
        self._folder, self._errors, self._cancelled = out, "", False
        arguments = ["-m", "napari_ifquant.run_child", "run", "-r", self.recipe.text()]
        arguments += ["-o", str(out), *slide.paths, *more]
        if slide.pixel_size_um is not None:
            arguments += ["--pixel-size", str(slide.pixel_size_um)]
        self.process = QProcess(self)
        self.process.readyReadStandardError.connect(self._read)
        self.process.finished.connect(lambda code, _: self._ended(code))
        self.bar.setValue(0)
        self._idle(False)
        self.text.setText("starting...")
        self.process.start(sys.executable, arguments)

    def cancel(self) -> None:
        """Stop the run; finished tiles and slides are kept, and Run goes on from there."""
        if self.process is not None and self.process.state() != QProcess.ProcessState.NotRunning:
            self._cancelled = True
            self.text.setText("stopping...")
            self.process.terminate()

    def _read(self) -> None:
        assert self.process is not None
        text = bytes(self.process.readAllStandardError().data()).decode(errors="replace")
        self._errors = (self._errors + text)[-4000:]
        for line in text.splitlines():
            if part := _PART.match(line):
                done, total = int(part[2]), max(int(part[3]), 1)
                self.bar.setValue(max(self.bar.value(), round(1000 * min(done / total, 1) * 0.95)))
                self.text.setText(f"{part[1]}: {done} of {total}")
            elif slide := _SLIDE.match(line):
                self.text.setText(f"slide {slide[1]} of {slide[2]}: {slide[3]}")

    def _ended(self, code: int) -> None:
        self._read()
        self._idle(True)
        try:
            if self._cancelled:
                self.text.setText("stopped; what is finished is kept, Run goes on from there")
            elif code != 0:
                lines = self._errors.strip().splitlines()
                self.text.setText(lines[-1] if lines else f"ended with exit code {code}")
            else:
                self.bar.setValue(1000)
                self._show_result()
        except IfquantError as error:
            self.text.setText(str(error))
        finally:
            self._forget_preview()
            self.finished.emit(code)

    def _show_result(self) -> None:
        assert self._folder is not None
        view = open_result(finished_slides(self._folder).folders[0])
        words = gate_list(view)
        if self._crop is None:
            from napari.layers import Layer

            for layer in layers_of(view):
                self.viewer.add_layer(Layer.create(*layer))
            self.text.setText(
                f"done: {len(view.subject)} cells in {self._folder}; {words}. Review them with"
                " Plugins > ifquant > Review cells"
            )
            return
        for layer in [layer for layer in self.viewer.layers if layer.name == PREVIEW]:
            self.viewer.layers.remove(layer)
        self.viewer.add_layer(preview_layer(view, self._crop))
        self.text.setText(
            f"{len(view.subject)} cells in this view; {words}. Gates of a whole slide rest on all"
            " its cells and may differ"
        )

    def _forget_preview(self) -> None:
        if self._crop is not None and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _idle(self, idle: bool) -> None:
        self.run_button.setEnabled(idle)
        self.preview_button.setEnabled(idle)
        self.cancel_button.setEnabled(not idle)


def view_window(viewer: Any, slide: SlideRef) -> Window:
    """Window of the slide that the canvas shows, at most `MAX_PX` a side."""
    with slide.open() as opened:
        info = opened.info
    size = info.pixel_size_um or 1.0
    height, width = info.shape[1:]
    camera, spans = viewer.scene.camera, []
    axes = zip(camera.center[-2:], viewer.canvas.size, (height, width), strict=True)
    for center, pixels, length in axes:
        half = min(max(float(pixels) / camera.zoom / size, MIN_PX), MAX_PX) / 2
        middle = min(max(float(center) / size, 0.0), float(length))
        spans.append((max(int(middle - half), 0), min(int(middle + half), length)))
    (y0, y1), (x0, x1) = spans
    if y1 - y0 < MIN_PX // 2 or x1 - x0 < MIN_PX // 2:
        raise RequestError("the slide is not on view; move to it first")
    return Window(y0, x0, y1, x1)


def preview_layer(view: SlideView, corner: tuple[int, int]) -> Any:
    """Cells of a preview at their place on the slide, in memory, so that its folder can go."""
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    size = view.subject.pixel_size_um
    classes = np.asarray(view.cells.classes(1)[0])
    return Labels(
        classes,
        name=PREVIEW,
        colormap=DirectLabelColormap(color_dict=view.coloring.color_dict()),
        translate=(corner[0] * size, corner[1] * size),
        **spatial(size),
    )


def gate_list(view: SlideView) -> str:
    """Gates and the share of cells above them."""
    words = []
    for gate in view.subject.gates:
        share = "" if gate.positive_fraction is None else f" ({100 * gate.positive_fraction:.0f} %)"
        value = "not callable" if gate.value is None else f"{gate.value:.0f}"
        words.append(f"{gate.marker} {value}{share}")
    return ", ".join(words)
