"""What one tile leaves for `assembled`: rows and geometry of the cells it owns, as one .npz file
(zip members carry a CRC).
"""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from ifquant.errors import TileError
from ifquant.files import storage
from ifquant.geometry.runs import CellRuns
from ifquant.geometry.windows import Window

logger = logging.getLogger("ifquant")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class TilePart:
    """Rows (columns of equal length, not yet sorted), geometry and orphan myeloid area (px) of one
    tile's core.
    """

    core: Window
    table: Mapping[str, NDArray[Any]]
    nuclei: CellRuns
    cells: CellRuns
    orphan_px: int

    @classmethod
    def empty(cls, core: Window) -> TilePart:
        """Return a part without cells; it has no columns, other parts or the empty table define
        them.
        """
        return cls(core, {}, CellRuns.empty(), CellRuns.empty(), 0)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Flatten into named arrays."""
        arrays = {f"table/{name}": np.asarray(column) for name, column in self.table.items()}
        for kind, runs in (("nuclei", self.nuclei), ("cells", self.cells)):
            arrays |= {
                f"{kind}/{field}": getattr(runs, field) for field in ("offsets", "y", "x0", "x1")
            }
        arrays["core"] = np.array([self.core.y0, self.core.x0, self.core.y1, self.core.x1])
        arrays["orphan_px"] = np.array(self.orphan_px)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> TilePart:
        """Inverse of `to_arrays`."""
        table = {
            name.removeprefix("table/"): column
            for name, column in arrays.items()
            if name.startswith("table/")
        }
        runs = {
            kind: CellRuns(*(arrays[f"{kind}/{field}"] for field in ("offsets", "y", "x0", "x1")))
            for kind in ("nuclei", "cells")
        }
        return cls(
            Window(*(int(v) for v in arrays["core"])),
            table,
            runs["nuclei"],
            runs["cells"],
            int(arrays["orphan_px"]),
        )


def save_part(path: Path, arrays: Arrays) -> None:
    """Write arrays whole or not at all, into a folder that exists.

    Raises
    ------
    TileError
        If the folder has gone: the run that asked for this part has ended, and a later one finished
        the slide.
    """
    if not path.parent.is_dir():
        raise TileError(
            f"the folder of unfinished parts {path.parent} has gone; another run has finished or"
            " removed this slide."
        )
    storage.write_npz(path, arrays)


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a part; a damaged file raises (zip CRC)."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def load_part(path: Path) -> dict[str, NDArray[Any]] | None:
    """Read the arrays of a part; None, and the file is removed, when the disk has damaged it since
    it was written.
    """
    try:
        return load_arrays(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("%s is damaged (%s); it is computed again", path, error)
        storage.remove(path)
        return None


def path_of(work: Path, cell: Window, kind: str = "maps") -> Path:
    """File of the maps of a lattice cell; `kind` is a folder of its own for each segmenter."""
    return work / kind / f"{cell.y0}_{cell.x0}.npz"


def save(path: Path, maps: NDArray[Any]) -> None:
    """Write the maps (K, Y, X) of a lattice cell; packed by the fastest codec, a slide's maps would
    be as large as one of its channels.
    """
    packed = imagecodecs.zstd_encode(maps.tobytes(), level=1)
    save_part(
        path,
        {
            "shape": np.array(maps.shape),
            "dtype": np.array(maps.dtype.str),
            "zstd": np.frombuffer(packed, np.uint8),
        },
    )


@lru_cache(maxsize=9)
def load(path: Path) -> NDArray[Any]:
    """Inverse of `save`; a damaged file raises. The last few are kept: neighbouring tiles look at
    the same ones.
    """
    stored = load_arrays(path)
    content = imagecodecs.zstd_decode(stored["zstd"].tobytes())
    return np.frombuffer(content, str(stored["dtype"])).reshape(stored["shape"])
