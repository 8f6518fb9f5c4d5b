"""The tab before the review: which slide, who reviews, and what the queue holds and hides."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ifquant.columns.cell_columns import phenotype_names
from ifquant.columns.flags import FLAGS
from ifquant.commands.review_effect import LEVERAGE
from ifquant.errors import IfquantError, RequestError
from ifquant.results.run_record import finished_slides
from ifquant.review.review_queue import QueueOptions, blind_names, blindable_markers
from ifquant.review.subject import Subject
from napari_ifquant.result import SlideView

ORDERS = (
    ("uncertain first", "uncertain"),
    ("random (for error rates)", "random"),
    ("by a column", "table"),
)
ALL = "all"
ANY = "any"


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
        """The chosen slide's folder; raises IfquantError if no results are open."""
        if not self.folders:
            raise IfquantError(
                "no results are open; press 'Open results...' or drag a folder of results into the"
                " window."
            )
        place: int = self.slides.currentIndex()
        return self.folders[place]

    @property
    def is_blinded(self) -> bool:
        """Whether slide, patient and group are hidden."""
        return bool(self.form.hide_sample.isChecked())

    def offer(self, results: Path, slide: str | None = None) -> None:
        """Offer the slides of a run, `slide` first."""
        self.folders = finished_slides(results).folders
        self.name_slides()
        names = [folder.name for folder in self.folders]
        if slide is not None and slide in names:
            self.slides.setCurrentIndex(names.index(slide))

    def name_slides(self) -> None:
        """Name the slides as they may be named now."""
        at = max(self.slides.currentIndex(), 0)
        self.slides.clear()
        self.slides.addItems([self.display_names()[folder.name] for folder in self.folders])
        self.slides.setCurrentIndex(at)

    def display_names(self) -> dict[str, str]:
        """Every slide's own name > the one to show."""
        names = [folder.name for folder in self.folders]
        if self.is_blinded:
            return blind_names(names, self.form.seed.value())
        return dict(zip(names, names, strict=True))

    def title(self, view: SlideView) -> str:
        """Name of a slide with patient, group and more of the sample sheet, unless blinded."""
        name = self.display_names()[view.folder.name]
        if self.is_blinded:
            return name
        values = {
            key: v for key, v in view.sample.items() if key != "slide" and v not in (None, "")
        }
        order = sorted(values, key=lambda key: (key != "patient", key != "group"))
        return ", ".join([name, *(f"{key} {values[key]}" for key in order)])

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of results")
        if folder:
            self._chosen(Path(folder))


class QueueForm(QWidget):
    """Choices of `QueueOptions`."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.order, self.phenotype, self.sort_by = QComboBox(), QComboBox(), QComboBox()
        for text, value in ORDERS:
            self.order.addItem(text, value)
        self.phenotype.addItem(ALL)
        self.flag, self.within = QComboBox(), QComboBox()
        self.low, self.high = QLineEdit(), QLineEdit()
        self.flag.addItems([ANY, *(flag.name for flag in FLAGS)])
        self.low.setPlaceholderText("from")
        self.high.setPlaceholderText("to")
        bounds = QWidget()
        row = QHBoxLayout(bounds)
        row.setContentsMargins(0, 0, 0, 0)
        for field in (self.within, self.low, self.high):
            row.addWidget(field)
        self.seed, self.limit = QSpinBox(), QSpinBox()
        self.seed.setRange(0, 999_999)
        self.limit.setRange(1, 1_000_000)
        self.limit.setValue(200)
        self.descending = QCheckBox("highest first")
        self.blind = QCheckBox("hide ligand and response")
        self.hide_sample = QCheckBox("hide slide, patient and group")
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for name, field in (
            ("order", self.order),
            ("seed", self.seed),
            ("column", self.sort_by),
            ("", self.descending),
            ("cells", self.phenotype),
            ("flag", self.flag),
            ("only where", bounds),
            ("at most", self.limit),
            ("blinded", self.blind),
            ("", self.hide_sample),
        ):
            layout.addRow(name, field)
        self.order.currentIndexChanged.connect(self._enable)
        self._enable()

    def _enable(self) -> None:
        order = self.order.currentData()
        self.seed.setEnabled(order == "random")
        self.sort_by.setEnabled(order == "table")
        self.descending.setEnabled(order == "table")

    def fill(self, subject: Subject) -> None:
        """Offer this slide's phenotypes and columns, keeping what is chosen where it exists."""
        names = [ALL, *phenotype_names(subject.recipe)]
        columns = [*subject.columns, *subject.table.columns.drop("source_label", errors="ignore")]
        offers = (self.phenotype, names), (self.sort_by, columns), (self.within, [ANY, *columns])
        for field, texts in offers:
            now = field.currentText()
            field.clear()
            field.addItems(texts)
            field.setCurrentIndex(max(field.findText(now), 0))
        markers = blindable_markers(subject)
        text = f"hide {' and '.join(markers)}" if markers else "no marker can be hidden"
        self.blind.setText(text)
        self.blind.setEnabled(bool(markers))

    def options(self, subject: Subject) -> QueueOptions:
        """Options as chosen; raises RequestError if a bound is no number."""
        order = self.order.currentData()
        fields = self.phenotype, self.flag, self.within
        phenotype, flag, within = (field.currentText() for field in fields)
        hidden = blindable_markers(subject) if self.blind.isChecked() else ()
        return QueueOptions(
            order=order,
            seed=self.seed.value(),
            phenotypes=() if phenotype == ALL else (phenotype,),
            flags=() if flag == ANY else (flag,),
            ranges=() if within == ANY else ((within, _bound(self.low), _bound(self.high)),),
            leverage=LEVERAGE if LEVERAGE in subject.columns else None,
            sort_by=self.sort_by.currentText() if order == "table" else None,
            descending=self.descending.isChecked(),
            limit=self.limit.value(),
            hidden=hidden,
            hide_sample=self.hide_sample.isChecked(),
        )


def _bound(field: QLineEdit) -> float | None:
    text = field.text().strip()
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise RequestError(f"found {text!r} as a bound; expected a number, or nothing") from error


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no user name in this container
        return "reviewer"
