"""Arrays in a file without a name: table and outlines of a large slide, not in memory.

They are arrays like any other, but what they hold is in the file, so that the system may take their
memory back when something else needs it, and `Scratch.let_go` gives it back at once. The file is
gone when the arrays are, or when the process is, however it ends.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ifquant.files import storage

_ALIGNED = 64  # bytes: what numpy gives its own arrays


@dataclass(frozen=True, eq=False)
class Scratch:
    """Arrays by name, and the file that holds them (None: there is nothing to hold)."""

    arrays: Mapping[str, NDArray[Any]]
    file: mmap.mmap | None = None

    def let_go(self) -> None:
        """Return the arrays' memory to the system; what they hold is read again when needed."""
        if self.file is not None and hasattr(
            mmap, "MADV_DONTNEED"
        ):  # Windows has no such call, and takes the memory when it needs it
            self.file.madvise(mmap.MADV_DONTNEED)


def scratch(folder: storage.PathLike, wanted: Mapping[str, tuple[int, DTypeLike]]) -> Scratch:
    """Make arrays of these lengths and types, filled with zeros, on the disk of a folder.

    Parameters
    ----------
    folder
        Exists; the file is made on its disk.
    wanted
        Name > number of elements, type.

    Raises
    ------
    ResourceError
        If the disk has no room for them: at once, not when they are filled.
    """
    starts, size = {}, 0
    for name, (length, kind) in wanted.items():
        starts[name] = size
        size += -(-length * np.dtype(kind).itemsize // _ALIGNED) * _ALIGNED
    file = None
    if size:
        with storage.unnamed_file(folder, size) as opened:
            file = mmap.mmap(opened.fileno(), size)
    arrays = {
        name: np.frombuffer(file, kind, length, starts[name])
        if file is not None and length
        else np.zeros(length, kind)
        for name, (length, kind) in wanted.items()
    }
    return Scratch(arrays, file)
