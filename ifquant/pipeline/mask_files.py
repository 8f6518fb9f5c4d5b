"""`method = "labels"` on a slide: find the mask files, look at them once, and hand windows of them
to the tiles.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ifquant.columns.flags import encode_flags
from ifquant.errors import SlideError
from ifquant.files import storage
from ifquant.geometry.windows import Window, cores
from ifquant.nuclei import label_segmenter
from ifquant.nuclei.label_objects import LabelObjects
from ifquant.nuclei.label_polygons import read_polygons
from ifquant.pipeline import label_files
from ifquant.recipe.model import Segmentation
from ifquant.slides import tiff_writer
from ifquant.slides.slide import Slide

POLYGONS = (".geojson", ".json")
STRIP_PX = 2048


@dataclass(frozen=True)
class MaskFiles:
    """Mask of nuclei, and of cells where there is one."""

    nuclei: Path
    cells: Path | None = None


@dataclass(frozen=True)
class LabelImage:
    """A label image, or a region of one; picklable."""

    path: str
    crop: Window | None = None

    def read(self, window: Window) -> NDArray[Any]:
        """Labels (Y, X) as in the file."""
        return label_files.read_labels(_opened(self), window)

    def objects(self, image_shape: tuple[int, int]) -> LabelObjects:
        """Look at all objects once."""
        return label_files.find_label_objects(self.path, image_shape=image_shape, crop=self.crop)


@dataclass(frozen=True)
class Masks:
    """Masks of one slide that were looked at; small and picklable.

    Attributes
    ----------
    nuclei, cells
        Label images to read windows of.
    objects_path
        Where all objects of the nucleus mask are listed (.npz).
    cells_extent_px
        Largest height or width of an object in the cell mask; 0 without one.
    """

    nuclei: LabelImage
    cells: LabelImage | None
    objects_path: str
    cells_extent_px: int = 0

    @property
    def objects(self) -> LabelObjects:
        """All objects of the nucleus mask."""
        return _objects(self.objects_path)

    def pair(self, nuclei: NDArray[np.int32], window: Window) -> NDArray[np.int32] | None:
        """Cells of a window, paired with their nuclei; None when there is no cell mask and cells
        are grown.
        """
        if self.cells is None:
            return None
        return label_segmenter.pair_cells(nuclei, self.cells.read(window))

    def columns(
        self, anchor_y_px: NDArray[Any], anchor_x_px: NDArray[Any]
    ) -> dict[str, NDArray[Any]]:
        """`source_label` and measured flags of the nuclei with these anchors."""
        index = self.objects.at(anchor_y_px, anchor_x_px)
        flags = encode_flags(len(index), {"split_source_label": self.objects.components[index] > 1})
        return {"source_label": self.objects.source_label[index], "flags": flags}


def mask_files(options: Segmentation, slide: str, image: str) -> MaskFiles | None:
    """Where the masks of a slide are: paths of the recipe with {slide} filled in, relative to the
    working folder or to the slide's.

    Raises
    ------
    SlideError
        If a mask does not exist.
    """
    if options.method != "labels" or options.nuclei is None:
        return None
    found = []
    for kind, pattern in (("nuclei", options.nuclei), ("cells", options.cells)):
        if pattern is None:
            continue
        path = Path(pattern.replace("{slide}", slide))
        candidates = [path, Path(image).parent / path]
        existing = next((candidate for candidate in candidates if candidate.exists()), None)
        if existing is None:
            raise SlideError(
                f"no mask of {kind} for slide {slide!r}: looked for"
                f" {' and '.join(map(str, candidates))}; see [segmentation] {kind}"
            )
        found.append(existing)
    return MaskFiles(*found)


def scan_masks(
    files: MaskFiles, work: Path, image_shape: tuple[int, int], crop: Window | None
) -> Masks:
    """Look at the masks of a slide once, in strips; polygons (GeoJSON) become label images in
    `work`.

    Raises
    ------
    SlideError
        If a mask has another size than the slide, or holds no labels.
    """
    nuclei = _as_image(files.nuclei, work / "nuclei.tif", image_shape, crop)
    cells = (
        _as_image(files.cells, work / "cells.tif", image_shape, crop)
        if files.cells is not None
        else None
    )
    objects = nuclei.objects(image_shape)
    listed = work / "objects.npz"
    storage.write_npz(
        listed, {field.name: np.asarray(getattr(objects, field.name)) for field in fields(objects)}
    )
    return Masks(
        nuclei,
        cells,
        str(listed),
        cells.objects(image_shape).max_extent_px if cells is not None else 0,
    )


def _as_image(
    path: Path, image: Path, image_shape: tuple[int, int], crop: Window | None
) -> LabelImage:
    if path.suffix.lower() not in POLYGONS:
        return LabelImage(str(path.absolute()), crop)
    if not image.exists():
        kind: Literal["nuclei", "cells"] = "nuclei" if image.stem == "nuclei" else "cells"
        polygons = read_polygons(path.read_text(encoding="utf-8"), kind, str(path))
        y, x = (crop.y0, crop.x0) if crop is not None else (0, 0)
        blocks = (
            (
                block,
                polygons.paint(
                    Window(block.y0 + y, block.x0 + x, block.y1 + y, block.x1 + x)
                ).astype(np.uint32)[None],
            )
            for block in cores(image_shape, STRIP_PX)
        )
        pixels = tiff_writer.OmePixels((1, *image_shape), "uint32", [kind], labels=True)
        tiff_writer.write_ome_tiff(image, blocks, pixels, pyramid=False)
    return LabelImage(str(image))


_open: dict[LabelImage, Slide] = {}
"""Mask files this process has open."""


def _opened(image: LabelImage) -> Slide:
    if image not in _open:
        _open[image] = label_files.open_label_image(image.path, crop=image.crop)
    return _open[image]


@lru_cache(maxsize=1)
def _objects(path: str) -> LabelObjects:
    with np.load(path, allow_pickle=False) as stored:
        arrays: dict[str, Any] = {
            name: stored[name] if stored[name].ndim else int(stored[name]) for name in stored.files
        }
    return LabelObjects(**arrays)


def close_masks() -> None:
    """Close the mask files this process has open."""
    while _open:
        _open.popitem()[1].close()
    _objects.cache_clear()
