"""What an image file says about itself, in the words that all readers share.

Readers (tiff, omezarr) describe a file as `ImageFacts` and hand out one plane at a time; everything
above them (slide) is format-free.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ifquant.geometry.windows import Window

Array = NDArray[Any]

MAX_SEGMENT_BYTES = 1 << 30
"""Largest decoded tile, strip or chunk that is read: a file may claim any size, memory is not its
to claim."""
MAX_IMAGE_BYTES = 1 << 44
"""Larger claims (16 TiB) are damage or an attack, not a slide."""
ROUNDING_PX = 2
"""By how much a side of a smaller level may differ from the image's proportions."""

_UNIT_UM = {
    "m": 1e6,
    "meter": 1e6,
    "metre": 1e6,
    "cm": 1e4,
    "centimeter": 1e4,
    "centimetre": 1e4,
    "mm": 1e3,
    "millimeter": 1e3,
    "millimetre": 1e3,
    "um": 1.0,
    "µm": 1.0,
    "μm": 1.0,
    "\\u00b5m": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometre": 1e-3,
    "pm": 1e-6,
    "picometer": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "in": 25_400.0,
    "inch": 25_400.0,
}


def length_um(value: object, unit: str | None) -> float | None:
    """Convert a length to um; None when the unit is not a length (`pixel`, `reference frame`) or
    the value is not a positive number.
    """
    factor = _UNIT_UM.get((unit or "").strip().lower().replace("Â", ""))
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if factor is None or not math.isfinite(number) or number <= 0:
        return None
    return number * factor


class Unfit(ValueError):
    """Why a file's content is not read; the text says what to do. `slide` puts the path in
    front.
    """


class Damaged(Unfit):
    """A file that contradicts itself or was cut off; `slide` adds the advice."""


@dataclass(frozen=True)
class ImageFacts:
    """One image as its file describes it: nothing projected, cropped or renamed yet.

    `channels` holds None where the file gives no name. `pixel_size_um` is (x, y). `problems` are
    reasons why the pixels cannot be used as fluorescence intensities (color images, several fields
    in one file, ...); `lossy` names a lossy compression.
    """

    format: str
    shape: tuple[int, int, int, int]  # C, Z, Y, X
    dtype: str
    channels: tuple[str | None, ...]
    pixel_size_um: tuple[float, float] | None
    pixel_size_origin: str
    timepoints: int = 1
    levels: int = 1
    max_value: int | None = None
    lossy: str | None = None
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ImageReader(Protocol):
    """An open file. Not thread-safe; each worker opens its own."""

    @property
    def facts(self) -> ImageFacts:
        """What the file says."""
        ...

    def read_plane(self, channel: int, z: int, window: Window, level: int = 0) -> Array:
        """Pixels (Y, X) of one plane of time point 0, native byte order; of a smaller copy in the
        file for levels from 1.
        """
        ...

    def levels(self) -> tuple[tuple[int, int], ...]:
        """Shapes (Y, X) of the image and its smaller copies, each checked as the image itself is,
        the largest first.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def check_level(shape: tuple[int, int], larger: tuple[int, int], full: tuple[int, int]) -> None:
    """Refuse what can be no smaller copy of an image.

    Raises
    ------
    ValueError
        If it is not smaller than the level before it, or of other proportions than the image.
    """
    if not is_level(shape, full) or max(shape) >= max(larger):
        raise Damaged(
            f"a level of {shape[0]} x {shape[1]} px after one of {larger[0]} x {larger[1]} is no"
            " copy of the image"
        )


def is_level(shape: tuple[int, int], full: tuple[int, int]) -> bool:
    """Whether a picture has the proportions of an image; programs round sizes up or down at every
    level.
    """
    (height, width), (full_height, full_width) = shape, full
    short = min(height, width)
    return short > 0 and abs(height * full_width - width * full_height) <= ROUNDING_PX * max(full)


def check_claim(shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> None:
    """Refuse sizes that no slide has, before anything is allocated.

    Raises
    ------
    ValueError
        If a dimension is empty or the decoded size is above `MAX_IMAGE_BYTES`.
    """
    if min(shape, default=0) < 1:
        raise Damaged(f"{what} has an empty dimension: shape {shape}")
    if (nbytes := math.prod(shape) * dtype.itemsize) > MAX_IMAGE_BYTES:
        raise Damaged(
            f"{what} claims {nbytes / 2**40:.3g} TiB of pixels (shape {shape}, {dtype}), which is"
            " no slide"
        )


class ByteCache:
    """Least recently used arrays, at most `limit_bytes` in all (but always the newest one)."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._arrays: OrderedDict[Hashable, Array] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> Array | None:
        """Give an array back, if it is still there."""
        found = self._arrays.get(key)
        if found is not None:
            self._arrays.move_to_end(key)
        return found

    def put(self, key: Hashable, array: Array) -> None:
        """Keep an array, letting go of the least recently used ones."""
        self._arrays[key] = array
        self._bytes += array.nbytes
        while self._bytes > self.limit_bytes and len(self._arrays) > 1:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Let go of everything."""
        self._arrays.clear()
        self._bytes = 0
