"""Arrays that napari slices like any other and that read or paint only the window it looks at."""

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


class Lazy:
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
        parts = key if isinstance(key, tuple) else (key,)
        if Ellipsis not in parts:
            parts = (*parts, Ellipsis)
        at = parts.index(Ellipsis)
        parts = (*parts[:at], *(slice(None),) * (3 - len(parts)), *parts[at + 1 :])
        spans: list[tuple[int, int]] = []
        rest: list[Any] = []
        for part, length in zip(parts, self.shape, strict=True):
            if isinstance(part, slice):
                start, stop, step = part.indices(length)
                if step < 1:
                    raise IndexError("only ascending slices are read")
                spans.append((start, max(stop, start)))
                rest.append(slice(None, None, step))
            else:
                place = int(part) + (length if int(part) < 0 else 0)
                if not 0 <= place < length:
                    raise IndexError(f"index {part} is outside {length} px")
                spans.append((place, place + 1))
                rest.append(0)
        (y0, y1), (x0, x1) = spans
        if y0 == y1 or x0 == x1:
            return np.zeros((y1 - y0, x1 - x0), self.dtype)[tuple(rest)]
        return self._read(Window(y0, x0, y1, x1))[tuple(rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:, :], dtype)


def tiled(
    shape: tuple[int, int], dtype: Any, make: Callable[[Window], Array], cache: TileCache = CACHE
) -> Lazy:
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

    return Lazy(shape, dtype, read)


def halved(array: Any) -> Lazy:
    """Level of half the size: means of 2 x 2 px, made tile by tile when looked at."""
    height, width = array.shape
    shape = -(-height // 2), -(-width // 2)

    def make(window: Window) -> Array:
        block = np.asarray(
            array[
                2 * window.y0 : min(2 * window.y1, height),
                2 * window.x0 : min(2 * window.x1, width),
            ]
        )
        padded = np.pad(
            block, [(0, block.shape[0] % 2), (0, block.shape[1] % 2)], mode="edge"
        ).astype(np.float32)
        mean = (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]) / 4
        return mean.astype(array.dtype)

    return tiled(shape, array.dtype, make)


def pyramid(levels: Sequence[Any], top_px: int = 1024) -> list[Any]:
    """Add levels of half the size until the longest side is at most `top_px`, and between levels
    more than 4 times apart.
    """
    out = [levels[0]]
    for level in levels[1:]:
        while max(out[-1].shape) > 3 * max(level.shape):
            out.append(halved(out[-1]))
        if max(level.shape) < max(out[-1].shape):
            out.append(level)
    while max(out[-1].shape) > top_px:
        out.append(halved(out[-1]))
    return out
