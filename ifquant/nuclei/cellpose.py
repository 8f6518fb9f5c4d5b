"""Nuclei and cells by Cellpose: whole objects on fixed windows, what two windows see settled by one
rule.

Cellpose tiles its input, averages the tiles, and its transformer looks at a whole tile at once;
then its dynamics follow flows for hundreds of steps. So an object depends on the whole window
cellpose is given, with no useful bound. The windows are therefore fixed: cells of a lattice of 1024
px anchored at the image's first pixel, grown by an overlap, clipped at the image's border. Each
window's objects follow from image and lattice alone, whatever the tile size and the workers;
`ifquant.nuclei.window_seams` has the rule for objects at the seams. The image is normalised by the
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
from ifquant.nuclei.cellpose_models import ModelFile, model_files
from ifquant.nuclei.channel_levels import ChannelLevels
from ifquant.nuclei.connected_pieces import drop_small_and_number, largest_piece
from ifquant.nuclei.lattice import LatticeMaps
from ifquant.nuclei.window_seams import HOPS, WindowObjects, resolve
from ifquant.recipe.model import Segmentation

CORE_PX = 1024
"""Side of a lattice cell in px: four of Cellpose-SAM's tiles, so that the overlap costs about half
as much again."""
CONTEXT_PX = 64
"""Surroundings every object of a lattice cell is seen with, at least."""
LEAST_OVERLAP_PX = 128
CLIP = (-1.0, 4.0)
"""Range of the normalised image: nothing of a stain, but it bounds hot pixels and values that are
no numbers."""
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
        Side of a lattice cell.
    overlap_px
        Windows reach this far beyond their cell: the largest object and its surroundings.
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

    def cell_maps(self, read: Any, cell: Window, image_shape: tuple[int, int]) -> NDArray[np.int32]:
        """Objects (1, Y, X) of one lattice window, 1..n: whole ones with a pixel in the cell.

        Parameters
        ----------
        read : callable
            Window > raw pixels (Y, X) of the nuclei, or (C, Y, X) of guide channels and nuclei.
        """
        covered = cell.grown(self.overlap_px, image_shape)
        found = package.load(self.model, self.sha256).masks(
            self.normalised(np.asarray(read(covered))),
            diameter_px=self.diameter_px,
            cellprob_threshold=self.cellprob_threshold,
            flow_threshold=self.flow_threshold,
            min_area_px=self.min_area_px,
        )
        return whole_objects(found, cell, covered, image_shape, self.largest_px, self.min_area_px)[
            None
        ]

    def normalised(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Network input (C, Y, X): the strongest of the guide channels, if there are any, and the
        nuclei.
        """
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
        """Labels of a window, and which of them (n + 1,) two lattice windows disagreed about."""
        near = maps.cells(window.grown(self.maps_reach_px, maps.image_shape))
        found = [WindowObjects(cell, maps.covered(cell), maps.load(cell)[0]) for cell in near]
        return resolve(found, window, self.min_area_px)

    def release(self) -> None:
        """Let go of the network and its memory: the maps are made."""
        package.load.cache_clear()


def whole_objects(
    masks: NDArray[np.int32],
    cell: Window,
    covered: Window,
    image_shape: tuple[int, int],
    largest_px: int,
    min_area_px: int,
) -> NDArray[np.int32]:
    """Objects of a lattice window that may be used, 1..n: with a pixel in the cell, not cut by the
    window's inner border, not too large.

    Of a mask in several pieces the largest is kept (4-connected).
    """
    pieces = np.zeros(masks.shape, np.int32)
    n = int(masks.max(initial=0))
    largest_piece(masks, n, pieces)
    keep = np.zeros(n + 1, np.bool_)
    keep[np.unique(pieces[cell.slices_in(covered)])] = True
    for number, box in enumerate(ndi.find_objects(pieces, n), 1):
        if box is None or max(part.stop - part.start for part in box) > largest_px:
            keep[number] = False
    inner_edges = [
        pieces[0] if covered.y0 > 0 else None,
        pieces[-1] if covered.y1 < image_shape[0] else None,
        pieces[:, 0] if covered.x0 > 0 else None,
        pieces[:, -1] if covered.x1 < image_shape[1] else None,
    ]
    for edge in inner_edges:
        if edge is not None:
            keep[edge] = False
    keep[0] = False
    labels = np.where(keep[pieces], pieces, 0).astype(np.int32)
    drop_small_and_number(labels, n, min_area_px)
    return labels


def make(
    options: Segmentation, *, pixel_size_um: float, calibration: ChannelLevels | None
) -> CellposeSegmenter:
    """Make the segmenter of nuclei.

    Raises
    ------
    RequestError
        If there is no nucleus channel, no model is named, or the file is no network of the
        installed cellpose.
    MissingDependency
        If cellpose or the file is not there.
    """
    if calibration is None:
        raise RequestError(
            'found no nucleus channel; method "cellpose" needs one: give a channel the role'
            ' "nucleus"'
        )
    files = {file.option: file for file in model_files(options)}
    return _made(
        options,
        files["model"],
        (calibration,),
        pixel_size_um,
        options.nucleus_diameter_um,
        options.max_diameter_um,
    )


def make_cells(
    options: Segmentation,
    *,
    pixel_size_um: float,
    calibration: ChannelLevels | None,
    guides: Sequence[ChannelLevels],
) -> CellposeSegmenter | None:
    """Make the segmenter of whole cells, where the recipe names a `cell_model`; it reads guide
    channels, then nuclei.

    Raises
    ------
    RequestError
        If no channel has the role tumor or myeloid, and as `make`.
    MissingDependency
        If cellpose or the file is not there.
    """
    if options.cell_model is None or calibration is None:
        return None
    if not guides:
        raise RequestError(
            "segmentation.cell_model: found no channel with role tumor or myeloid, and no other"
            " channel may shape cells; give one the role, or leave cell_model out"
        )
    files = {file.option: file for file in model_files(options)}
    largest_um = CELL_TO_NUCLEUS * options.max_diameter_um
    return _made(
        options,
        files["cell_model"],
        (*guides, calibration),
        pixel_size_um,
        options.cell_diameter_um,
        largest_um,
    )


def _made(
    options: Segmentation,
    file: ModelFile,
    levels: Sequence[ChannelLevels],
    pixel_size_um: float,
    diameter_um: float,
    largest_um: float,
) -> CellposeSegmenter:
    sha256 = file.sha256
    package.import_cellpose()
    package.kind_of(package.read_state(str(file.path)), str(file.path))
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
