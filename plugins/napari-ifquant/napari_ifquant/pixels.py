"""Channels of a slide as pyramids for display: from the slide's own file, or from the picture a run keeps."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ifquant.base.tiles import Window
from ifquant.errors import IfquantError
from ifquant.reports.stack import block_means, displayed
from ifquant.slides.slide import Slide, SlideRef
from napari_ifquant.lazy import Array, Lazy, pyramid, tiled


class OpenSlide:
    """A slide whose windows are read from any thread, one after the other. Its files are closed when nothing shows it any more."""

    def __init__(self, slide: Slide) -> None:
        self.slide, self._lock = slide, threading.Lock()
        weakref.finalize(self, slide.close)

    def read(self, channel: int, window: Window) -> Array:
        """Pixels (Y, X) of one channel."""
        with self._lock:
            plane: Array = self.slide.read([channel], window)[0]
            return plane

    def plane(self, channel: int) -> Lazy:
        """One channel in full."""
        info = self.slide.info
        return Lazy((info.shape[1], info.shape[2]), info.dtype, lambda window: self.read(channel, window))

    def channels(self, indices: Sequence[int], smaller: Mapping[int, Sequence[Any]] | None = None) -> list[list[Any]]:
        """Pyramid of each channel: the slide, then levels (Y, X) of its file, or else those given."""
        levels, close = file_levels(self.slide)
        weakref.finalize(self, close)
        out = []
        for index in indices:
            more = [self._plane(level, index) for level in levels] or list((smaller or {}).get(index, ()))
            out.append(pyramid([self.plane(index), *more]))
        return out

    def _plane(self, level: Any, channel: int) -> Lazy:
        def make(window: Window) -> Array:
            pixels = np.asarray(level[channel, window.y0 : window.y1, window.x0 : window.x1])
            return pixels.astype(self.slide.info.dtype, copy=False)  # the level keeps `self`, and so its file open

        return tiled((int(level.shape[1]), int(level.shape[2])), self.slide.info.dtype, make)


def file_levels(slide: Slide) -> tuple[list[Any], Callable[[], None]]:
    """Smaller levels (C, Y, X) that the slide's own file holds, and how to close them; none where it is read through crop or projection."""
    info = slide.info
    if info.levels < 2 or len(slide.ref.paths) != 1 or slide.ref.crop is not None or info.z_planes > 1 or info.timepoints > 1:
        return [], _nothing
    import zarr

    path = slide.ref.paths[0]
    if Path(path).is_dir():
        return [], _nothing
    import tifffile

    tiff = tifffile.TiffFile(path)
    series = tiff.series[0]
    found = []
    for number, level in enumerate(series.levels[1:], 1):
        wide = tuple(size for size, axis in zip(level.shape, level.axes, strict=True) if size > 1 or axis in "YX")
        axes = "".join(axis for size, axis in zip(level.shape, level.axes, strict=True) if size > 1 or axis in "YX")
        if axes[-2:] != "YX" or len(wide) > 3 or (wide[0] if len(wide) == 3 else 1) != info.shape[0]:
            tiff.close()
            return [], _nothing
        stored = zarr.open(series.aszarr(level=number), mode="r")
        found.append(_Level(stored, (info.shape[0], *wide[-2:]), len(level.shape)))
    return found, tiff.close


def _nothing() -> None:
    """Close nothing."""


class _Level:
    """A stored level as (C, Y, X), whatever further axes of length 1 it has."""

    def __init__(self, stored: Any, shape: tuple[int, ...], ndim: int) -> None:
        self._stored, self.shape, self._ndim = stored, shape, ndim

    def __getitem__(self, key: tuple[int, slice, slice]) -> Array:
        stored = self._stored
        channel_axis = [axis for axis in range(self._ndim - 2) if stored.shape[axis] == self.shape[0]]
        at: list[Any] = [0] * (self._ndim - 2)
        if self.shape[0] > 1:
            at[channel_axis[0]] = key[0]
        return np.asarray(stored[(*at, key[1], key[2])])


class Picture:
    """The display pyramid that a run keeps: 8-bit, black to white of each channel's calibrated range, here turned back into raw values."""

    def __init__(self, store: Path, step_px: int, ranges: Mapping[str, tuple[float, float]], names: tuple[str, ...], dtype: str) -> None:
        import zarr

        group = zarr.open_group(str(store), mode="r")
        count = len(group.attrs["ome"]["multiscales"][0]["datasets"])
        self.step_px, self._ranges, self._names, self._dtype = step_px, ranges, names, dtype
        self.levels: list[Any] = [group[str(k)] for k in range(count)]

    def pyramid(self, channel: int) -> list[Any]:
        """Levels of one channel in raw values, within its display range."""
        low, high = self._ranges[self._names[channel]]
        table = low + np.arange(256) / 255 * (high - low)
        values = table.astype(self._dtype) if self._dtype.startswith("f") else np.rint(table).astype(self._dtype)
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
            window = Window(y * self.step_px, x * self.step_px, (y + 8) * self.step_px, (x + 8) * self.step_px)
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
        plane: Array = values[np.asarray(level[channel, window.y0 : window.y1, window.x0 : window.x1])]
        return plane

    return tiled((int(level.shape[1]), int(level.shape[2])), values.dtype, make)


def open_ref(opened: Mapping[str, Any], crop: Window | None) -> SlideRef:
    """How slide.json says the slide was opened."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in opened.items()}
    return SlideRef(**values, crop=crop)
