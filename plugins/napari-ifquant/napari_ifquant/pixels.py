"""Channels of a slide as pyramids: from its own file, or from the picture a run keeps."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ifquant.errors import IfquantError
from ifquant.geometry.windows import Window
from ifquant.slides.overview import block_means, displayed
from ifquant.slides.slide import Slide
from napari_ifquant.tiled_array import Array, WindowArray, pyramid, tiled


class OpenSlide:
    """A slide read from any thread, one after the other; closed when nothing shows it any more."""

    def __init__(self, slide: Slide) -> None:
        self.slide, self._lock = slide, threading.Lock()
        weakref.finalize(self, slide.close)

    def read(self, channel: int, window: Window, level: int = 0) -> Array:
        """Pixels (Y, X) of one channel."""
        with self._lock:
            plane: Array = self.slide.read([channel], window, level)[0]
            return plane

    def channels(
        self, indices: Sequence[int], smaller: Mapping[int, Sequence[Any]] | None = None
    ) -> list[list[Any]]:
        """Pyramid of each channel: the slide, then levels of its file, or else those given.

        Where a level of the file is damaged, none is used: smaller pictures are made of the slide.
        """
        info = self.slide.info
        whole = info.shape[1], info.shape[2]
        try:
            shapes = list(enumerate(self.slide.levels))[1:]
        except IfquantError:
            shapes = []
        out = []
        for channel in indices:
            full = WindowArray(whole, info.dtype, partial(self.read, channel))
            levels: list[Any] = [
                tiled(shape, info.dtype, partial(self.read, channel, level=k))
                for k, shape in shapes
            ]
            out.append(pyramid([full, *(levels or (smaller or {}).get(channel, ()))]))
        return out


class Picture:
    """The 8-bit pyramid that a run keeps, turned back into raw values of the calibrated ranges."""

    def __init__(
        self,
        store: Path,
        step_px: int,
        ranges: Mapping[str, tuple[float, float]],
        names: tuple[str, ...],
        dtype: str,
    ) -> None:
        import zarr

        group = zarr.open_group(str(store), mode="r")
        count = len(group.attrs["ome"]["multiscales"][0]["datasets"])
        self.step_px, self._ranges, self._names, self._dtype = step_px, ranges, names, dtype
        self.levels: list[Any] = [group[str(k)] for k in range(count)]

    def pyramid(self, channel: int) -> list[Any]:
        """Levels of one channel in raw values, within its display range."""
        low, high = self._ranges[self._names[channel]]
        table = low + np.arange(256) / 255 * (high - low)
        values = (table if self._dtype.startswith("f") else np.rint(table)).astype(self._dtype)
        return [_raw_plane(level, channel, values) for level in self.levels]

    def shows(self, slide: Slide, indices: tuple[int, ...]) -> bool:
        """Whether this is a picture of that slide: a few windows must come out equal."""
        level = self.levels[0]
        height, width = slide.info.shape[1:]
        ranges = [self._ranges[name] for name in self._names]
        if level.shape[1:] != (-(-height // self.step_px), -(-width // self.step_px)):
            return False
        for fy, fx in ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
            y, x = int(level.shape[1] * fy), int(level.shape[2] * fx)
            step = self.step_px
            window = Window(y * step, x * step, (y + 8) * step, (x + 8) * step)
            window = window.intersection(Window(0, 0, height, width))
            try:
                shown = displayed(block_means(slide.read(indices, window), self.step_px), ranges)
            except IfquantError:
                return False
            if not np.array_equal(shown, level[:, y : y + shown.shape[1], x : x + shown.shape[2]]):
                return False
        return True


def _raw_plane(level: Any, channel: int, values: Array) -> WindowArray:
    def make(window: Window) -> Array:
        shown = np.asarray(level[channel, window.y0 : window.y1, window.x0 : window.x1])
        return np.asarray(values[shown])

    return tiled((int(level.shape[1]), int(level.shape[2])), values.dtype, make)
