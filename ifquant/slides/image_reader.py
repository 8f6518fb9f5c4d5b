"""What an image file says about itself, in the words that all readers share.

Readers describe a file as `ImageFacts` and return one plane at a time; `slide` knows no format.
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
"""Largest decoded tile, strip or chunk that is read, whatever size a file claims."""
MAX_IMAGE_BYTES = 1 << 44
"""Larger claims (16 TiB) are damage or an attack, not a slide."""
ROUNDING_PX = 2
"""By how much a side of a smaller level may differ from the image's proportions."""

_UNITS = {
    1e6: ("m", "meter", "metre"),
    1e4: ("cm", "centimeter", "centimetre"),
    1e3: ("mm", "millimeter", "millimetre"),
    1.0: ("um", "µm", "μm", "\\u00b5m", "micron", "microns", "micrometer", "micrometre"),
    1e-3: ("nm", "nanometer", "nanometre"),
    1e-6: ("pm", "picometer"),
    1e-4: ("å", "angstrom"),
    25_400.0: ("in", "inch"),
}
_UNIT_UM = {name: factor for factor, names in _UNITS.items() for name in names}


def length_um(value: object, unit: str | None) -> float | None:
    """Convert a length to um; None if the unit is no length (`pixel`) or the value not positive."""
    factor = _UNIT_UM.get((unit or "").strip().lower().replace("Â", ""))
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if factor is None or not math.isfinite(number) or number <= 0:
        return None
    return number * factor


class Unfit(ValueError):
    """Why a file's content is not read, and what to do; `slide` puts the path in front."""


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
        """Pixels (Y, X) of a plane of time point 0, native byte order; levels from 1 are copies."""
        ...

    def levels(self) -> tuple[tuple[int, int], ...]:
        """Shapes (Y, X) of the image and its smaller copies, all checked, the largest first."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def check_level(shape: tuple[int, int], larger: tuple[int, int], full: tuple[int, int]) -> None:
    """Refuse a level that is not smaller than the one before it, or of other proportions."""
    if not is_level(shape, full) or max(shape) >= max(larger):
        raise Damaged(
            f"a level of {shape[0]} x {shape[1]} px after one of {larger[0]} x {larger[1]} is no"
            " copy of the image"
        )


def is_level(shape: tuple[int, int], full: tuple[int, int]) -> bool:
    """Whether a picture has the proportions of an image (programs round sizes at every level)."""
    (height, width), (full_height, full_width) = shape, full
    short = min(height, width)
    return short > 0 and abs(height * full_width - width * full_height) <= ROUNDING_PX * max(full)


def check_claim(shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> None:
    """Refuse empty images and those above `MAX_IMAGE_BYTES`, before anything is allocated."""
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
        """Return the array, if it is still there."""
        found = self._arrays.get(key)
        if found is not None:
            self._arrays.move_to_end(key)
        return found

    def put(self, key: Hashable, array: Array) -> None:
        """Add an array; the least recently used ones go."""
        self._arrays[key] = array
        self._bytes += array.nbytes
        while self._bytes > self.limit_bytes and len(self._arrays) > 1:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Drop everything."""
        self._arrays.clear()
        self._bytes = 0
