"""What a TIFF's directories claim about their tiles and strips, compared with the file; no pixel is read here.

Works on tifffile's pages without importing tifffile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ifquant.image import MAX_SEGMENT_BYTES
from ifquant.tiff_page import Page

_LOSSY = {
    "JPEG": "?", "OJPEG": "JPEG", "JPEG_LOSSY": "JPEG", "ALT_JPEG": "JPEG", "WEBP": "WebP", "JPEGXR": "JPEG XR", "JPEGXR_NDPI": "JPEG XR",
    "JPEGXL": "JPEG XL", "JPEGXL_DNG": "JPEG XL", "LERC": "LERC", "JPEG2000": "?", "APERIO_JP2000_YCBC": "?", "APERIO_JP2000_RGB": "?",
    "JPEG_2000_LOSSY": "?",
}  # fmt: skip
"""Compressions that change values; "?": depends on the stream."""


def check_segments(pages: Sequence[Any], used: Sequence[int], file_bytes: int) -> Iterator[str]:
    """Compare what the directories claim with the file's size; yield warnings about sparse tiles."""
    sparse = total = 0
    for index in used:
        page = pages[index]
        height, width = segment_shape(page)
        if page.imagedepth != 1:
            raise ValueError("it stores a volume in one page (ImageDepth), which is not read; export one plane per page")
        planes = page.samplesperpixel if is_separate(page) else 1
        samples = 1 if is_separate(page) else page.samplesperpixel
        n = -(-page.imagelength // height) * -(-page.imagewidth // width) * planes
        item = max(page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample), 1)
        decoded = height * width * samples * item / 8
        if not is_raw(page) and height * width * samples * np.dtype(page.dtype).itemsize > MAX_SEGMENT_BYTES:
            raise ValueError(
                f"one of its compressed tiles or strips claims {decoded / 2**30:.3g} GiB; at most 1 GiB is decoded at once. "
                "Save the image with tiles (e.g. as OME-TIFF, 512 x 512)"
            )
        if len(page.dataoffsets) != n or len(page.databytecounts) != n:
            raise ValueError(f"page {index + 1} lists {len(page.dataoffsets)} tiles or strips, its size needs {n}: the header is damaged")
        offsets = np.asarray(page.dataoffsets, np.uint64)
        counts = np.asarray(page.databytecounts, np.uint64)
        absent = (counts == 0) & (offsets == 0)
        if np.any((counts == 0) != absent) or np.any((offsets == 0) != absent):
            raise ValueError(f"page {index + 1} lacks pixel data that it does not declare as empty: the file is damaged")
        if absent.all():
            raise ValueError(f"page {index + 1} has no pixel data at all: the file was not written to its end")
        if np.any(offsets + counts > file_bytes):
            raise ValueError(
                f"page {index + 1} needs bytes up to {int((offsets + counts).max())}, the file ends at {file_bytes}: it was cut off. "
                "Copy or export it again."
            )
        if page.compression == 1 and item % 8 == 0:
            rows = np.full(n, height)
            if not page.is_tiled:
                last = page.imagelength - (n // planes - 1) * height
                rows[n // planes - 1 :: n // planes] = last
            if np.any((counts < rows * (width * samples * (item // 8))) & ~absent):
                raise ValueError(f"page {index + 1} claims more pixels than it holds bytes: the header is damaged or the file was cut off")
        sparse += int(absent.sum())
        total += n
    if sparse:
        yield f"{sparse} of {total} tiles are declared empty (sparse) and read as background"


def page_record(page: Any) -> Page:
    """Make the plain record of a tifffile page."""
    if page.dtype is None:
        raise ValueError(f"page {page.index + 1} has pixels of {page.bitspersample} bits, which are not read")
    compression = getattr(page.compression, "name", str(page.compression))
    description = page.description or ""
    colormap = page.colormap
    lossy = _LOSSY.get(compression)
    name = page.tags.valueof(285)
    return Page(
        index=int(page.index),
        height=int(page.imagelength),
        width=int(page.imagewidth),
        samples=int(page.samplesperpixel),
        separate=is_separate(page),
        dtype=np.dtype(page.dtype).name,
        bits=int(page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)),
        photometric=getattr(page.photometric, "name", str(page.photometric)),
        compression="NONE" if compression in ("1", "NONE") else compression,
        description=description if isinstance(description, str) else str(description),
        reduced=bool(page.subfiletype & 1),
        levels=1 + len(page.subifds or ()),
        resolution=_resolution(page),
        name=name.strip() or None if isinstance(name, str) else None,
        colormap_is_ramp=colormap is not None and bool(np.all(np.diff(colormap.astype(np.int64).sum(axis=0)) >= 0)),
        lossy=lossy,
    )


def _resolution(page: Any) -> tuple[float, float, str] | None:
    values = []
    for code in (282, 283):
        value = page.tags.valueof(code)
        if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
            return None
        values.append(value[0] / value[1])
    unit = page.tags.valueof(296, 2)
    return values[0], values[1], getattr(unit, "name", str(unit))


def is_separate(page: Any) -> bool:
    """Whether samples lie in planes of their own."""
    return bool(page.samplesperpixel > 1 and page.planarconfig == 2)


def segment_shape(page: Any) -> tuple[int, int]:
    """Height and width in px of a tile or strip."""
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, page.imagelength), page.imagewidth)
    if height < 1 or width < 1:
        raise ValueError(f"page {page.index + 1} has tiles or strips of size {height} x {width}")
    return int(height), int(width)


def is_raw(page: Any) -> bool:
    """Pixels lie in the file as they are in memory: strips can be read by the row."""
    return bool(
        page.compression == 1
        and page.predictor == 1
        and page.fillorder == 1
        and not page.is_tiled
        and page.bitspersample in (8, 16, 32, 64)
        and (page.samplesperpixel == 1 or is_separate(page))
    )
