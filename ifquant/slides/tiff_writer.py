"""Writing OME-TIFF: tiled, compressed, with pixel size, channel names and a pyramid, streamed block
by block.

Blocks of all channels arrive in any order while a TIFF wants one channel after the other; so tiles
are compressed as they come into a spool file beside the target and copied into place at the end.
Memory stays at a few tiles whatever the size of the image.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from ifquant.errors import RequestError
from ifquant.files import storage
from ifquant.geometry.windows import Window
from ifquant.slides.image_reader import Array

TILE_PX = 512
_OME_TYPES = {"float32": "float", "float64": "double", "bool": "bit"}
_NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def write_ome_tiff(
    final: storage.PathLike,
    blocks: Iterable[tuple[Window, Array]],
    *,
    shape: tuple[int, int, int],
    dtype: str,
    pixel_size_um: float | None,
    names: Sequence[str],
    compression: str = "zlib",
    tile_px: int = TILE_PX,
    pyramid: bool = True,
    labels: bool = False,
    significant_bits: int | None = None,
) -> None:
    """Write an image atomically.

    Parameters
    ----------
    final : path of the file. blocks : (window, pixels (C, Y, X)) in any order; together they cover
    the image once. Windows start at multiples of `tile_px` and end
        at multiples or at the image's edge.
    shape : (C, Y, X). pixel_size_um : None leaves it out. names : one per channel. compression :
    zlib, zstd or none (zlib carries a checksum; its horizontal predictor shrinks microscopy images
    by about a third). pyramid : add levels reduced by 2 down to about 512 px (SubIFDs). labels :
    reduce by taking every second pixel instead of the mean.

    Raises
    ------
    RequestError
        If blocks are misplaced or missing.
    ResourceError
        If the disk is full.
    """
    n_channels, height, width = shape
    if min(shape) < 1 or len(names) != n_channels:
        raise RequestError(
            f"image of shape {shape} with {len(names)} channel names; expected (C, Y, X) and C"
            " names"
        )
    sizes = [(height, width)]
    while pyramid and max(sizes[-1]) > tile_px and len(sizes) < 12:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    with storage.atomic_path(final) as part:
        spool_path = part.with_name(storage.part_name(part.name + ".spool"))
        try:
            with storage.create_file(spool_path) as file:
                spool = _Spool(file, np.dtype(dtype), tile_px, compression)
                for window, pixels in blocks:
                    _put_block(spool, window, pixels, shape)
                spool.require(0, n_channels, sizes[0])
                for k in range(1, len(sizes)):
                    _reduce_level(spool, k, n_channels, sizes, labels)
                description = _description(shape, dtype, pixel_size_um, names, significant_bits)
                _assemble(part, spool, n_channels, sizes, description)
        finally:
            storage.remove(spool_path)
        _verify(str(part), n_channels, sizes)


def write_image(
    final: storage.PathLike,
    image: Array,
    *,
    pixel_size_um: float | None,
    names: Sequence[str] | None = None,
    **options: Any,
) -> None:
    """`write_ome_tiff` for an array in memory: (C, Y, X) or (Y, X)."""
    image = image[None] if image.ndim == 2 else image
    blocks = [(Window(0, 0, image.shape[1], image.shape[2]), image)]
    names = names or [f"channel_{index}" for index in range(len(image))]
    write_ome_tiff(
        final,
        blocks,
        shape=image.shape,
        dtype=image.dtype.name,
        pixel_size_um=pixel_size_um,
        names=names,
        **options,
    )


class _Spool:
    """Compressed tiles in a temporary file, by (level, channel, row, column)."""

    def __init__(self, file: Any, dtype: np.dtype[Any], tile_px: int, compression: str) -> None:
        if compression not in _CODECS:
            raise RequestError(
                f"compression {compression!r} is not written; choose one of {', '.join(_CODECS)}"
            )
        self.file, self.dtype, self.tile_px, self.compression = file, dtype, tile_px, compression
        self.delta = compression != "none" and dtype.kind in "ui"
        self._at: dict[tuple[int, int, int, int], tuple[int, int]] = {}
        self._flat: dict[int, tuple[int, int]] = {}
        self._end = 0

    def put(self, key: tuple[int, int, int, int], tile: Array) -> None:
        if key in self._at:
            raise RequestError(
                f"the block at row {key[2]}, column {key[3]} of the image was given twice"
            )
        full = np.zeros((self.tile_px, self.tile_px), self.dtype)
        full[: tile.shape[0], : tile.shape[1]] = tile
        flat = (
            int(full.flat[0]) if self.dtype.kind in "ui" and (full == full.flat[0]).all() else None
        )
        if (
            flat is not None and flat in self._flat
        ):  # glass: one encoded tile stands for all that are equal
            self._at[key] = self._flat[flat]
            return
        if self.delta:
            full = imagecodecs.delta_encode(full, axis=-1)
        data = _CODECS[self.compression][0](full)
        self.file.seek(self._end)
        storage.write_all(self.file, data)
        self._at[key] = (self._end, len(data))
        if flat is not None:
            self._flat[flat] = self._at[key]
        self._end += len(data)

    def raw(self, key: tuple[int, int, int, int]) -> bytes:
        offset, count = self._at[key]
        self.file.seek(offset)
        data: bytes = self.file.read(count)
        if len(data) != count:
            raise OSError(f"{count - len(data)} bytes of the spool file are missing")
        return data

    def get(self, key: tuple[int, int, int, int]) -> Array:
        data = _CODECS[self.compression][1](self.raw(key))
        tile = np.frombuffer(data, self.dtype).reshape(self.tile_px, self.tile_px)
        return np.asarray(imagecodecs.delta_decode(tile, axis=-1)) if self.delta else tile

    def require(self, level: int, n_channels: int, size: tuple[int, int]) -> None:
        down, across = (-(-length // self.tile_px) for length in size)
        missing = n_channels * down * across - sum(key[0] == level for key in self._at)
        if missing:
            raise RequestError(
                f"the blocks leave {missing} of {n_channels * down * across} tiles of the image out"
            )

    def tiles(self, level: int, channel: int, size: tuple[int, int]) -> Iterator[bytes]:
        down, across = (-(-length // self.tile_px) for length in size)
        for row in range(down):
            for column in range(across):
                yield self.raw((level, channel, row, column))


_CODECS: dict[str, tuple[Callable[[Array], bytes], Callable[[bytes], bytes]]] = {
    "zlib": (
        lambda tile: bytes(imagecodecs.deflate_encode(tile.tobytes(), level=6)),
        lambda data: bytes(imagecodecs.deflate_decode(data)),
    ),
    "zstd": (
        lambda tile: bytes(imagecodecs.zstd_encode(tile.tobytes(), level=3)),
        lambda data: bytes(imagecodecs.zstd_decode(data)),
    ),
    "none": (lambda tile: tile.tobytes(), lambda data: data),
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
    spool: _Spool, level: int, n_channels: int, sizes: Sequence[tuple[int, int]], labels: bool
) -> None:
    """One level from the one below: a tile of it is made of up to four tiles there."""
    tile = spool.tile_px
    height, width = sizes[level - 1]
    for channel in range(n_channels):
        for row in range(-(-sizes[level][0] // tile)):
            for column in range(-(-sizes[level][1] // tile)):
                rows, columns = (
                    min(2 * tile, height - 2 * row * tile),
                    min(2 * tile, width - 2 * column * tile),
                )
                four = np.zeros((2 * tile, 2 * tile), spool.dtype)
                for dy in range(-(-rows // tile)):
                    for dx in range(-(-columns // tile)):
                        four[dy * tile : (dy + 1) * tile, dx * tile : (dx + 1) * tile] = spool.get(
                            (level - 1, channel, 2 * row + dy, 2 * column + dx)
                        )
                spool.put((level, channel, row, column), _halved(four[:rows, :columns], labels))


def _halved(pixels: Array, labels: bool) -> Array:
    if labels:
        return pixels[::2, ::2]
    padded = np.pad(
        pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2)], mode="edge"
    ).astype(np.float32)
    mean = (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]) / 4
    return (mean if pixels.dtype.kind == "f" else np.rint(mean)).astype(pixels.dtype)


def _assemble(
    path: Any, spool: _Spool, n_channels: int, sizes: Sequence[tuple[int, int]], description: bytes
) -> None:
    n_bytes = sum(count for _, count in spool._at.values())
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
    storage.before_mutation("write", str(path))
    with tifffile.TiffWriter(path, bigtiff=n_bytes > 3 << 30, byteorder="<") as writer:
        for channel in range(n_channels):
            for level, size in enumerate(sizes):
                writer.write(
                    spool.tiles(level, channel, size),
                    shape=size,
                    subifds=len(sizes) - 1 if level == 0 and len(sizes) > 1 else None,
                    subfiletype=1 if level else 0,
                    description=description if level == 0 and channel == 0 else None,
                    **tags,
                )


def _verify(path: str, n_channels: int, sizes: Sequence[tuple[int, int]]) -> None:
    """Read the directories back: a short file must not get its final name."""
    from ifquant.slides.tiff_reader import TiffReader

    reader = TiffReader(path)
    facts = reader.facts
    reader.close()
    if facts.shape != (n_channels, 1, *sizes[0]) or facts.levels != len(sizes):
        raise OSError(
            f"read back shape {facts.shape} with {facts.levels} levels, wrote {n_channels} channels"
            f" of {sizes[0]}"
        )


def _description(
    shape: tuple[int, int, int],
    dtype: str,
    pixel_size_um: float | None,
    names: Sequence[str],
    significant_bits: int | None,
) -> bytes:
    """OME-XML; the same for equal images (no random UUID)."""
    attributes = {
        "ID": "Pixels:0",
        "DimensionOrder": "XYZCT",
        "Type": _OME_TYPES.get(dtype, dtype),
        "BigEndian": "false",
        "SizeX": str(shape[2]),
        "SizeY": str(shape[1]),
        "SizeZ": "1",
        "SizeC": str(shape[0]),
        "SizeT": "1",
    }
    if significant_bits is not None:
        attributes["SignificantBits"] = str(significant_bits)
    if pixel_size_um is not None:
        for axis in "XY":
            attributes |= {
                f"PhysicalSize{axis}": repr(float(pixel_size_um)),
                f"PhysicalSize{axis}Unit": "µm",
            }
    root = ET.Element("OME", {"xmlns": _NAMESPACE, "Creator": "ifquant"})
    pixels = ET.SubElement(ET.SubElement(root, "Image", {"ID": "Image:0"}), "Pixels", attributes)
    for index, name in enumerate(names):
        ET.SubElement(
            pixels, "Channel", {"ID": f"Channel:0:{index}", "Name": name, "SamplesPerPixel": "1"}
        )
    ET.SubElement(pixels, "TiffData", {"IFD": "0", "PlaneCount": str(shape[0])})
    return b'<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(root, encoding="unicode").encode(
        "utf-8"
    )
