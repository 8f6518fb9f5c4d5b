"""Outlines of a finished slide read from labels.ome.zarr where they are looked at: opening a slide
costs nothing, whatever its size.

Where a cell lies and how many pixels it has stands in its row of cells.parquet. So its window is
known, and whether all of it was found.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.errors import SlideError
from ifquant.geometry.runs import CellRuns, concatenate, runs_of
from ifquant.geometry.windows import Window
from ifquant.results.label_images import labels_store, open_label_image, runs_of_labels
from ifquant.review.subject import Labels
from ifquant.slides.zarr_writer import CHUNK_PX

MARGIN_PX = 4
"""Around the ellipse of a cell: most cells are whole in it, others are looked for in windows of
twice the size."""
KEPT = 4096
"""Outlines looked at last that are kept."""


class StoredGeometry:
    """Nuclei and cells of `table` (cells.parquet) in the label images of a slide.

    Raises
    ------
    UnreadableImage
        If the label images are not there.
    """

    def __init__(
        self, folder: Path, table: pd.DataFrame, pixel_size_um: float, image_shape: tuple[int, int]
    ) -> None:
        self._folder, self._shape = folder, image_shape
        self._labels = [open_label_image(folder, kind) for kind in ("nuclei", "cells")]
        self._ids = table["cell_id"].to_numpy(np.int64)
        self._anchors = table[["anchor_y_px", "anchor_x_px"]].to_numpy(np.int64)
        self._centers = table[["y_px", "x_px"]].to_numpy(np.float64)
        self._half_px = (
            np.nan_to_num(table["axis_major_um"].to_numpy(np.float64)) / 2 / pixel_size_um
        )
        areas = table[["nucleus_area_um2", "area_um2"]].to_numpy(np.float64) / pixel_size_um**2
        self._sizes_px: NDArray[np.int64] = np.rint(areas).astype(np.int64)
        self._found: dict[int, tuple[CellRuns, CellRuns]] = {}

    def of(self, row: int) -> tuple[CellRuns, CellRuns]:
        """Nucleus and cell of one row.

        Raises
        ------
        SlideError
            If label image and table do not fit together.
        """
        if row not in self._found:
            if len(self._found) >= KEPT:
                del self._found[next(iter(self._found))]
            self._found[row] = self._read(row)
        return self._found[row]

    def _read(self, row: int) -> tuple[CellRuns, CellRuns]:
        whole = Window(0, 0, *self._shape)
        y, x = (int(v) for v in self._centers[row])
        half = int(self._half_px[row]) + MARGIN_PX
        while True:
            window = Window(y - half, x - half, y + half + 1, x + half + 1).intersection(whole)
            labels = [slide.read([0], window)[0] for slide in self._labels]
            nucleus, cell = (
                runs_of(image, self._ids[[row]], (window.y0, window.x0)) for image in labels
            )
            if (int(nucleus.areas_px[0]), int(cell.areas_px[0])) == tuple(self._sizes_px[row]):
                return nucleus, cell
            if window == whole:
                raise SlideError(
                    f"{labels_store(self._folder)}: cell {self._ids[row]} is not what cells.parquet"
                    " says; run the slide again."
                )
            half *= 2

    def anchor(self, row: int) -> tuple[int, int]:
        """First nucleus pixel (y, x) in raster order."""
        return int(self._anchors[row, 0]), int(self._anchors[row, 1])

    def centroid_px(self, row: int) -> tuple[float, float]:
        """Centroid (y, x) of the cell; the first pixel's center is at 0.5."""
        return float(self._centers[row, 0]), float(self._centers[row, 1])

    def painted(self, window: Window) -> tuple[Labels, Labels]:
        """Nuclei and cells of a window, each painted with its id."""
        nuclei, cells = (slide.read([0], window)[0].astype(np.int64) for slide in self._labels)
        return nuclei, cells

    def area(self, rows: NDArray[np.bool_]) -> CellRuns:
        """Give what the cells of `rows` cover together: one object per chunk of the label image,
        read once.
        """
        chosen = np.zeros(int(self._ids.max(initial=0)) + 1, np.uint8)
        chosen[self._ids[rows]] = 1
        height, width = self._shape
        parts = []
        with open_label_image(self._folder, "cells") as labels:
            for y in range(0, height, CHUNK_PX):
                for x in range(0, width, CHUNK_PX):
                    pixels = labels.read(
                        [0], Window(y, x, min(y + CHUNK_PX, height), min(x + CHUNK_PX, width))
                    )[0]
                    parts.append(runs_of(chosen[pixels], [1], (y, x)))
        return concatenate(parts)

    def all(self) -> tuple[CellRuns, CellRuns]:
        """Nuclei and cells of all rows."""
        # most of the time is unpacking, which threads do side by side
        with ThreadPoolExecutor(2) as pool:
            nuclei, cells = pool.map(
                lambda kind: runs_of_labels(self._folder, kind, self._ids, self._shape),
                ("nuclei", "cells"),
            )
        return nuclei, cells
