"""Nuclei and cells by Cellpose: whole objects on fixed windows, joined by one rule.

Cellpose tiles its input, averages the tiles, and its transformer looks at a whole tile at once;
then its dynamics follow flows for hundreds of steps. So an object depends on the whole window
cellpose is given, with no useful bound. The windows are therefore fixed: the cores of a lattice
of 1024 px anchored at the image's first pixel, grown by an overlap, clipped at the image's border.
Each window's objects follow from image and lattice alone, whatever the tile size and the workers;
`ifquant.nuclei.lattice_seams` has the rule for objects at the seams. The image is normalised by the
levels of the whole slide, never by those of a window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from ifquant.errors import RequestError
from ifquant.geometry.windows import Window
from ifquant.nuclei import cellpose_package as package
from ifquant.nuclei.cellpose_models import model_files
from ifquant.nuclei.channel_levels import ChannelLevels, nucleus_levels
from ifquant.nuclei.connected_components import largest_components, relabel_without_small
from ifquant.nuclei.lattice import LatticeMaps
from ifquant.nuclei.lattice_seams import HOPS, WindowObjects, resolve
from ifquant.recipe.model import Segmentation

CORE_PX = 1024
"""Side of a lattice core in px, four Cellpose-SAM tiles: overlaps cost about half as much again."""
CONTEXT_PX = 64
"""Surroundings every object of a lattice core is seen with, at least."""
LEAST_OVERLAP_PX = 128
CLIP = (-1.0, 4.0)
"""Range of the normalised image: it cuts no stain, but hot pixels and infinite values."""
CELL_TO_NUCLEUS = 2.0
"""Largest extent of a cell, in largest extents of a nucleus."""


@dataclass(frozen=True)
class CellposeSegmenter:
    """One network with one slide's levels; made by `make` and `make_cells`.

    Attributes
    ----------
    model, sha256
        Path of the network file and its digest.
    levels : tuple of (low, high)
        Raw values that become 0 and 1: of the guide channels, then of the nuclei.
    diameter_px
        Typical size of an object (CP3 networks).
    largest_px
        Largest height or width of an object; larger ones are left out.
    lattice_px
        Side of a lattice core.
    overlap_px
        Windows reach this far beyond their core: the largest object and its surroundings.
    """

    model: str
    sha256: str
    levels: tuple[tuple[float, float], ...]
    diameter_px: float
    largest_px: int
    min_area_px: int
    cellprob_threshold: float
    flow_threshold: float
    lattice_px: int
    overlap_px: int
    name: str = "cellpose"

    @property
    def reach_px(self) -> int:
        """Objects that a window's border cuts are no further than this from it."""
        return self.largest_px + 1

    @property
    def maps_reach_px(self) -> int:
        """Windows of the lattice that the labels of a window depend on lie within this."""
        return HOPS * self.largest_px + self.overlap_px

    def core_maps(self, read: Any, core: Window, image_shape: tuple[int, int]) -> NDArray[np.int32]:
        """Objects (1, Y, X) of one lattice window, 1..n: whole ones with a pixel in the core.

        `read` returns raw pixels (Y, X) of the nuclei, or (C, Y, X) of guide channels and nuclei.
        """
        window = core.grown(self.overlap_px, image_shape)
        masks = package.load(self.model, self.sha256).masks(
            self.normalise(np.asarray(read(window))),
            diameter_px=self.diameter_px,
            cellprob_threshold=self.cellprob_threshold,
            flow_threshold=self.flow_threshold,
            min_area_px=self.min_area_px,
        )
        return self.whole_objects(masks, core, window, image_shape)[None]

    def whole_objects(
        self, masks: NDArray[np.int32], core: Window, window: Window, image_shape: tuple[int, int]
    ) -> NDArray[np.int32]:
        """Objects of a lattice window that may be used, 1..n; of each its largest component.

        They have a pixel in the core, are not cut by an inner border of the window, and are
        neither too large nor too small.
        """
        objects = largest_components(masks)
        n = int(masks.max(initial=0))
        is_whole = np.zeros(n + 1, np.bool_)
        is_whole[objects[core.slices_in(window)]] = True
        for number, box in enumerate(ndi.find_objects(objects, n), 1):
            if box is None or max(part.stop - part.start for part in box) > self.largest_px:
                is_whole[number] = False
        if window.y0 > 0:
            is_whole[objects[0]] = False
        if window.y1 < image_shape[0]:
            is_whole[objects[-1]] = False
        if window.x0 > 0:
            is_whole[objects[:, 0]] = False
        if window.x1 < image_shape[1]:
            is_whole[objects[:, -1]] = False
        labels = np.where(is_whole[objects], objects, 0)
        relabel_without_small(labels, n, self.min_area_px)
        return labels

    def normalise(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Network input (C, Y, X): the strongest of the guide channels, if any, and the nuclei."""
        planes = pixels.astype(np.float32)
        planes = planes if planes.ndim == 3 else planes[None]
        for plane, (low, high) in zip(planes, self.levels, strict=True):
            plane -= np.float32(low)
            plane *= np.float32(1 / (high - low))
        np.nan_to_num(planes, copy=False, nan=0.0, posinf=CLIP[1], neginf=CLIP[0])
        np.clip(planes, *CLIP, out=planes)
        return planes if len(planes) == 1 else np.stack([planes[:-1].max(axis=0), planes[-1]])

    def nuclei(
        self, read: Any, read_maps: Any, window: Window, image_shape: tuple[int, int]
    ) -> NDArray[np.int32]:
        """Labels (Y, X) 1..n of a window, in raster order of first pixels."""
        return self.nuclei_and_seams(read_maps, window)[0]

    def nuclei_and_seams(
        self, maps: LatticeMaps, window: Window
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Labels of a window, and on which of them (n + 1,) two lattice windows disagreed."""
        near = maps.cores(window.grown(self.maps_reach_px, maps.image_shape))
        windows = [WindowObjects(core, maps.window_of(core), maps.load(core)[0]) for core in near]
        return resolve(windows, window, self.min_area_px)

    def release(self) -> None:
        """Free the memory of the network."""
        package.load.cache_clear()


def make(
    options: Segmentation, *, pixel_size_um: float, calibration: ChannelLevels | None
) -> CellposeSegmenter:
    """Make the segmenter of nuclei."""
    levels = nucleus_levels(calibration, "cellpose")
    diameters_um = options.nucleus_diameter_um, options.max_diameter_um
    return _make(options, "model", [levels], pixel_size_um, diameters_um)


def make_cells(
    options: Segmentation,
    *,
    pixel_size_um: float,
    calibration: ChannelLevels | None,
    guides: Sequence[ChannelLevels],
) -> CellposeSegmenter | None:
    """Make the segmenter of whole cells, of guide channels and nuclei, for a `cell_model`."""
    if options.cell_model is None or calibration is None:
        return None
    if not guides:
        raise RequestError(
            "segmentation.cell_model: found no channel with role tumor or myeloid, and no other"
            " channel may shape cells; give one the role, or leave cell_model out"
        )
    diameters_um = options.cell_diameter_um, CELL_TO_NUCLEUS * options.max_diameter_um
    return _make(options, "cell_model", (*guides, calibration), pixel_size_um, diameters_um)


def _make(
    options: Segmentation,
    key: str,
    levels: Sequence[ChannelLevels],
    pixel_size_um: float,
    diameters_um: tuple[float, float],
) -> CellposeSegmenter:
    """Make a segmenter from the network under a recipe key and typical and largest diameter."""
    file = next(file for file in model_files(options) if file.option == key)
    sha256 = file.sha256
    package.import_cellpose()
    package.kind_of(package.read_state(str(file.path)), str(file.path))
    diameter_um, largest_um = diameters_um
    largest_px = math.ceil(largest_um / pixel_size_um)
    return CellposeSegmenter(
        model=str(file.path),
        sha256=sha256,
        levels=tuple(
            (float(level.low), float(level.high if level.high > level.low else level.low + 1))
            for level in levels
        ),
        diameter_px=diameter_um / pixel_size_um,
        largest_px=largest_px,
        min_area_px=max(1, math.ceil(options.min_area_um2 / pixel_size_um**2)),
        cellprob_threshold=options.cellprob_threshold,
        flow_threshold=options.flow_threshold,
        lattice_px=CORE_PX,
        overlap_px=max(LEAST_OVERLAP_PX, largest_px + CONTEXT_PX),
    )
