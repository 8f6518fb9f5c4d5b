"""Two-dimensional arrays that read or paint only the window napari looks at.

Not dask's, although napari has dask: five channels of 65,536 x 65,536 px as dask arrays take 5.9 s
and 124 MB to make and 58 ms per view, with napari's own cache for them (here 0 s, 0 MB, 0.5 ms);
and blocks that are kept by name would not change their colors when the classes of cells do.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.windows import Window

Array = NDArray[Any]
TILE_PX = 512
CACHE_BYTES = 192 << 20
"""Decoded tiles kept by all levels of all layers together: several screens of five channels and two
label images."""


class TileCache:
    """Tiles most recently looked at, up to a number of bytes; shared by levels and threads."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit, self._bytes = limit_bytes, 0
        self._tiles: OrderedDict[tuple[int, int, int], Array] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int, int], make: Callable[[], Array]) -> Array:
        """Return a tile, made now if it is not here."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
                return self._tiles[key]
        tile = make()
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > self._limit and len(self._tiles) > 1:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        return tile


CACHE = TileCache()
_OWNERS = itertools.count()
"""Names of arrays in the cache: never used twice, unlike ids of objects."""


class WindowArray:
    """A two-dimensional array whose windows are made when asked for.

    Parameters
    ----------
    shape
        (Y, X) in px of this level.
    dtype
        Type of the pixels.
    read
        Gives the pixels (Y, X) of a window inside the array.
    """

    ndim = 2

    def __init__(self, shape: tuple[int, int], dtype: Any, read: Callable[[Window], Array]) -> None:
        self.shape: tuple[int, int] = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._read = read

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes the whole array would take."""
        return int(self.size * self.dtype.itemsize)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Pixels of slices or single positions."""
        parts = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis not in parts:
            parts.append(Ellipsis)
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (3 - len(parts))
        (y0, y1, rows), (x0, x1, columns) = map(_span, parts, self.shape)
        if y0 == y1 or x0 == x1:
            return np.zeros((y1 - y0, x1 - x0), self.dtype)[rows, columns]
        return self._read(Window(y0, x0, y1, x1))[rows, columns]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:, :], dtype)


def _span(part: Any, length: int) -> tuple[int, int, int | slice]:
    """First and one past the last pixel along an axis, and the index into what is read of them."""
    if not isinstance(part, slice):
        place = range(length)[int(part)]
        return place, place + 1, 0
    start, stop, step = part.indices(length)
    if step < 1:
        raise IndexError("only ascending slices are read")
    return start, max(stop, start), slice(None, None, step)


def tiled(
    shape: tuple[int, int], dtype: Any, make: Callable[[Window], Array], cache: TileCache = CACHE
) -> WindowArray:
    """Make an array whose tiles are kept once made."""
    owner = next(_OWNERS)
    whole = Window(0, 0, *shape)

    def read(window: Window) -> Array:
        out = np.empty(window.shape, dtype)
        for row in range(window.y0 // TILE_PX, -(-window.y1 // TILE_PX)):
            for column in range(window.x0 // TILE_PX, -(-window.x1 // TILE_PX)):
                y, x = row * TILE_PX, column * TILE_PX
                tile = Window(y, x, y + TILE_PX, x + TILE_PX).intersection(whole)
                pixels = cache.get((owner, row, column), lambda tile=tile: np.asarray(make(tile)))  # type: ignore[misc]
                part = tile.intersection(window)
                out[part.slices_in(window)] = pixels[part.slices_in(tile)]
        return out

    return WindowArray(shape, dtype, read)


def halved(array: Any) -> WindowArray:
    """Level of half the size: means of 2 x 2 px, made tile by tile when looked at."""
    height, width = array.shape

    def make(window: Window) -> Array:
        rows = slice(2 * window.y0, min(2 * window.y1, height))
        columns = slice(2 * window.x0, min(2 * window.x1, width))
        block = np.asarray(array[rows, columns])
        odd = [(0, length % 2) for length in block.shape]
        block = np.pad(block, odd, mode="edge").astype(np.float32)
        mean = (block[::2, ::2] + block[1::2, ::2] + block[::2, 1::2] + block[1::2, 1::2]) / 4
        return np.asarray(mean.astype(array.dtype))

    return tiled((-(-height // 2), -(-width // 2)), array.dtype, make)


def pyramid(levels: Sequence[Any], top_px: int = 1024) -> list[Any]:
    """Fill gaps of more than 3 times with halved levels, down to a longest side of `top_px`."""
    out = [levels[0]]
    for level in levels[1:]:
        while max(out[-1].shape) > 3 * max(level.shape):
            out.append(halved(out[-1]))
        if max(level.shape) < max(out[-1].shape):
            out.append(level)
    while max(out[-1].shape) > top_px:
        out.append(halved(out[-1]))
    return out
