"""What the pipeline knows about one slide when it is done; all outputs are made from this and the
slide's pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ifquant.calibration.calibrate import Calibration
from ifquant.files.scratch import Scratch
from ifquant.geometry.runs import CellRuns
from ifquant.phenotypes.gates import FittedGate
from ifquant.proximity.tumor_region import TumorRegion
from ifquant.recipe.defaults import ResolvedRecipe
from ifquant.slides.overview import Stack
from ifquant.slides.panel import Panel
from ifquant.slides.slide_input import SlideInput


@dataclass(frozen=True, eq=False)
class SlideResult:
    """One finished slide.

    Attributes
    ----------
    table
        Exactly the columns of `cell_columns(recipe)`, one row per cell, sorted by ``cell_id`` = row
        + 1 (`typed`).
    nuclei, cells
        Geometry; object `i` is the cell of row `i`.
    gates
        One per marker of `gated_markers(recipe)`, in that order.
    orphan_px
        Pixels of myeloid stain that belong to no nucleus in the section.
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

    slide: SlideInput
    calibration: Calibration
    table: pd.DataFrame
    nuclei: CellRuns
    cells: CellRuns
    gates: tuple[FittedGate, ...] = ()
    tumor_region: TumorRegion | None = None
    orphan_px: int = 0
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
    def name(self) -> str:
        """Folder of the slide in the results."""
        return self.slide.name

    @property
    def panel(self) -> Panel:
        """Which channel of the file is which of the recipe."""
        return self.slide.panel

    @property
    def recipe(self) -> ResolvedRecipe:
        """The resolved recipe."""
        return self.slide.recipe

    @property
    def pixel_size_um(self) -> float:
        """Edge of a pixel in um."""
        return self.slide.pixel_size_um

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width (Y, X) in px."""
        return self.slide.image_shape

    @property
    def display_ranges(self) -> list[tuple[float, float]]:
        """Raw values shown as black and white, per channel of the panel."""
        return [self.calibration[channel.name].display for channel in self.panel.channels]
