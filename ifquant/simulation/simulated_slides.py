"""Simulated slides on disk: OME-TIFF, true labels and true cells, streamed window by window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifquant.errors import RequestError
from ifquant.files.ownership import refuse_foreign
from ifquant.files.storage import PathLike, make_folder
from ifquant.files.table_files import write_csv, write_parquet
from ifquant.geometry.windows import Window, cores
from ifquant.simulation.simulated_window import (
    CHANNELS,
    SimulationOptions,
    add_shapes,
    label_sums,
    simulate_window,
)
from ifquant.slides.tiff_writer import OmePixels, write_ome_tiff

RENDER_PX = 1024
"""Side of the windows that are rendered one after the other (px, a multiple of the TIFF's
tiles)."""
BITS = 12

TRUTH_ENDINGS = ("_nuclei.tif", "_cells.tif", "_truth.parquet", "_truth.csv")
TRUTH_COLUMNS: Mapping[str, Mapping[str, str]] = {
    name: {"unit": unit, "meaning": meaning}
    for name, unit, meaning in (
        ("id", "", "label of the cell and of its nucleus"),
        ("class", "", "tumor, myeloid, lymphocyte or stroma"),
        ("nucleus_x_um", "um", "center of the nucleus' outline, from the left edge of the slide"),
        ("nucleus_y_um", "um", "center of the nucleus' outline, from the top edge of the slide"),
        ("tgfb1_level", "counts", "light of the fully stained membrane, before blur"),
        ("il1b_level", "counts", "light of the fully stained cytoplasm, before blur"),
        ("tgfb1_z", "sd", "standardised logarithm of tgfb1_level (tumor cells)"),
        (
            "il1b_z",
            "sd",
            "standardised logarithm of il1b_level (myeloid cells), the effect of the neighbours"
            " included",
        ),
        (
            "exposure",
            "sd",
            "mean tgfb1_z of the at most 5 nearest tumor cells within 30 um (nucleus centers;"
            " myeloid cells)",
        ),
        ("x_um", "um", "centroid of the cell, from the left edge of the slide"),
        ("y_um", "um", "centroid of the cell, from the top edge of the slide"),
        ("area_um2", "um2", "area of the cell on the slide"),
        ("nucleus_area_um2", "um2", "area of the nucleus on the slide"),
    )
}
"""Unit and meaning of the columns of a truth table."""


class _Labels:
    """Label images kept compressed until all cells are known, then renumbered 1..n."""

    def __init__(self) -> None:
        self._parts: list[tuple[Window, bytes]] = []

    def add(self, window: Window, labels: NDArray[np.int32]) -> None:
        self._parts.append((window, bytes(imagecodecs.zstd_encode(labels.tobytes(), level=3))))

    def blocks(self, ids: NDArray[np.int32]) -> Iterator[tuple[Window, NDArray[np.uint32]]]:
        """Yield the blocks, each label replaced by its rank among the sorted `ids`, or by 0 where
        it is not among them.
        """
        for window, data in self._parts:
            labels = np.frombuffer(imagecodecs.zstd_decode(data), np.int32).reshape(window.shape)
            rank = np.searchsorted(ids, labels)
            known = (
                ids[np.minimum(rank, len(ids) - 1)] == labels
                if len(ids)
                else np.zeros(labels.shape, bool)
            )
            yield window, np.where(known, rank + 1, 0).astype(np.uint32)[None]


class _Truth:
    """Labels and tables of the windows of a slide, gathered as they are rendered."""

    def __init__(self, options: SimulationOptions) -> None:
        self.options = options
        self.nuclei, self.cells = _Labels(), _Labels()
        self.tables: list[pd.DataFrame] = []
        self.sums: list[pd.DataFrame] = []

    def render(self) -> Iterator[tuple[Window, NDArray[np.uint16]]]:
        """Yield the pixels of the slide window by window, and keep the truth."""
        for window in cores(self.options.size, RENDER_PX):
            part = simulate_window(self.options, window)
            self.nuclei.add(window, part.nuclei)
            self.cells.add(window, part.cells)
            self.tables.append(part.table)
            self.sums.append(label_sums(part))
            yield window, part.image

    def write(self, folder: Path, name: str, *, pyramid: bool) -> None:
        """Write label images and table."""
        table = pd.concat(self.tables).drop_duplicates("id").sort_values("id", ignore_index=True)
        table = add_shapes(table, self.sums, self.options.pixel_size_um)
        table = table[table["nucleus_area_um2"] > 0].reset_index(drop=True)
        ids = table["id"].to_numpy(np.int32)
        table = table.assign(id=np.arange(1, len(table) + 1, dtype=np.uint32))
        for kind, labels in (("nuclei", self.nuclei), ("cells", self.cells)):
            size_um = self.options.pixel_size_um
            mask = OmePixels((1, *self.options.size), "uint32", [kind], size_um, labels=True)
            path = folder / f"{name}_{kind}.tif"
            write_ome_tiff(path, labels.blocks(ids), mask, pyramid=pyramid)
        write_parquet(table, folder / f"{name}_truth.parquet", TRUTH_COLUMNS)
        write_csv(table.round(6), folder / f"{name}_truth.csv")


def write_slide(
    folder: PathLike,
    name: str,
    options: SimulationOptions,
    *,
    pyramid: bool = True,
    truth: bool = True,
) -> Path:
    """Render a slide to `<name>.ome.tif`, and its truth to files beside it (TRUTH_ENDINGS).

    A slide of any size takes the memory of one window of 1024 x 1024 px and of its compressed
    labels.

    Parameters
    ----------
    folder : path
        Made when missing.
    name : str
        Start of the file names.
    options : SimulationOptions
        The slide.
    pyramid : bool
        Also write reduced levels.
    truth : bool
        False writes the image alone.

    Returns
    -------
    Path
        The image's path. The labels number the cells 1..n, like `id` in the table.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder}: a file; simulated slides need a folder (-o)")
    for ending in (".ome.tif", *(TRUTH_ENDINGS if truth else ())):
        refuse_foreign(folder / f"{name}{ending}")
    make_folder(folder)
    path, slide = folder / f"{name}.ome.tif", _Truth(options)
    shape = (len(CHANNELS), *options.size)
    image = OmePixels(shape, "uint16", CHANNELS, options.pixel_size_um, BITS)
    write_ome_tiff(path, slide.render(), image, pyramid=pyramid)
    if truth:
        slide.write(folder, name, pyramid=pyramid)
    return path


def simulate_slides(
    out: PathLike,
    *,
    n: int = 1,
    size: int | tuple[int, int] = 2048,
    seed: int = 0,
    effect: float = 0.0,
) -> Iterator[Path]:
    """Write `n` simulated slides with their truth into a folder, one after the other.

    Parameters
    ----------
    out : path
        Folder of the slides.
    n : int
        Number of slides.
    size : int or tuple of int
        Side in px, or height and width.
    seed : int
        Seed of the first slide; the others take the next ones.
    effect : float
        True effect of neighbouring TGFb on IL1b.

    Yields
    ------
    Path
        Each slide's image, when it is complete.
    """
    shape = (size, size) if isinstance(size, int) else size
    for number in range(seed, seed + n):
        options = SimulationOptions(size=shape, seed=number, effect=effect)
        yield write_slide(out, f"simulated_{number:04d}", options)
