"""Writing OME-TIFF: tiled, compressed, with pixel size, channel names and a pyramid.

Blocks of all channels arrive in any order while a TIFF wants one channel after the other; so tiles
are compressed as they come into a spool file beside the target, which tifffile then writes in
order. Memory stays at a few tiles whatever the size of the image.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from ifquant.errors import RequestError
from ifquant.files import storage
from ifquant.geometry.windows import Window
from ifquant.slides.image_reader import Array
from ifquant.slides.pyramid import halved, level_shapes
from ifquant.slides.tiff_reader import TiffReader

TILE_PX = 512
_OME_TYPES = {"float32": "float", "float64": "double", "bool": "bit"}
_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"

Key = tuple[int, int, int, int]
"""Level, channel, row and column of a tile."""


@dataclass(frozen=True)
class OmePixels:
    """What an OME-TIFF holds.

    `shape` is (C, Y, X), `names` one per channel; without a pixel size none is written.
    `significant_bits` is what the detector gives. Smaller copies of `labels` take every second
    pixel instead of the mean.
    """

    shape: tuple[int, int, int]
    dtype: str
    names: Sequence[str]
    pixel_size_um: float | None = None
    significant_bits: int | None = None
    labels: bool = False

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or len(self.names) != self.shape[0]:
            raise RequestError(
                f"image of shape {self.shape} with {len(self.names)} channel names; expected"
                " (C, Y, X) and C names"
            )


def write_ome_tiff(
    final: storage.PathLike,
    blocks: Iterable[tuple[Window, Array]],
    image: OmePixels,
    *,
    compression: str = "zlib",
    tile_px: int = TILE_PX,
    pyramid: bool = True,
) -> None:
    """Write an image atomically.

    Parameters
    ----------
    final : path of the file. blocks : (window, pixels (C, Y, X)) in any order; together they cover
    the image once. Windows start at multiples of `tile_px` and end at multiples or at the image's
    edge. compression : zlib, zstd or none (zlib carries a checksum; its horizontal predictor
    shrinks microscopy images by about a third). pyramid : add levels reduced by 2 down to about
    512 px (SubIFDs).

    Raises
    ------
    RequestError
        If blocks are misplaced or missing.
    ResourceError
        If the disk is full.
    """
    shapes = level_shapes(image.shape[1:], tile_px)[: None if pyramid else 1]
    with storage.atomic_path(final) as part:
        spool_path = part.with_name(storage.part_name(part.name + ".spool"))
        try:
            with storage.create_file(spool_path) as file:
                spool = _Spool(file, np.dtype(image.dtype), tile_px, compression)
                for window, pixels in blocks:
                    _put_block(spool, window, pixels, image.shape)
                spool.require_all(image.shape)
                for level in range(1, len(shapes)):
                    _reduce_level(spool, level, image, shapes)
                _assemble(str(part), spool, image, shapes)
        finally:
            storage.remove(spool_path)
        _verify(str(part), image.shape[0], shapes)


def write_image(
    final: storage.PathLike,
    pixels: Array,
    *,
    pixel_size_um: float | None,
    names: Sequence[str] | None = None,
    significant_bits: int | None = None,
    labels: bool = False,
    **options: Any,
) -> None:
    """`write_ome_tiff` for an array in memory: (C, Y, X) or (Y, X)."""
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    n_channels, height, width = pixels.shape
    image = OmePixels(
        (n_channels, height, width),
        pixels.dtype.name,
        names or [f"channel_{index}" for index in range(n_channels)],
        pixel_size_um,
        significant_bits,
        labels,
    )
    write_ome_tiff(final, [(Window(0, 0, height, width), pixels)], image, **options)


class _Spool:
    """Compressed tiles in a temporary file."""

    def __init__(self, file: Any, dtype: np.dtype[Any], tile_px: int, compression: str) -> None:
        if compression not in _CODECS:
            raise RequestError(
                f"compression {compression!r} is not written; choose one of {', '.join(_CODECS)}"
            )
        self.file, self.dtype, self.tile_px, self.compression = file, dtype, tile_px, compression
        self.delta = compression != "none" and dtype.kind in "ui"
        self._at: dict[Key, tuple[int, int]] = {}
        self._flat: dict[int, tuple[int, int]] = {}
        self._end = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all tiles, equal ones counted each."""
        return sum(count for _, count in self._at.values())

    def grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tiles of a level (Y, X)."""
        return -(-shape[0] // self.tile_px), -(-shape[1] // self.tile_px)

    def put(self, key: Key, tile: Array) -> None:
        if key in self._at:
            raise RequestError(
                f"the block at row {key[2]}, column {key[3]} of the image was given twice"
            )
        full = np.zeros((self.tile_px, self.tile_px), self.dtype)
        full[: tile.shape[0], : tile.shape[1]] = tile
        is_flat = self.dtype.kind in "ui" and (full == full.flat[0]).all()
        value = int(full.flat[0]) if is_flat else None
        if (
            value is not None and value in self._flat
        ):  # glass: one encoded tile stands for all that are equal
            self._at[key] = self._flat[value]
            return
        if self.delta:
            full = imagecodecs.delta_encode(full, axis=-1)
        data = _CODECS[self.compression][0](full.tobytes())
        self.file.seek(self._end)
        storage.write_all(self.file, data)
        self._at[key] = (self._end, len(data))
        if value is not None:
            self._flat[value] = self._at[key]
        self._end += len(data)

    def raw(self, key: Key) -> bytes:
        offset, count = self._at[key]
        self.file.seek(offset)
        data: bytes = self.file.read(count)
        if len(data) != count:
            raise OSError(f"{count - len(data)} bytes of the spool file are missing")
        return data

    def get(self, key: Key) -> Array:
        data = _CODECS[self.compression][1](self.raw(key))
        tile = np.frombuffer(data, self.dtype).reshape(self.tile_px, self.tile_px)
        return np.asarray(imagecodecs.delta_decode(tile, axis=-1)) if self.delta else tile

    def require_all(self, shape: tuple[int, int, int]) -> None:
        down, across = self.grid(shape[1:])
        n = shape[0] * down * across
        if n != len(self._at):
            raise RequestError(
                f"the blocks leave {n - len(self._at)} of {n} tiles of the image out"
            )

    def tiles(self, level: int, channel: int, shape: tuple[int, int]) -> Iterator[bytes]:
        for row, column in np.ndindex(self.grid(shape)):
            yield self.raw((level, channel, row, column))


_CODECS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "zlib": (
        lambda data: bytes(imagecodecs.deflate_encode(data, level=6)),
        lambda data: bytes(imagecodecs.deflate_decode(data)),
    ),
    "zstd": (
        lambda data: bytes(imagecodecs.zstd_encode(data, level=3)),
        lambda data: bytes(imagecodecs.zstd_decode(data)),
    ),
    "none": (bytes, bytes),
}


def _put_block(spool: _Spool, window: Window, pixels: Array, shape: tuple[int, int, int]) -> None:
    n_channels, height, width = shape
    tile = spool.tile_px
    if pixels.shape != (n_channels, *window.shape) or pixels.dtype != spool.dtype:
        raise RequestError(
            f"block {window} has {pixels.dtype} pixels of shape {pixels.shape}; expected"
            f" {spool.dtype} ({n_channels}, Y, X)"
        )
    if (
        window.y0 % tile
        or window.x0 % tile
        or (window.y1 % tile and window.y1 != height)
        or (window.x1 % tile and window.x1 != width)
    ):
        raise RequestError(f"block {window} is not aligned to tiles of {tile} px")
    for channel in range(n_channels):
        for y in range(0, window.shape[0], tile):
            for x in range(0, window.shape[1], tile):
                key = (0, channel, (window.y0 + y) // tile, (window.x0 + x) // tile)
                spool.put(key, pixels[channel, y : y + tile, x : x + tile])


def _reduce_level(
    spool: _Spool, level: int, image: OmePixels, shapes: Sequence[tuple[int, int]]
) -> None:
    """One level from the one below: a tile of it is made of up to four tiles there."""
    tile = spool.tile_px
    height, width = shapes[level - 1]
    for channel, row, column in np.ndindex(image.shape[0], *spool.grid(shapes[level])):
        y, x = 2 * row * tile, 2 * column * tile
        rows, columns = min(2 * tile, height - y), min(2 * tile, width - x)
        four = np.zeros((2 * tile, 2 * tile), spool.dtype)
        for dy, dx in np.ndindex(spool.grid((rows, columns))):
            part = spool.get((level - 1, channel, 2 * row + dy, 2 * column + dx))
            four[dy * tile : (dy + 1) * tile, dx * tile : (dx + 1) * tile] = part
        four = four[:rows, :columns]
        spool.put((level, channel, row, column), four[::2, ::2] if image.labels else halved(four))


def _assemble(
    path: str, spool: _Spool, image: OmePixels, shapes: Sequence[tuple[int, int]]
) -> None:
    tags: dict[str, Any] = {
        "dtype": spool.dtype,
        "tile": (spool.tile_px, spool.tile_px),
        "photometric": "minisblack",
        "compression": {"zlib": "adobe_deflate", "zstd": "zstd", "none": None}[spool.compression],
        "predictor": spool.delta,
        "metadata": None,
        "software": "ifquant",
        "maxworkers": 1,
    }
    storage.before_mutation("write", path)
    with tifffile.TiffWriter(path, bigtiff=spool.nbytes > 3 << 30, byteorder="<") as writer:
        for channel in range(image.shape[0]):
            for level, shape in enumerate(shapes):
                writer.write(
                    spool.tiles(level, channel, shape),
                    shape=shape,
                    subifds=len(shapes) - 1 or None if level == 0 else None,
                    subfiletype=1 if level else 0,
                    description=_description(image) if level == 0 and channel == 0 else None,
                    **tags,
                )


def _verify(path: str, n_channels: int, shapes: Sequence[tuple[int, int]]) -> None:
    """Read the directories back: a short file must not get its final name."""
    reader = TiffReader(path)
    facts = reader.facts
    reader.close()
    if facts.shape != (n_channels, 1, *shapes[0]) or facts.levels != len(shapes):
        raise OSError(
            f"read back shape {facts.shape} with {facts.levels} levels, wrote {n_channels} channels"
            f" of {shapes[0]}"
        )


def _description(image: OmePixels) -> bytes:
    """OME-XML; the same for equal images (no random UUID)."""
    n_channels, height, width = image.shape
    attributes = {
        "ID": "Pixels:0",
        "DimensionOrder": "XYZCT",
        "Type": _OME_TYPES.get(image.dtype, image.dtype),
        "BigEndian": "false",
        "SizeX": str(width),
        "SizeY": str(height),
        "SizeZ": "1",
        "SizeC": str(n_channels),
        "SizeT": "1",
    }
    if image.significant_bits is not None:
        attributes["SignificantBits"] = str(image.significant_bits)
    if image.pixel_size_um is not None:
        for axis in "XY":
            attributes[f"PhysicalSize{axis}"] = repr(float(image.pixel_size_um))
            attributes[f"PhysicalSize{axis}Unit"] = "µm"
    root = ET.Element("OME", {"xmlns": _NAMESPACE, "Creator": "ifquant"})
    pixels = ET.SubElement(ET.SubElement(root, "Image", {"ID": "Image:0"}), "Pixels", attributes)
    for index, name in enumerate(image.names):
        channel = {"ID": f"Channel:0:{index}", "Name": name, "SamplesPerPixel": "1"}
        ET.SubElement(pixels, "Channel", channel)
    ET.SubElement(pixels, "TiffData", {"IFD": "0", "PlaneCount": str(n_channels)})
    head = b'<?xml version="1.0" encoding="UTF-8"?>'
    return head + ET.tostring(root, encoding="unicode").encode()
