"""The segmenter's maps between two stages: one file per lattice cell, kept until the slide is done, read back in any window."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ifquant.base.tiles import Window
from ifquant.pipeline.parts import load_arrays, save_part


def path_of(work: Path, cell: Window) -> Path:
    """File of the maps of a lattice cell."""
    return work / "maps" / f"{cell.y0}_{cell.x0}.npz"


def save(path: Path, maps: NDArray[np.uint8]) -> None:
    """Write the maps (K, Y, X) of a lattice cell; packed by the fastest codec, a slide's maps would be as large as one of its channels."""
    packed = imagecodecs.zstd_encode(maps.tobytes(), level=1)
    save_part(path, {"shape": np.array(maps.shape), "zstd": np.frombuffer(packed, np.uint8)})


@lru_cache(maxsize=9)
def load(path: Path) -> NDArray[np.uint8]:
    """Inverse of `save`; a damaged file raises. The last few are kept: neighbouring tiles look at the same ones."""
    stored = load_arrays(path)
    return np.frombuffer(imagecodecs.zstd_decode(stored["zstd"].tobytes()), np.uint8).reshape(stored["shape"])


def reader(
    work: Path, step_px: int, image_shape: tuple[int, int], needed: Callable[[Window], bool]
) -> Callable[[Window], NDArray[np.uint8]]:
    """Make the function that reads the maps (K, Y, X) of any window from the lattice cells of `step_px`; cells not `needed` are 0."""
    height, width = image_shape

    def read(window: Window) -> NDArray[np.uint8]:
        out: NDArray[np.uint8] | None = None
        for y in range(window.y0 // step_px * step_px, window.y1, step_px):
            for x in range(window.x0 // step_px * step_px, window.x1, step_px):
                cell = Window(y, x, min(y + step_px, height), min(x + step_px, width))
                if not needed(cell):
                    continue
                stored = load(path_of(work, cell))
                if out is None:
                    out = np.zeros((stored.shape[0], *window.shape), np.uint8)
                common = cell.intersection(window)
                out[(slice(None), *common.slices_in(window))] = stored[(slice(None), *common.slices_in(cell))]
        assert out is not None, "a window without any tissue is never looked at"
        return out

    return read
