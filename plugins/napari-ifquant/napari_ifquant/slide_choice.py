"""The tab before the review: whose results, which slide, who reviews, and what the queue holds and
hides.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ifquant.errors import IfquantError
from ifquant.results.run_record import finished_slides
from ifquant.review.review_queue import blind_names
from napari_ifquant.queue_form import QueueForm
from napari_ifquant.result import SlideView


class SlideChoice(QWidget):
    """Choices of a review.

    Parameters
    ----------
    chosen
        Called with the folder when another run's results are chosen.
    start, apply
        Called by the buttons.
    """

    def __init__(
        self,
        chosen: Callable[[Path], None],
        start: Callable[[], None],
        apply: Callable[[], None],
        parent: Any = None,
    ) -> None:
        super().__init__(parent)
        self.folders: list[Path] = []
        self._chosen = chosen
        self.slides, self.reviewer, self.form = QComboBox(), QLineEdit(_user()), QueueForm()
        choose, self.start_button = QPushButton("Open results..."), QPushButton("Start review")
        self.apply_button = QPushButton("Apply all reviews of these results")
        choose.clicked.connect(self._choose)
        self.start_button.clicked.connect(start)
        self.apply_button.clicked.connect(apply)
        top = QFormLayout()
        top.addRow("results", choose)
        top.addRow("slide", self.slides)
        top.addRow("reviewer", self.reviewer)
        layout = QVBoxLayout(self)
        layout.addLayout(top)
        for part in (self.form, self.start_button, self.apply_button):
            layout.addWidget(part)
        layout.addStretch(1)

    @property
    def folder(self) -> Path:
        """The chosen slide's folder.

        Raises
        ------
        IfquantError
            If no results are open.
        """
        if not self.folders:
            raise IfquantError(
                "no results are open; press 'Open results...' or drag a folder of results into the"
                " window."
            )
        place: int = self.slides.currentIndex()
        return self.folders[place]

    @property
    def blinded(self) -> bool:
        """Whether slide, patient and group are hidden."""
        return bool(self.form.hide_sample.isChecked())

    def offer(self, results: Path, slide: str | None = None) -> None:
        """Offer the slides of a run, `slide` first.

        Raises
        ------
        RequestError
            If there is no finished slide.
        """
        self.folders = finished_slides(results).folders
        self.name_slides()
        names = [folder.name for folder in self.folders]
        if slide is not None and slide in names:
            self.slides.setCurrentIndex(names.index(slide))

    def name_slides(self) -> None:
        """Name the slides as they may be named now."""
        at = max(self.slides.currentIndex(), 0)
        self.slides.clear()
        self.slides.addItems([self.shown_names()[folder.name] for folder in self.folders])
        self.slides.setCurrentIndex(at)

    def shown_names(self) -> dict[str, str]:
        """Give every slide's own name > the one to show."""
        names = [folder.name for folder in self.folders]
        return (
            blind_names(names, self.form.seed.value())
            if self.blinded
            else {name: name for name in names}
        )

    def describe(self, view: SlideView) -> str:
        """Name a slide with patient, group and what else the sample sheet says of it, as far as
        that may be shown.
        """
        name = self.shown_names()[view.folder.name]
        known = (
            {}
            if self.blinded
            else {
                key: value
                for key, value in view.sample.items()
                if key != "slide" and value not in (None, "")
            }
        )
        order = sorted(known, key=lambda key: (key != "patient", key != "group"))
        return ", ".join([name, *(f"{key} {known[key]}" for key in order)])

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of results")
        if folder:
            self._chosen(Path(folder))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no user name in this container
        return "reviewer"
