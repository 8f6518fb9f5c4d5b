"""Channels of a slide as pyramids for display: from the slide's own file, or from the picture a run
keeps.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifquant.errors import IfquantError
from ifquant.geometry.windows import Window
from ifquant.slides.overview import block_means, displayed
from ifquant.slides.slide import Slide
from napari_ifquant.lazy import Array, Lazy, pyramid, tiled


class OpenSlide:
    """A slide whose windows are read from any thread, one after the other. Its files are closed
    when nothing shows it any more.
    """

    def __init__(self, slide: Slide) -> None:
        self.slide, self._lock = slide, threading.Lock()
        weakref.finalize(self, slide.close)

    def read(self, channel: int, window: Window, level: int = 0) -> Array:
        """Pixels (Y, X) of one channel."""
        with self._lock:
            plane: Array = self.slide.read([channel], window, level)[0]
            return plane

    def plane(self, channel: int) -> Lazy:
        """One channel in full."""
        info = self.slide.info
        return Lazy(
            (info.shape[1], info.shape[2]), info.dtype, lambda window: self.read(channel, window)
        )

    def channels(
        self, indices: Sequence[int], smaller: Mapping[int, Sequence[Any]] | None = None
    ) -> list[list[Any]]:
        """Pyramid of each channel: the slide, then levels (Y, X) of its file, or else those
        given.
        """
        shapes = self._levels()
        out = []
        for index in indices:
            more = [self._level(k, shape, index) for k, shape in shapes] or list(
                (smaller or {}).get(index, ())
            )
            out.append(pyramid([self.plane(index), *more]))
        return out

    def _levels(self) -> list[tuple[int, tuple[int, int]]]:
        """Give number and shape of the smaller levels; none where one is damaged: smaller pictures
        are then made of the slide.
        """
        try:
            return list(enumerate(self.slide.levels))[1:]
        except IfquantError:
            return []

    def _level(self, k: int, shape: tuple[int, int], channel: int) -> Lazy:
        return tiled(shape, self.slide.info.dtype, lambda window: self.read(channel, window, k))


class Picture:
    """The display pyramid that a run keeps: 8-bit, black to white of each channel's calibrated
    range, here turned back into raw values.
    """

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
        values = (
            table.astype(self._dtype)
            if self._dtype.startswith("f")
            else np.rint(table).astype(self._dtype)
        )
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
            window = Window(
                y * self.step_px, x * self.step_px, (y + 8) * self.step_px, (x + 8) * self.step_px
            )
            window = window.intersection(Window(0, 0, height, width))
            try:
                shown = displayed(block_means(slide.read(indices, window), self.step_px), ranges)
            except IfquantError:
                return False
            if not np.array_equal(shown, level[:, y : y + shown.shape[1], x : x + shown.shape[2]]):
                return False
        return True


def _raw_plane(level: Any, channel: int, values: Array) -> Lazy:
    def make(window: Window) -> Array:
        plane: Array = values[
            np.asarray(level[channel, window.y0 : window.y1, window.x0 : window.x1])
        ]
        return plane

    return tiled((int(level.shape[1]), int(level.shape[2])), values.dtype, make)
