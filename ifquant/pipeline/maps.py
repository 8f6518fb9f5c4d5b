"""The segmenter's maps between two stages: one file per lattice cell, kept until the slide is done, read back by `LatticeMaps`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ifquant.base.tiles import Window
from ifquant.pipeline.parts import load_arrays, save_part


def path_of(work: Path, cell: Window, kind: str = "maps") -> Path:
    """File of the maps of a lattice cell; `kind` is a folder of its own for each segmenter."""
    return work / kind / f"{cell.y0}_{cell.x0}.npz"


def save(path: Path, maps: NDArray[Any]) -> None:
    """Write the maps (K, Y, X) of a lattice cell; packed by the fastest codec, a slide's maps would be as large as one of its channels."""
    packed = imagecodecs.zstd_encode(maps.tobytes(), level=1)
    save_part(path, {"shape": np.array(maps.shape), "dtype": np.array(maps.dtype.str), "zstd": np.frombuffer(packed, np.uint8)})


@lru_cache(maxsize=9)
def load(path: Path) -> NDArray[Any]:
    """Inverse of `save`; a damaged file raises. The last few are kept: neighbouring tiles look at the same ones."""
    stored = load_arrays(path)
    content = imagecodecs.zstd_decode(stored["zstd"].tobytes())
    return np.frombuffer(content, str(stored["dtype"])).reshape(stored["shape"])
