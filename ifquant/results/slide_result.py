"""What the pipeline knows about one slide when it is done; all outputs are made from this and the
slide's pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ifquant.calibration.calibrate import Calibration
from ifquant.errors import SlideError
from ifquant.files.scratch import Scratch
from ifquant.geometry.runs import CellRuns
from ifquant.phenotypes.gates import FittedGate
from ifquant.proximity.tumor_region import TumorRegion
from ifquant.recipe.model import Recipe
from ifquant.slides.overview import Stack
from ifquant.slides.panel import Panel
from ifquant.slides.sample_sheet import Sample
from ifquant.slides.slide import SlideRef
from ifquant.slides.slide_info import SlideInfo


@dataclass(frozen=True, eq=False)
class SlideResult:
    """One finished slide.

    Attributes
    ----------
    name
        Folder of the slide in the results.
    table
        Exactly the columns of `cell_columns(recipe)`, one row per cell, sorted by ``cell_id`` = row
        + 1 (`typed`).
    nuclei, cells
        Geometry; object `i` is the cell of row `i`.
    gates
        One per marker of `table.gated_markers(recipe)`, in that order.
    orphan_px
        Pixels of myeloid stain that belong to no nucleus in the section.
    regions
        GeoJSON file of the regions the user drew, if there is one.
    warnings
        Sentences for people.
    pairs
        Contacts of responders with sources (`pair_columns`), where the recipe has [priming].
    overview
        The whole slide for display, where the pass that calibrated it has made it.
    digests
        Hex digests by what they cover: ``input`` (sha256 of the file), ``recipe``, ...
    review
        Results after review only: what was decided and applied. The table's ids then ascend with
        gaps.
    scratch
        Keeps table and geometry on the disk, if they are not in memory.
    """

    name: str
    ref: SlideRef
    info: SlideInfo
    panel: Panel
    recipe: Recipe
    calibration: Calibration
    table: pd.DataFrame
    nuclei: CellRuns
    cells: CellRuns
    gates: tuple[FittedGate, ...] = ()
    sample: Sample | None = None
    tumor_region: TumorRegion | None = None
    orphan_px: int = 0
    regions: str | None = None
    warnings: tuple[str, ...] = ()
    pairs: pd.DataFrame | None = None
    overview: Stack | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    review: Mapping[str, Any] | None = None
    scratch: Scratch | None = None

    def let_go(self) -> None:
        """Give the memory of table and geometry back to the system where they are kept on the disk:
        after each look at all of them.
        """
        if self.scratch is not None:
            self.scratch.let_go()

    @property
    def display_ranges(self) -> list[tuple[float, float]]:
        """Raw values shown as black and white, per channel of the panel."""
        return [self.calibration[channel.name].display for channel in self.panel.channels]

    @property
    def pixel_size_um(self) -> float:
        """Edge of a pixel in um; a result without one cannot exist."""
        if self.info.pixel_size_um is None:
            raise SlideError(f"slide {self.name!r} has no pixel size; give --pixel-size.")
        return self.info.pixel_size_um

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width (Y, X) in px."""
        return self.info.shape[1], self.info.shape[2]
