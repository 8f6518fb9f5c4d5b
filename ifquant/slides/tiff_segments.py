"""What a TIFF's directories claim about their tiles and strips, compared with the file; no pixel is
read here.

Works on tifffile's pages without importing tifffile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.notes import mild
from ifquant.slides.image_reader import MAX_SEGMENT_BYTES, Damaged, Unfit
from ifquant.slides.tiff_page import Page

_LOSSY = {
    "JPEG": "?",
    "OJPEG": "JPEG",
    "JPEG_LOSSY": "JPEG",
    "ALT_JPEG": "JPEG",
    "WEBP": "WebP",
    "JPEGXR": "JPEG XR",
    "JPEGXR_NDPI": "JPEG XR",
    "JPEGXL": "JPEG XL",
    "JPEGXL_DNG": "JPEG XL",
    "LERC": "LERC",
    "JPEG2000": "?",
    "APERIO_JP2000_YCBC": "?",
    "APERIO_JP2000_RGB": "?",
    "JPEG_2000_LOSSY": "?",
}
"""Compressions that change values; "?": depends on the stream."""


def check_segments(pages: Sequence[Any], used: Sequence[int], file_bytes: int) -> Iterator[str]:
    """Compare what the directories claim with the file; yield warnings about sparse tiles.

    Raises
    ------
    ValueError
        If pixel data lie beyond the file's end, are missing without being declared sparse (offset
        and byte count 0), overlap, or are fewer than the size needs.
    """
    extents = []
    sparse = total = 0
    for index in used:
        offsets, counts = _extents(pages[index], file_bytes)
        absent = counts == 0
        sparse += int(absent.sum())
        total += len(counts)
        extents.append(np.stack([offsets[~absent], counts[~absent]], axis=1))
    segments = np.unique(np.concatenate(extents), axis=0)  # writers may store equal tiles once
    if np.any(segments[1:, 0] < segments[:-1].sum(axis=1)):
        raise Damaged("its tiles or strips overlap in the file: the header is damaged")
    if sparse:
        yield mild(f"{sparse} of {total} tiles are declared empty (sparse) and read as background")


def _extents(page: Any, file_bytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets and byte counts of the tiles or strips of one page, checked."""
    what = f"page {page.index + 1}"
    if page.imagedepth != 1:
        raise Unfit(
            "it stores a volume in one page (ImageDepth), which is not read; export one plane per"
            " page"
        )
    height, width = segment_shape(page)
    planes = page.samplesperpixel if is_separate(page) else 1
    row_samples = width * (page.samplesperpixel // planes)
    per_plane = -(-page.imagelength // height) * -(-page.imagewidth // width)
    n = per_plane * planes
    if (
        not is_raw(page)
        and height * row_samples * np.dtype(page.dtype).itemsize > MAX_SEGMENT_BYTES
    ):
        raise Unfit(
            f"one of its compressed tiles or strips ({height} x {width} px) decodes to over"
            f" {MAX_SEGMENT_BYTES >> 20} MiB, which is not done at once. Save the image with tiles"
            " (e.g. as OME-TIFF, 512 x 512)"
        )
    if len(page.dataoffsets) != n or len(page.databytecounts) != n:
        raise Damaged(
            f"{what} lists {len(page.dataoffsets)} tiles or strips, its size needs {n}: the header"
            " is damaged"
        )
    if max(page.dataoffsets) > file_bytes or max(page.databytecounts) > file_bytes:
        raise Damaged(
            f"{what} points beyond the end of the file at {file_bytes} bytes: it was cut off"
        )
    offsets, counts = (
        np.asarray(page.dataoffsets, np.int64),
        np.asarray(page.databytecounts, np.int64),
    )
    absent = (counts == 0) & (offsets == 0)
    if np.any((counts == 0) != absent) or np.any((offsets == 0) != absent):
        raise Damaged(
            f"{what} lacks pixel data that it does not declare as empty: the file is damaged"
        )
    if absent.all():
        raise Damaged(f"{what} has no pixel data at all: the file was not written to its end")
    bits = page.bitspersample
    if page.compression == 1 and isinstance(bits, int) and bits % 8 == 0:
        rows = np.full(n, height, np.int64)
        if not page.is_tiled:
            rows[per_plane - 1 :: per_plane] = page.imagelength - (per_plane - 1) * height
        needed = rows * (row_samples * (bits // 8))
        if np.any((counts < needed) & ~absent):
            raise Damaged(
                f"{what} claims more pixels than it holds bytes: the header is damaged or the file"
                " was cut off"
            )
        counts = np.where(absent, 0, needed)  # some writers round the last strip up
    if np.any(offsets + counts > file_bytes):
        end = int((offsets + counts).max())
        raise Damaged(
            f"{what} needs bytes up to {end}, the file ends at {file_bytes}: it was cut off"
        )
    return offsets, counts


def page_record(page: Any) -> Page:
    """Make the plain record of a tifffile page."""
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
        dtype="" if page.dtype is None else np.dtype(page.dtype).name,
        bits=int(
            page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
        ),
        photometric=getattr(page.photometric, "name", str(page.photometric)),
        compression="NONE" if compression in ("1", "NONE") else compression,
        description=description if isinstance(description, str) else str(description),
        reduced=bool(page.subfiletype & 1),
        levels=1 + len(page.subifds or ()),
        resolution=_resolution(page),
        name=name.strip() or None if isinstance(name, str) else None,
        colormap_is_ramp=colormap is not None
        and bool(np.all(np.diff(colormap.astype(np.int64).sum(axis=0)) >= 0)),
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
    height, width = (
        (page.tilelength, page.tilewidth)
        if page.is_tiled
        else (min(page.rowsperstrip, page.imagelength), page.imagewidth)
    )
    if height < 1 or width < 1:
        raise Damaged(f"page {page.index + 1} has tiles or strips of size {height} x {width}")
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
