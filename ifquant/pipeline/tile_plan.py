"""What all tiles of one slide share, the reaches that follow from it, and what a worker process
keeps open of the slide it works on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ifquant.calibration.calibrate import Calibration, TissueMask
from ifquant.cells import growth as cell_model
from ifquant.cells import measurement
from ifquant.geometry.windows import Window
from ifquant.nuclei.segmenter import Segmenter, maps_reach_px
from ifquant.pipeline.mask_files import Masks, close_masks
from ifquant.pipeline.tile_parts import load_arrays
from ifquant.slides.slide import Slide, SlideRef
from ifquant.slides.slide_input import SlideInput


@dataclass(frozen=True)
class TilePlan:
    """All that the tiles of one slide share; small and picklable, workers open files themselves.

    Attributes
    ----------
    work
        Folder of the slide's unfinished parts.
    masks
        Masks made elsewhere; None: nuclei are found by `segmenter`.
    cell_segmenter
        Finds whole cells, to be paired with the nuclei; None: cells are grown, or come from a mask.
    """

    slide: SlideInput
    work: str
    segmenter: Segmenter
    masks: Masks | None = None
    cell_segmenter: Segmenter | None = None

    @property
    def halo_px(self) -> int:
        """Sum of the reaches of all stages: the owned nucleus, its growth, what shapes that growth,
        and the nuclei therein.
        """
        nucleus_px = math.ceil(
            self.slide.recipe.segmentation.max_diameter_um / self.slide.pixel_size_um
        )
        return nucleus_px + self.cells_px + self.segmenter.reach_px

    @property
    def cells_px(self) -> int:
        """Distance from a nucleus within which everything lies that its cell, and what is measured
        of it, depend on.

        Cells that are found, not grown, reach as far as the largest of them. So do their
        neighbours, which are cells only if a nucleus is theirs, perhaps one at their far end.
        """
        options = self.slide.recipe.segmentation
        growth_px = cell_model.reach_px(
            self.slide.recipe.cells, self.slide.pixel_size_um, options.max_diameter_um
        )
        largest_px = 0
        if self.masks is not None and self.masks.cells is not None:
            largest_px = self.masks.cells_extent_px
        elif self.cell_segmenter is not None:
            largest_px = self.cell_segmenter.reach_px
        found_px = (
            2 * largest_px + math.ceil(options.max_diameter_um / self.slide.pixel_size_um)
            if largest_px
            else 0
        )
        return max(growth_px, found_px) + self.compartments_px

    @property
    def compartments_px(self) -> int:
        """How far outside a cell other cells matter for its measurements."""
        return (
            math.ceil(measurement.reach_um(self.slide.recipe.measure) / self.slide.pixel_size_um)
            + 1
        )

    @property
    def map_makers(self) -> dict[str, Segmenter]:
        """Segmenters that work on a lattice, by the folder of their maps."""
        found = {"maps": self.segmenter} | (
            {"cell_maps": self.cell_segmenter} if self.cell_segmenter is not None else {}
        )
        return {
            kind: segmenter for kind, segmenter in found.items() if segmenter.lattice_px is not None
        }

    def needs_maps(self, kind: str, cell: Window, tissue: TissueMask) -> bool:
        """Whether anything in tissue can depend on the maps of a lattice cell; those of the others
        count as empty, for every tiling.
        """
        return tissue.any(
            cell.grown(self.halo_px + maps_reach_px(self.map_makers[kind]), self.slide.image_shape)
        )

    def part_path(self, core: Window) -> Path:
        """Where the part of a tile is kept until the slide is done."""
        return Path(self.work) / "tiles" / f"{core.y0}_{core.x0}_{core.y1}_{core.x1}.npz"


@dataclass(frozen=True)
class TileTask:
    """One tile of one slide."""

    plan: TilePlan
    core: Window


@dataclass(frozen=True)
class MapTask:
    """One lattice cell of one of the slide's segmenters (a key of `TilePlan.map_makers`)."""

    plan: TilePlan
    core: Window
    kind: str


_open: list[Slide] = []
"""The slide this process works on; at most one."""


def open_slide(ref: SlideRef) -> Slide:
    """Return the slide, opened once per process and closed when another is opened."""
    if not _open or _open[0].ref != ref:
        close_slide()
        _open.append(ref.open())
    return _open[0]


def close_slide() -> None:
    """Close the files this process has open, if any."""
    close_masks()
    while _open:
        _open.pop().close()


@lru_cache(maxsize=2)
def load_calibration(work: str) -> Calibration:
    """Return the slide's calibration, loaded once per process."""
    return Calibration.from_arrays(load_arrays(Path(work) / "calibration.npz"))
