"""labels.ome.zarr of a slide: label images of nuclei and cells, and a picture for display."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ifquant import provenance
from ifquant.files import storage
from ifquant.geometry.runs import CellRuns, paint, put_runs, runs_of
from ifquant.geometry.windows import Window
from ifquant.recipe.defaults import channel_colors
from ifquant.results.file_names import LABELS
from ifquant.results.slide_record import DISPLAY_TEXT
from ifquant.results.slide_result import SlideResult
from ifquant.slides.overview import Stack
from ifquant.slides.slide import Slide, SlideRef
from ifquant.slides.zarr_reader import CHUNK_MANIFEST
from ifquant.slides.zarr_writer import Display, LabelPyramidWriter

BAND_PX = 1024
"""Height of the bands label images are looked at in: a matter of memory only."""


def write_labels(result: SlideResult, folder: Path, overview: Stack) -> None:
    """Paint labels.ome.zarr from the runs, window by window, with the overview as its display
    pyramid.
    """
    ids = result.table["cell_id"].to_numpy(np.uint32)
    names, shown = result.panel.names, channel_colors(result.recipe)
    colors = tuple(shown.get(name, "#808080") for name in names)
    black_and_white = ((0.0, 255.0),) * len(names)
    with LabelPyramidWriter(
        folder / LABELS,
        shape=result.image_shape,
        pixel_size_um=result.pixel_size_um,
        creator=f"ifquant {provenance.versions()['ifquant']}",
    ) as writer:
        for name, runs in (("nuclei", result.nuclei), ("cells", result.cells)):
            writer.write(name, _Painter(runs, ids, result.let_go).paint)
        writer.write_display(
            Display(
                overview.pixels, float(overview.step), names, colors, black_and_white, DISPLAY_TEXT
            )
        )


class _Painter:
    """Paints windows in raster order, looking only at objects near the window's rows."""

    def __init__(
        self, runs: CellRuns, ids: NDArray[np.uint32], after_band: Callable[[], object]
    ) -> None:
        self._runs, self._ids, self._after_band = runs, ids, after_band
        self._boxes = runs.bounding_boxes
        after_band()
        self._band = (-1, -1)

    def paint(self, window: Window) -> NDArray[np.uint32]:
        """Labels (Y, X) of a window."""
        if self._band != (window.y0, window.y1):
            self._band = (window.y0, window.y1)
            near = np.flatnonzero((self._boxes[:, 0] < window.y1) & (self._boxes[:, 2] > window.y0))
            self._near, self._near_ids = self._runs.take(near), self._ids[near]
            self._after_band()
        return paint(self._near, self._near_ids, window)


def labels_store(folder: Path) -> Path:
    """Path of the label images of a slide."""
    return folder / LABELS


def open_label_image(folder: Path, kind: str) -> Slide:
    """Open the label image of ``nuclei`` or ``cells``.

    Raises
    ------
    UnreadableImage
        If it is not there.
    """
    return SlideRef((str(folder / LABELS / "labels" / kind),)).open()


def labels_are_whole(folder: Path) -> bool:
    """Whether every chunk that was written is there."""
    manifest = label_manifest(folder)
    if manifest is None or not (folder / LABELS / "zarr.json").is_file():
        return False
    return all(
        (folder / LABELS / name / "c" / chunk).is_file()
        for name, chunks in manifest["chunks"].items()
        for chunk in chunks
    )


def label_manifest(folder: Path) -> dict[str, dict[str, list[str]]] | None:
    """List of what was written into the label images; None where there is none."""
    manifest = storage.read_json(folder / LABELS / CHUNK_MANIFEST)
    return manifest if isinstance(manifest, dict) else None


def runs_of_labels(
    folder: Path, kind: str, ids: NDArray[np.int64], image_shape: tuple[int, int]
) -> CellRuns:
    """Outlines of the objects `ids` of a slide's label image of ``nuclei`` or ``cells``."""
    bands = LabelBands(folder, kind, ids, image_shape)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(bands.lengths)))
    whole = CellRuns(offsets, *(np.empty(offsets[-1], np.int32) for _ in range(3)))
    bands.put(whole)
    return whole


class LabelBands:
    """Runs of the objects of a label image, found band by band.

    Attributes
    ----------
    lengths
        Number of runs of each object.
    """

    def __init__(
        self, folder: Path, kind: str, ids: NDArray[np.int64], image_shape: tuple[int, int]
    ) -> None:
        height, width = image_shape
        self.lengths = np.zeros(len(ids), np.int64)
        self._bands: list[tuple[NDArray[np.int64], CellRuns]] = []
        with open_label_image(folder, kind) as labels:
            for y in range(0, height, BAND_PX):
                window = Window(y, 0, min(y + BAND_PX, height), width)
                runs = runs_of(labels.read([0], window)[0], ids, (y, 0))
                here = np.flatnonzero(np.diff(runs.offsets))
                self.lengths[here] += np.diff(runs.offsets)[here]
                offsets = np.append(runs.offsets[here], runs.offsets[-1])
                self._bands.append((here, CellRuns(offsets, runs.y, runs.x0, runs.x1)))

    def put(self, target: CellRuns) -> None:
        """Put the runs into `target`, which has room for `lengths`; they are given up here."""
        before = np.zeros(len(self.lengths), np.int64)
        for here, runs in self._bands:
            put_runs(target, here, runs, before[here])
            before[here] += np.diff(runs.offsets)
        self._bands.clear()
