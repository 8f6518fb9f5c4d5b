"""What a TIFF's directories claim about their tiles and strips, compared with the file's size.

No pixel is read here. Works on tifffile's pages without importing tifffile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifquant.notes import mild
from ifquant.slides.image_reader import MAX_SEGMENT_BYTES, Damaged, Unfit


def check_segments(pages: Sequence[Any], used: Sequence[int], file_bytes: int) -> tuple[str, ...]:
    """Compare what the directories claim with the file; returns warnings about sparse tiles.

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
    if not sparse:
        return ()
    text = f"{sparse} of {total} tiles are declared empty (sparse) and read as background"
    return (mild(text),)


def _extents(page: Any, file_bytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets and byte counts of the tiles or strips of one page, checked."""
    what = f"page {page.index + 1}"
    n, needed = _needed_bytes(page)
    if len(page.dataoffsets) != n or len(page.databytecounts) != n:
        raise Damaged(
            f"{what} lists {len(page.dataoffsets)} tiles or strips, its size needs {n}: the header"
            " is damaged"
        )
    if max(page.dataoffsets) > file_bytes or max(page.databytecounts) > file_bytes:
        raise Damaged(
            f"{what} points beyond the end of the file at {file_bytes} bytes: it was cut off"
        )
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    absent = (counts == 0) & (offsets == 0)
    if np.any((counts == 0) != absent) or np.any((offsets == 0) != absent):
        raise Damaged(
            f"{what} lacks pixel data that it does not declare as empty: the file is damaged"
        )
    if absent.all():
        raise Damaged(f"{what} has no pixel data at all: the file was not written to its end")
    if needed is not None:
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


def _needed_bytes(page: Any) -> tuple[int, NDArray[np.int64] | None]:
    """How many tiles or strips a page needs, and how many bytes each, if they are uncompressed."""
    if page.imagedepth != 1:
        raise Unfit(
            "it stores a volume in one page (ImageDepth), which is not read; export one plane per"
            " page"
        )
    height, width = segment_shape(page)
    planes = page.samplesperpixel if is_separate(page) else 1
    row_samples = width * (page.samplesperpixel // planes)
    per_plane = -(-page.imagelength // height) * -(-page.imagewidth // width)
    nbytes = height * row_samples * np.dtype(page.dtype).itemsize
    if not is_raw(page) and nbytes > MAX_SEGMENT_BYTES:
        raise Unfit(
            f"one of its compressed tiles or strips ({height} x {width} px) decodes to over"
            f" {MAX_SEGMENT_BYTES >> 20} MiB, which is not done at once. Save the image with tiles"
            " (e.g. as OME-TIFF, 512 x 512)"
        )
    n, bits = per_plane * planes, page.bitspersample
    counted = n == len(page.dataoffsets)  # else refused: no memory for what is only claimed
    if not counted or page.compression != 1 or not isinstance(bits, int) or bits % 8:
        return n, None
    rows = np.full(n, height, np.int64)
    if not page.is_tiled:
        rows[per_plane - 1 :: per_plane] = page.imagelength - (per_plane - 1) * height
    return n, rows * (row_samples * (bits // 8))


def is_separate(page: Any) -> bool:
    """Whether samples lie in planes of their own."""
    return bool(page.samplesperpixel > 1 and page.planarconfig == 2)


def segment_shape(page: Any) -> tuple[int, int]:
    """Height and width in px of a tile or strip."""
    if page.is_tiled:
        height, width = page.tilelength, page.tilewidth
    else:
        height, width = min(page.rowsperstrip, page.imagelength), page.imagewidth
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
